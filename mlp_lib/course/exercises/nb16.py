"""Exercises of page 16: the gradient of the look-up, the gradient of a relu layer."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong

# ---- 16.1 back through the look-up -----------------------------------------------------------------------------------


def embedding_backward(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    """The gradient dC (vocab_size, n_embd), from contexts X (B, block_size) and demb (B, block_size * n_embd)."""
    n_embd = demb.shape[1] // X.shape[1]
    dC = np.zeros((vocab_size, n_embd), dtype=demb.dtype)
    np.add.at(dC, X.ravel(), demb.reshape(-1, n_embd))  # unlike dC[...] += ..., once for each look-up
    return dC


def _pieces(X: np.ndarray, demb: np.ndarray) -> np.ndarray:
    return demb.reshape(-1, demb.shape[1] // X.shape[1])


def _added_once(
    parts: Callable[[np.ndarray, np.ndarray], Iterable[tuple[np.ndarray, np.ndarray]]],
) -> Callable[..., np.ndarray]:
    """An answer with `dC[rows] += pieces` for each pair of `parts(X, pieces)`, pieces (B, block_size, n_embd)."""

    def answer(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
        pieces = demb.reshape(*X.shape, -1)
        dC = np.zeros((vocab_size, pieces.shape[2]))
        for rows, some in parts(X, pieces):
            dC[rows] += some
        return dC

    return answer


def _averaged(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    counts = np.bincount(X.ravel(), minlength=vocab_size)[:, None]
    return embedding_backward(X, demb, vocab_size) / np.maximum(counts, 1)


def _crossed(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    B, block_size = X.shape
    mixed = demb.reshape(B, -1, block_size).transpose(0, 2, 1).reshape(B, -1)
    return embedding_backward(X, mixed, vocab_size)


def _one_hot(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    return np.eye(vocab_size)[X.ravel()].T @ _pieces(X, demb)


def _in_loops(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> list[list[float]]:
    n_embd = demb.shape[1] // X.shape[1]
    dC = [[0.0] * n_embd for _ in range(vocab_size)]
    for x, row in zip(X.tolist(), demb.tolist(), strict=True):
        for k, symbol in enumerate(x):
            for j in range(n_embd):
                dC[symbol][j] += row[k * n_embd + j]
    return dC


def _in_torch(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> Tensor:
    pieces = torch.from_numpy(_pieces(X, demb))
    return torch.zeros((vocab_size, pieces.shape[1]), dtype=pieces.dtype).index_add_(0, torch.tensor(X.ravel()), pieces)


def _looked_up(B: int, block_size: int, n_embd: int, vocab_size: int, symbols: int, dtype: type = np.float64) -> Case:
    """Random contexts of the first `symbols` symbols."""
    rng = np.random.default_rng(5)
    X, demb = rng.integers(0, symbols, (B, block_size)), rng.standard_normal((B, block_size * n_embd)).astype(dtype)
    return Case(X, demb, vocab_size, label=f"for {B} contexts of {block_size} out of {vocab_size} symbols")


q1 = Exercise(
    "16.1",
    "back through the look-up",
    solution=embedding_backward,
    cases=[
        Case(np.array([[2, 1]]), np.array([[1.0, 2.0, 10.0, 20.0]]), 4),  # no symbol twice: order and shape
        Case(np.array([[1, 1]]), np.array([[10.0, 2.0, 1.0, 20.0]]), 4),  # twice in one context
        Case(np.array([[0], [2], [0]]), np.array([[1.0], [10.0], [4.0]]), 3),  # in two contexts
        Case(np.array([[0, 2], [2, 1]]), np.array([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]]), 3),
        _looked_up(40, 3, 4, 6, symbols=5),
        _looked_up(200, 8, 10, 60, symbols=60, dtype=np.float32),
    ],
    rtol=1e-3,
    atol=1e-4,
    wrong=[
        Wrong(
            _added_once(lambda X, pieces: [(X, pieces)]),
            "dC[X] = ... overwrites, and dC[X] += ... adds only once to a row that X names twice: see np.add.at, or a "
            "loop",
        ),
        Wrong(
            _added_once(lambda X, pieces: zip(X.T, pieces.swapaxes(0, 1), strict=True)),
            "dC[X[:, k]] += ... adds only once to a row that several contexts name at this position: see np.add.at",
        ),
        Wrong(
            _added_once(lambda X, pieces: zip(X, pieces, strict=True)),
            "dC[x] += ... adds only once to a row that a context names twice: see np.add.at",
        ),
        Wrong(
            lambda X, demb, vocab_size: _pieces(X, demb), "that is a row for each look-up: C has a row for each symbol"
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, demb, X.max() + 1),
            "C has vocab_size rows, also for symbols above the highest one in X",
        ),
        Wrong(_averaged, "that is the mean of what came back: gradients of several uses add up"),
        Wrong(
            _crossed,
            "the numbers of a position are mixed with those of another. demb's row is position after position, n_embd "
            "numbers each: reshape(-1, n_embd)",
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, demb, vocab_size) / len(X),
            "that is divided by the batch size: demb holds this division already",
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, demb, vocab_size).astype(int),
            "dC has fractions: give np.zeros no integer dtype",
        ),
    ],
    also_right=[_one_hot, _in_loops, _in_torch],
    right="every look-up sends its gradient back to its row, and a row looked up several times gets the sum.",
    hints=[
        "n_embd is demb.shape[1] // X.shape[1]; demb.reshape(-1, n_embd) has one row for each look-up, in X's order.",
        "dC starts as zeros of shape (vocab_size, n_embd). A double loop over contexts and positions is a good start.",
        "dC[rows] += pieces adds once to a row that is named twice. np.add.at(dC, rows, pieces) adds each time.",
    ],
)


# ---- 16.2 another curve ----------------------------------------------------------------------------------------------


def relu_backward(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """demb, dW1 and db1 of h = max(emb @ W1 + b1, 0), given dh (B, n_hidden)."""
    dz = dh * (emb @ W1 + b1 > 0)  # (B, n_hidden): slope 1 where z was positive, else 0
    return dz @ W1.T, emb.T @ dz, dz.sum(0)


def _with_slope(slope: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """An answer with dz = dh * slope(z, dh)."""

    def answer(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dz = dh * slope(emb @ W1 + b1, dh)
        return dz @ W1.T, emb.T @ dz, dz.sum(0)

    return answer


def _products(
    make: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]],
) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """An answer from the right dz: `make(dh, dz, emb, W1)`."""
    return lambda dh, emb, W1, b1: make(dh, dh * (emb @ W1 + b1 > 0), emb, W1)


def _without_bias(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dz = dh * (emb @ W1 > 0)
    return dz @ W1.T, emb.T @ dz, dz.sum(0)


def _with_autograd(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, ...]:
    given = [t.requires_grad_() for t in (emb, W1, b1)]
    return torch.autograd.grad(F.relu(emb @ W1 + b1), given, dh)


def _in_numpy(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> list[np.ndarray]:
    dh, emb, W1, b1 = (t.numpy() for t in (dh, emb, W1, b1))
    dz = np.where(np.maximum(emb @ W1 + b1, 0) > 0, dh, 0)
    return [dz @ W1.T, emb.T @ dz, dz.sum(axis=0)]


def _with_einsum(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, ...]:
    dz = torch.where((emb @ W1 + b1).clamp(min=0) > 0, dh, torch.zeros_like(dh))
    return torch.einsum("bh,ih->bi", dz, W1), torch.einsum("bi,bh->ih", emb, dz), torch.ones(len(dz)).to(dz) @ dz


def _differentiated(answer: Callable[..., object], *given: Tensor) -> dict[str, object]:
    """The three gradients by name, where autograd has no graph to go back through."""
    try:
        with torch.inference_mode():
            got = answer(*given)
    except RuntimeError as error:
        if "grad" not in str(error) and "inference" not in str(error).lower():
            raise
        for t in given:
            t.requires_grad_(False)
        raise Refused("no autograd here: write the three products out") from None
    if not isinstance(got, tuple | list) or len(got) != 3:
        raise Refused(f"expected three tensors, demb, dW1, db1, got {type(got).__name__}: return demb, dW1, db1")
    return dict(zip(("demb", "dW1", "db1"), got, strict=True))


def _layer(B: int, inputs: int, n_hidden: int, bias: float = 0.0) -> Case:
    """In the first three, some z are small and positive; with `bias`, emb @ W1 and z often differ in sign."""
    g = torch.Generator().manual_seed(2147483647)
    shapes = ((B, n_hidden), (B, inputs), (inputs, n_hidden), (n_hidden,))
    dh, emb, W1, b1 = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes)
    label = f"for a batch of {B}, {inputs} inputs, {n_hidden} units"
    return Case(dh, emb, W1, b1 + bias, label=label)


q2 = Exercise(
    "16.2",
    "another curve",
    solution=relu_backward,
    observe=_differentiated,
    cases=[
        _layer(8, 4, 4),  # W1 square: a forgotten transpose shows as wrong numbers, not as an error
        _layer(12, 3, 5, bias=-0.5),
        _layer(5, 5, 5, bias=1.0),  # all sizes alike
        _layer(5, 5, 5, bias=-1.0),
        # z is exactly 0 in both rows of the first unit: a unit that gave 0 passes nothing back.
        Case(
            torch.ones(2, 2),
            torch.tensor([[1.0, 0.0], [1.0, 2.0]]),
            torch.tensor([[-1.0, 1.0], [0.0, 1.0]]),
            torch.tensor([1.0, -0.5]),
            label="for a unit that is exactly 0",
        ),
    ],
    wrong=[
        Wrong(
            _with_slope(lambda z, dh: torch.ones_like(z)),
            "what comes from above is passed on unchanged. Where z is negative, h is 0 however z moves",
        ),
        Wrong(
            _with_slope(lambda z, dh: 1 - z.clamp(min=0) ** 2),
            "1 - h * h is tanh's derivative. What is the slope of relu's curve, left and right of 0?",
        ),
        Wrong(
            _with_slope(lambda z, dh: z.clamp(min=0)),
            "dh is multiplied by h itself: the slope right of 0 is 1, however large h is",
        ),
        Wrong(_with_slope(lambda z, dh: dh > 0), "dh is masked by its own sign: what decides is the sign of z"),
        Wrong(
            _with_slope(lambda z, dh: z <= 0), "the mask is the wrong way round: it lets the units through that gave 0"
        ),
        Wrong(_without_bias, "the mask looks at emb @ W1 alone: the bias decides too on which side of 0 a unit is"),
        Wrong(_with_slope(lambda z, dh: z >= 0), "a unit that gave exactly 0 passes nothing back: z > 0, not z >= 0"),
        Wrong(
            _with_slope(lambda z, dh: (z > 0) / len(z)),
            "everything is divided by the batch size: dh holds this division already",
        ),
        Wrong(
            _products(lambda dh, dz, emb, W1: (dz @ W1.T, emb.T @ dz, dz.mean(0))),
            "db1 is a mean over the batch: the rows are summed",
        ),
        Wrong(
            _products(lambda dh, dz, emb, W1: (dz @ W1.T, emb.T @ dz, dz.sum(1))),
            "db1 has one number for each example. A bias is added in every row, so its gradient is the sum over the "
            "rows",
        ),
        Wrong(
            _products(lambda dh, dz, emb, W1: (dz @ W1, emb.T @ dz, dz.sum(0))),
            "demb is dz @ W1, which fits by chance where W1 is square. Which way does W1 lead back?",
        ),
        Wrong(
            _products(lambda dh, dz, emb, W1: (dz @ W1.T, dz.T @ emb, dz.sum(0))),
            "dW1 is transposed: its rows belong to inputs, its columns to units, as in W1",
        ),
        Wrong(
            _products(lambda dh, dz, emb, W1: (dh @ W1.T, emb.T @ dz, dz.sum(0))),
            "dz goes into all three, and demb is made of dh",
        ),
        Wrong(
            _products(lambda dh, dz, emb, W1: (dz @ W1.T, emb.T @ dz, dh.sum(0))),
            "dz goes into all three, and db1 is made of dh",
        ),
        Wrong(
            _products(lambda dh, dz, emb, W1: (emb.T @ dz, dz.sum(0), dz @ W1.T)),
            "the order is demb, dW1, db1",
        ),
        Wrong(lambda *given: relu_backward(*given)[0], "expected three tensors, demb, dW1, db1, got Tensor"),
        Wrong(_with_autograd, "no autograd here: write the three products out"),
    ],
    also_right=[_in_numpy, _with_einsum, _with_slope(lambda z, dh: z > 0)],
    right="a unit that gave 0 passes nothing back, any other all of it; the rest is the tanh layer's.",
    hints=[
        "Only one line of the derivation is about tanh. The others do not care which curve it was.",
        "The slope of max(z, 0) is 1 where z is positive and 0 where it is negative. z = emb @ W1 + b1.",
        "dz = dh * (z > 0). Then, as for the tanh layer: demb = dz @ W1.T, and W1 and b1 likewise.",
    ],
)
