"""Many runs at once: configurations times seeds, trained side by side.

One run tells little: another seed may move the loss by more than the change you want to judge. `run_grid` makes several
as easy as one. Taught in: notebook 10 (when a loss may go into a paper), notebook 13 (a search that resumes) and
notebook 16 (many models at once).
"""

import difflib
import hashlib
import json
import threading
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

import torch
from torch import Tensor
from tqdm import tqdm

from mlp_lib.checks import count as check_count
from mlp_lib.checks import evaluations, rate_at
from mlp_lib.checks import examples as check_examples
from mlp_lib.checks import rate as check_rate
from mlp_lib.data import Splits
from mlp_lib.lab.cores import usable_cores
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.ladder import Entry, Ladder, checked_text, fingerprint
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.train import (
    History,
    LearningRate,
    Step,
    Stepper,
    train,
    train_steps,
)

_NAME = "one hidden layer"  # of a run on the ladder


@dataclass(frozen=True)
class Result:
    """One run of a grid.

    `losses[name]` is the exact loss in nats of each evaluated split after the last step, nan if the run was stopped by
    a loss that is not finite (`history.stopped` says where). `seconds` is the time its steps took while the other runs
    went on beside it.

    A run that was found on a ladder was not trained again: it has its losses and seconds from then, and `history` and
    `model` are None. Whoever needs those trains it again, without `ladder`.
    """

    config: MLPConfig
    seed: int
    history: History | None
    losses: dict[str, float]
    seconds: float
    model: MLP | None

    @property
    def found(self) -> bool:
        """Whether the losses come from the ladder, without a run."""
        return self.model is None

    def __repr__(self) -> str:
        losses = "".join(f", {name} {loss:.4f}" for name, loss in self.losses.items())
        return f"Result({self.config}, seed {self.seed}{losses}{', from the ladder' if self.found else ''})"


def run_grid(
    configs: Iterable[MLPConfig | Mapping[str, int]],
    seeds: Iterable[int],
    *,
    X: Tensor | None = None,
    Y: Tensor | None = None,
    splits: Splits | Callable[[MLPConfig], Splits] | None = None,
    steps: int,
    lr: LearningRate | None = None,
    batch_size: int | None = 32,
    eval_on: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    eval_every: int | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    stepper: Stepper = fast_steps,
    ladder: Ladder | None = None,
    name: str = _NAME,
    progress: bool = False,
) -> list[Result]:
    """Train each configuration with each seed, several at a time, and return the results in the order asked for.

    A run is `g = torch.Generator().manual_seed(seed)`, `model = MLP(config, g=g)`, `train(model, X, Y, ..., g=g)`: one
    generator draws the initial tensors, then the minibatches. So each result is the same however many run beside it.
    A configuration is an `MLPConfig` or a dict of its fields, `{"n_hidden": 300}`; the order is that of `configs`, and
    for each configuration that of `seeds`.

    Train on X (N, block_size), Y (N,), or hand in `splits`: then the runs train on its training split and are
    evaluated on "train" and "dev" (the test split is left alone). Where the configurations differ in `block_size`,
    `splits` is a function from a configuration to its splits, called once for each `block_size` and `vocab_size`.
    `eval_on` names splits to evaluate instead. The arguments in between are those of `train`.

    `workers` threads do the work, one per core if None; `fast_steps` leaves them free to run at once. An `executor` of
    your own (any `concurrent.futures.Executor`, so a Dask cluster's `client.get_executor()`) takes the runs instead; if
    its workers are processes, `lr` must be a number or a function that can be pickled. torch's own threads are set to
    one while our threads work and to what they were afterwards. `progress=True` draws a bar on stderr.

    With a `ladder` each run is put on it under `name` as it finishes, and a run that is found there is not repeated:
    its `Result` has the losses, but no history and no model. It is the same run if all that decides its losses is the
    same: configuration, seed, steps, batch size, the learning rate of every step, the tensors it is trained and
    evaluated on, `name`, and which of our two steppers took the steps. What a stepper of your own does cannot be seen
    from outside: give its runs a `name` of their own, and another one whenever the stepper changes.

    An interrupt (KeyboardInterrupt) returns the runs that are complete, with a warning that counts them. If a run
    fails, its error is raised. Either way the finished runs are on the ladder: the same call goes on with the others.
    Raises TypeError or ValueError for settings that no run could use and OSError for a ladder that cannot be written,
    before any run starts, ModuleNotFoundError if the executor's workers lack a package, and what `train` raises.
    Taught in: notebooks 10, 13 and 16.

    >>> from mlp_lib import Vocab, build_dataset
    >>> X, Y = build_dataset(["emma", "olivia"], Vocab("aeilmov"))
    >>> small = {"vocab_size": 8, "n_embd": 2, "n_hidden": 10}
    >>> results = run_grid([small], seeds=range(3), X=X, Y=Y, steps=5, eval_on={"train": (X, Y)})
    >>> [(result.seed, len(result.history), list(result.losses)) for result in results]
    [(0, 5, ['train']), (1, 5, ['train']), (2, 5, ['train'])]
    """
    configs = _check_configs(configs)
    seeds = _check_seeds(seeds)
    check_count("steps", steps, least=0)
    steps = int(steps)  # JSON, in which a run's key is written, takes no NumPy integer
    check_rate(lr)
    if batch_size is not None:
        check_count("batch_size", batch_size)
        batch_size = int(batch_size)
    evaluations(None, eval_on or {}, None)
    if eval_every is not None:
        check_count("eval_every", eval_every)
        if splits is None and not eval_on:
            raise ValueError(f"eval_every={eval_every} but no split is named: pass eval_on={{'dev': (Xdev, Ydev)}}")
    if workers is not None:
        check_count("workers", workers)
        if executor is not None:
            raise ValueError(
                f"workers={workers} and an executor were given: give one, the executor has its own workers"
            )
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            f"executor must be a concurrent.futures.Executor, got {type(executor).__name__}: "
            "a Dask client has one, client.get_executor()"
        )
    data = _check_data(configs, X, Y, splits, eval_on)
    if executor is not None:
        data = _narrowed(data)

    runs = [(config, seed) for config in configs for seed in seeds]
    book = _Book(ladder, runs, data, name=name, steps=steps, lr=lr, batch_size=batch_size, stepper=stepper)
    stop = threading.Event()
    settings = {"steps": steps, "lr": lr, "batch_size": batch_size, "eval_every": eval_every, "stepper": stepper}

    def submit(pool: Executor) -> dict[Future, int]:
        left = [k for k in range(len(runs)) if k not in book.results]
        return {pool.submit(_train_one, *runs[k], *data[runs[k][0]], settings): k for k in left}

    if executor is not None:
        if len(book.results) < len(runs):
            _check_workers(executor)
        return _collect(submit(executor), book, stop, progress, elsewhere=True)

    settings["stepper"] = _Stoppable(stepper, stop)
    with _one_torch_thread(), ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix="run_grid") as pool:
        return _collect(submit(pool), book, stop, progress)


def _train_one(
    config: MLPConfig,
    seed: int,
    X: Tensor,
    Y: Tensor,
    eval_on: Mapping[str, tuple[Tensor, Tensor]],
    settings: dict[str, object],
) -> Result:
    """One run, in a worker. It stands by itself so that an executor can send it to another process."""
    g = torch.Generator().manual_seed(seed)
    model = MLP(config, g=g)
    history = train(model, X, Y, eval_on=eval_on, g=g, **settings)
    if history.stopped is not None and history.stopped.startswith("interrupted"):
        raise _Stopped  # an interrupt that reached this worker: half a run is no result
    losses = {name: values[-1] if history.stopped is None else float("nan") for name, values in history.evals.items()}
    return Result(config, seed, history, losses, history.seconds, model)


def _collect(
    number: dict[Future, int], book: "_Book", stop: threading.Event, progress: bool, *, elsewhere: bool = False
) -> list[Result]:
    """The results in the order asked for; after an error or an interrupt nothing goes on in our own threads."""
    try:
        with tqdm(total=len(book), initial=len(book.results), unit=" runs") if progress else nullcontext() as bar:
            while number:
                # In short waits, because on some systems a thread that waits cannot be interrupted.
                wait(number, timeout=0.2, return_when=FIRST_COMPLETED)
                entered = _enter_finished(number, book)
                if bar is not None:
                    bar.update(entered)
                _raise_failed(number)
    except (KeyboardInterrupt, _Stopped):
        _enter_finished(number, book)
        warnings.warn(f"interrupted: {len(book.results)} of {len(book)} runs are complete", stacklevel=3)
    except Exception as error:
        _enter_finished(number, book)
        raise _explained(error, book, elsewhere) from error.__cause__
    finally:
        stop.set()
        for future in number:
            future.cancel()
    return [book.results[k] for k in sorted(book.results)]


def _enter_finished(number: dict[Future, int], book: "_Book") -> int:
    """Enter the results that are there, and return how many.

    Their futures are let go: as long as somebody holds one, a Dask cluster computes its result again when the worker
    that keeps it dies.
    """
    finished = [f for f in number if f.done() and not f.cancelled() and f.exception() is None]
    for future in finished:
        book.enter(number.pop(future), future.result())
    return len(finished)


def _raise_failed(number: Iterable[Future]) -> None:
    """An error in a run ends the grid now, not after all the others."""
    for future in number:
        if future.done():
            future.result()


def _explained(error: Exception, book: "_Book", elsewhere: bool) -> Exception:
    """The error of a run, with what became of the others; what other workers could not import, in one sentence."""
    if elsewhere and isinstance(error, ModuleNotFoundError):
        error = _lacking(error)
    if book.ladder is not None:
        error.add_note(
            f"{len(book.results)} of {len(book)} runs are finished and on the ladder: the same call trains the others"
        )
    return error


def _check_workers(executor: Executor) -> None:
    """Ask a worker to import what the runs need. A Dask worker that cannot unpack a run dies of it, without a word."""
    future = executor.submit(eval, f"__import__({__name__!r}) and None")
    try:
        while not future.done():
            wait([future], timeout=0.2)
        future.result()
    except ModuleNotFoundError as error:
        raise _lacking(error) from None
    finally:
        future.cancel()


def _lacking(error: ModuleNotFoundError) -> ModuleNotFoundError:
    package = (error.name or "mlp_lib").partition(".")[0]
    return ModuleNotFoundError(
        f"the executor's workers lack the package {package!r} ({error}): install there what is installed here, in the "
        "same versions, and run the grid again",
        name=package,
    )


# ---- what is on the ladder -------------------------------------------------------------------------------------------

_OURS = {fast_steps: "fast_steps", train_steps: "train_steps"}
_RECIPE = 1  # to be raised when a change of the library changes the losses of a run: none is then found again


class _Book:
    """The results of a grid by their number: those found on the ladder at first, the others as they are entered."""

    def __init__(
        self,
        ladder: Ladder | None,
        runs: Sequence[tuple[MLPConfig, int]],
        data: "Mapping[MLPConfig, _Data]",
        *,
        name: str,
        steps: int,
        lr: LearningRate | None,
        batch_size: int | None,
        stepper: Stepper,
    ) -> None:
        self.results: dict[int, Result] = {}
        self._runs, self._steps = runs, steps
        if ladder is not None and not isinstance(ladder, Ladder):
            raise TypeError(f"ladder must be a Ladder, such as Ladder(words=words), got {type(ladder).__name__}")
        self._name = name = checked_text("name", name)
        self.ladder = ladder
        if ladder is None:
            return
        if stepper not in _OURS and name == _NAME:
            raise ValueError(
                "runs of a stepper of your own are found again under a name of their own only: pass name=, and another "
                "one whenever the stepper changes"
            )
        rates, self._shown = _rates(lr, steps)
        common = {
            "recipe": _RECIPE, "name": name, "steps": steps, "rates": rates, "batch_size": batch_size,
            "stepper": _OURS.get(stepper, "own"),
        }  # fmt: skip
        self._batch_size = batch_size
        prints = {config: _prints(*data[config]) for config in dict(runs)}
        self._keys = [_key(config, seed, prints[config], common) for config, seed in runs]
        for k, (config, seed) in enumerate(runs):
            entry = ladder.find(self._keys[k])
            if entry is not None:
                self.results[k] = Result(config, seed, None, entry.losses, entry.seconds, None)
        if len(self.results) < len(runs):
            ladder.check_writable()

    def __len__(self) -> int:
        return len(self._runs)

    def enter(self, k: int, result: Result) -> None:
        self.results[k] = result
        if self.ladder is None:
            return
        entry = Entry(
            at=datetime.now(UTC).replace(microsecond=0),
            name=self._name,
            kind="mlp",
            config=asdict(result.config) | {"lr": self._shown, "batch_size": self._batch_size},
            seed=result.seed,
            steps=self._steps,
            n_parameters=result.config.n_parameters,
            seconds=result.seconds,
            losses=result.losses,
            stopped=result.history.stopped,
            words=self.ladder.words,
            split=self.ladder.split,
            key=self._keys[k],
        )
        try:
            self.ladder.put(entry)
        except (OSError, ValueError) as error:
            # The disk is full, or the file was moved: hours of training are not thrown away for that.
            warnings.warn(f"{error}: this run and those after it are returned, but not on the ladder", stacklevel=4)
            self.ladder = None


def _rates(lr: LearningRate | None, steps: int) -> tuple[str, str]:
    """What tells learning rates apart, the sha256 of the rate of every step, and a few words to show."""
    if not callable(lr):
        rate = rate_at(0.1 if lr is None else lr, 0)
        return repr(rate), f"{rate:g}"
    rates, again = (array("d", (rate_at(lr, i) for i in range(steps))) for _ in range(2))
    if rates != again:
        raise ValueError(
            "lr gives another learning rate when it is asked a second time for the same step, so its runs could not be "
            "found again on the ladder: let it depend on the step's number alone, or leave the ladder out"
        )
    if len(set(rates)) == 1:  # a function that always gives one number is that number
        return repr(rates[0]), f"{rates[0]:g}"
    digest = hashlib.sha256(rates.tobytes()).hexdigest()
    return digest, f"{rates[0]:g} to {rates[-1]:g} ({digest[:6]})" if steps else "none"


def _prints(X: Tensor, Y: Tensor, eval_on: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, str]:
    return {"": fingerprint(X, Y)} | {f"on {name}": fingerprint(*pair) for name, pair in eval_on.items()}


def _key(config: MLPConfig, seed: int, prints: Mapping[str, str], common: Mapping[str, object]) -> str:
    run = {**common, "config": asdict(config), "seed": seed, "data": prints}
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


# ---- workers ---------------------------------------------------------------------------------------------------------


class _Stopped(Exception):
    """Ends a run whose result nobody waits for any more."""


class _Stoppable:
    """A stepper that also ends when `stop` is set: Python delivers an interrupt to the main thread only."""

    def __init__(self, stepper: Stepper, stop: threading.Event) -> None:
        self.stepper, self.stop = stepper, stop

    def __call__(self, model: MLP, X: Tensor, Y: Tensor, **arguments: object) -> Iterator[Step]:
        return self._steps(self.stepper(model, X, Y, **arguments))

    def _steps(self, run: Iterator[Step]) -> Iterator[Step]:
        try:
            for step in run:
                yield step
                if self.stop.is_set():
                    raise _Stopped
        finally:
            run.close()


_threads_lock = threading.Lock()
_threads_before: list[int] = []  # torch's setting before the first of the grids now running; one entry per grid


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """One torch thread for each of our workers: several each would fight over the cores when a split is evaluated."""
    with _threads_lock:
        _threads_before.append(_threads_before[0] if _threads_before else torch.get_num_threads())
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _threads_lock:
            before = _threads_before.pop()
            if not _threads_before:
                torch.set_num_threads(before)


def _check_configs(configs: Iterable[MLPConfig | Mapping[str, int]]) -> list[MLPConfig]:
    if isinstance(configs, (MLPConfig, Mapping)) or not isinstance(configs, Iterable):
        raise TypeError(f"configs must be a list of MLPConfig or dict, got {configs!r}: write [{configs!r}]")
    checked = [_check_config(config) for config in configs]
    if not checked:
        raise ValueError("configs is empty: give at least one MLPConfig, such as [MLPConfig(n_hidden=300)]")
    return checked


def _check_config(config: MLPConfig | Mapping[str, int]) -> MLPConfig:
    if isinstance(config, MLPConfig):
        return config
    if not isinstance(config, Mapping):
        raise TypeError(f"each configuration must be an MLPConfig or a dict of its fields, got {config!r}")
    known = [field.name for field in fields(MLPConfig)]
    for name in config:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{name!r} is no setting of MLPConfig, which has {', '.join(known)}: did you mean {near!r}?"
            )
    return MLPConfig(**config)


def _check_seeds(seeds: Iterable[int]) -> list[int]:
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        raise TypeError(f"seeds must be a list of whole numbers, got {seeds!r}: write range(5) for five of them")
    seeds = list(seeds)
    if not seeds:
        raise ValueError("seeds is empty: give at least one, such as [2147483647]")
    for n, seed in enumerate(seeds):
        check_count("each seed", seed, least=0)
        if seed >= 2**64:
            raise ValueError(f"each seed must be below 2**64, got {seed}")
        if seed in seeds[:n]:
            raise ValueError(f"the seed {seed} is listed twice, and its runs would be the same: list each once")
    return [int(seed) for seed in seeds]


_Data = tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]


def _narrowed(data: Mapping[MLPConfig, _Data]) -> dict[MLPConfig, _Data]:
    """The same data in the smallest integer type: an eighth of the bytes to send to other processes with every run."""
    narrow: dict[int, Tensor] = {}  # by identity, so that a tensor used twice is sent once

    def small(t: Tensor) -> Tensor:
        if id(t) not in narrow:
            largest = int(t.max())
            types = (torch.uint8, torch.int16, torch.int32, torch.int64)
            narrow[id(t)] = t.to(next(dtype for dtype in types if largest <= torch.iinfo(dtype).max))
        return narrow[id(t)]

    return {
        config: (small(X), small(Y), {name: (small(x), small(y)) for name, (x, y) in eval_on.items()})
        for config, (X, Y, eval_on) in data.items()
    }


def _check_data(
    configs: Sequence[MLPConfig],
    X: Tensor | None,
    Y: Tensor | None,
    splits: Splits | Callable[[MLPConfig], Splits] | None,
    eval_on: Mapping[str, tuple[Tensor, Tensor]] | None,
) -> dict[MLPConfig, _Data]:
    """What each configuration trains on and is evaluated on, checked before hours are spent."""
    if (splits is None) == (X is None or Y is None) or (splits is not None and not (X is None and Y is None)):
        raise ValueError("give the data either as X= and Y= or as splits=, one of the two")
    data, built = {}, {}
    for config in configs:
        if splits is None:
            x, y, evaluated = X, Y, {}
        else:
            sizes = (config.block_size, config.vocab_size)
            if sizes not in built:
                built[sizes] = splits(config) if callable(splits) else splits
            s = built[sizes]
            if not isinstance(s, Splits):
                raise TypeError(f"splits must be a Splits, or a function that returns one, got {type(s).__name__}")
            x, y, evaluated = s.Xtr, s.Ytr, {"train": (s.Xtr, s.Ytr), "dev": (s.Xdev, s.Ydev)}
        if eval_on is not None:
            evaluated = dict(eval_on)
        model = MLP(config, g=torch.Generator().manual_seed(0))
        for pair in ((x, y), *evaluated.values()):
            check_examples(model, *pair)
        data[config] = (x, y, evaluated)
    return data
