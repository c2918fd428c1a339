"""Sampling from models with known probabilities; `test_properties.py` tries random models, lengths and prefixes."""

import math

import pytest
import torch
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, next_char_probs, sample_words

VOCAB = Vocab("ab")
both_ways = pytest.mark.parametrize("batched", [False, True], ids=["in turn", "batched"])


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


class Fake(nn.Module):
    """Gives the same probabilities for every context, or with several rows those of `table[last symbol]`."""

    block_size = 2

    def __init__(self, *rows):
        super().__init__()
        self.register_buffer("table", torch.tensor(rows).log())

    def forward(self, X):
        return self.table[X[:, -1] if len(self.table) > 1 else torch.zeros_like(X[:, -1])]


EVEN = Fake([0.5, 0.3, 0.2])
# after the boundary a or b; after a always b; after b the end
CHAIN = Fake([0.0, 0.25, 0.75], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])


@both_ways
def test_symbol_frequencies_match_the_model(batched):
    n = 12_000 if batched else 4000  # more than are sampled at once
    words = sample_words(EVEN, VOCAB, n=n, batched=batched, g=generator())
    assert len(words) == n
    letters = "".join(words)
    # ends are drawn n times; every draw is independent, so each count is within five standard deviations
    draws = len(letters) + n
    for symbol, p in (("a", 0.3), ("b", 0.2)):
        assert abs(letters.count(symbol) - p * draws) < 5 * math.sqrt(draws * p * (1 - p))
    assert abs(words.count("") - 0.5 * n) < 5 * math.sqrt(n * 0.25)


@both_ways
def test_window_starts_with_the_prefix_and_slides(batched):
    words = sample_words(CHAIN, VOCAB, n=400, batched=batched, g=generator())
    assert set(words) == {"ab", "b"}
    assert abs(words.count("ab") - 100) < 5 * math.sqrt(400 * 0.25 * 0.75)
    assert sample_words(CHAIN, VOCAB, n=5, prefix="aba", batched=batched, g=generator()) == ["abab"] * 5
    assert sample_words(CHAIN, VOCAB, n=0, batched=batched, g=generator()) == []


def test_batched_calls_the_model_once_per_context():
    asked = []
    model = Fake([0.5, 0.3, 0.2])
    model.register_forward_pre_hook(lambda _, X: asked.append(X[0]))
    sample_words(model, VOCAB, n=1000, batched=True, g=generator())
    assert all(len(X) == len(X.unique(dim=0)) for X in asked)
    assert [len(X) for X in asked[1:5]] == [1, 2, 4, 4]  # after the check's call: contexts of no symbol, one, two, two


@both_ways
def test_sampling_changes_neither_the_model_nor_the_global_generator(batched):
    model, before = (MLP(MLPConfig(vocab_size=3, n_hidden=5), g=generator()) for _ in range(2))
    state = torch.get_rng_state()
    sample_words(model, VOCAB, n=5, batched=batched, g=generator())
    next_char_probs(model, VOCAB, "ab")
    assert all(map(torch.equal, before.tensors(), model.tensors()))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


@both_ways
def test_temperature_sharpens_or_flattens_the_distribution(batched):
    def words(temperature, n=300):
        return sample_words(EVEN, VOCAB, n=n, temperature=temperature, batched=batched, g=generator())

    assert set(words(0.01)) == {""}
    assert abs(words(1000.0, n=2000).count("") / 2000 - 1 / 3) < 0.06
    assert words(torch.tensor([0.5])) == words(0.5)


@both_ways
def test_words_that_do_not_end_are_cut_with_a_warning(batched):
    never = Fake([0.0, 1.0, 0.0])
    with pytest.warns(UserWarning, match="did not end") as caught:
        words = sample_words(never, VOCAB, n=3, max_len=7, batched=batched, g=generator())
    assert words == ["aaaaaaa"] * 3
    assert str(caught[0].message) == (
        "3 of 3 words did not end within max_len=7 characters and were cut: "
        "is the model trained, and was symbol 0 the end of a word in its data?"
    )
    assert caught[0].filename == __file__


def test_next_char_probs_depend_on_context_and_temperature():
    assert next_char_probs(CHAIN, VOCAB).tolist() == pytest.approx([0.0, 0.25, 0.75])
    assert next_char_probs(CHAIN, VOCAB, "bbba").tolist() == [0.0, 0.0, 1.0]
    warm = next_char_probs(EVEN, VOCAB, temperature=2.0)
    expected = torch.tensor([0.5, 0.3, 0.2]).sqrt()
    assert torch.allclose(warm, expected / expected.sum())
    large = Fake([1.0])
    large.table = torch.tensor([[1e10, 0.0, -1e10]])
    assert next_char_probs(large, VOCAB, temperature=1e-29).tolist() == [1.0, 0.0, 0.0]


def test_sampling_from_a_diverged_model_raises_ValueError():
    model = MLP(MLPConfig(vocab_size=3, n_hidden=5), g=generator())
    model.W2.data.fill_(math.nan)
    with pytest.raises(ValueError) as caught:
        sample_words(model, VOCAB, g=generator())
    assert str(caught.value) == (
        "the model gives logits that are nan or infinite: its training blew up, train it again"
    )  # fmt: skip
