"""Exercises of page 03: the longhand loss, a loss that is stable, the five tensors, what uniform guessing costs."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
from mlp_lib.data import Vocab, build_dataset
from mlp_lib.model import MLP, MLPConfig


def _random(rows: int, symbols: int, scale: float = 1.0) -> Case:
    g = torch.Generator().manual_seed(rows)
    return Case(scale * torch.randn((rows, symbols), generator=g), torch.randint(0, symbols, (rows,), generator=g))


def _case(logits: list[list[float]], Y: list[int], label: str = "") -> Case:
    return Case(torch.tensor(logits), torch.tensor(Y), label=label)


# ---- 3.1 the longhand loss -------------------------------------------------------------------------------------------


def nll(logits: Tensor, Y: Tensor) -> Tensor:
    """The mean negative log likelihood in nats, step by step as in the lecture."""
    counts = logits.exp()  # (N, vocab_size)
    prob = counts / counts.sum(1, keepdim=True)  # (N, vocab_size)
    picked = prob[torch.arange(logits.shape[0]), Y]  # (N,)
    return -picked.log().mean()


def _in_plain_python(logits: Tensor, Y: Tensor) -> float:
    losses = []
    for row, y in zip(logits.tolist(), Y.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(z) for z in row)) - row[y])
    return sum(losses) / len(losses)


# With these counts the right characters have the probabilities 1/2, 1/8 and 3/5.
_COUNTS = torch.tensor([[1.0, 2.0, 1.0], [1.0, 1.0, 6.0], [3.0, 1.0, 1.0]])

q1 = Exercise(
    "3.1",
    "the loss in longhand",
    solution=nll,
    cases=[
        _case([[0.0, 1.0]], [0]),
        Case(_COUNTS.log(), torch.tensor([1, 0, 0]), label="for right characters with the probabilities 1/2, 1/8, 3/5"),
        _case([[1.0, 2.0, 0.0], [30.0, 0.0, 1.0]], [2, 2]),
        _case([[4.0]], [0]),
        _random(5, 27),
        _random(27, 27),
        _random(32, 27, 8.0),
        _random(70, 60),
    ],
    forbid=["cross_entropy"],
    edits={
        (", keepdim=True", ""): (
            "`sum(1)` needs `keepdim=True`: without it column j is divided by the sum of row j, with no error if the "
            "table is square"
        ),
        ("1, keepdim=True", "0"): "here each column sums to 1, but each row should: sum over dimension 1",
        ("1, keepdim=True", ""): "the whole table sums to 1: divide each row by its own sum",
        ("mean()", "sum()"): "that is the sum over the examples: take the mean",
        (".log()", ".log10()"): "that is log10: nats need the natural logarithm, `log()`",
        ("-picked", "picked"): "the sign is missing: the loss is minus the log of the probability",
        ("log().mean()", "mean().log()"): "that is the log of the mean: take the log first",
        ("log().mean()", "prod().log() / len(Y)"): (
            "a product of many probabilities is too small for float32: add their logarithms"
        ),
        ("torch.arange(logits.shape[0])", ":"): (
            "`prob[:, Y]` picks all the columns in Y for every row: pick one number per row, with an index for both"
        ),
        ("logits.shape[0]", "32"): "the number of rows is hard-coded: use logits.shape[0]",
        (".exp()", ""): "the logits were not exponentiated: they can be negative, counts cannot",
    },
    wrong=[
        Wrong(
            lambda z, Y: F.cross_entropy(z.softmax(1), Y),
            "the softmax was taken twice",
        ),
        Wrong(F.cross_entropy, "your answer calls cross_entropy"),
    ],
    also_right=[
        lambda z, Y: -torch.softmax(z, 1).gather(1, Y[:, None]).log().mean(),
        lambda z, Y: (-z.double().log_softmax(1) * F.one_hot(Y, z.shape[1])).sum() / len(Y),
        lambda z, Y: nll(z, Y).numpy(),
        _in_plain_python,
    ],
    right="the mean of -log of the right character's probability, for any number of rows and symbols.",
    hints=[
        "Five steps: exponentiate, divide by the row's sum, pick, log, and minus the mean.",
        "The sums must stay a column, (N, 1), so that each row is divided by its own: keepdim=True.",
        "Two index tensors of length N pick N numbers: prob[torch.arange(logits.shape[0]), Y].",
    ],
)


# ---- 3.2 a stable loss -----------------------------------------------------------------------------------------------


def stable_nll(logits: Tensor, Y: Tensor) -> Tensor:
    """The mean negative log likelihood: each row is shifted, and no probability is computed, only its log."""
    shifted = logits - logits.max(1, keepdim=True).values  # (N, vocab_size), 0 at the top of each row
    log_sum = shifted.exp().sum(1).log()  # (N,), at least log(1) = 0
    picked = shifted[torch.arange(logits.shape[0]), Y]  # (N,)
    return (log_sum - picked).mean()


q2 = Exercise(
    "3.2",
    "your own stable loss",
    solution=stable_nll,
    cases=[
        _case([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0]], [0, 2]),
        _case([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0], [0.0, 0.0, 5.0]], [0, 2, 1]),
        _case([[7.0]], [0]),
        _case([[-5.0, -3.0, 0.0, 100.0]], [3]),
        _case([[0.0, 1000.0]], [1]),
        _case([[0.0, 10_000.0]], [1]),
        _case([[1000.0, 999.0]], [0]),
        _case([[-1000.0, -1001.0]], [0]),
        _case([[1000.0, 999.0], [-1000.0, -1001.0]], [0, 0]),
        _case([[0.0, -200.0]], [1]),
        _case([[0.0, -10_000.0]], [1]),
        _case([[0.0, 0.0, 1000.0], [0.0, 0.0, 1000.0]], [0, 1]),
        _random(40, 60, 300.0),
    ],
    differentiable=True,
    atol=2e-4,  # at logits of 10,000 the gradient of logcumsumexp is off by 1.1e-4
    forbid=["cross_entropy", "log_softmax", "logsumexp"],
    edits={
        (".mean()", ".sum()"): "that is the sum over the examples: take the mean",
        ("picked = shifted", "picked = logits"): "use the shifted logits in both places",
        ("max(1, keepdim=True).values", "max()"): (
            "with the maximum of the whole table, exp gives only zeros in a lower row: subtract each row's own"
        ),
        (", keepdim=True", ""): "the row maxima must stay a column, (N, 1): keepdim=True",
    },
    wrong=[
        Wrong(nll, "exp overflows float32 above 88: subtract the row's maximum, which changes no probability"),
        Wrong(
            lambda z, Y: nll(z.double(), Y),
            "float64 only moves the limits, to 709 above and -745 below: subtract the row's maximum, and compute "
            "log(a / b) as log(a) - log(b)",
        ),
        Wrong(
            lambda z, Y: nll(z - z.amax(1, keepdim=True), Y),
            "the probability underflows to 0 before its log is taken: write log(a / b) as log(a) - log(b), "
            "and log(exp(z)) as z",
        ),
        Wrong(
            lambda z, Y: -(z.softmax(1)[torch.arange(len(Y)), Y] + 1e-9).log().mean(),
            "a floor under the probability hides how wrong the network is: compute only its logarithm",
        ),
        Wrong(lambda z, Y: nll(z, Y).nan_to_num(), "nan_to_num hides the overflow: subtract the row's maximum"),
        Wrong(lambda z, Y: nll(z.clamp(-80, 80), Y), "clamp makes large logits equal: subtract the row's maximum"),
        Wrong(F.cross_entropy, "your answer calls cross_entropy"),
        Wrong(lambda z, Y: stable_nll(z, Y).detach(), "no gradient reaches logits"),
    ],
    also_right=[
        edited(stable_nll, (".values", ".values.detach()")),
        lambda z, Y: F.nll_loss((s := z - z.amax(1, keepdim=True)) - s.exp().sum(1, keepdim=True).log(), Y),
        lambda z, Y: (z.logcumsumexp(1)[:, -1] - z.gather(1, Y[:, None]).squeeze(1)).mean(),
    ],
    right="right for logits up to 10,000, above and below 0: the probabilities are never computed.",
    hints=[
        "Subtract from each row its own largest logit: logits.max(1, keepdim=True).values.",
        "The largest shifted logit is 0, so each row's sum of exp is at least 1 and its log is safe.",
        "-log(exp(s[y]) / total) is log(total) - s[y]: no probability is needed.",
    ],
)


# ---- 3.3 the five tensors --------------------------------------------------------------------------------------------

_NAMES = ("C", "W1", "b1", "W2", "b2")
_X, _Y = build_dataset(
    ["emma", "olivia", "ava", "isabella", "sophia"], Vocab("abcdefghijklmnopqrstuvwxyz"), block_size=3
)


def init(g: torch.Generator, vocab_size: int, block_size: int, n_embd: int, n_hidden: int) -> tuple[Tensor, ...]:
    """The lecture's five tensors, drawn from `g` in the lecture's order."""
    C = torch.randn((vocab_size, n_embd), generator=g)
    W1 = torch.randn((block_size * n_embd, n_hidden), generator=g)
    b1 = torch.randn(n_hidden, generator=g)
    W2 = torch.randn((n_hidden, vocab_size), generator=g)
    b2 = torch.randn(vocab_size, generator=g)
    return C, W1, b1, W2, b2


def _named_tensors(answer: Callable[..., object], g: torch.Generator, *sizes: int) -> dict[str, object]:
    """The five by name and what g gives after them; for the lecture's sizes, first their loss on the 32 examples."""
    out = answer(g, *sizes)
    out = list(out) if isinstance(out, torch.nn.ParameterList) else out
    if not isinstance(out, tuple | list) or len(out) != 5 or not all(isinstance(t, Tensor) for t in out):
        raise Refused("return the five tensors in the lecture's order: `return C, W1, b1, W2, b2`")
    tensors = dict(zip(_NAMES, out, strict=True))
    for name, shape in MLPConfig(*sizes).shapes.items():
        if tensors[name].shape != shape:
            found = tuple(tensors[name].shape)
            raise Refused(f"in init(g, {', '.join(map(str, sizes))}) {name} has shape {found}, expected {shape}")
    tensors["what g gives after the five"] = torch.randint(1000, (4,), generator=g.clone_state())
    if sizes != (27, 3, 2, 100):
        return tensors
    model = MLP.from_tensors(*(t.detach().float() for t in out))
    return {"first loss": F.cross_entropy(model(_X), _Y), **tensors}


def _flat(names: str) -> Wrong:
    return Wrong(
        edited(init, *[(f"{name} = torch.randn", f"{name} = torch.rand") for name in names.split(", ")]),
        f"{names} came from `rand` (0 to 1, never negative): use `randn`",
    )


def _advanced(seed: int) -> torch.Generator:
    """A generator that was drawn from before it is passed in."""
    g = torch.Generator().manual_seed(seed)
    torch.randn(100, generator=g)
    return g


q3 = Exercise(
    "3.3",
    "five tensors from one generator",
    solution=init,
    observe=_named_tensors,
    cases=[
        Case(torch.Generator().manual_seed(2147483647), 27, 3, 2, 100, label="for the lecture's sizes and seed"),
        Case(torch.Generator().manual_seed(1), 5, 4, 3, 7),
        Case(_advanced(2147483647), 60, 1, 5, 3, label="for 60, 1, 5, 3 and a g that was drawn from before"),
    ],
    edits={
        (
            ("    b1 = torch.randn(n_hidden, generator=g)\n", ""),
            ("    b2", "    b1 = torch.randn(n_hidden, generator=g)\n    b2"),
        ): "W2 was drawn before b1: draw in the order C, W1, b1, W2, b2",
        (
            ("randn(n_hidden, generator=g)", "zeros(n_hidden)"),
            ("randn(vocab_size, generator=g)", "zeros(vocab_size)"),
        ): "the biases were not drawn: use `randn` for all five",
        ("W2, b2", "W2"): "return the five tensors in the lecture's order",
    },
    wrong=[
        *map(_flat, ("W1, b1, W2, b2", "C, W1, b1, W2, b2", "C", "W1", "b1", "W2", "b2", "b1, b2")),
        Wrong(
            lambda g, *sizes: init(g.manual_seed(2147483647), *sizes),
            "the seed is hard-coded: draw from the g that is passed in",
        ),
    ],
    also_right=[
        lambda g, *sizes: [torch.randn(s, generator=g) for s in MLPConfig(*sizes).shapes.values()],
        lambda g, *sizes: [torch.empty(s).normal_(generator=g) for s in MLPConfig(*sizes).shapes.values()],
        lambda g, *sizes: MLP(MLPConfig(*sizes), g=g).tensors(),
        lambda g, *sizes: torch.nn.ParameterList(init(g, *sizes)),
    ],
    right="first loss 17.7697 on the 32 examples, as in the video.",
    hints=[
        "Five calls of torch.randn, in the order C, W1, b1, W2, b2, each with generator=g.",
        "W1 takes the joined embeddings: block_size * n_embd rows. Biases have one dimension.",
        "rand draws from 0 to 1, randn from the normal distribution around 0: the first loss differs.",
    ],
)


# ---- 3.4 what uniform guessing costs ---------------------------------------------------------------------------------


def uniform_loss() -> float:
    """20 amino acids and the boundary are equally likely."""
    symbols = 20 + 1
    return -math.log(1 / symbols)


def _number(value: object) -> object:
    """A number may be given as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


q4 = Exercise(
    "3.4",
    "the loss of knowing nothing",
    solution=uniform_loss,
    observe=_number,
    rtol=0,
    atol=0.005,
    wrong=[
        Wrong(math.log2(21), "that is log2, in bits: the loss is in nats, the natural logarithm"),
        Wrong(math.log10(21), "that is log10, as in the lecture's later plots: the loss is in nats"),
        Wrong(1 / 21, "that is the probability of each symbol: the loss is minus its logarithm"),
        Wrong(21, "that is the number of symbols: the loss is minus the logarithm of the probability of one"),
        # before ln 20, which differs from it by less than the tolerance
        Wrong(3, "give two decimals; if this is ln 20, count the boundary too: a protein also has to end"),
        Wrong(math.log(20), "that is for 20 symbols: a protein also has to end, so count the boundary"),
        Wrong(math.log(22), "that is for 22 symbols: one boundary marks both the start and the end"),
        Wrong(math.log(27), "that is for the 27 symbols of the names: this model has different ones"),
        Wrong(9.2, "that is what the untrained network gets: uniform guessing needs no network, and does better"),
        Wrong(-math.log(21), "that is the logarithm of the probability: the loss is minus that"),
    ],
    also_right=["3.04", torch.tensor(3.0445), -math.log(1 / 21)],
    right="ln 21 = 3.0445 nats. A first loss of 9.2 is three times that: the network starts out confident and wrong. "
    "Page 14 fixes it.",
    hints=[
        "Count the symbols first: how does the model say that a protein ends?",
        "If all symbols are equally likely, each has the same probability, the right one too.",
        "The loss is -log(1 / number of symbols), with math.log.",
    ],
)
