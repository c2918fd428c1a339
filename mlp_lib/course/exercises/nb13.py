"""Exercises of page 13: how many trials, a winner that may be reported, and E01."""

import math

import torch
from torch import Tensor, nn

from mlp_lib.course.exercises.engine import Case, Exercise, Wrong
from mlp_lib.course.exercises.submitted_models import handed_in
from mlp_lib.data import Vocab, make_splits
from mlp_lib.lab.fast import fast_steps
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.words import load_words

# ---- 13.1 how many trials --------------------------------------------------------------------------------------------


def enough_trials() -> int:
    """The least n for which 1 - 0.95**n is at least 0.95."""
    n = 1
    while 1 - 0.95**n < 0.95:
        n += 1
    return n


q1 = Exercise(
    "13.1",
    "how many random trials",
    solution=enough_trials,
    wrong=[
        Wrong(20, "20 trials hit the best 5 % once on average, but 36 % of all searches miss it"),
        Wrong(19, "0.95 / 0.05 = 19 has no meaning here: with 19 trials 38 % of all searches miss"),
        Wrong(95, "this is a percentage. How likely is it that n trials all miss?"),
        Wrong(90, "90 is more than needed: all 90 miss with a probability of 1 %, and 5 % is allowed"),
        Wrong(45, "with 45 the chance of a hit is 90 %, and 95 % is asked for"),
        Wrong(58, "with 58 the chance of a hit is just under 95 %"),
        Wrong(60, "60 is the usual round figure, and one more than needed"),
        Wrong(math.log(0.05) / math.log(0.95), "a fraction of a trial cannot be run: round up"),
    ],
    also_right=[59.0, torch.tensor(59)],
    right="all 59 miss with probability 0.95**59, just under 5 %. How many settings are varied does not matter.",
    hints=[
        "A single trial misses the best 5 % of all settings with probability 0.95.",
        "The trials are independent: how likely is it that all n of them miss?",
        "The least n with 0.95**n at most 0.05: try numbers, or take logarithms.",
    ],
)


# ---- 13.2 a winner that may be reported ------------------------------------------------------------------------------


def choose(search: Tensor, again: Tensor) -> tuple[int, float]:
    """The index of the configuration to take, and the dev loss to report for it.

    `search` (n,) has one dev loss per configuration, nan where the run blew up; `again` (k, seeds) those of the k best,
    best first, with new seeds.
    """
    best_first = search.nan_to_num(torch.inf).argsort()  # (n,): row r of `again` is configuration best_first[r]
    mean = again.mean(1)  # (k,)
    row = mean.argmin().item()
    return best_first[row].item(), mean[row].item()


def _by_hand(search: Tensor, again: Tensor) -> list[object]:
    losses, rows = search.tolist(), again.tolist()
    order = sorted((k for k in range(len(losses)) if losses[k] == losses[k]), key=losses.__getitem__)
    return list(min(((k, sum(row) / len(row)) for k, row in zip(order, rows, strict=False)), key=lambda pair: pair[1]))


def _search(search: list[float], again: list[list[float]], label: str = "", dtype: torch.dtype = torch.float64) -> Case:
    return Case(torch.tensor(search, dtype=dtype), torch.tensor(again, dtype=dtype), label=label)


q2 = Exercise(
    "13.2",
    "a winner that may be reported",
    solution=choose,
    cases=[
        _search([2.10, 2.18, 2.12], [[2.16, 2.14], [2.19, 2.17]]),
        _search([20.0, math.nan, 12.0], [[15.0, 17.0], [14.0, 16.5]]),
        _search([2.20, 2.24, 2.19, 2.31, 2.27], [[2.23, 2.22, 2.24], [2.205, 2.225, 2.215]]),
        _search([math.nan, 2.30, 2.21, 2.22], [[2.26, 2.28], [2.225, 2.235]]),
        # The first row has the lowest single run, the second the lowest mean, the third the lowest median.
        _search([2.26, 2.30, math.nan, 2.21, 2.22], [[2.2, 2.3, 2.31], [2.225, 2.245, 2.24], [2.29, 2.225, 2.23]]),
        _search([2.18, 2.10, 2.12], [[2.17, 2.19], [2.12, 2.16]]),
        _search([2 + k / 10 for k in range(8)], [[2.3]] * 6 + [[2.25]], "for a search of eight, and seven new runs"),
        # More seeds than rows, and the first run of the second row would decide if it were counted.
        _search(
            [2.4, math.nan, 2.0, 2.1, math.nan, 2.5, 2.6],
            [[2.3, 2.31, 2.32, 2.33], [2.28, 2.32, 2.3, 2.35]],
            "for a search of seven, two of them blown up, and four new seeds",
            torch.float32,
        ),
    ],
    edits={
        ("mean.argmin().item()", "0"): (
            "this one won the search with one run; by the new runs a different one is better"
        ),
        ("mean.argmin()", "again.amin(1).argmin()"): "chosen by the luckiest new run: choose by the mean",
        ("again.mean(1)", "again.amin(1)"): "chosen and reported by the luckiest new run: use the mean for both",
        ("again.mean(1)", "again.median(1).values"): "chosen and reported by the median: use the mean for both",
        ("best_first[row].item()", "row"): "this is a row of `again`: which configuration of `search` is in that row?",
        ("torch.inf", "0.0"): "nan_to_num(0) makes the runs that blew up the best ones: they have to come last",
        ("search.nan_to_num(torch.inf)", "search[~search.isnan()]"): (
            "the index counts only runs that did not blow up: return the index in `search`"
        ),
        ("mean[row].item()", "search[best_first[row]].item()"): (
            "the right configuration, but with the loss that won the search: the winner's curse. Report the mean of "
            "its new runs"
        ),
        ("mean[row].item()", "again[row].min().item()"): (
            "the right one, reported by the luckiest of its new runs: report their mean"
        ),
        ("= again.mean(1)", "= torch.cat([search[best_first][: len(again), None], again], 1).mean(1)"): (
            "the run of the search is averaged with the new ones: it was picked for being low, so leave it out"
        ),
        ("again.mean(1)", "again.mean(0)"): (
            "the mean was taken over the configurations: `again` has a row for each of them and a column for each seed"
        ),
    },
    wrong=[
        Wrong(
            lambda search, again: (search.nan_to_num(9.0).argmin().item(), search.nan_to_num(9.0).min().item()),
            "that is the winner of the search, with the run that made it win: `again` is not used",
        ),
        Wrong(lambda search, again: choose(search, again)[::-1], "return the index first, then the loss"),
    ],
    also_right=[_by_hand, lambda search, again: torch.tensor(choose(search, again))],
    right="chosen by the mean over new seeds, and reported without the run that made it look good.",
    hints=[
        "Which of the two holds runs that were not picked for being low?",
        "Row 0 of `again` belongs to the lowest of `search`, row 1 to the second lowest: see search.argsort().",
        "search.nan_to_num(math.inf) puts the runs that blew up last. The mean over seeds is again.mean(1).",
    ],
)


# ---- 13.3, E01 -------------------------------------------------------------------------------------------------------


def beat_2_2() -> MLP:
    """A network below 2.2 in about two seconds: one more character of context, and a rate that falls to 0."""
    from mlp_lib.model import MLP
    from mlp_lib.train import train

    block_size, steps = 4, 30_000
    words = load_words()
    vocab = Vocab.from_words(words)
    Xtr, Ytr = make_splits(words, vocab, block_size)[:2]
    g = torch.Generator().manual_seed(2147483647)
    model = MLP(MLPConfig(len(vocab), block_size, n_embd=10, n_hidden=200), g=g)
    train(model, Xtr, Ytr, steps=steps, lr=lambda i: 0.5 * (1 - i / steps), g=g, stepper=fast_steps)
    return model


def _network(vocab_size: int = 27) -> MLP:
    return MLP(MLPConfig(vocab_size), g=torch.Generator().manual_seed(2147483647))


q3 = Exercise(
    "13.3",
    "E01, beat 2.2",
    solution=beat_2_2,
    judge=lambda model, reason=None: handed_in(model, reason, exercise="E01", asked=2.2),
    wrong=[  # tests/test_submitted_models.py has the models that leak
        Wrong(_network(), "worse than uniform guessing"),
        Wrong((_network(), 3), "the reason for opening the test set must be a text, got 3"),
        Wrong(MLP, "MLP is a class: pass a trained model"),
        Wrong(2.07, "2.07 is a number: pass the model itself"),
        Wrong(
            [p.detach() for p in _network().tensors()], "MLP.from_tensors(C, W1, b1, W2, b2) builds a model from them"
        ),
        Wrong(nn.Linear(3, 27), "how many characters of context"),
        Wrong(_network(vocab_size=61), "this model has 61 symbols, but this page's list has 27"),
    ],
    hints=[
        "Two settings of this page gain more than all others: the schedule of the rate, then one or three more "
        "characters of context.",
        "lr=lambda i: 0.5 * (1 - i / steps) with stepper=fast_steps, four characters of context and 30,000 steps.",
        "Lower still: five or six characters, a careful start, more steps, then more neurons. See pages 14 and 15.",
    ],
)
