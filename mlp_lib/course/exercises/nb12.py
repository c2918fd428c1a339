"""Exercises of page 12: a sampling loop with three faults, to be repaired, and temperature."""

import math
import random
import types
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong

# ---- 12.1 repair a sampling loop -------------------------------------------------------------------------------------

NextProbs = Callable[[list[int]], Tensor]
_SYMBOLS = 5
_ENOUGH = 200  # calls of next_probs within one word
_LONG = [symbol for symbol in (1, 2, 3, 4, 1) for _ in range(10)]


def sample_name(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    """One word as a list of indices, without the closing 0."""
    context, out = [0] * block_size, []
    while True:
        ix = torch.multinomial(next_probs(context), num_samples=1, generator=g).item()
        if ix == 0:
            return out
        out.append(ix)
        context = context[1:] + [ix]


def _context(given: object, block_size: int) -> tuple[int, ...]:
    """The context that an answer passed, if it is a list of `block_size` indices."""
    try:
        if isinstance(given, Tensor):
            raise TypeError  # the page's own makes the tensor, and the batch of one
        context = tuple(int(i) for i in given)
    except (TypeError, ValueError, RuntimeError):
        raise Refused(
            f"next_probs was called with {brief(given)}: it takes the context itself, a list of {block_size} indices"
        ) from None
    if len(context) != block_size:
        length = "it keeps its length, one symbol in and the oldest one out"
        start = f"it starts as {[0] * block_size}, as many zeros as block_size"
        raise Refused(
            f"with block_size {block_size} next_probs was called with the context {list(context[:8])}, of "
            f"{len(context)} symbols: {length if any(context) else start}"
        )
    return context


def _starts_from_zeros(context: tuple[int, ...], before: list[tuple[int, ...]]) -> None:
    if not before and any(context):
        raise Refused(f"a word began with the context {list(context)}: each one starts from zeros, no letters yet")


def _chain(word: list[int], block_size: int) -> NextProbs:
    """A model that is sure of `word`: after each window of it the next symbol has probability 1."""
    row = [0] * block_size + word + [0]
    nexts = {tuple(row[k : k + block_size]): row[k + block_size] for k in range(len(word) + 1)}
    windows, before = list(nexts), []

    def next_probs(given: list[int]) -> Tensor:
        context = _context(given, block_size)
        if before and before[-1] == windows[-1]:
            raise Refused(
                f"the model spells {word} and then gives 0 probability 1; your loop asked on, with the context "
                f"{list(context)}: a word ends when 0 is drawn, and without `break` the loop is endless"
            )
        _starts_from_zeros(context, before)
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
        return torch.eye(_SYMBOLS)[nexts[context]]

    return next_probs


def _steady(probs: list[float], block_size: int, asked: list[object], endless: str) -> NextProbs:
    """A model with the same probabilities after every context; the contexts are added to `asked`."""

    table = torch.tensor(probs)

    def next_probs(given: list[int]) -> Tensor:
        context = _context(given, block_size)
        _starts_from_zeros(context, asked)
        asked.append(context)
        if len(asked) > _ENOUGH:
            why = endless
            if len(set(asked[block_size:])) == 1:
                why = f"each was {context[-1]}. Is the likeliest symbol taken, or a generator seeded before each draw?"
            raise Refused(f"no end after {_ENOUGH} symbols, although 0 has probability {probs[0]}: {why}")
        return table.clone()

    return next_probs


def _word(out: object) -> list[int]:
    """The word that came back, as a list of int."""
    if out is None:
        raise Refused("your function returned None: does it end with `return`?")
    if isinstance(out, Tensor | np.ndarray):
        out = out.flatten().tolist()
    if isinstance(out, str) or not isinstance(out, Iterable):
        raise Refused(f"your function returned {brief(out)}: return the list of the indices drawn")
    out = list(out)
    try:
        return [int(i) for i in out]
    except (TypeError, ValueError, RuntimeError):
        raise Refused(f"your list holds {brief(out)}: it should hold the indices drawn, as int") from None


def _judge_sample(answer: object) -> None:
    """Raise Refused unless the answer samples: any way to draw from g is right."""
    if not callable(answer) or isinstance(answer, types.BuiltinFunctionType):
        raise Refused("hand over your own function, without calling it: q1.check(sample_name)")
    _asked_for_each_symbol(answer)
    for word, block_size in (([1, 2, 3], 2), ([4, 1, 2, 3, 1, 4, 4, 3], 3), ([2, 3, 1], 1), ([], 2), (_LONG, 11)):
        _spelled(_word(answer(_chain(word, block_size), block_size, _seeded(1))), word, block_size)
    _drawn_from_g(answer)
    _as_likely_as_told(answer)


def _asked_for_each_symbol(answer: Callable[..., object]) -> None:
    """First of all: a loop that asks once, before it begins, would never leave a model that is sure."""
    endless = "a word ends when 0 is drawn, and without `break` the loop is endless"
    for seed in range(40):
        asked = []
        # 0 is the likeliest, so that no other fault keeps it from being drawn
        word = _word(answer(_steady([0.6, 0.1, 0.1, 0.1, 0.1], 2, asked, endless), 2, _seeded(seed)))
        drawn = sum(ix > 0 for ix in word)
        if len(asked) <= 1 < drawn:
            raise Refused(
                f"{drawn} symbols were drawn, and next_probs was asked {len(asked)} time: ask it in the loop, since "
                "each symbol changes the context"
            )


def _spelled(got: list[int], word: list[int], block_size: int) -> None:
    said = f"the model spells {word}, yours is {got}"
    if got == word:
        return
    if got == [*word, 0]:
        raise Refused(f"{said}: the 0 ends the word and is not part of it")
    if got == [0] * block_size + word:
        raise Refused(f"{said}: the zeros of the first context are no part of it")
    if got == word[: len(got)]:
        raise Refused(
            f"the model spells a word of {len(word)} symbols, and yours ends after {len(got)}, where 0, the end, has "
            "probability 0"
        )
    raise Refused(f"{said}, with block_size {block_size}, and every symbol has probability 1")


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


_PROBS = [0.1, 0.3, 0.2, 0.39, 0.01]


def _words(answer: Callable[..., object], g: torch.Generator, n: int) -> list[list[int]]:
    endless = "are the probabilities changed before the draw, or is a symbol left out?"
    return [_word(answer(_steady(_PROBS, 2, [], endless), 2, g)) for _ in range(n)]


def _drawn_from_g(answer: Callable[..., object]) -> None:
    """The chance comes from g: the same words for the same seed, others for another, and the global one is left."""
    world, g = torch.get_rng_state(), _seeded(7)
    untouched = g.get_state()
    first = _words(answer, g, 12)
    used = not torch.equal(g.get_state(), untouched)
    if not used and not torch.equal(torch.get_rng_state(), world):
        raise Refused(
            "the symbols were drawn from the global generator, so that no seed of g repeats them: pass generator=g to "
            "torch.multinomial"
        )
    if all(word == first[0] for word in first):
        if not used:
            raise Refused(
                f"12 words from a model that is never sure, and all are {first[0]}: is a generator made in your "
                "function? Draw with torch.multinomial and generator=g"
            )
        raise Refused(
            f"12 words from a model that is never sure, and all are {first[0]}: is g seeded in your function?"
        )
    if not used:
        raise Refused("g was not used: 12 words were drawn, and its state is as before")
    if first != _words(answer, _seeded(7), 12):
        raise Refused("the same seed of g gave other words the second time: draw from g and from nothing else")
    if not torch.equal(torch.get_rng_state(), world):
        raise Refused("the global generator was drawn from or seeded: leave it alone, and draw from g")
    if first == _words(answer, _seeded(8), 12):
        raise Refused("two different seeds of g gave the same 12 words: draw from the g that is passed")


def _as_likely_as_told(answer: Callable[..., object]) -> None:
    drawn = _words(answer, _seeded(5), 1000)
    total, empty = sum(len(word) + 1 for word in drawn), drawn.count([])
    for symbol, p in enumerate(_PROBS):
        count = len(drawn) if symbol == 0 else sum(word.count(symbol) for word in drawn)
        if abs(count - p * total) > 5 * math.sqrt(total * p * (1 - p)):
            raise Refused(
                f"symbol {symbol} has probability {p} and was drawn in {100 * count / total:.0f} of 100 cases: give "
                "torch.multinomial the probabilities as they are"
            )
    if abs(empty - _PROBS[0] * len(drawn)) > 5 * math.sqrt(len(drawn) * _PROBS[0] * (1 - _PROBS[0])):
        raise Refused(
            f"0 has probability {_PROBS[0]}, and {empty} of {len(drawn)} words are empty: the first symbol is drawn "
            "like all others, and 0 ends the word there too"
        )


def _loop(
    next_probs: NextProbs,
    block_size: int,
    g: torch.Generator | None,
    *,
    draw: Callable[[Tensor, torch.Generator | None], int] | None = None,
    slide: Callable[[list[int], int], list[int]] = lambda context, ix: context[1:] + [ix],
    keep_end: bool = False,
    start: int = 0,
    most: int = 10**9,
) -> list[int]:
    """The sampling loop, right as it stands, or with a mistake."""
    context, out = [start] * block_size, []
    draw = draw or (lambda probs, g: torch.multinomial(probs, num_samples=1, generator=g).item())
    while len(out) < most:
        ix = draw(next_probs(context), g)
        if ix == 0 and not keep_end:
            break
        out.append(ix)
        context = slide(context, ix)
        if ix == 0:
            break
    return out


def _with(**how: object) -> Callable[..., list[int]]:
    return partial(_loop, **how)


def _without_g(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    return _loop(next_probs, block_size, None)


def _never_ends(next_probs: NextProbs, block_size: int, g: torch.Generator) -> None:
    context = [0] * block_size
    while True:
        context = context[1:] + [torch.multinomial(next_probs(context), num_samples=1, generator=g).item()]


def _asked_once(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    probs = next_probs([0] * block_size)
    return _loop(lambda context: probs, block_size, g)


def _seeds_g(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    return _loop(next_probs, block_size, g.manual_seed(2147483647 + 10))


def _own_generator(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    return _loop(next_probs, block_size, _seeded(2147483647))


def _returns_nothing(next_probs: NextProbs, block_size: int, g: torch.Generator) -> None:
    _loop(next_probs, block_size, g)


_kept = _seeded(3)


def _two_generators(probs: Tensor, g: torch.Generator) -> int:
    torch.rand(1, generator=g)
    return torch.multinomial(probs, num_samples=1, generator=_kept).item()


def _seeds_g_once(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    return _loop(next_probs, block_size, g if g.initial_seed() == 42 else g.manual_seed(42))


_left: list[int] = []


def _keeps_the_context(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    """The first context is what the last word left."""
    if len(_left) != block_size:
        _left[:] = [0] * block_size
    out = []
    while not out or out[-1]:
        out.append(torch.multinomial(next_probs(list(_left)), num_samples=1, generator=g).item())
        _left[:] = _left[1:] + out[-1:]
    return out[:-1]


def _never_empty(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    def without_end(context: list[int]) -> Tensor:
        probs = next_probs(context)
        return probs if any(context) or probs[0] == 1 else probs * (torch.arange(len(probs)) > 0)

    return _loop(without_end, block_size, g)


def _by_threshold(probs: Tensor, g: torch.Generator) -> int:
    return int((torch.rand(1, generator=g) >= probs.cumsum(0)[:-1]).sum())


def _with_numpy(next_probs: NextProbs, block_size: int, g: torch.Generator) -> np.ndarray:
    rng = np.random.default_rng(torch.randint(0, 2**60, (1,), generator=g).item())
    return np.array(
        _loop(next_probs, block_size, g, draw=lambda probs, g: int(rng.choice(len(probs), p=_exact(probs))))
    )


def _exact(probs: Tensor) -> np.ndarray:
    p = probs.double().numpy()
    return p / p.sum()


def _top(k: int, probs: Tensor, g: torch.Generator) -> int:
    best = probs.topk(k)
    return best.indices[torch.multinomial(best.values, num_samples=1, generator=g)].item()


def _powered(power: float, probs: Tensor, g: torch.Generator) -> int:
    return torch.multinomial(probs**power, num_samples=1, generator=g).item()


q1 = Exercise(
    "12.1",
    "repair a sampling loop",
    solution=sample_name,
    judge=_judge_sample,
    wrong=[
        Wrong(_without_g, "pass generator=g to torch.multinomial"),
        Wrong(_with(keep_end=True), "the 0 ends the word and is not part of it"),
        Wrong(
            _with(slide=lambda context, ix: context + [ix]), "it keeps its length, one symbol in and the oldest one out"
        ),
        Wrong(_never_ends, "a word ends when 0 is drawn, and without `break` the loop is endless"),
        Wrong(_with(slide=lambda context, ix: context), "the window did not slide, and every symbol"),
        Wrong(_with(slide=lambda context, ix: [ix] + context[:-1]), "drop the oldest on the left, add the new one"),
        Wrong(_with(start=1), "a word began with the context [1, 1]: each one starts from zeros, no letters yet"),
        Wrong(
            lambda next_probs, block_size, g: _loop(next_probs, 3, g),
            "it starts as [0, 0], as many zeros as block_size",
        ),
        Wrong(_asked_once, "next_probs was asked 1 time"),
        Wrong(
            lambda next_probs, block_size, g: _loop(lambda context: next_probs([context]), block_size, g),
            "called with [[0, 0]]: it takes the context itself",
        ),
        Wrong(
            lambda next_probs, block_size, g: _loop(lambda context: next_probs(torch.tensor(context)), block_size, g),
            "called with tensor([0, 0]): it takes the context itself",
        ),
        Wrong(_own_generator, "is a generator made in your function?"),
        Wrong(_seeds_g, "is g seeded in your function?"),
        Wrong(lambda *given: [0] * given[1] + _loop(*given), "the zeros of the first context are no part of it"),
        Wrong(_returns_nothing, "returned None: does it end with `return`?"),
        Wrong(_with(draw=partial(_powered, 1.25)), "give torch.multinomial the probabilities as they are"),
        Wrong(_with(draw=partial(_top, 3)), "are the probabilities changed before the draw, or is a symbol left out?"),
        Wrong(_with(most=20), "where 0, the end, has probability 0"),
        Wrong(lambda *given: _loop(*given)[::-1], "and every symbol has probability 1"),
        Wrong(_with(draw=lambda probs, g: probs.argmax().item()), "Is the likeliest symbol taken"),
        Wrong(_with(draw=_two_generators), "the same seed of g gave other words the second time"),
        Wrong(_keeps_the_context, "each one starts from zeros, no letters yet"),
        Wrong(_never_empty, "the first symbol is drawn like all others, and 0 ends the word there too"),
        Wrong(_seeds_g_once, "two different seeds of g gave the same 12 words"),
        Wrong(_with(draw=lambda probs, g: random.choices(range(5), probs.tolist())[0]), "g was not used: 12 words"),
        Wrong(
            lambda next_probs, block_size, g: "".join(map(str, _loop(next_probs, block_size, g))),
            "return the list of the indices drawn",
        ),
    ],
    also_right=[
        _loop,
        _with(draw=lambda probs, g: torch.multinomial(probs, num_samples=1, generator=g)),
        _with(draw=_by_threshold),
        _with_numpy,
        lambda next_probs, block_size, g: tuple(_loop(lambda context: next_probs(tuple(context)), block_size, g)),
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


def _in_place(logits: Tensor, T: float) -> Tensor:
    logits /= T
    return _softmax(logits)


def _in_float64(logits: Tensor, T: float) -> Tensor:
    return _over_sum((logits.double() / T).exp())


def _without_keepdim(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1)


def _over_the_whole(counts: Tensor) -> Tensor:
    return counts / counts.sum()


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


class _Module(torch.nn.Module):
    def forward(self, logits: Tensor, T: float) -> Tensor:
        return (logits / T).log_softmax(dim=-1).exp()


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
        Wrong(lambda z, T: _softmax(z) * T, "these sum to T, not to 1, and T belongs on the logits, before exp"),
        Wrong(
            lambda z, T: _over_sum(_softmax(z) / T),
            "T has no effect: a factor on all probabilities, or a number taken from all logits, cancels in the "
            "division. Divide the logits by T",
        ),
        Wrong(lambda z, T: _softmax(z) ** (1 / T), "each is right up to a common factor: divide by the sum"),
        Wrong(
            lambda z, T: _over_sum(_softmax(z) ** (1 / T)),
            "the softmax came first, and where it gives 0 nothing is left: divide the logits before it",
        ),
        Wrong(
            lambda z, T: _over_the_whole(_softmax(z) ** (1 / T)),
            "the softmax came first, and one sum was taken over all rows: divide each row by its own",
        ),
        Wrong(
            lambda z, T: _over_sum((z / T).exp()),
            "exp leaves the range of float32: was the largest logit of each row subtracted first?",
        ),
        Wrong(_in_float64, "exp leaves the range of float64 too: subtract the largest logit of the row first"),
        Wrong(
            lambda z, T: _over_sum((z / T - z.max(-1, keepdim=True).values).exp()),
            "what was subtracted is the maximum before the division by T: subtract first, or take that of logits / T",
        ),
        Wrong(
            lambda z, T: _over_sum(((z - z.mean(-1, keepdim=True)) / T).exp()),
            "the mean was subtracted, and exp may overflow for what lies above it: subtract the row's largest logit",
        ),
        Wrong(
            lambda z, T: _over_sum(((z - z.max()) / T).exp()),
            "one maximum was subtracted from all rows: subtract each row's own (keepdim)",
        ),
        Wrong(
            lambda z, T: _over_the_whole(((z - z.max(-1, keepdim=True).values) / T).exp()),
            "one sum over all rows: normalise each row by itself, over the last dimension",
        ),
        Wrong(
            lambda z, T: _without_keepdim(((z - z.max(-1, keepdim=True).values) / T).exp()),
            "the rows do not sum to 1: without keepdim=True column j is divided by the sum of row j",
        ),
        Wrong(
            lambda z, T: _without_keepdim((z / T).exp()),
            "the rows do not sum to 1: without keepdim=True column j is divided by the sum of row j (and without the "
            "row's largest logit subtracted first, exp leaves the range of float32)",
        ),
        Wrong(lambda z, T: torch.softmax(z / T, 0), "normalised down the columns: over the last dimension, dim=-1"),
        Wrong(
            lambda z, T: torch.softmax(z / T, dim=1),
            "logits of shape (vocab_size,) have one dimension, and dim=1 is the second: dim=-1 fits both",
        ),
        Wrong(lambda z, T: z / T, "these are still logits: the softmax is missing"),
        Wrong(lambda z, T: (z / T).exp(), "these are counts: divide by their sum"),
        Wrong(
            lambda z, T: ((z - z.max(-1, keepdim=True).values) / T).exp(),
            "the largest is 1, so these are counts after the shift: divide by their sum",
        ),
        Wrong(lambda z, T: (z / T).log_softmax(-1), "these are logarithms of probabilities: exp is missing"),
        Wrong(lambda z, T: _softmax(z / T**2), "the logits were divided by the square of T"),
        Wrong(
            lambda z, T: _softmax(z / max(T, 0.1)),
            "T seems to be kept from going below some number: 1e-7 is asked for, too",
        ),
        Wrong(
            lambda z, T: _softmax((z / T).clamp(-50, 50)),
            "the logits are clamped, which makes large ones equal: subtract the row's maximum",
        ),
        Wrong(lambda z, T: _softmax(z / T).argmax(-1), "that is the likeliest symbol: all probabilities are asked for"),
        Wrong(_in_place, "your answer changed its argument logits"),
    ],
    also_right=[
        lambda z, T: _softmax(z / T),
        lambda z, T: torch.nn.functional.softmax(z * (1 / T), dim=z.ndim - 1),
        lambda z, T: (z / T - torch.logsumexp(z / T, -1, keepdim=True)).exp(),
        _numpy,
        _by_rows,
        _Module(),
    ],
    right="divided before exp, normalised after it, and safe where exp alone overflows.",
    hints=[
        "At T = 2 the difference between two logits should count half: what has to be divided?",
        "Divide first, then exponentiate, then divide each row by its sum.",
        "A small T makes logits large: subtract the row's maximum before exp, as in page 03.",
    ],
)
