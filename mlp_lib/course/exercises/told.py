"""Small parts of the engine: the line for a slow answer, where an answer raised, what counts as not attempted."""

import ast
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlp_lib.course.exercises.progress import note_solved
from mlp_lib.course.exercises.values import numbers, show

_PATIENCE = 20.0  # seconds; measuring a model (15.4) takes up to 10
_LONGEST_ERROR = 120  # characters; those of PyTorch's allocator have 170
_INSTALLED = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_NOT_THE_LEARNERS = ("<", *_INSTALLED, str(Path(__file__).parents[2]))
_complained = False


@contextmanager
def patience(number: str) -> Iterator[None]:
    """Print a line if the block takes long: otherwise an endless loop looks like a dead kernel."""
    told = f"({number} has been running for {_PATIENCE:.0f} s. Does your loop end? The square button above stops it)"
    timer = threading.Timer(_PATIENCE, lambda: print(told, flush=True))
    timer.daemon = True
    with suppress(RuntimeError):  # the system has no thread left: then nothing is printed
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def note_once(number: str) -> None:
    """Mark an exercise on the board. A problem with the file is printed once and does not affect the verdict."""
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
    """The last line of the learner's own code before the error, for the end of the message."""
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
    """The source of a function with no annotations in its first line, and the rest unchanged.

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
    """What was seen, and the sentence about it if there is one."""
    return f"{told}: {sentence}" if sentence else told


def shape_of(value: object) -> str:
    """Whether a value made of numbers is one number or a table, and of which shape."""
    shape = tuple(numbers(value).shape)
    return f"numbers of shape {shape}" if shape else "one number"


def raised(error: BaseException) -> str:
    """The error of an answer in one line, cut if it is long, with the line of the learner's own code."""
    said = first_line(error)
    said = said if len(said) <= _LONGEST_ERROR else said[:_LONGEST_ERROR] + "..."
    return f"your answer raised {type(error).__name__}: {said}{where_raised(error)}"


def shown_apart(wanted: object, got: object) -> tuple[str, str]:
    """Both in a few words, with more digits for two numbers that would look the same."""
    texts, both = [show(wanted), show(got)], [numbers(wanted), numbers(got)]
    if texts[0] == texts[1] and all(t is not None and t.numel() == 1 for t in both):
        texts = [f"{t.item():.9g}" for t in both]
    return texts[0], texts[1]
