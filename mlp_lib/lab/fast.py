"""The training loop, compiled: the same steps, several times as fast.

    for step in fast_steps(model, Xtr, Ytr, steps=200_000, lr=lambda i: 0.1 if i < 100_000 else 0.01, g=g):
        ...  # the arguments and yields of `train_steps`

A step of the lecture's last network needs about a million multiply-adds, which one core does in 25 microseconds. The
plain loop takes 300: it starts fifty small operations from Python, and each one looks up what to do and allocates its
result. Here the whole step is one compiled function that works in buffers allocated once. Python only draws the
batches, many steps ahead, and yields the losses.

In order: exp and tanh, two matrix products, the step (the forward pass and its derivative, line by line), and the
iterator around it. Taught in: page 16.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from mlp_lib.checks import checked, rate_at
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.train import LearningRate, Step

# The compiler may reorder sums (otherwise sums cannot use vectors) and fuse a product and a sum into one instruction.
# Not `fastmath=True`: that also promises that no number is nan or inf, so a run that blows up would go unnoticed.
_FLAGS = {"reassoc", "contract", "arcp", "nsz"}
_OPTIONS = {"fastmath": _FLAGS, "nogil": True, "error_model": "numpy"}

# All parts are inlined into the one function that Python calls. Compiled separately, a part may sum in a different
# order, and a run from the cache would differ in its last digits.
_inlined = numba.njit(forceinline=True, **_OPTIONS)


def _compiled(function: Callable) -> Callable:
    """`function`, compiled on its first call, cached on disk for the next process, and run without Python's lock."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # neither the folder of this file nor the user's cache folder is writable
        return numba.njit(**_OPTIONS)(function)


# ---- exp and tanh ----------------------------------------------------------------------------------------------------
# The C library computes one number at a time. A short formula without branches runs on 8 or 16 numbers at once, and
# every step needs 32 * 200 of them.

_ZERO, _HALF, _ONE, _TWO = (np.float32(x) for x in (0, 0.5, 1, 2))
_LOWEST = np.float32(-80)  # e**-80 is 2e-35; below that, 0 is close enough, and numbers under 1e-38 are slow
_LN_2, _PER_LN_2 = np.float32(math.log(2)), np.float32(1 / math.log(2))
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_BIAS, _EXPONENT = np.int32(127), np.int32(23)  # a float32 keeps its exponent, plus 127, from bit 23 on


@_inlined
def _exp(x: float) -> float:
    """e**x for x <= 0, to 4e-8; nan for nan."""
    # e**x = 2**k * e**r with k a whole number, so r is within ln(2) / 2 of 0, where a short series is enough.
    k = np.floor((x if x > _LOWEST else _LOWEST) * _PER_LN_2 + _HALF)
    r = x - k * _LN_2
    e_r = _ONE + r * (_ONE + r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7))))))
    two_k = np.int32((np.int32(k) + _BIAS) << _EXPONENT).view(np.float32)
    return _ZERO if x < _LOWEST else e_r * two_k


@_inlined
def _tanh(x: float) -> float:
    """The hyperbolic tangent, to 1e-7; exactly 1 or -1 for large x, nan for nan."""
    t = _exp(-_TWO * abs(x))
    y = (_ONE - t) / (_ONE + t)
    return -y if x < _ZERO else y


# ---- two matrix products ---------------------------------------------------------------------------------------------
# Nearly all the work is here. A core multiplies faster than it loads, so each loaded number has to be used several
# times: a block of 4 by 3 loads 7 or 8 numbers for 12 multiply-adds (4 by 4 needs more registers than there are). All
# inner loops run along the hidden units, the longest dimension, which is contiguous in memory.
#
# Where a size is not a multiple of 4 or 3, the last block runs over the edge. So every matrix is padded to a multiple
# of 12 with spare rows and columns, which stay zero.

_SPARE = 12
_VECTOR = 16  # the hidden units are padded to a multiple of this: as many float32 as the widest vector holds


@_inlined
def _add_product(out: np.ndarray, A: np.ndarray, B: np.ndarray, rows: int, depth: int) -> None:
    """out += A @ B, for the first `rows` rows of A and the first `depth` rows of B."""
    for i in range(0, rows, 4):
        o0, o1, o2, o3 = out[i], out[i + 1], out[i + 2], out[i + 3]
        for k in range(0, depth, 3):
            b0, b1, b2 = B[k], B[k + 1], B[k + 2]
            a00, a01, a02 = A[i, k], A[i, k + 1], A[i, k + 2]
            a10, a11, a12 = A[i + 1, k], A[i + 1, k + 1], A[i + 1, k + 2]
            a20, a21, a22 = A[i + 2, k], A[i + 2, k + 1], A[i + 2, k + 2]
            a30, a31, a32 = A[i + 3, k], A[i + 3, k + 1], A[i + 3, k + 2]
            for j in range(out.shape[1]):
                x0, x1, x2 = b0[j], b1[j], b2[j]  # load them once: LLVM must assume that out and B may overlap
                y0 = o0[j] + a00 * x0 + a01 * x1 + a02 * x2
                y1 = o1[j] + a10 * x0 + a11 * x1 + a12 * x2
                y2 = o2[j] + a20 * x0 + a21 * x1 + a22 * x2
                y3 = o3[j] + a30 * x0 + a31 * x1 + a32 * x2
                o0[j], o1[j], o2[j], o3[j] = y0, y1, y2, y3


@_inlined
def _add_dots(out: np.ndarray, A: np.ndarray, B: np.ndarray, rows: int, columns: int) -> None:
    """out += A @ B.T, for the first `rows` rows of A and the first `columns` rows of B."""
    for i in range(0, rows, 4):
        a0, a1, a2, a3 = A[i], A[i + 1], A[i + 2], A[i + 3]
        for j in range(0, columns, 3):
            b0, b1, b2 = B[j], B[j + 1], B[j + 2]
            s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = _ZERO
            for k in range(A.shape[1]):
                x0, x1, x2 = b0[k], b1[k], b2[k]
                s00, s01, s02 = s00 + a0[k] * x0, s01 + a0[k] * x1, s02 + a0[k] * x2
                s10, s11, s12 = s10 + a1[k] * x0, s11 + a1[k] * x1, s12 + a1[k] * x2
                s20, s21, s22 = s20 + a2[k] * x0, s21 + a2[k] * x1, s22 + a2[k] * x2
                s30, s31, s32 = s30 + a3[k] * x0, s31 + a3[k] * x1, s32 + a3[k] * x2
            out[i, j], out[i, j + 1], out[i, j + 2] = out[i, j] + s00, out[i, j + 1] + s01, out[i, j + 2] + s02
            i1, i2, i3 = i + 1, i + 2, i + 3
            out[i1, j], out[i1, j + 1], out[i1, j + 2] = out[i1, j] + s10, out[i1, j + 1] + s11, out[i1, j + 2] + s12
            out[i2, j], out[i2, j + 1], out[i2, j + 2] = out[i2, j] + s20, out[i2, j + 1] + s21, out[i2, j + 2] + s22
            out[i3, j], out[i3, j + 1], out[i3, j + 2] = out[i3, j] + s30, out[i3, j + 1] + s31, out[i3, j + 2] + s32


# ---- the step --------------------------------------------------------------------------------------------------------


class _Net(NamedTuple):
    """The five tensors, padded, or their gradients. W2 is transposed, so that its rows run along the hidden units."""

    C: np.ndarray  # (vocab_size, n_embd)
    W1: np.ndarray  # (block_size * n_embd + spare, n_hidden + spare)
    b1: np.ndarray  # (1, n_hidden + spare)
    W2T: np.ndarray  # (vocab_size + spare, n_hidden + spare)
    b2: np.ndarray  # (1, vocab_size + spare)


class _Scratch(NamedTuple):
    """Intermediate results of the step, for up to _TILE rows of a batch; each `d` is a gradient of the loss."""

    emb: np.ndarray  # (rows, block_size * n_embd)
    h: np.ndarray  # (rows, n_hidden)
    logits: np.ndarray  # (rows, vocab_size); overwritten by its own gradient
    demb: np.ndarray  # like emb
    dh: np.ndarray  # like h


_TILE = 48  # rows of a batch worked on at a time: they stay in the core's cache, and a batch of any size fits


@_inlined
def _forward(net: _Net, at: _Scratch, X: np.ndarray, spare_rows: int) -> None:
    """emb, h and logits of the contexts X (rows, block_size); rows up to `spare_rows` are padding, with emb zero."""
    rows, block_size = X.shape
    n_embd = net.C.shape[1]
    for b in range(spare_rows):
        for j in range(at.h.shape[1]):
            at.h[b, j] = net.b1[0, j]
        for v in range(at.logits.shape[1]):
            at.logits[b, v] = net.b2[0, v]
        for p in range(block_size):
            for e in range(n_embd):
                at.emb[b, p * n_embd + e] = net.C[X[b, p], e] if b < rows else _ZERO
    _add_product(at.h, at.emb, net.W1, rows, block_size * n_embd)
    for b in range(rows):
        for j in range(at.h.shape[1]):
            at.h[b, j] = _tanh(at.h[b, j])
    _add_dots(at.logits, at.h, net.W2T, rows, net.C.shape[0])


@_inlined
def _cross_entropy(at: _Scratch, Y: np.ndarray, vocab_size: int, spare_rows: int, share: float) -> float:
    """The summed loss of the rows; `logits` becomes its gradient, `share` times (probability - target).

    The target of a row is a character, Y (rows,), or a weight for each character, Y (rows, vocab_size).
    """
    loss = 0.0
    for b in range(Y.shape[0]):
        row = at.logits[b]
        largest = row[0]
        for v in range(1, vocab_size):
            largest = row[v] if row[v] > largest else largest
        if Y.ndim == 1:  # known when compiling: only one of the two branches is kept
            weight, right = _ONE, row[Y[b]] - largest
        else:
            weight, right = _ZERO, _ZERO
            for v in range(vocab_size):
                weight += Y[b, v]
                right += Y[b, v] * (row[v] - largest)
        total = _ZERO
        for v in range(vocab_size):
            row[v] = _exp(row[v] - largest)
            total += row[v]
        loss += weight * math.log(total) - right
        for v in range(vocab_size):
            row[v] *= weight * share / total
        if Y.ndim == 1:
            row[Y[b]] -= share
        else:
            for v in range(vocab_size):
                row[v] -= share * Y[b, v]
    for b in range(Y.shape[0], spare_rows):
        for v in range(vocab_size):
            at.logits[b, v] = _ZERO
    return loss


@_inlined
def _backward(net: _Net, grad: _Net, at: _Scratch, X: np.ndarray, spare_rows: int) -> None:
    """Add the gradients of the rows to `grad`: the derivative of each line of the forward pass, in reverse order."""
    rows, block_size = X.shape
    vocab_size, n_embd = net.C.shape
    dlogits = at.logits

    # logits = h @ W2 + b2
    for b in range(rows):
        for v in range(vocab_size):
            grad.b2[0, v] += dlogits[b, v]
    _add_product(grad.W2T, dlogits.T, at.h, vocab_size, rows)
    for b in range(spare_rows):
        for j in range(at.dh.shape[1]):
            at.dh[b, j] = _ZERO
    _add_product(at.dh, dlogits, net.W2T, rows, vocab_size)

    # h = tanh(emb @ W1 + b1)
    for b in range(rows):
        for j in range(at.dh.shape[1]):
            at.dh[b, j] *= _ONE - at.h[b, j] * at.h[b, j]
            grad.b1[0, j] += at.dh[b, j]
    _add_product(grad.W1, at.emb.T, at.dh, block_size * n_embd, rows)
    for b in range(spare_rows):
        for k in range(at.demb.shape[1]):
            at.demb[b, k] = _ZERO
    _add_dots(at.demb, at.dh, net.W1, rows, block_size * n_embd)

    # emb = C[X]: a row of C that was looked up several times gets the sum of its gradients
    for b in range(rows):
        for p in range(block_size):
            for e in range(n_embd):
                grad.C[X[b, p], e] += at.demb[b, p * n_embd + e]


@_inlined
def _gradients(net: _Net, grad: _Net, at: _Scratch, X: np.ndarray, Y: np.ndarray) -> float:
    """The mean loss over X (B, block_size), Y (B,) or (B, vocab_size); its gradients are written to `grad`."""
    for d in (grad.C, grad.W1, grad.b1, grad.W2T, grad.b2):
        for i in range(d.shape[0]):
            for j in range(d.shape[1]):
                d[i, j] = _ZERO
    loss = 0.0
    for first in range(0, X.shape[0], _TILE):
        Xt, Yt = X[first : first + _TILE], Y[first : first + _TILE]
        spare_rows = (Xt.shape[0] + _SPARE - 1) // _SPARE * _SPARE
        _forward(net, at, Xt, spare_rows)
        loss += _cross_entropy(at, Yt, net.C.shape[0], spare_rows, _ONE / np.float32(X.shape[0]))
        _backward(net, grad, at, Xt, spare_rows)
    return loss / X.shape[0]


@_inlined
def _update(p: np.ndarray, dp: np.ndarray, rows: int, columns: int, lr: float) -> None:
    """p -= lr * dp, except in the padding, which must stay zero."""
    for i in range(rows):
        for j in range(columns):
            p[i, j] -= lr * dp[i, j]


@_compiled
def _run(
    net: _Net,
    grad: _Net,
    at: _Scratch,
    n_hidden: int,
    learns: np.ndarray,
    X: np.ndarray,
    Y: np.ndarray,
    rates: np.ndarray,
    losses: np.ndarray,
) -> int:
    """Take one step per learning rate, write the losses to `losses`, and return how many steps were taken.

    X (batches, B, block_size), Y (batches, B) or (batches, B, vocab_size): a batch per step, or one for all steps.
    Stops before a batch with an index outside the vocabulary, which would read and write outside the buffers.
    """
    vocab_size, n_embd = net.C.shape
    for s in range(len(rates)):
        Xb, Yb = X[s % len(X)], Y[s % len(Y)]
        for b in range(len(Yb)):
            if Y.ndim == 2 and not 0 <= Yb[b] < vocab_size:
                return s
            for p in range(Xb.shape[1]):
                if not 0 <= Xb[b, p] < vocab_size:
                    return s
        losses[s] = _gradients(net, grad, at, Xb, Yb)
        lr = rates[s]
        if learns[0]:
            _update(net.C, grad.C, vocab_size, n_embd, lr)
        if learns[1]:
            _update(net.W1, grad.W1, Xb.shape[1] * n_embd, n_hidden, lr)
        if learns[2]:
            _update(net.b1, grad.b1, 1, n_hidden, lr)
        if learns[3]:
            _update(net.W2T, grad.W2T, vocab_size, n_hidden, lr)
        if learns[4]:
            _update(net.b2, grad.b2, 1, vocab_size, lr)
    return len(rates)


# ---- from the model to buffers and back ------------------------------------------------------------------------------


def _zeros(*shape: int) -> np.ndarray:
    """A matrix of zeros aligned to 64 bytes, so that vectors load fastest."""
    size = math.prod(shape)
    block = np.zeros(size + _VECTOR, dtype=np.float32)
    first = -block.ctypes.data % 64 // block.itemsize
    return block[first : first + size].reshape(shape)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


class _CompiledCopy:
    """The tensors of a model in padded buffers, with scratch space for batches of any size."""

    def __init__(self, model: MLP, batch_size: int) -> None:
        self.config = c = model.config
        self.tensors = model.tensors()
        self.learns = np.array([p.requires_grad for p in self.tensors])
        inputs, hidden = c.block_size * c.n_embd, _up(c.n_hidden, _VECTOR)
        width, symbols = _up(inputs, _SPARE), _up(c.vocab_size, _SPARE)
        rows = _up(min(batch_size, _TILE), _SPARE)
        net = [(c.vocab_size, c.n_embd), (width, hidden), (1, hidden), (symbols, hidden), (1, symbols)]
        scratch = [(rows, width), (rows, hidden), (rows, symbols), (rows, width), (rows, hidden)]
        buffers = [_zeros(*shape) for shape in (*net, *net, *scratch)]
        self.net, self.grad, self.scratch = _Net(*buffers[:5]), _Net(*buffers[5:10]), _Scratch(*buffers[10:])
        # The model's own memory, which a notebook's tensors may share: read before the steps and written after them.
        self.theirs = [p.detach().numpy() for p in self.tensors]

    def unpadded(self, net: _Net) -> list[np.ndarray]:
        """Views of the five matrices without their padding, in the shapes and the order of `model.tensors()`."""
        inputs, n_hidden, vocab_size = self.config.block_size * self.config.n_embd, self.config.n_hidden, len(net.C)
        W2 = net.W2T[:vocab_size, :n_hidden].T
        return [net.C, net.W1[:inputs, :n_hidden], net.b1[0, :n_hidden], W2, net.b2[0, :vocab_size]]

    def load(self) -> None:
        """Copy the model's numbers into the buffers."""
        for ours, theirs in zip(self.unpadded(self.net), self.theirs, strict=True):
            ours[...] = theirs

    def store(self) -> None:
        """Copy the numbers back into the model and remove its gradients, which belong to older numbers."""
        for ours, theirs in zip(self.unpadded(self.net), self.theirs, strict=True):
            theirs[...] = ours
        for p in self.tensors:
            p.grad = None

    def run(self, X: np.ndarray, Y: np.ndarray, rates: list[float]) -> list[float]:
        """Take a step per rate on batches X and Y of the shapes that `_run` takes; return the losses."""
        losses = np.empty(len(rates), dtype=np.float32)
        rates = np.array(rates, dtype=np.float32)
        taken = _run(self.net, self.grad, self.scratch, self.config.n_hidden, self.learns, X, Y, rates, losses)
        if taken < len(rates):
            raise ValueError(
                f"X or Y now holds an index outside the vocabulary of {self.config.vocab_size}: it was changed after "
                "training began, so leave both unchanged until it ends"
            )
        return losses.tolist()


# ---- the iterator ----------------------------------------------------------------------------------------------------

_AHEAD_SECONDS = 0.05  # work done ahead; an interrupt waits for it, and for undoing the steps not yielded yet
_AHEAD_NUMBERS = 2**18  # most numbers gathered ahead, 2 MB


@checked
def fast_steps(
    model: MLP,
    X: Tensor,
    Y: Tensor,
    *,
    steps: int,
    start: int = 0,
    lr: LearningRate = 0.1,
    batch_size: int | None = 32,
    g: torch.Generator,
) -> Iterator[Step]:
    """`train_steps`, compiled: same arguments, batches, yields and results up to rounding, several times as fast.

    For an `MLP` in float32 on the CPU, and plain SGD. Hooks of the model are not called, and `p.grad` is None
    afterwards. It uses one core and releases Python's lock, so threads can train several models at once.

    Y may also be float32 weights (N, vocab_size), such as how often each character followed the context: the loss of a
    row is then the sum of weight times -log probability, as in `F.cross_entropy`.

    The model and `g` are up to date after the last step and after leaving the loop, but not in between, because steps
    are taken ahead. If you leave the loop early (break, an error, an interrupt), the steps not yielded are undone. If
    you keep the iterator in a variable, call its `close()`. `lr` is called ahead too, in order; an error in it surfaces
    at its step. The first call on a machine compiles for some seconds, says so on stderr, and caches the result.

    Raises TypeError or ValueError for any other model, and what `train_steps` raises.

    >>> from mlp_lib import MLPConfig, Vocab, build_dataset
    >>> g = torch.Generator().manual_seed(2147483647)
    >>> X, Y = build_dataset(["emma", "olivia"], Vocab("aeilmov"))
    >>> model = MLP(MLPConfig(vocab_size=8, n_embd=2, n_hidden=10), g=g)
    >>> [step.i for step in fast_steps(model, X, Y, steps=3, g=g)]
    [0, 1, 2]
    """
    _check_fast("fast_steps", model, Y)
    _compile_once(Y.ndim)
    return _fast_steps(model, X, Y, range(start, start + steps), lr, batch_size, g)


@checked
def fast_gradients(model: MLP, X: Tensor, Y: Tensor) -> tuple[float, list[Tensor]]:
    """The mean loss in nats over X (N, block_size), Y as in `fast_steps`, and its five gradients.

    The compiled step computes these before its update. They are in the order of `model.tensors()`, for a comparison
    with autograd. Changes and draws nothing. Raises what `fast_steps` raises for a model or data.

    >>> model = MLP(MLPConfig(vocab_size=4), g=torch.Generator().manual_seed(2147483647))
    >>> loss, (dC, dW1, db1, dW2, db2) = fast_gradients(model, torch.tensor([[0, 1, 2]]), torch.tensor([3]))
    >>> dW2.shape == model.W2.shape
    True
    """
    _check_fast("fast_gradients", model, Y)
    _compile_once(Y.ndim)
    compiled = _CompiledCopy(model, len(Y))
    compiled.load()
    [loss] = compiled.run(*_as_batch(X, Y), [0.0])
    return loss, [torch.from_numpy(d.copy()) for d in compiled.unpadded(compiled.grad)]


def _check_fast(caller: str, model: MLP, Y: Tensor) -> None:
    """Raise TypeError for a model that only `train_steps` can train, ValueError for weights of the wrong width."""
    if type(model) is not MLP:
        raise TypeError(f"{caller} works for mlp_lib's MLP only, got {type(model).__name__}: use train_steps for it")
    for name, p in model.named_parameters():
        if p.dtype != torch.float32 or p.device.type != "cpu":
            raise TypeError(
                f"{caller} computes in torch.float32 on the CPU, but {name} is {p.dtype} on {p.device}: "
                "use train_steps for this model"
            )
    if Y.ndim == 2 and Y.shape[1] != model.config.vocab_size:
        raise ValueError(
            f"Y has {Y.shape[1]} weights per row, but this model was built with vocab_size={model.config.vocab_size}: "
            "give one weight per symbol"
        )


def _as_batch(X: Tensor | np.ndarray, Y: Tensor | np.ndarray, batches: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """X (batches, B, block_size), Y (batches, B) or (batches, B, vocab_size), in the dtypes that `_run` takes."""
    pairs = ((X, np.int64), (Y, np.int64 if Y.ndim == 1 else np.float32))
    return tuple(np.ascontiguousarray(t, kind).reshape(batches, -1, *t.shape[1:]) for t, kind in pairs)


def _fast_steps(
    model: MLP,
    X: Tensor,
    Y: Tensor,
    numbers: range,
    lr: LearningRate,
    batch_size: int | None,
    g: torch.Generator,
) -> Iterator[Step]:
    Xn, Yn = X.numpy(), Y.numpy()
    whole = _as_batch(Xn, Yn) if batch_size is None else None
    rows = len(Yn) if batch_size is None else batch_size

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        """The batches of the next n steps. They are drawn in one call, which gives the same numbers as n calls."""
        if whole is not None:
            return whole  # the same batch for every step
        ix = torch.randint(0, len(Yn), (n * batch_size,), generator=g).numpy()
        # NumPy's take, because indexing a tensor of this size would start torch's threads.
        return _as_batch(Xn.take(ix, axis=0), Yn.take(ix, axis=0), n)

    compiled = _CompiledCopy(model, rows)
    compiled.load()
    most_ahead = max(1, _AHEAD_NUMBERS // (rows * (1 + Xn[0].size + Yn[0].size)))
    ahead, i = 8, numbers.start
    while i < numbers.stop:
        rates, error = _rates_ahead(lr, range(i, min(i + ahead, i + most_ahead, numbers.stop)))
        n = len(rates)
        if error is not None and n == 0:
            raise error
        clock = time.perf_counter()
        net_before, g_before = [a.copy() for a in compiled.net], g.get_state()
        handed_out = 0
        try:
            losses = compiled.run(*draw(n), rates)
            compiled.store()
            seconds = time.perf_counter() - clock
            for s in range(n):
                handed_out = s + 1  # before the yield: if closed or interrupted there, the caller has this step
                yield Step(i + s, rates[s], losses[s])
        finally:
            if handed_out < n:
                # Go back to the start of the chunk and repeat the steps that the caller has seen: bit for bit the same.
                for a, before in zip(compiled.net, net_before, strict=True):
                    a[...] = before
                g.set_state(g_before)
                if handed_out:
                    compiled.run(*draw(handed_out), rates[:handed_out])
                compiled.store()
        if error is not None:
            raise error
        i += n
        ahead = max(1, min(8 * n, int(n * _AHEAD_SECONDS / max(seconds, 1e-9))))


def _rates_ahead(lr: LearningRate, numbers: range) -> tuple[list[float], Exception | None]:
    """The learning rates up to the first step for which `lr` raises, and the error."""
    rates = []
    for i in numbers:
        try:
            rates.append(rate_at(lr, i))
        except Exception as error:
            return rates, error
    return rates, None


# ---- compiling -------------------------------------------------------------------------------------------------------

_one_at_a_time = threading.Lock()
_ready: set[int] = set()  # values of Y.ndim that _run is compiled for
_SILENT_SECONDS = 2.0


def _compile_once(ndim: int) -> None:
    """Load the step for a Y with `ndim` dimensions from the cache, or compile it; print a line if that is slow."""
    global _run
    with _one_at_a_time:
        if ndim in _ready:
            return
        try:
            _compile(ndim)
        except Exception as error:  # a file that is empty, truncated or unreadable: pickle can raise almost anything
            folder = _run.stats.cache_path
            if folder is None:
                raise
            print(
                f"mlp_lib: the compiled training loop in {folder} cannot be read ({type(error).__name__}): compiling "
                "it again, about 10 s ...", file=sys.stderr, flush=True,
            )  # fmt: skip
            try:
                for file in Path(folder).glob(f"{Path(__file__).stem}._run-*.nb[ic]"):
                    file.unlink()
            except OSError:  # no permission to delete: compile in memory
                _run = numba.njit(**_OPTIONS)(_run.py_func)
            _compile(ndim, silent=True)
        _ready.add(ndim)


def _compile(ndim: int, silent: bool = False) -> None:
    """Compile by calling `_run` for zero steps; if that takes over two seconds, print a line on stderr."""
    done = threading.Event()
    if not silent:
        threading.Thread(target=_announce, args=(done,), daemon=True).start()
    try:
        X, Y = torch.zeros(1, 1, dtype=torch.int64), torch.zeros((1, 2)[:ndim])
        model = MLP(MLPConfig(2, 1, 1, 1), g=torch.Generator().manual_seed(0))
        _CompiledCopy(model, 1).run(*_as_batch(X, Y), [])
    finally:
        done.set()


def _announce(done: threading.Event) -> None:
    while not done.wait(_SILENT_SECONDS):
        if _run.stats.cache_misses:  # it is compiling; otherwise Numba itself is slow to start
            once = "" if _run.stats.cache_path else " (only once if NUMBA_CACHE_DIR names a writable folder)"
            print(f"mlp_lib: compiling the training loop, about 10 s{once} ...", file=sys.stderr, flush=True)
            return
