"""What the notebooks use to speak about their own numbers: the video's figures, guesses, and measured times.

Nothing here is part of the model; a notebook that is taken apart for its code can leave it out.
"""

import math
import time
from collections.abc import Callable, Mapping
from decimal import Decimal

from mlp_lib.course import figures

figures.use_in_notebook()  # this module is the one that every page imports


class SameAsVideo:
    """Compares a notebook's numbers with the video's, and knows whether they can be expected to agree.

    Made once per notebook, below the `parameters` cell, from the video's settings; called with each number:

    * at the video's settings a number that agrees prints a fixed `[ok]` line, and one that does not raises
      AssertionError, so that a re-run of the notebook fails;
    * after the reader has changed a parameter or the word list it prints the number, the video's, and what differs,
      and never raises.

    >>> same_as_video = SameAsVideo(video={"n_hidden": 100}, now={"n_hidden": 100}, words_file="lecture")
    >>> same_as_video("first loss", 17.76971, 17.7697, atol=5e-5)
    [ok] first loss: 17.7697, as in the video
    >>> same_as_video = SameAsVideo(video={"n_hidden": 100}, now={"n_hidden": 300})
    >>> same_as_video("first loss", 30.1, 17.7697)
    [--] first loss: 30.1000 (video: 17.7697); you changed n_hidden from 100 to 300
    """

    def __init__(
        self, video: Mapping[str, object], now: Mapping[str, object], *, words_file: str | None = None
    ) -> None:
        self._changed = [
            f"{name} from {_show(then)} to {_show(now[name])}" for name, then in video.items() if now[name] != then
        ]
        if words_file not in (None, "lecture"):
            self._changed.append(f"the word list to {words_file}")
        self._words_file = words_file

    @property
    def settings_changed(self) -> bool:
        """Whether a parameter or the word list differs from the video's (the bundled list does not count)."""
        return bool(self._changed)

    def __call__(
        self,
        name: str,
        value: float,
        expected: float,
        *,
        atol: float = 0.0,
        bundled: float | None = None,
        source: str = "video",
    ) -> None:
        """Compare `value` with the video's `expected` within `atol`.

        For a number that depends on the whole word list give `bundled`, the number for the course's own list, which
        has 145 names more than the lecture's file. `source` names who measured `expected` if it was not the video.
        """
        on_lecture_file = self._words_file == "lecture"
        target = expected if on_lecture_file or bundled is None else bundled
        shown = _show(value, like=expected)
        if self._changed:
            print(f"[--] {name}: {shown} ({source}: {_show(expected)}); you changed {', '.join(self._changed)}")
            return
        if not math.isclose(value, target, rel_tol=0.0, abs_tol=atol):
            raise AssertionError(f"{name} is {value}, expected {target} within {atol}")
        if bundled is None or on_lecture_file:
            print(f"[ok] {name}: {_show(expected)}, as in the {source}")
        else:
            print(f"[ok] {name}: {_show(bundled)} here, {_show(expected)} in the {source} (145 fewer names)")

    def band(
        self, name: str, value: float, low: float, high: float, *, lecture: tuple[float, float] | None = None
    ) -> None:
        """Check that a trained loss lies in a band measured over several seeds; at changed settings only report it.

        Give `lecture` where the band for the lecture's own file is another.
        """
        if lecture is not None and self._words_file == "lecture":
            low, high = lecture
        if self._changed:
            print(
                f"[--] {name}: {value:.4f} (at the video's settings {_show(low)} to {_show(high)}); "
                f"you changed {', '.join(self._changed)}"
            )
            return
        if not low <= value <= high:
            raise AssertionError(f"{name} is {value}, outside {low} to {high}")
        print(f"[ok] {name}: between {_show(low)} and {_show(high)}")


def _show(value: object, like: object = None) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(like, float) or not math.isfinite(like):
        return f"{value:,}"
    digits = max(-Decimal(repr(float(like))).as_tuple().exponent, 1)  # 4 of 17.7697, 5 of 1e-05
    return f"{value:,.{digits}f}"


def guessed(guess: float | str | None, answer: float | str, *, unit: str = "") -> None:
    """Answer a "predict before you run" cell: print what was guessed beside what is so.

    >>> guessed(None, 3.2958, unit="nats")
    No guess noted. It is 3.2958 nats.
    >>> guessed(3.3, 3.2958, unit="nats")
    You guessed 3.3 nats. It is 3.2958 nats.
    """
    unit = f" {unit}" if unit else ""
    said = "No guess noted." if guess is None or guess is Ellipsis else f"You guessed {guess}{unit}."
    print(f"{said} It is {_show(answer)}{unit}.")


def best_seconds(run: Callable[[], object], *, repeats: int = 5, setup: Callable[[], object] | None = None) -> float:
    """The shortest of several timings of `run()`, in seconds: the one that other programs disturbed least.

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
