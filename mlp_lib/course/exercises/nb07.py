"""Exercises of page 07: a split that stays, a diagnosis, a test set opened once, names that leak."""

import builtins
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from mlp_lib.course.exercises.answers import brief, matching
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong
from mlp_lib.course.exercises.kernel_state import Kernel

# ---- 7.1 a split that stays ------------------------------------------------------------------------------------------


def split(words: Sequence[str], seed: int) -> tuple[list[str], list[str], list[str]]:
    """80 % of the words for training, 10 % for dev, 10 % for test, after shuffling a copy with an own generator."""
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    n1, n2 = int(0.8 * len(shuffled)), int(0.9 * len(shuffled))
    return shuffled[:n1], shuffled[n1:n2], shuffled[n2:]


class _Word(str):
    """A word whose hash depends on `salt`, as that of any text depends on the process."""

    salt = 0

    def __hash__(self) -> int:
        return _salted(str.__hash__(self))


def _salted_hash(value: object) -> int:
    if isinstance(value, tuple | frozenset):
        return builtins.hash(tuple(map(_salted_hash, value)))
    return _salted(builtins.hash(value)) if type(value) is str else builtins.hash(value)


def _salted(number: int) -> int:
    return builtins.hash((number, _Word.salt)) if _Word.salt else number


@contextmanager
def _process(answer: Callable[..., object], salt: int) -> Iterator[None]:
    """What the answer would find in another process: other hashes of words and texts."""
    page = getattr(answer, "__globals__", {})
    _Word.salt = salt
    own = "hash" in page
    if not own:
        page["hash"] = _salted_hash
    try:
        yield
    finally:
        _Word.salt = 0
        if not own:
            del page["hash"]


def _checked(answer: Callable[..., object], words: Sequence[str], seed: int) -> bool:
    """Raise Refused unless this is a split, the same for the same seed, and without a trace."""
    case = f"for {len(words)} names"

    def parts(seed: int = seed, salt: int = 0) -> list[list[str]]:
        given = [_Word(w) for w in words]
        with _process(answer, salt):
            out = answer(given, seed)
        if given != words:
            raise Refused(
                f"{case}: the list that was handed in is changed afterwards, and the caller still needs it. Shuffled "
                "in place, the same seed gives another split in the next call: work on a copy"
            )
        try:
            train, dev, test = out if isinstance(out, Sequence | np.ndarray) else ()
            if any(isinstance(part, set | frozenset) for part in (train, dev, test)):
                raise TypeError("a set keeps a repeated name once, in no order")
            return [[str(w) for w in part] for part in (train, dev, test)]
        except (TypeError, ValueError):
            raise Refused(f"{case}: expected three lists, train, dev and test, got {brief(out)}") from None

    kernel = Kernel()
    kernel.start()
    got = parts()
    moved = kernel.drawn()
    _each_line_once(got, words, case)
    _in_shares(got, len(words), case)
    if [w for part in got for w in part] == words:
        raise Refused(
            f"{case}: nothing was shuffled. Our list has girls before boys, and frequent names before rare ones: dev "
            "and test would be rare boys' names only"
        )
    again = parts()
    if again != got:
        raise Refused(
            f"{case}: two calls with seed {seed} gave two splits, dev {brief(got[1][:2])} and dev "
            f"{brief(again[1][:2])}: shuffle with a generator that is made from the seed, inside"
        )
    if parts(salt=12345) != got:
        raise Refused(
            f"{case}: in another process this gives another split. hash() of a text, and the order of a set of texts, "
            "change with each start of Python: let nothing depend on them"
        )
    _each_line_everywhere([parts(seed + k) for k in range(200)], words, case)
    if moved:
        raise Refused(
            f"the split is right, but {moved} global generator was seeded or drawn from: all that draws from it later "
            "gives other numbers. Make a generator of your own, such as random.Random(seed)"
        )
    return True


def _in_shares(parts: Sequence[Sequence[str]], n: int, case: str) -> None:
    sizes = [len(part) for part in parts]
    if any(abs(size - share * n) >= 2 for size, share in zip(sizes, (0.8, 0.1, 0.1), strict=True)):
        raise Refused(
            f"{case}: train, dev and test have {sizes[0]}, {sizes[1]} and {sizes[2]}, expected about 80, 10 and 10 per "
            "cent, in this order"
        )


def _each_line_once(parts: Sequence[Sequence[str]], words: Sequence[str], case: str) -> None:
    together = Counter(w for part in parts for w in part)
    lost, extra = Counter(words) - together, together - Counter(words)
    if lost or extra:
        raise Refused(
            f"{case}: lines in no split: {lost.total()}, lines in one split too many: {extra.total()}, such as "
            f"{brief(next(iter(lost or extra)))}. Does one slice begin where the other ends? Is a repeated name "
            "dropped, as a set does, or an order kept from an earlier call?"
        )


def _each_line_everywhere(splits: Sequence[list[list[str]]], words: Sequence[str], case: str) -> None:
    """Raise Refused unless other seeds give other splits, of the same sizes, and each line comes into each part."""
    different = len(set(map(repr, splits)))
    if different < 0.9 * len(splits):
        raise Refused(
            f"{case}: different splits for {len(splits)} seeds: {different}. Hand all of the seed to a generator, and "
            "let that shuffle the copy"
        )
    for parts in splits:
        _in_shares(parts, len(words), case)
    for name, k in (("dev", 1), ("test", 2), ("train", 0)):
        reached = {w for parts in splits for w in parts[k]}
        never = [w for w in words if w not in reached]
        if never:
            raise Refused(
                f"{case}: lines never in {name} for any of {len(splits)} seeds: {len(never)}, {never[0]!r} for "
                "instance. Only a part of the list was shuffled, or its pieces one by one: shuffle the whole copy, "
                "then cut it"
            )


def _names(n: int, last: str) -> Case:
    """n lines, the first three of them once more at the end, as names that are given to girls and boys."""
    ends = (f"a{last}", f"o{last}", f"i{last}", f"e{last}", f"u{last}")
    names = [f"{first}{middle}{end}" for end in ends for middle in ("l", "n", "r") for first in ("a", "e", "mi", "jo")]
    return Case([*names[: n - 3], *names[:3]], 42, label=f"for {n} names")


def _cut(words: Sequence[str], first: float = 0.8, second: float = 0.9) -> tuple[Sequence[str], ...]:
    n1, n2 = int(first * len(words)), int(second * len(words))
    return words[:n1], words[n1:n2], words[n2:]


def _sliced(slices: Callable[..., tuple[list[str], ...]]) -> Callable[..., tuple[list[str], ...]]:
    """A split whose three parts are cut from the shuffled copy by `slices(copy, n1, n2, n)`."""
    return lambda words, seed: slices(_shuffled(words, seed), int(0.8 * len(words)), int(0.9 * len(words)), len(words))


def _shuffled(words: Sequence[str], seed: int | None) -> list[str]:
    return random.Random(seed).sample(words, len(words))


def _in_place(words: list[str], seed: int) -> tuple[Sequence[str], ...]:
    random.seed(seed)
    random.shuffle(words)
    return _cut(words)


def _globally_seeded(words: Sequence[str], seed: int) -> tuple[Sequence[str], ...]:
    random.seed(seed)
    return _cut(random.sample(words, len(words)))


q1 = Exercise(
    "7.1",
    "a split that stays",
    solution=split,
    observe=_checked,
    # int(0.8 * 57) + int(0.1 * 57) is one less than int(0.9 * 57): both are right ways to cut
    cases=[_names(20, ""), _names(57, "s")],
    wrong=[
        Wrong(_in_place, "the list that was handed in is changed afterwards"),
        Wrong(
            lambda words, seed: _cut(random.Random(seed).shuffle(list(words))),
            "shuffle works in place and returns None, which has no length: name the list first",
        ),
        Wrong(
            lambda words, seed: random.Random(seed).shuffle(list(words))[: int(0.8 * len(words))],
            "shuffle works in place and returns None, which cannot be sliced: name the list",
        ),
        Wrong(_globally_seeded, "but Python's global generator was seeded"),
        Wrong(lambda words, seed: _cut(_shuffled(words, None)), "two calls with seed 42 gave two splits"),
        Wrong(lambda words, seed: split(words, 42), "different splits for 200 seeds: 1."),
        Wrong(
            lambda words, seed: _cut(sorted(words, key=lambda w: hash(f"{seed}{w}"))),
            "in another process this gives another",
        ),
        Wrong(lambda words, seed: _cut(words), "nothing was shuffled"),
        Wrong(
            lambda words, seed: [_shuffled(piece, seed) for piece in _cut(words)],
            "lines never in dev for any of 200 seeds: 17, 'ela' for instance",
        ),
        Wrong(lambda words, seed: split(words, seed)[:2], "expected three lists, train, dev and test"),
        Wrong(_sliced(lambda s, n1, n2, n: (s[:n1], s[n1:], s[n2:])), "lines in one split too many: 2"),
        Wrong(
            _sliced(lambda s, n1, n2, n: (s[:n1], s[n1 + 1 : n2], s[n2 + 1 :])), "for 20 names: lines in no split: 2"
        ),
        Wrong(
            _sliced(lambda s, n1, n2, n: (s[:n1], s[n1 : n1 + n // 10], s[n2:])), "for 57 names: lines in no split: 1"
        ),
        Wrong(lambda words, seed: split(sorted(set(words)), seed), "for 20 names: lines in no split: 3, lines"),
        Wrong(lambda words, seed: _cut(_shuffled(words, seed), 0.1, 0.2), "80, 10 and 10 per cent, in this order"),
    ],
    also_right=[
        _sliced(lambda s, n1, n2, n: [s[:n1], s[n1 : n1 + n // 10], s[n1 + n // 10 :]]),
        _sliced(lambda s, n1, n2, n: np.split(np.array(s), [round(0.8 * n), round(0.9 * n)])),
        lambda words, seed: _cut(np.random.default_rng(seed).permutation(words)),
        lambda words, seed: _cut(
            [words[k] for k in torch.randperm(len(words), generator=torch.Generator().manual_seed(seed))]
        ),
    ],
    right="every line in one split, the same split for the same seed, and nothing outside the function has changed.",
    hints=[
        "Three things to do in order: copy, shuffle the copy, cut it at two places.",
        "random.Random(seed) is a generator of your own, and it has a method shuffle. random.seed(seed) is not yours.",
        "n1 = int(0.8 * len(words)) and n2 = int(0.9 * len(words)); three slices share these two numbers.",
    ],
)


# ---- 7.2 what went wrong here? ---------------------------------------------------------------------------------------

_STATEMENTS = {
    1: "as equal as the luck of the split allows",
    2: "memorised",
    3: "the labels are swapped",
    4: "h was computed before the training",
}
_RUNS = {
    "A": (3, "dev lies 0.038 below train, more than five times the 0.007 by which random tenths scatter"),
    "B": (1, "the two differ by 0.005, less than the 0.007 by which random tenths of one list scatter"),
    "C": (4, "memorising would show in a low train loss. This one is as usual, so dev should be near it"),
    "D": (2, "train is low and dev high, but dev is not absurd: it is what confident wrong guesses cost"),
}


def diagnosis() -> list[int]:
    """For runs A to D: swapped labels, the luck of the split, h from before the training, memorised."""
    return [3, 1, 4, 2]


q2 = Exercise(
    "7.2",
    "what went wrong here?",
    solution=diagnosis,
    right="the size of a gap tells more than its sign: compare it with the luck of the split and uniform guessing.",
    hints=[
        "Two numbers to compare with: uniform guessing costs 3.2958, and random tenths of the list scatter by 0.007.",
        "Two of the four are worse than guessing on dev. Of these two, one has a low train loss and one has not.",
        "Of the two with dev below train, one gap is smaller than the scatter and one is not.",
    ],
    **matching(_RUNS, _STATEMENTS, "run {} is not {}"),
)


# ---- 7.3 choose, then open once --------------------------------------------------------------------------------------

Results = Mapping[str, tuple[float, float]]


def choose(results: Results, open_test: Callable[[str], float]) -> tuple[str, float]:
    """The candidate with the lowest dev loss, and its test loss: the test set is opened once, for it alone."""
    name = min(results, key=lambda name: results[name][1])  # (train, dev): dev decides
    return name, open_test(name)


def _dev_losses(results: Results) -> str:
    return "dev losses " + ", ".join(f"{name} {dev}" for name, (_, dev) in results.items())


def _opened(answer: Callable[..., object], results: Results, test: Mapping[str, float]) -> dict[str, object]:
    """What was chosen and reported, and how often the test set was opened."""
    opened = []

    def open_test(name: str = "") -> float:
        if name not in test:
            raise Refused(f"open_test wants the name of one candidate, of {list(test)}, got {brief(name)}")
        opened.append(name)
        return test[name]

    out = answer(results, open_test)
    if not isinstance(out, Sequence) or isinstance(out, str) or len(out) != 2:
        raise Refused(f"expected two things, the chosen name and its test loss, got {brief(out)}")
    name, loss = out
    return {
        "candidates opened": len(set(opened)),
        "chosen": name,
        "test loss reported": loss,
        "times opened": len(opened),
    }


def _choosing(key: Callable[[float, float], float]) -> Callable[..., tuple[str, float]]:
    """An answer that chooses the candidate with the smallest `key(train, dev)`."""

    def answer(results: Results, open_test: Callable[[str], float]) -> tuple[str, float]:
        name = min(results, key=lambda n: key(*results[n]))
        return name, open_test(name)

    return answer


def _by_dev(results: Results) -> str:
    return min(results, key=lambda n: results[n][1])


def _by_test(results: Results, open_test: Callable[[str], float]) -> tuple[str, float]:
    losses = {name: open_test(name) for name in results}
    return min(losses.items(), key=lambda item: item[1])


def _all_opened(results: Results, open_test: Callable[[str], float]) -> tuple[str, float]:
    losses = {name: open_test(name) for name in results}
    return _by_dev(results), losses[_by_dev(results)]


# (train, dev) and test of each: train, dev and test would choose three different names.
_FIRST = {"wide": (1.36, 3.49), "plain": (2.42, 2.43), "deeper": (2.20, 2.29), "longer": (2.25, 2.30)}
_SECOND = {"alpha": (1.90, 2.60), "base": (2.31, 2.291), "cut": (2.05, 2.65), "deep": (2.02, 2.294)}
_HIGH = {"first": (101.0, 104.75), "second": (98.0, 1020.0), "third": (120.0, 104.25)}
_TESTS = (
    {"wide": 3.51, "plain": 2.42, "deeper": 2.33, "longer": 2.28},
    {"alpha": 2.65, "base": 2.24, "cut": 2.66, "deep": 2.19},
    {"first": 103.25, "second": 1019.0, "third": 103.5},
    {"base": 2.24},
)

q3 = Exercise(
    "7.3",
    "choose, then open once",
    solution=choose,
    observe=_opened,
    cases=[
        Case(results, test, label=f"for {_dev_losses(results)}")
        for table, test in zip((_FIRST, _SECOND, _HIGH, {"base": (2.31, 2.2)}), _TESTS, strict=True)
        for results in (table, dict(reversed(table.items())))  # the first or the last of them is no choice
    ],
    wrong=[
        Wrong(
            _choosing(lambda train, dev: train),
            "that has the lowest train loss: it may have memorised, and only dev can tell",
        ),
        Wrong(
            _choosing(lambda train, dev: abs(dev - train)),
            "that has the smallest gap between train and dev. A small gap is no merit in itself: dev alone decides",
        ),
        Wrong(_choosing(lambda train, dev: -dev), "that has the highest dev loss, and the lowest is the best"),
        Wrong(
            _by_test,
            "the test set was used to choose. Its lowest loss is then the best of several, partly luck, and no split "
            "is left that could tell: choosing is what dev is for",
        ),
        Wrong(_all_opened, "dev has chosen already: open the test set for that one alone"),
        Wrong(
            lambda results, open_test: (_by_dev(results), results[_by_dev(results)][1]),
            "you never opened the test set: a dev loss took part in the choice, so it flatters. open_test(name) gives "
            "the loss to report",
        ),
        Wrong(lambda results, open_test: ("deeper", open_test("deeper")), "open_test wants the name of one candidate"),
        Wrong(lambda results, open_test: _by_dev(results), "expected two things, the chosen name and its test loss"),
    ],
    also_right=[lambda results, open_test: [_by_dev(results), torch.tensor(open_test(_by_dev(results)))]],
    right="dev chose, and the test set was opened once, for the one number that goes into the report.",
    hints=[
        "Which of the losses may decide between candidates, and which may only be reported?",
        "min(results, key=...) gives the name with the smallest key; results[name] is (train, dev).",
        "Call open_test for the chosen name, after the choice, and return both.",
    ],
)


# ---- 7.4 how many names leak -----------------------------------------------------------------------------------------


def overlap(train: Sequence[str], dev: Sequence[str]) -> float:
    """The share of dev's lines whose name also stands in train."""
    known = set(train)
    return sum(w in known for w in dev) / len(dev)


def _shared(train: Sequence[str], dev: Sequence[str]) -> int:
    return len(set(train) & set(dev))


def _after_another(answer: Callable[..., object], train: list[str], dev: list[str]) -> object:
    """The share after a call with the lists exchanged: what that call knew is not to be kept."""
    answer(list(dev), list(train))
    return answer(train, dev)


def _keeping(train: Sequence[str], dev: Sequence[str], known: set[str] = set()) -> float:  # noqa: B006 - the mistake
    known.update(train)
    return sum(w in known for w in dev) / len(dev)


def _lines(train: str, dev: str) -> Case:
    return Case(train.split(), dev.split())


q4 = Exercise(
    "7.4",
    "how many names leak",
    solution=overlap,
    observe=_after_another,
    cases=[
        _lines("ann", "ann ann"),
        _lines("ann bo", "cleo"),
        _lines("x", "a a x"),
        _lines("bo ann", "ann cleo dan ann"),
        _lines("ann ann ann bo", "ann bo cleo"),
        _lines("william ann", "liam lia joann anna suzann"),
        _lines("Ann bo", "ann bo cleo"),
        Case(
            ["ann ", "zoë", "st  john", "christopher"],
            ["ann", "zoe", "zoe\u0308", "st john", "christophe", "li"],
            label="for names that differ in a space, in an accent or its encoding, or at their end",
        ),
        _lines("emma ava emma mia william eva leo zoe ben", "emma emma ava mia liam noah"),
    ],
    wrong=[
        Wrong(
            lambda train, dev: _shared(train, dev) / len(set(dev)),
            "that is a share of dev's distinct names. A name that stands in dev twice is scored twice, so it counts "
            "twice",
        ),
        Wrong(
            lambda train, dev: sum(w in dev for w in train) / len(train),
            "that is a share of train. Which split is judged?",
        ),
        Wrong(
            lambda train, dev: sum(w in train for w in dev) / len(train),
            "the lines of dev were divided by those of train: a share of dev is asked for",
        ),
        Wrong(
            lambda train, dev: _shared(train, dev) / len(dev),
            "a name that stands in dev more than once was counted too rarely: all lines of dev with a known name count",
        ),
        Wrong(
            _keeping,
            "every line of dev counts as known. Is the set kept from one call to the next? A default value is made "
            "once, for all calls: make the set inside",
        ),
        Wrong(
            lambda train, dev: 1 - overlap(train, dev), "that is the share of dev that is new: the rest is asked for"
        ),
        Wrong(
            lambda train, dev: overlap([w.lower() for w in train], [w.lower() for w in dev]),
            "'Ann' and 'ann' are two names: compare them as they are written",
        ),
        Wrong(lambda train, dev: 100 * overlap(train, dev), "that is per cent: give the share, between 0 and 1"),
        Wrong(lambda train, dev: len(dev) * overlap(train, dev), "that is the number of lines: divide it"),
        Wrong(
            lambda train, dev: sum(any(w in t for t in train) for w in dev) / len(dev),
            "'liam' is a part of 'william', but it is another name: compare whole names",
        ),
        Wrong(
            lambda train, dev: sum(a == b for a in train for b in dev) / len(dev),
            "each line of dev was counted as often as train has its name: once is enough",
        ),
    ],
    also_right=[
        lambda train, dev: np.isin(dev, train).mean(),
        lambda train, dev: torch.tensor([w in train for w in dev]).float().mean(),
        lambda train, dev: 1 - len([w for w in dev if w not in train]) / len(dev),
    ],
    right="by lines of dev, since each line is scored.",
    hints=[
        "The loss is a mean over dev. So ask of each line of dev: is this name known from train?",
        "known = set(train) answers that at once for any name; dev stays a list, since its doubles count.",
        "sum(w in known for w in dev) counts the lines; what do you divide by?",
    ],
)
