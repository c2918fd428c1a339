"""Exercises of page 12: a sampling loop with three faults, to be repaired, and temperature."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief
from mlp_lib.course.exercises.engine import Case, Exercise, Refused, Wrong, edited

# ---- 12.1 repair a sampling loop -------------------------------------------------------------------------------------

NextProbs = Callable[[list[int]], Tensor]
_ENOUGH = 200  # calls of next_probs within one word
_PROBS = [0.1, 0.3, 0.2, 0.39, 0.01]
_LIKELY_END = [0.6, 0.1, 0.1, 0.1, 0.1]


def sample_name(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    """One word as a list of indices, without the closing 0."""
    context, out = [0] * block_size, []
    while True:
        ix = torch.multinomial(next_probs(context), num_samples=1, generator=g).item()
        if ix == 0:
            return out
        out.append(ix)
        context = context[1:] + [ix]


def _indices(value: object, but: type) -> list[int] | None:
    """The value as a list of int; None if it is not a sequence of indices, or of the type `but`."""
    try:
        return None if isinstance(value, but) or any(isinstance(i, str) for i in value) else [int(i) for i in value]
    except (TypeError, ValueError, RuntimeError):
        return None


def _sampled(
    answer: Callable[..., object], probs: list[list[float]], block_size: int, g: torch.Generator
) -> tuple[list[list[int]], list[int]]:
    """The contexts that next_probs was called with, and the word returned, if symbol k has the probabilities probs[k].

    The last of them hold for all later symbols.
    """
    contexts = []

    def next_probs(given: list[int]) -> Tensor:
        context = _indices(given, but=Tensor)
        if context is None or len(context) != block_size:
            raise Refused(
                f"with block_size {block_size} next_probs was called with {brief(given)}: it takes the context, a list "
                f"of block_size indices. Start from {[0] * block_size}; for each symbol added, drop the oldest"
            )
        row = probs[min(len(contexts), len(probs) - 1)]
        contexts.append(context)
        if len(contexts) > _ENOUGH:
            why = "a word ends when 0 is drawn, and without `break` the loop is endless"
            if row[0] < 0.5:
                why = "is the likeliest symbol taken, not drawn, or are the probabilities changed before the draw?"
            raise Refused(f"no end after {_ENOUGH} symbols, although 0 has probability {row[0]:g}: {why}")
        return torch.tensor(row)

    out = answer(next_probs, block_size, g)
    word = _indices(out, but=str)
    if word is None:
        raise Refused(f"your function returned {brief(out)}: return the list of the indices drawn")
    if 0 in word:
        raise Refused(f"your function returned {brief(word)}: 0 ends the word, and is not part of it")
    if len(word) != len(contexts) - 1:
        what_to_do = "Return every symbol drawn before the 0, and nothing else"
        if len(contexts) == 1:
            what_to_do = "Call it in the loop: once for each symbol, and once for the 0"
        elif len(contexts) == len(word):
            what_to_do = "The loop ended before 0 was drawn: only a 0 ends a word"
        raise Refused(
            f"calls of next_probs: {len(contexts)}, symbols returned: {len(word)}, {brief(word)}. {what_to_do}"
        )
    return contexts, word


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _spelled(answer: Callable[..., object], word: list[int] | None = None, block_size: int = 2) -> object:
    """The contexts and the word that comes back from a model that is sure of `word`; without one, how it draws."""
    if word is None:
        return _check_draws(answer)
    _check_second_call(answer)
    for seed in range(40):  # an unsure model first: a loop that calls it only once would never leave a sure one
        _sampled(answer, [_LIKELY_END], 2, _seeded(seed))
    contexts, spelled = _sampled(answer, torch.eye(len(_PROBS))[[*word, 0]].tolist(), block_size, _seeded(1))
    if len(spelled) < len(word) and spelled == word[: len(spelled)]:
        raise Refused(
            f"the model spells a word of {len(word)} symbols, and yours ends after {len(spelled)}: only a 0 ends a word"
        )
    return {"contexts": contexts, "word": spelled}


def _check_second_call(answer: Callable[..., object]) -> None:
    """Raise Refused if a second call with the same draws returns the symbols of the first one, and more."""
    words = []
    for _ in range(2):
        left = iter(range(_ENOUGH))

        def next_probs(context: object, left: Iterator[int] = left) -> Tensor:
            next(left)  # raises when a loop does not end
            return torch.tensor(_LIKELY_END)

        try:
            words.append(_indices(answer(next_probs, 2, _seeded(4)), but=str) or [])  # with this seed a word of three
        except Exception:  # the checks that follow say what is wrong
            return
    first, second = words
    if first and len(second) > len(first) and second[: len(first)] == first:
        raise Refused(f"a second call returned {brief(second)}, after {brief(first)}: create the list in your function")


def _check_draws(answer: Callable[..., object]) -> None:
    """Raise Refused unless symbols are drawn from g, with their probabilities: any way to draw is right."""

    def words(g: torch.Generator, n: int) -> list[list[int]]:
        return [_sampled(answer, [_PROBS], 2, g)[1] for _ in range(n)]

    before, g = torch.get_rng_state(), _seeded(7)
    first, again, other = words(g, 12), words(_seeded(7), 12), words(_seeded(8), 12)
    from_elsewhere = not torch.equal(torch.get_rng_state(), before)
    if from_elsewhere or torch.equal(g.get_state(), _seeded(7).get_state()) or first != again:
        raise Refused(
            "the words do not depend on g alone: pass generator=g to torch.multinomial, and use no other generator"
        )
    if first == other or all(word == first[0] for word in first):
        raise Refused(f"the same words come whatever the seed of g, such as {first[0]}: is g seeded in your function?")
    many = words(_seeded(5), 1000)
    for drawn, which in (
        ([(word or [0])[0] for word in many], "first symbols"),
        ([ix for word in many for ix in [*word, 0]], "symbols"),
    ):
        for symbol, p in enumerate(_PROBS):
            count = drawn.count(symbol)
            if abs(count - p * len(drawn)) > 5 * math.sqrt(len(drawn) * p * (1 - p)):
                raise Refused(
                    f"{symbol} has probability {p}, and {count} of {len(drawn):,} {which} are {symbol}: give "
                    "torch.multinomial the probabilities unchanged, for the first symbol too"
                )


def _spelling(word: list[int], block_size: int) -> Case:
    return Case(word, block_size, label=f"for block_size {block_size} and a model that spells {brief(word)}")


def _with_rand(next_probs: NextProbs, block_size: int, g: torch.Generator) -> np.ndarray:
    row = [0] * block_size
    while len(row) == block_size or row[-1] != 0:
        below = next_probs(tuple(row[-block_size:])).cumsum(0)[:-1]
        row.append((torch.rand(1, generator=g) >= below).sum())
    return np.array(row[block_size:-1])


q1 = Exercise(
    "12.1",
    "repair a sampling loop",
    solution=sample_name,
    observe=_spelled,
    cases=[
        _spelling([1, 2, 3], 2),
        _spelling([4, 1, 2, 3, 1, 4, 4, 3], 3),
        _spelling([2, 3, 1], 1),
        _spelling([], 2),
        _spelling([symbol for symbol in (1, 2, 3, 4, 1) for _ in range(10)], 11),
        Case(),
    ],
    edits={
        ("generator=g", "generator=None"): "pass generator=g to torch.multinomial",
        ("return out", "return out + [0]"): "0 ends the word, and is not part of it",
        ("[1:] + [ix]", " + [ix]"): "next_probs was called with [0, 0, 1]: it takes the",
        ("ix == 0", "False"): "a word ends when 0 is drawn, and without `break` the loop is endless",
        ("context[1:] + [ix]", "context"): "the window did not slide, so every symbol is drawn as if it were the first",
        ("context[1:] + [ix]", "[ix] + context[:-1]"): (
            "drop the oldest symbol on the left, add the new one on the right"
        ),
        ("[0] * block_size", "[1] * block_size"): "each word starts from zeros: no letters yet",
        ("if ix == 0", "if ix == 0 or len(out) == 10"): "a word of 50 symbols, and yours ends after 10",
        ("* block_size", "* 3"): "next_probs was called with [0, 0, 0]: it takes the",
        ("next_probs(context)", "next_probs(torch.tensor(context))"): (
            "next_probs was called with tensor([0, 0]): it takes the"
        ),
        (("[]\n", "[]\n    probs = next_probs(context)\n"), ("multinomial(next_probs(context)", "multinomial(probs")): (
            "Call it in the loop: once for each symbol, and once for the 0"
        ),
        ("[]\n", "[]\n    g.manual_seed(10)\n"): "is g seeded in your function?",
        ("torch.multinomial(next_probs(context), num_samples=1, generator=g)", "next_probs(context).argmax()"): (
            "is the likeliest symbol taken, not drawn"
        ),
        ("next_probs(context)", "next_probs(context) ** 1.25"): "give torch.multinomial the probabilities unchanged",
        ("return out", "return ''.join(map(str, out))"): "return the list of the indices drawn",
        (
            ("    while True:\n", "    while len(out) < 20:\n"),
            (" = context[1:] + [ix]", " = context[1:] + [ix]\n    return out"),
        ): ("The loop ended before 0 was drawn: only a 0 ends a word"),
        (("out = [0] * block_size, []", "out = [0] * block_size, sample_name.__dict__.setdefault('kept', [])"),): (
            "create the list in your function"
        ),
    },
    also_right=[_with_rand, edited(sample_name, ("generator=g).item()", "generator=g)"))],
    right="starts from zeros, slides, stops at 0, and every draw is from g.",
    hints=[
        "Follow the loop for two symbols on paper: how long is the context, what is in out, which generator draws?",
        "The 0 ends the word, so check for it before storing anything. The window slides: context[1:] + [ix].",
        "The draw is torch.multinomial(probs, num_samples=1, generator=g).item().",
    ],
)


# ---- 12.2 temperature ------------------------------------------------------------------------------------------------


def with_temperature(logits: Tensor, T: float) -> Tensor:
    """Probabilities of logits (..., vocab_size) at temperature T."""
    shifted = (logits - logits.max(-1, keepdim=True).values) / T  # the largest is 0: exp cannot overflow
    counts = shifted.exp()
    return counts / counts.sum(-1, keepdim=True)


_UNSHIFTED = ("(logits - logits.max(-1, keepdim=True).values)", "logits")


def _numpy(logits: Tensor, T: float) -> np.ndarray:
    z = logits.numpy() / T
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


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
    edits={
        ("/ T", "* T"): "multiplied by T: a high temperature has to flatten, so divide by it",
        ((") / T", ")"), ("shifted.exp()", "shifted.softmax(-1) ** (1 / T)")): (
            "the softmax came first, and where it gives 0 nothing is left: divide the logits by T before it"
        ),
        ("(logits - logits.max(-1, keepdim=True).values) / T", "logits / T - logits.max(-1, True).values"): (
            "subtract the row's largest logit before dividing by T, or the largest of logits / T after it"
        ),
        ("logits.max(-1, keepdim=True).values", "logits.max()"): (
            "one maximum was subtracted from all rows: subtract each row's own (keepdim)"
        ),
        ("counts.sum(-1, keepdim=True)", "counts.sum()"): (
            "one sum over all rows: normalise each row separately, over the last dimension"
        ),
        ("counts.sum(-1, keepdim=True)", "counts.sum(-1)"): (
            "the rows do not sum to 1: without keepdim=True column j is divided by the sum of row j"
        ),
    },
    wrong=[
        Wrong(
            lambda z, T: torch.softmax(z, -1) / T,
            "these sum to 1 / T, not to 1: divide the logits by T, not the probabilities",
        ),
        Wrong(
            lambda z, T: torch.softmax(z, -1),
            "T has no effect: a factor on all probabilities, or a number subtracted from all logits, cancels in the "
            "division. Divide the logits by T",
        ),
        Wrong(
            edited(with_temperature, _UNSHIFTED),
            "exp overflows or underflows: subtract the largest logit of each row first",
        ),
        Wrong(
            edited(with_temperature, _UNSHIFTED, ("counts.sum(-1, keepdim=True)", "counts.sum(-1)")),
            "without keepdim=True column j is divided by the sum of row j, and exp overflows",
        ),
        Wrong(lambda z, T: torch.softmax(z / T, 0), "normalised down the columns: use the last dimension, dim=-1"),
        Wrong(lambda z, T: z / T, "these are still logits: the softmax is missing"),
        Wrong(lambda z, T: (z / T).exp(), "these are counts: divide by their sum"),
        Wrong(lambda z, T: (z / T).log_softmax(-1), "these are log-probabilities: exp is missing"),
    ],
    also_right=[
        lambda z, T: torch.softmax(z / T, -1),
        lambda z, T: (z / T - torch.logsumexp(z / T, -1, keepdim=True)).exp(),
        _numpy,
    ],
    right="divided before exp, normalised after it, and safe where exp alone overflows.",
    hints=[
        "At T = 2 the difference between two logits counts half: what has to be divided?",
        "Divide first, then exponentiate, then divide each row by its sum.",
        "A small T makes logits large: subtract the row's maximum before exp, as in page 03.",
    ],
)
