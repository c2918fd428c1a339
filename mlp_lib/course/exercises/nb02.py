"""Exercises of page 02: joining the embeddings, the hidden layer, the lookup as a product."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong

# ---- 2.1 join the embeddings -----------------------------------------------------------------------------------------


def join(emb: Tensor) -> Tensor:
    """One row per example: keep the first axis, and let view work out the length of the other."""
    return emb.view(emb.shape[0], -1)  # (N, block_size * n_embd)


def _numbered(*shape: int) -> Case:
    emb = torch.arange(float(torch.Size(shape).numel())).view(shape)
    return Case(emb, label=f"for emb of shape {shape}")


q1 = Exercise(
    "2.1",
    "join the embeddings for any block_size",
    solution=join,
    differentiable=True,
    cases=[
        _numbered(2, 3, 2),
        _numbered(4, 3, 4),
        _numbered(1, 4, 2),
        _numbered(3, 1, 3),
        _numbered(7, 2, 1),
        _numbered(4, 4, 4),
        _numbered(32, 8, 24),
    ],
    edits={
        ("emb.view", "emb.transpose(0, 1).reshape"): (
            "the shape is right, but the examples are mixed: the first axis has to stay in place"
        ),
        ("emb.view", "emb.mT.reshape"): "the numbers of one character have to stay together",
        ("emb.shape[0], -1", "-1, 6"): "6 is hard-coded, so there are more rows than examples",
        ("-1", "6"): "6, or 2 for n_embd, is hard-coded: take both lengths from emb.shape",
        ("emb.shape[0]", "32"): "the number of examples is hard-coded: use emb.shape[0]",
    },
    wrong=[
        Wrong(
            lambda emb: torch.cat(torch.unbind(emb, 1)),
            "the pieces are stacked on top of one another: join them along axis 1",
        ),
        Wrong(
            lambda emb: torch.cat([emb[:, 0, :], emb[:, 1, :], emb[:, 2, :]], 1),
            "three positions are hard-coded: torch.unbind gives as many as there are",
        ),
        Wrong(lambda emb: emb.sum(1), "the characters were added up: put them side by side"),
        Wrong(lambda emb: join(emb).tolist(), "no gradient reaches emb"),
    ],
    also_right=[
        lambda emb: torch.cat(torch.unbind(emb, 1), 1),
        lambda emb: torch.stack([e.flatten() for e in emb]),
        torch.nn.Flatten(),
    ],
    right="right shape and right order for 1 to 8 characters of 1 to 24 numbers.",
    hints=[
        "The result has one row per example. Only the first of the three axes of emb stays as it is.",
        "Both ways on this page work for any length: torch.cat over torch.unbind(emb, 1), or a view. No transpose.",
        "view works out one length by itself, written as -1. Give it the length that you know.",
    ],
)


# ---- 2.2 the hidden layer --------------------------------------------------------------------------------------------


def hidden(joined: Tensor, W1: Tensor, b1: Tensor) -> Tensor:
    """The hidden layer; b1 (n_hidden,) is aligned from the right, so every row gets the same bias."""
    return torch.tanh(joined @ W1 + b1)  # (N, n_hidden)


def _layer(n: int, inputs: int, n_hidden: int) -> Case:
    joined = torch.linspace(-1.0, 0.8, n * inputs).view(n, inputs)
    W1 = torch.linspace(0.7, -0.4, inputs * n_hidden).view(inputs, n_hidden)
    b1 = torch.linspace(-0.6, 0.5, n_hidden)
    return Case(joined, W1, b1, label=f"for joined of shape {(n, inputs)} and W1 of shape {(inputs, n_hidden)}")


q2 = Exercise(
    "2.2",
    "the hidden layer",
    solution=hidden,
    differentiable=True,
    cases=[
        _layer(1, 1, 1),
        _layer(2, 3, 4),
        _layer(3, 2, 3),  # as many neurons as examples: a misplaced bias is silent
        _layer(4, 6, 10),
        _layer(3, 3, 3),
        _layer(1, 5, 2),
        Case(
            torch.tensor([[100.0, 0.0], [-100.0, 1.0], [0.0, 0.5]]),
            torch.eye(2),
            torch.zeros(2),
            label="for preactivations of 100 and -100",
        ),
    ],
    edits={
        ("torch.tanh", ""): "these are the preactivations: squash them into (-1, 1), torch.tanh",
        (" + b1", ""): "the bias is missing",
        ("+ b1", "+ b1[:, None]"): (
            "b1 was added as a column, one bias per example (no error if N is n_hidden): add it as it is"
        ),
        (" + b1)", ") + b1"): "the bias was added after tanh, so h leaves the range -1 to 1",
        ("tanh", "sigmoid"): "this is the sigmoid, from 0 to 1: use tanh, from -1 to 1",
        ("joined @ W1 + b1)", "joined) @ W1 + b1"): "apply tanh last, not to the inputs",
        ("@", "*"): "`*` multiplies entry by entry: `@` sums over the inputs",
        ("joined @ W1", "W1 @ joined"): "the examples go left: joined @ W1",
    },
    wrong=[
        Wrong(
            lambda x, W, b: ((e := (2 * (x @ W + b)).exp()) - 1) / (e + 1),
            "exp(2z) is inf in float32 from z of about 44, and inf / inf is nan: use torch.tanh",
        ),
        Wrong(
            lambda x, W, b: (x @ W + b).sinh() / (x @ W + b).cosh(),
            "exp, sinh and cosh are inf in float32 above 89, and inf / inf is nan: use torch.tanh",
        ),
        Wrong(lambda x, W, b: torch.tensor(hidden(x, W, b).tolist()), "no gradient reaches joined"),
    ],
    also_right=[
        lambda x, W, b: 2 * torch.sigmoid(2 * (x @ W + b)) - 1,
        lambda x, W, b: torch.addmm(b, x, W).tanh_(),
        lambda x, W, b: torch.stack([torch.tanh(row @ W + b) for row in x]),
    ],
    right="h is right and trainable, even with as many examples as neurons, where a misplaced bias raises no error.",
    hints=[
        "Three steps, in this order: the product with W1, the bias, the squashing.",
        "joined @ W1 has shape (N, n_hidden). A bias of shape (n_hidden,) is aligned from the right by itself.",
        "torch.tanh takes the whole table at once and keeps its shape.",
    ],
)


# ---- 2.3 the lookup as a product -------------------------------------------------------------------------------------


def one_hot_embed(X: Tensor, C: Tensor) -> Tensor:
    """The rows of C for the indices X, by a matrix product; one_hot gives int64, so it is cast to float first."""
    onehot = F.one_hot(X, num_classes=C.shape[0]).float()  # (N, block_size, vocab_size)
    return onehot @ C  # (N, block_size, n_embd)


class _Lookups(TorchFunctionMode):
    """Notes whether a table, a view or a copy of it is indexed, or the table taken apart into rows, in the mode."""

    NAMES = ("__getitem__", "index_select", "embedding", "gather", "take", "take_along_dim", "index")

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table
        self.memory = table.untyped_storage().data_ptr()
        self.rows = len(table)
        self.seen = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.NAMES:
            self.seen |= any(self._is_of_table(a) or self._is_copy(a) for a in (*args, *kwargs.values()))
        out = func(*args, **kwargs)
        # whole columns are allowed: they have a multiple of `rows` entries
        pieces = out if isinstance(out, tuple | list) else [out]
        self.seen |= any(self._is_of_table(t) and t.numel() % self.rows for t in pieces)
        return out

    def _is_copy(self, value: object) -> bool:
        try:
            return isinstance(value, Tensor) and torch.equal(value, self.table)
        except (NotImplementedError, RuntimeError):  # a sparse tensor, or one inside vmap
            return False

    def _is_of_table(self, value: object) -> bool:
        try:
            return isinstance(value, Tensor) and value.untyped_storage().data_ptr() == self.memory
        except NotImplementedError:  # a sparse tensor, or one inside vmap
            return False


def _without_lookup(answer: Callable[..., object], X: Tensor, C: Tensor) -> object:
    with _Lookups(C) as watched:
        got = answer(X, C)
    if watched.seen:
        raise Refused("C was indexed, or taken apart into its rows: get them by a product with C")
    return got


_TABLE = torch.tensor([[0.5, 1.0], [10.0, 11.0], [20.0, 21.0], [30.0, 31.0], [40.0, 41.5]])  # (5, 2)

q3 = Exercise(
    "2.3",
    "the lookup as a product",
    solution=one_hot_embed,
    observe=_without_lookup,
    differentiable=True,
    cases=[
        Case(torch.tensor([[0, 4]]), _TABLE, label="for X [[0, 4]] and a table of 5 rows"),
        Case(torch.tensor([[0, 1], [2, 0]]), _TABLE, label="for X [[0, 1], [2, 0]] and a table of 5 rows"),
        Case(torch.tensor([[0, 1], [4, 2], [3, 3]]), _TABLE),
        Case(torch.tensor([[0, 26, 13], [1, 2, 25]]), torch.arange(108.0).view(27, 4)),
        Case(torch.arange(5).repeat(5, 1).t().contiguous(), _TABLE),  # as many rows, columns and symbols
        Case(torch.tensor([[59], [1]]), torch.arange(60.0).view(60, 1)),
    ],
    edits={
        (".float()", ""): "one_hot gives int64: convert it to float",
        (", num_classes=C.shape[0]", ""): "without num_classes one_hot stops at the largest index in X",
        ("C.shape[0]", "27"): "the number of symbols is hard-coded: use C.shape[0]",
        ("@ C", "@ C.T"): "C needs no transpose: its rows belong to the symbols",
        ("onehot @", "onehot.sum(1) @"): "the characters of a context were added up",
        ("(X,", "(X.flatten(),"): "the rows are right, but keep both axes of X",
        (" @ C", ""): "these are the one-hot rows: multiply them by C",
        ((".float()", ""), ("@ C", "@ C.long()")): (
            "C was truncated to integers: convert the one-hot rows instead, to float"
        ),
    },
    wrong=[
        Wrong(lambda X, C: C[X], "C was indexed, or taken apart into its rows"),
        Wrong(lambda X, C: one_hot_embed(X, C).detach(), "no gradient reaches C"),
    ],
    also_right=[
        lambda X, C: torch.eye(len(C))[X] @ C,
        lambda X, C: torch.stack([torch.eye(len(C))[X] @ column for column in C.T], -1),
        lambda X, C: torch.stack([torch.sparse.mm(torch.eye(len(C))[x].to_sparse(), C) for x in X]),
        lambda X, C: torch.vmap(lambda x: (x[:, None] == torch.arange(len(C))).float() @ C)(X),
    ],
    right="the product picks the same rows as C[X], for every table size tried, and a gradient reaches them.",
    hints=[
        "F.one_hot takes the whole of X and adds an axis at the end: (N, block_size, vocab_size).",
        "one_hot counts symbols only up to the largest index in X, unless you pass num_classes. How many rows has C?",
        "A product needs one dtype on both sides: one_hot(...).float() @ C. `@ C` works on the last axis.",
    ],
)
