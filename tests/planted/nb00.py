"""Planted mistakes of the toy exercise in notebook 00."""

from mlp_lib.course.exercises.nb00 import toy

MISTAKES = [
    (toy, 26, "26 are the letters"),
    (toy, 28, "Could one symbol serve for both?"),
    (toy, 25, "25 is not it"),
    (toy, "27", "a number was asked for, got str"),
]
