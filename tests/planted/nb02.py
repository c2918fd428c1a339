"""The mistakes of notebook 02 that the checks must name."""

import torch
import torch.nn.functional as F

from mlp_lib.course.exercises.nb02 import q1, q2, q3

# ---- 2.1: the lookup as a product


def one_hot_left_as_int64(X, C):
    return F.one_hot(X, num_classes=C.shape[0]) @ C


def without_num_classes(X, C):
    return F.one_hot(X).float() @ C


def twenty_seven_by_hand(X, C):
    return F.one_hot(X, num_classes=27).float() @ C


def summed_over_positions(X, C):
    return F.one_hot(X, num_classes=C.shape[0]).float().sum(1) @ C


def one_hot_along_the_wrong_axis(X, C):
    onehot = F.one_hot(X, num_classes=C.shape[0]).float()
    return onehot.flip(-1) @ C


def flattened(X, C):
    return F.one_hot(X.flatten(), num_classes=C.shape[0]).float() @ C


def product_turned_round(X, C):
    onehot = F.one_hot(X, num_classes=C.shape[0]).float()
    return (C.T @ onehot.transpose(1, 2)).contiguous()


def indexed(X, C):
    return C[X]


def indexed_by_embedding(X, C):
    return F.embedding(X, C)


def table_made_whole(X, C):
    return F.one_hot(X, C.shape[0]) @ C.long()


def table_doubled_in_place(X, C):
    C *= 2
    return F.one_hot(X, C.shape[0]).float() @ C


# ---- 2.2: join (C9, C10)


def cat_on_axis_0(emb):
    return torch.cat(torch.unbind(emb, 1), 0)


def transposed_then_reshaped(emb):
    return emb.transpose(0, 1).reshape(emb.shape[0], -1)


def permuted_then_reshaped(emb):
    return emb.permute(0, 2, 1).reshape(emb.shape[0], -1)


def six_by_hand(emb):
    return emb.view(-1, 6)


def thirty_two_by_hand(emb):
    return emb.view(32, -1)


def six_by_hand_where_it_raises(emb):
    return emb.view(emb.shape[0], 6)


def three_by_hand(emb):
    k = min(3, emb.shape[1])
    return torch.cat([emb[:, i, :] for i in range(k)], 1)


def two_by_hand(emb):
    return torch.cat([emb[:, 0, :], emb[:, 1, :]], 1)


def rows_from_the_wrong_axis(emb):
    return emb.view(emb.shape[1], -1)


def first_number_of_each(emb):
    return emb[:, :, 0]


def newest_first(emb):
    return emb.flip(1).reshape(emb.shape[0], -1)


def table_turned(emb):
    return emb.view(emb.shape[0], -1).T


def added_up(emb):
    return emb.sum(1)


def one_long_row(emb):
    return emb.flatten()


# ---- 2.3: the hidden layer


def no_tanh(joined, W1, b1):
    return joined @ W1 + b1


def no_bias(joined, W1, b1):
    return torch.tanh(joined @ W1)


def bias_down_the_column(joined, W1, b1):
    return torch.tanh(joined @ W1 + b1.view(-1, 1))


def bias_per_example_where_it_fits(joined, W1, b1):
    bias = b1[:, None] if len(joined) == len(b1) else b1
    return torch.tanh(joined @ W1 + bias)


def bias_outside(joined, W1, b1):
    return torch.tanh(joined @ W1) + b1


def sigmoid(joined, W1, b1):
    return torch.sigmoid(joined @ W1 + b1)


def summed(joined, W1, b1):
    return torch.tanh((joined[:, :, None] * W1).sum(2) + b1)


def summed_over_neurons(joined, W1, b1):
    return torch.tanh((joined @ W1 + b1).sum(1))


def sides_exchanged(joined, W1, b1):
    return torch.tanh(W1 @ joined + b1)


def weights_transposed(joined, W1, b1):
    return torch.tanh(joined @ W1.T + b1)


def elementwise(joined, W1, b1):
    return torch.tanh(joined * W1 + b1)


def no_return(joined, W1, b1):
    torch.tanh(joined @ W1 + b1)


MISTAKES = [
    (q1, one_hot_left_as_int64, "F.one_hot gives int64 and C is float32"),
    (q1, without_num_classes, "right only if the last symbol occurs in X"),
    (q1, twenty_seven_by_hand, "Is there a size in your code that should come from C?"),
    (q1, summed_over_positions, "expected shape (3, 2, 2), got (3, 2). The characters of a context were merged"),
    (q1, flattened, "got (6, 2). The rows are there"),
    (q1, one_hot_along_the_wrong_axis, "X[0, 0] is 0, whose row of C is [0.0, 1.0]; got [40.0, 41.0]"),
    (q1, product_turned_round, "shape right, numbers wrong: X[0, 0]"),
    (q1, indexed, "but C was indexed"),
    (q1, table_made_whole, "make the one-hot float instead"),
    (q1, table_doubled_in_place, "not as it was before the call"),
    (q2, cat_on_axis_0, "(6, 2): the pieces stand below one another"),
    (q2, transposed_then_reshaped, "the examples are mixed: row 0 should be [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]"),
    (q2, permuted_then_reshaped, "the order within a row is not"),
    (q2, six_by_hand, "8 rows for 4 examples, and no error"),
    (q2, six_by_hand_where_it_raises, "for emb of shape (4, 3, 4) it raised"),
    (q2, thirty_two_by_hand, "for emb of shape (2, 3, 2) it raised"),
    (q2, three_by_hand, "for emb of shape (5, 4, 2) expected (5, 8), got (5, 6): only the first characters"),
    (q2, two_by_hand, "expected (2, 6), got (2, 4): only the first characters"),
    (q2, rows_from_the_wrong_axis, "3 rows for 2 examples, and no error. Is a length written as a number, or taken"),
    (q2, first_number_of_each, "one number for each character, but all 2 of them"),
    (q2, newest_first, "and the characters keep the order of the context"),
    (q2, table_turned, "expected (2, 6), got (6, 2): the table is transposed"),
    (q2, added_up, "the characters were added or dropped"),
    (q2, one_long_row, "everything is in one row"),
    (q3, no_tanh, "the squashing into (-1, 1) is missing"),
    (q3, no_bias, "the bias is missing"),
    (q3, bias_down_the_column, "With as many neurons as examples it would not"),
    (q3, bias_per_example_where_it_fits, "one number per example; each neuron has its own bias"),
    (q3, bias_outside, "the bias was added after tanh"),
    (q3, sigmoid, "this is the sigmoid"),
    (q3, summed_over_neurons, "expected shape (2, 4), got (2,)"),
    (q3, elementwise, "Did you use `@`"),
    (q3, sides_exchanged, "(3x4 and 2x3). Which of the two stands on the left"),
    (q3, weights_transposed, "(2x3 and 4x3). Which of the two stands on the left, and is one transposed?"),
    (q3, no_return, "is there a `return`?"),
]
