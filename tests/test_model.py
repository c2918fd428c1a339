"""The five tensors, the forward pass, and what does not fit."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import MLP, MLPConfig
from mlp_lib.model import device_of, eval_mode


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


SMALL = MLPConfig(vocab_size=5, block_size=2, n_embd=3, n_hidden=4)


def test_config_is_frozen_and_counts_its_parameters():
    assert SMALL.n_parameters == 5 * 3 + 6 * 4 + 4 + 4 * 5 + 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.n_embd = 7


def test_state_dict_has_the_five_keys_of_the_lecture():
    model = MLP(SMALL, g=generator())
    assert list(model.state_dict()) == ["C", "W1", "b1", "W2", "b2"]
    other = MLP(SMALL, g=generator(2))
    other.load_state_dict(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.tensors(), other.tensors(), strict=True))


def test_trace_is_the_forward_pass_and_its_stages():
    model = MLP(SMALL, g=generator())
    X = torch.tensor([[0, 1], [4, 2], [3, 3]])
    trace = model.trace(X)
    assert trace.emb.shape == (3, 2, 3)
    assert trace.h.shape == (3, 4)
    assert trace.logits.shape == (3, 5)
    assert torch.equal(trace.logits, model(X))
    joined = torch.cat([model.C[X[:, 0]], model.C[X[:, 1]]], dim=1)
    assert torch.allclose(trace.h, torch.tanh(joined @ model.W1 + model.b1))
    assert torch.allclose(trace.logits, trace.h @ model.W2 + model.b2)


def test_from_tensors_shares_storage():
    tensors = [p.detach().clone() for p in MLP(SMALL, g=generator()).tensors()]
    model = MLP.from_tensors(*tensors)
    assert model.config == SMALL
    assert model.block_size == 2
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(model.tensors(), tensors, strict=True))
    F.cross_entropy(model(torch.tensor([[0, 1]])), torch.tensor([2])).backward()
    for p in model.tensors():
        p.data -= p.grad
    assert all(torch.equal(a, b) for a, b in zip(model.tensors(), tensors, strict=True))


def test_a_batch_may_be_empty():
    trace = MODEL.trace(torch.zeros(0, 2, dtype=torch.int64))
    assert (trace.h.shape, trace.logits.shape) == ((0, 4), (0, 5))


def test_sizes_from_numpy_become_plain_numbers():
    sizes = MLPConfig(*(np.int64(n) for n in (5, 2, 3, 4)))
    assert [type(n) for n in dataclasses.astuple(sizes)] == [int] * 4
    assert sizes == SMALL


def test_repr_says_the_sizes():
    assert repr(MLP(SMALL, g=generator())) == ("MLP(vocab_size=5, block_size=2, n_embd=3, n_hidden=4, parameters=68)")


def test_initialisation_draws_from_g_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    MLP(SMALL, g=generator())
    assert torch.equal(torch.get_rng_state(), state)


def shapes(C=(5, 3), W1=(6, 4), b1=(4,), W2=(4, 5), b2=(5,)):
    return MLP.from_tensors(*(torch.zeros(s) for s in (C, W1, b1, W2, b2)))


MODEL = MLP(SMALL, g=generator())


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: MLPConfig(n_embd=0), ValueError, "n_embd must be at least 1, got 0"),
        (lambda: MLPConfig(n_hidden=-1), ValueError, "n_hidden must be at least 1, got -1"),
        (lambda: MLPConfig(block_size=1.5), TypeError, "block_size must be a whole number, got 1.5"),
        (lambda: MLPConfig(vocab_size=1), ValueError, "vocab_size must be at least 2, got 1"),
        (
            lambda: MLP(10, g=generator()),
            TypeError,
            "config must be an MLPConfig, got 10: write MLP(MLPConfig(n_embd=10), g=g)",
        ),
        (
            lambda: MLP(SMALL, g=None),
            TypeError,
            "g must be a torch.Generator, such as torch.Generator().manual_seed(2147483647), got None",
        ),
        (lambda: MLP(SMALL), TypeError, "MLP.__init__() missing 1 required keyword-only argument: 'g'"),
        (
            lambda: MODEL(torch.zeros(4, 3, dtype=torch.int64)),
            ValueError,
            "X has 3 characters of context but this model was built with block_size=2: "
            "build the dataset with block_size=2, or the model with block_size=3",
        ),
        (
            lambda: MODEL(torch.zeros(2, dtype=torch.int64)),
            ValueError,
            "X must have two dimensions, (examples, block_size=2), got shape (2,)",
        ),
        (
            lambda: MODEL(torch.zeros(4, 2, dtype=torch.uint8)),
            TypeError,
            "X holds torch.uint8, but indices are torch.int64: call X.long()",
        ),
        (lambda: MODEL([[0, 0]]), TypeError, "X must be a torch.Tensor, got list: write torch.tensor(X)"),
        (
            lambda: MLP.from_tensors(*(p.detach().numpy() for p in MODEL.tensors())),
            TypeError,
            "C must be a torch.Tensor, got ndarray: write torch.tensor(C)",
        ),
        (
            lambda: MLP.from_tensors(*(p.detach().long() for p in MODEL.tensors())),
            TypeError,
            "C holds torch.int64, which cannot be trained: call C.float()",
        ),
        (
            lambda: shapes(b1=(4, 1)),
            ValueError,
            "expected two dimensions for C, W1, W2 and one for b1, b2, "
            "got C (5, 3), W1 (6, 4), b1 (4, 1), W2 (4, 5), b2 (5,)",
        ),
        (
            lambda: shapes(W1=(7, 4)),
            ValueError,
            "W1 has 7 rows, no multiple of the 3 columns of C: got C (5, 3), W1 (7, 4), b1 (4,), W2 (4, 5), b2 (5,)",
        ),
        (
            lambda: shapes(W2=(4, 6)),
            ValueError,
            "expected b1 (4,), W2 (4, 5), b2 (5,) for this C and W1, "
            "got C (5, 3), W1 (6, 4), b1 (4,), W2 (4, 6), b2 (5,)",
        ),
        (
            lambda: MLP.from_tensors(*MLP(SMALL, g=generator()).tensors()[:4], torch.zeros(5, dtype=torch.float64)),
            TypeError,
            "the five tensors must have one dtype, got torch.float32 and torch.float64: call .float() on each",
        ),
    ],
)
def test_refusals(call, error, sentence):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == sentence


def test_eval_mode_restores_the_mode_of_every_part_even_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2), nn.Dropout())
    model[2].eval()

    def look():
        with eval_mode(model):
            assert not model[0].training
            assert not torch.is_grad_enabled()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        look()
    assert [part.training for part in model] == [True, True, False]
    assert torch.is_grad_enabled()


def test_device_of_a_model_without_parameters():
    assert device_of(nn.Tanh()) == torch.device("cpu")
