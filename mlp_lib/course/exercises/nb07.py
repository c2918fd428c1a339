"""Exercises of notebook 07: a split that stays, names that leak, a report, a diagnosis, and a test set opened once."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import brief, chosen_then_tested, close, matched, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake
from mlp_lib.data import Splits

# ---------------------------------------------------------------------------------------------------------- 7.1


def split(words: Sequence[str], seed: int) -> tuple[list[str], list[str], list[str]]:
    """80 % of the words for training, 10 % for dev, 10 % for test, after shuffling a copy with an own generator."""
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    n1, n2 = int(0.8 * len(shuffled)), int(0.9 * len(shuffled))
    return shuffled[:n1], shuffled[n1:n2], shuffled[n2:]


def _list_of_names(n: int) -> list[str]:
    """n lines, the first three of them once more at the end, as names that are given to girls and boys."""
    ends = ("a", "o", "i", "e", "u")
    names = [f"{first}{middle}{end}" for end in ends for middle in ("l", "n", "r") for first in ("a", "e", "mi", "jo")]
    return [*names[: n - 3], *names[:3]]


def _global_states() -> tuple:
    """The states of the global generators of Python, torch and NumPy, to be compared."""
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002 - the global one is watched, not used
    return random.getstate(), torch.get_rng_state().tolist(), (keys.tolist(), position)


def _check_split(answer: object) -> str:
    own_function(answer, "q1.check(split)")
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    try:
        for n in (57, 20):  # int(0.8 * 57) + int(0.1 * 57) is one less than int(0.9 * 57): both are right ways to cut
            _check_split_of(answer, n)
    finally:
        random.setstate(states[0])
        torch.set_rng_state(states[1])
        np.random.set_state(states[2])  # noqa: NPY002
    return "every line in one split, the same split for the same seed, and nothing outside the function has changed."


def _three_lists(got: object, case: str) -> list[list[str]]:
    if not isinstance(got, (tuple, list)) or len(got) != 3 or any(isinstance(part, str) for part in got):
        raise Mistake(f"{case}: expected three lists, train, dev and test, got {brief(got)}")
    try:
        return [list(part) for part in got]
    except TypeError:
        raise Mistake(f"{case}: expected three lists, train, dev and test, got {brief(got)}") from None


def _check_split_of(answer: Callable, n: int) -> None:
    words = _list_of_names(n)
    case = f"for {n} names"
    given = list(words)
    before = _global_states()
    try:
        got = answer(given, 42)
    except TypeError as error:
        if "NoneType" not in str(error):
            raise
        raise Mistake(
            f"{case}: your function raised TypeError: {error}. Was the result of shuffle given a name? It works in "
            "place and returns None"
        ) from None
    if given != words:
        parts, again = _three_lists(got, case), _three_lists(answer(given, 42), case)
        moved = len(Counter(parts[1]) - Counter(again[1]))
        if not moved:
            raise Mistake(f"{case}: the caller's list was changed in place: sort or shuffle a copy")
        raise Mistake(
            f"{case}: the caller's list was shuffled in place, so the next call starts from another order: seed 42 "
            f"gave one dev split, then, run again, another ({moved} of its {len(parts[1])} names gone). Shuffle a copy"
        )
    parts = _three_lists(got, case)
    together = [w for part in parts for w in part]
    if Counter(together) != Counter(words):
        _names_lost_or_twice(parts, words, case)
    sizes = [len(part) for part in parts]
    if any(abs(size - share * n) >= 2 for size, share in zip(sizes, (0.8, 0.1, 0.1), strict=True)):
        raise Mistake(
            f"{case}: train, dev and test have {sizes[0]}, {sizes[1]} and {sizes[2]}, expected about 80, 10 and 10 per "
            "cent, in this order"
        )
    if together == words:
        raise Mistake(
            f"{case}: nothing was shuffled. Our list has girls before boys, and frequent names before rare ones: "
            "dev and test would be rare boys' names only"
        )
    again = _three_lists(answer(list(words), 42), case)
    if again != parts:
        raise Mistake(
            f"{case}: two calls with seed 42 gave two splits, dev {brief(parts[1][:2])} and "
            f"dev {brief(again[1][:2])}: the shuffle must come from a generator made with the seed, inside"
        )
    for seed in (43, 44):
        if _three_lists(answer(list(words), seed), case) == parts:
            raise Mistake(f"{case}: seeds 42 and {seed} give the same split: is the seed used, or a number typed in?")
    for whose, state, now in zip(("Python's", "torch's", "NumPy's"), before, _global_states(), strict=True):
        if state != now:
            raise Mistake(
                f"the split is right, but the state of {whose} global random generator is another after the call: "
                "whatever else draws from it now gives other numbers. Make a generator of your own, such as "
                "random.Random(seed)"
            )


def _names_lost_or_twice(parts: Sequence[Sequence[str]], words: Sequence[str], case: str) -> None:
    together = Counter(w for part in parts for w in part)
    lost, extra = Counter(words) - together, together - Counter(words)
    if set(together) == set(words) and max(together.values()) == 1:
        raise Mistake(
            f"{case}: {words[0]!r} stands in the list twice and came back once. A set drops what is double (and its "
            "order is another at every start of Python): that is another question, split the list as it is"
        )
    if lost and extra:
        raise Mistake(f"{case}: {brief(next(iter(lost)))} is lost and {brief(next(iter(extra)))} is in twice")
    if lost:
        raise Mistake(
            f"{case}: lines in no split: {sum(lost.values())}, {next(iter(lost))!r} for instance. Where does one slice "
            "end, and where does the next begin?"
        )
    where = [name for name, part in zip(("train", "dev", "test"), parts, strict=True) if next(iter(extra)) in part]
    raise Mistake(
        f"{case}: lines in two splits: {sum(extra.values())}, {next(iter(extra))!r} for instance in "
        f"{' and '.join(where)}. Where does one slice end, and where does the next begin?"
    )


q1 = Exercise(
    "7.1",
    "a split that stays",
    _check_split,
    hints=[
        "Three things to do in order: copy, shuffle the copy, cut it at two places.",
        "random.Random(seed) is a generator of your own, and it has a method shuffle. random.seed(seed) is not yours.",
        "n1 = int(0.8 * len(words)) and n2 = int(0.9 * len(words)); three slices share these two numbers.",
    ],
    solution=split,
)


# ---------------------------------------------------------------------------------------------------------- 7.2


def overlap(train: Sequence[str], dev: Sequence[str]) -> float:
    """The share of dev's lines whose name also stands in train."""
    known = set(train)
    return sum(w in known for w in dev) / len(dev)


_TRAIN = ["emma", "ava", "emma", "mia", "william", "eva", "leo", "zoe", "ben"]
_DEV = ["emma", "emma", "ava", "mia", "liam", "noah"]


class _Counting(str):
    """A name that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        _Counting.compared += 1
        return str.__eq__(self, other)


def _check_overlap(answer: object) -> str:
    own_function(answer, "q2.check(overlap)")
    case = f"train = {' '.join(_TRAIN)}, dev = {' '.join(_DEV)}"
    train, dev = list(_TRAIN), list(_DEV)
    got = number(answer(train, dev), "the share")
    if train != _TRAIN or dev != _DEV:
        raise Mistake("the function has changed one of the two lists: work on sets or copies")
    expected = overlap(_TRAIN, _DEV)
    inside, outside = set(_TRAIN), set(_DEV)
    both = inside & outside
    named = [
        (len(both) / len(outside), "that is a share of dev's distinct names; a name that stands in dev twice is "
                                   "scored twice, so it counts twice"),
        (sum(w in outside for w in _TRAIN) / len(_TRAIN), "that is the share of train's lines. Which split is judged?"),
        (len(both) / len(inside), "that is a share of train's distinct names. Which split is judged, and by lines?"),
        (len(both) / len(_DEV), "the names in both were counted once each, then divided by all of dev's lines"),
        (len(both) / len(inside | outside), "that is the common part of both lists together. Divide by dev's lines"),
        (1 - expected, "that is the share of dev that is new: the rest is asked for"),
        (100 * expected, "that is per cent: give the share, between 0 and 1"),
        (sum(w in _DEV for w in _DEV) * expected, "that is the number of lines: divide it"),
        (sum(any(w in t for t in _TRAIN) for w in _DEV) / len(_DEV),
         "'liam' is a part of 'william', but it is another name: compare whole names"),
        (sum(a == b for a in _TRAIN for b in _DEV) / len(_DEV),
         "each line of dev was counted as often as train has its name: once is enough"),
    ]  # fmt: skip
    if not close(got, expected):
        why = next((why for value, why in named if close(got, value)), "count the lines of dev that you find in train")
        raise Mistake(f"{case}: expected {expected:.4g}, got {got:.4g}: {why}")
    for train, dev in ((["a", "b"], ["c"]), (["a"], ["a", "a"]), (["b", "a"], ["a", "c", "d", "a"])):
        got = number(answer(list(train), list(dev)), "the share")
        if not close(got, overlap(train, dev)):
            raise Mistake(f"for train {train} and dev {dev}: expected {overlap(train, dev):g}, got {got:g}")
    _Counting.compared = 0
    answer([_Counting(k) for k in range(300)], [_Counting(k) for k in range(1000, 1100)])
    advice = ""
    if _Counting.compared > 10_000:
        advice = (
            f" It searches a list, though: {_Counting.compared:,} comparisons for 300 names against 100. A set of the "
            "names in train needs none of them."
        )
    return f"by lines of dev, since each line is scored.{advice}"


q2 = Exercise(
    "7.2",
    "how many names leak",
    _check_overlap,
    hints=[
        "The loss is a mean over dev. So ask of each line of dev: is this name known from train?",
        "known = set(train) answers that at once for any name; dev stays a list, since its doubles count.",
        "sum(w in known for w in dev) counts the lines; what do you divide by?",
    ],
    solution=overlap,
)


# ---------------------------------------------------------------------------------------------------------- 7.3


def report(model: nn.Module, splits: Splits) -> tuple[float, float]:
    """The exact loss on train and on dev, in this order, each from a forward pass of its own."""
    with torch.no_grad():
        train_loss = F.cross_entropy(model(splits.Xtr), splits.Ytr).item()
        dev_loss = F.cross_entropy(model(splits.Xdev), splits.Ydev).item()
    return train_loss, dev_loss


class _Table(nn.Module):
    """A model that looks its logits up by the last character and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(2147483647)
        self.table = nn.Parameter(2 * torch.randn((5, 5), generator=g))
        self.asked: list[Tensor] = []

    def forward(self, X: Tensor) -> Tensor:
        self.asked.append(X)
        return self.table[X[:, -1]]


def _three_splits(n_train: int, n_dev: int) -> Splits:
    g = torch.Generator().manual_seed(2147483647)
    parts = []
    for k, n in enumerate((n_train, n_dev, 45)):  # the first column says which split a row is from
        X = torch.randint(0, 5, (n, 2), generator=g)
        X[:, 0] = k
        likeliest = _Table().table.detach().max(1).indices[X[:, 1]]
        Y = torch.where(torch.rand(n, generator=g) < 0.9 - 0.3 * k, likeliest, X[:, 1])
        parts += [X, Y]
    return Splits(*parts)


def _check_report(answer: object) -> str:
    own_function(answer, "q3.check(report)")
    state = torch.get_rng_state()
    try:
        _check_report_on(answer, _three_splits(70, 70))  # equal sizes: nothing raises when logits and labels are mixed
        _check_report_on(answer, _three_splits(300, 40))
    finally:
        torch.set_rng_state(state)
    return "two exact losses, each with its own forward pass, in the order asked for; the test split was left alone."


def _check_report_on(answer: Callable, splits: Splits) -> None:
    model = _Table()
    got = answer(model, splits)
    asked = model.asked
    if isinstance(got, Mapping):
        got = [got.get("train"), got.get("dev")]
    try:
        pair = list(got)  # a tuple, an array, a map; one number raises
    except TypeError:
        pair = []
    if len(pair) != 2:
        raise Mistake(f"expected two numbers, the loss on train and the loss on dev, got {brief(got)}")
    if any(bool((X[:, 0] == 2).any()) for X in asked):
        raise Mistake("the model was asked about Xte: the report is read while choosing, so test has no place in it")
    train_loss, dev_loss = (number(value, "a loss") for value in pair)
    expected = report(_Table(), splits)
    if close(train_loss, expected[0]) and close(dev_loss, expected[1]):
        return
    said = f"you say train {train_loss:.4f}, dev {dev_loss:.4f}"
    if close(train_loss, expected[1]) and close(dev_loss, expected[0]):
        raise Mistake(
            f"{said}: the two labels are swapped. Dev clearly below train is the tell, since train is what was fitted"
        )
    Y = {"Ytr": splits.Ytr, "Ydev": splits.Ydev}
    logits = {"Xtr": _Table()(splits.Xtr).detach(), "Xdev": _Table()(splits.Xdev).detach()}
    for name, value in (("train", train_loss), ("dev", dev_loss)):
        wanted_x, wanted_y = ("Xtr", "Ytr") if name == "train" else ("Xdev", "Ydev")
        for x, z in logits.items():
            for y, labels in Y.items():
                if (x, y) == (wanted_x, wanted_y) or len(z) != len(labels):
                    continue
                if close(value, F.cross_entropy(z, labels).item()):
                    stale = (
                        f"the logits of {x} with the labels of {y}. A stale forward pass: the logits were made for "
                        "other rows and not made again"
                    )
                    same = f"the loss on {x} and {y}, a second time"
                    raise Mistake(f"{said}: the number for {name} is {stale if x[1:] != y[1:] else same}")
    for name, value, right in (("train", train_loss, expected[0]), ("dev", dev_loss, expected[1])):
        Y_split = splits.Ytr if name == "train" else splits.Ydev
        if close(value, right * len(Y_split)):
            raise Mistake(f"{said}: the number for {name} is a sum over {len(Y_split)} examples, the mean is asked for")
    for k, (name, n) in enumerate((("train", len(splits.Ytr)), ("dev", len(splits.Ydev)))):
        pieces = [seen for X in asked if (seen := int((X[:, 0] == k).sum()))]
        if sum(pieces) < n:
            raise Mistake(
                f"{said}: the model was asked about {sum(pieces)} of {name}'s {n} rows. The loss of a minibatch is an "
                "estimate that changes with every draw; a report takes all rows"
            )
        if len(pieces) > 1 and not close((train_loss, dev_loss)[k], expected[k]):
            raise Mistake(
                f"{said}, expected {expected[k]:.4f} for {name}, which the model got in {len(pieces)} pieces of "
                f"{pieces[0]} to {pieces[-1]} rows: a piece counts by its rows (exercise 5.2)"
            )
    raise Mistake(f"{said}, expected train {expected[0]:.4f}, dev {expected[1]:.4f}")


q3 = Exercise(
    "7.3",
    "a report to rely on",
    _check_report,
    hints=[
        "Two losses, two forward passes: logits belong to the rows they were made from.",
        "F.cross_entropy(model(X), Y) with all rows of a split is its exact loss. Which four tensors do you need?",
        "Return train first, then dev; .item() turns a loss into a number, torch.no_grad() keeps no record.",
    ],
    solution=report,
)


# ---------------------------------------------------------------------------------------------------------- 7.4

_STATEMENTS = {
    1: "as equal as the luck of the split allows",
    2: "learned by heart",
    3: "the labels are swapped",
    4: "a stale forward pass",
}
_RUNS = {
    "A": (3, "dev lies 0.038 below train, more than five times the 0.007 by which random tenths scatter"),
    "B": (1, "the two differ by 0.005, less than the 0.007 by which random tenths of one list scatter"),
    "C": (4, "train is fine, and dev is far above the 3.2958 of uniform guessing: no trained network is so bad"),
    "D": (2, "train is low and dev high, but dev is not absurd: it is what confident wrong guesses cost"),
}


def diagnosis() -> list[int]:
    """For runs A to D: swapped labels, the luck of the split, a stale forward pass, learned by heart."""
    return [3, 1, 4, 2]


def _check_diagnosis(answer: object) -> str:
    matched(answer, _RUNS, _STATEMENTS, "run {} is not {}")
    return (
        "the size of a gap speaks, not only its sign: compare it with the luck of the split and with uniform guessing."
    )


q4 = Exercise(
    "7.4",
    "what went wrong here?",
    _check_diagnosis,
    hints=[
        "Two anchors: uniform guessing costs 3.2958, and a random tenth of the list scatters by 0.007.",
        "Two of the four are worse than guessing on dev. Of these two, one has a low train loss and one has not.",
        "Of the two with dev below train, one gap is smaller than the scatter and one is not.",
    ],
    solution=diagnosis,
)


# ---------------------------------------------------------------------------------------------------------- 7.5


def choose(results: Mapping[str, tuple[float, float]], open_test: Callable[[str], float]) -> tuple[str, float]:
    """The candidate with the lowest dev loss, and its test loss: the test set is opened once, for it alone."""
    name = min(results, key=lambda name: results[name][1])  # (train, dev): dev decides
    return name, open_test(name)


# Two tables of (train, dev) and of test: in each, train, dev and test would choose three different names.
_TABLES = (
    (
        {"wide": (1.36, 3.49), "plain": (2.42, 2.43), "deeper": (2.20, 2.29), "longer": (2.25, 2.30)},
        {"wide": 3.51, "plain": 2.42, "deeper": 2.33, "longer": 2.28},
    ),
    (
        {"alpha": (1.90, 2.60), "base": (2.31, 2.20), "cut": (2.05, 2.35), "deep": (2.02, 2.30)},
        {"alpha": 2.65, "base": 2.24, "cut": 2.19, "deep": 2.32},
    ),
)


def _check_choose(answer: object) -> str:
    own_function(answer, "q5.check(choose)")
    for results, test in _TABLES:
        chosen_then_tested(answer, results, test, partial(_judge, results, test))
    return "dev chose, and the test set was opened once, for the one number that goes into the report."


def _judge(results: Mapping[str, tuple[float, float]], test: Mapping[str, float], name: str) -> None:
    train, dev = results[name]
    if name == min(results, key=lambda n: results[n][0]):
        raise Mistake(
            f"you chose {name!r}, with the lowest train loss, {train}. Its dev loss is {dev}: it has learned by heart, "
            "and train cannot tell"
        )
    if name == min(test, key=test.get):
        raise Mistake(f"you chose {name!r}, dev {dev}, although another has a lower dev loss: only test could say so")
    if name != min(results, key=lambda n: results[n][1]):
        raise Mistake(f"you chose {name!r} with a dev loss of {dev}: another has a lower one. Dev alone decides")


q5 = Exercise(
    "7.5",
    "choose, then open once",
    _check_choose,
    hints=[
        "Which of the losses may decide between candidates, and which may only be reported?",
        "min(results, key=...) gives the name with the smallest key; results[name] is (train, dev).",
        "Call open_test for the chosen name, after the choice, and return both.",
    ],
    solution=choose,
)
