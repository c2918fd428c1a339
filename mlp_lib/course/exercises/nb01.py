"""Exercises of page 01: words to contexts, how many of them there are, and finding a row that does not belong."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.engine import Case, Exercise, Wrong

# ---- 1.1 contexts by slicing -----------------------------------------------------------------------------------------


def pairs(words: Sequence[str], block_size: int) -> list[tuple[str, str]]:
    """Every (context, next character) of `words`, as text: a window that moves over the padded word."""
    found = []
    for word in words:
        padded = "." * block_size + word + "."
        for i in range(len(word) + 1):
            found.append((padded[i : i + block_size], padded[i + block_size]))
    return found


def _loop(words: Sequence[str], block_size: int, *, end: str = ".", pad: str = ".", moves: bool = True) -> list:
    """The lecture's loop on text."""
    found = []
    for word in words:
        context = pad * block_size
        for ch in word + end:
            found.append((context, ch))
            context = context[1:] + ch if moves else context
    return found


def _not_reset(words: Sequence[str], block_size: int) -> list:
    text = "." * block_size + "".join(word + "." for word in words)
    return [(text[i : i + block_size], text[i + block_size]) for i in range(len(text) - block_size)]


def _one_dot(words: Sequence[str], block_size: int) -> list:
    texts = ["." + word + "." for word in words]
    return [(t[max(0, i - block_size) : i], t[i]) for t in texts for i in range(1, len(t))]


def _as_a_generator(words: Sequence[str], block_size: int) -> object:
    for word in words:
        for i, ch in enumerate(word + "."):
            yield [word[max(0, i - block_size) : i].rjust(block_size, "."), ch]


q1 = Exercise(
    "1.1",
    "contexts by slicing",
    solution=pairs,
    cases=[
        Case(["ava"], 2),
        Case(["bo"], 3),
        Case(["emma", "bo"], 2),
        Case(["a"], 1),
        Case(["νίκη"], 1),
        Case(["ava", "ava"], 3),
        Case(["nana"], 1),
        Case(["aaa", "new york"], 2),
        Case(["bo", "Al "], 8),
    ],
    wrong=[
        Wrong(
            lambda w, k: _loop(w, k, end=""), "no pair says that a word ends: the closing '.' is to be predicted, too"
        ),
        Wrong(
            lambda w, k: _loop(w, k, moves=False), "the context stays empty: it moves on by one after each character"
        ),
        Wrong(_not_reset, "the context holds what is left of the word before: each word starts with an empty one"),
        Wrong(
            lambda w, k: [(c[::-1], ch) for c, ch in pairs(w, k)],
            "the context is backwards: the newest character stands on the right",
        ),
        Wrong(
            lambda w, k: [((c + ch)[1:], ch) for c, ch in pairs(w, k)],
            "the context already holds the character that is to be predicted",
        ),
        Wrong(lambda w, k: pairs(w, 3), "every context has 3 characters: block_size says how many"),
        Wrong(_one_dot, "some contexts are too short: block_size times '.' must stand before the word, not one"),
        Wrong(lambda w, k: _loop(w, k, pad=""), "the contexts are too short: put block_size times '.' before the word"),
        Wrong(lambda w, k: pairs(w[:1], k), "only the first word was read: is `return` inside the loop?"),
        Wrong(lambda w, k: pairs(w[-1:], k), "only the last word is left: is the list made new inside the loop?"),
        Wrong(
            lambda w, k: pairs(list(dict.fromkeys(w)), k),
            "a word that stands twice was read once: it gives pairs twice",
        ),
    ],
    also_right=[_loop, _as_a_generator, lambda w, k: np.array(pairs(w, k))],
    right="each context has the right length, ends just before its character, and starts empty with every word.",
    hints=[
        "Write one word with everything the network sees: '...ava.' for block_size 3. Where in it is each context?",
        "padded = '.' * block_size + word + '.', and the context of example i is padded[i : i + block_size].",
        "The character after that slice is padded[i + block_size]. A word of n letters has n + 1 examples.",
    ],
)


# ---- 1.2 how many examples -------------------------------------------------------------------------------------------


def n_examples(words: Sequence[str], block_size: int) -> int:
    """One example for each character and one for the end of each word; `block_size` has no say in it."""
    return sum(len(word) + 1 for word in words)


q2 = Exercise(
    "1.2",
    "how many examples",
    solution=n_examples,
    cases=[
        Case(["ava"], 3),
        Case(["a"], 2),
        Case(["emma", "amelia", "amelia"], 3),
        Case(["emma", "amelia", "amelia"], 1),
        Case(["bo", "charlotte" * 300, "al"], 8, label="for 'bo', 2,700 letters and 'al', with block_size 8,"),
        Case(["νίκη", "st john"], 2),
        Case([], 3),
    ],
    wrong=[
        Wrong(lambda w, k: sum(map(len, w)), "those are the letters: the end of each word is predicted, too"),
        Wrong(lambda w, k: sum(map(len, w)) + 1, "one '.' for the whole list: each word has an end of its own"),
        Wrong(
            lambda w, k: sum(len(v) + k for v in w), "that counts the '.' in front: they are context, never predicted"
        ),
        Wrong(
            lambda w, k: sum(max(0, len(v) + 1 - k) for v in w),
            "a context may begin before the word: it is padded with '.'",
        ),
        Wrong(lambda w, k: len(w), "that is the number of words: one word gives several examples"),
        Wrong(
            lambda w, k: sum(len(v) + 1 for v in set(w)), "a name that stands twice is counted once: it is read twice"
        ),
        Wrong(lambda w, k: k * n_examples(w, k), "that is the number of entries of X: how many rows has it?"),
        Wrong(lambda w, k: len(w[0]) + 1, "that is the first word alone: is `return` inside the loop?"),
    ],
    also_right=[
        lambda w, k: len("".join(w)) + len(w),
        lambda w, k: len(pairs(w, k)),
        lambda w, k: torch.tensor(n_examples(w, k)),
    ],
    right="one example per character and one per word; block_size changes the width of X, never its height.",
    hints=[
        "'emma' gives five examples. Which character is predicted in the fifth?",
        "Compare X and wide_X on this page: which of the two sizes changed?",
        "A word of n letters gives n + 1 examples. Add them up over the list.",
    ],
)


# ---- 1.3 the first row that does not belong --------------------------------------------------------------------------


def first_bad_row(X: Tensor, Y: Tensor) -> int | None:
    """The first row that does not follow from the row above it, or None."""
    start = [0] * X.shape[1]
    expected = start
    for i, (context, ix) in enumerate(zip(X.tolist(), Y.tolist(), strict=True)):
        if context != expected:
            return i
        expected = start if ix == 0 else context[1:] + [ix]
    return None


class _NoRow:
    """What stands for None, which is an answer here and no forgotten `return`."""

    def __repr__(self) -> str:
        return "None"


_NO_ROW = _NoRow()


def _row(answer: Callable[..., object], X: Tensor, Y: Tensor) -> object:
    got = answer(X, Y)
    return _NO_ROW if got is None else got


def _rows(words: Sequence[str], block_size: int) -> tuple[list[list[int]], list[int]]:
    stoi = {s: i for i, s in enumerate(".aemv")}
    found = pairs(words, block_size)
    return [[stoi[c] for c in context] for context, _ in found], [stoi[c] for _, c in found]


def _spoilt(says: str, rows: dict[int, list[int]], words: Sequence[str] = ("emma", "ava", "mae"), k: int = 3) -> Case:
    """A dataset with some rows replaced. In it a is 1, e 2, m 3 and v 4."""
    X, Y = _rows(words, k)
    for i, row in rows.items():
        X[i] = row
    listed = ", ".join(words) if len(words) < 4 else f"{len(words)} times {words[0]}"
    return Case(torch.tensor(X), torch.tensor(Y), label=f"for the dataset of {listed} with block_size {k}, {says}:")


def _searched(
    X: Tensor,
    Y: Tensor,
    *,
    fits: Callable[[list[int], list[int]], bool] = lambda row, expected: row == expected,
    first: int = 0,
    reset: bool = True,
) -> int | None:
    """The solution, with another way to compare two rows or another idea of what has to follow."""
    expected = [0] * X.shape[1]
    for i, (context, ix) in enumerate(zip(X.tolist(), Y.tolist(), strict=True)):
        if i >= first and not fits(context, expected):
            return i
        expected = [0] * X.shape[1] if ix == 0 and reset else context[1:] + [ix]
    return None


def _bad_rows(X: Tensor, Y: Tensor) -> list[int]:
    above = [[0] * X.shape[1]]
    above += [[0] * X.shape[1] if y == 0 else [*x[1:], y] for x, y in zip(X.tolist(), Y.tolist(), strict=True)]
    return [i for i, row in enumerate(X.tolist()) if row != above[i]]


def _y_of_the_same_row(X: Tensor, Y: Tensor) -> int | None:
    for i in range(1, len(X)):
        if X[i].tolist() != ([0] * X.shape[1] if Y[i - 1] == 0 else [*X[i - 1].tolist()[1:], int(Y[i])]):
            return i
    return None


def _with_tensors(X: Tensor, Y: Tensor) -> int | None:
    expected = torch.cat([X[:-1, 1:], Y[:-1, None]], 1) * (Y[:-1, None] != 0)
    expected = torch.cat([torch.zeros_like(X[:1]), expected])
    bad = (expected != X).any(1).nonzero()
    return bad[0, 0] if len(bad) else None


q3 = Exercise(
    "1.3",
    "the first row that does not belong",
    solution=first_bad_row,
    observe=_row,
    cases=[
        _spoilt("without a fault", {}),
        _spoilt("without a fault", {}, k=1),
        _spoilt("without a fault", {}, words=["aaa", "a", "aaa"], k=2),
        _spoilt("whose row 2 repeats row 1", {2: [0, 0, 2]}),
        _spoilt("whose rows 2 and 7 are written backwards", {2: [3, 2, 0], 7: [4, 1, 0]}),
        _spoilt("whose row 0 is '..a', and rows 1 and 2 follow from it", {0: [0, 0, 1], 1: [0, 1, 2], 2: [1, 2, 3]}),
        _spoilt("whose row 3 is '..m', with only its last place right", {3: [0, 0, 3]}),
        _spoilt("whose row 4 is '.mm', with the first and the last place wrong", {4: [0, 3, 3]}),
        _spoilt("whose row 3 is 'v.emm', with only its first place wrong", {3: [4, 0, 2, 3, 3]}, k=5),
        _spoilt("whose row 3 is 'eem' in place of 'emm'", {3: [2, 2, 3]}),
        _spoilt("whose row 2 is '.ev', with only its last place wrong", {2: [0, 2, 4]}),
        _spoilt("where 'emma' runs on into 'ava', from row 5 on", {5: [3, 1, 0], 6: [1, 0, 1], 7: [0, 1, 4]}),
        _spoilt("whose X is all zeros", {i: [0, 0, 0] for i in range(13)}),
        _spoilt("whose last row, 12, repeats the one above", {12: [0, 3, 1]}),
        _spoilt("whose row 9 is 'a' where 'mae' begins", {9: [1]}, k=1),
        Case(
            torch.tensor([[0, 0], [0, 1], [11, 2], [0, 0]]),
            torch.tensor([1, 12, 0, 0]),
            label="for a dataset of 13 symbols whose row 2 is [11, 2] in place of [1, 12]:",
        ),
        Case(
            torch.tensor([[0, 0, 0], [0, 256, 0]]),  # 27 * 256: no difference in base 27, nor in uint8
            torch.tensor([6912, 0]),
            label="for a dataset of 6,913 symbols whose row 1 is [0, 256, 0] in place of [0, 0, 6912]:",
        ),
        _spoilt("whose row 101 is '...'", {101: [0, 0, 0]}, words=["emma"] * 30),
    ],
    wrong=[
        Wrong(lambda X, Y: _searched(X, Y, reset=False), "after a closing '.' the context starts empty again"),
        Wrong(_y_of_the_same_row, "the character that enters a row is Y of the row above, not of the row itself"),
        Wrong(
            lambda X, Y: _searched(X, Y, first=1),
            "row 0 has to be empty: is it checked? (And if it is, `or None` and `if row:` take its number for no row)",
        ),
        Wrong(
            lambda X, Y: next((i for i in _bad_rows(X, Y) if i == 0 or Y[i - 1] != 0), None),
            "a row below a closing '.' may not be anything: it must be an empty context",
        ),
        Wrong(
            lambda X, Y: _searched(X, Y, fits=lambda row, expected: row[-1] == expected[-1]),
            "only the last place is compared: the others may be wrong, too",
        ),
        Wrong(
            lambda X, Y: _searched(X, Y, fits=lambda row, expected: sum(row) == sum(expected)),
            "sums are compared, and rows in another order have the same sum: compare the rows",
        ),
        Wrong(
            lambda X, Y: _searched(X, Y, fits=lambda row, expected: row == expected or not any(row)),
            "a row of zeros is right only where a word begins",
        ),
        Wrong(lambda X, Y: max(_bad_rows(X, Y), default=None), "that is the last wrong row: return at the first"),
        Wrong(
            lambda X, Y: -1 if first_bad_row(X, Y) is None else first_bad_row(X, Y), "None is asked for where all fits"
        ),
        Wrong(lambda X, Y: None if len(X) else 0, "your function says that nothing is wrong: does it return the row?"),
    ],
    also_right=[
        _searched,
        _with_tensors,
        lambda X, Y: None if (row := first_bad_row(X, Y)) is None else np.int64(row),
    ],
    right="it accepts correct datasets and points at the first wrong row of the others.",
    hints=[
        "What must row 0 be? And if row i is right, what do X[i] and Y[i] together say about X[i + 1]?",
        "Keep a list `expected`, at first all zeros, and compare X[i].tolist() with it, row after row.",
        "After a row that fits: expected = context[1:] + [ix], except after ix == 0, when a new word begins.",
    ],
)
