"""Exercises with checks that name the mistake, hints in steps, and tested solutions.

One module per notebook: `from mlp_lib.course.exercises.nb03 import q1, q2`.
"""

import importlib
import pkgutil

from mlp_lib.course.exercises.engine import Case, Exercise, Mistake, Verdict, Wrong

__all__ = ["Case", "Exercise", "Mistake", "Verdict", "Wrong", "all_exercises"]


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
