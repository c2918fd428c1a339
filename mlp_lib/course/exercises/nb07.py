"""Exercises of page 07: a split that stays, a diagnosis, a test set opened once, names that leak."""

import builtins
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from mlp_lib.course.exercises.answers import brief, matching
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
from mlp_lib.course.exercises.kernel_state import Kernel

# ---- 7.1 a split that stays ------------------------------------------------------------------------------------------


def split(words: Sequence[str], seed: int) -> tuple[list[str], list[str], list[str]]:
    """80 % of the words for training, 10 % for dev, 10 % for test, from a copy shuffled with its own generator."""
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    n1, n2 = int(0.8 * len(shuffled)), int(0.9 * len(shuffled))
    return shuffled[:n1], shuffled[n1:n2], shuffled[n2:]


class _Word(str):
    """A word with the hash that it might have in a different process."""

    def __hash__(self) -> int:
        return _other_hash(str(self))


def _other_hash(value: object) -> int:
    """hash() in a different process: texts get different numbers there, numbers do not."""
    shown = repr(value)
    return builtins.hash(f"salted {shown}" if "'" in shown else value)


def _in_another_process(answer: Callable[..., object], words: Sequence[str], seed: int) -> object:
    """What the answer would return in a different process, where words and texts have different hashes."""
    page = getattr(answer, "__globals__", {})
    page.setdefault("hash", _other_hash)
    try:
        return answer([_Word(w) for w in words], seed)
    finally:
        if page.get("hash") is _other_hash:
            del page["hash"]


def _checked(answer: Callable[..., object], words: list[str], seed: int) -> bool:
    """Raise Refused unless this is a split, the same for the same seed, that leaves the global generators alone."""
    kernel = Kernel()
    kernel.start()
    got = _three_lists(answer(words, seed))
    moved = kernel.drawn()
    _check_sizes(got, words)
    if [w for part in got for w in part] == words:
        raise Refused(
            "nothing was shuffled. Our list has girls before boys and frequent names before rare ones, so dev and test "
            "would hold rare boys' names only"
        )
    if _three_lists(answer(words, seed)) != got:
        raise Refused(f"two calls with seed {seed} gave different splits: create the generator inside, from the seed")
    if _three_lists(_in_another_process(answer, words, seed)) != got:
        raise Refused(
            "in a different process this gives a different split: hash() of a text and the order of a set of texts "
            "change each time Python starts, so nothing may depend on them"
        )
    if len(words) < 10:  # a tenth of them may be nothing
        return True
    splits = [_three_lists(answer(words, seed + k)) for k in range(200)]
    different = len(set(map(repr, splits)))
    if different < 0.9 * len(splits):
        raise Refused(
            f"{len(splits)} seeds gave {different} split{'s' * (different > 1)}: seed a generator with all of `seed`, "
            "in every call, and shuffle the copy with it"
        )
    for parts in splits:
        _check_sizes(parts, words)
    for k, name in ((1, "dev"), (2, "test"), (0, "train")):
        never = [w for w in words if not any(w in parts[k] for parts in splits)]
        if never:
            raise Refused(
                f"{len(never)} of {len(words)} lines are never in {name}, whatever the seed, {never[0]!r} for "
                "instance: shuffle the whole copy, then cut it"
            )
    if moved:
        raise Refused(
            f"the split is right, but {moved} global generator was seeded or drawn from, which changes all later "
            "draws from it: create your own generator, such as random.Random(seed)"
        )
    return True


def _three_lists(out: object) -> list[list[str]]:
    try:
        train, dev, test = out if isinstance(out, Sequence | np.ndarray) else ()
        return [[str(w) for w in part] for part in (train, dev, test)]
    except (TypeError, ValueError):
        raise Refused(f"expected three lists, train, dev and test, got {brief(out)}") from None


def _check_sizes(parts: list[list[str]], words: list[str]) -> None:
    """Raise Refused unless each line is in one part, and the parts have about 80, 10 and 10 % of the lines."""
    n, together = len(words), Counter(w for part in parts for w in part)
    lost, extra = Counter(words) - together, together - Counter(words)
    strangers = [w for w in extra if w not in words]
    if strangers:
        raise Refused(f"for {n} names, {brief(strangers[0])} is in the lists, and was not among the names passed in")
    if lost and extra:
        raise Refused(
            f"for {n} names, {brief(next(iter(extra)))} is in the lists too often and {brief(next(iter(lost)))} too "
            "rarely: shuffle a copy, then cut it. (choices draws with replacement)"
        )
    if lost or extra:
        what = f"in no list: {lost.total()}" if lost else f"in two lists: {extra.total()}"
        raise Refused(
            f"for {n} names, lines {what}, such as {brief(next(iter(lost or extra)))}. Each slice starts where the one "
            "before ends, the last runs to the end, and repeated names stay"
        )
    sizes = [len(part) for part in parts]
    if any(abs(size - share * n) >= 2 for size, share in zip(sizes, (0.8, 0.1, 0.1), strict=True)):
        raise Refused(
            f"for {n} names, the three lists have {sizes} lines, expected about 80, 10 and 10 % in this order"
        )


def _names(n: int) -> Case:
    """n lines, the last three the same as the first three, as for names given to girls and boys."""
    names = [f"name{k}of{n}" for k in range(n - 3)]
    return Case([*names, *names[:3]], 42, label=f"for {n} names")


_unshuffled = edited(split, ("random.Random(seed).shuffle(shuffled)", "pass"))

q1 = Exercise(
    "7.1",
    "a split that stays",
    solution=split,
    observe=_checked,
    # int(0.8 * 57) + int(0.1 * 57) is one less than int(0.9 * 57): both ways to cut are right
    cases=[_names(20), _names(57), _names(9)],
    edits={
        ("(words)\n", "(range(len(words)))\n"): "is in the lists, and was not among the names passed in",
        ("random.Random(seed).shuffle(shuffled)", "shuffled = random.Random(seed).choices(words, k=len(words))"): (
            "shuffle a copy, then cut it. (choices draws with replacement)"
        ),
        ("list(words)", "words"): "your answer changed its argument words",
        ("random.Random(seed).", "shuffled = random.Random(seed)."): (
            "shuffle works in place and returns None, which has no length"
        ),
        ("random.Random(seed).", "random.seed(seed)\n    random."): "but Python's global generator was seeded",
        ("Random(seed)", "Random()"): "two calls with seed 42 gave different splits",
        ("Random(seed)", "Random(42)"): "200 seeds gave 1 split:",
        ("random.Random(seed).shuffle(shuffled)", 'shuffled.sort(key=lambda w: hash(f"{seed}{w}"))'): (
            "in a different process this gives a different split"
        ),
        (", shuffled[n2:]", ""): "expected three lists, train, dev and test",
        ("n1:n2", "n1:"): "for 20 names, lines in two lists: 2",
        (("n1:n2", "n1 + 1 : n2"), ("[n2:]", "[n2 + 1 :]")): ("for 20 names, lines in no list: 2"),
        ("n1:n2", "n1 : n1 + len(words) // 10"): "for 57 names, lines in no list: 1",
        ("list(words)", "sorted(set(words))"): "for 20 names, lines in no list: 3",
        (("0.8", "0.1"), ("0.9", "0.2")): "the three lists have [2, 2, 16] lines, expected about",
    },
    wrong=[
        Wrong(
            lambda words, seed: random.Random(seed).shuffle(list(words))[: int(0.8 * len(words))],
            "shuffle works in place and returns None, which cannot be sliced",
        ),
        Wrong(_unshuffled, "nothing was shuffled"),
        Wrong(
            lambda words, seed: [random.Random(seed).sample(part, len(part)) for part in _unshuffled(words, seed)],
            "17 of 20 lines are never in dev, whatever the seed, 'name1of20' for instance",
        ),
    ],
    also_right=[
        edited(split, ("int(0.9 * len(shuffled))", "int(0.8 * len(words)) + len(words) // 10")),
        lambda words, seed: np.split(
            np.random.default_rng(seed).permutation(words), [round(0.8 * len(words)), round(0.9 * len(words))]
        ),
        lambda words, seed: _unshuffled(
            [words[k] for k in torch.randperm(len(words), generator=torch.Generator().manual_seed(seed))], seed
        ),
    ],
    right="every line in one split, the same split for the same seed, and nothing outside the function has changed.",
    hints=[
        "Three steps: copy, shuffle the copy, cut it in two places.",
        "random.Random(seed) is your own generator, with a method shuffle. random.seed(seed) seeds the global one.",
        "n1 = int(0.8 * len(words)) and n2 = int(0.9 * len(words)): the three slices share these two numbers.",
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
    "C": (4, "memorising would show in a low train loss. This one is as usual, so dev should be close to it"),
    "D": (2, "train is low and dev is high, but not absurdly high: confident wrong guesses cost that much"),
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
        "Two of the four are worse than guessing on dev. One of these has a low train loss, the other does not.",
        "Of the two with dev below train, one gap is smaller than the scatter, the other is larger.",
    ],
    **matching(_RUNS, _STATEMENTS, "report {} is not {}"),
)


# ---- 7.3 choose, then open once --------------------------------------------------------------------------------------

Results = Mapping[str, tuple[float, float]]


def choose(results: Results, open_test: Callable[[str], float]) -> tuple[str, float]:
    """The candidate with the lowest dev loss, and its test loss: the test set is opened once, for it alone."""
    name = min(results, key=lambda name: results[name][1])  # (train, dev): dev decides
    return name, open_test(name)


def _opened(answer: Callable[..., object], results: Results, test: Mapping[str, float]) -> dict[str, object]:
    """What was chosen and reported, and how often the test set was opened."""
    opened = []

    def open_test(name: str = "") -> float:
        if name not in test:
            raise Refused(f"open_test takes the name of one candidate, of {list(test)}, got {brief(name)}")
        opened.append(name)
        return test[name]

    out = answer(results, open_test)
    if not isinstance(out, Sequence) or isinstance(out, str) or len(out) != 2:
        raise Refused(f"expected two things, the chosen name and its test loss, got {brief(out)}")
    if out[1] is open_test:
        raise Refused("you returned open_test itself: call it with the chosen name")
    candidates = len(set(opened))
    return {
        "candidates opened": candidates,
        "chosen": out[0],
        "test loss reported": out[1],
        "times opened": len(opened) if candidates == 1 else None,
    }


def _of(**losses: tuple[float, float, float]) -> Case:
    """A choice between candidates with these train, dev and test losses."""
    results, test = {name: of[:2] for name, of in losses.items()}, {name: of[2] for name, of in losses.items()}
    dev = ", ".join(f"{name} {dev}" for name, (_, dev) in results.items())
    return Case(results, test, label=f"for dev losses {dev}")


q3 = Exercise(
    "7.3",
    "choose, then open once",
    solution=choose,
    observe=_opened,
    cases=[  # train, dev and test would choose three different names, and the best is at no fixed place
        _of(wide=(1.36, 3.49, 3.51), plain=(2.42, 2.43, 2.42), deeper=(2.2, 2.29, 2.33), longer=(2.25, 2.3, 2.28)),
        _of(alpha=(1.9, 2.6, 2.65), base=(2.31, 2.291, 2.24), cut=(2.05, 2.65, 2.66), deep=(2.02, 2.294, 2.19)),
        _of(first=(101.0, 104.75, 103.25), second=(98.0, 1020.0, 1019.0), third=(120.0, 104.25, 103.5)),
        _of(base=(2.31, 2.2, 2.24)),
        _of(one=(2.31, 2.2, 2.25), two=(2.1, 2.3, 2.2)),
        _of(a=(2.3, 2.4, 2.4), b=(2.1, 2.5, 2.2), c=(2.3, 2.45, 2.3), d=(2.2, 2.41, 2.3), e=(2.25, 2.35, 2.36)),
        # the best is second by a little, with the largest gap, and disappoints on test
        _of(near=(2.29, 2.294, 2.3), best=(1.22, 2.291, 3.5), late=(2.3, 2.296, 2.28)),
    ],
    edits={
        ("open_test(name)", "open_test"): "you returned open_test itself: call it with the chosen name",
        ("[name][1]", "[name][0]"): "that has the lowest train loss, which may be memorised: only dev can tell",
        ("results[name][1]", "abs(results[name][1] - results[name][0])"): (
            "that has the smallest gap between train and dev. A small gap is not a merit in itself: dev alone decides"
        ),
        ("min(", "max("): "that has the highest dev loss, and the lowest is the best",
        ("results[name][1]", "open_test(name)"): (
            "the test set was used to choose. Its lowest loss is then the best of several, partly luck, and no split "
            "is left to measure that: choose with dev"
        ),
        ("return name, open_test(name)", "return name, {n: open_test(n) for n in results}[name]"): (
            "dev has already chosen: open the test set for that one alone"
        ),
        ("open_test(name)", "results[name][1]"): (
            "you never opened the test set. The dev loss was used to choose, so it is too low: report open_test(name)"
        ),
        ("min(results, key=lambda name: results[name][1])", "'deeper'"): "open_test takes the name of one candidate",
        ("name, open_test(name)", "name"): "expected two things, the chosen name and its test",
    },
    also_right=[
        edited(
            choose,
            (
                "min(results, key=lambda name: results[name][1])",
                "min((dev, n) for n, (train, dev) in results.items())[1]",
            ),
            ("return name, open_test(name)", "return [name, torch.tensor(open_test(name))]"),
        )
    ],
    right="dev chose, and the test set was opened once, for the one number that goes into the report.",
    hints=[
        "Which of the losses may decide between candidates, and which may only be reported?",
        "min(results, key=...) gives the name with the smallest key; results[name] is (train, dev).",
        "Call open_test for the chosen name, after the choice, and return both.",
    ],
)


# ---- 7.4 how many names leak -----------------------------------------------------------------------------------------


def overlap(train: Sequence[str], dev: Sequence[str]) -> float:
    """The share of dev's lines whose name is also in train."""
    known = set(train)
    return sum(w in known for w in dev) / len(dev)


def _after_another(answer: Callable[..., object], train: list[str], dev: list[str]) -> object:
    """The share after a call with the lists exchanged, of which nothing may be remembered."""
    answer(list(dev), list(train))
    return answer(train, dev)


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
    edits={
        ("for w in dev) / len(dev)", "for w in set(dev)) / len(set(dev))"): (
            "that is a share of dev's distinct names. A name that is in dev twice is scored twice, so it counts twice"
        ),
        ("/ len(dev)", "/ len(train)"): "divide by the number of lines of dev, not of train",
        ("for w in dev)", "for w in set(dev))"): (
            "a name that is in dev more than once was counted once: count all lines of dev with a known name"
        ),
        (("dev: Sequence[str])", "dev: Sequence[str], known=set())"), ("known = set(train)", "known.update(train)")): (
            "every line of dev counts as known. Is the set kept from one call to the next? A default value is created "
            "once, for all calls: create the set inside the function"
        ),
        ("w in known", "w not in known"): "that is the share of dev that is new: return 1 minus it",
        (("set(train)", "{w.lower() for w in train}"), ("w in known", "w.lower() in known")): (
            "'Ann' and 'ann' are two names: compare them as they are written"
        ),
        ("/ len(dev)", "* 100 / len(dev)"): "that is a percentage: return the share, 0 to 1",
        (" / len(dev)", ""): "that is the number of lines: divide it by the lines of dev",
        ("w in known", "any(w in name for name in train)"): (
            "'liam' is a part of 'william', but a different name: compare whole names"
        ),
        ("w in known", "train.count(w)"): "a line of dev was counted as often as its name is in train: count it once",
    },
    wrong=[
        Wrong(lambda train, dev: overlap(dev, train), "that is the share of train that is in dev: swap the two"),
    ],
    also_right=[
        lambda train, dev: np.isin(dev, train).mean(),
        lambda train, dev: torch.tensor([w in train for w in dev]).float().mean(),
        lambda train, dev: 1 - len([w for w in dev if w not in train]) / len(dev),
    ],
    right="by lines of dev, since each line is scored.",
    hints=[
        "The loss is a mean over dev. So ask of each line of dev: is this name known from train?",
        "known = set(train) answers that at once for any name; dev stays a list, since repeated names count.",
        "sum(w in known for w in dev) counts the lines; what do you divide by?",
    ],
)
