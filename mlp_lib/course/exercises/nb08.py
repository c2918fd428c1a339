"""Exercises of notebook 08: parameters counted, two sizes compared over seeds, and what to change next."""

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import combinations

import torch

from mlp_lib.course.exercises.answers import brief, close, matched, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake

Pairs = Sequence[tuple[float, float]]


# ---------------------------------------------------------------------------------------------------------- 8.1


def count_parameters(vocab_size: int, block_size: int, n_embd: int, n_hidden: int) -> int:
    """How many numbers C, W1, b1, W2 and b2 hold together."""
    C = vocab_size * n_embd  # one table for all positions
    W1 = block_size * n_embd * n_hidden
    W2 = n_hidden * vocab_size
    return C + W1 + n_hidden + W2 + vocab_size  # the two biases: one number for each column of W1 and of W2


_SIZES = ((27, 3, 2, 100), (5, 2, 3, 7), (11, 4, 3, 13))


def _parts(vocab_size: int, block_size: int, n_embd: int, n_hidden: int) -> dict[str, int]:
    return {
        "C": vocab_size * n_embd,
        "W1": block_size * n_embd * n_hidden,
        "b1": n_hidden,
        "W2": n_hidden * vocab_size,
        "b2": vocab_size,
    }


# Each replaces one of the five counts by a wrong one, and has the sentence for it.
_WRONG_PARTS: tuple[tuple[str, Callable[[int, int, int, int], int], str], ...] = (
    (
        "W1",
        lambda v, k, d, n: d * n,
        "W1 is counted as n_embd x n_hidden. A neuron sees the numbers of all block_size characters, joined",
    ),
    (
        "W1",
        lambda v, k, d, n: (k + d) * n,
        "W1 is counted with block_size + n_embd rows. Each of block_size characters brings n_embd numbers: multiply",
    ),
    (
        "W1",
        lambda v, k, d, n: k * v * n,
        "W1 is counted as if it saw one-hot rows of vocab_size numbers. The table C stands between: n_embd numbers "
        "a character",
    ),
    ("C", lambda v, k, d, n: k * v * d, "C is counted block_size times. All positions look up in one table"),
    ("C", lambda v, k, d, n: k * d, "C is counted as block_size x n_embd. It has a row for each symbol"),
    ("b2", lambda v, k, d, n: n, "b2 is counted with n_hidden numbers. It is added to the logits, one for each symbol"),
    ("b1", lambda v, k, d, n: k * d, "b1 is counted with one number for each input. It has one for each neuron"),
    ("W2", lambda v, k, d, n: n * n, "W2 is counted as n_hidden x n_hidden. Its columns are the logits, one a symbol"),
)  # fmt: skip


def _check_count(answer: object) -> str:
    own_function(answer, "q1.check(count_parameters)")
    got = [number(answer(*sizes), "the count") for sizes in _SIZES]
    rights = [sum(_parts(*sizes).values()) for sizes in _SIZES]
    if got == rights:
        return "C, W1, b1, W2, b2: 3,481 for the first network, and right for other sizes too."
    at = next(k for k, (a, b) in enumerate(zip(got, rights, strict=True)) if a != b)
    v, k, d, n = _SIZES[at]
    case = f"for vocab_size {v}, block_size {k}, n_embd {d}, n_hidden {n} you count {got[at]:g}, and"
    if len(set(got)) == 1:
        raise Mistake(f"{got[0]:g} for every network asked about: is a number typed in? Use the four sizes")
    names = list(_parts(*_SIZES[0]))
    for many in range(1, len(names)):
        for missing in combinations(names, many):
            if got == [sum(n for name, n in _parts(*s).items() if name not in missing) for s in _SIZES]:
                lost = _parts(*_SIZES[at])
                raise Mistake(
                    f"{case} {' and '.join(missing)} {'is' if many == 1 else 'are'} missing: "
                    f"{sum(lost[name] for name in missing)} numbers that are trained like all others"
                )
    for part, wrong, sentence in _WRONG_PARTS:
        if got == [right - _parts(*s)[part] + wrong(*s) for right, s in zip(rights, _SIZES, strict=True)]:
            raise Mistake(f"{case} {sentence}")
    if at > 0:
        raise Mistake(f"{case} the first network is right: is one of its numbers typed in, such as 27, 3, 2 or 34?")
    raise Mistake(f"{case} that is {got[at] - rights[at]:+g} from the right count: add up the five tensors one by one")


q1 = Exercise(
    "8.1",
    "count the parameters",
    _check_count,
    hints=[
        "Write down the shapes of the five tensors; each holds rows times columns numbers.",
        "C has a row for each symbol. W1 has a row for each number that a neuron sees: how many for the whole context?",
        "A bias has as many numbers as the weights before it have columns.",
    ],
    solution=count_parameters,
)


# ---------------------------------------------------------------------------------------------------------- 8.2


def compare(small: Pairs, large: Pairs) -> tuple[float, float]:
    """By how much the mean dev loss of `large` lies below that of `small`, and the standard error of that."""
    dev_small = torch.tensor([dev for _, dev in small])
    dev_large = torch.tensor([dev for _, dev in large])
    gain = dev_small.mean() - dev_large.mean()
    error = (dev_small.var() / len(dev_small) + dev_large.var() / len(dev_large)).sqrt()
    return gain.item(), error.item()


# (train, dev), one pair a seed. The best seed is one of `small`, so comparing the best turns the answer round.
_SMALL = [(2.351, 2.334), (2.349, 2.360), (2.355, 2.381), (2.347, 2.372), (2.353, 2.363)]
_LARGE = [(2.318, 2.352), (2.330, 2.339), (2.337, 2.345), (2.325, 2.349)]


def _check_compare(answer: object) -> str:
    own_function(answer, "q2.check(compare)")
    for small, large in ((_SMALL, _LARGE), (_LARGE, _SMALL)):
        _check_comparison(answer, small, large)
    return "gain 0.0158 and standard error 0.0084: likely a gain, and not yet one to publish."


def _check_comparison(answer: Callable, small: Pairs, large: Pairs) -> None:
    got = answer(list(small), list(large))
    try:
        gain, error = got
    except (TypeError, ValueError):
        raise Mistake(f"expected two numbers, the gain and its standard error, got {brief(got)}") from None
    gain, error = number(gain, "the gain"), number(error, "the standard error")
    train, dev = ([[pair[k] for pair in pairs] for pairs in (small, large)] for k in (0, 1))
    right, right_error = compare(small, large)
    said = f"for dev losses {dev[0]} and {dev[1]} the gain is {gain:.4f}"
    mean = statistics.mean
    for value, sentence in (
        (-right, "the sign is turned round: a loss that falls by 0.01 is a gain of +0.01"),
        (mean(train[0]) - mean(train[1]), "these are the train losses. A pair is (train, dev), and dev decides"),
        (mean(dev[0]) - mean(train[1]), "dev of one size against train of the other"),
        (mean(train[0]) - mean(dev[1]), "train of one size against dev of the other"),
        (
            min(dev[0]) - min(dev[1]),
            "that compares the best seed of each. The lowest of several is luck, more of it the more seeds there are, "
            "and here it turns the answer round",
        ),
        (dev[0][0] - dev[1][0], "that is one run of each, the first: another seed says something else"),
        (dev[0][-1] - dev[1][-1], "that is one run of each, the last: another seed says something else"),
        (sum(dev[0]) - sum(dev[1]), "that is a difference of sums, and there are more runs of one size"),
        (
            mean(a - b for a, b in zip(*dev, strict=False)),
            "that is the mean over pairs, and one run of the longer list was left out. Nothing ties the first run of "
            "one size to the first of the other: average each list by itself",
        ),
    ):
        if not close(right, value, rel=1e-3) and close(gain, value, rel=1e-3):
            raise Mistake(f"{said}: {sentence}")
    if not close(gain, right, rel=1e-3):
        raise Mistake(f"{said}, which is not the mean of the one list minus the mean of the other")
    said = f"the gain of {gain:.4f} is right, its standard error is not {error:.4f}"
    n = [len(d) for d in dev]
    var, pvar = [statistics.variance(d) for d in dev], [statistics.pvariance(d) for d in dev]
    for value, sentence in (
        (
            math.sqrt(var[0] + var[1]),
            "that is how single runs scatter. A mean of n runs scatters less: divide each variance by its n",
        ),
        (
            math.sqrt(pvar[0] / n[0] + pvar[1] / n[1]),
            "the variances divide by n where a sample of n needs n - 1: around their own mean few numbers scatter "
            "less than around the true one",
        ),
        (
            math.sqrt(var[0] / n[0]) + math.sqrt(var[1] / n[1]),
            "the two errors are added. They are independent, so their squares add, and then comes the root",
        ),
        (var[0] / n[0] + var[1] / n[1], "that is its square: take the root"),
        (math.sqrt(var[0] / n[0]), "only the first size's luck is in it"),
        (math.sqrt(var[1] / n[1]), "only the second size's luck is in it"),
    ):
        if close(error, value, rel=1e-3):
            raise Mistake(f"{said}: {sentence}")
    if not close(error, right_error, rel=1e-3):
        raise Mistake(f"{said}: variance of each list of dev losses, over its number of runs, summed, and the root")


q2 = Exercise(
    "8.2",
    "a gain and its error",
    _check_compare,
    hints=[
        "Each pair is (train, dev). Which of them compares two sizes? Take these out of the pairs first.",
        "The gain is one mean minus the other: d = torch.tensor(...) has d.mean().",
        "A mean of n runs is uncertain by their standard deviation over the root of n.",
        "The squares of two independent errors add: d.var() / len(d) for each list, then the root.",
    ],
    solution=compare,
)


# ---------------------------------------------------------------------------------------------------------- 8.3

_CHANGES = {
    1: "a larger network, or more steps",
    2: "more words, or a smaller network",
    3: "measure train again, on all its rows",
    4: "more seeds before you choose",
}
_REPORTS = {
    "A": (4, "one run of each, 0.004 apart, where runs of one size scatter by 0.007: dev has not chosen yet"),
    "B": (
        3,
        "no network has a train loss below the floor of 1.87. Someone printed the last minibatch, a lucky one",
    ),
    "C": (1, "train and dev agree to within luck, and both are high: it underfits, and nothing is learned by heart"),
    "D": (2, "train is far below dev: it knows its few words by heart, and more of the same would make that worse"),
}  # fmt: skip


def next_change() -> list[int]:
    """For reports A to D: more seeds, measure again, a larger network, more words."""
    return [4, 3, 1, 2]


def _check_change(answer: object) -> str:
    matched(answer, _REPORTS, _CHANGES, "report {} does not ask for {}")
    return "first whether the numbers can be trusted, then whether they differ, and only then what to change."


q3 = Exercise(
    "8.3",
    "what to change next",
    _check_change,
    hints=[
        "Three anchors: the floor of 1.87 that no network passes on train, runs of one size that scatter by "
        "0.007, and a gap between train and dev of about 0.01 in a network that underfits.",
        "One of the four holds a number that cannot be right, and one compares two single runs.",
        "Of the other two, which network would do better if it were larger, and which would only learn more by heart?",
    ],
    solution=next_change,
)
