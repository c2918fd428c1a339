"""Exercises of notebook 04: one training step, parameters that can learn, the lowest loss that a dataset allows."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mlp_lib.course.exercises.answers import close, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake
from mlp_lib.model import MLPConfig

_NAMES = ("C", "W1", "b1", "W2", "b2")
_SEED = 2147483647


# 4.1 one step


def _tiny_network() -> tuple[list[Tensor], Tensor, Tensor]:
    """Five symbols, three characters of context, and examples of two words; the parameters are ready to train."""
    g = torch.Generator().manual_seed(_SEED)
    shapes = ((5, 2), (6, 4), (4,), (4, 5), (5,))
    parameters = [torch.randn(shape, generator=g) for shape in shapes]
    for p in parameters:
        p.requires_grad = True
    X = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 0, 0], [0, 0, 3], [0, 3, 4]])
    Y = torch.tensor([1, 2, 0, 3, 4, 0])
    return parameters, X, Y


def _loss(parameters: list[Tensor], X: Tensor, Y: Tensor, reduction: str = "mean") -> Tensor:
    C, W1, b1, W2, b2 = parameters
    emb = C[X]
    h = torch.tanh(emb.view(emb.shape[0], -1) @ W1 + b1)
    return F.cross_entropy(h @ W2 + b2, Y, reduction=reduction)


def _gradients(values: list[Tensor], X: Tensor, Y: Tensor) -> list[Tensor]:
    leaves = [v.detach().clone().requires_grad_() for v in values]
    return list(torch.autograd.grad(_loss(leaves, X, Y), leaves))


def _taken(values: list[Tensor], gradients: list[Tensor], factor: float) -> list[Tensor]:
    return [v + factor * d for v, d in zip(values, gradients, strict=True)]


def _same(tensors: list[Tensor], others: list[Tensor]) -> bool:
    pairs = zip(tensors, others, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)


def _call_step(answer: object, parameters: list[Tensor], X: Tensor, Y: Tensor, lr: float) -> object:
    try:
        return answer(parameters, X, Y, lr)
    except RuntimeError as error:
        if "leaf Variable that requires grad" in str(error):
            raise Mistake(
                "p -= ... on a parameter raised: autograd records what is done to a leaf, and would lose the value it "
                "needs. Change the numbers behind its back: p.data, or torch.no_grad()"
            ) from None
        if "does not require grad" in str(error):
            raise Mistake(
                "backward() found nothing that was recorded: is your forward pass inside torch.no_grad(), or did you "
                "detach the parameters first?"
            ) from None
        raise
    except (TypeError, AttributeError) as error:
        if "NoneType" in str(error) and all(p.grad is None for p in parameters):
            raise Mistake(
                "p.grad is None where you use it. It is None before the first backward(), and again if you clear it "
                "between backward() and the update: clear, then backward, then update"
            ) from None
        raise


def _check_step(answer: object) -> str:
    own_function(answer, "q1.check(step)")
    parameters, X, Y = _tiny_network()
    tensors = list(parameters)  # the learner may put other tensors into the list
    start = [p.detach().clone() for p in tensors]
    lr = 0.5
    before = _loss(start, X, Y).item()
    first = _gradients(start, X, Y)
    after_one = _taken(start, first, -lr)

    returned = _call_step(answer, parameters, X, Y, lr)
    now = [p.detach().clone() for p in tensors]
    if _same(now, start):
        if any(a is not b for a, b in zip(parameters, tensors, strict=False)):
            raise Mistake(
                "the list holds new tensors now, but C, W1, ... themselves have not changed, and whoever else holds "
                "them sees nothing: change the numbers inside the tensors"
            )
        if any(p.grad is None for p in tensors):
            raise Mistake(
                "after your step no parameter has moved and p.grad is None: where is loss.backward(), or did you "
                "train copies?"
            )
        raise Mistake(
            "the gradients are there, but no parameter has moved. p = p - ... makes a new tensor and lets the name p "
            "point at it; the five tensors stay as they were"
        )
    if _same(now, _taken(start, first, lr)):
        higher = _loss(now, X, Y).item()
        raise Mistake(
            f"the loss went up, from {before:.2f} to {higher:.2f}: the gradient points uphill. Which sign does the "
            "update need?"
        )
    if not _same(now, after_one):
        if _same(now, _taken(start, first, -0.1)):
            raise Mistake(f"called with lr={lr}, your step moved the parameters with 0.1: use the argument lr")
        if _same(now, _taken(start, first, -lr * len(Y))):
            raise Mistake(f"your step is {len(Y)} times too long, and there are {len(Y)} examples: mean loss, not sum")
        moved = [name for name, a, b in zip(_NAMES, now, start, strict=True) if not torch.equal(a, b)]
        if len(moved) < len(_NAMES):
            raise Mistake(f"only {', '.join(moved)} moved: update all five parameters")
        name, got, wanted = next(
            (n, a, b) for n, a, b in zip(_NAMES, now, after_one, strict=True) if not _same([a], [b])
        )
        raise Mistake(
            f"{name} is not {name} - lr * gradient: its first number is {got.flatten()[0]:.4f}, expected "
            f"{wanted.flatten()[0]:.4f}"
        )

    what = "the loss before the update"
    loss = number(returned, what)
    if not close(loss, before):
        if close(loss, _loss(after_one, X, Y).item()):
            raise Mistake(
                f"you returned {loss:.4f}, the loss after the update: it costs a second forward pass. The loss before, "
                "which you had at hand anyway, is asked for"
            )
        raise Mistake(f"the parameters moved as they should, but you returned {loss:.4f}; {what} is {before:.4f}")

    if not all(p.requires_grad and p.is_leaf for p in tensors):
        raise Mistake("the numbers are right, but the parameters no longer require a gradient after your step")

    # The second step tells whether the first one's gradients are still there.
    _call_step(answer, parameters, X, Y, lr)
    now = [p.detach().clone() for p in tensors]
    second = _gradients(after_one, X, Y)
    if _same(now, _taken(_taken(after_one, second, -lr), first, -lr)):
        raise Mistake(
            "the first call is right, the second goes too far: it used the first call's gradients once more, because "
            "backward() adds to p.grad"
        )
    if not _same(now, _taken(after_one, second, -lr)):
        raise Mistake("the first call is right, the second is not: does your function keep anything between calls?")
    return f"two steps in a row are right: the loss went from {before:.4f} to {_loss(now, X, Y).item():.4f}."


def step(parameters: list[Tensor], X: Tensor, Y: Tensor, lr: float) -> float:
    """One step of gradient descent on the examples X, Y; returns the loss in nats before the update."""
    C, W1, b1, W2, b2 = parameters
    emb = C[X]  # (N, block_size, n_embd)
    h = torch.tanh(emb.view(emb.shape[0], -1) @ W1 + b1)  # (N, n_hidden)
    loss = F.cross_entropy(h @ W2 + b2, Y)
    for p in parameters:
        p.grad = None
    loss.backward()
    for p in parameters:
        p.data += -lr * p.grad
    return loss.item()


q1 = Exercise(
    "4.1",
    "one step as a function",
    _check_step,
    hints=[
        "Four parts, in this order: forward pass to the loss, clear the gradients, backward pass, update.",
        "C, W1, b1, W2, b2 = parameters gives the names back; emb.view(emb.shape[0], -1) works for every size.",
        "The update must change the numbers inside each tensor: p.data += -lr * p.grad.",
        "Keep the loss of the forward pass and return loss.item() at the end: the update does not change it.",
    ],
    solution=step,
)


# 4.2 the floor of a dataset


def _floor_cases() -> list[tuple[str, Tensor, Tensor]]:
    split = torch.tensor([[0, 1], [0, 1], [0, 1], [2, 1], [2, 1], [1, 2], [2, 2], [0, 2]])
    return [
        ("one context with two followers, three contexts with one",
         torch.tensor([[0], [0], [1], [2], [3], [3]]), torch.tensor([1, 2, 3, 0, 1, 1])),
        ("five examples: context 1 has followers 2, 2, 3 and context 2 has followers 0, 1",
         torch.tensor([[1], [1], [1], [2], [2]]), torch.tensor([2, 2, 3, 0, 1])),
        ("contexts of two characters, some with the same last character",
         split, torch.tensor([0, 0, 3, 3, 1, 0, 2, 2])),
        ("every context has one follower", torch.tensor([[0], [1], [2]]), torch.tensor([1, 2, 0])),
    ]  # fmt: skip


def _entropy(counts: Tensor) -> float:
    q = counts[counts > 0].double() / counts.sum()
    return -(q * q.log()).sum().item()


def _context_counts(X: Tensor, Y: Tensor) -> Tensor:
    contexts, inverse = torch.unique(X, dim=0, return_inverse=True)
    counts = torch.zeros(len(contexts), int(Y.max()) + 1, dtype=torch.int64)
    counts.index_put_((inverse, Y), torch.ones_like(Y), accumulate=True)
    return counts


def _check_floor(answer: object) -> str:
    own_function(answer, "q2.check(floor)")
    for name, X, Y in _floor_cases():
        got = number(answer(X.clone(), Y.clone()), "the floor in nats")
        counts = _context_counts(X, Y)
        entropies = [_entropy(row) for row in counts]
        sizes = counts.sum(1).tolist()
        total = sum(size * h for size, h in zip(sizes, entropies, strict=True))
        expected = total / len(Y)
        if close(got, expected):
            continue
        case = f"{name}: you say {got:.4f}"
        if math.isnan(got):
            raise Mistake(f"{case}, expected {expected:.4f}: 0 * log(0) is nan, so leave the zeros out")
        ambiguous = sum(size for size, h in zip(sizes, entropies, strict=True) if h > 0)
        if close(got, -expected):
            raise Mistake(f"{case}, right but for the sign: a loss is minus the logarithm")
        if close(got, expected / math.log(2)):
            raise Mistake(f"{case}, which is in bits: log2 where the loss of this course takes the natural logarithm")
        if close(got, 0):
            raise Mistake(
                f"{case}, but a context with two different followers cannot be right both times. (If you counted in a "
                "dictionary: a tensor as its key never equals another row, a tuple does)"
            )
        if close(got, _entropy(Y.bincount())):
            raise Mistake(f"{case}, the entropy of Y alone: you ignored what the context tells. Count by context")
        if close(got, sum(entropies) / len(entropies)):
            raise Mistake(
                f"{case}, every context counted alike; but a context that stands in many examples counts in each of "
                "them"
            )
        if ambiguous and close(got, total / ambiguous):
            raise Mistake(
                f"{case}, the mean over the examples that cannot be predicted for certain: the others are part of the "
                "batch too, with 0 each"
            )
        if close(got, total):
            raise Mistake(f"{case}, a sum over the {len(Y)} examples: the loss is their mean")
        if X.shape[1] > 1 and close(
            got, sum(c.sum().item() * _entropy(c) for c in _context_counts(X[:, -1:], Y)) / len(Y)
        ):
            raise Mistake(f"{case}: only the last character was used. The context is the whole row of X")
        raise Mistake(f"{case}, expected {expected:.4f}. For each context: what share has each follower?")
    return "right for contexts of one and of two characters, and 0 where nothing is in doubt."


def floor(X: Tensor, Y: Tensor) -> float:
    """The lowest mean loss in nats that any model of these contexts can reach on X (N, block_size), Y (N,)."""
    contexts, inverse = torch.unique(X, dim=0, return_inverse=True)
    N = torch.zeros(len(contexts), int(Y.max()) + 1, dtype=torch.float64)
    N.index_put_((inverse, Y), torch.ones(len(Y), dtype=torch.float64), accumulate=True)
    prob = N / N.sum(1, keepdim=True)  # each context's own frequencies: the best probabilities there are
    return -prob[inverse, Y].log().mean().item()


q2 = Exercise(
    "4.2",
    "the floor of any dataset",
    _check_floor,
    hints=[
        "The best probability for an example is its share: of all examples with this context, how many have this Y?",
        "Count in a dictionary from context to Counter: tuple(row.tolist()) can be a key, a tensor cannot.",
        "The floor is the mean, over all examples, of minus the natural logarithm of that share.",
    ],
    solution=floor,
)


# 4.3 parameters that can learn


def _check_parameters(answer: object) -> str:
    own_function(answer, "q3.check(make_parameters)")
    for sizes, seed in (((5, 3, 2, 4), _SEED), ((5, 3, 2, 4), 1), ((27, 3, 2, 100), _SEED)):
        _check_parameters_at(answer, sizes, seed)
    return "five leaves that require a gradient, C a tenth as large, drawn in the lecture's order."


def _check_parameters_at(answer: Callable[..., object], sizes: tuple[int, int, int, int], seed: int) -> None:
    vocab_size, block_size, n_embd, n_hidden = sizes
    shown = f"for vocab_size={vocab_size}, block_size={block_size}, n_embd={n_embd}, n_hidden={n_hidden}"
    shapes = tuple(MLPConfig(*sizes).shapes.values())
    drawn = _draw(shapes, seed, torch.randn)
    made = answer(torch.Generator().manual_seed(seed), *sizes)
    if not isinstance(made, (list, tuple)) or len(made) != 5 or not all(isinstance(t, Tensor) for t in made):
        raise Mistake(f"{shown}: expected a list of the five tensors C, W1, b1, W2, b2, got {type(made).__name__}")
    made = list(made)
    for name, t, shape in zip(_NAMES, made, shapes, strict=True):
        if t.numel() != math.prod(shape) or (t.shape != shape and tuple(t.shape) != (1, *shape)):
            raise Mistake(f"{shown}: {name} has shape {tuple(t.shape)}, expected {shape}")
        if t.dtype != torch.float32:
            raise Mistake(f"{shown}: {name} is {t.dtype}, and float32 is asked for: what torch.randn draws unasked")

    flat = [t.detach().reshape(shape) for t, shape in zip(made, shapes, strict=True)]
    expected = [drawn[0] * 0.1, *drawn[1:]]
    if not _same(flat, expected):
        raise Mistake(f"{shown}: {_what_is_wrong_with(flat, drawn, shapes, answer, sizes, seed)}")

    copies = [name for name, t in zip(_NAMES, made, strict=True) if not t.is_leaf]
    if copies == ["C"]:
        raise Mistake(
            "after loss.backward() C.grad is None: C * 0.1 made a new tensor, and the gradient goes to the C before "
            "it, which you no longer have. First the numbers, then requires_grad"
        )
    if copies:
        raise Mistake(
            f"after loss.backward() the .grad of {', '.join(copies)} is None: they were computed from tensors that "
            "require a gradient (copied, scaled), and the gradient goes to those"
        )
    without = [name for name, t in zip(_NAMES, made, strict=True) if not t.requires_grad]
    if without == list(_NAMES):
        raise Mistake("none of the five requires a gradient: loss.backward() would raise")
    if without:
        raise Mistake(
            f"{', '.join(without)}: requires_grad is False, so it stays as drawn. Was it made anew after the flag was "
            "set?"
        )


def _draw(shapes: tuple[tuple[int, ...], ...], seed: int, how: object) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [how(shape, generator=g) for shape in shapes]


def _what_is_wrong_with(
    flat: list[Tensor],
    drawn: list[Tensor],
    shapes: tuple[tuple[int, ...], ...],
    answer: Callable[..., object],
    sizes: tuple,
    seed: int,
) -> str:
    """The sentence for five tensors of the right shapes and the wrong numbers."""
    if _same(flat, drawn):
        return "C has the size it was drawn with: make it a tenth of that"
    if _same(flat, [t * 0.1 for t in drawn]):
        return "all five are a tenth as large: only C was asked for"
    if seed != _SEED:  # with _SEED all was right
        return f"the five do not follow from a g seeded with {seed}: draw from the g that comes in, and do not seed it"
    again = answer(torch.Generator().manual_seed(seed), *sizes)
    if not all(torch.equal(a.detach().reshape(b.shape), b) for a, b in zip(again, flat, strict=True)):
        return "the same g gives other numbers the second time: pass generator=g to every draw"
    uniform = _draw(shapes, seed, torch.rand)
    if _same([flat[0]], [uniform[0] * 0.1]) or _same([flat[0]], [uniform[0]]):
        return "no number is below 0: torch.rand draws between 0 and 1, torch.randn is asked for"
    wrong = next(n for n, a, b in zip(_NAMES, flat, [drawn[0] * 0.1, *drawn[1:]], strict=True) if not _same([a], [b]))
    return f"{wrong} holds other numbers than the lecture's: draw C, W1, b1, W2, b2 in this order, once each, from g"


def make_parameters(g: torch.Generator, vocab_size: int, block_size: int, n_embd: int, n_hidden: int) -> list[Tensor]:
    """C, W1, b1, W2, b2 drawn from `g`, C a tenth as large, each a leaf that requires a gradient."""
    C = torch.randn((vocab_size, n_embd), generator=g) * 0.1
    W1 = torch.randn((block_size * n_embd, n_hidden), generator=g)
    b1 = torch.randn(n_hidden, generator=g)
    W2 = torch.randn((n_hidden, vocab_size), generator=g)
    b2 = torch.randn(vocab_size, generator=g)
    parameters = [C, W1, b1, W2, b2]
    for p in parameters:
        p.requires_grad = True  # last: what is computed from a flagged tensor is no leaf
    return parameters


q3 = Exercise(
    "4.3",
    "parameters that can learn",
    _check_parameters,
    hints=[
        "Draw all five from g first, in the lecture's order: C, W1, b1, W2, b2.",
        "C * 0.1 is a new tensor. Whether it is a leaf depends on whether C required a gradient at that moment.",
        "So set requires_grad at the very end, on the tensors that you return, and return those very tensors.",
    ],
    solution=make_parameters,
)
