"""Exercises of page 06: rates in powers of ten, and the repair of a sweep with three faults."""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import brief
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
from mlp_lib.course.exercises.values import plain
from mlp_lib.model import MLP, MLPConfig

# ---- 6.1 rates in powers of ten --------------------------------------------------------------------------------------


def swept_rates(lo: float, hi: float, steps: int) -> Tensor:
    """Learning rates (steps,) from `lo` to `hi`, both included, evenly spaced in powers of ten."""
    first, last = torch.tensor([lo, hi]).log10().tolist()  # exponents
    lre = torch.linspace(first, last, steps)
    return 10**lre


q1 = Exercise(
    "6.1",
    "rates in powers of ten",
    solution=swept_rates,
    cases=[Case(0.001, 1.0, 4), Case(0.05, 0.2, 3), Case(0.01, 10.0, 7), Case(1.0, 0.01, 3), Case(1e-4, 1.0, 1000)],
    edits={
        ("10**lre", "lre"): "these are the exponents: return 10 to the power of them",
        ("log10", "log"): "two different bases: the natural logarithm goes with exp, log10 goes with 10**",
        (".log10()", ""): "lo and hi are rates, and they were used as exponents",
        ("[lo, hi]", "[0.001, 1.0]"): "0.001 and 1 are hard-coded: use lo and hi",
        ("last, steps", "last, 1000"): "1000 is hard-coded: use steps",
        ("[lo, hi]", "sorted([lo, hi])"): "lo may be above hi: the first rate is lo and the last is hi in any case",
        ("last, steps)", "last, steps + 1)[:-1]"): "the last rate is not hi: both ends are included",
        ("last, steps", "last, steps + 1"): "one rate too many: linspace counts both ends",
    },
    wrong=[
        Wrong(
            lambda lo, hi, steps: torch.linspace(lo, hi, steps),
            "these rates have equal differences, so nearly all of them lie in the highest power of ten: space the "
            "exponents evenly, not the rates",
        ),
        Wrong(lambda lo, hi, steps: [lo * 10**i for i in range(steps)], "the factor 10 is hard-coded: hi is not used"),
    ],
    also_right=[
        lambda lo, hi, steps: [lo * (hi / lo) ** (i / (steps - 1)) for i in range(steps)],
        lambda lo, hi, steps: torch.logspace(math.log10(lo), math.log10(hi), steps),
        lambda lo, hi, steps: np.geomspace(lo, hi, steps),
    ],
    right="each rate is the same multiple of the one before, and both ends are included.",
    hints=[
        "Space the exponents evenly, not the rates.",
        "lo and hi are rates: torch.tensor(lo).log10() is the first exponent (or math.log10(lo), after `import math`).",
        "torch.linspace(first, last, steps) includes both ends; 10 to the power of it gives the rates.",
    ],
)


# ---- 6.2 repair a sweep ----------------------------------------------------------------------------------------------


def sweep(make_model: Callable[[], nn.Module], X: Tensor, Y: Tensor, lrs: Tensor, g: torch.Generator) -> list[float]:
    """The loss of each step while the rate goes through `lrs`. The model is created for this sweep only."""
    model, losses = make_model(), []
    for lr in lrs:  # every rate, each in its own step
        ix = torch.randint(0, X.shape[0], (32,), generator=g)
        loss = F.cross_entropy(model(X[ix]), Y[ix])
        for p in model.parameters():
            p.grad = None  # else the gradients of all steps add up
        loss.backward()
        for p in model.parameters():
            p.data += -lr * p.grad
        losses.append(loss.item())
    return losses


# Their three faults, and where to look for each.
_FAULTS = {
    ("-lr *", "-lrs[0] *"): "the rate of each step",
    ("in lrs:", "in lrs[1:]:"): "the number of steps",
    ("p.grad = None", "pass"): "what p.grad holds",
}


def _with(*faults: tuple[str, str]) -> Wrong:
    """Their sweep with two or three of its faults left in it."""
    left = "that is their sweep unchanged" if len(faults) == 3 else "two of the three faults are left"
    *some, last = [_FAULTS[fault] for fault in faults]
    return Wrong(edited(sweep, *faults), f"{left}. Look at {', '.join(some)} and {last}")


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

    counted.__qualname__ = "make_model"  # for Python's message about a wrong call
    losses = plain(answer(counted, X, Y, lrs, g))
    if not isinstance(losses, list | Tensor | np.ndarray):
        raise Refused(f"expected the list of the losses, got {brief(losses)}")
    if not made:
        raise Refused("make_model was never called, so your loop trains a different model")
    if len(made) >= len(lrs):
        raise Refused(
            f"make_model was called {len(made)} times, once per rate, so no step continues from the one before: call "
            "it before the loop"
        )
    return {"losses": losses, "losses of a second sweep": answer(counted, X, Y, lrs, again)}


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
    edits={
        ("-lr *", "-lrs[0] *"): "every step used the first rate: take lrs[i] inside the loop",
        ("in lrs:", "in lrs[1:]:"): "step 0 is missing, with its rate and its loss: start the range at 0",
        ("in lrs:", "in lrs[:-1]:"): "the last rate is missing: let the range end at len(lrs)",
        ("p.grad = None", "pass"): "the gradients of all earlier steps add up: clear them before `backward()`",
        ("-lr *", "-0.1 *"): "the rate is swept, but the update does not use it: these are steps at 0.1",
        ("in lrs:", "in 10 ** torch.linspace(-3, 0, len(lrs)):"): (
            "these are the losses at rates from 0.001 to 1, as on the page: use the argument lrs"
        ),
        ("-lr *", "-(10**lr) *"): "lrs already holds rates, not their exponents",
        ("p.data += -lr * p.grad", "p = p - lr * p.grad"): (
            "the parameters never change: `p = p - ...` only made a new tensor, or the gradients were cleared before it"
        ),
        ("loss.item()", "F.cross_entropy(model(X[ix]), Y[ix]).item()"): (
            "measured after the update: return the loss before it, which the forward pass has already computed"
        ),
        ("-lr *", "lr *"): "the loss goes uphill: step against the gradient, with -lr",
        ("ix = ", "ix = ix if losses else "): "every step saw the same rows: draw ix inside the loop",
        ("loss = ", "model = make_model()\n        loss = "): "so no step continues from the one before",
        ("generator=g", "generator=None"): "the rows do not come from g: pass generator=g",
        ("= make_model()", "= vars(make_model).setdefault('kept', make_model())"): (
            "the first sweep is right, but the second continues with the model that the first one left: call "
            "make_model inside your function"
        ),
        ("= make_model", "= _small_model"): "make_model was never called",
        ("make_model()", "make_model(g)"): "make_model takes no argument: g is for the minibatches",
    },
    wrong=[
        *[_with(*faults) for n in (3, 2) for faults in combinations(_FAULTS, n)],
    ],
    also_right=[
        edited(sweep, ("in lrs:", "in lrs.tolist():"), ("return losses", "return torch.tensor(losses)")),
        edited(sweep, ("losses.append(loss.item())", "losses.append(loss)")),
        edited(sweep, ("p.data += -lr * p.grad", "torch.optim.SGD([p], lr=lr).step()")),
    ],
    right="the loss falls, and rises again where the rates are too high, as in a real sweep.",
    hints=[
        "Check three things in each step: is its rate used, is its loss kept, is its gradient its own?",
        "How many losses come back for three rates? And what is p.grad before the second backward()?",
        "Take lrs[i] inside the loop, let i run through range(len(lrs)), and clear the gradients before backward().",
    ],
)
