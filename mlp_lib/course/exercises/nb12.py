"""Exercises of notebook 12: the sampling loop for any model, temperature, and how many samples are new."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mlp_lib.course.exercises.answers import brief, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake

NextProbs = Callable[[list[int]], Tensor]


# --- 12.1 the loop ---------------------------------------------------------------------------------------------------

_SYMBOLS = 5
_ENOUGH = 200  # calls of next_probs within one word; the longest word asked for here has 12


def _context(given: object, block_size: int) -> list[int]:
    """The context that an answer passed, as a list of int, if it is one of `block_size` symbols."""
    said = f"next_probs was called with {brief(given)}: it takes the context itself, a list of {block_size} indices"
    if isinstance(given, Tensor) or (isinstance(given, list) and any(isinstance(i, list | tuple) for i in given)):
        raise Mistake(said)  # the page's own makes the tensor, and the batch of one
    try:
        context = [int(i) for i in torch.as_tensor(given).flatten().tolist()]
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(said) from None
    if len(context) != block_size:
        raise Mistake(
            f"with block_size {block_size} next_probs was called with the context {context[:8]}, of {len(context)} "
            f"symbols: it starts as {[0] * block_size} and keeps its length, one symbol in and the oldest one out"
        )
    return context


def _chain(word: list[int], block_size: int) -> NextProbs:
    """A model that is sure of `word`: after each window of it the next symbol has probability 1."""
    row = [0] * block_size + word + [0]
    nexts = {tuple(row[k : k + block_size]): row[k + block_size] for k in range(len(word) + 1)}
    windows = list(nexts)
    before: list[tuple[int, ...]] = []

    def next_probs(given: list[int]) -> Tensor:
        context = tuple(_context(given, block_size))
        story = f"the model spells {word} and then gives 0 probability 1"
        if before and before[-1] == windows[-1]:
            raise Mistake(
                f"{story}; your loop asked on, with the context {list(context)}: a word ends when 0 is drawn, and "
                "without `break` the loop is endless"
            )
        if not before and context != windows[0]:
            raise Mistake(
                f"the first context is {list(context)}: a word starts from {[0] * block_size}, no letters yet"
            )
        if before and context == before[-1]:
            raise Mistake(
                f"the context was {list(context)} twice in a row, although a symbol was drawn in between: the window "
                "did not slide, and every symbol is drawn as if it were the first"
            )
        if context not in nexts or (before and context != windows[len(before)]):
            raise Mistake(
                f"after {nexts[before[-1]]} was drawn from the context {list(before[-1])} the next one is "
                f"{list(windows[len(before)])}, yours is {list(context)}: drop the oldest on the left, add the new one "
                "on the right"
            )
        before.append(context)
        probs = torch.zeros(_SYMBOLS)
        probs[nexts[context]] = 1.0
        return probs

    return next_probs


def _steady(probs: list[float], block_size: int, asked: list[list[int]]) -> NextProbs:
    """A model with the same probabilities after every context; the contexts are added to `asked`."""

    def next_probs(given: list[int]) -> Tensor:
        asked.append(_context(given, block_size))
        if len(asked) > _ENOUGH:
            raise Mistake(
                f"no end after {_ENOUGH} symbols, although 0 has probability {probs[0]}: a word ends when 0 is drawn, "
                "and without `break` the loop is endless"
            )
        return torch.tensor(probs)

    return next_probs


def _word(out: object) -> list[int]:
    if out is None:
        raise Mistake("your function returned None: does it end with `return`?")
    if isinstance(out, Tensor):
        out = out.flatten().tolist()
    if not isinstance(out, (list, tuple)):
        raise Mistake(f"your function returned {str(out)[:30]!r}: return the list of the indices drawn")
    try:
        return [int(i) for i in out]
    except (TypeError, ValueError):
        raise Mistake(f"your list holds {str(out)[:40]}: it should hold the indices drawn, as int") from None


def _check_sample(answer: object) -> str:
    own_function(answer, "q1.check(sample_name)")
    state = torch.get_rng_state()
    try:
        return _check_sample_drawing(answer)
    finally:
        torch.set_rng_state(state)  # an answer may have drawn from the global generator


def _check_sample_drawing(answer: Callable[[NextProbs, int, torch.Generator], object]) -> str:
    # 0. Is the model asked for every symbol? A loop that asks once, before it begins, would never leave a sure one.
    for seed in range(40):
        asked: list[list[int]] = []
        word = _word(answer(_steady([0.3, 0.2, 0.2, 0.2, 0.1], 2, asked), 2, torch.Generator().manual_seed(seed)))
        if len(asked) == 1 and len(word) > 3:
            raise Mistake(
                f"{len(word) + 1} symbols were drawn and next_probs was asked 1 time: ask it in the loop, since each "
                "symbol changes the context"
            )

    # 1. Models that are sure: where is the window, when does it end?
    for word, block_size in (([1, 2, 3], 2), ([4, 1, 2, 3, 1, 4, 2, 4, 3, 3, 2, 2], 3), ([2, 3, 1], 1), ([], 2)):
        got = _word(answer(_chain(word, block_size), block_size, torch.Generator().manual_seed(1)))
        if got == word:
            continue
        if got == word + [0]:
            raise Mistake(f"the word is {word}, yours is {got}: the 0 ends the word and is no part of it")
        if got == [0] * block_size + word:
            raise Mistake(f"the word is {word}, yours is {got}: the zeros of the first context are no part of it")
        raise Mistake(f"the model is sure of the word {word} with block_size {block_size}, and yours is {got}")

    # 2. Where does the chance come from?
    probs = [0.1, 0.3, 0.2, 0.2, 0.2]

    def words(seed: int, n: int = 12) -> list[list[int]]:
        g = torch.Generator().manual_seed(seed)
        return [_word(answer(_steady(probs, 2, []), 2, g)) for _ in range(n)]

    world, g = torch.get_rng_state(), torch.Generator().manual_seed(1)
    untouched = g.get_state()
    for _ in range(3):
        answer(_steady(probs, 2, []), 2, g)
    if not torch.equal(torch.get_rng_state(), world):
        raise Mistake(
            "the names were drawn from the global generator, so that no seed of g repeats them: pass generator=g to "
            "torch.multinomial"
        )
    first, again = words(7), words(7)
    if all(word == first[0] for word in first):
        if torch.equal(g.get_state(), untouched):
            raise Mistake(
                f"12 names from a model that is never sure, and all are {first[0]}: the likeliest symbol was taken, or "
                "a generator made anew for each; draw with torch.multinomial and generator=g"
            )
        raise Mistake(
            f"12 names from a model that is never sure, and all are {first[0]}: is g seeded in your function?"
        )
    if first != again:
        raise Mistake("the same seed of g gave other names the second time: draw from g and from nothing else")
    if torch.equal(g.get_state(), untouched):
        raise Mistake("g was not used: three names were drawn, and its state is as before")
    if first == words(8):
        raise Mistake("two different seeds of g gave the same 12 names: draw from the g that is passed")

    # 3. How often is each symbol drawn?
    drawn = words(5, n=400)
    for symbol in range(_SYMBOLS):
        total = sum(len(word) + 1 for word in drawn)
        count = len(drawn) if symbol == 0 else sum(word.count(symbol) for word in drawn)
        if abs(count - probs[symbol] * total) > 5 * math.sqrt(total * probs[symbol] * (1 - probs[symbol])):
            raise Mistake(
                f"symbol {symbol} has probability {probs[symbol]} and was drawn in {100 * count / total:.0f} of 100 "
                "cases: give torch.multinomial the probabilities as they are"
            )
    return "starts from zeros, slides, stops at 0, and every draw is from g."


def sample_name(next_probs: NextProbs, block_size: int, g: torch.Generator) -> list[int]:
    """One word as a list of indices, without the closing 0."""
    out: list[int] = []
    context = [0] * block_size
    while True:
        probs = next_probs(context)  # (vocab_size,)
        ix = int(torch.multinomial(probs, num_samples=1, generator=g).item())
        if ix == 0:
            return out
        out.append(ix)
        context = context[1:] + [ix]


q1 = Exercise(
    "12.1",
    "the loop for any model",
    _check_sample,
    hints=[
        "Two things live through the loop: the list of what was drawn, and the context, which starts as zeros.",
        "Each round: probabilities of the context, one draw, and a look whether it is 0, before anything is stored.",
        "The window slides by context = context[1:] + [ix].",
        "The draw is torch.multinomial(probs, num_samples=1, generator=g).item().",
    ],
    solution=sample_name,
)


# --- 12.2 temperature ------------------------------------------------------------------------------------------------


def _probs(answer: Callable[[Tensor, float], object], logits: Tensor, T: float) -> Tensor:
    given = logits.clone()
    try:
        out = answer(given, T)
    except IndexError as error:
        if logits.ndim > 1 or "Dimension out of range" not in str(error):
            raise
        raise Mistake(
            "logits of shape (vocab_size,) have one dimension, and dim=1 is the second: dim=-1 fits both"
        ) from None
    if not torch.equal(given, logits):
        raise Mistake("your function changed its logits in place: write logits / T, not logits /= T")
    if out is None:
        raise Mistake("your function returned None: does it end with `return`?")
    try:
        out = torch.as_tensor(out).double()
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"your function returned {str(out)[:30]!r}: return a tensor of probabilities") from None
    if out.shape != logits.shape:
        raise Mistake(f"logits of shape {tuple(logits.shape)} gave shape {tuple(out.shape)}: one probability for each")
    return out


def _text(values: Tensor) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in values.flatten().tolist()) + "]"


def _check_temperature(answer: object) -> str:
    own_function(answer, "q2.check(with_temperature)")
    logits = torch.tensor([2.0, 0.0, 1.0])
    plain = torch.softmax(logits.double(), 0)
    for T in (2.0, 0.5, 1.0):
        right = torch.softmax(logits.double() / T, 0)
        got = _probs(answer, logits, T)
        if torch.allclose(got, right, atol=1e-4):
            continue
        where = f"for logits {_text(logits)} and T = {T} the probabilities are {_text(right)}, yours are {_text(got)}"
        known = [
            (torch.softmax(logits.double() * T, 0), "T multiplied: a high temperature must flatten, so divide by it"),
            (
                plain,
                "T has no effect: a factor on all probabilities cancels when they are normalised; divide the logits",
            ),
            (
                plain / T,
                "they sum to 1 / T, not to 1: dividing the probabilities is another thing than dividing the logits",
            ),
            (plain * T, "they sum to T, not to 1, and T belongs on the logits, before exp"),
            (plain ** (1 / T), "each is right up to a common factor: divide by the sum, which is no longer 1"),
            (logits.double() / T, "these are still logits: the softmax is missing"),
            ((logits.double() / T).exp(), "these are counts: divide by their sum"),
        ]
        for wrong, sentence in known:
            if torch.allclose(got, wrong, atol=1e-4):
                raise Mistake(f"{where}: {sentence}")
        raise Mistake(f"{where}: divide the logits by T, then softmax")
    rows = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    got, right = _probs(answer, rows, 2.0), torch.softmax(rows.double() / 2, 1)
    if not torch.allclose(got, right, atol=1e-4):
        raise Mistake(
            f"right for one row, but for logits (2, 2) the first row is {_text(right[0])}, yours is {_text(got[0])}: "
            "normalise each row by itself, over the last dimension"
        )
    for row, T in (([-5.0, -3.0, 0.0, 100.0], 1.0), ([0.0, 8.0], 0.01), ([-2000.0, -2001.0], 1.0), ([0.0, 8.0], 1e-3)):
        logits = torch.tensor(row)
        got, right = _probs(answer, logits, T), torch.softmax(logits.double() / T, 0)
        if not torch.allclose(got, right, atol=1e-4):
            raise Mistake(
                f"right for small logits, but for {_text(logits)} and T = {T:g} yours are {_text(got)}: exp leaves the "
                "range of float32; what may you subtract from all logits of a row?"
            )
    rows = torch.tensor([[0.0, 1.0], [2000.0, 2001.0]])
    got, right = _probs(answer, rows, 1.0), torch.softmax(rows.double(), 1)
    if not torch.allclose(got, right, atol=1e-4):
        raise Mistake(
            f"right for each row alone, but of logits [[0, 1], [2000, 2001]] the first row is {_text(got[0])} in place "
            f"of {_text(right[0])}: one maximum was subtracted from all rows? Subtract each row's own (keepdim)"
        )
    logits = torch.tensor([0.0, 2000.0])
    got, right = _probs(answer, logits, 1000.0), torch.softmax(logits.double() / 1000, 0)
    if not torch.allclose(got, right, atol=1e-4):
        raise Mistake(
            f"right so far, but for logits [0, 2000] and T = 1000 yours are {_text(got)} in place of "
            f"{_text(right)}: the softmax came first and lost the small ones; divide the logits"
        )
    return "divided before exp, normalised after it, and safe where exp alone overflows."


def with_temperature(logits: Tensor, T: float) -> Tensor:
    """Probabilities of logits (..., vocab_size) at temperature T."""
    shifted = (logits - logits.max(-1, keepdim=True).values) / T  # the largest is 0: exp cannot overflow
    counts = shifted.exp()
    return counts / counts.sum(-1, keepdim=True)


q2 = Exercise(
    "12.2",
    "temperature",
    _check_temperature,
    hints=[
        "At T = 2 the difference between two logits should count half: what has to be divided?",
        "Divide first, then exponentiate, then divide each row by its sum.",
        "A small T makes logits large: subtract the row's maximum before exp, as in notebook 03.",
    ],
    solution=with_temperature,
)


# --- 12.3 novelty ----------------------------------------------------------------------------------------------------

_SAMPLES = ["eva", "ann", "zoe", "kim", "zoe", "ann", "ian", "eva", "zoe", "kim", "ann", "zoe"]
_TRAIN = ["anna", "eva", "kim", "ivo", "eva"]


def _share(answer: Callable[[list[str], list[str]], object], samples: Sequence[str], train: Sequence[str]) -> float:
    mine, theirs = list(samples), list(train)
    out = answer(mine, theirs)
    if mine != list(samples) or theirs != list(train):
        raise Mistake("your function changed a list that it was given: make a new one")
    return number(out, "the share")


def _check_novelty(answer: object) -> str:
    own_function(answer, "q3.check(novelty)")
    got = _share(answer, _SAMPLES, _TRAIN)
    n, right = len(_SAMPLES), 8 / 12
    if not math.isclose(got, right, abs_tol=1e-3):
        where = f"of 12 samples (zoe 4, ann 3, ian 1; eva 2, kim 2 are in train) the share is 8/12, yours is {got:.4g}"
        known = [
            (4 / n, "that is the share of samples that are in train: the new ones are the others"),
            (3 / 5, "that counts each different name once: a name drawn four times is four samples"),
            (3 / n, "different new names over all samples: count every sample above the bar too"),
            (5 / n, "'ann' is no name of train, only a part of 'anna': compare whole names, `in` a string finds parts"),
            (8, "that is the number of new samples: divide by the number of samples"),
            (100 * right, "that is per cent: return a share between 0 and 1"),
            (8 / len(_TRAIN), "divide by the number of samples, not of train names"),
            (8 / 4, "divide by the number of samples, not of train names"),
            (2 / 4, "that is the share of train that was drawn again: the question is about the samples"),
        ]
        for wrong, sentence in known:
            if math.isclose(got, wrong, rel_tol=1e-3):
                raise Mistake(f"{where}: {sentence}")
        raise Mistake(f"{where}: count the samples that are no name of train")
    for samples, train, right in ((["a", "b"], ["b", "a"], 0.0), (["a", "ab"], ["b"], 1.0), (["b"], ["abc"], 1.0)):
        got = _share(answer, samples, train)
        if not math.isclose(got, right, abs_tol=1e-3):
            raise Mistake(f"for samples {samples} and train {train} the share is {right}, yours is {got:.4g}")
    return "every sample counts once, whole names are compared, and the result is a share."


def novelty(samples: Sequence[str], train_words: Sequence[str]) -> float:
    """The share of samples that are no name of train."""
    known = set(train_words)  # a set is asked in a blink, a list of 25,000 is read from the front each time
    return sum(name not in known for name in samples) / len(samples)


q3 = Exercise(
    "12.3",
    "how many are new?",
    _check_novelty,
    hints=[
        "For each sample one question: is this whole name in train?",
        "Make a set of train first; `name in some_string` would look for parts of names.",
        "Sum the answers over all samples, repeats included, and divide by the number of samples.",
    ],
    solution=novelty,
)
