"""Exercises in the old form: their planted mistakes. Goes with `tests/planted` when the last page is converted."""

import functools
import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mlp_lib.course.exercises import all_exercises, nb13, nb16
from mlp_lib.model import MLPConfig

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


def test_every_exercise_has_planted_mistakes():
    for q in (q for q in EXERCISES if not q.wrong):
        messages = [_verdict(k).message for k, (p, *_) in enumerate(MISTAKES) if p is q]
        assert len(messages) >= 2, f"{q!r} has {len(messages)} planted mistakes"
        assert len(set(messages)) == len(messages), f"{q!r}: two mistakes get the same message"


def test_pages_09_to_12_take_answers_in_other_types():
    q = {q.number: q for q in EXERCISES}

    def without_item(model, X, Y, *, steps, lr, batch_size, g):
        lossi = []
        for i in range(steps):
            ix = torch.randint(0, len(X), (batch_size,), generator=g)
            loss = F.cross_entropy(model(X[ix]), Y[ix])
            model.zero_grad()
            loss.backward()
            for p in model.parameters():
                p.data -= lr(i) * p.grad
            lossi.append(loss)
        return lossi

    for number, answer in (
        ("9.1", lambda C, vocab, c, k: np.array(q["9.1"].solve(C, vocab, c, k))),
        ("9.3", lambda C: tuple(q["9.3"].solve(C))),
        ("10.3", lambda losses: np.array(q["10.3"].solve(losses))),
        ("10.4", lambda a, b: np.array(q["10.4"].solve(a, b))),
        ("11.4", without_item),
        ("12.3", lambda samples, train: np.float32(q["12.3"].solve(samples, train))),
        ("12.3", lambda samples, train: Fraction(sum(x not in train for x in samples), len(samples))),
    ):
        verdict = q[number].evaluate(answer)
        assert verdict.status == "right", verdict.message


def test_the_sentence_for_10_2_has_the_figures_of_the_page():
    q = next(q for q in EXERCISES if q.number == "10.2")
    units = q.solve(11_897, 2, 3, 27)
    counted = MLPConfig(27, 3, 2, units).n_parameters
    assert f"{units} units with two numbers per character: {counted:,} parameters" in q.evaluate(q.solve).message


def test_two_numbers_may_be_stacked_and_one_may_have_a_shape():
    stacked = nb13.q3.evaluate(lambda search, again: torch.tensor(nb13.choose(search, again), dtype=torch.float64))
    assert stacked.status == "right", stacked.message
    shaped = nb16.q1.evaluate(lambda widths, batch_size: torch.tensor([nb16.multiply_adds(widths, batch_size)]))
    assert shaped.status == "right", shaped.message
