"""The loop: stop and resume, looking on, optimizers, the record, the exact loss, and what is refused."""

import math
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import (
    MLP,
    History,
    MLPConfig,
    Step,
    Vocab,
    build_dataset,
    eval_loss,
    load_words,
    sample_words,
    train,
    train_steps,
)
from mlp_lib.lab.counts import NGram
from mlp_lib.lab.fast import fast_steps

WORDS = load_words()[:200]
VOCAB = Vocab.from_words(load_words())
X, Y = build_dataset(WORDS, VOCAB)
CONFIG = MLPConfig(n_embd=2, n_hidden=20)


def generator(seed=2147483647):
    return torch.Generator().manual_seed(seed)


def fresh():
    g = generator()
    return MLP(CONFIG, g=g), g


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def falling(i):
    return 0.1 / (1 + i / 50)


# --- stopping, resuming, looking on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.1, falling], ids=["constant", "depends on the step"])
def test_stopping_at_100_and_carrying_on_equals_never_stopping(lr):
    whole, g = fresh()
    losses = [s.loss for s in train_steps(whole, X, Y, steps=250, lr=lr, g=g)]

    parts, g2 = fresh()
    first = []
    for step in train_steps(parts, X, Y, steps=250, lr=lr, g=g2):
        first.append(step.loss)
        if step.i == 99:
            break
    rest = [s.loss for s in train_steps(parts, X, Y, steps=150, start=100, lr=lr, g=g2)]

    assert first + rest == losses
    assert same(whole, parts)
    assert torch.equal(g.get_state(), g2.get_state())


def test_step_numbers_go_on_from_start():
    model, g = fresh()
    assert [(s.i, s.lr) for s in train_steps(model, X, Y, steps=3, start=7, lr=falling, g=g)] == [
        (i, falling(i)) for i in (7, 8, 9)
    ]


def test_no_steps_change_nothing():
    model, g = fresh()
    before, state = [p.clone() for p in model.tensors()], g.get_state()
    assert list(train_steps(model, X, Y, steps=0, g=g)) == []
    assert all(torch.equal(a, b) for a, b in zip(before, model.tensors(), strict=True))
    assert torch.equal(g.get_state(), state)


def test_looking_changes_nothing():
    blind, g = fresh()
    train(blind, X, Y, steps=120, g=g)

    watched, g2 = fresh()

    def look(step):
        eval_loss(watched, X, Y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an untrained model may not end a word
            sample_words(watched, VOCAB, n=1, g=generator(1))

    history = train(watched, X, Y, steps=120, g=g2, eval_on={"all": (X, Y)}, eval_every=10, on_step=look)
    assert same(blind, watched)
    assert torch.equal(g.get_state(), g2.get_state())
    assert history.eval_stepi == list(range(0, 121, 10))


def test_no_global_generator_is_used():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    model, g = fresh()
    train(model, X, Y, steps=5, g=g, eval_on={"all": (X, Y)})
    assert torch.equal(torch.get_rng_state(), state)


def test_the_data_is_not_changed():
    x, y = X.clone(), Y.clone()
    model, g = fresh()
    train(model, x, y, steps=5, g=g)
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


def test_the_loss_is_measured_before_the_update():
    model, g = fresh()
    before = eval_loss(model, X, Y)
    (step,) = train_steps(model, X, Y, steps=1, batch_size=None, g=g)
    assert step.loss == pytest.approx(before, rel=1e-6)
    assert eval_loss(model, X, Y) < before


def test_all_rows_at_once_draws_nothing():
    model, g = fresh()
    state = g.get_state()
    list(train_steps(model, X, Y, steps=3, batch_size=None, g=g))
    assert torch.equal(g.get_state(), state)


def test_narrow_datasets_train_the_same():
    wide, g = fresh()
    narrow, g2 = fresh()
    x, y = build_dataset(WORDS, VOCAB, dtype=torch.uint8)
    a = train(wide, X, Y, steps=20, g=g)
    b = train(narrow, x, y, steps=20, g=g2)
    assert torch.equal(a.lossi, b.lossi)
    assert eval_loss(wide, X, Y) == eval_loss(narrow, x, y)


def test_inside_no_grad_it_still_trains():
    model, g = fresh()
    other, g2 = fresh()
    with torch.no_grad():
        list(train_steps(model, X, Y, steps=2, g=g))
    list(train_steps(other, X, Y, steps=2, g=g2))
    assert same(model, other)


# --- other models, other optimizers ---------------------------------------------------------------------------------


class Flat(nn.Module):
    """Any module from X to logits will do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(27, 4)
        self.out = nn.Linear(12, 27)
        self.unused = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.out(self.table(x).flatten(1))


def test_it_serves_any_module():
    model = Flat()
    history = train(model, X, Y, steps=200, g=generator())
    assert history.lossi[-20:].mean() < history.lossi[:20].mean() - 0.2
    assert torch.equal(model.unused, torch.zeros(2))


def test_plain_sgd_of_torch_is_the_same_update():
    ours, g = fresh()
    theirs, g2 = fresh()
    a = train(ours, X, Y, steps=50, lr=0.05, g=g)
    b = train(theirs, X, Y, steps=50, optimizer=torch.optim.SGD(theirs.parameters(), lr=0.05), g=g2)
    assert torch.allclose(a.lossi, b.lossi, rtol=1e-5)
    assert b.lri.tolist() == [0.05] * 50


def test_lr_is_set_on_the_optimizer_when_given():
    model, g = fresh()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    history = train(model, X, Y, steps=3, lr=falling, optimizer=optimizer, g=g)
    assert history.lri.tolist() == [falling(0), falling(1), falling(2)]
    assert optimizer.param_groups[0]["lr"] == falling(2)


def test_lr_is_set_on_every_group_of_the_optimizer():
    model, g = fresh()
    C, *others = model.parameters()
    optimizer = torch.optim.SGD([{"params": [C], "lr": 7.0}, {"params": others, "lr": 8.0}])
    train(model, X, Y, steps=3, lr=falling, optimizer=optimizer, g=g)
    assert [group["lr"] for group in optimizer.param_groups] == [falling(2)] * 2


def test_an_optimizer_of_some_of_the_parameters_trains_those():
    model, g = fresh()
    before, _ = fresh()
    train(model, X, Y, steps=3, optimizer=torch.optim.SGD([model.W2], lr=0.1), g=g)
    assert not torch.equal(model.W2, before.W2)
    assert torch.equal(model.C, before.C)


def test_a_model_of_which_one_parameter_is_not_frozen_trains_that_one():
    model, g = fresh()
    before, _ = fresh()
    model.requires_grad_(False).W2.requires_grad_()
    train(model, X, Y, steps=3, g=g)
    assert not torch.equal(model.W2, before.W2)
    assert torch.equal(model.C, before.C)


def test_without_lr_the_default_is_the_lectures():
    model, g = fresh()
    assert next(iter(train_steps(model, X, Y, steps=1, g=g))).lr == 0.1


# --- the record -----------------------------------------------------------------------------------------------------


def test_history_holds_what_happened():
    model, g = fresh()
    seen = []
    history = train(
        model, X, Y, steps=25, start=5, lr=falling, g=g, eval_on={"all": (X, Y), "some": (X[:9], Y[:9])}, eval_every=10,
        on_step=seen.append,
    )  # fmt: skip
    assert history.stepi.tolist() == list(range(5, 30)) == [s.i for s in seen]
    assert history.lossi.tolist() == [s.loss for s in seen]
    assert history.lri.tolist() == [falling(i) for i in range(5, 30)]
    assert history.eval_stepi == [5, 10, 20, 30]
    assert set(history.evals) == {"all", "some"}
    assert history.evals["all"][-1] == eval_loss(model, X, Y)
    assert history.stopped is None
    assert history.seconds > 0
    assert repr(history) == f"History(25 steps, last loss {seen[-1].loss:.4f})"
    assert repr(History()) == "History(no steps)"


def test_eval_without_eval_every_measures_the_two_ends():
    model, g = fresh()
    history = train(model, X, Y, steps=7, g=g, eval_on={"all": (X, Y)})
    assert history.eval_stepi == [0, 7]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    model, g = fresh()

    def rate(i):
        return 0.1 if i < 3 else 1e38

    history = train(model, X, Y, steps=500, lr=rate, g=g)
    last = history.stepi[-1].item()
    assert 3 < last < 20
    assert math.isfinite(history.lossi[-2])
    assert not math.isfinite(history.lossi[-1])
    assert history.stopped == (
        f"the loss was {history.lossi[-1].item()} at step {last} (lr 1e+38): try a smaller learning rate"
    )
    assert "stopped: the loss was" in repr(history)


def test_an_interrupt_keeps_what_there_is():
    model, g = fresh()

    def interrupt(step):
        if step.i == 12:
            raise KeyboardInterrupt

    history = train(model, X, Y, steps=100, g=g, on_step=interrupt)
    assert history.stepi.tolist() == list(range(13))
    assert history.stopped == "interrupted after step 12"
    other, g2 = fresh()
    train(other, X, Y, steps=13, g=g2)
    assert same(model, other)


def test_an_interrupt_between_the_step_and_its_entry_loses_nothing(monkeypatch):
    model, g = fresh()
    plain = History.record

    def record(self, step):
        if step.i == 4 and not getattr(self, "interrupted", False):
            self.interrupted = True
            self._i.append(step.i)
            raise KeyboardInterrupt
        plain(self, step)

    monkeypatch.setattr(History, "record", record)
    history = train(model, X, Y, steps=10, g=g)
    assert history.stepi.tolist() == [0, 1, 2, 3, 4]
    assert len(history.lossi) == len(history.lri) == 5


def test_an_interrupt_before_the_first_step():
    model, g = fresh()

    def stepper(*args, **kwargs):
        raise KeyboardInterrupt
        yield

    history = train(model, X, Y, steps=10, g=g, stepper=stepper)
    assert history.stopped == "interrupted before the first step"
    assert len(history) == 0


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for an evaluation, 1000 s, one of which ends by an interrupt if asked."""
    module = sys.modules["mlp_lib.train"]
    clock = SimpleNamespace(now=0.0, evaluations=0, interrupted_at=None)

    def slow_loss(model, x, y):
        clock.now += 1000
        clock.evaluations += 1
        if clock.evaluations == clock.interrupted_at:
            raise KeyboardInterrupt
        return 2.5

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(module, "eval_loss", slow_loss)
    return clock


@pytest.mark.parametrize(
    ("interrupted_at", "stopped", "evals", "seconds"),
    [
        (None, None, 5, 8.0),  # before the first step, after 2, 4, 6, and after the last
        (1, "interrupted before the first step", 0, 0.0),
        (4, "interrupted after step 5", 3, 6.0),
        (5, "interrupted after step 7", 4, 8.0),
    ],
    ids=["never", "in the first evaluation", "in one on the way", "in the last"],
)
def test_an_interrupted_evaluation_keeps_the_record_and_counts_no_time(clock, interrupted_at, stopped, evals, seconds):
    model, g = fresh()
    clock.interrupted_at = interrupted_at

    def work(step):
        clock.now += 1

    history = train(model, X, Y, steps=8, g=g, eval_on={"all": (X, Y)}, eval_every=2, on_step=work)
    assert history.stopped == stopped
    assert history.evals.get("all", []) == [2.5] * evals
    assert history.seconds == seconds
    assert len(history) == seconds


def test_an_interrupt_keeps_the_time_of_the_steps_before_it(clock):
    model, g = fresh()

    def work(step):
        clock.now += 1
        if step.i == 4:
            raise KeyboardInterrupt

    history = train(model, X, Y, steps=8, g=g, eval_on={"all": (X, Y)}, eval_every=2, on_step=work)
    assert history.stopped == "interrupted after step 4"
    assert history.seconds == 5.0


def test_an_error_in_the_hook_comes_through():
    model, g = fresh()

    def hook(step):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        train(model, X, Y, steps=3, g=g, on_step=hook)


def test_the_stepper_is_handed_in_and_told_who_looks():
    asked = []

    def stepper(model, X, Y, **kwargs):
        asked.append(kwargs["look_every"])
        yield Step(kwargs["start"], 0.5, 1.25)

    model, g = fresh()
    history = train(model, X, Y, steps=1, g=g, stepper=stepper)
    assert (history.lri.item(), history.lossi.item()) == (0.5, 1.25)
    train(model, X, Y, steps=1, g=g, stepper=stepper, eval_on={"all": (X, Y)}, eval_every=6)
    train(model, X, Y, steps=1, g=g, stepper=stepper, on_step=print)
    assert asked == [None, 6, 1]


def test_a_stepper_may_be_a_plain_iterator():
    model, g = fresh()
    history = train(model, X, Y, steps=3, g=g, stepper=lambda *data, **how: iter(list(train_steps(*data, **how))))
    assert len(history) == 3


def test_progress_goes_to_stderr(capsys):
    model, g = fresh()
    train(model, X, Y, steps=5, g=g, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "5.00/5.00" in captured.err


# --- the exact loss -------------------------------------------------------------------------------------------------


def test_eval_loss_is_the_lectures_whole_split_loss():
    model, _ = fresh()
    with torch.no_grad():
        expected = F.cross_entropy(model(X), Y).item()
    assert eval_loss(model, X, Y) == pytest.approx(expected, rel=1e-6)


def test_eval_loss_in_pieces_is_exact(monkeypatch):

    model, _ = fresh()
    whole = eval_loss(model, X, Y)
    monkeypatch.setattr(sys.modules["mlp_lib.train"], "_EVAL_ROWS", 7)
    assert eval_loss(model, X, Y) == pytest.approx(whole, rel=1e-6)


def test_eval_loss_adds_in_float64():
    model, _ = fresh()
    with torch.no_grad():
        losses = F.cross_entropy(model(X), Y, reduction="none")
    assert eval_loss(model, X, Y) == pytest.approx(math.fsum(losses.tolist()) / len(Y), rel=1e-13)
    assert losses.sum().item() / len(Y) != pytest.approx(math.fsum(losses.tolist()) / len(Y), rel=1e-13)


def test_eval_loss_switches_dropout_off_and_on_again():
    class Dropping(Flat):
        def forward(self, x):
            return self.out(F.dropout(self.table(x).flatten(1), 0.5, self.training))

    model = Dropping()
    assert eval_loss(model, X, Y) == eval_loss(model, X, Y)
    assert model.training


# --- refusals -------------------------------------------------------------------------------------------------------

MODEL, _ = fresh()
EARLIER, _ = fresh()
FROZEN = fresh()[0].requires_grad_(False)
G = generator()
NAME_THEM = "eval_on must name its splits: write eval_on={'dev': (Xdev, Ydev)}, got "


def steps(model=MODEL, x=X, y=Y, **kwargs):
    return lambda: list(train_steps(model, x, y, **{"steps": 1, "g": G, **kwargs}))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (steps(steps=-1), ValueError, "steps must be at least 0, got -1"),
        (steps(steps=1.0), TypeError, "steps must be a whole number, got 1.0"),
        (steps(start=-1), ValueError, "start must be at least 0, got -1"),
        (steps(batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
        (steps(look_every=0), ValueError, "look_every must be at least 1, got 0"),
        (steps(lr=-0.1), ValueError, "lr must be a finite number of at least 0, got -0.1: try 0.1"),
        (steps(lr=math.nan), ValueError, "lr must be a finite number of at least 0, got nan: try 0.1"),
        (steps(lr=math.inf), ValueError, "lr must be a finite number of at least 0, got inf: try 0.1"),
        (
            steps(lr=lambda i: math.nan),
            ValueError,
            "lr must be a finite number of at least 0, got nan at step 0: try 0.1",
        ),
        (steps(lr="fast"), TypeError, "lr must be a number or a function of the step's number, got 'fast'"),
        (
            steps(lr=lambda i: None),
            TypeError,
            "lr must be a number or a function of the step's number, got None at step 0",
        ),
        (
            steps(g=None),
            TypeError,
            "g must be a torch.Generator, such as torch.Generator().manual_seed(2147483647), got None",
        ),
        (
            steps(g=42),
            TypeError,
            "g must be a torch.Generator, such as torch.Generator().manual_seed(2147483647), got 42",
        ),
        (
            lambda: train_steps(MODEL, X, Y, steps=1),
            TypeError,
            "train_steps() missing 1 required keyword-only argument: 'g'",
        ),
        (
            steps(model=print),
            TypeError,
            "model must be a torch.nn.Module that maps X to logits, got builtin_function_or_method",
        ),
        (steps(x=X.tolist()), TypeError, "X must be a torch.Tensor, got list"),
        (steps(x=X.float()), TypeError, "X must hold integer indices, got torch.float32: build it with build_dataset"),
        (steps(y=Y[:, None]), ValueError, f"Y must have one dimension, (examples,), got shape ({len(Y)}, 1)"),
        (
            steps(y=Y[1:]),
            ValueError,
            f"X has {len(Y)} rows but Y has {len(Y) - 1}: take both from the same build_dataset call",
        ),
        (steps(x=X[:0], y=Y[:0]), ValueError, "X and Y hold no examples: build them from at least one word"),
        (
            steps(x=X[:, :2]),
            ValueError,
            f"X has shape ({len(X)}, 2) but this model was built with block_size=3: "
            "build the dataset with block_size=3",
        ),
        (steps(x=X - 1), ValueError, "X holds the index -1: indices start at 0"),
        (
            steps(y=Y + 27 * (Y.max() == Y)),
            ValueError,
            f"Y holds the index {27 + Y.max()} but this model was built with vocab_size=27: "
            "build model and dataset from the same vocabulary",
        ),
        (
            steps(model=nn.Identity(), x=torch.tensor(3)),
            ValueError,
            "X must have one row an example, (examples, block_size), got shape (): build it with build_dataset",
        ),
        (
            steps(model=nn.Identity(), x=X[:, :0]),
            ValueError,
            f"X must have one row an example, (examples, block_size), got shape ({len(X)}, 0): "
            "build it with build_dataset",
        ),
        (
            steps(model=FROZEN),
            ValueError,
            "no parameter of the model requires a gradient, so there is nothing to train: call model.requires_grad_()",
        ),
        (
            steps(optimizer=torch.optim.Adam),
            TypeError,
            "optimizer must be made for the model, such as torch.optim.Adam(model.parameters()), got the class Adam",
        ),
        (
            steps(optimizer="adam"),
            TypeError,
            "optimizer must be made for the model, such as torch.optim.Adam(model.parameters()), got str",
        ),
        (
            steps(optimizer=torch.optim.LBFGS(MODEL.parameters())),
            TypeError,
            "optimizer must take its step from one gradient, but LBFGS computes the loss several times a step: "
            "take another, such as torch.optim.Adam(model.parameters())",
        ),
        (
            steps(optimizer=torch.optim.SGD(EARLIER.parameters(), lr=0.1)),
            ValueError,
            "the optimizer holds no parameter of this model, so the model would never change: "
            "make it anew, from this one's: SGD(model.parameters(), ...)",
        ),
        (lambda: train(MODEL, X, Y, steps=1, g=G, eval_on=(X, Y)), TypeError, NAME_THEM + "tuple"),
        (lambda: train(MODEL, X, Y, steps=1, g=G, eval_on={"dev": X}), TypeError, NAME_THEM + "{'dev': Tensor}"),
        (
            lambda: train(MODEL, X, Y, steps=1, g=G, eval_on={"all": (X, Y), "dev": (X,)}),
            TypeError,
            NAME_THEM + "{'dev': tuple of 1}",
        ),
        (
            lambda: train(MODEL, X, Y, steps=1, g=G, eval_every=5),
            ValueError,
            "eval_every=5 but eval_on names no split: pass eval_on={'dev': (Xdev, Ydev)}",
        ),
        (
            lambda: train(MODEL, X, Y, steps=1, g=G, eval_every=0, eval_on={"all": (X, Y)}),
            ValueError,
            "eval_every must be at least 1, got 0",
        ),
        (
            lambda: eval_loss(MODEL, X[:0], Y[:0]),
            ValueError,
            "X and Y hold no examples: build them from at least one word",
        ),
    ],
)
def test_refusals(call, error, sentence):
    before = [p.clone() for p in MODEL.tensors()]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == sentence
    assert all(torch.equal(a, b) for a, b in zip(before, MODEL.tensors(), strict=True)), "nothing may be lost"


def test_in_inference_mode_nothing_is_trained():
    def made_there():
        with torch.inference_mode():
            return X.clone()

    def inside(stepper):
        with torch.inference_mode():
            list(stepper(MODEL, X, Y, steps=1, g=G))

    sentence = r"nothing can be trained in torch\.inference_mode\(\), or with a tensor made in it: leave the block"
    for stepper in (train_steps, fast_steps):
        with pytest.raises(ValueError, match=sentence):
            inside(stepper)
        with pytest.raises(ValueError, match=sentence):
            stepper(MODEL, made_there(), Y, steps=1, g=G)


def test_counts_are_no_network():
    model = NGram(2).fit(X, Y, len(VOCAB))
    with pytest.raises(ValueError, match="the loss of NGram depends on no parameter, so there is nothing to train"):
        train(model, X, Y, steps=1, g=G)


def test_data_is_refused_at_once_not_at_the_first_step():
    with pytest.raises(ValueError, match="X and Y hold no examples"):
        train_steps(MODEL, X[:0], Y[:0], steps=1, g=G)


def test_a_rate_that_turns_bad_leaves_the_steps_before_it():
    model, g = fresh()
    taken = []
    run = train_steps(model, X, Y, steps=9, lr=lambda i: 0.1 if i < 3 else -1, g=g)
    with pytest.raises(ValueError, match=r"got -1\.0 at step 3"):
        taken.extend(step.i for step in run)
    other, g2 = fresh()
    train(other, X, Y, steps=3, g=g2)
    assert taken == [0, 1, 2]
    assert same(model, other)
    assert torch.equal(g.get_state(), g2.get_state())


def test_a_rate_of_zero_is_a_rate():
    model, g = fresh()
    before, _ = fresh()
    steps = list(train_steps(model, X, Y, steps=3, lr=lambda i: 0.0, g=g))
    assert [step.lr for step in steps] == [0.0] * 3
    assert same(model, before)


def test_a_record_that_is_looked_at_goes_on():
    history = History()
    for column in (history._i, history._lr, history._loss):
        column.extend([1] * 300_000)  # NumPy lets other threads run while it copies that much
    trouble = []

    def recording():
        try:
            for i in range(20_000):
                history.record(Step(i, 0.1, 3.0))
        except BufferError as error:
            trouble.append(error)

    thread = threading.Thread(target=recording)
    thread.start()
    while thread.is_alive():
        assert len(history.stepi) >= 300_000
        assert len(history.lri) >= 300_000
        assert len(history.lossi) >= 300_000
    assert trouble == []
    assert {len(history.stepi), len(history.lri), len(history.lossi)} == {320_000}
