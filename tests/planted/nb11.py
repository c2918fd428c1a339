"""The mistakes that learners make in notebook 11, each with a phrase of the message it must get."""

import math
import random

import torch
import torch.nn.functional as F

from mlp_lib.course.exercises.nb11 import q1, q2, q3, q4

# 11.1 a smooth curve of any length


def _truncated(lossi, block):
    return lossi[: len(lossi) // block * block].view(-1, block).mean(1)


def _columns(lossi, block):
    return _truncated(lossi, block) if len(lossi) % block else lossi.view(-1, block).mean(0)


def _padded(lossi, block):
    return F.pad(lossi, (0, -len(lossi) % block)).view(-1, block).mean(1)


def _padded_in_place(lossi, block):
    lossi -= lossi.mean()
    return _padded(lossi, block)


def _summed(lossi, block):
    return torch.stack([part.sum() for part in lossi.split(block)])


# 11.2 a slope in place of the cliff


def _schedule(share, high=0.1, low=0.01):
    """A schedule from a function (i, half, steps) -> how far down the slope."""

    def sloped(steps):
        return lambda i: high + (low - high) * share(i, steps // 2, steps)

    return sloped


def _cliff(steps):
    return lambda i: 0.1 if i < steps / 2 else 0.01


def _counts_its_calls(steps):
    taken = 0

    def lr(i):
        nonlocal taken
        taken += 1
        return _right(steps)(min(taken - 1, steps - 1))

    return lr


def _right(steps):
    half, last = steps // 2, steps - 1
    return lambda i: 0.1 if i < half else 0.1 - 0.09 * (i - half) / (last - half)


def _compounds(steps):
    """`rate *= 0.9` in every step past the half: the classic."""
    rate = 0.1

    def lr(i):
        nonlocal rate
        if i >= steps // 2:
            rate *= 0.9
        return rate

    return lr


def _geometric(steps):
    half, last = steps // 2, steps - 1
    return lambda i: 0.1 if i < half else 0.1 * 0.1 ** ((i - half) / (last - half))


def _border_early(steps):
    half, last = steps // 2, steps - 1
    return lambda i: 0.1 if i < half - 1 else 0.1 - 0.09 * (i - half + 1) / (last - half + 1)


def _border_late(steps):
    half, last = steps // 2, steps - 1
    return lambda i: 0.1 if i <= half else 0.1 - 0.09 * (i - half - 1) / (last - half - 1)


def _forgets_to_return(steps):
    def lr(i):
        if i < steps // 2:
            return 0.1

    return lr


# 11.3 a report that cannot mix things up


def _forward(parameters, X):
    C, W1, b1, W2, b2 = parameters
    return torch.tanh(C[X].view(len(X), -1) @ W1 + b1) @ W2 + b2


def _reported(parameters, splits, loss):
    return {name: loss(_forward(parameters, X), Y) for name, (X, Y) in splits.items()}


def _swapped(parameters, splits):  # C7
    losses = list(_reported(parameters, splits, F.cross_entropy).values())
    return dict(zip(splits, losses[::-1], strict=True))


def _stale(parameters, splits):  # C7
    X = next(iter(splits.values()))[0]
    logits = _forward(parameters, X)  # before the loop: that of the first split, for all
    return {name: F.cross_entropy(logits[: len(Y)], Y[: len(logits)]) for name, (_, Y) in splits.items()}


def _one_label_for_both(parameters, splits):
    loss = F.cross_entropy(_forward(parameters, splits["train"][0]), splits["train"][1])
    return dict.fromkeys(splits, loss)


def _minibatch(parameters, splits):
    return {name: F.cross_entropy(_forward(parameters, X[:16]), Y[:16]) for name, (X, Y) in splits.items()}


def _no_tanh(parameters, splits):
    C, W1, b1, W2, b2 = parameters
    return {
        name: F.cross_entropy((C[X].view(len(X), -1) @ W1 + b1) @ W2 + b2, Y).item() for name, (X, Y) in splits.items()
    }


def _typed_row_length(parameters, splits):
    C, W1, b1, W2, b2 = parameters
    return {
        name: F.cross_entropy(torch.tanh(C[X].view(-1, 6) @ W1 + b1) @ W2 + b2, Y).item()
        for name, (X, Y) in splits.items()
    }


def _without(k):
    """The parameter k left out, which is to say zero."""

    def report(parameters, splits):
        zeroed = [torch.zeros_like(p) if i == k else p for i, p in enumerate(parameters)]
        return _reported(zeroed, splits, F.cross_entropy)

    return report


def _relu(parameters, splits):
    C, W1, b1, W2, b2 = parameters
    return {
        name: F.cross_entropy((C[X].view(len(X), -1) @ W1 + b1).relu() @ W2 + b2, Y).item()
        for name, (X, Y) in splits.items()
    }


def _other_parameters(parameters, splits):
    g = torch.Generator().manual_seed(5)
    return _reported([torch.randn(p.shape, generator=g) for p in parameters], splits, F.cross_entropy)


def _trains_on(parameters, splits):
    losses = _reported(parameters, splits, F.cross_entropy)
    sum(losses.values()).backward()
    for p in parameters:
        p.data -= 0.1 * p.grad
    return losses


# 11.4 a run that can be repeated


def _fit(model, X, Y, steps, lr, draw, *, clear=True, sign=-1, constant=False, update=True, after=False):
    lossi = []
    for i in range(steps):
        ix = draw()
        loss = F.cross_entropy(model(X[ix]), Y[ix])
        if clear:
            for p in model.parameters():
                p.grad = None
        loss.backward()
        for p in model.parameters():
            if update:
                p.data += sign * (lr(0) if constant else lr(i)) * p.grad
        if after:
            with torch.no_grad():
                loss = F.cross_entropy(model(X[ix]), Y[ix])
        lossi.append(loss.item())
    return lossi


def _lecture(**how):
    def fit(model, X, Y, *, steps, lr, batch_size, g):
        return _fit(model, X, Y, steps, lr, lambda: torch.randint(0, len(X), (batch_size,), generator=g), **how)

    return fit


def _global_minibatches(model, X, Y, *, steps, lr, batch_size, g):  # C19
    return _fit(model, X, Y, steps, lr, lambda: torch.randint(0, len(X), (batch_size,)))


def _g_for_the_start_only(model, X, Y, *, steps, lr, batch_size, g):  # C19
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    draws = random.Random()
    return _fit(model, X, Y, steps, lr, lambda: torch.tensor(draws.choices(range(len(X)), k=batch_size)))


def _seeds_the_global_one(model, X, Y, *, steps, lr, batch_size, g):
    torch.manual_seed(g.initial_seed())
    torch.randn(1, generator=g)
    return _fit(model, X, Y, steps, lr, lambda: torch.randint(0, len(X), (batch_size,)))


def _own_generator(model, X, Y, *, steps, lr, batch_size, g):
    g = torch.Generator().manual_seed(42)
    return _fit(model, X, Y, steps, lr, lambda: torch.randint(0, len(X), (batch_size,), generator=g))


def _reseeds_g(model, X, Y, *, steps, lr, batch_size, g):
    g.manual_seed(42)
    return _fit(model, X, Y, steps, lr, lambda: torch.randint(0, len(X), (batch_size,), generator=g))


def _two_draws(model, X, Y, *, steps, lr, batch_size, g):
    def draw():
        return torch.randint(0, len(X), (batch_size,), generator=g)

    lossi = []
    for i in range(steps):
        loss = F.cross_entropy(model(X[draw()]), Y[draw()])
        for p in model.parameters():
            p.grad = None
        loss.backward()
        for p in model.parameters():
            p.data += -lr(i) * p.grad
        lossi.append(loss.item())
    return lossi


def _full_batch(model, X, Y, *, steps, lr, batch_size, g):
    return _fit(model, X, Y, steps, lr, lambda: torch.randperm(len(X), generator=g))


def _one_minibatch(model, X, Y, *, steps, lr, batch_size, g):
    ix = torch.randint(0, len(X), (batch_size,), generator=g)
    return _fit(model, X, Y, steps, lr, lambda: ix)


def _last_row_left_out(model, X, Y, *, steps, lr, batch_size, g):
    return _fit(model, X, Y, steps, lr, lambda: torch.randint(0, len(X) - 1, (batch_size,), generator=g))


def _last_loss(model, X, Y, *, steps, lr, batch_size, g):
    return _lecture()(model, X, Y, steps=steps, lr=lr, batch_size=batch_size, g=g)[-1]


MISTAKES = [
    (q1, lambda lossi, block: lossi.view(-1, block).mean(1), "no multiple of 4: 1 left over"),
    (q1, _truncated, "the end of the run is cut off"),
    (q1, _columns, "the mean went down the columns"),
    (q1, _padded, "Zeros that fill up a block"),
    (q1, _padded_in_place, "handed in have been changed"),
    (q1, lambda lossi, block: lossi.unfold(0, min(block, len(lossi)), 1).mean(1), "a window that moves by one step"),
    (q1, _summed, "the mean is asked for"),
    (q1, lambda lossi, block: lossi.view(block, -1).mean(1), "block is the length of a row"),
    (q1, lambda lossi, block: lossi.mean(), "expected a tensor or list of means"),
    (q1, lambda lossi, block: [lossi.mean().item()], "expected [6.0, 4.0, 1.5]"),
    (q2, _cliff, "That is the lecture's cliff"),
    (q2, _counts_its_calls, "remembers or counts its calls"),
    (q2, _compounds, "remembers or counts its calls"),
    (q2, _schedule(lambda i, half, steps: i / (steps - 1)), "the slope begins with the first step"),
    (q2, _schedule(lambda i, half, steps: max(0, i - half) / (steps - half)), "the line is one step too"),
    (q2, _schedule(lambda i, half, steps: 0 if i < half else 2 * i / steps), "A negative rate climbs"),
    (q2, _schedule(lambda i, half, steps: 1 - max(0, i - half) / (steps - 1 - half), 0.1, 0.2), "above 0.1"),
    (q2, lambda steps: _right(200_000), "it never falls, or is the page's `border`"),
    (q2, _geometric, "it falls by equal factors"),
    (q2, _border_early, "lr(10) is 0.091, expected 0.1"),
    (q2, _border_late, "lr(11) is 0.1, expected 0.09"),
    (q2, _forgets_to_return, "without `return`"),
    (q2, lambda steps: 0.1, "return lr, not lr(i)"),
    (q2, lambda steps: _right(20), "is a number typed in, in place of steps"),
    (q3, _swapped, "which is the loss of 'dev': the labels are swapped"),
    (q3, _stale, "has the h of 'train' and the labels of 'dev': a stale forward pass"),
    (q3, _one_label_for_both, "is the loss of 'train' once more"),
    (q3, _minibatch, "only the first 16 of 40 rows"),
    (q3, _no_tanh, "the tanh is missing"),
    (q3, lambda p, s: _reported(p, s, lambda z, Y: F.cross_entropy(z, Y, reduction="sum")), "a sum over the 40"),
    (q3, lambda p, s: _reported(p, s, lambda z, Y: F.cross_entropy(z, Y).log10()), "through log10"),
    (q3, lambda p, s: _reported(p, s, lambda z, Y: F.cross_entropy(z, Y) / math.log(2)), "the loss in bits"),
    (q3, lambda p, s: _reported(p, s, lambda z, Y: F.cross_entropy(z, Y).exp()), "that is the perplexity"),
    (q3, lambda p, s: _reported(p, s, lambda z, Y: F.cross_entropy(z.softmax(1), Y)), "the softmax was done twice"),
    (q3, _relu, "relu stands in the place of tanh"),
    (q3, _without(2), "b1 is missing"),
    (q3, _without(4), "b2 is missing"),
    (q3, _typed_row_length, "right for block_size 3 and n_embd 2, but for 2 and 4 it raised"),
    (q3, _other_parameters, "or has other parameters than those handed in"),
    (q3, _trains_on, "a report looks, it does not train"),
    (q3, lambda p, s: 2.17, "expected a dict with the names"),
    (q4, _global_minibatches, "the minibatches are drawn from the global one"),
    (q4, _g_for_the_start_only, "two runs with the same g differ"),
    (q4, _seeds_the_global_one, "the global generator is another after the call"),
    (q4, _own_generator, "nothing was drawn from it"),
    (q4, _reseeds_g, "g seeded with 1 and with 2 give the same run"),
    (q4, _two_draws, "do X[ix] and Y[ix] have the same ix"),
    (q4, _full_batch, "the model was given X of shape (36, 2)"),
    (q4, _one_minibatch, "every step has the same minibatch: draw ix inside the loop"),
    (q4, _last_row_left_out, "held row 0 alone: torch.randint(0, n, ...) gives 0 to n - 1"),
    (q4, _last_loss, "expected the list of the 6 losses"),
    (q4, _lecture(clear=False), "the gradients of all steps so far"),
    (q4, _lecture(sign=1), "moved up the gradient"),
    (q4, _lecture(constant=True), "the update uses 0.1, but lr(3) is 0.01"),
    (q4, _lecture(update=False), "no parameter has moved"),
    (q4, _lecture(after=True), "you report"),
]
