"""What the pages print beside their numbers: the video's figure, the reader's guess, a time.

Nothing here is part of the model: if you copy code from a page, you can leave it out.
"""

import math
import time
from collections.abc import Callable

from mlp_lib.course import figures

figures.use_in_notebook()  # here, because every page imports this module


def same_as_video(name: str, value: float, figure: float) -> None:
    """Print a number of the page beside the figure that the video shows.

    They count as the same if they agree in every digit that `figure` has. Otherwise, for instance after you changed a
    parameter or the word list, both are printed.

    >>> same_as_video("first loss", 17.76971, 17.7697)
    first loss: 17.7697, as in the video
    >>> same_as_video("train examples", 183430, 182_625)
    train examples: 183,430 (video: 182,625)
    """
    shown, video = _shown(value, like=figure), _shown(figure)
    print(f"{name}: {shown}, as in the video" if shown == video else f"{name}: {shown} (video: {video})")


def guessed(guess: float | str | None, answer: float | str, *, unit: str = "") -> None:
    """Print the guess of a "predict before you run" cell beside the answer.

    >>> guessed(None, 3.2958, unit="nats")
    No guess noted. It is 3.2958 nats.
    >>> guessed(3.3, 3.2958, unit="nats")
    You guessed 3.3 nats. It is 3.2958 nats.
    """
    unit = f" {unit}" if unit else ""
    said = "No guess noted." if guess in (None, ...) else f"You guessed {guess}{unit}."
    print(f"{said} It is {_shown(answer)}{unit}.")


def best_seconds(run: Callable[[], object], *, repeats: int = 5, setup: Callable[[], object] | None = None) -> float:
    """The shortest of several timings of `run()`, in seconds: the one least affected by other processes.

    >>> best_seconds(lambda: None) < 1
    True
    """
    best = math.inf
    for _ in range(repeats):
        if setup is not None:
            setup()
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _shown(value: float | str, like: float | None = None) -> str:
    """A number with thousands separators and as many decimals as `like`; a str or bool as it is."""
    if isinstance(value, (str, bool)):
        return str(value)
    text = repr(value if like is None else like)
    if "e" in text or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{len(text.partition('.')[2])}f}"
