"""The training loop, its record, and the exact loss of a whole split.

    for step in train_steps(model, Xtr, Ytr, steps=200_000, lr=lambda i: 0.1 if i < 100_000 else 0.01, g=g):
        ...  # step.i, step.lr, step.loss; `break` stops the training

`train` does the same and keeps the record. Taught in: page 04 (the loop) and page 05 (minibatches).
"""

import math
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from mlp_lib.checks import checked, rate_at
from mlp_lib.model import device_of, eval_mode

LearningRate = float | Callable[[int], float]


class Step(NamedTuple):
    """What one step did: its number, the learning rate it used, the minibatch's loss in nats before the update."""

    i: int
    lr: float
    loss: float


@checked
def train_steps(
    model: nn.Module,
    X: Int[Tensor, "N block_size"],
    Y: Int[Tensor, " N"],
    *,
    steps: int,
    start: int = 0,
    lr: LearningRate = 0.1,
    batch_size: int | None = 32,
    g: torch.Generator,
) -> Iterator[Step]:
    """The lecture's training cell: take `steps` steps, numbered from `start`, and yield a `Step` after each.

    Each step draws `batch_size` rows from `g`; with `batch_size=None` it takes all rows and draws nothing. `lr` is a
    number or a function of the step's number. The same `g` with `start=` carries on exactly where a run stopped.

    Raises TypeError or ValueError at the call for invalid arguments, at its step for a rate that is negative or nan.
    Source: lecture 00:37:56 and 00:41:25.

    >>> from mlp_lib import MLP, MLPConfig, Vocab, build_dataset
    >>> g = torch.Generator().manual_seed(2147483647)
    >>> X, Y = build_dataset(["emma", "olivia"], Vocab("aeilmov"))
    >>> model = MLP(MLPConfig(vocab_size=8, n_embd=2, n_hidden=10), g=g)
    >>> [step.i for step in train_steps(model, X, Y, steps=3, g=g)]
    [0, 1, 2]
    """
    parameters, device = list(model.parameters()), device_of(model)
    for i in range(start, start + steps):
        # minibatch
        if batch_size is None:
            Xb, Yb = X, Y
        else:
            ix = torch.randint(0, X.shape[0], (batch_size,), generator=g, device=g.device).to(X.device)
            Xb, Yb = X[ix], Y[ix]

        # forward pass
        logits = model(Xb.to(device))
        loss = F.cross_entropy(logits, Yb.to(device))

        # backward pass
        for p in parameters:
            p.grad = None
        loss.backward()

        # update
        rate = rate_at(lr, i)
        for p in parameters:
            if p.grad is not None:  # a frozen parameter has none
                p.data += -rate * p.grad

        yield Step(i, rate, loss.item())


# A function that trains like `train_steps`, such as `fast_steps` in `mlp_lib.lab.fast`: a generator with the same
# arguments. Once it is exhausted or closed, the model and `g` are as the yielded steps left them; in between it may
# have run ahead.
Stepper = Callable[..., Iterator[Step]]


class History:
    """The record of a run: one entry per step, evaluations in between, and why it ended.

    `stepi` (n,), `lri` (n,), `lossi` (n,) are tensors under the lecture's names: step numbers, learning rates and
    minibatch losses in nats (not their log10, which the lecture plots). `evals[name]` holds the exact losses that were
    measured when `eval_stepi` updates had been done. `seconds` is the time spent on steps, evaluations not counted.
    `stopped` is None after a run that took all its steps, else a sentence.
    """

    def __init__(self) -> None:
        self._steps = array("d")  # i, lr, loss, i, lr, loss, ...: an eighth of the memory of a list of Steps
        self._evals: list[tuple[int, dict[str, float]]] = []
        self.seconds = 0.0
        self.stopped: str | None = None

    def record(self, step: Step) -> None:
        """Append one step."""
        self._steps.extend(step)

    def evaluate(self, model: nn.Module, eval_on: Mapping[str, tuple[Tensor, Tensor]], updates: int) -> None:
        """Append the exact loss of each split after `updates` updates."""
        losses = {name: eval_loss(model, X, Y) for name, (X, Y) in eval_on.items()}
        if losses:
            self._evals.append((updates, losses))  # one append: an interrupt cannot separate the two

    @property
    def eval_stepi(self) -> list[int]:
        """How many updates had been done at each evaluation."""
        return [updates for updates, _ in self._evals]

    @property
    def evals(self) -> dict[str, list[float]]:
        """The exact losses of each split in nats, one per evaluation."""
        names = {name: None for _, losses in self._evals for name in losses}
        return {name: [losses[name] for _, losses in self._evals if name in losses] for name in names}

    @property
    def stepi(self) -> Int[Tensor, " n"]:
        """The number of each step."""
        return self._column(0).long()

    @property
    def lri(self) -> Float[Tensor, " n"]:
        """The learning rate of each step, float64."""
        return self._column(1)

    @property
    def lossi(self) -> Float[Tensor, " n"]:
        """The minibatch loss of each step in nats, before its update, float64."""
        return self._column(2)

    def _column(self, k: int) -> Tensor:
        return torch.from_numpy(np.array(self._steps[k::3]))  # a copy: another thread may be appending

    def __len__(self) -> int:
        return len(self._steps) // 3

    def __repr__(self) -> str:
        last = f", last loss {self._steps[-1]:.4f}" if len(self) else ""
        end = "" if self.stopped is None else f", stopped: {self.stopped}"
        return f"History({len(self):,} steps{last}{end})"


@checked
def train(
    model: nn.Module,
    X: Int[Tensor, "N block_size"],
    Y: Int[Tensor, " N"],
    *,
    steps: int,
    start: int = 0,
    lr: LearningRate = 0.1,
    batch_size: int | None = 32,
    g: torch.Generator,
    eval_on: Mapping[str, tuple[Tensor, Tensor]] = {},
    eval_every: int | None = None,
    progress: bool = False,
    stepper: Stepper = train_steps,
) -> History:
    """Train `model` in place and return the record.

    The arguments up to `g` are those of `train_steps`. `eval_on={"dev": (Xdev, Ydev)}` names splits whose exact loss is
    measured before the first step, whenever the number of updates is a multiple of `eval_every`, and after the last.
    `progress=True` draws a bar on stderr. `stepper` takes the steps: `train_steps`, or `mlp_lib.lab.fast.fast_steps`
    for the same run, several times as fast.

    Only the steps draw from `g`. A loss that is not finite stops the run; an interrupted kernel (KeyboardInterrupt)
    ends it early. Either way the record so far is returned, and `history.stopped` says in a sentence what happened.
    Source: lecture 00:41:25.

    >>> from mlp_lib import MLP, MLPConfig, Vocab, build_dataset
    >>> g = torch.Generator().manual_seed(2147483647)
    >>> X, Y = build_dataset(["emma", "olivia"], Vocab("aeilmov"))
    >>> model = MLP(MLPConfig(vocab_size=8, n_embd=2, n_hidden=10), g=g)
    >>> train(model, X, Y, steps=50, g=g).lossi.shape
    torch.Size([50])
    """
    history, step, i, end = History(), None, start, start + steps
    try:
        history.evaluate(model, eval_on, i)
        with tqdm(total=steps, disable=not progress, unit=" steps", unit_scale=True, mininterval=0.2) as bar:
            while i < end:
                # up to the next evaluation
                n = end - i if eval_every is None else min(end - i, eval_every - i % eval_every)
                run = stepper(model, X, Y, steps=n, start=i, lr=lr, batch_size=batch_size, g=g)
                begun = time.perf_counter()
                try:
                    with closing(run):
                        for step in run:
                            i = step.i + 1
                            history.record(step)
                            bar.update()
                            if not math.isfinite(step.loss):
                                history.stopped = (
                                    f"the loss was {step.loss} at step {step.i} (lr {step.lr:g}): "
                                    "try a smaller learning rate"
                                )
                                return history
                finally:
                    history.seconds += time.perf_counter() - begun
                history.evaluate(model, eval_on, i)
    except KeyboardInterrupt:
        if step is not None and len(history) <= step.i - start:
            history.record(step)  # the step was taken, but the interrupt came before it was recorded
        history.stopped = "interrupted before the first step" if step is None else f"interrupted after step {step.i}"
    return history


@checked
def eval_loss(model: nn.Module, X: Int[Tensor, "N block_size"], Y: Int[Tensor, " N"]) -> float:
    """The mean loss in nats over every example: exact, not a minibatch's estimate.

    Computed in chunks of 16,384 examples, summed in float64. Draws nothing and leaves the model unchanged, its mode
    included. Source: lecture 00:53:20.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(), g=torch.Generator().manual_seed(2147483647))
    >>> eval_loss(model, torch.zeros(4, 3, dtype=torch.int64), torch.tensor([0, 1, 2, 3])) > 3
    True
    """
    device, total = device_of(model), 0.0
    with eval_mode(model):
        for Xb, Yb in zip(X.split(2**14), Y.split(2**14), strict=True):
            losses = F.cross_entropy(model(Xb.to(device)), Yb.to(device), reduction="none")
            total += losses.cpu().double().sum().item()
    return total / len(Y)
