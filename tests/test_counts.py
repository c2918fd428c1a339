"""Count models against plain counting, the lecture's file and the bundled list; mixtures; what is refused."""

import math
import os
import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words, make_splits
from mlp_lib import next_char_probs as next_char_probs_of
from mlp_lib.lab import counts as counts_module
from mlp_lib.lab.counts import (
    Interpolated,
    Mixture,
    NGram,
    best_weight,
    char_probs,
    entropy_floor,
    mixture_loss,
    target_probs,
)  # fmt: skip
from mlp_lib.lab.ladder import TestVault

WORDS = ["emma", "ava", "mae", "eva", "amma", "emma"]
VOCAB = Vocab.from_words(WORDS)
V = len(VOCAB)
X, Y = build_dataset(WORDS, VOCAB, block_size=8)
DEV_X, DEV_Y = build_dataset(["vava", "meme"], VOCAB, block_size=8)
lectures = pytest.mark.skipif(
    not os.environ.get("MLP_LECTURE_NAMES"), reason="set MLP_LECTURE_NAMES to a copy of the lecture's names.txt"
)


def generator(seed=2147483647):
    return torch.Generator().manual_seed(seed)


def network(block_size=3):
    return MLP(MLPConfig(V, block_size, 2, 10), g=generator())


# ---- the figures -----------------------------------------------------------------------------------------------------

MODELS = {
    "bigram": lambda: NGram(1, add=0.3), "trigram": lambda: NGram(2, add=0.1), "4-gram": lambda: NGram(3, add=0.1),
    "context 3": lambda: Interpolated(3, strength=2), "context 4": lambda: Interpolated(4, strength=4),
    "context 5": lambda: Interpolated(5, strength=4),
}  # fmt: skip
FIGURES = {
    ("lecture", "clean"): [2.4530, 2.2225, 2.1018, 2.0653, 1.9939, 1.9844],
    ("lecture", "de-duplicated"): [2.4537, 2.2273, 2.1165, 2.0749, 2.0130, 2.0134],
    (None, "clean"): [2.4601, 2.2284, 2.1051, 2.0680, 1.9925, 1.9792],
    (None, "de-duplicated"): [2.4631, 2.2408, 2.1304, 2.0909, 2.0283, 2.0264],
}
FLOORS = {
    ("lecture", "clean"): {3: 1.8691, 4: 1.5808, 8: 1.4123},
    (None, "clean"): {3: 1.8690, 4: 1.5818, 8: 1.4130},
}
LISTS = [pytest.param("lecture", marks=lectures), None]


@pytest.fixture(scope="module")
def split_of():
    made = {}

    def splits(source, split):
        if (source, split) not in made:
            words = load_words(source)
            words = list(dict.fromkeys(words)) if split == "de-duplicated" else words
            made[source, split] = make_splits(words, Vocab.from_words(words), block_size=8)
        return made[source, split]

    return splits


@pytest.mark.parametrize("split", ["clean", "de-duplicated"])
@pytest.mark.parametrize("source", LISTS)
def test_dev_losses_to_four_digits_in_under_two_seconds(split_of, source, split):
    s = split_of(source, split)
    for (name, make), expected in zip(MODELS.items(), FIGURES[source, split], strict=True):
        start = time.thread_time()  # what this thread computed, whoever else is on the machine
        loss = make().fit(s.Xtr, s.Ytr, 27).loss(s.Xdev, s.Ydev)
        assert round(loss, 4) == expected, name
        assert time.thread_time() - start < 2


@pytest.mark.parametrize("source", LISTS)
def test_entropy_floors(split_of, source):
    s = split_of(source, "clean")
    for context, expected in FLOORS[source, "clean"].items():
        assert round(entropy_floor(s.Xtr[:, 8 - context :], s.Ytr), 4) == expected


# ---- against plain counting ------------------------------------------------------------------------------------------


def counts(context):
    return Counter((tuple(x[8 - context :]), y) for x, y in zip(X.tolist(), Y.tolist(), strict=True))


def by_hand(context, strength, x, c):
    """The recursion of the docstring, one example at a time."""
    if context < 0:
        return 1 / V
    n = {d: k for (h, d), k in counts(context).items() if h == tuple(x[8 - context :])}
    lower = by_hand(context - 1, strength, x, c)
    if not n:
        return lower
    return (n.get(c, 0) + strength * len(n) * lower) / (sum(n.values()) + strength * len(n))


@pytest.mark.parametrize("context", [0, 1, 2, 8])
def test_ngram_is_plain_counting(context):
    model = NGram(context, add=0.3).fit(X, Y, V)
    n = counts(context)
    probs = model.next_char_probs(DEV_X)
    for x, row in zip(DEV_X.tolist(), probs.tolist(), strict=True):
        of_x = [n[tuple(x[8 - context :]), c] for c in range(V)]
        assert row == pytest.approx([(k + 0.3) / (sum(of_x) + 0.3 * V) for k in of_x], abs=1e-12)
    assert model.n_parameters == len(n)


@pytest.mark.parametrize(("context", "strength"), [(0, 1), (2, 2), (5, 4), (8, 0.5)])
def test_interpolated_is_its_formula(context, strength):
    model = Interpolated(context, strength).fit(X, Y, V)
    expected = [[by_hand(context, strength, x, c) for c in range(V)] for x in DEV_X.tolist()]
    assert torch.allclose(model.next_char_probs(DEV_X), torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert model.n_parameters == sum(len(counts(k)) for k in range(context + 1))


@pytest.mark.parametrize("make", [lambda: NGram(3), lambda: Interpolated(8)])
def test_every_way_to_the_loss_gives_the_same(make):
    model = make().fit(X, Y, V)
    probs = model.next_char_probs(DEV_X)
    assert torch.allclose(probs.sum(1), torch.ones(len(DEV_X), dtype=torch.float64), atol=1e-12)
    assert (probs > 0).all()
    loss = -probs[torch.arange(len(DEV_Y)), DEV_Y].log().mean().item()
    assert model.loss(DEV_X, DEV_Y) == pytest.approx(loss, abs=1e-12)
    assert eval_loss(model, DEV_X, DEV_Y) == pytest.approx(loss, abs=1e-12)
    assert torch.allclose(char_probs(model, DEV_X), probs)


def test_any_width_and_integer_type_will_do():
    wide = Interpolated(3).fit(X, Y, V).loss(DEV_X, DEV_Y)
    narrow = Interpolated(3).fit(X[:, 5:].to(torch.uint8), Y.to(torch.int8), V)
    assert narrow.loss(DEV_X[:, 5:].to(torch.int16), DEV_Y.to(torch.uint8)) == wide


def test_fitting_again_counts_anew_and_changes_no_input():
    model, before = NGram(2).fit(DEV_X, DEV_Y, V), (X.clone(), Y.clone())
    assert model.fit(X, Y, V) is model
    assert model.loss(DEV_X, DEV_Y) == NGram(2).fit(X, Y, V).loss(DEV_X, DEV_Y)
    assert torch.equal(X, before[0])
    assert torch.equal(Y, before[1])


def test_the_longest_context_of_27_symbols_still_counts():
    x, y = build_dataset(["zzzzzzzzzzzzzzz", "zzzzzzzzzzzzzza"], Vocab("abcdefghijklmnopqrstuvwxyz"), block_size=12)
    assert NGram(12, add=1e-9).fit(x, y, 27).loss(x, y) == pytest.approx(entropy_floor(x, y), abs=1e-6)


@pytest.mark.parametrize("context", [1, 3, 8])
def test_no_model_comes_below_the_floor_of_its_examples(context):
    x = X[:, 8 - context :]
    n = counts(context)
    share = [n[h, y] / sum(n[h, c] for c in range(V)) for h, y in zip(map(tuple, x.tolist()), Y.tolist(), strict=True)]
    floor = -sum(map(math.log, share)) / len(share)
    assert entropy_floor(x, Y) == pytest.approx(floor, abs=1e-12)
    assert NGram(context, add=1e-9).fit(X, Y, V).loss(X, Y) == pytest.approx(floor, abs=1e-6)
    assert NGram(context, add=0.1).fit(X, Y, V).loss(X, Y) > floor


# ---- a count model is a model ----------------------------------------------------------------------------------------


def test_sampling_draws_from_the_generator_handed_in():
    model = Interpolated(3, strength=0.1).fit(X, Y, V)
    before = torch.get_rng_state()
    words = model.sample(VOCAB, 50, g=generator(1))
    assert words == model.sample(VOCAB, 50, g=generator(1)) != model.sample(VOCAB, 50, g=generator(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(set(words) & set(WORDS)) >= 3
    assert all(word.startswith("em") for word in model.sample(VOCAB, 5, prefix="em", batched=True, g=generator(1)))
    assert NGram(0, add=0.1).fit(X, Y, V).sample(VOCAB, 3, g=generator(1))


def test_the_librarys_functions_take_a_count_model(tmp_path):
    model = NGram(2, add=0.1).fit(X, Y, V)
    probs = next_char_probs_of(model, VOCAB, "em")
    assert torch.allclose(probs, model.next_char_probs(torch.tensor([VOCAB.encode("em")]))[0])
    vault = TestVault(DEV_X, DEV_Y, path=tmp_path / "ladder.sqlite")
    assert vault.loss(model, reason="to try") == pytest.approx(model.loss(DEV_X, DEV_Y), abs=1e-12)


def test_repr_says_what_it_is():
    assert repr(NGram(2, add=0.3)) == "NGram(context=2, add=0.3, not fitted)"
    assert repr(NGram(2, add=np.float32(0.5))) == "NGram(context=2, add=0.5, not fitted)"
    assert repr(Interpolated(1).fit(X, Y, V)) == f"Interpolated(context=1, strength=4, {V + len(counts(1))} counts)"


# ---- mixtures --------------------------------------------------------------------------------------------------------


def test_a_mixture_of_a_network_and_counts():
    p, q = network(3), Interpolated(5).fit(X, Y, V)
    p_probs, q_probs = F.softmax(p(DEV_X[:, 5:]).detach().double(), dim=1), q.next_char_probs(DEV_X)
    rows = torch.arange(len(DEV_Y))
    for weight in (0, 0.25, 1.0):
        mixed = weight * p_probs + (1 - weight) * q_probs
        expected = -mixed[rows, DEV_Y].log().mean().item()
        assert mixture_loss(p, q, DEV_X, DEV_Y, weight) == pytest.approx(expected, abs=1e-9)
        model = Mixture(p, q, weight)
        assert torch.allclose(model(DEV_X).exp(), mixed, atol=1e-9)
        assert eval_loss(model, DEV_X, DEV_Y) == pytest.approx(expected, abs=1e-9)
    assert mixture_loss(p, q, DEV_X, DEV_Y, 1) == pytest.approx(eval_loss(p, DEV_X[:, 5:], DEV_Y), abs=1e-6)
    assert mixture_loss(p, q, DEV_X, DEV_Y, 0) == pytest.approx(q.loss(DEV_X, DEV_Y), abs=1e-12)


def test_a_weight_for_each_example():
    p, q = network(3), NGram(2).fit(X, Y, V)
    weight = torch.linspace(0, 1, len(DEV_Y))
    mixed = weight.double() * target_probs(p, DEV_X, DEV_Y) + (1 - weight.double()) * target_probs(q, DEV_X, DEV_Y)
    assert mixture_loss(p, q, DEV_X, DEV_Y, weight) == pytest.approx(-mixed.log().mean().item(), abs=1e-12)


@pytest.mark.parametrize(("p", "q"), [(NGram(8, 0.01), NGram(1, 0.1)), (NGram(1, 0.1), NGram(8, 0.01))])
def test_the_best_weight_is_the_best_and_what_em_finds(p, q):
    words = load_words()[:800]
    s = make_splits(words, Vocab.from_words(load_words()), block_size=8)
    p, q = p.fit(s.Xtr, s.Ytr, 27), q.fit(s.Xtr, s.Ytr, 27)
    best = best_weight(p, q, s.Xdev, s.Ydev)
    weight = 0.5
    p_y, q_y = target_probs(p, s.Xdev, s.Ydev), target_probs(q, s.Xdev, s.Ydev)
    for _ in range(500):  # EM: the mean share that p has in the mixture
        weight = (weight * p_y / (weight * p_y + (1 - weight) * q_y)).mean().item()
    assert best == pytest.approx(weight, abs=1e-6)
    assert 0.05 < best < 0.95
    lowest = mixture_loss(p, q, s.Xdev, s.Ydev, best)
    assert lowest < min(p.loss(s.Xdev, s.Ydev), q.loss(s.Xdev, s.Ydev))
    assert all(lowest <= mixture_loss(p, q, s.Xdev, s.Ydev, best + d) for d in (-0.02, 0.02))


def test_the_best_weight_may_be_all_or_nothing():
    good, bad = NGram(2).fit(DEV_X, DEV_Y, V), NGram(0).fit(X, Y, V)
    assert best_weight(good, bad, DEV_X, DEV_Y) == pytest.approx(1, abs=1e-9)
    assert best_weight(bad, good, DEV_X, DEV_Y) == pytest.approx(0, abs=1e-9)


def test_a_mixture_is_sampled_and_only_looks():
    p = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, V))
    mixture = Mixture(lambda X: F.softmax(p(X.float()), dim=1), network(3), 0.5)
    assert mixture.block_size == 3
    mixture = Mixture(network(3), Interpolated(5).fit(X, Y, V), 0.5)
    assert mixture.block_size == 5
    from mlp_lib import sample_words

    words = sample_words(mixture, VOCAB, 5, g=generator(1))
    assert words == sample_words(mixture, VOCAB, 5, g=generator(1))
    assert not mixture(X).requires_grad


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(8, V)

    def forward(self, X):
        return self.out(self.drop(X.float()))


def test_a_module_is_looked_at_in_evaluation_mode_and_left_as_it_was():
    model = Dropping().train()
    before = torch.get_rng_state()
    first = char_probs(model, DEV_X)
    assert torch.equal(first, char_probs(model, DEV_X))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert model.drop.training
    assert not first.requires_grad


def test_a_function_and_an_object_with_probabilities_are_models():
    half = torch.full((len(DEV_X), V), 1 / V)
    assert torch.allclose(char_probs(lambda X: half, DEV_X), half.double())

    class Learned:
        block_size = 2

        def next_char_probs(self, X):
            assert X.shape[1] == 2
            return torch.full((len(X), V), 1 / V)

    assert mixture_loss(Learned(), lambda X: half, DEV_X, DEV_Y, 0.3) == pytest.approx(math.log(V), abs=1e-6)


class OnMPS(torch.Tensor):
    """A tensor of Apple's MPS as far as it matters here: it knows no float64 before it is on the CPU."""

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64")

    def to(self, *arguments, **more):
        return self.double() if torch.float64 in arguments else super().to(*arguments, **more)


def test_a_device_without_float64_is_left_first():
    logits = torch.tensor([[0.0, 1.0]])
    (probs,) = char_probs(module(lambda X: logits.as_subclass(OnMPS)), X[:1])
    assert torch.equal(probs, logits[0].double().softmax(0))
    (again,) = char_probs(lambda X: probs[None].float().as_subclass(OnMPS), X[:1])
    assert type(again) is torch.Tensor
    assert again.dtype == torch.float64


def test_a_mixture_on_a_device_without_float64_gives_float32(monkeypatch):
    asked = []

    def to(t, *arguments):
        asked.append(arguments)
        return t

    mixture = Mixture(lambda X: torch.full((len(X), V), 1 / V), lambda X: torch.full((len(X), V), 1 / V), 0.5)
    assert mixture(X[:2]).dtype == torch.float64
    monkeypatch.setattr(counts_module, "device_of", lambda model: torch.device("mps"))
    monkeypatch.setattr(torch.Tensor, "to", to)
    mixture(X[:2])
    assert asked == [(torch.device("mps"), torch.float32)]


def test_a_context_from_numpy_is_a_context():
    pairs = ((NGram(np.int64(2)), np.int64(V)), (NGram(2), V))
    drawn = [model.fit(X, Y, size).sample(VOCAB, n=3, g=generator()) for model, size in pairs]
    assert drawn[0] == drawn[1]


# ---- bad input: one sentence each ------------------------------------------------------------------------------------


def module(function):
    class Given(nn.Module):
        def forward(self, X):
            return function(X)

    return Given()


FITTED = NGram(1).fit(X, Y, V)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: NGram(-1), ValueError, "context must be at least 0, got -1"),
        (lambda: NGram(1.5), TypeError, "context must be a whole number, got 1.5"),
        (
            lambda: NGram(1, add=0),
            ValueError,
            "add must be a finite number above 0, got 0: a character that never followed would get probability 0 and "
            "an infinite loss",
        ),
        (lambda: NGram(1, add="a"), TypeError, "add must be a number, got 'a'"),
        (
            lambda: Interpolated(2, strength=math.nan),
            ValueError,
            "strength must be a finite number above 0, got nan: at 0 the shorter contexts would never be asked",
        ),
        (
            lambda: NGram(2).loss(X, Y),
            ValueError,
            "this NGram has counted nothing yet: call fit(X, Y, vocab_size) first",
        ),
        (
            lambda: Interpolated(2).sample(VOCAB, g=generator()),
            ValueError,
            "this Interpolated has counted nothing yet: call fit(X, Y, vocab_size) first",
        ),
        (
            lambda: NGram(9).fit(X, Y, V),
            ValueError,
            f"X has shape ({len(X)}, 8) but this model reads 9 characters of context: build the dataset with "
            "block_size=9 or more",
        ),
        (
            lambda: NGram(13).fit(X, Y, 27),
            ValueError,
            "13 characters of context and 27 symbols make more combinations than a 64-bit number can tell apart: use "
            "at most 12 characters of context",
        ),
        (
            lambda: entropy_floor(X.repeat(1, 8), Y),
            ValueError,
            "64 characters of context and 5 symbols make more combinations than a 64-bit number can tell apart: use "
            "at most 26 characters of context",
        ),
        (
            lambda: NGram(1).fit(X, Y, 4),
            ValueError,
            "X holds the index 4 but there are 4 symbols, from 0 to 3: use the vocabulary that the examples were "
            "built with",
        ),
        (
            lambda: FITTED.loss(X, torch.full_like(Y, 7)),
            ValueError,
            "Y holds the index 7 but there are 5 symbols, from 0 to 4: use the vocabulary that the examples were "
            "built with",
        ),
        (
            lambda: FITTED.next_char_probs(X - 1),
            ValueError,
            "X holds the index -1 but there are 5 symbols, from 0 to 4: use the vocabulary that the examples were "
            "built with",
        ),
        (
            lambda: FITTED.next_char_probs(X.float()),
            TypeError,
            "X must hold integer indices, got torch.float32: build it with build_dataset",
        ),
        (lambda: FITTED.next_char_probs([[0]]), TypeError, "X must be a torch.Tensor, got list"),
        (lambda: FITTED.fit(X, Y[1:], V), ValueError, f"X has {len(X)} rows but Y has {len(X) - 1}: take both from the "
         "same build_dataset call"),
        (
            lambda: mixture_loss(FITTED, FITTED, X, Y, 1.5),
            ValueError,
            "weight must be from 0 to 1, got 1.5",
        ),
        (lambda: mixture_loss(FITTED, FITTED, X, Y, torch.tensor(math.nan)), ValueError,
         "weight must be from 0 to 1, got nan"),
        (lambda: mixture_loss(FITTED, FITTED, X, Y, "half"), TypeError,
         "weight must be a number from 0 to 1 or a tensor of them, got 'half'"),
        (
            lambda: mixture_loss(FITTED, FITTED, X, Y, torch.ones(3)),
            ValueError,
            f"weight has shape (3,): give one number, or one for each of {len(X)} examples",
        ),
        (
            lambda: Mixture(FITTED, FITTED, torch.ones(3)),
            TypeError,
            "weight must be one number, got a tensor of shape (3,)",
        ),
        (
            lambda: mixture_loss(FITTED, NGram(1).fit(X, Y, 9), X, Y, 0.5),
            ValueError,
            "one model gives probabilities for 5 symbols and the other for 9: mix models of one vocabulary",
        ),
        (
            lambda: Mixture(FITTED, NGram(1).fit(X, Y, 9), 0.5)(X),
            ValueError,
            "one model gives probabilities for 5 symbols and the other for 9: mix models of one vocabulary",
        ),
        (
            lambda: char_probs(7, X),
            TypeError,
            "a model must be a torch.nn.Module that gives logits, have next_char_probs(X), or be a function from X to "
            "probabilities, got int",
        ),
        (lambda: char_probs(NGram, X), TypeError, "model is the class NGram: make one first, such as NGram(...)"),
        (
            lambda: char_probs(module(lambda X: torch.zeros(len(X), 8, V)), X),
            ValueError,
            f"the Given gave values of shape ({len(X)}, 8, 5) for {len(X)} contexts, expected ({len(X)}, vocab_size): "
            "one row a context, one column a symbol",
        ),
        (
            lambda: char_probs(FITTED, X, vocab_size=27),
            ValueError,
            f"the NGram gave values of shape ({len(X)}, 5) for {len(X)} contexts, expected ({len(X)}, 27): one row a "
            "context, one column a symbol",
        ),
        (lambda: char_probs(module(lambda X: torch.zeros(len(X), V)), X[0]), ValueError,
         "X must have two dimensions, (examples, block_size), got shape (8,)"),
        (lambda: char_probs(module(lambda X: torch.zeros(len(X), V)), X.float()), TypeError,
         "X must hold integer indices, got torch.float32: build it with build_dataset"),
        (lambda: char_probs(FITTED, [[0, 0]]), TypeError,
         "X must be a torch.Tensor, got list: write torch.tensor(X)"),
        (lambda: char_probs(module(lambda X: None), X), TypeError,
         "the Given gave NoneType where a tensor of shape (B, vocab_size) is due"),
        (
            lambda: char_probs(module(lambda X: torch.full((len(X), V), math.nan)), X),
            ValueError,
            "the Given gave logits that are not finite (nan or inf) for context 0: its training blew up, train it anew",
        ),
        (
            lambda: char_probs(lambda X: torch.ones(len(X), V), X),
            ValueError,
            "the function <lambda> gave probabilities that sum to 5 for context 0, not to 1: divide each row by its "
            "sum (logits go through a softmax only if they come from a torch.nn.Module)",
        ),
        (
            lambda: char_probs(lambda X: torch.tensor([[2.0, -1.0]]).expand(len(X), 2), X),
            ValueError,
            "the function <lambda> gave the probability -1, and none may be below 0",
        ),
    ],
)  # fmt: skip
def test_refusals(call, error, sentence):
    with pytest.raises(error) as info:
        call()
    assert str(info.value) == sentence


def test_a_weight_may_be_any_kind_of_number():
    p, q = NGram(1).fit(X, Y, V), NGram(2).fit(X, Y, V)
    losses = {mixture_loss(p, q, DEV_X, DEV_Y, weight=w) for w in (0.5, np.float32(0.5), Fraction(1, 2))}
    assert len(losses) == 1
