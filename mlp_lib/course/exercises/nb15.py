"""Exercises of notebook 15: counts filled up, direct connections, two models mixed, and E03 itself."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import brief, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake
from mlp_lib.course.exercises.submitted_models import context_of, measured, opened_once
from mlp_lib.data import Vocab, make_splits
from mlp_lib.lab.counts import Interpolated, ProbabilityModel, char_probs
from mlp_lib.words import load_words


def _tensor(value: object, shape: tuple[int, ...], what: str) -> Tensor:
    """The answer as float64 of this shape."""
    try:
        if isinstance(value, str):
            raise TypeError
        t = torch.as_tensor(value).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"expected {what}, got {brief(value)}") from None
    if t.shape != shape:
        raise Mistake(f"expected {what}, of shape {shape}, got shape {tuple(t.shape)}")
    return t


def _check_unchanged(given: Sequence[Tensor], before: Sequence[Tensor], names: str) -> None:
    """Clones were handed over: they must still be what they are clones of."""
    if not all(torch.equal(t, u) for t, u in zip(given, before, strict=True)):
        raise Mistake(f"{names} was changed on the way: make new tensors, they are the caller's")


def _like(got: Tensor | float, wrong: Tensor | float) -> bool:
    got, wrong = (torch.as_tensor(t, dtype=torch.float64) for t in (got, wrong))
    return got.shape == wrong.shape and torch.allclose(got, wrong, rtol=1e-4, atol=1e-5, equal_nan=True)


def _row(t: Tensor) -> str:
    return "[" + ", ".join(f"{x:.3f}" for x in t.tolist()) + "]"


# --------------------------------------------------------------------------------------------------------- 15.1


def fill_up(counts: Tensor, shorter: Tensor, strength: float) -> Tensor:
    """Witten-Bell: counts (V,) of what followed a context, filled up with the shorter context's probabilities (V,)."""
    n = counts.sum()
    if n == 0:
        return shorter  # never seen: pass on what the shorter one says
    T = (counts > 0).sum()  # how many different characters followed
    return (counts + strength * T * shorter) / (n + strength * T)


def _check_fill_up(answer: object) -> str:
    own_function(answer, "q1.check(fill_up)")
    shorter = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    counts = torch.tensor([6.0, 3.0, 0.0, 0.0], dtype=torch.float64)
    given = [counts.clone(), shorter.clone()]
    got = _tensor(answer(*given, 3.0), (4,), "probabilities, one a character")
    _check_unchanged(given, (counts, shorter), "counts or shorter")
    right = fill_up(counts, shorter, 3.0)
    n, V = counts.sum(), len(counts)
    case = "counts [6, 3, 0, 0], shorter [0.4, 0.3, 0.2, 0.1], strength 3"
    wrongs = {
        "that is the shorter context's weight on the counts and the counts' on the shorter one: exchange them": (
            (6 * counts / n + n * shorter) / (n + 6)
        ),
        "T seems to be how often the context was seen. It is how many different characters followed it, here 2": (
            (counts + 3 * n * shorter) / (4 * n)
        ),
        "T seems to be the number of all characters. Count only the different ones that did follow, here 2": (
            (counts + 3 * V * shorter) / (n + 3 * V)
        ),
        "strength has no effect: it multiplies T, above and below": (counts + 2 * shorter) / (n + 2),
        "nothing is taken from the shorter context: a character that never followed gets 0 and an infinite loss": (
            counts / n
        ),
    }
    for message, wrong in wrongs.items():
        if _like(got, wrong):
            raise Mistake(f"{message} ({case})")
    if not _like(got.sum(), 1.0):
        raise Mistake(
            f"for {case} the four sum to {got.sum():.3f}, not to 1: what is added above the fraction bar, summed over "
            "all characters, must be added below it too"
        )
    if not _like(got, right):
        raise Mistake(f"for {case} expected a first probability of {right[0]:.3f}, got {_row(got)}")
    unseen = _tensor(answer(torch.zeros(4, dtype=torch.float64), shorter, 2.0), (4,), "probabilities")
    if unseen.isnan().any():
        raise Mistake("nan for a context that never occurred, 0 / 0: there the shorter context decides alone")
    if not _like(unseen, shorter):
        raise Mistake(
            f"for a context that never occurred expected the shorter one's {_row(shorter)}, got {_row(unseen)}"
        )
    again = torch.tensor([1.0, 1.0, 1.0, 7.0], dtype=torch.float64)
    if not _like(_tensor(answer(again, shorter, 0.5), (4,), "probabilities"), fill_up(again, shorter, 0.5)):
        raise Mistake("right for one context, not for counts [1, 1, 1, 7] with strength 0.5: is a number typed in?")
    return (
        "the more different characters followed a context, the more the shorter one is asked; unseen, it decides alone."
    )


q1 = Exercise(
    "15.1",
    "fill up the counts",
    _check_fill_up,
    hints=[
        "n is counts.sum(). T is how many of the counts are above 0.",
        "Above the fraction bar: the counts, plus strength * T examples shared out as `shorter` says. Below: how many "
        "that makes together.",
        "With all counts 0 the fraction is 0 / 0: return `shorter` before dividing.",
    ],
    solution=fill_up,
)


# --------------------------------------------------------------------------------------------------------- 15.2


def direct_logits(C: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, W: Tensor, X: Tensor) -> Tensor:
    """Logits (N, V) of the paper's network: b2 + x W + tanh(x W1 + b1) W2, where x are the embeddings in a row."""
    x = C[X].view(X.shape[0], -1)  # (N, block_size * n_embd)
    h = torch.tanh(x @ W1 + b1)  # (N, n_hidden)
    return h @ W2 + b2 + x @ W


def _check_direct(answer: object) -> str:
    own_function(answer, "q2.check(direct_logits)")
    for V, block_size, n_embd, n_hidden in ((5, 3, 2, 6), (7, 2, 5, 4)):
        g = torch.Generator().manual_seed(2147483647)

        def randn(*shape: int, g: torch.Generator = g) -> Tensor:
            return torch.randn(*shape, generator=g)

        width = block_size * n_embd
        C, W1, b1, W2, b2 = randn(V, n_embd), randn(width, n_hidden), randn(n_hidden), randn(n_hidden, V), randn(V)
        W, X = randn(width, V), torch.randint(0, V, (4, block_size), generator=g)
        right = direct_logits(C, W1, b1, W2, b2, W, X).double()
        given = [t.clone() for t in (C, W1, b1, W2, b2, W, X)]
        try:
            got = _tensor(answer(*given), tuple(right.shape), "logits, a row for each example")
        except RuntimeError as error:
            if n_hidden != width and "mat" in str(error):
                raise Mistake(
                    f"works when n_hidden happens to be block_size * n_embd, and stops at n_hidden {n_hidden}, "
                    f"block_size * n_embd {width}: W has a row for each number of the embeddings, not for each neuron"
                ) from None
            raise
        _check_unchanged(given, (C, W1, b1, W2, b2, W, X), "C, W1, b1, W2, b2, W or X")
        x = C[X].view(4, -1)
        h = torch.tanh(x @ W1 + b1)
        hidden = (h @ W2 + b2).double()
        wrongs = {
            "these are the logits of the lecture's network: W is not used": hidden,
            "only the direct path is there: the paper adds it to what the hidden layer says": (x @ W + b2).double(),
            "the direct path went through a tanh: it is linear, from the embeddings straight to the logits": (
                hidden + torch.tanh(x @ W).double()
            ),
            "b2 is added twice: the two paths share one bias": right + b2.double(),
            "b2 is missing": right - b2.double(),
            "probabilities, not logits: leave out the softmax, cross_entropy brings its own": right.softmax(1),
        }
        if n_hidden == width:
            wrongs["W is applied to h, the hidden layer's output: direct means past it, from the embeddings"] = (
                hidden + (h @ W).double()
            )
        order = C[X].transpose(0, 1).reshape(4, -1)
        wrongs["the embeddings stand in a wrong order: right shape, wrong rows"] = (
            torch.tanh(order @ W1 + b1) @ W2 + b2 + order @ W
        ).double()
        if _like(got, right):
            continue
        for message, wrong in wrongs.items():
            if _like(got, wrong):
                raise Mistake(message)
        raise Mistake(f"for the first example expected logits {_row(right[0])[:14]}..., got {_row(got[0])[:14]}...")
    return "y = b + Wx + U tanh(d + Hx), with x the embeddings, H = W1, d = b1, U = W2 and b = b2."


q2 = Exercise(
    "15.2",
    "direct connections",
    _check_direct,
    hints=[
        "The paper's x is emb, viewed as (N, block_size * n_embd). Give it a name: it is used twice.",
        "One use is the lecture's: tanh(x @ W1 + b1) @ W2. The other is x @ W, without a tanh. b2 comes once.",
    ],
    solution=direct_logits,
)


# --------------------------------------------------------------------------------------------------------- 15.3


def mix_loss(p: Tensor, q: Tensor, Y: Tensor, weight: float | Tensor) -> Tensor:
    """The mean loss of weight * p + (1 - weight) * q, for probabilities p, q (N, V) and targets Y (N,)."""
    rows = torch.arange(len(Y))
    p_y, q_y = p[rows, Y], q[rows, Y]  # (N,), so a weight of shape (N,) fits, too
    return -(weight * p_y + (1 - weight) * q_y).log().mean()


def _check_mix(answer: object) -> str:
    own_function(answer, "q3.check(mix_loss)")
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
    q = torch.tensor([[0.1, 0.2, 0.7], [0.2, 0.6, 0.2], [0.05, 0.05, 0.9]], dtype=torch.float64)
    Y = torch.tensor([2, 1, 0])  # never the row's own number in row 0 and 2, so that rows and columns differ
    w = 0.75
    given = [p.clone(), q.clone(), Y.clone()]
    got = number(answer(*given, w), "the mean loss")
    _check_unchanged(given, (p, q, Y), "p, q or Y")
    right = mix_loss(p, q, Y, w).item()
    rows = torch.arange(3)
    p_y, q_y = p[rows, Y], q[rows, Y]
    product = p**w * q ** (1 - w)
    wrongs = {
        "you mixed the losses (or the log-probabilities, which is the same). That is the loss of a geometric mean, "
        "whose rows do not sum to 1: mix the probabilities, then take the log": -(
            w * p_y.log() + (1 - w) * q_y.log()
        ).mean(),
        "you mixed the log-probabilities and normalised again: a model too, but a product of the two. The paper's "
        "mixture adds probabilities": -(product / product.sum(1, keepdim=True))[rows, Y].log().mean(),
        "the weight is on the wrong one: it belongs to p, and 1 - weight to q": mix_loss(p, q, Y, 1 - w),
        "always one half: `weight` is not used": mix_loss(p, q, Y, 0.5),
        "the log of a mean. Each example has its own log, and the mean comes last": (
            -(w * p_y + (1 - w) * q_y).mean().log()
        ),
        "the sum over the examples, where the mean is due": 3 * mix_loss(p, q, Y, w),
        "log10: our losses are in nats, so the natural logarithm": mix_loss(p, q, Y, w) / math.log(10),
        "the minus is missing: a loss is above 0": -mix_loss(p, q, Y, w),
        "the mixture's logs went through a softmax once more, or cross_entropy got probabilities for logits": (
            F.cross_entropy(w * p + (1 - w) * q, Y)
        ),
    }
    if not math.isclose(got, right, rel_tol=1e-4):
        for message, wrong in wrongs.items():
            if math.isclose(got, float(wrong), rel_tol=1e-4):
                raise Mistake(message)
        raise Mistake(f"for p_y = {_row(p_y)}, q_y = {_row(q_y)} and weight 0.75 expected {right:.4f}, got {got:.4f}")
    each = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    try:
        got = number(answer(p, q, Y, each), "the mean loss")
    except (RuntimeError, TypeError, ValueError) as error:
        raise Mistake(f"right for one weight; with a weight for each example, shape (3,), it raised: {error}") from None
    if not math.isclose(got, mix_loss(p, q, Y, each).item(), rel_tol=1e-4):
        raise Mistake(
            "right for one weight; with a weight for each example, shape (N,), it goes along the columns of (N, V): "
            "pick each target's probability first, or use weight[:, None]"
        )
    return "probabilities are mixed, then the log is taken, so the mixture pays little wherever one of the two is sure."


q3 = Exercise(
    "15.3",
    "the loss of a mixture",
    _check_mix,
    hints=[
        "p[torch.arange(len(Y)), Y] picks the probability of each target, shape (N,). The same for q.",
        "Mix the two with weight and 1 - weight. Only then comes the log.",
        "Minus, log, mean, in this order from the outside: -(...).log().mean().",
    ],
    solution=mix_loss,
)


# --------------------------------------------------------------------------------------------------------- 15.4

_ASKED = 2.2  # what E01 asks to beat; E03 goes on from there


class _Logits(nn.Module):
    """Any model that gives probabilities, as a module with logits, for the vault."""

    def __init__(self, model: ProbabilityModel) -> None:
        super().__init__()
        self.block_size = context_of(model)
        self.probs: Callable[[Tensor], Tensor] = lambda X: char_probs(model, X)

    def forward(self, X: Tensor) -> Tensor:
        return self.probs(X).log()


def _check_e03(model: object, reason: object = None) -> str:
    if isinstance(model, (bool, int, float)):
        raise Mistake(f"hand over the model itself, not its loss: q4.check(my_model), got {brief(model)}")
    if isinstance(model, type):
        raise Mistake(f"that is the class {model.__name__}: make one and train it first")
    if not (callable(model) or hasattr(model, "next_char_probs")):
        raise Mistake(
            "hand over a model: a module that gives logits, a count model, a mixture, or a function from X to "
            f"probabilities; got {brief(model)}"
        )
    if reason is not None and not (isinstance(reason, str) and reason.strip()):
        raise Mistake('to open the test set write down why, as a text: q4.check(model, "my final model")')
    train, place = measured(model, _ASKED)
    said = f"train {train:.4f}, {place}."
    if isinstance(model, nn.Module) and model.training and next(model.parameters(), None) is not None:
        said += " Your model is in training mode; it was measured in evaluation mode."
    if reason is None:
        return f'{said} Test stays closed; q4.check(model, "why") opens it, once.'
    return f"{said} {opened_once(_Logits(model), place.dev, exercise='E03', reason=reason)}"


def e03() -> Interpolated:
    """A model to begin with, made in a second: interpolated counts. Mix it with your network to go on."""
    words = load_words()
    vocab = Vocab.from_words(words)
    Xtr, Ytr, *_ = make_splits(words, vocab, block_size=5)
    return Interpolated(context=5, strength=4.0).fit(Xtr, Ytr, len(vocab))


q4 = Exercise(
    "15.4",
    "E03, an idea of your own",
    _check_e03,
    hints=[
        "Any module from X (B, block_size) to logits will do if it has block_size; so will a count model or a Mixture.",
        "Train on Xtr of make_splits(words, vocab, block_size) of the bundled list, choose on Xdev, with three seeds.",
        "What do two models have in common that err in the same places? Mix those that do not.",
    ],
    solution=e03,
)
