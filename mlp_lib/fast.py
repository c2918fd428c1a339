"""The training loop again, compiled: the same steps in a fifth of the time.

A step of the lecture's last network needs about a million multiply-adds, which one core does in some 25 microseconds.
The plain loop takes 180, because each of its fifty small operations is started from Python, looks up what to do, and
allocates its result. Here the whole step is one compiled function that works in buffers made beforehand, and Python
only draws the batches, many steps ahead, and hands out the losses.

Read from the top: the two curves (exp, tanh), the two matrix products, then the step put together from them, which is
notebook 02's forward pass and its derivative line by line, then the iterator around it. Taught in: notebook 16.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from mlp_lib.model import MLP
from mlp_lib.train import LearningRate, Step, check_training, rate_function

# What the compiler may assume about arithmetic. Sums may be reordered (else nothing that adds up can use vectors) and a
# product and a sum may become one instruction. Not `fastmath=True`: that also says "no number is ever nan or inf", and
# then a training that blows up is no longer noticed.
_FLAGS = {"reassoc", "contract", "arcp", "nsz"}


def _compiled(function: Callable) -> Callable:
    """`function` compiled on its first call, kept on disk for the next process, run without holding Python's lock."""
    options = {"fastmath": _FLAGS, "nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to write: neither beside this file nor in the user's cache folder
        return numba.njit(**options)(function)


# ---- two curves ------------------------------------------------------------------------------------------------------
# The C library computes exp and tanh one number at a time. A short formula without branches is done for 8 or 16 numbers
# at once, and 32 * 200 of them are needed in every step.

_ZERO, _HALF, _ONE, _TWO = (np.float32(x) for x in (0, 0.5, 1, 2))
_LOWEST = np.float32(-80)  # e**-80 is 2e-35; below, 0 will do, and keeps clear of the slow numbers under 1e-38
_LN_2, _PER_LN_2 = np.float32(math.log(2)), np.float32(1 / math.log(2))
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_BIAS, _EXPONENT = np.int32(127), np.int32(23)  # a float32 keeps its exponent, plus 127, from bit 23 on


@_compiled
def _exp(x: float) -> float:
    """e**x for x <= 0, to 4e-8; nan for nan."""
    # e**x = 2**k * e**r with a whole k, so that r lies within ln(2) / 2 of 0, where seven terms of the series are enough.
    k = np.floor((x if x > _LOWEST else _LOWEST) * _PER_LN_2 + _HALF)
    r = x - k * _LN_2
    e_r = _ONE + r * (_ONE + r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7))))))
    two_k = np.int32((np.int32(k) + _BIAS) << _EXPONENT).view(np.float32)
    return _ZERO if x < _LOWEST else e_r * two_k


@_compiled
def _tanh(x: float) -> float:
    """The hyperbolic tangent, to 1e-7; exactly 1 or -1 far out, nan for nan."""
    t = _exp(-_TWO * abs(x))
    y = (_ONE - t) / (_ONE + t)
    return -y if x < _ZERO else y


# ---- two matrix products ---------------------------------------------------------------------------------------------
# Nearly all the work is here. A core multiplies faster than it fetches, so what was fetched has to be used often: each
# pass handles a block of 4 by 3, where 7 or 8 numbers fetched serve 12 multiply-adds (4 by 4 ran out of registers). All
# inner loops run along the hidden units, the long side, whose rows lie in memory in one piece.
#
# The blocks go over the edge where a size is no multiple of 4 or 3. That needs no extra code: every matrix has spare
# rows and columns, up to a multiple of 12, which hold zeros and stay zero.

_SPARE = 12  # the least that both 4 and 3 divide
_VECTOR = 16  # the hidden units are filled up to a multiple of this: as many float32 as the widest vector holds


@_compiled
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
                x0, x1, x2 = b0[j], b1[j], b2[j]  # fetched once for all four: out might overlap B, for all LLVM knows
                y0 = o0[j] + a00 * x0 + a01 * x1 + a02 * x2
                y1 = o1[j] + a10 * x0 + a11 * x1 + a12 * x2
                y2 = o2[j] + a20 * x0 + a21 * x1 + a22 * x2
                y3 = o3[j] + a30 * x0 + a31 * x1 + a32 * x2
                o0[j], o1[j], o2[j], o3[j] = y0, y1, y2, y3


@_compiled
def _add_dots(out: np.ndarray, A: np.ndarray, B: np.ndarray, rows: int, columns: int) -> None:
    """out += A @ B.T, for the first `rows` rows of A and the first `columns` rows of B: each row of A with each of B."""
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
    """The five tensors with spare room, or their gradients. W2 is kept transposed: its long side must be the row."""

    C: np.ndarray  # (vocab_size, n_embd)
    W1: np.ndarray  # (block_size * n_embd + spare, n_hidden + spare)
    b1: np.ndarray  # (n_hidden + spare,)
    W2T: np.ndarray  # (vocab_size + spare, n_hidden + spare)
    b2: np.ndarray  # (vocab_size + spare,)


class _Scratch(NamedTuple):
    """What the step computes on its way, for up to _TILE rows of a batch; each `d` is a gradient of the loss."""

    emb: np.ndarray  # (rows, block_size * n_embd)
    h: np.ndarray  # (rows, n_hidden)
    logits: np.ndarray  # (rows, vocab_size); its own gradient takes its place
    demb: np.ndarray  # like emb
    dh: np.ndarray  # like h


_TILE = 48  # rows of a batch worked on at a time: they stay in the core's own cache, and a batch of any size fits


@_compiled
def _forward(net: _Net, at: _Scratch, X: np.ndarray, spare_rows: int) -> None:
    """emb, h and logits of the contexts X (rows, block_size); the spare rows get no context."""
    rows, block_size = X.shape
    n_embd = net.C.shape[1]
    for b in range(spare_rows):
        for j in range(at.h.shape[1]):
            at.h[b, j] = net.b1[j]
        for v in range(at.logits.shape[1]):
            at.logits[b, v] = net.b2[v]
        for p in range(block_size):
            for e in range(n_embd):
                at.emb[b, p * n_embd + e] = net.C[X[b, p], e] if b < rows else _ZERO
    _add_product(at.h, at.emb, net.W1, rows, block_size * n_embd)
    for b in range(rows):
        for j in range(at.h.shape[1]):
            at.h[b, j] = _tanh(at.h[b, j])
    _add_dots(at.logits, at.h, net.W2T, rows, net.C.shape[0])


@_compiled
def _cross_entropy(at: _Scratch, Y: np.ndarray, vocab_size: int, spare_rows: int, share: float) -> float:
    """The summed loss of the rows; `logits` becomes its gradient, `share` times (probability - 1 for the right one)."""
    loss = 0.0
    for b in range(Y.shape[0]):
        row = at.logits[b]
        largest = row[0]
        for v in range(1, vocab_size):
            largest = row[v] if row[v] > largest else largest
        right = row[Y[b]] - largest
        total = _ZERO
        for v in range(vocab_size):
            row[v] = _exp(row[v] - largest)
            total += row[v]
        loss += math.log(total) - right
        for v in range(vocab_size):
            row[v] *= share / total
        row[Y[b]] -= share
    for b in range(Y.shape[0], spare_rows):
        for v in range(vocab_size):
            at.logits[b, v] = _ZERO
    return loss


@_compiled
def _backward(net: _Net, grad: _Net, at: _Scratch, X: np.ndarray, spare_rows: int) -> None:
    """Add to `grad` what the rows contribute. The derivative of each line of the forward pass, last line first."""
    rows, block_size = X.shape
    vocab_size, n_embd = net.C.shape
    dlogits = at.logits

    # logits = h @ W2 + b2
    for b in range(rows):
        for v in range(vocab_size):
            grad.b2[v] += dlogits[b, v]
    _add_product(grad.W2T, dlogits.T, at.h, vocab_size, rows)
    for b in range(spare_rows):
        for j in range(at.dh.shape[1]):
            at.dh[b, j] = _ZERO
    _add_product(at.dh, dlogits, net.W2T, rows, vocab_size)

    # h = tanh(emb @ W1 + b1)
    for b in range(rows):
        for j in range(at.dh.shape[1]):
            at.dh[b, j] *= _ONE - at.h[b, j] * at.h[b, j]
            grad.b1[j] += at.dh[b, j]
    _add_product(grad.W1, at.emb.T, at.dh, block_size * n_embd, rows)
    for b in range(spare_rows):
        for k in range(at.demb.shape[1]):
            at.demb[b, k] = _ZERO
    _add_dots(at.demb, at.dh, net.W1, rows, block_size * n_embd)

    # emb = C[X]: a row of C that was looked up several times gets the sum
    for b in range(rows):
        for p in range(block_size):
            for e in range(n_embd):
                grad.C[X[b, p], e] += at.demb[b, p * n_embd + e]


@_compiled
def _update(p: np.ndarray, dp: np.ndarray, rows: int, lr: float) -> None:
    """p -= lr * dp for the real rows, and dp = 0 for the next step. The spare ones must stay zero."""
    for i in range(dp.shape[0]):
        for j in range(dp.shape[1]):
            if i < rows:
                p[i, j] -= lr * dp[i, j]
            dp[i, j] = _ZERO
