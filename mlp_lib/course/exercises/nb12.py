"""Exercises of page 12: a sampling loop with three faults, to be repaired, and temperature."""

import math
import types
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong

# ---- 12.1 repair a sampling loop -------------------------------------------------------------------------------------

NextProbs = Callable[[list[int]], Tensor]
_ENOUGH = 200  # calls of next_probs within one word
_LONG = [symbol for symbol in (1, 2, 3, 4, 1) for _ in range(10)]
_LIKELY_END = [0.6, 0.1, 0.1, 0.1, 0.1]
_PROBS = [0.1, 0.3, 0.2, 0.39, 0.01]


def sample_name(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    """One word as a list of indices, without the closing 0."""
    context, out = [0] * block_size, []
    while True:
        ix = torch.multinomial(next_probs(context), num_samples=1, generator=g).item()
        if ix == 0:
            return out
        out.append(ix)
        context = context[1:] + [ix]


def _context(given: object, block_size: int, first: bool) -> tuple[int, ...]:
    """The context that an answer passed, if it is a list of `block_size` indices, and all 0 at first."""
    try:
        context = () if isinstance(given, Tensor) else tuple(int(i) for i in given)
    except (TypeError, ValueError, RuntimeError):
        context = ()
    if len(context) != block_size:
        raise Refused(
            f"with block_size {block_size} next_probs was called with {brief(given)}: it takes the context, a list of "
            f"block_size indices. It starts as {[0] * block_size}, and keeps its length: one symbol in, the oldest out"
        )
    if first and any(context):
        raise Refused(f"a word began with the context {list(context)}: each one starts from zeros, no letters yet")
    return context


def _chain(word: list[int], block_size: int) -> NextProbs:
    """A model that is sure of `word`: after each window of it the next symbol has probability 1."""
    row = [0] * block_size + word + [0]
    nexts = {tuple(row[k : k + block_size]): row[k + block_size] for k in range(len(word) + 1)}
    windows, before = list(nexts), []

    def next_probs(given: list[int]) -> Tensor:
        context = _context(given, block_size, first=not before)
        if len(before) == len(windows):
            raise Refused(
                f"the model spells {word} and then gives 0 probability 1; your loop asked on, with the context "
                f"{list(context)}: a word ends when 0 is drawn, and without `break` the loop is endless"
            )
        if before and context == before[-1]:
            raise Refused(
                f"the context was {list(context)} twice in a row, although a symbol was drawn in between: the window "
                "did not slide, and every symbol is drawn as if it were the first"
            )
        if context != windows[len(before)]:
            raise Refused(
                f"after {nexts[before[-1]]} was drawn from the context {list(before[-1])} the next one is "
                f"{list(windows[len(before)])}, yours is {list(context)}: drop the oldest on the left, add the new one "
                "on the right"
            )
        before.append(context)
        return torch.eye(len(_PROBS))[nexts[context]]

    return next_probs


def _steady(probs: list[float], asked: list[object], endless: str) -> NextProbs:
    """A model with the same probabilities after every context of 2; the contexts are added to `asked`."""

    def next_probs(given: list[int]) -> Tensor:
        asked.append(_context(given, 2, first=not asked))
        if len(asked) > _ENOUGH:
            raise Refused(f"no end after {_ENOUGH} symbols, although 0 has probability {probs[0]}: {endless}")
        return torch.tensor(probs)

    return next_probs


def _word(out: object) -> list[int]:
    """The word that came back, as a list of int."""
    try:
        if isinstance(out, str):
            raise TypeError
        return [int(i) for i in (out.flatten() if isinstance(out, Tensor | np.ndarray) else out)]
    except (TypeError, ValueError, RuntimeError):
        raise Refused(f"your function returned {brief(out)}: return the list of the indices drawn") from None


def _judge_sample(answer: object) -> None:
    """Raise Refused unless the answer samples: any way to draw from g is right."""
    if not callable(answer) or isinstance(answer, types.BuiltinFunctionType):
        raise Refused("hand over your own function, without calling it: q1.check(sample_name)")
    _asked_for_each_symbol(answer)
    for word, block_size in (([1, 2, 3], 2), ([4, 1, 2, 3, 1, 4, 4, 3], 3), ([2, 3, 1], 1), ([], 2), (_LONG, 11)):
        _spelled(_word(answer(_chain(word, block_size), block_size, _seeded(1))), word)
    _drawn_from_g(answer)
    _as_likely_as_told(answer)


def _asked_for_each_symbol(answer: Callable[..., object]) -> None:
    """First of all: a loop that asks once, before it begins, would never leave a model that is sure."""
    for seed in range(40):
        asked = []
        endless = "a word ends when 0 is drawn, and without `break` the loop is endless"
        drawn = sum(ix > 0 for ix in _word(answer(_steady(_LIKELY_END, asked, endless), 2, _seeded(seed))))
        if len(asked) <= 1 < drawn:
            raise Refused(
                f"{drawn} symbols were drawn, and next_probs was asked {len(asked)} time: ask it in the loop, since "
                "each symbol changes the context"
            )


def _spelled(got: list[int], word: list[int]) -> None:
    if len(got) < len(word) and got == word[: len(got)]:
        raise Refused(
            f"the model spells a word of {len(word)} symbols, and yours ends after {len(got)}, where 0, the end, has "
            "probability 0"
        )
    if got != word:
        raise Refused(
            f"the model spells {word}, yours is {got}: the symbols in the order in which they were drawn. The 0 ends "
            "the word and is not part of it"
        )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _words(answer: Callable[..., object], g: torch.Generator, n: int) -> list[list[int]]:
    endless = "is the likeliest symbol taken, not drawn, or are the probabilities changed before the draw?"
    return [_word(answer(_steady(_PROBS, [], endless), 2, g)) for _ in range(n)]


def _drawn_from_g(answer: Callable[..., object]) -> None:
    """The chance comes from g: the same words for the same seed, others for another, and the global one is left."""
    world, g = torch.get_rng_state(), _seeded(7)
    first, again, other = _words(answer, g, 12), _words(answer, _seeded(7), 12), _words(answer, _seeded(8), 12)
    if not torch.equal(torch.get_rng_state(), world):
        raise Refused(
            "the global generator was drawn from or seeded, and no seed of g repeats its numbers: pass generator=g to "
            "torch.multinomial"
        )
    if torch.equal(g.get_state(), _seeded(7).get_state()):
        raise Refused("12 words were drawn, and g is as before: draw from g, not from a generator of your own")
    if first != again:
        raise Refused("the same seed of g gave other words the second time: draw from g and from nothing else")
    if first == other or all(word == first[0] for word in first):
        raise Refused(f"the same words come again and again, such as {first[0]}: is g seeded in your function?")


def _as_likely_as_told(answer: Callable[..., object]) -> None:
    words = _words(answer, _seeded(5), 1000)
    each = [ix for word in words for ix in [*word, 0]]
    for drawn, which in (([(word or [0])[0] for word in words], "first symbols"), (each, "symbols")):
        for symbol, p in enumerate(_PROBS):
            count = drawn.count(symbol)
            if abs(count - p * len(drawn)) > 5 * math.sqrt(len(drawn) * p * (1 - p)):
                raise Refused(
                    f"{symbol} has probability {p}, and {count} of {len(drawn):,} {which} are {symbol}: give "
                    "torch.multinomial the probabilities as they are, for the first symbol too"
                )


def _loop(
    next_probs: NextProbs,
    block_size: int,
    g: torch.Generator | None,
    *,
    start: int = 0,
    draw: Callable[..., int] = lambda probs, g: torch.multinomial(probs, num_samples=1, generator=g).item(),
    slide: Callable[[list[int], int], list[int]] = lambda context, ix: context[1:] + [ix],
) -> list[int]:
    """The sampling loop, right as it stands, or with a mistake."""
    context, out = [start] * block_size, []
    while True:
        ix = draw(next_probs(context), g)
        if ix == 0:
            return out
        out.append(ix)
        context = slide(context, ix)


def _with(**how: object) -> Callable[..., list[int]]:
    return partial(_loop, **how)


def _never_ends(next_probs: NextProbs, block_size: int, g: torch.Generator) -> None:
    context = [0] * block_size
    while True:
        context = context[1:] + [torch.multinomial(next_probs(context), num_samples=1, generator=g).item()]


def _asked_once(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    probs = next_probs([0] * block_size)
    return _loop(lambda context: probs, block_size, g)


q1 = Exercise(
    "12.1",
    "repair a sampling loop",
    solution=sample_name,
    judge=_judge_sample,
    wrong=[
        Wrong(lambda *given: _loop(*given[:2], None), "pass generator=g to torch.multinomial"),
        Wrong(lambda *given: [*_loop(*given), 0], "yours is [1, 2, 3, 0]: the symbols in the order"),
        Wrong(lambda *given: _loop(*given)[::-1], "yours is [3, 2, 1]: the symbols in the order"),
        Wrong(_with(slide=lambda context, ix: context + [ix]), "next_probs was called with [0, 0, 1]: it takes the"),
        Wrong(_never_ends, "a word ends when 0 is drawn, and without `break` the loop is endless"),
        Wrong(_with(slide=lambda context, ix: context), "the window did not slide, and every symbol"),
        Wrong(_with(slide=lambda context, ix: [ix] + context[:-1]), "drop the oldest on the left, add the new one"),
        Wrong(_with(start=1), "a word began with the context [1, 1]: each one starts from zeros, no letters yet"),
        Wrong(lambda next_probs, block_size, g: _loop(next_probs, 3, g), "called with [0, 0, 0]: it takes"),
        Wrong(
            lambda next_probs, block_size, g: _loop(lambda context: next_probs(torch.tensor(context)), block_size, g),
            "next_probs was called with tensor([0, 0]): it takes the context, a list of block_size indices",
        ),
        Wrong(_asked_once, "next_probs was asked 1 time"),
        Wrong(lambda *given: _loop(*given[:2], _seeded(10)), "draw from g, not from a generator of your own"),
        Wrong(lambda *given: _loop(*given[:2], given[2].manual_seed(10)), "is g seeded in your function?"),
        Wrong(_with(draw=lambda probs, g: probs.argmax().item()), "is the likeliest symbol taken, not drawn"),
        Wrong(
            _with(draw=lambda probs, g: torch.multinomial(probs**1.25, num_samples=1, generator=g).item()),
            "give torch.multinomial the probabilities as they are",
        ),
        Wrong(lambda *given: _loop(*given)[:20], "where 0, the end, has probability 0"),
        Wrong(lambda *given: "".join(map(str, _loop(*given))), "return the list of the indices drawn"),
    ],
    also_right=[
        _with(draw=lambda probs, g: torch.multinomial(probs, num_samples=1, generator=g)),
        _with(draw=lambda probs, g: int((torch.rand(1, generator=g) >= probs.cumsum(0)[:-1]).sum())),
        lambda next_probs, *given: tuple(_loop(lambda context: next_probs(tuple(context)), *given)),
        lambda *given: np.array(_loop(*given)),
    ],
    right="starts from zeros, slides, stops at 0, and every draw is from g.",
    hints=[
        "Follow the loop for two symbols on paper: how long is the context, what is in out, who drew?",
        "The 0 ends the word, so ask for it before anything is stored. The window slides: context[1:] + [ix].",
        "The draw is torch.multinomial(probs, num_samples=1, generator=g).item().",
    ],
)


# ---- 12.2 temperature ------------------------------------------------------------------------------------------------


def with_temperature(logits: Tensor, T: float) -> Tensor:
    """Probabilities of logits (..., vocab_size) at temperature T."""
    shifted = (logits - logits.max(-1, keepdim=True).values) / T  # the largest is 0: exp cannot overflow
    counts = shifted.exp()
    return counts / counts.sum(-1, keepdim=True)


def _softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits, -1)


def _over_sum(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True)


def _counts(logits: Tensor, T: float) -> Tensor:
    return ((logits - logits.max(-1, keepdim=True).values) / T).exp()


def _numpy(logits: Tensor, T: float) -> np.ndarray:
    z = logits.numpy() / T
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _by_rows(logits: Tensor, T: float) -> list[object]:
    if logits.ndim > 1:
        return [_by_rows(row, T) for row in logits]
    top = max(logits.tolist())
    counts = [math.exp((z - top) / T) for z in logits.tolist()]
    return [c / sum(counts) for c in counts]


def _at(logits: list[object], T: float) -> Case:
    return Case(torch.tensor(logits), T)


q2 = Exercise(
    "12.2",
    "temperature",
    solution=with_temperature,
    cases=[
        _at([2.0, 0.0, 1.0], 2.0),
        _at([2.0, 0.0, 1.0], 0.5),
        _at([2.0, 0.0, 1.0], 1),
        _at([[2.0, 0.0], [0.0, 5.0]], 2.0),
        _at([[2.0, 0.0, 1.0], [0.0, 5.0, 3.0]], 0.5),
        _at([[1.5, 1.5, 1.5]], 0.7),
        _at([0.0, 1e-7], 1e-7),
        _at([-5.0, -3.0, 0.0, 100.0], 1.0),
        _at([0.0, 8.0], 0.01),
        _at([-2000.0, -2001.0], 1.0),
        _at([[0.0, 1.0], [2000.0, 2001.0]], 1.0),
        _at([0.0, 2000.0], 1000.0),
        _at([0.0, 8.0], 1e-7),
    ],
    wrong=[
        Wrong(lambda z, T: _softmax(z * T), "T multiplied: a high temperature must flatten, so divide by it"),
        Wrong(
            lambda z, T: _softmax(z) / T,
            "these sum to 1 / T, not to 1: dividing the probabilities is another thing than dividing the logits",
        ),
        Wrong(
            lambda z, T: _over_sum(_softmax(z) / T),
            "T has no effect: a factor on all probabilities, or a number taken from all logits, cancels in the "
            "division. Divide the logits by T",
        ),
        Wrong(
            lambda z, T: _over_sum(_softmax(z) ** (1 / T)),
            "the softmax came first, and where it gives 0 nothing is left: divide the logits before it",
        ),
        Wrong(
            lambda z, T: _over_sum((z / T).exp()),
            "exp leaves the range of floating-point numbers: was the largest logit of each row subtracted first?",
        ),
        Wrong(
            lambda z, T: _over_sum((z / T - z.max(-1, keepdim=True).values).exp()),
            "subtract the row's largest logit, and before the division by T; or the largest of logits / T",
        ),
        Wrong(
            lambda z, T: _over_sum(((z - z.max()) / T).exp()),
            "one maximum was subtracted from all rows: subtract each row's own (keepdim)",
        ),
        Wrong(
            lambda z, T: _counts(z, T) / _counts(z, T).sum(),
            "one sum over all rows: normalise each row by itself, over the last dimension",
        ),
        Wrong(
            lambda z, T: _counts(z, T) / _counts(z, T).sum(-1),
            "the rows do not sum to 1: without keepdim=True column j is divided by the sum of row j",
        ),
        Wrong(
            lambda z, T: (z / T).exp() / (z / T).exp().sum(-1),
            "without keepdim=True column j is divided by the sum of row j, and exp overflows without the shift",
        ),
        Wrong(lambda z, T: torch.softmax(z / T, 0), "normalised down the columns: over the last dimension, dim=-1"),
        Wrong(
            lambda z, T: torch.softmax(z / T, dim=1),
            "logits of shape (vocab_size,) have one dimension, and dim=1 is the second: dim=-1 fits both",
        ),
        Wrong(lambda z, T: z / T, "these are still logits: the softmax is missing"),
        Wrong(lambda z, T: (z / T).exp(), "these are counts: divide by their sum"),
        Wrong(lambda z, T: (z / T).log_softmax(-1), "these are logarithms of probabilities: exp is missing"),
    ],
    also_right=[
        lambda z, T: _softmax(z / T),
        lambda z, T: (z / T - torch.logsumexp(z / T, -1, keepdim=True)).exp(),
        _numpy,
        _by_rows,
    ],
    right="divided before exp, normalised after it, and safe where exp alone overflows.",
    hints=[
        "At T = 2 the difference between two logits should count half: what has to be divided?",
        "Divide first, then exponentiate, then divide each row by its sum.",
        "A small T makes logits large: subtract the row's maximum before exp, as in page 03.",
    ],
)
