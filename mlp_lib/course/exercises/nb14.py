"""Exercises of page 14: first losses explained, saturation computed, gradients that are zero, and E02 itself."""

import copy
import functools
import math
import types
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import matching
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong
from mlp_lib.course.exercises.submitted_models import handed_in
from mlp_lib.course.exercises.values import show
from mlp_lib.data import Vocab, build_dataset, split_words
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.train import eval_loss, train_steps
from mlp_lib.words import load_words

# ---- 14.1 what does a first loss tell? -------------------------------------------------------------------------------


def first_losses() -> list[int]:
    """The explanations of the first losses A, B, C and D."""
    return [
        5,  # A: logits of standard deviation 14, and the network is sure of the wrong characters
        2,  # B: far from uniform too, but numbers between 0 and 1 have a variance of 1/12
        4,  # C: the uniform 3.30 at the start, and then only b2 learns: the frequencies of the characters
        3,  # D: 10**1.45 is 28 nats, the start of the larger network, and 10**0.36 is 2.3 nats
    ]


_EXPLANATIONS = {
    1: "a careful start",
    2: "W1, b1, W2, b2 drawn with rand",
    3: "the log10 of the loss",
    4: "C and W1 are both 0",
    5: "randn for all five tensors",
}
_FIRST_LOSSES = {
    "A": (5, "logits that are sums of 100 products lie tens apart, and nothing else here costs 14 nats"),
    "B": (
        2,
        "numbers between 0 and 1 make logits that differ far less than those of randn, and more than careful ones",
    ),
    "C": (4, "it starts near uniform guessing, 3.30, and cannot get below what the frequencies of the characters give"),
    "D": (3, "no untrained network is that far below 3.30 nats; on a log10 scale 1.45 is 28 nats"),
}

q1 = Exercise(
    "14.1",
    "what does a first loss tell?",
    solution=first_losses,
    **matching(_FIRST_LOSSES, _EXPLANATIONS, "first loss {} is not {}"),
    also_right=["5, 2, 4, 3", {"D": 3, "C": 4, "B": 2, "A": 5}, torch.tensor([5, 2, 4, 3])],
    right="only a first loss near 3.30 can be right, and even that one may hide a network that does not learn.",
    hints=[
        "Uniform guessing costs ln 27 = 3.30. Which two are far above it, and which is below?",
        "rand gives numbers between 0 and 1, with a smaller spread than randn. Whose logits are further from 0?",
        "C stops where a model stops that knows only how frequent each character is. Which tensor alone could learn?",
        "10**1.45 is 28, and 10**0.36 is 2.3.",
    ],
)


# ---- 14.2 saturation without a network -------------------------------------------------------------------------------


def share_saturated(fan_in: int, w_scale: float, b_scale: float) -> float:
    """The share of tanh outputs beyond .99 on either side, for normal inputs, weights and biases."""
    std = math.sqrt(fan_in * w_scale**2 + b_scale**2)  # of the preactivation
    limit = math.atanh(0.99)  # 2.6467: where tanh reaches .99
    return math.erfc(limit / std / math.sqrt(2))  # both tails of the normal distribution


def _tails(std: Callable[..., float], limit: float = math.atanh(0.99)) -> Callable[[int, float, float], float]:
    """Both tails beyond the limit, for a standard deviation computed in one way or another."""
    return lambda n, w, b: math.erfc(limit / max(std(n, w, b), 1e-9) / math.sqrt(2))


def _summed_products(fan_in: int, w_scale: float, b_scale: float) -> float:
    g = torch.Generator().manual_seed(2147483647)
    x, w = (torch.randn(40_000, fan_in, generator=g) for _ in range(2))
    z = (x * w).sum(1) * w_scale + torch.randn(40_000, generator=g) * b_scale
    return (z.tanh().abs() > 0.99).double().mean().item()


def _estimated(fan_in: int, w_scale: float, b_scale: float) -> Tensor:
    z = torch.randn(400_000, generator=torch.Generator().manual_seed(1))
    return ((z * (fan_in * w_scale**2 + b_scale**2) ** 0.5).tanh().abs() > 0.99).float().mean()


q2 = Exercise(
    "14.2",
    "saturation without a network",
    solution=share_saturated,
    cases=[
        Case(1, 2.0, 1.0),
        Case(1, 0.0, 2.0),
        Case(4, 0.5, 3.0),
        Case(6, 1.0, 1.0),
        Case(30, 1.0, 1.0),
        Case(30, 0.2, 0.0),
        Case(30, 5 / 3 / math.sqrt(30), 0.01),
        Case(1000, 0.1, 0.5),
    ],
    rtol=0.0,
    atol=0.006,  # an estimate will do
    near="if this is an estimate, take more draws",
    wrong=[
        Wrong(
            _tails(lambda n, w, b: 1.0),
            "the spread of the preactivation is taken for 1, whatever the sizes. The lecture's networks have tanh "
            "outputs beyond .99 in 33 % and 62 % of all cases",
        ),
        Wrong(lambda *sizes: share_saturated(*sizes) / 2, "that is one tail: -0.995 is as saturated as 0.995"),
        Wrong(
            _tails(lambda n, w, b: math.sqrt(n * w**2 + b**2), limit=0.99),
            "you count preactivations beyond 0.99. It is tanh of them that has to pass .99: what is atanh(0.99)?",
        ),
        Wrong(
            _tails(lambda n, w, b: n * w**2 + b**2),
            "fan_in * w_scale**2 + b_scale**2 is the variance: the standard deviation is its root",
        ),
        Wrong(_tails(lambda n, w, b: math.sqrt(n) * w), "the bias is missing: its variance adds to that of the sum"),
        Wrong(
            _tails(lambda n, w, b: math.sqrt(n) * w + b),
            "standard deviations are added: independent numbers add their variances, and then comes the root",
        ),
        Wrong(
            _tails(lambda n, w, b: math.sqrt(w**2 + b**2)),
            "fan_in has no effect: a preactivation is a sum of fan_in products, each of variance w_scale**2",
        ),
        Wrong(
            _tails(lambda n, w, b: math.sqrt(n * w**2 + b)),
            "b_scale is a standard deviation: its square is the bias's variance, and adds to that of the sum",
        ),
        Wrong(
            _summed_products,
            "a simulated sum of few products is not normal: the exercise takes it for normal, whatever fan_in is",
        ),
    ],
    also_right=[
        _estimated,
        lambda n, w, b: (
            2 * torch.distributions.Normal(0.0, math.sqrt(n * w**2 + b**2)).cdf(-torch.tensor(0.99).atanh())
        ),
    ],
    right="by the formula 32 % and 63 % for the lecture's two networks, 11 % after the gain of 5/3.",
    hints=[
        "A preactivation is a sum of fan_in products and one bias. What is the variance of x * w, for x of variance 1?",
        "Independent terms add their variances: fan_in * w_scale**2 + b_scale**2. The standard deviation is its root.",
        "tanh(z) passes .99 where z passes math.atanh(0.99), about 2.65.",
        "A standard normal number is beyond t on either side with probability math.erfc(t / math.sqrt(2)).",
    ],
)


# ---- 14.3 who gets no gradient? --------------------------------------------------------------------------------------

_NAMES = ("C", "W1", "b1", "W2", "b2")


def no_gradient(zeroed: set[str]) -> set[str]:
    """Which of the five tensors get a gradient of exactly 0 in the first step, if those in `zeroed` are all 0."""
    nothing = set()
    if "W2" in zeroed:
        nothing |= {"C", "W1", "b1"}  # dh = dlogits @ W2.T
    if "W1" in zeroed:
        nothing |= {"C"}  # demb = dz @ W1.T
    if "C" in zeroed:
        nothing |= {"W1"}  # dW1 = emb.T @ dz
    if "b1" in zeroed and zeroed & {"C", "W1"}:
        nothing |= {"W2"}  # dW2 = h.T @ dlogits, and here h is 0
    return nothing


_WHY = {
    ("C", True): "demb is dz @ W1.T, and dz holds dlogits @ W2.T: C gets a gradient only if neither W1 nor W2 is 0",
    ("W1", True): "dW1 is emb.T @ dz, and dz holds dlogits @ W2.T: W1 gets a gradient only if neither C nor W2 is 0",
    ("b1", True): "db1 is the sum of dz, and dz holds dlogits @ W2.T: with W2 at 0 nothing arrives",
    ("W2", True): "dW2 is h.T @ dlogits, and h is 0 where emb @ W1 and b1 both are",
    ("b2", False): "db2 is the sum of dlogits. It asks for no other tensor, and is never 0",
    ("b1", False): "db1 is the sum of dz, and dz is dlogits @ W2.T times 1 - h**2: only W2 can stop it",
    ("W2", False): "dW2 is h.T @ dlogits: it is 0 only if h is, and b1 alone keeps h away from 0",
    ("W1", False): "dW1 is emb.T @ dz: W1 itself does not stand in it",
    ("C", False): "demb is dz @ W1.T: C itself does not stand in it",
}  # fmt: skip


def _named(names: Iterable[str]) -> str:
    return ", ".join(n for n in _NAMES if n in names) or "none"


def _judge_no_gradient(answer: object) -> None:
    """Each of the 32 sets, small ones first, so that a message can say of the first tensor that is wrong why it is."""
    if not callable(answer) or isinstance(answer, types.BuiltinFunctionType):
        raise Refused("hand over your own function, without calling it: q3.check(no_gradient)")
    cases = [set(c) for many in range(len(_NAMES) + 1) for c in combinations(_NAMES, many)]
    answers = []
    for zeroed in cases:
        given = set(zeroed)
        answers.append(_as_names(answer(given)))
        if given != zeroed:
            raise Refused("your answer changed its argument zeroed, which the caller still needs: work on a copy")
    if answers == cases:
        raise Refused(
            "you return the tensors that are 0. A tensor at 0 may well have a gradient: with W2 at 0 it is h.T @ "
            "dlogits, and neither of these is 0. Which others are affected?"
        )
    if not any(answers):
        raise Refused(
            "you find a gradient everywhere. With C and W1 both at 0, C's gradient has W1 as a factor and W1's has C: "
            "they hold each other at 0, and no step gets them away"
        )
    for got, zeroed in zip(answers, cases, strict=True):
        right = no_gradient(zeroed)
        for name in _NAMES:
            if (name in got) != (name in right):
                gets, do = ("no", "leave it out") if name in right else ("a", "list it")
                why = _WHY[name, name in right]
                raise Refused(f"with {_named(zeroed)} at 0: {name} gets {gets} gradient, and you {do}. {why}")


def _as_names(got: object) -> set[str]:
    names = list(got) if isinstance(got, Iterable) and not isinstance(got, str) else [None]
    if any(name not in _NAMES for name in names):
        raise Refused(f"expected a set of names among C, W1, b1, W2, b2, perhaps set(), got {show(got)}")
    return set(names)


def _changed(change: Callable[[set[str], set[str]], set[str]]) -> Callable[[set[str]], set[str]]:
    return lambda zeroed: change(no_gradient(zeroed), zeroed)


def _by_products(zeroed: set[str]) -> list[str]:
    C, W1, b1, W2, _ = (int(name not in zeroed) for name in _NAMES)
    h = max(C * W1, b1)
    return [n for n, size in zip(_NAMES, (W2 * W1, W2 * C, W2, h, 1), strict=True) if size == 0]


def _with_autograd(zeroed: set[str]) -> tuple[str, ...]:
    g = torch.Generator().manual_seed(1)
    model = MLP(MLPConfig(5, 2, 2, 4), g=g)
    with torch.no_grad():
        for name in zeroed:
            getattr(model, name).zero_()
    X, Y = (torch.randint(0, 5, shape, generator=g) for shape in ((20, 2), (20,)))
    F.cross_entropy(model(X), Y).backward()
    return tuple(name for name, p in model.named_parameters() if not p.grad.any())


q3 = Exercise(
    "14.3",
    "who gets no gradient?",
    solution=no_gradient,
    judge=_judge_no_gradient,
    wrong=[
        Wrong(lambda zeroed: set(zeroed), "you return the tensors that are 0"),
        Wrong(lambda zeroed: set(), "you find a gradient everywhere"),
        Wrong(_changed(lambda right, zeroed: right - {"W1"}), _WHY["W1", True]),
        Wrong(_changed(lambda right, zeroed: right - {"C"}), _WHY["C", True]),
        Wrong(_changed(lambda right, zeroed: right - {"b1"}), _WHY["b1", True]),
        Wrong(_changed(lambda right, zeroed: right - {"W2"}), _WHY["W2", True]),
        Wrong(_changed(lambda right, zeroed: right | {"W2"} if "W1" in zeroed else right), _WHY["W2", False]),
        Wrong(_changed(lambda right, zeroed: right | {"b2"} if "W2" in zeroed else right), _WHY["b2", False]),
        Wrong(_changed(lambda right, zeroed: right | ({"b1"} & zeroed)), _WHY["b1", False]),
        Wrong(_changed(lambda right, zeroed: right | ({"W1"} & zeroed)), _WHY["W1", False]),
        Wrong(_changed(lambda right, zeroed: right | ({"C"} & zeroed)), _WHY["C", False]),
        Wrong(lambda zeroed: zeroed.discard("b2") or no_gradient(zeroed), "your answer changed its argument zeroed"),
        Wrong(lambda zeroed: {"dC"}, "expected a set of names among C, W1, b1, W2, b2"),
    ],
    also_right=[_by_products, _with_autograd, lambda zeroed: frozenset(no_gradient(zeroed))],
    right="all 32 cases: two factors at 0 on the same path stop the learning for good, one comes back by itself.",
    hints=[
        "Write z for the preactivation. Backwards: dW2 = h.T @ dlogits, dh = dlogits @ W2.T, dz = dh * (1 - h**2), "
        "dW1 = emb.T @ dz, demb = dz @ W1.T.",
        "A product is 0 if one of its factors is. Go through the five lines: which tensors are factors of each?",
        "h is tanh(emb @ W1 + b1): when is it 0 for every example?",
    ],
)


# ---- 14.4 E02 --------------------------------------------------------------------------------------------------------


def init(config: MLPConfig, g: torch.Generator) -> list[Tensor]:
    """The five tensors: logits near 0 at the start, preactivations of standard deviation 5/3, all drawn from g."""
    fan_in = config.block_size * config.n_embd
    C = torch.randn((config.vocab_size, config.n_embd), generator=g)
    W1 = torch.randn((fan_in, config.n_hidden), generator=g) * (5 / 3) / math.sqrt(fan_in)
    b1 = torch.randn(config.n_hidden, generator=g) * 0.01
    W2 = torch.randn((config.n_hidden, config.vocab_size), generator=g) * 0.1 / math.sqrt(config.n_hidden)
    b2 = torch.zeros(config.vocab_size)
    return [C, W1, b1, W2, b2]


_CONFIG = MLPConfig()  # the lecture's last network
_OTHER = MLPConfig(vocab_size=40, block_size=8, n_embd=125, n_hidden=500)
_WITHIN = 0.05  # nats from ln V
_MOST = 0.20  # share of tanh outputs beyond .99
_SHORT, _REACHED = 1000, 2.6  # steps of a short training, and the dev loss by then
_LECTURE = 2.1701  # the dev loss that the lecture printed at its end


@functools.cache
def _examples() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    words = load_words()
    vocab = Vocab.from_words(words)
    train, dev, _ = split_words(words)
    return build_dataset(train, vocab, _CONFIG.block_size), build_dataset(dev, vocab, _CONFIG.block_size)


def _judge_e02(answer: object, model: object = None, reason: object = None) -> str:
    """The start; with a model also what came of it, and with a reason its test loss."""
    if not callable(answer) or isinstance(answer, types.BuiltinFunctionType):
        raise Refused("hand over your own function, without calling it: q4.check(init)")
    if isinstance(answer, nn.Module):
        start = answer
        if not isinstance(start, MLP) or start.config != _CONFIG:
            raise Refused("hand over your function init, or an MLP of the lecture's last sizes: 27 symbols, 3, 10, 200")
        first = _check_start(start)
    else:
        before = torch.get_rng_state()
        start = _made(answer, _CONFIG, seed=1)
        first = _check_start(start)
        _check_draws(answer, start, before)
        _check_size(_made(answer, _OTHER, seed=1))
    reached = _trained(start)
    said = f"first loss {first:.2f}, {_saturated(start):.0%} beyond .99, {reached:.1f} after 1,000 steps. That is E02."
    return said if model is None else f"{said} {handed_in(model, reason, exercise='E02', asked=_LECTURE)}"


def _made(init: Callable, config: MLPConfig, seed: int) -> MLP:
    made = init(config, torch.Generator().manual_seed(seed))
    tensors = made.tensors() if isinstance(made, MLP) else made
    if isinstance(tensors, (str, Tensor)) or not isinstance(tensors, Sequence) or len(tensors) != len(_NAMES):
        raise Refused(f"expected the five tensors [C, W1, b1, W2, b2], got {show(made)}")
    for (name, shape), p in zip(config.shapes.items(), tensors, strict=True):
        told = f"{name} should be a float32 tensor of shape {shape} for {config}, with finite numbers"
        if not isinstance(p, Tensor):
            raise Refused(f"{told}, got {show(p)}")
        if p.dtype != torch.float32 or tuple(p.shape) != shape or not p.isfinite().all():
            raise Refused(f"{told}, got {p.dtype} and shape {tuple(p.shape)}")
    return MLP.from_tensors(*(p.detach().clone() for p in tensors))


def _check_draws(init: Callable, model: MLP, before: Tensor) -> None:
    """A start follows from g alone: the global generator is in the state `before`, and the seed decides."""
    again, other = _made(init, _CONFIG, seed=1), _made(init, _CONFIG, seed=2)
    _check_saturated(other, "with another seed")
    if not torch.equal(torch.get_rng_state(), before) or not _equal(model, again):
        raise Refused(
            "your init draws from the global generator, or keeps something, so the same seed gives another start each "
            "time: hand generator=g to every torch.randn"
        )
    if _equal(model, other):
        raise Refused("generators of seeds 1 and 2 give the same start: draw from the g that is handed in")


def _check_start(model: MLP) -> float:
    """The first loss on dev, if it, the saturation and the gradients are as they should be."""
    first, uniform = eval_loss(model, *_examples()[1]), math.log(model.config.vocab_size)
    if first < uniform - _WITHIN:
        raise Refused(
            f"the first loss on dev is {first:.4f}, lower than uniform guessing at {uniform:.4f}. Is it trained "
            "already, or are the letters' frequencies in b2? Not wrong, but here the start should know nothing"
        )
    if not first <= uniform + _WITHIN:
        raise Refused(
            f"the first loss on dev is {first:.2f} where uniform guessing costs {uniform:.4f}: the logits, sums of "
            f"{model.config.n_hidden} terms and b2, are not near enough to 0. Which tensors scale them?"
        )
    _check_saturated(model, f"although the first loss is right, {first:.4f}")
    _check_gradients(copy.deepcopy(model))
    return first


def _saturated(model: MLP, X: Tensor | None = None) -> float:
    X = _examples()[1][0] if X is None else X
    with torch.no_grad():
        return (model.trace(X).h.abs() > 0.99).float().mean().item()


def _check_saturated(model: MLP, when: str) -> None:
    saturated = _saturated(model)
    if saturated > _MOST:
        raise Refused(
            f"{saturated:.0%} of the tanh outputs are beyond .99 in absolute value, {when}: the hidden layer is "
            "saturated. How large are the preactivations, sums of block_size * n_embd products and a bias, and what "
            "keeps them near 1?"
        )


def _check_gradients(model: MLP) -> None:
    """After ten steps a zero that heals is healed; what has no gradient then never gets one."""
    (X, Y), _ = _examples()
    for _ in train_steps(model, X, Y, steps=10, g=torch.Generator().manual_seed(1)):
        pass
    gradients = torch.autograd.grad(F.cross_entropy(model(X[:1000]), Y[:1000]), model.tensors())
    dead = [name for name, d in zip(_NAMES, gradients, strict=True) if not d.any()]
    if dead:
        is_zero = [name for name, p in zip(_NAMES, model.tensors(), strict=True) if not p.any()]
        raise Refused(
            f"the first loss is right, but after ten steps the gradient of {_named(dead)} is still exactly 0: with "
            f"{_named(is_zero)} at 0 nothing gets through. Which of them did you have to zero for the loss?"
        )
    with torch.no_grad():
        h = model.trace(X[:1000]).h
    if h.shape[1] > 1 and (h - h[:, :1]).abs().max() < 1e-5:
        raise Refused(
            f"all {h.shape[1]} hidden units are alike: they started with the same numbers, get the same gradients, and "
            "stay one unit. Draw W1 at random"
        )


def _equal(a: MLP, b: MLP) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.tensors(), b.tensors(), strict=True))


def _check_size(large: MLP) -> None:
    """The scale has to follow the sizes."""
    g = torch.Generator().manual_seed(1)
    X, Y = (torch.randint(_OTHER.vocab_size, shape, generator=g) for shape in ((1000, _OTHER.block_size), (1000,)))
    saturated = _saturated(large, X)
    if saturated > _MOST:
        raise Refused(
            f"right for the lecture's sizes; with {_OTHER}, {saturated:.0%} of the tanh outputs are beyond .99. There "
            "a sum has 1000 products in place of 30: which number does the scale of W1 follow?"
        )
    first = eval_loss(large, X, Y)
    if abs(first - math.log(_OTHER.vocab_size)) > 2 * _WITHIN:
        raise Refused(f"right for the lecture's sizes; with {_OTHER} the first loss is {first:.2f}")


def _trained(model: MLP) -> float:
    train, dev = _examples()
    model = copy.deepcopy(model)
    for _ in fast_steps(model, *train, steps=_SHORT, g=torch.Generator().manual_seed(1)):
        pass
    reached = eval_loss(model, *dev)
    if not reached < _REACHED:
        raise Refused(
            f"the start looks right, but after {_SHORT:,} steps at a rate of 0.1 the dev loss is {reached:.2f}, where "
            "the page's fix is at 2.4: is a tensor scaled so far down that barely any gradient gets through it?"
        )
    return reached


def _scaled(
    C: float = 1.0, W1: float | None = None, b1: float = 0.01, W2: float = 0.01, b2: float = 0.0
) -> Callable[[MLPConfig, torch.Generator], list[Tensor]]:
    """The lecture's five tensors, each times a factor; W1=None is the gain over the root of the fan-in."""

    def scaled(config: MLPConfig, g: torch.Generator) -> list[Tensor]:
        scale = 5 / 3 / math.sqrt(config.block_size * config.n_embd) if W1 is None else W1
        tensors = MLP(config, g=g).tensors()
        return [p.detach() * f for p, f in zip(tensors, (C, scale, b1, W2, b2), strict=True)]

    return scaled


def _with(change: Callable[..., Sequence[Tensor]]) -> Callable[[MLPConfig, torch.Generator], Sequence[Tensor]]:
    return lambda config, g: change(*_scaled()(config, g))


def _with_nn_init(config: MLPConfig, g: torch.Generator) -> tuple[Tensor, ...]:
    C, W1, b1, W2, b2 = (torch.zeros(shape) for shape in config.shapes.values())
    nn.init.normal_(C, generator=g)
    nn.init.xavier_uniform_(W1, gain=5 / 3, generator=g)
    nn.init.normal_(W2, std=0.01, generator=g)
    return C, W1, b1, W2, b2


q4 = Exercise(
    "14.4",
    "E02: a careful start",
    solution=init,
    judge=_judge_e02,
    wrong=[
        Wrong(_scaled(W1=1.0, b1=1.0, W2=1.0, b2=1.0), "sums of 200 terms and b2, are not near enough to 0"),
        Wrong(_scaled(W1=1.0, b1=1.0), "the hidden layer is saturated"),
        Wrong(_scaled(C=0.0, W1=0.0), "the gradient of C, W1 is still exactly 0"),
        Wrong(_scaled(W1=0.0, b1=0.0, W2=0.0), "C, W1, b1, W2 is still exactly 0: with W1, b1, W2 at 0"),
        Wrong(_with(lambda C, W1, b1, W2, b2: [C, W1 * 0 + 0.1, b1 * 0, W2 * 0, b2]), "all 200 hidden units are alike"),
        Wrong(
            lambda config, g: init(config, torch.Generator().manual_seed(2147483647)),
            "generators of seeds 1 and 2 give the same start",
        ),
        Wrong(lambda config, g: init(config, None), "draws from the global generator"),
        Wrong(_scaled(W1=5 / 3 / math.sqrt(30)), "which number does the scale of W1 follow?"),
        Wrong(_scaled(C=1e-3, W1=1e-3, b1=0.0, W2=1e-3), "scaled so far down"),
        Wrong(
            _with(lambda C, W1, b1, W2, b2: [C, W1, b1, W2, b2.index_fill(0, torch.tensor([0, 1, 5]), 1.5)]),
            "the letters' frequencies in b2",
        ),
        Wrong(
            _with(lambda C, W1, b1, W2, b2: [C, W1.T, b1, W2, b2]), "W1 should be a float32 tensor of shape (30, 200)"
        ),
        Wrong(_with(lambda C, W1, b1, W2, b2: [C, W1, b1, W2]), "expected the five tensors"),
        Wrong(
            (init, MLP.from_tensors(*init(MLPConfig(), torch.Generator().manual_seed(1)))), "asks for a dev loss under"
        ),
        Wrong((init, MLP(g=torch.Generator()), 3), "the reason for opening the test set is a text"),
    ],
    also_right=[
        lambda config, g: MLP.from_tensors(*init(config, g)),
        _with_nn_init,
        _scaled(W2=0.0, b1=0.0),
        MLP.from_tensors(*init(MLPConfig(), torch.Generator().manual_seed(1))),
    ],
    hints=[
        "Begin with the lecture's five torch.randn, each with generator=g, and look at one symptom at a time.",
        "The first loss: logits are h @ W2 + b2. Small W2 and b2 make them small; a factor of 0.01 will do.",
        "Saturation: each preactivation is a sum of block_size * n_embd products of variance 1. Divide W1 by the root "
        "of that number, times 5/3, and make b1 small.",
        "Leave C as it is drawn. If C or W1 is 0 as well, no gradient gets through.",
        "For a trained network: MLP.from_tensors(*init(config, g)), then 30,000 steps with stepper=fast_steps and "
        "lr=lambda i: 0.2 * (1 - i / steps). The 0.5 of page 13 was for the lecture's start; a careful one wants "
        "less.",
    ],
)
