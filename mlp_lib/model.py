"""The network of the lecture: five tensors and a forward pass.

Taught in: notebook 02 (embedding and hidden layer) and notebook 03 (output layer and loss).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlp_lib.data import check_count


@dataclass(frozen=True)
class MLPConfig:
    """The four sizes of the network. The defaults are the lecture's last model (11,897 parameters).

    Raises TypeError or ValueError for a size that is not a whole number of at least 1 (2 for `vocab_size`).

    >>> MLPConfig(n_embd=2, n_hidden=100).n_parameters
    3481
    """

    vocab_size: int = 27
    block_size: int = 3
    n_embd: int = 10
    n_hidden: int = 200

    def __post_init__(self) -> None:
        for name, least in (("vocab_size", 2), ("block_size", 1), ("n_embd", 1), ("n_hidden", 1)):
            check_count(name, getattr(self, name), least=least)
            object.__setattr__(self, name, int(getattr(self, name)))  # JSON, for one, takes no NumPy integer

    @property
    def n_parameters(self) -> int:
        """How many numbers the five tensors hold together."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the five tensors by their names, in the lecture's order."""
        return {
            "C": (self.vocab_size, self.n_embd),
            "W1": (self.block_size * self.n_embd, self.n_hidden),
            "b1": (self.n_hidden,),
            "W2": (self.n_hidden, self.vocab_size),
            "b2": (self.vocab_size,),
        }


class Trace(NamedTuple):
    """What the forward pass makes on its way: emb (B, block_size, n_embd), h (B, n_hidden), logits (B, vocab_size)."""

    emb: Tensor
    h: Tensor
    logits: Tensor


class MLP(nn.Module):
    """The lecture's network: look up, join, tanh, logits. `model(X)` gives logits (B, vocab_size).

    `C` (vocab_size, n_embd), `W1` (block_size * n_embd, n_hidden), `b1` (n_hidden,), `W2` (n_hidden, vocab_size) and
    `b2` (vocab_size,) are drawn from the standard normal distribution, from `g`, in this order, as in the lecture.
    They are plain parameters: an `nn.Linear` would keep its weight transposed and start it differently.

    Source: lecture 00:12:19 to 00:32:17; Bengio et al. 2003, section 2. Taught in: notebooks 02 and 03.

    >>> g = torch.Generator().manual_seed(2147483647)
    >>> model = MLP(MLPConfig(n_embd=2, n_hidden=100), g=g)
    >>> sum(p.nelement() for p in model.parameters())
    3481
    """

    def __init__(self, config: MLPConfig | None = None, *, g: torch.Generator) -> None:
        super().__init__()
        if config is None:
            config = MLPConfig()
        if not isinstance(config, MLPConfig):
            raise TypeError(f"config must be an MLPConfig, got {config!r}: write MLP(MLPConfig(n_embd=10), g=g)")
        check_generator(g)
        self.config = config
        inputs = config.block_size * config.n_embd

        def randn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=g, device=g.device))

        self.C = randn(config.vocab_size, config.n_embd)
        self.W1 = randn(inputs, config.n_hidden)
        self.b1 = randn(config.n_hidden)
        self.W2 = randn(config.n_hidden, config.vocab_size)
        self.b2 = randn(config.vocab_size)

    @classmethod
    def from_tensors(cls, C: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> "MLP":
        """A model over tensors you already have; it shares their storage, so training one trains the other.

        Raises TypeError for what is no tensor of floating-point numbers and for several dtypes, ValueError if the
        shapes do not fit together.
        """
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.config = _config_of(C, W1, b1, W2, b2)
        model.C, model.W1, model.b1 = nn.Parameter(C), nn.Parameter(W1), nn.Parameter(b1)
        model.W2, model.b2 = nn.Parameter(W2), nn.Parameter(b2)
        return model

    @property
    def block_size(self) -> int:
        """How many characters of context the model reads."""
        return self.config.block_size

    def tensors(self) -> list[Tensor]:
        """The five tensors in the lecture's order: C, W1, b1, W2, b2."""
        return [self.C, self.W1, self.b1, self.W2, self.b2]

    def trace(self, X: Tensor) -> Trace:
        """The forward pass with everything it computes on the way. X (B, block_size) holds int64 indices.

        Raises ValueError if X has another width or TypeError if it is no tensor or has another dtype.
        """
        if not isinstance(X, Tensor):
            raise TypeError(f"X must be a torch.Tensor, got {type(X).__name__}: write torch.tensor(X)")
        if X.ndim != 2 or X.shape[1] != self.config.block_size:
            raise ValueError(_wrong_width(X, self.config.block_size))
        if X.dtype != torch.int64:
            raise TypeError(f"X holds {X.dtype}, but indices are torch.int64: call X.long()")
        emb = self.C[X]  # (B, block_size, n_embd)
        joined = emb.view(emb.shape[0], self.W1.shape[0])  # (B, block_size * n_embd); -1 would not do for B = 0
        h = torch.tanh(joined @ self.W1 + self.b1)  # (B, n_hidden)
        logits = h @ self.W2 + self.b2  # (B, vocab_size)
        return Trace(emb, h, logits)

    def forward(self, X: Tensor) -> Tensor:
        """The logits (B, vocab_size) for contexts X (B, block_size)."""
        return self.trace(X).logits

    def extra_repr(self) -> str:
        """The sizes, for `print(model)`."""
        c = self.config
        return (
            f"vocab_size={c.vocab_size}, block_size={c.block_size}, n_embd={c.n_embd}, n_hidden={c.n_hidden}, "
            f"parameters={c.n_parameters:,}"
        )


def _config_of(C: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> MLPConfig:
    for name, t in (("C", C), ("W1", W1), ("b1", b1), ("W2", W2), ("b2", b2)):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(t).__name__}: write torch.tensor({name})")
        if not t.is_floating_point():
            raise TypeError(f"{name} holds {t.dtype}, which cannot be trained: call {name}.float()")
    dtypes = list(dict.fromkeys(str(t.dtype) for t in (C, W1, b1, W2, b2)))
    if len(dtypes) > 1:
        raise TypeError(f"the five tensors must have one dtype, got {' and '.join(dtypes)}: call .float() on each")
    shapes = (
        f"C {tuple(C.shape)}, W1 {tuple(W1.shape)}, b1 {tuple(b1.shape)}, W2 {tuple(W2.shape)}, b2 {tuple(b2.shape)}"
    )
    if [t.ndim for t in (C, W1, b1, W2, b2)] != [2, 2, 1, 2, 1]:
        raise ValueError(f"expected two dimensions for C, W1, W2 and one for b1, b2, got {shapes}")
    vocab_size, n_embd = C.shape
    inputs, n_hidden = W1.shape
    if n_embd == 0 or inputs % n_embd:
        raise ValueError(f"W1 has {inputs} rows, no multiple of the {n_embd} columns of C: got {shapes}")
    if b1.shape[0] != n_hidden or tuple(W2.shape) != (n_hidden, vocab_size) or b2.shape[0] != vocab_size:
        raise ValueError(
            f"expected b1 ({n_hidden},), W2 ({n_hidden}, {vocab_size}), b2 ({vocab_size},) "
            f"for this C and W1, got {shapes}"
        )
    return MLPConfig(vocab_size, inputs // n_embd, n_embd, n_hidden)


def _wrong_width(X: Tensor, block_size: int) -> str:
    if X.ndim != 2:
        return f"X must have two dimensions, (examples, block_size={block_size}), got shape {tuple(X.shape)}"
    return (
        f"X has {X.shape[1]} characters of context but this model was built with block_size={block_size}: "
        f"build the dataset with block_size={block_size}, or the model with block_size={X.shape[1]}"
    )


def check_generator(g: torch.Generator) -> None:
    """Raise TypeError with one sentence unless `g` is a torch.Generator.

    >>> check_generator(torch.Generator())
    """
    if not isinstance(g, torch.Generator):
        raise TypeError(f"g must be a torch.Generator, such as torch.Generator().manual_seed(2147483647), got {g!r}")


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every part of the model is in the mode it was in before.

    >>> layer = nn.Dropout()
    >>> with eval_mode(layer):
    ...     layer.training
    False
    >>> layer.training
    True
    """
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are (the CPU for a model without any).

    >>> device_of(nn.Linear(2, 2))
    device(type='cpu')
    """
    return next((p.device for p in model.parameters()), torch.device("cpu"))
