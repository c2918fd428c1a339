"""Scores to probabilities to loss, and where float32 gives out.

Taught in: notebook 03.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from mlp_lib.course.panels.base import PlotPanel, choice, slider
from mlp_lib.plots import BLUE, ORANGE, RED, SKY

_LARGEST = math.log(torch.finfo(torch.float32).max)  # 88.72; exp of more is inf in float32
_NAMES = "abcdefghij"
_FARTHEST = 110  # a slider's end, well beyond the overflow


def softmax_panel(logits: Sequence[float] = (-5.0, -3.0, 0.0, 2.0), *, right: int = 3) -> PlotPanel:
    """Drag each of a handful of logits, and all of them together, and choose which is the right one.

    The picture shows the logits with the region where float32's exp overflows, and the probabilities by softmax
    (bars) and by the longhand of notebook 03 (diamonds, missing where it gives nan). The readout has the loss in nats
    both ways. Raises ValueError for fewer than 2 or more than 10 logits, one beyond 110 either way, or a `right` that
    is none of them.
    """
    if not 2 <= len(logits) <= len(_NAMES):
        raise ValueError(f"softmax_panel takes from 2 to {len(_NAMES)} logits, got {len(logits)}")
    if not all(abs(x) <= _FARTHEST for x in logits):
        raise ValueError(f"each logit must be from -{_FARTHEST} to {_FARTHEST}, as far as a slider goes, got {logits}")
    if not 0 <= right < len(logits):
        raise ValueError(f"right must be from 0 to {len(logits) - 1}, the place of a logit, got {right}")
    names = _NAMES[: len(logits)]

    def draw(figure: Figure, right: int, shift: float, **dragged: float) -> str:
        scores = torch.tensor([[dragged[c] + shift for c in names]])  # (1, n) float32
        prob = F.softmax(scores.double(), 1)[0]  # (n,)
        by_hand = longhand(scores)[0]  # (n,)

        left, middle = figure.subplots(1, 2)
        left.axhspan(_LARGEST, 250, color=RED, alpha=0.25, linewidth=0)
        left.text(0.5, _LARGEST + 8, "exp overflows float32", ha="left", va="bottom", fontsize=9)
        left.axhline(0, color="black", linewidth=0.8)
        _bars(left.bar(list(names), scores[0].tolist(), color=SKY, edgecolor="black"), right)
        left.set(title="logits", ylim=(-140, 140))
        _bars(middle.bar(list(names), prob.tolist(), color=BLUE, edgecolor="black", label="softmax"), right)
        middle.plot(
            list(names), by_hand.tolist(), "D", color=RED, markeredgecolor="black", markersize=7, label="longhand"
        )
        middle.set(title="probabilities (right one hatched)", ylim=(0, 1.18))
        middle.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
        for ax in (left, middle):
            ax.spines[["top", "right"]].set_visible(False)

        ours = -by_hand[right].log().item()
        theirs = F.cross_entropy(scores, torch.tensor([right])).item()
        return f"longhand {ours:.4f} nats, F.cross_entropy {theirs:.4f} nats. {_reason(scores[0], ours, prob[right])}"

    controls = {c: slider(f"logit of {c}", x, -_FARTHEST, _FARTHEST, 0.5) for c, x in zip(names, logits, strict=True)}
    controls["shift"] = slider("added to all", 0.0, -_FARTHEST, _FARTHEST, 0.5)
    controls["right"] = choice("the right one", [(c, k) for k, c in enumerate(names)], right)
    return PlotPanel(
        "softmax_panel",
        draw,
        controls,
        alt="Left, bars of the logits and the region where exp overflows. Right, bars of their softmax, with the "
        "longhand's probabilities as diamonds.",
        size=(6.8, 3.0),
    )


def longhand(logits: Tensor) -> Tensor:
    """Notebook 03's lines, overflow and all: probabilities (N, n) of logits (N, n) in their own dtype.

    >>> longhand(torch.tensor([[0.0, 100.0]]))
    tensor([[0., nan]])
    """
    counts = logits.exp()  # (N, n)
    return counts / counts.sum(1, keepdim=True)  # (N, n)


def _bars(bars: Sequence, right: int) -> None:
    bars[right].set(facecolor=ORANGE, hatch="//")


def _reason(scores: Tensor, loss: float, p: Tensor) -> str:
    """Why the longhand's loss is what it is, in one sentence."""
    counts = scores.exp()
    if math.isfinite(loss):
        return f"The right one has probability {p:.4g}."
    if bool(counts.isinf().any()):
        return f"exp({scores.max():g}) is inf in float32: inf / inf is nan, and anything / inf is 0."
    if bool((counts == 0).all()):
        return f"Even exp({scores.max():g}) is 0 in float32, and 0 / 0 is nan."
    if bool(counts.sum().isinf()):
        return "The counts fit, but their sum is inf in float32."
    return f"The right one's probability, {p:.1e}, is 0 in float32, and -log(0) is inf."
