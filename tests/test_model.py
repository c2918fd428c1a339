"""The five tensors and the forward pass."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import MLP, MLPConfig
from mlp_lib.model import device_of, eval_mode

SMALL = MLPConfig(vocab_size=5, block_size=2, n_embd=3, n_hidden=4)


def drawn(seed=1):
    return MLP(SMALL, g=torch.Generator().manual_seed(seed))


def test_config_counts_parameters_and_is_frozen():
    assert SMALL.n_parameters == 5 * 3 + 6 * 4 + 4 + 4 * 5 + 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.n_embd = 7
    sizes = MLPConfig(*map(np.int64, (5, 2, 3, 4)))
    assert sizes == SMALL
    assert [type(n) for n in dataclasses.astuple(sizes)] == [int] * 4


def test_state_dict_has_the_lectures_five_names():
    model, other = drawn(1), drawn(2)
    assert list(model.state_dict()) == ["C", "W1", "b1", "W2", "b2"]
    other.load_state_dict(model.state_dict())
    assert all(map(torch.equal, model.tensors(), other.tensors()))
    assert repr(model) == "MLP(vocab_size=5, block_size=2, n_embd=3, n_hidden=4, parameters=68)"


def test_trace_returns_the_stages_of_the_forward_pass():
    model = drawn()
    X = torch.tensor([[0, 1], [4, 2], [3, 3]])
    emb, h, logits = model.trace(X)
    assert torch.equal(logits, model(X))
    joined = torch.cat([model.C[X[:, 0]], model.C[X[:, 1]]], dim=1)
    assert torch.equal(emb.view(3, 6), joined)
    assert torch.allclose(h, torch.tanh(joined @ model.W1 + model.b1))
    assert torch.allclose(logits, h @ model.W2 + model.b2)
    assert model(X[:0]).shape == (0, 5)


def test_from_tensors_shares_storage():
    tensors = [p.detach().clone() for p in drawn().tensors()]
    model = MLP.from_tensors(*tensors)
    assert model.config == SMALL
    F.cross_entropy(model(torch.tensor([[0, 1]])), torch.tensor([2])).backward()
    for p in model.tensors():
        p.data -= p.grad
    assert all(map(torch.equal, model.tensors(), tensors))
    assert not torch.equal(model.C, drawn().C)


def test_initialisation_draws_from_g_alone():
    state = torch.get_rng_state()
    drawn()
    assert torch.equal(torch.get_rng_state(), state)


def test_eval_mode_restores_every_mode_even_after_an_error():
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


def test_model_without_parameters_is_on_the_cpu():
    assert device_of(nn.Tanh()) == torch.device("cpu")
