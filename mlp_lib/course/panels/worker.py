"""The thread of a panel that trains: one job at a time, which any control can end.

The iterator of steps belongs to the job, and a button only sets an Event, so no step is repeated or lost.
"""

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import ipywidgets
from IPython import get_ipython
from ipywidgets import Layout

from mlp_lib.train import Step, Stepper

_BAR_SECONDS = 0.1  # between two updates of the bar

_workers: dict[tuple[str, str], "Worker"] = {}  # by the name of the panel and the id of its cell


@atexit.register
def _close_all() -> None:
    """End all threads before the interpreter shuts down, because torch is then unloaded while they run."""
    for worker in _workers.values():
        worker.close()


class Stopped(Exception):
    """Raised in a job that must end."""


class Worker:
    """Runs one job in a thread, shows its progress on `bar`, and calls `on_end` in the thread when it is done.

    `start(job, doing)` ends the job under way and calls `job()`; `doing` describes it, for the readout. `stop()` ends
    it at its next `check()`, or at the next step of an iterator from `counted`, and returns when it has ended. An error
    in the job is kept in `error` until the next command. Commands must come from the main thread. If an interrupt of
    the kernel ends the wait for a job, the next command waits again.

    A new worker closes the previous one with the same `name` in the same cell, so that running a cell again leaves no
    thread behind. Taught in: page 06.
    """

    def __init__(self, name: str, on_end: Callable[[], object]) -> None:
        self.bar = ipywidgets.FloatProgress(
            0.0, min=0.0, max=1.0, description="progress", layout=Layout(width="27em", visibility="hidden"),
            style={"description_width": "8em"},
        )  # fmt: skip
        self.error: Exception | None = None
        self.doing, self.running, self._closed = "", False, False
        self._share, self._moved = 0.0, 0.0  # the progress of the job, and when the bar was last updated
        self._on_end = on_end
        self._stop = threading.Event()
        # Not `Thread.is_alive`: after an interrupted `join`, Python 3.11 and 3.12 report a living thread as dead.
        self._ended = threading.Event()
        self._ended.set()
        place = name, _running_cell()
        if place in _workers:
            _workers[place].close()
        _workers[place] = self

    def start(self, job: Callable[[], object], doing: str = "") -> None:
        """End the job under way and start this one. Raises ValueError after `close()`."""
        self.stop()
        if self._closed:
            raise ValueError("this panel is closed: run its cell again")
        self._stop.clear()
        self.doing, self.running = doing, True
        self._share = self.bar.value = 0.0
        ended = threading.Event()
        # A daemon, so that a kernel that shuts down does not wait for the job.
        thread = threading.Thread(target=self._run, args=(job, ended), name="panel worker", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system cannot start another thread
            self.running = False
            raise
        self._ended = ended

    def stop(self) -> None:
        """End the job under way, and return when it has ended."""
        self._stop.set()
        self.wait()
        self.error, self.bar.layout.visibility = None, "hidden"

    def wait(self) -> None:
        """Wait until the job has ended."""
        while not self._ended.wait(0.2):  # short waits, because on Windows a wait cannot be interrupted
            pass

    def close(self) -> None:
        """Stop for good."""
        self._closed = True
        self.stop()

    # ---- for the job -------------------------------------------------------------------------------------------------

    def check(self, seconds: float = 0.0) -> None:
        """Raise `Stopped` if the job must end; wait up to `seconds` for that."""
        if self._stop.wait(seconds) if seconds > 0 else self._stop.is_set():
            raise Stopped

    def counted(self, stepper: Stepper, total: int) -> Stepper:
        """`stepper`, but each step can be stopped and moves the bar, which is full after `total` steps."""

        def steps(*data: object, **how: object) -> Iterator[Step]:
            self.bar.layout.visibility = "visible"
            with closing(stepper(*data, **how)) as run:
                for step in run:
                    self.check()
                    self._share += 1 / total
                    if time.perf_counter() > self._moved + _BAR_SECONDS:
                        self._moved = time.perf_counter()
                        self.bar.value = min(1.0, self._share)
                    yield step

        return steps

    def _run(self, job: Callable[[], object], ended: threading.Event) -> None:
        try:
            with suppress(Stopped):
                job()
        except Exception as error:
            self.error = error
        try:
            self.running = False
            if not self._stop.is_set():
                self.bar.layout.visibility = "hidden"
                self._on_end()
        finally:
            ended.set()


def _running_cell() -> str:
    """The id of the notebook cell that is running; "" if it is not known."""
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel.get_parent().get("metadata", {}).get("cellId", "") if kernel else ""
