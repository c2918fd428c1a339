"""Exercises of page 05: a minibatch from g, the exact loss in pieces, the angle between two gradients."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from weakref import ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import number
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited

# ---- 5.1 a minibatch from g ------------------------------------------------------------------------------------------


def minibatch(X: Tensor, Y: Tensor, batch_size: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """`batch_size` examples of X (N, block_size), Y (N,), each drawn from g among all N."""
    ix = torch.randint(0, X.shape[0], (batch_size,), generator=g)  # (batch_size,)
    return X[ix], Y[ix]


def _for(batch_size: int, X: Tensor) -> str:
    return f"for batch_size {batch_size} and {len(X)} rows"


def _rows(answer: Callable[..., object], X: Tensor, Y: Tensor, batch_size: int, g: torch.Generator) -> Tensor:
    """The rows that one call took: row r has r and r + 1000 in X, and r + 5000 in Y."""
    out, case = answer(X, Y, batch_size, g), _for(batch_size, X)
    if not isinstance(out, tuple | list) or len(out) != 2 or not all(isinstance(t, Tensor) for t in out):
        raise Refused("expected two tensors: end with `return Xb, Yb`")
    Xb, Yb = out
    shapes, wanted = [tuple(Xb.shape), tuple(Yb.shape)], [(batch_size, 2), (batch_size,)]
    if shapes != wanted:
        raise Refused(f"{case}: Xb and Yb have the shapes {shapes}, expected {wanted}")
    if (Xb.dtype, Yb.dtype) != (X.dtype, Y.dtype):
        raise Refused(f"{case}: Xb has type {Xb.dtype} and Yb {Yb.dtype}: keep the type of X and Y, {X.dtype}")
    for k, (x, y) in enumerate(zip(Xb[:, 0].tolist(), (Yb - 5000).tolist(), strict=True)):
        if x != y:
            raise Refused(
                f"{case}: example {k} has row {x} of X and row {y} of Y: use the same row numbers for both, drawn once"
            )
    return Xb[:, 0]


def _watched(answer: Callable[..., object], X: Tensor, Y: Tensor, batch_size: int, g: torch.Generator) -> bool:
    """Raise Refused unless all rows are equally likely in every place, and only g decides which come."""
    N, twin = len(X), torch.Generator()
    twin.set_state(g.get_state())
    draw = partial(_rows, answer, X, Y, batch_size)
    # One more call, so that rows kept from call to call are not used up when the twin starts.
    batches = torch.stack([draw(g) for _ in range(200 * N // batch_size + 1)])
    case = _for(batch_size, X)
    if bool((batches == batches[0]).all()):
        raise Refused(
            f"{case}: every call returns the same rows, {batches[0, :5].tolist()}: draw them in each call, from the g "
            "that is passed in, without reseeding it"
        )
    again = torch.stack([draw(twin) for _ in range(20)])
    if not torch.equal(again, batches[:20]):
        raise Refused(
            f"{case}: two generators in the same state gave different rows, so something other than g decides (a "
            "global generator, or rows kept from an earlier call): pass generator=g, and keep nothing between calls"
        )
    if 1 < batch_size <= N and bool((batches.sort().values.diff() > 0).all()):
        raise Refused(
            f"{case}: no row came twice in {len(batches)} batches: draw each from all rows, with torch.randint"
        )
    counts, mean = torch.bincount(batches.flatten(), minlength=N), batches.numel() / N
    if counts.max() > 1.5 * mean or counts.min() < 0.5 * mean:
        raise Refused(
            f"{case}: in {batches.numel():,} draws row {int(counts.argmax())} came {int(counts.max())} times and row "
            f"{int(counts.argmin())} came {int(counts.min())} times: all {N} rows should be equally likely"
            f"{' (torch.randint excludes its upper end)' * (int(counts.argmin()) == N - 1)}"
        )
    if _depend(batches, N):
        raise Refused(f"{case}: rows such as {batches[0, :3].tolist()} depend on one another: draw each row by itself")
    return True


def _depend(batches: Tensor, N: int) -> bool:
    """Whether the rows of a batch tell one another: by the differences of two, or of neighbouring differences."""
    steps = [batches[:, i] - batches[:, j] for j in range(batches.shape[1]) for i in range(j + 1, batches.shape[1])]
    steps += list(batches.diff(n=2).T) if batches.shape[1] > 2 else []
    counts = [torch.bincount(step % N, minlength=N) for step in steps]
    mean = len(batches) / N
    return any((count - mean).abs().max() > 6 * mean**0.5 for count in counts)


def _numbered(N: int, batch_size: int, seed: int, drawn: int = 0) -> Case:
    r, g = torch.arange(N), torch.Generator().manual_seed(seed)
    torch.randn(drawn, generator=g)
    return Case(torch.stack([r, r + 1000], dim=1), r + 5000, batch_size, g, label=_for(batch_size, r))


_DRAW = "torch.randint(0, X.shape[0], (batch_size,), generator=g)"

q1 = Exercise(
    "5.1",
    "a minibatch from g",
    solution=minibatch,
    observe=_watched,
    cases=[_numbered(11, 7, 2147483647), _numbered(50, 20, 1, drawn=100), _numbered(5, 1, 2), _numbered(11, 20, 3)],
    edits={
        ("generator=g", "generator=None"): "in the same state gave different rows",
        ("Y[ix]", f"Y[{_DRAW}]"): "use the same row numbers for both, drawn once",
        ("X.shape[0]", "X.shape[0] - 1"): "row 10 came 0 times",
        ("0, X", "1, X"): "row 0 came 0 times",
        ("X.shape[0]", "batch_size"): "row 7 came 0 times",
        ("X.shape[0]", "X.shape[0] + 1"): ("torch.randint excludes its upper end: use X.shape[0]"),
        ("generator=g", "generator=g.manual_seed(2147483647)"): (
            "the same rows, [7, 7, 10, 7, 6]: draw them in each call"
        ),
        ("(batch_size,), g", "(32,), g"): "have the shapes [(32, 2), (32,)]",
        ("(batch_size,), generator=g)", "(1,), generator=g).expand(batch_size)"): ("rows such as [7, 7, 7] depend"),
        (_DRAW, "torch.randperm(len(X), generator=g)[:batch_size]"): "no row came twice",
        (_DRAW, "sum(torch.randint(len(X), (), generator=g) * k for k in (1, torch.arange(batch_size))) % len(X)"): (
            "rows such as [7, 3, 10] depend"
        ),
        (", Y[ix]", ""): "expected two tensors",
        (_DRAW, "(torch.rand(batch_size, generator=g) ** 2 * len(X)).long()"): "row 10 came 101 times",
    },
    wrong=[
        Wrong(lambda X, Y, n, g: (X[:n], Y[:n]), "every call returns the same rows, [0, 1, 2, 3, 4]"),
    ],
    also_right=[
        edited(minibatch, (_DRAW, "torch.multinomial(torch.ones(len(X)), batch_size, True, generator=g)")),
        edited(minibatch, (_DRAW, "[int(torch.randint(len(X), (), generator=g)) for _ in range(batch_size)]")),
        lambda X, Y, n, g: [t.index_select(0, ix) for ix in [torch.randint(len(Y), (n,), generator=g)] for t in (X, Y)],
    ],
    right="the same g gives the same rows, every row can come, and X and Y stay together.",
    hints=[
        "First draw row numbers, then take those rows: one tensor ix of shape (batch_size,) for both X and Y.",
        "torch.randint(low, high, size): low is included, high is not, and size is a tuple. How many rows has X?",
        "Pass the generator to the draw: generator=g.",
    ],
)


# ---- 5.2 the exact loss in pieces ------------------------------------------------------------------------------------


def exact_loss(model: Callable[[Tensor], Tensor], X: Tensor, Y: Tensor, chunk: int) -> float:
    """The mean loss in nats over all of X (N, block_size), Y (N,), giving the model at most `chunk` rows at a time."""
    total = 0.0
    with torch.no_grad():
        for Xb, Yb in zip(X.split(chunk), Y.split(chunk), strict=True):
            total += F.cross_entropy(model(Xb), Yb, reduction="sum").item()
    return total / X.shape[0]


class _Table(nn.Module):
    """A model that looks up its logits by the last character, and notes the rows of each call and records kept."""

    def __init__(self) -> None:
        super().__init__()
        rows = [[2.0, 0.0, -1.0], [0.0, 1.0, 3.0], [-2.0, 0.5, 0.0], [1.0, 1.0, 1.0]]
        self.table = nn.Parameter(torch.tensor(rows))
        self.asked: list[int] = []
        self.records: list[ref] = []
        self.most_records = 0  # at any call; one may belong to the previous piece, which a variable still holds

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
    """The mean loss and, if it is right, whether records were kept; Refused for too many rows or random ones."""
    value = answer(model, X, Y, chunk)
    loss = number(value, "the mean loss")
    case = f"for {len(X)} examples in pieces of {chunk}"
    if max(model.asked, default=0) > chunk:
        raise Refused(f"{case} the model was given {max(model.asked)} rows at once: give it at most chunk at a time")
    again = number(answer(model, X, Y, chunk), "the mean loss")
    if not math.isclose(loss, again, rel_tol=1e-5) and not (math.isnan(loss) and math.isnan(again)):
        raise Refused(
            f"{case} two calls gave {loss:.4f} and {again:.4f}: an exact loss uses each example once and draws nothing"
        )
    kept, right = model.most_records > 1, math.isclose(loss, exact_loss(model, X, Y, chunk), rel_tol=1e-4)
    return {"loss": loss, "records of several pieces at once": kept and right}


@torch.inference_mode()
def _in_one_tensor(model: nn.Module, X: Tensor, Y: Tensor, chunk: int) -> Tensor:
    starts = range(0, len(X), chunk)
    pieces = [F.cross_entropy(model(X[i : i + chunk]), Y[i : i + chunk], reduction="none") for i in starts]
    return torch.cat(pieces).mean()[None].double()


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
    edits={
        ((', reduction="sum"', ""), ("X.shape[0]", "len(X.split(chunk))")): (
            "that is the mean of the pieces' means: a short last piece must count less than a full one"
        ),
        (', reduction="sum").item()', ").item() * chunk"): (
            "each piece's mean was multiplied by chunk, but the last piece has fewer rows: use its own number"
        ),
        (("+=", "="), (', reduction="sum"', ""), (" / X.shape[0]", "")): (
            "that is the loss of the last piece only: add up all pieces"
        ),
        ("total +=", "if len(Xb) == chunk: total +="): "a shorter last piece was left out",
        ("X.split(chunk), Y.split(chunk)", "X.split(chunk)[:-1], Y.split(chunk)[:-1]"): (
            "the last piece was left out, full or not: where does your range end?"
        ),
        (" / X.shape[0]", ""): "that is the sum over the examples: take the mean",
        ((', reduction="sum"', ""), (" / X.shape[0]", "")): (
            "that is the sum of the pieces' means: weight each by its number of examples"
        ),
        ("X.shape[0]", "len(X.split(chunk))"): (
            "the sum was divided by the number of pieces: divide by the number of examples"
        ),
        (("no_grad", "enable_grad"), (".item()", "")): (
            "the number is right, but the records of all pieces take the memory that pieces should save: use "
            "torch.no_grad(), or take each piece's .item()"
        ),
    },
    wrong=[
        Wrong(
            lambda model, X, Y, chunk: exact_loss(model, X[:chunk], Y[:chunk], chunk),
            "that is the loss of the first piece only: is `return` in the loop?",
        ),
        Wrong(lambda model, X, Y, chunk: F.cross_entropy(model(X), Y).item(), "the model was given 10 rows at once"),
        Wrong(
            lambda model, X, Y, chunk: exact_loss(model, *minibatch(X, Y, chunk, torch.default_generator), chunk),
            "an exact loss uses each example once and draws nothing",
        ),
    ],
    also_right=[
        edited(exact_loss, (', reduction="sum").item()', ").item() * len(Xb)")),
        _in_one_tensor,
        lambda model, X, Y, _: sum(F.cross_entropy(model(X[[k]]), Y[[k]]).item() for k in range(len(X))) / len(X),
    ],
    right="exact for pieces of any size, with a shorter last piece or without.",
    hints=[
        "X.split(chunk) and Y.split(chunk) give the pieces in order; the last one may be shorter.",
        "A mean of means is the mean only if all pieces have the same size. What could you add up instead?",
        'F.cross_entropy(..., reduction="sum") adds a piece\'s losses; divide once, at the end, by all the examples.',
    ],
)


# ---- 5.3 the cosine of two gradients ---------------------------------------------------------------------------------


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The cosine of the angle between two gradients, each given as a list of tensors of any shapes."""
    u = torch.cat([t.flatten() for t in a])  # (all parameters,)
    v = torch.cat([t.flatten() for t in b])
    return (u @ v / (u.norm() * v.norm())).item()


def _by_sums(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    ab = aa = bb = 0.0
    for s, t in zip(a, b, strict=True):
        ab, aa, bb = ab + (s * t).sum(), aa + (s * s).sum(), bb + (t * t).sum()
    return ab / math.sqrt(aa * bb)


def _each(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
    return [F.cosine_similarity(s.flatten(), t.flatten(), dim=0) for s, t in zip(a, b, strict=True)]


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
        Case(
            _drawn(3, (2, 3, 2), ()), _drawn(4, (2, 3, 2), ()), label="for two lists of a (2, 3, 2) and a single number"
        ),
    ],
    edits={
        (" / (u.norm() * v.norm())", ""): (
            "that is the dot product, which doubles if a gradient is twice as long: divide by both lengths"
        ),
        (").item()", ").acos().item()"): "that is the angle: return its cosine",
        (" * v.norm()", ""): "one length is missing: divide by that of a and that of b",
        ("u.norm() * v.norm()", "sum(t.norm() for t in a) * sum(t.norm() for t in b)"): (
            "lengths do not add up, squares do: the length of the whole is the root of the sum of all squares"
        ),
        ("u.norm() * v.norm()", "u @ u * (v @ v)"): "those are the squared lengths: take their roots",
    },
    wrong=[
        Wrong(
            lambda a, b: sum(_each(a, b)) / len(a),
            "that is the mean of the tensors' own cosines: a tensor with a small gradient should count less",
        ),
        Wrong(_each, "return one number for the whole gradient, not one per tensor"),
        Wrong(lambda a, b: cosine(a[:1], b[:1]), "only the first tensor was used"),
        Wrong(lambda a, b: cosine(a[-1:], b[-1:]), "only the last tensor was used"),
        Wrong(lambda a, b: abs(cosine(a, b)), "the sign is lost: opposite directions have the cosine -1"),
    ],
    also_right=[
        _by_sums,
        lambda a, b: F.cosine_similarity(*(torch.cat([t.reshape(1, -1) for t in ts], 1) for ts in (a, b))),
        lambda a, b: torch.tensor(cosine(a, b), dtype=torch.float64),
    ],
    right="one dot product and two norms over all tensors at once: between -1 and 1, and larger gradients count more.",
    hints=[
        "A gradient is one vector stored in five tensors. t.flatten() makes a row of each.",
        "torch.cat joins the rows of a list into one vector with all the parameters' numbers.",
        "cosine = (u @ v) / (length of u * length of v), and u.norm() is a length.",
    ],
)
