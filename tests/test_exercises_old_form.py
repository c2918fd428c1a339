"""Exercises in the old form: their planted mistakes. Goes with `tests/planted` when the last page is converted."""

import functools
import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mlp_lib.course.exercises import all_exercises, nb02, nb06, nb07, nb13, nb16

PLANTED = Path(__file__).parent / "planted"
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
EXERCISES = all_exercises()


def _planted(path):
    spec = importlib.util.spec_from_file_location(f"planted_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MISTAKES


MISTAKES = [case for path in sorted(PLANTED.glob("nb*.py")) for case in _planted(path)]


@functools.cache
def _verdict(k):
    """What is said of the k-th planted mistake: some take a second to judge, and two tests ask."""
    q, answer, _ = MISTAKES[k]
    return q.evaluate(*answer) if isinstance(answer, tuple) else q.evaluate(answer)


@pytest.mark.parametrize(
    ("k", "phrase"),
    [(k, phrase) for k, (*_, phrase) in enumerate(MISTAKES)],
    ids=[f"{q.number}-{phrase[:30]}" for q, _, phrase in MISTAKES],
)
def test_a_planted_mistake_is_named(k, phrase):
    verdict = _verdict(k)
    assert verdict.status == "wrong", verdict.message
    assert phrase in verdict.message
    assert "\n" not in verdict.message, "the verdict is one line"


def _lr_that_prints(i):
    print(i)
    return 0.1 if i < 10_000 else 0.01 if i < 15_000 else 0.001


def test_a_rate_is_asked_a_few_times_only(capsys):
    assert nb06.q3.evaluate(_lr_that_prints).status == "right"
    assert capsys.readouterr().out.count("\n") <= 20


def test_a_third_rate_of_zero_is_told_without_a_guess():
    verdict = nb06.q3.evaluate(lambda i: 0.1 if i < 10_000 else 0.01 if i < 15_000 else 0.0)
    assert verdict.message == "[no] 6.3 lr(15,000) is 0, expected 0.001"


def test_a_sweep_may_keep_its_losses_as_tensors():
    def sweep(make_model, X, Y, lrs, g):
        model, lossi = make_model(), []
        for lr in lrs:
            ix = torch.randint(0, X.shape[0], (32,), generator=g)
            loss = F.cross_entropy(model(X[ix]), Y[ix])
            model.zero_grad()
            loss.backward()
            for p in model.parameters():
                p.data -= lr * p.grad
            lossi.append(loss)  # no .item(): torch warns whoever makes a float of it
        return lossi

    assert nb06.q2.evaluate(sweep).status == "right"


def _split_by_two_sizes(words, seed):
    s = random.Random(seed).sample(words, len(words))
    n1, k = int(0.8 * len(s)), int(0.1 * len(s))
    return s[:n1], s[n1 : n1 + k], s[n1 + k :]


def _split_by_numpy(words, seed):
    s = np.random.default_rng(seed).permutation(words)
    return tuple(np.split(s, [int(0.8 * len(s)), int(0.9 * len(s))]))


@pytest.mark.parametrize("split", [_split_by_two_sizes, _split_by_numpy])
def test_other_ways_to_split_are_right(split):
    assert nb07.q1.evaluate(split).status == "right", nb07.q1.evaluate(split).message


def test_a_split_that_moves_a_global_generator_leaves_it_where_it_was():
    def split(words, seed):
        np.random.seed(seed)  # noqa: NPY002 - the mistake is meant
        return words, [], []

    _, before, *_ = np.random.get_state()  # noqa: NPY002
    nb07.q1.evaluate(split)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_a_report_may_come_as_an_array_or_a_map():
    def as_map(model, splits):
        return map(lambda X, Y: F.cross_entropy(model(X), Y).item(), splits[0:4:2], splits[1:4:2])

    assert nb07.q3.evaluate(as_map).status == "right"
    assert nb07.q3.evaluate(lambda model, splits: np.array(nb07.report(model, splits))).status == "right"


@pytest.mark.parametrize(
    "answer",
    [
        lambda X, C: C.detach()[X],
        lambda X, C: C.T[:, X].permute(1, 2, 0),
        lambda X, C: torch.nn.Embedding.from_pretrained(C)(X),
        lambda X, C: torch.index_select(dim=0, index=X.flatten(), input=C).view(*X.shape, -1),
    ],
)
def test_the_table_is_indexed_under_another_name(answer):
    assert "but C was indexed" in nb02.q1.evaluate(answer).message


def test_a_table_changed_in_place_spoils_no_later_check():
    def turned(X, C):
        C.t_()
        return F.one_hot(X, C.shape[1]).float() @ C.T

    assert "not as it was before the call" in nb02.q1.evaluate(turned).message
    assert nb02.q1.evaluate(nb02.one_hot_embed).status == "right"


def test_every_exercise_has_planted_mistakes():
    for q in (q for q in EXERCISES if not q.wrong):
        messages = [_verdict(k).message for k, (p, *_) in enumerate(MISTAKES) if p is q]
        assert len(messages) >= 2, f"{q!r} has {len(messages)} planted mistakes"
        assert len(set(messages)) == len(messages), f"{q!r}: two mistakes get the same message"


def test_two_numbers_may_be_stacked_and_one_may_have_a_shape():
    stacked = nb13.q3.evaluate(lambda search, again: torch.tensor(nb13.choose(search, again), dtype=torch.float64))
    assert stacked.status == "right", stacked.message
    shaped = nb16.q1.evaluate(lambda widths, batch_size: torch.tensor([nb16.multiply_adds(widths, batch_size)]))
    assert shaped.status == "right", shaped.message
