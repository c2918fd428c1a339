"""The mistakes that learners make in notebook 01, each with a phrase of the message it must get."""

from mlp_lib.course.exercises.nb01 import q1, q2, q3


def _loop(words, block_size, *, end=".", pad=".", slide=True, reset=True, reverse=False, late=False):
    """The lecture's loop on text, with one thing wrong at a time."""
    rows, context = [], pad * block_size
    for word in words:
        if reset:
            context = pad * block_size
        for ch in word + end:
            if late:
                context = context[1:] + ch
            rows.append((context[::-1] if reverse else context, ch))
            if slide and not late:
                context = context[1:] + ch
    return rows


def _no_return(first, second):
    """Works something out and forgets to return it."""
    [len(row) for row in first]


def _wrong(**fault):
    return lambda words, block_size: _loop(words, block_size, **fault)


def _always_three(words, block_size):
    return _loop(words, 3)


def _one_dot(words, block_size):
    rows = []
    for word in words:
        text = "." + word + "."
        rows += [(text[max(0, i - block_size) : i], text[i]) for i in range(1, len(text))]
    return rows


def _only_full_windows(words, block_size):
    return [(w[i : i + block_size], (w + ".")[i + block_size]) for w in words for i in range(len(w) - block_size + 1)]


def _one_end(words, block_size):
    return sum(map(len, words)) + 1


def _joined(words, block_size):
    return ["".join(pair) for pair in _loop(words, block_size)]


def _rows(X, Y, *, first=0, reset=True, any_after_end=False, last_only=False, shift=0):
    """A validator with one thing wrong at a time."""
    expected = [0] * X.shape[1]
    for i, (context, ix) in enumerate(zip(X.tolist(), Y.tolist(), strict=True)):
        after_end = i > 0 and int(Y[i - 1]) == 0
        fits = context[-1:] == expected[-1:] if last_only else context == expected
        if i >= first and not fits and not (any_after_end and after_end):
            return i + shift
        expected = [0] * X.shape[1] if ix == 0 and reset else context[1:] + [ix]
    return None


def _bad(**fault):
    return lambda X, Y: _rows(X, Y, **fault)


def _zeros_pass(X, Y):
    """A row of zeros is taken for the start of a word wherever it stands."""
    expected = [0] * X.shape[1]
    for i, (context, ix) in enumerate(zip(X.tolist(), Y.tolist(), strict=True)):
        if context != expected and any(context):
            return i
        expected = [0] * X.shape[1] if ix == 0 else context[1:] + [ix]
    return None


def _without_the_last(X, Y):
    return _rows(X[:-1], Y[:-1])


def _only_with_more_than_one(X, Y):
    return _rows(X, Y) if X.shape[1] > 1 else None


def _looked_and_wiped(X, Y):
    found = _rows(X, Y)
    X.zero_()
    return found


def _last_bad(X, Y):
    found = None
    for i in range(len(X)):
        before = [0] * X.shape[1] if i == 0 or Y[i - 1] == 0 else X[i - 1].tolist()[1:] + [int(Y[i - 1])]
        if X[i].tolist() != before:
            found = i
    return found


def _next_target(X, Y):
    """Takes Y of the same row for the character that came last: everything looks shifted."""
    expected = [0] * X.shape[1]
    for i in range(1, len(X)):
        expected = [0] * X.shape[1] if Y[i - 1] == 0 else X[i - 1].tolist()[1:] + [int(Y[i])]
        if X[i].tolist() != expected:
            return i
    return None


MISTAKES = [
    (q1, _wrong(end=""), "no pair says that a word ends"),
    (q1, _wrong(slide=False), "has to move on by one"),
    (q1, _wrong(reset=False), "left over from 'emma'"),
    (q1, _wrong(reverse=True), "newest character stands on the right"),
    (q1, _wrong(pad="a"), "so the context is all '.'"),
    (q1, _wrong(late=True), "already holds 'a', which is to be predicted"),
    (q1, _always_three, "for ['emma', 'bo'] and block_size 2: the context '...' has 3 characters"),
    (q1, _one_dot, "the context '.' has 1 characters"),
    (q1, _only_full_windows, "for ['ava'] and block_size 3, row 0"),
    (q1, _joined, "got a row ("),
    (q1, lambda words, block_size: [], "no pairs came back"),
    (q1, _no_return, "expected a list of (context, next character) pairs"),
    (q1, lambda words, block_size: _loop(words, block_size)[: len(words[0]) + 1], "expected 8 pairs, got 5"),
    (q1, _loop(["ava"], 3), "without calling it"),
    (q1, lambda words, block_size: [(t, c) for c, t in _loop(words, block_size)], "the wrong way round"),
    (q2, lambda words, block_size: sum(map(len, words)), "One example per word is missing"),
    (q2, _one_end, "Each word has an end of its own"),
    (q2, lambda words, block_size: sum(len(w) + block_size for w in words), "That counts the padding too"),
    (q2, lambda words, block_size: sum(len(w) + block_size + 1 for w in words), "The padding is counted"),
    (q2, lambda words, block_size: sum(len(w) - block_size + 1 for w in words), "wholly inside a word"),
    (q2, lambda words, block_size: len(words), "the number of words"),
    (q2, lambda words, block_size: sum(len(w) + 1 for w in set(words)), "counted once"),
    (q2, lambda words, block_size: block_size * sum(len(w) + 1 for w in words), "number of entries of X"),
    (q2, lambda words, block_size: sum(len(w) for w in words) + block_size, "for block_size 1 the answer changes"),
    (q2, lambda words, block_size: sum(len(w) + 1 for w in words if len(w) > 1), "for ['a'] got 0"),
    (q2, lambda words, block_size: words, "expected one number, the number of examples"),
    (q2, lambda words, block_size: str(sum(len(w) + 1 for w in words)), "got '17'"),
    (q2, lambda words, block_size: 42, "Write the examples of 'emma' down"),
    (q2, 17, "without calling it"),
    (q3, _bad(reset=False), "it starts afresh"),
    (q3, _next_target, "for a correct dataset with block_size 3: expected None, got row"),
    (q3, _bad(first=1), "before the first character nothing has been read"),
    (q3, _bad(any_after_end=True), "the context was not reset"),
    (q3, _bad(last_only=True), "its last place fits, the others do not"),
    (q3, _bad(shift=1), "off by one"),
    (q3, _last_bad, "Is it the number of the first wrong row?"),
    (q3, _no_return, "rows 2 and 7 are written backwards: your function says that nothing is wrong"),
    (q3, lambda X, Y: True, "the number of a row, got True"),
    (q3, lambda X, Y: X[0], "expected one number"),
    (q3, lambda X, Y: _rows(X, Y) and str(_rows(X, Y)), "got '2'"),
    (q3, _zeros_pass, "X is all zeros, so from row 1 on"),
    (q3, _without_the_last, "the last row, 12, repeats"),
    (q3, _only_with_more_than_one, "with block_size 1, row 9"),
    (q3, _looked_and_wiped, "changed what it was given"),
    (q3, lambda X, Y: 0.5, "got 0.5"),
]
