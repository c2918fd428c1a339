"""Exercises of notebook 09: the neighbours of a character, a map by PCA, and how much of the spread it shows."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake
from mlp_lib.data import Vocab

_SEED = 2147483647


def _tensor(value: object, what: str) -> Tensor:
    """What was returned as float64 numbers; a list or an array will do."""
    if value is None:
        raise Mistake(f"your function returned None: it should end with `return` and {what}")
    if isinstance(value, tuple) and len(value) > 1 and isinstance(value[0], Tensor) and value[0].ndim:
        raise Mistake(f"you returned {len(value)} tensors: expected one, {what}")
    try:
        return torch.as_tensor(value).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"expected numbers, {what}, got {brief(value)}") from None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def _same_up_to_signs(a: Tensor, b: Tensor) -> bool:
    """Whether each column of a is that of b or its mirror image."""
    return a.shape == b.shape and all(_same(x, y) or _same(x, -y) for x, y in zip(a.T, b.T, strict=True))


# ---------------------------------------------------------------------------------------------------------- 9.1

# Distances from a: b 1, c 2, d 3.3, e 4, "." 5. The first two columns alone, the directions from the middle, and the
# sums of differences, with signs or without, would each give another order.
_V1 = Vocab("abcde")
_C1 = torch.tensor(
    [[-2.0, 5.0, 2.0], [1.0, 1.0, 2.0], [1.0, 2.0, 2.0], [3.0, 1.0, 2.0], [2.0, 2.0, 5.0], [1.0, -3.0, 2.0]]
)


def neighbours(C: Tensor, vocab: Vocab, c: str, k: int) -> list[str]:
    """The k characters whose rows of C (vocab_size, n_embd) lie nearest to that of c, the nearest first."""
    i = vocab.stoi[c]
    distances = (C - C[i]).norm(dim=1)  # (vocab_size,)
    distances[i] = float("inf")  # not itself
    return [vocab.itos[j] for j in distances.argsort()[:k].tolist()]


def _check_neighbours(answer: object) -> str:
    own_function(answer, "q1.check(neighbours)")
    _check_neighbours_of(answer, _C1, _V1, "a", 3)
    _check_neighbours_of(answer, _C1, _V1, "a", 1)
    _check_neighbours_of(answer, _C1, _V1, "b", 5)
    # Two rows are equal: which of the two an order puts first is chance.
    twins = torch.tensor([[5.0, 0.0], [1.0, 1.0], [2.0, 1.0], [1.0, 1.0], [4.0, 1.0], [9.0, 1.0]])
    for c in "ca":
        _check_neighbours_of(answer, twins, _V1, c, 2)
    g = torch.Generator().manual_seed(_SEED)
    many = Vocab("zyxwvutsrqponmlkjihgfedcba0123456789")  # 37 symbols, not in the alphabet's order
    C = torch.randn(len(many), 10, generator=g)
    for c in ("q", ".", "7"):
        _check_neighbours_of(answer, C, many, c, 4)
    return "all columns count, the character itself does not, and what comes back are characters, the nearest first."


def _check_neighbours_of(answer: Callable, C: Tensor, vocab: Vocab, c: str, k: int) -> None:
    given = C.clone()
    got = answer(given, vocab, c, k)
    if not torch.equal(given, C):
        raise Mistake("your function changed C: the network would go on with another table. Work on a copy or a result")
    case = f"the {k} nearest to {c!r} among {len(vocab)} symbols in {C.shape[1]} dimensions"
    if got is None:
        raise Mistake("your function returned None: it should end with `return` and a list of characters")
    if isinstance(got, Tensor | np.ndarray):
        got = got.tolist()
    if not isinstance(got, (list, tuple, str)):
        raise Mistake(f"{case}: expected a list of characters, got {brief(got)}")
    got = list(got)
    if got and all(isinstance(x, (int, float, Tensor)) for x in got):
        if all(float(x) == int(x) and 0 <= int(x) < len(vocab) for x in got):
            raise Mistake(
                f"{case}: got the indices {brief([int(x) for x in got])}. Characters are asked for: vocab.itos turns "
                "one into the other"
            )
        raise Mistake(f"{case}: got the distances {brief(got)}. Whose are they? Characters are asked for")
    if not all(isinstance(x, str) and x in vocab.stoi for x in got):
        raise Mistake(f"{case}: expected a list of characters, got {brief(got)}")
    expected = neighbours(C, vocab, c, k)
    if got == expected:
        return
    if c in got:
        equal = [vocab.itos[j] for j in (C - C[vocab.stoi[c]] == 0).all(1).nonzero().flatten().tolist()]
        if len(equal) > 1:
            raise Mistake(
                f"{case}: {got} holds {c!r} itself. The rows of {' and '.join(map(repr, equal))} are equal, so the "
                f"character itself need not come first: take out its own index, not the first place"
            )
        raise Mistake(f"{case}: {got} holds {c!r} itself, at distance 0. Ask for the others")
    if "." in expected and "." not in got:
        raise Mistake(f"{case}: got {got}, without the boundary '.', which has a row of its own like any other")
    if len(got) != k:
        raise Mistake(f"{case}: got {len(got)} characters, {brief(got)}")
    if got == [x for x in expected if x != "."] + ["."]:
        raise Mistake(f"{case}: got {got}, with '.' put last: the boundary has a distance like any other")
    d = (C - C[vocab.stoi[c]]).norm(dim=1)
    order = [x for x in (vocab.itos[j] for j in d.argsort(descending=True).tolist()) if x != c]
    if got == order[:k]:
        raise Mistake(f"{case}: got {got}, the farthest ones: the smallest distance comes first")
    if C.shape[1] > 2 and got == neighbours(C[:, :2], vocab, c, k):
        raise Mistake(
            f"{case}: got {got}, the neighbours in columns 0 and 1 alone. {got[0]!r} is {d[vocab.stoi[got[0]]]:.2f} "
            f"away, {expected[0]!r} only {d[vocab.stoi[expected[0]]]:.2f}, when all {C.shape[1]} columns count"
        )
    own = vocab.stoi[c]
    unit = C / C.norm(dim=1, keepdim=True)
    for values, sentence in (
        (unit @ unit[own], "the order of the cosine. It compares directions from the origin; distances are asked for"),
        (C @ C[own], "the order of the dot product, in which long rows win: distances are asked for"),
        (-(C - C[own]).sum(1).abs(), "the order of added differences: +1 in one column and -1 in another cancel"),
        (-(C - C[own]).sum(1), "the order of added differences, with their signs: a distance is never negative"),
        (-(C - C[own]).abs().sum(1), "the order of absolute differences added up, the way of a taxi: Euclidean ones"
         " are squared, added, and the root is taken"),
    ):  # fmt: skip
        values = values.clone()
        values[own] = float("-inf")
        if got == [vocab.itos[j] for j in values.argsort(descending=True)[:k].tolist()]:
            raise Mistake(f"{case}: got {got}, {sentence}")
    if sorted(got) == sorted(expected):
        raise Mistake(f"{case}: the right characters, but {got} is not the order of their distances: nearest first")
    raise Mistake(
        f"{case}: got {got}. The first is {d[vocab.stoi[got[0]]]:.2f} away, the nearest one "
        f"{d[vocab.stoi[expected[0]]]:.2f}"
    )


q1 = Exercise(
    "9.1",
    "the neighbours of a character",
    _check_neighbours,
    hints=[
        "C - C[i] subtracts one row from all rows at once, by broadcasting: (vocab_size, n_embd).",
        "Square, sum over the columns (dim=1), take the root; or .norm(dim=1). One distance per character.",
        "Its own distance is 0. Set it to infinity before sorting, then argsort gives the indices, the nearest first.",
        "vocab.itos[j] is the character of index j; j must be a Python number, so .tolist() first.",
    ],
    solution=neighbours,
)


# ---------------------------------------------------------------------------------------------------------- 9.2


def pca(C: Tensor, k: int = 2) -> Tensor:
    """The rows of C (vocab_size, n_embd) along their k widest directions: (vocab_size, k), measured from the mean."""
    centred = C - C.mean(0)  # (vocab_size, n_embd)
    Vh = torch.linalg.svd(centred, full_matrices=False).Vh  # (n_embd, n_embd), a direction in each row
    return centred @ Vh[:k].T  # (vocab_size, k)


def _svd(C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.linalg.svd(C, full_matrices=False)


def _a_table(rows: int, columns: int) -> Tensor:
    """Rows whose spread differs from direction to direction and whose middle is away from 0. No column is special."""
    g = torch.Generator().manual_seed(_SEED)
    turn, _ = torch.linalg.qr(torch.randn(columns, columns, generator=g))
    widths = torch.linspace(3, 0.5, columns)
    return torch.randn(rows, columns, generator=g) * widths @ turn + torch.linspace(2, 4, columns)


def _check_pca(answer: object) -> str:
    own_function(answer, "q2.check(pca)")
    # Four points on a line in three dimensions, so that one direction shows everything.
    line = torch.tensor([[1.0, 0.0, 2.0], [2.0, 2.0, 4.0], [4.0, 6.0, 8.0], [5.0, 8.0, 10.0]])
    _check_pca_of(answer, line, 1, "for 4 rows that lie on a line in 3 dimensions, k=1")
    table = _a_table(27, 10)
    _check_pca_of(answer, table, 2, "for a table of 27 rows and 10 columns, k=2")
    _check_pca_of(answer, table, 3, "for a table of 27 rows and 10 columns, k=3")
    _check_pca_of(answer, _a_table(40, 5), 2, "for a table of 40 rows and 5 columns, k=2")
    return "centred, along the widest directions, in their order. (Each may be mirrored: a sign means nothing.)"


def _check_pca_of(answer: Callable, C: Tensor, k: int, case: str) -> None:
    given = C.clone()
    got = _tensor(answer(given, k), f"coordinates of shape (rows, {k})")
    if not torch.equal(given, C):
        raise Mistake("your function changed C: the network would go on with another table. Work on a copy or a result")
    expected = pca(C.double(), k)
    if _same_up_to_signs(got, expected):
        return
    D = C.double()
    X = D - D.mean(0)
    U, _, Vh = _svd(X)
    U0, _, Vh0 = _svd(D)
    rows, columns = C.shape
    if got.shape == (rows,) and k == 1 and _same_up_to_signs(got[:, None], expected):
        raise Mistake(f"{case}: the numbers are right, but their shape is {(rows,)}: expected {(rows, 1)}")
    if got.shape == (rows, columns) and _same_up_to_signs(got[:, :k], expected):
        raise Mistake(f"{case}: all {columns} directions came back; the first k are asked for")
    if got.shape in {(k, columns), (columns, k)} and got.shape != expected.shape:
        raise Mistake(
            f"{case}: got shape {tuple(got.shape)}, the directions themselves. Where does each row lie along them? A "
            "product of rows and directions tells"
        )
    if got.shape[::-1] == expected.shape and _same_up_to_signs(got.mT, expected):
        raise Mistake(f"{case}: got shape {tuple(got.shape)}, the transpose of {tuple(expected.shape)}")
    if got.shape != expected.shape:
        raise Mistake(f"{case}: got shape {tuple(got.shape)}, expected {tuple(expected.shape)}, one row per character")
    if _same(got, D[:, :k]) or _same(got, X[:, :k]):
        shown = X[:, :k].square().sum() / X.square().sum()
        best = expected.square().sum() / X.square().sum()
        raise Mistake(
            f"{case}: these are the first {k} of {columns} columns of C. Which numbers stand first is an accident of "
            f"the random start: they show {shown:.0%} of the spread, the {k} widest directions {best:.0%}"
        )
    if _same_up_to_signs(got, D @ Vh[:k].T):
        raise Mistake(
            f"{case}: the directions are right, but the rows were projected as they stand, so that the middle of the "
            "map lies elsewhere: project the centred rows, whose mean is 0"
        )
    if _same_up_to_signs(got, D @ Vh0[:k].T):
        raise Mistake(
            f"{case}: the rows were not centred, so the first direction points from 0 to their middle instead of along "
            "their widest spread. Subtract C.mean(0) first"
        )
    if _same_up_to_signs(got, U[:, :k]):
        raise Mistake(
            f"{case}: these are columns of U, which are all equally wide: S says how wide each direction is, and "
            "U * S has it back"
        )
    if _same_up_to_signs(got, U0[:, :k]):
        raise Mistake(f"{case}: these are columns of U of the rows as they stand: centre them, and mind S")
    if _same_up_to_signs(got, X @ Vh[:, :k]):
        raise Mistake(
            f"{case}: you projected on columns of Vh. torch.linalg.svd returns V transposed: a direction is a row of it"
        )
    if _same_up_to_signs(got, X @ Vh[-k:].T) or _same_up_to_signs(got, X @ Vh[-k:].flip(0).T):
        raise Mistake(f"{case}: these are the narrowest directions: eigh sorts upwards, svd downwards")
    if k > 1 and _same_up_to_signs(got, expected.flip(1)):
        raise Mistake(f"{case}: the right directions in the wrong order: the widest is column 0")
    wide = (X / X.std(0)).nan_to_num()
    if _same_up_to_signs(got, wide @ _svd(wide)[2][:k].T):
        raise Mistake(
            f"{case}: each column was divided by its standard deviation first. The columns are in the same unit, and a "
            "wide one is wide because the network made it so: centre only"
        )
    for middle, name in ((D.median(0).values, "median"), (D[0], "first row")):
        if _same_up_to_signs(got, (D - middle) @ _svd(D - middle)[2][:k].T):
            raise Mistake(f"{case}: the middle that was subtracted is the {name}: it is the mean, C.mean(0)")
    across = D - D.mean(1, keepdim=True)
    if _same_up_to_signs(got, across @ _svd(across)[2][:k].T):
        raise Mistake(
            f"{case}: the mean of each row was subtracted: the middle of the map is the mean over rows, dim 0"
        )
    if _same_up_to_signs(got, X - D.mean() + D.mean(0)) or _same_up_to_signs(
        got, (D - D.mean()) @ _svd(D - D.mean())[2][:k].T
    ):
        raise Mistake(f"{case}: one mean over all numbers was subtracted: each column has a mean of its own, dim 0")
    moved = got - got.mean(0)
    if _same_up_to_signs(moved, expected):
        raise Mistake(f"{case}: the right map, but its middle is not 0: measure from the mean")
    width, right = (x.square().mean(0).sqrt() for x in (moved, expected))
    if torch.allclose(width, right, rtol=0.1):
        off = (torch.where((moved * expected).sum(0) < 0, -got, got) - expected).abs().max()
        raise Mistake(
            f"{case}: the columns are about as wide as they should be, but a coordinate is off by {off:.2g}: is "
            "something rounded, or only approximate, as pca_lowrank is?"
        )
    shown, right = (", ".join(f"{w:.2f}" for w in widths.tolist()) for widths in (width, right))
    raise Mistake(f"{case}: the columns scatter by {shown} about their mean, the {k} widest directions by {right}")


q2 = Exercise(
    "9.2",
    "a map of many dimensions",
    _check_pca,
    hints=[
        "First the middle: C.mean(0) has one number per column. Subtract it.",
        "U, S, Vh = torch.linalg.svd(centred, full_matrices=False). The rows of Vh are the directions, widest first.",
        "Where a row lies along a direction is their dot product; all rows and k directions at once: a matrix product.",
        "Shapes: (vocab_size, n_embd) @ (n_embd, k). Which k of Vh, and which way round?",
    ],
    solution=pca,
)


# ---------------------------------------------------------------------------------------------------------- 9.3


def explained(C: Tensor) -> Tensor:
    """The share of the variance of C (vocab_size, n_embd) along each of its directions, the widest first."""
    S = torch.linalg.svdvals(C - C.mean(0))  # (n_embd,)
    return S**2 / (S**2).sum()


def _check_explained(answer: object) -> str:
    own_function(answer, "q3.check(explained)")
    # Four points: 1.5 to each side one way, 0.5 to each side the other, about (5, 5).
    cross = torch.tensor([[6.5, 5.0], [3.5, 5.0], [5.0, 5.5], [5.0, 4.5]])
    _check_explained_of(answer, cross, "for (6.5, 5), (3.5, 5), (5, 5.5), (5, 4.5)")
    _check_explained_of(answer, cross.flip(1), "for (5, 6.5), (5, 3.5), (5.5, 5), (4.5, 5)")
    _check_explained_of(answer, _a_table(27, 10), "for a table of 27 rows and 10 columns")
    _check_explained_of(answer, _a_table(40, 5), "for a table of 40 rows and 5 columns")
    return "squares of the singular values over the sum of all squares. What the first two hold is what a map shows."


def _check_explained_of(answer: Callable, C: Tensor, case: str) -> None:
    given = C.clone()
    got = _tensor(answer(given), "a share for each direction")
    if not torch.equal(given, C):
        raise Mistake("your function changed C: the network would go on with another table. Work on a copy or a result")
    D = C.double()
    X = D - D.mean(0)
    S = torch.linalg.svdvals(X)
    expected = S**2 / (S**2).sum()

    def shares(rows: Tensor) -> Tensor:
        return torch.linalg.svdvals(rows) ** 2 / (rows**2).sum()

    def show(values: Tensor) -> str:
        few = ", ".join(f"{v:.3f}" for v in values[:3].tolist())
        return f"[{few}{', ...' if len(values) > 3 else ''}]"

    if _same(got, expected):
        return
    if got.ndim != 1 or len(got) != len(expected):
        if got.numel() == 1:
            raise Mistake(
                f"{case}: got one number, {float(got.flatten()[0]):.3f}: a share for each direction is asked for"
            )
        raise Mistake(
            f"{case}: got shape {tuple(got.shape)}, expected {(len(expected),)}, one share for each direction"
        )
    case = f"{case}: got {show(got)}, expected {show(expected)}."
    columns = X.square().sum(0)
    for values, sentence in (
        (S / S.sum(), "These are shares of the singular values. A variance is a mean of squares: square them first"),
        (S**2, "These are sums of squares, which grow with every row. A share is divided by the sum over directions"),
        (S**2 / len(D), "These are variances along each direction; a share is divided by their sum"),
        (S**2 / (len(D) - 1), "These are variances along each direction; a share is divided by their sum"),
        (S, "These are the singular values themselves: square, then divide by the sum"),
        (shares(D), "The rows were not centred: the first direction then holds how far from 0 they lie"),
        (100 * expected, "These are per cent: shares add up to 1"),
        (expected.cumsum(0), "These are running totals: the share of each direction alone is asked for"),
        (S**2 / S[0] ** 2, "These are divided by the largest: a share is divided by the sum"),
        (shares(D - D.mean()), "One mean over all numbers was subtracted: each column has a mean of its own, dim 0"),
        (shares(D - D.mean(1, keepdim=True)), "The mean of each row was subtracted: the columns have one each, dim 0"),
        (S**2 / S.sum() ** 2, "The sum was squared; the squares should be summed"),
        (
            columns / columns.sum(),
            "These are the shares of the columns of C as they stand, not of the widest directions",
        ),
        (expected.flip(0), "The right shares in the wrong order: the widest direction comes first"),
        (
            (columns / columns.sum()).sort(descending=True).values,
            "These are the shares of single columns of C, sorted. A direction may mix columns, and hold more than any",
        ),
    ):
        if _same(got, values):
            raise Mistake(f"{case} {sentence}")
    if abs(got.sum() - 1) > 1e-3:
        raise Mistake(f"{case} They should fall and add up to 1, not {got.sum():.3f}")
    off = (got - expected).abs().max()
    raise Mistake(f"{case} They add up to 1, but differ by up to {off:.2g} from the squares of S over their sum")


q3 = Exercise(
    "9.3",
    "how much a map shows",
    _check_explained,
    hints=[
        "Centre as before. torch.linalg.svdvals(centred) gives the singular values S alone, the largest first.",
        "S[j] ** 2 is the sum, over the rows, of the squared coordinate along direction j: n times its variance.",
        "A share is one of them divided by the sum of all.",
    ],
    solution=explained,
)
