"""Exercises of page 08: parameters counted, two sizes compared over seeds, and what to change next."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from mlp_lib.course.exercises.answers import brief, close, matching
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
from mlp_lib.model import MLP, MLPConfig

Pairs = Sequence[tuple[float, float]]

# ---- 8.1 count the parameters ----------------------------------------------------------------------------------------


def count_parameters(vocab_size: int, block_size: int, n_embd: int, n_hidden: int) -> int:
    """How many numbers C, W1, b1, W2 and b2 hold together."""
    C = vocab_size * n_embd  # one table for all positions
    W1 = block_size * n_embd * n_hidden
    W2 = n_hidden * vocab_size
    return C + W1 + n_hidden + W2 + vocab_size  # the biases have one number per column of W1 and W2


_SIZES = {"vocab_size": 27, "block_size": 3, "n_embd": 2, "n_hidden": 100}  # the lecture's
_MISSING = {
    "C": ("return C + ", "return "),
    "W1": (" + W1", ""),
    "b1": ("W1 + n_hidden", "W1"),
    "W2": (" + W2", ""),
    "b2": ("W2 + vocab_size", "W2"),
    "b1 and b2": ("n_hidden + W2 + vocab_size", "W2"),
}

q1 = Exercise(
    "8.1",
    "count the parameters",
    solution=count_parameters,
    # the last one has tensors too large for any memory
    cases=[Case(27, 3, 2, 100), Case(5, 2, 3, 7), Case(11, 4, 3, 13), Case(60, 1, 1, 1), Case(28, 2, 10**14, 7)],
    edits={
        ("block_size * n_embd * n_hidden", "n_embd * n_hidden"): (
            "W1 is counted as n_embd x n_hidden, but a neuron sees the numbers of all block_size characters"
        ),
        ("block_size * n_embd * n_hidden", "block_size * vocab_size * n_hidden"): (
            "W1 is counted as if it saw one-hot rows of vocab_size numbers, but C turns each character into n_embd "
            "numbers first"
        ),
        ("C = ", "C = block_size * "): "C is counted block_size times, but all positions look up in one table",
        ("W2 + vocab_size", "W2 + n_hidden"): (
            "b2 is counted with n_hidden numbers, but it is added to the logits, one per symbol"
        ),
    },
    wrong=[
        *[
            Wrong(
                edited(count_parameters, edit), f"the numbers of {name} are missing: they are trained like the others"
            )
            for name, edit in _MISSING.items()
        ],
        *[
            Wrong(edited(count_parameters, ("C = ", f"{name} = {size}\n    C = ")), f"{size} is hard-coded: use {name}")
            for name, size in _SIZES.items()
        ],
        Wrong(
            lambda *sizes: sum(p.nelement() for p in MLP(MLPConfig(*sizes), g=torch.Generator()).tensors()),
            "build nothing: multiply the rows and columns of each tensor",
        ),
        Wrong(lambda v, k, d, n: 81 + 34 * n, "81 and 34 hold for the lecture's other sizes only: use all four"),
        Wrong(lambda v, k, d, n: v * d + 34 * n + v, "34 per neuron holds for the lecture's sizes only: use all four"),
    ],
    also_right=[
        lambda vocab_size, block_size, n_embd, n_hidden: (
            n_embd * vocab_size + n_hidden * (block_size * n_embd + 1) + (n_hidden + 1) * vocab_size
        ),
    ],
    right="C, W1, b1, W2, b2: 3,481 for the first network, and right for other sizes too.",
    hints=[
        "Write down the shapes of the five tensors; each holds rows times columns numbers.",
        "C has a row per symbol. W1 has a row per number that a neuron sees: how many are there for the whole context?",
        "A bias has as many numbers as the weights before it have columns.",
    ],
)


# ---- 8.2 a gain and its error ----------------------------------------------------------------------------------------


def compare(small: Pairs, large: Pairs) -> tuple[float, float]:
    """By how much the mean dev loss of `large` is below that of `small`, and the standard error of this gain."""
    dev_small = torch.tensor([dev for _, dev in small])
    dev_large = torch.tensor([dev for _, dev in large])
    gain = dev_small.mean() - dev_large.mean()
    error = (dev_small.var() / len(dev_small) + dev_large.var() / len(dev_large)).sqrt()
    return gain.item(), error.item()


def _compared(answer: Callable[..., object], small: Pairs, large: Pairs) -> dict[str, object]:
    """The gain, and its standard error only where the gain is right, so that one mistake is told at a time."""
    out = answer(small, large)
    try:
        gain, error = out
        right = close(float(gain), compare(small, large)[0])
    except (TypeError, ValueError, RuntimeError):
        raise Refused(f"expected two numbers, the gain and its standard error, got {brief(out)}") from None
    return {"gain": gain, "standard error": error if right else None}


_GAIN = "dev_small.mean() - dev_large.mean()"
_ERROR = "(dev_small.var() / len(dev_small) + dev_large.var() / len(dev_large)).sqrt()"


def _in_numpy(small: Pairs, large: Pairs) -> np.ndarray:
    a, b = (np.array(pairs)[:, 1] for pairs in (small, large))
    return np.array([a.mean() - b.mean(), np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))])


# (train, dev), one pair per seed. The best seed is one of `small`, so comparing the best gives the opposite answer.
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
    edits={
        (_GAIN, "dev_large.mean() - dev_small.mean()"): (
            "the sign is flipped: a loss that falls by 0.01 is a gain of +0.01"
        ),
        (_GAIN, "dev_small.min() - dev_large.min()"): (
            "that compares the best seed of each. The lowest of several is luck, and more seeds bring more luck"
        ),
        (_GAIN, "dev_small[0] - dev_large[0]"): (
            "that is one run of each, the first: a different seed gives a different difference"
        ),
        (_GAIN, "torch.stack([a - b for a, b in zip(dev_small, dev_large)]).mean()"): (
            "the last runs of the longer list were ignored: average each list by itself, all of it. (The first run of "
            "one size has nothing to do with the first of the other, so they make no pairs)"
        ),
        (_ERROR, "(dev_small.var() + dev_large.var()).sqrt()"): (
            "that is how single runs scatter. A mean of n runs scatters less: divide each variance by its n"
        ),
        (("dev_small.var()", "dev_small.var(correction=0)"), ("dev_large.var()", "dev_large.var(correction=0)")): (
            "these variances divide by n, but the variance of a sample divides by n - 1: numbers scatter less around "
            "their own mean than around the true one"
        ),
        (_ERROR, "dev_small.std() / len(dev_small) ** 0.5 + dev_large.std() / len(dev_large) ** 0.5"): (
            "the two errors are added. They are independent: add their squares, then take the root"
        ),
        (".sqrt()", ""): "that is its square: take the root",
        (", error.item()", ""): "expected two numbers",
    },
    wrong=[
        Wrong(
            lambda small, large: compare([pair[::-1] for pair in small], [pair[::-1] for pair in large]),
            "these are the train losses. A pair is (train, dev), and dev decides",
        ),
    ],
    also_right=[
        _in_numpy,
        edited(compare, ("gain.item(), error.item()", "torch.stack([gain, error]).double()")),
    ],
    right="for the 5 and 4 runs the gain is 0.0155, with a standard error of 0.0085: likely real, not yet publishable.",
    hints=[
        "Each pair is (train, dev). Which of the two compares sizes? Take these out of the pairs first.",
        "The gain is one mean minus the other: d = torch.tensor(...) has d.mean().",
        "The standard error of a mean of n runs is their standard deviation divided by the root of n.",
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
    "A": (4, "one run of each, 0.004 apart, while runs of one size scatter by 0.007: dev cannot tell them apart yet"),
    "B": (3, "no network has a train loss below the floor of 1.87. That is the last minibatch, a lucky one"),
    "C": (1, "train and dev agree to within luck, and both are high: it underfits and has memorised nothing"),
    "D": (2, "train is far below dev: it has memorised its few words, and more neurons or steps would make that worse"),
}


def next_change() -> list[int]:
    """For reports A to D: more seeds, measure again, a larger network, more words."""
    return [4, 3, 1, 2]


q3 = Exercise(
    "8.3",
    "what to change next",
    solution=next_change,
    right="first check whether the numbers can be trusted, then whether they differ, and only then choose a change.",
    hints=[
        "Three numbers to compare with: the floor of 1.87 for any train loss, the 0.007 by which runs of "
        "one size scatter, and a gap between train and dev of about 0.01 in a network that underfits.",
        "One of the four holds a number that cannot be right, and one compares two single runs.",
        "Of the other two, which network would do better if it were larger, and which would only memorise more?",
    ],
    **matching(_REPORTS, _CHANGES, "report {} does not ask for {}"),
)
