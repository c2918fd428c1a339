"""The initialisation: how large the random numbers are, and what that does to the first loss.

Taught in: page 14.
"""

import math

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mlp_lib.course.panels.base import PlotPanel, choice_slider
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.plots import BLUE, GREY, RED, SKY

_SCALES = (0.0, *(10 ** (k / 10) for k in range(-30, 11)))  # 0, and 0.001 to 10 in even steps of the exponent
_SATURATED = 0.99
_ASKED = 512  # most rows used for the gradients; this is enough to see whether a tensor's gradient is 0


def init_panel(X: Tensor, Y: Tensor, config: MLPConfig, *, seed: int) -> PlotPanel:
    """Scale the random numbers a network starts with; see its first loss and the outputs of its tanh units.

    The network is `MLP(config, g=g)` with a generator of this `seed`; "output scale" multiplies W2 and b2, "hidden
    scale" W1 and b1, from 0 to 10. On the left is the loss in nats over all of X (N, block_size), Y (N,) against the
    output scale, with uniform guessing, ln V, dashed; on the right, how the outputs h are spread between -1 and 1. The
    readout has the loss, the share of outputs beyond .99, and the tensors whose gradient is all zeros. With a few
    thousand examples it responds at once.
    """
    C, W1, b1, W2, b2 = (p.detach() for p in MLP(config, g=torch.Generator().manual_seed(seed)).tensors())
    uniform = math.log(config.vocab_size)
    few = slice(None, None, -(-len(Y) // _ASKED))

    def draw(figure: Figure, output: float, hidden: float) -> str:
        model = MLP.from_tensors(C, W1 * hidden, b1 * hidden, W2 * output, b2 * output)
        with torch.no_grad():
            h = model.trace(X).h  # (N, n_hidden)
            logits = h @ W2 + b2  # (N, V) at an output scale of 1
            curve = {s: F.cross_entropy(logits * s, Y).item() for s in sorted({*_SCALES[::2], _SCALES[-1], output})}
        gradients = torch.autograd.grad(F.cross_entropy(model(X[few]), Y[few]), model.tensors())
        still = [name for name, d in zip(config.shapes, gradients, strict=True) if not d.any()]
        saturated = (h.abs() > _SATURATED).float().mean().item()

        left, right = figure.subplots(1, 2)
        _losses(left, curve, output, uniform)
        _outputs(right, h, saturated)
        stuck = f"No gradient for {', '.join(still)}." if still else "Every tensor has a gradient."
        loss = f"first loss {curve[output]:.4f}, uniform {uniform:.4f} nats"
        return f"{loss}; {saturated:.1%} of |h| beyond .99. {stuck}"

    scales = [(f"{scale:.3g}", scale) for scale in _SCALES]
    return PlotPanel(
        "init_panel",
        draw,
        {
            "output": choice_slider("output scale", scales, 1.0),
            "hidden": choice_slider("hidden scale", scales, 1.0),
        },
        alt="Left, the first loss against the output scale with a mark at the present one, and the loss of uniform "
        "guessing dashed. Right, a histogram of the hidden units' outputs between -1 and 1.",
        size=(6.8, 3.1),
    )


def _losses(ax: Axes, curve: dict[float, float], output: float, uniform: float) -> None:
    loss = curve[output]
    ax.plot(list(curve), list(curve.values()), color=SKY, linewidth=2)
    ax.axhline(uniform, color=RED, linestyle="--", linewidth=1.2, label=f"uniform, ln V = {uniform:.2f}")
    ax.plot(output, loss, "o", color=BLUE, markeredgecolor="black", markersize=9, clip_on=False, zorder=3)
    ax.set_xscale("symlog", linthresh=1e-3, linscale=0.3)
    ax.set_xticks([0, 1e-3, 1e-2, 0.1, 1, 10], ["0", "", "0.01", "0.1", "1", "10"])
    ax.set_yscale("log")
    ax.set_yticks([1, 3, 10, 30, 100, 300], ["1", "3", "10", "30", "100", "300"])
    ax.minorticks_off()
    ax.set(xlim=(0, 10), ylim=(min(2.0, 0.8 * uniform), max(400.0, 1.2 * max(curve.values()))))
    ax.set(xlabel="output scale, of W2 and b2", ylabel="first loss (nats)")
    ax.set_title(f"First loss {loss:.2f}", fontsize=11)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)


def _outputs(ax: Axes, h: Tensor, saturated: float) -> None:
    counts = torch.histc(h, bins=50, min=-1, max=1)  # (50,)
    share = counts / counts.sum()
    ax.stairs(share, torch.linspace(-1, 1, 51), color=BLUE, fill=True)
    ax.axvline(-_SATURATED, color=GREY, linestyle=":", linewidth=1)
    ax.axvline(_SATURATED, color=GREY, linestyle=":", linewidth=1)
    ax.set(xlim=(-1.05, 1.05), ylim=(0, 1.08 * share.max().item()), xlabel="h, a hidden unit's output", ylabel="share")
    ax.set_title(f"{saturated:.0%} beyond .99", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
