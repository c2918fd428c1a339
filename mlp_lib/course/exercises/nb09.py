"""Exercises of page 09: the neighbours of a character, and a map by PCA."""

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong
from mlp_lib.course.exercises.values import numbers, plain
from mlp_lib.data import Vocab

_SEED = 2147483647

# ---- 9.1 the neighbours of a character -------------------------------------------------------------------------------


def neighbours(C: Tensor, vocab: Vocab, c: str, k: int) -> list[str]:
    """The k characters whose rows of C (vocab_size, n_embd) lie nearest to that of c, the nearest first."""
    i = vocab.stoi[c]
    distances = (C - C[i]).norm(dim=1)  # (vocab_size,)
    distances[i] = float("inf")  # not itself
    return [vocab.itos[j] for j in distances.argsort()[:k].tolist()]


def _characters(answer: Callable[..., object], C: Tensor, vocab: Vocab, c: str, k: int) -> object:
    """The characters found, equally near ones sorted; raises Refused for anything else."""
    out = plain(answer(C, vocab, c, k))
    found = list(out) if isinstance(out, str | np.ndarray) else out
    if not isinstance(found, list) or not all(isinstance(x, str) for x in found):
        raise Refused(f"expected a list of characters, got {brief(out)}: vocab.itos[j] is the character of index j")
    distance = dict(zip(vocab.stoi, (C - C[vocab.stoi[c]]).norm(dim=1).tolist(), strict=True))
    return [x for _, equal in groupby(found, distance.get) for x in sorted(equal)]


def _by(measure: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., list[str]]:
    """An answer with the k characters whose rows have the lowest `measure(C, row of c)`."""

    def answer(C: Tensor, vocab: Vocab, c: str, k: int) -> list[str]:
        values = measure(C, C[vocab.stoi[c]])
        values[vocab.stoi[c]] = float("inf")
        return [vocab.itos[j] for j in values.argsort()[:k].tolist()]

    return answer


def _distance(C: Tensor, row: Tensor) -> Tensor:
    return (C - row).norm(dim=1)


def _all_sorted(C: Tensor, vocab: Vocab, c: str) -> list[str]:
    """All characters, c among them, the nearest first."""
    return [vocab.itos[j] for j in _distance(C, C[vocab.stoi[c]]).argsort(stable=True).tolist()]


def _indices(C: Tensor, vocab: Vocab, c: str, k: int) -> list[int]:
    return [vocab.stoi[x] for x in neighbours(C, vocab, c, k)]


def _alphabet(C: Tensor, vocab: Vocab, c: str, k: int) -> list[str]:
    usual = Vocab("abcdefghijklmnopqrstuvwxyz")
    return [usual.itos[i] for i in _indices(C, vocab, c, k)]


def _all_pairs(C: Tensor, vocab: Vocab, c: str, k: int) -> np.ndarray:
    D = np.linalg.norm(C.numpy()[:, None] - C.numpy(), axis=2)
    np.fill_diagonal(D, np.inf)
    return np.array([vocab.itos[int(j)] for j in D[vocab.stoi[c]].argsort()[:k]])


def _sorted_letters(C: Tensor, vocab: Vocab, c: str, k: int) -> list[str]:
    row = {x: C[i].tolist() for x, i in vocab.stoi.items()}
    return sorted(set(row) - {c}, key=lambda x: math.dist(row[x], row[c]))[:k]


def _among(C: object, vocab: Vocab, c: str, k: int) -> Case:
    C = torch.as_tensor(C)
    label = f"for the {k} nearest to {c!r} among {len(vocab)} symbols in {C.shape[1]} dimensions"
    return Case(C, vocab, c, k, label=label)


# Distances from a: b 1, c 2, d 3.3, e 4, "." 5. The first two columns alone, the directions from the middle, and the
# sums of differences, with signs or without, would each give another order.
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
    ],
    wrong=[
        Wrong(
            lambda C, vocab, c, k: _all_sorted(C, vocab, c)[:k],
            "the character itself is among them, at distance 0: ask for the others",
        ),
        Wrong(
            lambda C, vocab, c, k: _all_sorted(C, vocab, c)[1 : k + 1],
            "another row is equal to its own, so the first place may be the other's: take out its own index, not the "
            "first place",
        ),
        Wrong(
            _by(lambda C, row: torch.where(_distance(C, row) == 0, math.inf, _distance(C, row))),
            "a character with the same row as c was left out too: it is the nearest there is",
        ),
        Wrong(_indices, "expected a list of characters, got [2, 3, 4]: vocab.itos[j] is the character of index j"),
        Wrong(_alphabet, "an alphabet is written in it: vocab.itos has the characters of this table"),
        Wrong(
            lambda C, vocab, c, k: neighbours(C[:, :2], vocab, c, k),
            "the neighbours in columns 0 and 1 alone: all columns count",
        ),
        Wrong(_by(lambda C, row: -_distance(C, row)), "the farthest ones: the smallest distance comes first"),
        Wrong(
            _by(lambda C, row: -torch.cosine_similarity(C, row[None])),
            "the order of the cosine, which compares directions from the origin: distances are asked for",
        ),
        Wrong(
            _by(lambda C, row: -C @ row),
            "the order of the dot product, in which long rows win: distances are asked for",
        ),
        Wrong(
            _by(lambda C, row: (C - row).sum(1).abs()),
            "the order of added differences: +1 in one column and -1 in another cancel, so square first",
        ),
        Wrong(
            _by(lambda C, row: (C - row).abs().sum(1)),
            "the order of absolute differences added up. The Euclidean distance squares them before adding",
        ),
        Wrong(
            lambda C, vocab, c, k: [x for x in neighbours(C, vocab, c, len(vocab) - 1) if x != "."][:k],
            "without the boundary '.', which has a row of its own like any other",
        ),
        Wrong(lambda C, vocab, c, k: neighbours(C, vocab, c, 3), "the number 3 is written in it: use k"),
        Wrong(
            lambda C, vocab, c, k: sorted(neighbours(C, vocab, c, k)),
            "the right characters in the order of the alphabet: the nearest comes first",
        ),
    ],
    also_right=[
        _by(lambda C, row: ((C - row) ** 2).sum(1)),
        _all_pairs,
        lambda C, vocab, c, k: "".join(neighbours(C, vocab, c, k)),
        _sorted_letters,
    ],
    right="all columns count, the character itself does not, and what comes back are characters, the nearest first.",
    hints=[
        "C - C[i] subtracts one row from all rows at once, by broadcasting: (vocab_size, n_embd).",
        "Square, sum over the columns (dim=1), take the root; or .norm(dim=1). One distance per character.",
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
    """The map, each column turned to the side of the solution's: a sign means nothing."""
    out = plain(answer(C, k))
    found, wanted = numbers(out), pca(C, k).double()
    if found is None or found.shape != wanted.shape:
        return out
    return _turned(found.double(), wanted)


def _turned(found: Tensor, wanted: Tensor) -> Tensor:
    """Each column turned towards the one wanted; where they have little in common, its largest number is positive."""
    likeness = torch.cosine_similarity(found, wanted, dim=0)
    largest = found.gather(0, found.abs().argmax(0)[None])[0]
    return torch.where(torch.where(likeness.abs() > 0.5, likeness, largest) < 0, -found, found)


def _svd(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.linalg.svd(X, full_matrices=False)


def _from(middle: Callable[[Tensor], object], C: Tensor, k: int) -> Tensor:
    """The map with something else than the mean of each column subtracted."""
    X = C - middle(C)
    return X @ _svd(X)[2][:k].T


def _by_numpy(C: Tensor, k: int) -> np.ndarray:
    X = C.numpy() - C.numpy().mean(0)
    values, vectors = np.linalg.eigh(np.cov(X.T))
    return X @ vectors[:, np.argsort(-values)[:k]]


def _u_times_s(C: Tensor, k: int) -> Tensor:
    U, S, _ = _svd(C - C.mean(0, keepdim=True))
    return (U * S)[:, :k]


def _a_table(rows: int, columns: int) -> Tensor:
    """Rows whose spread differs from direction to direction and whose middle is away from 0. No column is special."""
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
    wrong=[
        Wrong(
            lambda C, k: C[:, :k],
            "these are the first k columns of C. Which numbers stand first is an accident of the random start",
        ),
        Wrong(
            lambda C, k: (C - C.mean(0))[:, :k],
            "these are the first k columns of C, centred. A wide direction is a mixture of columns",
        ),
        Wrong(
            lambda C, k: (C - C.mean(0))[:, C.var(0).argsort(descending=True)[:k]],
            "these are the k columns of C that vary most. A wide direction is a mixture of columns",
        ),
        Wrong(
            partial(_from, lambda C: 0),
            "the rows were not centred, so the first direction points from 0 to their middle: subtract C.mean(0) first",
        ),
        Wrong(
            lambda C, k: C @ _svd(C - C.mean(0))[2][:k].T,
            "the rows were not centred for the product: project the centred rows, too",
        ),
        Wrong(
            lambda C, k: (C - C.mean(0)) @ _svd(C)[2][:k].T,
            "the directions are those of the rows as they stand: centre before the svd, not after it",
        ),
        Wrong(
            lambda C, k: _svd(C - C.mean(0))[0][:, :k],
            "these are columns of U, which are all equally wide: S says how wide each direction is, and U * S has it",
        ),
        Wrong(
            lambda C, k: pca(C, k) / pca(C, k).std(0),
            "each column of the map has been divided by its width: a map keeps the widths of its directions",
        ),
        Wrong(
            lambda C, k: (C - C.mean(0)) @ _svd(C - C.mean(0))[2][:, :k],
            "you projected on columns of Vh. torch.linalg.svd returns V transposed: a direction is a row of it",
        ),
        Wrong(
            lambda C, k: (C - C.mean(0)) @ torch.linalg.eigh((C - C.mean(0)).T @ (C - C.mean(0))).eigenvectors[:, :k],
            "these are the narrowest directions: eigh sorts upwards, svd downwards",
        ),
        Wrong(lambda C, k: _svd(C - C.mean(0))[2][:k], "these are the directions. Where does each row lie along them?"),
        Wrong(lambda C, k: pca(C, 2), "the number 2 is written in it: use k"),
        Wrong(lambda C, k: pca(C, k).flip(1), "the right directions in the wrong order: the widest is column 0"),
        Wrong(
            lambda C, k: pca((C - C.mean(0)) / C.std(0), k),
            "each column was divided by its standard deviation first. The columns are in the same unit, and a wide "
            "one is wide because the network made it so: centre only",
        ),
        Wrong(
            partial(_from, lambda C: C.mean(1, keepdim=True)),
            "the mean of each row was subtracted: each column has a mean of its own, C.mean(0)",
        ),
        Wrong(
            partial(_from, Tensor.mean),
            "one mean over all numbers was subtracted: each column has a mean of its own, C.mean(0)",
        ),
    ],
    also_right=[
        _by_numpy,
        lambda C, k: -_u_times_s(C, k),
        lambda C, k: pca(C.double(), k).tolist(),
    ],
    right="centred, along the widest directions, in their order. (Each may be mirrored: a sign means nothing.)",
    hints=[
        "First the middle: C.mean(0) has one number per column. Subtract it.",
        "U, S, Vh = torch.linalg.svd(centred, full_matrices=False). The rows of Vh are the directions, widest first.",
        "Where a row lies along a direction is their dot product; all rows and k directions at once: a matrix product.",
        "Shapes: (vocab_size, n_embd) @ (n_embd, k). Which k of Vh, and which way round?",
    ],
)
