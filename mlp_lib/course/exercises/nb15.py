"""Exercises of page 15: counts filled up, direct connections, two models mixed, and E03 itself."""

import math
from collections.abc import Callable
from functools import partial

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
        return shorter  # never seen: pass on what the shorter one says
    T = (counts > 0).sum()  # how many different characters followed
    return (counts + strength * T * shorter) / (n + strength * T)


def _filled(
    counts: Tensor,
    shorter: Tensor,
    strength: float,
    *,
    T: Callable[[Tensor], Tensor] = lambda counts: (counts > 0).sum(),
    unseen: Callable[[Tensor], Tensor] = lambda shorter: shorter,
) -> Tensor:
    if counts.sum() == 0:
        return unseen(shorter)
    extra = strength * T(counts)
    return (counts + extra * shorter) / (counts.sum() + extra)


def _exchanged(counts: Tensor, shorter: Tensor, strength: float) -> Tensor:
    if counts.sum() == 0:
        return shorter
    n, T = counts.sum(), (counts > 0).sum()
    return (strength * T * counts / n + n * shorter) / (n + strength * T)


def _back_off(counts: Tensor, shorter: Tensor, strength: float) -> Tensor:
    return torch.where(counts > 0, counts / counts.sum().clamp(min=1), shorter)


def _unnormalised(counts: Tensor, shorter: Tensor, strength: float) -> Tensor:
    return counts / counts.sum() + strength * (counts > 0).sum() * shorter if counts.sum() else shorter


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
        _followers([6.0, 3.0, 0.0, 0.0], [0.4, 0.3, 0.2, 0.1], 3.0),
        _followers([0.0, 0.0], [0.25, 0.75], 1.0),
        _followers([1.0, 1.0, 1.0, 7.0], [0.4, 0.3, 0.2, 0.1], 0.5),
        _followers([0.0, 900.0, 20.0, 0.0, 1.0], [0.6, 0.0, 0.1, 0.1, 0.2], 4.0),
        _followers([1.0, 0.0, 2.0, 0.0] * 10, [0.04, 0.01] * 20, 1.0),
    ],
    wrong=[
        Wrong(_exchanged, "the weights of the counts and of the shorter context are exchanged"),
        Wrong(
            partial(_filled, T=torch.sum),
            "T is not how often the context was seen, but how many different characters followed it",
        ),
        Wrong(
            partial(_filled, T=len),
            "T is not the number of all characters: count only the different ones that did follow",
        ),
        Wrong(
            partial(_filled, T=lambda counts: (counts == 1).sum()),
            "T counts all characters that followed, not only those that did once",
        ),
        Wrong(
            lambda counts, shorter, strength: _filled(counts, shorter, 1.0),
            "strength has no effect: it multiplies T, above and below",
        ),
        Wrong(partial(_filled, T=lambda counts: 1), "T has no effect: it multiplies strength, above and below"),
        Wrong(
            lambda counts, shorter, strength: counts / counts.sum(),
            "nothing is taken from the shorter context: a character that never followed gets 0 and an infinite loss",
        ),
        Wrong(
            _back_off,
            "these do not sum to 1: what is given to characters that never followed must be taken from the others",
        ),
        Wrong(_unnormalised, "these do not sum to 1: what is added above the fraction bar must be added below it, too"),
        Wrong(
            lambda counts, shorter, strength: (
                (counts + strength * (counts > 0).sum() * shorter) / (counts.sum() + strength * (counts > 0).sum())
            ),
            "0 / 0 for a context that never occurred: there the shorter context decides alone",
        ),
        Wrong(
            partial(_filled, unseen=lambda shorter: torch.full_like(shorter, 1 / len(shorter))),
            "after a context that never occurred the shorter one decides, not uniform guessing",
        ),
    ],
    also_right=[_filled, _fill_up_by_hand, lambda *given: fill_up(*given).numpy()],
    right="the more different characters followed a context, the more the shorter one is asked; unseen, it decides "
    "alone.",
    hints=[
        "n is counts.sum(). T is how many of the counts are above 0.",
        "Above the fraction bar: the counts, plus strength * T examples shared out as `shorter` says. Below: how many "
        "that makes together.",
        "With all counts 0 the fraction is 0 / 0: return `shorter` before dividing.",
    ],
)


# ---- 15.2 direct connections -----------------------------------------------------------------------------------------


def direct_logits(C: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, W: Tensor, X: Tensor) -> Tensor:
    """Logits (N, V) of the paper's network: b2 + x W + tanh(x W1 + b1) W2, where x are the embeddings in a row."""
    x = C[X].view(X.shape[0], -1)  # (N, block_size * n_embd)
    h = torch.tanh(x @ W1 + b1)  # (N, n_hidden)
    return h @ W2 + b2 + x @ W


def _direct(
    logits: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Callable[..., Tensor]:
    """An answer from the embeddings in a row x, the hidden layer h, and W2, b2, W."""

    def answer(C: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, W: Tensor, X: Tensor) -> Tensor:
        x = C[X].flatten(1)
        return logits(x, torch.tanh(x @ W1 + b1), W2, b2, W)

    return answer


def _in_one_product(C: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, W: Tensor, X: Tensor) -> Tensor:
    x = torch.cat([C[X[:, k]] for k in range(X.shape[1])], dim=1)
    return torch.cat([x, torch.tanh(x @ W1 + b1)], dim=1) @ torch.cat([W, W2]) + b2


def _with_numpy(*tensors: Tensor) -> object:
    import numpy as np

    C, W1, b1, W2, b2, W, X = (t.numpy() for t in tensors)
    x = C[X].reshape(len(X), -1)
    return np.tanh(x @ W1 + b1) @ W2 + b2 + x @ W


def _sizes(V: int, block_size: int, n_embd: int, n_hidden: int, N: int = 4, seed: int = 2147483647) -> Case:
    g = torch.Generator().manual_seed(seed)
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
        _sizes(5, 3, 2, 6, seed=1),
        _sizes(7, 2, 5, 4),
        _sizes(6, 1, 6, 6, N=6),  # all sizes alike
        _sizes(30, 8, 4, 50, N=1),
    ],
    wrong=[
        Wrong(
            _direct(lambda x, h, W2, b2, W: h @ W2 + b2 + h @ W),
            "W is applied to h: direct means past the hidden layer, from the embeddings",
        ),
        Wrong(
            _direct(lambda x, h, W2, b2, W: h @ W2 + b2), "these are the logits of the lecture's network: W is not used"
        ),
        Wrong(
            _direct(lambda x, h, W2, b2, W: x @ W + b2),
            "only the direct path is there: the paper adds it to what the hidden layer says",
        ),
        Wrong(
            _direct(lambda x, h, W2, b2, W: h @ W2 + b2 + torch.tanh(x @ W)),
            "the direct path went through a tanh: it is linear, from the embeddings to the logits",
        ),
        Wrong(
            _direct(lambda x, h, W2, b2, W: h @ W2 + b2 + x @ W + b2), "b2 is added twice: the two paths share one bias"
        ),
        Wrong(_direct(lambda x, h, W2, b2, W: h @ W2 + x @ W), "b2 is missing"),
        Wrong(lambda *given: direct_logits(*given).softmax(1), "probabilities, not logits: leave out the softmax"),
        Wrong(
            lambda *given: direct_logits(*given[:-1], given[-1].T.reshape(given[-1].shape)),
            "the embeddings of different examples are mixed: right shape, wrong rows",
        ),
    ],
    also_right=[_in_one_product, _with_numpy, _direct(lambda x, h, W2, b2, W: x @ W + (h @ W2 + b2))],
    right="y = b + Wx + U tanh(d + Hx), with x the embeddings, H = W1, d = b1, U = W2 and b = b2.",
    hints=[
        "The paper's x is emb, viewed as (N, block_size * n_embd). Give it a name: it is used twice.",
        "One use is the lecture's: tanh(x @ W1 + b1) @ W2. The other is x @ W, without a tanh. b2 comes once.",
    ],
)


# ---- 15.3 the loss of a mixture --------------------------------------------------------------------------------------


def mix_loss(p: Tensor, q: Tensor, Y: Tensor, weight: float | Tensor) -> Tensor:
    """The mean loss of weight * p + (1 - weight) * q, for probabilities p, q (N, V) and targets Y (N,)."""
    rows = torch.arange(len(Y))
    p_y, q_y = p[rows, Y], q[rows, Y]  # (N,), so a weight of shape (N,) fits, too
    return -(weight * p_y + (1 - weight) * q_y).log().mean()


def _nats(answer: Callable[..., object], *given: object) -> object:
    """The loss; torch's log of 0 is -inf, and math.log raises."""
    try:
        return answer(*given)
    except ValueError as error:
        if "math domain" not in str(error):
            raise
        return math.inf


def _of_targets(
    loss: Callable[[Tensor, Tensor, float | Tensor], Tensor],
) -> Callable[[Tensor, Tensor, Tensor, float | Tensor], Tensor]:
    """An answer from the probabilities of the targets alone."""
    return lambda p, q, Y, weight: loss(p.gather(1, Y[:, None])[:, 0], q.gather(1, Y[:, None])[:, 0], weight)


def _weighted(p: Tensor, q: Tensor, weight: float | Tensor) -> Tensor:
    """The mixture (N, V), with a weight for each row."""
    weight = torch.as_tensor(weight, dtype=p.dtype).expand(len(p))[:, None]
    return weight * p + (1 - weight) * q


def _geometric(p: Tensor, q: Tensor, Y: Tensor, weight: float | Tensor) -> Tensor:
    return F.cross_entropy(_weighted(p.log(), q.log(), weight), Y)


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
    wrong=[
        Wrong(
            _of_targets(lambda p, q, w: -(w * p.log() + (1 - w) * q.log()).mean()),
            "you mixed the losses, or the log-probabilities, which is the same. That is the loss of a geometric mean, "
            "whose rows do not sum to 1: mix the probabilities, then take the log",
        ),
        Wrong(
            _geometric,
            "you mixed the log-probabilities and normalised again: a model too, but a product of the two. The paper's "
            "mixture adds probabilities",
        ),
        Wrong(
            lambda p, q, Y, weight: mix_loss(q, p, Y, weight),
            "the weight is on the wrong one: it belongs to p, and 1 - weight to q",
        ),
        Wrong(lambda p, q, Y, weight: mix_loss(p, q, Y, 0.5), "always one half: `weight` is not used"),
        Wrong(
            _of_targets(lambda p, q, w: -(w * p + (1 - w) * q).mean().log()),
            "the log of a mean: each example has its own log, and the mean comes last",
        ),
        Wrong(lambda p, q, Y, weight: len(Y) * mix_loss(p, q, Y, weight), "the sum over the examples, not their mean"),
        Wrong(
            lambda p, q, Y, weight: F.cross_entropy(_weighted(p, q, weight), Y),
            "the mixture went through a softmax: cross_entropy takes logits, and these are probabilities",
        ),
        Wrong(
            lambda p, q, Y, weight: F.nll_loss((weight * p + (1 - weight) * q).log(), Y),
            "a weight for each example, shape (N,), goes along the columns of (N, V): pick each target's probability "
            "first, or use weight[:, None]",
        ),
        Wrong(
            lambda p, q, Y, weight: F.nll_loss(torch.log(weight[:, None] * p + (1 - weight[:, None]) * q), Y),
            "the weight may be one number, too, which has no columns",
        ),
        Wrong(
            lambda p, q, Y, weight: mix_loss(p, q, Y, torch.as_tensor(weight).mean()),
            "the weights of the examples are averaged: each example has its own",
        ),
        Wrong(
            lambda p, q, Y, weight: mix_loss(p, q, Y, float(weight)),
            "float takes one number, and a weight for each example has N",
        ),
    ],
    also_right=[_in_a_loop, _of_targets(lambda p, q, w: -(q + w * (p - q)).log().sum() / len(p))],
    right="probabilities are mixed, then the log is taken, so the mixture pays little wherever one of the two is sure.",
    hints=[
        "p[torch.arange(len(Y)), Y] picks the probability of each target, shape (N,). The same for q.",
        "Mix the two with weight and 1 - weight. Only then comes the log.",
        "Minus, log, mean, in this order from the outside: -(...).log().mean().",
    ],
)


# ---- 15.4 E03 itself -------------------------------------------------------------------------------------------------


def e03() -> Interpolated:
    """A model to begin with, made in a second: interpolated counts. Mix it with your network to go on."""
    words = load_words()
    vocab = Vocab.from_words(words)
    Xtr, Ytr, *_ = make_splits(words, vocab, block_size=5)
    return Interpolated(context=5, strength=4.0).fit(Xtr, Ytr, len(vocab))


class _Gives(nn.Module):
    """Whatever `values(X)` gives."""

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
        Wrong(_Gives(_uneven), "your module gives probabilities"),
        Wrong(_Gives(lambda X: _uneven(X).log10()), "log10 of its probabilities"),
        Wrong(_Gives(lambda X: _uneven(X) * math.nan), "its training blew up"),
        Wrong(_Gives(lambda X: (_uneven(X), None)), "gave tuple for 16384 contexts"),
        Wrong(_Gives(lambda X: F.embedding(X[:, -1], torch.zeros(20, 27))), "knows fewer symbols"),
        Wrong((_Gives(_uneven), "  "), "the reason for opening the test set is a text"),
    ],
    hints=[
        "Any module from X (B, block_size) to logits will do if it has block_size; so will a count model or a Mixture.",
        "Train on Xtr of make_splits(words, vocab, block_size) of this page's list, choose on Xdev, with three seeds.",
        "What do two models have in common that err in the same places? Mix those that do not.",
    ],
)
