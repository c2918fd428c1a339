"""The exercise of notebook 00: a toy, to see how exercises work."""

from mlp_lib.course.exercises.base import Exercise, Mistake


def _check_symbols(answer: object) -> str:
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        raise Mistake(f"a number was asked for, got {type(answer).__name__}")
    if answer == 26:
        raise Mistake("26 are the letters. In which way would the network say that a name is over?")
    if answer == 28:
        raise Mistake("28 would be a symbol for the start and another for the end. Could one symbol serve for both?")
    if answer != 27:
        raise Mistake(
            f"{answer} is not it: count the letters of 'emma' to 'zyair' first, a to z, and then what they lack"
        )
    return "26 letters, and one symbol for the start and the end of a name."


def symbols() -> int:
    """How many symbols the names are written in."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    boundary = "."  # stands before the first letter and after the last
    return len(letters + boundary)


toy = Exercise(
    "0.1",
    "how many symbols?",
    _check_symbols,
    hints=[
        "A name is drawn one symbol after another. Where would it stop?",
        "The letters a to z, and one symbol more that stands where a name starts and where it ends.",
    ],
    solution=symbols,
)
