"""Exercises in the old form: their planted mistakes. Goes with `tests/planted` when the last page is converted."""

import functools
import importlib.util
from pathlib import Path

import pytest
from mlp_lib.course.exercises import all_exercises

from mlp_lib.course.exercises import all_exercises


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
