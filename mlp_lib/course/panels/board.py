"""The exercises solved so far.

Taught in: page 00.
"""

import time
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlp_lib.course.exercises.progress import catalogue, forget_solved, record_path, solved
from mlp_lib.course.panels.base import PlotPanel, choice
from mlp_lib.plots import GREY

_ALL = "all"
_DARK_GREEN = "#00694A"  # dark enough for small letters on white
_FORGET, _SURE = "forget all", "yes, forget all"
_DOUBLE_CLICK = 0.5  # seconds; a second press within this time counts as a double click


def board_panel() -> PlotPanel:
    """Every exercise of the course, with [ok] if it was solved on this machine; choose a notebook to read its titles.

    `q.check` marks an exercise when its answer is right. "refresh" reads the record again, in case another notebook
    marked an exercise. "forget all" changes its label to ask for confirmation, and deletes the record at the second
    press; any other control cancels. If the record cannot be read, the readout says so and nothing is marked.
    """
    exercises = catalogue()
    titles = dict(exercises)
    pages = {page: [n for n, _ in group] for page, group in groupby(exercises, lambda pair: pair[0].split(".")[0])}
    asked_at: list[float] = []  # the time of the first press of "forget all"

    def draw(figure: Figure, notebook: str) -> str:
        try:
            done, trouble = set(solved()) & set(titles), None
        except (OSError, ValueError) as error:
            done, trouble = set(), error
        ax = figure.add_axes((0.01, 0.01, 0.98, 0.9))
        if notebook == _ALL:
            _grid(ax, pages, done)
        else:
            _list(ax, pages[notebook], titles, done)
        ax.set_title(f"{len(done)} of {len(titles)} exercises solved", loc="left", fontsize=11)
        if trouble is not None:
            return f"[no] {trouble}"
        if asked_at:
            return f"Forget all {len(done)} solved exercises? Press '{_SURE}', or 'refresh' to keep them."
        return _said(done, titles)

    def keep() -> None:
        asked_at.clear()
        panel.buttons[_FORGET].description = _FORGET

    def forget() -> None:
        if not asked_at:
            asked_at.append(time.monotonic())
            panel.buttons[_FORGET].description = _SURE
        elif time.monotonic() - asked_at[0] > _DOUBLE_CLICK:
            keep()
            try:
                forget_solved()
            except OSError as error:
                raise ValueError(str(error)) from error

    # "1" to "9" are shown as "01" to "09", as in the names of the notebooks.
    options = [("all pages", _ALL), *((f"page {int(page):02}", page) for page in pages)]
    notebook = choice("show", options, _ALL)
    notebook.observe(lambda change: keep(), names="value")  # before the panel's own observer, which draws
    panel = PlotPanel(
        "board_panel",
        draw,
        {"notebook": notebook},
        buttons={"refresh": keep, _FORGET: forget},
        alt="A line for each notebook with the numbers of its exercises, each marked [ok] if it was solved and [ ] if "
        "not; or one notebook's exercises with their titles.",
        size=(6.8, 3.2),
    )
    return panel


def _grid(ax: Axes, pages: dict[str, list[str]], done: set[str]) -> None:
    """Two columns of notebooks, one line per notebook with its exercises side by side."""
    lines = -(-len(pages) // 2)
    for k, (page, numbers) in enumerate(pages.items()):
        x, y = k // lines * 0.5, 1 - (k % lines + 0.5) / lines
        ax.text(x, y, f"{int(page):02}", va="center", fontsize=9, fontweight="bold")
        room = 0.44 / max(5, len(numbers))
        for j, number in enumerate(numbers):
            _mark(ax, x + 0.045 + room * j, y, number, number in done)
    _bare(ax)


def _list(ax: Axes, numbers: list[str], titles: dict[str, str], done: set[str]) -> None:
    """One notebook's exercises, one line per exercise with its title."""
    for k, number in enumerate(numbers):
        y = 1 - (k + 0.5) / max(6, len(numbers))
        _mark(ax, 0.02, y, number, number in done)
        ax.text(0.17, y, titles[number], va="center", fontsize=10, parse_math=False)
    _bare(ax)


def _mark(ax: Axes, x: float, y: float, number: str, is_done: bool) -> None:
    """[ok] in green or [ ] in grey."""
    says, color = (f"[ok] {number}", _DARK_GREEN) if is_done else (f"[ ] {number}", GREY)
    ax.text(x, y, says, va="center", fontsize=8.5, color=color)


def _bare(ax: Axes) -> None:
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.axis("off")


def _said(done: set[str], titles: dict[str, str]) -> str:
    kept = "" if record_path() is not None else " Kept until the kernel ends, since CI is set."
    todo = [number for number in titles if number not in done]
    if not todo:
        return f"All {len(titles)} exercises solved.{kept}"
    return f"{len(done)} of {len(titles)} exercises solved. Next: {todo[0]} ({titles[todo[0]]}).{kept}"
