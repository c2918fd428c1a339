"""Count models: what a table of counts reaches without any training, and the mixture of two models.

A loss means little alone. Beside it belong the loss of a table of counts, which is made in a fraction of a second, and
the entropy floor, below which no model can come on the examples it was made from. The mixture of a network and counts
is an idea of the paper itself. Everything here is in nats and float64, on the CPU. Taught in: notebook 13 (the ladder)
and notebook 15 (the mixture).
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.checks import count as check_count
from mlp_lib.checks import examples as check_examples
from mlp_lib.data import Vocab
from mlp_lib.model import device_of, eval_mode
from mlp_lib.sample import sample_words

ProbabilityModel = nn.Module | Callable[[Tensor], Tensor]
"""What `char_probs` reads: a module that gives logits, a count model, or a function that gives probabilities."""

_ROWS = 2**14  # rows looked up at a time: bounds the memory, not the result


# ---- one table of counts ---------------------------------------------------------------------------------------------


class _Table:
    """How often each character followed each context of one length: n(h, c), n(h) and the different ones T(h).

    Of the 27**8 contexts of 8 characters only those that occur are kept. A context is one whole number, its characters
    being digits to the base `vocab_size`; context and next character make another. Both lists are sorted, so a count is
    found by halving.
    """

    def __init__(self, X: Tensor, Y: Tensor, context: int, vocab_size: int) -> None:
        self.context, self.vocab_size = context, vocab_size
        contexts = _numbers(X, context, vocab_size)  # (N,)
        self.pairs, self.n_pair = torch.unique(contexts * vocab_size + Y, return_counts=True)
        # Sorted pairs have sorted contexts, and each pair is one of the different characters that follow its context.
        self.contexts, which, self.n_types = torch.unique_consecutive(
            self.pairs // vocab_size, return_inverse=True, return_counts=True
        )
        self.n_context = torch.zeros_like(self.contexts).index_add_(0, which, self.n_pair)

    def counts(self, X: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """n(h, c) (B, K), n(h) (B, 1) and T(h) (B, 1) for contexts X (B, block_size) and characters C (B, K)."""
        contexts = _numbers(X, self.context, self.vocab_size)[:, None]  # (B, 1)
        n_pair = _find(self.pairs, self.n_pair, contexts * self.vocab_size + C)
        n_context = _find(self.contexts, self.n_context, contexts)
        return n_pair, n_context, _find(self.contexts, self.n_types, contexts)


def _numbers(X: Tensor, context: int, vocab_size: int) -> Tensor:
    """The last `context` characters of each row of X (N, block_size) as one whole number (N,)."""
    numbers = torch.zeros(X.shape[0], dtype=torch.int64)
    for k in range(X.shape[1] - context, X.shape[1]):
        numbers = numbers * vocab_size + X[:, k]
    return numbers


def _find(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """The value of each wanted key, as float64; 0 for a key that is not there."""
    at = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    return torch.where(keys[at] == wanted, values[at], 0).double()


def _check_context(context: int, vocab_size: int) -> None:
    if vocab_size ** (context + 1) > 2**63:
        longest = next(k for k in range(64) if vocab_size ** (k + 2) > 2**63)
        raise ValueError(
            f"{context} characters of context and {vocab_size} symbols make more combinations than a 64-bit number "
            f"can tell apart: use at most {longest} characters of context"
        )


def _check_indices(name: str, t: Tensor, vocab_size: int) -> None:
    low, high = int(t.min()), int(t.max())
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        raise ValueError(
            f"{name} holds the index {wrong} but there are {vocab_size} symbols, from 0 to {vocab_size - 1}: "
            "use the vocabulary that the examples were built with"
        )


# ---- the two count models --------------------------------------------------------------------------------------------


class _CountModel(nn.Module):
    """What both count models share. As a module it gives log-probabilities, which are logits, so `eval_loss`,
    `sample_words`, `next_char_probs`, `TestVault.loss` and `mixture_loss` take it like any network.
    """

    def __init__(self, context: int) -> None:
        super().__init__()
        check_count("context", context, least=0)
        self.context = int(context)  # of a NumPy integer too: `block_size` is asked to be a plain one elsewhere
        self.vocab_size: int | None = None  # None until fit
        self._tables: list[_Table] = []

    @property
    def block_size(self) -> int:
        """How many characters of context are asked for: `context`, but at least 1, as in every dataset."""
        return max(self.context, 1)

    @property
    def n_parameters(self) -> int:
        """How many counts are kept: what stands beside the parameters of a network."""
        return sum(len(table.pairs) for table in self._tables)

    def fit(self, X: Tensor, Y: Tensor, vocab_size: int) -> Self:
        """Count the examples X (N, block_size), Y (N,) of `build_dataset`; returns the model. Counts anew each time.

        Only the last `context` characters of each row are read, so one dataset with a long context serves all models.
        Raises TypeError or ValueError for tensors that are no examples, rows shorter than `context`, an index outside
        the vocabulary, or a context too long for `vocab_size` symbols (12 characters are the most for 27).
        """
        check_examples(nn.Identity(), X, Y)
        check_count("vocab_size", vocab_size, least=2)
        _check_context(self.context, vocab_size)
        X = self._checked(X, vocab_size)
        Y = Y.detach().to("cpu", torch.int64)
        _check_indices("Y", Y, vocab_size)
        self._tables = [_Table(X, Y, context, vocab_size) for context in self._contexts()]
        self.vocab_size = int(vocab_size)
        return self

    def forward(self, X: Tensor) -> Tensor:
        """The log-probabilities (B, vocab_size) of the next character."""
        return self.next_char_probs(X).log()

    @torch.no_grad()
    def next_char_probs(self, X: Tensor) -> Tensor:
        """The probabilities (B, vocab_size), float64, of the character after each context of X (B, block_size).

        For a context as text write `mlp_lib.next_char_probs(model, vocab, "em")`.
        Raises ValueError before `fit`, for rows shorter than `context` or an index outside the vocabulary.
        """
        vocab_size = self._fitted()
        X = self._checked(X, vocab_size)
        every = torch.arange(vocab_size)
        parts = [self._probs(rows, every.expand(len(rows), vocab_size)) for rows in X.split(_ROWS)]
        return torch.cat(parts)  # (B, vocab_size)

    @torch.no_grad()
    def loss(self, X: Tensor, Y: Tensor) -> float:
        """The mean loss in nats over all examples: what `eval_loss` gives, sooner, as only Y is looked up.

        Raises what `next_char_probs` raises, and TypeError or ValueError for tensors that are no examples.
        """
        check_examples(nn.Identity(), X, Y)
        vocab_size = self._fitted()
        X, Y = self._checked(X, vocab_size), Y.detach().to("cpu", torch.int64)
        _check_indices("Y", Y, vocab_size)
        return -self._probs(X, Y[:, None]).log().mean().item()

    def sample(
        self,
        vocab: Vocab,
        n: int = 20,
        *,
        prefix: str = "",
        max_len: int = 100,
        batched: bool = False,
        g: torch.Generator,
    ) -> list[str]:
        """`n` words, each drawn from `g` character by character until ".": `sample_words` of this model.

        Raises what `sample_words` raises, and ValueError before `fit`.
        """
        self._fitted()
        return sample_words(self, vocab, n, prefix=prefix, max_len=max_len, batched=batched, g=g)

    def extra_repr(self) -> str:
        """The settings, for `print(model)`."""
        fitted = "not fitted" if self.vocab_size is None else f"{self.n_parameters:,} counts"
        return f"context={self.context}, {self._setting()}, {fitted}"

    def _contexts(self) -> list[int]:
        """The lengths of context that are counted."""
        raise NotImplementedError

    def _setting(self) -> str:
        raise NotImplementedError

    def _probs(self, X: Tensor, C: Tensor) -> Tensor:
        """The probabilities (B, K) of the characters C (B, K) after X (B, block_size)."""
        raise NotImplementedError

    def _fitted(self) -> int:
        if self.vocab_size is None:
            raise ValueError(f"this {type(self).__name__} has counted nothing yet: call fit(X, Y, vocab_size) first")
        return self.vocab_size

    def _checked(self, X: Tensor, vocab_size: int) -> Tensor:
        if not isinstance(X, Tensor):
            raise TypeError(f"X must be a torch.Tensor, got {type(X).__name__}")
        if X.is_floating_point() or X.is_complex() or X.dtype == torch.bool:
            raise TypeError(f"X must hold integer indices, got {X.dtype}: build it with build_dataset")
        if X.ndim != 2 or X.shape[1] < self.context:
            raise ValueError(
                f"X has shape {tuple(X.shape)} but this model reads {self.context} characters of context: "
                f"build the dataset with block_size={self.block_size} or more"
            )
        X = X.detach().to("cpu", torch.int64)
        if X.numel():
            _check_indices("X", X, vocab_size)
        return X


class NGram(_CountModel):
    """Counts with add-k smoothing: p(c | h) = (n(h, c) + add) / (n(h) + add * vocab_size).

    h is the last `context` characters and n counts the training examples, so `context=1` is the bigram model of the
    lecture before this one, `context=3` a 4-gram. A context that never occurred gives all characters alike.
    `model(X)` gives log-probabilities (B, vocab_size).

    Raises TypeError or ValueError for a `context` that is no whole number of at least 0, an `add` that is not above 0.
    Source: additive smoothing, as in part 1 of the lecture's series. Taught in: notebook 13.

    >>> from mlp_lib import build_dataset
    >>> vocab = Vocab("av")
    >>> X, Y = build_dataset(["ava", "va"], vocab, block_size=2)
    >>> model = NGram(context=1, add=0.5).fit(X, Y, len(vocab))
    >>> model.next_char_probs(torch.tensor([[0, 2]])).tolist()  # after "v": twice "a"
    [[0.14285714285714285, 0.7142857142857143, 0.14285714285714285]]
    """

    def __init__(self, context: int, add: float = 0.1) -> None:
        super().__init__(context)
        _check_positive("add", add, "a character that never followed would get probability 0 and an infinite loss")
        self.add = float(add)

    def _contexts(self) -> list[int]:
        return [self.context]

    def _setting(self) -> str:
        return f"add={self.add:g}"

    def _probs(self, X: Tensor, C: Tensor) -> Tensor:
        (table,) = self._tables
        n_pair, n_context, _ = table.counts(X, C)
        return (n_pair + self.add) / (n_context + self.add * self.vocab_size)


class Interpolated(_CountModel):
    """Counts of all contexts from none to `context` characters, each filled up from the shorter one (Witten-Bell form).

    With h the last k characters, h' the last k - 1, n(h, c) the counts and T(h) how many different characters followed,

        p_k(c | h) = (n(h, c) + strength * T(h) * p_{k-1}(c | h')) / (n(h) + strength * T(h)),

    down to p_{-1} = 1 / vocab_size. A context that never occurred has n(h) = T(h) = 0 and passes on what the shorter
    one says. The more different characters have followed a context, the more the shorter one is believed. `strength` is
    often written lambda: 1 is Witten and Bell's own choice; on lists of names more is better, 2 for 3 characters of
    context, 4 for 4 and 5. `model(X)` gives log-probabilities (B, vocab_size).

    Raises TypeError or ValueError for a `context` that is no whole number of at least 0 or a `strength` that is not
    above 0. Source: Witten and Bell 1991, method C, in the interpolated form of Chen and Goodman 1998; the factor
    `strength` is an addition. Taught in: notebooks 13 and 15.

    >>> from mlp_lib import build_dataset
    >>> vocab = Vocab("av")
    >>> X, Y = build_dataset(["ava", "va"], vocab, block_size=2)
    >>> model = Interpolated(context=2).fit(X, Y, len(vocab))
    >>> model.next_char_probs(X).sum(dim=1).allclose(torch.ones(7, dtype=torch.float64))
    True
    """

    def __init__(self, context: int = 5, strength: float = 4.0) -> None:
        super().__init__(context)
        _check_positive("strength", strength, "at 0 the shorter contexts would never be asked")
        self.strength = float(strength)

    def _contexts(self) -> list[int]:
        return list(range(self.context + 1))

    def _setting(self) -> str:
        return f"strength={self.strength:g}"

    def _probs(self, X: Tensor, C: Tensor) -> Tensor:
        probs = torch.full(C.shape, 1 / self.vocab_size, dtype=torch.float64)
        for table in self._tables:
            n_pair, n_context, n_types = table.counts(X, C)
            seen = n_context > 0
            weight = torch.where(seen, self.strength * n_types, 1)  # unseen: (0 + 1 * probs) / (0 + 1) is probs
            probs = (n_pair + weight * probs) / (n_context + weight)
        return probs


def _check_positive(name: str, value: float, why: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}: {why}")


# ---- the floor -------------------------------------------------------------------------------------------------------


def entropy_floor(X: Tensor, Y: Tensor) -> float:
    """The lowest mean loss in nats that any model can reach on X (N, block_size), Y (N,), given only X.

    It is the entropy of Y given X among these very examples: reached by the model that gives each character the share
    with which it followed its context here. It holds for the examples it is computed from: a training loss below the
    floor of the training split is a bug, a dev loss below it is none.

    Raises TypeError or ValueError for tensors that are no examples, or a context too long for 64-bit numbers.
    Source: lecture 00:37:56, where one batch cannot reach 0. Taught in: notebooks 04, 07 and 13.

    >>> X = torch.tensor([[0], [0], [1], [1]])
    >>> entropy_floor(X, torch.tensor([1, 2, 0, 0]))  # after 0 a coin, after 1 no doubt: (ln 2 + 0) / 2
    0.34657359027997264
    """
    check_examples(nn.Identity(), X, Y)
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions, (examples, block_size), got shape {tuple(X.shape)}")
    X, Y = X.detach().to("cpu", torch.int64), Y.detach().to("cpu", torch.int64)
    vocab_size = max(int(X.max()), int(Y.max()), 1) + 1
    _check_indices("X", X, vocab_size)
    _check_indices("Y", Y, vocab_size)
    _check_context(X.shape[1], vocab_size)
    table = _Table(X, Y, X.shape[1], vocab_size)
    n_pair, n_context = table.n_pair.double(), table.n_context.double()
    return ((n_context * n_context.log()).sum() - (n_pair * n_pair.log()).sum()).item() / len(Y)


# ---- any model that gives probabilities ------------------------------------------------------------------------------


@torch.no_grad()
def char_probs(model: ProbabilityModel, X: Tensor, *, vocab_size: int | None = None) -> Tensor:
    """The probabilities (B, vocab_size), float64, on the CPU, that `model` gives the character after each row of X.

    `model` is one of three: an object with a method `next_char_probs(X)`, such as a count model; any other module,
    whose logits go through a softmax, in evaluation mode; or a function from X to probabilities. A model that has
    `block_size` gets the last so many characters of each row: models of different contexts can be asked with one X.

    Raises TypeError or ValueError, with one sentence, for a model that is none of these, values of another shape (or
    another number of symbols, if `vocab_size` is given), logits that are not finite, and probabilities that are
    negative or do not sum to 1. Draws nothing. Taught in: notebooks 13 and 15.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(vocab_size=4), g=torch.Generator().manual_seed(2147483647))
    >>> char_probs(model, torch.zeros(2, 8, dtype=torch.int64)).shape
    torch.Size([2, 4])
    """
    read = _reader(model)
    if not isinstance(X, Tensor):
        raise TypeError(f"X must be a torch.Tensor, got {type(X).__name__}: write torch.tensor(X)")
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions, (examples, block_size), got shape {tuple(X.shape)}")
    if X.is_floating_point() or X.is_complex() or X.dtype == torch.bool:
        raise TypeError(f"X must hold integer indices, got {X.dtype}: build it with build_dataset")
    parts = []
    for rows in X.split(_ROWS):
        probs = read(rows)
        if not isinstance(probs, Tensor):
            raise TypeError(
                f"{_name(model)} gave {type(probs).__name__} where a tensor of shape (B, vocab_size) is due"
            )
        if probs.ndim != 2 or probs.shape[0] != len(rows) or (vocab_size is not None and probs.shape[1] != vocab_size):
            symbols = "vocab_size" if vocab_size is None else vocab_size
            raise ValueError(
                f"{_name(model)} gave values of shape {tuple(probs.shape)} for {len(rows)} contexts, "
                f"expected ({len(rows)}, {symbols}): one row a context, one column a symbol"
            )
        parts.append(_checked_probs(model, probs))
    return torch.cat(parts)


def _checked_probs(model: ProbabilityModel, probs: Tensor) -> Tensor:
    probs = probs.detach().cpu().double()  # in this order: Apple's MPS has no float64
    sums = probs.sum(dim=1)
    wrong = ~((sums - 1).abs() < 1e-4)  # so written that nan is wrong too
    if bool(wrong.any()):
        k = int(wrong.nonzero()[0])
        if isinstance(model, nn.Module) and not hasattr(model, "next_char_probs"):
            raise ValueError(
                f"{_name(model)} gave logits that are not finite (nan or inf) for context {k}: "
                "its training blew up, train it anew"
            )
        raise ValueError(
            f"{_name(model)} gave probabilities that sum to {sums[k]:.4g} for context {k}, not to 1: divide each row "
            "by its sum (logits go through a softmax only if they come from a torch.nn.Module)"
        )
    if bool((probs < 0).any()):
        raise ValueError(f"{_name(model)} gave the probability {probs.min():.4g}, and none may be below 0")
    return probs


def _reader(model: ProbabilityModel) -> Callable[[Tensor], Tensor]:
    """A function from X to probabilities for whatever `model` is."""
    if isinstance(model, type):
        raise TypeError(f"model is the class {model.__name__}: make one first, such as {model.__name__}(...)")
    block_size = getattr(model, "block_size", None)

    def last(X: Tensor) -> Tensor:
        return X[:, -block_size:] if isinstance(block_size, int) and 0 < block_size < X.shape[1] else X

    if hasattr(model, "next_char_probs"):
        return lambda X: model.next_char_probs(last(X))
    if isinstance(model, nn.Module):

        def softmax(X: Tensor) -> Tensor:
            with eval_mode(model):
                logits = model(last(X).to(device_of(model), torch.int64))
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                return logits  # refused by its shape
            return F.softmax(logits.cpu().double(), dim=1)

        return softmax
    if callable(model):
        return lambda X: model(last(X))
    raise TypeError(
        "a model must be a torch.nn.Module that gives logits, have next_char_probs(X), or be a function from X to "
        f"probabilities, got {type(model).__name__}"
    )


def _name(model: ProbabilityModel) -> str:
    return f"the function {model.__name__}" if hasattr(model, "__name__") else f"the {type(model).__name__}"


def target_probs(model: ProbabilityModel, X: Tensor, Y: Tensor, *, vocab_size: int | None = None) -> Tensor:
    """The probability (N,), float64, that `model` gives the character that did follow: the loss is the mean of -log.

    Which examples a model is good at, and where another one is better, can be read off these.
    Raises what `char_probs` raises, and TypeError or ValueError for tensors that are no examples.
    Taught in: notebook 15.

    >>> X, Y = torch.tensor([[0], [1]]), torch.tensor([1, 0])
    >>> target_probs(lambda X: torch.tensor([[0.9, 0.1]]).expand(len(X), 2), X, Y).tolist()
    [0.10000000149011612, 0.8999999761581421]
    """
    check_examples(nn.Identity(), X, Y)
    return _of_targets(char_probs(model, X, vocab_size=vocab_size), Y)


def _of_targets(probs: Tensor, Y: Tensor) -> Tensor:
    """The probability (N,) of each target among probs (N, vocab_size)."""
    Y = Y.detach().to("cpu", torch.int64)
    _check_indices("Y", Y, probs.shape[1])
    return probs[torch.arange(len(Y)), Y]


# ---- two models mixed ------------------------------------------------------------------------------------------------


def mixture_loss(p: ProbabilityModel, q: ProbabilityModel, X: Tensor, Y: Tensor, weight: float | Tensor) -> float:
    """The mean loss in nats of the mixture weight * p + (1 - weight) * q on X (N, block_size), Y (N,).

    `p` and `q` are models as `char_probs` takes them. The probabilities are mixed, not the logits. `weight` is a number
    from 0 to 1, or one for each example (N,), such as one that depends on how often its context was counted.

    Raises what `target_probs` raises, and ValueError for a weight outside 0 to 1 or of another shape, or models with
    different numbers of symbols. Source: Bengio et al. 2003, section 4.2. Taught in: notebook 15.

    >>> sure, unsure = (lambda X, a=a: torch.tensor([[a, 1 - a]]).expand(len(X), 2) for a in (1.0, 0.5))
    >>> round(mixture_loss(sure, unsure, torch.tensor([[0]]), torch.tensor([0]), weight=0.5), 4)  # -ln 0.75
    0.2877
    """
    weight = _checked_weight(weight, len(Y))
    p_y, q_y = _both(p, q, X, Y)
    return -(weight * p_y + (1 - weight) * q_y).log().mean().item()


def best_weight(p: ProbabilityModel, q: ProbabilityModel, X: Tensor, Y: Tensor) -> float:
    """The weight from 0 to 1 with which `mixture_loss(p, q, X, Y, weight)` is lowest.

    Learn it on examples that neither model was trained on, else it goes to the one that knows them by heart. The loss
    is convex in the weight, so its slope changes sign at most once: halving the interval around that place finds the
    weight that the EM algorithm creeps up to. Raises what `mixture_loss` raises.
    Source: Bengio et al. 2003, section 4.2. Taught in: notebook 15.

    >>> X, Y = torch.zeros(4, 1, dtype=torch.int64), torch.tensor([0, 0, 0, 1])
    >>> heads, tails = (lambda X, a=a: torch.tensor([[a, 1 - a]]).expand(len(X), 2) for a in (1.0, 0.0))
    >>> round(best_weight(heads, tails, X, Y), 6)
    0.75
    """
    p_y, q_y = _both(p, q, X, Y)
    low, high = 0.0, 1.0
    for _ in range(53):  # as many halvings as a float has digits
        weight = (low + high) / 2
        gain = ((p_y - q_y) / (weight * p_y + (1 - weight) * q_y)).nan_to_num(0.0).mean()  # minus the slope
        low, high = (weight, high) if gain > 0 else (low, weight)
    return (low + high) / 2


class Mixture(nn.Module):
    """Two models as one: its probabilities are weight * p + (1 - weight) * q, its logits their logarithms.

    As a module with logits (B, vocab_size) it can be evaluated, sampled from and shown to a `TestVault` like a network.
    `p` and `q` are models as `char_probs` takes them, `weight` is one number from 0 to 1. The mixture only looks at
    them: it cannot be trained. `block_size` is the longer of theirs.

    Raises TypeError or ValueError for a weight that is no number from 0 to 1 or models that `char_probs` refuses.
    Source: Bengio et al. 2003, section 4.2. Taught in: notebook 15.

    >>> from mlp_lib import MLP, MLPConfig, build_dataset
    >>> vocab = Vocab("av")
    >>> X, Y = build_dataset(["ava", "va"], vocab)
    >>> network = MLP(MLPConfig(vocab_size=3), g=torch.Generator().manual_seed(2147483647))
    >>> mixture = Mixture(network, Interpolated(context=2).fit(X, Y, len(vocab)), weight=0.5)
    >>> mixture(X).exp().sum(dim=1).allclose(torch.ones(7, dtype=torch.float64))
    True
    """

    def __init__(self, p: ProbabilityModel, q: ProbabilityModel, weight: float) -> None:
        super().__init__()
        if isinstance(weight, Tensor) and weight.ndim:
            raise TypeError(f"weight must be one number, got a tensor of shape {tuple(weight.shape)}")
        self.weight = float(_checked_weight(weight, 1))
        for model in (p, q):
            _reader(model)
        self.p, self.q = p, q
        self.block_size = max(getattr(p, "block_size", 1), getattr(q, "block_size", 1))

    @torch.no_grad()
    def forward(self, X: Tensor) -> Tensor:
        """The log-probabilities (B, vocab_size) of the next character, float64, where the model is.

        On Apple's MPS, which has no float64, they are float32.
        """
        probs = [char_probs(model, X) for model in (self.p, self.q)]
        _check_same_symbols(probs[0].shape[1], probs[1].shape[1])
        logits = (self.weight * probs[0] + (1 - self.weight) * probs[1]).log()
        device = device_of(self)
        return logits.to(device, torch.float32 if device.type == "mps" else torch.float64)

    def extra_repr(self) -> str:
        """The weight, for `print(model)`."""
        return f"weight={self.weight:g}"


def _both(p: ProbabilityModel, q: ProbabilityModel, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """The probabilities (N,) that each of two models gives the targets."""
    check_examples(nn.Identity(), X, Y)
    p_probs, q_probs = char_probs(p, X), char_probs(q, X)
    _check_same_symbols(p_probs.shape[1], q_probs.shape[1])
    return _of_targets(p_probs, Y), _of_targets(q_probs, Y)


def _check_same_symbols(p_size: int, q_size: int) -> None:
    if p_size != q_size:
        raise ValueError(
            f"one model gives probabilities for {p_size} symbols and the other for {q_size}: "
            "mix models of one vocabulary"
        )


def _checked_weight(weight: float | Tensor, examples: int) -> Tensor:
    if isinstance(weight, bool) or not isinstance(weight, Real | Tensor):
        raise TypeError(f"weight must be a number from 0 to 1 or a tensor of them, got {weight!r}")
    weight = torch.as_tensor(float(weight) if isinstance(weight, Real) else weight).detach().to("cpu", torch.float64)
    if weight.ndim and weight.shape != (examples,):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}: give one number, or one for each of {examples} examples"
        )
    wrong = ~((weight >= 0) & (weight <= 1))  # so written that nan is wrong too
    if bool(wrong.any()):
        raise ValueError(f"weight must be from 0 to 1, got {weight[wrong][0]:g}")
    return weight
