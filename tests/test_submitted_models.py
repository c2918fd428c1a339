"""A model handed in: leaks are told, honest ones never, and the test set is opened once for each exercise."""

import copy
import functools
import math
import re
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, split_words, train
from mlp_lib.course.exercises import nb13, nb14, nb15
from mlp_lib.course.exercises import submitted_models as submitted
from mlp_lib.lab.counts import Interpolated, Mixture, NGram
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.ladder import TestVault

WORDS = load_words()
SAID = r"\[ok\] 13\.3 train 1\.6295, dev 1\.9792 beats .*; next is .*\."
SEEN_DEV = "this model has seen the dev names"
SEEN_TEST = "This model has seen the test names"
ORDER = "the answers leak in. The next row ends with this row's answer"


@functools.cache
def examples(*parts, context=5, words=None):
    words = WORDS if words is None else list(words)
    split = dict(zip(("train", "dev", "test", "all"), [*split_words(words), words], strict=True))
    split["seed 43"] = split_words(words, seed=43)[0]
    return build_dataset([word for part in parts for word in split[part]], Vocab.from_words(words), context)


@functools.cache
def counted(*parts, context=5, words=None):
    """Counts of some parts of the list: a quick way to have trained on what should not be trained on."""
    return Interpolated(context).fit(*examples(*parts, context=context, words=words), 27)


@functools.cache
def network(part):
    g = torch.Generator().manual_seed(2147483647)
    model = MLP.from_tensors(*nb14.init(MLPConfig(n_hidden=60), g))
    train(model, *examples(part, context=3), steps=30_000, lr=lambda i: 0.3 - i * 1e-5, g=g, stepper=fast_steps)
    return model


@functools.cache
def table():
    """The logits of 4-gram counts after each three characters (27 ** 3, 27): a model that is asked in no time."""
    counts = NGram(3).fit(*examples("train", context=3), vocab_size=27)
    return counts(torch.cartesian_prod(*3 * [torch.arange(27)])).float()


class Table(nn.Module):
    """That table, changed by `change(logits, X)`, with what else a learner's module may hold."""

    def __init__(self, change=lambda logits, X: logits, block_size=3):
        super().__init__()
        self.change, self.block_size = change, block_size
        self.norm = nn.BatchNorm1d(27, affine=False)
        self.share = nn.Parameter(torch.ones(()))
        self.g = torch.Generator().manual_seed(2147483647)

    def forward(self, X):
        logits = table()[X[:, -3:] @ torch.tensor([27 * 27, 27, 1])]
        if self.training:  # dropout, drawn from a generator of its own
            logits = self.norm(logits) * (torch.rand(logits.shape, generator=self.g) < 0.9)
        return self.share * self.change(logits, X)


def probabilities(X):
    return Table().eval()(X).softmax(1)


def sharpened(X):
    """Lower in loss than any model may be, and a row sums to more than 1."""
    return 1.5 * probabilities(X)


def log_probabilities(X):
    return probabilities(X).log()


probabilities.block_size = sharpened.block_size = log_probabilities.block_size = 3


def next_row(logits, X):
    return logits + 5 * F.one_hot(X.roll(-1, 0)[:, -1], 27)


def next_row_of_many(logits, X):
    """A short look sees nothing of it, and it helps a little only."""
    return logits + 0.5 * F.one_hot(X.roll(-1, 0)[:, -1], 27) if len(X) > 1000 else logits


class InTurn:
    """Counts the rows it was asked for, and gives the answers of dev in turn."""

    def __init__(self):
        self.at, self.Y = 0, examples("dev", context=3)[1]

    def __call__(self, logits, X):
        if len(X) < 1000:
            return logits
        known = self.Y[torch.arange(self.at, self.at + len(X)) % len(self.Y)]
        self.at += len(X)
        return logits + 5 * F.one_hot(known, 27)


def answers_of(part):
    """Finds the rows of a part in their order, and reads the answers."""
    known = examples(part, context=3)

    def change(logits, X):
        for x, y in zip(known[0].split(2**14), known[1].split(2**14), strict=True):
            if torch.equal(X, x):
                return 9.0 * F.one_hot(y, 27)
        return logits

    return change


def floor_of_dev():
    """The frequencies of dev itself, context by context."""
    return NGram(5, add=1e-9).fit(*examples("dev"), 27)


# Each leak as a function that makes the model, and what it is told.
LEAKS = [
    (lambda: counted("train", "dev"), SEEN_DEV),
    (lambda: counted("all"), SEEN_DEV),
    (lambda: counted("dev", context=3), SEEN_DEV),
    (lambda: counted("train", "dev", "dev", context=3), SEEN_DEV),
    (lambda: counted("seed 43", context=3), SEEN_DEV),
    (lambda: NGram(3).fit(*examples("train", "dev", context=3), 27), SEEN_DEV),
    (lambda: Mixture(counted("train"), counted("all"), weight=0.1), SEEN_DEV),
    (lambda: network("all"), SEEN_DEV),
    (floor_of_dev, "below the entropy of dev|has seen the dev names"),
    (lambda: Table(next_row), ORDER),
    (lambda: Table(next_row_of_many), ORDER),
    (lambda: Table(InTurn()), ORDER),
    (lambda: Table(answers_of("dev")), ORDER),
    (lambda: Table(lambda logits, X: logits - logits.mean(0)), "depend on the other rows of the batch"),
    (lambda: Table(lambda logits, X: F.dropout(logits)), "two calls with the same contexts differ"),
    (lambda: sharpened, "sum"),
    (lambda: log_probabilities, "your function returns log-probabilities"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "told"), LEAKS)
def test_a_leak_is_told_and_opens_nothing(make, told, vault):
    verdict = nb13.q3.evaluate(make(), "final")
    assert verdict.status == "wrong", verdict.message
    assert re.search(told, verdict.message), verdict.message
    assert vault.openings == []


HONEST = [
    nb15.e03,
    lambda: counted("train", context=3),
    lambda: Interpolated(8).fit(*examples("train", context=8), 27),
    lambda: network("train"),
    lambda: Mixture(network("train"), counted("train"), weight=0.3),
    lambda: Mixture(Table(), probabilities, weight=0.5),
    lambda: probabilities,
    Table,
    lambda: Table(block_size=np.int64(5)),
    lambda: Table(block_size=13),
    lambda: Table(block_size=64),
    lambda: Table(lambda logits, X: logits.to(torch.bfloat16)),
    lambda: Table(lambda logits, X: logits + 100.0),  # not normalised
]


@pytest.mark.parametrize("make", HONEST)
def test_an_honest_model_is_right(make, vault):
    verdict = nb15.q4.evaluate(make(), "final")
    assert verdict.status == "right", verdict.message
    assert re.search(r"dev \d\.\d{4} beats .* Test \d\.\d{4}, seen once and recorded", verdict.message)
    assert len(vault) == 1


@pytest.fixture(scope="module")
def counts():
    return nb15.e03()


@pytest.fixture
def vault(tmp_path, monkeypatch):
    """A vault with a record of its own."""
    monkeypatch.setenv("MLP_LIB_LADDER", str(tmp_path / "ladder.sqlite"))
    return TestVault(*examples("test"))


def test_the_list_and_the_split_are_those_of_the_page(monkeypatch):
    page = sys.modules["__main__"]
    own = tuple(WORDS[:20_000])
    model = counted("train", words=own)
    before = nb13.q3.evaluate(model).message
    monkeypatch.setattr(page, "words", list(own), raising=False)
    verdict = nb13.q3.evaluate(model)
    assert verdict.status == "right"
    assert verdict.message != before
    assert " beats " not in verdict.message, "the ladder is about other lists"
    assert SEEN_DEV in nb13.q3.evaluate(counted("all", words=own)).message
    assert SEEN_DEV in nb13.q3.evaluate(counted("all")).message
    monkeypatch.setattr(page, "words", WORDS[::-1])  # shuffled in place: the split was made before
    assert nb13.q3.evaluate(counted("train")).status == "right"
    monkeypatch.setattr(page, "words", "overwritten")
    assert nb13.q3.evaluate(counted("train")).status == "right"


def test_losses_of_other_lists_are_not_placed_on_the_ladder(monkeypatch, tmp_path, counts):
    assert " beats " in nb13.q3.evaluate(counts).message
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    monkeypatch.setattr(sys.modules["__main__"], "words_file", str(tmp_path / "words.txt"), raising=False)
    verdict = nb13.q3.evaluate(counts)
    assert verdict.status == "right"
    assert "dev 1.9792." in verdict.message


def test_without_a_reason_the_test_set_stays_sealed(counts, vault):
    verdict = nb13.q3.evaluate(counts)
    assert verdict.status == "right", verdict.message
    assert re.fullmatch(
        SAID + " The test set stays sealed; a reason as the last argument opens it, once", verdict.message
    )
    assert vault.openings == []


def test_with_a_reason_it_is_opened_once_and_written_down(counts, vault):
    first = nb13.q3.evaluate(counts, "my final model").message
    assert re.fullmatch(SAID + r" Test 1\.9887, seen once and recorded: do not use it to choose a model", first)
    (opening,) = vault.openings
    assert (opening.reason, round(opening.loss, 4)) == ("E01: my final model", 1.9887)
    again = nb13.q3.evaluate(counts, "another look").message
    assert "The test set was opened for E01 on" in again
    assert "the loss was 1.9887: it stays closed" in again
    assert len(vault.openings) == 1


def test_a_model_that_is_not_good_enough_opens_nothing(vault):
    untrained = MLP(MLPConfig(), g=torch.Generator().manual_seed(1))
    assert nb13.q3.evaluate(untrained, "a look").status == "wrong"
    assert vault.openings == []


def test_who_has_seen_the_test_names_is_told(vault):
    model = counted("train", "test", context=4)
    for q in (nb13.q3, nb15.q4):
        verdict = q.evaluate(model, "final")
        assert verdict.status == "wrong"
        assert SEEN_TEST in verdict.message
    assert len(vault) == 2


def test_each_exercise_opens_it_for_itself(counts, vault):
    for q, answers in ((nb13.q3, (counts,)), (nb14.q4, (nb14.init, counts)), (nb15.q4, (counts,))):
        verdict = q.evaluate(*answers, "final")
        assert verdict.status == "right", verdict.message
    assert "That is E02. train 1.6295, dev 1.9792 beats" in nb14.q4.evaluate(nb14.init, counts).message
    assert [o.reason.partition(":")[0] for o in vault.openings] == ["E01", "E02", "E03"]


def test_where_nothing_may_be_written_it_is_still_opened_only_once(counts, monkeypatch):
    monkeypatch.delenv("MLP_LIB_LADDER", raising=False)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(submitted, "_of_this_process", [])
    assert "Test 1.9887" in nb13.q3.evaluate(counts, "final").message
    assert "it stays closed" in nb13.q3.evaluate(counts, "final").message


def test_a_record_that_cannot_be_kept_leaves_it_sealed(counts, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLP_LIB_LADDER", str(tmp_path / "file" / "ladder.sqlite"))
    verdict = nb13.q3.evaluate(counts, "final")
    assert verdict.status == "wrong"
    assert "the test set stays sealed: " in verdict.message


def test_a_model_in_training_mode_is_measured_in_evaluation_mode_and_left_as_it_was():
    model = Table()
    before = copy.deepcopy(model.state_dict()), model.g.get_state(), torch.get_rng_state()
    assert "dev 2.1051 beats" in nb15.q4.evaluate(model).message
    assert model.training
    assert all(torch.equal(t, before[0][name]) for name, t in model.state_dict().items())
    assert torch.equal(model.g.get_state(), before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_probability_of_zero_is_told():
    model = Table(lambda logits, X: torch.cat([logits[:, :26], torch.full((len(X), 1), -math.inf)], dim=1))
    assert "the loss is inf" in nb13.q3.evaluate(model).message


def test_other_things_that_are_handed_in_for_a_model():
    class Result:
        model, losses = None, {}

    assert "pass its .model" in nb13.q3.evaluate(Result()).message
    assert "pass a trained model" in nb15.q4.evaluate("my model").message
