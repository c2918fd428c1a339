"""What every exercise is made of: a check that names the mistake, hints in steps, and a solution that is tested."""

import ast
import inspect
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from mlp_lib.course.exercises.progress import note_solved

Status = Literal["open", "right", "wrong"]
_PATIENCE = 20.0  # seconds; to measure a model (15.4) takes up to 10
_MARKS: dict[Status, str] = {"open": "[ ]", "right": "[ok]", "wrong": "[no]"}


class Mistake(Exception):
    """Raised by a checker: the answer is wrong, and this sentence says how it shows."""


@dataclass(frozen=True)
class Verdict:
    """What a check found: `status` is "open" (not attempted), "right" or "wrong"; `message` is the line printed."""

    status: Status
    message: str


class Exercise:
    """One exercise: `q.check(answer)`, `q.hint()`, `q.solution()`.

    `checker(answer)` returns the sentence for a right answer or raises `Mistake` with the sentence for a wrong one.
    `answer` is what the learner passes to `check`: a function, a number, a tensor, or several of them. `solution` is
    a function whose source is shown: it is the answer itself or, for a question about a value, it returns the answer.

    >>> def checker(answer):
    ...     if answer != 27:
    ...         raise Mistake(f"{answer} symbols? Count the boundary too.")
    ...     return "26 letters and the boundary."
    >>> q = Exercise("1.0", "symbols", checker, hints=["Letters, and one more."], solution=lambda: 27)
    >>> q.check(...)
    [ ] 1.0 not attempted yet
    >>> q.check(26)
    [no] 1.0 26 symbols? Count the boundary too.
    >>> q.check(27)
    [ok] 1.0 26 letters and the boundary.
    """

    def __init__(
        self,
        number: str,
        title: str,
        checker: Callable[..., str],
        *,
        hints: Sequence[str],
        solution: Callable[..., object],
    ) -> None:
        self.number = number
        self.title = title
        self.hints = list(hints)
        self._checker = checker
        self._solution = solution
        self._hints_given = 0

    def __repr__(self) -> str:
        return f"Exercise {self.number}: {self.title}"

    def evaluate(self, *answers: object) -> Verdict:
        """The verdict on an answer, without printing. Never raises, whatever the answer does; an interrupt passes."""
        wanted = inspect.signature(self._checker).parameters.values()
        needed = sum(p.default is p.empty for p in wanted)
        if not answers or any(_not_attempted(a) for a in answers[:needed]):
            return Verdict("open", f"{_MARKS['open']} {self.number} not attempted yet")
        if not needed <= len(answers) <= len(wanted):
            told = f"check takes {len(wanted)} answer{'s' * (len(wanted) > 1)}, got {len(answers)}"
            return self._line("wrong", f"{told}: see the call on the page (several values go into one list)")
        try:
            return self._line("right", self._checker(*answers))
        except Mistake as mistake:
            return self._line("wrong", str(mistake))
        except (Exception, SystemExit) as error:
            # The learner's code raised (or returned something no check foresaw): say what and where, and go on.
            told = f"your answer raised {type(error).__name__}: {_first_line(error)}"
            return self._line("wrong", told + _where(error, answers))

    def check(self, *answers: object) -> None:
        """Print the verdict on an answer in one line. An exercise of the course, solved, is marked on the board.

        The board is that of notebook 00. If it cannot be written, a second line says so, once in a kernel. An answer
        that takes long is not stopped, but a line says how to.
        """
        with _patience(self.number):
            verdict = self.evaluate(*answers)
        print(verdict.message)
        if verdict.status == "right" and _of_the_course(self._checker):
            _note(self.number)

    def hint(self) -> None:
        """Print the next hint; after the last one, start over."""
        k = self._hints_given % len(self.hints)
        print(f"{self.number} hint {k + 1} of {len(self.hints)}: {self.hints[k]}")
        self._hints_given += 1

    def solution(self) -> None:
        """Print one way to do it: the source of a function that the tests run."""
        print(self.solution_source())

    def solution_source(self) -> str:
        """The source of the solution, as one would write it on the page: without annotations, which need imports."""
        return _without_annotations(textwrap.dedent(inspect.getsource(self._solution)).rstrip())

    @property
    def solve(self) -> Callable[..., object]:
        """The solution as a function, for the tests."""
        return self._solution

    def _line(self, status: Status, message: str) -> Verdict:
        return Verdict(status, f"{_MARKS[status]} {self.number} {message}")


def _of_the_course(checker: Callable[..., str]) -> bool:
    """Whether it stands in one of our modules: an exercise of somebody's own may have the number of one of ours."""
    return (getattr(checker, "__module__", None) or "").startswith("mlp_lib.course.exercises.nb")


def _without_annotations(source: str) -> str:
    """The source of a function with a plain first line, and all below it as it was.

    >>> print(_without_annotations("def half(x: float, *, by: int = 2) -> float:\\n    return x / by  # the half"))
    def half(x, *, by=2):
        return x / by  # the half
    """
    (function,) = ast.parse(source).body
    if not isinstance(function, ast.FunctionDef):  # a lambda has none
        return source
    first = function.body[0].lineno
    function.returns = None
    for node in ast.walk(function.args):
        if isinstance(node, ast.arg):
            node.annotation = None
    function.body = [ast.Pass()]
    return "\n".join([ast.unparse(function).splitlines()[0], *source.splitlines()[first - 1 :]])


@contextmanager
def _patience(number: str) -> Iterator[None]:
    """Say something if what is done here takes long: a loop that never ends looks like a kernel that has died."""
    told = f"({number} has been running for {_PATIENCE:.0f} s. Does your loop end? The square button above stops it)"
    timer = threading.Timer(_PATIENCE, lambda: print(told, flush=True))
    timer.daemon = True
    with suppress(RuntimeError):  # the system has no thread left: then nothing is said
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


_complained = False


def _note(number: str) -> None:
    """Mark an exercise on the board; whatever is wrong with the file is said once, and harms no verdict."""
    global _complained
    try:
        note_solved(number)
    except Exception as error:
        if not _complained:
            print(f"(not marked on the board: {_first_line(error)})")
        _complained = True


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "(no message)"


def _where(error: BaseException, answers: Sequence[object]) -> str:
    """The line of the learner's own code that raised it, if it was one, to stand behind the message."""
    files = {a.__code__.co_filename for a in answers if hasattr(a, "__code__")}
    lines = [f.line for f in traceback.extract_tb(error.__traceback__) if f.filename in files and f.line]
    return f" (in `{lines[-1]}`)" if lines else ""


def _blank() -> None: ...


def _blank_with_docstring() -> None:
    """A docstring and nothing else."""


def _not_attempted(answer: object) -> bool:
    """Whether the answer is still the placeholder: `...`, `None`, or a function whose body is `...` or `pass`."""
    if answer is None or answer is Ellipsis:
        return True
    code = getattr(answer, "__code__", None)
    if code is None or code.co_names:
        return False
    return any(
        code.co_code == blank.__code__.co_code and set(code.co_consts) <= {None, answer.__doc__}
        for blank in (_blank, _blank_with_docstring)
    )
