"""A model handed in: the rung it has reached, and the test set opened once for each exercise, through the vault."""

import functools
import re

import pytest
import torch

from mlp_lib import MLP, MLPConfig, Vocab, load_words, make_splits
from mlp_lib.exercises import nb13, nb14, nb15, rungs
from mlp_lib.ladder import TestVault

# A model's losses on dev and on train take a second and are the same in each test; the test set's is never kept here.
LOSS = functools.cache(rungs._loss)
SAID = r"\[ok\] 13\.4 train 1\.6295, dev 1\.9792 beats .*; next is .*\."


@pytest.fixture(autouse=True)
def each_loss_once(monkeypatch):
    monkeypatch.setattr(rungs, "_loss", LOSS)


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
    monkeypatch.setattr(rungs, "_of_this_process", [])
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
