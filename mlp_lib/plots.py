"""Plots of results: each function takes the data first, everything else by keyword, and returns the Axes.

With `ax=None` it creates a figure. Nothing here computes a result, shows or saves a figure, or changes matplotlib's
settings. Colours are the Okabe-Ito palette, which colour-blind readers can tell apart; lines also differ in their
dashes.
"""

import contextlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryFormatter
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#666666",
)  # fmt: skip
COLORS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 4)))
_MOST_BARS, _MOST_LABELS = 50, 150  # more would not be legible in one figure
_JOINERS = ("\u200c", "\u200d")


def _axes(ax: Axes | None, width: float = 6.4, height: float = 3.6) -> Axes:
    if ax is not None:
        return ax
    return plt.figure(figsize=(width, height), layout="constrained").add_subplot()


def _tidy(ax: Axes, title: str, xlabel: str, ylabel: str) -> Axes:
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return legible(ax)


def _array(values: ArrayLike) -> np.ndarray:
    """The values as an array; tensors may be on a GPU or require gradients."""
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
    """The loss of each step (nats) against the step's number; both have shape (n,).

    With `window` above 1 the raw losses are drawn faintly, with their means over blocks of `window` steps on top, which
    is how the lecture smooths its curve. `evals[name] = (steps, losses)` adds exact losses, `floor` a dashed line.
    Raises TypeError or ValueError unless `window` is a whole number from 1 to the number of steps, and ValueError if
    steps and losses differ in length.
    """
    stepi, lossi = _array(stepi), _array(lossi)
    if stepi.shape != lossi.shape:
        raise ValueError(f"stepi and lossi must have the same length, got shapes {stepi.shape} and {lossi.shape}")
    exact = {name: _steps_and_losses(name, pair) for name, pair in (evals or {}).items()}
    if not isinstance(window, int | np.integer):
        raise TypeError(f"window must be a whole number of steps, got {window!r}")
    if not 1 <= window <= max(len(lossi), 1):
        raise ValueError(f"window must be from 1 to the number of steps, {len(lossi)}, got {window}")
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
        f"evals[{name!r}] must be steps and losses of the same length: write "
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
    """A bar for each probability (vocab_size,) of the next character; the character `mark`, if any, is highlighted.

    With more than 50 symbols, only the 50 most probable and `mark` are drawn.
    Raises ValueError unless there is one probability per symbol, or if `mark` is not a symbol.
    """
    probs = _array(probs)
    if probs.shape != (len(itos),):
        raise ValueError(f"expected {len(itos)} probabilities, one per symbol, got shape {probs.shape}")
    if mark is not None and mark not in itos.values():
        raise ValueError(f"mark must be one of the symbols {''.join(itos.values())!r}, got {mark!r}")
    ax = _axes(ax, height=2.6)
    shown, xlabel = list(range(len(itos))), "next character"
    if len(itos) > _MOST_BARS:
        most = np.argsort(-probs, kind="stable")[:_MOST_BARS].tolist()
        shown = sorted({*most, *(i for i, s in itos.items() if s == mark)})
        xlabel = f"next character, the {_MOST_BARS} most probable of {len(itos):,}"
    bars = ax.bar(range(len(shown)), probs[shown], color=BLUE)
    ax.set_xticks(range(len(shown)), [itos[i] for i in shown])
    if mark is not None:
        at = next(k for k, i in enumerate(shown) if itos[i] == mark)
        bars[at].set(facecolor=ORANGE, edgecolor="black", hatch="//")
    return _tidy(ax, title, xlabel, "probability")


def plot_embedding(
    C: ArrayLike,
    itos: Mapping[int, str],
    *,
    vowels: Collection[str] | None = None,
    dims: tuple[int, int] | None = None,
    size: float = 200,
    legend: bool = True,
    title: str = "Where the characters lie",
    labels: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Each symbol at its row of C (vocab_size, 2); vowels and the boundary have their own colour and shape.

    With `vowels=None` they are found by `vowels_of`. With more than 150 symbols, only 150 are labelled. Both axes have
    the same scale, so distances can be read off the map. `dims` picks two columns of a wider C, and the axis labels
    name them. `size` is the area of a mark in points squared; about 40 suits one map among several.
    Raises ValueError if C has one column, if it has more than two and `dims` is None, or if `dims` are not two
    different columns of C. Source: lecture 01:05:27. Taught in: page 09.
    """
    C = _array(C)
    if C.ndim == 2 and C.shape[1] == 1:
        raise ValueError(
            f"C has one column, shape {C.shape}, and a map needs two: train with n_embd=2 or more, or draw the one "
            "number of each character on a line"
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
    vowels = vowels_of(itos.values()) if vowels is None else vowels
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
    for i in _spread(len(itos), _MOST_LABELS):
        ax.text(C[i, 0], C[i, 1], itos[i], ha="center", va="center", fontsize=max(7, min(10, size / 20)))
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
    """A drawing of the network, after figure 1 of Bengio et al. 2003: `context` is read from left to right.

    Arrows point upwards as in the paper. Each layer shows its size. Raises ValueError for an empty context.
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
    return legible(ax)


def plot_bars(
    values: Mapping[str, float],
    *,
    unit: str,
    digits: int = 1,
    title: str,
    ax: Axes | None = None,
) -> Axes:
    """One horizontal bar per name, labelled with its value: for comparing a handful of measurements."""
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
    """A matrix (rows, columns) as coloured cells with a colour bar.

    With more than 50 rows or columns, only 50 are labelled.
    """
    values = _array(values)
    ax = _axes(ax, 6.4, 4.0)
    image = ax.imshow(values, cmap=cmap, aspect="auto", interpolation="nearest")
    if rows is not None:
        ax.set_yticks(at := _spread(len(rows), _MOST_BARS), [rows[k] for k in at])
    if columns is not None:
        ax.set_xticks(at := _spread(len(columns), _MOST_BARS), [columns[k] for k in at])
    ax.figure.colorbar(image, ax=ax)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return legible(ax)


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
    are hollow. Colour and shape show the kind. Rows that have a different `split`, no dev loss or no value for the
    horizontal axis are left out. Raises ValueError for any other `against`.
    """
    columns = {"parameters": ("n_parameters", "parameters, or counts kept"), "time": ("seconds", "seconds of training")}
    if against not in columns:
        raise ValueError(f"against must be 'parameters' or 'time', got {against!r}")
    column, xlabel = columns[against]
    ax = _axes(ax)
    rows = [row for row in rows if row.split == split and row.dev is not None and np.isfinite(row.dev)]
    rows = [row for row in rows if getattr(row, column)]  # a logarithmic axis cannot show 0
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

    `raw` (n,) is drawn faintly behind it, `band` = (lowest, highest), each (n,), as a shaded area, and the rate
    `suggestion` as a line. `against="rate"` puts the rate itself on a linear axis. To add a curve, call it again on the
    same Axes with a different `label`, `color` and `dash`. Raises ValueError for any other `against`.
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


# ---- letters of any alphabet -----------------------------------------------------------------------------------------

_VOWEL_NAMES = {  # the last word of a vowel's Unicode name, in scripts that name their letters
    "ARABIC": "ALEF WAW YEH MAKSURA FATHA DAMMA KASRA",
    "ARMENIAN": "AYB ECH EH ET INI VO OH",
    "CYRILLIC": "A E I O U IE IO YI YERU YU YA",
    "GEORGIAN": "AN EN IN ON UN",
    "GREEK": "ALPHA EPSILON ETA IOTA OMICRON UPSILON OMEGA",
}
_OTHER_VOWEL_NAMES = "A AA AE AI AU E EE I II O OE OO U UU"


def vowels_of(symbols: Iterable[str]) -> list[str]:
    """The symbols that stand for a vowel, by their Unicode names; none for scripts without vowels, such as Chinese.

    >>> vowels_of(".aby\u00e9\u0434\u0438\u0439\u306e\u3042\u4e2d")  # four scripts
    ['a', '\u00e9', '\u0438', '\u3042']
    """
    found = []
    for symbol in symbols:
        script, *words = unicodedata.name(symbol, "").partition(" WITH ")[0].split() or [""]
        known = _VOWEL_NAMES.get(script, _OTHER_VOWEL_NAMES).split()
        short_i = script == "CYRILLIC" and "SHORT" in words  # a consonant
        if "VOWEL" in words or "SARA" in words or (words and words[-1] in known and not short_i):
            found.append(symbol)
    return found


def legible(drawn: Figure | Axes) -> Figure | Axes:
    """Make every letter of a figure or Axes visible, using other fonts of this machine for letters the font lacks.

    A letter that no font has is shown as its code point, such as 4E2D. On its own, a space is shown as an open box, a
    combining mark on a dotted circle, and an invisible joiner as its code point. All other text stays as it is.
    The functions above call it; if you draw letters yourself, call it before `plt.show()`.
    """
    for ax in drawn.axes if isinstance(drawn, Figure) else [drawn]:
        for axis in (ax.xaxis, ax.yaxis):
            if isinstance(axis.get_major_formatter(), FuncFormatter | StrCategoryFormatter):  # labels, not numbers
                before = [tick.get_text() for tick in axis.get_ticklabels()]
                after = [_shown(label, axis.label) for label in before]
                if after != before:
                    axis.set_ticks(axis.get_ticklocs(), after)
                if len(families := _families("".join(after), axis.label)) > 1:
                    axis.set_tick_params(labelfontfamily=families, labelsize=8)
                if axis is ax.xaxis and len(after) > 9 and len(max(after, key=len)) > len(max(before, key=len)) + 1:
                    axis.set_tick_params(labelrotation=90, labelsize=7)  # code points are wider than letters
    for text in drawn.findobj(Text):
        if not text.get_text().isascii() or text.get_text() == " ":
            text.set_text(_shown(text.get_text(), text))
            text.set_fontfamily(_families(text.get_text(), text))
    return drawn


def _shown(said: str, text: Text) -> str:
    if "$" in said:  # a formula
        return said
    if said == " ":
        return "\u2423"
    if said in _JOINERS:
        return _code(said)
    own = _charmap(font_manager.findfont(text.get_fontproperties()))
    lost = {c for c in said if not c.isspace() and ord(c) not in own and _font_with(c) is None}
    if len(said) == 1:
        stands = unicodedata.category(said)[0] == "M" and not lost
        return "\u25cc" + said if stands else _code(said) if lost else said
    return "".join(f"({_code(c)})" if c in lost else c for c in said)


def _code(c: str) -> str:
    return f"{ord(c):04X}"


def _families(said: str, text: Text) -> list[str]:
    """The text's own font, then fonts with the letters it lacks: matplotlib uses the first that has a letter."""
    own = _charmap(font_manager.findfont(text.get_fontproperties()))
    others = [_font_with(c) for c in said if ord(c) not in own and not c.isspace()]
    return list(dict.fromkeys([*text.get_fontfamily(), *filter(None, others)]))


@cache
def _font_with(c: str) -> str | None:
    """Another font of this machine that has the letter, sans serif if possible."""
    return next((name for name, path in _other_fonts() if ord(c) in _charmap(path)), None)


@cache
def _other_fonts() -> list[tuple[str, str]]:
    manager = font_manager.fontManager
    for path in set(font_manager.findSystemFonts()) - {font.fname for font in manager.ttflist}:
        with contextlib.suppress(Exception):  # installed after matplotlib built its list; some are unreadable
            manager.addfont(path)
    plain = {f.name: f.fname for f in manager.ttflist if f.style == "normal" and f.weight == 400}
    # boxes instead of letters, mathematics in a private encoding, colour pictures that matplotlib cannot draw
    unfit = ("Last Resort", "cm", "STIX", "Noto Color")
    return sorted((f for f in plain.items() if not f[0].startswith(unfit)), key=lambda f: ("Sans" not in f[0], f[0]))


@cache
def _charmap(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())


def _spread(n: int, most: int) -> list[int]:
    """The numbers from 0 to n - 1, or `most` of them, evenly spaced."""
    return sorted({round(k * (n - 1) / (most - 1)) for k in range(most)}) if n > most else list(range(n))
