"""Exercises of page 11: a smoothed curve, a slope for the learning rate, and four loss curves to be read."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief, matching
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong
from mlp_lib.course.exercises.values import numbers, plain, same, show

# ---- 11.1 a smooth curve of any length -------------------------------------------------------------------------------


def smooth_any(lossi: Tensor, block: int) -> Tensor:
    """The means of lossi (n,) over blocks of `block` steps; what is left over at the end has a mean of its own."""
    return torch.stack([part.mean() for part in lossi.split(block)])


def _whole(lossi: Tensor, block: int) -> Tensor:
    """The means of the whole blocks, without what is left over."""
    return lossi[: len(lossi) // block * block].view(-1, block).mean(1)


def _padded(lossi: Tensor, block: int, value: float = 0.0) -> Tensor:
    return torch.nn.functional.pad(lossi, (0, -len(lossi) % block), value=value).view(-1, block)


def _left_over(lossi: Tensor, block: int) -> Tensor:
    return lossi[len(lossi) // block * block :]


def _with_rest(lossi: Tensor, block: int, rest: Tensor) -> Tensor:
    """The means of the whole blocks, and that of `rest` if losses are left over."""
    last = [rest.mean().view(1)] if len(lossi) % block else []
    return torch.cat([_whole(lossi, block), *last])


def _into_the_last(lossi: Tensor, block: int) -> list[float]:
    n, left = max(1, len(lossi) // block), len(lossi) % block
    parts = [lossi[k * block : (k + 1) * block + (left if k == n - 1 else 0)] for k in range(n)]
    return [part.mean().item() for part in parts]


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
    wrong=[
        Wrong(
            lambda lossi, block: lossi.view(-1, block).mean(1),
            "view needs a whole number of rows, and some losses are left over. They need a mean of their own",
        ),
        Wrong(_whole, "the losses left over are in none of the means: the end of the run is cut off"),
        Wrong(
            lambda lossi, block: lossi.view(-1, block).mean(0),
            "the mean went down the columns, dim 0, but neighbours in time stand in a row; view takes whole rows only",
        ),
        Wrong(
            lambda lossi, block: _padded(lossi, block).mean(1),
            "zeros that fill up the last block pull its mean down: divide by the number of losses it has",
        ),
        Wrong(
            lambda lossi, block: _with_rest(lossi, block, lossi[-block:]),
            "the last mean is that of the last `block` losses, some of which are in the mean before it",
        ),
        Wrong(_into_the_last, "the losses left over were added to the block before: they have a mean of their own"),
        Wrong(
            lambda lossi, block: torch.cat([_whole(lossi, block), _left_over(lossi, block).mean().view(1)]),
            "the mean of no losses is nan: where nothing is left over, there is one mean fewer",
        ),
        Wrong(
            lambda lossi, block: smooth_any(lossi.flip(0), block).flip(0),
            "the blocks were counted from the end: the first `block` losses are the first block",
        ),
        Wrong(
            lambda lossi, block: lossi.unfold(0, min(block, len(lossi)), 1).mean(1),
            "a window that moves by one step: blocks do not overlap",
        ),
        Wrong(
            lambda lossi, block: [part.mean().item() for part in lossi.chunk(block)],
            "block is the length of a piece, not their number: split, not chunk",
        ),
        Wrong(
            lambda lossi, block: lossi.view(block, -1).mean(1),
            "block is the length of a row, not the number of rows: view(-1, block)",
        ),
        Wrong(lambda lossi, block: lossi[::block], "every `block`-th loss was picked out: average all of them"),
        Wrong(lambda lossi, block: lossi.mean(), "that is one mean of all: one per block is asked for"),
        Wrong(lambda lossi, block: smooth_any(lossi, 1000), "the number 1000 is written in it: use block"),
    ],
    also_right=[
        lambda lossi, block: _with_rest(lossi, block, _left_over(lossi, block)),
        lambda lossi, block: _padded(lossi, block, math.nan).nanmean(1),
        lambda lossi, block: [sum(x) / len(x) for k in range(0, len(lossi), block) for x in [lossi[k : k + block]]],
        lambda lossi, block: (part.numpy().mean() for part in lossi.split(block)),
    ],
    right="every step is in one mean, and the rest at the end has its own, over as many steps as it has.",
    hints=[
        "What does lossi.view(-1, block) need of the length, and what would you do with the steps left over?",
        "lossi.split(block) cuts a tensor into pieces of block elements; the last piece may be shorter.",
        "One mean for each piece; torch.stack makes a tensor of them.",
    ],
)


# ---- 11.2 a slope in place of the step -------------------------------------------------------------------------------


def sloped(steps: int) -> Callable[[int], float]:
    """A schedule for a run of `steps`: 0.1 in the first half, then straight down to 0.01, reached in the last step."""
    half, last = steps // 2, steps - 1

    def lr(i: int) -> float:
        if i < half:
            return 0.1
        return 0.1 + (0.01 - 0.1) * (i - half) / (last - half)

    return lr


def _rates(answer: Callable[..., object], steps: int) -> dict[str, object]:
    """The rates of a few steps, asked again in reverse, after another schedule has been made."""
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
                f"for {steps:,} steps lr({i}) was {show(rates[i])}, and {show(again)} when asked again: the function "
                "remembers something, or counts its calls. A run that is carried on with start= needs the same rate "
                "for the same step"
            )
    return {f"lr({i:,})": rate for i, rate in rates.items()}


def _slope(down: Callable[[int, int, int], float], low: float = 0.01) -> Callable[[int], Callable[[int], float]]:
    """A schedule from a function (i, half, last) -> how far down the slope step i is."""
    return lambda steps: lambda i: 0.1 + (low - 0.1) * down(i, steps // 2, steps - 1)


def _from_half(i: int, half: int, last: int) -> float:
    return max(0, i - half) / (last - half)


def _counts_its_calls(steps: int) -> Callable[[int], float]:
    taken = []
    return lambda i: taken.append(i) or sloped(steps)(min(len(taken) - 1, steps - 1))


class _Schedule:
    """A class as the function that makes schedules."""

    def __init__(self, steps: int) -> None:
        self.half, self.last = steps // 2, steps - 1

    def __call__(self, i: int) -> Tensor:
        return torch.lerp(torch.tensor(0.1), torch.tensor(0.01), _from_half(i, self.half, self.last))


def _interpolated(steps: int) -> Callable[[int], object]:
    rates = torch.cat([torch.full((steps // 2,), 0.1), torch.linspace(0.1, 0.01, steps - steps // 2)])
    return rates.__getitem__


q2 = Exercise(
    "11.2",
    "a slope in place of the step",
    solution=sloped,
    observe=_rates,
    cases=[Case(steps, label=f"for {steps:,} steps") for steps in (20, 8, 9, 200_000)],
    wrong=[
        Wrong(
            _slope(lambda i, half, last: float(i >= half)), "0.01 at once is the lecture's step: a slope is asked for"
        ),
        Wrong(lambda steps: lambda i: 0.1, "it never falls"),
        Wrong(lambda steps: sloped(200_000), "it falls as in a run of 200,000: use steps, not the page's `border`"),
        Wrong(_slope(lambda i, half, last: i / last), "the slope begins with the first step, not at half"),
        Wrong(
            _slope(lambda i, half, last: max(0, i - half) / (last + 1 - half)),
            "the last step is steps - 1, so the line is one step too long: count the gaps from half to the last step",
        ),
        Wrong(
            _slope(lambda i, half, last: max(0, i - half + 1) / (last - half + 1)),
            "step half is the first on the line, still at 0.1: the slope begins one step too early",
        ),
        Wrong(
            lambda steps: lambda i: 0.1 - 0.09 * max(0, i - steps / 2) / (steps - 1 - steps / 2),
            "half is steps // 2, a whole number: steps / 2 is not, if the number of steps is odd",
        ),
        Wrong(
            _slope(lambda i, half, last: i / (last - half) if i >= half else 0),
            "after the half the line counts from step 0: count from half, i - half",
        ),
        Wrong(
            lambda steps: lambda i: 0.1 * 0.1 ** _from_half(i, steps // 2, steps - 1),
            "it falls by equal factors, and both ends are right. A straight line falls by equal differences",
        ),
        Wrong(
            _slope(lambda i, half, last: (1 - math.cos(math.pi * _from_half(i, half, last))) / 2),
            "both ends are right, but it falls along a cosine: a straight line is asked for",
        ),
        Wrong(_slope(_from_half, low=0.0), "it ends at 0: the last step has 0.01"),
        Wrong(_counts_its_calls, "or counts its calls. A run that is carried on"),
        Wrong(lambda steps: 0.1, "return the function itself"),
    ],
    also_right=[
        _Schedule,
        _interpolated,
        _slope(_from_half),
    ],
    right="level, then straight down to the last step, for a run of any length and in whatever order it is asked.",
    hints=[
        "sloped(steps) returns a function, defined inside it; that one takes i and needs no memory.",
        "How far along the slope is step i? 0 at i = steps // 2, 1 at the last step, which is steps - 1.",
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
    "A": (3, "it fell steeply until the dotted line, and from there on it lies nearly flat, far above the best curve"),
    "B": (4, "train falls to the end, but dev turns and rises: what is learned after the turn holds for train only"),
    "C": (2, "it jumps up and down at a high loss, and train and dev do so together: each step is too long to settle"),
    "D": (1, "it falls without any noise worth mentioning, slowly, and as fast at the end as in the middle"),
}


def curves() -> list[int]:
    """For curves A to D: lowered too early, overfitting, rate too large, rate too small."""
    return [3, 4, 2, 1]


q3 = Exercise(
    "11.3",
    "read four loss curves",
    solution=curves,
    right="where it stops falling, whether it jumps, and where dev parts from train tell most of what can go wrong.",
    hints=[
        "Three questions to each curve: does it still fall at the end, does it jump, does dev go its own way?",
        "Two of the four have a train loss that is still falling at the end. In one of the two dev rises.",
        "Of the other two, one jumps throughout, and one became flat at the very moment at which the rate fell.",
    ],
    **matching(_CURVES, _DIAGNOSES, "curve {} is not {}"),
)
