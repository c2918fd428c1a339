"""Words to tensors, on small examples; `test_properties.py` compares random ones with the lecture's loop."""

import numpy as np
import pytest
import torch

from mlp_lib import Vocab, build_dataset, load_words, split_words
from mlp_lib.data import distinct_contexts


def test_encode_and_decode_are_inverse():
    vocab = Vocab.from_words(["zoë", "emma"])
    assert vocab.decode(vocab.encode("zoë.")) == "zoë."
    assert vocab.decode(torch.tensor([0, 1])) == ".a"
    assert len(vocab) == 7
    assert vocab == Vocab("aemozë") != Vocab("aemoz")
    assert hash(vocab) == hash(Vocab("aemozë"))
    assert repr(vocab) == "Vocab('.aemozë')"


def test_dataset_of_one_word():
    X, Y = build_dataset(["emma"], Vocab("aem"))
    assert X.tolist() == [[0, 0, 0], [0, 0, 2], [0, 2, 3], [2, 3, 3], [3, 3, 1]]
    assert Y.tolist() == [2, 3, 3, 1, 0]


def test_empty_word_gives_one_row():
    X, Y = build_dataset(["", "a"], Vocab("a"), block_size=2)
    assert X.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert Y.tolist() == [0, 1, 0]


def test_non_ascii_characters_are_encoded():
    words = ["αβ", "β𝄞", "é"]
    vocab = Vocab.from_words(words)
    X, Y = build_dataset(words, vocab, block_size=1)
    assert vocab.decode(Y) == "αβ.β𝄞.é."
    assert vocab.decode(X[:, 0]) == ".αβ.β𝄞.é"


def test_split_of_the_bundled_list():
    words = load_words()
    parts = split_words(words)
    assert [len(part) for part in parts] == [25_742, 3_218, 3_218]
    assert split_words(words, seed=43) != parts
    assert split_words(words, seed=np.int64(42)) == parts
    assert [len(part) for part in split_words(list("abcdef"))] == [4, 1, 1]


@pytest.mark.parametrize(("vocab_size", "block_size"), [(27, 3), (2, 62), (27, 13), (27, 14), (2, 64)])
def test_distinct_contexts(vocab_size, block_size):
    """Contexts are compared as numbers where an int64 holds them, and column by column where it does not."""
    X = torch.randint(0, vocab_size, (50, block_size), generator=torch.Generator().manual_seed(1))
    X[0], X[1] = 0, vocab_size - 1
    X = X.repeat(2, 1)
    contexts, which = distinct_contexts(X)
    assert torch.equal(contexts, X.unique(dim=0))
    assert torch.equal(contexts[which], X)
    assert distinct_contexts(X[:0])[0].shape == (0, block_size)
