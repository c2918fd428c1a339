"""Exercises of page 08: parameters counted, two sizes compared over seeds, and what to change next."""

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch

from mlp_lib.course.exercises.answers import brief, close, matching
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong
from mlp_lib.model import MLP, MLPConfig

Pairs = Sequence[tuple[float, float]]

# ---- 8.1 count the parameters ----------------------------------------------------------------------------------------


def count_parameters(vocab_size: int, block_size: int, n_embd: int, n_hidden: int) -> int:
    """How many numbers C, W1, b1, W2 and b2 hold together."""
    C = vocab_size * n_embd  # one table for all positions
    W1 = block_size * n_embd * n_hidden
    W2 = n_hidden * vocab_size
    return C + W1 + n_hidden + W2 + vocab_size  # the two biases: one number for each column of W1 and of W2


_SIZES = (27, 3, 2, 100)  # the lecture's
_PARTS: dict[str, Callable[[int, int, int, int], int]] = {
    "C": lambda v, k, d, n: v * d,
    "W1": lambda v, k, d, n: k * d * n,
    "b1": lambda v, k, d, n: n,
    "W2": lambda v, k, d, n: n * v,
    "b2": lambda v, k, d, n: v,
}


def _counting(**parts: Callable[[int, int, int, int], int]) -> Callable[[int, int, int, int], int]:
    """A count in which some of the five parts are counted in another way."""
    return lambda v, k, d, n: sum(part(v, k, d, n) for part in (_PARTS | parts).values())


def _without(names: Sequence[str]) -> Wrong:
    return Wrong(
        _counting(**dict.fromkeys(names, lambda *sizes: 0)),
        f"the numbers of {' and '.join(names)} are missing, and they are trained like all the others",
    )


def _frozen(at: int) -> Wrong:
    name = ("vocab_size", "block_size", "n_embd", "n_hidden")[at]
    return Wrong(
        lambda *sizes: count_parameters(*(_SIZES[k] if k == at else size for k, size in enumerate(sizes))),
        f"is {_SIZES[at]} written in it? Use {name}",
    )


q1 = Exercise(
    "8.1",
    "count the parameters",
    solution=count_parameters,
    # the last one has tensors that no memory holds
    cases=[Case(*_SIZES), Case(5, 2, 3, 7), Case(11, 4, 3, 13), Case(60, 1, 1, 1), Case(28, 2, 10**14, 7)],
    wrong=[
        *[_without(names) for names in (["C"], ["W1"], ["b1"], ["W2"], ["b2"], ["b1", "b2"])],
        *[_frozen(at) for at in range(4)],
        Wrong(
            _counting(W1=lambda v, k, d, n: d * n),
            "W1 is counted as n_embd x n_hidden: a neuron sees the numbers of all block_size characters, joined",
        ),
        Wrong(
            _counting(W1=lambda v, k, d, n: k * v * n),
            "W1 is counted as if it saw one-hot rows of vocab_size numbers: the table C stands between, and gives "
            "n_embd numbers for each character",
        ),
        Wrong(
            _counting(C=lambda v, k, d, n: k * v * d),
            "C is counted block_size times: all positions look up in one table",
        ),
        Wrong(
            _counting(b2=lambda v, k, d, n: n),
            "b2 is counted with n_hidden numbers: it is added to the logits, one for each symbol",
        ),
        Wrong(
            _counting(W2=lambda v, k, d, n: n * n),
            "W2 is counted as n_hidden x n_hidden: its columns are the logits, one for each symbol",
        ),
        Wrong(
            lambda *sizes: sum(p.nelement() for p in MLP(MLPConfig(*sizes), g=torch.Generator()).tensors()),
            "build nothing: rows times columns of each tensor follow from the sizes",
        ),
        Wrong(lambda v, k, d, n: 3481, "is 3481 written in it? Use the four sizes"),
        Wrong(lambda v, k, d, n: 81 + 34 * n, "81 and 34 hold for the lecture's other sizes only: use all four"),
        Wrong(
            lambda v, k, d, n: v * d + 34 * n + v,
            "34 for each neuron holds for the lecture's sizes: a neuron has block_size * n_embd weights, a bias, and "
            "vocab_size weights to the logits",
        ),
    ],
    also_right=[
        lambda vocab_size, block_size, n_embd, n_hidden: (
            n_embd * vocab_size + n_hidden * (block_size * n_embd + 1) + (n_hidden + 1) * vocab_size
        ),
        lambda *sizes: torch.tensor([part(*sizes) for part in _PARTS.values()]).sum(),
    ],
    right="C, W1, b1, W2, b2: 3,481 for the first network, and right for other sizes too.",
    hints=[
        "Write down the shapes of the five tensors; each holds rows times columns numbers.",
        "C has a row for each symbol. W1 has a row for each number that a neuron sees: how many for the whole context?",
        "A bias has as many numbers as the weights before it have columns.",
    ],
)


# ---- 8.2 a gain and its error ----------------------------------------------------------------------------------------


def compare(small: Pairs, large: Pairs) -> tuple[float, float]:
    """By how much the mean dev loss of `large` lies below that of `small`, and the standard error of that."""
    dev_small = torch.tensor([dev for _, dev in small])
    dev_large = torch.tensor([dev for _, dev in large])
    gain = dev_small.mean() - dev_large.mean()
    error = (dev_small.var() / len(dev_small) + dev_large.var() / len(dev_large)).sqrt()
    return gain.item(), error.item()


def _compared(answer: Callable[..., object], small: Pairs, large: Pairs) -> dict[str, object]:
    """The gain, and its standard error where the gain is right: the first mistake is told first."""
    out = answer(small, large)
    try:
        gain, error = out
        right = close(float(gain), compare(small, large)[0])
    except (TypeError, ValueError, RuntimeError):
        raise Refused(f"expected two numbers, the gain and its standard error, got {brief(out)}") from None
    return {"gain": gain, "standard error": error if right else None}


def _of(k: int, small: Pairs, large: Pairs) -> list[list[float]]:
    """The train losses (k = 0) or dev losses (k = 1) of both sizes."""
    return [[pair[k] for pair in pairs] for pairs in (small, large)]


def _gain(gain: Callable[..., float], of: int = 1) -> Callable[..., tuple[float, float]]:
    """An answer with a wrong gain: that of two lists of dev losses (of = 1) or train losses (of = 0)."""
    return lambda small, large: (gain(*_of(of, small, large)), 0.0)


def _error(error: Callable[..., float]) -> Callable[..., tuple[float, float]]:
    """An answer with a right gain and a wrong error: that of two lists of dev losses."""
    return lambda small, large: (compare(small, large)[0], error(*_of(1, small, large)))


def _means(a: Sequence[float], b: Sequence[float]) -> float:
    return statistics.mean(a) - statistics.mean(b)


def _squares(a: Sequence[float], b: Sequence[float]) -> float:
    return statistics.variance(a) / len(a) + statistics.variance(b) / len(b)


def _pooled(a: Sequence[float], b: Sequence[float]) -> float:
    squares = statistics.variance(a) * (len(a) - 1) + statistics.variance(b) * (len(b) - 1)
    return math.sqrt(squares / (len(a) + len(b) - 2) * (1 / len(a) + 1 / len(b)))


def _in_numpy(small: Pairs, large: Pairs) -> np.ndarray:
    a, b = (np.array(pairs)[:, 1] for pairs in (small, large))
    return np.array([a.mean() - b.mean(), np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))])


# (train, dev), one pair a seed. The best seed is one of `small`, so comparing the best turns the answer round.
_SMALL = [(2.351, 2.334), (2.349, 2.360), (2.355, 2.381), (2.347, 2.372), (2.353, 2.363)]
_LARGE = [(2.318, 2.353), (2.330, 2.339), (2.337, 2.345), (2.325, 2.349)]

q2 = Exercise(
    "8.2",
    "a gain and its error",
    solution=compare,
    observe=_compared,
    cases=[
        Case([(2.5, 2.9), (2.4, 2.6)], [(2.1, 2.4), (2.2, 2.3), (2.3, 2.6)]),
        Case(_SMALL, _LARGE, label="for 5 runs of the small network and 4 of the large"),
        Case(_LARGE, _SMALL, label="for 4 runs of the small network and 5 of the large"),
    ],
    wrong=[
        Wrong(
            _gain(lambda a, b: _means(b, a)),
            "the sign is the wrong way round: a loss that falls by 0.01 is a gain of +0.01",
        ),
        Wrong(_gain(_means, of=0), "these are the train losses. A pair is (train, dev), and dev decides"),
        Wrong(
            _gain(lambda a, b: min(a) - min(b)),
            "that compares the best seed of each. The lowest of several is luck, more of it the more seeds there are",
        ),
        Wrong(
            _gain(lambda a, b: a[0] - b[0]), "that is one run of each, the first: another seed gives another difference"
        ),
        Wrong(
            _gain(lambda a, b: statistics.mean(x - y for x, y in zip(a, b, strict=False))),
            "that is the mean over pairs, and the runs left over in the longer list do not count. Nothing ties the "
            "first run of one size to the first of the other: average each list by itself",
        ),
        Wrong(
            _error(lambda a, b: math.sqrt(statistics.variance(a) + statistics.variance(b))),
            "that is how single runs scatter. A mean of n runs scatters less: divide each variance by its n",
        ),
        Wrong(
            _error(lambda a, b: math.sqrt(statistics.pvariance(a) / len(a) + statistics.pvariance(b) / len(b))),
            "the variances divide by n, and those of a sample need n - 1: around their own mean few numbers scatter "
            "less than around the true one",
        ),
        Wrong(
            _error(
                lambda a, b: math.sqrt(statistics.variance(a) / len(a)) + math.sqrt(statistics.variance(b) / len(b))
            ),
            "the two errors are added. They are independent, so their squares add, and then comes the root",
        ),
        Wrong(
            _error(
                lambda a, b: math.sqrt(statistics.variance(a)) / len(a) + math.sqrt(statistics.variance(b)) / len(b)
            ),
            "each deviation was divided by n: divide the variances by n, add them, and take the root",
        ),
        Wrong(_error(_squares), "that is its square: take the root"),
        Wrong(
            _error(_pooled),
            "that takes one variance for both sizes: here each list has its own, divided by its own number",
        ),
        Wrong(lambda small, large: compare(small, large)[0], "expected two numbers"),
    ],
    also_right=[
        _in_numpy,
        lambda small, large: (_means(*_of(1, small, large)), math.sqrt(_squares(*_of(1, small, large)))),
        lambda small, large: torch.tensor(compare(small, large), dtype=torch.float64),
    ],
    right="for the 5 and 4 runs 0.0155, with a standard error of 0.0085: likely a gain, and not yet one to publish.",
    hints=[
        "Each pair is (train, dev). Which of them compares two sizes? Take these out of the pairs first.",
        "The gain is one mean minus the other: d = torch.tensor(...) has d.mean().",
        "A mean of n runs is uncertain by their standard deviation over the root of n.",
        "The squares of two independent errors add: d.var() / len(d) for each list, then the root.",
    ],
)


# ---- 8.3 what to change next -----------------------------------------------------------------------------------------

_CHANGES = {
    1: "a larger network, or more steps",
    2: "more words, or a smaller network",
    3: "measure train again, on all its rows",
    4: "more seeds before you choose",
}
_REPORTS = {
    "A": (4, "one run of each, 0.004 apart, where runs of one size scatter by 0.007: dev cannot tell them apart yet"),
    "B": (3, "no network has a train loss below the floor of 1.87. Somebody printed the last minibatch, a lucky one"),
    "C": (1, "train and dev agree to within luck, and both are high: it underfits, and has memorised nothing"),
    "D": (2, "train is far below dev: it has memorised its few words, and more of the same would make that worse"),
}


def next_change() -> list[int]:
    """For reports A to D: more seeds, measure again, a larger network, more words."""
    return [4, 3, 1, 2]


q3 = Exercise(
    "8.3",
    "what to change next",
    solution=next_change,
    right="first whether the numbers can be trusted, then whether they differ, and only then what to change.",
    hints=[
        "Three numbers to compare with: the floor of 1.87 that no network passes on train, the 0.007 by which runs of "
        "one size scatter, and a gap between train and dev of about 0.01 in a network that underfits.",
        "One of the four holds a number that cannot be right, and one compares two single runs.",
        "Of the other two, which network would do better if it were larger, and which would only memorise more?",
    ],
    **matching(_REPORTS, _CHANGES, "report {} does not ask for {}"),
)
