"""Exercises of notebook 14: a first loss judged, saturation computed, gradients that are zero, and E02 itself."""

import copy
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import brief, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake
from mlp_lib.course.exercises.submitted_models import handed_in
from mlp_lib.data import Vocab, build_dataset, split_words
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.train import eval_loss, train_steps
from mlp_lib.words import load_words

# --------------------------------------------------------------------------------------------------------- 14.1


def judge(loss: float, vocab_size: int) -> str:
    """Whether a first loss is "fine" (within 0.1 of uniform guessing), too "high" or too "low"."""
    excess = loss - math.log(vocab_size)  # nats above uniform guessing
    if abs(excess) <= 0.1:
        return "fine"
    return "high" if excess > 0 else "low"


# (first loss, symbols, where it may come from)
_FIRST_LOSSES = (
    (3.2958, 27, "uniform guessing"),
    (17.7697, 27, "the lecture's first network"),
    (26.01, 27, "the lecture's last network"),
    (3.70, 27, "W2 over the root of n_hidden"),
    (3.35, 27, "a start with small logits"),
    (4.1109, 61, "61 symbols"),
    (3.2958, 61, "61 symbols"),
    (10.8249, 50_257, "a language model's 50,257 tokens"),
    (0.72, 2, "two symbols"),
    (1.2, 27, "a network that was trained before"),
    (1.45, 27, "a loss in other units"),
    (3.44, 27, "a start with larger logits"),
    (3.16, 27, "a network after a few steps"),
    (11.0, 50_257, "a language model's 50,257 tokens"),
    (10.6, 50_257, "a language model's 50,257 tokens"),
)


def _check_judge(answer: object) -> str:
    own_function(answer, "q1.check(judge)")
    got = [answer(loss, symbols) for loss, symbols, _ in _FIRST_LOSSES]
    for verdict in got:
        if verdict not in ("fine", "high", "low"):
            raise Mistake(f'expected "fine", "high" or "low", got {brief(verdict)}')
    right = [judge(loss, symbols) for loss, symbols, _ in _FIRST_LOSSES]
    if got == right:
        return "17.7697 is high by 14.5 nats, 3.70 by 0.4, and 3.2958 is low where there are 61 symbols."
    swapped = {"high": "low", "low": "high", "fine": "fine"}
    if got == [swapped[v] for v in right]:
        raise Mistake("high and low are exchanged: 17.7697 with 27 symbols lies above uniform guessing, so it is high")
    if got[1] == "fine":
        raise Mistake(
            'for a first loss of 17.7697 with 27 symbols you say "fine". It looks wrong and it is: random parameters '
            "know nothing, and who knows nothing and says so pays 3.2958"
        )
    for base, name in ((2, "2 (bits)"), (10, "10")):
        if got == [_judged_by(loss, math.log(symbols, base)) for loss, symbols, _ in _FIRST_LOSSES]:
            raise Mistake(f"that is the logarithm to base {name}: our losses are in nats, so ln 27 = 3.2958")
    if got == [_judged_by(loss, math.log(27)) for loss, symbols, _ in _FIRST_LOSSES]:
        raise Mistake("for 3.2958 with 61 symbols: is the 27 typed in? Uniform guessing costs more with more symbols")
    if got == [_judged_by(loss, 1 / symbols) for loss, symbols, _ in _FIRST_LOSSES]:
        raise Mistake("1 / vocab_size is a probability. The loss is minus its logarithm")
    at = next(k for k, (a, b) in enumerate(zip(got, right, strict=True)) if a != b)
    loss, symbols, where = _FIRST_LOSSES[at]
    raise Mistake(
        f'for {loss:g} with {symbols:,} symbols ({where}) you say "{got[at]}": uniform guessing costs '
        f"{math.log(symbols):.4f} there, and fine is within 0.1 of it on either side"
    )


def _judged_by(loss: float, uniform: float) -> str:
    return "fine" if abs(loss - uniform) <= 0.1 else "high" if loss > uniform else "low"


q1 = Exercise(
    "14.1",
    "judge a first loss",
    _check_judge,
    hints=[
        "What does a network pay that gives each of vocab_size symbols the same probability?",
        "math.log is the natural logarithm, as in our losses. -math.log(1 / vocab_size) is what uniform guessing pays.",
        "Three cases: within 0.1 of it, above, below. Use abs for the first.",
    ],
    solution=judge,
)


# --------------------------------------------------------------------------------------------------------- 14.2


def share_saturated(fan_in: int, w_scale: float, b_scale: float) -> float:
    """The share of tanh outputs beyond .99 on either side, for normal inputs, weights and biases."""
    std = math.sqrt(fan_in * w_scale**2 + b_scale**2)  # of the preactivation
    limit = math.atanh(0.99)  # 2.6467: where tanh reaches .99
    return math.erfc(limit / std / math.sqrt(2))  # both tails of the normal distribution


_SATURATIONS = (
    (6, 1.0, 1.0),
    (30, 1.0, 1.0),
    (30, 5 / 3 / math.sqrt(30), 0.01),
    (30, 0.2, 0.0),
    (1, 2.0, 1.0),
    (4, 0.5, 3.0),
)


def _tails(limit: float, std: float) -> float:
    return math.erfc(limit / std / math.sqrt(2)) if std else 0.0


_LIMIT = math.atanh(0.99)
_WRONG_SATURATIONS: tuple[tuple[Callable[[int, float, float], float], str], ...] = (
    (
        lambda n, w, b: _tails(_LIMIT, math.sqrt(n * w**2 + b**2)) / 2,
        "that is one tail. -0.995 is as saturated as 0.995: both sides count",
    ),
    (
        lambda n, w, b: _tails(0.99, math.sqrt(n * w**2 + b**2)),
        "you count preactivations beyond 0.99. It is tanh of them that has to pass .99: what is atanh(0.99)?",
    ),
    (
        lambda n, w, b: _tails(_LIMIT, n * w**2 + b**2),
        "fan_in * w_scale**2 + b_scale**2 is the variance. The standard deviation is its root",
    ),
    (
        lambda n, w, b: _tails(_LIMIT, math.sqrt(n) * w),
        "the bias is missing: its variance adds to that of the sum",
    ),
    (
        lambda n, w, b: _tails(_LIMIT, math.sqrt(n) * w + b),
        "standard deviations are added. Independent numbers add their variances, and then comes the root",
    ),
    (
        lambda n, w, b: _tails(_LIMIT, math.sqrt(w**2 + b**2)),
        "fan_in has no effect: a preactivation is a sum of fan_in products, and each adds w_scale**2 to the variance",
    ),
    (
        lambda n, w, b: _tails(_LIMIT, math.sqrt(n * w + b)),
        "a number times w_scale has its variance times w_scale squared",
    ),
    (
        lambda n, w, b: _tails(_LIMIT, math.sqrt(n * w**2 + b)),
        "b_scale is a standard deviation: its square is the bias's variance, and adds to that of the sum",
    ),
    (
        lambda n, w, b: 1 - _tails(_LIMIT, math.sqrt(n * w**2 + b**2)),
        "that is the share within .99. The saturated ones are the rest",
    ),
)


def _check_saturated(answer: object) -> str:
    own_function(answer, "q2.check(share_saturated)")
    got = [number(answer(*case), "a share") for case in _SATURATIONS]
    right = [share_saturated(*case) for case in _SATURATIONS]

    def near(values: Sequence[float]) -> bool:
        return all(abs(a - b) <= 0.006 for a, b in zip(got, values, strict=True))

    if near(right):
        return "by the formula 32 % and 63 % for the lecture's two networks, 11 % after the gain of 5/3."
    at = next(k for k, (a, b) in enumerate(zip(got, right, strict=True)) if not abs(a - b) <= 0.006)
    n, w, b = _SATURATIONS[at]
    case = f"for fan_in {n}, w_scale {w:.3g}, b_scale {b:g} you get {got[at]:.3f}, expected {right[at]:.3f}"
    if near([100 * value for value in right]):
        raise Mistake(f"{case}: a share lies between 0 and 1, yours is in per cent")
    if max(got) < 0.05 and got[0] < 0.05:
        raise Mistake(
            f"{case}: hardly any, you say. The lecture's networks have tanh outputs beyond .99 in 33 % and 62 % of "
            "all cases: a sum of many products is far from 0 most of the time"
        )
    for wrong, sentence in _WRONG_SATURATIONS:
        if near([wrong(*c) for c in _SATURATIONS]):
            raise Mistake(f"{case}: {sentence}")
    if at == 0 and 0.28 < got[0] < 0.305:
        raise Mistake(f"{case}: a simulated sum of 6 products is not normal; the page takes it for normal")
    raise Mistake(f"{case}: standard deviation of the preactivation first, then both tails beyond atanh(0.99)")


q2 = Exercise(
    "14.2",
    "saturation without a network",
    _check_saturated,
    hints=[
        "A preactivation is a sum of fan_in products and one bias. What is the variance of x * w, for x of variance 1?",
        "Independent terms add their variances: fan_in * w_scale**2 + b_scale**2. The standard deviation is its root.",
        "tanh(z) passes .99 where z passes math.atanh(0.99), about 2.65.",
        "A standard normal number is beyond t on either side with probability math.erfc(t / math.sqrt(2)).",
    ],
    solution=share_saturated,
)


# --------------------------------------------------------------------------------------------------------- 14.3

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


def _check_no_gradient(answer: object) -> str:
    own_function(answer, "q3.check(no_gradient)")
    cases = [set(c) for many in range(len(_NAMES) + 1) for c in combinations(_NAMES, many)]
    answers = []
    for zeroed in cases:
        got = answer(set(zeroed))
        if isinstance(got, str) or not isinstance(got, Iterable):
            raise Mistake(f"expected a set of names such as {{'C', 'W1'}}, got {brief(got)}")
        got = set(got)
        if got - set(_NAMES):
            raise Mistake(f"expected names among C, W1, b1, W2, b2, got {brief(got)}")
        answers.append(got)
    if all(got == zeroed for got, zeroed in zip(answers, cases, strict=True)):
        raise Mistake(
            "you return the tensors that are 0. A tensor at 0 may well have a gradient: with W2 at 0 it is h.T @ "
            "dlogits, and neither of these is 0. Who else is hit?"
        )
    if not any(answers):
        raise Mistake(
            "you find a gradient everywhere. With C and W1 both at 0, C's gradient has W1 as a factor and W1's has C: "
            "they hold each other at 0, and no step gets them away"
        )
    for got, zeroed in zip(answers, cases, strict=True):
        right = no_gradient(zeroed)
        if got == right:
            continue
        wrong = next(n for n in _NAMES if (n in got) != (n in right))
        missing = wrong in right
        says = "has a gradient of 0, and you leave it out" if missing else "has a gradient, and you list it"
        raise Mistake(f"with {_named(zeroed)} at 0: {wrong} {says}. {_WHY[wrong, missing]}")
    return "all 32 cases: two factors at 0 on the same path stop the learning for good, one comes back by itself."


q3 = Exercise(
    "14.3",
    "who gets no gradient?",
    _check_no_gradient,
    hints=[
        "Write z for the preactivation. Backwards: dW2 = h.T @ dlogits, dh = dlogits @ W2.T, dz = dh * (1 - h**2), "
        "dW1 = emb.T @ dz, demb = dz @ W1.T.",
        "A product is 0 if one of its factors is. Go through the five lines: which tensors are factors of each?",
        "h is tanh(emb @ W1 + b1): when is it 0 for every example?",
    ],
    solution=no_gradient,
)


# --------------------------------------------------------------------------------------------------------- 14.4


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
_OTHER = MLPConfig(block_size=8, n_embd=24, n_hidden=400)
_WITHIN = 0.05  # nats from ln V
_MOST = 0.20  # share of tanh outputs beyond .99
_SHORT, _REACHED = 1000, 2.6  # steps of a short training, and the dev loss by then
_LECTURE = 2.1701  # the dev loss that the lecture printed at its end


@functools.lru_cache(maxsize=2)
def _examples(block_size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    words = load_words()
    vocab = Vocab.from_words(words)
    train, dev, _ = split_words(words)
    if block_size != _CONFIG.block_size:  # only looked at: a part will do
        train, dev = train[:200], dev[:800]
    return build_dataset(train, vocab, block_size), build_dataset(dev, vocab, block_size)


def _check_e02(answer: object, model: object = None, reason: object = "") -> str:
    """The start; with a model also what came of it, and with a reason its test loss."""
    said = _check_model(answer) if isinstance(answer, nn.Module) else _check_init(answer)
    return said if model is None else f"{said} {handed_in(model, reason, exercise='E02', asked=_LECTURE)}"


def _check_init(answer: object) -> str:
    own_function(answer, "q4.check(init)")
    global_before = torch.get_rng_state()
    try:
        model = _made(answer, _CONFIG, seed=1)
        drew = not torch.equal(torch.get_rng_state(), global_before)
        again, other, large = (_made(answer, c, s) for c, s in ((_CONFIG, 1), (_CONFIG, 2), (_OTHER, 1)))
    finally:
        torch.set_rng_state(global_before)
    first = _check_start(model)
    saturated = _saturated(other)
    if saturated > _MOST:
        raise Mistake(_too_saturated(saturated, "with another seed"))
    if drew:
        raise Mistake(
            "your init draws from the global generator, so the same seed gives another start each time: hand "
            "generator=g to every torch.randn"
        )
    if not _equal(model, again):
        raise Mistake("called twice with generators of one seed, your init gives two different starts: draw from g")
    if _equal(model, other):
        raise Mistake("generators of seeds 1 and 2 give the same start: draw from the g that is handed in")
    _check_size(large)
    reached = _trained(model)
    return f"first loss {first:.2f}, {_saturated(model):.0%} beyond .99, {reached:.1f} after 1,000 steps. That is E02."


def _check_model(model: nn.Module) -> str:
    if not isinstance(model, MLP) or model.config != _CONFIG:
        raise Mistake("hand over your function init, or an MLP of the lecture's last sizes: 27 symbols, 3, 10, 200")
    model = copy.deepcopy(model)  # trained below, and yours is left alone
    first = _check_start(model)
    reached = _trained(model)
    return f"first loss {first:.2f}, {_saturated(model):.0%} beyond .99, {reached:.1f} after 1,000 steps. That is E02."


def _made(init: Callable, config: MLPConfig, seed: int) -> MLP:
    made = init(config, torch.Generator().manual_seed(seed))
    if isinstance(made, MLP):
        tensors = made.tensors()
    else:
        if isinstance(made, (str, Tensor)) or not isinstance(made, Sequence) or len(made) != len(_NAMES):
            raise Mistake(f"expected the five tensors [C, W1, b1, W2, b2], got {brief(made)}")
        tensors = list(made)
    for name, p in zip(_NAMES, tensors, strict=True):
        if not isinstance(p, Tensor) or p.dtype != torch.float32:
            raise Mistake(f"{name} should be a float32 tensor, got {brief(p)}")
    fan_in, V = config.block_size * config.n_embd, config.vocab_size
    wanted = ((V, config.n_embd), (fan_in, config.n_hidden), (config.n_hidden,), (config.n_hidden, V), (V,))
    for name, p, shape in zip(_NAMES, tensors, wanted, strict=True):
        if tuple(p.shape) != shape:
            raise Mistake(f"{name} has shape {tuple(p.shape)}, expected {shape} for {config}")
        if not p.isfinite().all():
            raise Mistake(f"{name} holds numbers that are not finite")
    return MLP.from_tensors(*(p.detach().clone() for p in tensors))


def _check_start(model: MLP) -> float:
    """The first loss on dev, if it, the saturation and the gradients are as they should be."""
    _, dev = _examples(model.block_size)
    first = eval_loss(model, *dev)
    uniform = math.log(model.config.vocab_size)
    _, _, _, W2, b2 = (p.detach() for p in model.tensors())
    if first < uniform - _WITHIN:
        raise Mistake(
            f"the first loss on dev is {first:.4f}, lower than uniform guessing at {uniform:.4f}. Is it trained "
            "already, or are the letters' frequencies in b2? Not wrong, but here the start should know nothing"
        )
    if first > 10:
        raise Mistake(
            f"the first loss on dev is {first:.2f} where uniform guessing costs {uniform:.4f}: the logits are sums of "
            f"{model.config.n_hidden} terms and far from 0. Which tensor scales them?"
        )
    if first > uniform + _WITHIN:
        alone = " b2 by itself has a standard deviation of 1." if b2.std() > 0.5 and W2.std() < 0.1 else ""
        raise Mistake(
            f"the first loss on dev is {first:.4f}, still {first - uniform:.2f} from uniform guessing at "
            f"{uniform:.4f}: the logits are not near enough to 0.{alone}"
        )
    saturated = _saturated(model)
    if saturated > _MOST:
        raise Mistake(_too_saturated(saturated, f"although the first loss is right, {first:.4f}"))
    _check_gradients(copy.deepcopy(model))
    return first


def _saturated(model: MLP) -> float:
    _, (X, _) = _examples(model.block_size)
    with torch.no_grad():
        return (model.trace(X).h.abs() > 0.99).float().mean().item()


def _too_saturated(saturated: float, when: str) -> str:
    return (
        f"{saturated:.0%} of the tanh outputs are beyond .99 in absolute value, {when}: the hidden layer is saturated. "
        "How large are the preactivations, and what keeps a sum of block_size * n_embd products near 1?"
    )


def _check_gradients(model: MLP) -> None:
    """After ten steps a zero that heals is healed; what has no gradient then never gets one."""
    (X, Y), _ = _examples(model.block_size)
    for _ in train_steps(model, X, Y, steps=10, g=torch.Generator().manual_seed(1)):
        pass
    gradients = torch.autograd.grad(F.cross_entropy(model(X[:1000]), Y[:1000]), model.tensors())
    dead = [name for name, d in zip(_NAMES, gradients, strict=True) if not d.any()]
    if dead:
        is_zero = [name for name, p in zip(_NAMES, model.tensors(), strict=True) if not p.any()]
        raise Mistake(
            f"the first loss is right, but after ten steps the gradient of {_named(dead)} is still exactly 0: with "
            f"{_named(is_zero)} at 0 nothing gets through. Which of them did you have to zero for the loss?"
        )
    with torch.no_grad():
        h = model.trace(X[:1000]).h
    if h.shape[1] > 1 and (h - h[:, :1]).abs().max() < 1e-5:
        raise Mistake(
            f"all {h.shape[1]} hidden units are alike: they started with the same numbers, get the same gradients, and "
            "stay one unit. Draw W1 at random"
        )


def _equal(a: MLP, b: MLP) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.tensors(), b.tensors(), strict=True))


def _check_size(large: MLP) -> None:
    """The scale has to follow the sizes."""
    sizes = f"block_size {_OTHER.block_size}, n_embd {_OTHER.n_embd}, n_hidden {_OTHER.n_hidden}"
    saturated = _saturated(large)
    if saturated > _MOST:
        raise Mistake(
            f"right for the lecture's sizes; with {sizes}, {saturated:.0%} of the tanh outputs are beyond .99: is the "
            "scale of W1 a number typed in? There a sum has 192 products in place of 30"
        )
    first = eval_loss(large, *_examples(_OTHER.block_size)[1])
    if abs(first - math.log(_OTHER.vocab_size)) > 2 * _WITHIN:
        raise Mistake(f"right for the lecture's sizes; with {sizes} the first loss is {first:.2f}")


def _trained(model: MLP) -> float:
    train, dev = _examples(model.block_size)
    model = copy.deepcopy(model)
    for _ in fast_steps(model, *train, steps=_SHORT, look_every=None, g=torch.Generator().manual_seed(1)):
        pass
    reached = eval_loss(model, *dev)
    if not reached < _REACHED:
        raise Mistake(
            f"the start looks right, but after {_SHORT:,} steps at a rate of 0.1 the dev loss is {reached:.2f}, where "
            "the page's fix is at 2.4: is a tensor scaled so far down that hardly any gradient gets through it?"
        )
    return reached


q4 = Exercise(
    "14.4",
    "E02: a careful start",
    _check_e02,
    hints=[
        "Begin with the lecture's five torch.randn, each with generator=g, and look at one symptom at a time.",
        "The first loss: logits are h @ W2 + b2. Small W2 and b2 make them small; a factor of 0.01 will do.",
        "Saturation: each preactivation is a sum of block_size * n_embd products of variance 1. Divide W1 by the root "
        "of that number, times 5/3, and make b1 small.",
        "Leave C as it is drawn. If C or W1 is 0 as well, no gradient gets through.",
        "For a trained network: MLP.from_tensors(*init(config, g)), then 30,000 steps with stepper=fast_steps and "
        "lr=lambda i: 0.2 * (1 - i / steps). The 0.5 of notebook 13 was for the lecture's start; a careful one wants "
        "less.",
    ],
    solution=init,
)
