"""The training loop, its record, and the exact loss of a whole split.

`train_steps` is the lecture's training cell as an iterator: it does one step, hands out what happened, and waits.
`train` drains it and keeps the record. Taught in: notebook 04 (the loop) and notebook 05 (minibatches).
"""

import math
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from mlp_lib.data import check_count
from mlp_lib.model import check_generator, device_of, eval_mode

LearningRate = float | Callable[[int], float]

_LECTURE_LR = 0.1
_EVAL_ROWS = 2**14  # rows per forward pass when a whole split is evaluated: bounds the memory, not the result


class Step(NamedTuple):
    """What one step did: its number `i`, the learning rate `lr` it used, and the minibatch's `loss` in nats.

    The loss is that of the minibatch before the update.
    """

    i: int
    lr: float
    loss: float


class Stepper(Protocol):
    """Anything that trains like `train_steps`: the same arguments, the same yields."""

    def __call__(
        self,
        model: nn.Module,
        X: Tensor,
        Y: Tensor,
        *,
        steps: int,
        start: int = 0,
        lr: LearningRate | None = None,
        batch_size: int | None = 32,
        optimizer: torch.optim.Optimizer | None = None,
        look_every: int | None = 1,
        g: torch.Generator,
    ) -> Iterator[Step]:
        """Take the steps and yield a `Step` after each."""
        ...


def train_steps(
    model: nn.Module,
    X: Tensor,
    Y: Tensor,
    *,
    steps: int,
    start: int = 0,
    lr: LearningRate | None = None,
    batch_size: int | None = 32,
    optimizer: torch.optim.Optimizer | None = None,
    look_every: int | None = 1,
    g: torch.Generator,
) -> Iterator[Step]:
    """The lecture's training cell: take `steps` steps, numbered from `start`, and yield a `Step` after each.

    `model` maps X (B, block_size) to logits (B, vocab_size). Each step draws `batch_size` rows of X (N, block_size)
    and Y (N,) from `g`; with `batch_size=None` it takes all rows as they stand and draws nothing. `lr` is a number or a
    function of the step's number, so the lecture's decay is `lr=lambda i: 0.1 if i < 100_000 else 0.01`. Without an
    `optimizer` the update is the lecture's plain `p.data += -lr * p.grad`; with one, `lr` is set on all its parameter
    groups before each step. `lr=None` means the lecture's 0.1, or the optimizer's own rates.

    Leaving the loop stops the training. The same `g` with `start=` set to the next number carries on exactly where it
    stopped. `look_every` matters only to steppers that work ahead: see `fast_steps`; here the model is up to date at
    every yield.

    Raises TypeError or ValueError, before the first step, for data that does not fit the model, a model of which no
    parameter requires a gradient, and an optimizer that could not train it (a class, LBFGS, one made for another
    model); at the first one, for a model whose loss depends on no parameter; and when its turn comes, for a learning
    rate that is negative or not finite.
    Source: lecture 00:37:56 and 00:41:25. Taught in: notebooks 04 and 05.

    >>> from mlp_lib import MLP, MLPConfig, Vocab, build_dataset
    >>> g = torch.Generator().manual_seed(2147483647)
    >>> X, Y = build_dataset(["emma", "olivia"], Vocab("aeilmov"))
    >>> model = MLP(MLPConfig(vocab_size=8, n_embd=2, n_hidden=10), g=g)
    >>> [step.i for step in train_steps(model, X, Y, steps=3, g=g)]
    [0, 1, 2]
    """
    check_training(model, X, Y, steps=steps, start=start, batch_size=batch_size, look_every=look_every, g=g)
    if optimizer is not None:
        _check_optimizer(model, optimizer)
    rate = rate_function(lr, default=None if optimizer is not None else _LECTURE_LR)
    return _train_steps(model, X, Y, range(start, start + steps), rate, batch_size, optimizer, g)


def _train_steps(
    model: nn.Module,
    X: Tensor,
    Y: Tensor,
    numbers: range,
    rate: Callable[[int], float] | None,
    batch_size: int | None,
    optimizer: torch.optim.Optimizer | None,
    g: torch.Generator,
) -> Iterator[Step]:
    parameters = list(model.parameters())
    device = device_of(model)
    for i in numbers:
        lr = optimizer.param_groups[0]["lr"] if rate is None else rate(i)

        # minibatch
        if batch_size is None:
            Xb, Yb = X, Y
        else:
            ix = torch.randint(0, X.shape[0], (batch_size,), generator=g, device=g.device)
            Xb, Yb = X[ix.to(X.device)], Y[ix.to(Y.device)]
        Xb, Yb = Xb.to(device, torch.int64), Yb.to(device, torch.int64)

        # forward pass and backward pass
        with torch.enable_grad():
            logits = model(Xb)
            loss = F.cross_entropy(logits, Yb)
            for p in parameters:
                p.grad = None
            if not loss.requires_grad:
                raise ValueError(
                    f"the loss of {type(model).__name__} depends on no parameter, so there is nothing to train: "
                    "a model of counts is made by fit"
                )
            loss.backward()

        # update
        if optimizer is not None:
            if rate is not None:
                for group in optimizer.param_groups:
                    group["lr"] = lr
            optimizer.step()
        else:
            for p in parameters:
                if p.grad is not None:
                    p.data += -lr * p.grad

        yield Step(i, lr, loss.item())


def check_training(
    model: nn.Module,
    X: Tensor,
    Y: Tensor,
    *,
    steps: int,
    start: int,
    batch_size: int | None,
    look_every: int | None,
    g: torch.Generator,
) -> None:
    """Raise TypeError or ValueError with one sentence for arguments that no training loop could use.

    >>> check_training(nn.Linear(1, 1), *torch.tensor([[[0]], [[0]]]), steps=-1, start=0, batch_size=1,
    ...                look_every=1, g=torch.Generator())
    Traceback (most recent call last):
    ...
    ValueError: Y must have one dimension, (examples,), got shape (1, 1)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module that maps X to logits, got {type(model).__name__}")
    parameters = list(model.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        raise ValueError(
            "no parameter of the model requires a gradient, so there is nothing to train: call model.requires_grad_()"
        )
    check_examples(model, X, Y)
    if torch.is_inference_mode_enabled() or any(t.is_inference() for t in (*parameters, X, Y)):
        raise ValueError(
            "nothing can be trained in torch.inference_mode(), or with a tensor made in it: leave the block and call "
            "clone() on what was made there"
        )
    check_count("steps", steps, least=0)
    check_count("start", start, least=0)
    if batch_size is not None:
        check_count("batch_size", batch_size)
    if look_every is not None:
        check_count("look_every", look_every)
    check_generator(g)


def _check_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Raise TypeError or ValueError with one sentence for an optimizer that `train_steps` could not use, or in vain."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
        raise TypeError(
            f"optimizer must be made for the model, such as torch.optim.Adam(model.parameters()), got {got}"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            "optimizer must take its step from one gradient, but LBFGS computes the loss several times a step: "
            "take another, such as torch.optim.Adam(model.parameters())"
        )
    its = {id(p) for group in optimizer.param_groups for p in group["params"]}
    parameters = list(model.parameters())
    if parameters and not any(id(p) in its for p in parameters):
        raise ValueError(
            "the optimizer holds no parameter of this model, so the model would never change: "
            f"make it anew, from this one's: {type(optimizer).__name__}(model.parameters(), ...)"
        )


def check_eval_on(eval_on: Mapping[str, tuple[Tensor, Tensor]] | None) -> None:
    """Raise TypeError with one sentence unless `eval_on` maps each name to a pair; the tensors are not looked at.

    >>> check_eval_on({"dev": torch.zeros(4, 3)})
    Traceback (most recent call last):
    ...
    TypeError: eval_on must name its splits: write eval_on={'dev': (Xdev, Ydev)}, got {'dev': Tensor}
    """
    got = None
    if isinstance(eval_on, Mapping):
        for name, pair in eval_on.items():
            if not isinstance(pair, (tuple, list)):
                got = f"{{{name!r}: {type(pair).__name__}}}"
            elif len(pair) != 2:
                got = f"{{{name!r}: {type(pair).__name__} of {len(pair)}}}"
    elif eval_on is not None:
        got = type(eval_on).__name__
    if got is not None:
        raise TypeError(f"eval_on must name its splits: write eval_on={{'dev': (Xdev, Ydev)}}, got {got}")


def check_examples(model: nn.Module, X: Tensor, Y: Tensor) -> None:
    """Raise TypeError or ValueError with one sentence unless X (N, block_size), Y (N,) are examples for `model`.

    >>> check_examples(nn.Linear(1, 1), torch.zeros(0, 3), torch.zeros(0))
    Traceback (most recent call last):
    ...
    TypeError: X must hold integer indices, got torch.float32: build it with build_dataset
    """
    for name, t in (("X", X), ("Y", Y)):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(t).__name__}")
        if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
            raise TypeError(f"{name} must hold integer indices, got {t.dtype}: build it with build_dataset")
    if Y.ndim != 1:
        raise ValueError(f"Y must have one dimension, (examples,), got shape {tuple(Y.shape)}")
    if X.ndim == 0 or (X.numel() == 0 and len(X) > 0):
        raise ValueError(
            f"X must have one row an example, (examples, block_size), got shape {tuple(X.shape)}: "
            "build it with build_dataset"
        )
    if X.shape[0] != Y.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows but Y has {Y.shape[0]}: take both from the same build_dataset call")
    if X.shape[0] == 0:
        raise ValueError("X and Y hold no examples: build them from at least one word")
    config = getattr(model, "config", None)
    block_size, vocab_size = getattr(config, "block_size", None), getattr(config, "vocab_size", None)
    if block_size is not None and (X.ndim != 2 or X.shape[1] != block_size):
        raise ValueError(
            f"X has shape {tuple(X.shape)} but this model was built with block_size={block_size}: "
            f"build the dataset with block_size={block_size}"
        )
    for name, t in (("X", X), ("Y", Y)):
        low, high = int(t.min()), int(t.max())
        if low < 0:
            raise ValueError(f"{name} holds the index {low}: indices start at 0")
        if vocab_size is not None and high >= vocab_size:
            raise ValueError(
                f"{name} holds the index {high} but this model was built with vocab_size={vocab_size}: "
                "build model and dataset from the same vocabulary"
            )


def rate_function(lr: LearningRate | None, *, default: float | None = _LECTURE_LR) -> Callable[[int], float] | None:
    """The learning rate as a function of the step's number that checks what it returns; None if nothing was asked for.

    Raises TypeError or ValueError at once for a number that is no learning rate, later for a function that returns one.

    >>> rate_function(0.1)(7)
    0.1
    """
    if lr is None:
        lr = default
    if lr is None:
        return None
    if callable(lr):
        return lambda i: _checked_rate(lr(i), f" at step {i}")
    fixed = _checked_rate(lr, "")
    return lambda i: fixed


def _checked_rate(lr: float, where: str) -> float:
    try:
        value = float(lr)
    except (TypeError, ValueError):
        raise TypeError(f"lr must be a number or a function of the step's number, got {lr!r}{where}") from None
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"lr must be a finite number of at least 0, got {value}{where}: try 0.1")
    return value


class History:
    """The record of a run: one entry a step, evaluations in between, and why it ended.

    `stepi` (n,), `lri` (n,), `lossi` (n,) are tensors under the lecture's names: step numbers, learning rates and
    minibatch losses in nats (not their log10, which the lecture plots). `eval_stepi` counts the updates done before
    each evaluation and `evals[name]` holds the exact losses measured there. `seconds` is the time spent on steps,
    evaluations not counted. `stopped` is None after a run that took all its steps, else a sentence.

    >>> history = History()
    >>> history.record(Step(0, 0.1, 3.5))
    >>> history.lossi
    tensor([3.5000], dtype=torch.float64)
    """

    def __init__(self) -> None:
        # Arrays, not lists of objects: 200,000 steps take 5 MB instead of 25.
        self._i, self._lr, self._loss = array("q"), array("d"), array("d")
        self.eval_stepi: list[int] = []
        self.evals: dict[str, list[float]] = {}
        self.seconds = 0.0
        self.stopped: str | None = None

    def record(self, step: Step) -> None:
        """Append one step."""
        self._i.append(step.i)
        self._lr.append(step.lr)
        self._loss.append(step.loss)

    def record_losses(self, updates: int, losses: Mapping[str, float]) -> None:
        """Append the exact losses measured after so many updates."""
        self.eval_stepi.append(updates)
        for name, loss in losses.items():
            self.evals.setdefault(name, []).append(loss)

    @property
    def stepi(self) -> Tensor:
        """The number of each step (n,), int64."""
        return _column(self._i)

    @property
    def lri(self) -> Tensor:
        """The learning rate of each step (n,), float64."""
        return _column(self._lr)

    @property
    def lossi(self) -> Tensor:
        """The minibatch loss of each step in nats, before its update (n,), float64."""
        return _column(self._loss)

    def __len__(self) -> int:
        return min(len(self._i), len(self._lr), len(self._loss))

    def __repr__(self) -> str:
        if len(self) == 0:
            return "History(no steps)"
        end = "" if self.stopped is None else f", stopped: {self.stopped}"
        return f"History({len(self):,} steps, last loss {self._loss[len(self) - 1]:.4f}{end})"

    def _trim(self) -> None:
        """Make the three columns equally long again: an interrupt can fall between two appends."""
        n = len(self)
        for column in (self._i, self._lr, self._loss):
            del column[n:]


def _column(values: array) -> Tensor:
    # A slice, not the array itself: while NumPy reads one, another thread that appends to it gets a BufferError.
    return torch.from_numpy(np.asarray(values[:]))


def train(
    model: nn.Module,
    X: Tensor,
    Y: Tensor,
    *,
    steps: int,
    start: int = 0,
    lr: LearningRate | None = None,
    batch_size: int | None = 32,
    optimizer: torch.optim.Optimizer | None = None,
    g: torch.Generator,
    eval_on: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    eval_every: int | None = None,
    progress: bool = False,
    on_step: Callable[[Step], object] | None = None,
    stepper: Stepper = train_steps,
) -> History:
    """Train `model` in place and return the record.

    The arguments up to `g` are those of `train_steps`. `eval_on={"dev": (Xdev, Ydev)}` names splits whose exact loss is
    measured before the first step, whenever the number of updates is a multiple of `eval_every`, and after the last.
    `progress=True` draws a bar on stderr. `on_step(step)` is called after each step. `stepper` does the steps:
    `train_steps`, or `mlp_lib.lab.fast.fast_steps` for the same run in an eighth of the time.

    Only the steps draw from `g`: evaluating, watching or drawing a bar changes nothing in the run. A loss that is not
    finite stops the run; an interrupted kernel (KeyboardInterrupt) ends it early. Either way the record so far is
    returned, and `history.stopped` says in a sentence what happened.

    Raises what `train_steps` raises; TypeError for an `eval_on` that is no mapping from names to pairs; ValueError for
    its examples if they do not fit the model, and for an `eval_every` where `eval_on` names no split.
    Source: lecture 00:41:25. Taught in: notebook 04.

    >>> from mlp_lib import MLP, MLPConfig, Vocab, build_dataset
    >>> g = torch.Generator().manual_seed(2147483647)
    >>> X, Y = build_dataset(["emma", "olivia"], Vocab("aeilmov"))
    >>> model = MLP(MLPConfig(vocab_size=8, n_embd=2, n_hidden=10), g=g)
    >>> len(train(model, X, Y, steps=50, g=g))
    50
    """
    check_eval_on(eval_on)
    if eval_every is not None:
        check_count("eval_every", eval_every)
        if not eval_on:
            raise ValueError(
                f"eval_every={eval_every} but eval_on names no split: pass eval_on={{'dev': (Xdev, Ydev)}}"
            )
    eval_on = dict(eval_on or {})
    for x, y in eval_on.values():
        check_examples(model, x, y)

    # Who looks at the model during the run, and when? A stepper that works ahead has to know.
    look_every = 1 if on_step is not None else eval_every
    history = History()
    seen = 0  # updates done
    step = None

    def evaluate() -> None:
        nonlocal begun
        clock = time.perf_counter()
        try:
            if eval_on:
                history.record_losses(start + seen, {name: eval_loss(model, x, y) for name, (x, y) in eval_on.items()})
        finally:
            begun += time.perf_counter() - clock

    run = stepper(
        model, X, Y, steps=steps, start=start, lr=lr, batch_size=batch_size, optimizer=optimizer,
        look_every=look_every, g=g,
    )  # fmt: skip
    begun = time.perf_counter()  # moved on by the time of each evaluation: only steps count
    try:
        evaluate()
        for step in _with_bar(run, steps, progress):
            history.record(step)
            seen += 1
            if not math.isfinite(step.loss):
                history.stopped = (
                    f"the loss was {step.loss} at step {step.i} (lr {step.lr:g}): try a smaller learning rate"
                )
                break
            if on_step is not None:
                on_step(step)
            if eval_every is not None and (step.i + 1) % eval_every == 0 and seen < steps:
                evaluate()
        if history.stopped is None and steps > 0:  # every step was taken, so no stepper is ahead of its last one
            evaluate()
    except KeyboardInterrupt:
        history._trim()
        if step is not None and (len(history) == 0 or history._i[-1] != step.i):
            history.record(step)  # it was taken; the interrupt came before its entry
        done = f"after step {int(history._i[-1])}" if len(history) else "before the first step"
        history.stopped = f"interrupted {done}"
    finally:
        history.seconds = time.perf_counter() - begun
        close_steps(run)
    return history


def close_steps(run: Iterator[Step]) -> None:
    """End a run of a `Stepper` where it is: one that worked ahead puts model and g where its last step left them.

    A stepper promises an iterator, not a generator: without a `close` there is nothing to do.

    >>> close_steps(iter([]))
    """
    close = getattr(run, "close", None)
    if close is not None:
        close()


def _with_bar(run: Iterable[Step], steps: int, progress: bool) -> Iterable[Step]:
    if not progress:
        return run
    return tqdm(run, total=steps, unit=" steps", unit_scale=True, file=sys.stderr, mininterval=0.2)


def eval_loss(model: nn.Module, X: Tensor, Y: Tensor) -> float:
    """The mean loss in nats over every example of X (N, block_size), Y (N,): exact, not a minibatch's estimate.

    Computed in pieces that fit any memory, summed in float64. Draws nothing, changes nothing in the model, not even
    its mode. Raises TypeError or ValueError for examples that do not fit the model.
    Source: lecture 00:53:20. Taught in: notebook 04.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(), g=torch.Generator().manual_seed(2147483647))
    >>> eval_loss(model, torch.zeros(4, 3, dtype=torch.int64), torch.tensor([0, 1, 2, 3])) > 3
    True
    """
    check_examples(model, X, Y)
    device = device_of(model)
    total = 0.0
    with eval_mode(model):
        for Xb, Yb in zip(X.split(_EVAL_ROWS), Y.split(_EVAL_ROWS), strict=True):
            logits = model(Xb.to(device, torch.int64))
            losses = F.cross_entropy(logits, Yb.to(device, torch.int64), reduction="none")
            total += losses.cpu().double().sum().item()
    return total / X.shape[0]
