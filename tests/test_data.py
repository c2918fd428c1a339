"""Words to tensors: what is handled, what is refused and how."""

import numpy as np
import pytest
import torch

from mlp_lib import Vocab, build_dataset, load_words, make_splits, split_words

# --- Vocab ----------------------------------------------------------------------------------------------------------


def test_encode_and_decode_undo_each_other():
    vocab = Vocab.from_words(["zoë", "emma"])
    assert vocab.decode(vocab.encode("zoë.")) == "zoë."
    assert vocab.decode(torch.tensor([0, 1])) == ".a"
    assert len(vocab) == 7
    assert vocab == Vocab("aemozë")
    assert vocab != Vocab("aemoz")
    assert repr(vocab) == "Vocab('.aemozë')"
    assert hash(vocab) == hash(Vocab("aemozë"))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: Vocab(["a", "bc"]), ValueError, "each symbol must be one character, got 'bc'"),
        (
            lambda: Vocab("a."),
            ValueError,
            "the symbols include '.', which is added as symbol 0 by itself: leave it out",
        ),
        (lambda: Vocab("aba"), ValueError, "the symbol 'a' is listed twice: list each once"),
        (lambda: Vocab(""), ValueError, "a vocabulary needs at least one symbol besides '.', got none"),
        (
            lambda: Vocab.from_words([]),
            ValueError,
            "cannot build a vocabulary from 0 words without a character: load some words first",
        ),
        (
            lambda: Vocab.from_words("emma"),
            TypeError,
            "words must be a list of str, got one str 'emma': write ['emma']",
        ),
        (lambda: Vocab.from_words(["a", 3]), TypeError, "words must hold str only, got 3"),
        (
            lambda: Vocab("ab").encode("abc"),
            ValueError,
            "the character 'c' in 'abc' is not among the 3 symbols '.ab': "
            "use only these, or build the vocabulary from a list that has it",
        ),
        (lambda: Vocab("ab").decode([0, 3]), ValueError, "index 3 has no symbol: this vocabulary has 3, from 0 to 2"),
    ],
)
def test_vocab_refuses(call, error, sentence):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == sentence


# --- build_dataset --------------------------------------------------------------------------------------------------


def test_one_word_worked_out():
    X, Y = build_dataset(["emma"], Vocab("aem"))
    assert X.tolist() == [[0, 0, 0], [0, 0, 2], [0, 2, 3], [2, 3, 3], [3, 3, 1]]
    assert Y.tolist() == [2, 3, 3, 1, 0]


def test_an_empty_word_gives_the_row_that_the_lectures_loop_gives():
    X, Y = build_dataset(["", "a"], Vocab("a"), block_size=2)
    assert X.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert Y.tolist() == [0, 1, 0]


def test_characters_beyond_ascii():
    words = ["αβ", "β𝄞", "é"]
    vocab = Vocab.from_words(words)
    X, Y = build_dataset(words, vocab, block_size=1)
    assert "".join(vocab.decode(Y)) == "αβ.β𝄞.é."
    assert "".join(vocab.decode(X[:, 0])) == ".αβ.β𝄞.é"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_a_smaller_dtype_holds_the_same_indices(dtype):
    words = load_words()[:100]
    vocab = Vocab.from_words(words)
    wide, narrow = build_dataset(words, vocab), build_dataset(words, vocab, dtype=dtype)
    assert all(n.dtype == dtype and torch.equal(w, n.long()) for w, n in zip(wide, narrow, strict=True))


def test_the_words_are_not_changed():
    words = ["emma", "olivia"]
    build_dataset(words, Vocab.from_words(words))
    assert words == ["emma", "olivia"]


VOCAB = Vocab("aem")


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: build_dataset(["emma"], VOCAB, 0), ValueError, "block_size must be at least 1, got 0"),
        (lambda: build_dataset(["emma"], VOCAB, -3), ValueError, "block_size must be at least 1, got -3"),
        (lambda: build_dataset(["emma"], VOCAB, 2.0), TypeError, "block_size must be a whole number, got 2.0"),
        (lambda: build_dataset(["emma"], VOCAB, True), TypeError, "block_size must be a whole number, got True"),
        (
            lambda: build_dataset([], VOCAB),
            ValueError,
            "cannot build a dataset from an empty list: load some words first",
        ),
        (
            lambda: build_dataset("emma", VOCAB),
            TypeError,
            "words must be a list of str, got one str 'emma': write ['emma']",
        ),
        (
            lambda: build_dataset(None, VOCAB),
            TypeError,
            "words must be a list of str, got NoneType: load_words() gives one",
        ),
        (
            lambda: build_dataset(["emma", "ämma"], VOCAB),
            ValueError,
            "the character 'ä' in 'ämma' is not among the 4 symbols '.aem': "
            "use only these, or build the vocabulary from a list that has it",
        ),
        (
            lambda: build_dataset(["emma", "e.m"], VOCAB),
            ValueError,
            "the word 'e.m' holds '.', which marks the start and end of a word: remove it",
        ),
        (
            lambda: build_dataset(["emma"], VOCAB, dtype=torch.float32),
            ValueError,
            "dtype must be an integer type of torch, such as torch.int64, got torch.float32",
        ),
        (
            lambda: build_dataset(["Ā"], Vocab(map(chr, range(256, 512))), dtype=torch.uint8),
            ValueError,
            "torch.uint8 holds no index above 255, but the vocabulary has 257 symbols",
        ),
    ],
)
def test_build_dataset_refuses(call, error, sentence):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == sentence


# --- splits ---------------------------------------------------------------------------------------------------------


def test_split_is_the_same_every_time_and_leaves_the_list_and_the_global_generator_alone():
    import random

    words = load_words()
    before, state = list(words), random.getstate()
    first, second = split_words(words), split_words(words)
    assert first == second
    assert words == before
    assert random.getstate() == state
    assert [len(part) for part in first] == [25_742, 3_218, 3_218]
    assert sorted([*first[0], *first[1], *first[2]]) == sorted(words)
    assert split_words(words, seed=43) != first


def test_words_may_come_from_a_generator():
    words = ["emma", "ava", "mae", "eva", "amma", "mav"]
    vocab = Vocab.from_words(w for w in words)
    assert vocab == Vocab.from_words(words)
    for got, due in zip(build_dataset((w for w in words), vocab), build_dataset(words, vocab), strict=True):
        assert torch.equal(got, due)
    assert split_words(w for w in words) == split_words(words)


def test_a_seed_is_a_whole_number():
    words = load_words()[:100]
    assert split_words(words, seed=np.int64(-3)) == split_words(words, seed=-3)
    for seed in (None, 1.0, "42", True):
        with pytest.raises(TypeError) as caught:
            make_splits(words, Vocab.from_words(words), seed=seed)
        assert str(caught.value) == (
            f"seed must be a whole number, got {seed!r}: with another one every call splits in another way"
        )


def test_split_sizes_at_the_smallest():
    assert [len(part) for part in split_words(list("abcdef"))] == [4, 1, 1]


@pytest.mark.parametrize("n", range(6))
def test_too_few_words_to_split(n):
    words = [chr(97 + k) for k in range(n)]
    with pytest.raises(ValueError) as caught:
        make_splits(words, Vocab("abcdefghij"))
    assert str(caught.value) == f"{n} words are too few to split 80/10/10 with none empty: give at least 6"
