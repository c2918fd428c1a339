"""Characters out: the probabilities of the next one, and whole words.

    sample_words(model, vocab, n=20, g=torch.Generator().manual_seed(2147483647 + 10))

Taught in: page 12.
"""

import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mlp_lib.checks import checked
from mlp_lib.data import Vocab, distinct_contexts
from mlp_lib.model import device_of, eval_mode


@checked
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
    `max_len` characters first, those of `prefix` included, is cut there, and a warning says how many were. Temperatures
    below 1 favour likely characters, above 1 unlikely ones. Words are drawn one after another, so that the same
    generator gives the lecture's names; `batched=True` draws the next character of all words at once, which is
    faster and gives different words.

    `model` is any module with `block_size` that maps X (B, block_size) to logits (B, vocab_size).
    Source: lecture 01:13:24.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(vocab_size=4), g=torch.Generator().manual_seed(2147483647))
    >>> words = sample_words(model, Vocab("abc"), n=2, prefix="ab", g=torch.Generator().manual_seed(1))
    >>> [word[:2] for word in words]
    ['ab', 'ab']
    """
    start = [0] * model.block_size + vocab.encode(prefix)
    longest = model.block_size + max_len
    draw = _draw_together if batched else _draw_in_turn
    drawn: list[list[int]] = []  # the words, each behind block_size boundaries
    with eval_mode(model):
        for first in range(0, n, 10_000):  # in chunks: a million words at once would fill the memory
            drawn += draw(model, start, min(10_000, n - first), longest, temperature, g)
    words = [vocab.decode(row[model.block_size :]) for row in drawn]
    cut = sum(not word.endswith(".") for word in words)
    if cut:
        warnings.warn(
            f"{cut} of {n} words did not end within max_len={max_len} characters and were cut: "
            "is the model trained, and was symbol 0 the end of a word in its data?",
            stacklevel=3,
        )
    return [word.removesuffix(".") for word in words]


def _draw_in_turn(
    model: nn.Module, start: list[int], n: int, longest: int, temperature: float, g: torch.Generator
) -> list[list[int]]:
    drawn = []
    for _ in range(n):
        out = list(start)
        while len(out) < longest:
            context = out[-model.block_size :]
            probs = _probs(model, torch.tensor([context]), temperature)
            ix = torch.multinomial(probs.to(g.device), num_samples=1, generator=g).item()
            out.append(ix)
            if ix == 0:
                break
        drawn.append(out)
    return drawn


def _draw_together(
    model: nn.Module, start: list[int], n: int, longest: int, temperature: float, g: torch.Generator
) -> list[list[int]]:
    rows = torch.tensor([start]).repeat(n, 1)  # (n, characters so far)
    growing = torch.arange(n)
    while len(growing) and rows.shape[1] < longest:
        # Many words share a context, at first all of them: the model is called once per distinct context.
        contexts, which = distinct_contexts(rows[growing, -model.block_size :])
        probs = _probs(model, contexts, temperature)[which]  # (len(growing), vocab_size)
        ix = torch.multinomial(probs.to(g.device), num_samples=1, generator=g)[:, 0].cpu()
        column = torch.full((n,), -1)
        column[growing] = ix
        rows = torch.cat([rows, column[:, None]], dim=1)
        growing = growing[ix != 0]
    return [row[: row.index(-1)] if -1 in row else row for row in rows.tolist()]


@checked
def next_char_probs(
    model: nn.Module, vocab: Vocab, context: str = "", *, temperature: float = 1.0
) -> Float[Tensor, " vocab_size"]:
    """The model's probabilities for the character that follows `context`.

    Only the last `model.block_size` characters count; a shorter context is padded with "." on the left, as at the
    start of a word. Draws nothing. `temperature` divides the logits.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(vocab_size=4), g=torch.Generator().manual_seed(2147483647))
    >>> next_char_probs(model, Vocab("abc"), "ab").sum().item()
    1.0
    """
    indices = [0] * model.block_size + vocab.encode(context)
    with eval_mode(model):
        return _probs(model, torch.tensor([indices[-model.block_size :]]), temperature)[0]


def _probs(model: nn.Module, X: Int[Tensor, "B block_size"], temperature: float) -> Float[Tensor, "B vocab_size"]:
    logits = model(X.to(device_of(model)))  # (B, vocab_size)
    # Subtracting the largest logit changes no probability and keeps a small temperature from overflowing.
    probs = F.softmax((logits - logits.max(1, keepdim=True).values) / temperature, dim=1)
    if not torch.isfinite(probs).all():
        raise ValueError("the model gives logits that are nan or infinite: its training blew up, train it again")
    return probs
