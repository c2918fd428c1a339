"""A training run with buttons.

Taught in: page 04 and page 11.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor, nn

from mlp_lib.checks import checked
from mlp_lib.course.panels.base import PlotPanel, choice, log_slider
from mlp_lib.course.panels.worker import Worker
from mlp_lib.plots import BLUE, GREY, ORANGE, RED, SKY
from mlp_lib.train import History, Stepper, eval_loss, train_steps

_LOOK_SECONDS = 0.2  # five pictures a second look smooth
_PACES = ("10 steps a second", 10), ("100 steps a second", 100), ("1000 steps a second", 1000), ("as fast as it can", 0)
_BATCH_SIZES = 1, 2, 4, 8, 16, 32, 64, 128, 256
_POINTS = 1500  # more points than pixel columns would take time and show nothing


class Training:
    """A run that can be stopped after any step and continues exactly there: the model, its record, its exact losses."""

    def __init__(
        self,
        model: nn.Module,
        X: Tensor,
        Y: Tensor,
        g: torch.Generator,
        stepper: Stepper,
        steps: int,
        eval_on: tuple[Tensor, Tensor],
    ) -> None:
        self.model, self.X, self.Y, self.g = model, X, Y, g
        self.stepper, self.steps, self.eval_on = stepper, steps, eval_on
        self._first = {name: t.detach().clone() for name, t in model.state_dict().items()}, g.get_state()
        self.forget()

    def forget(self) -> None:
        """Start an empty record."""
        self.history = History()
        self.exact: dict[int, float] = {}  # the exact loss by number of updates
        self.marks: dict[str, dict[int, float]] = {}  # the same for other splits, by name

    def take(
        self, n: int, lr: float, batch_size: int | None, after_each: Callable[[], bool | None] = lambda: None
    ) -> None:
        """Take n steps, or fewer if the run ends or `after_each()` returns true."""
        if self.over():
            return
        start = len(self.history)
        how = {"steps": min(n, self.steps - start), "start": start, "lr": lr, "batch_size": batch_size, "g": self.g}
        with closing(self.stepper(self.model, self.X, self.Y, **how)) as run:
            for step in run:
                self.history.record(step)
                if not math.isfinite(step.loss):
                    where = f"the loss was {step.loss} at step {step.i} (lr {step.lr:g})"
                    self.history.stopped = f"{where}: reset, and try a smaller learning rate"
                    return
                if after_each():
                    return

    def over(self) -> bool:
        """Whether all steps have been taken or the loss is not finite."""
        return self.history.stopped is not None or len(self.history) >= self.steps

    def look(self) -> None:
        """Measure the exact loss; no step may be under way."""
        if self.history.stopped is None:
            self.exact[len(self.history)] = eval_loss(self.model, *self.eval_on)

    def mark(self, name: str, X: Tensor, Y: Tensor) -> None:
        """Measure the loss of another split; no step may be under way."""
        self.marks.setdefault(name, {})[len(self.history)] = eval_loss(self.model, X, Y)

    def reset(self) -> None:
        """Restore the initial `model` and `g`, and start an empty record."""
        state, g_state = self._first
        self.model.load_state_dict(state)
        self.model.zero_grad()
        self.g.set_state(g_state)
        self.forget()


@checked
def train_panel(
    model: nn.Module,
    X: Tensor,
    Y: Tensor,
    *,
    g: torch.Generator,
    lr: float = 0.1,
    batch_size: int | None = 32,
    floor: float | None = None,
    first: int = 0,
    steps: int = 100_000,
    eval_on: tuple[Tensor, Tensor] | None = None,
    on_demand: Mapping[str, tuple[Tensor, Tensor]] = {},
    pace: int = 100,
    stepper: Stepper = train_steps,
) -> PlotPanel:
    """Start, pause, one step, reset; learning rate, batch size and pace can be changed while it runs.

    Trains `model` on X (N, block_size), Y (N,) in place: at a pause, `model` and `g` are exactly as `train` would leave
    them. The curve is redrawn five times a second. It shows the minibatch losses, the exact loss over `eval_on` (the
    training examples if None), and `floor`, if given, as a line. `first` steps are taken before the panel is shown;
    "reset" undoes these, too. The run ends after `steps` steps. `pace` is the initial number of steps per second: 10,
    100, 1000, or 0 for as many as possible.

    `on_demand={"dev": (Xdev, Ydev)}` adds a button "dev loss", for a loss that takes too long to measure five times a
    second: it is measured between two steps and marked in the picture.
    """
    if callable(lr) or lr == 0:
        raise ValueError(f"lr must be a number above 0, which a slider can show, got {lr!r}: try 0.1")
    worker = Worker("train_panel", on_end=lambda: panel.redraw())
    worker.bar.layout.display = "none"  # the curve already shows the progress
    training = Training(model, X, Y, g, stepper, steps, eval_on or (X, Y))
    training.look()
    for part in range(1, 11):  # in ten parts, for a curve of exact losses
        training.take(first * part // 10 - len(training.history), lr, batch_size)
        training.look()

    def run() -> None:
        while not training.over():
            now, next_look = panel.values, time.perf_counter() + _LOOK_SECONDS

            def time_to_look(end: float = next_look) -> bool:
                worker.check()
                return time.perf_counter() > end

            n = round(now["pace"] * _LOOK_SECONDS) or steps
            training.take(n, now["lr"], now["batch_size"] or None, time_to_look)
            training.look()
            panel.redraw()
            if now["pace"]:
                worker.check(next_look - time.perf_counter())

    def start() -> None:
        if not worker.running:
            worker.start(run)

    def pause() -> None:
        worker.stop()
        training.look()

    def one_step() -> None:
        worker.stop()
        training.take(1, panel.values["lr"], panel.values["batch_size"] or None)
        training.look()

    def reset() -> None:
        worker.stop()
        training.reset()
        training.look()

    def measure(split: str) -> None:
        was_running = worker.running
        worker.stop()
        training.mark(split, *on_demand[split])
        if was_running:
            worker.start(run)

    def draw(figure: Figure, lr: float, batch_size: int, pace: int) -> str:
        history, exact = training.history, dict(training.exact)
        marks = {f"{split} loss": dict(found) for split, found in training.marks.items()}
        lossi = history.lossi.numpy()  # (n,), read before the rates, because the run may add steps meanwhile
        _curve(figure.add_subplot(), history.lri.numpy()[: len(lossi)], lossi, exact, floor, marks)
        if worker.error is not None:
            raise worker.error
        if history.stopped is not None:
            return f"[no] {history.stopped}"
        now = "running" if worker.running else "done" if training.over() else "paused" if len(lossi) else "ready"
        loss = list(exact.values())[-1]
        said = f"{now}: {len(lossi):,} steps, loss {loss:.{'4f' if loss < 1e4 else '1e'}}"
        if floor is not None:
            said += f", floor {floor:.4f}"
        for name, found in marks.items():
            at, loss = list(found.items())[-1]
            said += f", {name} {loss:.4f} at {at:,}"
        return f"{said}; lr {lr:.3g}, batch size {batch_size or 'all'}"

    exponent = math.log10(lr)
    sizes = sorted({*_BATCH_SIZES, *([batch_size] if batch_size else [])})
    # 0 stands for None, which a dropdown would show as an empty field.
    controls = {
        "lr": log_slider("learning rate", lr, min(-4.0, exponent), max(1.0, exponent)),
        "batch_size": choice("batch size", [*((str(n), n) for n in sizes), ("all examples", 0)], batch_size or 0),
        "pace": choice("pace", _PACES, pace),
    }
    panel = PlotPanel(
        "train_panel",
        draw,
        controls,
        buttons={
            "start": start, "pause": pause, "one step": one_step, "reset": reset,
            **{f"{split} loss": partial(measure, split) for split in on_demand},
        },
        alt="The loss in nats, on a logarithmic axis, over the steps: minibatches faintly, the exact loss as a line "
        "with dots, the floor dashed.",
        worker=worker,
    )  # fmt: skip
    panel.training = training
    return panel


def _curve(
    ax: Axes,
    lri: np.ndarray,
    lossi: np.ndarray,
    exact: Mapping[int, float],
    floor: float | None,
    marks: Mapping[str, Mapping[int, float]],
) -> None:
    """Draw the losses so far, the changes of the learning rate, the losses measured on demand, and the floor."""
    n = len(lossi)
    window = max(1, -(-n // _POINTS))
    whole = n // window * window
    means = lossi[:whole].reshape(-1, window).mean(1)
    label = "minibatch loss" if window == 1 else f"minibatch loss, mean of {window}"
    ax.plot(np.arange(0, whole, window) + (window - 1) / 2, means, color=SKY, linewidth=0.8, label=label)
    ax.plot(list(exact), list(exact.values()), color=BLUE, marker="o", markersize=3, linewidth=1.5, label="exact loss")
    for label, found in marks.items():
        look = {"color": ORANGE, "markeredgecolor": "black", "markersize": 6}
        ax.plot(list(found), list(found.values()), "D", label=label, **look)
    for k, change in enumerate(np.flatnonzero(np.diff(lri))[-12:]):
        ax.axvline(change + 1, color=RED, linestyle=":", linewidth=1, label="learning rate changed" if k == 0 else None)
    if floor is not None:
        ax.axhline(floor, color=GREY, linestyle="--", linewidth=1, label=f"floor {floor:.4f}")
    others = [loss for found in marks.values() for loss in found.values()]
    low, high = _limits(lossi, [*exact.values(), *others, *([floor] if floor else [])])
    ax.set_yscale("log")
    ax.set(xlim=(0, 1.03 * _round_up(n)), ylim=(low, high), xlabel="steps")
    ax.set_title("loss (nats)", loc="left", fontsize=10)  # as an axis label, wide tick labels would cover it
    _plain_ticks(ax, low, high)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="upper right")


def _limits(lossi: np.ndarray, others: list[float]) -> tuple[float, float]:
    """Limits that show everything but the 2 % of minibatches with the lowest loss, which may be close to 0."""
    finite = lossi[np.isfinite(lossi) & (lossi > 0)]
    shown = [*others, *([np.quantile(finite, 0.02), finite.max()] if len(finite) else [])]
    shown = [loss for loss in shown if 0 < loss < math.inf] or [1.0]
    return 0.6 * min(shown), 1.4 * max(shown)


def _round_up(n: int) -> int:
    """The end of the axis: the next of 100, 200, 500, 1000, ..., so that it rarely changes while the curve grows."""
    end = 100
    for factor in itertools.cycle((2, 2.5, 2)):
        if n <= end:
            return int(end)
        end *= factor


def _plain_ticks(ax: Axes, low: float, high: float) -> None:
    """Set ticks such as 0.2, 0.5, 1, 2: powers of ten alone say little about a loss."""
    ticks = [t * 10.0**k for k in range(-9, 40) for t in (1, 2, 5) if low <= t * 10.0**k <= high]
    if len(ticks) > 12:
        ticks = [t for t in ticks if math.log10(t) % 1 < 1e-9]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
