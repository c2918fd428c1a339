"""Sampling against models whose probabilities are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, next_char_probs, sample_words
from mlp_lib.sample import _TOGETHER, _distinct

VOCAB = Vocab("ab")


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


class Fake(nn.Module):
    """Gives the same probabilities whatever it reads, or those of `table[last symbol]`."""

    block_size = 2

    def __init__(self, *rows):
        super().__init__()
        self.register_buffer("table", torch.tensor(rows).log())

    def forward(self, X):
        return self.table[X[:, -1] if len(self.table) > 1 else torch.zeros_like(X[:, -1])]


EVEN = Fake([0.5, 0.3, 0.2])
# after the boundary a or b; after a always b; after b the end
CHAIN = Fake([0.0, 0.25, 0.75], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])


@pytest.mark.parametrize("batched", [False, True])
def test_frequencies_are_the_models(batched):
    n = 4000
    words = sample_words(EVEN, VOCAB, n=n, batched=batched, g=generator())
    letters = "".join(words)
    # ends are drawn n times; every draw is independent, so each count is within five standard deviations
    draws = len(letters) + n
    for symbol, p in (("a", 0.3), ("b", 0.2)):
        assert abs(letters.count(symbol) - p * draws) < 5 * math.sqrt(draws * p * (1 - p))
    assert abs(words.count("") - 0.5 * n) < 5 * math.sqrt(n * 0.25)


def test_more_words_than_are_drawn_at_once():
    n = _TOGETHER + 500
    words = sample_words(EVEN, VOCAB, n=n, batched=True, g=generator())
    assert len(words) == n
    ended_at_once = sum(word == "" for word in words) / n
    assert ended_at_once == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / n))


@pytest.mark.parametrize(("vocab_size", "block_size"), [(27, 3), (2, 62), (27, 13), (27, 14), (2, 64)])
def test_the_model_is_asked_once_for_each_context(vocab_size, block_size):
    """Contexts are told apart as numbers where an int64 holds them; where it does not, every row is asked."""
    X = torch.randint(0, vocab_size, (50, block_size), generator=generator())
    X[0], X[1] = 0, vocab_size - 1
    X = X.repeat(2, 1)
    contexts, which = _distinct(X, vocab_size)
    assert torch.equal(contexts[which], X)
    assert len(contexts) == (len(X.unique(dim=0)) if vocab_size**block_size < 2**63 else len(X))


@pytest.mark.parametrize("batched", [False, True])
def test_the_window_slides(batched):
    words = sample_words(CHAIN, VOCAB, n=400, batched=batched, g=generator())
    assert set(words) == {"ab", "b"}
    assert abs(words.count("ab") - 100) < 5 * math.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize("batched", [False, True])
def test_same_generator_same_words(batched):
    model = MLP(MLPConfig(vocab_size=3, n_hidden=5), g=generator())
    draw = [sample_words(model, VOCAB, n=30, batched=batched, g=generator(s)) for s in (5, 5, 6)]
    assert draw[0] == draw[1] != draw[2]


@pytest.mark.parametrize("batched", [False, True])
def test_sampling_leaves_the_model_and_the_global_generator_alone(batched):
    model = MLP(MLPConfig(vocab_size=3, n_hidden=5), g=generator())
    before = [p.clone() for p in model.tensors()]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    sample_words(model, VOCAB, n=5, batched=batched, g=generator())
    next_char_probs(model, VOCAB, "ab")
    assert all(torch.equal(a, b) for a, b in zip(before, model.tensors(), strict=True))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batched", [False, True])
def test_prefix(batched):
    words = sample_words(CHAIN, VOCAB, n=5, prefix="aba", batched=batched, g=generator())
    assert words == ["abab"] * 5


@pytest.mark.parametrize("batched", [False, True])
def test_temperature(batched):
    cold = sample_words(EVEN, VOCAB, n=300, temperature=0.01, batched=batched, g=generator())
    assert set(cold) == {""}
    hot = sample_words(EVEN, VOCAB, n=2000, temperature=1000.0, batched=batched, g=generator())
    assert abs(hot.count("") / 2000 - 1 / 3) < 0.06


@pytest.mark.parametrize("batched", [False, True])
def test_a_word_that_does_not_end_is_cut_and_told(batched):
    never = Fake([0.0, 1.0, 0.0])
    with pytest.warns(UserWarning, match="did not end") as caught:
        words = sample_words(never, VOCAB, n=3, max_len=7, batched=batched, g=generator())
    assert words == ["aaaaaaa"] * 3
    assert str(caught[0].message) == (
        "3 of 3 words did not end within max_len=7 characters and were cut: "
        "is the model trained, and was symbol 0 the end of a word in its data?"
    )
    assert caught[0].filename == __file__


@pytest.mark.parametrize("batched", [False, True])
def test_no_words(batched):
    assert sample_words(EVEN, VOCAB, n=0, batched=batched, g=generator()) == []


def test_next_char_probs_reads_the_end_of_the_context():
    assert next_char_probs(CHAIN, VOCAB).tolist() == pytest.approx([0.0, 0.25, 0.75])
    assert next_char_probs(CHAIN, VOCAB, "bbba").tolist() == [0.0, 0.0, 1.0]
    warm = next_char_probs(EVEN, VOCAB, temperature=2.0)
    expected = torch.tensor([0.5, 0.3, 0.2]).sqrt()
    assert torch.allclose(warm, expected / expected.sum())


MODEL = MLP(MLPConfig(vocab_size=3, n_hidden=5), g=generator())


@pytest.mark.parametrize("half", [torch.tensor(0.5), torch.tensor([0.5]), np.float32(0.5)])
def test_a_temperature_may_be_any_one_number(half):
    assert torch.equal(next_char_probs(EVEN, VOCAB, temperature=half), next_char_probs(EVEN, VOCAB, temperature=0.5))
    words = [sample_words(EVEN, VOCAB, n=20, temperature=t, g=generator()) for t in (half, 0.5)]
    assert words[0] == words[1]


def test_the_lowest_temperature_there_is():
    assert next_char_probs(EVEN, VOCAB, temperature=1.2e-38).tolist() == [1.0, 0.0, 0.0]


def test_a_model_whose_sizes_come_from_numpy():
    model = MLP(MLPConfig(vocab_size=3, block_size=np.int64(2), n_hidden=5), g=generator())
    assert len(sample_words(model, VOCAB, n=2, g=generator())) == 2


BLOWN = MLP(MLPConfig(vocab_size=3, n_hidden=5), g=generator())
BLOWN.W2.data.fill_(math.nan)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: sample_words(MODEL, VOCAB, temperature=0, g=generator()),
            ValueError,
            "temperature must be above 0, got 0: near 0 the likeliest character always wins",
        ),
        (
            lambda: next_char_probs(MODEL, VOCAB, temperature=math.nan),
            ValueError,
            "temperature must be above 0, got nan: near 0 the likeliest character always wins",
        ),
        (
            lambda: next_char_probs(MODEL, VOCAB, temperature=math.inf),
            ValueError,
            "temperature must be finite, got inf: at 1000 all are as good as alike",
        ),
        (
            lambda: sample_words(MODEL, {"a": 1}, g=generator()),
            TypeError,
            "vocab must be a Vocab, got dict: make one with Vocab.from_words(words)",
        ),
        (
            lambda: next_char_probs(MODEL, VOCAB, temperature=1e-50),
            ValueError,
            "temperature must be at least 1.2e-38, got 1e-50: float32 cannot divide by less",
        ),
        (
            lambda: next_char_probs(MODEL, VOCAB, temperature=torch.ones(2)),
            TypeError,
            "temperature must be a number above 0, got tensor([1., 1.])",
        ),
        (
            lambda: sample_words(MODEL, VOCAB, temperature=None, g=generator()),
            TypeError,
            "temperature must be a number above 0, got None",
        ),
        (
            lambda: sample_words(MODEL, VOCAB, prefix="abc", g=generator()),
            ValueError,
            "the character 'c' in 'abc' is not among the 3 symbols '.ab': "
            "use only these, or build the vocabulary from a list that has it",
        ),
        (
            lambda: sample_words(MODEL, VOCAB, prefix="a.b", g=generator()),
            ValueError,
            "prefix 'a.b' holds '.', which ends a word: leave it out",
        ),
        (
            lambda: sample_words(MODEL, VOCAB, prefix="aaa", max_len=3, g=generator()),
            ValueError,
            "prefix has 3 characters and max_len is 3: nothing is left to draw",
        ),
        (lambda: sample_words(MODEL, VOCAB, n=-1, g=generator()), ValueError, "n must be at least 0, got -1"),
        (
            lambda: sample_words(MODEL, Vocab("abc"), g=generator()),
            ValueError,
            "the vocabulary has 4 symbols but this model was built with vocab_size=3: "
            "use the vocabulary that the model was trained with",
        ),
        (
            lambda: sample_words(EVEN, Vocab("abc"), g=generator()),
            ValueError,
            "the model gives logits of shape (1, 3), but the vocabulary has 4 symbols: "
            "use the vocabulary that the model was trained with",
        ),
        (
            lambda: sample_words(BLOWN, VOCAB, g=generator()),
            ValueError,
            "the model gives logits that are not finite (nan or inf): its training blew up, train it anew",
        ),
        (
            lambda: sample_words(nn.Linear(1, 1), VOCAB, g=generator()),
            TypeError,
            "model must have block_size, the characters it reads: got Linear without it",
        ),
        (
            lambda: sample_words(MODEL, VOCAB, g=None),
            TypeError,
            "g must be a torch.Generator, such as torch.Generator().manual_seed(2147483647), got None",
        ),
    ],
)
def test_refusals(call, error, sentence):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == sentence
