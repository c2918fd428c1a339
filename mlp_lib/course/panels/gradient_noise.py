"""How well a minibatch points, and what it costs.

Taught in: notebook 05.
"""

import copy
import math
import time
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor, nn

from mlp_lib.checks import count as check_count
from mlp_lib.checks import examples as check_examples
from mlp_lib.course.panels.base import PlotPanel, choice, log_slider, number
from mlp_lib.course.panels.sizes import distinct
from mlp_lib.plots import BLUE, GREY, ORANGE
from mlp_lib.train import train_steps

_ROWS = 2**14  # contexts in one piece of the full gradient
_GUIDES = 1, 8, 64, 512  # sizes that every picture begins with
_TIMED_SECONDS = 0.1  # how long steps are timed, at least three of them


def gradient_noise_panel(
    models: Mapping[str, nn.Module],
    X: Tensor,
    Y: Tensor,
    *,
    batch_size: int = 32,
    largest: int = 4096,
    draws: int = 32,
    seed: int = 2147483647,
    lr: float = 0.1,
) -> PlotPanel:
    """Choose a batch size and a network; see the cosine of `draws` minibatch gradients to the full one, and the time.

    `models` are networks by name, none of which is changed. The gradient over all of X (N, block_size), Y (N,) is
    computed once for each. The minibatches are those of a generator with the panel's seed; "fresh draw" adds one to it.
    The time of a step is measured on a copy with `train_steps`, and only after the first picture, which is the same on
    every machine. Sizes seen before stay in the picture in grey. Raises ValueError for no models, counts below 1, or a
    `batch_size` above `largest`.
    """
    if not models:
        raise ValueError('models is empty: give at least one network by name, such as {"before training": model}')
    check_count("batch_size", batch_size)
    check_count("largest", largest, least=2)
    check_count("draws", draws, least=2)
    if batch_size > largest:
        raise ValueError(f"batch_size is {batch_size}, but largest is {largest}: raise largest")
    for model in models.values():
        check_examples(model, X, Y)
    X, Y = X.long(), Y.long()  # a uint8 index would be a mask
    full: dict[str, Tensor] = {}  # (parameters,) each
    cosines: dict[tuple[str, int, int], Tensor] = {}  # (draws,) each, by network, batch size and seed
    times: dict[tuple[str, int], float] = {}  # seconds of a step
    drawn_before = False
    seed_box = number("seed", seed, 0, 2**53)

    def look(name: str, size: int, seed: int) -> None:
        if name not in full:
            full[name] = full_gradient(models[name], X, Y)
            for guide in _GUIDES:
                if guide < largest:
                    look_once(name, guide, seed)
        look_once(name, size, seed)
        if drawn_before and (name, size) not in times:
            times[name, size] = _seconds_a_step(models[name], X, Y, size, lr)

    def look_once(name: str, size: int, seed: int) -> None:
        if (name, size, seed) not in cosines:
            for old in [key for key in cosines if key[:2] == (name, size)]:
                del cosines[old]  # one draw of each size is enough to compare with
            g = torch.Generator().manual_seed(seed)
            rows = torch.randint(0, len(Y), (draws, size), generator=g)
            some = torch.stack([_gradient(models[name], X[ix], Y[ix]) for ix in rows])  # (draws, parameters)
            cosines[name, size, seed] = F.cosine_similarity(some, full[name][None], dim=1)

    def draw(figure: Figure, network: str, batch_size: float, seed: int) -> str:
        nonlocal drawn_before
        size = max(1, round(batch_size))
        look(network, size, seed)
        drawn_before = True

        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        for (name, at, its_seed), values in cosines.items():
            if name == network:
                _strip(left, at, values, newest=(at, its_seed) == (size, seed))
        means = sorted((at, values.mean().item()) for (name, at, _), values in cosines.items() if name == network)
        left.plot(*zip(*means, strict=True), "--", color=GREY, linewidth=1, zorder=0)
        left.axhline(0, color="black", linewidth=0.8)
        left.set(xscale="log", xlim=(0.7, 1.4 * largest), ylim=(-0.55, 1.05), xlabel="examples in the minibatch")
        left.set(ylabel="cosine to the full gradient", title="direction")
        ticks = [2**k for k in range(0, int(math.log2(largest)) + 1, 3)]
        _times(right, {at: s for (name, at), s in times.items() if name == network}, size)
        right.set_xlim(left.get_xlim())
        for ax in (left, right):
            ax.set_xticks(ticks, [f"{t:,}" for t in ticks], fontsize=8)
            ax.xaxis.set_minor_locator(NullLocator())
            ax.spines[["top", "right"]].set_visible(False)

        values = cosines[network, size, seed]
        cost = f"; {_seconds(times[network, size])} a step" if (network, size) in times else ""
        return (
            f"{size:,} example{'s' if size > 1 else ''}, {network}: mean cosine {values.mean():.3f}, "
            f"from {values.min():.2f} to {values.max():.2f} in {draws} draws{cost}"
        )

    def fresh() -> None:
        seed_box.value = (seed_box.value + 1) % (seed_box.max + 1)

    sizes = log_slider("batch size", float(batch_size), 0, math.log2(largest), 1, continuous=False)
    sizes.base, sizes.readout_format = 2.0, ".0f"
    sizes.value = float(batch_size)
    panel = PlotPanel(
        "gradient_noise_panel",
        draw,
        {"network": choice("network", list(models), next(iter(models))), "batch_size": sizes, "seed": seed_box},
        buttons={"fresh draw": fresh},
        alt="Left, the cosine of each minibatch gradient to the full gradient, a dot each, over the batch size. Right, "
        "the measured time of a step for the sizes tried.",
        size=(6.8, 3.0),
        slow="drawing minibatches ...",
    )
    return panel


def full_gradient(model: nn.Module, X: Tensor, Y: Tensor) -> Tensor:
    """The gradient (parameters,) of the mean loss over all of X (N, block_size), Y (N,).

    The same context comes often, so each goes through the network once.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(n_embd=2, n_hidden=100), g=torch.Generator().manual_seed(2147483647))
    >>> full_gradient(model, torch.zeros(4, 3, dtype=torch.int64), torch.tensor([0, 1, 2, 3])).shape
    torch.Size([3481])
    """
    contexts, row = distinct(X)  # (contexts, block_size), (N,)
    total: Tensor | float = 0.0
    for first in range(0, len(contexts), _ROWS):
        logp = F.log_softmax(model(contexts[first : first + _ROWS]), 1)  # (rows, vocab_size)
        here = (row >= first) & (row < first + _ROWS)
        answers = torch.zeros_like(logp)  # (rows, vocab_size): how often each character follows
        answers.index_put_((row[here] - first, Y[here]), answers.new_ones(int(here.sum())), accumulate=True)
        total = total + _flat(-(answers * logp).sum() / len(Y), model)
    return total


def _gradient(model: nn.Module, Xb: Tensor, Yb: Tensor) -> Tensor:
    return _flat(F.cross_entropy(model(Xb), Yb), model)


def _flat(loss: Tensor, model: nn.Module) -> Tensor:
    """The gradient of a loss as one long vector (parameters,)."""
    return torch.cat([d.flatten() for d in torch.autograd.grad(loss, list(model.parameters()))])


def _seconds_a_step(model: nn.Module, X: Tensor, Y: Tensor, batch_size: int, lr: float) -> float:
    """The best time of a step of the plain loop, taken on a copy."""
    g = torch.Generator().manual_seed(0)
    run = train_steps(copy.deepcopy(model), X, Y, steps=1000, lr=lr, batch_size=batch_size, g=g)
    next(run)
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < _TIMED_SECONDS:
        clock = time.perf_counter()
        if next(run, None) is None:
            break
        taken.append(time.perf_counter() - clock)
    return min(taken)


def _seconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} us"


def _strip(ax: Axes, size: int, values: Tensor, *, newest: bool) -> None:
    """A dot for each draw, a little beside each other, and a bar at their mean."""
    beside = 1.25 ** torch.linspace(-1, 1, len(values))  # (draws,)
    color = BLUE if newest else GREY
    ax.plot(size * beside, values, "o", color=color, markersize=3, alpha=0.9 if newest else 0.35)
    mean = values.mean().item()
    ax.plot([size / 1.4, size * 1.4], [mean, mean], color="black" if newest else GREY, linewidth=2 if newest else 1)


def _times(ax: Axes, times: Mapping[int, float], size: int) -> None:
    at = sorted(times)
    ms = [1e3 * times[k] for k in at]
    ax.set(xscale="log", yscale="log", xlabel="examples in the minibatch", ylabel="ms", title="time of a step")
    ax.set_ylim(min([0.1, *(0.5 * t for t in ms)]), max([50, *(2 * t for t in ms)]))
    ticks = [10.0**k for k in range(-3, 6) if ax.get_ylim()[0] <= 10.0**k <= ax.get_ylim()[1]]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
    if times:
        ax.plot(at, ms, "o--", color=GREY, markersize=4, linewidth=1)
    else:
        ax.text(0.5, 0.5, "measured as soon as\nyou move something", transform=ax.transAxes, ha="center", va="center")
    if size in times:
        ax.plot(size, 1e3 * times[size], "s", color=ORANGE, markeredgecolor="black", markersize=8)
