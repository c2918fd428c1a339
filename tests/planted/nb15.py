"""The mistakes that learners make in notebook 15, each with a phrase of the message it must get."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, load_words, make_splits
from mlp_lib.course.exercises.nb15 import direct_logits, mix_loss, q1, q2, q3, q4
from mlp_lib.lab.counts import Interpolated, NGram

# 15.1 fill up the counts


def _exchanged(counts, shorter, strength):
    n, T = counts.sum(), (counts > 0).sum()
    return (strength * T * counts / n + n * shorter) / (n + strength * T)


def _t_is_n(counts, shorter, strength):
    n = counts.sum()
    return (counts + strength * n * shorter) / (n + strength * n)


def _t_is_all(counts, shorter, strength):
    return (counts + strength * len(counts) * shorter) / (counts.sum() + strength * len(counts))


def _no_strength(counts, shorter, strength):
    n, T = counts.sum(), (counts > 0).sum()
    return (counts + T * shorter) / (n + T)


def _counts_alone(counts, shorter, strength):
    return counts / counts.sum()


def _back_off(counts, shorter, strength):  # asks the shorter one for what never followed, and forgets to make room
    return torch.where(counts > 0, counts / counts.sum(), shorter)


def _nan_when_unseen(counts, shorter, strength):
    n, T = counts.sum(), (counts > 0).sum()
    return (counts + strength * T * shorter) / (n + strength * T)


def _strength_squared(counts, shorter, strength):
    return q1.solve(counts, shorter, strength**2)


def _column(counts, shorter, strength):
    return q1.solve(counts, shorter, strength)[:, None]


def _in_place(counts, shorter, strength):
    T, n = (counts > 0).sum(), counts.sum()
    counts += strength * T * shorter
    return counts / (n + strength * T)


def _uniform_when_unseen(counts, shorter, strength):
    if counts.sum() == 0:
        return torch.full_like(shorter, 1 / len(shorter))
    return _nan_when_unseen(counts, shorter, strength)


# 15.2 direct connections


def _x(C, X):
    return C[X].view(X.shape[0], -1)


def _from_h(C, W1, b1, W2, b2, W, X):
    h = torch.tanh(_x(C, X) @ W1 + b1)
    return h @ W2 + b2 + h @ W


def _direct_from_h_at_these_sizes(C, W1, b1, W2, b2, W, X):
    if W1.shape[0] == W1.shape[1]:
        return direct_logits(C, W1, b1, W2, b2, W, X)
    return _from_h(C, W1, b1, W2, b2, W, X)


def _not_used(C, W1, b1, W2, b2, W, X):
    return torch.tanh(_x(C, X) @ W1 + b1) @ W2 + b2


def _only_direct(C, W1, b1, W2, b2, W, X):
    return _x(C, X) @ W + b2


def _tanh_on_it(C, W1, b1, W2, b2, W, X):
    return _not_used(C, W1, b1, W2, b2, W, X) + torch.tanh(_x(C, X) @ W)


def _b2_twice(C, W1, b1, W2, b2, W, X):
    return _not_used(C, W1, b1, W2, b2, W, X) + _only_direct(C, W1, b1, W2, b2, W, X)


def _softmax(C, W1, b1, W2, b2, W, X):
    return direct_logits(C, W1, b1, W2, b2, W, X).softmax(1)


def _wrong_order(C, W1, b1, W2, b2, W, X):  # C10: right shape, wrong order
    x = C[X].transpose(0, 1).reshape(X.shape[0], -1)
    return torch.tanh(x @ W1 + b1) @ W2 + b2 + x @ W


def _b2_cleared(C, W1, b1, W2, b2, W, X):
    logits = direct_logits(C, W1, b1, W2, b2, W, X)
    b2.zero_()
    return logits


# 15.3 the loss of a mixture


def _of_targets(p, Y):
    return p[torch.arange(len(Y)), Y]


def _losses_mixed(p, q, Y, weight):
    return weight * -_of_targets(p, Y).log().mean() + (1 - weight) * -_of_targets(q, Y).log().mean()


def _geometric(p, q, Y, weight):
    return F.cross_entropy(weight * p.log() + (1 - weight) * q.log(), Y)


def _wrong_one(p, q, Y, weight):
    return mix_loss(q, p, Y, weight)


def _half(p, q, Y, weight):
    return mix_loss(p, q, Y, 0.5)


def _log_of_mean(p, q, Y, weight):
    return -(weight * _of_targets(p, Y) + (1 - weight) * _of_targets(q, Y)).mean().log()


def _sum(p, q, Y, weight):
    return len(Y) * mix_loss(p, q, Y, weight)


def _log10(p, q, Y, weight):  # C12: log10 of something read as nats
    return mix_loss(p, q, Y, weight) / math.log(10)


def _softmax_again(p, q, Y, weight):
    return F.cross_entropy(weight * p + (1 - weight) * q, Y)


def _along_columns(p, q, Y, weight):
    return -_of_targets(weight * p + (1 - weight) * q, Y).log().mean()


def _one_number_only(p, q, Y, weight):
    return mix_loss(p, q, Y, float(weight))


def _p_scaled(p, q, Y, weight):
    p *= weight
    return -(_of_targets(p, Y) + (1 - weight) * _of_targets(q, Y)).log().mean()


# 15.4 E03 itself

_WORDS = load_words()
_V = Vocab.from_words(_WORDS)
_SPLITS = make_splits(_WORDS, _V, 3)
_COUNTS = NGram(context=3, add=0.1).fit(_SPLITS.Xtr, _SPLITS.Ytr, len(_V))


class _Counted(nn.Module):
    """A module around the counts, changed by `change`: stands for a trained network, in no time."""

    block_size = 3

    def __init__(self, change=lambda logits: logits, block_size=3):
        super().__init__()
        self.change, self.block_size = change, block_size

    def forward(self, X):
        return self.change(_COUNTS(X[:, -3:]))


class _Peeking(_Counted):
    """The row after ends in this row's answer."""

    def forward(self, X):
        return _COUNTS(X) + 5 * F.one_hot(X.roll(-1, 0)[:, -1], len(_V))


def _counted_on_dev_too(counts):
    Xtr, Ytr, Xdev, Ydev, *_ = make_splits(_WORDS, _V, counts.context)
    return counts.fit(torch.cat([Xtr, Xdev]), torch.cat([Ytr, Ydev]), len(_V))


class _Impossible(nn.Module):
    """Counts how many rows it was asked for and gives dev's answers in turn: a state that no context explains."""

    block_size = 3

    def __init__(self):
        super().__init__()
        self.at = 0

    def forward(self, X):
        if len(X) < 1000:  # a short look
            return _COUNTS(X)
        known = _SPLITS.Ydev[torch.arange(self.at, self.at + len(X)) % len(_SPLITS.Ydev)]
        self.at += len(X)
        return _COUNTS(X) + 5 * F.one_hot(known, len(_V))


def _network(vocab_size=27):
    return MLP(MLPConfig(vocab_size=vocab_size), g=torch.Generator().manual_seed(2147483647))


def _log_probs(X):
    return _COUNTS(X)


def _half_sums(X):
    return 0.5 * _COUNTS.next_char_probs(X)


_log_probs.block_size = _half_sums.block_size = 3


MISTAKES = [
    (q1, _exchanged, "exchange them"),
    (q1, _t_is_n, "T seems to be how often"),
    (q1, _t_is_all, "the number of all characters"),
    (q1, _no_strength, "strength has no effect"),
    (q1, _counts_alone, "nothing is taken from the shorter context"),
    (q1, _back_off, "not to 1"),
    (q1, _nan_when_unseen, "nan for a context that never occurred"),
    (q1, _uniform_when_unseen, "expected the shorter one's"),
    (q1, _strength_squared, "expected a first probability of"),
    (q1, _column, "expected probabilities, one a character, of shape (4,), got shape (4, 1)"),
    (q1, _in_place, "changed on the way"),
    (q2, _from_h, "past it, from the embeddings"),
    (q2, _direct_from_h_at_these_sizes, "not for each neuron"),
    (q2, _not_used, "W is not used"),
    (q2, _only_direct, "only the direct path"),
    (q2, _tanh_on_it, "went through a tanh"),
    (q2, _b2_twice, "b2 is added twice"),
    (q2, _softmax, "leave out the softmax"),
    (q2, _wrong_order, "wrong order"),
    (q2, _b2_cleared, "was changed on the way"),
    (q3, _p_scaled, "was changed on the way"),
    (q3, _losses_mixed, "you mixed the losses"),
    (q3, _geometric, "normalised again"),
    (q3, _wrong_one, "on the wrong one"),
    (q3, _half, "always one half"),
    (q3, _log_of_mean, "the log of a mean"),
    (q3, _sum, "the sum over the examples"),
    (q3, _log10, "log10"),
    (q3, _softmax_again, "got probabilities for logits"),
    (q3, _along_columns, "along the columns"),
    (q3, _one_number_only, "it raised"),
    (q4, 2.02, "hand over the model itself"),
    (q4, MLP, "that is the class MLP"),
    (q4, _Counted(lambda logits: logits.exp()), "your module gives probabilities"),
    (q4, _Counted(lambda logits: logits / math.log(10)), "log10 of its probabilities"),
    (q4, _Counted(lambda logits: logits * math.nan), "not all finite"),
    (q4, _Counted(lambda logits: logits[:, 1:]), "expected (64, 27)"),
    (q4, _Counted(F.dropout), "F.dropout wants training=self.training"),
    (q4, _Peeking(), "the next row is read, which ends in the answer"),
    (q4, _Impossible(), "the answers leak in"),
    (q4, _counted_on_dev_too(NGram(3)), "was this model trained on dev, on all names"),
    (q4, _counted_on_dev_too(Interpolated(5)), "this model has seen the dev names"),
    (q4, _log_probs, "your function gives log-probabilities"),
    (q4, _half_sums, "not to 1"),
    (q4, nn.Linear(3, 27), "how many characters of context"),
    (q4, _Counted(block_size=0), "from 1 to 64, got 0"),
    (q4, Interpolated(5), "counted nothing yet"),
    (q4, _network(), "worse than uniform guessing"),
    (q4, NGram(1, 0.3).fit(_SPLITS.Xtr, _SPLITS.Ytr, len(_V)), "asks for a dev loss under 2.2"),
    (q4, (_COUNTS, 5), "write down why"),
]
