"""What goes wrong in notebook 09: neighbours in two columns of ten, maps that are not centred, widths not squared."""

import torch

from mlp_lib.course.exercises.nb09 import q1, q2, q3


def _distances(C, vocab, c):
    return (C - C[vocab.stoi[c]]).norm(dim=1)


# 9.1


def with_itself(C, vocab, c, k):
    return [vocab.itos[j] for j in _distances(C, vocab, c).argsort()[:k].tolist()]


def first_place_dropped(C, vocab, c, k):
    return [vocab.itos[j] for j in _distances(C, vocab, c).argsort(stable=True)[1 : k + 1].tolist()]


def indices(C, vocab, c, k):
    return _distances(C, vocab, c).argsort()[1 : k + 1].tolist()


def distances(C, vocab, c, k):
    return (_distances(C, vocab, c) + 0.5).sort().values[1 : k + 1]


def two_columns(C, vocab, c, k):
    return q1.solve(C[:, :2], vocab, c, k)


def farthest(C, vocab, c, k):
    return [vocab.itos[j] for j in _distances(C, vocab, c).argsort(descending=True)[:k].tolist()]


def _by(values, vocab, c, k):
    values[vocab.stoi[c]] = float("-inf")
    return [vocab.itos[j] for j in values.argsort(descending=True)[:k].tolist()]


def cosine(C, vocab, c, k):
    unit = C / C.norm(dim=1, keepdim=True)
    return _by(unit @ unit[vocab.stoi[c]], vocab, c, k)


def dot(C, vocab, c, k):
    return _by(C @ C[vocab.stoi[c]], vocab, c, k)


def signed_sum(C, vocab, c, k):
    return _by(-(C - C[vocab.stoi[c]]).sum(1), vocab, c, k)


def sum_cancels(C, vocab, c, k):
    return _by(-(C - C[vocab.stoi[c]]).sum(1).abs(), vocab, c, k)


def taxi(C, vocab, c, k):
    return _by(-(C - C[vocab.stoi[c]]).abs().sum(1), vocab, c, k)


def boundary_last(C, vocab, c, k):
    return _by(torch.where(torch.arange(len(C)) == vocab.stoi["."], -1e9, -_distances(C, vocab, c)), vocab, c, k)


def always_three(C, vocab, c, k):
    return q1.solve(C, vocab, c, 3)


def letters_only(C, vocab, c, k):
    return [x for x in q1.solve(C, vocab, c, len(vocab) - 1) if x != "."][:k]


def in_place(C, vocab, c, k):
    C -= C[vocab.stoi[c]].clone()
    return [vocab.itos[j] for j in C.norm(dim=1).argsort()[1 : k + 1].tolist()]


# 9.2


def dims_0_and_1(C, k):
    return C[:, :k]


def dims_0_and_1_centred(C, k):
    return (C - C.mean(0))[:, :k]


def not_centred(C, k):
    Vh = torch.linalg.svd(C, full_matrices=False).Vh
    return C @ Vh[:k].T


def centred_too_late(C, k):
    Vh = torch.linalg.svd(C - C.mean(0), full_matrices=False).Vh
    return C @ Vh[:k].T


def only_u(C, k):
    return torch.linalg.svd(C - C.mean(0), full_matrices=False).U[:, :k]


def only_u_not_centred(C, k):
    return torch.linalg.svd(C, full_matrices=False).U[:, :k]


def columns_of_vh(C, k):
    X = C - C.mean(0)
    return X @ torch.linalg.svd(X, full_matrices=False).Vh[:, :k]


def directions(C, k):
    return torch.linalg.svd(C - C.mean(0), full_matrices=False).Vh[:k]


def narrowest(C, k):
    X = C - C.mean(0)
    return X @ torch.linalg.eigh(X.T @ X).eigenvectors[:, :k]


def all_directions(C, k):
    return q2.solve(C, C.shape[1])


def transposed(C, k):
    return q2.solve(C, k).T


def wrong_order(C, k):
    return q2.solve(C, k).flip(1)


def standardised(C, k):
    return q2.solve(C / C.std(0), k)


def row_means(C, k):
    X = C - C.mean(1, keepdim=True)
    return X @ torch.linalg.svd(X, full_matrices=False).Vh[:k].T


def one_mean(C, k):
    X = C - C.mean()
    return X @ torch.linalg.svd(X, full_matrices=False).Vh[:k].T


def centred_on_the_median(C, k):
    X = C - C.median(0).values
    return X @ torch.linalg.svd(X, full_matrices=False).Vh[:k].T


def centred_on_the_first_row(C, k):
    X = C - C[0]
    return X @ torch.linalg.svd(X, full_matrices=False).Vh[:k].T


def measured_from_elsewhere(C, k):
    return q2.solve(C, k) + 1


def rounded_map(C, k):
    return (q2.solve(C, k) * 100).round() / 100


def centred_in_place(C, k):
    C -= C.mean(0)
    return C @ torch.linalg.svd(C, full_matrices=False).Vh[:k].T


# 9.3


def _s(C):
    return torch.linalg.svdvals(C - C.mean(0))


def not_squared(C):
    return _s(C) / _s(C).sum()


def not_divided(C):
    return _s(C) ** 2


def singular_values(C):
    return _s(C)


def of_rows_as_they_stand(C):
    S = torch.linalg.svdvals(C)
    return S**2 / (S**2).sum()


def variances(C):
    return _s(C) ** 2 / (len(C) - 1)


def per_cent(C):
    return 100 * q3.solve(C)


def running_total(C):
    return q3.solve(C).cumsum(0)


def upwards(C):
    return q3.solve(C).flip(0)


def over_the_largest(C):
    return _s(C) ** 2 / _s(C)[0] ** 2


def square_of_the_sum(C):
    return _s(C) ** 2 / _s(C).sum() ** 2


def columns_as_they_stand(C):
    return C.var(0) / C.var(0).sum()


def columns_sorted(C):
    return columns_as_they_stand(C).sort(descending=True).values


def _shares(X):
    return torch.linalg.svdvals(X) ** 2 / (X**2).sum()


def one_mean_for_all(C):
    return _shares(C - C.mean())


def a_mean_for_each_row(C):
    return _shares(C - C.mean(1, keepdim=True))


def softmax_of_s(C):
    return torch.softmax(_s(C), 0)


def halved(C):
    return q3.solve(C) / 2


def first_two_together(C):
    return q3.solve(C)[:2].sum()


MISTAKES = [
    (q1, with_itself, "holds 'a' itself, at distance 0"),
    (q1, first_place_dropped, "take out its own index, not the first place"),
    (q1, indices, "got the indices"),
    (q1, distances, "got the distances"),
    (q1, two_columns, "the neighbours in columns 0 and 1 alone"),
    (q1, farthest, "the farthest ones"),
    (q1, cosine, "the order of the cosine"),
    (q1, dot, "long rows win"),
    (q1, signed_sum, "a distance is never negative"),
    (q1, sum_cancels, "+1 in one column and -1 in another cancel"),
    (q1, taxi, "the way of a taxi"),
    (q1, boundary_last, "with '.' put last"),
    (q1, always_three, "got 3 characters"),
    (q1, letters_only, "without the boundary '.'"),
    (q1, in_place, "your function changed C"),
    (q2, dims_0_and_1, "an accident of the random start"),
    (q2, not_centred, "the rows were not centred"),
    (q2, centred_too_late, "project the centred rows"),
    (q2, only_u, "U * S has it back"),
    (q2, only_u_not_centred, "centre them, and mind S"),
    (q2, columns_of_vh, "a direction is a row of it"),
    (q2, directions, "the directions themselves"),
    (q2, narrowest, "eigh sorts upwards"),
    (q2, all_directions, "the first k are asked for"),
    (q2, transposed, "the transpose of"),
    (q2, wrong_order, "the widest is column 0"),
    (q2, standardised, "centre only"),
    (q2, row_means, "the mean of each row was subtracted"),
    (q2, one_mean, "one mean over all numbers was subtracted"),
    (q2, centred_on_the_median, "is the median"),
    (q2, centred_on_the_first_row, "is the first row"),
    (q2, measured_from_elsewhere, "its middle is not 0"),
    (q2, rounded_map, "off by 0.0048: is something rounded"),
    (q2, centred_in_place, "your function changed C"),
    (q3, not_squared, "square them first"),
    (q3, not_divided, "which grow with every row"),
    (q3, singular_values, "the singular values themselves"),
    (q3, of_rows_as_they_stand, "The rows were not centred"),
    (q3, variances, "variances along each direction"),
    (q3, per_cent, "shares add up to 1"),
    (q3, running_total, "running totals"),
    (q3, upwards, "the widest direction comes first"),
    (q3, over_the_largest, "divided by the largest"),
    (q3, square_of_the_sum, "the squares should be summed"),
    (q3, columns_as_they_stand, "the columns of C as they stand"),
    (q3, columns_sorted, "A direction may mix columns"),
    (q3, one_mean_for_all, "One mean over all numbers was subtracted"),
    (q3, a_mean_for_each_row, "The mean of each row was subtracted"),
    (q3, softmax_of_s, "They add up to 1, but differ by up to"),
    (q3, halved, "add up to 1, not 0.500"),
    (q3, first_two_together, "got one number"),
]
