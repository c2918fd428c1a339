"""Work that takes a second or two, for panels that train: in a thread, with a bar, given up when a hand moves on."""

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator

import ipywidgets
from ipywidgets import Layout
from matplotlib.axes import Axes

from mlp_lib.course.panels.base import PlotPanel
from mlp_lib.course.panels.session import wait_for
from mlp_lib.train import Step, Stepper

_BAR_SECONDS = 0.1  # between two moves of the bar

_workers: weakref.WeakSet["Worker"] = weakref.WeakSet()
_open: dict[str, PlotPanel] = {}  # the panel of each name that may have a thread


@atexit.register
def _close_all() -> None:
    """Let no thread run into the end of the interpreter, where torch is taken apart under it."""
    for worker in list(_workers):
        worker.close()


class _GivenUp(Exception):
    """Raised in the work when it is no longer wanted."""


class Worker:
    """Does one thing after another in one thread, shows on `bar` how far it is, and calls `on_end` after each.

    `start(work, doing)` gives up what is under way and calls `work()` in the thread; `then(work, doing)` lets it finish
    first. `doing` says what it is, for the readout. The work gives itself up at its next `check()` or `advance()`, or
    at a step taken through `counted`. An error in it is kept in `error` until the next start. `on_end` is not called
    for what was given up. `close()` ends it for good. Raises RuntimeError for work that comes after `close()`.
    Taught in: notebook 06.
    """

    def __init__(self, on_end: Callable[[], object]) -> None:
        self.bar = ipywidgets.FloatProgress(
            0.0, min=0.0, max=1.0, description="progress", layout=Layout(width="27em", visibility="hidden"),
            style={"description_width": "8em"},
        )  # fmt: skip
        self.error: Exception | None = None
        self.doing = ""
        self._on_end = on_end
        self._commands = threading.RLock()  # one command at a time; the thread never waits for it
        self._counting = threading.Lock()  # held for a moment by whoever moves the bar or asks for more work
        self._queue: deque[tuple[Callable[[], object], str]] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()  # the thread has done all its work; why not `is_alive`: see TrainSession
        self._over = True
        self._closed = False
        _workers.add(self)

    @property
    def running(self) -> bool:
        """Whether there is work under way at this moment."""
        return not self._over

    def start(self, work: Callable[[], object], doing: str) -> None:
        """Do this, and nothing that was to be done before."""
        with self._commands:
            self._check_open()
            self.stop()
            self.error = None
            self._launch(work, doing)

    def then(self, work: Callable[[], object], doing: str) -> None:
        """Do this when all that was asked for before is done."""
        with self._commands:
            self._check_open()
            with self._counting:
                if not self._over:
                    self._queue.append((work, doing))
                    return
            self.start(work, doing)

    def stop(self) -> None:
        """Give up what is under way, and come back when it has ended."""
        with self._commands:
            self._stop.set()
            if self._thread is not None:
                wait_for(self._ended)
                self._thread.join()  # a moment: its work is done
                self._thread = None
            self._queue.clear()
            self._over = True
            self.bar.layout.visibility = "hidden"

    def close(self) -> None:
        """Stop for good."""
        with self._commands:
            self.stop()
            self._closed = True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is no more work; False if there still is after `timeout` seconds."""
        if self._thread is not None:
            wait_for(self._ended, timeout)
        return not self.running

    # ---- for the work ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Leave the work here if it is no longer wanted."""
        if self._stop.is_set():
            raise _GivenUp

    def advance(self, share: float) -> None:
        """Move the bar by this share of its length, from any thread, and check."""
        self.check()
        with self._counting:
            self._share = min(1.0, self._share + share)
            now, share = time.perf_counter(), self._share
            if now - self._shown < _BAR_SECONDS:
                return
            self._shown = now
        self.bar.value = share

    def counted(self, stepper: Stepper, total: int) -> Stepper:
        """`stepper`, but its steps move the bar, `total` of them from end to end, and may be given up."""
        every = max(1, min(200, total // 50))

        def steps(*data: object, **how: object) -> Iterator[Step]:
            run = stepper(*data, **how)
            try:
                for n, step in enumerate(run, start=1):
                    if n % every == 0:
                        self.advance(every / total)
                    yield step
            finally:
                run.close()

        return steps

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this panel is closed: run its cell again")

    def _launch(self, work: Callable[[], object], doing: str) -> None:
        self._stop.clear()
        self._ended.clear()
        self._over = False
        self._queue.append((work, doing))
        self.doing, self.bar.value = doing, 0.0
        self.bar.layout.visibility = "visible"
        # A daemon, so that a kernel which is killed while it works does not wait for the end.
        self._thread = threading.Thread(target=self._work, name="Worker", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system has no thread left: then nobody is to be waited for
            self._thread, self._over = None, True
            raise

    def _work(self) -> None:
        try:
            self._do_all()
        finally:
            self._over = True
            self._ended.set()

    def _do_all(self) -> None:
        while not self._over:
            work, self.doing = self._queue.popleft()
            self._share, self._shown, self.bar.value = 0.0, time.perf_counter(), 0.0
            try:
                work()
            except _GivenUp:
                return  # who gave it up does the rest
            except Exception as error:
                self.error = error
                self._queue.clear()
            with self._counting:
                self._over = not self._queue
            if not self._stop.is_set():
                self.bar.layout.visibility = "hidden" if self._over else "visible"
                self._on_end()


def even_ticks(ax: Axes) -> None:
    """Numbers on the vertical axis that take the same room whatever they are, so that its label is never cut off."""
    ax.yaxis.set_major_formatter(lambda y, at: f"{y:g}".rjust(5, "\N{FIGURE SPACE}"))


def replace_earlier(name: str, panel: PlotPanel | None = None) -> None:
    """Close the panel of this name that was made before, so that a cell run again leaves no thread; remember this one.

    >>> replace_earlier("a panel nobody has made")
    """
    if name in _open:
        _open.pop(name).close()
    if panel is not None:
        _open[name] = panel


def with_bar(panel: PlotPanel, worker: Worker) -> PlotPanel:
    """Put the worker's bar between the controls and the picture."""
    panel.children = (*panel.children[:-2], worker.bar, *panel.children[-2:])
    panel.worker = worker
    return panel
