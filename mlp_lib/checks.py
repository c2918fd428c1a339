"""Error messages for invalid arguments. Not part of the lecture: you can skip this file.

    @checked
    def eval_loss(model, X, Y): ...  # runs check_module(model), check_examples(model, X, Y), check_logits(model, X, Y)

`@checked` checks the arguments of a call before the function begins. Each check names the arguments it needs and runs
for every function that has all of them. Only the outermost call is checked. Whatever is not listed here raises what
Python or PyTorch raises.
"""

import functools
import inspect
import math
import threading
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

BOUNDARY = "."  # starts and ends every word; always symbol 0

_WHOLE_NUMBERS = {  # whole-number arguments by their name, with the least value that makes sense
    "steps": 0, "start": 0, "n": 0, "batch_size": 1, "block_size": 1, "max_len": 1, "eval_every": 1,
}  # fmt: skip
_OPTIONAL = ("batch_size", "eval_every")  # None has a meaning here
_under_way = threading.local()


def checked(function: Callable) -> Callable:
    """`function`, with its arguments checked when it is called, even if it is a generator function."""
    signature = inspect.signature(function)
    names = set(signature.parameters)
    checks = [(check, wanted) for check, wanted in _checks() if set(wanted) <= names]
    numbers = [name for name in _WHOLE_NUMBERS if name in names]

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> object:
        if getattr(_under_way, "call", False):
            return function(*args, **kwargs)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            bound = None
        if bound is None:
            return function(*args, **kwargs)  # raises Python's own message, which names the function
        bound.apply_defaults()
        given = bound.arguments
        try:
            _under_way.call = True
            for name in numbers:
                if given[name] is not None or name not in _OPTIONAL:
                    whole_number(name, given[name], _WHOLE_NUMBERS[name])
            for check, wanted in checks:
                check(*(given[name] for name in wanted))
            return function(*args, **kwargs)
        finally:
            _under_way.call = False

    return call


def _checks() -> list[tuple[Callable, list[str]]]:
    functions = (
        check_generator, check_word_list, check_vocabulary, check_spelling, check_split_seed, check_rate,
        check_temperature, check_module, check_examples, check_logits, check_trainable, check_evaluations,
        check_fresh_models, check_next_char_model, check_word_start,
    )  # fmt: skip
    return [(check, list(inspect.signature(check).parameters)) for check in functions]


# ---- numbers and generators ------------------------------------------------------------------------------------------


def whole_number(name: str, value: int, least: int = 1) -> int:
    """The value as an int. Raises TypeError or ValueError unless it is a whole number of at least `least`.

    >>> whole_number("steps", 100)
    100
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def check_generator(g: torch.Generator) -> None:
    """A `torch.Generator`, and not its seed or the global one."""
    if not isinstance(g, torch.Generator):
        raise TypeError(f"g must be a torch.Generator, got {g!r}: write g=torch.Generator().manual_seed(2147483647)")


def check_rate(lr: float | Callable[[int], float]) -> None:
    """A learning rate that can be used, or a function of the step's number."""
    if not callable(lr):
        rate_at(lr, None)


def rate_at(lr: float | Callable[[int], float], i: int | None) -> float:
    """The learning rate of step `i`. Raises ValueError for one that is negative or not finite.

    >>> rate_at(lambda i: 0.1 if i < 100_000 else 0.01, 150_000)
    0.01
    """
    value, name, kinds = (lr(i), f"lr({i})", "") if callable(lr) else (lr, "lr", " or a function of the step's number")
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number{kinds}, got {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value}: try 0.1")
    return float(value)


def check_temperature(temperature: float) -> None:
    """A temperature that logits can be divided by."""
    if isinstance(temperature, (bool, str)) or not hasattr(temperature, "__float__"):
        raise TypeError(f"temperature must be a number above 0, got {temperature!r}")
    if not 1e-30 < temperature < math.inf:
        raise ValueError(f"temperature must be a finite number above 0, got {temperature!r}: try 0.5 or 2")


# ---- words -----------------------------------------------------------------------------------------------------------


def check_word_list(words: list[str]) -> None:
    """A list of words, none of which holds the boundary."""
    if not isinstance(words, (list, tuple)):
        got = f"the str {words[:20]!r}" if isinstance(words, str) else type(words).__name__
        raise TypeError(f"words must be a list of str, got {got}: load_words() gives one")
    if not words:
        raise ValueError("words is empty: load some words first, load_words() gives a list")
    for w in words:
        if not isinstance(w, str):
            raise TypeError(f"words must hold str only, got {w!r}")
        if BOUNDARY in w:
            raise ValueError(f"the word {w!r} holds {BOUNDARY!r}, which marks the start and end of a word: remove it")


def check_vocabulary(vocab: object) -> None:
    """A `Vocab`, where people often pass the lecture's `stoi`."""
    if not hasattr(vocab, "stoi"):
        raise TypeError(f"vocab must be a Vocab, got {type(vocab).__name__}: make one with Vocab.from_words(words)")


def check_spelling(words: list[str], vocab: object) -> None:
    """Words of the vocabulary's symbols."""
    for c in sorted(set("".join(words)) - set(vocab.stoi)):
        raise unknown_symbol(c, next(w for w in words if c in w), vocab)


def unknown_symbol(c: str, text: str, vocab: object) -> ValueError:
    """The error for a character that a vocabulary lacks."""
    symbols = "".join(vocab.stoi)
    shown = symbols if len(symbols) <= 60 else symbols[:60] + "..."
    return ValueError(
        f"the character {c!r} in {text[:40]!r} is not among the {len(symbols)} symbols {shown!r}: use only these, or "
        "build the vocabulary from a list that has it"
    )


def check_split_seed(words: list[str], seed: int) -> None:
    """A seed that gives the same split at every call, and words enough for three parts."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed must be a whole number, got {seed!r}: without one every call splits differently")
    if len(words) < 6:
        raise ValueError(f"{len(words)} words are too few to split 80/10/10 with none empty: give at least 6")


# ---- models and examples ---------------------------------------------------------------------------------------------


def check_module(model: nn.Module) -> None:
    """A model is a `torch.nn.Module`."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module that maps X to logits, got {type(model).__name__}")


def check_examples(model: nn.Module, X: Tensor, Y: Tensor) -> None:
    """X (N, block_size), Y (N,): indices that the model knows."""
    if isinstance(Y, Tensor) and Y.is_floating_point() and Y.ndim == 2:
        Y = Y.argmax(1)  # weights (N, vocab_size), as F.cross_entropy and fast_steps take them
    for name, t in (("X", X), ("Y", Y)):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(t).__name__}")
        if t.dtype != torch.int64:
            raise TypeError(f"{name} must hold torch.int64 indices, got {t.dtype}: build it with build_dataset")
    if X.ndim != 2 or Y.ndim != 1 or len(X) != len(Y):
        raise ValueError(
            f"expected X (N, block_size) and Y (N,), got {tuple(X.shape)} and {tuple(Y.shape)}: take both from the "
            "same build_dataset call"
        )
    if len(X) == 0:
        raise ValueError("X and Y hold no examples: build them from at least one word")
    config = getattr(model, "config", None)
    check_contexts(X, getattr(config, "block_size", X.shape[1]))
    lows, highs = zip(torch.aminmax(X), torch.aminmax(Y), strict=True)
    low, high = int(min(lows)), int(max(highs))
    vocab_size = getattr(config, "vocab_size", high + 1)
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"X or Y holds the index {low if low < 0 else high}, but the indices of this model go from 0 to "
            f"{vocab_size - 1}: build model and dataset from the same vocabulary"
        )


def check_contexts(X: Tensor, block_size: int) -> None:
    """X (B, block_size), what a model can look up."""
    if not isinstance(X, Tensor):
        raise TypeError(f"X must be a torch.Tensor, got {type(X).__name__}: write torch.tensor(X)")
    if X.ndim != 2 or X.shape[1] != block_size:
        got = f"{X.shape[1]} characters of context" if X.ndim == 2 else f"shape {tuple(X.shape)}"
        raise ValueError(
            f"X has {got}, but this model was built with block_size={block_size}: "
            f"build the dataset with block_size={block_size}"
        )
    if X.dtype != torch.int64:
        raise TypeError(f"X holds {X.dtype}, but indices are torch.int64: call X.long()")


def check_logits(model: nn.Module, X: Tensor, Y: Tensor) -> None:
    """A model of your own returns logits (B, vocab_size): it is called on one example."""
    out = _logits_of_one(model, X[:1])
    if out is not None and out.shape[1] <= Y.max():
        raise ValueError(
            f"Y holds the index {Y.max()}, but {type(model).__name__} gives only {out.shape[1]} logits per example: "
            "give its last layer one output per symbol"
        )


def check_next_char_model(model: nn.Module, vocab: object) -> None:
    """A model that was trained with this vocabulary and says how much context it reads."""
    block_size = getattr(model, "block_size", None)
    if not hasattr(block_size, "__index__"):
        raise TypeError(
            f"{type(model).__name__} does not say how many characters it reads: give it an attribute block_size"
        )
    out = _logits_of_one(model, torch.zeros(1, block_size, dtype=torch.int64))
    vocab_size = model.config.vocab_size if out is None else out.shape[1]
    if vocab_size != len(vocab.stoi):
        raise ValueError(
            f"the vocabulary has {len(vocab.stoi)} symbols, but the model gives logits for {vocab_size}: use the "
            "vocabulary that the model was trained with"
        )


def check_word_start(prefix: str, max_len: int) -> None:
    """A prefix without the boundary that leaves something to draw."""
    if BOUNDARY in prefix:
        raise ValueError(f"prefix {prefix!r} holds {BOUNDARY!r}, which ends a word: leave it out")
    if len(prefix) >= max_len:
        raise ValueError(f"prefix has {len(prefix)} characters and max_len is {max_len}: nothing is left to draw")


def _logits_of_one(model: nn.Module, X: Tensor) -> Tensor | None:
    """What a model gives for X (1, block_size); None for an `MLP`, which needs no test call."""
    from mlp_lib.model import MLP, device_of, eval_mode  # here, because model.py imports this file

    if isinstance(model, MLP):
        return None
    with eval_mode(model), torch.random.fork_rng(devices=[]):
        out = model(X.to(device_of(model)))
    shape = tuple(out.shape) if isinstance(out, Tensor) else None
    if shape is None or len(shape) != 2 or shape[0] != 1:
        got = f"a {type(out).__name__}" if shape is None else f"shape {shape}"
        raise TypeError(
            f"{type(model).__name__} must return logits (B, vocab_size), one row per example and one column per "
            f"symbol; for one example it returned {got}: let forward return only the logits of the next character"
        )
    return out


def check_trainable(model: nn.Module, X: Tensor, g: torch.Generator) -> None:
    """A model to train (where there is a `g`) has trainable parameters, and none that PyTorch does not know of."""
    known = {id(p) for p in model.parameters()}
    for part in model.modules():
        for name, value in vars(part).items():
            # A tensor that is not a leaf was computed, such as h kept for a plot.
            if any(t.requires_grad and t.is_leaf and id(t) not in known for t in _tensors_in(value)):
                raise ValueError(
                    f"{type(part).__name__}.{name} is hidden from model.parameters(), so it would never be trained: "
                    "wrap tensors in nn.Parameter, and lists in nn.ParameterList or nn.ModuleList"
                )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"no parameter of this {type(model).__name__} requires a gradient, so there is nothing to train: wrap its "
            "tensors in nn.Parameter, or call model.requires_grad_()"
        )


def _tensors_in(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, (list, tuple, dict)):
        for v in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(v)


def check_evaluations(model: nn.Module, eval_on: Mapping[str, tuple[Tensor, Tensor]], eval_every: int | None) -> None:
    """`eval_on` maps names to examples of the model."""
    if not isinstance(eval_on, Mapping):
        raise TypeError(f"eval_on must be a dict, got {type(eval_on).__name__}: write eval_on={{'dev': (Xdev, Ydev)}}")
    if eval_every is not None and not eval_on:
        raise ValueError(f"eval_every={eval_every}, but eval_on names no split: pass eval_on={{'dev': (Xdev, Ydev)}}")
    for name, pair in eval_on.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"eval_on[{name!r}] must be a pair (X, Y), got {type(pair).__name__}: write (Xdev, Ydev)")
        check_examples(model, *pair)


def check_fresh_models(model: nn.Module, fresh: bool) -> None:
    """Only an `MLP` can be recreated with new parameters."""
    if fresh and not hasattr(model, "config"):
        raise TypeError(
            f"fresh=True draws an MLP of the model's sizes, but {type(model).__name__} is not an MLP: pass one, or "
            "leave fresh out"
        )
