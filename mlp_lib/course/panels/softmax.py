"""Scores to probabilities to loss, and where float32 overflows.

Taught in: page 03.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from mlp_lib.course.panels.base import PlotPanel, choice, slider
from mlp_lib.plots import BLUE, ORANGE, RED, SKY

_LOGITS = {"a": -5.0, "b": -3.0, "c": 0.0, "d": 2.0}
_OVERFLOW = math.log(torch.finfo(torch.float32).max)  # 88.72; exp of a larger number is inf in float32
_FARTHEST = 110  # the end of each slider, well beyond the overflow


def softmax_panel() -> PlotPanel:
    """Drag each of four logits, or all of them together, and choose the right one.

    The picture shows the logits with the region where float32's exp overflows, and the probabilities by softmax
    (bars) and by the longhand of page 03 (diamonds, missing if they are nan). The readout has the loss in nats
    computed both ways.
    """
    names = list(_LOGITS)

    def draw(figure: Figure, right: int, shift: float, **dragged: float) -> str:
        logits = torch.tensor([[dragged[c] + shift for c in names]])  # (1, 4) float32
        prob = F.softmax(logits.double(), 1)[0]  # (4,)
        by_hand = longhand(logits)[0]  # (4,)

        left, middle = figure.subplots(1, 2)
        left.axhspan(_OVERFLOW, 250, color=RED, alpha=0.25, linewidth=0)
        left.text(0.5, _OVERFLOW + 8, "exp overflows float32", ha="left", va="bottom", fontsize=9)
        left.axhline(0, color="black", linewidth=0.8)
        _bars(left.bar(names, logits[0].tolist(), color=SKY, edgecolor="black"), right)
        left.set(title="logits", ylim=(-140, 140))
        _bars(middle.bar(names, prob.tolist(), color=BLUE, edgecolor="black", label="softmax"), right)
        middle.plot(names, by_hand.tolist(), "D", color=RED, markeredgecolor="black", markersize=7, label="longhand")
        middle.set(title="probabilities (right one hatched)", ylim=(0, 1.18))
        middle.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
        for ax in (left, middle):
            ax.spines[["top", "right"]].set_visible(False)

        longhand_loss = -by_hand[right].log().item()
        library_loss = F.cross_entropy(logits, torch.tensor([right])).item()
        losses = f"longhand {longhand_loss:.4f} nats, F.cross_entropy {library_loss:.4f} nats"
        return f"{losses}. {_reason(logits[0], longhand_loss, prob[right])}"

    controls = {c: slider(f"logit of {c}", x, -_FARTHEST, _FARTHEST, 0.5) for c, x in _LOGITS.items()}
    controls["shift"] = slider("added to all", 0.0, -_FARTHEST, _FARTHEST, 0.5)
    controls["right"] = choice("the right one", [(c, k) for k, c in enumerate(names)], 3)
    return PlotPanel(
        "softmax_panel",
        draw,
        controls,
        alt="Left, bars of the logits and the region where exp overflows. Right, bars of their softmax, with the "
        "longhand's probabilities as diamonds.",
        size=(6.8, 3.0),
    )


def longhand(logits: Tensor) -> Tensor:
    """Page 03's lines without protection from overflow: probabilities (N, n) of logits (N, n), in the same dtype.

    >>> longhand(torch.tensor([[0.0, 100.0]]))
    tensor([[0., nan]])
    """
    counts = logits.exp()  # (N, n)
    return counts / counts.sum(1, keepdim=True)  # (N, n)


def _bars(bars: Sequence, right: int) -> None:
    bars[right].set(facecolor=ORANGE, hatch="//")


def _reason(logits: Tensor, loss: float, p: Tensor) -> str:
    """Why the longhand's loss is what it is, in one sentence."""
    counts = logits.exp()
    if math.isfinite(loss):
        return f"The right one has probability {p:.4g}."
    if counts.isinf().any():
        return f"exp({logits.max():g}) is inf in float32: inf / inf is nan, and anything / inf is 0."
    if (counts == 0).all():
        return f"Even exp({logits.max():g}) is 0 in float32, and 0 / 0 is nan."
    if counts.sum().isinf():
        return "The counts fit, but their sum is inf in float32."
    return f"The right one's probability, {p:.1e}, is 0 in float32, and -log(0) is inf."
