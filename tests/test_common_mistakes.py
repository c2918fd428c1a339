"""The twenty most common mistakes of learners of this lecture: each is named by an exercise.

`tests/test_exercises.py` gives each wrong answer to its exercise and expects its message. This file says which exercise
covers which of the twenty mistakes, so that none can be removed unnoticed.
"""

import pytest
from test_exercises import EXERCISES, WRONG

# The mistake: the exercises that catch it, and words of their messages.
COMMON = {
    "the rate is swept, the update still uses 0.1": [("6.2", "the rate is swept, but the update does not use it")],
    "rand for randn": [("3.3", "W1, b1, W2, b2 came from `rand`")],
    "a first loss of 17.8 taken for normal": [("14.1", "nothing else here costs 14 nats")],
    "saturated tanh": [("14.2", "beyond .99 in 33 % and 62 %"), ("14.4", "the hidden layer is saturated")],
    "W1 or C set to zero as well": [("14.4", "the gradient of C, W1 is still exactly 0")],
    "one batch driven to 0": [("4.3", "cannot be right both times")],
    "train and dev exchanged, or a stale forward pass": [
        ("7.2", "dev lies 0.038 below train"),
        ("7.2", "memorising would show in a low train loss"),
    ],
    "a list shuffled in place, again": [("7.1", "your answer changed its argument words")],
    "view(-1, 6) after the sizes changed": [
        ("2.1", "6 is hard-coded, so there are more rows"),
        ("2.1", "6, or 2 for n_embd, is hard-coded"),
    ],
    "cat on dim 0, permute and reshape": [
        ("2.1", "on top of one another"),
        ("2.1", "the numbers of one character"),
    ],
    "sum(1) without keepdim": [("3.1", "keepdim")],
    "log10 of the loss read as the loss": [
        ("3.1", "log10"),
        ("10.1", "A curve that stands at 1.45 stands at 28.2 nats"),
    ],
    "a softmax that overflows": [("3.2", "exp overflows float32 above 88")],
    "gradients and leaves": [
        ("4.2", "the gradients add up"),
        ("4.2", "on a leaf"),
        ("4.2", "makes a new tensor"),
        ("4.1", "C.grad is None: scaling C made a new tensor"),
    ],
    "rates in equal steps, or exponents for rates": [
        ("6.1", "these rates have equal differences"),
        ("6.1", "these are the exponents"),
    ],
    "parameters not recreated after a sweep": [("6.2", "continues with the model that the first one left")],
    "sampling without an end, a window or a generator": [
        ("12.1", "without `break` the loop is endless"),
        ("12.1", "the window did not slide"),
        ("12.1", "pass generator=g"),
    ],
    "a minibatch for the split, test for the choice": [
        ("5.2", "the last piece only"),
        ("7.3", "the test set was used to choose"),
    ],
    "the generator for the start only": [
        ("5.1", "in the same state gave different rows"),
    ],
    "two of ten dimensions shown as the embedding": [("9.2", "an accident of the random start")],
}


def test_twenty_common_mistakes_are_listed():
    assert len(COMMON) == 20


@pytest.mark.parametrize(("number", "words"), [place for places in COMMON.values() for place in places])
def test_common_mistake_is_in_the_table_of_its_exercise(number, words):
    said = [(q.number, wrong.says) for q, wrong in WRONG]
    assert any(number == n and words in phrase for n, phrase in said), f"{number}: {words}"


def test_common_mistakes_have_different_messages():
    told = [place for places in COMMON.values() for place in places]
    assert len(set(told)) == len(told)


def test_lecture_notebooks_have_at_least_thirty_exercises():
    lecture = [q for q in EXERCISES if 1 <= int(q.number.split(".")[0]) <= 12]
    assert len(lecture) >= 30
    for notebook in range(1, 13):
        assert sum(q.number.startswith(f"{notebook}.") for q in lecture) >= 2
