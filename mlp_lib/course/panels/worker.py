"""The thread of a panel that trains: one job at a time, which any control may end.

A job owns its iterator of steps, and a button only sets an Event, so no step is taken twice and none is lost.
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

_BAR_SECONDS = 0.1  # between two moves of the bar

_workers: dict[tuple[str, str], "Worker"] = {}  # by the panel's name and its cell


@atexit.register
def _close_all() -> None:
    """Let no thread run into the end of the interpreter, where torch is taken apart under it."""
    for worker in _workers.values():
        worker.close()


class Stopped(Exception):
    """Raised in a job that is to end."""


class Worker:
    """Runs one job in a thread, shows on `bar` how far it is, and calls `on_end` there when it is done.

    `start(job, doing)` ends the job under way and calls `job()`; `doing` says what it is, for the readout. `stop()`
    ends it at its next `check()`, or step taken through `counted`, and comes back when it has ended. An error in the
    job is kept in `error` until the next command. Commands come from the main thread. An interrupt of the kernel ends
    the waiting for a job, and the next command waits again.

    Making a worker closes the one that was made before under the same `name` in the same cell, so that running a cell
    again leaves no thread. Taught in: page 06.
    """

    def __init__(self, name: str, on_end: Callable[[], object]) -> None:
        self.bar = ipywidgets.FloatProgress(
            0.0, min=0.0, max=1.0, description="progress", layout=Layout(width="27em", visibility="hidden"),
            style={"description_width": "8em"},
        )  # fmt: skip
        self.error: Exception | None = None
        self.doing, self.running, self._closed = "", False, False
        self._share, self._moved = 0.0, 0.0  # how far the job is, and when the bar was moved
        self._on_end = on_end
        self._stop = threading.Event()
        # Not `Thread.is_alive`: after an interrupted `join`, Python 3.11 and 3.12 say that a living thread is dead.
        self._ended = threading.Event()
        self._ended.set()
        place = name, _running_cell()
        if place in _workers:
            _workers[place].close()
        _workers[place] = self

    def start(self, job: Callable[[], object], doing: str = "") -> None:
        """End the job under way and begin this one. Raises ValueError after `close()`."""
        self.stop()
        if self._closed:
            raise ValueError("this panel is closed: run its cell again")
        self._stop.clear()
        self.doing, self.running = doing, True
        self._share = self.bar.value = 0.0
        ended = threading.Event()
        # A daemon, so that a kernel which is killed does not wait for the end of the job.
        thread = threading.Thread(target=self._run, args=(job, ended), name="panel worker", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self.running = False
            raise
        self._ended = ended

    def stop(self) -> None:
        """End the job under way, and come back when it has ended."""
        self._stop.set()
        self.wait()
        self.error, self.bar.layout.visibility = None, "hidden"

    def wait(self) -> None:
        """Wait until the job has ended by itself."""
        while not self._ended.wait(0.2):  # in short waits, because on Windows a long one cannot be interrupted
            pass

    def close(self) -> None:
        """Stop for good."""
        self._closed = True
        self.stop()

    # ---- for the job -------------------------------------------------------------------------------------------------

    def check(self, seconds: float = 0.0) -> None:
        """End the job here if it is to end; within so many seconds."""
        if self._stop.wait(seconds) if seconds > 0 else self._stop.is_set():
            raise Stopped

    def counted(self, stepper: Stepper, total: int) -> Stepper:
        """`stepper`, but its steps move the bar, `total` of them from end to end, and may be stopped."""

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
    """The identifier of the notebook's cell that is running; "" where nobody tells."""
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel.get_parent().get("metadata", {}).get("cellId", "") if kernel else ""
