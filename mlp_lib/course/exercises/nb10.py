"""Exercises of page 10: a mean in nats, equal sizes, a paired difference."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from mlp_lib.course.exercises.answers import brief, close
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong
from mlp_lib.course.exercises.values import numbers, plain
from mlp_lib.model import MLPConfig

# ---- 10.1 from heights to nats ---------------------------------------------------------------------------------------


def mean_nats(lossi: Sequence[float]) -> float:
    """The mean of the losses, in nats, of which `lossi` holds the logarithms to base 10."""
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
    wrong=[
        Wrong(
            lambda lossi: sum(lossi) / len(lossi),
            "that is the log10 of the loss, read as the loss. A curve that stands at 1.45 stands at 28.2 nats",
        ),
        Wrong(
            lambda lossi: statistics.fmean(math.exp(x) for x in lossi),
            "the logarithms are to base 10, exp undoes those to base e",
        ),
        Wrong(
            lambda lossi: math.exp(statistics.fmean(lossi)),
            "the logarithms are to base 10, and exp undoes those to base e; also, the power comes before the mean",
        ),
        Wrong(
            lambda lossi: 10 ** statistics.fmean(lossi),
            "10 to the power of the mean height is the geometric mean. Losses of 1 and 10 nats have the mean 5.5, not "
            "3.16: which comes first, the power or the mean?",
        ),
        Wrong(
            lambda lossi: math.log10(mean_nats(lossi)),
            "that is the log10 of the mean loss: the mean itself is asked for",
        ),
        Wrong(lambda lossi: 10 * statistics.fmean(lossi), "10 * x is ten times the height: 10 ** x is the power"),
        Wrong(lambda lossi: sum(10**x for x in lossi), "that is the sum of the losses: divide it by their number"),
        Wrong(
            lambda lossi: 10 ** lossi[0] / len(lossi),
            "only the first loss was added: does `return` stand inside the loop?",
        ),
        Wrong(
            lambda lossi: mean_nats(lossi[-1000:]), "only the last 1000 entries were used: the mean of all is asked for"
        ),
        Wrong(
            lambda lossi: round(mean_nats(lossi), 2), "that is rounded to 2 digits after the point: return all of them"
        ),
        Wrong(lambda lossi: [10**x for x in lossi], "these are the losses: take their mean"),
    ],
    also_right=[
        lambda lossi: statistics.fmean(math.exp(x * math.log(10)) for x in lossi),
        lambda lossi: (10 ** torch.tensor(lossi)).mean(),
        lambda lossi: np.power(10, np.array(lossi)).mean(),
    ],
    right="each height back to its loss first, and the mean afterwards: a mean of logarithms is a lower number.",
    hints=[
        "An entry x of lossi stands for the loss 10**x: the entry 1 for 10 nats, the entry 0 for 1 nat.",
        "Try lossi = [0, 1] on paper: two losses, 1 and 10 nats. What is their mean? What is 10 to the mean entry?",
        "Make the list of losses first, one power for each entry, then sum and divide.",
    ],
)


# ---- 10.2 as many parameters -----------------------------------------------------------------------------------------


def matched_hidden(n_parameters: int, n_embd: int, block_size: int, vocab_size: int) -> int:
    """The n_hidden that brings a network with `n_embd` numbers per character nearest to `n_parameters` parameters."""
    fixed = vocab_size * n_embd + vocab_size  # C and b2 do not depend on it
    for_each_unit = block_size * n_embd + 1 + vocab_size  # a column of W1, an entry of b1, a row of W2
    return max(1, round((n_parameters - fixed) / for_each_unit))


def _hidden(answer: Callable[..., object], n_parameters: int, *sizes: int) -> object:
    """The number of units; another one that comes as near counts as the solution's."""
    out = plain(answer(n_parameters, *sizes))
    best, value = matched_hidden(n_parameters, *sizes), numbers(out)
    if value is None or value.numel() != 1 or not 1 <= value.item() < math.inf or value.item() % 1:
        return out
    off = [abs(_parameters(units, *sizes) - n_parameters) for units in (int(value), best)]
    return best if off[0] == off[1] else out


def _parameters(units: int, n_embd: int, block_size: int, vocab_size: int) -> int:
    return vocab_size * n_embd + (block_size * n_embd + 1 + vocab_size) * units + vocab_size


def _solved(
    n: int,
    n_embd: int,
    block_size: int,
    vocab_size: int,
    *,
    C: int = 1,
    b1: int = 1,
    b2: int = 1,
    W2: int = 1,
    to_whole: Callable[[float], object] = round,
    lowest: float = 1,
) -> object:
    """The solution with some of the tensors left out of the count, or another way to round."""
    fixed = C * vocab_size * n_embd + b2 * vocab_size
    return max(lowest, to_whole((n - fixed) / (block_size * n_embd + b1 + W2 * vocab_size)))


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
        Case(438, 2, 3, 27, label="for 438 parameters (10 units and 11 come equally near)"),
        Case(100_000, 2, 3, 27),
        Case(3_000_000, 2, 3, 27),
        Case(10, 2, 3, 27, label="for 10 parameters, fewer than C and b2 have,"),
    ],
    wrong=[
        Wrong(
            lambda n, e, b, v: max(1, round((n - v * e - v) / (e + 1 + v))),
            "W1 has block_size * n_embd rows, since all characters of the context come in",
        ),
        Wrong(partial(_solved, b1=0), "the bias b1 was forgotten: it has n_hidden numbers"),
        Wrong(partial(_solved, b2=0), "the bias b2 was forgotten: it has one number for each symbol"),
        Wrong(partial(_solved, C=0), "the table C was forgotten: vocab_size rows of n_embd numbers"),
        Wrong(partial(_solved, C=0, b2=0), "C and b2 were forgotten: they do not depend on n_hidden, and count"),
        Wrong(partial(_solved, W2=0), "W2 was forgotten: each hidden unit has vocab_size weights there"),
        Wrong(
            lambda n, e, b, v: max(1, round((n - b * v * e - v) / (b * e + 1 + v))),
            "C was counted block_size times: all positions look up in one table",
        ),
        Wrong(partial(_solved, to_whole=float), "that is not a whole number of units: round it"),
        Wrong(partial(_solved, to_whole=int), "rounded down: the nearest whole number is asked for"),
        Wrong(partial(_solved, to_whole=math.ceil), "rounded up: the nearest whole number is asked for"),
        Wrong(partial(_solved, lowest=-math.inf), "a network needs at least 1 hidden unit"),
        Wrong(lambda n, e, b, v: matched_hidden(n, e, 3, v), "block_size is written in it as 3: use the argument"),
        Wrong(lambda n, e, b, v: matched_hidden(n, e, b, 27), "vocab_size is written in it as 27: use the argument"),
    ],
    also_right=[
        partial(_solved, to_whole=lambda x: math.floor(x + 0.5)),
        _counted_up,
        lambda *sizes: float(matched_hidden(*sizes)),
        lambda n, e, b, v: int(torch.tensor((n - v * (e + 1)) / (b * e + 1 + v)).round().clamp(min=1)),
    ],
    right=f"{_UNITS} units with two numbers per character: {MLPConfig(27, 3, 2, _UNITS).n_parameters:,} parameters "
    "against 11,897. What differs now is where they are spent.",
    hints=[
        "Write down the number of entries of C, W1, b1, W2 and b2, with h for n_hidden.",
        "C and b2 do not depend on h. Each hidden unit owns a column of W1, an entry of b1 and a row of W2.",
        "Solve n_parameters = fixed + h * for_each_unit for h, round to the nearest whole number, and take at least 1.",
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
    """Both numbers by name; the standard error only where the mean is right, so that one mistake is told at a time."""
    out = plain(answer(a, b))
    values = numbers(out)
    if values is None or values.shape not in {(2,), (2, 1)} or values.dtype == torch.bool:
        raise Refused(f"expected two numbers, the mean difference and its standard error, got {brief(out)}")
    mean, error = values.flatten().tolist()
    return {
        "the mean difference": mean,
        "its standard error": error if close(mean, paired_difference(a, b)[0]) else None,
    }


def _mean_and_stderr(losses: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(losses), statistics.stdev(losses) / len(losses) ** 0.5


def _of(change: Callable[[Sequence[float]], tuple[float, float]]) -> Callable[..., tuple[float, float]]:
    """Another mean and standard error of the right differences."""
    return lambda a, b: change([a[seed] - b[seed] for seed in a])


def _second(change: Callable[[Sequence[float]], float]) -> Callable[..., tuple[float, float]]:
    """The mean of the differences, and something else than its standard error."""
    return _of(lambda d: (statistics.fmean(d), change(d)))


def _zipped(pair: Callable[[Mapping[int, float]], Sequence[float]]) -> Callable[..., tuple[float, float]]:
    """The differences of losses that are paired in another way than by their seeds."""
    return lambda a, b: _mean_and_stderr([x - y for x, y in zip(pair(a), pair(b), strict=True)])


def _unpaired(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, float]:
    variance = statistics.variance(a.values()) + statistics.variance(b.values())
    return paired_difference(a, b)[0], (variance / len(a)) ** 0.5


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
    wrong=[
        Wrong(
            lambda a, b: (min(a.values()) - min(b.values()), paired_difference(a, b)[1]),
            "that is best against best, and each best is a seed picked for its luck: all seeds count",
        ),
        Wrong(
            _unpaired,
            "that is unpaired: two scatters added, as if a and b had no seed in common. Take the differences first, "
            "and their scatter afterwards",
        ),
        Wrong(lambda a, b: paired_difference(b, a), "the sign is turned round: a minus b is asked for"),
        Wrong(_of(lambda d: _mean_and_stderr([abs(x) for x in d])), "the differences lost their signs"),
        Wrong(
            _zipped(lambda x: list(x.values())),
            "the losses were paired by their place, but the seeds stand in another order in b: pair them by seed",
        ),
        Wrong(
            _zipped(lambda x: sorted(x.values())),
            "the losses were sorted before they were paired, worst with worst: that makes pairs of different seeds",
        ),
        Wrong(_second(statistics.stdev), "that is the deviation of one difference: the root of n is missing"),
        Wrong(_second(lambda d: statistics.pstdev(d) / len(d) ** 0.5), "the squares were divided by n, not by n - 1"),
        Wrong(_second(lambda d: statistics.stdev(d) / len(d)), "the deviation was divided by n, not by its root"),
        Wrong(
            lambda a, b: paired_difference(a, b)[::-1],
            "the order is: the mean difference first, then its standard error",
        ),
        Wrong(lambda a, b: paired_difference(a, b)[0], "expected two numbers"),
    ],
    also_right=[
        _of(_mean_and_stderr),
        _zipped(lambda x: [x[seed] for seed in sorted(x)]),
        _of(lambda d: np.array([np.mean(d), np.std(d, ddof=1) / np.sqrt(len(d))])),
        _of(lambda d: (torch.tensor(d).mean(), torch.tensor(d).std() / len(d) ** 0.5)),
    ],
    right="seed by seed: what the two configurations share, good luck or bad, drops out of each difference.",
    hints=[
        "Make one list first: for each seed the loss of a minus the loss of b.",
        "b may hold its seeds in another order, so go through the seeds of a and look both up: a[seed] - b[seed].",
        "The rest is a mean and its standard error: the deviation of the differences divided by the root of n.",
    ],
)
