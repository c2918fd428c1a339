"""Exercises of page 04: parameters that learn, somebody's training loop with two faults, the floor of a dataset."""

import copy
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong
from mlp_lib.model import MLPConfig

_NAMES = ("C", "W1", "b1", "W2", "b2")
_SEED = 2147483647

Forward = Callable[[list[Tensor], Tensor], Tensor]
Update = Callable[[list[Tensor], float], None]


def _forward(parameters: Sequence[Tensor], X: Tensor, squash: Callable[[Tensor], Tensor] = torch.tanh) -> Tensor:
    C, W1, b1, W2, b2 = parameters
    return squash(C[X].flatten(1) @ W1 + b1) @ W2 + b2


# ---- 4.1 parameters that can learn -----------------------------------------------------------------------------------


def make_parameters(g: torch.Generator, vocab_size: int, block_size: int, n_embd: int, n_hidden: int) -> list[Tensor]:
    """C, W1, b1, W2, b2 drawn from `g`, C a tenth as large, each a leaf that requires a gradient."""
    C = torch.randn((vocab_size, n_embd), generator=g) * 0.1
    W1 = torch.randn((block_size * n_embd, n_hidden), generator=g)
    b1 = torch.randn(n_hidden, generator=g)
    W2 = torch.randn((n_hidden, vocab_size), generator=g)
    b2 = torch.randn(vocab_size, generator=g)
    parameters = [C, W1, b1, W2, b2]
    for p in parameters:
        p.requires_grad = True  # last: what is computed from a flagged tensor is not a leaf
    return parameters


def _made(answer: Callable[..., object], g: torch.Generator, *sizes: int) -> object:
    """The five tensors, and which of them can learn."""
    made = answer(g, *sizes)
    made = list(made) if isinstance(made, torch.nn.ParameterList) else made
    if not isinstance(made, Sequence) or len(made) != 5 or not all(isinstance(t, Tensor) for t in made):
        raise Refused("expected a list of the five tensors C, W1, b1, W2, b2")
    tensors = dict(zip(_NAMES, made, strict=True))
    return {
        "types": [str(t.dtype) for t in made],
        **{name: t.squeeze(0) if name in ("b1", "b2") else t for name, t in tensors.items()},  # a bias may be a row
        "tensors that require a gradient": [name for name, t in tensors.items() if t.requires_grad],
        "leaves": [name for name, t in tensors.items() if t.is_leaf],
        "what g gives next": torch.randint(1000, (4,), generator=g.clone_state()),
    }


def _drawn(
    g: torch.Generator,
    *sizes: int,
    by: Sequence[float] = (0.1, 1, 1, 1, 1),
    order: Sequence[str] = _NAMES,
    how: Callable[..., Tensor] = torch.randn,
) -> list[Tensor]:
    shapes = MLPConfig(*sizes).shapes
    drawn = {name: how(shapes[name], generator=g) for name in order}
    return [(drawn[name] * factor).requires_grad_() for name, factor in zip(_NAMES, by, strict=True)]


def _flag_then_scale(g: torch.Generator, *sizes: int) -> list[Tensor]:
    C, *others = _drawn(g, *sizes, by=(1,) * 5)
    return [C * 0.1, *others]


def _flag_then_remake(g: torch.Generator, *sizes: int) -> list[Tensor]:
    C, *others = make_parameters(g, *sizes)
    return [C.detach(), *others]


def _advanced(seed: int) -> torch.Generator:
    g = torch.Generator().manual_seed(seed)
    torch.randn(100, generator=g)
    return g


q1 = Exercise(
    "4.1",
    "parameters that can learn",
    solution=make_parameters,
    observe=_made,
    cases=[
        Case(torch.Generator().manual_seed(_SEED), 5, 3, 2, 4, label="for the sizes 5, 3, 2, 4"),
        Case(torch.Generator().manual_seed(1), 27, 3, 2, 100, label="for the sizes 27, 3, 2, 100"),
        Case(_advanced(_SEED), 60, 1, 5, 3, label="from a g that was drawn from before, for 60, 1, 5, 3"),
    ],
    wrong=[
        Wrong(
            _flag_then_scale,
            "C.grad is None: scaling C made a new tensor, and the gradient goes to the C before it, which you no "
            "longer have. First the numbers, then requires_grad (retain_grad() does not make C a leaf)",
        ),
        Wrong(
            _flag_then_remake,
            "C does not require a gradient: was it never set, or was C made again afterwards? Set it last, for all "
            "five",
        ),
        Wrong(
            lambda g, *sizes: [p.detach() for p in make_parameters(g, *sizes)],
            "none of the five requires a gradient: loss.backward() would raise",
        ),
        Wrong(
            partial(_drawn, by=(1, 1, 1, 1, 1)),
            "C has the size it was drawn with: make it a tenth of that (a new C does not change a list made before)",
        ),
        Wrong(partial(_drawn, by=(0.1,) * 5), "all five are a tenth as large: only C was asked for"),
        Wrong(
            partial(_drawn, how=torch.rand),
            "no number is below 0: torch.rand draws between 0 and 1, torch.randn is asked for",
        ),
        Wrong(
            lambda g, *sizes: make_parameters(g.manual_seed(_SEED), *sizes),
            "the seed is written in your function: draw from the g that is handed in",
        ),
        Wrong(
            partial(_drawn, order=("C", "W1", "W2", "b1", "b2")),
            "W2 was drawn before b1: draw in the order C, W1, b1, W2, b2",
        ),
        Wrong(lambda g, *sizes: make_parameters(g, *sizes)[0], "expected a list of the five tensors"),
    ],
    also_right=[
        _drawn,
        lambda g, *sizes: torch.nn.ParameterList(p.detach() for p in make_parameters(g, *sizes)),
        lambda g, *sizes: [p.detach()[None].requires_grad_() if p.ndim == 1 else p for p in make_parameters(g, *sizes)],
    ],
    right="five leaves that require a gradient, C a tenth as large, drawn in the lecture's order.",
    hints=[
        "Draw all five from g first, in the lecture's order: C, W1, b1, W2, b2.",
        "C * 0.1 is a new tensor. Whether it is a leaf depends on whether C required a gradient at that moment.",
        "So set requires_grad at the very end, on the tensors that you return, and return those very tensors.",
    ],
)


# ---- 4.2 somebody's loop ---------------------------------------------------------------------------------------------


def train_best(forward: Forward, parameters: list[Tensor], X: Tensor, Y: Tensor, steps: int, lr: float) -> list[float]:
    """Train, leave the parameters where the loss was lowest, and return the losses, each before its update."""
    lossi, best = [], []
    for _ in range(steps):
        loss = F.cross_entropy(forward(parameters, X), Y)
        if loss.item() < min(lossi, default=math.inf):
            best = [p.detach().clone() for p in parameters]  # p.data would be the memory that goes on training
        lossi.append(loss.item())
        for p in parameters:
            p.grad = None  # else backward() adds to the gradients of the steps before
        loss.backward()
        for p in parameters:
            p.data += -lr * p.grad
    for p, kept in zip(parameters, best, strict=True):
        p.data = kept
    return lossi


def _move(parameters: list[Tensor], lr: float) -> None:
    for p in parameters:
        p.data += -lr * p.grad


def _rebind(parameters: list[Tensor], lr: float) -> None:
    for p in parameters:
        p = p - lr * p.grad


def _replace(parameters: list[Tensor], lr: float) -> None:
    parameters[:] = [(p - lr * p.grad).detach().requires_grad_() for p in parameters]


def _on_a_leaf(parameters: list[Tensor], lr: float) -> None:
    for p in parameters:
        p -= lr * p.grad


def _loop(
    forward: Forward,
    parameters: list[Tensor],
    X: Tensor,
    Y: Tensor,
    steps: int,
    lr: float,
    *,
    update: Update = _move,
    clear: str = "before backward",
    grad: bool = True,
    keep_late: bool = False,
    measure_late: bool = False,
    put_back: bool = True,
    choose: Callable[[list[float]], float] = min,
) -> list[float]:
    """The loop with one thing or another done as learners do it."""

    def clear_at(place: str) -> None:
        for p in parameters if clear == place else ():
            p.grad = None

    lossi, kept = [], []
    for _ in range(steps):
        before = copy.deepcopy(parameters)
        with torch.set_grad_enabled(grad):
            loss = F.cross_entropy(forward(parameters, X), Y)
        clear_at("before backward")
        loss.backward()
        clear_at("before update")
        update(parameters, lr)
        clear_at("after update")
        kept.append(copy.deepcopy(parameters) if keep_late else before)
        lossi.append(F.cross_entropy(forward(parameters, X), Y).item() if measure_late else loss.item())
    for p, best in zip(parameters, kept[lossi.index(choose(lossi))], strict=True):
        p.data = best.data if put_back else p.data
    return lossi


def _with_an_optimizer(
    forward: Forward, parameters: list[Tensor], X: Tensor, Y: Tensor, steps: int, lr: float
) -> list[Tensor]:
    optimizer, losses, kept = torch.optim.SGD(parameters, lr=lr), [], []
    for _ in range(steps):
        kept.append([p.tolist() for p in parameters])
        losses.append(F.cross_entropy(forward(parameters, X), Y))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    with torch.no_grad():
        for p, best in zip(parameters, kept[torch.stack(losses).argmin()], strict=True):
            p.copy_(torch.tensor(best))
    return losses


def _trained(answer: Callable[..., object], forward: Forward, parameters: list[Tensor], *others: object) -> object:
    """The losses, and what the five tensors hold then; the list may hold others by that time."""
    tensors = dict(zip(_NAMES, parameters, strict=True))
    lossi = answer(forward, parameters, *others)
    if lossi is None:
        raise Refused("your function returned None: return the list of the losses")
    flags = [name for name, p in tensors.items() if p.requires_grad and p.is_leaf]
    return {"losses": lossi, **tensors, "tensors that require a gradient": flags}


def _training(steps: int, lr: float, used: bool = False, relu: bool = False) -> Case:
    """Five symbols, contexts of three; `used` parameters have gradients, `relu` is another network with more rows."""
    g = torch.Generator().manual_seed(_SEED)
    parameters = [torch.randn(shape, generator=g) for shape in ((5, 2), (6, 4), (4,), (4, 5), (5,))]
    for p in parameters:
        p.requires_grad = True
        p.grad = torch.ones_like(p) if used else None
    X = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 0, 0], [0, 0, 3], [0, 3, 4]]).repeat(1 + 6 * relu, 1)
    Y = torch.tensor([1, 2, 0, 3, 4, 0]).repeat(1 + 6 * relu)
    label = f"after {steps} step{'s' * (steps > 1)} at rate {lr:g}"
    label += " from parameters that come with gradients" * used + " of a network with relu on 42 examples" * relu
    return Case(partial(_forward, squash=torch.relu) if relu else _forward, parameters, X, Y, steps, lr, label=label)


q2 = Exercise(
    "4.2",
    "a loop that loses its best network",
    solution=train_best,
    observe=_trained,
    cases=[
        _training(1, 0.5),
        _training(2, 0.5),
        _training(3, 0.5, used=True),
        _training(2, 100.0),
        _training(12, 4.0),
        _training(30, 0.7, relu=True),
    ],
    may_change=(1,),
    rtol=1e-3,
    atol=1e-4,
    wrong=[
        Wrong(
            partial(_loop, clear="never", put_back=False),
            "both faults are still there: which line of our loop is missing, and what does `best` hold?",
        ),
        Wrong(
            partial(_loop, clear="never"),
            "the gradients pile up, because backward() adds to p.grad: clear them in each step, before backward()",
        ),
        Wrong(
            partial(_loop, clear="after update"),
            "the first step used a gradient that was there before: clear before backward(), not after the update",
        ),
        Wrong(
            partial(_loop, clear="before update"),
            "the gradients are cleared between backward() and the update: clear, then backward, then update",
        ),
        Wrong(
            partial(_loop, put_back=False),
            "the tensors hold the numbers of the last step. Keep copies, p.detach().clone(), since p.data is the "
            "memory that goes on training, and put them back into the tensors: `p = kept` only names them",
        ),
        Wrong(
            partial(_loop, keep_late=True),
            "the numbers kept are one update later than their loss: keep them before the update",
        ),
        Wrong(partial(_loop, choose=max), "these are the parameters with the highest loss"),
        Wrong(
            partial(_loop, keep_late=True, measure_late=True),
            "these are the losses after the updates: measure each before its update",
        ),
        Wrong(
            partial(_loop, update=lambda parameters, lr: _move(parameters, -lr)),
            "the steps go uphill: which sign does the update need?",
        ),
        Wrong(
            partial(_loop, update=_rebind),
            "no parameter has moved. Is there a backward(), are the gradients still there at the update, and does it "
            "change the tensors? (`p = p - ...` makes a new tensor and lets the name p point at it)",
        ),
        Wrong(
            partial(_loop, update=_replace),
            "the five tensors that were handed in are as they were: copies, or new tensors in the list, were trained. "
            "Change the numbers inside the five",
        ),
        Wrong(
            partial(_loop, update=_on_a_leaf),
            "autograd records what is done to a leaf, and `p -= ...` would lose the value it needs: use p.data, or "
            "torch.no_grad()",
        ),
        Wrong(
            partial(_loop, grad=False),
            "backward() found nothing that was recorded: is the forward pass inside torch.no_grad()?",
        ),
        Wrong(
            partial(_loop, update=lambda parameters, lr: _move(parameters, 0.1)),
            "the parameters moved at a rate of 0.1: use the argument lr",
        ),
    ],
    also_right=[_with_an_optimizer, _loop],
    right="the network that is left has the lowest of the losses, and no step used the gradients of another.",
    hints=[
        "Compare a step of theirs with a step of the loop above, line by line: which line is missing?",
        "p.data is not a copy. Print best[0] before and after one update.",
        "p.detach().clone() is a copy that no update reaches.",
    ],
)


# ---- 4.3 the floor of a dataset --------------------------------------------------------------------------------------


def floor(X: Tensor, Y: Tensor) -> float:
    """The lowest mean loss in nats that any model of these contexts can reach on X (N, block_size), Y (N,)."""
    contexts, inverse = torch.unique(X, dim=0, return_inverse=True)
    N = torch.zeros(len(contexts), int(Y.max()) + 1, dtype=torch.float64)
    N.index_put_((inverse, Y), torch.ones(len(Y), dtype=torch.float64), accumulate=True)
    prob = N / N.sum(1, keepdim=True)  # each context's own frequencies: the best probabilities there are
    return -prob[inverse, Y].log().mean().item()


def _entropy(followers: Counter) -> float:
    total = sum(followers.values())
    return -sum(n / total * math.log(n / total) for n in followers.values())


def _followers(X: Tensor, Y: Tensor, key: Callable[[list[int]], object] = tuple) -> list[Counter]:
    """The followers of each context; a `key` that gives two contexts the same name mixes them."""
    counts = defaultdict(Counter)
    for x, y in zip(X.tolist(), Y.tolist(), strict=True):
        counts[key(x)][y] += 1
    return list(counts.values())


def _floor(X: Tensor, Y: Tensor, key: Callable[[list[int]], object] = tuple) -> float:
    return sum(c.total() * _entropy(c) for c in _followers(X, Y, key)) / len(Y)


def _ambiguous_only(X: Tensor, Y: Tensor) -> float:
    several = [c for c in _followers(X, Y) if len(c) > 1]
    return sum(c.total() * _entropy(c) for c in several) / max(sum(c.total() for c in several), 1)


def _zeros_logged(X: Tensor, Y: Tensor) -> Tensor:
    N = torch.tensor([[c[y] for y in range(int(Y.max()) + 1)] for c in _followers(X, Y)], dtype=torch.float64)
    P = N / N.sum(1, keepdim=True)
    return -(N.sum(1) * (P * P.log()).sum(1)).sum() / len(Y)


def _example(X: list[list[int]], Y: list[int], label: str = "") -> Case:
    return Case(torch.tensor(X), torch.tensor(Y), label=label)


def _ends(length: int, other: int) -> Case:
    """Contexts that differ in the first or in the last place, in numbers too large for float32, or for int64."""
    rest = [other] * (length - 1)
    first, second = (f"[{n}, {other}, ..., {other}]" for n in (1, 2))
    label = f"for contexts of {length}: {first}, {second} and their reverses, the last one twice,"
    return _example([[1, *rest], [2, *rest], [*rest, 1], [*rest, 2], [*rest, 2]], [1, 2, 1, 2, 2], label=label)


def _as_float32(X: Tensor, Y: Tensor) -> float:
    powers = (int(X.max()) + 1) ** torch.arange(X.shape[1])
    return _floor((X.float() * powers).sum(1)[:, None], Y)


# A context written as one number in one of these bases is taken for another context, whichever digit comes first.
_BASES = (26, 27, 28, 32, 60, 64, 100, 128, 256, 512, 1000, 1024)
_LISTED = ", ".join(map(str, _BASES))

q3 = Exercise(
    "4.3",
    "the floor of any dataset",
    solution=floor,
    cases=[
        _example([[0], [0], [1]], [1, 2, 0]),
        _example([[1], [1], [1], [2], [2]], [2, 2, 3, 0, 1]),
        _example([[0], [1], [2]], [1, 2, 0]),
        _example([[3, 3]], [4]),
        _example([[1, 2], [2, 1], [1, 2], [2, 1], [2, 2]], [0, 3, 0, 3, 1]),
        _example([[0, 1, 1], [2, 1, 1], [0, 1, 1], [1, 0, 1]], [0, 2, 3, 1]),
        _example([[1, 1, 2], [1, 2, 2], [1, 1, 2], [1, 2, 2]], [0, 3, 0, 3]),
        _example([[1, 5, 6, 7], [2, 5, 6, 7], [7, 6, 5, 1], [7, 6, 5, 2], [7, 6, 5, 2]], [1, 2, 1, 2, 2]),
        _example([[1, 4, 5, 6, 7], [2, 4, 5, 6, 7]], [1, 2]),
        _example([[7, 6, 5, 4, 1], [7, 6, 5, 4, 2], [7, 6, 5, 4, 2]], [1, 2, 2]),
        _example([[1, 12], [11, 2], [1, 12], [11, 2], [5, 5], [5, 5]], [3, 0, 3, 0, 1, 2]),
        _example([[11, 111], [111, 11], [111, 1111], [1111, 111]], [0, 1, 2, 3]),
        _example(
            [[1, 0], *[[0, n] for n in _BASES], [0, 1], *[[n, 0] for n in _BASES], [7, 7], [7, 7]],
            [*range(2 * len(_BASES) + 4)],
            label=f"for contexts [1, 0], [0, n], [0, 1], [n, 0], [7, 7] and [7, 7], where n is in turn {_LISTED}, and "
            "Y the number of the row,",
        ),
        _ends(8, 26),
        _ends(14, 31),
        _example(
            [[i % 7, i % 3] for i in range(200)],
            [(i * i) % 5 for i in range(200)],
            label="for X[i] = [i % 7, i % 3] and Y[i] = i * i % 5, with i from 0 to 199,",
        ),
    ],
    wrong=[
        Wrong(
            lambda X, Y: 0.0,
            "a context with two different followers cannot be right both times. Is every context counted, and does "
            "it equal itself? (As a key of a dictionary a tensor never equals another, a tuple does)",
        ),
        Wrong(
            lambda X, Y: _entropy(Counter(Y.tolist())),
            "that is the entropy of Y alone, without the contexts: count the followers of each context",
        ),
        Wrong(
            lambda X, Y: floor(X, Y) / math.log(2),
            "that is in bits: log2 where the loss of this course takes the natural logarithm",
        ),
        Wrong(
            lambda X, Y: sum(map(_entropy, _followers(X, Y))) / len(_followers(X, Y)),
            "every context counts the same here, but a context that stands in many examples counts in each of them",
        ),
        Wrong(lambda X, Y: len(Y) * floor(X, Y), "that is a sum over the examples: the loss is their mean"),
        Wrong(
            _ambiguous_only,
            "that is the mean over the examples that cannot be predicted for certain: the others are part of the batch "
            "too, with 0 each",
        ),
        Wrong(_zeros_logged, "0 * log(0) is nan, so leave the zeros out"),
        Wrong(
            partial(_floor, key=lambda x: x[-1]), "only the last character was used: the context is the whole row of X"
        ),
        Wrong(
            partial(_floor, key=lambda x: tuple(x[-3:])),
            "only the last few characters make a difference: the context is the whole row, of any length (and "
            "one float32 number for it is rounded)",
        ),
        Wrong(
            partial(_floor, key=lambda x: tuple(sorted(x))),
            "contexts of the same characters in another order were counted as one: use tuple(row)",
        ),
        Wrong(
            partial(_floor, key=lambda x: "".join(map(str, x))),
            "joined digits do not tell [1, 12] from [11, 2]: use tuple(row)",
        ),
        Wrong(
            partial(_floor, key=lambda x: sum(i * 27**k for k, i in enumerate(reversed(x)))),
            "as one number a context is not unique in an alphabet larger than the base: use tuple(row)",
        ),
        Wrong(_as_float32, "as one float32 number a long context is rounded, and equals another: use tuple(row)"),
        Wrong(
            lambda X, Y: -sum(math.log(1 / len(c)) * c.total() for c in _followers(X, Y)) / len(Y),
            "all followers of a context were taken for equally likely: each has its own share",
        ),
        Wrong(
            lambda X, Y: -sum(math.log(max(c.values()) / c.total()) * c.total() for c in _followers(X, Y)) / len(Y),
            "the share of the commonest follower was used for all examples: each example has that of its own Y",
        ),
    ],
    also_right=[_floor, lambda X, Y: torch.tensor(floor(X, Y))],
    right="right for contexts of any length and any alphabet, and 0 where nothing is in doubt.",
    hints=[
        "The best probability for an example is its share: of all examples with this context, how many have this Y?",
        "Count in a dictionary from context to Counter: tuple(row.tolist()) can be a key, a tensor cannot.",
        "The floor is the mean, over all examples, of minus the natural logarithm of that share.",
    ],
)
