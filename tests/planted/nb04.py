"""What goes wrong in notebook 04: gradients, updates, flags, and the lowest loss of a dataset."""

import math
from collections import Counter, defaultdict

import torch
import torch.nn.functional as F

from mlp_lib.course.exercises.nb04 import q1, q2, q3

# 4.1


def forward(parameters, X, Y, reduction="mean"):
    C, W1, b1, W2, b2 = parameters
    h = torch.tanh(C[X].view(X.shape[0], -1) @ W1 + b1)
    return F.cross_entropy(h @ W2 + b2, Y, reduction=reduction)


def cleared(parameters, X, Y, reduction="mean"):
    loss = forward(parameters, X, Y, reduction)
    for p in parameters:
        p.grad = None
    loss.backward()
    return loss


def not_reset(parameters, X, Y, lr):
    loss = forward(parameters, X, Y)
    loss.backward()
    for p in parameters:
        p.data += -lr * p.grad
    return loss.item()


def uphill(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y)
    for p in parameters:
        p.data += lr * p.grad
    return loss.item()


def rebinding(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y)
    for p in parameters:
        p = p - lr * p.grad
    return loss.item()


def new_list_entries(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y)
    for k, p in enumerate(parameters):
        parameters[k] = (p - lr * p.grad).detach().requires_grad_()
    return loss.item()


def in_place_on_a_leaf(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y)
    for p in parameters:
        p -= lr * p.grad
    return loss.item()


def loss_after(parameters, X, Y, lr):
    cleared(parameters, X, Y)
    for p in parameters:
        p.data += -lr * p.grad
    return forward(parameters, X, Y).item()


def no_return(parameters, X, Y, lr):
    cleared(parameters, X, Y)
    for p in parameters:
        p.data += -lr * p.grad


def no_backward(parameters, X, Y, lr):
    loss = forward(parameters, X, Y)
    for p in parameters:
        if p.grad is not None:
            p.data += -lr * p.grad
    return loss.item()


def cleared_too_late(parameters, X, Y, lr):
    loss = forward(parameters, X, Y)
    loss.backward()
    for p in parameters:
        p.grad = None
    for p in parameters:
        p.data += -lr * p.grad
    return loss.item()


def fixed_rate(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y)
    for p in parameters:
        p.data += -0.1 * p.grad
    return loss.item()


def summed(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y, "sum")
    for p in parameters:
        p.data += -lr * p.grad
    return loss.item() / len(Y)


def only_the_last_layer(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y)
    for p in parameters[3:]:
        p.data += -lr * p.grad
    return loss.item()


def unrecorded(parameters, X, Y, lr):
    with torch.no_grad():
        loss = forward(parameters, X, Y)
    loss.backward()
    return loss.item()


def unflagged(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y)
    for p in parameters:
        p.requires_grad = False
        p -= lr * p.grad
    return loss.item()


def log10_of_it(parameters, X, Y, lr):
    loss = cleared(parameters, X, Y)
    for p in parameters:
        p.data += -lr * p.grad
    return loss.log10().item()


# 4.2


def counts_by_context(X, Y):
    counts = defaultdict(Counter)
    for x, y in zip(X.tolist(), Y.tolist(), strict=True):
        counts[tuple(x)][y] += 1
    return counts


def entropy(counter, log=math.log):
    total = sum(counter.values())
    return -sum(n / total * log(n / total) for n in counter.values())


def zero(X, Y):
    return 0.0


def of_y_alone(X, Y):
    return entropy(Counter(Y.tolist()))


def in_bits(X, Y):
    return sum(sum(c.values()) * entropy(c, math.log2) for c in counts_by_context(X, Y).values()) / len(Y)


def unweighted(X, Y):
    entropies = [entropy(c) for c in counts_by_context(X, Y).values()]
    return sum(entropies) / len(entropies)


def summed_up(X, Y):
    return sum(sum(c.values()) * entropy(c) for c in counts_by_context(X, Y).values())


def ambiguous_only(X, Y):
    open_ones = [c for c in counts_by_context(X, Y).values() if len(c) > 1]
    examples = sum(sum(c.values()) for c in open_ones)
    return sum(sum(c.values()) * entropy(c) for c in open_ones) / max(examples, 1)


def last_character(X, Y):
    return sum(sum(c.values()) * entropy(c) for c in counts_by_context(X[:, -1:], Y).values()) / len(Y)


def minus_forgotten(X, Y):
    return -sum(sum(c.values()) * entropy(c) for c in counts_by_context(X, Y).values()) / len(Y)


def zeros_logged(X, Y):
    contexts, inverse = torch.unique(X, dim=0, return_inverse=True)
    counts = torch.zeros(len(contexts), int(Y.max()) + 1)
    counts.index_put_((inverse, Y), torch.ones(len(Y)), accumulate=True)
    P = counts / counts.sum(1, keepdim=True)
    return -(counts.sum(1) * (P * P.log()).sum(1)).sum() / len(Y)


def uniform(X, Y):
    return math.log(27)


# 4.3


def draws(g, vocab_size, block_size, n_embd, n_hidden, how=torch.randn):
    return [
        how((vocab_size, n_embd), generator=g),
        how((block_size * n_embd, n_hidden), generator=g),
        how((n_hidden,), generator=g),
        how((n_hidden, vocab_size), generator=g),
        how((vocab_size,), generator=g),
    ]


def flagged(parameters):
    for p in parameters:
        p.requires_grad = True
    return parameters


def flag_before_c_is_remade(g, *sizes):
    C, W1, b1, W2, b2 = flagged(draws(g, *sizes))
    C = C * 0.1
    return [C, W1, b1, W2, b2]


def flag_before_c_is_drawn_anew(g, *sizes):
    C, W1, b1, W2, b2 = flagged(draws(g, *sizes))
    C = C.detach() * 0.1
    return [C, W1, b1, W2, b2]


def list_of_copies(g, *sizes):
    C, W1, b1, W2, b2 = draws(g, *sizes)
    return [p.clone() for p in flagged([C * 0.1, W1, b1, W2, b2])]


def no_flag(g, *sizes):
    C, *others = draws(g, *sizes)
    return [C * 0.1, *others]


def not_scaled(g, *sizes):
    return flagged(draws(g, *sizes))


def all_scaled(g, *sizes):
    return flagged([p * 0.1 for p in draws(g, *sizes)])


def uniform_draws(g, *sizes):
    C, *others = draws(g, *sizes, how=torch.rand)
    return flagged([C * 0.1, *others])


def global_generator(g, vocab_size, block_size, n_embd, n_hidden):
    shapes = ((vocab_size, n_embd), (block_size * n_embd, n_hidden), (n_hidden,), (n_hidden, vocab_size), (vocab_size,))
    C, *others = [torch.randn(shape) for shape in shapes]
    return flagged([C * 0.1, *others])


def own_generator(g, *sizes):
    C, *others = draws(torch.Generator().manual_seed(2147483647), *sizes)
    return flagged([C * 0.1, *others])


def in_float64(g, *sizes):
    C, *others = draws(g, *sizes)
    return flagged([p.double() for p in (C * 0.1, *others)])


def other_order(g, vocab_size, block_size, n_embd, n_hidden):
    W1 = torch.randn((block_size * n_embd, n_hidden), generator=g)
    C = torch.randn((vocab_size, n_embd), generator=g) * 0.1
    b1 = torch.randn(n_hidden, generator=g)
    W2 = torch.randn((n_hidden, vocab_size), generator=g)
    b2 = torch.randn(vocab_size, generator=g)
    return flagged([C, W1, b1, W2, b2])


def transposed(g, *sizes):
    C, W1, *others = draws(g, *sizes)
    return flagged([C * 0.1, W1.T.contiguous(), *others])


MISTAKES = [
    (q1, not_reset, "the first call is right, the second goes too far"),
    (q1, uphill, "the gradient points uphill"),
    (q1, rebinding, "lets the name p point at it"),
    (q1, new_list_entries, "the list holds new tensors"),
    (q1, in_place_on_a_leaf, "autograd records what is done to a leaf"),
    (q1, loss_after, "the loss after the update"),
    (q1, no_return, "returned None"),
    (q1, no_backward, "where is loss.backward(), or did you train copies?"),
    (q1, cleared_too_late, "clear, then backward, then update"),
    (q1, fixed_rate, "use the argument lr"),
    (q1, summed, "mean loss, not sum"),
    (q1, only_the_last_layer, "only W2, b2 moved"),
    (q1, unrecorded, "nothing that was recorded"),
    (q1, unflagged, "the parameters no longer require a gradient"),
    (q1, log10_of_it, "the parameters moved as they should"),
    (q2, zero, "cannot be right both times"),
    (q2, of_y_alone, "the entropy of Y alone"),
    (q2, in_bits, "in bits"),
    (q2, unweighted, "every context counted alike"),
    (q2, summed_up, "a sum over the 6 examples"),
    (q2, ambiguous_only, "the others are part of the batch too"),
    (q2, last_character, "only the last character was used"),
    (q2, minus_forgotten, "right but for the sign"),
    (q2, zeros_logged, "expected 0.2310: 0 * log(0) is nan"),
    (q2, uniform, "what share has each follower"),
    (q3, flag_before_c_is_remade, "after loss.backward() C.grad is None"),
    (q3, flag_before_c_is_drawn_anew, "Was it made anew after the flag was set"),
    (q3, list_of_copies, "the gradient goes to those"),
    (q3, no_flag, "none of the five requires a gradient"),
    (q3, not_scaled, "make it a tenth of that"),
    (q3, all_scaled, "only C was asked for"),
    (q3, uniform_draws, "torch.rand draws between 0 and 1"),
    (q3, global_generator, "pass generator=g to every draw"),
    (q3, own_generator, "do not follow from a g seeded with 1"),
    (q3, in_float64, "C is torch.float64, and float32 is asked for"),
    (q3, other_order, "in this order"),
    (q3, transposed, "W1 has shape"),
]
