"""The learning-rate sweep with sliders: range, steps, sweeps, smoothing, and training with the rate read off.

Taught in: page 06.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mlp_lib.course.panels.base import PlotPanel, choice, even_ticks, silence, slider, whole_slider
from mlp_lib.course.panels.worker import Worker
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP
from mlp_lib.plots import BLUE, GREY, RED
from mlp_lib.sweep import SweepResult, lr_sweep
from mlp_lib.train import eval_loss, train

_STEPS = 100, 200, 500, 1000, 2000, 5000


def sweep_panel(
    model: MLP,
    X: Tensor,
    Y: Tensor,
    *,
    g: torch.Generator,
    result: SweepResult,
    batch_size: int | None = 32,
    train_for: int = 2000,
    eval_on: tuple[Tensor, Tensor] | None = None,
) -> PlotPanel:
    """Choose the range of rates, the steps and the number of sweeps; see the curve, its band, and the rate read off.

    The first picture shows `result`, a sweep of the page. Each change starts `lr_sweep(fresh=True)` from `model` and
    `g` in a thread and ends the sweep under way; `model` and `g` are not changed. Smoothing does not sweep again.
    "train with it" trains a copy of `model` for `train_for` steps at the rate read off, and marks its exact loss over
    `eval_on` (X and Y if None) at that rate.
    """
    worker = Worker("sweep_panel", on_end=lambda: panel.redraw())
    trained: list[tuple[float, float]] = []  # (rate, exact loss), the newest last
    g_state = g.get_state()  # every sweep starts from this state, even if the page draws from g later
    runs, length = result.lossi.shape
    lo, hi = (round(4 * e) / 4 for e in (result.lre[0].item(), result.lre[-1].item()))
    swept = lo, hi, length, runs

    def own_g() -> torch.Generator:
        twin = torch.Generator(device=g.device)
        twin.set_state(g_state)
        return twin

    def wanted() -> tuple[float, float, int, int]:
        return tuple(controls[key].value for key in ("lo", "hi", "steps", "seeds"))

    def sweep(lo: float, hi: float, steps: int, seeds: int) -> None:
        nonlocal result, swept
        silence("the smoothed loss is lowest at lr")  # an end of the range: the readout says so
        result = lr_sweep(
            model, X, Y, lo=10**lo, hi=10**hi, steps=steps, runs=seeds, batch_size=batch_size, fresh=True, g=own_g(),
            stepper=worker.counted(fast_steps, seeds * steps),
        )  # fmt: skip
        swept = lo, hi, steps, seeds

    def begin_sweep(change: object) -> None:
        now = wanted()
        worker.start(lambda: sweep(*now), f"sweeping, {now[3]} times {now[2]:,} steps")

    def begin_training() -> None:
        now = wanted()

        def job() -> None:
            if swept != now:  # its sweep was ended by this click
                sweep(*now)
            rate = smoothed().suggestion
            twin = copy.deepcopy(model)
            counted = worker.counted(fast_steps, train_for)
            history = train(twin, X, Y, steps=train_for, lr=rate, batch_size=batch_size, g=own_g(), stepper=counted)
            if history.stopped is not None:
                raise ValueError(history.stopped)
            trained.append((rate, eval_loss(twin, *(eval_on or (X, Y)))))

        worker.start(job, f"training {train_for:,} steps with the rate read off")

    def smoothed() -> SweepResult:
        return replace(result, window=controls["window"].value // 2 * 2 + 1)

    def draw(figure: Figure, **values: object) -> str:
        now = smoothed()
        _curves(figure.add_subplot(), now, list(trained), train_for)
        if worker.error is not None:
            raise worker.error
        lowest = now.mean[(now.lrs - now.suggestion).abs().argmin()].item()
        said = f"lowest at rate {now.suggestion:.3g} (smoothed loss {lowest:.2f})"
        if len(now) > 1:
            said += f"; {len(now)} single sweeps give {now.minima.min():.3g} to {now.minima.max():.3g}"
        if now.at_edge:
            said += ": an end of the range, so the loss has not turned: widen the range"
        if trained:
            rate, loss = trained[-1]
            said += f". Trained {train_for:,} steps at {rate:.3g}: loss {loss:.3f}"
        return f"{worker.doing} ... {said}" if worker.running else said

    controls = {
        "lo": slider("exponent from", lo, min(-6.0, lo), 0.0, 0.25, continuous=False),
        "hi": slider("exponent to", hi, -2.0, max(2.0, hi), 0.25, continuous=False),
        "steps": choice("steps", [(f"{n:,}", n) for n in sorted({*_STEPS, length})], length),
        "seeds": whole_slider("sweeps", runs, 1, max(16, runs)),
        "window": whole_slider("smooth over", result.window, 1, max(201, result.window)),
    }
    for key in ("lo", "hi", "steps", "seeds"):  # before the panel's own observers, which draw and show what has started
        controls[key].observe(begin_sweep, names="value")
    panel = PlotPanel(
        "sweep_panel",
        draw,
        controls,
        buttons={"train with it": begin_training},
        alt="The smoothed loss of the sweeps over the exponent of the learning rate, the band from the lowest to the "
        "highest sweep, the rate at which the mean is lowest, and diamonds for what training with a rate gave.",
        size=(6.8, 3.0),
        worker=worker,
    )
    return panel


def _curves(ax: Axes, result: SweepResult, trained: Sequence[tuple[float, float]], train_for: int) -> None:
    low, high = result.band
    ax.fill_between(result.lre, low, high, color=BLUE, alpha=0.2, linewidth=0, label="lowest to highest sweep")
    ax.plot(result.lre, result.mean, color=BLUE, label=f"mean, smoothed over {result.window} steps")
    at = math.log10(result.suggestion)
    ax.axvline(at, color=GREY, linestyle=":", label=f"lowest: rate {result.suggestion:.3g}")
    for k, (rate, loss) in enumerate(trained[::-1]):
        look = {"color": RED if k == 0 else GREY, "markeredgecolor": "black", "markersize": 8 if k == 0 else 5}
        label = f"loss after {train_for:,} steps with it" if k == 0 else None
        ax.plot(math.log10(rate), loss, "D", label=label, zorder=3 if k == 0 else 2, **look)
    drawn = result.curves[result.curves.isfinite()]
    # Cut off a run that blew up, which would flatten the rest of the curve.
    bottom = min([drawn.min().item(), *(loss for _, loss in trained)])
    top = min(drawn.max().item(), 25.0 + bottom)
    ax.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    ax.set(xlim=(result.lre[0].item(), result.lre[-1].item()))
    ax.set(xlabel="exponent; the rate is 10 to the power of it", ylabel="loss (nats)")
    ax.spines[["top", "right"]].set_visible(False)
    even_ticks(ax)
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
