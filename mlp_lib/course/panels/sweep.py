"""The learning-rate sweep under your hands: range, steps, seeds, smoothing, and what the rate read off is worth.

Taught in: notebook 06.
"""

import base64
import copy
import io
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch import Tensor

from mlp_lib.checks import count as check_count
from mlp_lib.course.panels.background import Worker, even_ticks, replace_earlier, with_bar
from mlp_lib.course.panels.base import PlotPanel, choice, silence, slider, whole_slider
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP
from mlp_lib.plots import BLUE, GREY, RED
from mlp_lib.sweep import SweepResult, lr_sweep
from mlp_lib.train import Stepper, eval_loss, train

_SHADE = 255 / 7  # eight shades of each colour in the stored picture
_LENGTHS = 100, 200, 500, 1000, 2000, 5000


def sweep_panel(
    model: MLP,
    X: Tensor,
    Y: Tensor,
    *,
    g: torch.Generator,
    result: SweepResult | None = None,
    steps: int = 1000,
    seeds: int = 8,
    batch_size: int | None = 32,
    fresh: bool = True,
    train_for: int = 2000,
    eval_on: tuple[Tensor, Tensor] | None = None,
    stepper: Stepper = fast_steps,
    name: str = "sweep_panel",
) -> PlotPanel:
    """Choose the range of rates, the steps and the number of sweeps; see the curve, its band, and the rate read off.

    Each change of those makes the sweeps anew with `lr_sweep` from `model` and `g`, both of which stay as they are, in
    a thread that the next change ends. The smoothing is another look at the same losses, and sweeps nothing. "train
    with it" trains a copy of `model` for `train_for` steps at the rate read off, after the sweep under way if there is
    one, and puts its exact loss over `eval_on` (X and Y if None) at that rate. `result` is a sweep made before, which
    the first picture shows; without one the panel makes it.

    One panel of a `name` runs at a time: running the cell again closes the one before and its thread.
    Raises what `lr_sweep` raises.
    """
    check_count("train_for", train_for)
    replace_earlier(name)
    x, y = (X, Y) if eval_on is None else eval_on
    trained: list[tuple[float, float]] = []  # (rate, exact loss), the newest last
    g_state = g.get_state()  # the panel begins here every time, whatever is done with g meanwhile

    def own_g() -> torch.Generator:
        twin = torch.Generator(device=g.device)
        twin.set_state(g_state)
        return twin

    def swept(**how: object) -> SweepResult:
        # A sweep whose lowest point is at its end warns. Here the readout says so; elsewhere the warning stands.
        silence("the smoothed loss is lowest at lr")
        return lr_sweep(model, X, Y, batch_size=batch_size, fresh=fresh, g=own_g(), **how)

    if result is None:
        result = swept(steps=steps, seeds=seeds, stepper=stepper)
    seeds, steps = result.lossi.shape
    lo, hi = (round(4 * e) / 4 for e in (result.lre[0].item(), result.lre[-1].item()))
    worker = Worker(on_end=lambda: panel.redraw())

    def begin_sweep(change: object) -> None:
        lo, hi, steps, seeds = (controls[key].value for key in ("lo", "hi", "steps", "seeds"))

        def work() -> None:
            nonlocal result
            counted = worker.counted(stepper, seeds * steps)
            result = swept(lo=10**lo, hi=10**hi, steps=steps, seeds=seeds, stepper=counted)

        worker.start(work, f"sweeping, {seeds} times {steps:,} steps")

    def begin_training() -> None:
        def work() -> None:
            rate = smoothed().suggestion
            twin = copy.deepcopy(model)
            counted = worker.counted(stepper, train_for)
            history = train(twin, X, Y, steps=train_for, lr=rate, batch_size=batch_size, g=own_g(), stepper=counted)
            if history.stopped is not None:
                raise ValueError(history.stopped)
            worker.check()
            trained.append((rate, eval_loss(twin, x, y)))

        worker.then(work, f"training {train_for:,} steps with the rate read off")

    def smoothed() -> SweepResult:
        return replace(result, window=controls["window"].value // 2 * 2 + 1)

    def draw(figure: Figure, **values: object) -> str:
        now = smoothed()  # of the last sweep there is; while another is under way, the controls are ahead of it
        _curves(figure.add_subplot(), now, trained, train_for)
        if worker.error is not None:
            raise worker.error
        if worker.running:
            return f"{worker.doing} ..."
        lowest = now.mean[(now.lrs - now.suggestion).abs().argmin()].item()
        said = f"lowest at rate {now.suggestion:.3g} (smoothed loss {lowest:.2f})"
        if len(now) > 1:
            said += f"; of {len(now)} sweeps alone from {now.minima.min():.3g} to {now.minima.max():.3g}"
        if now.at_edge:
            said += ": an end of the range, so nothing has turned: widen it"
        if trained:
            rate, loss = trained[-1]
            said += f". Trained {train_for:,} steps at {rate:.3g}: loss {loss:.3f}"
        return said

    controls = {
        "lo": slider("exponent from", lo, min(-6.0, lo), 0.0, 0.25, continuous=False),
        "hi": slider("exponent to", hi, -2.0, max(2.0, hi), 0.25, continuous=False),
        "steps": choice("steps", [(f"{n:,}", n) for n in sorted({*_LENGTHS, steps})], steps),
        "seeds": whole_slider("sweeps", seeds, 1, max(16, seeds), continuous=False),
        "window": whole_slider("smooth over", result.window, 1, max(201, result.window), continuous=False),
    }
    for key in ("lo", "hi", "steps", "seeds"):  # before the panel's own observers, which draw what was begun
        controls[key].observe(begin_sweep, names="value")
    panel = _Coarse(
        name,
        draw,
        controls,
        buttons={"train with it": begin_training},
        alt="The smoothed loss of the sweeps over the exponent of the learning rate, the band from the lowest to the "
        "highest sweep, the rate at which the mean is lowest, and diamonds for what training with a rate gave.",
        size=(6.8, 3.0),
        slow="working ...",
        on_close=worker.close,
    )
    replace_earlier(name, panel)
    return with_bar(panel, worker)


class _Coarse(PlotPanel):
    """A PlotPanel whose stored picture has fewer shades: notebook 06 holds many pictures, and a file has its limit."""

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        shades = np.asarray(self.figure.canvas.buffer_rgba())[..., :3] / _SHADE  # (rows, columns, 3)
        png = io.BytesIO()
        imsave(png, (shades.round() * _SHADE).astype(np.uint8), format="png")
        stored = base64.b64encode(png.getvalue()).decode("ascii")
        return {**super()._repr_mimebundle_(**kwargs), "image/png": stored}


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
    # A run that blew up would leave the valley no room.
    bottom = min([drawn.min().item(), *(loss for _, loss in trained)])
    top = min(drawn.max().item(), 25.0 + bottom)
    ax.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    ax.set(xlim=(result.lre[0].item(), result.lre[-1].item()))
    ax.set(xlabel="exponent; the rate is 10 to the power of it", ylabel="loss (nats)")
    ax.spines[["top", "right"]].set_visible(False)
    even_ticks(ax)
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
