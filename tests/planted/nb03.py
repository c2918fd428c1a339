"""Mistakes that learners make in notebook 03, each with words its message must hold."""

import math

import torch
import torch.nn.functional as F

from mlp_lib.course.exercises.nb03 import q1, q2, q3, q4

# --- 3.1


def without_keepdim(logits, Y):
    counts = logits.exp()
    prob = counts / counts.sum(1)
    return -prob[torch.arange(len(Y)), Y].log().mean()


def columns(logits, Y):
    counts = logits.exp()
    prob = counts / counts.sum(0, keepdim=True)
    return -prob[torch.arange(len(Y)), Y].log().mean()


def _prob(logits):
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def _picked(logits, Y):
    return _prob(logits)[torch.arange(len(Y)), Y]


def no_mean(logits, Y):
    return -_picked(logits, Y).log().sum()


def no_reduction(logits, Y):
    return -_picked(logits, Y).log()


def log10(logits, Y):
    return -_picked(logits, Y).log10().mean()


def log2(logits, Y):
    return -_picked(logits, Y).log2().mean()


def all_columns(logits, Y):
    return -_prob(logits)[:, Y].log().mean()


def no_minus(logits, Y):
    return _picked(logits, Y).log().mean()


def no_log(logits, Y):
    return _picked(logits, Y).mean()


def log_of_mean(logits, Y):
    return -_picked(logits, Y).mean().log()


def rows_written_in(logits, Y):
    return -_prob(logits)[torch.arange(32), Y].log().mean()


def no_exp(logits, Y):
    prob = logits / logits.sum(1, keepdim=True)
    return -prob[torch.arange(len(Y)), Y].log().mean()


def no_normalising(logits, Y):
    return -logits.exp()[torch.arange(len(Y)), Y].log().mean()


def shifted_in_place(logits, Y):
    logits -= logits.max(1, keepdim=True).values
    return -_picked(logits, Y).log().mean()


def with_prob(logits, Y):
    return -_picked(logits, Y).log().mean(), _prob(logits)


def product_first(logits, Y):
    return -_picked(logits, Y).prod().log() / len(Y)


def of_probabilities(logits, Y):
    return F.cross_entropy(_prob(logits), Y)


def one_call(logits, Y):
    return F.cross_entropy(logits, Y)


def no_return(logits, Y):
    print(end=str(-_picked(logits, Y).log().mean())[:0])


# --- 3.3


def _draw(g, sizes, kinds, *, generator=True):
    vocab_size, block_size, n_embd, n_hidden = sizes
    shapes = [
        (vocab_size, n_embd), (block_size * n_embd, n_hidden), (n_hidden,), (n_hidden, vocab_size), (vocab_size,)
    ]  # fmt: skip
    return [kind(shape, generator=g if generator else None) for kind, shape in zip(kinds, shapes, strict=True)]


def rand_for_four(g, *sizes):
    return _draw(g, sizes, [torch.randn] + 4 * [torch.rand])


def rand_for_all(g, *sizes):
    return _draw(g, sizes, 5 * [torch.rand])


def rand_for_b2(g, *sizes):
    return _draw(g, sizes, 4 * [torch.randn] + [torch.rand])


def generator_left_out(g, *sizes):
    return _draw(g, sizes, 5 * [torch.randn], generator=False)


def own_generator(g, *sizes):
    return _draw(torch.Generator().manual_seed(2147483647), sizes, 5 * [torch.randn])


def weights_first(g, vocab_size, block_size, n_embd, n_hidden):
    W1 = torch.randn((block_size * n_embd, n_hidden), generator=g)
    b1 = torch.randn(n_hidden, generator=g)
    W2 = torch.randn((n_hidden, vocab_size), generator=g)
    b2 = torch.randn(vocab_size, generator=g)
    C = torch.randn((vocab_size, n_embd), generator=g)
    return C, W1, b1, W2, b2


def six_written_in(g, vocab_size, block_size, n_embd, n_hidden):
    C, _, b1, W2, b2 = _draw(g, (vocab_size, block_size, n_embd, n_hidden), 5 * [torch.randn])
    return C, torch.randn((6, n_hidden), generator=g), b1, W2, b2


def transposed(g, vocab_size, block_size, n_embd, n_hidden):
    C, W1, b1, W2, b2 = _draw(g, (vocab_size, block_size, n_embd, n_hidden), 5 * [torch.randn])
    return C, W1.T, b1, W2, b2


def scaled(g, *sizes):
    C, W1, b1, W2, b2 = _draw(g, sizes, 5 * [torch.randn])
    return C, W1, b1, W2 * 0.01, b2


def zeroed(g, *sizes):
    C, W1, b1, W2, b2 = _draw(g, sizes, 5 * [torch.randn])
    return C, W1, b1, W2, b2 * 0


def four_tensors(g, *sizes):
    return _draw(g, sizes, 5 * [torch.randn])[:4]


# --- 3.4


def no_shift(logits, Y):
    return -_picked(logits, Y).log().mean()


def shift_unused(logits, Y):
    shifted = logits - logits.max(1, keepdim=True).values
    counts = logits.exp()
    assert shifted.shape == counts.shape
    return -(counts / counts.sum(1, keepdim=True))[torch.arange(len(Y)), Y].log().mean()


def shift_below_only(logits, Y):
    top = logits.max(1, keepdim=True).values
    return ((logits - top).exp().sum(1).log() - logits[torch.arange(len(Y)), Y]).mean()


def global_shift(logits, Y):
    shifted = logits - logits.max()
    return (shifted.exp().sum(1).log() - shifted[torch.arange(len(Y)), Y]).mean()


def column_shift(logits, Y):
    shifted = logits - logits.max(0, keepdim=True).values
    return (shifted.exp().sum(1).log() - shifted[torch.arange(len(Y)), Y]).mean()


def shift_without_keepdim(logits, Y):
    shifted = logits - logits.max(1).values
    return (shifted.exp().sum(1).log() - shifted[torch.arange(len(Y)), Y]).mean()


def shift_flattened(logits, Y):
    top = logits.max(1).values
    shifted = logits - (top if logits.shape[0] == logits.shape[1] else top[:, None])
    return (shifted.exp().sum(1).log() - shifted[torch.arange(len(Y)), Y]).mean()


def double(logits, Y):
    return -_picked(logits.double(), Y).log().mean()


def forms_prob(logits, Y):
    shifted = logits - logits.max(1, keepdim=True).values
    return -_picked(shifted, Y).log().mean()


def epsilon(logits, Y):
    shifted = logits - logits.max(1, keepdim=True).values
    return -(_picked(shifted, Y) + 1e-9 * (_picked(shifted, Y) < 1e-9)).log().mean()


def stable_sum(logits, Y):
    shifted = logits - logits.max(1, keepdim=True).values
    return (shifted.exp().sum(1).log() - shifted[torch.arange(len(Y)), Y]).sum()


def ready_made(logits, Y):
    return F.cross_entropy(logits, Y)


def double_softmax(logits, Y):
    return -logits.double().softmax(1)[torch.arange(len(Y)), Y].log().mean()


def double_softmax_clamped(logits, Y):
    return -logits.double().softmax(1)[torch.arange(len(Y)), Y].clamp(min=1e-300).log().mean()


def mean_shift(logits, Y):
    return double(logits - logits.mean(1, keepdim=True), Y)


def ready_made_in_a_lambda(logits, Y):
    return -(lambda t: t.log_softmax(1))(logits)[torch.arange(len(Y)), Y].mean()


def ready_made_distribution(logits, Y):
    return -torch.distributions.Categorical(logits=logits).log_prob(Y).mean()


def stable_no_minus(logits, Y):
    shifted = logits - logits.max(1, keepdim=True).values
    return (shifted[torch.arange(len(Y)), Y] - shifted.exp().sum(1).log()).mean()


MISTAKES = [
    (q1, without_keepdim, "keepdim"),
    (q1, columns, "each column was made to sum to 1"),
    (q1, no_mean, "sum over the examples"),
    (q1, no_reduction, "a tensor of shape (3,)"),
    (q1, log10, "log10"),
    (q1, log2, "log2"),
    (q1, all_columns, "prob[:, Y]"),
    (q1, no_minus, "sign is missing"),
    (q1, no_log, "mean probability"),
    (q1, log_of_mean, "log of the mean"),
    (q1, rows_written_in, "number of rows written in it"),
    (q1, no_exp, "exponentiated"),
    (q1, no_normalising, "not divided by their row's sum"),
    (q1, shifted_in_place, "`x = x - m` and not `x -= m`"),
    (q1, with_prob, "expected one number, the loss, got (tensor(1.0945), tensor([["),
    (q1, product_first, "a product of 32 probabilities is too small for float32"),
    (q1, of_probabilities, "wants logits, not probabilities"),
    (q1, one_call, "F.cross_entropy comes later on this page"),
    (q1, no_return, "returned None"),
    (q1, without_keepdim(torch.zeros(3, 3), torch.zeros(3, dtype=torch.int64)), "without calling it"),
    (q2, math.log2(21), "log2"),
    (q2, math.log10(21), "log10"),
    (q2, 1 / 21, "probability of each symbol"),
    (q2, 21, "number of symbols"),
    (q2, math.log(20), "boundary counts"),
    (q2, 3.2958, "27 symbols of the names"),
    (q2, 9.2, "untrained network"),
    (q2, -math.log(21), "negative"),
    (q2, "3.0445", "one number"),
    (q2, 0.0, "which probability"),
    (q3, rand_for_four, "6.4365, not 17.7697: W1, b1, W2 and b2 came from `rand`"),
    (q3, rand_for_all, "C, W1, b1, W2 and b2 came from `rand`"),
    (q3, rand_for_b2, ": b2 came from `rand`"),
    (q3, generator_left_out, "generator=g"),
    (q3, own_generator, "the same for every seed"),
    (q3, weights_first, "in another order, here W1, b1, W2, b2, C"),
    (q3, six_written_in, "W1 has shape (6, 7), expected (12, 7)"),
    (q3, transposed, "W1 has shape (100, 6), expected (6, 100)"),
    (q3, scaled, "neither scale nor shift"),
    (q3, zeroed, "b2 holds the same number everywhere"),
    (q3, four_tensors, "return C, W1, b1, W2, b2"),
    (q4, no_shift, "exp overflows float32 above 88"),
    (q4, shift_unused, "is it the shifted tensor"),
    (q4, shift_below_only, "in one place only"),
    (q4, global_shift, "each row needs its own"),
    (q4, column_shift, "each column lost its own maximum"),
    (q4, shift_without_keepdim, "keep the dimension"),
    (q4, shift_flattened, "for 3 rows of 3"),
    (q4, double, "709"),
    (q4, double_softmax, "at logits [0, -10000] with right answer 1 the loss is 10000, yours is inf"),
    (q4, double_softmax_clamped, "the loss is 10000, yours is 690.8: a floor under"),
    (q4, mean_shift, "subtract what makes the largest logit of a row 0"),
    (q4, forms_prob, "underflows"),
    (q4, epsilon, "floor under the probability"),
    (q4, stable_sum, "take the mean"),
    (q4, stable_no_minus, "sign is missing"),
    (q4, ready_made, "uses cross_entropy"),
    (q4, ready_made_in_a_lambda, "uses log_softmax"),
    (q4, ready_made_distribution, "uses logsumexp"),
]
