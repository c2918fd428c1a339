"""A trained model handed in: measured on dev, placed on the ladder, and tested at most once, through the vault."""

import functools
import inspect
import math
import operator
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import brief
from mlp_lib.course.exercises.base import Mistake
from mlp_lib.data import Splits, Vocab, make_splits
from mlp_lib.lab.counts import ProbabilityModel, char_probs, entropy_floor, target_probs
from mlp_lib.lab.ladder import Opening, Standing, TestVault, standing
from mlp_lib.model import device_of, eval_mode
from mlp_lib.words import load_words

_KNOWN_TO_BE_HARD = 1.85  # far below all that is known, on any split


def handed_in(model: object, reason: object, *, exercise: str, asked: float) -> str:
    """The sentence for a model whose dev loss lies under `asked` nats: its losses, and what dev beats on the ladder.

    Measured on the bundled list's splits. With a `reason`, a text, the test set is opened, once for each `exercise`
    ("E01"), which begins the reason in the vault's record. Raises `Mistake` for whatever cannot be evaluated, for a
    loss that no honest model has, and for one that is not under `asked`.
    """
    _check_is_model(model)
    if not (reason is None or isinstance(reason, str)):
        raise Mistake(f"the reason for opening the test set is a text, got {brief(reason)}")
    train_loss, place = measured(model, asked)
    said = f"train {train_loss:.4f}, {place}."
    if reason is None or not reason.strip():
        return f"{said} The test set stays sealed"
    return f"{said} {opened_once(model, place.dev, exercise=exercise, reason=reason)}"


def measured(model: ProbabilityModel, asked: float) -> tuple[float, Standing]:
    """The train loss in nats of a model that says how many characters it reads, and where its dev loss stands.

    `model` is anything that `char_probs` takes. Raises `Mistake` as `handed_in` does.
    """
    vocab, splits = _data(context_of(model))
    _check_answers(model, len(vocab), splits.Xdev)
    dev = _loss(model, splits.Xdev, splits.Ydev, len(vocab))
    _check_is_possible(dev, splits)
    if dev > math.log(len(vocab)):
        raise Mistake(
            f"dev {dev:.4f} is worse than uniform guessing, {math.log(len(vocab)):.4f}: untrained, or another order of "
            "symbols than Vocab.from_words gives"
        )
    place = standing(dev)
    if not dev < asked:
        raise Mistake(f"{place}. The exercise asks for a dev loss under {asked:g}")
    train_loss = _loss(model, splits.Xtr, splits.Ytr, len(vocab))
    _check_against_train(train_loss, dev)
    return train_loss, place


def context_of(model: object) -> int:
    """How many characters of context a model says that it reads. Raises `Mistake` unless they are from 1 to 64."""
    size = getattr(model, "block_size", getattr(getattr(model, "config", None), "block_size", None))
    if size is None:
        raise Mistake(
            f"how many characters of context does this {type(model).__name__} read? Set my_model.block_size to it, "
            "a whole number"
        )
    try:
        if isinstance(size, bool) or not 1 <= operator.index(size) <= 64:
            raise TypeError
    except TypeError:
        raise Mistake(f"block_size must be a whole number from 1 to 64, got {brief(size)}") from None
    return operator.index(size)


@functools.lru_cache(maxsize=2)
def _data(block_size: int) -> tuple[Vocab, Splits]:
    words = load_words()
    vocab = Vocab.from_words(words)
    return vocab, make_splits(words, vocab, block_size)


def _check_is_model(model: object) -> None:
    """A Mistake for whatever cannot be evaluated."""
    if isinstance(model, (list, tuple)) and len(model) == 5 and all(isinstance(t, Tensor) for t in model):
        raise Mistake("these are five tensors: MLP.from_tensors(C, W1, b1, W2, b2) makes a model of them")
    if hasattr(model, "model") and hasattr(model, "losses"):
        raise Mistake("this is a result of run_grid: hand over its .model (None if the run was found on a ladder)")
    if inspect.isclass(model):
        raise Mistake(f"{model.__name__} is a class: hand over the trained model, an object")
    if isinstance(model, (int, float)) and not isinstance(model, bool):
        raise Mistake(f"{model} is a number: hand over the model itself, the check measures its loss")
    if isinstance(model, types.FunctionType):
        raise Mistake("this is a function: hand over a trained model, a torch.nn.Module that gives logits")
    if not isinstance(model, nn.Module):
        raise Mistake(f"hand over a trained model, a torch.nn.Module that gives logits, got {brief(model)}")


def _check_answers(model: ProbabilityModel, vocab_size: int, Xdev: Tensor) -> None:
    """The model gives probabilities for the bundled list's symbols, a row's without regard to the rows beside it."""
    config = getattr(model, "config", None)
    theirs = getattr(config, "vocab_size", getattr(model, "vocab_size", None))
    if theirs not in (None, vocab_size):
        raise Mistake(
            f"this model has {theirs} symbols, and the course's list has {vocab_size}: it was trained on another list, "
            "so its losses compare with nothing here"
        )
    few = Xdev[:64]
    with torch.random.fork_rng(devices=[]):  # whoever draws at evaluation leaves the learner's generator as it was
        if not hasattr(model, "next_char_probs"):
            values = _asked(lambda: _values(model, few), vocab_size)
            if isinstance(values, Tensor) and values.shape == (len(few), vocab_size):  # else refused by its shape
                _check_values(values.cpu().double(), isinstance(model, nn.Module))
        together, again = (_asked(lambda: char_probs(model, few, vocab_size=vocab_size), vocab_size) for _ in range(2))
        alone = _asked(lambda: torch.cat([char_probs(model, few[k : k + 1]) for k in range(8)]), vocab_size)
    if not torch.allclose(together, again, atol=1e-3):
        raise Mistake(
            "two answers to one question differ: something is drawn at evaluation, too. F.dropout wants "
            "training=self.training"
        )
    if not torch.allclose(together[:8], alone, atol=1e-3):
        raise Mistake(
            "the probabilities of a row change with the rows beside it, as when the mean of a batch is taken at "
            "evaluation, or the next row is read, which ends in the answer: ask for one row at a time and they would "
            "be others"
        )


def _values(model: ProbabilityModel, X: Tensor) -> object:
    if not isinstance(model, nn.Module):
        return model(X)
    with eval_mode(model):
        return model(X.to(device_of(model)))


def _check_values(values: Tensor, are_logits: bool) -> None:
    """Name what is wrong with the values (rows, symbols) themselves, before any loss is computed."""
    if not are_logits:
        if (values <= 0).all():
            raise Mistake("your function gives log-probabilities: a function is asked for probabilities, take .exp()")
        return
    if not (values < math.inf).all():  # -inf is a probability of 0, which the loss judges
        raise Mistake("the logits are not all finite (nan or inf): the training blew up")
    ones = torch.ones(len(values), dtype=torch.float64)
    if (values >= 0).all() and torch.allclose(values.sum(1), ones, atol=1e-4):
        raise Mistake(
            "your module gives probabilities (no value below 0, rows that sum to 1) where logits are due: the softmax "
            "would be taken twice. Return what stands before it, or the log"
        )
    sums_10, sums = (10**values).sum(1), values.exp().sum(1)
    if torch.allclose(sums_10, ones, atol=1e-4) and not torch.allclose(sums, ones, atol=1e-4):
        raise Mistake("your module gives log10 of its probabilities: use log, whose exp is the probability")


def _asked(call: Callable[[], Any], vocab_size: int) -> Any:
    """What the model answers; what is wrong with it as a Mistake."""
    try:
        return call()
    except (TypeError, ValueError) as error:
        raise Mistake(" ".join(str(error).split())) from None
    except IndexError:
        raise Mistake(
            f"the model knows fewer symbols than the {vocab_size} of the course's list: it was made for another "
            "vocabulary"
        ) from None


def _loss(model: ProbabilityModel, X: Tensor, Y: Tensor, vocab_size: int) -> float:
    probs = _asked(lambda: target_probs(model, X, Y, vocab_size=vocab_size), vocab_size)
    loss = -probs.log().mean().item()
    if not math.isfinite(loss):
        raise Mistake(
            f"the loss is {loss}: at least one character that occurs has the probability 0. A table of counts needs "
            "something added to each count"
        )
    return loss


def _check_is_possible(dev: float, splits: Splits) -> None:
    """A dev loss that no honest model has: dev was trained on, or the answers leak in."""
    block_size = splits.Xdev.shape[1]
    floor = entropy_floor(splits.Xdev, splits.Ydev)
    if dev < floor:
        raise Mistake(
            f"dev {dev:.4f} lies below the entropy of dev itself, {floor:.4f} for {block_size} characters of context. "
            "Nothing that reads only the context gets there: the answers leak in"
        )
    if dev < _KNOWN_TO_BE_HARD:
        raise Mistake(
            f"dev {dev:.4f} is far below all that is known, and a transformer reaches about 1.92: this model has seen "
            "the dev names. Train on train alone, make_splits(words, vocab, block_size)[:2]"
        )


def _check_against_train(train_loss: float, dev: float) -> None:
    """Dev lies above train, unless the model has seen dev, too."""
    learned_much = dev < 2.15  # then train lies well below dev, by 0.03 to 0.05 for the networks of this course
    if dev < train_loss + (0.01 if learned_much else -0.005):
        where = "lies below" if dev < train_loss else "is hardly above"
        raise Mistake(
            f"dev {dev:.4f} {where} train {train_loss:.4f}: was this model trained on dev, on all names, or on "
            "another split? Here counts train of the bundled list, make_splits(words, vocab, block_size)"
        )


_of_this_process: list[Opening] = []  # where no record is kept, in CI


def opened_once(model: nn.Module, dev: float, *, exercise: str, reason: str) -> str:
    """Open the vault for this exercise if that has not been done before, and say what was seen.

    The reason is a text, and `dev` the model's dev loss in nats. Raises `Mistake` where the opening cannot be recorded.
    """
    splits = _data(context_of(model))[1]
    try:
        vault = TestVault(splits.Xte, splits.Yte)
        earlier = [o for o in [*vault.openings, *_of_this_process] if o.reason.startswith(f"{exercise}: ")]
        if earlier:
            then = earlier[0]
            said = "" if then.loss is None else f", and the loss was {then.loss:.4f}"
            return f"The test set was opened for {exercise} on {then.at:%Y-%m-%d}{said}: it stays closed now"
        loss = vault.loss(model, reason=f"{exercise}: {reason.strip()}")
    except (OSError, ValueError) as error:
        raise Mistake(f"the test set stays sealed: {' '.join(str(error).split())}") from None
    if vault.path is None:
        _of_this_process.append(vault.openings[-1])
    said = f"Test {loss:.4f}, seen once and written down: choose nothing by it"
    if loss < dev - 0.05:  # the luck of the split is a hundredth
        said += ". It lies far below dev: has the model seen test names?"
    return said
