"""The hidden layer's product, computed as a sum of rows: the same numbers for fewer multiplications.

Used on page 15, explained on page 16.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def summed_rows(
    C: Float[Tensor, "vocab_size n_embd"],
    W: Float[Tensor, "block_size n_embd columns"],
    X: Int[Tensor, "B block_size"],
) -> Float[Tensor, "B columns"]:
    """`C[X].view(B, -1) @ W.flatten(0, 1)`, for a batch that is larger than the vocabulary.

    Position p contributes its embedding times `W[p]`. There are only vocab_size embeddings, so these products are
    computed once per batch, one table per position, and each example sums its rows. Autograd works through it.

    >>> C, W, X = torch.eye(3), torch.ones(2, 3, 4), torch.tensor([[0, 2]])
    >>> summed_rows(C, W, X)
    tensor([[2., 2., 2., 2.]])
    """
    tables = (C @ W).flatten(0, 1)  # (block_size * vocab_size, columns)
    first_row = len(C) * torch.arange(X.shape[1], device=X.device)  # where each position's table begins
    return F.embedding_bag(X + first_row, tables, mode="sum")
