"""Exercises of page 01: words to contexts, how many of them there are, and the first row that does not belong."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.engine import Case, Exercise, Wrong, edited

# ---- 1.1 contexts by slicing -----------------------------------------------------------------------------------------


def pairs(words: Sequence[str], block_size: int) -> list[tuple[str, str]]:
    """Every (context, next character) of `words`, as text: a window that moves over the padded word."""
    found = []
    for word in words:
        padded = "." * block_size + word + "."
        for i in range(len(word) + 1):
            found.append((padded[i : i + block_size], padded[i + block_size]))
    return found


def _running_context(words: Sequence[str], block_size: int) -> Iterator[list[str]]:
    for word in words:
        context = "." * block_size
        for ch in word + ".":
            yield [context, ch]
            context = context[1:] + ch


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
    edits={
        ("+ 1)", ")"): "no pair says that a word ends: the closing '.' has to be predicted too",
        ("[i : i", "[0 : 0"): "the context stays empty: move it on by one after each character",
        ("in words:", "in ['.'.join(words)]:"): "each word has to start with an empty context",
        ("size],", "size][::-1],"): "backwards: the newest character is on the right",
        ("[i : i + block_size]", "[i + 1 : i + 1 + block_size]"): (
            "the context already contains the character that has to be predicted"
        ),
        ("    return", "        return"): "only the first word was read: is `return` in the loop?",
        ("in words:", "in dict.fromkeys(words):"): "a word that occurs twice gives its pairs twice",
    },
    wrong=[
        Wrong(lambda w, k: pairs(w, 3), "3 is hard-coded: use block_size"),
        Wrong(
            lambda w, k: [(c.lstrip("."), ch) for c, ch in pairs(w, k)],
            "some contexts are too short: put block_size times '.' before each word",
        ),
        Wrong(lambda w, k: pairs(w[-1:], k), "only the last word is left: is the list recreated in the loop?"),
    ],
    also_right=[_running_context, lambda w, k: np.array(pairs(w, k))],
    right="each context has the right length, ends just before its character, and starts empty for every word.",
    hints=[
        "Write one word with everything the network sees: '...ava.' for block_size 3. Where in it is each context?",
        "padded = '.' * block_size + word + '.', and the context of example i is padded[i : i + block_size].",
        "The character after that slice is padded[i + block_size]. A word of n letters has n + 1 examples.",
    ],
)


# ---- 1.2 how many examples -------------------------------------------------------------------------------------------


def n_examples(words: Sequence[str], block_size: int) -> int:
    """One example for each character and one for the end of each word; `block_size` does not affect it."""
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
        Case(["νίκη", "st john", "Al "], 2),
        Case([], 3),
    ],
    edits={
        ("+ 1", "+ block_size"): "the dots before a word are context: they are never predicted",
        ("len(word) + 1", "max(0, len(word) + 1 - block_size)"): (
            "a context may start before the word: it is padded with '.'"
        ),
        ("in words", "in set(words)"): "a word that occurs twice has to be counted twice",
    },
    wrong=[
        Wrong(lambda w, k: sum(map(len, w)), "that is the number of letters: the end of each word is predicted too"),
        Wrong(lambda w, k: sum(map(len, w)) + 1, "one '.' was counted for the whole list: each word has its own"),
        Wrong(lambda w, k: len(w), "that is the number of words: one word gives several examples"),
        Wrong(lambda w, k: k * n_examples(w, k), "that is the number of entries of X: count its rows"),
        Wrong(lambda w, k: len(w[0]) + 1, "that is the first word only: is `return` in the loop?"),
    ],
    also_right=[
        lambda w, k: len("".join(w)) + len(w),
        lambda w, k: len(pairs(w, k)),
        lambda w, k: torch.tensor(n_examples(w, k)),
    ],
    right="one example per character and one per word; block_size changes the number of columns of X, not of rows.",
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
    """Stands for None, which is an answer here, not a missing `return`."""

    def __repr__(self) -> str:
        return "None"


_NO_ROW = _NoRow()


def _spoilt(says: str, rows: dict[int, list[int]], words: Sequence[str] = ("emma", "ava", "mae"), k: int = 3) -> Case:
    """A dataset with some rows replaced. In it a is 1, e 2, m 3 and v 4."""
    stoi = {s: i for i, s in enumerate(".aemv")}
    X = [[stoi[c] for c in context] for context, _ in pairs(words, k)]
    Y = [stoi[c] for _, c in pairs(words, k)]
    for i, row in rows.items():
        X[i] = row
    listed = ", ".join(words) if len(words) < 4 else f"{len(words)} times {words[0]}"
    return Case(torch.tensor(X), torch.tensor(Y), label=f"for the dataset of {listed} with block_size {k}, {says}:")


def _wrapped(X: Tensor, Y: Tensor) -> int | None:
    for i in range(len(X)):
        if X[i].tolist() != ([0] * X.shape[1] if Y[i - 1] == 0 else [*X[i - 1].tolist()[1:], Y[i - 1].item()]):
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
    observe=lambda answer, X, Y: _NO_ROW if (row := answer(X, Y)) is None else row,
    cases=[
        _spoilt("without faults", {}),
        _spoilt("without faults", {}, k=1),
        _spoilt("without faults", {}, words=["aaa", "a", "aaa"], k=2),
        _spoilt("whose row 2 repeats row 1", {2: [0, 0, 2]}),
        _spoilt("whose rows 2 and 7 are written backwards", {2: [3, 2, 0], 7: [4, 1, 0]}),
        _spoilt("whose row 0 is '..a', and rows 1 and 2 follow from it", {0: [0, 0, 1], 1: [0, 1, 2], 2: [1, 2, 3]}),
        _spoilt("whose row 3 is '..m', with only its last place right", {3: [0, 0, 3]}),
        _spoilt("whose row 4 is '.mm', with the first and the last place wrong", {4: [0, 3, 3]}),
        _spoilt("whose row 3 is 'v.emm', with only its first place wrong", {3: [4, 0, 2, 3, 3]}, k=5),
        _spoilt("whose row 3 is 'eem' instead of 'emm'", {3: [2, 2, 3]}),
        _spoilt("whose row 2 is '.ev', with only its last place wrong", {2: [0, 2, 4]}),
        _spoilt("where 'emma' runs on into 'ava', from row 5 on", {5: [3, 1, 0], 6: [1, 0, 1], 7: [0, 1, 4]}),
        _spoilt("whose X is all zeros", {i: [0, 0, 0] for i in range(13)}),
        _spoilt("whose last row, 12, repeats the row above", {12: [0, 3, 1]}),
        _spoilt("whose row 9 is 'a' where 'mae' begins", {9: [1]}, k=1),
        Case(
            torch.tensor([[0, 0, 0], [0, 0, 2], [0, 2, 3]]),
            torch.tensor([2, 3, 3]),
            label="for the first three rows of emma, without faults:",
        ),
        Case(
            torch.tensor([[0, 0, 0], [0, 0, 2], [0, 3, 2]]),
            torch.tensor([2, 3, 3]),
            label="for the first three rows of emma, whose row 2 is '.me' instead of '.em':",
        ),
        Case(
            torch.tensor([[0, 0], [0, 1], [11, 2], [0, 0]]),
            torch.tensor([1, 12, 0, 0]),
            label="for a dataset of 13 symbols whose row 2 is [11, 2] instead of [1, 12]:",
        ),
        Case(
            torch.tensor([[0, 0, 0], [0, 256, 0]]),  # 27 * 256: no difference in base 27, nor in uint8
            torch.tensor([6912, 0]),
            label="for a dataset of 6,913 symbols whose row 1 is [0, 256, 0] instead of [0, 0, 6912]:",
        ),
        _spoilt("whose row 101 is '...'", {101: [0, 0, 0]}, words=["emma"] * 30),
    ],
    edits={
        ("start if ix == 0 else ", ""): "after a closing '.' the context is empty again",
        ("Y.tolist()", "Y.roll(-1).tolist()"): (
            "the character that enters a row is Y of the row above, not of the row itself"
        ),
        ("if context", "if i > 0 and context"): (
            "row 0 has to be empty: check it too (0 counts as false, so `row or None` and `if row:` lose it)"
        ),
        (("start if ix == 0", "None if ix == 0"), ("if context", "if expected and context")): (
            "a row below a closing '.' must be an empty context"
        ),
        ("context != expected", "context[-1] != expected[-1]"): (
            "only the last place is compared: the others may be wrong too"
        ),
        ("context != expected", "sum(context) != sum(expected)"): (
            "a row in a different order has the same sum: compare the rows, not their sums"
        ),
        ("!= expected", "not in (start, expected)"): "a row of zeros is right only where a word begins",
        (("return i", "bad = i"), ("return None", "return locals().get('bad')")): (
            "that is the last wrong row: return the first"
        ),
        ("return i", "break"): "no wrong row is found: does your function return i?",
    },
    wrong=[
        Wrong(_wrapped, "row 0 has no row above it: Y[i - 1] is the last row there"),
    ],
    also_right=[
        _with_tensors,
        edited(first_bad_row, ("return i", "return np.int64(i)")),
    ],
    right="it accepts correct datasets and points at the first wrong row of the others.",
    hints=[
        "What must row 0 be? And if row i is right, what do X[i] and Y[i] together say about X[i + 1]?",
        "Keep a list `expected`, at first all zeros, and compare X[i].tolist() with it, row after row.",
        "After a row that fits: expected = context[1:] + [ix], except after ix == 0, when a new word begins.",
    ],
)
