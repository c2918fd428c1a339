"""A submitted model: measured on dev, placed on the ladder, and tested at most once, through the vault.

It is judged with the page's own word list and split. It runs once over train and dev in a shuffled order, after part of
dev in the original order: a model that reads only its context gives a row the same answer in both.
"""

import functools
import math
import operator
import sys
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlp_lib.course.exercises.engine import Refused
from mlp_lib.course.exercises.values import show
from mlp_lib.data import Vocab, build_dataset, split_words
from mlp_lib.lab.counts import Interpolated, ProbabilityModel, char_probs, entropy_floor, target_probs
from mlp_lib.lab.ladder import Opening, TestVault, standing
from mlp_lib.model import device_of, eval_mode
from mlp_lib.words import chosen_list, load_words

_STRETCH = 2**14  # rows of dev in the original order: as many as char_probs passes to a model at a time
# Nats. Measured with `_gap`: 0.017 to 0.05 for networks trained on train, -0.005 to 0.010 for those trained on dev too.
_LEAST_GAP = 0.013
_FAR_BELOW = 1.85  # nats; the lowest known dev loss for the lists of the course is 1.92


def handed_in(model: ProbabilityModel, reason: object, *, exercise: str, asked: float) -> str:
    """The sentence for a model whose dev loss is below `asked` nats: its losses, and what dev beats on the ladder.

    With a `reason`, a text, the test set is opened, once for each `exercise` ("E01"), which begins the reason in the
    vault's record. Raises Refused for what cannot be evaluated, for a leak, and for a loss that is not below `asked`.
    """
    _check_is_model(model)
    if reason is not None and not (isinstance(reason, str) and reason.strip()):
        raise Refused(f"the reason for opening the test set must be a text, got {show(reason)}")
    words, on_ladder = _page_words()
    vocab, train, dev, test = _data(tuple(words), _context_of(model))
    _check_vocabulary(model, len(vocab))
    try:
        train_losses, dev_losses = _losses(model, train, dev, len(vocab))
        loss = dev_losses.mean().item()
        if not loss < asked:
            _check_values(model, dev.X[:64])
    except (TypeError, ValueError) as error:
        _check_values(model, dev.X[:64])
        raise Refused(" ".join(str(error).split())) from None
    except IndexError:
        raise Refused(
            f"the model has fewer symbols than the {len(vocab)} of this page's list: it was built for a different "
            "vocabulary"
        ) from None
    place = str(standing(loss)) if on_ladder else f"dev {loss:.4f}"
    _check_loss(loss, place, math.log(len(vocab)), entropy_floor(dev.X, dev.Y), asked)
    seen = "dev is far below every known loss for this list" if on_ladder and loss < _FAR_BELOW else ""
    if not seen and _gap(train_losses, dev_losses, train, dev, len(vocab)) < _LEAST_GAP:
        seen = "it predicts them as well as the train names"
    if seen:
        raise Refused(
            f"dev {loss:.4f}, train {train_losses.mean():.4f}: this model has seen the dev names, since {seen}. Was it "
            "trained on all names, or on a different split? Train on train only, "
            "make_splits(words, vocab, block_size)[:2]"
        )
    said = f"train {train_losses.mean():.4f}, {place}."
    if reason is None:
        return f"{said} The test set stays sealed; a reason as the last argument opens it, once"
    return f"{said} {_opened_once(model, train_losses, train, test, len(vocab), f'{exercise}: ', reason.strip())}"


# ---- the page's list -------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A split: its examples, and which of them belong to a name that occurs once in the list (N,)."""

    X: Tensor
    Y: Tensor
    once: Tensor


def _page_words() -> tuple[list[str], bool]:
    """The list that the page calls `words`, and whether the known losses of the ladder are for it.

    The order is that of the file: a list shuffled in place would give a different split.
    """
    page = sys.modules["__main__"]
    words_file, words = getattr(page, "words_file", None), getattr(page, "words", None)
    listed = load_words(words_file)
    is_list = isinstance(words, list) and words and all(isinstance(word, str) for word in words)
    if is_list and Counter(words) != Counter(listed):
        return words, False
    return listed, chosen_list(words_file) in (None, "lecture")


@functools.lru_cache(maxsize=2)
def _data(words: tuple[str, ...], block_size: int) -> tuple[Vocab, _Part, _Part, _Part]:
    vocab, count = Vocab.from_words(list(words)), Counter(words)
    parts = []
    for part in split_words(list(words)):
        once = [count[word] == 1 for word in part for _ in range(len(word) + 1)]
        parts.append(_Part(*build_dataset(part, vocab, block_size), torch.tensor(once)))
    return vocab, *parts


# ---- is it a model? --------------------------------------------------------------------------------------------------


def _check_is_model(model: object) -> None:
    if isinstance(model, list | tuple) and len(model) == 5 and all(isinstance(t, Tensor) for t in model):
        raise Refused("these are five tensors: MLP.from_tensors(C, W1, b1, W2, b2) builds a model from them")
    if hasattr(model, "model") and hasattr(model, "losses"):
        raise Refused("this is a result of run_grid: pass its .model (None if the run was read from a ladder)")
    if isinstance(model, type):
        raise Refused(f"{model.__name__} is a class: pass a trained model, an instance of it")
    if isinstance(model, int | float):
        raise Refused(f"{model} is a number: pass the model itself, the check measures its loss")
    if not callable(model):
        raise Refused(f"pass a trained model, such as a torch.nn.Module that returns logits, got {show(model)}")


def _context_of(model: object) -> int:
    """How many characters of context a model reads, by its own account. Raises Refused unless from 1 to 64."""
    size = getattr(model, "block_size", getattr(getattr(model, "config", None), "block_size", None))
    if size is None:
        raise Refused(
            f"how many characters of context does this {type(model).__name__} read? Set my_model.block_size to it, "
            "a whole number"
        )
    try:
        if isinstance(size, bool) or not 1 <= operator.index(size) <= 64:
            raise TypeError
    except TypeError:
        raise Refused(f"block_size must be a whole number from 1 to 64, got {show(size)}") from None
    return operator.index(size)


def _check_vocabulary(model: object, vocab_size: int) -> None:
    theirs = getattr(getattr(model, "config", None), "vocab_size", getattr(model, "vocab_size", None))
    if theirs not in (None, vocab_size):
        raise Refused(
            f"this model has {theirs} symbols, but this page's list has {vocab_size}: it was trained on a different "
            "list, so its loss cannot be compared"
        )


def _check_values(model: ProbabilityModel, X: Tensor) -> None:
    """For a model with a poor loss or none: raise Refused if it mixes up logits, probabilities and their logs."""
    if hasattr(model, "next_char_probs"):
        return
    is_module = isinstance(model, nn.Module)
    with eval_mode(model if is_module else nn.Identity()), torch.no_grad():
        values = model(X.to(device_of(model)) if is_module else X)
    if not isinstance(values, Tensor) or values.ndim != 2:
        return  # its shape is refused elsewhere
    values = values.cpu().double()
    ones = torch.ones(len(values), dtype=torch.float64)
    if not is_module and (values <= 0).all():
        raise Refused("your function returns log-probabilities: a function has to return probabilities, so take .exp()")
    if is_module and (values >= 0).all() and torch.allclose(values.sum(1), ones, atol=1e-4):
        raise Refused(
            "your module returns probabilities (no value below 0, rows that sum to 1) instead of logits: the softmax "
            "would be taken twice. Return the values before it, or the log"
        )
    if is_module and torch.allclose((10**values).sum(1), ones, atol=1e-4):
        raise Refused("your module returns log10 of its probabilities: use log, since exp of it is the probability")


# ---- its losses ------------------------------------------------------------------------------------------------------


def _losses(model: ProbabilityModel, train: _Part, dev: _Part, vocab_size: int) -> tuple[Tensor, Tensor]:
    """The loss of each example of train and of dev. Raises Refused for a model that reads more than its row."""
    X, Y = torch.cat([dev.X, train.X]), torch.cat([dev.Y, train.Y])
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(2147483647))
    X_asked, Y_asked = torch.cat([dev.X[:_STRETCH], X[order]]), torch.cat([dev.Y[:_STRETCH], Y[order]])
    probs = target_probs(model, X_asked, Y_asked, vocab_size=vocab_size)
    in_order, shuffled = probs[: len(X_asked) - len(X)], torch.empty(len(X), dtype=torch.float64)
    shuffled[order] = probs[len(in_order) :]
    again = shuffled[: len(in_order)]
    if not torch.allclose(in_order, again, atol=1e-3):
        one, other = (char_probs(model, dev.X[:64]) for _ in range(2))
        if not torch.allclose(one, other, atol=1e-3):
            raise Refused(
                "two calls with the same contexts differ: is something drawn during evaluation (F.dropout needs "
                "training=self.training), or kept from one call to the next?"
            )
        losses = [-p.log().mean().item() for p in (in_order, again)]
        if losses[0] < losses[1] - 0.05:
            raise Refused(
                f"dev {losses[0]:.4f} in the order of the dataset, {losses[1]:.4f} for the same rows in a different "
                "order: the answers leak in. The next row ends with this row's answer, but a model may read only "
                "its own row"
            )
        raise Refused(
            "the probabilities of a row depend on the other rows of the batch, for example through a batch mean at "
            "evaluation: a model may read only its own row"
        )
    losses = -shuffled.log()
    return losses[len(dev.X) :], losses[: len(dev.X)]


def _check_loss(dev: float, place: str, uniform: float, floor: float, asked: float) -> None:
    if not math.isfinite(dev):
        raise Refused(
            f"the loss is {dev}: at least one character that occurs has probability 0. In a table of counts, add "
            "something to each count; in a network, keep logits from lying hundreds apart"
        )
    if dev > uniform:
        raise Refused(
            f"dev {dev:.4f} is worse than uniform guessing, {uniform:.4f}: untrained, trained too briefly, or with "
            "symbols in a different order than that of Vocab.from_words"
        )
    if not dev < asked:
        raise Refused(f"{place}. The exercise asks for a dev loss below {asked:g}")
    if dev < floor:
        raise Refused(
            f"dev {dev:.4f} is below the entropy of dev itself, {floor:.4f} for this context. No model that reads only "
            "the context can reach it: the answers leak in"
        )


def _gap(one: Tensor, other: Tensor, train: _Part, part: _Part, vocab_size: int) -> float:
    """How much worse a model predicts a split than train, in nats per example, over names that occur once.

    A split can be harder than train, so the model is compared with counts that have seen both.
    """
    X, Y = torch.cat([train.X, part.X]), torch.cat([train.Y, part.Y])
    counts = Interpolated(min(2, X.shape[1])).fit(X, Y, vocab_size)
    more = [
        (losses + target_probs(counts, p.X, p.Y).log())[p.once].mean().item()
        for losses, p in ((one, train), (other, part))
    ]
    return more[1] - more[0]


# ---- the test set ----------------------------------------------------------------------------------------------------


class _Logits(nn.Module):
    """Any model, as a module that returns logits, for the vault."""

    def __init__(self, model: ProbabilityModel) -> None:
        super().__init__()
        self.probs = lambda X: char_probs(model, X)

    def forward(self, X: Tensor) -> Tensor:
        return self.probs(X).log()


_of_this_process: list[Opening] = []  # when no record is kept, as in CI


def _opened_once(
    model: ProbabilityModel, losses: Tensor, train: _Part, test: _Part, vocab_size: int, begins: str, reason: str
) -> str:
    """Open the vault for this exercise if it has not been opened yet, and say what the loss is.

    Raises Refused if the opening cannot be recorded, and for a model that has seen the test names.
    """
    try:
        vault = TestVault(test.X, test.Y)
        earlier = [o for o in [*vault.openings, *_of_this_process] if o.reason.startswith(begins)]
        if earlier:
            then = earlier[0]
            said = "" if then.loss is None else f", and the loss was {then.loss:.4f}"
            return f"The test set was opened for {begins[:-2]} on {then.at:%Y-%m-%d}{said}: it stays closed"
        loss = vault.loss(_Logits(model), reason=begins + reason)
    except (OSError, ValueError) as error:
        raise Refused(f"the test set stays sealed: {' '.join(str(error).split())}") from None
    if vault.path is None:
        _of_this_process.append(vault.openings[-1])
    test_losses = -target_probs(model, test.X, test.Y).log()
    if _gap(losses, test_losses, train, test, vocab_size) < _LEAST_GAP:
        raise Refused(
            f"test {loss:.4f}, recorded. This model has seen the test names, since it predicts them as well as the "
            "train names: its test loss means nothing"
        )
    return f"Test {loss:.4f}, seen once and recorded: do not use it to choose a model"
