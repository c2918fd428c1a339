"""Exercises of page 06: rates in powers of ten, and a sweep with three faults, to be repaired."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
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


# Their three faults: where each lies, and the sentence if it is the last one left.
_FAULTS = {
    ("-lr *", "-lrs[0] *"): (
        "the rate of each step",
        "every step used the first rate: take lrs[i] inside the loop",
    ),
    ("in lrs:", "in lrs[1:]:"): (
        "the number of steps",
        "step 0 is missing, with its rate and its loss: where does the range start?",
    ),
    ("p.grad = None", "pass"): (
        "what p.grad holds",
        "the gradients of all earlier steps add up: clear them before `backward()`",
    ),
}


def _with(faults: Sequence[tuple[str, str]]) -> Wrong:
    """Their sweep with some of its three faults left in it."""
    areas = [_FAULTS[fault][0] for fault in faults]
    if len(faults) == 3:
        says = f"that is their sweep unchanged. Look at {areas[0]}, at {areas[1]}, and at {areas[2]}"
    elif len(faults) == 2:
        says = f"two of the three faults are left. Look at {areas[0]} and at {areas[1]}"
    else:
        says = _FAULTS[faults[0]][1]
    return Wrong(edited(sweep, *faults), says)


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
            f"make_model was called {len(made)} times, once for each rate, so no step continues from the one before: "
            "call it before the loop"
        )
    return {"losses": losses, "losses of a second sweep": answer(counted, X, Y, lrs, again)}


_kept: dict[object, nn.Module] = {}  # for a mistake: a model kept from one sweep to the next


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
            edited(sweep, ("-lr *", "-0.1 *")),
            "these are the losses of steps at 0.1: the rate is swept, but the update does not use it",
        ),
        Wrong(edited(sweep, ("in lrs:", "in lrs[:-1]:")), "the last rate is left out: where does your range end?"),
        Wrong(
            edited(sweep, ("in lrs:", "in 10 ** torch.linspace(-3, 0, len(lrs)):")),
            "these are the losses of rates from 0.001 to 1, as on the page: use those passed in as lrs",
        ),
        Wrong(edited(sweep, ("-lr *", "-(10**lr) *")), "lrs already holds rates, not their exponents"),
        Wrong(
            edited(sweep, ("-lr *", "-lr.log10() *")),
            "the exponents were used in place of the rates: lrs holds rates",
        ),
        Wrong(
            edited(sweep, ("p.data += -lr * p.grad", "p = p - lr * p.grad")),
            "the parameters never change. Does your update make a new tensor (`p = p - ...`), or are the gradients 0?",
        ),
        Wrong(
            edited(sweep, ("loss.item()", "F.cross_entropy(model(X[ix]), Y[ix]).item()")),
            "measured after the update: return the loss before it, which the forward pass has already computed",
        ),
        Wrong(edited(sweep, ("-lr *", "lr *")), "you walk along the gradient, uphill: which sign has the update?"),
        Wrong(
            edited(sweep, ("ix = ", "ix = ix if losses else ")),
            "every step saw the same rows: draw ix inside the loop",
        ),
        Wrong(
            edited(sweep, ("loss = ", "model = make_model()\n        loss = ")),
            "so no step continues from the one before: call it before the loop",
        ),
        Wrong(
            edited(sweep, ("generator=g", "generator=None")),
            "the rows do not come from the g that was passed in: pass generator=g",
        ),
        Wrong(
            edited(
                sweep, ("model, losses = make_model()", "model, losses = _kept.setdefault(make_model, make_model())")
            ),
            "the first sweep is right, but the second continues with the model that the first one left: call "
            "make_model inside",
        ),
        Wrong(
            edited(sweep, ("model, losses = make_model", "model, losses = _small_model")), "make_model was never called"
        ),
        Wrong(
            edited(sweep, ("make_model(),", "make_model(g),")), "make_model takes no argument: g is for the minibatches"
        ),
    ],
    also_right=[
        edited(sweep, ("in lrs:", "in lrs.tolist():"), ("return losses", "return torch.tensor(losses)")),
        edited(sweep, ("losses.append(loss.item())", "losses.append(loss)")),
        edited(sweep, ("p.data += -lr * p.grad", "torch.optim.SGD([p], lr=lr).step()")),
    ],
    right="the loss falls, and goes up again where the rates are too high, as in a real sweep.",
    hints=[
        "Ask three things of each step: is its rate used, is its loss kept, is its gradient its own?",
        "How many losses come back for three rates? And what is p.grad before the second backward()?",
        "Take lrs[i] inside the loop, let i go through range(len(lrs)), and clear the gradients before backward().",
    ],
)
