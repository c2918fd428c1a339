"""Exercises of notebook 02: the lookup as a product, joining the embeddings, the hidden layer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mlp_lib.course.exercises.answers import own_function
from mlp_lib.course.exercises.base import Exercise, Mistake

# ---- what the three checks share -------------------------------------------------------------------------------------


def _is_tensor(got: object, shape: tuple[int, ...]) -> Tensor:
    if got is None:
        raise Mistake("your function returned None: is there a `return`?")
    if not isinstance(got, Tensor):
        raise Mistake(f"your function should return a tensor of shape {shape}, but it returned {type(got).__name__}.")
    return got


def _close(got: Tensor, expected: Tensor) -> bool:
    return got.shape == expected.shape and torch.allclose(got.to(expected.dtype), expected, atol=1e-5)


def _row(t: Tensor) -> str:
    return str([round(v, 2) for v in t.flatten().tolist()])


def _says(error: Exception) -> str:
    return " ".join(str(error).split())[:110]


# ---- 2.1 -------------------------------------------------------------------------------------------------------------


def one_hot_embed(X: Tensor, C: Tensor) -> Tensor:
    """The rows of C for the indices X, by a matrix product; one_hot counts in int64, so it is made float first."""
    onehot = F.one_hot(X, num_classes=C.shape[0]).float()  # (N, block_size, vocab_size)
    return onehot @ C  # (N, block_size, n_embd)


class _Lookups(TorchFunctionMode):
    """Notes whether a table, under whatever name, is read by position while the mode is on."""

    NAMES = ("__getitem__", "index_select", "embedding", "gather", "take", "take_along_dim", "index")

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.memory = table.untyped_storage().data_ptr()
        self.seen = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        kwargs = kwargs or {}
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        if getattr(func, "__name__", "") in self.NAMES:
            self.seen |= any(t.untyped_storage().data_ptr() == self.memory for t in tensors)
        return func(*args, **kwargs)


_TABLE = torch.tensor([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0], [30.0, 31.0], [40.0, 41.0]])  # (5, 2): row i is 10 i


def _call_embed(answer: Callable[..., object], X: Tensor, C: Tensor) -> Tensor:
    expected = C[X]
    given_X, given_C = X.clone(), C.clone()
    try:
        got = answer(given_X, given_C)
    except (RuntimeError, ValueError, IndexError) as error:
        if "dtype" in str(error) or "Long" in str(error):
            raise Mistake(
                f"torch refused the product: {_says(error)}. F.one_hot gives int64 and C is float32; "
                "which method makes a tensor float?"
            ) from None
        if X.max() < C.shape[0] - 1 and _runs(answer, torch.full_like(X, C.shape[0] - 1), C.clone()):
            raise Mistake(
                f"right only if the last symbol occurs in X; for X with indices up to {int(X.max())} and a C of "
                f"{C.shape[0]} rows torch said: {_says(error)}. How does one_hot know how many symbols there are?"
            ) from None
        raise Mistake(
            f"for X of shape {tuple(X.shape)} and C of shape {tuple(C.shape)} torch said: {_says(error)}. "
            "Is there a size in your code that should come from C?"
        ) from None
    if not torch.equal(given_X, X) or not torch.equal(given_C, C):
        raise Mistake("X or C is not as it was before the call: make new tensors, `C * 2` and not `C *= 2`")
    got = _is_tensor(got, tuple(expected.shape))
    if got.shape != expected.shape:
        gone = ""
        if got.shape == (X.numel(), C.shape[1]):
            gone = " The rows are there, but X had two axes and both should survive."
        elif got.ndim == 2:
            gone = " The characters of a context were merged; each keeps a row of its own."
        raise Mistake(
            f"for X {tuple(X.shape)} and C {tuple(C.shape)} expected shape {tuple(expected.shape)}, "
            f"got {tuple(got.shape)}.{gone}"
        )
    if not _close(got, expected):
        if _close(got, C.long()[X]):
            raise Mistake("C was made whole numbers, and its fractions are gone: make the one-hot float instead")
        where = (~torch.isclose(got.to(expected.dtype), expected)).nonzero()[0].tolist()
        i, k = where[:2]
        raise Mistake(
            f"shape right, numbers wrong: X[{i}, {k}] is {int(X[i, k])}, whose row of C is {_row(expected[i, k])}; "
            f"got {_row(got[i, k])}. Along which axis is your one-hot?"
        )
    return got


def _runs(answer: Callable[..., object], X: Tensor, C: Tensor) -> bool:
    try:
        answer(X, C)
    except Exception:
        return False
    return True


def _check_embed(answer: object) -> str:
    own_function(answer, "q1.check(one_hot_embed)")
    _call_embed(answer, torch.tensor([[0, 1], [4, 2], [3, 3]]), _TABLE)
    _call_embed(answer, torch.tensor([[0, 1], [2, 0]]), _TABLE)  # the last symbols do not occur
    _call_embed(answer, torch.tensor([[0, 26, 13], [1, 2, 25]]), torch.arange(27.0 * 4).view(27, 4))
    _call_embed(answer, torch.arange(5).repeat(5, 1).t().contiguous(), _TABLE)  # as many rows as columns as symbols
    _call_embed(answer, torch.tensor([[0, 1], [4, 2]]), _TABLE / 8)  # a table with fractions
    table = _TABLE.clone()
    with _Lookups(table) as watched:
        answer(torch.tensor([[0, 4]]), table)
    if watched.seen:
        raise Mistake("the numbers are right, but C was indexed: the exercise is to reach them by a product with C.")
    return "the product picks the same rows as C[X], for every table size tried, seen symbols or not."


q1 = Exercise(
    "2.1",
    "the lookup as a product",
    _check_embed,
    hints=[
        "Build the one-hot vectors of the whole of X at once: F.one_hot adds an axis at the end, so (N, block_size) "
        "becomes (N, block_size, vocab_size).",
        "one_hot counts symbols only up to the largest index it sees, unless you give num_classes. The table knows "
        "how many there are: C.shape[0].",
        "A product wants both sides in one dtype, and one_hot gives int64. After .float(), `@ C` works on the last "
        "axis of any number of axes.",
    ],
    solution=one_hot_embed,
)


# ---- 2.2 -------------------------------------------------------------------------------------------------------------


def join(emb: Tensor) -> Tensor:
    """One row per example: keep the first axis, and let view work out the length of the other."""
    return emb.view(emb.shape[0], -1)  # (N, block_size * n_embd)


def _numbered(n: int, block_size: int, n_embd: int) -> Tensor:
    return torch.arange(float(n * block_size * n_embd)).view(n, block_size, n_embd)


def _check_join_once(answer: Callable[..., object], n: int, block_size: int, n_embd: int) -> None:
    emb = _numbered(n, block_size, n_embd)
    expected = emb.view(n, -1)
    seen = f"for emb of shape {(n, block_size, n_embd)}"
    try:
        got = answer(emb.clone())
    except (RuntimeError, IndexError, ValueError) as error:
        raise Mistake(
            f"{seen} it raised: {_says(error)}. Is a length written as a number that has to follow from emb.shape?"
        ) from None
    got = _is_tensor(got, tuple(expected.shape))
    if got.shape == expected.shape:
        if torch.equal(got.to(emb.dtype), expected):
            return
        rows = f"row 0 should be {_row(expected[0])}, got {_row(got[0])}"
        if torch.equal(got[0].to(emb.dtype).sort().values, expected[0]):
            raise Mistake(
                f"{seen} the shape is right, but the order within a row is not: {rows}. Each character's numbers "
                "stay together, and the characters keep the order of the context."
            )
        raise Mistake(
            f"{seen} the shape is right, but the examples are mixed: {rows}. Which axis may not change its place?"
        )
    shapes = f"expected {tuple(expected.shape)}, got {tuple(got.shape)}"
    if got.ndim == 1:
        raise Mistake(f"{seen} {shapes}: everything is in one row; each example needs a row of its own.")
    if torch.equal(got.to(emb.dtype), expected.T):
        raise Mistake(f"{seen} {shapes}: the table is transposed. The examples are its rows, not its columns.")
    if got.shape == (n, n_embd):
        raise Mistake(f"{seen} {shapes}: the characters were added or dropped, but they stand side by side in a row.")
    if got.shape == (n * block_size, n_embd):
        raise Mistake(f"{seen} {shapes}: the pieces stand below one another. Along which axis are they joined?")
    if got.shape == (n, block_size):
        raise Mistake(f"{seen} {shapes}: one number for each character, but all {n_embd} of them belong in the row.")
    if got.ndim == 2 and got.shape[0] != n and got.numel() == expected.numel():
        raise Mistake(
            f"{seen} {shapes}: {got.shape[0]} rows for {n} examples, and no error. Is a length written as a number, "
            "or taken from another axis than the first?"
        )
    if got.ndim == 2 and got.shape[0] == n and got.shape[1] < expected.shape[1]:
        raise Mistake(f"{seen} {shapes}: only the first characters were joined. Does your code count them by hand?")
    raise Mistake(f"{seen} {shapes}.")


def _check_join(answer: object) -> str:
    own_function(answer, "q2.check(join)")
    for n, block_size, n_embd in [(2, 3, 2), (4, 3, 4), (5, 4, 2), (3, 1, 3), (7, 2, 1), (32, 8, 24)]:
        _check_join_once(answer, n, block_size, n_embd)
    return "right shape and right order for 1 to 8 characters of 1 to 24 numbers."


q2 = Exercise(
    "2.2",
    "join the embeddings for any block_size",
    _check_join,
    hints=[
        "The result has one row per example. Only one of the three axes of emb survives as it is: the first.",
        "Both ways of this page work for any length: torch.cat over torch.unbind(emb, 1), or a view. "
        "Neither needs a transpose.",
        "view accepts one -1 for a length that it is to work out. Give it the length that you know for certain.",
    ],
    solution=join,
)


# ---- 2.3 -------------------------------------------------------------------------------------------------------------


def hidden(joined: Tensor, W1: Tensor, b1: Tensor) -> Tensor:
    """The hidden layer; b1 (n_hidden,) is aligned from the right, so every row gets the same bias."""
    return torch.tanh(joined @ W1 + b1)  # (N, n_hidden)


def _layer(n: int, inputs: int, n_hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    joined = torch.linspace(-1.0, 0.8, n * inputs).view(n, inputs)
    W1 = torch.linspace(0.7, -0.4, inputs * n_hidden).view(inputs, n_hidden)
    return joined, W1, torch.linspace(-0.6, 0.5, n_hidden)


def _wrong_layers(joined: Tensor, W1: Tensor, b1: Tensor) -> dict[str, Tensor]:
    """What the usual mistakes compute, and the sentence for each."""
    pre = joined @ W1
    wrong = {
        "these are the preactivations: the squashing into (-1, 1) is missing.": pre + b1,
        "the bias is missing.": torch.tanh(pre),
        "the bias was added after tanh, so h leaves the range from -1 to 1.": torch.tanh(pre) + b1,
        "this is the sigmoid, from 0 to 1; the lecture's layer uses tanh, from -1 to 1.": torch.sigmoid(pre + b1),
        "the bias was subtracted.": torch.tanh(pre - b1),
    }
    if len(joined) == len(b1):
        wrong["b1 went down the column, one number per example; each neuron has its own bias."] = torch.tanh(
            pre + b1[:, None]
        )
    return wrong


def _check_layer_once(answer: Callable[..., object], n: int, inputs: int, n_hidden: int) -> None:
    joined, W1, b1 = _layer(n, inputs, n_hidden)
    expected = torch.tanh(joined @ W1 + b1)
    seen = f"for {n} examples and {n_hidden} neurons"
    try:
        got = answer(joined.clone(), W1.clone(), b1.clone())
    except (RuntimeError, IndexError, ValueError) as error:
        if n != n_hidden and _bias_down_the_column(answer):
            raise Mistake(
                f"{seen} it raised: {_says(error)}. With as many neurons as examples it would not: b1 goes down the "
                "column, so neuron 0 gets the bias of neuron 1 in row 1."
            ) from None
        why = "Did you use `@`, which sums over the inputs, and not `*`?"
        if "mat1 and mat2" in str(error):  # only a product says this
            why = "Which of the two stands on the left, and is one transposed?"
        raise Mistake(
            f"{seen} (inputs {n}x{inputs}, W1 {inputs}x{n_hidden}) it raised: {_says(error)}. {why}"
        ) from None
    got = _is_tensor(got, tuple(expected.shape))
    if got.shape != expected.shape:
        raise Mistake(
            f"{seen} expected shape {tuple(expected.shape)}, got {tuple(got.shape)}: "
            "each example meets each neuron once, which is what `@` does."
        )
    if _close(got, expected):
        return
    for sentence, values in _wrong_layers(joined, W1, b1).items():
        if _close(got, values):
            raise Mistake(f"{seen} {sentence}")
    raise Mistake(
        f"{seen} the shape is right, but h[0, 0] should be {expected[0, 0].item():.4f} and is {got[0, 0].item():.4f}."
    )


def _bias_down_the_column(answer: Callable[..., object]) -> bool:
    joined, W1, b1 = _layer(3, 2, 3)
    try:
        got = answer(joined, W1, b1)
    except Exception:
        return False
    return isinstance(got, Tensor) and _close(got, torch.tanh(joined @ W1 + b1[:, None]))


def _check_layer(answer: object) -> str:
    own_function(answer, "q3.check(hidden)")
    for n, inputs, n_hidden in [(2, 3, 4), (3, 2, 3), (1, 1, 1), (4, 6, 10), (1, 5, 2)]:
        _check_layer_once(answer, n, inputs, n_hidden)
    return "h is right, also where there are as many examples as neurons and a misplaced bias would be silent."


q3 = Exercise(
    "2.3",
    "the hidden layer",
    _check_layer,
    hints=[
        "Three steps, in this order: the product with W1, the bias, the squashing.",
        "joined @ W1 has shape (N, n_hidden). A bias of shape (n_hidden,) is aligned from the right without any help.",
        "torch.tanh takes the whole table at once and leaves its shape as it is.",
    ],
    solution=hidden,
)
