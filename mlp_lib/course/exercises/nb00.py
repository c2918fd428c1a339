"""The exercise of page 00: a toy, to see how exercises work."""

from mlp_lib.course.exercises.engine import Exercise, Wrong


def symbols() -> int:
    """How many symbols the names are written in."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    boundary = "."  # before the first letter and after the last
    return len(letters + boundary)


toy = Exercise(
    "0.1",
    "how many symbols?",
    solution=symbols,
    wrong=[
        Wrong(26, "{got} is the number of letters. How would the network say that a name has ended?"),
        Wrong(28, "with {got} the start and the end have a symbol each: one is enough for both"),
        Wrong(25, "count both a and z, then add what marks the end of a name"),
        Wrong(53, "every name is in lower case: capital letters are not needed"),
    ],
    also_right=[27.0],
    right="26 letters, and one symbol for the start and the end of a name.",
    hints=[
        "A name is drawn one symbol at a time. How does it end?",
        "The letters a to z, and one more symbol that marks both the start and the end of a name.",
    ],
)
