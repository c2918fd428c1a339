"""Count models against plain counting and known losses; the entropy floor; mixtures; models that give probabilities."""

import math
import os
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words, make_splits, sample_words
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

WORDS = ["emma", "ava", "mae", "eva", "amma", "emma"]
VOCAB = Vocab.from_words(WORDS)
V = len(VOCAB)
X, Y = build_dataset(WORDS, VOCAB, block_size=8)
DEV_X, DEV_Y = build_dataset(["vava", "meme"], VOCAB, block_size=8)
LISTS = [
    pytest.param("lecture", marks=pytest.mark.skipif(
        not os.environ.get("MLP_LECTURE_NAMES"), reason="set MLP_LECTURE_NAMES to a copy of the lecture's names.txt")),
    None,
]  # fmt: skip


def network(block_size=3):
    return MLP(MLPConfig(V, block_size, 2, 10), g=torch.Generator().manual_seed(2147483647))


# ---- known figures ---------------------------------------------------------------------------------------------------

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
FLOORS = {"lecture": {3: 1.8691, 4: 1.5808, 8: 1.4123}, None: {3: 1.8690, 4: 1.5818, 8: 1.4130}}


@pytest.mark.parametrize("split", ["clean", "de-duplicated"])
@pytest.mark.parametrize("source", LISTS)
def test_count_models_reach_the_known_losses(source, split):
    words = load_words(source)
    words = list(dict.fromkeys(words)) if split == "de-duplicated" else words
    s = make_splits(words, Vocab.from_words(words), block_size=8)
    losses = [make().fit(s.Xtr, s.Ytr, 27).loss(s.Xdev, s.Ydev) for make in MODELS.values()]
    assert [round(loss, 4) for loss in losses] == FIGURES[source, split]
    if split == "clean":
        assert {k: round(entropy_floor(s.Xtr[:, 8 - k :], s.Ytr), 4) for k in FLOORS[source]} == FLOORS[source]


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
def test_ngram_equals_plain_counting(context):
    model = NGram(context, add=0.3).fit(DEV_X, DEV_Y, V).fit(X, Y, V)  # a second fit starts from zero
    n = counts(context)
    of_each = [[n[tuple(x[8 - context :]), c] for c in range(V)] for x in DEV_X.tolist()]
    expected = [[(k + 0.3) / (sum(of_x) + 0.3 * V) for k in of_x] for of_x in of_each]
    assert torch.allclose(model.next_char_probs(DEV_X), torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert model.n_parameters == len(n)


@pytest.mark.parametrize(("context", "strength"), [(0, 1), (2, 2), (5, 4), (8, 0.5)])
def test_interpolated_equals_its_formula(context, strength):
    model = Interpolated(context, strength).fit(X, Y, V)
    expected = [[by_hand(context, strength, x, c) for c in range(V)] for x in DEV_X.tolist()]
    assert torch.allclose(model.next_char_probs(DEV_X), torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert model.n_parameters == sum(len(counts(k)) for k in range(context + 1))


@pytest.mark.parametrize("make", [lambda: NGram(3), lambda: Interpolated(8)])
def test_count_model_works_where_a_network_does(make):
    model = make().fit(X, Y, V)
    of_targets = char_probs(model, DEV_X)[torch.arange(len(DEV_Y)), DEV_Y]
    assert torch.equal(target_probs(model, DEV_X, DEV_Y), of_targets)
    expected = -of_targets.log().mean().item()
    assert model.loss(DEV_X, DEV_Y) == pytest.approx(expected, abs=1e-12)
    assert eval_loss(model, DEV_X, DEV_Y) == pytest.approx(expected, abs=1e-12)
    assert torch.equal(char_probs(model, DEV_X), model.next_char_probs(DEV_X))
    assert len(sample_words(model, VOCAB, 3, g=torch.Generator().manual_seed(1))) == 3


def test_target_probs_raises_for_rows_that_are_not_probabilities():
    with pytest.raises(ValueError, match="NGram gave nan in row"):
        target_probs(NGram(5, add=0).fit(X, Y, V), DEV_X, DEV_Y)


def test_counts_work_with_2000_symbols_and_contexts_of_20():
    """More combinations than a 64-bit number can hold."""
    words = ["".join(chr(0x4E00 + 40 * k + j) for j in range(40)) for k in range(50)]
    vocab = Vocab.from_words(words)
    x, y = build_dataset(words, vocab, block_size=20)
    n = Interpolated(20, strength=1e-9).fit(x, y, len(vocab))
    assert n.loss(x, y) == pytest.approx(entropy_floor(x, y), abs=1e-6)
    assert NGram(20, add=1e-9).fit(x, y, len(vocab)).loss(x, y) == pytest.approx(entropy_floor(x, y), abs=1e-4)


@pytest.mark.parametrize("context", [1, 3, 8])
def test_entropy_floor_equals_its_formula(context):
    n = counts(context)
    pairs = [(tuple(x[8 - context :]), y) for x, y in zip(X.tolist(), Y.tolist(), strict=True)]
    floor = -sum(math.log(n[h, y] / sum(n[h, c] for c in range(V))) for h, y in pairs) / len(pairs)
    assert entropy_floor(X[:, 8 - context :], Y) == pytest.approx(floor, abs=1e-12)


# ---- mixtures --------------------------------------------------------------------------------------------------------


def test_mixture_of_a_network_and_counts_equals_its_formula():
    p, q = network(3), Interpolated(5).fit(X, Y, V)
    p_probs, q_probs = F.softmax(p(DEV_X[:, 5:]).detach().double(), dim=1), q.next_char_probs(DEV_X)
    p_y, q_y = (probs[torch.arange(len(DEV_Y)), DEV_Y] for probs in (p_probs, q_probs))
    for weight in (0, 0.25, 1.0, torch.linspace(0, 1, len(DEV_Y))):
        expected = -(weight * p_y + (1 - weight) * q_y).log().mean().item()
        assert mixture_loss(p, q, DEV_X, DEV_Y, weight) == pytest.approx(expected, abs=1e-7)
    model = Mixture(p, q, 0.25)
    assert torch.allclose(model(DEV_X).exp(), (0.25 * p_probs + 0.75 * q_probs).float(), atol=1e-6)
    assert model.block_size == 5
    assert not model(X).requires_grad


def test_best_weight_equals_the_result_of_em():
    words = load_words()[:800]
    s = make_splits(words, Vocab.from_words(load_words()), block_size=8)
    p, q = NGram(8, 0.01).fit(s.Xtr, s.Ytr, 27), NGram(1, 0.1).fit(s.Xtr, s.Ytr, 27)
    p_y, q_y = target_probs(p, s.Xdev, s.Ydev), target_probs(q, s.Xdev, s.Ydev)
    weight = 0.5
    for _ in range(500):  # EM: the new weight is the mean share of p in the mixture
        weight = (weight * p_y / (weight * p_y + (1 - weight) * q_y)).mean().item()
    assert 0.05 < weight < 0.95
    assert best_weight(p, q, s.Xdev, s.Ydev) == pytest.approx(weight, abs=1e-6)
    assert best_weight(q, p, s.Xdev, s.Ydev) == pytest.approx(1 - weight, abs=1e-6)


# ---- any model -------------------------------------------------------------------------------------------------------


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(8, V)

    def forward(self, X):
        return self.out(self.drop(X.float()))


def test_char_probs_uses_evaluation_mode_and_restores_the_mode():
    model, before = Dropping().train(), torch.get_rng_state()
    assert torch.equal(char_probs(model, DEV_X), char_probs(model, DEV_X))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert model.drop.training


def test_function_with_block_size_gets_that_many_characters():
    def even(X):
        assert X.shape[1] == 2
        return torch.full((len(X), V), 1 / V)

    even.block_size = 2
    assert mixture_loss(even, even, DEV_X, DEV_Y, 0.3) == pytest.approx(math.log(V), abs=1e-6)


def module(function):
    class Given(nn.Module):
        def forward(self, X):
            return function(X)

    return Given()


FITTED = NGram(1).fit(X, Y, V)
MISTAKES = {
    "not fitted": (lambda: NGram(2).loss(X, Y), "NGram has counted nothing yet: call fit(X, Y, vocab_size) first"),
    "short rows": (lambda: NGram(9).fit(X, Y, V), "X has 8 characters of context, but this model reads 9: build the"),
    "other vocabulary": (lambda: NGram(1).fit(X, Y, 4), "X or Y holds the index 4, but this model counts 4 symbols"),
    "other vocabulary later": (lambda: FITTED.next_char_probs(X - 1), "X or Y holds the index -1, but this model"),
    "percent": (lambda: mixture_loss(FITTED, FITTED, X, Y, 50), "weight must be from 0 to 1, got 50"),
    "not a model": (lambda: char_probs(7, X), "int is not a model: expected a torch.nn.Module that gives logits"),
    "a class": (lambda: char_probs(NGram, X), "NGram is not a model"),
    "every position": (lambda: char_probs(module(lambda X: torch.zeros(len(X), 8, V)), X[:3]),
                       "Given gave shape (3, 8, 5) for 3 contexts, expected (3, vocab_size): one row per context"),
    "two values": (lambda: char_probs(module(lambda X: (X, 1.0)), X[:3]), "Given gave tuple for 3 contexts"),
    "other symbols": (lambda: char_probs(FITTED, X[:3], vocab_size=27), "NGram gave shape (3, 5) for 3 contexts, exp"),
    "nan": (lambda: char_probs(module(lambda X: torch.full((len(X), V), math.nan)), X),
            "Given gave logits that are nan or infinite: its training blew up, train it again"),
    "logits": (lambda: char_probs(lambda X: torch.ones(len(X), V), X), "in each row, but row 0 ranges from 1 to 1 and "
               "sums to 5: divide each row by its sum"),
    "negative": (lambda: char_probs(lambda X: torch.tensor([[2.0, -1.0]]), X[:1]), "but row 0 ranges from -1 to 2"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    call, sentence = MISTAKES[mistake]
    with pytest.raises((TypeError, ValueError)) as info:
        call()
    assert sentence in str(info.value)
