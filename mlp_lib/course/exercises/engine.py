"""The engine of the exercises: it tries an answer on a few cases and names the mistake in it from a table.

An exercise is a solution, the cases it is tried on, and a table of mistakes as code, each with a sentence. Most are
edits of the solution, as a learner might have typed it; others are answers written in a different way:

    q1 = Exercise(
        "3.1",
        "the loss in longhand",
        solution=nll,
        cases=[Case(torch.zeros(1, 2), torch.tensor([0])), ...],
        edits={(".mean()", ".sum()"): "that is the sum over the examples: take the mean", ...},
        wrong=[Wrong(lambda logits, Y: F.cross_entropy(logits.softmax(1), Y), "the softmax was taken twice"), ...],
        right="the mean of -log of the right character's probability.",
        hints=["...", "..."],
    )

`check(answer)` tries the answer on every case. If it equals the solution everywhere, it is right. Else the mistake in
the table that agrees with it is named. If none agrees, the first case that differs is shown, with what was expected.
Order cases from small to large. The tests of an exercise come from its table.
"""

import functools
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mlp_lib.course.exercises.kernel_state import Kernel, flags, fresh, kept_kernel, state
from mlp_lib.course.exercises.told import (
    first_line,
    joined,
    not_attempted,
    note_once,
    patience,
    raised,
    shape_of,
    shown_apart,
    without_annotations,
)
from mlp_lib.course.exercises.values import difference, is_data, numbers, plain, same, show

Status = Literal["open", "right", "wrong"]
_MARKS: dict[Status, str] = {"open": "[ ]", "right": "[ok]", "wrong": "[no]"}


class Refused(Exception):
    """Raised by an `observe` or a `judge`: the answer is wrong, and this sentence says why."""


@dataclass(frozen=True)
class Verdict:
    """The result of a check: `status` is "open" (not attempted), "right" or "wrong"; `message` is the line printed."""

    status: Status
    message: str


class Case:
    """The arguments of one call; a `label`, such as "for 5 rows", replaces the arguments in messages."""

    def __init__(self, *arguments: object, label: str = "") -> None:
        self.arguments = arguments
        self.label = label


@dataclass(frozen=True)
class Wrong:
    """A wrong answer as a learner would write it, and its sentence.

    {case}, {expected} and {got} in the sentence are filled in; a sentence without them follows them.
    """

    answer: object
    says: str


def edited(solution: Callable[..., object], *edits: tuple[str, str]) -> Callable[..., object]:
    """The solution with its source changed: the first text of each pair is replaced by the second.

    >>> edited(lambda x: x + 1, ("+ 1", "+ 2"))
    Traceback (most recent call last):
    ValueError: edited takes a function made with def, and texts that occur in it once, got '+ 1'
    """
    source = _source_of(solution)
    for old, new in edits:
        if source.count(old) != 1 or not source.startswith("def "):
            raise ValueError(f"edited takes a function made with def, and texts that occur in it once, got {old!r}")
        source = source.replace(old, new)
    made = {}
    exec(source, solution.__globals__, made)
    return made[solution.__name__]


@functools.cache
def _source_of(function: Callable[..., object]) -> str:
    return textwrap.dedent(inspect.getsource(function))


@dataclass
class Seen:
    """One call: its value or error, a fault such as a changed argument, what it called, what it drew from."""

    value: object = None
    error: BaseException | None = None
    fault: str = ""
    called: set[str] = field(default_factory=set)
    drew_from: str = ""
    used_generator: bool = False


class Exercise:
    """One exercise: `q.check(answer)`, `q.hint()`, `q.solution()`.

    A key of `edits` is an edit of the solution's source, (old text, new text), or a tuple of several.
    Without `cases` the answer is a value: a number, a word, a list. `solution()` returns it, and the wrong answers are
    values. `observe(answer, *arguments)` replaces the plain call, for answers that are called twice, iterated or
    trained; it may raise Refused. `may_change` has the positions of the arguments that an answer has to change.
    `differentiable` compares gradients too. `forbid` names torch functions that an answer may not call. `near` is the
    sentence for numbers that are off by at most ten tolerances in every case, as in a rough estimate.
    `judge(*answers)` replaces all this where any correct random draw is right, or a trained model is measured. It
    returns the sentence for a right answer (None for `right`) or raises Refused; only the tests then use the table.

    >>> q = Exercise("1.0", "symbols", solution=lambda: 27, wrong=[Wrong(26, "count the boundary too")],
    ...              right="26 letters and the boundary.", hints=["Letters, and one more."])
    >>> q.check(...)
    [ ] 1.0 not attempted yet
    >>> q.check(26)
    [no] 1.0 26: count the boundary too
    >>> q.check(27)
    [ok] 1.0 26 letters and the boundary.
    """

    def __init__(
        self,
        number: str,
        title: str,
        *,
        solution: Callable[..., object],
        hints: Sequence[str],
        right: str = "",
        cases: Sequence[Case] = (),
        edits: Mapping[tuple, str] = {},
        wrong: Sequence[Wrong] = (),
        also_right: Sequence[object] = (),
        observe: Callable[..., object] | None = None,
        judge: Callable[..., str | None] | None = None,
        rtol: float = 1e-4,
        atol: float = 1e-6,
        may_change: Sequence[int] = (),
        differentiable: bool = False,
        forbid: Sequence[str] = (),
        near: str = "",
    ) -> None:
        self.number, self.title, self.solve, self.hints, self.right = number, title, solution, list(hints), right
        typed = {edit: (edit,) if isinstance(edit[0], str) else edit for edit in edits}
        self.wrong = [*(Wrong(edited(solution, *typed[edit]), edits[edit]) for edit in edits), *wrong]
        self.cases, self.also_right = list(cases) or [Case()], list(also_right)
        self.asks_for_value = not cases and judge is None
        self._judge = judge
        self._observe = observe or ((lambda value: value) if self.asks_for_value else _call)
        self._tolerances = {"rtol": rtol, "atol": atol}
        self._may_change, self._differentiable, self._forbid, self._near = may_change, differentiable, forbid, near
        self._names = list(inspect.signature(solution).parameters)
        self._call = f"q{number.split('.')[-1]}.check({solution.__name__})"
        self._hints_given = 0

    def __repr__(self) -> str:
        return f"Exercise {self.number}: {self.title}"

    # ---- what a learner calls ----

    def check(self, *answers: object) -> None:
        """Print the verdict on an answer in one line, and mark a solved exercise of the course on the board of page 00.

        If the board cannot be written, a second line says so, once per kernel. A slow answer is not stopped, but a
        line says how to stop it.
        """
        with patience(self.number):
            verdict = self.evaluate(*answers)
        print(verdict.message)
        if verdict.status == "right" and self.solve.__module__.startswith("mlp_lib.course.exercises.nb"):
            note_once(self.number)

    def hint(self) -> None:
        """Print the next hint; after the last one, start over."""
        k = self._hints_given % len(self.hints)
        print(f"{self.number} hint {k + 1} of {len(self.hints)}: {self.hints[k]}")
        self._hints_given += 1

    def solution(self) -> None:
        """Print one solution: the source of a function that the tests run."""
        print(self.solution_source())

    def solution_source(self) -> str:
        """The source of the solution as it is written on a page: without annotations, which need imports."""
        return without_annotations(textwrap.dedent(inspect.getsource(self.solve)).rstrip())

    # ---- the verdict ----

    def evaluate(self, *answers: object) -> Verdict:
        """The verdict on an answer, without printing. Never raises except on an interrupt, whatever the answer does."""
        try:
            with kept_kernel() as kernel:
                return self._judged(answers, kernel)
        except Refused as mistake:
            return self._verdict("wrong", str(mistake))
        except (Exception, SystemExit) as error:
            return self._verdict("wrong", raised(error))

    def _judged(self, answers: Sequence[object], kernel: Kernel) -> Verdict:
        """The verdict on a right or missing answer; raises Refused for a wrong one."""
        taken = inspect.signature(self._judge).parameters.values() if self._judge else [None]
        needed = sum(p is None or p.default is p.empty for p in taken)
        if not answers or any(not_attempted(a) for a in answers[:needed]):
            return self._verdict("open", "not attempted yet")
        if not needed <= len(answers) <= len(taken):
            told = f"check takes {len(taken)} answer{'s' * (len(taken) > 1)}, got {len(answers)}"
            raise Refused(f"{told}: see the call on the page (put several values into one list)")
        if self._judge is None:
            self._compare(answers[0], kernel)
            return self._verdict("right", self.right)
        said = self._judge(*answers) or self.right
        if kernel.changed():
            raise Refused(kernel.changed())
        return self._verdict("right", said)

    def _verdict(self, status: Status, message: str) -> Verdict:
        return Verdict(status, f"{_MARKS[status]} {self.number} {message}")

    def _compare(self, answer: object, kernel: Kernel) -> None:
        """Raise Refused unless the answer does what the solution does."""
        if not self.asks_for_value and (not callable(answer) or isinstance(answer, types.BuiltinFunctionType)):
            raise Refused(f"pass your own function without calling it: {self._call}")
        expected = self._expected
        seen = [self._see(answer, case, kernel) for case in self.cases]
        for fault in (s.fault for s in seen if s.fault):
            raise Refused(fault)
        differing = sorted(self._differing(seen))
        mistakes = [s.error for s in seen if isinstance(s.error, Refused)]
        forbidden = [name for name in self._forbid if any(name in used for used in seen[0].called)]
        if differing:
            k = differing[0]
            sentence = "" if seen[k].error in mistakes else self._named(seen, differing)
            if mistakes and not sentence:
                raise mistakes[0]
            if sentence or not forbidden:
                sentence = (
                    sentence
                    or _about_chance(seen[k], expected[k])
                    or self._about_misses(seen)
                    or self._about_memory(seen[k], answer, self.cases[k], kernel)
                )
                raise Refused(self._told(self.cases[k], seen[k], expected[k], sentence))
        if forbidden:
            raise Refused(f"your answer calls {forbidden[0]}: write out what it does")
        self._look_at_gradients(answer)

    # ---- what an answer does on one case ----

    def _see(self, answer: object, case: Case, kernel: Kernel) -> Seen:
        """Call the answer on copies of the arguments, and record what happens."""
        arguments = fresh(case.arguments)
        kept = [k for k in range(len(arguments)) if k not in self._may_change]
        before = {k: (state(arguments[k]), flags(arguments[k])) for k in kept}
        generators = [(a, a.get_state()) for a in arguments if isinstance(a, torch.Generator)]
        kernel.start()
        seen = Seen()
        try:
            with _Called(seen.called) if self._forbid else nullcontext():
                seen.value = plain(self._observe(answer, *arguments))
        except (Exception, SystemExit) as error:
            seen.error = error
        seen.fault = kernel.changed()
        seen.drew_from = kernel.drawn()
        seen.used_generator = any(not torch.equal(g.get_state(), start) for g, start in generators)
        changed = next((k for k in kept if state(arguments[k]) != before[k][0]), None)
        if changed is not None and not seen.fault:
            now, how = flags(arguments[changed]), "work on a copy"
            if isinstance(arguments[changed], Tensor):
                how += " (`x -= m`, `x[mask] = 0` and `exp_()` change x itself, `x = x - m` and `exp()` do not)"
            flag = next((name for name, was in before[changed][1].items() if now[name] != was), "")
            how = f"restore its {flag} before you return" if flag else how
            if _has_gradients(arguments[changed]):
                how = "backward() left gradients in it"
            seen.fault = f"your answer changed its argument {self._name(changed)}, which the caller still needs: {how}"
        kernel.start()
        return seen

    @functools.cached_property
    def _expected(self) -> list[Seen]:
        return self._all_seen(self.solve() if self.asks_for_value else self.solve)

    @functools.cached_property
    def _known(self) -> list[tuple[Wrong, list[Seen], set[int]]]:
        """The wrong answers of the table, what each does, and the cases in which it differs from the solution."""
        known = [(wrong, self._all_seen(wrong.answer)) for wrong in self.wrong]
        return [(wrong, seen, self._differing(seen)) for wrong, seen in known]

    def _differing(self, seen: list[Seen]) -> set[int]:
        return {k for k in range(len(seen)) if not self._agree(seen[k], self._expected[k])}

    def _all_seen(self, answer: object) -> list[Seen]:
        with kept_kernel() as kernel:
            return [self._see(answer, case, kernel) for case in self.cases]

    def _agree(self, one: Seen, other: Seen) -> bool:
        """Whether both have the same value, or the same error with the same words (numbers in it may differ)."""
        if one.fault or other.fault:
            return False
        if one.error is None and other.error is None:
            return same(one.value, other.value, **self._tolerances)
        words = [re.sub(r"\d+", "", first_line(s.error)) if s.error else None for s in (one, other)]
        return type(one.error) is type(other.error) and words[0] == words[1]

    # ---- which mistake it is, and the message ----

    def _named(self, seen: list[Seen], differing: list[int]) -> str:
        """The sentence of the wrong answer that does the same on all cases, or on most of those that tell them apart.

        In the second situation it must agree on the first case that went wrong, and agree more than any other. Else
        empty: no guess is better than a misleading one.
        """
        likeness = []
        for wrong, theirs, theirs_differing in self._known:
            agree = {k for k in range(len(seen)) if self._agree(seen[k], theirs[k])}
            if len(agree) == len(seen):
                return wrong.says
            telling = set(differing) | theirs_differing
            if differing[0] in agree:
                likeness.append((len(agree & telling) / len(telling), wrong.says))
        likeness.sort(reverse=True)
        alone = len(likeness) == 1 or (len(likeness) > 1 and likeness[0][0] > likeness[1][0])
        return likeness[0][1] if alone and likeness[0][0] > 0.5 else ""

    def _about_misses(self, seen: list[Seen]) -> str:
        """The sentence `near`, if it fits."""
        wide = {name: 10 * tolerance for name, tolerance in self._tolerances.items()}
        pairs = zip(seen, self._expected, strict=True)
        return self._near if all(s.error is None and same(s.value, e.value, **wide) for s, e in pairs) else ""

    def _about_memory(self, seen: Seen, answer: object, case: Case, kernel: Kernel) -> str:
        """The sentence for an answer that returns something else when called with the same arguments again."""
        if self.asks_for_value or not is_data(seen.value) or self._agree(self._see(answer, case, kernel), seen):
            return ""
        return (
            "the same call gives a different result the second time: either something is kept between calls (a default "
            "such as `seen=[]` is created only once), or something is random"
        )

    def _told(self, case: Case, seen: Seen, expected: Seen, sentence: str) -> str:
        """The message for a case that went wrong, with the sentence if there is one."""
        if seen.error is not None:
            return joined(f"{self._at(case)} {raised(seen.error)}".lstrip(), sentence)
        place, wanted, got = difference(seen.value, expected.value, **self._tolerances)
        at, wanted, got = ", ".join(filter(None, [self._at(case), place])), *shown_apart(wanted, got)
        if any(name in sentence for name in ("{case}", "{expected}", "{got}")):
            return sentence.replace("{case}", at).replace("{expected}", wanted).replace("{got}", got)
        if self.asks_for_value:
            if numbers(expected.value) is not None and numbers(seen.value) is None:
                return f"expected {shape_of(expected.value)}, got {got}"
            return f"{got}: {sentence or 'that is not it; hint() gives hints'}"
        if seen.value is None:
            return f"{at} expected {wanted}, but your function returned None: is a `return` missing?"
        return joined(f"{at}{':' * bool(place)} expected {wanted}, got {got}".lstrip(), sentence)

    def _at(self, case: Case) -> str:
        """The case in words: "for logits [[0, 1]] and Y [0]"."""
        if case.label:
            return case.label
        shown = [f"{self._name(k)} {show(a)}".strip() for k, a in enumerate(case.arguments) if not callable(a)]
        said = [text.replace(" a tensor of shape", " of shape") for text in shown]
        return f"for {', '.join(said[:-1])}{' and ' * (len(said) > 1)}{said[-1]}" if said else ""

    def _name(self, k: int) -> str:
        return self._names[k] if k < len(self._names) else ""

    def _look_at_gradients(self, answer: object) -> None:
        """Raise Refused if the exercise is differentiable and the gradients are not those of the solution."""
        for case, seen in zip(self.cases, self._expected, strict=True) if self._differentiable else ():
            got, expected = self._gradients(answer, case), self._gradients(self.solve, case)
            names = [self._name(k) for k, a in enumerate(case.arguments) if _can_carry_gradient(a)]
            if got is None:
                raise Refused(
                    f"the numbers are right, but no gradient reaches {names[0]}, so nothing can be trained through the "
                    "result: look for detach, item, numpy, a new tensor or no_grad"
                )
            for name, a, b in zip(names, got, expected, strict=True):
                if not same(a, b, **self._tolerances):
                    place, wanted, found = difference(a, b, **self._tolerances)
                    raise Refused(
                        f"{self._at(case)} the result is right, but the gradient that reaches {name} is not"
                        f"{', ' * bool(place)}{place}: expected {show(wanted)}, got {show(found)}"
                        f"{' (for a weighted sum of the result)' * (numbers(seen.value).numel() > 1)}"
                    )

    def _gradients(self, answer: object, case: Case) -> list[Tensor] | None:
        arguments = fresh(case.arguments)
        leaves = [a.requires_grad_() for a in arguments if _can_carry_gradient(a)]
        try:
            out = self._observe(answer, *arguments)
            if _in_pieces(out):
                raise Refused("the numbers are right, but in a list of tensors: return one tensor (torch.stack)")
            # a weighted sum, because the gradients of the plain sum of a softmax cancel
            weights = torch.linspace(0.5, 1.5, out.numel()).view(out.shape) if out.numel() > 1 else 1.0
            return list(torch.autograd.grad((out * weights).sum(), leaves, materialize_grads=True))
        except Refused:
            raise
        except Exception:  # not a tensor, or its history is lost: the answer left torch
            return None


class _Called(TorchFunctionMode):
    """Records the names of the torch functions called while the mode is on, including by helpers of the answer."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def _call(answer: Callable[..., object], *arguments: object) -> object:
    return answer(*arguments)


def _can_carry_gradient(argument: object) -> bool:
    return isinstance(argument, Tensor) and argument.is_floating_point()


def _has_gradients(argument: object) -> bool:
    return isinstance(argument, nn.Module) and any(p.grad is not None for p in argument.parameters())


def _in_pieces(value: object) -> bool:
    """Whether it is a list, perhaps nested, that has a tensor with a gradient history."""
    if isinstance(value, list | tuple):
        return any(_in_pieces(v) or (isinstance(v, Tensor) and v.requires_grad) for v in value)
    return False


def _about_chance(seen: Seen, expected: Seen) -> str:
    """The sentence for numbers that do not come from the generator that was passed in; empty if they do."""
    if expected.used_generator and seen.drew_from:
        return f"something was drawn from {seen.drew_from} global generator, which g does not seed: pass generator=g"
    if expected.used_generator and not seen.used_generator and seen.error is None:
        return "nothing was drawn from the g that was passed in, or it was reset: draw from g itself, not from a copy"
    return ""
