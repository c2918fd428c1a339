"""The mistakes that learners make in notebook 08, each with a phrase of the message it must get."""

import math
import statistics

from mlp_lib.course.exercises.nb08 import q1, q2, q3

# 8.1


def _count(C=None, W1=None, b1=None, W2=None, b2=None):
    """The right count, with the parts that are given replaced by functions of the four sizes."""

    def count(vocab_size, block_size, n_embd, n_hidden):
        sizes = vocab_size, block_size, n_embd, n_hidden
        right = (vocab_size * n_embd, block_size * n_embd * n_hidden, n_hidden, n_hidden * vocab_size, vocab_size)
        return sum(n if part is None else part(*sizes) for part, n in zip((C, W1, b1, W2, b2), right, strict=True))

    return count


def _none(*sizes):
    return 0


# 8.2


def _dev(pairs):
    return [dev for _, dev in pairs]


def _error(small, large):
    return math.sqrt(sum(statistics.variance(d) / len(d) for d in (_dev(small), _dev(large))))


def _gain(small, large):
    return statistics.mean(_dev(small)) - statistics.mean(_dev(large))


def _turned_round(small, large):
    return _gain(large, small), _error(small, large)


def _train_losses(small, large):
    a, b = ([train for train, _ in pairs] for pairs in (small, large))
    return statistics.mean(a) - statistics.mean(b), math.sqrt(statistics.variance(a) / 5 + statistics.variance(b) / 4)


def _train_against_dev(small, large):
    return statistics.mean(train for train, _ in small) - statistics.mean(_dev(large)), _error(small, large)


def _dev_against_train(small, large):
    return statistics.mean(_dev(small)) - statistics.mean(train for train, _ in large), _error(small, large)


def _best_seeds(small, large):
    return min(_dev(small)) - min(_dev(large)), _error(small, large)


def _one_run(small, large):
    return _dev(small)[0] - _dev(large)[0], _error(small, large)


def _last_run(small, large):
    return small[-1][1] - large[-1][1], _error(small, large)


def _sums(small, large):
    return sum(_dev(small)) - sum(_dev(large)), _error(small, large)


def _in_pairs(small, large):
    differences = [a - b for a, b in zip(_dev(small), _dev(large))]  # noqa: B905 - the mistake is meant
    return statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5


def _medians(small, large):
    return statistics.median(_dev(small)) - statistics.median(_dev(large)), _error(small, large)


def _spread(small, large):
    return _gain(small, large), math.hypot(statistics.stdev(_dev(small)), statistics.stdev(_dev(large)))


def _population(small, large):
    error = math.sqrt(sum(statistics.pvariance(d) / len(d) for d in (_dev(small), _dev(large))))
    return _gain(small, large), error


def _errors_added(small, large):
    error = sum(statistics.stdev(d) / len(d) ** 0.5 for d in (_dev(small), _dev(large)))
    return _gain(small, large), error


def _squared(small, large):
    return _gain(small, large), _error(small, large) ** 2


def _one_error(small, large):
    return _gain(small, large), statistics.stdev(_dev(small)) / len(small) ** 0.5


def _other_error(small, large):
    return _gain(small, large), statistics.stdev(_dev(large)) / len(large) ** 0.5


def _all_together(small, large):
    return _gain(small, large), statistics.stdev(_dev(small) + _dev(large))


MISTAKES = [
    (q1, _count(b1=_none, b2=_none), "b1 and b2 are missing: 127 numbers"),
    (q1, _count(b1=_none), "b1 is missing"),
    (q1, _count(b2=_none), "b2 is missing"),
    (q1, _count(C=_none), "C is missing: 54 numbers"),
    (q1, _count(C=_none, b1=_none, b2=_none), "C and b1 and b2 are missing"),
    (q1, _count(W1=lambda v, k, d, n: d * n), "W1 is counted as n_embd x n_hidden"),
    (q1, _count(W1=lambda v, k, d, n: (k + d) * n), "block_size + n_embd rows"),
    (q1, _count(W1=lambda v, k, d, n: k * v * n), "one-hot rows"),
    (q1, _count(C=lambda v, k, d, n: k * v * d), "C is counted block_size times"),
    (q1, _count(C=lambda v, k, d, n: k * d), "a row for each symbol"),
    (q1, _count(b2=lambda v, k, d, n: n), "b2 is counted with n_hidden numbers"),
    (q1, _count(b1=lambda v, k, d, n: k * d), "b1 is counted with one number for each input"),
    (q1, _count(W2=lambda v, k, d, n: n * n), "n_hidden x n_hidden"),
    (q1, lambda vocab_size, block_size, n_embd, n_hidden: 3481, "is a number typed in?"),
    (q1, lambda v, k, d, n: _count()(v, k, d, n) + 1, "+1 from the right count"),
    (q1, _count(C=lambda v, k, d, n: 27 * d), "the first network is right: is one of its numbers typed in"),
    (q1, lambda v, k, d, n: 81 + 34 * n, "you count 319, and the first network is right"),
    (q1, 3481, "without calling it"),
    (q2, _turned_round, "the sign is turned round"),
    (q2, _train_losses, "these are the train losses"),
    (q2, _train_against_dev, "train of one size against dev of the other"),
    (q2, _dev_against_train, "dev of one size against train of the other"),
    (q2, _best_seeds, "compares the best seed of each"),
    (q2, _one_run, "one run of each, the first"),
    (q2, _last_run, "one run of each, the last"),
    (q2, _sums, "a difference of sums"),
    (q2, _in_pairs, "the mean over pairs"),
    (q2, _medians, "not the mean of the one list minus the mean of the other"),
    (q2, _spread, "how single runs scatter"),
    (q2, _population, "needs n - 1"),
    (q2, _errors_added, "the two errors are added"),
    (q2, _squared, "take the root"),
    (q2, _one_error, "only the first size's luck"),
    (q2, _other_error, "only the second size's luck"),
    (q2, _all_together, "variance of each list of dev losses"),
    (q2, _gain, "expected two numbers"),
    (q3, [1, 3, 4, 2], "report A does not ask for 1"),
    (q3, [4, 1, 3, 2], "report B does not ask for 1"),
    (q3, [4, 3, 2, 1], "report C does not ask for 2"),
    (q3, [3, 4, 1, 2], "report A does not ask for 3"),
    (q3, [4, 3, 1, 1], "each fits once"),
    (q3, "larger", "expected 4 numbers from 1 to 4"),
]
