"""What goes wrong in notebook 16: products of the backward pass forgotten, repeated rows lost, the wrong slope."""

from itertools import pairwise

import numpy as np
import torch

from mlp_lib.course.exercises.nb16 import q1, q2, q3

# 16.1


def forward_only(widths, batch_size):
    return sum(batch_size * a * b for a, b in pairwise(widths))


def one_product_back(widths, batch_size):
    return 2 * forward_only(widths, batch_size)


def flops(widths, batch_size):
    return 6 * forward_only(widths, batch_size)


def four(widths, batch_size):
    return 4 * forward_only(widths, batch_size)


def one_example(widths, batch_size):
    return 3 * forward_only(widths, 1)


def input_not_trained(widths, batch_size):
    return 3 * forward_only(widths, batch_size) - batch_size * widths[0] * widths[1]


def ends_only(widths, batch_size):
    return 3 * batch_size * widths[0] * widths[-1]


def all_multiplied(widths, batch_size):
    return 3 * batch_size * int(np.prod(widths))


def biases_too(widths, batch_size):
    return 3 * batch_size * sum(a * b + b for a, b in pairwise(widths))


def first_layer(widths, batch_size):
    return 3 * batch_size * widths[0] * widths[1]


def last_layer(widths, batch_size):
    return 3 * batch_size * widths[-2] * widths[-1]


def a_list(widths, batch_size):
    return [batch_size * a * b for a, b in pairwise(widths)]


# 16.2


def _pieces(X, demb):
    return demb.reshape(-1, demb.shape[1] // X.shape[1])


def overwritten(X, demb, vocab_size):
    dC = np.zeros((vocab_size, demb.shape[1] // X.shape[1]))
    dC[X.ravel()] += _pieces(X, demb)
    return dC


def row_for_each_look_up(X, demb, vocab_size):
    return _pieces(X, demb)


def only_those_that_occur(X, demb, vocab_size):
    return q2.solve(X, demb, vocab_size)[np.unique(X)]


def not_cut_up(X, demb, vocab_size):
    dC = np.zeros((vocab_size, demb.shape[1]))
    np.add.at(dC, X[:, 0], demb)
    return dC


def averaged(X, demb, vocab_size):
    counts = np.bincount(X.ravel(), minlength=vocab_size)[:, None]
    return q2.solve(X, demb, vocab_size) / np.maximum(counts, 1)


def first_position(X, demb, vocab_size):
    n_embd = demb.shape[1] // X.shape[1]
    return q2.solve(X[:, :1], demb[:, :n_embd], vocab_size)


def crossed(X, demb, vocab_size):
    B, block_size = X.shape
    mixed = demb.reshape(B, -1, block_size).transpose(0, 2, 1).reshape(B, -1)
    return q2.solve(X, mixed, vocab_size)


def in_place(X, demb, vocab_size):
    demb *= 1 + 1e-3
    return q2.solve(X, demb, vocab_size)


def negative(X, demb, vocab_size):
    return -q2.solve(X, demb, vocab_size)


# 16.3


def _rest(dz, emb, W1):
    return dz @ W1.T, emb.T @ dz, dz.sum(0)


def unmasked(dh, emb, W1, b1):
    return _rest(dh, emb, W1)


def tanh_slope(dh, emb, W1, b1):
    h = (emb @ W1 + b1).clamp(min=0)
    return _rest(dh * (1 - h * h), emb, W1)


def times_h(dh, emb, W1, b1):
    return _rest(dh * (emb @ W1 + b1).clamp(min=0), emb, W1)


def own_sign(dh, emb, W1, b1):
    return _rest(dh * (dh > 0), emb, W1)


def wrong_way_round(dh, emb, W1, b1):
    return _rest(dh * (emb @ W1 + b1 <= 0), emb, W1)


def bias_forgotten(dh, emb, W1, b1):
    return _rest(dh * (emb @ W1 > 0), emb, W1)


def mean(dh, emb, W1, b1):
    demb, dW1, db1 = q3.solve(dh, emb, W1, b1)
    return demb, dW1 / len(dh), db1 / len(dh)


def rows_kept(dh, emb, W1, b1):
    demb, dW1, _ = q3.solve(dh, emb, W1, b1)
    return demb, dW1, (dh * (emb @ W1 + b1 > 0)).sum(1)


def not_transposed(dh, emb, W1, b1):
    _, dW1, db1 = q3.solve(dh, emb, W1, b1)
    return (dh * (emb @ W1 + b1 > 0)) @ W1, dW1, db1


def weights_transposed(dh, emb, W1, b1):
    demb, dW1, db1 = q3.solve(dh, emb, W1, b1)
    return demb, dW1.T, db1


def changed_in_place(dh, emb, W1, b1):
    dh *= emb @ W1 + b1 > 0
    return _rest(dh, emb, W1)


def another_order(dh, emb, W1, b1):
    demb, dW1, db1 = q3.solve(dh, emb, W1, b1)
    return dW1[:, :1], demb, db1


def not_a_number(dh, emb, W1, b1):
    return tuple(torch.full_like(t, float("nan")) for t in q3.solve(dh, emb, W1, b1))


def masked_from(least):
    def relu_backward(dh, emb, W1, b1):
        return _rest(dh * (emb @ W1 + b1 > least), emb, W1)

    return relu_backward


def right_for_square_w1(dh, emb, W1, b1):
    grads = q3.solve(dh, emb, W1, b1)
    return grads if W1.shape[0] == W1.shape[1] else tuple(torch.zeros_like(t) for t in grads)


def with_autograd(dh, emb, W1, b1):
    given = [t.requires_grad_() for t in (emb, W1, b1)]
    return torch.autograd.grad((emb @ W1 + b1).relu(), given, dh)


def numpy_arrays(dh, emb, W1, b1):
    return tuple(t.numpy() for t in q3.solve(dh, emb, W1, b1))


MISTAKES = [
    (q1, forward_only, "the forward pass alone"),
    (q1, one_product_back, "and so does the layer's input"),
    (q1, flops, "a multiply-add is one"),
    (q1, four, "four products for each layer"),
    (q1, one_example, "that is for one example"),
    (q1, input_not_trained, "goes on to the embedding, which is trained"),
    (q1, ends_only, "the first width by the last"),
    (q1, all_multiplied, "their products add up"),
    (q1, biases_too, "they are added, not multiplied"),
    (q1, first_layer, "the first layer alone"),
    (q1, last_layer, "the last layer alone"),
    (q1, a_list, "expected one number, the multiply-adds, got [140"),
    (q2, overwritten, "adds only once to a row that X names twice"),
    (q2, row_for_each_look_up, "that is a row for each look-up"),
    (q2, only_those_that_occur, "symbols that do not occur have a row too"),
    (q2, not_cut_up, "cut it up first"),
    (q2, averaged, "gradients of several uses add up"),
    (q2, first_position, "only the first position"),
    (q2, crossed, "mixed with those of another"),
    (q2, in_place, "changed X or demb"),
    (q2, negative, "starts with -"),
    (q3, unmasked, "passed on unchanged"),
    (q3, tanh_slope, "that is tanh's derivative"),
    (q3, times_h, "multiplied by h itself"),
    (q3, own_sign, "masked by its own sign"),
    (q3, wrong_way_round, "the wrong way round"),
    (q3, bias_forgotten, "The bias decides too"),
    (q3, mean, "a mean over the batch"),
    (q3, rows_kept, "one number for each example"),
    (q3, not_transposed, "which fits by chance"),
    (q3, weights_transposed, "dW1 is transposed"),
    (q3, changed_in_place, "dh *= mask does not"),
    (q3, masked_from(0.3), "a batch of 8, 4 inputs, 4 units: demb is wrong"),
    (q3, masked_from(0.1), "a batch of 12, 3 inputs, 5 units: demb is wrong"),
    (q3, right_for_square_w1, "one of its entries is 0.0000"),
    (q3, with_autograd, "no autograd here"),
    (q3, numpy_arrays, "among yours is one ndarray"),
    (q3, another_order, "demb has shape"),
    (q3, not_a_number, "demb is wrong"),
]
