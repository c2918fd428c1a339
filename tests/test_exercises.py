"""Every exercise, from its own table: each wrong answer gets its sentence, each right one passes, nothing is left."""

import ast
import functools
import inspect
import math
import random
import re
import sys
import time
import warnings
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from mlp_lib.course.exercises import Refused, all_exercises, told
from mlp_lib.course.exercises.answers import matching
from mlp_lib.course.exercises.engine import Case, Exercise, Wrong
from mlp_lib.course.exercises.kernel_state import SETTINGS, state

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
EXERCISES = all_exercises()
WRONG = [(q, wrong) for q in EXERCISES for wrong in q.wrong]


def _kernel():
    """What no check may leave changed."""
    settings = [setting.read() for setting in SETTINGS]
    numpy_state = np.random.get_state()  # noqa: NPY002
    generators = [torch.get_rng_state().tolist(), random.getstate(), numpy_state[1].tolist(), numpy_state[2:]]
    return [*settings, *generators, list(warnings.filters)]


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = _kernel()
    yield
    assert _kernel() == before


# ---- the tables ------------------------------------------------------------------------------------------------------


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


def _says(sentence, message):
    """Whether a message holds a sentence, whatever stands in its fields."""
    parts = [re.escape(part) for part in re.split(r"\{(?:case|expected|got)\}", sentence)]
    return re.search(".*".join(parts), message) is not None


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_solution_is_right_where_it_is_pasted(q):
    verdict = q.evaluate(*_answers(q))
    assert verdict.status == "right", verdict.message
    assert len(verdict.message) > len(f"[ok] {q.number} "), "a right answer deserves a sentence"


@pytest.mark.parametrize("q", [q for q in EXERCISES if q._judge is None], ids=lambda q: q.number)
def test_the_solution_gives_a_value_on_every_case(q):
    """An error of the solution would become what is expected of answers."""
    assert not [(k, seen.error or seen.fault) for k, seen in enumerate(q._expected) if seen.error or seen.fault]


@pytest.mark.parametrize(("q", "wrong"), WRONG, ids=[f"{q.number}-{wrong.says[:40]}" for q, wrong in WRONG])
def test_wrong_answer_gets_its_own_sentence(q, wrong):
    verdict = q.evaluate(*wrong.answer) if isinstance(wrong.answer, tuple) else q.evaluate(wrong.answer)
    assert verdict.status == "wrong", verdict.message
    assert "\n" not in verdict.message
    said = [other.says for other in q.wrong if _says(other.says, verdict.message) and other.says not in wrong.says]
    assert _says(wrong.says, verdict.message), verdict.message
    assert said == []


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_other_right_answers_are_right(q):
    for answer in q.also_right:
        verdict = q.evaluate(*answer) if isinstance(answer, tuple) else q.evaluate(answer)
        assert verdict.status == "right", verdict.message


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_sentences_of_a_table_differ(q):
    assert len({wrong.says for wrong in q.wrong}) == len(q.wrong) >= 2


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_exercise_left_alone_is_quiet(q):
    def skeleton(a, b=1): ...

    def documented(a):
        """What it should do."""

    def passed(a):
        pass

    for answer in (None, ..., skeleton, documented, passed):
        assert q.evaluate(answer).message == f"[ ] {q.number} not attempted yet"


def _equal_units(config, g):
    C, W1, b1, W2, b2 = (torch.randn(shape, generator=g) for shape in config.shapes.values())
    return C, 0 * W1 + 1, 0 * b1, 0 * W2, 0 * b2


def _by_units(config, g):
    C, W1, b1, W2, b2 = (torch.randn(shape, generator=g) for shape in config.shapes.values())
    return C, W1 * config.n_hidden**-0.5, 0 * b1, 0.01 * W2, 0 * b2


@pytest.mark.parametrize(
    ("init", "told"),
    [(_equal_units, "all 200 hidden units are equal"), (_by_units, "n_hidden=20) the first loss is right")],
)
def test_saturated_start_is_told_why(init, told):
    [q] = [q for q in EXERCISES if q.number == "14.4"]
    assert told in q.evaluate(init).message


def _raises(*args, **kwargs):
    raise RuntimeError("boom")


class _Hostile:
    """Nothing can be asked of it."""

    def __getattribute__(self, name):
        raise ValueError("no")


GARBAGE = [
    0, -1, 1.5, float("nan"), "", "abc", [], {}, object(), True, torch.zeros(0), torch.ones(2, 3), _Hostile(),
    print, len, _raises, lambda: None, lambda *a, **k: None, lambda *a, **k: torch.zeros(1), lambda *a, **k: "x",
    lambda *a, **k: _Hostile(), lambda *a, **k: a, torch.nn.Linear(1, 1),
]  # fmt: skip


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_check_never_raises_and_garbage_is_not_right(q, capsys):
    for answer in GARBAGE:
        q.check(answer)
        line = capsys.readouterr().out
        assert line.startswith(("[no]", "[ ]")), line


@pytest.mark.parametrize("q", EXERCISES, ids=lambda q: q.number)
def test_hints_come_in_steps_and_the_solution_is_shown(q, capsys):
    assert len(q.hints) >= 2
    for k in range(len(q.hints) + 1):
        q.hint()
        shown = k % len(q.hints) + 1
        assert capsys.readouterr().out.startswith(f"{q.number} hint {shown} of {len(q.hints)}: ")
    q.solution()
    assert "def " in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        lambda X, C: C.detach()[X],
        lambda X, C: (C + 0)[X],
        lambda X, C: C.T[:, X].permute(1, 2, 0),
        lambda X, C: torch.nn.Embedding.from_pretrained(C)(X),
        lambda X, C: torch.index_select(dim=0, index=X.flatten(), input=C).view(*X.shape, -1),
    ],
)
def test_a_lookup_under_another_name_is_no_product(answer):
    [q] = [q for q in EXERCISES if q.number == "2.3"]
    assert "C was indexed" in q.evaluate(answer).message


def test_numbers_are_unique():
    numbers = [q.number for q in EXERCISES]
    assert len(set(numbers)) == len(numbers)


def test_split_that_needs_the_hash_of_a_text_is_another_in_another_process():
    q = next(q for q in EXERCISES if q.number == "7.1")
    for seed_of in (
        lambda words, seed: hash((tuple(words), seed)),
        lambda words, seed: hash(" ".join(words)) + seed,
        lambda words, seed: hash((f"{words}", (seed,))),
        lambda words, seed: f"{seed} {list(set(words))}",
    ):
        answer = lambda words, seed, seed_of=seed_of: q.solve(words, seed_of(words, seed))  # noqa: E731
        assert "in a different process this gives a different split" in q.evaluate(answer).message
    assert "hash" not in globals()
    for seed_of in (lambda words, seed: hash((seed, len(words))), lambda words, seed: f"{seed} {sorted(set(words))}"):
        answer = lambda words, seed, seed_of=seed_of: q.solve(words, seed_of(words, seed))  # noqa: E731
        assert q.evaluate(answer).status == "right"


# ---- the engine ------------------------------------------------------------------------------------------------------


def double(x, g):
    return 2 * x


def _exercise(**changes):
    given = {
        "solution": double,
        "cases": [Case(torch.tensor([k, 2.0 * k]), torch.Generator().manual_seed(k)) for k in range(1, 4)],
        "right": "twice as large.",
        "hints": ["a", "b"],
    }
    return Exercise("9.1", "double", **(given | changes))


def _value(solution, **changes):
    return Exercise("9.2", "value", solution=lambda: solution, right="yes.", hints=["a", "b"], **changes)


def _leaving(change):
    def answer(x, g):
        change(x)
        return 2 * x

    return answer


def _change_numpy(x):
    np.random.seed(5)  # noqa: NPY002 - the mistake is meant


# What it does to the kernel, and how it is told; an empty sentence: it is put back without a word.
LEFT = [
    (lambda x: torch.set_grad_enabled(False), "turned gradients off for the whole kernel (torch.set_grad_enabled)"),
    (lambda x: torch.no_grad().__enter__(), "turned gradients off for the whole kernel"),
    (lambda x: kept.append(torch.inference_mode()) or kept[-1].__enter__(), "entered torch.inference_mode()"),
    (lambda x: torch.set_default_dtype(torch.float64), "the default type of all new tensors"),
    (lambda x: torch.set_num_threads(torch.get_num_threads() + 1), "torch.set_num_threads"),
    (lambda x: torch.use_deterministic_algorithms(True, warn_only=True), "torch.use_deterministic_algorithms"),
    (lambda x: torch.set_anomaly_enabled(True), "anomaly detection"),
    (lambda x: torch.manual_seed(5), ""),
    (lambda x: random.seed(5), ""),
    (_change_numpy, ""),
    (lambda x: warnings.simplefilter("error"), ""),
    (lambda x: x.mul_(2), "changed its argument x"),
    (lambda x: x.requires_grad_(), "changed its argument x, which the caller still needs: restore its requires_grad"),
    (lambda x: x.unsqueeze_(0), "changed its argument x"),
    (lambda x: setattr(x, "grad", torch.ones(2)), "changed its argument x"),
]  # fmt: skip
kept = []


@pytest.mark.parametrize(("change", "sentence"), LEFT)
def test_nothing_is_left_behind_and_a_change_is_told(change, sentence):
    q = _exercise()
    before = [state(case.arguments) for case in q.cases]
    verdict = q.evaluate(_leaving(change))
    assert (verdict.status == "right") == (not sentence), verdict.message
    assert sentence in verdict.message
    kept.clear()
    assert [state(case.arguments) for case in q.cases] == before
    assert q.evaluate(double).status == "right"


def test_kernel_of_the_page_refuses_no_right_answer():
    q = _exercise(differentiable=True)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            assert q.evaluate(double).status == "right"
            assert not torch.is_grad_enabled()
        with torch.inference_mode():
            assert q.evaluate(double).status == "right"
            assert torch.is_inference_mode_enabled()
    finally:
        torch.set_default_dtype(torch.float32)


def test_state_of_arguments_in_lists_and_modules_is_kept():
    def total(model, tensors):
        return model(tensors[0]).sum()

    with torch.random.fork_rng():
        model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Dropout(0.0))
    q = _exercise(solution=total, cases=[Case(model, [torch.ones(2)])])
    back = "restore its {} before you return"
    for change, how in (
        (lambda model, tensors: model.eval(), back.format("mode (train or eval)")),
        (lambda model, tensors: model.requires_grad_(False), back.format("requires_grad")),
        (lambda model, tensors: model[0].weight.data.zero_(), "work on a copy"),
        (lambda model, tensors: total(model, tensors).backward(), "backward() left gradients in it"),
    ):
        answer = lambda model, tensors, change=change: total(model, tensors) + 0 * bool(change(model, tensors))  # noqa: E731
        said = q.evaluate(answer).message
        assert said.endswith(f"changed its argument model, which the caller still needs: {how}"), said
    assert "changed its argument tensors" in q.evaluate(lambda m, t: total(m, [t.pop()])).message
    assert model.training
    assert model[0].weight.requires_grad
    assert model[0].weight.grad is None


def test_an_argument_that_may_change_may_change():
    q = _exercise(observe=lambda answer, x, g: [answer(x, g), x], solution=lambda x, g: x.mul_(2), may_change=[0])
    assert q.evaluate(lambda x, g: x.mul_(2)).status == "right"
    assert q.evaluate(double).message == (
        "[no] 9.1 for x [1, 2] and g seeded with 1 expected [[2, 4], [2, 4]], got [[2, 4], [1, 2]]"
    )


def test_unforeseen_answer_gets_the_smallest_case_and_no_guess():
    q = _exercise(wrong=[Wrong(lambda x, g: x, "it is not doubled"), Wrong(lambda x, g: 4 * x, "doubled twice")])
    told = "[no] 9.1 for x [1, 2] and g seeded with 1 expected [2, 4], got [1.5, 2.5]"
    assert q.evaluate(lambda x, g: x + 0.5).message == told
    assert q.evaluate(lambda x, g: x[:1]).message == (
        "[no] 9.1 for x [1, 2] and g seeded with 1 expected shape (2,), got shape (1,)"
    )
    # As wrong as a known answer in one case of three, and wrong or right in the others; then in two of three.
    for other in (3, 2):
        once = q.evaluate(lambda x, g, other=other: x * (1 if x[0] == 1 else other))
        assert once.message == "[no] 9.1 for x [1, 2] and g seeded with 1 expected [2, 4], got [1, 2]"
    assert q.evaluate(lambda x, g: x * (1 if x[0] < 3 else 3)).message.endswith("got [1, 2]: it is not doubled")
    assert q.evaluate(lambda x, g: x * (2 if x[0] < 2 else 4)).message.endswith("got [8, 16]: doubled twice")


def test_numbers_that_look_the_same_are_shown_apart():
    q = _exercise(solution=lambda x, g: x[0].item(), rtol=0, atol=0)
    assert q.evaluate(lambda x, g: x[0].item() + 1e-7).message.endswith("expected 1, got 1.0000001")
    table = _exercise(atol=0, rtol=0).evaluate(lambda x, g: 2 * x.double() + 1e-7)
    assert table.message.endswith("entry [0]: expected 2, got 2.0000001")
    noise = _exercise(solution=lambda x, g: torch.stack([x[0], x[1] * 1e-12, x[1] * 0]).double())
    assert noise.evaluate(lambda x, g: [3, 0, 0]).message.endswith("expected [1, 0, 0], got [3, 0, 0]")


def test_sentence_with_fields_stands_alone():
    q = _exercise(wrong=[Wrong(lambda x, g: x, "{case}: {got}? {expected} is twice that")])
    assert (
        q.evaluate(lambda x, g: x).message == "[no] 9.1 for x [1, 2] and g seeded with 1: [1, 2]? [2, 4] is twice that"
    )


def test_draws_from_elsewhere_are_told():
    q = _exercise(solution=lambda x, g: torch.randn(2, generator=g))
    assert (
        "from torch's global generator" in q.evaluate(lambda x, g: torch.randn(2, generator=g) + torch.randn(2)).message
    )
    assert "from NumPy's global generator" in q.evaluate(lambda x, g: np.random.randn(2)).message  # noqa: NPY002
    assert "from Python's global generator" in q.evaluate(lambda x, g: [random.random()] * 2).message
    assert "nothing was drawn from the g that was passed in" in q.evaluate(lambda x, g: x).message
    assert q.evaluate(lambda x, g: torch.randn(2, generator=g) + 1).message.count(":") == 0


def test_gradients_are_compared_where_they_matter():
    q = _exercise(differentiable=True)
    for detached in (lambda x, g: 2 * x.detach(), lambda x, g: 2 * x.numpy(), lambda x, g: (2 * x).tolist()):
        assert "no gradient reaches x" in q.evaluate(detached).message
        assert _exercise().evaluate(detached).status == "right"
    twisted = q.evaluate(lambda x, g: x + x.detach())
    said = "the gradient that reaches x is not: expected [1, 3], got [0.5, 1.5] (for a weighted sum of the result)"
    assert said in twisted.message


def test_result_in_pieces_is_told_where_a_gradient_would_reach_the_argument():
    q = _exercise(differentiable=True)
    for pieces in (lambda x, g: [2 * v for v in x], lambda x, g: tuple(2 * x)):
        assert "in a list of tensors: return one tensor" in q.evaluate(pieces).message
        assert _exercise().evaluate(pieces).status == "right"


def test_what_is_kept_from_call_to_call_is_told():
    def keeping(x, g, seen=[]):  # noqa: B006 - the mistake
        seen.append(x)
        return 2 * sum(seen)

    said = "the same call gives a different result the second time: either something is kept"
    assert said in _exercise().evaluate(keeping).message
    assert said not in _exercise().evaluate(lambda x, g: {x: lambda: x}).message, "two functions are never equal"
    assert "again" not in _exercise().evaluate(lambda x, g: torch.randn(2)).message


def test_near_misses_have_a_sentence_of_their_own():
    q = _exercise(atol=0.1, rtol=0, near="take more draws", wrong=[Wrong(lambda x, g: 2 * x + 0.25, "no quarter")])
    assert q.evaluate(lambda x, g: 2 * x + 0.5).message.endswith(": take more draws")
    assert "take more draws" not in q.evaluate(lambda x, g: 2 * x + 1.5).message
    assert q.evaluate(lambda x, g: 2 * x + 0.25).message.endswith(": no quarter")


def test_forbidden_function_is_found_in_helpers():
    q = _exercise(solution=lambda x, g: x.softmax(0), forbid=["softmax"])
    assert (
        "calls softmax: write out what it does" in q.evaluate(lambda x, g: (lambda t: torch.softmax(t, 0))(x)).message
    )
    assert q.evaluate(lambda x, g: x.exp() / x.exp().sum()).status == "right"


def test_values_in_any_style():
    assert _value(2.5).evaluate(np.float32(2.5)).status == "right"
    assert _value(2.5).evaluate(torch.tensor([2.5])).status == "right"
    assert _value(27).evaluate(27.0).status == "right"
    assert _value(100_000).evaluate(100_001).status == "wrong", "whole numbers are exact"
    assert _value([1.0, 2.0]).evaluate(np.array([1, 2])).status == "right"
    assert _value([1, 2]).evaluate(map(int, "12")).status == "right"
    assert _value([torch.zeros(2), torch.zeros(3)]).evaluate((np.zeros(2), [0, 0, 0])).status == "right"
    assert _value([True, False]).evaluate(torch.tensor([True, False])).status == "right"
    assert _value(1).evaluate(True).status == "wrong"
    assert _value(math.nan).evaluate(float("nan")).status == "right"
    assert _value(math.inf).evaluate(1e308).status == "wrong"
    assert _value({"a": [1.0]}).evaluate({"a": torch.ones(1)}).status == "right"
    assert _value("word").evaluate("word").status == "right"
    assert _value(3.0).evaluate("3.0").message == "[no] 9.2 expected one number, got '3.0'"
    assert _value(3.0).evaluate(2.0).message == "[no] 9.2 2: that is not it; hint() gives hints"


def test_whatever_can_be_called_is_taken():
    class Doubled(torch.nn.Module):
        def forward(self, x, g):
            return 2 * x

    class Pair(list):
        def __init__(self, x, g):
            super().__init__(2 * x)

    q = _exercise()
    for answer in (Doubled(), Pair, functools.partial(lambda by, x, g: by * x, 2), lambda x, g: (2 * x).numpy()):
        assert q.evaluate(answer).status == "right", q.evaluate(answer).message
    for answer in (abs, 3, "abs", torch.exp):
        assert q.evaluate(answer).message.endswith("pass your own function without calling it: q1.check(double)")


def test_error_is_told_with_the_case_and_the_learners_line():
    def stacked(x, g):
        return torch.stack(x.tolist())  # raises below this line, in torch

    said = _exercise().evaluate(stacked).message
    assert said.startswith("[no] 9.1 for x [1, 2] and g seeded with 1 your answer raised TypeError: ")
    assert said.endswith("(in `return torch.stack(x.tolist())  # raises below this line, in torch`)")
    q = _exercise(wrong=[Wrong(lambda x, g: x[5], "that is one number, and out of range")])
    assert q.evaluate(lambda x, g: x[7]).message.endswith(": that is one number, and out of range")
    assert q.evaluate(lambda x, g: [][7]).message.endswith("`)"), "another IndexError is another mistake"


def test_answer_that_wants_to_leave_is_wrong_and_an_interrupt_passes():
    def interrupted(x, g):
        raise KeyboardInterrupt

    left = _exercise().evaluate(lambda x, g: sys.exit("bye"))
    assert "your answer raised SystemExit: bye" in left.message
    with pytest.raises(KeyboardInterrupt):
        _exercise().evaluate(interrupted)


def test_judge_returns_the_sentence_or_raises_the_mistake():
    def judge(answer, reason=""):
        if answer != 1:
            raise Refused("it is not 1")
        return "one." if reason else None

    q = Exercise("9.3", "judged", solution=lambda: 1, judge=judge, right="yes.", hints=["a", "b"])
    assert q.evaluate(2).message == "[no] 9.3 it is not 1"
    assert q.evaluate(1).message == "[ok] 9.3 yes."
    assert q.evaluate(1, "why").message == "[ok] 9.3 one."
    assert q.evaluate(1, None).status == "right"
    assert "check takes 2 answers, got 3: see the call on the page" in q.evaluate(1, 2, 3).message
    assert "check takes 1 answer, got 2" in _exercise().evaluate(double, 2).message


def test_matching_exercise_has_a_wrong_answer_for_each_report():
    reports = {"A": (2, "it rises."), "B": (3, "it is flat."), "C": (1, "it falls.")}
    statements = {1: "one", 2: "two", 3: "three", 4: "four"}
    given = matching(reports, statements, "curve {} is not {}")
    q = Exercise("9.4", "match", solution=lambda: [2, 3, 1], right="yes.", hints=["a", "b"], **given)
    for answer in ([2, 3, 1], "2, 3, 1", {"C": 1, "A": 2, "B": 3}, np.array([2, 3, 1]), "231"):
        assert q.evaluate(answer).status == "right"
    assert [q.evaluate(wrong.answer).message for wrong in q.wrong] == [
        "[no] 9.4 curve A is not 3 (three): it rises.",
        "[no] 9.4 curve B is not 1 (one): it is flat.",
        "[no] 9.4 curve C is not 4 (four): it falls.",
    ]
    assert "2 is given 2 times" in q.evaluate([2, 2, 1]).message
    assert "this gives the letter for each number, 1 for A" in q.evaluate([3, 1, 2]).message
    for answer in ([math.inf, 2, 1], [2, 3], "abc", 5):
        assert "expected 3 numbers from 1 to 4, for A, B and C" in q.evaluate(answer).message


def test_slow_answer_is_told_how_to_be_stopped(capsys, monkeypatch):
    monkeypatch.setattr(told, "_PATIENCE", 0.1)
    q = Exercise("9.9", "patience", solution=lambda: 1, judge=lambda answer: answer(), hints=["a"], right="at last.")
    q.check(lambda: time.sleep(1.0))
    line, verdict = capsys.readouterr().out.splitlines()
    assert line.startswith("(9.9 has been running for")
    assert "button above stops it" in line
    assert verdict == "[ok] 9.9 at last."
    q.check(lambda: time.sleep(0.0))
    time.sleep(0.3)
    assert capsys.readouterr().out == "[ok] 9.9 at last.\n"


def test_verdict_comes_where_no_thread_can_be_had(capsys, monkeypatch):
    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", no_thread)
    _value(1).check(1)
    assert capsys.readouterr().out == "[ok] 9.2 yes.\n"
