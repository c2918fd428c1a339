"""Exercises with checks that name the mistake, hints in steps, and tested solutions.

One module per page: `from mlp_lib.course.exercises.nb03 import q1, q2`. To add an exercise to page 05, append
`q4 = Exercise("5.4", ...)` to nb05.py; on the page, add `q4` to the imports, a heading
`### Exercise 5.4 · title · 5 minutes` with the task, and a cell tagged `exercise` with an empty function and
`q4.check(function)`. To add a mistake, add one entry to `edits` or `wrong` of its exercise.
"""

import importlib
import pkgutil

from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Verdict, Wrong

__all__ = ["Case", "Exercise", "Refused", "Verdict", "Wrong", "all_exercises"]


def all_exercises() -> list[Exercise]:
    """Every exercise of the course, in the order of the notebooks.

    >>> all(isinstance(q, Exercise) for q in all_exercises())
    True
    """
    found = []
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name.startswith("nb")):
        names = vars(importlib.import_module(f"{__name__}.{module}"))
        found += [value for value in names.values() if isinstance(value, Exercise)]
    return sorted(found, key=lambda q: tuple(int(part) for part in q.number.split(".")))
