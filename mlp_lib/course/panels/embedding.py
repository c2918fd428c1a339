"""The embedding as a map, at several moments of its training.

Taught in: page 09.
"""

from collections.abc import Collection, Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mlp_lib.checks import BOUNDARY
from mlp_lib.course.panels.base import PlotPanel, choice, choice_slider
from mlp_lib.data import Vocab
from mlp_lib.plots import RED, plot_embedding, vowels_of

_NEIGHBOURS = 4
_OWN, _ALL = "this moment", "the whole run"


def embedding_panel(maps: Mapping[int, Tensor], vocab: Vocab, *, vowels: Collection[str] | None = None) -> PlotPanel:
    """Scrub through the training of C; pick a character to see which characters are nearest to it, and how near.

    `maps` has a copy of C (vocab_size, n_embd) for each number of updates. Two columns are drawn as they are. If there
    are more, the map shows the two directions in which the last C varies most, the same ones at all moments, and its
    title gives their share of the variance at this moment. The four nearest characters are found by distance in all
    columns. With `vowels=None` they are found by `vowels_of`. Raises ValueError for a C with numbers that are not
    finite.
    """
    vowels = vowels_of(vocab.stoi) if vowels is None else vowels
    for updates, C in maps.items():
        if not C.isfinite().all():
            raise ValueError(f"maps[{updates}] holds numbers that are not finite: the training blew up before that")
    tables = {updates: maps[updates].detach().clone() for updates in sorted(maps)}
    last = tables[max(tables)]
    n_embd = last.shape[1]
    # Two orthonormal directions, (n_embd, 2); a single column is drawn on a line.
    view = torch.eye(n_embd, 2) if n_embd <= 2 else widest_directions(last)
    whole = _frame(torch.cat([C @ view for C in tables.values()]))

    def draw(figure: Figure, updates: int, pick: str, frame: str) -> str:
        C = tables[updates]
        P = C @ view  # (vocab_size, 2)
        i = vocab.stoi[pick]
        distances = (C - C[i]).norm(dim=1)  # (vocab_size,)
        near = _nearest(distances, i)
        title = f"C after {updates:,} updates"
        if n_embd > 2:
            title += f"\n2 of {n_embd} directions: {_explained(C, view):.0%} of the variance"
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
            both = len({*near} & {*_nearest((P - P[i]).norm(dim=1), i)})
            readout += f" These are nearest in all {n_embd} columns; {both} of {len(near)} are also nearest on the map."
        return readout

    moments = [(f"{updates:,}", updates) for updates in tables]
    first = next((c for c in vocab.stoi if c in vowels and c != BOUNDARY), vocab.itos[len(vocab) - 1])
    return PlotPanel(
        "embedding_panel",
        draw,
        {
            "updates": choice_slider("updates", moments, max(tables)),
            "pick": choice("character", [(f"'{c}'", c) for c in vocab.stoi], first),
            "frame": choice("frame", [_OWN, _ALL], _OWN),
        },
        alt="A map of the characters at their rows of C: vowels as squares, other letters as circles, the boundary as "
        "a diamond. Lines lead from the character picked to its nearest neighbours.",
        size=(4.8, 4.8),
    )


def widest_directions(C: Tensor, k: int = 2) -> Tensor:
    """The `k` directions (n_embd, k) along which the rows of C (vocab_size, n_embd) vary most, the widest first.

    Principal component analysis: right singular vectors of the centred C. The sign of each is arbitrary; it is chosen
    so that the largest entry is positive, which gives the same picture on every machine.

    >>> directions = widest_directions(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 5.0], [0.0, 1.0, 3.0]])).T
    >>> directions.round(decimals=3) + 0.0
    tensor([[0., 0., 1.],
            [0., 1., 0.]])
    """
    directions = torch.linalg.svd(C - C.mean(0)).Vh[:k].T  # (n_embd, k)
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))  # (1, k)
    return directions * largest.sign() + 0.0


def _explained(C: Tensor, view: Tensor) -> float:
    """The share of the variance of C's rows along the directions of `view`."""
    centred = C - C.mean(0)
    return ((centred @ view).square().sum() / centred.square().sum().clamp(min=1e-30)).item()


def _nearest(distances: Tensor, i: int) -> list[int]:
    """The characters at the smallest distances, the nearest first, without i itself."""
    return [j for j in distances.argsort(stable=True).tolist() if j != i][:_NEIGHBOURS]


def _frame(P: Tensor) -> tuple[Tensor, float]:
    """A square around all points with a margin: its centre and half its side."""
    low, high = P.min(0).values, P.max(0).values
    return (low + high) / 2, 0.56 * (high - low).max().clamp(min=1e-6).item()


def _look(ax: Axes, frame: tuple[Tensor, float]) -> None:
    (x, y), half = frame[0].tolist(), frame[1]
    ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half))
    ax.locator_params(nbins=5)  # few ticks, because they take half of the drawing time
