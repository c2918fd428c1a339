"""The learning-rate range test: raise the rate step by step over powers of ten and watch where the loss turns.

Taught in: notebook 06.
"""

import copy
import math
import threading
import warnings
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import torch
from torch import Tensor, nn

from mlp_lib.data import check_count
from mlp_lib.lab.cores import usable_cores
from mlp_lib.model import MLP, device_of
from mlp_lib.train import Stepper, check_training, close_steps, train_steps


@dataclass(frozen=True, repr=False, eq=False)
class SweepResult:
    """What `lr_sweep` measured: the rates, the losses of every run, and where each run ended.

    `lre` (steps,) holds the exponents and `lrs` (steps,) the rates, 10**lre, under the lecture's names, float32 as in
    the lecture. `lossi` (runs, steps), float64, is the minibatch loss in nats of each run at each rate, before the
    update, and nan after the step at which the run was stopped. `stopped_at` names that step for each run (None: it
    went through), and `stopped` says in a sentence what happened (None: nothing). `window` is how many neighbouring
    steps the smoothed curves average over: as many before a step as after it, fewer at both ends of a curve.

    >>> SweepResult(torch.tensor([-1.0, 0.0]), torch.tensor([0.1, 1.0]), torch.tensor([[3.0, 4.0]]), 1, (None,), None)
    SweepResult(1 run of 2 steps, lr 0.1 to 1, lowest smoothed loss 3.0000 at lr 0.1)
    """

    lre: Tensor
    lrs: Tensor
    lossi: Tensor
    window: int
    stopped_at: tuple[int | None, ...]
    stopped: str | None

    @cached_property
    def curves(self) -> Tensor:
        """Each run's smoothed loss (runs, steps), in nats; nan where the run had ended."""
        return torch.stack([_smoothed(run, self.window) for run in self.lossi])

    @cached_property
    def mean(self) -> Tensor:
        """The smoothed mean loss of the runs (steps,), in nats; nan from the first step that a run did not take."""
        # The mean of those still running would sink whenever a bad run drops out, so it ends with the first of them.
        return _smoothed(self.lossi.mean(0), self.window)

    @property
    def band(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest of the smoothed curves at each step, two tensors (steps,); nan as in `mean`."""
        return self.curves.min(0).values, self.curves.max(0).values

    @property
    def minima(self) -> Tensor:
        """The rate at which each run's smoothed loss is lowest (runs,): how far they lie apart is the test's error."""
        return self.lrs[_lowest(self.curves)]

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed mean loss is lowest.

        To be read as an order of magnitude for training from the same start. The curve turns where the harm of steps
        that are too long outweighs what the run still gains from going on, so the value falls somewhat when the sweep
        takes more steps. Notebook 06 measures what it is worth.
        """
        return self.lrs[_lowest(self.mean)].item()

    @property
    def at_edge(self) -> bool:
        """Whether the lowest point is the first or the last of the mean curve, so that nothing has turned."""
        return int(_lowest(self.mean)) in (0, _length(self.mean) - 1)

    def __len__(self) -> int:
        return self.lossi.shape[0]

    def __repr__(self) -> str:
        runs = f"{len(self)} run{'s' if len(self) > 1 else ''} of {len(self.lrs):,} steps"
        lowest = self.mean[_lowest(self.mean)].item()
        end = "" if self.stopped is None else f", stopped: {self.stopped}"
        return (
            f"SweepResult({runs}, lr {self.lrs[0]:g} to {self.lrs[-1]:g}, "
            f"lowest smoothed loss {lowest:.4f} at lr {self.suggestion:.3g}{end})"
        )


def lr_sweep(
    model: nn.Module,
    X: Tensor,
    Y: Tensor,
    *,
    lo: float = 1e-3,
    hi: float = 1.0,
    steps: int = 1000,
    batch_size: int | None = 32,
    seeds: int = 1,
    fresh: bool = False,
    window: int | None = None,
    blow_up: float = 4.0,
    stepper: Stepper = train_steps,
    threads: int | None = None,
    g: torch.Generator,
) -> SweepResult:
    """Train copies of `model` while the learning rate rises from `lo` to `hi`, a power of ten at an even pace.

    `lo` and `hi` are rates; step i uses `lrs[i]`, where `lre = torch.linspace(log10(lo), log10(hi), steps)` and
    `lrs = 10**lre`: the lecture's at the defaults. `model` and `g` are as they were when the call ends, however it
    ends: every run trains a copy and draws from a generator of its own.

    `seeds` runs are made. The first draws its minibatches from a copy of `g`, so that it is what a loop written by
    hand with `g` would do; the others draw from generators seeded, in turn, by numbers from another copy of `g`. The
    same `g` gives the same result, and more seeds only add runs. All runs start from the parameters of `model`, or,
    with `fresh=True`, each from an MLP of the same sizes that is drawn from the run's generator before the
    minibatches.

    The curves are smoothed over `window` steps (None: a twentieth of the steps, made odd). A run stops at a loss that
    is not finite, or as soon as the mean of its last `window` losses is above `blow_up` times the lowest such mean so
    far (`math.inf`: never); the result says where.

    `threads` runs are made at the same time, with results identical to one after another. None means one per core,
    but only one at a time for the plain `train_steps`, which gains nothing from threads: it hands Python's lock from
    one to the next. `stepper=fast_steps` trains without the lock. A model with randomness of its own (dropout) draws
    from torch's global generator: put it in evaluation mode first.

    Raises TypeError or ValueError for rates that are not 0 < lo < hi, counts below 1 (2 for `steps`), a missing
    generator, and data that does not fit the model. Warns if the loss is lowest at an end of the range or was
    never finite.
    Source: lecture 00:45:40. Taught in: notebook 06.

    >>> from mlp_lib import MLP, MLPConfig, Vocab, build_dataset
    >>> g = torch.Generator().manual_seed(2147483647)
    >>> X, Y = build_dataset(["emma", "olivia", "ava"], Vocab("aeilmov"))
    >>> model = MLP(MLPConfig(vocab_size=8, n_embd=2, n_hidden=10), g=g)
    >>> lr_sweep(model, X, Y, lo=0.01, hi=10, steps=100, seeds=3, g=g).lossi.shape
    torch.Size([3, 100])
    """
    lo, hi = _checked_range(lo, hi)
    check_count("steps", steps, least=2)
    check_count("seeds", seeds)
    if threads is not None:
        check_count("threads", threads)
    if window is None:
        window = steps // 20
    else:
        check_count("window", window)
    if not (isinstance(blow_up, Real) and blow_up > 1):
        raise ValueError(
            f"blow_up must be above 1, got {blow_up!r}: it says how many times the lowest loss is too much"
        )
    check_training(model, X, Y, steps=steps, start=0, batch_size=batch_size, look_every=None, g=g)
    if fresh and not isinstance(model, MLP):
        raise TypeError(
            f"fresh=True draws new models of the same MLPConfig, but model is a {type(model).__name__}: "
            "pass an MLP, or leave fresh out"
        )

    lre = torch.linspace(math.log10(lo), math.log10(hi), steps, dtype=torch.float32)
    lrs = 10**lre
    rates = lrs.tolist()
    window = window // 2 * 2 + 1
    stop = threading.Event()

    def run(g: torch.Generator) -> tuple[list[float], str | None]:
        trained = _another(model, g) if fresh else copy.deepcopy(model)
        taken = stepper(
            trained, X, Y, steps=steps, lr=lambda i: rates[i], batch_size=batch_size, look_every=None, g=g
        )  # fmt: skip
        losses: list[float] = []
        recent, lowest = 0.0, math.inf  # the sum of the last `window` losses, and the lowest such sum so far
        try:
            for step in taken:
                losses.append(step.loss)
                if not math.isfinite(step.loss):
                    return losses, f"the loss was {step.loss}"
                recent += step.loss - (losses[-window - 1] if len(losses) > window else 0.0)
                if len(losses) >= window:
                    lowest = min(lowest, recent)
                    if recent > blow_up * lowest:
                        return losses, f"the loss had blown up to {recent / window:.4g}"
                if stop.is_set():
                    break
        finally:
            close_steps(taken)
        return losses, None

    generators = _generators(g, seeds)
    if threads is None:
        threads = 1 if stepper is train_steps else usable_cores()
    if min(threads, seeds) == 1:
        runs = [run(own) for own in generators]
    else:
        with ThreadPoolExecutor(min(threads, seeds), thread_name_prefix="lr_sweep") as pool:
            futures = [pool.submit(run, own) for own in generators]
            try:
                done, running = set(), set(futures)
                while running and not any(f.exception() for f in done):
                    # Looked up from ten times a second: not every system can interrupt a thread that waits.
                    done, running = wait(running, timeout=0.1, return_when=FIRST_EXCEPTION)
            finally:
                # All done, or one has raised, or this is an interrupt: then the others have to end as well.
                stop.set()
                pool.shutdown(cancel_futures=True)
            runs = [future.result() for future in _failed_first(futures)]

    result = _collected(lre, lrs, runs, window)
    if _length(result.mean) == 0:
        warnings.warn(
            f"{result.stopped}, so the sweep measured nothing: look at the parameters the model starts from, or begin "
            f"below {lo:g}",
            stacklevel=2,
        )
    elif result.at_edge:
        warnings.warn(
            f"the smoothed loss is lowest at lr {result.suggestion:.3g}, an end of what was swept, so the suggestion "
            f"is no turning point: sweep a wider range than {lo:g} to {hi:g}, or take more than {steps} steps",
            stacklevel=2,
        )
    return result


def _checked_range(lo: float, hi: float) -> tuple[float, float]:
    for name, rate in (("lo", lo), ("hi", hi)):
        try:
            value = float(rate)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a learning rate, a number above 0, got {rate!r}") from None
        if not (math.isfinite(value) and value > 0):
            raise ValueError(
                f"{name} must be a finite learning rate above 0, got {rate!r}: give the rate, such as 0.001, "
                "not its exponent"
            )
    lo, hi = float(lo), float(hi)
    if lo >= hi:
        raise ValueError(f"lo must be below hi, got lo={lo:g} and hi={hi:g}: the sweep goes from the low rate upwards")
    if hi > torch.finfo(torch.float32).max:
        raise ValueError(f"hi must be a rate that float32 can hold, got {hi:g}: end the range lower")
    return lo, hi


def _another(model: MLP, g: torch.Generator) -> MLP:
    """A new draw of the model: of its sizes and its dtype, with the parameters frozen that are frozen there."""
    drawn = MLP(model.config, g=g).to(device_of(model), model.C.dtype)
    for new, old in zip(drawn.tensors(), model.tensors(), strict=True):
        new.requires_grad_(old.requires_grad)
    return drawn


def _generators(g: torch.Generator, n: int) -> list[torch.Generator]:
    """The first goes on where `g` stands; the others are seeded from it. `g` itself draws nothing."""

    def copied() -> torch.Generator:
        twin = torch.Generator(device=g.device)
        twin.set_state(g.get_state())
        return twin

    draw = copied()
    generators = [copied()]
    for _ in range(n - 1):
        seed = torch.randint(2**63 - 1, (1,), generator=draw, device=g.device).item()
        generators.append(torch.Generator(device=g.device).manual_seed(seed))
    return generators


def _failed_first(futures: list[Future]) -> list[Future]:
    """The futures themselves, unless one has raised: then that one alone, so that its error is the one seen."""
    failed = [f for f in futures if not f.cancelled() and f.exception() is not None]
    return failed[:1] or futures


def _collected(lre: Tensor, lrs: Tensor, runs: list[tuple[list[float], str | None]], window: int) -> SweepResult:
    lossi = torch.full((len(runs), len(lrs)), math.nan, dtype=torch.float64)
    stopped_at: list[int | None] = []
    said = None
    for k, (losses, why) in enumerate(runs):
        lossi[k, : len(losses)] = torch.tensor(losses, dtype=torch.float64)
        at = len(losses) - 1
        stopped_at.append(None if why is None else at)
        if why is not None and said is None:
            said = f"{why} at step {at} (lr {lrs[at]:.3g})" + (f" in run {k}" if len(runs) > 1 else "")
    count = sum(at is not None for at in stopped_at)
    if count > 1:
        said = f"{said}; {count} of {len(runs)} runs ended early"
    return SweepResult(lre, lrs, lossi, window, tuple(stopped_at), said)


def _length(lossi: Tensor) -> int:
    """How many finite losses a curve (steps,) begins with."""
    finite = torch.isfinite(lossi)
    return len(lossi) if bool(finite.all()) else int((~finite).int().argmax())


def _smoothed(lossi: Tensor, window: int) -> Tensor:
    """The mean over `window` steps centred on each, fewer at both ends of the curve; nan after its last finite loss."""
    n = _length(lossi)
    out = torch.full_like(lossi, math.nan)
    i = torch.arange(n)
    half = torch.minimum(torch.minimum(i, n - 1 - i), torch.tensor(window // 2))  # as many before as after
    sums = torch.cat([lossi.new_zeros(1), lossi[:n].cumsum(0)])  # (n + 1,)
    out[:n] = (sums[i + half + 1] - sums[i - half]) / (2 * half + 1)
    return out


def _lowest(curves: Tensor) -> Tensor:
    """Where each curve (..., steps) is lowest; what is nan does not count."""
    return torch.where(torch.isnan(curves), math.inf, curves).argmin(-1)
