"""Exercises of page 06: rates in powers of ten, and a sweep with three faults, to be repaired."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong
from mlp_lib.model import MLP, MLPConfig

# ---- 6.1 rates in powers of ten --------------------------------------------------------------------------------------


def swept_rates(lo: float, hi: float, steps: int) -> Tensor:
    """Learning rates (steps,) from `lo` to `hi`, both included, evenly spaced in powers of ten."""
    first, last = torch.tensor([lo, hi]).log10().tolist()  # exponents
    lre = torch.linspace(first, last, steps)
    return 10**lre


def _by_factor(lo: float, hi: float, steps: int) -> list[float]:
    return [lo * (hi / lo) ** (i / (steps - 1)) for i in range(steps)]


q1 = Exercise(
    "6.1",
    "rates in powers of ten",
    solution=swept_rates,
    cases=[Case(0.001, 1.0, 4), Case(0.05, 0.2, 3), Case(0.01, 10.0, 7), Case(1.0, 0.01, 3), Case(1e-4, 1.0, 1000)],
    wrong=[
        Wrong(
            lambda lo, hi, n: torch.linspace(lo, hi, n),
            "these rates have equal differences, so nearly all of them lie in the highest power of ten. Which "
            "quantity has to go up evenly, so that each rate is the same multiple of the one before?",
        ),
        Wrong(
            lambda lo, hi, n: torch.linspace(math.log10(lo), math.log10(hi), n),
            "these are the exponents, lre: 10 to the power of them gives the rates, lrs",
        ),
        Wrong(
            lambda lo, hi, n: 10 ** torch.linspace(math.log(lo), math.log(hi), n),
            "two different bases: math.log is the natural logarithm and goes with exp, math.log10 with 10**",
        ),
        Wrong(
            lambda lo, hi, n: 10 ** torch.linspace(lo, hi, n),
            "lo and hi are the rates at the ends, and they were taken for exponents",
        ),
        Wrong(
            lambda lo, hi, n: 10 ** torch.linspace(-3, 0, n), "the ends 0.001 and 1 are written in it: use lo and hi"
        ),
        Wrong(
            lambda lo, hi, n: swept_rates(lo, hi, 1000), "the number 1000 is written in it: as many rates as steps says"
        ),
        Wrong(
            lambda lo, hi, n: sorted(_by_factor(lo, hi, n)),
            "lo may be above hi: the first rate is lo and the last one hi, whichever is higher",
        ),
        Wrong(lambda lo, hi, n: swept_rates(lo, hi, n + 1)[:-1], "the last rate is not hi: both ends are included"),
        Wrong(lambda lo, hi, n: swept_rates(lo, hi, n + 1), "there is one rate too many: linspace counts both ends"),
        Wrong(lambda lo, hi, n: [lo * 10**i for i in range(n)], "each rate is 10 times the one before: where is hi?"),
    ],
    also_right=[
        _by_factor,
        lambda lo, hi, n: torch.logspace(math.log10(lo), math.log10(hi), n),
        lambda lo, hi, n: np.geomspace(lo, hi, n),
        lambda lo, hi, n: torch.linspace(math.log(lo), math.log(hi), n).exp(),
    ],
    right="every rate is the same multiple of the one before, and both ends are there.",
    hints=[
        "The exponents go up evenly, the rates do not.",
        "lo and hi are rates: torch.tensor(lo).log10() is the first exponent (or math.log10(lo), after `import math`).",
        "torch.linspace(first, last, steps) includes both ends; 10 to the power of it gives the rates.",
    ],
)


# ---- 6.2 repair a sweep ----------------------------------------------------------------------------------------------


def sweep(make_model: Callable[[], nn.Module], X: Tensor, Y: Tensor, lrs: Tensor, g: torch.Generator) -> list[float]:
    """The loss of each step while the rate goes through `lrs`, on a model made for this sweep and dropped after it."""
    model, losses = make_model(), []
    for lr in lrs:  # all of them, and each in its step
        ix = torch.randint(0, X.shape[0], (32,), generator=g)
        loss = F.cross_entropy(model(X[ix]), Y[ix])
        for p in model.parameters():
            p.grad = None  # else the gradients of all steps add up
        loss.backward()
        for p in model.parameters():
            p.data += -lr * p.grad
        losses.append(loss.item())
    return losses


def _swept(
    make_model: Callable[[], nn.Module],
    X: Tensor,
    Y: Tensor,
    lrs: Tensor,
    g: torch.Generator | None,
    *,
    clear: bool = True,
    sign: int = -1,
    after: bool = False,
    reuse: bool = False,
    anew: bool = False,
) -> list[float]:
    """A sweep, right as it stands, or with a mistake."""
    model, losses, ix = make_model(), [], None
    for lr in lrs:
        model = make_model() if anew else model
        if ix is None or not reuse:
            ix = torch.randint(0, X.shape[0], (32,), generator=g)
        loss = F.cross_entropy(model(X[ix]), Y[ix])
        if clear:
            model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p += sign * lr * p.grad
            losses.append(F.cross_entropy(model(X[ix]), Y[ix]).item() if after else loss.item())
    return losses


# Where each of their three faults lies, and the sentence for the last one that is left.
_FAULTS = {
    "rate": ("the rate of each step", "every step used the first rate: take lrs[i] inside the loop"),
    "range": ("the number of steps", "step 0 is missing, with its rate and its loss: where does the range start?"),
    "clear": ("what p.grad holds", "the gradients of all earlier steps add up: clear them before `backward()`"),
}


def _with(faults: Sequence[str]) -> Wrong:
    """Their sweep with some of its three faults left in it."""

    def answer(
        make_model: Callable[[], nn.Module], X: Tensor, Y: Tensor, lrs: Tensor, g: torch.Generator
    ) -> list[float]:
        rates = lrs[:1].expand(len(lrs)) if "rate" in faults else lrs
        return _swept(make_model, X, Y, rates["range" in faults :], g, clear="clear" not in faults)

    areas = [area for area, _ in map(_FAULTS.get, faults)]
    if len(faults) == 3:
        return Wrong(answer, f"that is their sweep as it stands. Look at {areas[0]}, at {areas[1]}, and at {areas[2]}")
    if len(faults) == 2:
        return Wrong(answer, f"two of the three faults are left. Look at {areas[0]} and at {areas[1]}")
    return Wrong(answer, _FAULTS[faults[0]][1])


def _twice(
    answer: Callable[..., object],
    make_model: Callable[[], nn.Module],
    X: Tensor,
    Y: Tensor,
    lrs: Tensor,
    g: torch.Generator,
) -> dict[str, object]:
    """The losses of a sweep, and of a second one with the same draws."""
    made, again = [], torch.Generator()
    again.set_state(g.get_state())

    def counted() -> nn.Module:
        made.append(make_model())
        return made[-1]

    counted.__qualname__ = "make_model"  # what Python calls it if it is called in another way
    losses = answer(counted, X, Y, lrs, g)
    if not made:
        raise Refused("make_model was never called: your loop trains some other model, in whatever state that one is")
    if len(made) >= len(lrs):
        raise Refused(
            f"make_model was called {len(made)} times, once for each rate, so no step goes on from the last: call it "
            "before the loop"
        )
    return {"losses": losses, "losses of a second sweep": answer(counted, X, Y, lrs, again)}


_kept: dict[object, nn.Module] = {}


def _keeping(make_model: Callable[[], nn.Module], X: Tensor, Y: Tensor, lrs: Tensor, g: torch.Generator) -> list[float]:
    if make_model not in _kept:
        _kept[make_model] = make_model()
    return _swept(lambda: _kept[make_model], X, Y, lrs, g)


def _with_rates(change: Callable[[Tensor], Tensor]) -> Callable[..., list[float]]:
    return lambda make_model, X, Y, lrs, g: _swept(make_model, X, Y, change(lrs), g)


def _small_model() -> MLP:
    return MLP(MLPConfig(vocab_size=5, block_size=2, n_embd=2, n_hidden=8), g=torch.Generator().manual_seed(7))


def _over(lrs: Tensor, seed: int, drawn: int = 0) -> Case:
    """A sweep of a small network on 60 examples with something to learn in them."""
    g, examples = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(6)
    torch.randn(drawn, generator=g)
    X = torch.randint(0, 5, (60, 2), generator=examples)
    label = f"for {len(lrs)} rates, {lrs[0]:.2g} to {lrs[-1]:.2g}"
    return Case(_small_model, X, (X[:, 0] + X[:, 1]) % 5, lrs, g, label=label)


q2 = Exercise(
    "6.2",
    "repair a sweep",
    solution=sweep,
    observe=_twice,
    cases=[
        _over(torch.tensor([2.0, 0.2, 0.2, 0.2]), 8),
        _over(torch.tensor([*10 ** torch.linspace(-1.5, 0.8, 12), 50.0, 0.1, 0.1]), 1, drawn=100),  # it explodes
    ],
    wrong=[
        *[_with(faults) for n in (3, 2, 1) for faults in combinations(_FAULTS, n)],
        Wrong(
            _with_rates(lambda lrs: torch.full_like(lrs, 0.1)),
            "these are the losses of steps at 0.1: the rate is swept, but the update does not use it",
        ),
        Wrong(_with_rates(lambda lrs: lrs[:-1]), "the last rate is left out: where does your range end?"),
        Wrong(
            _with_rates(lambda lrs: 10 ** torch.linspace(-3, 0, len(lrs))),
            "these are the losses of rates from 0.001 to 1, as on the page: use those that come in as lrs",
        ),
        Wrong(_with_rates(lambda lrs: 10**lrs), "lrs holds rates already, not their exponents"),
        Wrong(_with_rates(lambda lrs: lrs.log10()), "the exponents were used in place of the rates: lrs holds rates"),
        Wrong(
            _with_rates(lambda lrs: 0 * lrs),
            "the parameters never change. Does your update make a new tensor (`p = p - ...`), or are the gradients 0?",
        ),
        Wrong(
            partial(_swept, after=True),
            "measured after the update: the loss before it is asked for, which the forward pass has computed anyway",
        ),
        Wrong(partial(_swept, sign=1), "you walk along the gradient, uphill: which sign has the update?"),
        Wrong(partial(_swept, reuse=True), "every step saw the same rows: draw ix inside the loop"),
        Wrong(partial(_swept, anew=True), "so no step goes on from the last: call it before the loop"),
        Wrong(
            lambda make_model, X, Y, lrs, g: _swept(make_model, X, Y, lrs, None),
            "the rows do not come from the g that was handed in: pass generator=g",
        ),
        Wrong(
            _keeping,
            "the first sweep is right, and the second goes on with the model that the first one left: call make_model "
            "inside",
        ),
        Wrong(lambda make_model, *given: _swept(_small_model, *given), "make_model was never called"),
        Wrong(
            lambda make_model, X, Y, lrs, g: _swept(lambda: make_model(g), X, Y, lrs, g),
            "make_model takes no argument: g is for the minibatches",
        ),
    ],
    also_right=[
        _swept,
        lambda make_model, X, Y, lrs, g: torch.tensor(_swept(make_model, X, Y, lrs.tolist(), g)),
        lambda make_model, X, Y, lrs, g: [
            torch.tensor(loss, requires_grad=True) for loss in _swept(make_model, X, Y, lrs, g)
        ],
    ],
    right="the loss falls, and goes up again where the rates are too high, as in a real sweep.",
    hints=[
        "Ask three things of each step: is its rate used, is its loss kept, is its gradient its own?",
        "How many losses come back for three rates? And what is p.grad before the second backward()?",
        "Take lrs[i] inside the loop, let i go through range(len(lrs)), and clear the gradients before backward().",
    ],
)
