"""The learning-rate sweep: the lecture's loop bit for bit, nothing left behind, stops that are named, refusals."""

import copy
import itertools
import math
import threading
import time

import numpy as np
import pytest
import torch
from lecture_reference import initial, training
from torch import nn

from mlp_lib import MLP, MLPConfig, Step, Vocab, build_dataset, load_words, train_steps
from mlp_lib.lab.fast import fast_steps
from mlp_lib.sweep import SweepResult, lr_sweep

WORDS = load_words()[:200]
VOCAB = Vocab.from_words(load_words())
X, Y = build_dataset(WORDS, VOCAB)
CONFIG = MLPConfig(n_embd=2, n_hidden=20)
SEED = 2147483647

# Most sweeps here are too short to turn; that this is said is tested by itself.
pytestmark = pytest.mark.filterwarnings("ignore:the smoothed loss is lowest at lr")


def fresh(seed=SEED):
    g = torch.Generator().manual_seed(seed)
    return MLP(CONFIG, g=g), g


class Untouched:
    """Asserts that a model and a generator are the same, bit for bit, after the block."""

    def __init__(self, model, g):
        self.model, self.g = model, g

    def __enter__(self):
        self.state = copy.deepcopy(self.model.state_dict())
        self.g_state, self.global_state = self.g.get_state(), torch.get_rng_state()
        self.training = [part.training for part in self.model.modules()]
        self.grads = [p.grad for p in self.model.parameters()]

    def __exit__(self, *_):
        now = self.model.state_dict()
        assert all(torch.equal(now[name], t) for name, t in self.state.items())
        assert torch.equal(self.g.get_state(), self.g_state)
        assert torch.equal(torch.get_rng_state(), self.global_state)
        assert [part.training for part in self.model.modules()] == self.training
        assert all(p.grad is grad for p, grad in zip(self.model.parameters(), self.grads, strict=True))


def scripted(losses):
    """A stepper that trains nothing and yields these losses, or calls them if they are functions."""

    def stepper(model, X, Y, *, steps, lr, batch_size, look_every, g):
        for i in range(steps):
            loss = losses[min(i, len(losses) - 1)]
            yield Step(i, lr(i), loss() if callable(loss) else loss)

    return stepper


# --- the right thing is measured ------------------------------------------------------------------------------------


def test_rates_are_the_lecture_s_at_the_defaults():
    model, g = fresh()
    result = lr_sweep(model, X, Y, g=g)
    lre = torch.linspace(-3, 0, 1000)
    assert torch.equal(result.lre, lre)
    assert torch.equal(result.lrs, 10**lre)


def test_one_run_is_the_lecture_s_loop_bit_for_bit():
    model, g = fresh()
    result = lr_sweep(model, X, Y, steps=300, g=g)

    by_hand = torch.Generator().manual_seed(SEED)
    parameters = initial(by_hand, n_embd=2, n_hidden=20)
    lrs = 10 ** torch.linspace(-3, 0, 300)
    losses = [loss for loss, _ in training(parameters, X, Y, steps=300, lr=lambda i: lrs[i], g=by_hand)]
    assert result.lossi[0].tolist() == losses


def test_each_step_uses_its_own_rate():
    seen = []

    def stepper(model, X, Y, *, lr, **others):
        seen.extend(lr(i) for i in range(others["steps"]))
        return train_steps(model, X, Y, lr=lr, **others)

    model, g = fresh()
    result = lr_sweep(model, X, Y, lo=0.01, hi=0.5, steps=40, stepper=stepper, g=g)
    assert seen == result.lrs.tolist()
    assert seen[0] == pytest.approx(0.01, rel=1e-6)
    assert seen[-1] == pytest.approx(0.5, rel=1e-6)
    ratios = [b / a for a, b in itertools.pairwise(seen)]
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-4)


def test_the_rates_that_are_swept_matter():
    """The mistake in widely copied notes, an update that always uses 0.1, would give the same losses for any range."""
    model, g = fresh()
    assert not torch.equal(lr_sweep(model, X, Y, steps=60, g=g).lossi, lr_sweep(model, X, Y, hi=2, steps=60, g=g).lossi)


# --- nothing is left behind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stepper", [train_steps, fast_steps])
@pytest.mark.parametrize("options", [{}, {"seeds": 3}, {"seeds": 3, "fresh": True, "threads": 2}, {"hi": 1e4}], ids=str)
def test_model_and_generators_are_untouched(stepper, options):
    model, g = fresh()
    model.C.grad = torch.ones_like(model.C)
    model.eval()
    with Untouched(model, g):
        lr_sweep(model, X, Y, steps=100, stepper=stepper, g=g, **options)


def test_a_model_over_the_notebook_s_tensors_is_untouched():
    g = torch.Generator().manual_seed(SEED)
    tensors = initial(g, n_embd=2, n_hidden=20)
    before = [t.clone() for t in tensors]
    lr_sweep(MLP.from_tensors(*tensors), X, Y, steps=50, g=g)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def _raise(error):
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")], ids=repr)
@pytest.mark.parametrize("threads", [1, 3])
def test_untouched_after_an_error_and_the_error_comes_through(error, threads):
    model, g = fresh()
    calls = []

    def stepper(*args, **options):
        for step in train_steps(*args, **options):
            calls.append(step.i)
            if step.i == 5:
                raise error
            yield step

    with Untouched(model, g), pytest.raises(type(error)):
        lr_sweep(model, X, Y, steps=10_000, seeds=3, stepper=stepper, threads=threads, g=g)
    assert len(calls) < 1000, "the other runs have to end too"


def test_an_interrupt_while_threads_are_at_work_ends_them():
    import _thread

    model, g = fresh()
    threads = threading.active_count()
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    slow = scripted([lambda: time.sleep(0.01) or 3.0])
    start = time.perf_counter()
    with Untouched(model, g), pytest.raises(KeyboardInterrupt):
        lr_sweep(model, X, Y, steps=100_000, seeds=2, threads=2, stepper=slow, g=g)
    timer.join()
    assert time.perf_counter() - start < 20
    assert threading.active_count() <= threads


def test_the_iterator_is_closed_when_a_run_is_stopped():
    closed = []

    def stepper(model, X, Y, **options):
        try:
            yield Step(0, 0.1, math.nan)
        finally:
            closed.append(True)

    model, g = fresh()
    with pytest.warns(UserWarning, match="so the sweep measured nothing"):
        lr_sweep(model, X, Y, stepper=stepper, g=g)
    assert closed == [True]


def test_thread_count_of_torch_is_left_alone():
    model, g = fresh()
    before = torch.get_num_threads()
    lr_sweep(model, X, Y, steps=100, seeds=4, threads=2, g=g)
    assert torch.get_num_threads() == before


# --- several runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stepper", [train_steps, fast_steps])
@pytest.mark.parametrize("fresh_models", [False, True])
def test_threads_change_nothing(stepper, fresh_models):
    model, g = fresh()
    one, many = (
        lr_sweep(model, X, Y, steps=200, seeds=5, fresh=fresh_models, stepper=stepper, threads=threads, g=g)
        for threads in (1, 4)
    )
    assert torch.equal(one.lossi, many.lossi)
    assert one.stopped_at == many.stopped_at


def test_same_generator_same_result_and_more_seeds_only_add_runs():
    model, g = fresh()
    three = lr_sweep(model, X, Y, steps=50, seeds=3, g=g).lossi
    assert torch.equal(lr_sweep(model, X, Y, steps=50, seeds=3, g=g).lossi, three)
    assert torch.equal(lr_sweep(model, X, Y, steps=50, seeds=5, g=g).lossi[:3], three)
    assert torch.equal(lr_sweep(model, X, Y, steps=50, g=g).lossi, three[:1])
    assert len({tuple(run) for run in three.tolist()}) == 3


def test_fresh_models_are_drawn_before_the_minibatches():
    model, g = fresh()
    start = torch.Generator().manual_seed(SEED)
    result = lr_sweep(model, X, Y, steps=50, seeds=3, fresh=True, g=start)
    # The first is what one generator gives that draws the parameters and then the minibatches: the lecture's order.
    assert torch.equal(result.lossi[0], lr_sweep(model, X, Y, steps=50, g=g).lossi[0])
    assert len({run[0].item() for run in result.lossi}) == 3


def test_another_generator_gives_another_result():
    model, g = fresh()
    other = torch.Generator().manual_seed(1)
    a, b = (lr_sweep(model, X, Y, steps=20, seeds=2, g=gen).lossi for gen in (g, other))
    assert not torch.equal(a[0], b[0])
    assert not torch.equal(a[1], b[1])


def test_fast_and_plain_agree_where_rounding_is_not_amplified():
    model, g = fresh()
    a, b = (lr_sweep(model, X, Y, hi=0.1, steps=200, seeds=2, stepper=s, g=g) for s in (train_steps, fast_steps))
    assert torch.allclose(a.lossi, b.lossi, rtol=1e-4)


def test_all_rows_and_any_module():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(len(VOCAB), 2), nn.Flatten(), nn.Linear(6, len(VOCAB)))
    g = torch.Generator().manual_seed(SEED)
    with Untouched(model, g):
        result = lr_sweep(model, X, Y, lo=0.01, hi=100, steps=60, batch_size=None, g=g)
    assert result.lossi.shape == (1, 60)


# --- smoothing, mean, band, suggestion ------------------------------------------------------------------------------


def result_of(lossi, window, stopped_at=None):
    lossi = torch.tensor(lossi, dtype=torch.float64)
    lre = torch.linspace(-3, 0, lossi.shape[1])
    return SweepResult(lre, 10**lre, lossi, window, stopped_at or (None,) * len(lossi), None)


def test_smoothing_is_a_centred_mean_that_narrows_at_the_ends():
    result = result_of([[1.0, 2.0, 6.0, 4.0, 8.0, 3.0]], window=5)
    expected = [1.0, 3.0, 21 / 5, 23 / 5, 5.0, 3.0]
    assert result.curves[0].tolist() == pytest.approx(expected)
    assert result.mean.tolist() == pytest.approx(expected)


def test_smoothing_leaves_a_straight_line_alone():
    line = torch.linspace(5, 1, 40, dtype=torch.float64)
    assert torch.allclose(result_of([line.tolist()], window=9).mean, line)


def test_a_window_of_one_is_the_loss_itself():
    assert result_of([[3.0, 1.0, 2.0]], window=1).mean.tolist() == [3.0, 1.0, 2.0]


def test_mean_band_minima_and_suggestion():
    result = result_of([[3.0, 1.0, 2.0, 4.0], [5.0, 4.0, 2.0, 6.0]], window=1)
    low, high = result.band
    assert result.mean.tolist() == [4.0, 2.5, 2.0, 5.0]
    assert low.tolist() == [3.0, 1.0, 2.0, 4.0]
    assert high.tolist() == [5.0, 4.0, 2.0, 6.0]
    assert torch.equal(result.minima, result.lrs[[1, 2]])
    assert result.suggestion == result.lrs[2].item()
    assert not result.at_edge
    assert len(result) == 2


def test_the_mean_ends_with_the_first_run_that_ends():
    nan = math.nan
    result = result_of([[3.0, 2.0, 1.0, 1.0], [3.0, 4.0, 90.0, nan]], window=1, stopped_at=(None, 2))
    assert result.mean[:3].tolist() == [3.0, 3.0, 45.5]
    assert result.mean[3].isnan()
    assert result.curves[0].tolist() == [3.0, 2.0, 1.0, 1.0]
    assert torch.equal(result.minima, result.lrs[[2, 0]])


def test_the_default_window_is_a_twentieth_made_odd():
    model, g = fresh()
    falls_and_rises = scripted([3.0, 2.0] + [4.0] * 1000)
    for steps, window in ((1000, 51), (60, 3), (20, 1)):
        assert lr_sweep(model, X, Y, steps=steps, stepper=falls_and_rises, g=g).window == window
    assert lr_sweep(model, X, Y, steps=30, window=4, stepper=falls_and_rises, g=g).window == 5


def test_the_suggestion_on_the_whole_list_is_near_the_lecture_s_tenth():
    words = load_words()
    x, y = build_dataset(words, VOCAB)
    g = torch.Generator().manual_seed(SEED)
    model = MLP(MLPConfig(n_embd=2, n_hidden=100), g=g)
    result = lr_sweep(model, x, y, seeds=8, fresh=True, stepper=fast_steps, g=g)
    assert 0.09 < result.suggestion < 0.18
    assert result.mean[0] > 10
    assert 3.0 < result.mean.nan_to_num(99).min() < 3.6
    assert result.mean[-1] > 6
    assert result.stopped is None


def test_a_minimum_at_an_end_is_warned_of():
    model, g = fresh()
    with pytest.warns(UserWarning, match="smoothed loss is lowest at lr 0.001, an end of what was swept") as caught:
        result = lr_sweep(model, X, Y, lo=1e-5, hi=1e-3, steps=200, batch_size=None, g=g)
    assert result.at_edge
    assert "sweep a wider range than 1e-05 to 0.001" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_loss_that_is_nan_from_the_start_is_no_minimum_at_an_end():
    model, g = fresh()
    with pytest.warns(UserWarning, match="the loss was nan at step 0") as caught:
        lr_sweep(model, X, Y, steps=60, seeds=2, stepper=scripted([math.nan]), g=g)
    assert [str(w.message) for w in caught] == [
        "the loss was nan at step 0 (lr 0.001) in run 0; 2 of 2 runs ended early, so the sweep measured nothing: look "
        "at the parameters the model starts from, or begin below 0.001"
    ]
    assert caught[0].filename == __file__


# --- stopping -------------------------------------------------------------------------------------------------------


def test_stops_where_the_loss_has_blown_up_and_says_so():
    model, g = fresh()
    losses = [8.0] * 10 + [2.0] * 10 + [7.0] * 10 + [10.0] * 1000
    result = lr_sweep(model, X, Y, lo=0.001, hi=10, steps=400, window=3, stepper=scripted(losses), g=g)
    # The mean of three is 2 at best; 7, 10, 10 is the first mean above 8.
    assert result.stopped_at == (31,)
    rate = result.lrs[31].item()
    assert result.stopped == f"the loss had blown up to 9 at step 31 (lr {rate:.3g})"
    assert torch.isfinite(result.lossi[0, :32]).all()
    assert torch.isnan(result.lossi[0, 32:]).all()
    assert "stopped: the loss had blown up" in repr(result)


def test_a_real_run_blows_up_and_takes_no_further_step():
    model, g = fresh()
    result = lr_sweep(model, X, Y, hi=1e4, steps=300, g=g)
    (at,) = result.stopped_at
    assert 100 < at < 299
    assert torch.isnan(result.lossi[0, at + 1 :]).all()
    assert result.suggestion < 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_stops_at_a_loss_that_is_not_finite(bad):
    model, g = fresh()
    result = lr_sweep(model, X, Y, steps=60, window=1, stepper=scripted([3.0, 2.0, 2.5, bad]), g=g)
    assert result.stopped_at == (3,)
    assert result.stopped == f"the loss was {bad} at step 3 (lr {result.lrs[3]:.3g})"
    assert result.suggestion == result.lrs[1].item()


def test_several_stopped_runs_are_counted():
    model, g = fresh()
    result = lr_sweep(model, X, Y, hi=1e4, steps=200, seeds=3, g=g)
    assert all(at is not None for at in result.stopped_at)
    assert result.stopped.endswith(" in run 0; 3 of 3 runs ended early")
    end = min(result.stopped_at)
    assert torch.isfinite(result.mean[: end + 1]).all()
    assert torch.isnan(result.mean[end + 1 :]).all()


def test_it_can_be_told_never_to_stop():
    model, g = fresh()
    result = lr_sweep(model, X, Y, hi=100, steps=200, blow_up=np.float32(math.inf), g=g)
    assert result.stopped is None
    assert torch.isfinite(result.lossi).all()


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"lo": 1.0, "hi": 0.1}, ValueError, "lo must be below hi, got lo=1 and hi=0.1: "
         "the sweep goes from the low rate upwards"),
        ({"lo": 0.1, "hi": 0.1}, ValueError, "lo must be below hi, got lo=0.1 and hi=0.1: "
         "the sweep goes from the low rate upwards"),
        ({"lo": -3, "hi": 1}, ValueError, "lo must be a finite learning rate above 0, got -3: "
         "give the rate, such as 0.001, not its exponent"),
        ({"hi": 0}, ValueError, "hi must be a finite learning rate above 0, got 0: "
         "give the rate, such as 0.001, not its exponent"),
        ({"hi": math.inf}, ValueError, "hi must be a finite learning rate above 0, got inf: "
         "give the rate, such as 0.001, not its exponent"),
        ({"hi": 1e39}, ValueError, "hi must be a rate that float32 can hold, got 1e+39: end the range lower"),
        ({"lo": "low"}, TypeError, "lo must be a learning rate, a number above 0, got 'low'"),
        ({"steps": 1}, ValueError, "steps must be at least 2, got 1"),
        ({"steps": 1e3}, TypeError, "steps must be a whole number, got 1000.0"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"seeds": 0}, ValueError, "seeds must be at least 1, got 0"),
        ({"seeds": [1, 2]}, TypeError, "seeds must be a whole number, got [1, 2]"),
        ({"threads": -1}, ValueError, "threads must be at least 1, got -1"),
        ({"window": 0}, ValueError, "window must be at least 1, got 0"),
        ({"blow_up": 1}, ValueError, "blow_up must be above 1, got 1: it says how many times the lowest loss is too "
         "much"),
        ({"g": None}, TypeError, "g must be a torch.Generator, such as torch.Generator().manual_seed(2147483647), got "
         "None"),
        ({"model": nn.Linear(1, 1), "fresh": True}, TypeError, "fresh=True draws new models of the same MLPConfig, but "
         "model is a Linear: pass an MLP, or leave fresh out"),
        ({"model": MLP(MLPConfig(vocab_size=20), g=torch.Generator())}, ValueError, "X holds the index 26 but this "
         "model was built with vocab_size=20: build model and dataset from the same vocabulary"),
        ({"model": MLP(MLPConfig(block_size=4), g=torch.Generator())}, ValueError, f"X has shape {tuple(X.shape)} but "
         "this model was built with block_size=4: build the dataset with block_size=4"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)  # fmt: skip
def test_refusals(change, error, sentence):
    model, g = fresh()
    options = {"model": model, "g": g, **change}
    model = options.pop("model")
    with pytest.raises(error) as caught:
        lr_sweep(model, X, Y, **options)
    assert str(caught.value) == sentence


def test_a_fresh_model_is_of_the_same_kind():
    model, g = fresh()
    model.double().C.requires_grad_(False)
    seen = []

    def noting(model, X, Y, **settings):
        seen.append([(p.dtype, p.requires_grad) for p in model.tensors()])
        return train_steps(model, X, Y, **settings)

    lr_sweep(model, X, Y, steps=5, seeds=2, fresh=True, stepper=noting, g=g)
    assert seen == [[(torch.float64, k > 0) for k in range(5)]] * 2


def test_the_generator_has_no_default():
    model, _ = fresh()
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'g'"):
        lr_sweep(model, X, Y)
