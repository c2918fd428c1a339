"""How large should the network be? Sizes against train and dev loss, trained while you wait.

Taught in: pages 07, 08 and 10.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor, nn

from mlp_lib.course.panels.base import PlotPanel, choice, even_ticks, number, whole_slider
from mlp_lib.course.panels.worker import Worker
from mlp_lib.data import distinct_contexts
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.plots import BLUE, GREY, RED
from mlp_lib.train import train

_LARGEST_EMBD, _LARGEST_HIDDEN = 24, 500
_STEPS = 500, 1000, 2000, 5000, 10_000, 20_000, 50_000
_WORDS = 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000
_ROWS = 2**14  # contexts per forward pass


class Point(NamedTuple):
    """One trained network: its number of parameters, exact losses in nats, number of training words and of steps."""

    parameters: int
    train: float
    dev: float
    words: int | None = None
    steps: int | None = None


def sizes_panel(
    config: MLPConfig,
    Xtr: Tensor,
    Ytr: Tensor,
    Xdev: Tensor,
    Ydev: Tensor,
    *,
    steps: int = 20_000,
    n_words: int | None = None,
    batch_size: int | None = 32,
    decay: bool = True,
    scale: float = 1.0,
    earlier: Iterable[Sequence[float]] = (),
) -> PlotPanel:
    """Choose numbers per character, hidden units, steps and a seed; a network of that size is trained in a second.

    Each change starts a run in a thread and ends the one under way. A run is `MLP(config, g=g)` with its weights and
    biases times `scale`, then `batch_size` examples per step at rate 0.1, and with `decay` a tenth of that in the last
    quarter. Train and dev loss are exact. With `n_words`, the number of training words is a control too: the first
    words of Xtr (N, block_size), Ytr (N,), which must hold whole words in order, as from `make_splits`.

    The newest network is highlighted; previous ones stay as grey dots until "reset". `earlier` are networks trained
    before, as (parameters, train loss, dev loss) with words and steps if known; "reset" keeps them. If there are none,
    the panel trains a first network before it is shown.
    """
    worker = Worker("sizes_panel", on_end=lambda: panel.redraw())
    fixed = [Point(*point) for point in earlier]
    found: list[tuple[Point, str]] = []  # with its readout; the newest last
    begins = (Xtr == 0).all(1).nonzero()[:, 0].tolist()  # each word begins with an empty context
    ends = [*begins[1:], len(Ytr)]

    def train_one(chosen: Mapping[str, int]) -> None:
        steps, words = chosen["steps"], chosen.get("words")
        end = len(Ytr) if words is None else ends[words - 1]
        sized = replace(config, n_embd=chosen["n_embd"], n_hidden=chosen["n_hidden"])
        g = torch.Generator().manual_seed(chosen["seed"])
        model = MLP(sized, g=g)
        with torch.no_grad():
            for p in (model.W1, model.b1, model.W2, model.b2):
                p *= scale
        history = train(
            model, Xtr[:end], Ytr[:end], steps=steps, lr=lambda i: 0.01 if decay and i >= 0.75 * steps else 0.1,
            batch_size=batch_size, g=g, stepper=worker.counted(fast_steps, steps),
        )  # fmt: skip
        if history.stopped is not None:
            raise ValueError(history.stopped)
        on_train = exact_loss(model, Xtr[:end], Ytr[:end], worker.check)
        on_dev = exact_loss(model, Xdev, Ydev, worker.check)
        said = (
            f"{_sizes(chosen)}: {sized.n_parameters:,} parameters, train {on_train:.4f}, dev {on_dev:.4f}, "
            f"dev - train {on_dev - on_train:+.4f}; seed {chosen['seed']}"
        )
        found.append((Point(sized.n_parameters, on_train, on_dev, words, steps), said))

    def values() -> dict[str, int]:
        return {key: control.value for key, control in controls.items()}

    def begin(change: object = None) -> None:
        worker.start(partial(train_one, values()), f"training {_sizes(values())}")

    def reset() -> None:
        worker.stop()
        found.clear()

    def draw(figure: Figure, **values: object) -> str:
        points = list(found)
        against = values.get("against", "parameters")
        _dots(figure.add_subplot(), [*fixed, *(point for point, _ in points)], bool(points), against, ranges[against])
        if worker.error is not None:
            raise worker.error
        last = points[-1][1] if points else ""
        if worker.running:
            return f"{worker.doing} ... {last}"
        if fixed and not points:
            networks = "1 network" if len(fixed) == 1 else f"{len(fixed)} networks"
            return f"{networks} trained before, in grey: move something to train another"
        return last or "no network yet: press train"

    embd = 1, max(_LARGEST_EMBD, config.n_embd)
    hidden = min(10, config.n_hidden), max(_LARGEST_HIDDEN, config.n_hidden)
    controls = {
        "n_embd": whole_slider("n_embd", config.n_embd, *embd),
        "n_hidden": whole_slider("n_hidden", config.n_hidden, *hidden),
    }
    corners = [replace(config, n_embd=e, n_hidden=h).n_parameters for e, h in zip(embd, hidden, strict=True)]
    ranges = {"parameters": corners, "words": (1, 1), "steps": (_STEPS[0], _STEPS[-1])}
    if n_words is not None:
        n_words = min(n_words, len(begins))
        counts = sorted({n for n in (*_WORDS, n_words, len(begins)) if n <= len(begins)})
        ranges["words"] = counts[0], counts[-1]
        controls["words"] = choice("training words", [(f"{n:,}", n) for n in counts], n_words)
    controls["steps"] = choice("steps", [(f"{n:,}", n) for n in sorted({*_STEPS, steps})], steps)
    controls["seed"] = number("seed", 2147483647)
    if not fixed:
        train_one(values())
        worker.stop()  # hides the bar
    for control in controls.values():  # before the panel's own observers, which draw and show what has started
        control.observe(begin, names="value")
    if n_words is not None:
        axes = ("parameters", "parameters"), ("training words", "words"), ("steps", "steps")
        controls["against"] = choice("drawn against", axes, "words")
    panel = PlotPanel(
        "sizes_panel",
        draw,
        controls,
        buttons={"train": begin, "reset": reset},
        alt="Train loss and dev loss of networks of several sizes, the newest in colour and joined by a line, those "
        "before in grey.",
        size=(6.8, 3.2),
        worker=worker,
    )
    return panel


def distinct_examples(X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct examples, X (M, block_size) and Y (M,), and how often each occurs (M,). M is far below N.

    >>> distinct_examples(torch.tensor([[5, 1], [0, 2], [5, 1]]), torch.tensor([7, 7, 7]))
    (tensor([[0, 2],
            [5, 1]]), tensor([7, 7]), tensor([1, 2]))
    """
    pairs, which = distinct_contexts(torch.cat([X, Y[:, None]], 1))  # (M, block_size + 1), (N,)
    return pairs[:, :-1], pairs[:, -1], which.bincount()


def exact_loss(model: nn.Module, X: Tensor, Y: Tensor, check: Callable[[], None]) -> float:
    """The result of `eval_loss` in a fraction of the time, with a call of `check()` before each chunk."""
    X, Y, times = distinct_examples(X, Y)
    total = 0.0
    with torch.no_grad():
        for x, y, n in zip(X.split(_ROWS), Y.split(_ROWS), times.split(_ROWS), strict=True):
            check()
            total += (F.cross_entropy(model(x), y, reduction="none").double() * n).sum().item()
    return total / times.sum().item()


def _sizes(chosen: Mapping[str, int]) -> str:
    words = f", {chosen['words']:,} words" if "words" in chosen else ""
    return f"n_embd {chosen['n_embd']}, n_hidden {chosen['n_hidden']}{words}, {chosen['steps']:,} steps"


def _dots(ax: Axes, points: Sequence[Point], newest: bool, against: str, reach: tuple[int, int]) -> None:
    """Train (squares) and dev (dots) of each network over its parameters, words or steps; the newest in colour."""
    labels = {"parameters": "parameters", "words": "words to train on", "steps": "steps"}
    at = [getattr(point, against) for point in points]
    for k, (x, point) in enumerate(zip(at, points, strict=True)):
        if x is None:
            continue
        new = newest and k == len(points) - 1
        if new:
            ax.plot([x, x], [point.train, point.dev], color="black", linewidth=1, zorder=3)
        for loss, color, marker, split in ((point.dev, RED, "o", "dev"), (point.train, BLUE, "s", "train")):
            look = {"color": color, "markeredgecolor": "black", "markersize": 10 if split == "dev" else 6, "zorder": 4}
            grey = {"color": GREY, "markersize": 4, "alpha": 0.5, "fillstyle": "full" if split == "dev" else "none"}
            ax.plot(x, loss, marker, gid=split, **(look if new else grey))
    for color, marker, label in ((RED, "o", "dev"), (BLUE, "s", "train")):
        ax.plot([], [], marker, color=color, markeredgecolor="black", label=label)
    ax.plot([], [], "o", color=GREY, markersize=4, label="before: dev")
    ax.plot([], [], "s", color=GREY, markersize=4, fillstyle="none", label="before: train")
    known = [*reach, *(x for x in at if x is not None)]
    low, high = min(known) / 1.3, max(known) * 1.3
    ax.set(xscale="log", xlim=(low, high), xlabel=labels[against], ylabel="loss (nats)")
    ticks = [t * 10**k for k in range(8) for t in (1, 2, 5) if low <= t * 10**k <= high]
    ax.set_xticks(ticks, [f"{t:,}" for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.margins(y=0.1)
    ax.spines[["top", "right"]].set_visible(False)
    even_ticks(ax)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
