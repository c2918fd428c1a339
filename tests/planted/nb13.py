"""The mistakes that learners make in notebook 13, each with a phrase of the message it must get."""

import functools
import math

import torch
from torch import nn

from mlp_lib.course.exercises.nb13 import q1, q2, q3, q4
from mlp_lib.data import Vocab, build_dataset, split_words
from mlp_lib.lab.counts import Interpolated, NGram
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.words import load_words

# 13.1 rates drawn by their exponent


def _uniform(n, low, high, g):
    return low + (high - low) * torch.rand(n, generator=g)


def _exponents(n, low, high, g):
    a, b = math.log10(low), math.log10(high)
    return a + (b - a) * torch.rand(n, generator=g)


def _global_generator(n, low, high, g):
    return low * (high / low) ** torch.rand(n)


def _own_generator(n, low, high, g):
    own = torch.Generator().manual_seed(1)
    return low * (high / low) ** torch.rand(n, generator=own)


def _seeded_inside(n, low, high, g):
    return low * (high / low) ** torch.rand(n, generator=g.manual_seed(1))


def _grid(n, low, high, g):
    return torch.logspace(math.log10(low), math.log10(high), n)


def _whole_powers(n, low, high, g):
    return 10.0 ** torch.randint(round(math.log10(low)), round(math.log10(high)) + 1, (n,), generator=g)


def _fixed_ends(n, low, high, g):
    return 10 ** (-3 + 4 * torch.rand(n, generator=g))


def _exp_of_log10(n, low, high, g):
    return _exponents(n, low, high, g).exp()


def _ten_to_ln(n, low, high, g):
    return low * 10 ** (math.log(high / low) * torch.rand(n, generator=g))


def _bell(n, low, high, g):
    a, b = math.log10(low), math.log10(high)
    share = (torch.rand(n, generator=g) + torch.rand(n, generator=g)) / 2
    return 10 ** (a + (b - a) * share)


def _one(n, low, high, g):
    return _uniform(1, low, high, g)


def _shuffled_grid(n, low, high, g):
    return _grid(n, low, high, g)[torch.randperm(n, generator=g)]


def _log_of_negative(n, low, high, g):
    return torch.log(torch.rand(n, generator=g) - 0.5)


# 13.3 a winner that may be reported


def _row(search, again):
    return search.nan_to_num(math.inf).argsort()[again.mean(1).argmin()].item()


def _first_winner(search, again):
    return search.nan_to_num(math.inf).argmin().item(), again[0].mean().item()


def _blown_up(search, again):
    k = search.argmin().item()
    return k, search[k].item()


def _single_lowest(search, again):
    row = again.min(1).values.argmin()
    return search.nan_to_num(math.inf).argsort()[row].item(), again.min().item()


def _sorts_in_place(search, again):
    right = q3.solve(search, again)
    again.copy_(again.sort().values)
    return right


def _row_number(search, again):
    mean = again.mean(1)
    return mean.argmin().item(), mean.min().item()


def _reports_search(search, again):
    k = _row(search, again)
    return k, search[k].item()


def _reports_best(search, again):
    return _row(search, again), again[again.mean(1).argmin()].min().item()


def _reports_all(search, again):
    k, row = _row(search, again), again[again.mean(1).argmin()]
    return k, torch.cat([search[k : k + 1], row]).mean().item()


# 13.4, E01. Models that take no training: the checks look at what a model says, not at how it learned it.


def _network(**sizes):
    return MLP(MLPConfig(**sizes), g=torch.Generator().manual_seed(2147483647))


def _nan():
    model = _network()
    model.b2.data[0] = math.nan
    return model


class _Says(nn.Module):
    """Whatever `logits(X)` says."""

    def __init__(self, logits, block_size=3):
        super().__init__()
        self.logits, self.block_size = logits, block_size

    def forward(self, X):
        return self.logits(X)


@functools.cache
def _counted(*parts, context=5):
    """Counts of some parts of the words: a quick way to have trained on what should not be trained on."""
    words = load_words()
    vocab = Vocab.from_words(words)
    split = dict(zip(("train", "dev", "test"), split_words(words), strict=True))
    X, Y = build_dataset([word for part in parts for word in split[part]], vocab, context)
    return Interpolated(context).fit(X, Y, len(vocab))


def _bigram():
    words = load_words()
    vocab = Vocab.from_words(words)
    return NGram(1).fit(*build_dataset(split_words(words)[0], vocab), len(vocab))


class _Leaks(nn.Module):
    """Reads the answers off the order of the rows."""

    block_size = 3

    def __init__(self):
        super().__init__()
        words = load_words()
        self.dev = build_dataset(split_words(words)[1], Vocab.from_words(words))

    def forward(self, X):
        Xdev, Ydev = self.dev
        for x, y in zip(Xdev.split(2**14), Ydev.split(2**14), strict=True):
            if torch.equal(X, x):
                return 9.0 * nn.functional.one_hot(y, 27)
        return torch.zeros(len(X), 27)


class _BatchStatistics(nn.Module):
    block_size = 3

    def __init__(self):
        super().__init__()
        self.network = _network()

    def forward(self, X):
        logits = self.network(X)
        return logits - logits.mean(0)


MISTAKES = [
    (q1, _uniform, "hardly one below 0.01"),
    (q1, _exponents, "these are exponents"),
    (q1, _global_generator, "global generator"),
    (q1, _own_generator, "g has not moved"),
    (q1, _seeded_inside, "seeded anew inside"),
    (q1, _grid, "that is a grid"),
    (q1, _whole_powers, "what lies between powers of ten never comes"),
    (q1, _fixed_ends, "low and high count"),
    (q1, _ten_to_ln, "outside of what was asked for"),
    (q1, _exp_of_log10, "where each is to get a quarter"),
    (q1, _bell, "where each is to get a quarter"),
    (q1, _one, "got 1 numbers"),
    (q1, _shuffled_grid, "a shuffled grid"),
    (q1, _log_of_negative, "some are nan or inf"),
    (q2, 20, "36 %"),
    (q2, 19, "cannot be divided"),
    (q2, 58, "just under 95 %"),
    (q2, 60, "one more than needed"),
    (q2, 14, "about as often as it hits"),
    (q2, 58.4, "the whole number above it"),
    (q2, 95, "a share in per cent"),
    (q2, 40, "all miss with probability 0.129"),
    (q3, _first_winner, "won the search with one run"),
    (q3, _blown_up, "nan counts as the lowest"),
    (q3, _single_lowest, "has the lowest single run"),
    (q3, _row_number, "is the row of `again`"),
    (q3, _reports_search, "the winner's curse"),
    (q3, _reports_best, "the luckiest of"),
    (q3, _reports_all, "among the new ones"),
    (q3, lambda search, again: 1, "expected a number of a configuration and a loss"),
    (q3, _sorts_in_place, "have been changed"),
    (q4, _bigram(), "The exercise asks for a dev loss under 2.2"),
    (q4, _network(), "worse than uniform guessing"),
    (q4, (_network(), 3), "the reason for opening the test set"),
    (q4, MLP, "is a class"),
    (q4, 2.07, "hand over the model itself"),
    (q4, [p.detach() for p in _network().tensors()], "MLP.from_tensors"),
    (q4, lambda X: X, "a torch.nn.Module that gives logits"),
    (q4, nn.Linear(3, 27), "how many characters of context"),
    (q4, _network(vocab_size=61), "this model has 61 symbols"),
    (q4, _Says(lambda X: torch.zeros(len(X), 30)), "expected (64, 27)"),
    (q4, _Says(lambda X: nn.functional.embedding(X[:, -1], torch.zeros(20, 27))), "knows fewer symbols"),
    (q4, _Says(lambda X: torch.zeros(27)), "one row a context"),
    (q4, _nan(), "not all finite"),
    (q4, _Says(lambda X: torch.full((len(X), 27), 1 / 27)), "your module gives probabilities"),
    (q4, _Says(lambda X: nn.functional.dropout(9 * torch.eye(27)[X[:, -1]])), "F.dropout wants training=self.training"),
    (q4, _Says(lambda X: X, block_size=2.5), "a whole number from 1 to 64, got 2.5"),
    (q4, _BatchStatistics(), "change with the rows beside it"),
    (q4, _counted("dev"), "this model has seen the dev names"),
    (q4, _counted("train", "dev", context=3), "is hardly above train"),
    (q4, _counted("dev", context=3), "lies below train"),
    (q4, _Leaks(), "below the entropy of dev itself"),
]
