"""The learning-rate sweep: equal to the lecture's loop, no side effects, several runs, runs that end early."""

import copy
import math
import warnings

import pytest
import torch
from lecture_reference import initial, training
from torch import nn

from mlp_lib import MLP, MLPConfig, Step, Vocab, build_dataset, load_words, train_steps
from mlp_lib.lab.fast import fast_steps
from mlp_lib.sweep import SweepResult, lr_sweep

VOCAB = Vocab.from_words(load_words())
X, Y = build_dataset(load_words()[:200], VOCAB)
SEED = 2147483647
both_steppers = pytest.mark.parametrize("stepper", [train_steps, fast_steps])

# Most sweeps here are too short for the loss to turn; the warning about that has its own test.
pytestmark = pytest.mark.filterwarnings("ignore:the smoothed loss is lowest at lr")


def fresh(seed=SEED):
    g = torch.Generator().manual_seed(seed)
    return MLP(MLPConfig(n_embd=2, n_hidden=20), g=g), g


class Untouched:
    """Asserts that a model and a generator are the same, bit for bit, after the block."""

    def __init__(self, model, g):
        self.model, self.g = model, g

    def facts(self):
        return [
            *copy.deepcopy(self.model.state_dict()).values(), self.g.get_state(), torch.get_rng_state(),
            torch.tensor([part.training for part in self.model.modules()]),
            *(torch.zeros(()) if p.grad is None else p.grad.clone() for p in self.model.parameters()),
        ]  # fmt: skip

    def __enter__(self):
        self.before = self.facts()

    def __exit__(self, *_):
        assert all(map(torch.equal, self.before, self.facts()))


def scripted(*losses):
    """A stepper that trains nothing and yields these losses, repeating the last one."""

    def stepper(model, X, Y, *, steps, lr, batch_size, g):
        for i in range(steps):
            yield Step(i, lr(i), losses[min(i, len(losses) - 1)])

    return stepper


# --- what is measured -----------------------------------------------------------------------------------------------


def test_default_rates_equal_the_lectures():
    model, g = fresh()
    result = lr_sweep(model, X, Y, stepper=scripted(3.0), g=g)
    lre = torch.linspace(-3, 0, 1000)
    assert torch.equal(result.lre, lre)
    assert torch.equal(result.lrs, 10**lre)
    assert result.window == 51


def test_one_run_equals_the_lectures_loop_exactly():
    model, g = fresh()
    result = lr_sweep(model, X, Y, steps=300, g=g)
    by_hand = torch.Generator().manual_seed(SEED)
    lrs = 10 ** torch.linspace(-3, 0, 300)
    parameters = initial(by_hand, n_embd=2, n_hidden=20)
    losses = [loss for loss, _ in training(parameters, X, Y, steps=300, lr=lambda i: lrs[i], g=by_hand)]
    assert result.lossi[0].tolist() == losses


def test_each_step_uses_its_own_rate():
    seen = []

    def stepper(*args, lr, steps, **others):
        seen.extend(lr(i) for i in range(steps))
        return train_steps(*args, lr=lr, steps=steps, **others)

    model, g = fresh()
    result = lr_sweep(model, X, Y, lo=0.01, hi=0.5, steps=40, stepper=stepper, g=g)
    assert seen == result.lrs.tolist()


# --- no side effects ------------------------------------------------------------------------------------------------


@both_steppers
@pytest.mark.parametrize("options", [{}, {"runs": 3, "fresh": True}, {"hi": 1e4}], ids=str)
def test_sweep_leaves_model_and_generators_unchanged(stepper, options):
    model, g = fresh()
    model.C.grad = torch.ones_like(model.C)
    model.eval()
    with Untouched(model, g):
        lr_sweep(model, X, Y, steps=100, stepper=stepper, g=g, **options)


def test_sweep_leaves_the_notebooks_tensors_unchanged():
    tensors = initial(torch.Generator().manual_seed(SEED), n_embd=2, n_hidden=20)
    before = [t.clone() for t in tensors]
    lr_sweep(MLP.from_tensors(*tensors), X, Y, steps=50, g=torch.Generator())
    assert all(map(torch.equal, tensors, before))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_error_is_raised_and_leaves_everything_unchanged(error):
    model, g = fresh()

    def stepper(*args, **options):
        for step in train_steps(*args, **options):
            if step.i == 5:
                raise error
            yield step

    with Untouched(model, g), pytest.raises(error):
        lr_sweep(model, X, Y, steps=100, stepper=stepper, g=g)


def test_sweep_accepts_any_module_and_full_batches():
    model = nn.Sequential(nn.Embedding(len(VOCAB), 2), nn.Flatten(), nn.Linear(6, len(VOCAB)), nn.Dropout())
    g = torch.Generator().manual_seed(SEED)
    model.eval()
    with Untouched(model, g):
        result = lr_sweep(model, X, Y, lo=0.01, hi=100, steps=60, batch_size=None, g=g)
    assert result.lossi.shape == (1, 60)


# --- several runs ---------------------------------------------------------------------------------------------------


@both_steppers
def test_more_runs_add_rows_and_keep_the_others(stepper):
    def sweep(seed=SEED, steps=50, **options):
        model, _ = fresh()
        g = torch.Generator().manual_seed(seed)
        return lr_sweep(model, X, Y, hi=0.1, steps=steps, stepper=stepper, g=g, **options).lossi

    three = sweep(runs=3)
    assert torch.equal(sweep(runs=5)[:3], three)
    assert torch.equal(sweep(), three[:1])
    assert torch.equal(sweep(runs=3, steps=9)[:, 0], three[:, 0]), "the length of a run must not change the seeds"
    assert len({tuple(run) for run in three.tolist()}) == 3
    assert len({run[0] for run in [*three.tolist(), *sweep(seed=1, runs=3).tolist()]}) == 6
    if stepper is fast_steps:
        model, _ = fresh()
        plain = lr_sweep(model, X, Y, hi=0.1, steps=50, runs=3, g=torch.Generator().manual_seed(SEED))
        assert torch.allclose(plain.lossi, three, rtol=1e-4)


def test_fresh_models_are_drawn_before_the_minibatches():
    model, g = fresh()
    result = lr_sweep(model, X, Y, steps=50, runs=3, fresh=True, g=torch.Generator().manual_seed(SEED))
    # The first run is that of one generator that draws the parameters, then the minibatches: the lecture's order.
    assert torch.equal(result.lossi[0], lr_sweep(model, X, Y, steps=50, g=g).lossi[0])
    assert len({run[0].item() for run in result.lossi}) == 3


def test_suggestion_on_the_whole_list_is_near_0_1():
    g = torch.Generator().manual_seed(SEED)
    model = MLP(MLPConfig(n_embd=2, n_hidden=100), g=g)
    result = lr_sweep(model, *build_dataset(load_words(), VOCAB), runs=8, fresh=True, stepper=fast_steps, g=g)
    assert 0.09 < result.suggestion < 0.18
    assert result.mean[0] > 10
    assert 3.0 < result.mean.nan_to_num(99).min() < 3.6
    assert result.mean[-1] > 6


# --- smoothing, mean, band, suggestion ------------------------------------------------------------------------------


def result_of(lossi, window=1):
    lossi = torch.tensor(lossi, dtype=torch.float64)
    lre = torch.linspace(-3, 0, lossi.shape[1])
    return SweepResult(lre, 10**lre, lossi, window)


def test_smoothing_is_a_centred_mean_with_a_narrower_window_at_the_ends():
    result = result_of([[1.0, 2.0, 6.0, 4.0, 8.0, 3.0]], window=5)
    assert result.curves[0].tolist() == pytest.approx([1.0, 3.0, 21 / 5, 23 / 5, 5.0, 3.0])
    assert torch.equal(result.mean, result.curves[0])
    line = torch.linspace(5, 1, 40, dtype=torch.float64)
    assert torch.allclose(result_of([line.tolist()], window=9).mean, line)


def test_result_has_mean_band_minima_and_suggestion():
    result = result_of([[3.0, 1.0, 2.0, 4.0], [5.0, 4.0, 2.0, 6.0]])
    low, high = result.band
    assert result.mean.tolist() == [4.0, 2.5, 2.0, 5.0]
    assert low.tolist() == [3.0, 1.0, 2.0, 4.0]
    assert high.tolist() == [5.0, 4.0, 2.0, 6.0]
    assert torch.equal(result.minima, result.lrs[[1, 2]])
    assert result.suggestion == result.lrs[2].item()
    assert not result.at_edge
    assert len(result) == 2
    assert repr(result) == "SweepResult(2 runs, lr 0.001 to 1, lowest smoothed loss 2.0000 at lr 0.1)"


def test_mean_ends_with_the_first_run_that_ends():
    result = result_of([[3.0, 2.0, 1.0, 1.0], [3.0, 4.0, 90.0, math.nan]])
    assert result.mean[:3].tolist() == [3.0, 3.0, 45.5]
    assert result.mean[3].isnan()
    assert result.band[1][3].isnan()
    assert result.curves[0].tolist() == [3.0, 2.0, 1.0, 1.0]
    assert torch.equal(result.minima, result.lrs[[2, 0]])


FALLING = [3.0 - i / 100 for i in range(20)]


@pytest.mark.parametrize(
    "losses", [FALLING, FALLING[::-1], [*FALLING, math.nan]], ids=["at the last", "at the first", "at the last taken"]
)
def test_minimum_at_an_end_of_the_range_gives_a_warning(losses):
    model, g = fresh()
    with pytest.warns(UserWarning, match="smoothed loss is lowest at lr .*, an end of what was swept") as caught:
        result = lr_sweep(model, X, Y, lo=1e-5, hi=1e-3, steps=len(losses), stepper=scripted(*losses), g=g)
    assert result.at_edge
    assert "sweep a wider range than 1e-05 to 0.001, or take more than" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_minimum_inside_the_range_gives_no_warning():
    model, g = fresh()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not lr_sweep(model, X, Y, steps=20, stepper=scripted(3.0, 2.0, 2.5), g=g).at_edge


# --- runs that end early --------------------------------------------------------------------------------------------


def test_run_ends_when_its_loss_exceeds_four_times_the_lowest():
    model, g = fresh()
    runs = []

    def stepper(*args, **options):
        runs.append(scripted(*[8.0] * 10, *[2.0] * 10, *[7.0] * 10, 10.0)(*args, **options))
        return runs[-1]

    result = lr_sweep(model, X, Y, lo=0.001, hi=10, steps=60, stepper=stepper, g=g)
    assert result.window == 3
    # The lowest mean of three is 2; 7, 10, 10 is the first with a mean above 8.
    assert result.lossi[0].isfinite().tolist() == [True] * 32 + [False] * 28
    assert [run.gi_frame for run in runs] == [None], "the iterator must be closed"


def test_run_that_blows_up_takes_no_further_step():
    model, g = fresh()
    result = lr_sweep(model, X, Y, hi=1e4, steps=200, runs=3, g=g)
    ends = result.lossi.isfinite().sum(1)
    assert bool((ends > 50).all())
    assert bool((ends < 200).all())
    assert int(result.mean.isfinite().sum()) == ends.min()
    assert result.suggestion < 3


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_run_ends_at_a_loss_that_is_not_finite(bad):
    model, g = fresh()
    result = lr_sweep(model, X, Y, steps=19, stepper=scripted(3.0, 2.0, 2.5, bad, 1.0), g=g)
    assert result.lossi[0].nan_to_num(-1, -2).tolist() == [3.0, 2.0, 2.5, -2 if bad == math.inf else -1] + [-1.0] * 15
    assert result.suggestion == result.lrs[1].item()


def test_diverged_model_raises_ValueError():
    model, g = fresh()
    model.W2.data.fill_(math.nan)
    with pytest.raises(ValueError) as caught:
        lr_sweep(model, X, Y, steps=20, g=g)
    assert str(caught.value) == (
        "the loss is not finite even before the first update, so there is nothing to measure: "
        "recreate the model's parameters"
    )
