"""What the checks of several pages need: an answer as a number or in one line, and matching exercises."""

import math
from collections.abc import Mapping

from torch import Tensor

from mlp_lib.course.exercises.engine import Refused, Wrong


def number(value: object, what: str) -> float:
    """The value as a float, from a number or a tensor of one number; `what` names it. Raises `Refused`.

    >>> number("2.17", "the dev loss")
    Traceback (most recent call last):
    mlp_lib.course.exercises.engine.Refused: expected one number, the dev loss, got '2.17'
    """
    if value is None:
        raise Refused(f"your function returned None: return {what}")
    if isinstance(value, Tensor):
        value = value.detach()
    try:
        if isinstance(value, str | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Refused(f"expected one number, {what}, got {brief(value)}") from None


def brief(value: object) -> str:
    """A value in one line of at most fifty characters.

    >>> brief("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 50 else text[:47] + "..."


def close(a: float, b: float, rel: float = 1e-4) -> bool:
    """Whether two losses, shares or rates are equal up to the rounding of float32.

    >>> close(2.3026, 2.30259), close(2.30, 2.31)
    (True, False)
    """
    return math.isclose(a, b, rel_tol=rel, abs_tol=1e-6)


def matched(answer: object, reports: Mapping[str, tuple[int, str]], statements: Mapping[int, str], wrong: str) -> None:
    """Raise `Refused` unless the answer gives each report its statement, and no statement twice.

    `reports` has the number of the right statement for each name, and the reason; the sentence about a wrong pair
    begins with `wrong`, such as "run {} is not {}". The numbers may be a list, a text or a mapping of names.
    """
    if isinstance(answer, Mapping):
        answer = [answer.get(name) for name in reports]
    if isinstance(answer, str):
        answer = [c for c in answer if c not in " ,"]
    try:
        given = [int(value) for value in answer if not isinstance(value, bool) and float(value) == int(value)]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        given = []
    if len(given) != len(reports) or any(n not in statements for n in given):
        *some, last = reports
        raise Refused(
            f"expected {len(reports)} numbers from 1 to {len(statements)}, for {', '.join(some)} and {last}, such as "
            f"{list(statements)[: len(reports)]}, got {brief(answer)}"
        )
    if len(set(given)) < len(given):
        twice = next(n for n in given if given.count(n) > 1)
        raise Refused(f"{twice} is given {given.count(twice)} times: use each number at most once")
    right = [number for number, _ in reports.values()]
    if given != right and [n in given and given.index(n) + 1 for n in range(1, len(right) + 1)] == right:
        raise Refused(
            f"this gives the letter for each number, 1 for {next(iter(reports))}: give the number for each letter"
        )
    for (name, (right, why)), n in zip(reports.items(), given, strict=True):
        if n != right:
            raise Refused(f"{wrong.format(name, n)} ({statements[n]}): {why}")


def matching(reports: Mapping[str, tuple[int, str]], statements: Mapping[int, str], wrong: str) -> dict[str, object]:
    """`judge` and `wrong` of an Exercise in which each report gets the number of its statement; see `matched`.

    The table has one wrong answer per report: its statement is swapped with the next report's, or for a spare one.
    """
    right = [number for number, _ in reports.values()]
    spare = [number for number in statements if number not in right]
    table = []
    for k, (_, why) in enumerate(reports.values()):
        answer = list(right)
        if k + 1 < len(right):
            answer[k], answer[k + 1] = answer[k + 1], answer[k]
        elif spare:
            answer[k] = spare[0]
        if answer != right:
            table.append(Wrong(answer, why))
    return {"judge": lambda answer: matched(answer, reports, statements, wrong), "wrong": table}
