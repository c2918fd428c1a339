"""Many runs at once: configurations times seeds, trained side by side.

One run tells little: another seed may move the loss by more than the change you want to judge. `run_grid` makes several
as easy as one. Taught in: notebook 10 (when a loss may go into a paper) and notebook 16 (many models at once).
"""

import difflib
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from tqdm import tqdm

from mlp_lib.data import Splits, check_count
from mlp_lib.fast import fast_steps
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.train import History, LearningRate, Step, Stepper, check_examples, rate_function, train


@dataclass(frozen=True)
class Result:
    """One run of a grid.

    `losses[name]` is the exact loss in nats of each evaluated split after the last step, nan if the run was stopped by
    a loss that is not finite (`history.stopped` says where). `seconds` is the time its steps took while the other runs
    went on beside it.
    """

    config: MLPConfig
    seed: int
    history: History
    losses: dict[str, float]
    seconds: float
    model: MLP

    def __repr__(self) -> str:
        losses = "".join(f", {name} {loss:.4f}" for name, loss in self.losses.items())
        return f"Result({self.config}, seed {self.seed}{losses})"


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
    your own (any `concurrent.futures.Executor`) takes the runs instead; if its workers are processes, `lr` must be a
    number or a function that can be pickled. torch's own threads are set to one while our threads work and to what they
    were afterwards. `progress=True` draws a bar on stderr.

    An interrupt (KeyboardInterrupt) returns the runs that are complete, with a warning that counts them.
    Raises TypeError or ValueError for settings that no run could use, before any starts, and what `train` raises.
    Taught in: notebooks 10 and 16.

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
    rate_function(lr)
    if batch_size is not None:
        check_count("batch_size", batch_size)
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
    data = _check_data(configs, X, Y, splits, eval_on)

    stop = threading.Event()
    settings = {"steps": steps, "lr": lr, "batch_size": batch_size, "eval_every": eval_every, "stepper": stepper}
    runs = [(config, seed, *data[config], settings) for config in configs for seed in seeds]
    if executor is not None:
        return _collect([executor.submit(_train_one, *run) for run in runs], stop, progress)

    settings["stepper"] = _Stoppable(stepper, stop)
    with _one_torch_thread(), ThreadPoolExecutor(workers or _cores(), thread_name_prefix="run_grid") as pool:
        return _collect([pool.submit(_train_one, *run) for run in runs], stop, progress)


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
    losses = {name: values[-1] if history.stopped is None else float("nan") for name, values in history.evals.items()}
    return Result(config, seed, history, losses, history.seconds, model)


def _collect(futures: list[Future], stop: threading.Event, progress: bool) -> list[Result]:
    """The results in the order of `futures`; after an error or an interrupt nothing goes on in our own threads."""
    pending = set(futures)
    try:
        with tqdm(total=len(futures), unit=" runs") if progress else nullcontext() as bar:
            while pending:
                # In short waits, because on some systems a thread that waits cannot be interrupted.
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()  # an error in a run ends the grid now, not after all the others
                if bar is not None:
                    bar.update(len(done))
    except KeyboardInterrupt:
        finished = [f for f in futures if f.done() and not f.cancelled() and f.exception() is None]
        warnings.warn(f"interrupted: {len(finished)} of {len(futures)} runs are complete", stacklevel=3)
        return [future.result() for future in finished]
    finally:
        stop.set()
        for future in futures:
            future.cancel()
    return [future.result() for future in futures]


class _Stopped(Exception):
    """Ends a run whose result nobody waits for any more."""


class _Stoppable:
    """A stepper that also ends when `stop` is set: Python delivers an interrupt to the main thread only."""

    def __init__(self, stepper: Stepper, stop: threading.Event) -> None:
        self.stepper, self.stop = stepper, stop

    def __call__(self, model: MLP, X: Tensor, Y: Tensor, **arguments: object) -> Iterator[Step]:
        return self._steps(self.stepper(model, X, Y, **arguments))

    def _steps(self, run: Iterator[Step]) -> Iterator[Step]:
        for step in run:
            yield step
            if self.stop.is_set():
                raise _Stopped


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


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # those this process may use, which in a container are not all
    return os.cpu_count() or 1


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
