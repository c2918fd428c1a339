"""Exercises of page 15: counts filled up, direct connections, two models mixed, and E03 itself."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.engine import Case, Exercise, Wrong
from mlp_lib.course.exercises.submitted_models import handed_in
from mlp_lib.data import Vocab, make_splits
from mlp_lib.lab.counts import Interpolated
from mlp_lib.words import load_words

# ---- 15.1 counts filled up -------------------------------------------------------------------------------------------


def fill_up(counts: Tensor, shorter: Tensor, strength: float) -> Tensor:
    """Witten-Bell: counts (V,) of what followed a context, filled up with the shorter context's probabilities (V,)."""
    n = counts.sum()
    if n == 0:
        return shorter  # never seen: the shorter one alone decides
    T = (counts > 0).sum()  # how many different characters followed
    return (counts + strength * T * shorter) / (n + strength * T)


def _fill_up_by_hand(counts: Tensor, shorter: Tensor, strength: float) -> list[float]:
    seen = [c for c in counts.tolist() if c > 0]
    if not seen:
        return shorter.tolist()
    extra = strength * len(seen)
    pairs = zip(counts.tolist(), shorter.tolist(), strict=True)
    return [(c + extra * p) / (sum(seen) + extra) for c, p in pairs]


def _followers(counts: list[float], shorter: list[float], strength: float) -> Case:
    return Case(torch.tensor(counts, dtype=torch.float64), torch.tensor(shorter, dtype=torch.float64), strength)


q1 = Exercise(
    "15.1",
    "fill up the counts",
    solution=fill_up,
    cases=[
        _followers([3.0, 0.0], [0.25, 0.75], 1.0),
        _followers([1.0, 0.0], [0.25, 0.75], 1.0),
        _followers([1.0, 1.0, 0.0], [0.2, 0.3, 0.5], 2.0),
        _followers([6.0, 3.0, 0.0, 0.0], [0.4, 0.3, 0.2, 0.1], 3.0),
        _followers([0.0, 0.0], [0.25, 0.75], 1.0),
        _followers([1.0, 1.0, 1.0, 7.0], [0.4, 0.3, 0.2, 0.1], 0.5),
        _followers([0.0, 900.0, 20.0, 0.0, 1.0], [0.6, 0.0, 0.1, 0.1, 0.2], 4.0),
        _followers([1.0, 0.0, 2.0, 0.0] * 10, [0.04, 0.01] * 20, 1.0),
    ],
    edits={
        ("(counts + strength * T * shorter)", "(strength * T * counts / n + n * shorter)"): (
            "the weights of the counts and of the shorter context are swapped"
        ),
        ("(counts > 0).sum()", "n"): (
            "T is not how often the context was seen, but how many different characters followed it (or is T missing?)"
        ),
        ("(counts > 0).sum()", "len(counts)"): (
            "T is not the number of all characters: count only the different ones that followed"
        ),
        (("(counts + strength *", "(counts +"), ("(n + strength *", "(n +")): (
            "strength has no effect: multiply T by it, in the numerator and in the denominator"
        ),
        ("(counts > 0).sum()", "1"): (
            "T has no effect: multiply strength by it, in the numerator and in the denominator"
        ),
        ("(counts + strength * T * shorter) / (n + strength * T)", "counts / n + strength * T * shorter"): (
            "these do not sum to 1: what is added to the numerator has to be added to the denominator too"
        ),
        ("n == 0", "False"): "0 / 0 for a context that never occurred: there the shorter context alone decides",
        ("return shorter", "return 0 * shorter"): (
            "a context that never occurred gets the shorter context's probabilities, not zeros"
        ),
        ("return shorter", "return torch.full_like(shorter, 1 / len(shorter))"): (
            "after a context that never occurred the shorter one decides, not uniform guessing"
        ),
    },
    wrong=[
        Wrong(
            lambda counts, shorter, strength: counts / counts.sum(),
            "nothing is taken from the shorter context: a character that never followed gets 0 and an infinite loss",
        ),
        Wrong(
            lambda counts, shorter, strength: torch.where(counts > 0, counts / counts.sum().clamp(min=1), shorter),
            "these do not sum to 1: what characters that never followed get has to be taken from the others",
        ),
    ],
    also_right=[_fill_up_by_hand, lambda *given: fill_up(*given).numpy()],
    right="the more different characters followed a context, the more weight the shorter one gets; unseen, all of it.",
    hints=[
        "n is counts.sum(). T is how many of the counts are above 0.",
        "Numerator: the counts, plus strength * T examples distributed as `shorter` says. Denominator: how many that "
        "makes in total.",
        "With all counts 0 the fraction is 0 / 0: return `shorter` before dividing.",
    ],
)


# ---- 15.2 direct connections -----------------------------------------------------------------------------------------


def direct_logits(C: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, W: Tensor, X: Tensor) -> Tensor:
    """Logits (N, V) of the paper's network: b2 + x W + tanh(x W1 + b1) W2, where x are the concatenated embeddings."""
    x = C[X].view(X.shape[0], -1)  # (N, block_size * n_embd)
    h = torch.tanh(x @ W1 + b1)  # (N, n_hidden)
    return h @ W2 + b2 + x @ W


def _in_one_product(C: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, W: Tensor, X: Tensor) -> Tensor:
    x = torch.cat([C[X[:, k]] for k in range(X.shape[1])], dim=1)
    return torch.cat([x, torch.tanh(x @ W1 + b1)], dim=1) @ torch.cat([W, W2]) + b2


def _sizes(V: int, block_size: int, n_embd: int, n_hidden: int, N: int = 4) -> Case:
    g = torch.Generator().manual_seed(2147483647)
    width = block_size * n_embd
    shapes = ((V, n_embd), (width, n_hidden), (n_hidden,), (n_hidden, V), (V,), (width, V))
    X = torch.randint(0, V, (N, block_size), generator=g)
    label = f"for {V} symbols, block_size {block_size}, n_embd {n_embd}, n_hidden {n_hidden}, {N} examples"
    return Case(*(torch.randn(shape, generator=g) for shape in shapes), X, label=label)


q2 = Exercise(
    "15.2",
    "direct connections",
    solution=direct_logits,
    cases=[
        _sizes(5, 3, 2, 6),  # n_hidden is block_size * n_embd
        _sizes(7, 2, 5, 4),
        _sizes(6, 1, 6, 6, N=6),  # all sizes equal
        _sizes(30, 8, 4, 50, N=1),
    ],
    edits={
        ("x @ W\n", "h @ W\n"): "W is applied to h: direct means past the hidden layer, from the embeddings",
        ("torch.tanh(x @ W1 + b1)", "x @ W1 + b1"): "tanh is missing from the hidden layer",
        (" + x @ W\n", "\n"): "these are the logits of the lecture's network: W is not used",
        ("h @ W2 + b2", "b2"): "only the direct path is there: the paper adds it to the output of the hidden layer",
        ("+ x @ W\n", "+ torch.tanh(x @ W)\n"): (
            "the direct path goes through a tanh: it is linear, from the embeddings to the logits"
        ),
        ("W2 + b2", "W2 + 2 * b2"): "b2 is added twice: the two paths share one bias",
        ("W2 + b2", "W2"): "b2 is missing",
        ("C[X].view(X.shape[0], -1)", "C[X.T].reshape(X.shape[0], -1)"): (
            "the embeddings of different examples are mixed: right shape, wrong rows"
        ),
    },
    wrong=[
        Wrong(lambda *given: direct_logits(*given).softmax(1), "probabilities, not logits: leave out the softmax"),
    ],
    also_right=[_in_one_product],
    right="y = b + Wx + U tanh(d + Hx), with x the embeddings, H = W1, d = b1, U = W2 and b = b2.",
    hints=[
        "The paper's x is emb, viewed as (N, block_size * n_embd). Give it a name, since it is used twice.",
        "One use is the lecture's: tanh(x @ W1 + b1) @ W2. The other is x @ W, without a tanh. Add b2 once.",
    ],
)


# ---- 15.3 the loss of a mixture --------------------------------------------------------------------------------------


def mix_loss(p: Tensor, q: Tensor, Y: Tensor, weight: float | Tensor) -> Tensor:
    """The mean loss of weight * p + (1 - weight) * q, for probabilities p, q (N, V) and targets Y (N,)."""
    rows = torch.arange(len(Y))
    p_y, q_y = p[rows, Y], q[rows, Y]  # (N,), so a weight of shape (N,) fits too
    return -(weight * p_y + (1 - weight) * q_y).log().mean()


def _nats(answer: Callable[..., object], *given: object) -> object:
    """The loss; torch's log of 0 is -inf, and math.log raises."""
    try:
        return answer(*given)
    except ValueError as error:
        if "math domain" not in str(error):
            raise
        return math.inf


def _weighted(p: Tensor, q: Tensor, weight: float | Tensor) -> Tensor:
    """The mixture (N, V), for one weight or one for each row."""
    weight = torch.as_tensor(weight, dtype=p.dtype).expand(len(p))[:, None]
    return weight * p + (1 - weight) * q


def _in_a_loop(p: Tensor, q: Tensor, Y: Tensor, weight: float | Tensor) -> float:
    weights = torch.as_tensor(weight).expand(len(Y)).tolist()
    terms = zip(p.tolist(), q.tolist(), Y.tolist(), weights, strict=True)
    return sum(-math.log(w * a[y] + (1 - w) * b[y]) for a, b, y, w in terms) / len(Y)


def _mixed(N: int, V: int, weight: float | list[float], label: str = "") -> Case:
    """Random probabilities: p and q give nearly 0 to the target in the first row, and p 0 to that in the last."""
    g = torch.Generator().manual_seed(N)
    p, q = (torch.rand((N, V), generator=g, dtype=torch.float64) for _ in range(2))
    Y = torch.randint(0, V, (N,), generator=g)
    p[-1, Y[-1]] = 0.0
    p[0, Y[0]] = q[0, Y[0]] = 1e-6
    weight = torch.tensor(weight, dtype=torch.float64) if isinstance(weight, list) else weight
    return Case(p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True), Y, weight, label=label)


_TWO = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]), torch.tensor([[0.1, 0.2, 0.7], [0.2, 0.6, 0.2]])

q3 = Exercise(
    "15.3",
    "the loss of a mixture",
    solution=mix_loss,
    observe=_nats,
    cases=[
        Case(_TWO[0][:1], _TWO[1][:1], torch.tensor([2]), 0.75),
        Case(*_TWO, torch.tensor([2, 1]), 0.75, label="for two examples and weight 0.75"),
        Case(*_TWO[::-1], torch.tensor([2, 0]), 0.75, label="for two other examples and weight 0.75"),
        Case(*_TWO, torch.tensor([2, 1]), torch.tensor([1.0, 0.25]), label="for two examples, each with a weight"),
        _mixed(3, 3, [1.0, 0.0, 0.5], "for three examples of three symbols, each with a weight"),
        _mixed(40, 60, 0.3, "for 40 examples of 60 symbols and weight 0.3, where p gives one target the probability 0"),
        _mixed(5, 4, 0, "for weight 0"),
        Case(torch.eye(2), torch.eye(2), torch.tensor([1, 1]), 0.5),
    ],
    edits={
        ("-(weight * p_y + (1 - weight) * q_y).log()", "-(weight * p_y.log() + (1 - weight) * q_y.log())"): (
            "you mixed the log-probabilities, or losses. That is the loss of a geometric mean, whose rows do not "
            "sum to 1: mix the probabilities, then take the log"
        ),
        (".log().mean()", ".mean().log()"): "the log of a mean: take the log of each example, then the mean",
        (".mean()", ".sum()"): "the sum over the examples, not their mean",
    },
    wrong=[
        Wrong(
            lambda p, q, Y, weight: F.cross_entropy(_weighted(p.log(), q.log(), weight), Y),
            "you mixed the log-probabilities and normalised again, which is a product of the models: the paper's "
            "mixture adds probabilities",
        ),
        Wrong(
            lambda p, q, Y, weight: mix_loss(q, p, Y, weight),
            "the weights are swapped: weight belongs to p, and 1 - weight to q",
        ),
        Wrong(lambda p, q, Y, weight: mix_loss(p, q, Y, 0.5), "the weight is always one half: use `weight`"),
        Wrong(
            lambda p, q, Y, weight: F.cross_entropy(_weighted(p, q, weight), Y),
            "the mixture went through a softmax: cross_entropy takes logits, and these are probabilities",
        ),
        Wrong(
            lambda p, q, Y, weight: F.nll_loss((weight * p + (1 - weight) * q).log(), Y),
            "a weight for each example, shape (N,), is broadcast along the columns of (N, V): pick each target's "
            "probability first, or use weight[:, None]",
        ),
        Wrong(
            lambda p, q, Y, weight: F.nll_loss((weight[:, None] * p + (1 - weight[:, None]) * q).log(), Y),
            "the weight can also be one number, which has no columns",
        ),
    ],
    also_right=[_in_a_loop],
    right="probabilities are mixed, then the log is taken: the loss is low wherever one of the two is sure.",
    hints=[
        "p[torch.arange(len(Y)), Y] picks the probability of each target, shape (N,). The same for q.",
        "Mix the two with weight and 1 - weight, then take the log.",
        "The log, then the mean, then the minus: -(...).log().mean().",
    ],
)


# ---- 15.4 E03 itself -------------------------------------------------------------------------------------------------


def e03() -> Interpolated:
    """A model to start from, made in a second: interpolated counts. To go on, mix it with your network."""
    words = load_words()
    vocab = Vocab.from_words(words)
    Xtr, Ytr, *_ = make_splits(words, vocab, block_size=5)
    return Interpolated(context=5, strength=4.0).fit(Xtr, Ytr, len(vocab))


class _Gives(nn.Module):
    """A module that returns `values(X)`."""

    def __init__(self, values: Callable[[Tensor], object], block_size: object = 3) -> None:
        super().__init__()
        self.values, self.block_size = values, block_size

    def forward(self, X: Tensor) -> object:
        return self.values(X)


def _uneven(X: Tensor) -> Tensor:
    """Probabilities (B, 27) that prefer one character."""
    return torch.cat([torch.full((len(X), 1), 0.48), torch.full((len(X), 26), 0.02)], dim=1)


q4 = Exercise(
    "15.4",
    "E03, an idea of your own",
    solution=e03,
    judge=lambda model, reason=None: handed_in(model, reason, exercise="E03", asked=2.2),
    wrong=[  # 13.3 and tests/test_submitted_models.py have others
        Wrong(nn.Linear(3, 27), "how many characters of context"),
        Wrong(_Gives(_uneven, block_size=0), "from 1 to 64, got 0"),
        Wrong(Interpolated(5), "counted nothing yet"),
        Wrong(_Gives(_uneven), "your module returns probabilities"),
        Wrong(_Gives(lambda X: _uneven(X).log10()), "log10 of its probabilities"),
        Wrong(_Gives(lambda X: _uneven(X) * math.nan), "its training blew up"),
        Wrong(_Gives(lambda X: (_uneven(X), None)), "gave tuple for 16384 contexts"),
        Wrong(_Gives(lambda X: F.embedding(X[:, -1], torch.zeros(20, 27))), "has fewer symbols"),
        Wrong((_Gives(_uneven), "  "), "the reason for opening the test set must be a text"),
    ],
    hints=[
        "Any module from X (B, block_size) to logits will do if it has block_size; so will a count model or a Mixture.",
        "Train on Xtr of make_splits(words, vocab, block_size) of this page's list, choose on Xdev, with three seeds.",
        "Mix models that make errors in different places.",
    ],
)
