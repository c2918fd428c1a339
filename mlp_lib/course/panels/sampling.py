"""The sampling loop with its prefix, temperature and seed.

Taught in: page 12.
"""

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from mlp_lib.checks import BOUNDARY
from mlp_lib.course.panels.base import PlotPanel, number, silence, slider, text
from mlp_lib.data import Vocab
from mlp_lib.plots import BLUE, ORANGE, plot_next_char_probs
from mlp_lib.sample import next_char_probs, sample_words

_NAMES, _COLUMNS = 12, 4
_MAX_LEN = 40  # characters; longer names are cut
_SHOWN = 14  # characters of a name that fit into its column


def sampling_panel(model: nn.Module, vocab: Vocab, *, words: Sequence[str]) -> PlotPanel:
    """Choose a prefix, a temperature and a seed; see the next character's probabilities and twelve sampled names.

    The names come from `sample_words` with a generator of that seed. Each is marked as new or as one of `words`, letter
    for letter. "another seed" adds one to the seed. Raises what `sample_words` raises.
    """
    known = frozenset(words)
    seed_box = number("seed", 2147483647 + 10)

    def draw(figure: Figure, prefix: str, temperature: float, seed: int) -> str:
        if len(prefix) > _MAX_LEN:
            raise ValueError(f"the prefix has {len(prefix)} characters: type one of at most {_MAX_LEN}")
        g = torch.Generator().manual_seed(seed)
        silence(r"\d+ of \d+ words did not end")  # the readout says it
        names = sample_words(model, vocab, _NAMES, temperature=temperature, prefix=prefix, max_len=_MAX_LEN, g=g)
        probs = next_char_probs(model, vocab, prefix, temperature=temperature)  # (vocab_size,)
        likeliest = [vocab.itos[i] for i in probs.topk(min(3, len(probs))).indices.tolist()]

        bars, board = figure.subplots(2, 1, height_ratios=[1.25, 1])
        context = ([BOUNDARY] * model.block_size + list(prefix))[-model.block_size :]
        plot_next_char_probs(probs, vocab.itos, title="", ax=bars)
        bars.set_title(f"after '{''.join(context)}' at temperature {temperature:g}", parse_math=False)
        bars.set_xlabel("")
        _names(board, names, known)

        in_list = sum(w in known for w in names)
        said = f"{in_list} of {_NAMES} names are in the list, {_NAMES - in_list} are new."
        cut = sum(len(w) == _MAX_LEN for w in names)
        if cut:
            said += f" {cut} were cut at {_MAX_LEN} characters."
        return f"likeliest next: {', '.join(f'{c} {probs[vocab.stoi[c]]:.3f}' for c in likeliest)}. {said}"

    def another() -> None:
        seed_box.value = (seed_box.value + 1) % (seed_box.max + 1)

    return PlotPanel(
        "sampling_panel",
        draw,
        {
            "prefix": text("prefix", placeholder="how a name begins, then Enter"),
            "temperature": slider("temperature", 1.0, 0.1, 3.0, 0.05, continuous=False),
            "seed": seed_box,
        },
        buttons={"another seed": another},
        alt="Above, bars of the next character's probabilities. Below, the names drawn, those of the list in orange "
        "boxes, new ones plain.",
        size=(6.8, 4.0),
    )


def _names(ax: Axes, names: Sequence[str], known: frozenset[str]) -> None:
    """The names in four columns; names in the list have a box, so that colour is not the only difference."""
    rows = -(-len(names) // _COLUMNS)
    for k, name in enumerate(names):
        cut = name if len(name) <= _SHOWN else name[: _SHOWN - 2] + ".."
        box = {"boxstyle": "round,pad=0.25", "facecolor": ORANGE, "alpha": 0.35, "edgecolor": "black"}
        ax.text(
            k % _COLUMNS / _COLUMNS, 1 - (k // _COLUMNS + 0.5) / rows, cut or "(empty)",
            va="center", family="monospace", fontsize=10, parse_math=False, color="black" if name in known else BLUE,
            bbox=box if name in known else None, gid="in the list" if name in known else "new",
        )  # fmt: skip
    ax.set(xlim=(-0.02, 1), ylim=(0, 1))
    ax.set_title(f"{len(names)} names; boxed: in the list, letter for letter", fontsize=10)
    ax.axis("off")
