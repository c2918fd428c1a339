"""Exercises of page 04: parameters that learn, a training loop with two faults, the floor of a dataset."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited

_NAMES = ("C", "W1", "b1", "W2", "b2")
_SEED = 2147483647

Forward = Callable[[list[Tensor], Tensor], Tensor]


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
        "what g gives after the five": torch.randint(1000, (4,), generator=g.clone_state()),
    }


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
        Case(_advanced(_SEED), 60, 1, 5, 3, label="for 60, 1, 5, 3 and a g that was drawn from before"),
    ],
    edits={
        ((" * 0.1", ""), ("return parameters", "return [C * 0.1, *parameters[1:]]")): (
            "C.grad is None: scaling C made a new tensor, and the gradient goes to the old one, which you no longer "
            "have. Scale first, then set requires_grad (retain_grad() does not make C a leaf)"
        ),
        ("in parameters", "in parameters[1:]"): (
            "C does not require a gradient: was it recreated after the flag was set? Set it last, for all five"
        ),
        ("p.requires_grad = True", "pass"): "none of the five requires a gradient",
        (" * 0.1", ""): "C was not divided by 10 (or the list still holds the old C)",
        (
            ("    b1 = torch.randn(n_hidden, generator=g)\n", ""),
            ("    b2", "    b1 = torch.randn(n_hidden, generator=g)\n    b2"),
        ): "W2 was drawn before b1: draw in the order C, W1, b1, W2, b2",
        ("return parameters", "return C"): "expected a list of the five tensors",
    },
    wrong=[
        Wrong(
            edited(make_parameters, *[(f"{name} = torch.randn", f"{name} = torch.rand") for name in _NAMES]),
            "no number is below 0: torch.rand draws between 0 and 1, use torch.randn",
        ),
        Wrong(
            lambda g, *sizes: make_parameters(g.manual_seed(_SEED), *sizes),
            "the seed is hard-coded: draw from the g that is passed in",
        ),
    ],
    also_right=[
        lambda g, *sizes: torch.nn.ParameterList(p.detach() for p in make_parameters(g, *sizes)),
        lambda g, *sizes: [p.detach()[None].requires_grad_() if p.ndim == 1 else p for p in make_parameters(g, *sizes)],
    ],
    right="five leaves that require a gradient, C a tenth as large, drawn in the lecture's order.",
    hints=[
        "Draw all five from g first, in the lecture's order: C, W1, b1, W2, b2.",
        "C * 0.1 is a new tensor. Whether it is a leaf depends on whether C required a gradient at that moment.",
        "So set requires_grad last, on the tensors that you return.",
    ],
)


# ---- 4.2 a loop with two faults --------------------------------------------------------------------------------------


def train_best(forward: Forward, parameters: list[Tensor], X: Tensor, Y: Tensor, steps: int, lr: float) -> list[float]:
    """Train, leave the parameters where the loss was lowest, and return the losses, each before its update."""
    lossi, best = [], []
    for _ in range(steps):
        loss = F.cross_entropy(forward(parameters, X), Y)
        if loss.item() < min(lossi, default=math.inf):
            best = [p.detach().clone() for p in parameters]  # p.data would be the memory that training changes
        lossi.append(loss.item())
        for p in parameters:
            p.grad = None  # else backward() adds to the gradients of earlier steps
        loss.backward()
        for p in parameters:
            p.data += -lr * p.grad
    for p, kept in zip(parameters, best, strict=True):
        p.data = kept
    return lossi


def _trained(answer: Callable[..., object], forward: Forward, parameters: list[Tensor], *others: object) -> object:
    """The losses, and what the five tensors hold afterwards, even if the list now holds different ones."""
    tensors = dict(zip(_NAMES, parameters, strict=True))
    lossi = answer(forward, parameters, *others)
    if lossi is None:
        raise Refused("your function returned None: return the list of the losses")
    flags = [name for name, p in tensors.items() if p.requires_grad and p.is_leaf]
    return {"losses": lossi, **tensors, "tensors that require a gradient": flags}


def _training(steps: int, lr: float, used: bool = False, relu: bool = False, W2: float = 1.0) -> Case:
    """Five symbols, contexts of three; `used`: parameters with gradients; `relu`: a different network and more rows.

    `W2` is a factor of that tensor.
    """
    g = torch.Generator().manual_seed(_SEED)
    parameters = [torch.randn(shape, generator=g) for shape in ((5, 2), (6, 4), (4,), (4, 5), (5,))]
    parameters[3] *= W2
    for p in parameters:
        p.requires_grad = True
        p.grad = torch.ones_like(p) if used else None
    X = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 0, 0], [0, 0, 3], [0, 3, 4]]).repeat(1 + 6 * relu, 1)
    Y = torch.tensor([1, 2, 0, 3, 4, 0]).repeat(1 + 6 * relu)
    label = f"after {steps} step{'s' * (steps > 1)} at rate {lr:g}"
    label += (
        f" from W2 times {W2:,.0f}" * (W2 != 1)
        + " from parameters that come with gradients" * used
        + " of a network with relu on 42 examples" * relu
    )
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
        _training(1, 0.01, W2=1000.0),
        _training(3, 1e-6, W2=1000.0),
    ],
    may_change=(1,),
    rtol=1e-3,
    atol=1e-4,
    edits={
        (("p.grad = None", "pass"), ("p.detach().clone()", "p.data")): (
            "both faults are still there: which line of the loop above is missing, and does `best` hold copies?"
        ),
        ("p.grad = None", "pass"): "the gradients add up: clear them before each backward()",
        (("p.grad = None", "pass"), ("* p.grad", "* p.grad\n            p.grad = None")): (
            "the first step used an earlier gradient: clear before backward(), not after the update"
        ),
        ("p.data +=", "p.grad = None; p.data +="): (
            "the gradients are cleared between backward() and the update: clear, then backward, then update"
        ),
        ("p.detach().clone()", "p.data"): (
            "the tensors hold the numbers after the last step. Are the kept numbers copies (p.detach().clone(), not "
            "p.data), kept from the first loss on, and put back into the tensors (`p = kept` only rebinds p)?"
        ),
        (
            "* p.grad",
            "* p.grad\n        if loss == min(lossi):\n            best = [p.data.clone() for p in parameters]",
        ): "the numbers kept are one update later than their loss: copy them before the update",
        ("-lr *", "lr *"): "the steps go uphill: flip the sign of the update",
        ("p.data +=", "p = p +"): (
            "no parameter has moved: is there a backward(), and does the update change the tensors? (`p = p - ...` "
            "makes a new tensor)"
        ),
        (
            "best = [], []",
            "best = [], []\n    parameters = [p.detach().clone().requires_grad_() for p in parameters]",
        ): (
            "the five tensors are as they were before training: were copies or new tensors trained, or was `best` "
            "never updated (compare with the minimum before you append the loss, and start from math.inf)?"
        ),
        ("p.data +=", "p +="): (
            "autograd does not allow `p -= ...` on a leaf that requires a gradient: use p.data, or torch.no_grad()"
        ),
        ("loss = F", "with torch.no_grad():\n            loss = F"): (
            "backward() found nothing recorded: is the forward pass inside torch.no_grad()?"
        ),
        ("-lr *", "-0.1 *"): "the rate 0.1 is hard-coded: use lr",
    },
    wrong=[
        Wrong(
            lambda forward, parameters, X, Y, steps, lr: train_best(forward, parameters, X, Y, steps + 1, lr)[1:],
            "these are the losses after the updates: measure each before its update",
        ),
    ],
    also_right=[
        edited(
            train_best,
            ("lossi.append(loss.item())", "lossi.append(loss)"),
            ("p.data += -lr * p.grad", "torch.optim.SGD([p], lr=lr).step()"),
            ("p.data = kept", "p.data.copy_(kept)"),
        ),
    ],
    right="the network left at the end has the lowest loss, and each step used only its own gradients.",
    hints=[
        "Compare their step with a step of the loop above, line by line: which line is missing?",
        "p.data is not a copy. Print best[0] before and after one update.",
        "p.detach().clone() is a copy that no update changes.",
    ],
)


# ---- 4.3 the floor of a dataset --------------------------------------------------------------------------------------


def floor(X: Tensor, Y: Tensor) -> float:
    """The lowest mean loss in nats that any model can reach on X (N, block_size), Y (N,)."""
    contexts, inverse = torch.unique(X, dim=0, return_inverse=True)
    N = torch.zeros(len(contexts), int(Y.max()) + 1, dtype=torch.float64)
    N.index_put_((inverse, Y), torch.ones(len(Y), dtype=torch.float64), accumulate=True)
    prob = N / N.sum(1, keepdim=True)  # the frequencies in each context: the best probabilities
    return -prob[inverse, Y].log().mean().item()


def _counted(X: Tensor, Y: Tensor) -> float:
    followers, total = defaultdict(Counter), 0.0
    for x, y in zip(X.tolist(), Y.tolist(), strict=True):
        followers[tuple(x)][y] += 1
    for counts in followers.values():
        for n in counts.values():
            total -= n * math.log(n / counts.total())
    return total / len(Y)


def _example(X: list[list[int]], Y: list[int], label: str = "") -> Case:
    return Case(torch.tensor(X), torch.tensor(Y), label=label)


def _ends(length: int, other: int) -> Case:
    """Contexts that differ in the first or in the last place, in numbers too large for float32, or for int64."""
    rest = [other] * (length - 1)
    first, second = (f"[{n}, {other}, ..., {other}]" for n in (1, 2))
    label = f"for contexts of {length}: {first}, {second} and their reverses, the last one twice,"
    return _example([[1, *rest], [2, *rest], [*rest, 1], [*rest, 2], [*rest, 2]], [1, 2, 1, 2, 2], label=label)


# As one number in any of these bases, some context equals a different one, whichever digit comes first.
_BASES = (26, 27, 28, 32, 60, 64, 100, 128, 256, 512, 1000, 1024)

q3 = Exercise(
    "4.3",
    "the floor of any dataset",
    solution=floor,
    cases=[
        _example([[0], [0], [1], [1], [2]], [1, 2, 0, 2, 0]),
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
            label="for contexts [1, 0], [0, n], [0, 1], [n, 0], [7, 7] and [7, 7], where n is in turn "
            f"{', '.join(map(str, _BASES))}, and Y is the number of the row,",
        ),
        _ends(8, 26),
        _ends(14, 31),
        _example(
            [[i % 7, i % 3] for i in range(200)],
            [(i * i) % 5 for i in range(200)],
            label="for X[i] = [i % 7, i % 3] and Y[i] = i * i % 5, with i from 0 to 199,",
        ),
    ],
    edits={
        (".log()", ".log2()"): "that is in bits: use the natural logarithm",
        ("prob[inverse, Y].log().mean()", "(prob * prob.log()).nansum(1).mean()"): (
            "weight each context by the number of its examples"
        ),
        (".mean()", ".sum()"): "that is the sum over the examples: take the mean",
        (("prob[inverse, Y]", "(p := prob[inverse, Y])[p < 1]"), ("mean()", "mean().nan_to_num()")): (
            "that is the mean over the ambiguous examples: the others count too, with 0 each"
        ),
        ("prob[inverse, Y].log().mean()", "(prob * prob.log())[inverse].sum(1).mean()"): (
            "0 * log(0) is nan: leave the zeros out"
        ),
    },
    wrong=[
        Wrong(
            lambda X, Y: 0.0,
            "a context with two different followers cannot be right both times: are its examples counted together? "
            "(As dictionary keys, two tensors are never equal: use a tuple)",
        ),
        Wrong(lambda X, Y: floor(0 * X, Y), "that is the entropy of Y alone: count the followers of each context"),
        Wrong(lambda X, Y: floor(X[:, -1:], Y), "only the last character was used: the context is the whole row of X"),
        Wrong(lambda X, Y: floor(X[:, -3:], Y), "only the last few characters were used: a row may have any length"),
        Wrong(lambda X, Y: floor(X.sort(1).values, Y), "a different order is a different context: use tuple(row)"),
        Wrong(
            edited(_counted, ("tuple(x)", "''.join(map(str, x))")),
            "joined digits do not distinguish [1, 12] from [11, 2]: use tuple(row)",
        ),
        Wrong(
            edited(_counted, ("tuple(x)", "sum(i * 27**k for k, i in enumerate(reversed(x)))")),
            "two contexts became the same number, as soon as an index reaches your base: use tuple(row)",
        ),
        Wrong(
            edited(_counted, ("n / counts.total()", "1 / len(counts)")),
            "the followers of a context are not equally likely: each has its own share",
        ),
        Wrong(
            edited(_counted, ("n / counts.total()", "max(counts.values()) / counts.total()")),
            "the share of the most common follower was used for every example: use that of its own Y",
        ),
    ],
    also_right=[_counted, lambda X, Y: torch.tensor(floor(X, Y))],
    right="right for contexts of any length and any alphabet, and 0 where every follower is certain.",
    hints=[
        "The best probability for an example is its share: of all examples with this context, how many have this Y?",
        "Count in a dictionary from context to Counter: tuple(row.tolist()) can be a key, a tensor cannot.",
        "The floor is the mean, over all examples, of minus the natural logarithm of that share.",
    ],
)
