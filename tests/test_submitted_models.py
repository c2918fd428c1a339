"""A model handed in: the rung it has reached, and the test set opened once for each exercise, through the vault."""

import copy
import functools
import re

import numpy as np
import pytest
import torch
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, load_words, make_splits
from mlp_lib.course.exercises import nb13, nb14, nb15, submitted_models
from mlp_lib.lab.counts import Interpolated, Mixture, NGram
from mlp_lib.lab.ladder import TestVault

# A model's losses on dev and on train take a second and are the same in each test; the test set's is never kept here.
LOSS = functools.cache(submitted_models._loss)
SAID = r"\[ok\] 13\.4 train 1\.6295, dev 1\.9792 beats .*; next is .*\."


@pytest.fixture(autouse=True)
def each_loss_once(monkeypatch):
    monkeypatch.setattr(submitted_models, "_loss", LOSS)


@pytest.fixture(scope="module")
def counts():
    return nb15.e03()


@pytest.fixture(scope="module")
def sealed():
    words = load_words()
    return make_splits(words, Vocab.from_words(words), block_size=5)[4:]


@pytest.fixture
def vault(tmp_path, monkeypatch, sealed):
    """A vault with a record of its own."""
    monkeypatch.setenv("MLP_LIB_LADDER", str(tmp_path / "ladder.sqlite"))
    return TestVault(*sealed)


def test_without_a_reason_the_test_set_stays_sealed(counts, vault):
    verdict = nb13.q4.evaluate(counts)
    assert verdict.status == "right", verdict.message
    assert re.fullmatch(SAID + " The test set stays sealed", verdict.message)
    assert vault.openings == []


def test_with_a_reason_it_is_opened_once_and_written_down(counts, vault):
    first = nb13.q4.evaluate(counts, "my final model").message
    assert re.fullmatch(SAID + r" Test 1\.9887, seen once and written down: choose nothing by it", first)
    (opening,) = vault.openings
    assert (opening.reason, round(opening.loss, 4)) == ("E01: my final model", 1.9887)
    again = nb13.q4.evaluate(counts, "another look").message
    assert "The test set was opened for E01 on" in again
    assert "the loss was 1.9887: it stays closed now" in again
    assert len(vault.openings) == 1


def test_a_model_that_is_not_good_enough_opens_nothing(vault):
    untrained = MLP(MLPConfig(), g=torch.Generator().manual_seed(1))
    assert nb13.q4.evaluate(untrained, "a look").status == "wrong"
    assert vault.openings == []


def test_each_exercise_opens_it_for_itself(counts, vault):
    for q, answers in ((nb13.q4, (counts,)), (nb14.q4, (nb14.init, counts)), (nb15.q4, (counts,))):
        assert q.evaluate(*answers, "final").status == "right"
    assert [o.reason.partition(":")[0] for o in vault.openings] == ["E01", "E02", "E03"]


def test_where_nothing_may_be_written_it_is_still_opened_only_once(counts, monkeypatch):
    monkeypatch.delenv("MLP_LIB_LADDER", raising=False)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(submitted_models, "_of_this_process", [])
    assert "Test 1.9887" in nb13.q4.evaluate(counts, "final").message
    assert "it stays closed now" in nb13.q4.evaluate(counts, "final").message


def test_a_record_that_cannot_be_kept_leaves_it_sealed(counts, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLP_LIB_LADDER", str(tmp_path / "file" / "ladder.sqlite"))
    verdict = nb13.q4.evaluate(counts, "final")
    assert verdict.status == "wrong"
    assert "the test set stays sealed: " in verdict.message


def test_a_start_and_what_came_of_it(counts, vault):
    verdict = nb14.q4.evaluate(nb14.init, counts)
    assert verdict.status == "right", verdict.message
    assert "That is E02. train 1.6295, dev 1.9792 beats" in verdict.message


@functools.cache
def table():
    """The logits of 4-gram counts after each three characters (27 ** 3, 27): a model that is asked in no time."""
    words = load_words()
    counts = NGram(3).fit(*make_splits(words, Vocab.from_words(words), block_size=3)[:2], vocab_size=27)
    return counts(torch.cartesian_prod(*3 * [torch.arange(27)])).float()


class _Table(nn.Module):
    """That table, with what else a learner's module may hold."""

    def __init__(self, block_size=3):
        super().__init__()
        self.block_size = block_size
        self.norm = nn.BatchNorm1d(27, affine=False)
        self.share = nn.Parameter(torch.ones(()))
        self.g = torch.Generator().manual_seed(2147483647)

    def forward(self, X):
        logits = table()[X[:, -3:] @ torch.tensor([27 * 27, 27, 1])]
        if self.training:  # dropout, drawn from a generator of its own
            logits = self.norm(logits) * (torch.rand(logits.shape, generator=self.g) < 0.9)
        return self.share * logits


def test_a_model_in_training_mode_is_measured_in_evaluation_mode_and_left_as_it_was():
    model = _Table()
    before = copy.deepcopy(model.state_dict()), model.g.get_state(), torch.get_rng_state()
    verdict = nb15.q4.evaluate(model)
    assert verdict.status == "right", verdict.message
    assert "was measured in evaluation mode" in verdict.message
    assert model.training
    assert all(torch.equal(t, before[0][name]) for name, t in model.state_dict().items())
    assert torch.equal(model.g.get_state(), before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    assert "evaluation mode" not in nb15.q4.evaluate(model.eval()).message


def test_a_model_that_draws_moves_no_global_generator():
    model, before = _Table(), torch.get_rng_state()
    model.forward = lambda X: nn.functional.dropout(_Table.forward(model, X))
    assert "two answers to one question differ" in nb13.q4.evaluate(model).message
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("block_size", [np.int64(5), 13, 64])
@pytest.mark.parametrize("q", [nb13.q4, nb15.q4], ids=lambda q: q.number)
def test_a_context_may_be_long_and_a_numpy_integer(q, block_size, vault):
    verdict = q.evaluate(_Table(block_size), "final")
    assert verdict.status == "right", verdict.message
    assert re.search(
        r"dev 2\.1051 beats .* Test 2\.\d{4}, seen once and written down: choose nothing by it$", verdict.message
    )


def test_a_mixture_passes_and_so_does_a_function():
    def probabilities(X):
        return _Table().eval()(X).softmax(1)

    probabilities.block_size = 3
    for model in (Mixture(_Table(), probabilities, weight=0.5), probabilities):
        assert "dev 2.1051 beats" in nb15.q4.evaluate(model).message


def test_no_reason_is_none(vault):
    assert "stays sealed" in submitted_models.handed_in(_Table(), None, exercise="E01", asked=2.2)
    assert vault.openings == []


def test_who_has_seen_the_test_names_is_asked(vault):
    words = load_words()
    vocab = Vocab.from_words(words)
    Xtr, Ytr, _, _, Xte, Yte = make_splits(words, vocab, block_size=4)
    model = Interpolated(4).fit(torch.cat([Xtr, Xte]), torch.cat([Ytr, Yte]), len(vocab))
    for q in (nb13.q4, nb15.q4):
        assert "has the model seen test names?" in q.evaluate(model, "final").message
