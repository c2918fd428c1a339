"""Exercises of notebook 05: a minibatch from g, the exact loss in pieces, the angle between two gradients."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mlp_lib.course.exercises.answers import close, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake

# 5.1 a minibatch from g

_SEED = 2147483647


def _numbered_rows(N: int) -> tuple[Tensor, Tensor]:
    """Examples that say which row they are: row r holds r, r + 1000 in X and r + 5000 in Y."""
    r = torch.arange(N)
    return torch.stack([r, r + 1000], dim=1), r + 5000


def _drawn(answer: Callable, N: int, batch_size: int, g: torch.Generator) -> Tensor:
    """The rows that one call took, after a look at shapes and at the pairing of X and Y."""
    X, Y = _numbered_rows(N)
    case = f"{batch_size} of {N} examples"
    try:
        pair = answer(X, Y, batch_size, g)
    except IndexError:
        raise Mistake(
            f"{case}: an index lies outside the rows 0 to {N - 1}. torch.randint leaves its upper end out, so that end "
            "is the number of rows, and X knows it"
        ) from None
    if not torch.equal(X, _numbered_rows(N)[0]) or not torch.equal(Y, _numbered_rows(N)[1]):
        raise Mistake("X or Y was changed by the call: take rows out of them, and leave them as they are")
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(t, Tensor) for t in pair):
        raise Mistake(f"expected two tensors, Xb and Yb, got {type(pair).__name__}: end with `return Xb, Yb`")
    Xb, Yb = pair
    if Xb.ndim != 2 or Xb.shape[1:] != X.shape[1:] or Yb.ndim != 1:
        raise Mistake(
            f"{case}: Xb has shape {tuple(Xb.shape)} and Yb {tuple(Yb.shape)}, expected {(batch_size, 2)} and "
            f"{(batch_size,)}"
        )
    rows, answers = Xb[:, 0], Yb - 5000
    if len(rows) > 2 and rows[0] > 0 and bool((rows.diff() % N == 1).all()):
        raise Mistake(
            f"{case}: rows {int(rows[0])}, {int(rows[1])}, {int(rows[2])} and so on: one start was drawn, and the rest "
            "are the rows after it. Each row should be drawn by itself, among all"
        )
    if len(Xb) != batch_size or len(Yb) != batch_size:
        if len(Xb) == N < batch_size:
            raise Mistake(
                f"{case} came out as {len(Xb)}: a permutation gives each row once. torch.randint may give a row twice, "
                "and any number of rows"
            )
        raise Mistake(f"batch_size={batch_size}, but you returned {len(Xb)} rows of X and {len(Yb)} of Y")
    if not torch.equal(Xb[:, 1], rows + 1000):
        raise Mistake(f"{case}: a row of Xb is no row of X")
    if not torch.equal(rows, answers):
        k = int((rows != answers).nonzero()[0])
        raise Mistake(
            f"example {k} of the batch has row {int(rows[k])} of X with row {int(answers[k])} of Y: one index for "
            "both, drawn once, else the contexts get other contexts' answers"
        )
    return rows


def _check_minibatch(answer: object) -> str:
    own_function(answer, "q1.check(minibatch)")
    global_state = torch.get_rng_state()
    try:
        _check_minibatch_draws(answer)
    finally:
        torch.set_rng_state(global_state)
    return "the same g gives the same rows, every row gets its turn, and X and Y stay together."


def _check_minibatch_draws(answer: Callable) -> None:
    def fresh() -> torch.Generator:
        return torch.Generator().manual_seed(_SEED)

    N = 50
    _drawn(answer, 11, 7, fresh())
    g = fresh()
    untouched = g.get_state()
    first, second = _drawn(answer, N, 20, g), _drawn(answer, N, 20, g)
    if torch.equal(first, second):
        if torch.equal(first, torch.arange(20)):
            raise Mistake("every call returns the first rows, 0, 1, 2, ...: the rest of the examples is never seen")
        raise Mistake(
            "two calls with the same g in a row return the same rows: is g seeded or made anew inside? Draw from the g "
            "that came in, so that it moves on"
        )
    if not torch.equal(first, _drawn(answer, N, 20, fresh())):
        raise Mistake(
            f"two generators with the seed {_SEED} gave different rows, {first[:3].tolist()}... and others: the draw "
            "comes from the global generator. Say generator=g"
        )
    if torch.equal(g.get_state(), untouched):
        raise Mistake("nothing was drawn from g: its state after two calls is what it was before")

    # Many rows: does each get its turn, and equally often?
    rows = torch.cat([_drawn(answer, N, 2000, g) for _ in range(10)])
    counts = torch.bincount(rows, minlength=N)
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing == [N - 1]:
        raise Mistake(
            f"of {N} examples the last, row {N - 1}, never comes in 20,000 draws: torch.randint leaves out its upper "
            "end by itself"
        )
    if missing == [0]:
        raise Mistake(f"of {N} examples the first, row 0, never comes in 20,000 draws: where does your range start?")
    if missing:
        raise Mistake(
            f"of {N} examples only rows {int(rows.min())} to {int(rows.max())} ever come: the range must follow "
            "X.shape[0], not a number written down"
        )
    if counts.max() > 550 or counts.min() < 250:
        raise Mistake(
            f"in 20,000 draws row {int(counts.argmax())} came {int(counts.max())} times and row {int(counts.argmin())} "
            f"{int(counts.min())} times: all should be equally likely"
        )
    _drawn(answer, 11, 20, fresh())  # more rows than there are


def minibatch(X: Tensor, Y: Tensor, batch_size: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """`batch_size` examples of X (N, block_size), Y (N,), each drawn from g among all N."""
    ix = torch.randint(0, X.shape[0], (batch_size,), generator=g)  # (batch_size,)
    return X[ix], Y[ix]


q1 = Exercise(
    "5.1",
    "a minibatch from g",
    _check_minibatch,
    hints=[
        "First draw row numbers, then take these rows: one tensor ix of shape (batch_size,) serves X and Y.",
        "torch.randint(low, high, size): low can come, high cannot, and size is a tuple. How many rows has X?",
        "The draw has to be told where its randomness comes from: generator=g.",
    ],
    solution=minibatch,
)


# 5.2 the exact loss in pieces

_LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0], [-2.0, 0.5, 0.0], [1.0, 1.0, 1.0]])


class _Recorder(torch.nn.Module):
    """A model that looks its logits up by the last character, and notes how many rows it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(_LOGITS.clone())
        self.asked: list[int] = []

    def forward(self, X: Tensor) -> Tensor:
        self.asked.append(len(X))
        return self.table[X[:, -1]]


_X2 = torch.tensor([[0, 0], [0, 1], [1, 2], [2, 0], [0, 0], [0, 3], [3, 1], [0, 2], [0, 2], [2, 2]])
_Y2 = torch.tensor([0, 2, 1, 0, 0, 1, 2, 0, 0, 0])


def _check_exact_loss(answer: object) -> str:
    own_function(answer, "q2.check(exact_loss)")
    for chunk in (4, 1, 5, 3, 100):
        _check_exact_loss_at(answer, chunk)
    return "exact for pieces of any size, the last one shorter or not."


def _check_exact_loss_at(answer: Callable, chunk: int) -> None:
    model, X, Y = _Recorder(), _X2.clone(), _Y2.clone()
    losses = F.cross_entropy(_LOGITS[X[:, -1]], Y, reduction="none")
    expected, N = losses.mean().item(), len(Y)
    pieces = losses.split(chunk)
    case = f"{N} examples in pieces of {chunk} ({', '.join(str(len(p)) for p in pieces)})"
    value = answer(model, X, Y, chunk)
    got = number(value, "the mean loss")
    if max(model.asked, default=0) > chunk:
        raise Mistake(
            f"{case}: the model was given {max(model.asked)} rows at once. Ask it for at most chunk rows a time"
        )
    if close(got, expected):
        if isinstance(value, Tensor) and value.requires_grad:
            raise Mistake(
                f"{case}: the number is right, but it carries the record of every piece for a backward pass, the "
                "memory that pieces should save. Look under torch.no_grad(), or take each piece's .item()"
            )
        return
    means = [p.mean().item() for p in pieces]
    raise Mistake(_what_is_wrong_with_loss(got, expected, case, losses, pieces, means, answer, chunk))


def _what_is_wrong_with_loss(
    got: float,
    expected: float,
    case: str,
    losses: Tensor,
    pieces: Sequence[Tensor],
    means: Sequence[float],
    answer: Callable,
    chunk: int,
) -> str:
    if got != float(answer(_Recorder(), _X2.clone(), _Y2.clone(), chunk)):
        return f"{case}: two calls gave two results. An exact loss looks at every example once and draws nothing"
    if close(got, sum(means) / len(means)):
        return (
            f"{case}: got {got:.4f}, expected {expected:.4f}. That is the mean of the pieces' means: the last piece's "
            f"{len(pieces[-1])} examples count as much as the first piece's {len(pieces[0])}"
        )
    if close(got, sum(means) * chunk / len(losses)):
        return (
            f"{case}: got {got:.4f}, expected {expected:.4f}. Each piece's mean was taken {chunk} times, and the last "
            f"piece has fewer than {chunk} rows: it counts by its own {len(pieces[-1])}"
        )
    if close(got, means[-1]):
        return (
            f"{case}: got {got:.4f}, the loss of the last {len(pieces[-1])} examples. One piece's loss is an estimate "
            f"of the loss, which is {expected:.4f}"
        )
    if close(got, means[0]):
        return f"{case}: got {got:.4f}, the loss of the first piece alone: does your loop return too early?"
    whole = len(losses) // chunk * chunk
    if whole and close(got, losses[:whole].mean().item()):
        return f"{case}: got {got:.4f}, expected {expected:.4f}: the last {len(losses) - whole} examples were left out"
    if close(got, losses.sum().item()):
        return f"{case}: got {got:.4f}, the sum over the examples: the mean is {expected:.4f}"
    if close(got, sum(means)):
        return f"{case}: got {got:.4f}, the sum of the pieces' means. What does each piece weigh?"
    if close(got, losses.sum().item() / len(pieces)):
        return f"{case}: got {got:.4f}, the sum divided by the number of pieces: divide by the number of examples"
    if close(got, expected / math.log(10)):
        return f"{case}: got {got:.4f}, which is {expected:.4f} / ln 10: nats are asked for"
    return f"{case}: got {got:.4f}, expected {expected:.4f}"


def exact_loss(model: Callable[[Tensor], Tensor], X: Tensor, Y: Tensor, chunk: int) -> float:
    """The mean loss in nats over all of X (N, block_size), Y (N,), asking the model for at most `chunk` rows a time."""
    total = 0.0
    with torch.no_grad():
        for Xb, Yb in zip(X.split(chunk), Y.split(chunk), strict=True):
            total += F.cross_entropy(model(Xb), Yb, reduction="sum").item()
    return total / X.shape[0]


q2 = Exercise(
    "5.2",
    "the exact loss in pieces",
    _check_exact_loss,
    hints=[
        "X.split(chunk) and Y.split(chunk) give the pieces in order; the last one may be shorter.",
        "A mean of means is the mean only if all pieces weigh the same. What could you add up instead?",
        'F.cross_entropy(..., reduction="sum") adds a piece\'s losses; divide once, at the end, by all the examples.',
    ],
    solution=exact_loss,
)


# 5.3 the angle between two gradients


def _check_cosine(answer: object) -> str:
    own_function(answer, "q3.check(cosine)")
    # 3, 4 against 4, 3 in one tensor, then a second tensor that agrees less and weighs more.
    _check_cosine_at(answer, [[3.0, 4.0]], [[4.0, 3.0]])
    _check_cosine_at(answer, [[2.0, 0.0], [10.0, 0.0]], [[2.0, 0.0], [6.0, 8.0]])
    _check_cosine_at(answer, [[3.0, 0.0], [1.0, 4.0]], [[1.0, 2.0], [0.0, 1.0]])
    _check_cosine_at(answer, [[1.0, 2.0], [0.0, 0.0]], [[1.0, 2.0], [2.0, 0.0]])
    _check_cosine_at(answer, [[1.0, 2.0], [3.0]], [[-1.0, -2.0], [-3.0]])
    g = torch.Generator().manual_seed(_SEED)
    shapes = ((5, 2), (6, 4), (4,), (4, 5), (5,))
    a, b = ([torch.randn(shape, generator=g) for shape in shapes] for _ in range(2))
    before = [t.clone() for t in (*a, *b)]
    expected, _ = _cosines(a, b)
    got = number(answer(a, b), "the cosine")
    if not all(torch.equal(t, u) for t, u in zip((*a, *b), before, strict=True)):
        raise Mistake("your function changed the gradients it was given")
    if not close(got, expected):
        raise Mistake(
            f"right for lists of vectors, but got {got:.4f} instead of {expected:.4f} for two lists of five tensors "
            "with one and two dimensions: every tensor counts, number by number"
        )
    return "one dot product and two norms over all tensors at once: between -1 and 1, and tensors weigh by their size."


def _cosines(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[float, list[float]]:
    """The cosine of the whole lists, and those tensor by tensor."""
    flat_a, flat_b = (torch.cat([t.flatten() for t in ts]).double() for ts in (a, b))
    each = [F.cosine_similarity(s.flatten(), t.flatten(), dim=0).item() for s, t in zip(a, b, strict=True)]
    return (flat_a @ flat_b / (flat_a.norm() * flat_b.norm())).item(), each


def _check_cosine_at(answer: Callable, numbers_a: list[list[float]], numbers_b: list[list[float]]) -> None:
    a, b = ([torch.tensor(numbers) for numbers in many] for many in (numbers_a, numbers_b))
    expected, each = _cosines(a, b)
    case = f"for {numbers_a} and {numbers_b}"
    got = number(answer(a, b), "the cosine")
    if close(got, expected):
        return
    dots = [(s @ t).item() for s, t in zip(a, b, strict=True)]
    norms = [(s.norm() * t.norm()).item() for s, t in zip(a, b, strict=True)]
    length_a, length_b = (math.sqrt(sum(t.square().sum().item() for t in ts)) for ts in (a, b))
    if math.isnan(got):
        raise Mistake(f"{case} you returned nan: one tensor alone may be all zeros, the whole gradient is not")
    if close(got, sum(dots)):
        raise Mistake(
            f"{case} you returned {got:g}, the dot product. Twice as long a gradient would double it: divide by both "
            "lengths"
        )
    if close(got, sum(each) / len(each)) and len(a) > 1:
        raise Mistake(
            f"{case} expected {expected:.4f}, got {got:.4f}: the mean of the tensors' own cosines. A tensor with a "
            "small gradient must not count as much as one with a large"
        )
    if close(got, each[0]):
        raise Mistake(f"{case} expected {expected:.4f}, got {got:.4f}: only the first tensor was looked at")
    if close(got, sum(each)):
        raise Mistake(f"{case} you returned {got:.4f}, a sum of cosines: a cosine is never above 1")
    sum_of_lengths = sum(t.norm().item() for t in a) * sum(t.norm().item() for t in b)
    if close(got, sum(dots) / sum_of_lengths):
        raise Mistake(
            f"{case} expected {expected:.4f}, got {got:.4f}: lengths do not add up, squares do. The length of the "
            "whole is the root of the sum of all squares"
        )
    if close(got, sum(dots) / sum(norms)):
        raise Mistake(
            f"{case} expected {expected:.4f}, got {got:.4f}: below the line stands the sum of the tensors' products of "
            "lengths. Two lengths are needed, one of each whole list"
        )
    if close(got, 1 - expected):
        raise Mistake(
            f"{case} you returned {got:.4f}, which is 1 minus the cosine: a distance, 0 for the same direction"
        )
    if close(got, sum(dots) / (length_a * length_b) ** 2):
        raise Mistake(
            f"{case} expected {expected:.4f}, got {got:.4f}: you divided by the squared lengths; take their roots"
        )
    if close(got, abs(expected)):
        raise Mistake(f"{case} the two point in opposite directions: expected {expected:.4f}, got {got:.4f}")
    raise Mistake(f"{case} expected {expected:.4f}, got {got:.4f}")


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The cosine of the angle between two gradients, each given as a list of tensors of any shapes."""
    u = torch.cat([t.flatten() for t in a])  # (all parameters,)
    v = torch.cat([t.flatten() for t in b])
    return (u @ v / (u.norm() * v.norm())).item()


q3 = Exercise(
    "5.3",
    "the cosine of two gradients",
    _check_cosine,
    hints=[
        "A gradient is one vector that happens to lie in five tensors. t.flatten() makes a row of each.",
        "torch.cat joins the rows of a list into one vector with all the parameters' numbers.",
        "cosine = (u @ v) / (length of u * length of v), and u.norm() is a length.",
    ],
    solution=cosine,
)
