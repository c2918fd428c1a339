"""Exercises in the old form, a checker each, until their pages are converted to `engine.Exercise`; then this goes."""

from collections.abc import Callable, Sequence

from mlp_lib.course.exercises import engine
from mlp_lib.course.exercises.engine import Mistake, Verdict

__all__ = ["Exercise", "Mistake", "Verdict"]


class Exercise(engine.Exercise):
    """An exercise whose `checker(answer)` returns the sentence for a right answer or raises Mistake."""

    def __init__(
        self,
        number: str,
        title: str,
        checker: Callable[..., str],
        *,
        hints: Sequence[str],
        solution: Callable[..., object],
    ) -> None:
        super().__init__(number, title, judge=checker, hints=hints, solution=solution)
