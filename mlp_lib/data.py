"""Words to tensors: the symbols, the examples, the three splits.

    words = load_words()
    vocab = Vocab.from_words(words)
    Xtr, Ytr, Xdev, Ydev, Xte, Yte = make_splits(words, vocab, block_size=3)

Taught in: page 01 (the dataset) and page 07 (splits).
"""

import random
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mlp_lib.checks import BOUNDARY, checked, unknown_symbol


class Vocab:
    """The symbols of a word list: `stoi` maps a character to its index, `itos` maps it back; "." is 0.

    Raises ValueError for symbols that are not distinct single characters or that include ".".
    Source: lecture 00:09:03.

    >>> vocab = Vocab.from_words(["emma", "ava"])
    >>> vocab.stoi
    {'.': 0, 'a': 1, 'e': 2, 'm': 3, 'v': 4}
    >>> vocab.encode("ave."), vocab.decode([1, 4, 2, 0])
    ([1, 4, 2, 0], 'ave.')
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        symbols = [BOUNDARY, *symbols]
        if len(symbols) == 1 or len(set(symbols)) < len(symbols) or any(len(s) != 1 for s in symbols):
            raise ValueError(
                f"symbols must be distinct single characters, and {BOUNDARY!r} is added automatically: "
                f"got {symbols[1:]}"
            )
        self.stoi: dict[str, int] = {s: i for i, s in enumerate(symbols)}
        self.itos: dict[int, str] = dict(enumerate(symbols))

    @classmethod
    @checked
    def from_words(cls, words: list[str]) -> "Vocab":
        """The characters that occur in `words`, sorted, with "." before them."""
        return cls(sorted(set("".join(words))))

    def encode(self, text: str) -> list[int]:
        """The indices of the characters of `text`. Raises ValueError for a character that is not a symbol."""
        try:
            return [self.stoi[c] for c in text]
        except KeyError as error:
            raise unknown_symbol(error.args[0], text, self) from None

    def decode(self, indices: Iterable[int] | Tensor) -> str:
        """The characters of `indices`. Raises KeyError for an index without a symbol."""
        return "".join(self.itos[int(i)] for i in indices)

    def __len__(self) -> int:
        return len(self.stoi)

    def __repr__(self) -> str:
        return f"Vocab({''.join(self.stoi)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.stoi == other.stoi

    def __hash__(self) -> int:
        return hash(tuple(self.stoi))


@checked
def build_dataset(
    words: list[str], vocab: Vocab, block_size: int = 3
) -> tuple[Int[Tensor, "N {block_size}"], Int[Tensor, " N"]]:
    """Every example in `words`: X has the `block_size` preceding characters, Y the character that follows.

    Same rows, same order as the lecture's loop: word by word, character by character, the closing "." of each word
    included. So N is the number of characters plus the number of words.
    Raises ValueError for a character outside `vocab`. Source: lecture 00:09:03.

    >>> X, Y = build_dataset(["ava"], Vocab("av"), block_size=2)
    >>> X.tolist(), Y.tolist()
    ([[0, 0], [0, 1], [1, 2], [2, 1]], [1, 2, 1, 0])
    """
    # One long row of symbols, with block_size boundaries before each word and one after it. Every example is a window
    # of block_size + 1 symbols; the windows that end inside the padding are not examples.
    pad = BOUNDARY * block_size
    row = torch.from_numpy(np.array(vocab.encode("".join(pad + w + BOUNDARY for w in words)), dtype=np.int64))
    lengths = torch.tensor([len(w) + 1 for w in words])
    in_turn = torch.stack([torch.full_like(lengths, block_size), lengths], dim=1).flatten()
    is_target = torch.tensor([False, True]).repeat(len(words)).repeat_interleave(in_turn)
    windows = row.unfold(0, block_size + 1, 1)[is_target[block_size:]]  # (N, block_size + 1)
    return windows[:, :block_size].contiguous(), windows[:, block_size].contiguous()


class Splits(NamedTuple):
    """The three splits: X (N, block_size) and Y (N,) for training, development and test."""

    Xtr: Tensor
    Ytr: Tensor
    Xdev: Tensor
    Ydev: Tensor
    Xte: Tensor
    Yte: Tensor


@checked
def split_words(words: list[str], *, seed: int = 42) -> tuple[list[str], list[str], list[str]]:
    """Shuffle once, then split: 80 % to train on, 10 % to choose with (dev), 10 % to report (test).

    A copy is shuffled with `random.Random(seed)`, so calling twice gives the same split. (The lecture's cell shuffles
    `words` in place and gives a different split each time it is run.) Source: lecture 00:53:20.

    >>> [len(part) for part in split_words([str(n) for n in range(50)])]
    [40, 5, 5]
    """
    shuffled = list(words)
    random.Random(int(seed)).shuffle(shuffled)
    n1 = int(0.8 * len(shuffled))
    n2 = int(0.9 * len(shuffled))
    return shuffled[:n1], shuffled[n1:n2], shuffled[n2:]


@checked
def make_splits(words: list[str], vocab: Vocab, block_size: int = 3, *, seed: int = 42) -> Splits:
    """The examples of `split_words(words, seed=seed)` as six tensors. Source: lecture 00:53:20.

    >>> from mlp_lib import load_words
    >>> words = load_words()
    >>> splits = make_splits(words, Vocab.from_words(words))
    >>> splits.Xtr.shape[0] > 7 * splits.Xdev.shape[0]
    True
    """
    parts = split_words(words, seed=seed)
    return Splits(*(t for part in parts for t in build_dataset(part, vocab, block_size)))


def distinct_contexts(X: Int[Tensor, "N block_size"]) -> tuple[Int[Tensor, "M block_size"], Int[Tensor, " N"]]:
    """The distinct rows of X, sorted, and the index of each row of X among them.

    >>> distinct_contexts(torch.tensor([[5, 1], [0, 2], [5, 1]]))
    (tensor([[0, 2],
            [5, 1]]), tensor([1, 0, 1]))
    """
    symbols = int(X.max()) + 1 if len(X) else 1
    if symbols ** X.shape[1] > torch.iinfo(torch.int64).max:
        return X.unique(dim=0, return_inverse=True)
    # Sorting contexts as numbers, their indices as digits, is much faster than column by column.
    place = symbols ** torch.arange(X.shape[1] - 1, -1, -1, device=X.device)
    numbers, which = (X * place).sum(1).unique(return_inverse=True)
    return numbers[:, None] // place % symbols, which
