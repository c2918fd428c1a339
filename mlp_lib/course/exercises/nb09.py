"""Exercises of page 09: the neighbours of a character, and a map by PCA."""

import math
from collections.abc import Callable
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
from mlp_lib.course.exercises.values import numbers, plain
from mlp_lib.data import Vocab

_SEED = 2147483647

# ---- 9.1 the neighbours of a character -------------------------------------------------------------------------------


def neighbours(C: Tensor, vocab: Vocab, c: str, k: int) -> list[str]:
    """The k characters whose rows of C (vocab_size, n_embd) are nearest to that of c, the nearest first."""
    i = vocab.stoi[c]
    distances = (C - C[i]).norm(dim=1)  # (vocab_size,)
    distances[i] = float("inf")  # not itself
    return [vocab.itos[j] for j in distances.argsort()[:k].tolist()]


def _characters(answer: Callable[..., object], C: Tensor, vocab: Vocab, c: str, k: int) -> object:
    """The characters found, equally near ones in sorted order; raises Refused for anything else."""
    out = plain(answer(C, vocab, c, k))
    found = list(out) if isinstance(out, str | np.ndarray) else out
    if not isinstance(found, list) or not all(isinstance(x, str) for x in found):
        raise Refused(f"expected a list of characters, got {brief(out)} (vocab.itos[j] is the character of index j)")
    distance = dict(zip(vocab.stoi, (C - C[vocab.stoi[c]]).norm(dim=1).tolist(), strict=True))
    return [x for _, equal in groupby(found, distance.get) for x in sorted(equal)]


def _sorted_letters(C: Tensor, vocab: Vocab, c: str, k: int) -> list[str]:
    row = {x: C[i].tolist() for x, i in vocab.stoi.items()}
    return sorted(set(row) - {c}, key=lambda x: math.dist(row[x], row[c]))[:k]


def _among(C: object, vocab: Vocab, c: str, k: int) -> Case:
    C = torch.as_tensor(C)
    label = f"for the {k} nearest to {c!r} among {len(vocab)} symbols in {C.shape[1]} dimensions"
    return Case(C, vocab, c, k, label=label)


# Distances from a: b 1, c 2, d 3.3, e 4, "." 5. The first two columns alone, the directions from the middle, and the
# sums of differences, with signs or without, would each give a different order.
_FEW = Vocab("abcde")
_ROWS = [[-2.0, 5.0, 2.0], [1.0, 1.0, 2.0], [1.0, 2.0, 2.0], [3.0, 1.0, 2.0], [2.0, 2.0, 5.0], [1.0, -3.0, 2.0]]
_TWINS = [[5.0, 0.0], [1.0, 1.0], [2.0, 1.0], [1.0, 1.0], [4.0, 1.0], [9.0, 1.0]]  # the rows of a and c are equal
_MANY = Vocab("zyxwvutsrqponmlkjihgfedcba0123456789")  # 37 symbols, not in the alphabet's order
_TABLE = torch.randn(len(_MANY), 10, generator=torch.Generator().manual_seed(_SEED))

q1 = Exercise(
    "9.1",
    "the neighbours of a character",
    solution=neighbours,
    observe=_characters,
    cases=[
        _among(_ROWS, _FEW, "a", 3),
        _among(_ROWS, _FEW, "a", 1),
        _among(_ROWS, _FEW, "b", 5),
        *[_among(_TWINS, _FEW, c, 2) for c in "cab"],  # a and c are equally near to b
        *[_among(_TABLE, _MANY, c, 4) for c in "q.7"],
        _among(_TABLE.flip(0), _MANY, "q", 4),
        _among(_TABLE[:, :1], _MANY, "q", 8),
        _among(_TABLE * 1e7, _MANY, "q", 36),
    ],
    edits={
        ('distances[i] = float("inf")', "pass"): "leave out the character itself, at distance 0",
        ("distances[i] =", "distances[distances == 0] ="): (
            "a character with the same row as c was left out too, although it is the nearest"
        ),
        ("vocab.itos[j] for", "j for"): "expected a list of characters, got [2, 3, 4]",
        ("vocab.itos", 'Vocab("abcdefghijklmnopqrstuvwxyz").itos'): "the alphabet is hard-coded: use vocab.itos",
        ("(C - C[i])", "(C - C[i])[:, :2]"): "only columns 0 and 1 were used: use all columns",
        ("distances = (C", "distances = -(C"): "these are the farthest ones: the smallest distance comes first",
        ("(C - C[i]).norm(dim=1)", "-torch.cosine_similarity(C, C[[i]])"): (
            "the cosine compares directions seen from the origin: use distances"
        ),
        ("(C - C[i]).norm(dim=1)", "-C @ C[i]"): "the dot product prefers long rows: use distances",
        ("norm(dim=1)", "sum(1).abs()"): "differences of +1 and -1 cancel in this sum: square them first",
        ("norm(dim=1)", "abs().sum(1)"): "the absolute differences were added: add their squares",
        ("argsort()[:k].tolist()]", "argsort().tolist() if j not in (0, i)][:k]"): (
            "the boundary '.' is missing: it has a row like any other character"
        ),
        ("[:k]", "[:3]"): "3 is hard-coded: use k",
        (('distances[i] = float("inf")', "pass"), ("[:k]", "[1 : k + 1]")): (
            "a different character may have the same row and come first: leave out the index of c, not the first place"
        ),
    },
    wrong=[
        Wrong(
            lambda C, vocab, c, k: sorted(neighbours(C, vocab, c, k)),
            "these are the right characters in alphabetical order: the nearest comes first",
        ),
    ],
    also_right=[
        edited(neighbours, ("norm(dim=1)", "square().sum(1)")),
        lambda C, vocab, c, k: np.array(neighbours(C, vocab, c, k)),
        lambda C, vocab, c, k: "".join(neighbours(C, vocab, c, k)),
        _sorted_letters,
    ],
    right="by all columns, without the character itself, as characters, the nearest first.",
    hints=[
        "C - C[i] subtracts one row from all rows at once, by broadcasting: (vocab_size, n_embd).",
        "Square, sum over the columns (dim=1), take the root; or .norm(dim=1). That is one distance per character.",
        "Its own distance is 0. Set it to infinity before sorting, then argsort gives the indices, the nearest first.",
        "vocab.itos[j] is the character of index j; j must be a Python number, so .tolist() first.",
    ],
)


# ---- 9.2 a map of many dimensions ------------------------------------------------------------------------------------


def pca(C: Tensor, k: int = 2) -> Tensor:
    """The rows of C (vocab_size, n_embd) along their k widest directions: (vocab_size, k), measured from the mean."""
    centred = C - C.mean(0)  # (vocab_size, n_embd)
    Vh = torch.linalg.svd(centred, full_matrices=False).Vh  # (n_embd, n_embd), a direction in each row
    return centred @ Vh[:k].T  # (vocab_size, k)


def _mapped(answer: Callable[..., object], C: Tensor, k: int) -> object:
    """The map, each column mirrored if need be: to look like the solution's, or else to have a positive peak."""
    out = plain(answer(C, k))
    found, wanted = numbers(out), pca(C, k).double()
    if found is None or found.shape != wanted.shape:
        return out
    found = found.double()
    likeness = torch.cosine_similarity(found, wanted, dim=0)
    peak = found.gather(0, found.abs().argmax(0)[None])[0]
    return torch.where(torch.where(likeness.abs() > 0.5, likeness, peak) < 0, -found, found)


def _by_numpy(C: Tensor, k: int) -> np.ndarray:
    X = C.numpy() - C.numpy().mean(0)
    values, vectors = np.linalg.eigh(np.cov(X.T))
    return X @ vectors[:, np.argsort(-values)[:k]]


def _a_table(rows: int, columns: int) -> Tensor:
    """Rows with a different spread in each direction and their middle away from 0. No column is special."""
    g = torch.Generator().manual_seed(_SEED)
    turn, _ = torch.linalg.qr(torch.randn(columns, columns, generator=g))
    widths = torch.linspace(3, 0.5, columns)
    return torch.randn(rows, columns, generator=g) * widths @ turn + torch.linspace(2, 4, columns)


# Four points on a line in three dimensions: one direction shows everything.
_LINE = torch.tensor([[1.0, 0.0, 2.0], [2.0, 2.0, 4.0], [4.0, 6.0, 8.0], [6.0, 10.0, 12.0]])


def _to_map(C: Tensor, k: int, what: str = "") -> Case:
    rows, columns = C.shape
    return Case(C, k, label=f"for {what or f'a table of {rows} rows and {columns} columns'} and k = {k}")


q2 = Exercise(
    "9.2",
    "a map of many dimensions",
    solution=pca,
    observe=_mapped,
    rtol=1e-3,
    atol=1e-4,
    cases=[
        _to_map(_LINE, 1, "4 rows that lie on a line in 3 dimensions"),
        _to_map(_a_table(27, 10), 2),
        _to_map(_a_table(27, 10).flip(1), 2),
        _to_map(_a_table(40, 5), 2),
        _to_map(_a_table(6, 12), 2),
        _to_map(_a_table(27, 10), 10),
    ],
    edits={
        ("centred @ Vh[:k].T", "C[:, :k]"): (
            "these are the first k columns of C. Which numbers come first is an accident of the random start"
        ),
        (" @ Vh[:k].T", "[:, :k]"): (
            "these are the first k columns of C, centred. A wide direction is a mixture of columns"
        ),
        ("centred @ Vh[:k].T", "centred[:, C.var(0).argsort(descending=True)[:k]]"): (
            "these are the k columns of C that vary most. A wide direction is a mixture of columns"
        ),
        ("C - C.mean(0)", "C"): (
            "the rows were not centred, so the first direction points to their middle: subtract C.mean(0)"
        ),
        ("return centred", "return C"): "C was projected without centring: project the centred rows",
        ("svd(centred", "svd(C"): "svd was given the uncentred rows: centre them first",
        ("Vh[:k].T", "Vh[:, :k]"): (
            "a direction is a row of the Vh of torch.linalg.svd, and a column of the V of torch.svd: you took the other"
        ),
        ("Vh[:k].T", "torch.linalg.eigh(centred.T @ centred).eigenvectors[:, :k]"): (
            "these are the narrowest directions: eigh sorts in ascending order, svd in descending order"
        ),
        ("centred @ Vh[:k].T", "Vh[:k]"): "these are the directions: project the rows on them",
        ("[:k]", "[:2]"): "2 is hard-coded: use k",
        ("Vh[:k].T", "Vh[:k].T.flip(1)"): "the directions are in the wrong order: the widest comes first",
        ("C - C.mean(0)", "(C - C.mean(0)) / C.std(0)"): (
            "each column was divided by its standard deviation, but its width is what the network has learned: "
            "centre only"
        ),
        ("C.mean(0)", "C.mean(1, keepdim=True)"): "the means of the rows were subtracted: use C.mean(0)",
        ("C.mean(0)", "C.mean()"): "one mean of all numbers was subtracted: use C.mean(0)",
        ((".Vh ", ".U "), ("centred @ Vh[:k].T", "Vh[:, :k]")): (
            "these are columns of U, which are all equally wide: S has the width of each direction, so use U * S"
        ),
    },
    also_right=[
        _by_numpy,
        edited(pca, ("Vh = ", "U, S, _ = "), ("False).Vh", "False)"), ("centred @ Vh[:k].T", "-(U * S)[:, :k]")),
        lambda C, k: pca(C.double(), k).tolist(),
    ],
    right="centred, along the widest directions, in their order. (Any of them may be mirrored: the sign is free.)",
    hints=[
        "Start with the middle: C.mean(0) has one number per column. Subtract it.",
        "U, S, Vh = torch.linalg.svd(centred, full_matrices=False). The rows of Vh are the directions, widest first.",
        "The position of a row along a direction is their dot product. A matrix product does all rows and directions.",
        "Shapes: (vocab_size, n_embd) @ (n_embd, k). Which k rows of Vh, and do they need a transpose?",
    ],
)
