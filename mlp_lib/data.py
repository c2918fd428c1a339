"""Words to tensors: the list, its symbols, the examples, the three splits.

Taught in: notebook 01 (the dataset) and notebook 07 (splits).
"""

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BOUNDARY = "."  # starts and ends every word; always symbol 0


class Vocab:
    """The symbols of a word list: `stoi` maps a character to its index, `itos` maps it back; "." is 0.

    Raises ValueError for symbols that are not distinct single characters or that include ".".
    Source: lecture 00:09:03. Taught in: notebook 01.

    >>> vocab = Vocab.from_words(["emma", "ava"])
    >>> vocab.stoi
    {'.': 0, 'a': 1, 'e': 2, 'm': 3, 'v': 4}
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        symbols = list(symbols)
        for s in symbols:
            if not isinstance(s, str) or len(s) != 1:
                raise ValueError(f"each symbol must be one character, got {s!r}")
        if BOUNDARY in symbols:
            raise ValueError(f"the symbols include {BOUNDARY!r}, which is added as symbol 0 by itself: leave it out")
        if len(set(symbols)) != len(symbols):
            twice = next(s for s in symbols if symbols.count(s) > 1)
            raise ValueError(f"the symbol {twice!r} is listed twice: list each once")
        if not symbols:
            raise ValueError("a vocabulary needs at least one symbol besides '.', got none")
        self.stoi: dict[str, int] = {s: i for i, s in enumerate([BOUNDARY, *symbols])}
        self.itos: dict[int, str] = {i: s for s, i in self.stoi.items()}

    @classmethod
    def from_words(cls, words: Iterable[str]) -> "Vocab":
        """The characters that occur in `words`, sorted, with "." before them.

        Raises TypeError if `words` is anything but several str, ValueError if it holds no character.
        """
        words = _check_words(words)
        symbols = sorted(set("".join(words)))
        if not symbols:
            raise ValueError(
                f"cannot build a vocabulary from {len(words)} words without a character: load some words first"
            )
        return cls(symbols)

    def __len__(self) -> int:
        return len(self.stoi)

    def __repr__(self) -> str:
        return f"Vocab({''.join(self.stoi)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.stoi == other.stoi

    def __hash__(self) -> int:
        return hash(tuple(self.stoi))

    def encode(self, text: str) -> list[int]:
        """The indices of the characters of `text`. Raises ValueError for a character that is no symbol.

        >>> Vocab("abc").encode("cab.")
        [3, 1, 2, 0]
        """
        try:
            return [self.stoi[c] for c in text]
        except KeyError as error:
            raise ValueError(self._unknown(error.args[0], text)) from None

    def decode(self, indices: Iterable[int] | Tensor) -> str:
        """The characters of `indices`. Raises ValueError for an index without a symbol.

        >>> Vocab("abc").decode([3, 1, 2, 0])
        'cab.'
        """
        indices = [int(i) for i in indices]
        for i in indices:
            if i not in self.itos:
                raise ValueError(f"index {i} has no symbol: this vocabulary has {len(self)}, from 0 to {len(self) - 1}")
        return "".join(self.itos[i] for i in indices)

    def _unknown(self, c: str, text: str) -> str:
        return (
            f"the character {c!r} in {text[:40]!r} is not among the {len(self)} symbols {''.join(self.stoi)!r}: "
            "use only these, or build the vocabulary from a list that has it"
        )


def _check_words(words: Iterable[str]) -> list[str]:
    """The words as a list of our own: a generator could be gone through only once."""
    if isinstance(words, str):
        raise TypeError(f"words must be a list of str, got one str {words[:20]!r}: write [{words[:20]!r}]")
    if not isinstance(words, Iterable):
        raise TypeError(f"words must be a list of str, got {type(words).__name__}: load_words() gives one")
    words = list(words)
    for w in words:
        if not isinstance(w, str):
            raise TypeError(f"words must hold str only, got {w!r}")
    return words


def build_dataset(
    words: Iterable[str], vocab: Vocab, block_size: int = 3, *, dtype: torch.dtype = torch.int64
) -> tuple[Tensor, Tensor]:
    """Every example of `words`: X (N, block_size), the characters before; Y (N,), the character that follows.

    The rows and their order are those of the lecture's loop: word after word, character after character, the closing
    "." of each word included, so N is the number of characters plus the number of words. `dtype` may be a smaller
    integer type to save memory on very long lists; the training loop widens each batch.

    Raises ValueError for a character outside `vocab`, a `block_size` below 1, no words, or a `dtype` too small for
    the vocabulary, TypeError for a `vocab` that is no Vocab. Source: lecture 00:09:03. Taught in: notebook 01.

    >>> X, Y = build_dataset(["ava"], Vocab("av"), block_size=2)
    >>> X.tolist(), Y.tolist()
    ([[0, 0], [0, 1], [1, 2], [2, 1]], [1, 2, 1, 0])
    """
    words = _check_words(words)
    check_vocab(vocab)
    check_count("block_size", block_size)
    if len(words) == 0:
        raise ValueError("cannot build a dataset from an empty list: load some words first")
    if dtype not in _NUMPY_TYPES:
        raise ValueError(f"dtype must be an integer type of torch, such as torch.int64, got {dtype}")
    if len(vocab) - 1 > torch.iinfo(dtype).max:
        raise ValueError(
            f"{dtype} holds no index above {torch.iinfo(dtype).max}, but the vocabulary has {len(vocab)} symbols"
        )

    # One long row of symbols: before each word block_size boundaries, after it one. Then every example is a window of
    # block_size + 1 symbols, and the windows that end inside the padding are no examples.
    pad = BOUNDARY * block_size
    row = _encode(pad + (BOUNDARY + pad).join(words) + BOUNDARY, words, vocab).astype(_NUMPY_TYPES[dtype])
    lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    starts = np.cumsum(lengths + block_size + 1) - (lengths + block_size + 1)
    is_example = np.ones(len(row), dtype=bool)
    for k in range(block_size):
        is_example[starts + k] = False
    ends = np.flatnonzero(is_example)
    X = np.empty((len(ends), block_size), dtype=row.dtype)
    for k in range(block_size):
        X[:, k] = row[ends - (block_size - k)]
    return torch.from_numpy(X), torch.from_numpy(row[ends])


_NUMPY_TYPES = {
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.int16: np.int16,
    torch.int8: np.int8,
    torch.uint8: np.uint8,
}


def _encode(text: str, words: Sequence[str], vocab: Vocab) -> np.ndarray:
    """The index of each character of `text`, through one table lookup; a character without one is named."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    table = np.full(int(max(codes.max(), max(map(ord, vocab.stoi)))) + 1, -1, dtype=np.int32)
    for s, i in vocab.stoi.items():
        table[ord(s)] = i
    indices = table[codes]
    if indices.min() < 0 or any(BOUNDARY in w for w in words):
        for w in words:
            if BOUNDARY in w:
                raise ValueError(
                    f"the word {w!r} holds {BOUNDARY!r}, which marks the start and end of a word: remove it"
                )
            vocab.encode(w)  # names the character and the word
    return indices


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raise TypeError or ValueError with one sentence unless `value` is a whole number of at least `least`.

    >>> check_count("steps", 100)
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def check_vocab(vocab: Vocab) -> None:
    """Raise TypeError with one sentence unless `vocab` is a Vocab; the lecture's `stoi` is often handed in.

    >>> check_vocab({".": 0, "a": 1})
    Traceback (most recent call last):
    ...
    TypeError: vocab must be a Vocab, got dict: make one with Vocab.from_words(words)
    """
    if not isinstance(vocab, Vocab):
        raise TypeError(f"vocab must be a Vocab, got {type(vocab).__name__}: make one with Vocab.from_words(words)")


class Splits(NamedTuple):
    """The three splits as tensors: X (N, block_size) and Y (N,) for training, development and test."""

    Xtr: Tensor
    Ytr: Tensor
    Xdev: Tensor
    Ydev: Tensor
    Xte: Tensor
    Yte: Tensor


def split_words(words: Iterable[str], *, seed: int = 42) -> tuple[list[str], list[str], list[str]]:
    """80 % of the words to train on, 10 % to choose with (dev), 10 % to report with (test), after one shuffle.

    A copy is shuffled with `random.Random(seed)`, so calling twice gives the same split (the lecture's cell shuffles
    `words` in place and gives another split each time it is run). Draws from no global generator.

    Raises ValueError if a split would be empty, which is so below 6 words, TypeError if `seed` is no whole number.
    Source: lecture 00:53:20. Taught in: notebook 07.

    >>> [len(part) for part in split_words([str(n) for n in range(50)])]
    [40, 5, 5]
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be a whole number, got {seed!r}: with another one every call splits in another way")
    seed = int(seed)  # random.Random takes no NumPy integer
    shuffled = _check_words(words)
    random.Random(seed).shuffle(shuffled)
    n1 = int(0.8 * len(shuffled))
    n2 = int(0.9 * len(shuffled))
    parts = shuffled[:n1], shuffled[n1:n2], shuffled[n2:]
    if not all(parts):
        raise ValueError(f"{len(shuffled)} words are too few to split 80/10/10 with none empty: give at least 6")
    return parts


def make_splits(words: Iterable[str], vocab: Vocab, block_size: int = 3, *, seed: int = 42) -> Splits:
    """The examples of `split_words(words, seed=seed)` as six tensors.

    Raises what `split_words` and `build_dataset` raise. Source: lecture 00:53:20. Taught in: notebook 07.

    >>> from mlp_lib import load_words
    >>> words = load_words()
    >>> splits = make_splits(words, Vocab.from_words(words))
    >>> splits.Xtr.shape[0] > 7 * splits.Xdev.shape[0]
    True
    """
    train, dev, test = split_words(words, seed=seed)
    return Splits(
        *build_dataset(train, vocab, block_size),
        *build_dataset(dev, vocab, block_size),
        *build_dataset(test, vocab, block_size),
    )
