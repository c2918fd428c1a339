"""Exercises of notebook 13: rates drawn by their exponent, how many trials, a winner that may be reported, and E01."""

import math
import types

import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake
from mlp_lib.course.exercises.submitted_models import handed_in
from mlp_lib.data import Vocab, make_splits
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.words import load_words


def _numbers(value: object, what: str) -> list[float]:
    try:
        return [float(x) for x in value]
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"expected {what}, got {brief(value)}") from None


# --------------------------------------------------------------------------------------------------------- 13.1


def log_uniform(n: int, low: float, high: float, g: torch.Generator) -> Tensor:
    """n rates (n,) between low and high, each power of ten between the two as likely as any other; drawn from g."""
    share = torch.rand(n, generator=g)  # of the way from low to high, counted in powers of ten
    return low * (high / low) ** share


def _check_log_uniform(answer: object) -> str:
    own_function(answer, "q1.check(log_uniform)")
    n, low, high = 4000, 0.001, 10.0
    case = f"for {n} rates from {low:g} to {high:g}"
    outside = torch.get_rng_state()

    def drawn(g: torch.Generator) -> list[float]:
        rates = _numbers(answer(n, low, high, g), f"a tensor of {n} rates")
        if len(rates) != n:
            raise Mistake(f"{case}: got {len(rates)} numbers")
        if not all(map(math.isfinite, rates)):
            raise Mistake(f"{case}: some are nan or inf. Is the logarithm taken of a number that is not above 0?")
        return rates

    g = torch.Generator().manual_seed(2147483647)
    before = g.get_state()
    first = drawn(g)
    if not torch.equal(outside, torch.get_rng_state()):
        raise Mistake(f"{case}: the numbers came from torch's global generator: hand g on, generator=g")
    if torch.equal(before, g.get_state()):
        if first == sorted(first) and first[0] < first[-1]:
            raise Mistake(f"{case}: evenly spaced and nothing drawn from g: that is a grid. Random search draws")
        raise Mistake(f"{case}: g has not moved: the numbers come from somewhere else, and the seed decides nothing")
    second = drawn(g)
    if second == first:
        raise Mistake(f"{case}: called twice with the same g, the same rates: g is seeded anew inside")
    if sorted(second) == sorted(first):
        raise Mistake(f"{case}: called twice, the same rates in another order: a shuffled grid. Random search draws")
    if drawn(torch.Generator().manual_seed(2147483647)) != first:
        raise Mistake(f"{case}: two generators with one seed gave different rates: something else was drawn from")
    if min(first) < 0:
        raise Mistake(
            f"{case}: the first is {first[0]:.4f}, and some are below 0: these are exponents. A rate is 10 to that"
        )
    if min(first) < 0.999 * low or max(first) > 1.001 * high:
        raise Mistake(f"{case}: they run from {min(first):.3g} to {max(first):.3g}, outside of what was asked for")
    if len(set(first)) < n // 10:
        raise Mistake(f"{case}: only {len(set(first))} different values: what lies between powers of ten never comes")
    shares = [sum(low * 10**k <= x < low * 10 ** (k + 1) for x in first) / n for k in range(4)]
    if shares[3] > 0.8:
        raise Mistake(
            f"{case}: {100 * shares[3]:.0f} % of them lie above 1, and hardly one below 0.01: drawn evenly by size. "
            "Each power of ten is to get a quarter"
        )
    if max(abs(share - 0.25) for share in shares) > 0.04:
        told = ", ".join(f"{100 * share:.0f} %" for share in shares)
        raise Mistake(f"{case}: the four powers of ten get {told} of them, where each is to get a quarter")
    _check_other_ends(answer)
    return "a quarter of the rates in each of four powers of ten, and the same ones again from the same seed."


def _check_other_ends(answer: object) -> None:
    """Ends that are no powers of ten: whoever rounds exponents, or uses fixed ends, shows here."""
    low, high = 0.03, 3.0
    rates = _numbers(answer(2000, low, high, torch.Generator().manual_seed(1)), "a tensor of 2000 rates")
    if min(rates) < 0.999 * low or max(rates) > 1.001 * high or min(rates) > 1.1 * low or max(rates) < 0.9 * high:
        raise Mistake(
            f"from {low:g} to {high:g} they run from {min(rates):.3g} to {max(rates):.3g}: low and high count"
        )
    below = sum(x < 0.3 for x in rates) / len(rates)
    if abs(below - 0.5) > 0.06:
        raise Mistake(f"from {low:g} to {high:g}, {100 * below:.0f} % lie below 0.3, the middle in powers of ten")


q1 = Exercise(
    "13.1",
    "rates drawn by their exponent",
    _check_log_uniform,
    hints=[
        "How likely should a rate between 0.01 and 0.1 be, compared with one between 0.1 and 1?",
        "Draw the exponent evenly, torch.rand(n, generator=g) stretched to its range, then raise 10 to it.",
        "The exponents of the two ends are math.log10(low) and math.log10(high).",
    ],
    solution=log_uniform,
)


# --------------------------------------------------------------------------------------------------------- 13.2


def enough_trials() -> int:
    """The least n for which 1 - 0.95**n is at least 0.95."""
    n = 1
    while 1 - 0.95**n < 0.95:
        n += 1
    return n


_MISSES = {
    20: "20 trials hit the best 5 % once on average, and none of them does in 36 % of all searches",
    19: "0.95 / 0.05: shares cannot be divided so. With 19 trials 38 % of all searches miss",
    95: "95 is a share in per cent. How likely is it that n trials all miss?",
    100: "a hundred trials are safe, and more than needed: with how few is the chance of a miss 5 %?",
    90: "with 90 the chance of a miss is 1 %: 5 % is allowed",
    14: "with 14 a search misses about as often as it hits",
    58: "with 58 the chance to hit is just under 95 %",
    60: "60 is the usual round figure, and one more than needed",
}


def _check_trials(answer: object) -> str:
    if isinstance(answer, (bool, str, types.FunctionType)):
        raise Mistake(f"expected a number of trials, got {brief(answer)}")
    try:
        n = float(answer)
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"expected a number of trials, got {brief(answer)}") from None
    if n == enough_trials():
        return "all 59 miss with probability 0.95**59, just under 5 %. How many knobs there are does not matter."
    if math.isclose(n, math.log(0.05) / math.log(0.95), rel_tol=5e-3) and n != int(n):
        raise Mistake(f"{n:g} trials cannot be run: the whole number above it")
    if n in _MISSES:
        raise Mistake(_MISSES[n])
    if not (math.isfinite(n) and n >= 1):
        raise Mistake(f"expected a number of trials, got {brief(answer)}")
    raise Mistake(f"with {n:g} trials all miss with probability {0.95**n:.3f}; what n brings this to 0.05?")


q2 = Exercise(
    "13.2",
    "how many random trials",
    _check_trials,
    hints=[
        "A single trial misses the best 5 % of all settings with probability 0.95.",
        "The trials are independent: how likely is it that all n of them miss?",
        "The least n with 0.95**n at most 0.05: try numbers, or take logarithms.",
    ],
    solution=enough_trials,
)


# --------------------------------------------------------------------------------------------------------- 13.3


def choose(search: Tensor, again: Tensor) -> tuple[int, float]:
    """Which configuration to take, and the dev loss to report for it.

    `search` (n,) holds one dev loss for each configuration, nan where the run blew up; `again` (k, seeds) those of
    the k best, best first, with new seeds.
    """
    best_first = search.nan_to_num(math.inf).argsort()  # (n,): row r of `again` is configuration best_first[r]
    mean = again.mean(1)  # (k,)
    row = mean.argmin().item()
    return best_first[row].item(), mean[row].item()


# (search, again): row r of `again` belongs to the r-th lowest of `search`
_SEARCHES = (
    (
        [2.26, 2.30, math.nan, 2.21, 2.22],
        [[2.26, 2.28, 2.27], [2.225, 2.245, 2.235], [2.29, 2.31, 2.15]],
    ),
    ([2.20, 2.24, 2.19, 2.31, 2.27], [[2.23, 2.22, 2.24], [2.205, 2.225, 2.215]]),
    ([2.10, 2.18, 2.12], [[2.14, 2.16], [2.17, 2.19]]),
)


def _check_choose(answer: object) -> str:
    own_function(answer, "q3.check(choose)")
    for search, again in _SEARCHES:
        _check_choice(answer, search, again)
    return "chosen by the mean over new seeds, and reported without the run that made it look good."


def _check_choice(answer: object, search: list[float], again: list[list[float]]) -> None:
    case = f"for search {search} and again {again}"
    before = torch.tensor(search, dtype=torch.float64), torch.tensor(again, dtype=torch.float64)
    given = [t.clone() for t in before]
    got = answer(*given)
    got = got.tolist() if hasattr(got, "tolist") else got  # of a tensor or an array
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Mistake(f"{case}: expected a number of a configuration and a loss, got {brief(got)}")
    if not all(torch.equal(t.nan_to_num(), u.nan_to_num()) for t, u in zip(given, before, strict=True)):
        raise Mistake(f"{case}: the losses that were handed in have been changed")
    index, loss = _numbers(got, "two numbers")
    clean = [math.inf if math.isnan(x) else x for x in search]
    order = sorted(range(len(search)), key=lambda k: clean[k])
    means = [sum(row) / len(row) for row in again]
    row = min(range(len(means)), key=lambda r: means[r])
    best = order[row]
    if index != best:
        if index in range(len(search)) and math.isnan(search[int(index)]):
            raise Mistake(f"{case}: configuration {index:.0f} blew up: nan counts as the lowest for argmin")
        if index == row:
            raise Mistake(
                f"{case}: {row} is the row of `again`; the configuration in that row has number {best} in `search`"
            )
        luckiest = order[min(range(len(again)), key=lambda r: min(again[r]))]
        if index == luckiest and luckiest != order[0]:
            raise Mistake(f"{case}: configuration {index:.0f} has the lowest single run. Choose by the mean")
        if index == order[0]:
            raise Mistake(
                f"{case}: configuration {index:.0f} won the search with one run, {clean[order[0]]}; its new runs have "
                f"the mean {means[0]:.2f}, and another's are lower"
            )
        raise Mistake(f"{case}: expected another configuration than {brief(got[0])}")
    if math.isclose(loss, means[row], abs_tol=1e-4):
        return
    if math.isclose(loss, clean[best], abs_tol=1e-4):
        raise Mistake(
            f"{case}: {loss:.4f} is the run of the search, for which configuration {best} was picked out of "
            f"{len(search)}: the winner's curse. Its new runs say something else"
        )
    if math.isclose(loss, min(again[row]), abs_tol=1e-4):
        raise Mistake(f"{case}: {loss:.4f} is the luckiest of {len(again[row])} new runs, report their mean")
    if math.isclose(loss, (clean[best] + sum(again[row])) / (1 + len(again[row])), abs_tol=1e-4):
        raise Mistake(
            f"{case}: {loss:.4f} counts the run of the search among the new ones; it was picked for being low"
        )
    raise Mistake(f"{case}: configuration {best} is right, and the loss to report is not {loss:.4f}")


q3 = Exercise(
    "13.3",
    "a winner that may be reported",
    _check_choose,
    hints=[
        "Which of the two tables holds runs that were not picked for being low?",
        "Row 0 of `again` belongs to the lowest of `search`, row 1 to the next one: search.argsort() translates.",
        "search.nan_to_num(math.inf) puts the runs that blew up last. The mean over seeds is again.mean(1).",
    ],
    solution=choose,
)


# --------------------------------------------------------------------------------------------------------- 13.4, E01

_ASKED = 2.2  # what the exercise under the video asks to beat


def beat_2_2() -> MLP:
    """A network under 2.2 within some two seconds: one more character of context, and a rate that falls to 0."""
    from mlp_lib.model import MLP
    from mlp_lib.train import train

    block_size, steps = 4, 30_000
    words = load_words()
    vocab = Vocab.from_words(words)
    Xtr, Ytr = make_splits(words, vocab, block_size)[:2]
    g = torch.Generator().manual_seed(2147483647)
    model = MLP(MLPConfig(len(vocab), block_size, n_embd=10, n_hidden=200), g=g)
    train(model, Xtr, Ytr, steps=steps, lr=lambda i: 0.5 * (1 - i / steps), g=g, stepper=fast_steps)
    return model


def _check_e01(model: object, reason: object = "") -> str:
    return handed_in(model, reason, exercise="E01", asked=_ASKED)


q4 = Exercise(
    "13.4",
    "E01, beat 2.2",
    _check_e01,
    hints=[
        "Two knobs of this page are worth more than all others: the schedule of the rate, then one or three more "
        "characters of context.",
        "lr=lambda i: 0.5 * (1 - i / steps) with stepper=fast_steps, four characters of context and 30,000 steps.",
        "Further up: five or six characters, a careful start, more steps, then more neurons. Notebooks 14 and 15 go "
        "on.",
    ],
    solution=beat_2_2,
)
