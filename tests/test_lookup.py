"""summed_rows equals the matrix product that it replaces, and so do its gradients."""

import torch

from mlp_lib.lab.lookup import summed_rows


def test_summed_rows_and_its_gradients_equal_the_matrix_product():
    g = torch.Generator().manual_seed(1)
    C = torch.randn(7, 3, generator=g, dtype=torch.float64, requires_grad=True)
    W = torch.randn(4, 3, 5, generator=g, dtype=torch.float64, requires_grad=True)
    X = torch.randint(0, 7, (20, 4), generator=g)
    d = torch.randn(20, 5, generator=g, dtype=torch.float64)  # the gradient that arrives from above
    long_way = C[X].view(20, -1) @ W.flatten(0, 1)
    short_way = summed_rows(C, W, X)
    torch.testing.assert_close(short_way, long_way)
    wanted, got = (torch.autograd.grad(y, (C, W), d) for y in (long_way, short_way))
    for right, value in zip(wanted, got, strict=True):
        torch.testing.assert_close(value, right)
