"""Characters out: the probabilities of the next one, and whole words.

Taught in: notebook 12.
"""

import math
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.data import BOUNDARY, Vocab, check_count, check_vocab
from mlp_lib.model import check_generator, device_of, eval_mode

_TOGETHER = 10_000  # words drawn at once


def next_char_probs(model: nn.Module, vocab: Vocab, context: str = "", *, temperature: float = 1.0) -> Tensor:
    """The model's probabilities (vocab_size,) for the character that follows `context`.

    Only the last `model.block_size` characters count; a shorter context is filled with "." from the left, as at the
    start of a word. Draws nothing. `temperature` divides the logits.

    Raises ValueError for a character outside `vocab`, a temperature that is not above 0, a model of another vocabulary,
    or a model whose logits are not finite; TypeError for a temperature that is no number.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(vocab_size=4), g=torch.Generator().manual_seed(2147483647))
    >>> next_char_probs(model, Vocab("abc"), "ab").sum().item()
    1.0
    """
    temperature = _check_sampling(model, vocab, temperature)
    indices = [0] * model.block_size + vocab.encode(context)
    X = torch.tensor([indices[-model.block_size :]], device=device_of(model))
    with eval_mode(model):
        return _probs(model, X, vocab, temperature)[0]


def sample_words(
    model: nn.Module,
    vocab: Vocab,
    n: int = 20,
    *,
    temperature: float = 1.0,
    prefix: str = "",
    max_len: int = 100,
    batched: bool = False,
    g: torch.Generator,
) -> list[str]:
    """`n` words from the model, without the closing ".".

    Each starts with `prefix` and grows by characters drawn from `g` until the model draws "."; a word that reaches
    `max_len` characters first is cut there, and a warning says how many were. Temperatures below 1 favour likely
    characters, above 1 unlikely ones. One word is drawn after another, so that the same generator gives the lecture's
    names; `batched=True` draws the next character of all words at once: much quicker, other words.

    `model` is any module that maps X (B, block_size) to logits (B, vocab_size) and has `block_size`.
    Raises ValueError for a temperature that is not above 0, a prefix with a character outside `vocab` or of `max_len`
    characters or more, a model of another vocabulary, or logits that are not finite; TypeError without a generator or
    for a temperature that is no number.
    Source: lecture 01:13:24. Taught in: notebook 12.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(vocab_size=4), g=torch.Generator().manual_seed(2147483647))
    >>> words = sample_words(model, Vocab("abc"), n=2, prefix="ab", g=torch.Generator().manual_seed(1))
    >>> [word[:2] for word in words]
    ['ab', 'ab']
    """
    temperature = _check_sampling(model, vocab, temperature)
    check_count("n", n, least=0)
    check_count("max_len", max_len)
    check_generator(g)
    if BOUNDARY in prefix:
        raise ValueError(f"prefix {prefix!r} holds {BOUNDARY!r}, which ends a word: leave it out")
    start = vocab.encode(prefix)
    if len(start) >= max_len:
        raise ValueError(f"prefix has {len(start)} characters and max_len is {max_len}: nothing is left to draw")
    draw = _draw_together if batched else _draw_in_turn
    with eval_mode(model):
        drawn, cut = draw(model, vocab, n, temperature, start, max_len, g)
    if cut:
        warnings.warn(
            f"{cut} of {n} words did not end within max_len={max_len} characters and were cut: "
            "is the model trained, and was symbol 0 the end of a word in its data?",
            stacklevel=2,
        )
    return [vocab.decode(indices) for indices in drawn]


def _draw_in_turn(
    model: nn.Module, vocab: Vocab, n: int, temperature: float, start: list[int], max_len: int, g: torch.Generator
) -> tuple[list[list[int]], int]:
    device, block_size = device_of(model), model.block_size
    drawn, cut = [], 0
    for _ in range(n):
        out = list(start)
        context = ([0] * block_size + start)[-block_size:]
        while True:
            probs = _probs(model, torch.tensor([context], device=device), vocab, temperature)
            ix = torch.multinomial(probs.to(g.device), num_samples=1, generator=g).item()
            if ix == 0:
                break
            out.append(ix)
            if len(out) == max_len:
                cut += 1
                break
            context = context[1:] + [ix]
        drawn.append(out)
    return drawn, cut


def _draw_together(
    model: nn.Module, vocab: Vocab, n: int, temperature: float, start: list[int], max_len: int, g: torch.Generator
) -> tuple[list[list[int]], int]:
    device, block_size = device_of(model), model.block_size
    drawn, cut = [], 0
    for first in range(0, n, _TOGETHER):  # in parts: a million words at once would fill the memory
        part = min(_TOGETHER, n - first)
        rows = torch.zeros(part, block_size + max_len, dtype=torch.int64, device=device)  # zeros around each word
        rows[:, block_size : block_size + len(start)] = torch.tensor(start, dtype=torch.int64, device=device)
        growing = torch.arange(part, device=device)
        end = block_size + len(start)
        while len(growing) and end < rows.shape[1]:
            contexts, which = _distinct(rows[growing, end - block_size : end], len(vocab))
            probs = _probs(model, contexts, vocab, temperature)[which]  # (len(growing), vocab_size)
            ix = torch.multinomial(probs.to(g.device), num_samples=1, generator=g).to(device)[:, 0]
            rows[growing, end] = ix
            growing = growing[ix != 0]
            end += 1
        cut += len(growing)
        for row in rows[:, block_size:end].tolist():
            drawn.append(row[: row.index(0)] if 0 in row else row)
    return drawn, cut


def _distinct(X: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """The distinct rows of X, and for each row of X which of them it is.

    Most words of a large draw stand in the same few contexts, at first all of them in one: the model is asked once for
    each. Read as the digits of one number, a context is told from others much quicker than column by column.
    """
    block_size = X.shape[1]
    if vocab_size**block_size > torch.iinfo(torch.int64).max:
        return X, torch.arange(len(X), device=X.device)
    worth = vocab_size ** torch.arange(block_size, device=X.device)  # of each digit
    numbers, which = (X * worth).sum(1).unique(return_inverse=True)
    return numbers[:, None] // worth % vocab_size, which


def _probs(model: nn.Module, X: Tensor, vocab: Vocab, temperature: float) -> Tensor:
    logits = model(X)  # (B, vocab_size)
    if logits.ndim != 2 or logits.shape[1] != len(vocab):
        raise ValueError(
            f"the model gives logits of shape {tuple(logits.shape)}, but the vocabulary has {len(vocab)} symbols: "
            "use the vocabulary that the model was trained with"
        )
    # Subtracting the largest logit changes no probability and keeps a small temperature from overflowing.
    largest = logits.max(dim=1, keepdim=True).values
    probs = F.softmax((logits - largest) / temperature, dim=1)  # (B, vocab_size)
    if not bool(torch.isfinite(probs).all()):
        raise ValueError("the model gives logits that are not finite (nan or inf): its training blew up, train it anew")
    return probs


def _check_sampling(model: nn.Module, vocab: Vocab, temperature: float) -> float:
    """The temperature as a plain number, after everything was checked."""
    check_vocab(vocab)
    if not isinstance(getattr(model, "block_size", None), int):
        raise TypeError(f"model must have block_size, the characters it reads: got {type(model).__name__} without it")
    try:
        number = float(temperature)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # torch's word for two numbers is RuntimeError
        raise TypeError(f"temperature must be a number above 0, got {temperature!r}") from None
    if number == math.inf:
        raise ValueError(f"temperature must be finite, got {temperature!r}: at 1000 all are as good as alike")
    if not number > 0:  # so written that nan is wrong too
        raise ValueError(
            f"temperature must be above 0, got {temperature!r}: near 0 the likeliest character always wins"
        )
    least = torch.finfo(torch.float32).tiny
    if number < least:
        raise ValueError(
            f"temperature must be at least {least:.2g}, got {temperature!r}: float32 cannot divide by less"
        )
    vocab_size = getattr(getattr(model, "config", None), "vocab_size", len(vocab))
    if vocab_size != len(vocab):
        raise ValueError(
            f"the vocabulary has {len(vocab)} symbols but this model was built with vocab_size={vocab_size}: "
            "use the vocabulary that the model was trained with"
        )
    return number
