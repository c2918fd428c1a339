"""Exercises of page 05: a minibatch from g, the exact loss in pieces, the angle between two gradients."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from weakref import ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import number
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong

# ---- 5.1 a minibatch from g ------------------------------------------------------------------------------------------


def minibatch(X: Tensor, Y: Tensor, batch_size: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """`batch_size` examples of X (N, block_size), Y (N,), each drawn from g among all N."""
    ix = torch.randint(0, X.shape[0], (batch_size,), generator=g)  # (batch_size,)
    return X[ix], Y[ix]


def _for(batch_size: int, X: Tensor) -> str:
    return f"for batch_size {batch_size} and {len(X)} rows"


def _rows(answer: Callable[..., object], X: Tensor, Y: Tensor, batch_size: int, g: torch.Generator) -> Tensor:
    """The rows that one call took: row r holds r and r + 1000 in X, and r + 5000 in Y."""
    out, case = answer(X, Y, batch_size, g), _for(batch_size, X)
    if not isinstance(out, tuple | list) or len(out) != 2 or not all(isinstance(t, Tensor) for t in out):
        raise Refused("expected two tensors: end with `return Xb, Yb`")
    Xb, Yb = out
    shapes, wanted = (tuple(Xb.shape), tuple(Yb.shape)), ((batch_size, 2), (batch_size,))
    if shapes != wanted:
        raise Refused(
            f"{case}: Xb and Yb have the shapes {shapes[0]} and {shapes[1]}, expected {wanted[0]} and {wanted[1]}"
        )
    if (Xb.dtype, Yb.dtype) != (X.dtype, Y.dtype):
        raise Refused(f"{case}: Xb is of {Xb.dtype} and Yb of {Yb.dtype}: leave both as X and Y are, {X.dtype}")
    for k, (x, y) in enumerate(zip(Xb[:, 0].tolist(), (Yb - 5000).tolist(), strict=True)):
        if x != y:
            raise Refused(
                f"{case}: example {k} has row {x} of X and row {y} of Y. Take both with the same row numbers, drawn "
                "once and in one order"
            )
    return Xb[:, 0]


def _watched(answer: Callable[..., object], X: Tensor, Y: Tensor, batch_size: int, g: torch.Generator) -> bool:
    """Raise Refused unless each row is as likely as any other, in each place, and g alone decides."""
    N, twin = len(X), torch.Generator()
    twin.set_state(g.get_state())
    draw = partial(_rows, answer, X, Y, batch_size)
    # One call more: rows kept from call to call are then not used up when the twin begins.
    batches = torch.stack([draw(g) for _ in range(200 * N // batch_size + 1)])
    case = _for(batch_size, X)
    if bool((batches == batches[0]).all()):
        raise Refused(
            f"{case}: every call returns the same rows, {batches[0, :5].tolist()}: draw them in each call, from the g "
            "that is handed in, without seeding it again"
        )
    again = torch.stack([draw(twin) for _ in range(20)])
    if not torch.equal(again, batches[:20]):
        raise Refused(
            f"{case}: two generators in the same state gave different rows, so something other than g decides (a "
            "global generator, or rows kept from an earlier call?): pass generator=g, and keep nothing between calls"
        )
    steps = batches.diff() % N
    if batch_size > 2 and (bool((steps == 0).all()) or bool((steps == 1).all())):
        raise Refused(
            f"{case}: rows {batches[0, :3].tolist()} and so on. Only the first row was drawn: draw each row by itself"
        )
    if 1 < batch_size <= N and bool((batches.sort().values.diff() > 0).all()):
        raise Refused(f"{case}: no row came twice in {len(batches)} batches: draw each among all, by torch.randint")
    counts = torch.bincount(batches.flatten(), minlength=N)
    came = counts.nonzero().flatten().tolist()
    seen = f"{case}: in {batches.numel():,} draws"
    if len(came) < N:
        raise Refused(
            f"{seen} only {len(came)} of {N} rows come, from {came[0]} to {came[-1]}: the range is 0 to X.shape[0], "
            "whatever the batch size is, and torch.randint leaves out its upper end by itself"
        )
    mean = batches.numel() / N
    if counts.max() > 1.5 * mean or counts.min() < 0.5 * mean:
        raise Refused(
            f"{seen} row {int(counts.argmax())} came {int(counts.max())} times and row {int(counts.argmin())} "
            f"{int(counts.min())} times: all should be equally likely"
        )
    return True


def _indexed(draw: Callable[[Tensor, int, torch.Generator], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """An answer that draws its row numbers in a way of its own."""

    def answer(X: Tensor, Y: Tensor, batch_size: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        ix = draw(X, batch_size, g)
        return X[ix], Y[ix]

    return answer


def _between(low: int, high: int, n: int, g: torch.Generator | None) -> Tensor:
    return torch.randint(low, high, (n,), generator=g)


def _two_draws(X: Tensor, Y: Tensor, n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    return X[_between(0, len(X), n, g)], Y[_between(0, len(X), n, g)]


def _numbered(N: int, batch_size: int, seed: int, drawn: int = 0) -> Case:
    r, g = torch.arange(N), torch.Generator().manual_seed(seed)
    torch.randn(drawn, generator=g)
    return Case(torch.stack([r, r + 1000], dim=1), r + 5000, batch_size, g, label=_for(batch_size, r))


q1 = Exercise(
    "5.1",
    "a minibatch from g",
    solution=minibatch,
    observe=_watched,
    cases=[_numbered(11, 7, 2147483647), _numbered(50, 20, 1, drawn=100), _numbered(5, 1, 2), _numbered(11, 20, 3)],
    wrong=[
        Wrong(_indexed(lambda X, n, g: _between(0, len(X), n, None)), "in the same state gave different rows"),
        Wrong(_two_draws, "Take both with the same row numbers"),
        Wrong(_indexed(lambda X, n, g: _between(0, len(X) - 1, n, g)), "10 of 11 rows come, from 0 to 9"),
        Wrong(_indexed(lambda X, n, g: _between(1, len(X), n, g)), "10 of 11 rows come, from 1 to 10"),
        Wrong(_indexed(lambda X, n, g: _between(0, min(n, len(X)), n, g)), "only 7 of 11 rows come, from 0 to 6"),
        Wrong(
            _indexed(lambda X, n, g: _between(0, len(X) + 1, n, g)),
            "len(X) is the upper end, which torch.randint leaves out by itself. (Or were row numbers kept from an "
            "earlier call?)",
        ),
        Wrong(lambda X, Y, n, g: (X[:n], Y[:n]), "every call returns the same rows, [0, 1, 2, 3, 4]"),
        Wrong(
            _indexed(lambda X, n, g: _between(0, len(X), n, g.manual_seed(2147483647))),
            "the same rows, [7, 7, 10, 7, 6]: draw them in each call",
        ),
        Wrong(_indexed(lambda X, n, g: _between(0, len(X), 32, g)), "have the shapes (32, 2) and (32,)"),
        Wrong(_indexed(lambda X, n, g: (_between(0, len(X), 1, g) + torch.arange(n)) % len(X)), "rows [7, 8, 9]"),
        Wrong(_indexed(lambda X, n, g: torch.cat([torch.randperm(len(X), generator=g)] * n)[:n]), "no row came twice"),
        Wrong(lambda X, Y, n, g: X[_between(0, len(X), n, g)], "expected two tensors"),
        Wrong(
            _indexed(lambda X, n, g: (torch.rand(n, generator=g) ** 2 * len(X)).long()), "all should be equally likely"
        ),
    ],
    also_right=[
        _indexed(lambda X, n, g: torch.multinomial(torch.ones(len(X)), n, replacement=True, generator=g)),
        _indexed(lambda X, n, g: [int(torch.randint(len(X), (), generator=g)) for _ in range(n)]),
        lambda X, Y, n, g: [t.index_select(0, ix) for ix in [_between(0, len(Y), n, g)] for t in (X, Y)],
    ],
    right="the same g gives the same rows, every row gets its turn, and X and Y stay together.",
    hints=[
        "First draw row numbers, then take these rows: one tensor ix of shape (batch_size,) serves X and Y.",
        "torch.randint(low, high, size): low can come, high cannot, and size is a tuple. How many rows has X?",
        "The draw has to be told where its randomness comes from: generator=g.",
    ],
)


# ---- 5.2 the exact loss in pieces ------------------------------------------------------------------------------------


def exact_loss(model: Callable[[Tensor], Tensor], X: Tensor, Y: Tensor, chunk: int) -> float:
    """The mean loss in nats over all of X (N, block_size), Y (N,), asking the model for at most `chunk` rows a time."""
    total = 0.0
    with torch.no_grad():
        for Xb, Yb in zip(X.split(chunk), Y.split(chunk), strict=True):
            total += F.cross_entropy(model(Xb), Yb, reduction="sum").item()
    return total / X.shape[0]


class _Table(nn.Module):
    """A model that looks its logits up by the last character, and notes the rows of each call, and records kept."""

    def __init__(self) -> None:
        super().__init__()
        rows = [[2.0, 0.0, -1.0], [0.0, 1.0, 3.0], [-2.0, 0.5, 0.0], [1.0, 1.0, 1.0]]
        self.table = nn.Parameter(torch.tensor(rows))
        self.asked: list[int] = []
        self.records: list[ref] = []
        self.most_records = 0  # at a call; one may be that of the piece before, which still has a name

    def forward(self, X: Tensor) -> Tensor:
        self.asked.append(len(X))
        self.records = [record for record in self.records if record()]
        self.most_records = max(self.most_records, len(self.records))
        logits = self.table[X[:, -1]]
        if logits.requires_grad:
            hook = partial(lambda gradient: None)  # lives as long as the record
            self.records.append(ref(hook))
            logits.register_hook(hook)
        return logits


def _asked(answer: Callable[..., object], model: _Table, X: Tensor, Y: Tensor, chunk: int) -> dict[str, object]:
    """The mean loss, and where it is right whether records were kept, after a look at what the model was asked."""
    value = answer(model, X, Y, chunk)
    loss = number(value, "the mean loss")
    case = f"for {len(X)} examples in pieces of {chunk}"
    if max(model.asked, default=0) > chunk:
        raise Refused(
            f"{case} the model was given {max(model.asked)} rows at once: ask it for at most chunk rows at a time"
        )
    again = number(answer(model, X, Y, chunk), "the mean loss")
    if not math.isclose(loss, again, rel_tol=1e-5) and not (math.isnan(loss) and math.isnan(again)):
        raise Refused(
            f"{case} two calls gave {loss:.4f} and {again:.4f}: an exact loss looks at each example once and draws "
            "nothing"
        )
    kept, right = model.most_records > 1, math.isclose(loss, exact_loss(model, X, Y, chunk), rel_tol=1e-4)
    return {"loss": loss, "records of several pieces at once": kept and right}


def _pieces(model: nn.Module, X: Tensor, Y: Tensor, chunk: int) -> list[Tensor]:
    """The losses of the examples, piece by piece."""
    return [F.cross_entropy(model(x), y, reduction="none") for x, y in zip(X.split(chunk), Y.split(chunk), strict=True)]


def _of_pieces(loss: Callable[[list[Tensor], int], Tensor]) -> Callable[..., float]:
    """An answer that makes a loss of the pieces in a way of its own; it gets chunk too."""
    return torch.no_grad()(lambda model, X, Y, chunk: float(loss(_pieces(model, X, Y, chunk), chunk)))


def _total(pieces: Sequence[Tensor]) -> Tensor:
    return sum((p.sum() for p in pieces), torch.tensor(0.0))


def _some_rows(model: nn.Module, X: Tensor, Y: Tensor, chunk: int) -> float:
    ix = torch.randint(0, len(X), (min(chunk, len(X)),))
    return F.cross_entropy(model(X[ix]), Y[ix]).item()


_X = torch.tensor([[0, 0], [0, 1], [1, 2], [2, 0], [0, 0], [0, 3], [3, 1], [0, 2], [0, 2], [2, 2]])
_Y = torch.tensor([0, 2, 1, 0, 0, 1, 2, 0, 0, 0])

q2 = Exercise(
    "5.2",
    "the exact loss in pieces",
    solution=exact_loss,
    observe=_asked,
    cases=[
        Case(_Table(), _X, _Y, 4, label="for 10 examples in pieces of 4, 4 and 2"),
        Case(_Table(), _X, _Y, 1, label="for 10 examples one by one"),
        Case(_Table(), _X, _Y, 5, label="for 10 examples in two pieces of 5"),
        Case(_Table(), *(t.repeat_interleave(320, 0) for t in (_X, _Y)), 600, label="for 3,200 examples and chunk 600"),
        Case(_Table(), _X, _Y, 100, label="for 10 examples and chunk 100"),
    ],
    wrong=[
        Wrong(
            _of_pieces(lambda pieces, chunk: sum(p.mean() for p in pieces) / len(pieces)),
            "that is the mean of the pieces' means, in which a short last piece counts as much as a full one",
        ),
        Wrong(
            _of_pieces(lambda pieces, chunk: sum(p.mean() * chunk for p in pieces) / sum(map(len, pieces))),
            "each piece's mean was taken chunk times, but the last piece has fewer rows: it counts by its own number",
        ),
        Wrong(
            _of_pieces(lambda pieces, chunk: _total(pieces) / (len(pieces) * chunk)),
            "the sum was divided by full pieces, and the last one is shorter: divide by the number of examples",
        ),
        Wrong(
            _of_pieces(lambda pieces, chunk: pieces[-1].mean()),
            "that is the loss of the last piece. One piece's loss is an estimate of the loss: all pieces count",
        ),
        Wrong(
            _of_pieces(lambda pieces, chunk: _total([p for p in pieces if len(p) == chunk]) / sum(map(len, pieces))),
            "a last piece of fewer than chunk examples was left out of the sum",
        ),
        Wrong(
            _of_pieces(lambda pieces, chunk: torch.cat([p for p in pieces if len(p) == chunk] or pieces).mean()),
            "a last piece of fewer than chunk examples was left out, of the sum and of the number",
        ),
        Wrong(
            _of_pieces(lambda pieces, chunk: pieces[0].mean()),
            "that is the loss of the first piece alone: does your loop return too early?",
        ),
        Wrong(
            _of_pieces(lambda pieces, chunk: _total(pieces[:-1]) / sum(map(len, pieces))),
            "the last piece was left out, full or not: where does your range end?",
        ),
        Wrong(_of_pieces(lambda pieces, chunk: _total(pieces)), "that is the sum over the examples: take their mean"),
        Wrong(
            _of_pieces(lambda pieces, chunk: sum(p.mean() for p in pieces)),
            "that is the sum of the pieces' means. What does each piece weigh?",
        ),
        Wrong(
            _of_pieces(lambda pieces, chunk: _total(pieces) / len(pieces)),
            "the sum was divided by the number of pieces: divide by the number of examples",
        ),
        Wrong(lambda model, X, Y, chunk: F.cross_entropy(model(X), Y).item(), "the model was given 10 rows at once"),
        Wrong(
            lambda model, X, Y, chunk: _total(_pieces(model, X, Y, chunk)) / len(Y),
            "the number is right, but it keeps the record of all pieces, the memory that pieces should save. Compute "
            "under torch.no_grad(), or take each piece's .item()",
        ),
        Wrong(_some_rows, "an exact loss looks at each example once and draws nothing"),
        Wrong(lambda model, X, Y, chunk: _pieces(model, X, Y, chunk), "expected one number, the mean loss"),
    ],
    also_right=[
        _of_pieces(lambda pieces, chunk: torch.cat(pieces).mean()),
        _of_pieces(lambda pieces, chunk: sum(p.mean().item() * len(p) for p in pieces) / sum(map(len, pieces))),
        torch.inference_mode()(lambda model, X, Y, chunk: torch.cat(_pieces(model, X, Y, chunk)).mean()[None].double()),
        lambda model, X, Y, chunk: sum(_pieces(model, X[[k]], Y[[k]], 1)[0].item() for k in range(len(X))) / len(X),
    ],
    right="exact for pieces of any size, the last one shorter or not.",
    hints=[
        "X.split(chunk) and Y.split(chunk) give the pieces in order; the last one may be shorter.",
        "A mean of means is the mean only if all pieces weigh the same. What could you add up instead?",
        'F.cross_entropy(..., reduction="sum") adds a piece\'s losses; divide once, at the end, by all the examples.',
    ],
)


# ---- 5.3 the cosine of two gradients ---------------------------------------------------------------------------------


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The cosine of the angle between two gradients, each given as a list of tensors of any shapes."""
    u = torch.cat([t.flatten() for t in a])  # (all parameters,)
    v = torch.cat([t.flatten() for t in b])
    return (u @ v / (u.norm() * v.norm())).item()


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return sum((s * t).sum().item() for s, t in zip(a, b, strict=True))


def _length(a: Sequence[Tensor]) -> float:
    return math.sqrt(_dot(a, a))


def _each(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[float]:
    """The tensors' own cosines, 0 beside a tensor of zeros."""
    return [F.cosine_similarity(s.flatten(), t.flatten(), dim=0).item() for s, t in zip(a, b, strict=True)]


def _gradients(a: list[object], b: list[object]) -> Case:
    return Case([torch.tensor(t) for t in a], [torch.tensor(t) for t in b])


def _drawn(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g) * 10**k for k, shape in enumerate(shapes)]


q3 = Exercise(
    "5.3",
    "the cosine of two gradients",
    solution=cosine,
    cases=[
        _gradients([[3.0, 4.0]], [[4.0, 3.0]]),
        _gradients([[2.0, 0.0], [10.0, 0.0]], [[2.0, 0.0], [6.0, 8.0]]),
        _gradients([[3.0, 0.0], [1.0, 4.0]], [[1.0, 2.0], [0.0, 1.0]]),
        _gradients([[1.0, 2.0], [0.0, 0.0]], [[1.0, 2.0], [2.0, 0.0]]),
        _gradients([[1.0, 2.0], [3.0]], [[-1.0, -2.0], [-3.0]]),
        _gradients([[[1.0, 2.0], [3.0, 4.0]]], [[[1.0, 2.0], [-3.0, 4.0]]]),
        Case(
            _drawn(1, (5, 2), (6, 4), (4,), (4, 5), (5,)),
            _drawn(2, (5, 2), (6, 4), (4,), (4, 5), (5,)),
            label="for two lists of five tensors",
        ),
    ],
    wrong=[
        Wrong(
            lambda a, b: sum(_each(a, b)) / len(a),
            "that is the mean of the tensors' own cosines: a tensor with a small gradient must not count as much as "
            "one with a large",
        ),
        Wrong(
            lambda a, b: torch.stack([F.cosine_similarity(s, t, dim=0) for s, t in zip(a, b, strict=True)]),
            "one number for the whole gradient, not one for each tensor",
        ),
        Wrong(_dot, "that is the dot product: a gradient twice as long would double it. Divide by both lengths"),
        Wrong(lambda a, b: _dot(a, b) / _length(a), "one length is missing: divide by that of a and that of b"),
        Wrong(lambda a, b: _each(a, b)[0], "only the first tensor was looked at"),
        Wrong(lambda a, b: _each(a, b)[-1], "only the last tensor was looked at"),
        Wrong(
            lambda a, b: _dot(a, b) / (sum(t.norm() for t in a) * sum(t.norm() for t in b)),
            "lengths do not add up, squares do: the length of the whole is the root of the sum of all squares",
        ),
        Wrong(
            lambda a, b: _dot(a, b) / (_dot(a, a) * _dot(b, b)),
            "you divided by the squared lengths: take their roots",
        ),
        Wrong(lambda a, b: abs(cosine(a, b)), "the sign is lost: opposite directions have the cosine -1"),
    ],
    also_right=[
        lambda a, b: _dot(a, b) / (_length(a) * _length(b)),
        lambda a, b: F.cosine_similarity(*(torch.cat([t.reshape(1, -1) for t in ts], 1) for ts in (a, b))),
        lambda a, b: torch.tensor(cosine(a, b), dtype=torch.float64),
    ],
    right="one dot product and two norms over all tensors at once: between -1 and 1, and tensors weigh by their size.",
    hints=[
        "A gradient is one vector that happens to lie in five tensors. t.flatten() makes a row of each.",
        "torch.cat joins the rows of a list into one vector with all the parameters' numbers.",
        "cosine = (u @ v) / (length of u * length of v), and u.norm() is a length.",
    ],
)
