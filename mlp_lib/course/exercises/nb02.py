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
    wrong=[
        Wrong(
            lambda emb: torch.cat(torch.unbind(emb, 1), 0),
            "the pieces stand below one another: along which axis are they joined?",
        ),
        Wrong(
            lambda emb: emb.transpose(0, 1).reshape(emb.shape[0], -1),
            "the shape is right, but the examples are mixed: which axis may not change its place?",
        ),
        Wrong(
            lambda emb: emb.permute(0, 2, 1).reshape(emb.shape[0], -1),
            "the order within a row is not right: the numbers of a character stay together",
        ),
        Wrong(
            lambda emb: emb.view(-1, 6),
            "a 6 is written in it, so there are more rows than examples, and no error is raised",
        ),
        Wrong(
            lambda emb: emb.view(emb.shape[0], 6),
            "is a 6, or a 2 for n_embd, written in it? block_size * n_embd follows from emb.shape",
        ),
        Wrong(lambda emb: emb.view(32, -1), "a number of examples is written in it: it is emb.shape[0]"),
        Wrong(
            lambda emb: torch.cat([emb[:, 0, :], emb[:, 1, :], emb[:, 2, :]], 1),
            "three positions are written in it: torch.unbind gives as many as there are",
        ),
        Wrong(lambda emb: emb.sum(1), "the characters were added up: they stand side by side in a row"),
        Wrong(lambda emb: emb, "nothing was joined: each example still has a row per character"),
        Wrong(lambda emb: join(emb).tolist(), "no gradient reaches emb"),
    ],
    also_right=[
        lambda emb: torch.cat(torch.unbind(emb, 1), 1),
        lambda emb: torch.stack([e.flatten() for e in emb]),
        torch.nn.Flatten(),
    ],
    right="right shape and right order for 1 to 8 characters of 1 to 24 numbers.",
    hints=[
        "The result has one row per example. Only one of the three axes of emb survives as it is: the first.",
        "Both ways of this page work for any length: torch.cat over torch.unbind(emb, 1), or a view. "
        "Neither needs a transpose.",
        "view accepts one -1 for a length that it is to work out. Give it the length that you know for certain.",
    ],
)


# ---- 2.2 the hidden layer --------------------------------------------------------------------------------------------


def hidden(joined: Tensor, W1: Tensor, b1: Tensor) -> Tensor:
    """The hidden layer; b1 (n_hidden,) is aligned from the right, so every row gets the same bias."""
    return torch.tanh(joined @ W1 + b1)  # (N, n_hidden)


def _layer(n: int, inputs: int, n_hidden: int) -> Case:
    joined = torch.linspace(-1.0, 0.8, n * inputs).view(n, inputs)
    W1 = torch.linspace(0.7, -0.4, inputs * n_hidden).view(inputs, n_hidden)
    counted = [f"{k} {what}{'s' * (k > 1)}" for k, what in ((n, "example"), (inputs, "input"), (n_hidden, "neuron"))]
    said = "for {} of {} and {}".format(*counted)
    return Case(joined, W1, torch.linspace(-0.6, 0.5, n_hidden), label=said)


def _by_exp(z: Tensor) -> Tensor:
    return ((2 * z).exp() - 1) / ((2 * z).exp() + 1)


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
    wrong=[
        Wrong(
            lambda x, W, b: x @ W + b, "these are the preactivations: the squashing into (-1, 1) is missing, torch.tanh"
        ),
        Wrong(lambda x, W, b: torch.tanh(x @ W), "the bias is missing"),
        Wrong(
            lambda x, W, b: torch.tanh(x @ W + b[:, None]),
            "b1 was added as a column, one bias per example, which raises no error if there are as many neurons: add "
            "it as it is",
        ),
        Wrong(
            lambda x, W, b: torch.tanh(x @ W) + b, "the bias was added after tanh, so h leaves the range from -1 to 1"
        ),
        Wrong(
            lambda x, W, b: torch.sigmoid(x @ W + b),
            "this is the sigmoid, from 0 to 1: the lecture's layer uses tanh, from -1 to 1",
        ),
        Wrong(lambda x, W, b: torch.tanh(x) @ W + b, "tanh was applied to the inputs: it comes last"),
        Wrong(
            lambda x, W, b: torch.tanh(x * W + b),
            "`*` multiplies entry by entry: `@` sums over the inputs",
        ),
        Wrong(
            lambda x, W, b: torch.tanh(W @ x + b),
            "the sides are exchanged: the examples stand on the left, joined @ W1",
        ),
        Wrong(
            lambda x, W, b: _by_exp(x @ W + b),
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
    right="h is right and trainable, also where as many examples as neurons would hide a misplaced bias.",
    hints=[
        "Three steps, in this order: the product with W1, the bias, the squashing.",
        "joined @ W1 has shape (N, n_hidden). A bias of shape (n_hidden,) is aligned from the right without any help.",
        "torch.tanh takes the whole table at once and leaves its shape as it is.",
    ],
)


# ---- 2.3 the lookup as a product -------------------------------------------------------------------------------------


def one_hot_embed(X: Tensor, C: Tensor) -> Tensor:
    """The rows of C for the indices X, by a matrix product; one_hot counts in int64, so it is made float first."""
    onehot = F.one_hot(X, num_classes=C.shape[0]).float()  # (N, block_size, vocab_size)
    return onehot @ C  # (N, block_size, n_embd)


class _Lookups(TorchFunctionMode):
    """Notes whether a table, under whatever name, is read by position or taken apart into rows in the mode."""

    NAMES = ("__getitem__", "index_select", "embedding", "gather", "take", "take_along_dim", "index")

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.memory = table.untyped_storage().data_ptr()
        self.rows = len(table)
        self.seen = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        kwargs = kwargs or {}
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        if getattr(func, "__name__", "") in self.NAMES:
            self.seen |= any(map(self._is_of_table, tensors))
        out = func(*args, **kwargs)
        pieces = [t for t in (out if isinstance(out, tuple | list) else [out]) if isinstance(t, Tensor)]
        # a piece of whole columns has an entry of each row, so a multiple of their number
        self.seen |= any(self._is_of_table(t) and t.numel() % self.rows for t in pieces)
        return out

    def _is_of_table(self, t: Tensor) -> bool:
        try:
            return t.untyped_storage().data_ptr() == self.memory
        except NotImplementedError:  # a sparse tensor, or one inside vmap
            return False


def _without_lookup(answer: Callable[..., object], X: Tensor, C: Tensor) -> object:
    with _Lookups(C) as watched:
        got = answer(X, C)
    if watched.seen:
        raise Refused("C was indexed, or taken apart into its rows: the exercise is to reach them by a product with C")
    return got


def _hot(X: Tensor, C: Tensor) -> Tensor:
    return F.one_hot(X, C.shape[0]).float()


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
    wrong=[
        Wrong(
            lambda X, C: F.one_hot(X, C.shape[0]) @ C,
            "F.one_hot gives int64 and C is float32: which method makes a tensor float?",
        ),
        Wrong(
            lambda X, C: F.one_hot(X).float() @ C,
            "one_hot counts the symbols up to the largest in X: give it num_classes",
        ),
        Wrong(
            lambda X, C: F.one_hot(X, 27).float() @ C, "a number of symbols is written in it: take it from C.shape[0]"
        ),
        Wrong(
            lambda X, C: _hot(X, C).sum(1) @ C, "the characters of a context were added up: each keeps a row of its own"
        ),
        Wrong(lambda X, C: _hot(X.flatten(), C) @ C, "the rows are there, but X has two axes and both should survive"),
        Wrong(_hot, "those are the one-hot rows: multiply them by C"),
        Wrong(
            lambda X, C: F.one_hot(X, C.shape[0]) @ C.long(),
            "C was made whole numbers, and its fractions are gone: make the one-hot float instead",
        ),
        Wrong(lambda X, C: C[X], "C was indexed, or taken apart into its rows"),
        Wrong(lambda X, C: one_hot_embed(X, C).detach(), "no gradient reaches C"),
    ],
    also_right=[
        lambda X, C: torch.eye(C.shape[0])[X] @ C,
        lambda X, C: torch.stack([_hot(X, C) @ column for column in C.T], -1),
        lambda X, C: torch.stack([torch.sparse.mm(_hot(x, C).to_sparse(), C) for x in X]),
        lambda X, C: torch.vmap(lambda x: (x[:, None] == torch.arange(len(C))).float() @ C)(X),
    ],
    right="the product picks the same rows as C[X], for every table size tried, and a gradient reaches them.",
    hints=[
        "Build the one-hot vectors of the whole of X at once: F.one_hot adds an axis at the end, so (N, block_size) "
        "becomes (N, block_size, vocab_size).",
        "one_hot counts symbols only up to the largest index it sees, unless you give num_classes. The table knows "
        "how many there are: C.shape[0].",
        "A product wants both sides in one dtype, and one_hot gives int64. After .float(), `@ C` works on the last "
        "axis of any number of axes.",
    ],
)
