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
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
from mlp_lib.course.exercises.submitted_models import handed_in
from mlp_lib.course.exercises.values import show
from mlp_lib.data import Vocab, make_splits
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.train import eval_loss, train_steps
from mlp_lib.words import load_words

# ---- 14.1 what does a first loss tell? -------------------------------------------------------------------------------


def first_losses() -> list[int]:
    """The explanations of the first losses A, B, C and D."""
    return [
        5,  # A: logits of standard deviation 14, so the network is sure of the wrong characters
        2,  # B: also far from uniform, but numbers between 0 and 1 have a variance of only 1/12
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
    "A": (
        5,
        "logits that are sums of 100 products differ by tens, and nothing else here costs 14 nats more than guessing",
    ),
    "B": (
        2,
        "numbers between 0 and 1 make logits that differ far less than those of randn, but more than careful ones",
    ),
    "C": (4, "it starts near uniform guessing, 3.30, and cannot get below what the frequencies of the characters give"),
    "D": (3, "no untrained network is that far below 3.30 nats; as a log10, 1.45 is 28 nats"),
}

q1 = Exercise(
    "14.1",
    "what does a first loss tell?",
    solution=first_losses,
    **matching(_FIRST_LOSSES, _EXPLANATIONS, "first loss {} is not {}"),
    also_right=["5, 2, 4, 3", {"D": 3, "C": 4, "B": 2, "A": 5}, torch.tensor([5, 2, 4, 3])],
    right="only a first loss near 3.30 can be right, and even then the network may not learn.",
    hints=[
        "Uniform guessing costs ln 27 = 3.30. Which two are far above it, and which is below?",
        "rand gives numbers between 0 and 1, with a smaller spread than randn. Whose logits are further from 0?",
        "C ends at the loss of a model that knows only how frequent each character is. Which tensor alone learns that?",
        "10**1.45 is 28, and 10**0.36 is 2.3.",
    ],
)


# ---- 14.2 saturation without a network -------------------------------------------------------------------------------


def share_saturated(fan_in: int, w_scale: float, b_scale: float) -> float:
    """The share of tanh outputs beyond .99 on either side, for normal inputs, weights and biases."""
    std = math.sqrt(fan_in * w_scale**2 + b_scale**2)  # of the preactivation
    limit = math.atanh(0.99)  # 2.6467: where tanh reaches .99
    return math.erfc(limit / std / math.sqrt(2))  # both tails of the normal distribution


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
    near="if this is an estimate, take more draws; if it is a formula, is the limit math.atanh(0.99)?",
    edits={
        ("math.sqrt(fan_in * w_scale**2 + b_scale**2)", "1.0"): (
            "the standard deviation of the preactivation is taken for 1. The lecture's networks have tanh outputs "
            "beyond .99 in 33 % and 62 % of all cases"
        ),
        ("math.erfc", "0.5 * math.erfc"): "that is one tail: -0.995 is as saturated as 0.995",
        ("math.atanh(0.99)", "0.99"): (
            "you count preactivations beyond 0.99, but tanh of them has to pass .99: what is atanh(0.99)?"
        ),
        ("math.sqrt(fan_in * w_scale**2 + b_scale**2)", "(fan_in * w_scale**2 + b_scale**2)"): (
            "fan_in * w_scale**2 + b_scale**2 is the variance: the standard deviation is its root"
        ),
        (" + b_scale**2", ""): "the bias is missing: add its variance to that of the sum",
        ("fan_in * w_scale**2 + b_scale**2", "(fan_in**0.5 * w_scale + b_scale) ** 2"): (
            "you added standard deviations: add the variances, then take the root"
        ),
        ("fan_in * w_scale**2", "w_scale**2 / fan_in"): (
            "a sum of more products scatters more: its variance is fan_in * w_scale**2"
        ),
        ("fan_in * w_scale", "w_scale"): (
            "fan_in has no effect: a preactivation is a sum of fan_in products, each of variance w_scale**2"
        ),
        ("b_scale**2", "b_scale"): "b_scale is a standard deviation: the variance of the bias is its square",
    },
    wrong=[
        Wrong(
            _summed_products,
            "a simulated sum of few products is not normal: the exercise treats it as normal, whatever fan_in is",
        ),
    ],
    also_right=[_estimated],
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
    "C": "demb is dz @ W1.T, and dz holds dlogits @ W2.T: it is 0 exactly if W1 or W2 is",
    "W1": "dW1 is emb.T @ dz, and dz holds dlogits @ W2.T: it is 0 exactly if C or W2 is",
    "b1": "db1 is the sum of dz, which is dlogits @ W2.T times 1 - h**2: only W2 can make it 0",
    "W2": "dW2 is h.T @ dlogits: it is 0 exactly when h is, and h is 0 when both emb @ W1 and b1 are",
    "b2": "db2 is the sum of dlogits: it involves no other tensor, and is never 0",
}


def _named(names: Iterable[str]) -> str:
    return ", ".join(n for n in _NAMES if n in names) or "none"


def _judge_no_gradient(answer: object) -> None:
    """Try all 32 sets, small ones first, and name the first tensor that is wrong, with the reason."""
    if not callable(answer) or isinstance(answer, types.BuiltinFunctionType):
        raise Refused("pass your own function without calling it: q3.check(no_gradient)")
    cases = [set(c) for many in range(len(_NAMES) + 1) for c in combinations(_NAMES, many)]
    answers = []
    for zeroed in cases:
        given = set(zeroed)
        answers.append(_as_names(answer(given)))
        if given != zeroed:
            raise Refused("your answer changed its argument zeroed, which the caller still needs: work on a copy")
    if answers == cases:
        raise Refused(
            "you return the tensors that are 0. With W2 at 0 its gradient, h.T @ dlogits, is not 0: which other "
            "tensors are affected?"
        )
    if not any(answers):
        raise Refused(
            "all your sets are empty. With C and W1 both at 0, C's gradient has W1 as a factor and W1's has C, so "
            "neither ever changes"
        )
    for got, zeroed in zip(answers, cases, strict=True):
        right = no_gradient(zeroed)
        for name in _NAMES:
            if (name in got) != (name in right):
                fix = "gets no gradient, so include it" if name in right else "gets a gradient, so leave it out"
                raise Refused(f"with {_named(zeroed)} at 0, {name} {fix}: {_WHY[name]}")


def _as_names(got: object) -> set[str]:
    names = list(got) if isinstance(got, Iterable) and not isinstance(got, str) else [None]
    if any(name not in _NAMES for name in names):
        raise Refused(f"expected a set of names among C, W1, b1, W2, b2, perhaps set(), got {show(got)}")
    return set(names)


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
    edits={
        ('|= {"W1"}', "|= set()"): "with C at 0, W1 gets no gradient",
        ('|= {"C"}', "|= set()"): "with W1 at 0, C gets no gradient",
        ('"W1", "b1"}', '"W1"}'): "with W2 at 0, b1 gets no gradient",
        ('|= {"W2"}', "|= set()"): "with C, b1 at 0, W2 gets no gradient",
        ('"b1" in zeroed and', '"b1" in zeroed or'): "with C at 0, W2 gets a gradient",
        ('"W1", "b1"}', '"W1", "b1", "b2"}'): "with W2 at 0, b2 gets a gradient",
        ("return nothing", 'return nothing | {"b1"} & zeroed'): "b1 gets a gradient",
        ("nothing = set()", 'nothing, _ = set(), zeroed.discard("b2")'): "your answer changed its argument zeroed",
    },
    wrong=[
        Wrong(lambda zeroed: set(zeroed), "you return the tensors that are 0"),
        Wrong(lambda zeroed: set(), "all your sets are empty"),
        Wrong(lambda zeroed: {"dC"}, "expected a set of names among C, W1, b1, W2, b2"),
    ],
    also_right=[_with_autograd],
    right="all 32 cases: two zero factors on the same path never recover, a single one does.",
    hints=[
        "Write z for the preactivation. Backwards: dW2 = h.T @ dlogits, dh = dlogits @ W2.T, dz = dh * (1 - h**2), "
        "dW1 = emb.T @ dz, demb = dz @ W1.T.",
        "A product is 0 if one of its factors is. Which tensors are factors in each of the five lines?",
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
_OTHERS = [  # a thousand products in each sum, and numbers of units and symbols whose roots do not suit those
    MLPConfig(vocab_size=40, block_size=8, n_embd=125, n_hidden=500),
    MLPConfig(vocab_size=6, block_size=8, n_embd=125, n_hidden=20),
]
_WITHIN = 0.05  # nats from ln V
_MOST = 0.20  # share of tanh outputs beyond .99
_LECTURE = 2.1701  # the dev loss that the lecture printed at its end


@functools.cache
def _examples() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    words = load_words()
    return make_splits(words, Vocab.from_words(words), _CONFIG.block_size)[:4]


def _judge_e02(answer: object, model: object = None, reason: object = None) -> str:
    """The start; with a model also its dev loss, and with a reason its test loss."""
    if not callable(answer) or isinstance(answer, types.BuiltinFunctionType):
        raise Refused("pass your own function without calling it: q4.check(init)")
    if isinstance(answer, nn.Module) and not (isinstance(answer, MLP) and answer.config == _CONFIG):
        raise Refused("pass your function init, or an MLP of the lecture's last sizes: 27 symbols, 3, 10, 200")
    (Xtr, Ytr, Xdev, Ydev), before = _examples(), torch.get_rng_state()
    start = answer if isinstance(answer, MLP) else _made(answer, _CONFIG, seed=1)
    first, saturated = _measured(start, Xdev, Ydev)
    _check_gradients(copy.deepcopy(start), Xtr, Ytr)
    if start is not answer:
        again, other = _made(answer, _CONFIG, seed=1), _made(answer, _CONFIG, seed=2)
        _measured(other, Xdev, Ydev)
        if not torch.equal(torch.get_rng_state(), before) or not _equal(start, again):
            raise Refused(
                "the same seed gives a different start each time, or the global generator was used: pass generator=g "
                "to every torch.randn, and keep nothing between calls"
            )
        if _equal(start, other):
            raise Refused("generators of seeds 1 and 2 give the same start: draw from the g that is passed in")
        g = torch.Generator().manual_seed(1)
        for config in _OTHERS:
            shapes = (1000, config.block_size), (1000,)
            _measured(
                _made(answer, config, seed=1),
                *(torch.randint(config.vocab_size, shape, generator=g) for shape in shapes),
            )
    trained = copy.deepcopy(start)
    for _ in fast_steps(trained, Xtr, Ytr, steps=1000, g=torch.Generator().manual_seed(1)):
        pass
    reached = eval_loss(trained, Xdev, Ydev)
    if not reached < 2.6:
        raise Refused(
            f"after 1,000 steps at a rate of 0.1 the dev loss is {reached:.2f}, where the page's fix is at 2.4: is a "
            "tensor scaled so far down that barely any gradient gets through it, or are the neurons all alike?"
        )
    said = f"first loss {first:.2f}, {saturated:.0%} beyond .99, {reached:.1f} after 1,000 steps. That is E02."
    return said if model is None else f"{said} {handed_in(model, reason, exercise='E02', asked=_LECTURE)}"


def _made(init: Callable, config: MLPConfig, seed: int) -> MLP:
    made = init(config, torch.Generator().manual_seed(seed))
    tensors = made.tensors() if isinstance(made, MLP) else made
    if isinstance(tensors, str | Tensor) or not isinstance(tensors, Sequence) or len(tensors) != len(_NAMES):
        raise Refused(f"expected the five tensors [C, W1, b1, W2, b2], got {show(made)}")
    for (name, shape), p in zip(config.shapes.items(), tensors, strict=True):
        is_tensor = isinstance(p, Tensor)
        if not is_tensor or p.dtype != torch.float32 or tuple(p.shape) != shape or not p.isfinite().all():
            got = f"{p.dtype} and shape {tuple(p.shape)}" if is_tensor else show(p)
            raise Refused(f"{name} must be a float32 tensor of finite numbers, shape {shape} for {config}, got {got}")
    return MLP.from_tensors(*(p.detach().clone() for p in tensors))


def _equal(a: MLP, b: MLP) -> bool:
    return all(map(torch.equal, a.tensors(), b.tensors()))


def _measured(model: MLP, X: Tensor, Y: Tensor) -> tuple[float, float]:
    """The first loss and the share of saturated outputs, if both are as they should be; else raises Refused."""
    first, uniform = eval_loss(model, X, Y), math.log(model.config.vocab_size)
    where, within, most = "on dev", _WITHIN, _MOST
    if model.config in _OTHERS:
        # Xavier, which the page names, averages fan-in and fan-out: 25 % with few units
        where, within, most = f"with {model.config}", 2 * _WITHIN, 1.5 * _MOST
    if first < uniform - within:
        raise Refused(
            f"{where} the first loss is {first:.4f}, lower than uniform guessing, {uniform:.4f}. Is it already "
            "trained, or are the letters' frequencies in b2? The task asks for a start that knows nothing yet"
        )
    if not first <= uniform + within:
        raise Refused(
            f"{where} the first loss is {first:.2f}, and uniform guessing costs {uniform:.4f}: the logits, sums of "
            f"{model.config.n_hidden} terms and b2, are not close enough to 0. Which tensors scale them?"
        )
    with torch.no_grad():
        h = model.trace(X).h
    saturated = (h.abs() > 0.99).float().mean().item()
    if saturated > most:
        _check_units(h)
        raise Refused(
            f"{where} the first loss is right, {first:.4f}, but {saturated:.0%} of the tanh outputs are beyond .99: "
            f"the hidden layer is saturated. A preactivation is a sum of {len(model.W1)} products and a bias: which "
            "number does the scale of W1 have to follow?"
        )
    return first, saturated


def _check_gradients(model: MLP, X: Tensor, Y: Tensor) -> None:
    """Ten steps are enough for a zero that recovers; what has no gradient after them never gets one."""
    for _ in train_steps(model, X, Y, steps=10, g=torch.Generator().manual_seed(1)):
        pass
    gradients = torch.autograd.grad(F.cross_entropy(model(X[:1000]), Y[:1000]), model.tensors())
    dead = [name for name, d in zip(_NAMES, gradients, strict=True) if not d.any()]
    if dead:
        is_zero = [name for name, p in zip(_NAMES, model.tensors(), strict=True) if not p.any()]
        raise Refused(
            f"the first loss is right, but after ten steps the gradient of {_named(dead)} is still exactly 0, with "
            f"{_named(is_zero)} all 0. Which of them has to be 0 for the right first loss?"
        )
    with torch.no_grad():
        _check_units(model.trace(X[:1000]).h)


def _check_units(h: Tensor) -> None:
    if h.shape[1] > 1 and (h - h[:, :1]).abs().max() < 1e-5:
        raise Refused(
            f"all {h.shape[1]} hidden units are equal: they start with the same numbers and get the same gradients, so "
            "they stay equal. Draw W1 at random"
        )


def _with_nn_init(config: MLPConfig, g: torch.Generator) -> tuple[Tensor, ...]:
    C, W1, b1, W2, b2 = (torch.zeros(shape) for shape in config.shapes.values())
    nn.init.normal_(C, generator=g)
    nn.init.xavier_uniform_(W1, gain=5 / 3, generator=g)
    nn.init.normal_(W2, std=0.01, generator=g)
    return C, W1, b1, W2, b2


_START = MLP.from_tensors(*init(_CONFIG, torch.Generator().manual_seed(1)))

q4 = Exercise(
    "14.4",
    "E02: a careful start",
    solution=init,
    judge=_judge_e02,
    edits={
        (" * (5 / 3) / math.sqrt(fan_in)", ""): "the hidden layer is saturated",
        (("W1 = torch.randn", "W1 = 0 * torch.randn"), ("C = torch.randn", "C = 0 * torch.randn")): (
            "the gradient of C, W1 is still exactly 0"
        ),
        (
            ("torch.randn((fan_in, config.n_hidden), generator=g)", "torch.ones((fan_in, config.n_hidden))"),
            ("* (5 / 3) / math.sqrt(fan_in)", "* 0.1"),
            ("* 0.01", "* 0"),
            ("* 0.1 ", "* 0 "),
        ): "all 200 hidden units are equal",
        ("fan_in =", "g = torch.Generator().manual_seed(2147483647)\n    fan_in ="): (
            "generators of seeds 1 and 2 give the same start"
        ),
        ("config.n_embd), generator=g", "config.n_embd)"): "pass generator=g to every torch.randn",
        ("math.sqrt(fan_in)", "math.sqrt(30)"): (
            "the hidden layer is saturated. A preactivation is a sum of 1000 products and a bias"
        ),
        (("C = ", "C = 0.001 * "), ("(5 / 3)", "0.001"), ("* 0.1 /", "* 0.01 /")): "scaled so far down",
        ("torch.zeros(config.vocab_size)", "1.0 * (torch.arange(config.vocab_size) < 2)"): (
            "the letters' frequencies in b2"
        ),
        ("[C, W1,", "[C, W1.T,"): "W1 must be a float32 tensor of finite numbers, shape (30, 200)",
        (", b2]", "]"): "expected the five tensors",
    },
    wrong=[
        Wrong(lambda config, g: MLP(config, g=g), "sums of 200 terms and b2, are not close enough to 0"),
        Wrong((init, _START), "asks for a dev loss below"),
    ],
    also_right=[_with_nn_init, edited(init, ("* 0.01", "* 0"), ("* 0.1 ", "* 0 ")), _START],
    hints=[
        "Start from the lecture's five torch.randn, each with generator=g, and fix one symptom at a time.",
        "The first loss: logits are h @ W2 + b2. Small W2 and b2 make them small; a factor of 0.01 is enough.",
        "Saturation: each preactivation is a sum of block_size * n_embd products of variance 1. Divide W1 by the root "
        "of that number, times 5/3, and make b1 small.",
        "Leave C as it is drawn. If C and W1 are both 0, neither gets a gradient.",
        "For a trained network: MLP.from_tensors(*init(config, g)), then 30,000 steps with stepper=fast_steps and "
        "lr=lambda i: 0.2 * (1 - i / steps). The 0.5 of page 13 was for the lecture's start; a careful one needs "
        "less.",
    ],
)
