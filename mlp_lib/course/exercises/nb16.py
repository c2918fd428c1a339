"""Exercises of page 16: the gradient of the look-up, the gradient of a relu layer."""

from collections.abc import Callable

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
    np.add.at(dC, X.ravel(), demb.reshape(-1, n_embd))  # dC[...] += ... would add once to a repeated row
    return dC


_ADD = "np.add.at(dC, X.ravel(), demb.reshape(-1, n_embd))"


def _in_loops(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> list[list[float]]:
    n_embd = demb.shape[1] // X.shape[1]
    dC = [[0.0] * n_embd for _ in range(vocab_size)]
    for x, row in zip(X.tolist(), demb.tolist(), strict=True):
        for k, symbol in enumerate(x):
            for j in range(n_embd):
                dC[symbol][j] += row[k * n_embd + j]
    return dC


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
    edits={
        (_ADD, "dC[X.ravel()] += demb.reshape(-1, n_embd)"): (
            "dC[X] = ... overwrites, and dC[X] += ... adds only once to a row that X names twice: see np.add.at, "
            "or use a loop"
        ),
        (_ADD, "for x, part in zip(X.T, demb.reshape(*X.shape, -1).swapaxes(0, 1)): dC[x] += part"): (
            "dC[X[:, k]] += ... adds only once to a row that several contexts name at this position: see np.add.at"
        ),
        (_ADD, "for x, part in zip(X, demb.reshape(*X.shape, -1)): dC[x] += part"): (
            "dC[x] += ... adds only once to a row that a context names twice: see np.add.at"
        ),
        ("return dC", "return dC / np.maximum(np.bincount(X.ravel(), minlength=vocab_size), 1)[:, None]"): (
            "that is the mean of the gradients of a row: add them up"
        ),
        ("demb.reshape(-1,", "demb.reshape(len(X), n_embd, -1).swapaxes(1, 2).reshape(-1,"): (
            "the numbers of different positions are mixed. A row of demb has n_embd numbers for one position, then "
            "those of the next: reshape(-1, n_embd)"
        ),
        ("return dC", "return dC / len(X)"): "that is divided by the batch size: demb already includes this division",
    },
    wrong=[
        Wrong(
            lambda X, demb, vocab_size: demb.reshape(X.size, -1),
            "that is one row per look-up: C has one row per symbol",
        ),
    ],
    also_right=[_in_loops, lambda X, demb, vocab_size: np.eye(vocab_size)[X.ravel()].T @ demb.reshape(X.size, -1)],
    right="every look-up sends its gradient back to its row, and a row looked up several times gets the sum.",
    hints=[
        "n_embd is demb.shape[1] // X.shape[1]; demb.reshape(-1, n_embd) has one row for each look-up, in X's order.",
        "dC starts as zeros of shape (vocab_size, n_embd). Try a double loop over contexts and positions first.",
        "dC[rows] += pieces adds only once to a row that is named twice. np.add.at(dC, rows, pieces) adds each time.",
    ],
)


# ---- 16.2 another curve ----------------------------------------------------------------------------------------------


def relu_backward(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """demb, dW1 and db1 of h = max(emb @ W1 + b1, 0), given dh (B, n_hidden)."""
    dz = dh * (emb @ W1 + b1 > 0)  # (B, n_hidden): slope 1 where z was positive, else 0
    return dz @ W1.T, emb.T @ dz, dz.sum(0)


def _with_autograd(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, ...]:
    given = [t.requires_grad_() for t in (emb, W1, b1)]
    return torch.autograd.grad(F.relu(emb @ W1 + b1), given, dh)


def _in_numpy(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> list[np.ndarray]:
    dh, emb, W1, b1 = (t.numpy() for t in (dh, emb, W1, b1))
    dz = np.where(np.maximum(emb @ W1 + b1, 0) > 0, dh, 0)
    return [dz @ W1.T, emb.T @ dz, dz.sum(axis=0)]


def _differentiated(answer: Callable[..., object], *given: Tensor) -> dict[str, object]:
    """The three gradients by name, computed in inference mode, so that autograd has no graph."""
    try:
        with torch.inference_mode():
            got = answer(*given)
    except RuntimeError as error:
        if "grad" not in str(error) and "inference" not in str(error).lower():
            raise
        for t in given:
            t.requires_grad_(False)
        raise Refused("no autograd in this exercise: write the three products out") from None
    if not isinstance(got, tuple | list) or len(got) != 3:
        count = len(got) if isinstance(got, tuple | list) else type(got).__name__
        raise Refused(f"expected three tensors, demb, dW1, db1, got {count}")
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
        _layer(8, 4, 4),  # W1 is square: a forgotten transpose gives wrong numbers, not an error
        _layer(12, 3, 5, bias=-0.5),
        _layer(5, 5, 5, bias=1.0),  # all sizes equal
        _layer(5, 5, 5, bias=-1.0),
        # z is exactly 0 in both rows of the first unit: the slope there is 0.
        Case(
            torch.ones(2, 3),
            torch.tensor([[1.0, 0.0], [1.0, 2.0]]),
            torch.tensor([[-1.0, 1.0, 1e-9], [0.0, 1.0, 0.0]]),
            torch.tensor([1.0, -0.5, 0.0]),
            label="for a unit that is exactly 0 and one at 1e-9",
        ),
    ],
    edits={
        ("(emb @ W1 + b1 > 0)", "1"): (
            "dh is passed on unchanged, but where z is negative, h is 0 and does not depend on z"
        ),
        ("(emb @ W1 + b1 > 0)", "(1 - (emb @ W1 + b1).tanh() ** 2)"): (
            "that is the slope of tanh, 1 - h * h: relu's is 1 where z is positive, and 0 elsewhere"
        ),
        ("(emb @ W1 + b1 > 0)", "(1 - (emb @ W1 + b1).clamp(min=0) ** 2)"): (
            "1 - h * h is the derivative of tanh. What is the slope of relu, left and right of 0?"
        ),
        ("(emb @ W1 + b1 > 0)", "(emb @ W1 + b1).clamp(min=0)"): (
            "dh is multiplied by h itself: the slope right of 0 is 1, however large h is"
        ),
        ("emb @ W1 + b1 > 0", "dh > 0"): "dh is masked by its own sign: use the sign of z",
        ("> 0", "<= 0"): "the mask is inverted: it lets through the units that gave 0",
        (" + b1 > 0", " > 0"): "the mask uses emb @ W1 alone: the bias also decides on which side of 0 a unit is",
        ("> 0", ">= 0"): "a unit that gave exactly 0 passes nothing back: z > 0, not z >= 0",
        ("dz = dh *", "dz = dh / len(dh) *"): (
            "everything is divided by the batch size: dh already includes this division"
        ),
        ("dz.sum(0)", "dz.mean(0)"): "db1 is a mean over the batch: sum over the rows",
        ("dz.sum(0)", "dz.sum(1)"): (
            "db1 has one number per example. A bias is added to every row, so its gradient is the sum over the rows"
        ),
        ("W1.T", "W1"): "demb is dz @ W1, which fits only because W1 is square here: transpose W1",
        ("emb.T @ dz", "dz.T @ emb"): "dW1 is transposed: its rows belong to inputs, its columns to units, as in W1",
        ("dz @ W1.T", "dh @ W1.T"): "demb is computed from dh: use dz in all three",
        ("dz.sum(0)", "dh.sum(0)"): "db1 is computed from dh: use dz in all three",
        ("dz @ W1.T, emb.T @ dz, dz.sum(0)", "emb.T @ dz, dz.sum(0), dz @ W1.T"): "the order is demb, dW1, db1",
    },
    wrong=[
        Wrong(lambda *given: relu_backward(*given)[0], "expected three tensors, demb, dW1, db1, got Tensor"),
        Wrong(_with_autograd, "no autograd in this exercise: write the three products out"),
    ],
    also_right=[_in_numpy],
    right="a unit that gave 0 passes nothing back, any other passes dh unchanged; the rest is as for tanh.",
    hints=[
        "Only one line of the derivation is about tanh. The others are the same for any function.",
        "The slope of max(z, 0) is 1 where z is positive and 0 where it is negative. z = emb @ W1 + b1.",
        "dz = dh * (z > 0). Then, as for the tanh layer: demb = dz @ W1.T, and W1 and b1 likewise.",
    ],
)
