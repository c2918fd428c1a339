"""Training that can be started, paused, stepped and reset while you look on: one thread, no widget in it.

`train_steps` is an iterator, and an iterator has one owner: whoever calls `next()` from two threads gets "generator
already executing". So one worker thread takes the steps, and the commands below (start, pause, step, reset, a new
learning rate) never touch the iterator. Each stops the worker, waits for it, does its work on a model that stands
still, and lets it go on. That is all there is to it; no step is ever taken by two, and none is lost.

Taught in: notebook 04 (training under your hands).
"""

import atexit
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mlp_lib.checks import count as check_count
from mlp_lib.checks import examples, generator, trainable
from mlp_lib.checks import rate as check_rate
from mlp_lib.train import History, LearningRate, Stepper, train_steps

_LOOK_SECONDS = 0.2  # five pictures a second look smooth, and drawing five takes a fifth of the time

_sessions: weakref.WeakSet["TrainSession"] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Let no thread run into the end of the interpreter, where torch is taken apart under it."""
    for session in list(_sessions):
        session.close()


def wait_for(event: threading.Event, timeout: float | None = None) -> bool:
    """Wait until `event` is set, for `timeout` seconds at most (None: for ever), and say whether it is.

    In short waits, because on Windows nobody could interrupt a long one.

    >>> wait_for(threading.Event(), timeout=0.01)
    False
    """
    end = math.inf if timeout is None else time.perf_counter() + timeout
    while not event.wait(max(0.0, min(0.2, end - time.perf_counter()))):
        if time.perf_counter() >= end:
            return False
    return True


class TrainSession:
    """A run of `model` on X (N, block_size), Y (N,) that is under your hands.

    `start()` lets it run in a thread, `pause()` stops it after the step under way, `step(n)` takes n steps and
    comes back, `reset()` puts `model` and `g` where they were when the session was made and forgets the record.
    `lr` and `batch_size` may be set at any time, while it runs too, and hold from the next step on. `close()` ends the
    session and its thread; so does the end of a `with` block.

    After any of these, or whenever `running` is False, `model`, `g` and `history` are exactly what `train` would have
    made of the same steps with the same settings, whichever `stepper` takes them. While it runs, read the record with
    `record()`, which gives a copy, and look at the model in `on_look(session)`: after `start` the worker calls it
    between two steps, at most five times a second and when the run ends by itself; it finds the model up to date.

    `pace` is the most steps it takes in a second (None: as many as it can), so that eyes can follow. At `steps` steps
    the run ends. A loss that is not finite ends it too, and `history.stopped` says so, as in `train`. An error in
    the training or in `on_look` ends it and is kept in `error` for whoever shows it. An interrupted kernel
    (KeyboardInterrupt) leaves `step(n)` after the step under way.

    The commands may come from any thread, from several at once as well; only `on_look` must give none. Raises
    TypeError or ValueError for what `train_steps` would not take, RuntimeError for a command after `close()`.
    Taught in: notebook 04.

    >>> from mlp_lib import MLP, MLPConfig, Vocab, build_dataset
    >>> g = torch.Generator().manual_seed(2147483647)
    >>> X, Y = build_dataset(["emma", "olivia"], Vocab("aeilmov"))
    >>> model = MLP(MLPConfig(vocab_size=8, n_embd=2, n_hidden=10), g=g)
    >>> with TrainSession(model, X, Y, g=g) as session:
    ...     session.step(3)
    ...     session.lr = 0.01
    ...     session.step()
    >>> session.history.lri
    tensor([0.1000, 0.1000, 0.1000, 0.0100], dtype=torch.float64)
    """

    def __init__(
        self,
        model: nn.Module,
        X: Tensor,
        Y: Tensor,
        *,
        g: torch.Generator,
        lr: LearningRate = 0.1,
        batch_size: int | None = 32,
        steps: int = 1_000_000,
        pace: float | None = None,
        stepper: Stepper = train_steps,
        on_look: Callable[["TrainSession"], object] | None = None,
    ) -> None:
        generator(g)
        examples(model, X, Y)
        trainable(model, X, g)
        check_rate(lr)
        self.model, self.X, self.Y, self.g = model, X, Y, g
        self.steps, self.stepper, self.on_look = steps, stepper, on_look
        self.history = History()
        self.error: Exception | None = None
        self._lr, self._batch_size, self._pace = lr, batch_size, _checked_pace(pace)
        self._first = {name: t.detach().clone() for name, t in model.state_dict().items()}, g.get_state()
        self._commands = threading.RLock()  # one command at a time; the worker never takes it
        self._record = threading.Lock()  # held for the moment in which a step is entered or the record copied
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        # Set when the worker has done all its work. Not `is_alive`: after an interrupted `join`, Python 3.11 and 3.12
        # take a living thread for a dead one, and a second worker would train the same model beside it.
        self._ended = threading.Event()
        self._over = True  # the worker has taken its last step
        self._due = 0.0  # when the pace allows the next one
        self._closed = False
        _sessions.add(self)

    # ---- commands ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run until `pause`, the last step, or an error; does nothing if it runs already."""
        with self._command():
            self._check_open()
            if not self.running:
                self._halt()
                self.error = None
                self._launch()

    def pause(self) -> None:
        """Stop after the step under way, and come back when it is done; does nothing if nothing runs."""
        with self._command():
            self._halt()

    def step(self, n: int = 1) -> None:
        """Take n steps and come back (fewer if the run ends before); a run under way is paused first."""
        check_count("n", n)
        with self._command():
            self._check_open()
            self._halt()
            self.error = None
            try:
                self._launch(n)
                self.wait()
            finally:
                self._halt()  # after an interrupt too

    def reset(self) -> None:
        """Pause, put `model` and `g` where they were at first, and begin an empty record; settings stay."""
        with self._command():
            self._check_open()
            self._halt()
            state, g_state = self._first
            with torch.no_grad():
                self.model.load_state_dict(state)
            for p in self.model.parameters():
                p.grad = None
            self.g.set_state(g_state)
            self.error = None
            with self._record:
                self.history = History()

    def close(self) -> None:
        """Pause for good: model and record stay, commands raise from now on."""
        with self._command():
            self._halt()
            self._closed = True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run ends by itself; False if it still runs after `timeout` seconds."""
        if self._thread is not None:
            wait_for(self._ended, timeout)
        return not self.running

    def __enter__(self) -> "TrainSession":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- settings ----------------------------------------------------------------------------------------------------

    @property
    def lr(self) -> LearningRate:
        """The learning rate of the next step, or a function of the step's number."""
        return self._lr

    @lr.setter
    def lr(self, value: LearningRate) -> None:
        check_rate(value)
        self._change("_lr", value)

    @property
    def batch_size(self) -> int | None:
        """How many rows the next step draws; None for all of them."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value: int | None) -> None:
        if value is not None:
            check_count("batch_size", value)
        self._change("_batch_size", value)

    @property
    def pace(self) -> float | None:
        """The most steps in a second; None for as many as possible."""
        return self._pace

    @pace.setter
    def pace(self, value: float | None) -> None:
        self._change("_pace", _checked_pace(value))

    # ---- what others see ---------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether steps are being taken at this moment."""
        return not self._over

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def status(self) -> str:
        """In one word: ready, running, paused, done (all steps taken), stopped (loss not finite), failed, closed."""
        if self._closed:
            return "closed"
        if self.running:
            return "running"
        if self.error is not None:
            return "failed"
        if self.history.stopped is not None:
            return "stopped"
        taken = len(self.history)
        return "ready" if taken == 0 else "done" if taken >= self.steps else "paused"

    def record(self) -> tuple[Tensor, Tensor, Tensor]:
        """A copy of `history.stepi`, `lri`, `lossi`, equally long, at any moment."""
        with self._record:
            return self.history.stepi, self.history.lri, self.history.lossi

    def __repr__(self) -> str:
        return f"TrainSession({self.status}, {len(self.history):,} steps)"

    # ---- the worker --------------------------------------------------------------------------------------------------

    @contextmanager
    def _command(self) -> Iterator[None]:
        """One command at a time; refused to the worker, before it could wait for one that waits for it."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("on_look may read the session but give it no command: it is called by the worker itself")
        with self._commands:
            yield

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this session is closed: make a new one (in a notebook, run the cell again)")

    def _change(self, name: str, value: object) -> None:
        with self._command():
            was_running = self.running
            self._halt()
            setattr(self, name, value)
            if was_running and not self._closed and self._more():
                self._launch()

    def _more(self) -> bool:
        """Whether the run could go on: neither over nor broken."""
        return self.error is None and self.history.stopped is None and len(self.history) < self.steps

    def _launch(self, n: int | None = None) -> None:
        if not self._more():
            return
        self._stop.clear()
        self._ended.clear()
        self._due = time.perf_counter()
        # A daemon, so that a kernel which is killed while it trains does not wait for the last step.
        self._thread = threading.Thread(target=self._work, args=(n,), name="TrainSession", daemon=True)
        self._over = False
        try:
            self._thread.start()
        except RuntimeError:  # the system has no thread left: then nobody is to be waited for
            self._thread, self._over = None, True
            raise

    def _halt(self) -> None:
        self._stop.set()
        if self._thread is not None:
            wait_for(self._ended)
            self._thread.join()  # a moment: its work is done
            self._thread = None

    def _work(self, n: int | None) -> None:
        try:
            self._take(n)
        finally:
            self._over = True
            self._ended.set()

    def _take(self, n: int | None) -> None:
        """Take n steps and leave the looking to whoever asked for them; or run, and show it on the way."""
        look = self.on_look if n is None else None
        last = self.steps if n is None else min(self.steps, len(self.history) + n)
        while not self._over:
            try:
                self._burst(last, pauses_to_look=look is not None)
            except Exception as error:
                self.error = error
            self._over = self._stop.is_set() or len(self.history) >= last or not self._more()
            if look is not None and not self._stop.is_set():  # who stopped it will look for himself
                try:
                    look(self)
                except Exception as error:
                    self.error, self._over = error, True

    def _burst(self, last: int, pauses_to_look: bool) -> None:
        """Take steps until it is time to look or to stop; then the model is up to date.

        A stepper that works ahead takes back what it did too much when the iterator is closed.
        """
        begin = len(self.history)
        run = self.stepper(
            self.model, self.X, self.Y, steps=last - begin, start=begin, lr=self._lr, batch_size=self._batch_size,
            g=self.g,
        )  # fmt: skip
        clock = time.perf_counter()
        try:
            while self._my_turn():
                step = next(run, None)
                if step is None:
                    break
                with self._record:
                    self.history.record(step)
                if not math.isfinite(step.loss):
                    self.history.stopped = (
                        f"the loss was {step.loss} at step {step.i} (lr {step.lr:g}): try a smaller learning rate"
                    )
                    break
                if pauses_to_look and time.perf_counter() - clock > _LOOK_SECONDS:
                    break
        finally:
            run.close()
            self.history.seconds += time.perf_counter() - clock

    def _my_turn(self) -> bool:
        """Wait until the next step is due by the pace; False if there is to be none."""
        if self._pace is not None:
            now = time.perf_counter()
            self._stop.wait(max(0.0, self._due - now))
            # What a picture delayed is caught up on, but not what a sleeping laptop did.
            self._due = max(self._due, now - 2 * _LOOK_SECONDS) + 1 / self._pace
        return not self._stop.is_set()


def _checked_pace(pace: float | None) -> float | None:
    if pace is None:
        return None
    if isinstance(pace, bool) or not isinstance(pace, (int, float)):
        raise TypeError(f"pace must be a number of steps a second or None, got {pace!r}")
    if not (math.isfinite(pace) and pace > 0):
        raise ValueError(f"pace must be a finite number above 0 or None, got {pace}")
    return float(pace)
