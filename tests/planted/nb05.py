"""What goes wrong in notebook 05: minibatches not drawn from g, estimates taken for the loss, cosines by tensor."""

import torch
import torch.nn.functional as F

from mlp_lib.course.exercises.nb05 import q1, q2, q3

# 5.1


def global_generator(X, Y, batch_size, g):
    ix = torch.randint(0, X.shape[0], (batch_size,))
    return X[ix], Y[ix]


def two_draws(X, Y, batch_size, g):
    ix = torch.randint(0, X.shape[0], (batch_size,), generator=g)
    iy = torch.randint(0, X.shape[0], (batch_size,), generator=g)
    return X[ix], Y[iy]


def last_left_out(X, Y, batch_size, g):
    ix = torch.randint(0, X.shape[0] - 1, (batch_size,), generator=g)
    return X[ix], Y[ix]


def first_left_out(X, Y, batch_size, g):
    ix = torch.randint(1, X.shape[0], (batch_size,), generator=g)
    return X[ix], Y[ix]


def one_too_many(X, Y, batch_size, g):
    ix = torch.randint(0, X.shape[0] + 1, (1000,), generator=g)[-batch_size:].clamp(min=X.shape[0])
    return X[ix], Y[ix]


def among_the_first_few(X, Y, batch_size, g):
    ix = torch.randint(0, min(32, X.shape[0]), (batch_size,), generator=g)
    return X[ix], Y[ix]


def first_rows(X, Y, batch_size, g):
    return X[:batch_size], Y[:batch_size]


def always_32(X, Y, batch_size, g):
    ix = torch.randint(0, X.shape[0], (32,), generator=g)
    return X[ix], Y[ix]


def seeded_inside(X, Y, batch_size, g):
    g = torch.Generator().manual_seed(2147483647)
    ix = torch.randint(0, X.shape[0], (batch_size,), generator=g)
    return X[ix], Y[ix]


def one_start(X, Y, batch_size, g):
    start = torch.randint(0, X.shape[0], (1,), generator=g)
    ix = (start + torch.arange(batch_size)) % X.shape[0]
    return X[ix], Y[ix]


def one_slice(X, Y, batch_size, g):
    s = int(torch.randint(0, max(1, X.shape[0] - batch_size + 1), (1,), generator=g))
    return X[s : s + batch_size], Y[s : s + batch_size]


def permutation(X, Y, batch_size, g):
    ix = torch.randperm(X.shape[0], generator=g)[:batch_size]
    return X[ix], Y[ix]


def only_x(X, Y, batch_size, g):
    return X[torch.randint(0, X.shape[0], (batch_size,), generator=g)]


def rounded_normal(X, Y, batch_size, g):
    ix = torch.randn(batch_size, generator=g).mul(10).add(25).round().long().clamp(0, X.shape[0] - 1)
    return X[ix], Y[ix]


# 5.2


def mean_of_means(model, X, Y, chunk):
    losses = [F.cross_entropy(model(x), y).item() for x, y in zip(X.split(chunk), Y.split(chunk), strict=True)]
    return sum(losses) / len(losses)


def last_minibatch(model, X, Y, chunk):
    for x, y in zip(X.split(chunk), Y.split(chunk), strict=True):
        loss = F.cross_entropy(model(x), y)
    return loss.item()


def first_piece(model, X, Y, chunk):
    for x, y in zip(X.split(chunk), Y.split(chunk), strict=True):
        return F.cross_entropy(model(x), y).item()


def rest_left_out(model, X, Y, chunk):
    n = X.shape[0] // chunk * chunk
    total = 0.0
    for k in range(0, n, chunk):
        total += F.cross_entropy(model(X[k : k + chunk]), Y[k : k + chunk], reduction="sum").item()
    return total / max(n, 1)


def sums(model, X, Y, chunk):
    pieces = zip(X.split(chunk), Y.split(chunk), strict=True)
    return sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in pieces)


def sum_of_means(model, X, Y, chunk):
    return sum(F.cross_entropy(model(x), y).item() for x, y in zip(X.split(chunk), Y.split(chunk), strict=True))


def mean_times_chunk(model, X, Y, chunk):
    pieces = zip(X.split(chunk), Y.split(chunk), strict=True)
    return sum(F.cross_entropy(model(x), y).item() * chunk for x, y in pieces) / X.shape[0]


def per_piece(model, X, Y, chunk):
    return sums(model, X, Y, chunk) / len(X.split(chunk))


def all_at_once(model, X, Y, chunk):
    with torch.no_grad():
        return F.cross_entropy(model(X), Y).item()


def recorded(model, X, Y, chunk):
    pieces = zip(X.split(chunk), Y.split(chunk), strict=True)
    return sum(F.cross_entropy(model(x), y, reduction="sum") for x, y in pieces) / X.shape[0]


_g = torch.Generator().manual_seed(2147483647)


def random_minibatch(model, X, Y, chunk):
    ix = torch.randint(0, X.shape[0], (chunk,), generator=_g)
    return F.cross_entropy(model(X[ix]), Y[ix]).item()


def log10_of_it(model, X, Y, chunk):
    return sums(model, X, Y, chunk) / X.shape[0] / 2.302585093


# 5.3


def mean_of_cosines(a, b):
    return sum(F.cosine_similarity(s.flatten(), t.flatten(), dim=0).item() for s, t in zip(a, b, strict=True)) / len(a)


def sum_of_cosines(a, b):
    return sum(F.cosine_similarity(s.flatten(), t.flatten(), dim=0).item() for s, t in zip(a, b, strict=True))


def dot(a, b):
    return sum((s * t).sum().item() for s, t in zip(a, b, strict=True))


def first_tensor(a, b):
    return F.cosine_similarity(a[0].flatten(), b[0].flatten(), dim=0).item()


def first_dimension(a, b):
    rows = [F.cosine_similarity(s, t, dim=0) for s, t in zip(a, b, strict=True)]
    return torch.stack(rows)


def lengths_added(a, b):
    return dot(a, b) / (sum(t.norm().item() for t in a) * sum(t.norm().item() for t in b))


def products_added(a, b):
    return dot(a, b) / sum((s.norm() * t.norm()).item() for s, t in zip(a, b, strict=True))


def distance(a, b):
    return 1 - q3.solve(a, b)


def no_root(a, b):
    return dot(a, b) / (dot(a, a) * dot(b, b))


def absolute(a, b):
    return abs(q3.solve(a, b))


def nan_for_a_zero_tensor(a, b):
    each = [((s * t).sum() / (s.norm() * t.norm())).item() for s, t in zip(a, b, strict=True)]
    return q3.solve(a, b) if all(e == e for e in each) else float("nan")


def vectors_only(a, b):
    flat = [t if t.ndim == 1 else t[0] for t in a], [t if t.ndim == 1 else t[0] for t in b]
    return q3.solve(*flat)


MISTAKES = [
    (q1, global_generator, "the draw comes from the global generator"),
    (q1, two_draws, "one index for both"),
    (q1, last_left_out, "leaves out its upper end by itself"),
    (q1, first_left_out, "where does your range start"),
    (q1, one_too_many, "an index lies outside the rows 0 to"),
    (q1, among_the_first_few, "the range must follow X.shape[0]"),
    (q1, first_rows, "every call returns the first rows"),
    (q1, always_32, "batch_size=7, but you returned 32 rows"),
    (q1, seeded_inside, "is g seeded or made anew inside"),
    (q1, one_start, "rows 7, 8, 9 and so on: one start was drawn"),
    (q1, one_slice, "rows 1, 2, 3 and so on: one start was drawn"),
    (q1, permutation, "a permutation gives each row once"),
    (q1, only_x, "expected two tensors"),
    (q1, rounded_normal, "all should be equally likely"),
    (q2, mean_of_means, "the mean of the pieces' means"),
    (q2, last_minibatch, "One piece's loss is an estimate"),
    (q2, first_piece, "does your loop return too early"),
    (q2, rest_left_out, "the last 2 examples were left out"),
    (q2, sums, "the sum over the examples"),
    (q2, sum_of_means, "the sum of the pieces' means"),
    (q2, mean_times_chunk, "the last piece has fewer than 4 rows"),
    (q2, per_piece, "divide by the number of examples"),
    (q2, all_at_once, "the model was given 10 rows at once"),
    (q2, recorded, "carries the record of every piece"),
    (q2, random_minibatch, "two calls gave two results"),
    (q2, log10_of_it, "nats are asked for"),
    (q3, mean_of_cosines, "the mean of the tensors' own cosines"),
    (q3, sum_of_cosines, "a cosine is never above 1"),
    (q3, dot, "divide by both lengths"),
    (q3, first_tensor, "only the first tensor was looked at"),
    (q3, first_dimension, "expected one number"),
    (q3, lengths_added, "squares do"),
    (q3, products_added, "Two lengths are needed"),
    (q3, distance, "1 minus the cosine"),
    (q3, no_root, "you divided by the squared lengths"),
    (q3, absolute, "opposite directions"),
    (q3, nan_for_a_zero_tensor, "you returned nan"),
    (q3, vectors_only, "right for lists of vectors"),
]
