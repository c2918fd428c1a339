"""Exercises of notebook 01: words to contexts, how many of them there are, and finding a row that does not belong."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake


def pairs(words: Sequence[str], block_size: int) -> list[tuple[str, str]]:
    """Every (context, next character) of `words`, as text: a window that moves over the padded word."""
    found = []
    for word in words:
        padded = "." * block_size + word + "."
        for i in range(len(word) + 1):
            found.append((padded[i : i + block_size], padded[i + block_size]))
    return found


def n_examples(words: Sequence[str], block_size: int) -> int:
    """One example for each character and one for the end of each word; `block_size` has no say in it."""
    return sum(len(word) + 1 for word in words)


def first_bad_row(X: Tensor, Y: Tensor) -> int | None:
    """The first row that does not follow from the row above it, or None."""
    start = [0] * X.shape[1]
    expected = start
    for i, (context, ix) in enumerate(zip(X.tolist(), Y.tolist(), strict=True)):
        if context != expected:
            return i
        expected = start if ix == 0 else context[1:] + [ix]
    return None


# ---------------------------------------------------------------------------------------------------------- 1.1


def _check_pairs(answer: object) -> str:
    own_function(answer, "q1.check(pairs)")
    for words, block_size in ((["ava"], 3), (["emma", "bo"], 2), (["bo"], 5), (["νίκη"], 1)):
        _compare_pairs(answer(list(words), block_size), words, block_size)
    return "each context has the right length, ends just before its character, and starts afresh with every word."


def _compare_pairs(got: object, words: list[str], block_size: int) -> None:
    case = f"for {words} and block_size {block_size}"
    got = _as_pairs(got, case)
    expected = pairs(words, block_size)
    contexts, targets = [c for c, _ in got], [t for _, t in got]
    right_contexts, right_targets = [c for c, _ in expected], [t for _, t in expected]
    if got == expected:
        return
    if not got:
        raise Mistake(f"{case}: no pairs came back. Did the function return the list?")
    if [(c, t) for t, c in got] == expected:
        raise Mistake(f"{case}: the pairs are right, but the wrong way round: the context comes first")
    if "." not in targets:
        raise Mistake(
            f"{case}: {len(got)} pairs, expected {len(expected)}: no pair says that a word ends. "
            "The closing '.' is a character to predict, too"
        )
    wrong_length = next((c for c in contexts if len(c) != block_size), None)
    if wrong_length is not None:
        raise Mistake(
            f"{case}: the context {wrong_length!r} has {len(wrong_length)} characters. "
            "How many '.' must stand before the word, and how long is a window?"
        )
    if contexts[0] == "." * (block_size - 1) + targets[0]:
        raise Mistake(
            f"{case}, row 0: the context {contexts[0]!r} already holds {targets[0]!r}, which is to be predicted"
        )
    if contexts[0] != "." * block_size:
        raise Mistake(f"{case}, row 0: nothing has been read yet, so the context is all '.', got {contexts[0]!r}")
    if len(got) > 1 and set(contexts) == {"." * block_size}:
        raise Mistake(
            f"{case}: every context is {contexts[0]!r}. The window has to move on by one after each character"
        )
    if targets == right_targets:
        if [c[::-1] for c in contexts] == right_contexts:
            i = next(i for i in range(len(got)) if contexts[i] != right_contexts[i])
            raise Mistake(
                f"{case}, row {i}: expected {right_contexts[i]!r}, got {contexts[i]!r}, the same backwards. "
                "The newest character stands on the right"
            )
        start = len(words[0]) + 1
        if len(words) > 1 and contexts[:start] == right_contexts[:start] and contexts[start] != right_contexts[start]:
            raise Mistake(
                f"{case}, row {start}: {words[1]!r} begins here, but its context is {contexts[start]!r}, "
                f"left over from {words[0]!r}. Each word starts with an empty context"
            )
    i = next((i for i, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), min(len(got), len(expected)))
    if i >= len(got) or i >= len(expected):
        raise Mistake(f"{case}: expected {len(expected)} pairs, got {len(got)}: one per character and one per end")
    raise Mistake(f"{case}, row {i}: expected {_arrow(expected[i])}, got {_arrow(got[i])}")


def _as_pairs(got: object, case: str) -> list[tuple[str, str]]:
    kind = f"{case}: expected a list of (context, next character) pairs of text, got"
    if got is None or isinstance(got, (str, Tensor)):
        raise Mistake(f"{kind} {brief(got)}")
    try:
        rows = [tuple(row) for row in got]
    except TypeError:
        raise Mistake(f"{kind} {brief(got)}") from None
    for row in rows:
        if len(row) != 2 or not all(isinstance(part, str) for part in row):
            raise Mistake(f"{kind} a row {brief(row)}")
    return rows


def _arrow(pair: tuple[str, str]) -> str:
    return f"{pair[0]} ---> {pair[1]}"


q1 = Exercise(
    "1.1",
    "contexts by slicing",
    _check_pairs,
    hints=[
        "Write one word with everything the network sees: '...ava.' for block_size 3. Where in it is each context?",
        "padded = '.' * block_size + word + '.', and the context of example i is padded[i : i + block_size].",
        "The character after that slice is padded[i + block_size]. A word of n letters has n + 1 examples.",
    ],
    solution=pairs,
)


# ---------------------------------------------------------------------------------------------------------- 1.2


def _check_n_examples(answer: object) -> str:
    own_function(answer, "q2.check(n_examples)")
    words = ["emma", "olivia", "emma"]
    letters, block_size = sum(map(len, words)), 3
    got = number(answer(list(words), block_size), "the number of examples")
    named = {
        letters: "that is the letters. One example per word is missing: what does the network learn from the end?",
        letters + 1: "one '.' for the whole list. Each word has an end of its own",
        letters + block_size * len(words): "that counts the padding too. A '.' in front is context, never predicted",
        letters + (block_size + 1) * len(words): "the padding is counted. A '.' in front is context, never predicted",
        sum(len(w) - block_size + 1 for w in words): "only windows that lie wholly inside a word are counted",
        len(words): "that is the number of words. One word gives several examples",
        n_examples(
            sorted(set(words)), block_size
        ): "the name that stands twice is counted once. The loop reads it twice",
        block_size * n_examples(words, block_size): "that is the number of entries of X. How many rows has it?",
    }
    expected = n_examples(words, block_size)
    if got != expected:
        why = named.get(got, "write the examples of 'emma' down and count them")
        raise Mistake(f"for {words} and block_size {block_size}: got {got:g}. {why[0].upper()}{why[1:]}")
    for block_size in (1, 8):
        got = number(answer(list(words), block_size), "the number of examples")
        if got != expected:
            raise Mistake(
                f"right for block_size 3, but for block_size {block_size} the answer changes to {got:g}. "
                "Does a longer context add rows or columns to X?"
            )
    got = number(answer(["a"], 3), "the number of examples")
    if got != n_examples(["a"], 3):
        raise Mistake(f"right for {words}, but for ['a'] got {got:g}: write its examples down")
    return "one example per character and one per word; block_size changes the width of X, never its height."


q2 = Exercise(
    "1.2",
    "how many examples",
    _check_n_examples,
    hints=[
        "'emma' gives five examples. Which character is predicted in the fifth?",
        "Compare X and wide_X above: which of the two sizes changed?",
        "A word of n letters gives n + 1 examples. Add them up over the list.",
    ],
    solution=n_examples,
)


# ---------------------------------------------------------------------------------------------------------- 1.3

_WORDS = ("emma", "ava", "mae")
_STOI = {s: i for i, s in enumerate(".aemv")}


def _dataset(block_size: int) -> tuple[Tensor, Tensor]:
    rows = pairs(_WORDS, block_size)
    return (
        torch.tensor([[_STOI[c] for c in context] for context, _ in rows]),
        torch.tensor([_STOI[c] for _, c in rows]),
    )


def _check_first_bad_row(answer: object) -> str:
    own_function(answer, "q3.check(first_bad_row)")
    second = len(_WORDS[0]) + 1  # the row where 'ava' begins
    for block_size in (3, 1):
        X, Y = _dataset(block_size)
        got = _row(answer, X, Y, "for a correct dataset")
        if got == second:
            raise Mistake(
                f"for a correct dataset with block_size {block_size}: got row {got}, where 'ava' begins. After a "
                "closing '.' the context does not go on, it starts afresh"
            )
        if got is not None:
            raise Mistake(f"for a correct dataset with block_size {block_size}: expected None, got row {got}")

    X, Y = _dataset(3)
    X[2], X[7] = X[2].flip(0), X[7].flip(0)
    _expect(answer, X, Y, 2, "rows 2 and 7 are written backwards")

    X, Y = _dataset(3)
    X[2] = X[1]  # the window was not moved
    _expect(answer, X, Y, 2, "row 2 repeats the context of row 1")

    X, Y = _dataset(3)
    X[0, -1] = _STOI["a"]
    X[1, -2] = _STOI["a"]
    X[2, -3] = _STOI["a"]  # only row 0 shows it: the rows below follow from it
    _expect(answer, X, Y, 0, "row 0 is '..a', but before the first character nothing has been read")

    X, Y = _dataset(3)
    X[3] = torch.tensor([0, 0, _STOI["m"]])  # the last place is right, the others are not
    _expect(answer, X, Y, 3, "row 3 is '..m' below '.em': its last place fits, the others do not")

    X, Y = _dataset(3)
    X[second] = torch.tensor([_STOI["m"], _STOI["a"], 0])
    X[second + 1] = torch.tensor([_STOI["a"], 0, _STOI["a"]])
    X[second + 2] = torch.tensor([0, _STOI["a"], _STOI["v"]])  # 'emma' runs on into 'ava'
    _expect(answer, X, Y, second, f"row {second} is 'ma.' where 'ava' begins: the context was not reset")

    X, Y = _dataset(3)
    X.zero_()
    _expect(answer, X, Y, 1, "X is all zeros, so from row 1 on the contexts are wrong")

    X, Y = _dataset(3)
    X[-1] = X[-2]
    _expect(answer, X, Y, len(X) - 1, f"the last row, {len(X) - 1}, repeats the one above it")

    X, Y = _dataset(1)
    third = second + len(_WORDS[1]) + 1  # the row where 'mae' begins
    X[third] = X[third - 1]
    _expect(answer, X, Y, third, f"with block_size 1, row {third} is 'a' where 'mae' begins: the context was not reset")
    return "it accepts a correct dataset and points at the first wrong row of eight broken ones."


def _expect(answer: object, X: Tensor, Y: Tensor, row: int, fault: str) -> None:
    got = _row(answer, X, Y, fault)
    if got == row:
        return
    if got is None:
        raise Mistake(f"{fault}: your function says that nothing is wrong")
    if abs(got - row) == 1:
        raise Mistake(f"{fault}: expected {row}, got {got}, off by one. Which row does row i have to follow from?")
    raise Mistake(f"{fault}: expected {row}, got {got}. Is it the number of the first wrong row?")


def _row(answer: Callable[..., object], X: Tensor, Y: Tensor, case: str) -> int | None:
    given = X.clone(), Y.clone()
    got = answer(*given)
    if not torch.equal(given[0], X) or not torch.equal(given[1], Y):
        raise Mistake(f"{case}: your function changed what it was given: only look at X and Y")
    if got is None:
        return None
    row = number(got, "the number of a row")
    if not row.is_integer():
        raise Mistake(f"{case}: expected the number of a row, or None, got {row}")
    return int(row)


q3 = Exercise(
    "1.3",
    "the first row that does not belong",
    _check_first_bad_row,
    hints=[
        "What must row 0 be? And if row i is right, what do X[i] and Y[i] together say about X[i + 1]?",
        "Keep a list `expected`, at first all zeros, and compare X[i].tolist() with it, row after row.",
        "After a row that fits: expected = context[1:] + [ix], except after ix == 0, when a new word begins.",
    ],
    solution=first_bad_row,
)
