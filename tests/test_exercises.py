"""Every exercise: its solution is right, its planted mistakes are named, and nothing one passes makes it raise."""

import ast
import functools
import importlib.util
import inspect
import math
import random
import sys
import time
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mlp_lib.course.exercises import Exercise, Mistake, all_exercises, nb02, nb03, nb06, nb07, nb13, nb16
from mlp_lib.course.exercises.answers import matched, own_function
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


@functools.cache
def _imports(number):
    """What a page imports, and its parameters: where somebody stands who does its exercises."""
    [page] = NOTEBOOKS.glob(f"{int(number.split('.')[0]):02}_*.ipynb")
    cells = [cell for cell in nbformat.read(page, as_version=4).cells if cell.cell_type == "code"]
    parameters = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    nodes = [node for cell in cells if "%" not in cell.source[:1] for node in ast.parse(cell.source).body]
    imports = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(imports + parameters)


def _answers(q):
    """The solution as it is shown, pasted into its page.

    One without parameters returns the answer (a tuple is several); one with parameters is the answer.
    """
    page = {}
    exec(_imports(q.number), page)
    exec(q.solution_source(), page)
    solve = page[q.solve.__name__]
    if inspect.signature(solve).parameters:
        return (solve,)
    answer = solve()
    return answer if isinstance(answer, tuple) else (answer,)


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_the_solution_is_right_where_it_is_pasted(q):
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


def logsumexp(shifted):
    """A learner's own: it only has the name of the ready-made one."""
    return shifted.exp().sum(1).log()


def _with_a_helper(logits, Y):
    shifted = logits - logits.max(1, keepdim=True).values
    return (logsumexp(shifted) - shifted[torch.arange(len(Y)), Y]).mean()


def _with_nll_loss(logits, Y):
    shifted = logits - logits.max(1, keepdim=True).values
    return F.nll_loss(shifted - shifted.exp().sum(1, keepdim=True).log(), Y)


@pytest.mark.parametrize("answer", [_with_a_helper, _with_nll_loss])
def test_a_stable_loss_may_use_what_the_page_does_not_forbid(answer):
    assert nb03.q4.evaluate(answer).status == "right", nb03.q4.evaluate(answer).message


def test_a_loss_may_come_as_a_number_of_numpy():
    assert nb03.q1.evaluate(lambda logits, Y: nb03.nll(logits, Y).numpy()).status == "right"
    assert nb03.q4.evaluate(lambda logits, Y: nb03.stable_nll(logits, Y).numpy()[()]).status == "right"
    assert nb03.q2.evaluate(torch.tensor(3.0445).numpy()[()]).status == "right"


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
    for q in EXERCISES:
        messages = [_verdict(k).message for k, (p, *_) in enumerate(MISTAKES) if p is q]
        assert len(messages) >= 2, f"{q!r} has {len(messages)} planted mistakes"
        assert len(set(messages)) == len(messages), f"{q!r}: two mistakes get the same message"


def test_numbers_are_unique():
    numbers = [q.number for q in EXERCISES]
    assert len(set(numbers)) == len(numbers)


def test_a_checker_that_raises_says_so():
    q = Exercise("9.9", "broken", lambda answer: answer.missing, hints=["a", "b"], solution=lambda: 1)
    assert (
        q.evaluate(1).message == "[no] 9.9 your answer raised AttributeError: 'int' object has no attribute 'missing'"
    )


def test_an_answer_that_wants_to_leave_is_wrong_and_an_interrupt_passes():
    q = Exercise("9.9", "leaves", lambda answer: answer(), hints=["a", "b"], solution=lambda: 1)

    def leave():
        sys.exit("bye")

    said = '[no] 9.9 your answer raised SystemExit: bye (in `sys.exit("bye")`)'
    assert q.evaluate(leave).message == said

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        q.evaluate(interrupted)


def test_the_line_that_raised_is_the_learners_own():
    def head(values):
        return torch.stack(values)  # raises below this line, in torch

    q = Exercise("9.9", "head", lambda answer: answer([]), hints=["a", "b"], solution=lambda: 1)
    assert q.evaluate(head).message.endswith("(in `return torch.stack(values)  # raises below this line, in torch`)")
    assert q.evaluate(functools.partial(head)).message.endswith("TensorList")  # what is no plain function has no line


def test_check_says_how_many_answers_it_takes():
    one = Exercise("9.9", "one", lambda answer: "", hints=["a", "b"], solution=lambda: 1)
    said = "[no] 9.9 check takes 1 answer, got 4: see the call on the page (several values go into one list)"
    assert one.evaluate(3, 1, 4, 2).message == said
    two = Exercise("9.9", "two", lambda low, high: "", hints=["a", "b"], solution=lambda: (1, 2))
    assert "check takes 2 answers, got 1" in two.evaluate(3).message
    assert two.evaluate(3, None).status == "open"
    reason = Exercise("9.9", "reason", lambda model, reason="": "", hints=["a", "b"], solution=lambda: 1)
    assert reason.evaluate(3, None).status == "right"


def test_a_function_may_be_anything_that_is_called():
    for answer in (functools.cache(abs), functools.partial(abs), torch.nn.Flatten()):
        assert own_function(answer, "q1.check(f)") is None
    for answer in (abs, torch.nn.Flatten, 3, "abs", torch.exp):
        with pytest.raises(Mistake, match=r"hand over your own function, without calling it: q1.check\(f\)"):
            own_function(answer, "q1.check(f)")


def test_a_mistake_is_shown_as_it_is():
    def checker(answer):
        raise Mistake("the third row is shifted")

    q = Exercise("9.9", "shift", checker, hints=["a", "b"], solution=lambda: 1)
    assert q.evaluate(1).message == "[no] 9.9 the third row is shifted"


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


def test_an_answer_that_takes_long_is_told_how_to_be_stopped(capsys, monkeypatch):
    monkeypatch.setattr("mlp_lib.course.exercises.base._PATIENCE", 0.1)

    def checker(answer):
        answer()
        return "at last."

    def interrupted():
        raise KeyboardInterrupt

    q = Exercise("9.9", "patience", checker, hints=["a hint"], solution=lambda: None)
    q.check(lambda: time.sleep(1.0))
    told, verdict = capsys.readouterr().out.splitlines()
    assert told.startswith("(9.9 has been running for")
    assert "button above stops it" in told
    assert verdict == "[ok] 9.9 at last."
    q.check(lambda: time.sleep(0.0))
    with pytest.raises(KeyboardInterrupt):
        q.check(interrupted)
    time.sleep(0.3)
    assert capsys.readouterr().out == "[ok] 9.9 at last.\n"


def test_where_no_thread_can_be_had_the_verdict_comes_all_the_same(capsys, monkeypatch):
    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", no_thread)
    Exercise("9.9", "alone", lambda answer: "Right.", hints=["a hint"], solution=lambda: None).check(1)
    assert capsys.readouterr().out == "[ok] 9.9 Right.\n"


def test_infinity_is_none_of_the_numbers_asked_for():
    with pytest.raises(Mistake, match="expected 2 numbers from 1 to 2, for a and b"):
        matched([math.inf, 2], {"a": (1, "x"), "b": (2, "y")}, {1: "x", 2: "y"}, "{} is not {}")
