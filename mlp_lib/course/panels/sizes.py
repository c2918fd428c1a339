"""How large should the network be? Sizes against train and dev loss, trained while you wait.

Taught in: notebooks 07, 08 and 10.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from mlp_lib.checks import count as check_count
from mlp_lib.checks import examples as check_examples
from mlp_lib.course.panels.background import Worker, even_ticks, replace_earlier, with_bar
from mlp_lib.course.panels.base import PlotPanel, choice, number, whole_slider
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.plots import BLUE, GREY, RED
from mlp_lib.train import Stepper, train

_STEPS = 500, 1000, 2000, 5000, 10_000, 20_000, 50_000
_WORDS = 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000
_ROWS = 2**14  # contexts in one forward pass


class Point(NamedTuple):
    """One trained network: how many parameters, its exact losses in nats, the words it was trained on, its steps."""

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
    lr: float = 0.1,
    decay: bool = True,
    scale: float = 1.0,
    seed: int = 2147483647,
    most_embd: int = 24,
    most_hidden: int = 500,
    earlier: Iterable[Sequence[float]] = (),
    stepper: Stepper = fast_steps,
    name: str = "sizes_panel",
) -> PlotPanel:
    """Choose numbers per character, hidden units, steps and a seed; a network of that size is trained in a second.

    Each change trains anew, in a thread that the next change ends. A run is `MLP(config, g=g)` with its weights and
    biases times `scale`, then `batch_size` examples a step at rate `lr`, with `decay` a tenth of it for the last
    quarter; train and dev loss are exact. With `n_words` given, the number of training words is a control too: the
    first of Xtr (N, block_size), Ytr (N,), which has to hold whole words in order, as `make_splits` makes it.

    The newest network is marked; those before it stay as grey dots until "reset". `earlier` are networks that were
    trained before, (parameters, train loss, dev loss) each, and their words and steps if there are such; they stay.
    Where there are none, the panel trains the first one before it is shown.

    One panel of a `name` runs at a time: running the cell again closes the one before and its thread.
    Raises TypeError or ValueError for data or sizes that do not fit together, and what `train` raises.
    """
    replace_earlier(name)
    _check(config, Xtr, Ytr, Xdev, Ydev)
    Xtr, Ytr, Xdev, Ydev = Xtr.long(), Ytr.long(), Xdev.long(), Ydev.long()  # a uint8 index would be a mask
    fixed = [Point(*point) for point in earlier]
    begins = (Xtr == 0).all(1).nonzero()[:, 0].tolist()  # an empty context begins a word
    if n_words is not None:
        check_count("n_words", n_words)
        n_words = min(n_words, len(begins))
    ends = [*begins[1:], len(Ytr)]
    contexts, row = distinct(Xtr)  # (contexts, block_size), (N,)
    dev_contexts, dev_row = distinct(Xdev)
    found: list[tuple[Point, str]] = []  # with what is said of it; the newest last

    def fit(
        config: MLPConfig, steps: int, words: int | None, seed: int, stepper: Stepper, check: Callable[[], None]
    ) -> None:
        end = len(Ytr) if words is None else ends[words - 1]
        g = torch.Generator().manual_seed(seed)
        model = MLP(config, g=g)
        with torch.no_grad():
            for p in (model.W1, model.b1, model.W2, model.b2):
                p *= scale
        rate = (lambda i: lr if i < 0.75 * steps else lr / 10) if decay else lr
        history = train(model, Xtr[:end], Ytr[:end], steps=steps, lr=rate, batch_size=batch_size, g=g, stepper=stepper)
        if history.stopped is not None:
            raise ValueError(history.stopped)
        on_train = _loss(model, contexts, row[:end], Ytr[:end], check)
        on_dev = _loss(model, dev_contexts, dev_row, Ydev, check)
        point = Point(config.n_parameters, on_train, on_dev, words, steps)
        said = (
            f"{_sizes(config, steps, words)}: {point.parameters:,} parameters, train {on_train:.4f}, "
            f"dev {on_dev:.4f}, dev - train {on_dev - on_train:+.4f}; seed {seed}"
        )
        found.append((point, said))

    def wanted() -> tuple[MLPConfig, int, int | None, int]:
        value = {key: control.value for key, control in controls.items()}
        sized = replace(config, n_embd=value["n_embd"], n_hidden=value["n_hidden"])
        return sized, value["steps"], value.get("words"), value["seed"]

    def begin(change: object = None) -> None:
        sized, steps, words, seed = wanted()

        def work() -> None:
            fit(sized, steps, words, seed, worker.counted(stepper, steps), worker.check)

        worker.start(work, f"training {_sizes(sized, steps, words)}")

    def reset() -> None:
        worker.stop()
        worker.error = None
        found.clear()

    def draw(figure: Figure, **values: object) -> str:
        points = list(found)
        against = values.get("against", "parameters")
        _dots(figure.add_subplot(), [*fixed, *(point for point, _ in points)], bool(points), against, ranges[against])
        if worker.error is not None:
            raise worker.error
        if worker.running:
            return f"{worker.doing} ..."
        if points:
            return points[-1][1]
        if fixed:
            networks = "1 network" if len(fixed) == 1 else f"{len(fixed)} networks"
            return f"{networks} trained before, in grey: move something to train another"
        return "no network yet: press train"

    worker = Worker(on_end=lambda: panel.redraw())
    embd = 1, max(most_embd, config.n_embd)
    hidden = min(10, config.n_hidden), max(most_hidden, config.n_hidden)
    controls = {
        "n_embd": whole_slider("n_embd", config.n_embd, *embd, continuous=False),
        "n_hidden": whole_slider("n_hidden", config.n_hidden, *hidden, continuous=False),
    }
    corners = [replace(config, n_embd=e, n_hidden=h).n_parameters for e, h in zip(embd, hidden, strict=True)]
    ranges = {"parameters": corners, "words": (1, 1), "steps": (_STEPS[0], _STEPS[-1])}
    if n_words is not None:
        counts = sorted({n for n in (*_WORDS, n_words, len(begins)) if n <= len(begins)})
        ranges["words"] = counts[0], counts[-1]
        controls["words"] = choice("training words", [(f"{n:,}", n) for n in counts], n_words)
    controls["steps"] = choice("steps", [(f"{n:,}", n) for n in sorted({*_STEPS, steps})], steps)
    controls["seed"] = number("seed", seed, 0, 2**53)
    for control in controls.values():  # before the panel's own observers, which draw what was begun
        control.observe(begin, names="value")
    if n_words is not None:
        axes = ("parameters", "parameters"), ("training words", "words"), ("steps", "steps")
        controls["against"] = choice("drawn against", axes, "words")
    if not fixed:
        fit(*wanted(), stepper, lambda: None)
    panel = PlotPanel(
        name,
        draw,
        controls,
        buttons={"train": begin, "reset": reset},
        alt="Train loss and dev loss of networks of several sizes, the newest in colour and joined by a line, those "
        "before in grey.",
        size=(6.8, 3.2),
        slow="working ...",
        on_close=worker.close,
    )
    replace_earlier(name, panel)
    return with_bar(panel, worker)


def distinct(X: Tensor) -> tuple[Tensor, Tensor]:
    """The different contexts in X (N, block_size), and which of them each row is (N,): few, and they come often.

    >>> distinct(torch.tensor([[0, 5], [0, 0], [0, 5]]))
    (tensor([[0, 0],
            [0, 5]]), tensor([1, 0, 1]))
    """
    base, width = int(X.max()) + 1, X.shape[1]
    if base**width >= 2**63:
        return X.unique(dim=0, return_inverse=True)
    places = base ** torch.arange(width - 1, -1, -1)  # a context as one number: many times quicker
    keys, row = (X * places).sum(1).unique(return_inverse=True)
    return keys[:, None] // places % base, row


def _check(config: MLPConfig, Xtr: Tensor, Ytr: Tensor, Xdev: Tensor, Ydev: Tensor) -> None:
    if not isinstance(config, MLPConfig):
        raise TypeError(f"config must be an MLPConfig, the sizes to begin with, got {type(config).__name__}")
    model = MLP(config, g=torch.Generator())
    check_examples(model, Xtr, Ytr)
    check_examples(model, Xdev, Ydev)


def _sizes(config: MLPConfig, steps: int, words: int | None) -> str:
    """The settings of a run in words."""
    some = "" if words is None else f", {words:,} words"
    return f"n_embd {config.n_embd}, n_hidden {config.n_hidden}{some}, {steps:,} steps"


def _loss(model: MLP, contexts: Tensor, row: Tensor, Y: Tensor, check: Callable[[], None]) -> float:
    """The mean loss in nats of the answers Y (N,) to `contexts[row]`: each context goes through the network once."""
    logp = []
    with torch.no_grad():
        for piece in contexts.split(_ROWS):
            check()
            logp.append(F.log_softmax(model(piece), 1))
    return -torch.cat(logp)[row, Y].double().mean().item()


def _dots(ax: Axes, points: Sequence[Point], newest: bool, against: str, reach: tuple[int, int]) -> None:
    """Train (squares) and dev (dots) of each network over its parameters, words or steps; the last one in colour."""
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
