"""How close a minibatch gradient is to the full gradient, and what it costs.

Taught in: page 05.
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

from mlp_lib.course.panels.base import PlotPanel, choice, log_slider, number
from mlp_lib.course.panels.sizes import distinct_examples
from mlp_lib.plots import BLUE, GREY, ORANGE
from mlp_lib.train import train_steps

_LARGEST = 4096
_SEEN_FIRST = 1, 8, 64, 512  # batch sizes that the first picture shows
_DRAWS = 32  # minibatches of each size
_ROWS = 2**14  # examples per chunk of the full gradient
_TIMED_SECONDS = 0.1  # how long to time steps


def gradient_noise_panel(models: Mapping[str, nn.Module], X: Tensor, Y: Tensor, *, batch_size: int = 32) -> PlotPanel:
    """Choose a batch size and a network; see the cosines of 32 minibatch gradients to the full gradient, and the time.

    `models` are networks by name; none is changed. The gradient over all of X (N, block_size), Y (N,) is computed once
    for each. The minibatches are drawn from a generator with the panel's seed; "fresh draw" adds one to it. The time of
    a step is measured with `train_steps` on a copy, but not for the first picture, which is the same on every machine.
    Batch sizes seen before stay in the picture, in grey.
    """
    largest = max(_LARGEST, batch_size)
    full: dict[str, Tensor] = {}  # (parameters,) each
    cosines: dict[tuple[str, int], tuple[int, Tensor]] = {}  # the seed and its cosines (_DRAWS,), by network and size
    times: dict[tuple[str, int], float] = {}  # seconds of a step
    seed_box = number("seed", 2147483647)

    def look(name: str, size: int, seed: int) -> None:
        if (name, size) not in cosines or cosines[name, size][0] != seed:
            g = torch.Generator().manual_seed(seed)
            rows = torch.randint(0, len(Y), (_DRAWS, size), generator=g)
            some = torch.stack([_gradient(models[name], X[ix], Y[ix]) for ix in rows])  # (_DRAWS, parameters)
            cosines[name, size] = seed, F.cosine_similarity(some, full[name][None], dim=1)

    def draw(figure: Figure, network: str, batch_size: float, seed: int) -> str:
        size, first = max(1, round(batch_size)), not full
        if network not in full:
            full[network] = full_gradient(models[network], X, Y)
            for k in _SEEN_FIRST:
                look(network, k, seed)
        look(network, size, seed)
        if not first and (network, size) not in times:
            times[network, size] = _seconds_per_step(models[network], X, Y, size)

        seen = {at: values for (name, at), (_, values) in sorted(cosines.items()) if name == network}
        cosine, time_of_step = figure.subplots(1, 2, width_ratios=[3, 2])
        for at, values in seen.items():
            _strip(cosine, at, values, newest=at == size)
        cosine.plot(
            list(seen), [values.mean().item() for values in seen.values()], "--", color=GREY, linewidth=1, zorder=0
        )
        cosine.axhline(0, color="black", linewidth=0.8)
        cosine.set(xscale="log", xlim=(0.7, 1.4 * largest), ylim=(-0.55, 1.05), xlabel="examples in the minibatch")
        cosine.set(ylabel="cosine to the full gradient", title="direction")
        ticks = [2**k for k in range(0, int(math.log2(largest)) + 1, 3)]
        _times(time_of_step, {at: s for (name, at), s in sorted(times.items()) if name == network}, size)
        time_of_step.set_xlim(cosine.get_xlim())
        for ax in (cosine, time_of_step):
            ax.set_xticks(ticks, [f"{t:,}" for t in ticks], fontsize=8)
            ax.xaxis.set_minor_locator(NullLocator())
            ax.spines[["top", "right"]].set_visible(False)

        values, cost = seen[size], ""
        if (network, size) in times:
            seconds = times[network, size]
            cost = f"; {1e3 * seconds:.1f} ms per step" if seconds >= 1e-3 else f"; {1e6 * seconds:.0f} us per step"
        return (
            f"{size:,} example{'s' if size > 1 else ''}, {network}: mean cosine {values.mean():.3f}, "
            f"from {values.min():.2f} to {values.max():.2f} in {_DRAWS} draws{cost}"
        )

    def fresh() -> None:
        seed_box.value = (seed_box.value + 1) % (seed_box.max + 1)

    sizes = log_slider("batch size", float(batch_size), 0, math.log2(largest), 1, base=2, digits=".0f")
    return PlotPanel(
        "gradient_noise_panel",
        draw,
        {"network": choice("network", list(models), next(iter(models))), "batch_size": sizes, "seed": seed_box},
        buttons={"fresh draw": fresh},
        alt="Left, the cosine of each minibatch gradient to the full gradient, a dot each, over the batch size. Right, "
        "the measured time of a step for the sizes tried.",
        size=(6.8, 3.0),
    )


def full_gradient(model: nn.Module, X: Tensor, Y: Tensor) -> Tensor:
    """The gradient (parameters,) of the mean loss over all of X (N, block_size), Y (N,).

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(n_embd=2, n_hidden=100), g=torch.Generator().manual_seed(2147483647))
    >>> full_gradient(model, torch.zeros(4, 3, dtype=torch.int64), torch.tensor([0, 1, 2, 3])).shape
    torch.Size([3481])
    """
    x, y, times = distinct_examples(X, Y)
    pieces = zip(x.split(_ROWS), y.split(_ROWS), times.split(_ROWS), strict=True)
    return sum(_flat((F.cross_entropy(model(x), y, reduction="none") * n).sum() / len(Y), model) for x, y, n in pieces)


def _gradient(model: nn.Module, Xb: Tensor, Yb: Tensor) -> Tensor:
    return _flat(F.cross_entropy(model(Xb), Yb), model)


def _flat(loss: Tensor, model: nn.Module) -> Tensor:
    """The gradient of a loss as one long vector (parameters,)."""
    return torch.cat([d.flatten() for d in torch.autograd.grad(loss, list(model.parameters()))])


def _seconds_per_step(model: nn.Module, X: Tensor, Y: Tensor, batch_size: int) -> float:
    """The shortest time of a step of the plain loop, measured on a copy."""
    g = torch.Generator().manual_seed(0)
    run = train_steps(copy.deepcopy(model), X, Y, steps=1000, batch_size=batch_size, g=g)
    next(run)
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < _TIMED_SECONDS:
        clock = time.perf_counter()
        if next(run, None) is None:
            break
        taken.append(time.perf_counter() - clock)
    return min(taken)


def _strip(ax: Axes, size: int, values: Tensor, *, newest: bool) -> None:
    """A dot per draw, spread a little sideways, and a bar at their mean."""
    beside = 1.25 ** torch.linspace(-1, 1, len(values))  # (draws,)
    color = BLUE if newest else GREY
    ax.plot(size * beside, values, "o", color=color, markersize=3, alpha=0.9 if newest else 0.35)
    mean = values.mean().item()
    ax.plot([size / 1.4, size * 1.4], [mean, mean], color="black" if newest else GREY, linewidth=2 if newest else 1)


def _times(ax: Axes, times: Mapping[int, float], size: int) -> None:
    ms = {at: 1e3 * seconds for at, seconds in times.items()}
    ax.set(xscale="log", yscale="log", xlabel="examples in the minibatch", ylabel="ms", title="time of a step")
    ax.set_ylim(min([0.1, *(0.5 * t for t in ms.values())]), max([50, *(2 * t for t in ms.values())]))
    ticks = [10.0**k for k in range(-3, 6) if ax.get_ylim()[0] <= 10.0**k <= ax.get_ylim()[1]]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
    if ms:
        ax.plot(list(ms), list(ms.values()), "o--", color=GREY, markersize=4, linewidth=1)
    else:
        ax.text(0.5, 0.5, "measured as soon as\nyou move something", transform=ax.transAxes, ha="center", va="center")
    if size in ms:
        ax.plot(size, ms[size], "s", color=ORANGE, markeredgecolor="black", markersize=8)
