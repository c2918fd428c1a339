"""Exercises of notebook 10: a mean in nats, equal sizes, a standard error, a paired difference, one look at test."""

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from mlp_lib.course.exercises.answers import brief, chosen_then_tested, close, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake


def _number(value: object, what: str) -> float:
    found = number(value, what)
    if math.isnan(found):
        raise Mistake(f"{what} is nan: a deviation needs two values, a root one that is not negative")
    return found


def _two_numbers(value: object, first: str, second: str) -> tuple[float, float]:
    if isinstance(value, Tensor | np.ndarray):
        value = list(value) if value.ndim == 1 else value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise Mistake(f"expected two numbers, {first} and {second}, got {brief(value)}")
    return _number(value[0], first), _number(value[1], second)


# ---------------------------------------------------------------------------------------------------------- 10.1


def mean_nats(lossi: Sequence[float]) -> float:
    """The mean of the losses, in nats, of which `lossi` holds the logarithms to base 10."""
    losses = [10**height for height in lossi]
    return sum(losses) / len(losses)


def _check_mean_nats(answer: object) -> str:
    own_function(answer, "q1.check(mean_nats)")
    for lossi in ([0.3, 0.4, 0.5, 0.2], [1.45], [0.0, 1.0]):
        _check_heights(answer, lossi)
    return "each height back to its loss first, and the mean afterwards: a mean of logarithms is a lower number."


def _check_heights(answer: Callable, lossi: list[float]) -> None:
    got = number(answer(list(lossi)), "the mean loss")
    n, expected = len(lossi), mean_nats(lossi)
    if close(got, expected):
        return
    heights = sum(lossi) / n
    said = f"for lossi = {lossi}: expected {expected:.6g} nats, got {got:.6g}"
    named = [
        (heights, "that is the log10 of the loss, read as the loss. A curve that stands at 1.45 stands at 28.2 nats"),
        (sum(math.exp(x) for x in lossi) / n, "the logarithms are to base 10, exp undoes those to base e"),
        (math.exp(heights), "the logarithms are to base 10, exp undoes those to base e"),
        (10**heights, "10 to the power of the mean height is the geometric mean. Losses of 1 and 10 nats have the "
                      "mean 5.5, not 3.16: which comes first, the power or the mean?"),
        (expected * n, "that is the sum of the losses: divide it"),
        (expected * n / max(1, n - 1), f"the sum was divided by {n - 1}, and there are {n} losses"),
        (10 ** lossi[0], "that is the first loss alone: does `return` stand inside the loop?"),
        (10 ** lossi[0] / n, "only the first loss was added: does `return` stand inside the loop?"),
        *((round(expected, k), "that is rounded: return all its digits") for k in (1, 2, 3)),
        (10 ** -heights, "the sign of the exponent is turned round"),
    ]  # fmt: skip
    why = next((why for value, why in named if close(got, value)), "undo the log10 of each entry, then take the mean")
    raise Mistake(f"{said}: {why}")


q1 = Exercise(
    "10.1",
    "from heights to nats",
    _check_mean_nats,
    hints=[
        "An entry x of lossi stands for the loss 10**x: the entry 1 for 10 nats, the entry 0 for 1 nat.",
        "Try lossi = [0, 1] on paper: two losses, 1 and 10 nats. What is their mean? What is 10 to the mean entry?",
        "Make the list of losses first, one power for each entry, then sum and divide.",
    ],
    solution=mean_nats,
)


# ---------------------------------------------------------------------------------------------------------- 10.2


def matched_hidden(n_parameters: int, n_embd: int, block_size: int = 3, vocab_size: int = 27) -> int:
    """The n_hidden that brings a network with `n_embd` numbers per character nearest to `n_parameters` parameters."""
    fixed = vocab_size * n_embd + vocab_size  # C and b2 do not depend on it
    for_each_unit = block_size * n_embd + 1 + vocab_size  # a column of W1, an entry of b1, a row of W2
    return round((n_parameters - fixed) / for_each_unit)


_SIZES = ((10_281, 10, 3, 27), (11_897, 2, 3, 27), (20_000, 5, 8, 25), (3_000, 24, 1, 60))


def _check_matched(answer: object) -> str:
    own_function(answer, "q2.check(matched_hidden)")
    for size in _SIZES:
        _check_size(answer, *size)
    return (
        "348 units with two numbers per character: 11,913 parameters against 11,897. What differs now is where they "
        "are spent."
    )


def _check_size(answer: Callable, n_parameters: int, n_embd: int, block_size: int, vocab_size: int) -> None:
    def count(h: float) -> float:
        return vocab_size * n_embd + block_size * n_embd * h + h + h * vocab_size + vocab_size

    got = number(answer(n_parameters, n_embd, block_size, vocab_size), "n_hidden")
    case = f"{n_parameters:,} parameters, n_embd {n_embd}, block_size {block_size}, {vocab_size} symbols"
    if not math.isfinite(got) or got < 1 or got != round(got):
        raise Mistake(f"{case}: expected a whole number of hidden units, at least 1, got {brief(got)}")
    expected = matched_hidden(n_parameters, n_embd, block_size, vocab_size)
    if abs(count(got) - n_parameters) <= abs(count(expected) - n_parameters):
        return

    def solved(fixed: float, unit: float) -> int:
        return round((n_parameters - fixed) / unit)

    C, b2, unit = vocab_size * n_embd, vocab_size, block_size * n_embd + 1 + vocab_size
    if abs(got - expected) == 1:
        why = "one unit off. Round to the nearest, not down; or a bias was not counted"
    elif got == solved(C + b2, n_embd + 1 + vocab_size):
        why = f"W1 has block_size * n_embd rows, {block_size * n_embd}, since all {block_size} characters come in"
    elif got == solved(b2, unit):
        why = f"the table C was forgotten, {C} numbers"
    elif got in (solved(C, unit - 1), solved(C + b2, unit - 1), solved(C, unit)):
        why = "a bias was forgotten: b1 has n_hidden numbers, b2 has one for each symbol"
    elif got == solved(C + b2, unit - vocab_size):
        why = f"W2 was forgotten: each hidden unit has {vocab_size} weights there"
    else:
        why = "write the count as fixed + n_hidden * (numbers for each unit)"
    raise Mistake(f"{case}: n_hidden {got:.0f} gives {count(got):,.0f} parameters: {why}")


q2 = Exercise(
    "10.2",
    "as many parameters",
    _check_matched,
    hints=[
        "Write down the number of entries of C, W1, b1, W2 and b2, with h for n_hidden.",
        "C and b2 do not depend on h. Each hidden unit owns a column of W1, an entry of b1 and a row of W2.",
        "Solve n_parameters = fixed + h * for_each_unit for h, and round to the nearest whole number.",
    ],
    solution=matched_hidden,
)


# ---------------------------------------------------------------------------------------------------------- 10.3


def mean_and_stderr(losses: Sequence[float]) -> tuple[float, float]:
    """The mean of the losses of n seeds, and its standard error: the sample's deviation divided by the root of n."""
    n = len(losses)
    mean = sum(losses) / n
    variance = sum((x - mean) ** 2 for x in losses) / (n - 1)
    return mean, (variance / n) ** 0.5


def _check_mean_and_stderr(answer: object) -> str:
    own_function(answer, "q3.check(mean_and_stderr)")
    # Six first: of four seeds the deviation, of five that divided by n, is exactly two standard errors.
    for losses in ([2.31, 2.29, 2.35, 2.3, 2.27, 2.37], [2.3, 2.2, 2.25, 2.41], [2.0, 2.2]):
        _check_stderr(answer, losses)
    return "the deviation tells what the next seed may bring, the standard error how well the mean is known."


def _check_stderr(answer: Callable, losses: list[float]) -> None:
    given = list(losses)
    got = answer(given)
    if given != losses:
        raise Mistake("the function has changed the list it was given: work on a copy")
    mean, error = _two_numbers(got, "the mean", "its standard error")
    n, expected = len(losses), mean_and_stderr(losses)
    case = f"for the losses {losses}"
    if close(mean, expected[1]) and close(error, expected[0]):
        raise Mistake(f"{case}: both are right, in the other order: the mean first, then its standard error")
    if not close(mean, expected[0]):
        if close(mean, min(losses)):
            why = "that is the best seed. The best of several flatters, and the more seeds, the more it does"
        elif close(mean, statistics.median(losses)):
            why = "that is the median"
        elif close(mean, sum(losses)):
            why = "that is the sum"
        else:
            why = "add the losses and divide by their number"
        raise Mistake(f"{case}: expected the mean {expected[0]:.4g}, got {mean:.4g}: {why}")
    sample, population = statistics.stdev(losses), statistics.pstdev(losses)
    named = [
        (sample, f"that is the deviation of a single seed. The mean of {n} seeds scatters less: by which factor?"),
        (population, f"that is the deviation of a single seed, and with {n} under the root where {n - 1} belongs"),
        (population / n**0.5, f"the squares were divided by {n}. They were measured from the mean of these very "
                              f"losses, which lies closer to them than the true one, so {n - 1} belongs there "
                              "(torch's std does that; NumPy's needs ddof=1)"),
        (sample / n, f"the deviation was divided by {n}, and the root of {n} belongs there"),
        (sample**2, "that is the variance of a single seed"),
        (sample**2 / n, "that is the square of it: the root is missing"),
        (sample / (n - 1) ** 0.5, f"n - 1 belongs to the variance; the mean is one of {n} losses, so the root of {n}"),
        (2 * expected[1], "that is two standard errors: one is asked for"),
        ((max(losses) - min(losses)), "that is the range, from the lowest seed to the highest"),
    ]  # fmt: skip
    if not close(error, expected[1]):
        why = next((why for value, why in named if close(error, value)), "take the root of (variance / n)")
        raise Mistake(f"{case}: expected the standard error {expected[1]:.4g}, got {error:.4g}: {why}")


q3 = Exercise(
    "10.3",
    "how well is the mean known?",
    _check_mean_and_stderr,
    hints=[
        "Three steps: the mean; the variance of a single seed; the variance of a mean of n of them.",
        "The variance is the sum of (x - mean)**2 divided by n - 1. For [2.0, 2.2] it is 0.02.",
        "A mean of n independent losses has a variance n times smaller. The standard error is its root.",
    ],
    solution=mean_and_stderr,
)


# ---------------------------------------------------------------------------------------------------------- 10.4


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, float]:
    """The mean over the seeds of a[seed] - b[seed], and its standard error."""
    differences = [a[seed] - b[seed] for seed in a]
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    return mean, (variance / n) ** 0.5


_PAIRS = (
    ({1: 2.30, 2: 2.40, 3: 2.20}, {3: 2.15, 1: 2.28, 2: 2.24}),
    ({7: 2.31, 8: 2.25, 9: 2.44, 10: 2.38}, {10: 2.30, 9: 2.35, 8: 2.20, 7: 2.22}),
    ({5: 2.30, 6: 2.41, 7: 2.26, 8: 2.35}, {8: 2.28, 7: 2.31, 6: 2.30, 5: 2.22}),  # at seed 7 b is worse
)


def _check_paired(answer: object) -> str:
    own_function(answer, "q4.check(paired_difference)")
    for a, b in _PAIRS:
        _check_pair(answer, a, b)
    return "seed by seed: what the two configurations share, good luck or bad, drops out of each difference."


def _check_pair(answer: Callable, a: dict[int, float], b: dict[int, float]) -> None:
    given = dict(a), dict(b)
    mean, error = _two_numbers(answer(*given), "the mean difference", "its standard error")
    if given != (a, b):
        raise Mistake("the function has changed one of the two dictionaries: work on lists of your own")
    case = f"for a = {a} and b = {b}"
    n, expected = len(a), paired_difference(a, b)
    if not close(mean, expected[0]):
        named = [
            (-expected[0], "the sign is turned round: a minus b is asked for, above 0 if b is better"),
            (min(a.values()) - min(b.values()), "that is best against best, and each best is a seed picked for its "
                                                "luck: all seeds count"),
            (expected[0] * n, "that is the sum of the differences: divide it"),
            (sum(abs(a[s] - b[s]) for s in a) / n, "the differences lost their signs"),
            (statistics.median(a[s] - b[s] for s in a), "that is the median of the differences, the mean is asked for"),
        ]  # fmt: skip
        why = next((why for value, why in named if close(mean, value)), "the mean of a[seed] - b[seed]")
        raise Mistake(f"{case}: expected a mean difference of {expected[0]:.4g}, got {mean:.4g}: {why}")
    if close(error, expected[1]):
        return

    def stderr(differences: Sequence[float]) -> float:
        return statistics.stdev(differences) / n**0.5

    d = [a[s] - b[s] for s in a]
    unpaired = ((statistics.variance(a.values()) + statistics.variance(b.values())) / n) ** 0.5
    named = [
        (stderr([x - y for x, y in zip(a.values(), b.values(), strict=True)]),
         "the losses were paired by their place, but the seeds stand in another order in b: pair them by seed"),
        (stderr([x - y for x, y in zip(sorted(a.values()), sorted(b.values()), strict=True)]),
         "the losses were sorted before they were paired, worst with worst: that makes pairs of different seeds"),
        (unpaired, "that is unpaired: two scatters added, as if a and b had no seed in common. Take the "
                   "differences first, and their scatter afterwards"),
        (statistics.stdev(d), f"that is the deviation of one difference: the root of {n} is missing"),
        (statistics.pstdev(d), f"that is the deviation of one difference, divided by {n} instead of {n - 1}"),
        (statistics.pstdev(d) / n**0.5, f"the squares were divided by {n} instead of {n - 1}"),
    ]  # fmt: skip
    why = next(
        (why for value, why in named if close(error, value)), "the standard error of the differences, as in 10.3"
    )
    raise Mistake(f"{case}: the mean is right; expected its standard error {expected[1]:.4g}, got {error:.4g}: {why}")


q4 = Exercise(
    "10.4",
    "the same seeds, side by side",
    _check_paired,
    hints=[
        "Make one list first: for each seed the loss of a minus the loss of b.",
        "b may hold its seeds in another order, so go through the seeds of a and look both up: a[seed] - b[seed].",
        "The rest is exercise 10.3, for the list of differences.",
    ],
    solution=paired_difference,
)


# ---------------------------------------------------------------------------------------------------------- 10.5


def report(dev: Mapping[str, Sequence[float]], open_test: Callable[[str], float]) -> tuple[str, float]:
    """The configuration with the lowest mean dev loss over its seeds, and its test loss, looked at once."""
    name = min(dev, key=lambda name: sum(dev[name]) / len(dev[name]))
    return name, open_test(name)


_DEV = {
    "2, 300": [2.36, 2.34, 2.38, 2.35, 2.37],
    "10, 200": [2.27, 2.29, 2.26, 2.28, 2.27],
    "20, 200": [2.31, 2.24, 2.33, 2.30, 2.32],  # has the luckiest seed
    "5, 200": [2.29, 2.30, 2.28, 2.31, 2.29],
}
_TEST = {"2, 300": 2.37, "10, 200": 2.29, "20, 200": 2.31, "5, 200": 2.28}
# Mean, median, highest and lowest loss would each choose another.
_DEV_2 = {
    "5, 100": [2.30, 2.30, 2.30, 2.30, 2.30],
    "10, 100": [2.20, 2.24, 2.32, 2.33, 2.34],
    "15, 100": [2.25, 2.29, 2.29, 2.39, 2.40],
    "20, 100": [2.10, 2.40, 2.40, 2.40, 2.40],
}
_TEST_2 = {"5, 100": 2.31, "10, 100": 2.30, "15, 100": 2.33, "20, 100": 2.35}


def _check_report(answer: object) -> str:
    own_function(answer, "q5.check(report)")
    for dev, test in ((_DEV, _TEST), (_DEV_2, _TEST_2)):
        chosen_then_tested(answer, dev, test, functools.partial(_judge, dev))
    return "chosen by the mean over the seeds on dev; the test set was opened once, and it chose nothing."


def _judge(dev: Mapping[str, Sequence[float]], name: str) -> None:
    means = {key: statistics.mean(dev[key]) for key in dev}
    if name == min(means, key=means.get):
        return
    seen = f"mean dev loss {means[name]:.3f}: another has a lower mean"
    if name == min(dev, key=lambda key: min(dev[key])):
        raise Mistake(
            f"you chose {name!r} for its best seed, {min(dev[name])}. Over its five seeds it has a mean of "
            f"{means[name]:.3f}, and another configuration a lower one: one lucky seed is no reason"
        )
    if name == min(dev, key=lambda key: statistics.median(dev[key])):
        raise Mistake(f"you chose {name!r} for its median, {statistics.median(dev[name])}, {seen}")
    if name == min(dev, key=lambda key: max(dev[key])):
        raise Mistake(f"you chose {name!r} for its worst seed, {max(dev[name])}, {seen}")
    raise Mistake(f"you chose {name!r}, {seen}")


q5 = Exercise(
    "10.5",
    "the number for the paper",
    _check_report,
    hints=[
        "Two questions, in this order: which configuration, and what loss does it have on names that chose nothing?",
        "The mean over the seeds decides; min(dev, key=...) gives the name with the smallest key.",
        "Call open_test after the choice, for the chosen name alone, and return both.",
    ],
    solution=report,
)
