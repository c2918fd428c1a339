"""The network at work: the contexts of a word, one by one, through lookup, hidden layer and output.

Taught in: page 00.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlp_lib.checks import BOUNDARY
from mlp_lib.course.panels.base import PlotPanel, text, whole_slider
from mlp_lib.data import Vocab, build_dataset
from mlp_lib.model import MLP, eval_mode
from mlp_lib.plots import plot_next_char_probs

_LONGEST = 40  # characters; a longer word shows nothing new


def network_panel(model: MLP, vocab: Vocab, words: Sequence[str]) -> PlotPanel:
    """Type a word and step through its contexts; see the rows of C, the hidden units and the probabilities.

    It begins with the first of `words`. The picture reads upwards, as in the paper.
    """
    word_box = text("word", words[0], placeholder="a word, then Enter")
    place = whole_slider("character", 1, 0, len(words[0]))

    def fit(change: object) -> None:
        if 0 < len(word_box.value) <= _LONGEST:  # otherwise `draw` refuses the word
            place.max = len(word_box.value)

    word_box.observe(fit, names="value")

    def draw(figure: Figure, word: str, place: int) -> str:
        if not word:
            raise ValueError("the word is empty: type one")
        if len(word) > _LONGEST:
            raise ValueError(f"the word has {len(word)} characters: type one of at most {_LONGEST}")
        X, Y = build_dataset([word], vocab, model.block_size)  # (len + 1, block_size), (len + 1,)
        at = min(place, len(word))
        with eval_mode(model):
            emb, h, logits = model.trace(X)
        prob = F.softmax(logits[at], 0)  # (vocab_size,)
        context, right = vocab.decode(X[at]), vocab.itos[Y[at].item()]

        output, hidden, lookup = figure.subplots(3, 1, height_ratios=[2.2, 0.9, 1.2])
        plot_next_char_probs(prob, vocab.itos, mark=right, title="probabilities (hatched: what does follow)", ax=output)
        output.set(xlabel="", ylim=(0, 1))
        _cells(hidden, _folded(h[at]), 1.0)
        hidden.set_title(f"hidden layer: {h.shape[1]} tanh units, from -1 (brown) to 1 (violet)", fontsize=10)
        largest = model.C.detach().abs().max().item() or 1.0
        _cells(lookup, emb[at].reshape(1, -1), largest)
        lookup.set_title("rows of C, one for each character of the context", fontsize=10)
        n_embd = emb.shape[2]
        lookup.set_xticks([n_embd * (k + 0.5) - 0.5 for k in range(len(context))])
        lookup.set_xticklabels([f"'{c}'" for c in context], fontsize=11, parse_math=False)
        for k in range(1, len(context)):
            lookup.axvline(n_embd * k - 0.5, color="black", linewidth=1.5)
        if emb.shape[1] * n_embd <= 12:
            for k, value in enumerate(emb[at].flatten().tolist()):
                color = "white" if abs(value) > 0.6 * largest else "black"
                lookup.text(k, 0, f"{value:.2f}", ha="center", va="center", fontsize=9, color=color)

        p = prob[Y[at]].item()
        favourite = vocab.itos[prob.argmax().item()]
        loss = f"{-math.log(p):.2f} nats" if p > 0 else "infinite"
        next_one = "the end" if right == BOUNDARY else f"'{right}'"
        return (
            f"'{context}' and then {next_one}: p = {p:.3g}, loss {loss}. "
            f"The favourite is '{favourite}', p = {prob.max():.3g}."
        )

    return PlotPanel(
        "network_panel",
        draw,
        {"word": word_box, "place": place},
        alt="From the bottom up: the context and its rows of C, the hidden units as coloured cells, and bars of the "
        "probabilities of the next character.",
        size=(6.8, 4.4),
    )


def _cells(ax: Axes, values: torch.Tensor, most: float) -> None:
    """Numbers (rows, columns) as coloured cells on a fixed scale from -most to most."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.imshow(values.numpy(), cmap="PuOr", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")


def _folded(h: torch.Tensor) -> torch.Tensor:
    """The units (n_hidden,) in a few rows of cells; unused cells at the end are empty."""
    rows = max(1, min(4, len(h) // 25))
    columns = -(-len(h) // rows)
    cells = torch.full((rows * columns,), math.nan)
    cells[: len(h)] = h
    return cells.view(rows, columns)
