"""Small parts of the engine: how long an answer may take, where it raised, what counts as not attempted."""

import ast
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlp_lib.course.exercises.progress import note_solved
from mlp_lib.course.exercises.values import numbers, show

_PATIENCE = 20.0  # seconds; to measure a model (15.4) takes up to 10
_LONGEST_ERROR = 120  # characters; PyTorch's allocator writes 170
_INSTALLED = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_NOT_THE_LEARNERS = ("<", *_INSTALLED, str(Path(__file__).parents[2]))
_complained = False


@contextmanager
def patience(number: str) -> Iterator[None]:
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


def note_once(number: str) -> None:
    """Mark an exercise on the board; whatever is wrong with the file is said once, and harms no verdict."""
    global _complained
    try:
        note_solved(number)
    except Exception as error:
        if not _complained:
            print(f"(not marked on the board: {first_line(error)})")
        _complained = True


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "(no message)"


def where_raised(error: BaseException) -> str:
    """The last line of the learner's own code on the way to the error, to stand behind the message."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f.line for f in frames if f.line and not f.filename.startswith(_NOT_THE_LEARNERS)]
    return f" (in `{own[-1]}`)" if own else ""


def _blank() -> None: ...


def _blank_with_docstring() -> None:
    """A docstring and nothing else."""


def not_attempted(answer: object) -> bool:
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


def without_annotations(source: str) -> str:
    """The source of a function with a plain first line, and all below it as it was.

    >>> print(without_annotations("def half(x: float, *, by: int = 2) -> float:\\n    return x / by  # the half"))
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


def joined(told: str, sentence: str) -> str:
    """What was seen, and the sentence about it, if there is one."""
    return f"{told}: {sentence}" if sentence else told


def shape_of(value: object) -> str:
    """What a value made of numbers is: one number, or a table."""
    shape = tuple(numbers(value).shape)
    return f"numbers of shape {shape}" if shape else "one number"


def raised(error: BaseException) -> str:
    """The error of an answer in one line, cut where it is long, with the line of the learner's own code."""
    said = first_line(error)
    said = said if len(said) <= _LONGEST_ERROR else said[:_LONGEST_ERROR] + "..."
    return f"your answer raised {type(error).__name__}: {said}{where_raised(error)}"


def shown_apart(wanted: object, got: object) -> tuple[str, str]:
    """Both in a few words; two numbers that look the same get more digits."""
    texts, both = [show(wanted), show(got)], [numbers(wanted), numbers(got)]
    if texts[0] == texts[1] and all(t is not None and t.numel() == 1 for t in both):
        texts = [f"{t.item():.9g}" for t in both]
    return texts[0], texts[1]
