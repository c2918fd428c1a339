"""Exercises of notebook 16: multiply-adds of a step, the gradient of the look-up, the gradient of a relu layer."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake

# 16.1 multiply-adds of a step


def _check_multiply_adds(answer: object) -> str:
    own_function(answer, "q1.check(multiply_adds)")
    for widths, batch_size in (([4, 7, 3], 5), ([30, 200, 27], 32), ([6, 10, 20, 10, 8], 3), ([5, 4], 2)):
        _check_count_at(answer, widths, batch_size)
    return "each product once forward and twice backward: three times the forward pass, at any depth."


def _check_count_at(answer: Callable, widths: list[int], batch_size: int) -> None:
    case = f"widths {widths}, batch_size {batch_size}"
    got = number(answer(list(widths), batch_size), "the multiply-adds")
    products = [a * b for a, b in pairwise(widths)]
    forward = batch_size * sum(products)
    if got == 3 * forward:
        return
    known = {
        forward: "that is the forward pass alone. The way back has products too",
        2 * forward: "that is one product backward for each forward. Going back, the weights want a gradient, and so "
        "does the layer's input",
        6 * forward: "that is twice too much: a multiply-add is one, though a counter of flops calls it two",
        4 * forward: "that is four products for each layer. One forward, and how many gradients does it have to give?",
        3 * sum(products): "that is for one example. A batch does it for every row",
        3 * forward - batch_size * products[0]: "you left out the gradient of the first layer's input. Here it is "
        "wanted: it goes on to the embedding, which is trained",
    }
    if len(products) > 1:
        known[3 * batch_size * products[0]] = "that is the first layer alone"
        known[3 * batch_size * products[-1]] = "that is the last layer alone"
        known[3 * batch_size * widths[0] * widths[-1]] = (
            "you multiplied the first width by the last. Each layer goes from one width to the next one"
        )
        known[3 * batch_size * int(np.prod(widths))] = (
            "you multiplied all widths with one another: the layers come one after another, so their products add up"
        )
    with_biases = batch_size * sum(a * b + b for a, b in pairwise(widths))
    known.setdefault(3 * with_biases, "that counts the biases too; they are added, not multiplied")
    why = known.get(got, "one matrix product of (n, k) by (k, m) is n * k * m. List the products, then add")
    raise Mistake(f"{case}: got {got:,.0f}, expected another number: {why}")


def multiply_adds(widths: Sequence[int], batch_size: int) -> int:
    """The multiply-adds of one training step of a network with these layer widths, its input trained as well."""
    forward = sum(batch_size * widths[k] * widths[k + 1] for k in range(len(widths) - 1))
    return 3 * forward  # once forward; going back once for the weights, once for the layer's input


q1 = Exercise(
    "16.1",
    "multiply-adds of a deeper network",
    _check_multiply_adds,
    hints=[
        "A layer from width a to width b multiplies (batch_size, a) by (a, b). How many multiply-adds is that?",
        "zip(widths, widths[1:]) gives the pairs of neighbours, one pair for each layer.",
        "Going back, each layer does two more products of the same size: one for its weights, one for its input.",
    ],
    solution=multiply_adds,
)


# 16.2 back through the look-up


def _check_embedding_backward(answer: object) -> str:
    own_function(answer, "q2.check(embedding_backward)")
    # no repetition: order and shape; then the same symbol twice in one context; in two contexts; at random
    _check_look_up(answer, np.array([[2, 1]]), np.array([[1.0, 2.0, 10.0, 20.0]]), 4)
    _check_look_up(answer, np.array([[1, 1]]), np.array([[1.0, 2.0, 10.0, 20.0]]), 3)
    _check_look_up(answer, np.array([[0, 2], [2, 1]]), np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]).repeat(2, 1), 3)
    rng = np.random.default_rng(5)
    _check_look_up(answer, rng.integers(0, 5, (40, 3)), rng.standard_normal((40, 12)), 6)
    return "every look-up sends its gradient back to its row, and a row looked up several times gets the sum."


def _check_look_up(answer: Callable, X: np.ndarray, demb: np.ndarray, vocab_size: int) -> None:
    B, block_size = X.shape
    n_embd = demb.shape[1] // block_size
    pieces = demb.reshape(-1, n_embd)
    rows = X.ravel()
    expected = np.zeros((vocab_size, n_embd))
    np.add.at(expected, rows, pieces)
    case = f"for X = {X.tolist()} and demb = {demb.tolist()}" if X.size <= 4 else f"for {B} contexts of {block_size}"
    X_in, demb_in = X.copy(), demb.copy()
    got = answer(X_in, demb_in, vocab_size)
    if got is None:
        raise Mistake("your function returned None: it should end with `return dC`")
    got = np.asarray(got)
    if got.dtype.kind not in "fiu":
        raise Mistake(f"expected an array of numbers, dC, got {type(got.item() if got.ndim == 0 else got).__name__}")
    if not np.array_equal(X_in, X) or not np.array_equal(demb_in, demb):
        raise Mistake("your function changed X or demb: they are read only here")
    if got.shape != expected.shape:
        hint = ""
        if got.shape == pieces.shape and np.array_equal(got, pieces):
            hint = ": that is a row for each look-up. C has a row for each symbol"
        elif got.shape == (len(np.unique(rows)), n_embd):
            hint = ": symbols that do not occur have a row too, of zeros"
        elif got.shape == (vocab_size, demb.shape[1]):
            hint = ": a row of demb holds block_size pieces, one for each position; cut it up first"
        raise Mistake(f"{case}: dC has shape {got.shape}, expected {expected.shape}, like C{hint}")
    if np.allclose(got, expected, rtol=1e-4, atol=1e-5):
        return
    last = np.zeros_like(expected)
    last[rows] = pieces
    counts = np.bincount(rows, minlength=vocab_size)[:, None]
    first_position = np.zeros_like(expected)
    np.add.at(first_position, X[:, 0], demb[:, :n_embd])
    crossed = np.zeros_like(expected)
    np.add.at(crossed, rows, demb.reshape(B, n_embd, block_size).transpose(0, 2, 1).reshape(-1, n_embd))
    bad = int(np.abs(got - expected).max(1).argmax())
    seen = f"{case}: row {bad} was looked up {counts[bad, 0]} times, and dC[{bad}] starts with {got[bad, 0]:g}"
    if np.allclose(got, last):
        raise Mistake(
            f"{seen}, what its last look-up sent back. dC[X] = ... overwrites and dC[X] += ... adds only once to a row "
            "that X names twice: see np.add.at, or a loop"
        )
    if np.allclose(got, expected / np.maximum(counts, 1)):
        raise Mistake(f"{seen}, the mean of what came back: gradients of several uses add up")
    if np.allclose(got, first_position):
        raise Mistake(f"{case}: only the first position of each context has been counted")
    if np.allclose(got, crossed):
        raise Mistake(
            f"{case}: the numbers of a position have got mixed with those of another. demb's row is position after "
            "position, n_embd numbers each: reshape(-1, n_embd)"
        )
    if np.allclose(got, (counts > 0) * counts):
        raise Mistake(f"{case}: you counted the look-ups; what comes back for each is in demb")
    raise Mistake(f"{seen}, expected {expected[bad, 0]:g}")


def embedding_backward(X: np.ndarray, demb: np.ndarray, vocab_size: int) -> np.ndarray:
    """The gradient dC (vocab_size, n_embd), from contexts X (B, block_size) and demb (B, block_size * n_embd)."""
    n_embd = demb.shape[1] // X.shape[1]
    dC = np.zeros((vocab_size, n_embd), dtype=demb.dtype)
    np.add.at(dC, X.ravel(), demb.reshape(-1, n_embd))  # unlike dC[...] += ..., once for each look-up
    return dC


q2 = Exercise(
    "16.2",
    "back through the look-up",
    _check_embedding_backward,
    hints=[
        "n_embd is demb.shape[1] // X.shape[1]; demb.reshape(-1, n_embd) has one row for each look-up, in X's order.",
        "dC starts as zeros of shape (vocab_size, n_embd). A double loop over contexts and positions is a good start.",
        "dC[rows] += pieces adds once to a row that is named twice. np.add.at(dC, rows, pieces) adds each time.",
    ],
    solution=embedding_backward,
)


# 16.3 another curve


def _check_relu_backward(answer: object) -> str:
    own_function(answer, "q3.check(relu_backward)")
    # W1 is square first, so that a forgotten transpose shows as wrong numbers and not as an error.
    # In both cases some z are positive and some of these small: 18 of 32 from 0.18 on, 20 of 60 from 0.03 on.
    _check_relu_at(answer, B=8, inputs=4, n_hidden=4, bias=0.0)
    _check_relu_at(answer, B=12, inputs=3, n_hidden=5, bias=-0.5)
    return "a unit that gave 0 passes nothing back, any other all of it; the rest is the tanh layer's."


def _check_relu_at(answer: Callable, B: int, inputs: int, n_hidden: int, bias: float) -> None:
    g = torch.Generator().manual_seed(2147483647)
    shapes = ((B, n_hidden), (B, inputs), (inputs, n_hidden), (n_hidden,))
    dh, emb, W1, b1 = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes)
    b1 = b1 + bias
    given = [t.clone() for t in (dh, emb, W1, b1)]
    z = emb @ W1 + b1
    h = z.clamp(min=0)
    case = f"a batch of {B}, {inputs} inputs, {n_hidden} units"
    try:
        with torch.inference_mode():  # where autograd has no graph to go back through
            got = answer(*given)
    except RuntimeError as error:
        if "grad" not in str(error):
            raise
        raise Mistake("no autograd here: write the three products out") from None
    if not isinstance(got, (tuple, list)) or len(got) != 3:
        raise Mistake(f"expected three tensors, demb, dW1, db1, got {type(got).__name__}: return demb, dW1, db1")
    other = next((type(t).__name__ for t in got if not isinstance(t, Tensor)), None)
    if other is not None:
        raise Mistake(f"expected three tensors, demb, dW1, db1, and among yours is one {other}")
    if not all(torch.equal(t, u) for t, u in zip(given, (dh, emb, W1, b1), strict=True)):
        raise Mistake("your function changed what it was given: dh * mask makes a new tensor, dh *= mask does not")
    names = ("demb", "dW1", "db1")
    found = {name: t.to(torch.float64) for name, t in zip(names, got, strict=True)}
    dz = dh * (z > 0)
    expected = {"demb": dz @ W1.T, "dW1": emb.T @ dz, "db1": dz.sum(0)}
    for name in names:
        if found[name].shape != expected[name].shape:
            if name == "db1" and found[name].shape == (B,):
                raise Mistake(
                    f"{case}: db1 has shape ({B},), one number for each example. A bias is added in every row, so its "
                    "gradient is the sum over the rows"
                )
            raise Mistake(
                f"{case}: {name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}, "
                f"like {name[1:]}"
            )

    def close(name: str, other: Tensor) -> bool:
        return torch.allclose(found[name], other, rtol=1e-4, atol=1e-5)

    if all(close(name, expected[name]) for name in names):
        return
    wrong_slopes = {
        "what comes from above is passed on unchanged. Where z is negative, h is 0 however z moves": dh,
        "that is tanh's derivative, 1 - h * h. What does relu's curve rise by, left and right of 0?": dh * (1 - h * h),
        "dh is multiplied by h itself. The slope right of 0 is 1, however large h is": dh * h,
        "dh is masked by its own sign. What decides is where z was": dh * (dh > 0),
        "the mask is the wrong way round: it lets the units through that gave 0": dh * (z <= 0),
        "the mask looks at emb @ W1 alone. The bias decides too on which side of 0 a unit is": dh * (emb @ W1 > 0),
    }
    for why, slope in wrong_slopes.items():
        if torch.allclose(slope, dz):
            continue
        if close("db1", slope.sum(0)):
            raise Mistake(f"{case}: {why}")
    if close("db1", expected["db1"] / B) or close("dW1", expected["dW1"] / B):
        raise Mistake(f"{case}: a mean over the batch. dh holds the division by B already; here the rows are summed")
    if close("demb", dz @ W1) if W1.shape[0] == W1.shape[1] else False:
        raise Mistake(f"{case}: demb is dz @ W1, which fits by chance as W1 is square. Which way does W1 lead back?")
    if close("dW1", expected["dW1"].T) if W1.shape[0] == W1.shape[1] else False:
        raise Mistake(f"{case}: dW1 is transposed: its rows belong to inputs, its columns to units, as W1's do")
    bad = next(name for name in names if not close(name, expected[name]))
    k = tuple((found[bad] - expected[bad]).abs().nan_to_num(torch.inf).argmax().unsqueeze(0).tolist())
    value, right = found[bad].flatten()[k[0]], expected[bad].flatten()[k[0]]
    raise Mistake(f"{case}: {bad} is wrong; one of its entries is {value:.4f}, expected {right:.4f}")


def relu_backward(dh: Tensor, emb: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """demb, dW1 and db1 of h = max(emb @ W1 + b1, 0), given dh (B, n_hidden)."""
    dz = dh * (emb @ W1 + b1 > 0)  # (B, n_hidden): slope 1 where z was positive, else 0
    return dz @ W1.T, emb.T @ dz, dz.sum(0)


q3 = Exercise(
    "16.3",
    "another curve",
    _check_relu_backward,
    hints=[
        "Only one line of the derivation is about tanh. The others do not care which curve it was.",
        "The slope of max(z, 0) is 1 where z is positive and 0 where it is negative. z = emb @ W1 + b1.",
        "dz = dh * (z > 0). Then, as for the tanh layer: demb = dz @ W1.T, and W1 and b1 likewise.",
    ],
    solution=relu_backward,
)
