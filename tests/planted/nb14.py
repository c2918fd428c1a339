"""The mistakes that learners make in notebook 14, each with a phrase of the message it must get."""

import functools
import math

import torch

from mlp_lib import MLP, MLPConfig
from mlp_lib.course.exercises.nb14 import init, q1, q2, q3, q4
from mlp_lib.course.exercises.nb15 import e03

# 14.1 judge a first loss


def _judge(uniform, wide=0.1):
    def judge(loss, vocab_size):
        excess = loss - uniform(vocab_size)
        return "fine" if abs(excess) <= wide else "high" if excess > 0 else "low"

    return judge


def _exchanged(loss, vocab_size):
    return {"high": "low", "low": "high", "fine": "fine"}[_judge(math.log)(loss, vocab_size)]


def _random_is_fine(loss, vocab_size):  # C3: "17.8 is what random weights give"
    return "low" if loss < math.log(vocab_size) - 0.1 else "fine"


def _wider_below(loss, vocab_size):
    return "fine" if -0.3 <= loss - math.log(vocab_size) <= 0 else _judge(math.log)(loss, vocab_size)


def _three_per_cent(loss, vocab_size):
    return _judge(math.log, wide=max(0.1, 0.03 * math.log(vocab_size)))(loss, vocab_size)


def _never_low(loss, vocab_size):
    return "fine" if loss <= math.log(vocab_size) + 0.1 else "high"


def _says_yes(loss, vocab_size):
    return loss < 4


# 14.2 saturation without a network


_LIMIT = math.atanh(0.99)


def _share(std, limit=_LIMIT, both=1.0):
    return lambda n, w, b: both * math.erfc(limit / std(n, w, b) / math.sqrt(2))


def _std(n, w, b):
    return math.sqrt(n * w**2 + b**2)


def _hardly_any(fan_in, w_scale, b_scale):  # C4: "weights of variance 1 are small"
    return _share(lambda n, w, b: 1.0)(fan_in, w_scale, b_scale)


def _per_cent(fan_in, w_scale, b_scale):
    return 100 * _share(_std)(fan_in, w_scale, b_scale)


def _inside(fan_in, w_scale, b_scale):
    return 1 - _share(_std)(fan_in, w_scale, b_scale)


def _simulated(fan_in, w_scale, b_scale):
    g = torch.Generator().manual_seed(2147483647)
    x, w = (torch.randn(40_000, fan_in, generator=g) for _ in range(2))
    z = (x * w).sum(1) * w_scale + torch.randn(40_000, generator=g) * b_scale
    return (z.tanh().abs() > 0.99).double().mean()


# 14.3 who gets no gradient?


def _the_zeroed(zeroed):
    return set(zeroed)


def _nobody(zeroed):
    return set()


def _only_w2(zeroed):  # C5: C and W1 forgotten
    return {"C", "W1", "b1"} if "W2" in zeroed else set()


def _biases_forgotten(zeroed):
    nothing = q3.solve(zeroed)
    return nothing | {"W2"} if "W1" in zeroed else nothing


def _b2_too(zeroed):
    return q3.solve(zeroed) | ({"b2"} if "W2" in zeroed else set())


def _h_at_zero_forgotten(zeroed):
    return q3.solve(zeroed) - {"W2"}


def _as_text(zeroed):
    return "W1"


# 14.4 E02


def _init(C=1.0, W1=None, b1=0.01, W2=0.01, b2=0.0):
    """The lecture's five tensors, each times a factor; W1=None is the gain over the root of the fan-in."""

    def init(config, g):
        fan_in = config.block_size * config.n_embd
        scale = 5 / 3 / math.sqrt(fan_in) if W1 is None else W1
        factors = (C, scale, b1, W2(config) if callable(W2) else W2, b2)
        return [p.detach() * f for p, f in zip(MLP(config, g=g).tensors(), factors, strict=True)]

    return init


def _own_seed(config, g):
    return _init()(config, torch.Generator().manual_seed(2147483647))


def _global(config, g):
    return [torch.randn(p.shape) * p.std().nan_to_num(0) for p in _init()(config, g)]


def _transposed(config, g):
    C, W1, b1, W2, b2 = _init()(config, g)
    return [C, W1.T, b1, W2, b2]


def _four(config, g):
    return _init()(config, g)[:4]


def _alike(config, g):
    C, W1, b1, W2, b2 = _init()(config, g)
    return [C, torch.full_like(W1, 0.1), b1 * 0, W2 * 0, b2]


def _frequencies(config, g):
    C, W1, b1, W2, b2 = _init()(config, g)
    b2[0], b2[1], b2[5] = 1.5, 1.5, 1.0
    return [C, W1, b1, W2, b2]


@functools.cache
def _counted():
    return e03()  # below 2.1701 without any training


MISTAKES = [
    (q1, _random_is_fine, "for a first loss of 17.7697 with 27 symbols"),
    (q1, _exchanged, "high and low are exchanged"),
    (q1, _judge(math.log2), "base 2 (bits)"),
    (q1, _judge(math.log10), "base 10"),
    (q1, _judge(lambda V: math.log(27)), "is the 27 typed in?"),
    (q1, _judge(lambda V: 1 / V), "1 / vocab_size is a probability"),
    (q1, _judge(math.log, wide=0.5), "for 3.7 with 27 symbols"),
    (q1, _judge(math.log, wide=0.3), "for 3.44 with 27 symbols"),
    (q1, _wider_below, "for 3.16 with 27 symbols"),
    (q1, _three_per_cent, "for 11 with 50,257 symbols"),
    (q1, _never_low, 'for 3.2958 with 61 symbols (61 symbols) you say "fine"'),
    (q1, _says_yes, 'expected "fine", "high" or "low", got True'),
    (q2, _hardly_any, "beyond .99 in 33 % and 62 %"),
    (q2, _share(_std, both=0.5), "one tail"),
    (q2, _share(_std, limit=0.99), "what is atanh(0.99)?"),
    (q2, _share(lambda n, w, b: n * w**2 + b**2), "The standard deviation is its root"),
    (q2, _share(lambda n, w, b: math.sqrt(n) * w), "the bias is missing"),
    (q2, _share(lambda n, w, b: math.sqrt(n) * w + b), "add their variances"),
    (q2, _share(lambda n, w, b: math.sqrt(w**2 + b**2)), "fan_in has no effect"),
    (q2, _share(lambda n, w, b: math.sqrt(n * w + b)), "w_scale squared"),
    (q2, _share(lambda n, w, b: math.sqrt(n * w**2 + b)), "its square is the bias's variance"),
    (q2, _simulated, "the page takes it for normal"),
    (q2, _inside, "the share within .99"),
    (q2, _per_cent, "yours is in per cent"),
    (q3, _the_zeroed, "you return the tensors that are 0"),
    (q3, _nobody, "they hold each other at 0"),
    (q3, _only_w2, "W1 gets a gradient only if neither C nor W2 is 0"),
    (q3, _biases_forgotten, "b1 alone keeps h away from 0"),
    (q3, _b2_too, "db2 is the sum of dlogits"),
    (q3, _h_at_zero_forgotten, "h is 0 where emb @ W1 and b1 both are"),
    (q3, _as_text, "expected a set of names"),
    (q4, _init(W1=1.0, b1=1.0, W2=1.0, b2=1.0), "where uniform guessing costs 3.2958"),
    (q4, _init(W2=lambda config: config.n_hidden**-0.5), "the logits are not near enough to 0"),
    (q4, _init(b2=1.0), "b2 by itself has a standard deviation of 1"),
    (q4, _init(W1=1.0, b1=1.0), "the hidden layer is saturated"),
    (q4, _init(W1=0.0, b1=0.0, W2=0.0), "gradient of C, W1, b1, W2 is still exactly 0"),
    (q4, _init(C=0.0, W1=0.0), "gradient of C, W1 is still exactly 0"),
    (q4, _init(C=0.0, b1=0.0, W2=0.0), "with C, b1, W2 at 0 nothing gets through"),
    (q4, _alike, "all 200 hidden units are alike"),
    (q4, _own_seed, "generators of seeds 1 and 2 give the same start"),
    (q4, _global, "draws from the global generator"),
    (q4, _init(W1=5 / 3 / math.sqrt(30)), "is the scale of W1 a number typed in?"),
    (q4, _init(C=1e-3, W1=1e-3, b1=0.0, W2=1e-3), "scaled so far down"),
    (q4, (init, MLP.from_tensors(*init(MLPConfig(), g=torch.Generator().manual_seed(1)))), "dev loss under 2.1701"),
    (q4, (init, 2.11), "hand over the model itself"),
    (q4, (_init(W2=1.0), _counted()), "the logits are sums of 200 terms"),
    (q4, (init, _counted(), 3), "the reason for opening the test set is a text"),
    (q4, _frequencies, "the letters' frequencies in b2"),
    (q4, _transposed, "W1 has shape (200, 30), expected (30, 200)"),
    (q4, _four, "expected the five tensors"),
]
