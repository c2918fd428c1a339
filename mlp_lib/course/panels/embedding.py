"""The embedding as a map, at any moment of its training.

Taught in: notebook 09.
"""

from collections.abc import Collection, Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mlp_lib.checks import BOUNDARY
from mlp_lib.checks import count as check_count
from mlp_lib.course.panels.base import PlotPanel, choice, choice_slider
from mlp_lib.data import Vocab
from mlp_lib.plots import RED, plot_embedding, vowels_of

_OWN, _ALL = "this moment", "the whole run"


def embedding_panel(
    maps: Mapping[int, Tensor],
    vocab: Vocab,
    *,
    vowels: Collection[str] | None = None,
    pick: str | None = None,
    neighbours: int = 4,
) -> PlotPanel:
    """Scrub through the training of C; pick a character, see which characters are nearest to it, and how near.

    `maps` has a copy of C (vocab_size, n_embd) for each number of updates. Two columns are drawn as they are. Of more,
    the map shows the two widest directions of the last C, for all moments the same ones, and its title says how much
    of the variance they hold at this moment. The `neighbours` nearest are those by distance in all columns. `pick` is
    the character to begin with (None: the first vowel), `vowels` are those that `vowels_of` finds if None. Raises
    TypeError or ValueError for tables that are none of this vocabulary's or not of one shape, and for a `pick` that is
    not in it.
    """
    tables = _checked(maps, vocab)
    check_count("neighbours", neighbours)
    vowels = vowels_of(vocab.stoi) if vowels is None else vowels
    if pick is None:
        pick = next((c for c in vocab.stoi if c in vowels and c != BOUNDARY), vocab.itos[len(vocab) - 1])
    if len(vocab.encode(pick)) != 1:  # it raises for a character that is not there
        raise ValueError(f"pick must be one character, got {pick[:40]!r}")
    last = tables[max(tables)]
    n_embd = last.shape[1]
    # At right angles to each other and of length 1, (n_embd, 2); one column is drawn on a line.
    view = torch.eye(n_embd, 2) if n_embd <= 2 else widest_directions(last)
    whole = _frame(torch.cat([C @ view for C in tables.values()]))

    def draw(figure: Figure, updates: int, pick: str, frame: str) -> str:
        C = tables[updates]
        P = C @ view  # (vocab_size, 2)
        i = vocab.stoi[pick]
        distances = (C - C[i]).norm(dim=1)  # (vocab_size,)
        near = _nearest(distances, i, neighbours)
        held = _explained(C, view)
        title = f"C after {updates:,} updates"
        if n_embd > 2:
            title += f"\n2 of {n_embd} directions: {held:.0%} of the variance"
        ax = figure.add_subplot()
        for j in near:
            ax.plot(*P[[i, j]].T.tolist(), color=RED, linewidth=1.6, zorder=0.5)
        ax.plot(*P[i].tolist(), "o", color="none", markeredgecolor=RED, markeredgewidth=2, markersize=17)
        ax.plot(*P[near].T.tolist(), "o", color="none", markeredgecolor=RED, markeredgewidth=1, markersize=14)
        plain = {1: ("the number of the row", ""), 2: ("first number of the row", "second number of the row")}
        axes = plain.get(n_embd, ("widest", "second widest"))
        plot_embedding(P, vocab.itos, vowels=vowels, size=90, legend=False, title=title, labels=axes, ax=ax)
        ax.set_title(title, fontsize=11)
        _look(ax, whole if frame == _ALL else _frame(P))

        said = ", ".join(f"'{vocab.itos[j]}' {distances[j]:.2f}" for j in near)
        readout = f"After {updates:,} updates, nearest to '{pick}': {said}."
        if n_embd > 2:
            seen = _nearest((P - P[i]).norm(dim=1), i, neighbours)
            both = len(set(near) & set(seen))
            readout += f" That is in all {n_embd} columns; {both} of {len(near)} are nearest on the map too."
        return readout

    moments = [(f"{updates:,}", updates) for updates in sorted(tables)]
    return PlotPanel(
        "embedding_panel",
        draw,
        {
            "updates": choice_slider("updates", moments, max(tables), continuous=False),
            "pick": choice("character", [(f"'{c}'", c) for c in vocab.stoi], pick),
            "frame": choice("frame", [_OWN, _ALL], _OWN),
        },
        alt="A map of the characters at their rows of C: vowels as squares, other letters as circles, the boundary as "
        "a diamond. Lines lead from the character picked to its nearest neighbours.",
        size=(4.8, 4.8),
    )


def widest_directions(C: Tensor, k: int = 2) -> Tensor:
    """The `k` directions (n_embd, k) along which the rows of C (vocab_size, n_embd) vary most, the widest first.

    Principal component analysis: right singular vectors of the centred C. The sign of each, which is free, is chosen
    so that its largest entry is positive, for the same picture everywhere.

    >>> directions = widest_directions(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 5.0], [0.0, 1.0, 3.0]])).T
    >>> directions.round(decimals=3) + 0.0
    tensor([[0., 0., 1.],
            [0., 1., 0.]])
    """
    directions = torch.linalg.svd(C - C.mean(0)).Vh[:k].T  # (n_embd, k)
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))  # (1, k)
    return directions * largest.sign() + 0.0


def _explained(C: Tensor, view: Tensor) -> float:
    """The share of the variance of C's rows that lies along the directions of `view`."""
    centred = C - C.mean(0)
    return ((centred @ view).square().sum() / centred.square().sum().clamp(min=1e-30)).item()


def _nearest(distances: Tensor, i: int, n: int) -> list[int]:
    """The n characters at the smallest distances, the nearest first, without i itself."""
    return [j for j in distances.argsort(stable=True).tolist() if j != i][:n]


def _frame(P: Tensor) -> tuple[Tensor, float]:
    """A square around all points: its middle and half its side, with some room."""
    low, high = P.min(0).values, P.max(0).values
    return (low + high) / 2, 0.56 * (high - low).max().clamp(min=1e-6).item()


def _look(ax: Axes, frame: tuple[Tensor, float]) -> None:
    (x, y), half = frame[0].tolist(), frame[1]
    ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half))
    ax.locator_params(nbins=5)  # of the time for a picture, half goes into ticks


def _checked(maps: Mapping[int, Tensor], vocab: Vocab) -> dict[int, Tensor]:
    """The tables in the order of their updates, copied, so that a picture shows what was handed in."""
    if len(maps) == 0:
        raise ValueError("maps is empty: give C.detach().clone() for at least one number of updates")
    for updates, C in maps.items():
        check_count("a key of maps", updates, least=0)
        if not isinstance(C, Tensor):
            raise TypeError(f"maps[{updates}] must be a torch.Tensor, got {type(C).__name__}")
        if C.ndim != 2 or C.shape[0] != len(vocab) or C.shape[1] == 0:
            raise ValueError(
                f"maps[{updates}] has shape {tuple(C.shape)}: a C of this vocabulary has shape ({len(vocab)}, n_embd)"
            )
        if not C.isfinite().all():
            raise ValueError(f"maps[{updates}] holds numbers that are not finite: the training blew up before that")
    widths = {C.shape[1] for C in maps.values()}
    if len(widths) > 1:
        raise ValueError(f"the tables of maps have {sorted(widths)} columns: give those of one run")
    return {updates: maps[updates].detach().clone().float() for updates in sorted(maps)}
