"""Exercises of page 16: the gradient of the look-up, the gradient of a relu layer."""

from collections.abc import Callable
from functools import partial

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


def _overwritten(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    dC = np.zeros((vocab_size, demb.shape[1] // X.shape[1]))
    dC[X.ravel()] += _pieces(X, demb)
    return dC


def _position_by_position(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    n_embd = demb.shape[1] // X.shape[1]
    dC = np.zeros((vocab_size, n_embd))
    for k in range(X.shape[1]):
        dC[X[:, k]] += demb[:, k * n_embd : (k + 1) * n_embd]
    return dC


def _row_by_row(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    dC = np.zeros((vocab_size, demb.shape[1] // X.shape[1]))
    for x, pieces in zip(X, demb.reshape(*X.shape, -1), strict=True):
        dC[x] += pieces
    return dC


def _first_of_each(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    dC = np.zeros((vocab_size, demb.shape[1] // X.shape[1]))
    symbols, first = np.unique(X, return_index=True)
    dC[symbols] = _pieces(X, demb)[first]
    return dC


def _averaged(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    counts = np.bincount(X.ravel(), minlength=vocab_size)[:, None]
    return embedding_backward(X, demb, vocab_size) / np.maximum(counts, 1)


def _crossed(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    B, block_size = X.shape
    mixed = demb.reshape(B, -1, block_size).transpose(0, 2, 1).reshape(B, -1)
    return embedding_backward(X, mixed, vocab_size)


def _not_cut_up(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    dC = np.zeros((vocab_size, demb.shape[1]))
    np.add.at(dC, X[:, 0], demb)
    return dC


def _in_place(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    dC = embedding_backward(X, demb, vocab_size)
    demb[:] = 0
    return dC


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
            _overwritten,
            "dC[X] = ... overwrites, and dC[X] += ... adds only once to a row that X names twice: see np.add.at, or a "
            "loop",
        ),
        Wrong(
            _position_by_position,
            "dC[X[:, k]] += ... adds only once to a row that several contexts name at this position: see np.add.at",
        ),
        Wrong(_row_by_row, "dC[x] += ... adds only once to a row that a context names twice: see np.add.at"),
        Wrong(_first_of_each, "each symbol gets only what its first look-up sent back: add all of them"),
        Wrong(
            lambda X, demb, vocab_size: _pieces(X, demb), "that is a row for each look-up: C has a row for each symbol"
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, demb, vocab_size)[np.unique(X)],
            "symbols that do not occur have a row too, of zeros",
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, demb, X.max() + 1),
            "C has vocab_size rows, also for symbols above the highest one in X",
        ),
        Wrong(lambda X, demb, vocab_size: embedding_backward(X, demb, 27), "C has vocab_size rows, not always 27"),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, demb, vocab_size).T, "dC is transposed: a row per symbol"
        ),
        Wrong(_not_cut_up, "a row of demb holds block_size pieces, one for each position: cut it up first"),
        Wrong(_averaged, "that is the mean of what came back: gradients of several uses add up"),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(
                X[:, :1], demb[:, : demb.shape[1] // X.shape[1]], vocab_size
            ),
            "only the first position of each context has been counted",
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(
                X[:, -1:], demb[:, -(demb.shape[1] // X.shape[1]) :], vocab_size
            ),
            "only the last position of each context has been counted",
        ),
        Wrong(
            _crossed,
            "the numbers of a position are mixed with those of another. demb's row is position after position, n_embd "
            "numbers each: reshape(-1, n_embd)",
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X[:, ::-1], demb, vocab_size),
            "the positions of a context are in reverse order",
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, np.ones_like(demb), vocab_size),
            "you counted the look-ups: what comes back for each is in demb",
        ),
        Wrong(
            lambda X, demb, vocab_size: -embedding_backward(X, demb, vocab_size),
            "the sign is wrong: nothing is subtracted",
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, demb, vocab_size) / len(X),
            "that is divided by the batch size: demb holds this division already",
        ),
        Wrong(
            lambda X, demb, vocab_size: embedding_backward(X, demb, vocab_size).astype(int),
            "dC has fractions: give np.zeros no integer dtype",
        ),
        Wrong(_in_place, "your answer changed its argument demb"),
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


def _then(change: Callable[..., object]) -> Callable[..., object]:
    """An answer made of the right one: `change(demb, dW1, db1, B)`."""
    return lambda dh, emb, W1, b1: change(*relu_backward(dh, emb, W1, b1), len(dh))


def _rows_kept(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    demb, dW1, _ = relu_backward(dh, emb, W1, b1)
    return demb, dW1, (dh * (emb @ W1 + b1 > 0)).sum(1)


def _not_transposed(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _, dW1, db1 = relu_backward(dh, emb, W1, b1)
    return (dh * (emb @ W1 + b1 > 0)) @ W1, dW1, db1


def _unmasked_for(which: int) -> Callable[..., tuple[Tensor, ...]]:
    """Only one of the three products without the mask."""

    def answer(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, ...]:
        grads = list(relu_backward(dh, emb, W1, b1))
        grads[which] = (dh @ W1.T, emb.T @ dh, dh.sum(0))[which]
        return tuple(grads)

    return answer


def _without_bias(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dz = dh * (emb @ W1 > 0)
    return dz @ W1.T, emb.T @ dz, dz.sum(0)


def _masked_in_place(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dh *= emb @ W1 + b1 > 0
    return dh @ W1.T, emb.T @ dh, dh.sum(0)


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
    if got is None:
        raise Refused("your function returned None: return demb, dW1, db1")
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
            _with_slope(lambda z, dh: 1 - z.tanh() ** 2), "that is the gradient of the tanh layer: h is max(z, 0) here"
        ),
        Wrong(
            _with_slope(lambda z, dh: z.clamp(min=0)),
            "dh is multiplied by h itself: the slope right of 0 is 1, however large h is",
        ),
        Wrong(_with_slope(lambda z, dh: dh > 0), "dh is masked by its own sign: what decides is the sign of z"),
        Wrong(
            _with_slope(lambda z, dh: z <= 0), "the mask is the wrong way round: it lets the units through that gave 0"
        ),
        Wrong(_with_slope(lambda z, dh: z.sign()), "left of 0 the slope is 0, not -1"),
        Wrong(_with_slope(lambda z, dh: (z > 0) + 0.01 * (z <= 0)), "left of 0 the slope is 0, not 0.01"),
        Wrong(_without_bias, "the mask looks at emb @ W1 alone: the bias decides too on which side of 0 a unit is"),
        Wrong(_with_slope(lambda z, dh: z >= 0), "a unit that gave exactly 0 passes nothing back: z > 0, not z >= 0"),
        Wrong(_with_slope(lambda z, dh: z > 0.1), "units with a small positive z pass all of it back: z > 0"),
        Wrong(_with_slope(lambda z, dh: z > 1), "the mask lets through what is above 1: the curve bends at 0"),
        Wrong(
            _then(lambda demb, dW1, db1, B: (demb / B, dW1 / B, db1 / B)),
            "everything is divided by the batch size: dh holds this division already",
        ),
        Wrong(
            _then(lambda demb, dW1, db1, B: (demb, dW1 / B, db1 / B)),
            "that is a mean over the batch: dh holds the division by B already, so the rows are summed",
        ),
        Wrong(
            _then(lambda demb, dW1, db1, B: (demb, dW1, db1 / B)), "db1 is a mean over the batch: the rows are summed"
        ),
        Wrong(
            _rows_kept,
            "db1 has one number for each example. A bias is added in every row, so its gradient is the sum over the "
            "rows",
        ),
        Wrong(
            _not_transposed, "demb is dz @ W1, which fits by chance where W1 is square. Which way does W1 lead back?"
        ),
        Wrong(
            _then(lambda demb, dW1, db1, B: (demb, dW1.T, db1)),
            "dW1 is transposed: its rows belong to inputs, its columns to units, as in W1",
        ),
        Wrong(_unmasked_for(0), "dz goes into all three, and demb is made of dh"),
        Wrong(_unmasked_for(1), "dz goes into all three, and dW1 is made of dh"),
        Wrong(_unmasked_for(2), "dz goes into all three, and db1 is made of dh"),
        Wrong(_then(lambda demb, dW1, db1, B: (dW1, db1, demb)), "the order is demb, dW1, db1"),
        Wrong(_then(lambda demb, dW1, db1, B: demb), "expected three tensors, demb, dW1, db1, got Tensor"),
        Wrong(_with_autograd, "no autograd here: write the three products out"),
        Wrong(_masked_in_place, "your answer changed its argument dh"),
    ],
    also_right=[
        _in_numpy,
        _with_einsum,
        partial(_with_slope(lambda z, dh: z.heaviside(torch.zeros((), dtype=z.dtype)))),
    ],
    right="a unit that gave 0 passes nothing back, any other all of it; the rest is the tanh layer's.",
    hints=[
        "Only one line of the derivation is about tanh. The others do not care which curve it was.",
        "The slope of max(z, 0) is 1 where z is positive and 0 where it is negative. z = emb @ W1 + b1.",
        "dz = dh * (z > 0). Then, as for the tanh layer: demb = dz @ W1.T, and W1 and b1 likewise.",
    ],
)
