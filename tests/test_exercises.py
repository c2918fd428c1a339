"""Every exercise: its solution is right, its planted mistakes are named, and nothing one passes makes it raise."""

import functools
import importlib.util
import inspect
import sys
from pathlib import Path

import pytest
import torch

from mlp_lib.exercises import Exercise, Mistake, all_exercises

PLANTED = Path(__file__).parent / "planted"
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


def _answers(q):
    """A solution without parameters returns the answer (a tuple is several); one with parameters is the answer."""
    if inspect.signature(q.solve).parameters:
        return (q.solve,)
    answer = q.solve()
    return answer if isinstance(answer, tuple) else (answer,)


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_the_solution_is_right(q):
    verdict = q.evaluate(*_answers(q))
    assert verdict.status == "right", verdict.message
    assert len(verdict.message) > len(f"[ok] {q.number} "), "a right answer deserves a sentence"


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


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_an_exercise_left_alone_is_quiet(q):
    def skeleton(a, b=1): ...

    def documented(a):
        """What it should do."""

    def passed(a):
        pass

    for answer in (None, ..., skeleton, documented, passed):
        assert q.evaluate(answer).message == f"[ ] {q.number} not attempted yet"


def _raises(*args, **kwargs):
    raise RuntimeError("boom")


GARBAGE = [
    0, -1, 1.5, float("nan"), "", "abc", [], {}, object(), True, torch.zeros(0), torch.ones(2, 3),
    print, len, _raises, lambda: None, lambda *a, **k: None, lambda *a, **k: torch.zeros(1), lambda *a, **k: "x",
]  # fmt: skip


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_check_never_raises_and_garbage_is_not_right(q, capsys):
    for answer in GARBAGE:
        q.check(answer)
        line = capsys.readouterr().out
        assert line.startswith(("[no]", "[ ]")), f"{answer!r}: {line}"


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_hints_come_in_steps_and_the_solution_is_shown(q, capsys):
    assert len(q.hints) >= 2
    for k in range(len(q.hints) + 1):
        q.hint()
        shown = k % len(q.hints) + 1
        assert capsys.readouterr().out.startswith(f"{q.number} hint {shown} of {len(q.hints)}: ")
    q.solution()
    assert "def " in capsys.readouterr().out


def test_every_exercise_has_planted_mistakes():
    for q in EXERCISES:
        messages = [_verdict(k).message for k, (p, *_) in enumerate(MISTAKES) if p is q]
        assert len(messages) >= 2, f"{q!r} has {len(messages)} planted mistakes"
        assert len(set(messages)) == len(messages), f"{q!r}: two mistakes get the same message"


def test_numbers_are_unique_and_in_order():
    numbers = [q.number for q in EXERCISES]
    assert len(set(numbers)) == len(numbers)


def test_a_checker_that_raises_says_so():
    q = Exercise("9.9", "broken", lambda answer: answer.missing, hints=["a", "b"], solution=lambda: 1)
    assert (
        q.evaluate(1).message == "[no] 9.9 your answer raised AttributeError: 'int' object has no attribute 'missing'"
    )


def test_an_answer_that_wants_to_leave_is_wrong_and_an_interrupt_passes():
    q = Exercise("9.9", "leaves", lambda answer: answer(), hints=["a", "b"], solution=lambda: 1)
    assert q.evaluate(lambda: sys.exit("bye")).message == "[no] 9.9 your answer raised SystemExit: bye"

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        q.evaluate(interrupted)


def test_a_mistake_is_shown_as_it_is():
    def checker(answer):
        raise Mistake("the third row is shifted")

    q = Exercise("9.9", "shift", checker, hints=["a", "b"], solution=lambda: 1)
    assert q.evaluate(1).message == "[no] 9.9 the third row is shifted"
