"""Results to Axes: data first, everything else by keyword, `ax=None`, the Axes come back.

Nothing here computes a result, shows or saves a figure, or changes matplotlib's settings. Colours are the Okabe-Ito
palette, which colour-blind readers can tell apart; lines differ in their dashes too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#666666",
)  # fmt: skip
COLORS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
VOWELS = "aeiou"


def _axes(ax: Axes | None, width: float = 6.4, height: float = 3.6) -> Axes:
    if ax is not None:
        return ax
    return plt.figure(figsize=(width, height), layout="constrained").add_subplot()


def _tidy(ax: Axes, title: str, xlabel: str, ylabel: str) -> Axes:
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _array(values: ArrayLike) -> np.ndarray:
    """The values as an array, those of a tensor too that is on a GPU or asks for gradients."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def plot_loss(
    stepi: ArrayLike,
    lossi: ArrayLike,
    *,
    window: int = 1,
    evals: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    floor: float | None = None,
    label: str = "minibatch loss",
    title: str = "The loss over the steps",
    ax: Axes | None = None,
) -> Axes:
    """The loss of each step (nats) against its number; both have shape (n,).

    With `window` above 1 the raw losses are drawn faintly and their means over blocks of `window` steps on top, as the
    lecture smooths its curve. `evals[name] = (steps, losses)` adds exact losses, `floor` a dashed line.
    Raises TypeError or ValueError if `window` is no whole number from 1 to the number of steps, and ValueError if steps
    and losses are not of one length.
    """
    stepi, lossi = _array(stepi), _array(lossi)
    if stepi.shape != lossi.shape:
        raise ValueError(f"stepi and lossi must be of one length, got shapes {stepi.shape} and {lossi.shape}")
    exact = {name: _steps_and_losses(name, pair) for name, pair in (evals or {}).items()}
    if not isinstance(window, int | np.integer):
        raise TypeError(f"window must be a whole number of steps, got {window!r}")
    if not 1 <= window <= max(len(lossi), 1):
        raise ValueError(f"window must be from 1 to the {len(lossi)} steps there are, got {window}")
    ax = _axes(ax)
    if window == 1:
        ax.plot(stepi, lossi, color=BLUE, linewidth=1.2, label=label)
    else:
        whole = len(lossi) // window * window
        ax.plot(stepi, lossi, color=SKY, linewidth=0.5, alpha=0.4, label=label, rasterized=True)
        means = lossi[:whole].reshape(-1, window).mean(1)
        ax.plot(stepi[:whole].reshape(-1, window).mean(1), means, color=BLUE, label=f"mean of {window:,} steps")
    # Six colours and seven dashes: no two of the first 42 curves look alike.
    styles = zip(cycle(COLORS[1:]), cycle((*DASHES[1:], DASHES[0])), strict=True)
    for (name, (at, losses)), (color, dash) in zip(exact.items(), styles, strict=False):
        ax.plot(at, losses, color=color, linestyle=dash, marker="o", markersize=3, label=name)
    if floor is not None:
        ax.axhline(floor, color=GREY, linestyle="--", linewidth=1, label=f"floor {floor:.4f}")
    ax.legend(frameon=False)
    return _tidy(ax, title, "step", "loss (nats)")


def _steps_and_losses(name: str, pair: tuple[ArrayLike, ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    if len(pair) == 2:
        at, losses = _array(pair[0]), _array(pair[1])
        if at.ndim == 1 and at.shape == losses.shape:
            return at, losses
    raise ValueError(
        f"evals[{name!r}] must be steps and losses of one length: write "
        f"{{{name!r}: (history.eval_stepi, history.evals[{name!r}])}}"
    )


def plot_next_char_probs(
    probs: ArrayLike,
    itos: Mapping[int, str],
    *,
    mark: str | None = None,
    title: str = "What comes next?",
    ax: Axes | None = None,
) -> Axes:
    """Bars of the next character's probabilities (vocab_size,); the character `mark`, if any, is told apart.

    Raises ValueError if there is not one probability per symbol, or if `mark` is no symbol.
    """
    probs = _array(probs)
    if probs.shape != (len(itos),):
        raise ValueError(f"expected {len(itos)} probabilities, one per symbol, got shape {probs.shape}")
    if mark is not None and mark not in itos.values():
        raise ValueError(f"mark must be one of the symbols {''.join(itos.values())!r}, got {mark!r}")
    ax = _axes(ax, height=2.6)
    bars = ax.bar(range(len(itos)), probs, color=BLUE)
    ax.set_xticks(range(len(itos)), [itos[i] for i in range(len(itos))])
    if mark is not None:
        at = next(i for i, s in itos.items() if s == mark)
        bars[at].set(facecolor=ORANGE, edgecolor="black", hatch="//")
    return _tidy(ax, title, "next character", "probability")


def plot_embedding(
    C: ArrayLike,
    itos: Mapping[int, str],
    *,
    vowels: Collection[str] = VOWELS,
    dims: tuple[int, int] | None = None,
    size: float = 200,
    legend: bool = True,
    title: str = "Where the characters lie",
    labels: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Each symbol at its row of C (vocab_size, 2), with vowels and the boundary told apart by colour and shape.

    Both axes have one scale, so that distances may be read off. `dims` picks two columns of a C that has more; the
    labels then name them. `size` is that of a mark, in points squared: about 40 for a map among several.
    Raises ValueError if C has not two columns and `dims` does not choose two: choose them, or project all of them by
    PCA first; also for a C of one column, and for `dims` that are not two different columns of C.
    Source: lecture 01:05:27. Taught in: notebook 09.
    """
    C = _array(C)
    if C.ndim == 2 and C.shape[1] == 1:
        raise ValueError(
            f"C has one column, shape {C.shape}, and a map needs two: train with n_embd=2 or more, or draw the one "
            "number of each character as a line of its own"
        )
    if C.ndim != 2 or C.shape[0] != len(itos) or (dims is None and C.shape[1] != 2):
        raise ValueError(
            f"expected C of shape ({len(itos)}, 2), got {C.shape}: choose two columns, or project them by PCA first"
        )
    if dims is not None:
        dims = tuple(dims)
        if len(set(dims)) != 2 or len(dims) != 2 or not all(0 <= d < C.shape[1] for d in dims):
            raise ValueError(f"dims must be two different columns from 0 to {C.shape[1] - 1}, got {dims}")
        C = C[:, list(dims)]
        labels = labels or (f"dimension {dims[0]}", f"dimension {dims[1]}")
    ax = _axes(ax, 6.0, 6.0)
    kinds = {
        "vowel": ([i for i, s in itos.items() if s in vowels and i != 0], ORANGE, "s"),
        "other letter": ([i for i, s in itos.items() if s not in vowels and i != 0], SKY, "o"),
        "boundary": ([0], GREEN, "D"),
    }
    for kind, (members, color, marker) in kinds.items():
        if members:
            ax.scatter(
                C[members, 0], C[members, 1], s=size, color=color, marker=marker, edgecolor="black", linewidth=0.4,
                label=kind,
            )  # fmt: skip
    for i, s in itos.items():
        ax.text(C[i, 0], C[i, 1], s, ha="center", va="center", fontsize=max(7, min(10, size / 20)))
    if legend:
        ax.legend(frameon=False, markerscale=0.5)
    ax.set_aspect("equal")
    ax.grid(alpha=0.3)
    return _tidy(ax, title, *(labels or ("first number of the row", "second number of the row")))


def plot_network(
    context: str,
    *,
    n_embd: int,
    n_hidden: int,
    vocab_size: int,
    title: str = "One table for all positions, then a hidden layer, then a score per symbol",
    ax: Axes | None = None,
) -> Axes:
    """The network as a drawing, after figure 1 of Bengio et al. 2003: `context` is read from left to right.

    Arrows go upwards as in the paper. Sizes are written beside each layer. Raises ValueError for an empty context.
    """
    if not context:
        raise ValueError("context must have at least one character, such as '..e', got ''")
    ax = _axes(ax, 6.4, 4.8)
    block_size = len(context)
    centres = np.linspace(0.18, 0.82, block_size) if block_size > 1 else np.array([0.5])
    width = min(0.16, 0.6 / block_size)

    def box(x: float, y: float, w: float, text: str, color: str) -> None:
        ax.add_patch(Rectangle((x - w / 2, y - 0.045), w, 0.09, facecolor=color, alpha=0.35, edgecolor="black"))
        ax.text(x, y, text, ha="center", va="center", fontsize=9)

    def arrow(x0: float, y0: float, x1: float, y1: float) -> None:
        ax.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "->", "color": GREY})

    for x, c in zip(centres, context, strict=True):
        box(x, 0.08, width, f"'{c}'", YELLOW)
        arrow(x, 0.125, x, 0.245)
        box(x, 0.29, width, f"{n_embd} numbers", SKY)
        arrow(x, 0.335, 0.5 + (x - 0.5) * 0.4, 0.505)
    ax.text(centres[0] + 0.02, 0.185, "row of C", fontsize=8, color=GREY)
    if block_size > 1:
        ax.text(centres[-1] + 0.02, 0.185, "row of the same C", fontsize=8, color=GREY)
    box(0.5, 0.55, 0.62, f"tanh(emb @ W1 + b1): {n_hidden} numbers", GREEN)
    arrow(0.5, 0.595, 0.5, 0.735)
    box(0.5, 0.78, 0.5, f"h @ W2 + b2: {vocab_size} logits", ORANGE)
    arrow(0.5, 0.825, 0.5, 0.915)
    ax.text(0.5, 0.95, f"softmax: {vocab_size} probabilities for the next character", ha="center", fontsize=9)
    ax.set(xlim=(0, 1), ylim=(0, 1), title=title)
    ax.axis("off")
    return ax


def plot_bars(
    values: Mapping[str, float],
    *,
    unit: str,
    digits: int = 1,
    title: str,
    ax: Axes | None = None,
) -> Axes:
    """One horizontal bar per name, its value written at its end: for comparing a handful of measurements."""
    ax = _axes(ax, height=0.9 + 0.42 * len(values))
    names = list(values)
    bars = ax.barh(names, list(values.values()), color=[COLORS[k % len(COLORS)] for k in range(len(names))])
    ax.bar_label(bars, [f"{v:,.{digits}f}" for v in values.values()], padding=4)
    ax.invert_yaxis()
    ax.margins(x=0.14)
    return _tidy(ax, title, unit, "")


def plot_matrix(
    values: ArrayLike,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str,
    xlabel: str = "",
    ylabel: str = "",
    cmap: str = "viridis",
    ax: Axes | None = None,
) -> Axes:
    """A matrix (rows, columns) as coloured cells with a scale beside it."""
    values = _array(values)
    ax = _axes(ax, 6.4, 4.0)
    image = ax.imshow(values, cmap=cmap, aspect="auto", interpolation="nearest")
    if rows is not None:
        ax.set_yticks(range(len(rows)), rows)
    if columns is not None:
        ax.set_xticks(range(len(columns)), columns)
    ax.figure.colorbar(image, ax=ax)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return ax


MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def plot_ladder(
    rows: Iterable[object],
    *,
    against: str = "parameters",
    split: str = "clean",
    title: str = "Lower is better, further left is cheaper",
    ax: Axes | None = None,
) -> Axes:
    """The dev loss (nats) of the rows of a ladder, `Ladder.rows`, against their "parameters" or their "time".

    Your runs are filled marks at the mean over their seeds, with a bar from the lowest to the highest; known results
    are hollow. Colour and shape tell the kinds apart. Rows of another `split`, without a dev loss or without the number
    on the horizontal axis are left out. Raises ValueError for another `against`.
    """
    columns = {"parameters": ("n_parameters", "parameters, or counts kept"), "time": ("seconds", "seconds of training")}
    if against not in columns:
        raise ValueError(f"against must be 'parameters' or 'time', got {against!r}")
    column, xlabel = columns[against]
    ax = _axes(ax)
    rows = [row for row in rows if row.split == split and row.dev is not None and np.isfinite(row.dev)]
    rows = [row for row in rows if getattr(row, column)]  # on a logarithmic axis 0 has no place
    kinds = list(dict.fromkeys(row.kind for row in rows))
    for k, kind in enumerate(kinds):
        color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
        for mine in (True, False):
            chosen = [row for row in rows if row.kind == kind and (row.runs > 0) == mine]
            if not chosen:
                continue
            x, dev = [getattr(row, column) for row in chosen], [row.dev for row in chosen]
            if mine:
                below, above = ([abs(row.dev - getattr(row, end)) for row in chosen] for end in ("low", "high"))
                ax.errorbar(x, dev, yerr=(below, above), fmt="none", ecolor=color, capsize=3)
            face = color if mine else "none"
            label = f"{kind}, {'yours' if mine else 'known'}"
            ax.scatter(x, dev, s=45, facecolor=face, edgecolor=color, marker=marker, label=label, zorder=3)
    if rows:
        ax.set_xscale("log")
        ax.legend(frameon=False)
    ax.grid(alpha=0.3)
    return _tidy(ax, title, xlabel, "dev loss (nats)")


def plot_lr_sweep(
    lre: ArrayLike,
    loss: ArrayLike,
    *,
    raw: ArrayLike | None = None,
    band: tuple[ArrayLike, ArrayLike] | None = None,
    against: str = "exponent",
    suggestion: float | None = None,
    label: str = "smoothed loss",
    color: str = BLUE,
    dash: str = "-",
    title: str = "The loss falls, turns and rises as the learning rate grows",
    ax: Axes | None = None,
) -> Axes:
    """The loss (n,) of a learning-rate sweep in nats against the exponent `lre` (n,) of the rate, 10**lre.

    `raw` (n,) is drawn faintly behind it, `band` = (lowest, highest), each (n,), as an area, and the rate `suggestion`
    as a line. `against="rate"` puts the rate itself on a linear axis. Called again on the same Axes with another
    `label`, `color` and `dash`, it adds a curve. Raises ValueError for another `against`.
    """
    if against not in ("exponent", "rate"):
        raise ValueError(f"against must be 'exponent' or 'rate', got {against!r}")
    ax = _axes(ax)
    lre = _array(lre).astype(float)
    x = lre if against == "exponent" else 10.0**lre
    if raw is not None:
        ax.plot(x, _array(raw), color=SKY, linewidth=0.5, alpha=0.6, label="each step", rasterized=True)
    if band is not None:
        low, high = (_array(edge) for edge in band)
        ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0, label="lowest to highest run")
    ax.plot(x, _array(loss), color=color, linestyle=dash, label=label)
    if suggestion is not None:
        at = np.log10(suggestion) if against == "exponent" else suggestion
        ax.axvline(at, color=GREY, linestyle=":", label=f"lowest: rate {suggestion:.3g}")
    ax.legend(frameon=False)
    xlabel = "exponent lre; the rate is 10 to the power lre" if against == "exponent" else "learning rate"
    return _tidy(ax, title, xlabel, "loss (nats)")
