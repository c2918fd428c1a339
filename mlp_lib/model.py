"""The network of the lecture: five tensors and a forward pass.

    model = MLP(MLPConfig(n_embd=10, n_hidden=200), g=g)
    logits = model(X)  # X (B, block_size) to logits (B, vocab_size)

Taught in: page 02 (embedding and hidden layer) and page 03 (output layer and loss).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mlp_lib.checks import check_contexts, checked, whole_number


@dataclass(frozen=True)
class MLPConfig:
    """The four sizes of the network. The defaults are the lecture's last model (11,897 parameters).

    >>> MLPConfig(n_embd=2, n_hidden=100).n_parameters
    3481
    """

    vocab_size: int = 27
    block_size: int = 3
    n_embd: int = 10
    n_hidden: int = 200

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_embd", "n_hidden"):
            least = 2 if name == "vocab_size" else 1
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))

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

    @property
    def n_parameters(self) -> int:
        """The total number of parameters in the five tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())


class Trace(NamedTuple):
    """The intermediate results of a forward pass."""

    emb: Float[Tensor, "B block_size n_embd"]
    h: Float[Tensor, "B n_hidden"]
    logits: Float[Tensor, "B vocab_size"]


class MLP(nn.Module):
    """The lecture's network: look up, join, tanh, logits.

    The five tensors are drawn from the standard normal distribution, from `g`, in the lecture's order. They are plain
    parameters: an `nn.Linear` stores its weight transposed and initialises it differently.
    Source: lecture 00:12:19 to 00:32:17; Bengio et al. 2003, section 2.

    >>> g = torch.Generator().manual_seed(2147483647)
    >>> model = MLP(MLPConfig(n_embd=2, n_hidden=100), g=g)
    >>> sum(p.nelement() for p in model.parameters())
    3481
    """

    @checked
    def __init__(self, config: MLPConfig = MLPConfig(), *, g: torch.Generator) -> None:
        super().__init__()
        if not isinstance(config, MLPConfig):
            raise TypeError(f"config must be an MLPConfig, got {config!r}: write MLP(MLPConfig(n_embd=10), g=g)")
        self.config = config

        def randn(name: str) -> nn.Parameter:
            return nn.Parameter(torch.randn(config.shapes[name], generator=g, device=g.device))

        self.C = randn("C")  # (vocab_size, n_embd)
        self.W1 = randn("W1")  # (block_size * n_embd, n_hidden)
        self.b1 = randn("b1")  # (n_hidden,)
        self.W2 = randn("W2")  # (n_hidden, vocab_size)
        self.b2 = randn("b2")  # (vocab_size,)

    def trace(self, X: Int[Tensor, "B block_size"]) -> Trace:
        """The forward pass, with its intermediate results."""
        check_contexts(X, self.config.block_size)
        emb = self.C[X]  # (B, block_size, n_embd)
        h = torch.tanh(emb.view(len(X), self.W1.shape[0]) @ self.W1 + self.b1)  # (B, n_hidden)
        logits = h @ self.W2 + self.b2  # (B, vocab_size)
        return Trace(emb, h, logits)

    def forward(self, X: Int[Tensor, "B block_size"]) -> Float[Tensor, "B vocab_size"]:
        """The logits for contexts X."""
        return self.trace(X).logits

    @classmethod
    def from_tensors(
        cls,
        C: Float[Tensor, "vocab_size n_embd"],
        W1: Float[Tensor, "inputs n_hidden"],
        b1: Float[Tensor, " n_hidden"],
        W2: Float[Tensor, "n_hidden vocab_size"],
        b2: Float[Tensor, " vocab_size"],
    ) -> "MLP":
        """A model built from tensors you already have; it shares their storage, so training one trains the other.

        Raises ValueError if the shapes do not fit together.
        """
        given = {"C": C, "W1": W1, "b1": b1, "W2": W2, "b2": b2}
        vocab_size, n_embd = C.shape
        config = MLPConfig(vocab_size, max(1, W1.shape[0] // n_embd), n_embd, W1.shape[1])
        shapes = {name: tuple(t.shape) for name, t in given.items()}
        if shapes != config.shapes:
            raise ValueError(
                f"the five tensors do not fit together: got {shapes}, but with block_size={config.block_size} and the "
                f"columns of C and W1 they must be {config.shapes}"
            )
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.config = config
        for name, t in given.items():
            setattr(model, name, nn.Parameter(t))
        return model

    @property
    def block_size(self) -> int:
        """How many characters of context the model reads."""
        return self.config.block_size

    def tensors(self) -> list[Tensor]:
        """The five tensors in the lecture's order: C, W1, b1, W2, b2."""
        return [self.C, self.W1, self.b1, self.W2, self.b2]

    def extra_repr(self) -> str:
        """The sizes, for `print(model)`."""
        c = self.config
        return (
            f"vocab_size={c.vocab_size}, block_size={c.block_size}, n_embd={c.n_embd}, n_hidden={c.n_hidden}, "
            f"parameters={c.n_parameters:,}"
        )


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode of every submodule is restored afterwards.

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
    """The device of the model's parameters (the CPU if it has none)."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
