"""The loop: stop and resume, evaluation during a run, the record, interrupts, the exact loss."""

import math
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import (
    MLP,
    MLPConfig,
    Vocab,
    build_dataset,
    eval_loss,
    load_words,
    next_char_probs,
    train,
    train_steps,
)
from mlp_lib.lab.fast import fast_steps

VOCAB = Vocab.from_words(load_words())
X, Y = build_dataset(load_words()[:200], VOCAB)


def fresh():
    g = torch.Generator().manual_seed(2147483647)
    return MLP(MLPConfig(n_embd=2, n_hidden=20), g=g), g


def same(a, b):
    return all(map(torch.equal, a.parameters(), b.parameters()))


def falling(i):
    return 0.1 / (1 + i / 50)


class Own(nn.Module):
    """Any module from X to logits can be trained."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.table, self.out = nn.Embedding(27, 4), nn.Linear(12, 27)
        self.unused = nn.Parameter(torch.zeros(2))

    def forward(self, X):
        return self.out(F.dropout(self.table(X).flatten(1), 0.1, self.training))


# --- stopping, resuming, evaluating ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.1, falling], ids=["constant", "depends on the step"])
def test_stopping_and_resuming_equals_never_stopping(lr):
    whole, g = fresh()
    steps = list(train_steps(whole, X, Y, steps=250, lr=lr, g=g))

    parts, g2 = fresh()
    first = []
    for step in train_steps(parts, X, Y, steps=250, lr=lr, g=g2):
        first.append(step)
        if step.i == 99:
            break
    assert first + list(train_steps(parts, X, Y, steps=150, start=100, lr=lr, g=g2)) == steps
    assert same(whole, parts)
    assert torch.equal(g.get_state(), g2.get_state())


def test_zero_steps_change_nothing():
    model, g = fresh()
    before, g2 = fresh()
    assert list(train_steps(model, X, Y, steps=0, g=g)) == []
    assert same(model, before)
    assert torch.equal(g.get_state(), g2.get_state())


def test_evaluation_during_a_run_changes_nothing():
    blind, g = fresh()
    train(blind, X, Y, steps=120, g=g)
    watched, g2 = fresh()
    everywhere, x, y = torch.get_rng_state(), X.clone(), Y.clone()
    history = train(watched, X, Y, steps=60, g=g2, eval_on={"all": (X, Y)}, eval_every=10)
    for _ in train_steps(watched, X, Y, steps=60, start=60, g=g2):
        eval_loss(watched, X, Y)
        next_char_probs(watched, VOCAB, "em")
    assert same(blind, watched)
    assert torch.equal(g.get_state(), g2.get_state())
    assert torch.equal(torch.get_rng_state(), everywhere)
    assert torch.equal(X, x)
    assert torch.equal(Y, y)
    assert history.eval_stepi == list(range(0, 61, 10))


def test_loss_is_measured_before_the_update():
    model, g = fresh()
    state, before = g.get_state(), eval_loss(model, X, Y)
    (step,) = train_steps(model, X, Y, steps=1, batch_size=None, g=g)
    assert step.loss == pytest.approx(before, rel=1e-6)
    assert step.lr == 0.1, "the default must be the lecture's"
    assert eval_loss(model, X, Y) < before
    assert torch.equal(g.get_state(), state), "with all rows, nothing must be drawn"


def test_invalid_rate_keeps_the_steps_before_it():
    model, g = fresh()
    taken = []
    with pytest.raises(ValueError, match=r"lr\(3\) must be a finite number of at least 0, got -1"):
        taken.extend(s.i for s in train_steps(model, X, Y, steps=9, lr=lambda i: 0.1 if i < 3 else -1, g=g))
    other, g2 = fresh()
    train(other, X, Y, steps=3, g=g2)
    assert taken == [0, 1, 2]
    assert same(model, other)


# --- other models ---------------------------------------------------------------------------------------------------


def test_any_module_is_trained_in_its_current_mode():
    model = Own()
    history = train(model, X, Y, steps=200, g=torch.Generator().manual_seed(1))
    assert history.lossi[-20:].mean() < history.lossi[:20].mean() - 0.2
    assert torch.equal(model.unused, torch.zeros(2)), "a parameter without a gradient must not change"
    assert model.training
    assert eval_loss(model, X, Y) == eval_loss(model, X, Y), "dropout must be off in evaluations"


def test_updates_equal_those_of_torch_sgd():
    ours, g = fresh()
    theirs, g2 = fresh()
    a = train(ours, X, Y, steps=50, lr=0.05, g=g)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05)
    for loss in a.lossi:
        ix = torch.randint(0, len(Y), (32,), generator=g2)
        own = F.cross_entropy(theirs(X[ix]), Y[ix])
        assert own.item() == pytest.approx(loss.item(), rel=1e-5)
        optimizer.zero_grad()
        own.backward()
        optimizer.step()


def test_frozen_parameter_is_not_trained():
    model, g = fresh()
    before, _ = fresh()
    model.requires_grad_(False).W2.requires_grad_()
    train(model, X, Y, steps=3, g=g)
    assert not torch.equal(model.W2, before.W2)
    assert torch.equal(model.C, before.C)


# --- the record -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stepper", [train_steps, fast_steps])
def test_history_records_steps_and_evaluations(stepper):
    model, g = fresh()
    history = train(
        model, X, Y, steps=25, start=5, lr=falling, g=g, eval_on={"all": (X, Y), "some": (X[:9], Y[:9])}, eval_every=10,
        stepper=stepper,
    )  # fmt: skip
    other, g2 = fresh()
    steps = list(stepper(other, X, Y, steps=25, start=5, lr=falling, g=g2))
    assert list(zip(history.stepi.tolist(), history.lri.tolist(), history.lossi.tolist(), strict=True)) == steps
    assert [step.i for step in steps] == list(range(5, 30))
    assert same(model, other)
    assert history.eval_stepi == [5, 10, 20, 30]
    assert set(history.evals) == {"all", "some"}
    assert len(history.evals["some"]) == 4
    assert history.evals["all"][-1] == eval_loss(model, X, Y)
    assert history.stopped is None
    assert history.seconds > 0
    assert repr(history) == f"History(25 steps, last loss {steps[-1].loss:.4f})"


def test_without_eval_every_start_and_end_are_evaluated():
    model, g = fresh()
    history = train(model, X, Y, steps=7, g=g, eval_on={"all": (X, Y)})
    assert history.eval_stepi == [0, 7]
    assert train(model, X, Y, steps=2, g=g).evals == {}
    assert repr(train(model, X, Y, steps=0, g=g)) == "History(0 steps)"


def test_stepper_is_called_once_between_two_evaluations():
    asked = []

    def stepper(model, X, Y, **settings):
        asked.append((settings["start"], settings["steps"]))
        return train_steps(model, X, Y, **settings)

    model, g = fresh()
    train(model, X, Y, steps=20, start=7, g=g, stepper=stepper, eval_on={"some": (X[:9], Y[:9])}, eval_every=6)
    assert asked == [(7, 5), (12, 6), (18, 6), (24, 3)]
    train(model, X, Y, steps=20, start=7, g=g, stepper=stepper)
    assert asked[4:] == [(7, 20)]


def test_loss_that_is_not_finite_stops_the_run():
    model, g = fresh()
    runs = []

    def stepper(*args, **settings):
        runs.append(train_steps(*args, **settings))
        return runs[-1]

    history = train(model, X, Y, steps=500, lr=lambda i: 0.1 if i < 3 else 1e38, g=g, stepper=stepper)
    last = history.stepi[-1].item()
    assert 3 < last < 20
    assert history.lossi.isfinite().tolist() == [True] * last + [False]
    assert history.stopped == f"the loss was {history.lossi[-1]} at step {last} (lr 1e+38): try a smaller learning rate"
    assert "stopped: the loss was" in repr(history)
    assert [run.gi_frame for run in runs] == [None], "the iterator must be closed"


def test_progress_goes_to_stderr(capsys):
    model, g = fresh()
    train(model, X, Y, steps=5, g=g, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "5.00/5.00" in captured.err


# --- interrupts -----------------------------------------------------------------------------------------------------


def interrupted_at(line, call):
    """Call `call` and raise KeyboardInterrupt at the `line`-th line that it executes in train.py.

    Returns its result (None if the interrupt was raised) and the interrupted function (None if there was no such line).
    """
    reached, where = 0, None

    def look(frame, event, _):
        nonlocal reached, where
        if frame.f_code.co_filename != sys.modules["mlp_lib.train"].__file__:
            return None
        if event == "line" and where is None:
            reached += 1
            if reached == line:
                where = frame.f_code.co_name
                raise KeyboardInterrupt
        return look

    tracer = sys.gettrace()
    sys.settrace(look)
    try:
        return call(), where
    except KeyboardInterrupt:
        return None, where
    finally:
        sys.settrace(tracer)


def test_interrupt_at_any_line_returns_the_record_so_far():
    examples = X[:9], Y[:9]
    steps = {"steps": 4, "start": 3, "batch_size": 2}
    model, g = fresh()
    whole = train(model, X, Y, **steps, g=g, eval_on={"some": examples}, eval_every=2)
    assert whole.eval_stepi == [3, 4, 6, 7]
    ends, outside = set(), []
    for line in range(1, 10_000):
        model, g = fresh()
        history, where = interrupted_at(
            line, lambda m=model, g=g: train(m, X, Y, **steps, g=g, eval_on={"some": examples}, eval_every=2)
        )
        assert model.training
        if where is None:
            break
        if history is None:  # before the first statement of train, or at its return
            outside.append(line)
            continue
        n = len(history)
        ends.add((n, len(history.eval_stepi)))
        assert history.stepi.tolist() == whole.stepi[:n].tolist()
        assert history.lossi.tolist() == whole.lossi[:n].tolist()
        assert history.eval_stepi == whole.eval_stepi[: len(history.eval_stepi)]
        assert history.evals.get("some", []) == whole.evals["some"][: len(history.eval_stepi)]
        assert history.stopped == f"interrupted {f'after step {n + 2}' if n else 'before the first step'}"
    inside = sorted(set(range(1, line)) - set(outside))
    assert len(inside) > 100
    assert inside[0] <= 8, "before these lines, train only makes an empty record"
    assert inside[-1] >= line - 3, "after these lines, train only returns"
    assert ends >= {(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (3, 2), (3, 3), (4, 3), (4, 4)}


@pytest.mark.parametrize("stepper", [train_steps, fast_steps])
def test_interrupt_in_lr_keeps_the_steps_before_it(stepper):
    model, g = fresh()

    def interrupting(i):
        if i == 12:
            raise KeyboardInterrupt
        return 0.1

    history = train(model, X, Y, steps=100, lr=interrupting, g=g, stepper=stepper)
    n = len(history)
    assert n == 12 if stepper is train_steps else 0 <= n <= 12  # fast_steps calls lr ahead
    assert history.stopped == f"interrupted {f'after step {n - 1}' if n else 'before the first step'}"
    other, g2 = fresh()
    train(other, X, Y, steps=n, g=g2, stepper=stepper)
    assert same(model, other)


def test_seconds_exclude_evaluations(monkeypatch):
    now = 0.0

    def pass_time(seconds, result=None):
        nonlocal now
        now += seconds
        return result

    module = sys.modules["mlp_lib.train"]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    monkeypatch.setattr(module, "eval_loss", lambda *_: pass_time(1000, 2.5))
    model, g = fresh()
    history = train(
        model, X, Y, steps=8, g=g, lr=lambda i: pass_time(1, 0.1), eval_on={"all": (X, Y)}, eval_every=2
    )  # fmt: skip
    assert history.seconds == 8.0
    assert history.evals["all"] == [2.5] * 5


# --- the exact loss -------------------------------------------------------------------------------------------------


def test_eval_loss_sums_chunks_in_float64():
    model, _ = fresh()
    x, y = X.repeat(15, 1), Y.repeat(15)  # more rows than one chunk holds
    assert len(x) > 2**14
    with torch.no_grad():
        losses = F.cross_entropy(model(x), y, reduction="none")
    assert eval_loss(model, x, y) == pytest.approx(math.fsum(losses.tolist()) / len(y), rel=1e-9)
    assert eval_loss(model, X, Y) == pytest.approx(math.fsum(losses[: len(Y)].tolist()) / len(Y), rel=1e-13)
    assert losses[: len(Y)].sum().item() / len(Y) != pytest.approx(eval_loss(model, X, Y), rel=1e-13)
