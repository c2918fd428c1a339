"""The learning-rate range test: raise the rate step by step over powers of ten and watch where the loss turns.

    result = lr_sweep(model, Xtr, Ytr, lo=1e-3, hi=1, steps=1000, g=g)
    result.suggestion  # the rate at which the smoothed loss is lowest

Taught in: page 06.
"""

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mlp_lib.checks import checked, whole_number
from mlp_lib.model import MLP
from mlp_lib.train import Stepper, train_steps

_DIVERGED = 4.0  # a run ends when its trailing mean is this many times the lowest so far


@checked
def lr_sweep(
    model: nn.Module,
    X: Int[Tensor, "N block_size"],
    Y: Int[Tensor, " N"],
    *,
    lo: float = 1e-3,
    hi: float = 1.0,
    steps: int = 1000,
    batch_size: int | None = 32,
    runs: int = 1,
    fresh: bool = False,
    stepper: Stepper = train_steps,
    g: torch.Generator,
) -> "SweepResult":
    """Train copies of `model` while the learning rate rises from `lo` to `hi`, evenly in its exponent.

    `lo` and `hi` are rates; step i uses `lrs[i]`, where `lre = torch.linspace(log10(lo), log10(hi), steps)` and
    `lrs = 10**lre`: by default, the lecture's rates. `model` and `g` are not changed: every run trains a copy and draws
    from a generator of its own.

    The first of the `runs` draws its minibatches from a copy of `g`, as a loop written by hand would; the others draw
    from generators seeded from a second copy of `g`. All runs start from the parameters of `model`, or, with
    `fresh=True`, each from an MLP of the same sizes drawn from the run's generator. A run ends early at a loss that is
    not finite, or when the mean of its last `window` losses reaches four times its lowest value.

    Raises ValueError for rates that are not 0 < lo < hi, and for a model whose loss is not finite. Warns if the loss is
    lowest at an end of the range.
    Source: lecture 00:45:40.

    >>> from mlp_lib import MLP, MLPConfig, Vocab, build_dataset
    >>> g = torch.Generator().manual_seed(2147483647)
    >>> X, Y = build_dataset(["emma", "olivia", "ava"], Vocab("aeilmov"))
    >>> model = MLP(MLPConfig(vocab_size=8, n_embd=2, n_hidden=10), g=g)
    >>> lr_sweep(model, X, Y, lo=0.01, hi=10, steps=100, runs=3, g=g).lossi.shape
    torch.Size([3, 100])
    """
    whole_number("steps", steps, least=2)
    whole_number("runs", runs)
    if not 0 < lo < hi < math.inf:
        raise ValueError(
            f"lo and hi must be rates with 0 < lo < hi, got {lo} and {hi}: the lower first, and 0.001 rather than its "
            "exponent -3"
        )
    lre = torch.linspace(math.log10(lo), math.log10(hi), steps)
    lrs = 10**lre
    window = steps // 20 // 2 * 2 + 1  # odd, a twentieth of the steps; `_smoothed` uses it

    lossi, rates = torch.full((runs, steps), math.nan, dtype=torch.float64), lrs.tolist()
    for k, own_g in enumerate(_generators(g, runs)):
        trained = MLP(model.config, g=own_g) if fresh else copy.deepcopy(model)
        run = stepper(trained, X, Y, steps=steps, lr=lambda i: rates[i], batch_size=batch_size, g=own_g)
        losses = _until_diverged(run, window)
        lossi[k, : len(losses)] = torch.tensor(losses, dtype=torch.float64)

    if not lossi[:, 0].isfinite().all():
        raise ValueError(
            "the loss is not finite even before the first update, so there is nothing to measure: "
            "recreate the model's parameters"
        )
    result = SweepResult(lre, lrs, lossi, window)
    if result.at_edge:
        warnings.warn(
            f"the smoothed loss is lowest at lr {result.suggestion:.3g}, an end of what was swept, so it is not a "
            f"turning point: sweep a wider range than {lo:g} to {hi:g}, or take more than {steps} steps",
            stacklevel=3,
        )
    return result


def _generators(g: torch.Generator, n: int) -> Iterator[torch.Generator]:
    """The first continues from the state of `g`, the others are seeded from it. `g` itself does not advance."""
    draw = torch.Generator(device=g.device)
    draw.set_state(g.get_state())
    yield draw.clone_state()
    for _ in range(n - 1):
        yield torch.Generator(device=g.device).manual_seed(
            torch.randint(2**63 - 1, (1,), generator=draw, device=g.device).item()
        )


def _until_diverged(run: Iterator, window: int) -> list[float]:
    """The losses of a run up to its end, or up to where it diverges."""
    losses: list[float] = []
    recent, lowest = 0.0, math.inf  # the sum of the last `window` losses, and the lowest such sum so far
    with closing(run):
        for step in run:
            losses.append(step.loss)
            recent += step.loss - (losses[-window - 1] if len(losses) > window else 0.0)
            if len(losses) >= window:
                lowest = min(lowest, recent)
            if not math.isfinite(step.loss) or recent > _DIVERGED * lowest:
                break
    return losses


@dataclass(frozen=True, repr=False, eq=False)
class SweepResult:
    """What `lr_sweep` measured: the rates and the losses of every run.

    `lre` holds the exponents and `lrs` the rates, 10**lre, under the lecture's names, float32 as in the lecture.
    `lossi`, float64, is the minibatch loss in nats of each run at each rate, before the update, and nan after the step
    at which the run ended. The smoothed curves average over `window` neighbouring steps: as many before a step as after
    it, fewer at both ends.

    >>> SweepResult(torch.tensor([-1.0, 0.0]), torch.tensor([0.1, 1.0]), torch.tensor([[3.0, 4.0]]), window=1)
    SweepResult(1 run, lr 0.1 to 1, lowest smoothed loss 3.0000 at lr 0.1)
    """

    lre: Float[Tensor, " steps"]
    lrs: Float[Tensor, " steps"]
    lossi: Float[Tensor, "runs steps"]
    window: int

    @property
    def curves(self) -> Float[Tensor, "runs steps"]:
        """Each run's smoothed loss in nats; nan where the run had ended."""
        return torch.stack([_smoothed(run, self.window) for run in self.lossi])

    @property
    def mean(self) -> Float[Tensor, " steps"]:
        """The smoothed mean loss of the runs in nats; nan from the first step that a run did not take.

        (Averaging only the remaining runs would lower the mean whenever a bad one ends.)
        """
        return _smoothed(self.lossi.mean(0), self.window)

    @property
    def band(self) -> tuple[Float[Tensor, " steps"], Float[Tensor, " steps"]]:
        """The lowest and the highest of the smoothed curves at each step; nan as in `mean`."""
        curves = self.curves
        return curves.min(0).values, curves.max(0).values

    @property
    def minima(self) -> Float[Tensor, " runs"]:
        """The rate at which each run's smoothed loss is lowest: their spread is the error of the test."""
        return self.lrs[_lowest(self.curves)]

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed mean loss is lowest: an order of magnitude, whose spread page 06 measures.

        The curve turns up where the damage from large steps exceeds what further training gains, so the value is
        somewhat lower when the sweep takes more steps.
        """
        return self.lrs[_lowest(self.mean)].item()

    @property
    def at_edge(self) -> bool:
        """Whether the lowest point is the first or the last of the mean curve, so that the loss never turned."""
        return int(_lowest(self.mean)) in (0, int(self.mean.isfinite().sum()) - 1)

    def __len__(self) -> int:
        return len(self.lossi)

    def __repr__(self) -> str:
        return (
            f"SweepResult({len(self)} run{'s' if len(self) > 1 else ''}, lr {self.lrs[0]:g} to {self.lrs[-1]:g}, "
            f"lowest smoothed loss {self.mean[_lowest(self.mean)]:.4f} at lr {self.suggestion:.3g})"
        )


def _smoothed(lossi: Float[Tensor, " steps"], window: int) -> Float[Tensor, " steps"]:
    """The mean over `window` steps centred on each, fewer at both ends of the curve; nan after its last finite loss."""
    n = int(lossi.isfinite().cumprod(0).sum())
    i = torch.arange(n)
    half = torch.minimum(torch.minimum(i, n - 1 - i), torch.tensor(window // 2))
    sums = torch.cat([lossi.new_zeros(1), lossi[:n].cumsum(0)])  # (n + 1,)
    out = torch.full_like(lossi, math.nan)
    out[:n] = (sums[i + half + 1] - sums[i - half]) / (2 * half + 1)
    return out


def _lowest(curves: Float[Tensor, "*runs steps"]) -> Int[Tensor, "*runs"]:
    """Where each curve is lowest; nan is ignored."""
    return torch.where(torch.isnan(curves), math.inf, curves).argmin(-1)
