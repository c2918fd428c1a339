"""Exercises of page 10: a mean in nats, equal sizes, a paired difference."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from mlp_lib.course.exercises.answers import brief, close
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
from mlp_lib.course.exercises.values import numbers, plain
from mlp_lib.model import MLPConfig

# ---- 10.1 from heights to nats ---------------------------------------------------------------------------------------


def mean_nats(lossi: Sequence[float]) -> float:
    """The mean of the losses in nats; `lossi` has their logarithms to base 10."""
    losses = [10**height for height in lossi]
    return sum(losses) / len(losses)


_FALLING = [1.2 - 0.9 * (i / 2499) ** 0.5 + 0.05 * (i * i % 7 - 3) for i in range(2500)]

q1 = Exercise(
    "10.1",
    "from heights to nats",
    solution=mean_nats,
    cases=[
        Case([0.2, 0.1, 0.3, 0.6, 0.5]),  # an odd number: the median is the same before the power and after it
        Case([1.45]),
        Case([0.0, 1.0]),
        Case([-0.4, 0.0]),
        Case([0.5, 0.5, 0.5, 1.0]),
        Case(_FALLING, label="for 2,500 entries"),
    ],
    edits={
        ("10**height", "height"): (
            "that is the log10 of the loss, read as the loss. A curve that stands at 1.45 stands at 28.2 nats"
        ),
        ("10**height", "math.exp(height)"): "exp undoes the natural logarithm, but these logarithms are to base 10",
        (" / len(losses)", ""): "that is the sum of the losses: divide it by their number",
        ("in lossi", "in lossi[-1000:]"): "only the last 1000 entries were used: use all",
        ("sum(losses) / len(losses)", "losses"): "these are the losses: take their mean",
    },
    wrong=[
        Wrong(
            lambda lossi: 10 ** statistics.fmean(lossi),
            "10 to the power of the mean height is the geometric mean: take the power first, then the mean. Losses of "
            "1 and 10 nats have the mean 5.5, not 3.16",
        ),
        Wrong(lambda lossi: math.log10(mean_nats(lossi)), "that is the log10 of the mean loss: return the mean itself"),
        Wrong(lambda lossi: 10 ** lossi[0] / len(lossi), "only the first loss was added: is `return` inside the loop?"),
    ],
    also_right=[
        lambda lossi: statistics.fmean(math.exp(x * math.log(10)) for x in lossi),
        lambda lossi: (10 ** torch.tensor(lossi)).mean(),
        lambda lossi: np.power(10, np.array(lossi)).mean(),
    ],
    right="first each height back to its loss, then the mean: the mean of the logarithms would give less.",
    hints=[
        "An entry x of lossi is the loss 10**x: 1 means 10 nats, 0 means 1 nat.",
        "Try lossi = [0, 1] on paper: two losses, 1 and 10 nats. What is their mean? What is 10 to the mean entry?",
        "Make the list of losses first, one power per entry, then sum and divide.",
    ],
)


# ---- 10.2 as many parameters -----------------------------------------------------------------------------------------


def matched_hidden(n_parameters: int, n_embd: int, block_size: int, vocab_size: int) -> int:
    """The n_hidden that brings a network with `n_embd` numbers per character closest to `n_parameters` parameters."""
    fixed = vocab_size * n_embd + vocab_size  # C and b2 do not depend on it
    per_unit = block_size * n_embd + 1 + vocab_size  # a column of W1, an entry of b1, a row of W2
    return max(1, round((n_parameters - fixed) / per_unit))


def _hidden(answer: Callable[..., object], n_parameters: int, *sizes: int) -> object:
    """The number of units; a different one that comes as close counts as the solution's."""
    out = plain(answer(n_parameters, *sizes))
    best, value = matched_hidden(n_parameters, *sizes), numbers(out)
    if value is None or value.numel() != 1 or not 1 <= value.item() < math.inf or value.item() % 1:
        return out
    off = [abs(_parameters(units, *sizes) - n_parameters) for units in (int(value), best)]
    return best if off[0] == off[1] else out


def _parameters(units: int, n_embd: int, block_size: int, vocab_size: int) -> int:
    return vocab_size * n_embd + (block_size * n_embd + 1 + vocab_size) * units + vocab_size


def _counted_up(n_parameters: int, *sizes: int) -> int:
    h = 1
    while _parameters(h, *sizes) < n_parameters:
        h += 1
    return min((h, max(1, h - 1)), key=lambda h: abs(_parameters(h, *sizes) - n_parameters))


_UNITS = matched_hidden(11_897, 2, 3, 27)

q2 = Exercise(
    "10.2",
    "as many parameters",
    solution=matched_hidden,
    observe=_hidden,
    cases=[
        Case(10_281, 10, 3, 27),
        Case(11_897, 2, 3, 27),
        Case(20_000, 5, 8, 25),
        Case(3_000, 24, 1, 60),
        Case(20_000, 5, 4, 40),
        Case(438, 2, 3, 27, label="for 438 parameters (10 and 11 units come equally close)"),
        Case(100_000, 2, 3, 27),
        Case(3_000_000, 2, 3, 27),
        Case(10, 2, 3, 27, label="for 10 parameters, fewer than C and b2 have,"),
    ],
    edits={
        ("block_size * n_embd", "n_embd"): "W1 has block_size * n_embd rows, one per number in the context",
        (" + 1 +", " +"): "the bias b1 is missing: it has n_hidden numbers",
        ("n_embd + vocab_size  #", "n_embd  #"): "the bias b2 is missing: it has one number per symbol",
        ("vocab_size * n_embd + ", ""): "the table C is missing: vocab_size rows of n_embd numbers",
        ("vocab_size * n_embd + vocab_size", "0"): "C and b2 are missing: they count, whatever n_hidden is",
        ("+ 1 + vocab_size", "+ 1"): "W2 is missing: each hidden unit has vocab_size weights there",
        ("= vocab_size", "= block_size * vocab_size"): (
            "C was counted block_size times, but all positions use one table"
        ),
        ("round(", "("): "that is not a whole number of units: round it",
        ("round(", "int("): "rounded down: round to the nearest whole number",
        ("round(", "math.ceil("): "rounded up: round to the nearest whole number",
        ("max(1, ", "max(-math.inf, "): "a network needs at least 1 hidden unit",
        ("= block_size", "= 3"): "3 is hard-coded: use block_size",
        ("fixed = ", "vocab_size = 27\n    fixed = "): "27 is hard-coded: use vocab_size",
    },
    also_right=[
        _counted_up,
        edited(matched_hidden, ("round(", "math.floor(0.5 + ")),
        lambda n, e, b, v: torch.tensor((n - v * (e + 1)) / (b * e + 1 + v)).round().clamp(min=1),
    ],
    right=f"{_UNITS} units with two numbers per character: {MLPConfig(27, 3, 2, _UNITS).n_parameters:,} parameters "
    "against 11,897. They differ only in where the parameters are.",
    hints=[
        "Write down the number of entries of C, W1, b1, W2 and b2, with h for n_hidden.",
        "C and b2 do not depend on h. Each hidden unit has a column of W1, an entry of b1 and a row of W2.",
        "Solve n_parameters = fixed + h * per_unit for h, round to the nearest whole number, and take at least 1.",
    ],
)


# ---- 10.3 the same seeds, side by side -------------------------------------------------------------------------------


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, float]:
    """The mean over the seeds of a[seed] - b[seed], and its standard error."""
    differences = [a[seed] - b[seed] for seed in a]
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    return mean, (variance / n) ** 0.5


def _two_numbers(answer: Callable[..., object], a: Mapping[int, float], b: Mapping[int, float]) -> object:
    """Both numbers by name; the standard error only if the mean is right, so that one mistake is told at a time."""
    out = plain(answer(a, b))
    values = numbers(out)
    if values is None or values.shape not in {(2,), (2, 1)} or values.dtype == torch.bool:
        raise Refused(f"expected two numbers, the mean difference and its standard error, got {brief(out)}")
    mean, error = values.flatten().tolist()
    return {
        "the mean difference": mean,
        "its standard error": error if close(mean, paired_difference(a, b)[0]) else None,
    }


_DIFFERENCES = "[a[seed] - b[seed] for seed in a]"
_VARIANCE = "sum((d - mean) ** 2 for d in differences) / (n - 1)"


def _in_numpy(a: Mapping[int, float], b: Mapping[int, float]) -> np.ndarray:
    d = np.array([a[seed] - b[seed] for seed in b])
    return np.array([d.mean(), d.std(ddof=1) / np.sqrt(len(d))])


q3 = Exercise(
    "10.3",
    "the same seeds, side by side",
    solution=paired_difference,
    observe=_two_numbers,
    cases=[
        Case({1: 2.30, 2: 2.40, 3: 2.20}, {3: 2.15, 1: 2.28, 2: 2.24}),
        Case({7: 2.31, 8: 2.25, 9: 2.44, 10: 2.38}, {10: 2.30, 9: 2.35, 8: 2.20, 7: 2.22}),
        Case({7: 2.30, 8: 2.41, 9: 2.26, 10: 2.35}, {10: 2.28, 9: 2.31, 8: 2.30, 7: 2.22}),  # at seed 9 b is worse
        Case({2147483647: 2.3, 42: 2.2}, {42: 2.25, 2147483647: 2.21}),
    ],
    edits={
        ("sum(differences) / n", "min(a.values()) - min(b.values())"): (
            "that is best against best, and each best is a lucky seed: use all seeds"
        ),
        (_VARIANCE, "statistics.variance(a.values()) + statistics.variance(b.values())"): (
            "that adds the two scatters, as if a and b had no seed in common: take the differences first, then "
            "their scatter"
        ),
        (_DIFFERENCES, "[b[seed] - a[seed] for seed in a]"): "the sign is flipped: the task asks for a minus b",
        (_DIFFERENCES, "[abs(a[seed] - b[seed]) for seed in a]"): "the differences lost their signs",
        (_DIFFERENCES, "[x - y for x, y in zip(a.values(), b.values())]"): (
            "the losses were paired by position, but b has the seeds in a different order: pair them by seed"
        ),
        (_DIFFERENCES, "[x - y for x, y in zip(sorted(a.values()), sorted(b.values()))]"): (
            "the losses were sorted before they were paired, which makes pairs of different seeds"
        ),
        ("(variance / n)", "variance"): (
            "that is the standard deviation of one difference: divide it by the root of n"
        ),
        ("(variance / n) ** 0.5", "variance / n"): "that is the square of the error: take the root",
        ("/ (n - 1)", "/ n"): "the squares were divided by n, not by n - 1",
        ("(variance / n) ** 0.5", "variance**0.5 / n"): "the deviation was divided by n, not by its root",
        ("mean, (variance / n) ** 0.5", "(variance / n) ** 0.5, mean"): (
            "the order is: the mean difference first, then its standard error"
        ),
        (", (variance / n) ** 0.5", ""): "expected two numbers",
    },
    also_right=[
        _in_numpy,
        edited(paired_difference, ("mean, (variance / n) ** 0.5", "torch.tensor([mean, (variance / n) ** 0.5])")),
    ],
    right="seed by seed: the luck that both configurations share cancels in each difference.",
    hints=[
        "Start with one list: for each seed the loss of a minus the loss of b.",
        "b may have its seeds in a different order, so go through the seeds of a and look up both: a[seed] - b[seed].",
        "The rest is a mean and its standard error: the deviation of the differences divided by the root of n.",
    ],
)
