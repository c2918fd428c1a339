"""Exercises of page 11: a smoothed curve, a slope for the learning rate, and four loss curves to read."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mlp_lib.course.exercises.answers import brief, matching
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited
from mlp_lib.course.exercises.values import numbers, plain, same, show

# ---- 11.1 a smooth curve of any length -------------------------------------------------------------------------------


def smooth_any(lossi: Tensor, block: int) -> Tensor:
    """The means of lossi (n,) over blocks of `block` steps; the steps left over at the end have their own mean."""
    return torch.stack([part.mean() for part in lossi.split(block)])


def _in_rows(lossi: Tensor, block: int) -> Tensor:
    """The same with view."""
    n = len(lossi) // block * block  # the steps in whole blocks
    means = lossi[:n].view(-1, block).mean(1)
    if n < len(lossi):
        means = torch.cat([means, lossi[n:].mean().view(1)])
    return means


def _losses(n: int) -> Tensor:
    return 3 - torch.arange(n).float().sqrt() / 50 + torch.arange(n).float().square().remainder(7) / 10


def _smoothed(*losses: float, block: int) -> Case:
    return Case(torch.tensor(losses).float(), block)


q1 = Exercise(
    "11.1",
    "a smooth curve of any length",
    solution=smooth_any,
    cases=[
        _smoothed(8, 4, 3, 5, 2, 1, block=2),
        _smoothed(1, 5, 2, 4, 3, 7, block=2),
        _smoothed(6, 2, 1, 3, 5, block=3),
        _smoothed(8, 4, 3, 5, 2, 1, 6, 2, 4, block=4),
        _smoothed(2, 4, 9, block=5),
        _smoothed(2, 4, block=1),
        _smoothed(7, 1, 4, 2, 6, 5, 3, block=7),
        Case(_losses(2500), 1000, label="for 2,500 losses in blocks of 1000"),
        Case(_losses(2500), 300, label="for 2,500 losses in blocks of 300"),
    ],
    edits={
        ("split(block)", "chunk(block)"): "block is the length of a piece, not the number of pieces: split, not chunk",
        ("split(block)", "split(1000)"): "1000 is hard-coded: use block",
    },
    wrong=[
        Wrong(
            lambda lossi, block: lossi.view(-1, block).mean(1),
            "view needs a whole number of rows, and some losses are left over: average these separately",
        ),
        Wrong(
            lambda lossi, block: lossi.view(-1, block).mean(0),
            "dim 0 averages down the columns, but a block is a row, and some losses may be left over",
        ),
        Wrong(
            edited(_in_rows, ("if n < len(lossi)", "if False")),
            "the losses left over are in no mean: the end of the run is cut off",
        ),
        Wrong(
            edited(_in_rows, ("if n < len(lossi)", "if True")),
            "the mean of no losses is nan: where nothing is left over, return one mean fewer",
        ),
        Wrong(
            edited(_in_rows, ("lossi[n:]", "lossi[-block:]")),
            "the last mean is that of the last `block` losses, some of which are already in the mean before it",
        ),
        Wrong(
            lambda lossi, block: F.pad(lossi, (0, -len(lossi) % block)).view(-1, block).mean(1),
            "the last, shorter block was divided by `block` (or filled up with zeros): divide by the losses in it",
        ),
        Wrong(
            lambda lossi, block: lossi.unfold(0, min(block, len(lossi)), 1).mean(1),
            "that is a window that moves by one step: blocks do not overlap",
        ),
        Wrong(
            lambda lossi, block: lossi.view(block, -1).mean(1),
            "block is the length of a row, not the number of rows: view(-1, block)",
        ),
        Wrong(lambda lossi, block: lossi[::block], "that is every `block`-th loss: average all of them"),
        Wrong(lambda lossi, block: lossi.mean(), "that is one mean of all losses: return one per block"),
    ],
    also_right=[
        _in_rows,
        lambda lossi, block: [sum(x) / len(x) for k in range(0, len(lossi), block) for x in [lossi[k : k + block]]],
        lambda lossi, block: (part.numpy().mean() for part in lossi.split(block)),
    ],
    right="each step is in one mean, and those left over at the end have their own.",
    hints=[
        "What does lossi.view(-1, block) need of the length, and what would you do with the steps left over?",
        "lossi.split(block) cuts a tensor into pieces of block elements; the last piece may be shorter.",
        "Take the mean of each piece; torch.stack makes a tensor of them.",
    ],
)


# ---- 11.2 a slope in place of the step -------------------------------------------------------------------------------


def sloped(steps: int) -> Callable[[int], float]:
    """A schedule for a run of `steps`: 0.1 in the first half, then a straight line down to 0.01 in the last step."""
    half, last = steps // 2, steps - 1

    def lr(i: int) -> float:
        if i < half:
            return 0.1
        return 0.1 + (0.01 - 0.1) * (i - half) / (last - half)

    return lr


def _rates(answer: Callable[..., object], steps: int) -> dict[str, object]:
    """The rates of a few steps. They must be the same in reverse order, after a second schedule was made."""
    lr = answer(steps)
    if not callable(lr):
        raise Refused(f"expected a function of the step's number, got {brief(lr)}: return the function itself")
    half, last = steps // 2, steps - 1
    asked = sorted({0, 1, half - 1, half, half + 1, (half + last) // 2, last - 1, last})
    rates = {i: plain(lr(i)) for i in asked}
    answer(2 * steps)
    for i in reversed(asked):
        again = plain(lr(i))
        if numbers(rates[i]) is not None and not same(again, rates[i], rtol=1e-4, atol=1e-9):
            raise Refused(
                f"for {steps:,} steps lr({i}) was {show(rates[i])} at first, and {show(again)} the second time: the "
                "function remembers something or counts its calls. A run continued with start= needs the same rate for "
                "the same step"
            )
    return {f"lr({i:,})": rate for i, rate in rates.items()}


def _interpolated(steps: int) -> Callable[[int], object]:
    rates = torch.cat([torch.full((steps // 2,), 0.1), torch.linspace(0.1, 0.01, steps - steps // 2)])
    return rates.__getitem__


_LINE = "0.1 + (0.01 - 0.1) * (i - half) / (last - half)"

q2 = Exercise(
    "11.2",
    "a slope in place of the step",
    solution=sloped,
    observe=_rates,
    cases=[Case(steps, label=f"for {steps:,} steps") for steps in (20, 8, 9, 200_000)],
    edits={
        (_LINE, "0.01"): "0.01 at once is the lecture's step: return a slope",
        (_LINE, "0.1"): "it never falls",
        ("half, last = ", "steps = 200_000\n    half, last = "): (
            "it falls as in a run of 200,000: use steps, not the page's `border`"
        ),
        ("steps - 1", "steps"): "the last step is steps - 1, so the line is one step too long",
        ("steps // 2", "steps // 2 - 1"): "the slope starts one step too early: step half is still at 0.1",
        ("steps // 2", "(steps + 1) // 2"): "the slope starts one step late: half is steps // 2, rounded down",
        ("steps // 2", "steps / 2"): "half is steps // 2: steps / 2 is not whole if steps is odd",
        ("(i - half)", "i"): "after the half the line counts from step 0: count from half, i - half",
        (_LINE, "0.1 * 0.1 ** ((i - half) / (last - half))"): (
            "both ends are right, but it falls by equal factors: a straight line falls by equal differences"
        ),
        ("(0.01 - 0.1)", "(0 - 0.1)"): "it ends at 0, but the last step has 0.01",
        ("return lr", "return lr(0)"): "return the function itself",
        (("i < half", "i < 0"), ("(i - half) / (last - half)", "i / last")): (
            "the slope starts at the first step, not at half"
        ),
        (
            ("half, last", "taken = []\n    half, last"),
            ("if i", "taken.append(i)\n        i = len(taken) - 1\n        if i"),
        ): "or counts its calls. A run continued",
    },
    also_right=[_interpolated],
    right="level, then straight down to the last step, for a run of any length and for steps in any order.",
    hints=[
        "sloped(steps) returns a function that is defined inside it, takes i and remembers nothing.",
        "What share of the slope is done at step i? 0 at i = steps // 2, 1 at the last step, which is steps - 1.",
        "0.1 + (0.01 - 0.1) * share is the straight line, with share from 0 to 1.",
    ],
)


# ---- 11.3 read four loss curves --------------------------------------------------------------------------------------

_DIAGNOSES = {
    1: "the rate is too small",
    2: "the rate is too large",
    3: "the rate was lowered too early",
    4: "it overfits",
    5: "nothing is wrong: it has converged",
}
_CURVES = {
    "A": (3, "it fell steeply up to the dotted line, and from there on it is nearly flat, far above the best curve"),
    "B": (4, "train falls to the end, but dev turns and rises: what is learned after the turn holds for train only"),
    "C": (2, "it jumps up and down at a high loss, train and dev together: the steps are too long to settle"),
    "D": (1, "it falls slowly, almost without noise, and as fast at the end as in the middle"),
}


def curves() -> list[int]:
    """For curves A to D: lowered too early, overfitting, rate too large, rate too small."""
    return [3, 4, 2, 1]


q3 = Exercise(
    "11.3",
    "read four loss curves",
    solution=curves,
    right="most faults show in where a curve stops falling, whether it jumps, and where dev leaves train.",
    hints=[
        "Three questions about each curve: does it still fall at the end, does it jump, does dev leave train?",
        "Two of the four have a train loss that is still falling at the end. In one of them dev rises.",
        "Of the other two, one jumps throughout, and one became flat exactly when the rate fell.",
    ],
    **matching(_CURVES, _DIAGNOSES, "curve {} is not {}"),
)
