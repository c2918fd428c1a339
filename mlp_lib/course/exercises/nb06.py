"""Exercises of notebook 06: rates in powers of ten, a sweep that uses them, a learning rate that falls."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake
from mlp_lib.model import MLP, MLPConfig


def _numbers(value: object, what: str) -> list[float]:
    """A returned list, array or tensor as floats."""
    if value is None:
        raise Mistake(f"your function returned None: it should end with `return` and {what}")
    if isinstance(value, Tensor):
        value = value.detach()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        raise Mistake(f"you returned {type(value).__name__}: expected {what}, as a list or a tensor")
    try:
        return [number(v, "a number") for v in value]
    except Mistake:
        raise Mistake(f"what you returned is not a row of numbers: expected {what}") from None


def _close(a: list[float], b: list[float], rel: float = 1e-3) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=rel, abs_tol=1e-9) for x, y in zip(a, b, strict=True))


# 6.1 rates in powers of ten


def _spaced(lo: float, hi: float, steps: int) -> list[float]:
    return torch.linspace(lo, hi, steps, dtype=torch.float64).tolist()


def _show(values: list[float]) -> str:
    return "[" + ", ".join(f"{v:.3g}" for v in values) + "]"


def _check_rates(answer: object) -> str:
    own_function(answer, "q1.check(swept_rates)")
    for lo, hi, steps in ((0.001, 1.0, 4), (0.01, 10.0, 7), (0.05, 0.2, 3)):
        got = _numbers(answer(lo, hi, steps), f"the {steps} rates")
        lre = _spaced(math.log10(lo), math.log10(hi), steps)
        expected = [10**e for e in lre]
        if _close(got, expected):
            continue
        case = f"swept_rates({lo:g}, {hi:g}, {steps}) gave {_show(got[:8])}"
        if len(got) != steps:
            raise Mistake(f"{case}: {len(got)} rates, expected {steps}")
        if _close(got, expected[::-1]):
            raise Mistake(f"{case}: right, but from the highest to the lowest; the first steps would wreck the network")
        if _close(got, _spaced(lo, hi, steps)):
            raise Mistake(
                f"{case}: equal differences, so nearly all rates lie near {hi:g} and hardly any in the lower powers of "
                "ten. Which quantity has to go up evenly, so that each rate is the same multiple of the one before?"
            )
        if _close(got, lre):
            raise Mistake(f"{case}: these are the exponents, lre. One step is missing to the rates, lrs")
        ln = _spaced(math.log(lo), math.log(hi), steps)
        if _close(got, [10**e for e in ln]) or _close(got, [math.exp(e) for e in lre]):
            raise Mistake(
                f"{case}: two different bases. math.log is the natural logarithm and goes with exp, log10 with 10**"
            )
        if _close(got, [10**e for e in _spaced(lo, hi, steps)]):
            raise Mistake(f"{case}: {lo:g} and {hi:g} are the rates at the ends, and you took them for exponents")
        if not _close(got[:1], [lo]) or not _close(got[-1:], [hi]):
            raise Mistake(
                f"{case}: it runs from {got[0]:.3g} to {got[-1]:.3g}, expected {lo:g} to {hi:g} with both ends included"
            )
        raise Mistake(f"{case}: the ends are right, but from one rate to the next the factor is not always the same")
    return "every rate is the same multiple of the one before, and both ends are there."


def swept_rates(lo: float, hi: float, steps: int) -> Tensor:
    """Learning rates (steps,) from `lo` to `hi`, both included, evenly spaced in powers of ten."""
    lre = torch.linspace(math.log10(lo), math.log10(hi), steps)
    return 10**lre


q1 = Exercise(
    "6.1",
    "rates in powers of ten",
    _check_rates,
    hints=[
        "The exponents go up evenly, the rates do not.",
        "lo and hi are rates: math.log10(lo) is the first exponent, math.log10(hi) the last.",
        "torch.linspace(first, last, steps) includes both ends; 10 to the power of it gives the rates.",
    ],
    solution=swept_rates,
)


# 6.2 a sweep

_BATCH = 32


def _small() -> tuple[Callable[[], MLP], Tensor, Tensor, Tensor]:
    """A small network, examples with something to learn in them, and rates that end where the loss goes up."""
    config = MLPConfig(vocab_size=5, block_size=2, n_embd=2, n_hidden=8)
    g = torch.Generator().manual_seed(6)
    X = torch.randint(0, 5, (60, 2), generator=g)
    Y = (X[:, 0] + X[:, 1]) % 5
    lrs = 10 ** torch.linspace(-1.5, 0.8, 12)
    return (lambda: MLP(config, g=torch.Generator().manual_seed(7))), X, Y, lrs


def _losses(
    model: nn.Module,
    X: Tensor,
    Y: Tensor,
    rates: list[float],
    g: torch.Generator,
    *,
    after: bool = False,
    sign: int = -1,
    clear: bool = True,
    reuse: bool = False,
) -> list[float]:
    """The losses of a sweep, right at the defaults or with one of the mistakes that are looked for."""
    losses = []
    ix = torch.randint(0, X.shape[0], (_BATCH,), generator=g)
    for k, lr in enumerate(rates):
        if k and not reuse:
            ix = torch.randint(0, X.shape[0], (_BATCH,), generator=g)
        with torch.enable_grad():
            loss = F.cross_entropy(model(X[ix]), Y[ix])
            if clear:
                model.zero_grad()
            loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p += sign * lr * p.grad
            losses.append(F.cross_entropy(model(X[ix]), Y[ix]).item() if after else loss.item())
    return losses


def _check_sweep(answer: object) -> str:
    own_function(answer, "q2.check(sweep)")
    new_model, X, Y, lrs = _small()
    rates = lrs.tolist()

    def reference(used: list[float] = rates, **mistake: object) -> list[float]:
        return _losses(new_model(), X, Y, used, torch.Generator().manual_seed(8), **mistake)

    made: list[MLP] = []

    def make_model() -> MLP:
        made.append(new_model())
        return made[-1]

    make_model.__qualname__ = "make_model"  # what Python calls it if it is called in another way

    def call() -> tuple[list[float], torch.Generator]:
        g = torch.Generator().manual_seed(8)
        return _numbers(answer(make_model, X.clone(), Y.clone(), lrs.clone(), g), f"the {len(lrs)} losses"), g

    global_state = torch.get_rng_state()
    got, g = call()
    if not made:
        raise Mistake("make_model was never called: your loop trains some other model, whatever state that one is in")
    if len(got) != len(lrs):
        raise Mistake(f"{len(lrs)} rates, but {len(got)} losses came back: one step for each rate, and its loss")
    expected = reference()
    if not _close(got, expected):
        if len(made) == len(lrs):
            raise Mistake(
                f"a new model for every step, {len(made)} in all, so that no step goes on from the last: make_model "
                "belongs before the loop"
            )
        raise Mistake(_what_is_wrong(got, expected, rates, reference, g, global_state))

    again, _ = call()
    if not _close(again, expected):
        raise Mistake(
            f"the first sweep is right. The second starts at a loss of {again[0]:.2f} instead of {expected[0]:.2f}: it "
            "goes on with the model that the first one left blown up. Where do you call make_model?"
        )
    return f"the loss goes from {got[0]:.2f} down to {min(got):.2f} and up to {got[-1]:.2f}, twice the same."


def _what_is_wrong(
    got: list[float],
    expected: list[float],
    rates: list[float],
    reference: Callable[..., list[float]],
    g: torch.Generator,
    global_state: Tensor,
) -> str:
    n = len(rates)
    if torch.equal(g.get_state(), torch.Generator().manual_seed(8).get_state()):
        if not torch.equal(torch.get_rng_state(), global_state):
            return "g has not moved, but torch's global generator has: hand g to torch.randint, as generator=g"
        return f"g has not moved: each step should draw its {_BATCH} rows of X and Y from g"
    first = f"the first loss is {got[0]:.4f}"
    if _close(got, reference([0.1] * n)):
        return (
            f"your losses are those of {n} steps at 0.1, whatever lrs holds: the rate is swept, but the update "
            "does not use it. The curve shows the loss over time"
        )
    if _close(got, reference([rates[-1]] * n)):
        return f"all steps used the last rate, {rates[-1]:g}: take lrs[i] inside the loop"
    if _close(got, reference([rates[0]] * n)):
        return f"all steps used the first rate, {rates[0]:.3g}: take lrs[i] inside the loop"
    if _close(got, reference([10**e for e in _spaced(-3, 0, n)])):
        return "your losses are those of rates from 0.001 to 1, as on this page: use the rates that come in as lrs"
    if _close(got, reference([10**rate for rate in rates])):
        return "your losses are those of the rates 10**lr: lrs holds rates already, not their exponents"
    if _close(got, reference(rates[::-1])):
        return "you went through lrs from its end: the highest rate comes last, else it wrecks the network at once"
    if _close(got, reference(after=True)):
        return (
            f"{first}, measured after the update at the first rate; expected {expected[0]:.4f}, the loss before it, "
            "which the forward pass has computed anyway"
        )
    if _close(got, reference(sign=1)):
        return f"{first}, which is right, but then you walk along the gradient, uphill: which sign has the update?"
    if _close(got, reference(clear=False)):
        return "the first two losses are right, later ones not: gradients pile up unless each step clears them"
    if _close(got, reference(reuse=True)):
        return "every step saw the same rows: draw ix inside the loop"
    if _close(got, reference([rates[0], *rates[:-1]])) or _close(got, reference([*rates[1:], rates[-1]])):
        return "the rates are one step late or early: step i uses lrs[i]"
    if _close(got, [math.log10(v) for v in expected]):
        return f"{first}: that is log10 of the loss; return the loss itself"
    if _close(got[:1], expected[:1]):
        k = next(i for i in range(n) if not _close(got[i : i + 1], expected[i : i + 1]))
        return f"right up to step {k - 1}, then {got[k]:.4f}, expected {expected[k]:.4f}: what else moved the model?"
    return (
        f"{first}, expected {expected[0]:.4f} for a fresh model and the rows "
        f"torch.randint(0, X.shape[0], ({_BATCH},), generator=g)"
    )


def sweep(make_model: Callable[[], nn.Module], X: Tensor, Y: Tensor, lrs: Tensor, g: torch.Generator) -> list[float]:
    """The loss of each step while the rate goes through `lrs`, on a model made for this sweep and dropped after it."""
    model = make_model()
    lossi = []
    for lr in lrs:
        ix = torch.randint(0, X.shape[0], (32,), generator=g)
        loss = F.cross_entropy(model(X[ix]), Y[ix])
        for p in model.parameters():
            p.grad = None
        loss.backward()
        for p in model.parameters():
            p.data += -lr * p.grad  # the swept rate, not 0.1
        lossi.append(loss.item())
    return lossi


q2 = Exercise(
    "6.2",
    "a sweep that uses its rates",
    _check_sweep,
    hints=[
        "model = make_model() is the first line of the function: every sweep starts from a new one.",
        "Then a training loop as in notebook 05, one step for each rate: rows from g, loss, clear, backward, update.",
        "The update reads p.data += -lr * p.grad with lr = lrs[i]; append loss.item() of the forward pass.",
    ],
    solution=sweep,
)


# 6.3 a rate that falls

_ASKED = {0: 0.1, 1: 0.1, 9_999: 0.1, 10_000: 0.01, 10_001: 0.01, 14_999: 0.01, 15_000: 0.001, 15_001: 0.001,
          200_000: 0.001}  # fmt: skip


def _rate(answer: Callable[[int], object], i: int) -> float:
    value = answer(i)
    if value is None:
        raise Mistake(f"lr({i:,}) returned None: is there a way through your function without `return`?")
    return number(value, f"lr({i:,})")


def _check_decay(answer: object) -> str:
    own_function(answer, "q3.check(lr)")
    first = {i: _rate(answer, i) for i in _ASKED}
    for i in reversed(_ASKED):
        again = _rate(answer, i)
        if not math.isclose(again, first[i], rel_tol=1e-6):
            raise Mistake(
                f"lr({i:,}) was {first[i]:g}, and {again:g} when asked again later: your function remembers what it "
                "was asked before. A run that is carried on with start= needs the same answer for the same step"
            )
    if len(set(first.values())) == 1:
        raise Mistake(
            f"lr(i) is {first[0]:g} for every i, early or late: does your function look at i? A count of its calls is "
            "no step number"
        )
    wrong = [i for i, rate in _ASKED.items() if not math.isclose(first[i], rate, rel_tol=1e-6)]
    if not wrong:
        return "0.1, 0.01 and 0.001, each from its step on, whenever and in whatever order it is asked."
    i = wrong[0]
    got = first[i]
    said = f"lr({i:,}) is {got:g}, expected {_ASKED[i]:g}"
    if wrong in ([10_000], [15_000], [10_000, 15_000]):
        if got != first[i - 1]:
            raise Mistake(f"{said}, and the steps beside it are right: do your conditions leave it out?")
        raise Mistake(
            f"lr({i:,}) is {got:g}, one step late: steps are counted from 0, so 0 to {i - 1:,} are {i:,} steps already"
        )
    if set(wrong) <= {9_999, 14_999}:
        raise Mistake(f"lr({i:,}) is {got:g}, one step early: step {i:,} is the last one at {_ASKED[i]:g}")
    if i == 0 and wrong[1:2] != [1]:
        raise Mistake(f"{said}, and lr(1) is right: steps are numbered from 0, and step 0 is one of them")
    if first[0] < first[200_000]:
        raise Mistake(f"lr({i:,}) is {got:g}: the rate goes up, by steps of ten. It should fall as i grows")
    if wrong == [15_000, 15_001, 200_000] and got == first[14_999]:
        raise Mistake(
            f"{said}: i >= 10_000 holds there too, so which of your conditions is asked first, or is there no third "
            "rate?"
        )
    raise Mistake(said)


def lr(i: int) -> float:
    """The learning rate of step i: 0.1, from step 10,000 on 0.01, from step 15,000 on 0.001."""
    if i < 10_000:
        return 0.1
    return 0.01 if i < 15_000 else 0.001


q3 = Exercise(
    "6.3",
    "a rate that falls twice",
    _check_decay,
    hints=[
        "The function needs its argument and nothing else: no counter, no global.",
        "Steps 0 to 9,999 are 10,000 steps; so the first comparison is i < 10_000.",
        "Ask for the earliest steps first, then the middle ones; what is left is 0.001.",
    ],
    solution=lr,
)
