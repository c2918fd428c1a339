"""Many runs in parallel: every configuration with every seed.

    results = run_grid([MLPConfig(n_hidden=100), MLPConfig(n_hidden=300)], seeds=range(5), X=Xtr, Y=Ytr, steps=10_000)

One run says little: a different seed may move the loss by more than the change you want to judge. Taught in: page 10
(when a loss may go into a paper), page 13 (a search that resumes) and page 16 (many models at once).
"""

import hashlib
import json
import operator
import threading
import warnings
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from mlp_lib.checks import check_evaluations, check_examples, checked, rate_at
from mlp_lib.lab.cores import usable_cores
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.ladder import Ladder, fingerprint
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.train import History, LearningRate, Step, Stepper, train


@dataclass(frozen=True)
class Result:
    """One run of a grid.

    `losses[name]` is the exact loss in nats of each evaluated split after the last step, nan if a loss that is not
    finite stopped the run. `seconds` is the time its steps took. A run that was found on a ladder was not repeated: its
    losses and seconds are those of the earlier run, and `history` and `model` are None.
    """

    config: MLPConfig
    seed: int
    losses: dict[str, float]
    seconds: float
    history: History | None = field(default=None, repr=False)
    model: MLP | None = field(default=None, repr=False)

    @property
    def found(self) -> bool:
        """Whether the losses come from the ladder and not from a new run."""
        return self.model is None


@checked
def run_grid(
    configs: Iterable[MLPConfig],
    seeds: Iterable[int],
    *,
    X: Int[Tensor, "N block_size"],
    Y: Int[Tensor, " N"],
    steps: int,
    lr: LearningRate = 0.1,
    batch_size: int | None = 32,
    eval_on: Mapping[str, tuple[Tensor, Tensor]] = {},
    eval_every: int | None = None,
    executor: Executor | None = None,
    stepper: Stepper = fast_steps,
    ladder: Ladder | None = None,
    name: str = "one hidden layer",
) -> list[Result]:
    """Train each configuration with each seed, several at a time; return the results by configuration, then by seed.

    A run is `g = torch.Generator().manual_seed(seed)`, `model = MLP(config, g=g)`, `train(model, X, Y, ..., g=g)`: one
    generator draws the initial tensors, then the minibatches. So a result does not depend on how many runs are trained
    at the same time. The arguments from `X` to `eval_every` are those of `train`.

    One thread per core takes the runs, and torch's own number of threads is set to 1 until the grid ends; `fast_steps`
    releases Python's lock, so the threads run in parallel. An `executor` (any `concurrent.futures.Executor`, such as a
    Dask cluster's `client.get_executor()`) takes the runs instead; if its workers are processes, `lr` must be a number
    or a function that can be pickled.

    With a `ladder`, each run is added to it under `name` as it finishes, and a run that is already there is not
    repeated: its `Result` has the losses, but no history and no model. Two runs are the same if configuration, seed,
    steps, batch size, the rate of every step, all tensors, `name` and the stepper are the same. A stepper is identified
    by its name: rename it, or pass a different `name`, when you change what it does.

    An interrupt (KeyboardInterrupt) returns the complete runs, with a warning that counts them. If a run fails, the
    others are stopped or cancelled and its error is raised. In both cases the finished runs are on the ladder, so the
    same call trains only the rest. Before any run starts, raises OSError for a ladder that cannot be written and
    ModuleNotFoundError if the workers of an executor lack a package.

    >>> from mlp_lib import Vocab, build_dataset
    >>> X, Y = build_dataset(["emma", "olivia"], Vocab("aeilmov"))
    >>> small = MLPConfig(vocab_size=8, n_embd=2, n_hidden=10)
    >>> results = run_grid([small], seeds=range(3), X=X, Y=Y, steps=5, eval_on={"train": (X, Y)})
    >>> [(result.seed, len(result.history), list(result.losses)) for result in results]
    [(0, 5, ['train']), (1, 5, ['train']), (2, 5, ['train'])]
    """
    if isinstance(seeds, int):
        raise TypeError(f"seeds must be a list of seeds, got {seeds}: write range({seeds})")
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            f"executor must be a concurrent.futures.Executor, got {type(executor).__name__}: a Dask client has one, "
            "client.get_executor()"
        )
    if ladder is not None and not isinstance(ladder, Ladder):
        raise TypeError(f"ladder must be a Ladder, such as Ladder(words=words), got {type(ladder).__name__}")
    configs, seeds, steps = list(configs), [operator.index(seed) for seed in seeds], int(steps)
    for config in configs:  # check all of them before hours of training
        model = MLP(config, g=torch.Generator())
        check_examples(model, X, Y)
        check_evaluations(model, eval_on, eval_every)

    runs = [(config, seed) for config in configs for seed in seeds]
    rates = [] if ladder is None else [rate_at(lr, i) for i in range(steps)]
    keys = [] if ladder is None else _keys(runs, name, rates, batch_size, stepper, X, Y, eval_on)
    results = {} if ladder is None else _found(ladder, runs, keys)
    if ladder is not None and len(results) < len(runs):
        ladder.check_writable()

    def enter(k: int, result: Result) -> None:
        results[k] = result
        if ladder is not None:
            ladder.add(
                name,
                config=asdict(result.config) | {"lr": _shown(rates), "batch_size": batch_size},
                seed=result.seed,
                steps=steps,
                n_parameters=result.config.n_parameters,
                seconds=result.seconds,
                losses=result.losses,
                stopped=result.history.stopped,
                key=keys[k],
            )

    if executor is not None:
        _import_on_workers(executor, len(runs) - len(results))
    stop = threading.Event()
    how = {"steps": steps, "lr": lr, "batch_size": batch_size, "eval_on": eval_on, "eval_every": eval_every}
    how["stepper"] = stepper if executor is not None else _stoppable(stepper, stop)
    with _threads() if executor is None else nullcontext(executor) as pool:
        number = {pool.submit(_train_one, *runs[k], X, Y, how): k for k in range(len(runs)) if k not in results}
        try:
            while number:
                for k, result in _finished(number):
                    enter(k, result)
        except KeyboardInterrupt:
            warnings.warn(f"interrupted: {len(results)} of {len(runs)} runs are complete", stacklevel=3)
        finally:
            stop.set()
            for future in number:
                future.cancel()
    return [results[k] for k in sorted(results)]


def _import_on_workers(executor: Executor, runs: int) -> None:
    """Import this module on each worker: a Dask worker that imports it while unpickling a run loses its connection.

    Raises ModuleNotFoundError if a package is missing there.
    """
    for future in [executor.submit(exec, f"import {__name__}") for _ in range(runs)]:
        future.result()


def _train_one(config: MLPConfig, seed: int, X: Tensor, Y: Tensor, how: Mapping[str, object]) -> Result:
    """One run, in a worker. It is a module-level function, so an executor can send it to another process."""
    g = torch.Generator().manual_seed(seed)
    model = MLP(config, g=g)
    history = train(model, X, Y, g=g, **how)
    if history.stopped is not None and history.stopped.startswith("interrupted"):
        raise KeyboardInterrupt  # the interrupt reached this worker, and an incomplete run is not a result
    losses = {name: values[-1] if history.stopped is None else float("nan") for name, values in history.evals.items()}
    return Result(config, seed, losses, history.seconds, history, model)


def _finished(number: dict[Future, int]) -> list[tuple[int, Result]]:
    """Wait for results and remove their futures from `number`; raise the error of a run that failed.

    No reference to a finished future may remain: while one exists, a Dask cluster recomputes the result if the worker
    that holds it dies.
    """
    wait(number, timeout=0.2, return_when=FIRST_COMPLETED)  # short, because on Windows a wait cannot be interrupted
    done = [future for future in number if future.done()]
    good = [future for future in done if future.exception() is None]
    if done and not good:
        done[0].result()
    return [(number.pop(future), future.result()) for future in good]


@contextmanager
def _threads() -> Iterator[Executor]:
    """One thread per core; torch uses one thread in each, or they would compete for the cores during evaluations."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(usable_cores()) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _stoppable(stepper: Stepper, stop: threading.Event) -> Stepper:
    """The same steps until `stop` is set. Needed because Python delivers an interrupt to the main thread only."""

    def steps(model: MLP, X: Tensor, Y: Tensor, **settings: object) -> Iterator[Step]:
        with closing(stepper(model, X, Y, **settings)) as run:
            for step in run:
                yield step
                if stop.is_set():
                    raise KeyboardInterrupt

    return steps


# ---- runs already on the ladder --------------------------------------------------------------------------------------


def _keys(
    runs: Sequence[tuple[MLPConfig, int]],
    name: str,
    rates: Sequence[float],
    batch_size: int | None,
    stepper: Stepper,
    X: Tensor,
    Y: Tensor,
    eval_on: Mapping[str, tuple[Tensor, Tensor]],
) -> list[str]:
    """For each run, the sha256 of everything that determines its losses."""
    stepper = getattr(stepper, "__qualname__", repr(stepper))
    data = {name: fingerprint(*pair) for name, pair in {"": (X, Y), **eval_on}.items()}
    common = [name, len(rates), _digest(rates), batch_size, stepper, data]
    texts = (json.dumps([common, asdict(config), seed]) for config, seed in runs)
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def _found(ladder: Ladder, runs: Sequence[tuple[MLPConfig, int]], keys: Sequence[str]) -> dict[int, Result]:
    entries = {entry.key: entry for entry in ladder.entries}
    there = {k: entries[key] for k, key in enumerate(keys) if key in entries}
    return {k: Result(*runs[k], entry.losses, entry.seconds) for k, entry in there.items()}


def _digest(rates: Sequence[float]) -> str:
    return hashlib.sha256(array("d", rates).tobytes()).hexdigest()


def _shown(rates: Sequence[float]) -> str:
    """A short text for the learning rates: the only one, or the first, the last and a digest of all."""
    if len(set(rates)) < 2:
        return "".join(f"{rate:g}" for rate in rates[:1])
    return f"{rates[0]:g} to {rates[-1]:g} ({_digest(rates)[:6]})"
