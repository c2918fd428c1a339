"""The mistakes that learners make in notebook 07, each with a phrase of the message it must get."""

import random

import numpy as np
import torch
import torch.nn.functional as F

from mlp_lib.course.exercises.nb07 import q1, q2, q3, q4, q5

# 7.1


def _cut(words, first=0.8, second=0.9):
    n1, n2 = int(first * len(words)), int(second * len(words))
    return words[:n1], words[n1:n2], words[n2:]


def _in_place(words, seed):
    """The lecture's cell as a function: the caller's list changes with every run."""
    random.seed(seed)
    random.shuffle(words)
    return _cut(words)


def _global_generator(words, seed):
    shuffled = list(words)
    random.seed(seed)
    random.shuffle(shuffled)
    return _cut(shuffled)


def _global_generator_of_numpy(words, seed):
    shuffled = list(words)
    np.random.seed(seed)  # noqa: NPY002 - the mistake is meant
    np.random.shuffle(shuffled)  # noqa: NPY002
    return _cut(shuffled)


def _sorted_in_place(words, seed):
    words.sort()
    return _cut(_shuffled(words, seed))


def _name_for_none(words, seed):
    shuffled = random.Random(seed).shuffle(list(words))
    return _cut(shuffled)


def _unseeded(words, seed):
    shuffled = list(words)
    random.shuffle(shuffled)
    return _cut(shuffled)


def _seed_typed_in(words, seed):
    shuffled = list(words)
    random.Random(42).shuffle(shuffled)
    return _cut(shuffled)


def _shuffled(words, seed):
    return random.Random(seed).sample(words, len(words))


def _overlapping(words, seed):
    s = _shuffled(words, seed)
    n1, n2 = int(0.8 * len(s)), int(0.9 * len(s))
    return s[:n1], s[n1:], s[n2:]


def _gap(words, seed):
    s = _shuffled(words, seed)
    n1, n2 = int(0.8 * len(s)), int(0.9 * len(s))
    return s[:n1], s[n1 + 1 : n2], s[n2 + 1 :]


def _a_line_lost_to_rounding(words, seed):
    s = _shuffled(words, seed)
    n1, k = int(0.8 * len(s)), int(0.1 * len(s))
    return s[:n1], s[n1 : n1 + k], s[int(0.9 * len(s)) :]


def _last_line_forgotten(words, seed):
    s = _shuffled(words[:-1], seed)  # the last line is a name that stands in the list once more
    return _cut(s)


def _drawn_three_times(words, seed):
    g = random.Random(seed)
    return tuple(g.sample(words, n) for n in (int(0.8 * len(words)), len(words) // 10, len(words) // 10))


def _from_a_set(words, seed):
    return _cut(_shuffled(sorted(set(words)), seed))


# 7.2


def _list_search(train, dev):
    return sum(w in train for w in dev) / len(set(dev))


# 7.3


def _swapped(model, splits):
    """Train is printed as dev and dev as train."""
    dev_loss = F.cross_entropy(model(splits.Xtr), splits.Ytr).item()
    train_loss = F.cross_entropy(model(splits.Xdev), splits.Ydev).item()
    return train_loss, dev_loss


def _stale(model, splits):
    """The forward pass is not made again for dev."""
    logits = model(splits.Xtr)
    n = len(splits.Ydev)
    return F.cross_entropy(logits, splits.Ytr), F.cross_entropy(logits[:n], splits.Ydev[: len(logits)])


def _minibatch(model, splits):
    ix = torch.arange(32)
    train_loss = F.cross_entropy(model(splits.Xtr[ix]), splits.Ytr[ix]).item()
    return train_loss, F.cross_entropy(model(splits.Xdev), splits.Ydev).item()


def _dev_minibatch(model, splits):
    train_loss = F.cross_entropy(model(splits.Xtr), splits.Ytr).item()
    return train_loss, F.cross_entropy(model(splits.Xdev[:32]), splits.Ydev[:32]).item()


def _mean_of_pieces(model, splits):
    def mean(X, Y):
        losses = [F.cross_entropy(model(x), y) for x, y in zip(X.split(32), Y.split(32), strict=True)]
        return sum(losses) / len(losses)

    return mean(splits.Xtr, splits.Ytr), mean(splits.Xdev, splits.Ydev)


def _dev_in_pieces(model, splits):
    train_loss = F.cross_entropy(model(splits.Xtr), splits.Ytr).item()
    losses = [F.cross_entropy(model(x), y) for x, y in zip(splits.Xdev.split(32), splits.Ydev.split(32), strict=True)]
    return train_loss, sum(losses) / len(losses)


def _dev_as_perplexity(model, splits):
    pieces = zip(splits.Xtr.split(32), splits.Ytr.split(32), strict=True)
    train_loss = sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in pieces) / len(splits.Ytr)
    return train_loss, F.cross_entropy(model(splits.Xdev), splits.Ydev).exp()


def _together(model, splits):
    """One forward pass for both splits, and one loss."""
    loss = F.cross_entropy(model(torch.cat([splits.Xtr, splits.Xdev])), torch.cat([splits.Ytr, splits.Ydev]))
    return loss, loss


def _with_test(model, splits):
    return tuple(F.cross_entropy(model(X), Y) for X, Y in ((splits.Xtr, splits.Ytr), (splits.Xte, splits.Yte)))


def _train_twice(model, splits):
    loss = F.cross_entropy(model(splits.Xtr), splits.Ytr)
    return loss, loss


def _summed(model, splits):
    return tuple(
        F.cross_entropy(model(X), Y, reduction="sum") for X, Y in ((splits.Xtr, splits.Ytr), (splits.Xdev, splits.Ydev))
    )


# 7.5


def _by_train(results, open_test):
    name = min(results, key=lambda n: results[n][0])
    return name, open_test(name)


def _by_test(results, open_test):
    """The test split used to choose."""
    losses = {name: open_test(name) for name in results}
    name = min(losses, key=losses.get)
    return name, losses[name]


def _by_dev(results):
    return min(results, key=lambda n: results[n][1])


def _choose_by(key):
    def choose(results, open_test):
        name = min(results, key=lambda n: key(*results[n]))
        return name, open_test(name)

    return choose


def _first_name(results, open_test):
    return min(results), open_test(min(results))


def _dev_reported(results, open_test):
    return _by_dev(results), results[_by_dev(results)][1]


def _opened_twice(results, open_test):
    open_test(_by_dev(results))
    return _by_dev(results), open_test(_by_dev(results))


def _dev_reported_after_opening(results, open_test):
    open_test(_by_dev(results))
    return _by_dev(results), results[_by_dev(results)][1]


MISTAKES = [
    (q1, _in_place, "the caller's list was shuffled in place"),
    (q1, _sorted_in_place, "the caller's list was changed in place"),
    (q1, _name_for_none, "place and returns None"),
    (q1, _global_generator, "the state of Python's global random generator is another after the call"),
    (q1, _global_generator_of_numpy, "the state of NumPy's global random generator is another after the call"),
    (q1, _unseeded, "two calls with seed 42 gave two splits"),
    (q1, _seed_typed_in, "seeds 42 and 43 give the same split"),
    (q1, lambda words, seed: _cut(_shuffled(words, seed % 2)), "seeds 42 and 44 give the same split"),
    (q1, lambda words, seed: _cut(list(words)), "nothing was shuffled"),
    (q1, lambda words, seed: _cut(_shuffled(words, seed))[:2], "expected three lists"),
    (q1, _overlapping, "lines in two splits: 6"),
    (q1, _gap, "lines in no split: 2"),
    (q1, _a_line_lost_to_rounding, "lines in no split: 1"),
    (q1, _last_line_forgotten, "lines in no split: 1, 'mila' for instance"),
    (q1, _drawn_three_times, "is lost and"),
    (q1, _from_a_set, "stands in the list twice and came back once"),
    (q1, lambda words, seed: _cut(_shuffled(words, seed), 0.1, 0.2), "in this order"),
    (q1, [["a"], ["b"], ["c"]], "without calling it"),
    (q2, lambda train, dev: len(set(train) & set(dev)) / len(set(dev)), "share of dev's distinct names"),
    (q2, lambda train, dev: sum(w in set(dev) for w in train) / len(train), "the share of train's lines"),
    (q2, lambda train, dev: len(set(train) & set(dev)) / len(set(train)), "share of train's distinct names"),
    (q2, lambda train, dev: len(set(train) & set(dev)) / len(dev), "counted once each"),
    (q2, lambda train, dev: len(set(train) & set(dev)) / len(set(train) | set(dev)), "both lists together"),
    (q2, lambda train, dev: sum(w not in train for w in dev) / len(dev), "the share of dev that is new"),
    (q2, lambda train, dev: 100 * sum(w in train for w in dev) / len(dev), "that is per cent"),
    (q2, lambda train, dev: sum(w in train for w in dev), "the number of lines: divide it"),
    (q2, lambda train, dev: sum(any(w in t for t in train) for w in dev) / len(dev), "is a part of 'william'"),
    (q2, lambda train, dev: sum(a == b for a in train for b in dev) / len(dev), "once is enough"),
    (q2, _list_search, "count the lines of dev that you find in train"),
    (q2, lambda train, dev: sum(w in train for w in dev) / 6, "for train ['a'] and dev ['a', 'a']"),
    (q2, lambda train, dev: set(train) & set(dev), "expected one number, the share"),
    (q3, _swapped, "the two labels are swapped"),
    (q3, _stale, "the number for dev is the logits of Xtr with the labels of Ydev. A stale forward pass"),
    (q3, _minibatch, "asked about 32 of train's 70 rows"),
    (q3, _dev_minibatch, "asked about 32 of dev's 70 rows"),
    (q3, _mean_of_pieces, "for train, which the model got in 3 pieces of 32 to 6 rows"),
    (q3, _dev_in_pieces, "for dev, which the model got in 3 pieces of 32 to 6 rows"),
    (q3, _dev_as_perplexity, "you say train 0.4461, dev 2.7150, expected train"),
    (q3, _together, ", expected train"),
    (q3, lambda model, splits: F.cross_entropy(model(splits.Xtr), splits.Ytr), "expected two numbers"),
    (q3, _with_test, "the model was asked about Xte"),
    (q3, _train_twice, "the loss on Xtr and Ytr, a second time"),
    (q3, _summed, "is a sum over 70 examples"),
    (q3, lambda model, splits: 2.4, "expected two numbers"),
    (q4, [1, 3, 4, 2], "more than five times the 0.007 by which"),
    (q4, [3, 2, 4, 1], "less than the 0.007 by which"),
    (q4, [3, 1, 2, 4], "run C is not 2"),
    (q4, [2, 1, 4, 3], "run A is not 2"),
    (q4, [1, 1, 4, 2], "each fits once"),
    (q4, "swapped", "expected 4 numbers from 1 to 4"),
    (q5, _by_train, "with the lowest train loss, 1.36"),
    (q5, _choose_by(lambda train, dev: train + dev), "you chose 'deep' with a dev loss of 2.3: another has"),
    (q5, _first_name, "you chose 'alpha', with the lowest train loss, 1.9"),
    (q5, lambda results, open_test: ("deeper", open_test("deeper")), "'cut', 'deep'], got 'deeper'"),
    (q5, _by_test, "opened for 4 candidates"),
    (q5, _dev_reported, "never opened the test set"),
    (q5, _opened_twice, "the test set was opened 2 times"),
    (q5, _dev_reported_after_opening, "but report 2.29 instead of 2.33"),
    (q5, lambda results, open_test: ("longer", open_test("longer")), "only test could say so"),
    (q5, lambda results, open_test: ("plain", open_test("plain")), "another has a lower one"),
    (q5, lambda results, open_test: _by_dev(results), "expected two things"),
]
