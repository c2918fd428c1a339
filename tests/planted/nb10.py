"""The mistakes that learners make in notebook 10, each with a phrase of the message it must get."""

import math
import statistics

from mlp_lib.course.exercises.nb10 import q1, q2, q3, q4, q5

# 10.1


def _read_as_loss(lossi):
    """The log10 of the loss read as the loss."""
    return sum(lossi) / len(lossi)


def _natural(lossi):
    return sum(math.exp(x) for x in lossi) / len(lossi)


def _geometric(lossi):
    return 10 ** (sum(lossi) / len(lossi))


def _divided_by_n_minus_1(lossi):
    return sum(10**x for x in lossi) / (len(lossi) - 1)


def _return_in_the_loop(lossi):
    total = 0
    for x in lossi:
        total += 10**x
        return total / len(lossi)


# 10.2


def _solve(n_parameters, fixed, for_each_unit):
    return round((n_parameters - fixed) / for_each_unit)


def _no_block_size(n_parameters, n_embd, block_size, vocab_size):
    return _solve(n_parameters, vocab_size * n_embd + vocab_size, n_embd + 1 + vocab_size)


def _no_biases(n_parameters, n_embd, block_size, vocab_size):
    return _solve(n_parameters, vocab_size * n_embd, block_size * n_embd + vocab_size)


def _no_table(n_parameters, n_embd, block_size, vocab_size):
    return _solve(n_parameters, vocab_size, block_size * n_embd + 1 + vocab_size)


def _no_second_layer(n_parameters, n_embd, block_size, vocab_size):
    return _solve(n_parameters, vocab_size * n_embd + vocab_size, block_size * n_embd + 1)


def _not_rounded(n_parameters, n_embd, block_size, vocab_size):
    return (n_parameters - vocab_size * n_embd - vocab_size) / (block_size * n_embd + 1 + vocab_size)


def _rounded_down(n_parameters, n_embd, block_size, vocab_size):
    return int(_not_rounded(n_parameters, n_embd, block_size, vocab_size))


# 10.3


def _population(losses):
    """ddof=0, as NumPy's std does."""
    return statistics.mean(losses), statistics.pstdev(losses) / len(losses) ** 0.5


def _n_for_root(losses):
    return statistics.mean(losses), statistics.stdev(losses) / len(losses)


def _root_of_n_minus_1(losses):
    return statistics.mean(losses), statistics.stdev(losses) / (len(losses) - 1) ** 0.5


def _stderr(losses):
    return statistics.stdev(losses) / len(losses) ** 0.5


# 10.4


def _differences(a, b):
    return [a[seed] - b[seed] for seed in a]


def _best_against_best(a, b):
    return min(a.values()) - min(b.values()), _stderr(_differences(a, b))


def _unpaired(a, b):
    variance = statistics.variance(a.values()) + statistics.variance(b.values())
    return statistics.mean(_differences(a, b)), (variance / len(a)) ** 0.5


def _turned(a, b):
    d = [b[seed] - a[seed] for seed in a]
    return statistics.mean(d), _stderr(d)


def _by_place(a, b):
    d = [x - y for x, y in zip(a.values(), b.values(), strict=True)]
    return statistics.mean(d), _stderr(d)


def _sorted_first(a, b):
    d = [x - y for x, y in zip(sorted(a.values()), sorted(b.values()), strict=True)]
    return statistics.mean(d), _stderr(d)


def _deviation_of_one(a, b):
    return statistics.mean(_differences(a, b)), statistics.stdev(_differences(a, b))


def _population_pairs(a, b):
    d = _differences(a, b)
    return statistics.mean(d), statistics.pstdev(d) / len(d) ** 0.5


def _signs_lost(a, b):
    d = [abs(x) for x in _differences(a, b)]
    return statistics.mean(d), _stderr(d)


# 10.5


def _by_mean(dev):
    return min(dev, key=lambda name: statistics.mean(dev[name]))


def _by_test(dev, open_test):
    """The test split used to choose."""
    losses = {name: open_test(name) for name in dev}
    name = min(losses, key=losses.get)
    return name, losses[name]


def _by_best_seed(dev, open_test):
    name = min(dev, key=lambda name: min(dev[name]))
    return name, open_test(name)


def _dev_reported(dev, open_test):
    return _by_mean(dev), statistics.mean(dev[_by_mean(dev)])


def _best_dev_reported(dev, open_test):
    open_test(_by_mean(dev))
    return _by_mean(dev), min(dev[_by_mean(dev)])


def _opened_twice(dev, open_test):
    open_test(_by_mean(dev))
    return _by_mean(dev), open_test(_by_mean(dev))


def _by(score):
    """A choice by another figure of the five losses than their mean."""

    def report(dev, open_test):
        name = min(dev, key=lambda name: score(dev[name]))
        return name, open_test(name)

    return report


def _worst(dev, open_test):
    name = max(dev, key=lambda name: statistics.mean(dev[name]))
    return name, open_test(name)


MISTAKES = [
    (q1, _read_as_loss, "A curve that stands at 1.45 stands at 28.2 nats"),
    (q1, _natural, "exp undoes those to base e"),
    (q1, _geometric, "geometric mean"),
    (q1, lambda lossi: sum(10**x for x in lossi), "the sum of the losses"),
    (q1, _divided_by_n_minus_1, "the sum was divided by 3, and there are 4 losses"),
    (q1, _return_in_the_loop, "only the first loss was added"),
    (q1, lambda lossi: 10 ** lossi[0], "that is the first loss alone"),
    (q1, lambda lossi: round(q1.solve(lossi), 2), "expected 2.31358 nats, got 2.31: that is rounded"),
    (q1, lambda lossi: math.nan, "got nan: undo the log10"),
    (q1, lambda lossi: [10**x for x in lossi], "expected one number"),
    (q1, 28.2, "without calling it"),
    (q2, _no_block_size, "all 3 characters come in"),
    (q2, _no_biases, "a bias was forgotten"),
    (q2, _no_table, "the table C was forgotten, 270 numbers"),
    (q2, _no_second_layer, "W2 was forgotten"),
    (q2, _not_rounded, "expected a whole number"),
    (q2, _rounded_down, "Round to the nearest"),
    (q2, lambda *sizes: 200, "11,897 parameters"),
    (q3, _population, "the squares were divided by 6"),
    (
        q3,
        lambda losses: (statistics.mean(losses), statistics.stdev(losses)),
        "the deviation of a single seed. The mean",
    ),
    (q3, lambda losses: (statistics.mean(losses), statistics.pstdev(losses)), "under the root where"),
    (q3, lambda losses: (statistics.mean(losses), statistics.variance(losses)), "the variance of a single seed"),
    (q3, _n_for_root, "the root of 6 belongs there"),
    (q3, _root_of_n_minus_1, "n - 1 belongs to the variance"),
    (q3, lambda losses: (statistics.mean(losses), 2 * _stderr(losses)), "that is two standard errors"),
    (q3, lambda losses: (statistics.mean(losses), math.nan), "a deviation needs two values"),
    (q3, lambda losses: (min(losses), _stderr(losses)), "that is the best seed"),
    (q3, lambda losses: (_stderr(losses), statistics.mean(losses)), "in the other order"),
    (q3, lambda losses: statistics.mean(losses), "expected two numbers"),
    (q4, _best_against_best, "best against best"),
    (q4, _unpaired, "that is unpaired"),
    (q4, _turned, "the sign is turned round"),
    (q4, _signs_lost, "the differences lost their signs"),
    (q4, _by_place, "pair them by seed"),
    (q4, _sorted_first, "worst with worst"),
    (q4, _deviation_of_one, "the root of 3 is missing"),
    (q4, _population_pairs, "divided by 3 instead of 2"),
    (q4, lambda a, b: statistics.mean(_differences(a, b)), "expected two numbers"),
    (q5, _by_test, "the test split was used to choose"),
    (q5, _by_best_seed, "for its best seed, 2.24"),
    (q5, _by(statistics.median), "'15, 100' for its median, 2.29"),
    (q5, _by(max), "'5, 100' for its worst seed, 2.3"),
    (q5, lambda dev, open_test: ("10, 200", open_test("10, 200")), "got '10, 200'"),
    (q5, _dev_reported, "never opened the test set"),
    (q5, _best_dev_reported, "but report 2.26 instead of 2.29"),
    (q5, _opened_twice, "the test set was opened 2 times"),
    (q5, _worst, "another has a lower mean"),
    (q5, lambda dev, open_test: _by_mean(dev), "expected two things"),
]
