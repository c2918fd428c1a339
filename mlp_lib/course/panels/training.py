"""Training under your hands.

Taught in: notebook 04 and notebook 11.
"""

import itertools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor, nn

from mlp_lib.checks import count as check_count
from mlp_lib.checks import examples as check_examples
from mlp_lib.course.panels.background import replace_earlier
from mlp_lib.course.panels.base import PlotPanel, choice, log_slider
from mlp_lib.course.panels.session import TrainSession
from mlp_lib.plots import BLUE, GREY, ORANGE, RED, SKY
from mlp_lib.train import Stepper, eval_loss, train_steps

_POINTS = 1500  # more than the picture has columns cannot be seen, and takes time to draw
_PACES = ("10 steps a second", 10), ("100 steps a second", 100), ("1000 steps a second", 1000), ("as fast as it can", 0)


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
    on_demand: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    pace: int = 100,
    stepper: Stepper = train_steps,
    name: str = "train_panel",
) -> PlotPanel:
    """Start, pause, one step, reset; learning rate, batch size and pace may be changed while it runs.

    Trains `model` on X (N, block_size), Y (N,) in place with a `TrainSession`, which is the panel's `session`: at a
    pause, model and `g` are exactly where `train` would have put them. The curve grows five times a second. It shows
    the minibatch losses and the exact loss over `eval_on` (the training examples if None), and `floor`, if given, as
    a line. `first` steps are taken before the panel is shown, so that the page keeps a picture with something in it;
    "reset" goes back before them. After `steps` steps the run is over. `pace` is the first choice of steps a second,
    0 for as many as it can.

    What takes too long to be measured five times a second may be asked for: `on_demand={"dev": (Xdev, Ydev)}` adds a
    button "dev loss", which measures that loss between two steps and marks it in the picture.

    One panel of a `name` runs at a time: running the cell again closes the one before and its thread.
    Raises ValueError for an `lr` that is not a number above 0 or a `pace` that is no choice, and what `TrainSession`
    raises.
    """
    check_count("first", first, least=0)
    if isinstance(lr, bool) or not isinstance(lr, (int, float)) or not 0 < lr < math.inf:
        raise ValueError(f"lr must be a number above 0, which its slider can show, got {lr!r}: try 0.1")
    if pace not in dict(_PACES).values():
        raise ValueError(
            f"pace must be one of {', '.join(str(n) for _, n in _PACES)} (as fast as it can), got {pace!r}"
        )
    for split in (on_demand or {}).values():
        check_examples(model, *split)
    replace_earlier(name)
    x, y = (X, Y) if eval_on is None else eval_on
    exact: list[tuple[int, float]] = []  # (updates done, loss over x and y), taken whenever the model stands still
    asked: dict[str, list[tuple[int, float]]] = {split: [] for split in on_demand or {}}  # the same, when asked for
    look_lock = threading.Lock()

    def look(session: TrainSession) -> None:
        """Measure the exact loss; only ever while no step is under way."""
        with look_lock:
            updates = len(session.history)
            while exact and exact[-1][0] >= updates:
                exact.pop()  # measured before a reset
            for found in asked.values():
                while found and found[-1][0] > updates:
                    found.pop()
            if session.history.stopped is None:
                exact.append((updates, eval_loss(session.model, x, y)))

    def grow(session: TrainSession) -> None:
        look(session)
        panel.redraw()

    session = TrainSession(model, X, Y, g=g, lr=lr, batch_size=batch_size, steps=steps, stepper=stepper, on_look=grow)
    look(session)
    for part in range(1, 11):  # a few looks on the way, so that the exact curve is one
        n = first * part // 10 - first * (part - 1) // 10
        if n:
            session.step(n)
            look(session)
    session.pace = pace or None

    def draw(figure: Figure, lr: float, batch_size: int, pace: int) -> str:
        _, lri, lossi = session.record()  # (n,), (n,)
        with look_lock:
            at, losses = zip(*exact, strict=True)
            marks = {f"{split} loss": list(found) for split, found in asked.items() if found}
        _curve(figure.add_subplot(), lri.numpy(), lossi.numpy(), at, losses, floor, marks)
        if session.error is not None:
            raise session.error
        if session.history.stopped is not None:
            raise ValueError(session.history.stopped)
        loss = f"{losses[-1]:.4f}" if losses[-1] < 1e4 else f"{losses[-1]:.1e}"
        beside = "" if floor is None else f", floor {floor:.4f}"
        beside += "".join(f", {says} {found[-1][1]:.4f} at {found[-1][0]:,}" for says, found in marks.items())
        settings = f"lr {lr:.3g}, batch size {batch_size or 'all'}"
        return f"{session.status}: {len(lossi):,} steps, loss {loss}{beside}; {settings}"

    def then_look(command: Callable[[], None]) -> Callable[[], None]:
        def do() -> None:
            command()
            if not session.running:
                look(session)

        return do

    def ask(split: str) -> None:
        """Measure a loss of `on_demand`: the model has to stand still, and a run goes on afterwards."""
        runs = session.running
        session.pause()
        updates = len(session.history)
        loss = eval_loss(session.model, *on_demand[split])
        with look_lock:
            asked[split] = [found for found in asked[split] if found[0] < updates] + [(updates, loss)]
        if runs:
            session.start()

    actions = {"start": session.start, "pause": session.pause, "one step": session.step, "reset": session.reset}
    actions |= {f"{split} loss": partial(ask, split) for split in asked}
    sizes = sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, *([batch_size] if batch_size else [])})
    # 0 stands for None, which a list of choices takes for "nothing chosen" and shows as an empty field.
    controls = {
        "lr": log_slider(
            "learning rate", lr, min(-4.0, math.log10(lr)), max(1.0, math.log10(lr)), 0.1, continuous=False
        ),
        "batch_size": choice("batch size", [*((str(n), n) for n in sizes), ("all examples", 0)], batch_size or 0),
        "pace": choice("pace", _PACES, pace),
    }
    for key, control in controls.items():  # before the panel's own observers, which draw what was set
        control.observe(lambda change, key=key: setattr(session, key, change["new"] or None), names="value")
    panel = PlotPanel(
        name,
        draw,
        controls,
        buttons={says: then_look(command) for says, command in actions.items()},
        alt="The loss in nats, on a logarithmic axis, over the steps: minibatches faintly, the exact loss as a line "
        "with dots, the floor dashed.",
        size=(6.8, 3.4),
        on_close=session.close,
    )
    panel.session = session
    replace_earlier(name, panel)
    return panel


def _curve(
    ax: Axes,
    lri: np.ndarray,
    lossi: np.ndarray,
    at: Sequence[int],
    losses: Sequence[float],
    floor: float | None,
    marks: Mapping[str, Sequence[tuple[int, float]]],
) -> None:
    """The losses so far, where the learning rate was changed, what was asked for, and the floor."""
    n = len(lossi)
    window = max(1, -(-n // _POINTS))
    whole = n // window * window
    means = lossi[:whole].reshape(-1, window).mean(1)
    says = "minibatch loss" if window == 1 else f"minibatch loss, mean of {window}"
    ax.plot(np.arange(0, whole, window) + (window - 1) / 2, means, color=SKY, linewidth=0.8, label=says)
    ax.plot(at, losses, color=BLUE, marker="o", markersize=3, linewidth=1.5, label="exact loss")
    for says, found in marks.items():
        ax.plot(*zip(*found, strict=True), "D", color=ORANGE, markeredgecolor="black", markersize=6, label=says)
    for k, change in enumerate(np.flatnonzero(np.diff(lri))[-12:]):
        ax.axvline(change + 1, color=RED, linestyle=":", linewidth=1, label="learning rate changed" if k == 0 else None)
    if floor is not None:
        ax.axhline(floor, color=GREY, linestyle="--", linewidth=1, label=f"floor {floor:.4f}")
    low, high = _limits(lossi, [*losses, *(loss for found in marks.values() for _, loss in found)], floor)
    ax.set_yscale("log")
    ax.set(xlim=(0, 1.03 * _round_up(n)), ylim=(low, high), xlabel="steps")
    ax.set_title("loss (nats)", loc="left", fontsize=10)  # beside the axis it would lie under wide tick labels
    _plain_ticks(ax, low, high)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="upper right")


def _limits(lossi: np.ndarray, losses: Sequence[float], floor: float | None) -> tuple[float, float]:
    """Room for everything but the few luckiest minibatches, whose loss may be next to nothing."""
    finite = lossi[np.isfinite(lossi) & (lossi > 0)]
    lucky = [np.quantile(finite, 0.02)] if len(finite) else []
    seen = [x for x in losses if x > 0] + ([finite.max()] if len(finite) else []) or [1.0]
    low = min(x for x in (*lucky, floor or 1.0, *losses, max(seen)) if x > 0)
    return 0.6 * low, 1.4 * max(seen)


def _round_up(n: int) -> int:
    """The end of the axis: the next of 100, 200, 500, 1000, ..., so that it stays while the curve grows."""
    end = 100
    for factor in itertools.cycle((2, 2.5, 2)):
        if n <= end:
            return int(end)
        end *= factor


def _plain_ticks(ax: Axes, low: float, high: float) -> None:
    """Ticks such as 0.2, 0.5, 1, 2: powers of ten alone say little about a loss."""
    ticks = [t * 10.0**k for k in range(-9, 40) for t in (1, 2, 5) if low <= t * 10.0**k <= high]
    if len(ticks) > 12:
        ticks = [t for t in ticks if math.log10(t) % 1 < 1e-9]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
