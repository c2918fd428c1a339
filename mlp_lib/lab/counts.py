"""Count models: how low the loss gets without any training. Also the mixture of two models.

    counts = Interpolated(context=5).fit(Xtr, Ytr, len(vocab))
    counts.loss(Xdev, Ydev)
    mixture_loss(network, counts, Xdev, Ydev, weight=0.5)

Losses are in nats, probabilities are float64 on the CPU. Taught in: page 13 (the ladder) and page 15 (the
mixture, an idea of the paper).
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from mlp_lib.checks import check_examples, whole_number
from mlp_lib.data import distinct_contexts
from mlp_lib.model import device_of, eval_mode

ProbabilityModel = nn.Module | Callable[[Tensor], Tensor]
"""A module that gives logits, a count model, or a function from contexts to probabilities."""

# ---- the counts ------------------------------------------------------------------------------------------------------


class _Table:
    """For all contexts h of one length: n(h), n(h, c), and T(h), the number of different characters after h.

    Only contexts that occur have a row. The key of a context is computed from the context one character shorter: its
    row in the previous table, times vocab_size, plus the additional character. Keys are sorted, so a row is found by
    bisection, and they stay small for any vocabulary and any length.
    """

    def __init__(self, keys: Int[Tensor, " N"], Y: Int[Tensor, " N"], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.keys, rows = keys.unique(return_inverse=True)
        self.pairs, self.n_pair = (rows * vocab_size + Y).unique(return_counts=True)
        self.n, self.T = rows.bincount(), (self.pairs // vocab_size).bincount()

    def rows(self, keys: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """The row of each context, -1 for one that never occurred."""
        return _find(self.keys, keys)

    def counts(
        self, rows: Int[Tensor, " B"], C: Int[Tensor, "B K"]
    ) -> tuple[Float64[Tensor, "B K"], Float64[Tensor, "B 1"], Float64[Tensor, "B 1"]]:
        """n(h, c), n(h) and T(h) for the contexts in these rows and the characters C; 0 for what never occurred."""
        rows = rows[:, None]
        at = _find(self.pairs, rows * self.vocab_size + C)
        return _take(self.n_pair, at), _take(self.n, rows), _take(self.T, rows)


def _find(keys: Tensor, wanted: Tensor) -> Tensor:
    at = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    return torch.where(keys[at] == wanted, at, -1)


def _take(values: Tensor, at: Tensor) -> Tensor:
    return torch.where(at < 0, 0, values[at]).double()


class _CountModel(nn.Module):
    """The common part of both count models: they are modules whose logits are log-probabilities.

    `eval_loss`, `sample_words`, `next_char_probs` and `TestVault.loss` therefore accept them like any network.
    """

    def __init__(self, context: int) -> None:
        super().__init__()
        self.context = whole_number("context", context, least=0)
        self.vocab_size: int | None = None  # None until fit
        self._tables: list[_Table] = []

    @property
    def block_size(self) -> int:
        """The number of characters of context in X: `context`, but at least 1, as in every dataset."""
        return max(self.context, 1)

    def fit(self, X: Int[Tensor, "N block_size"], Y: Int[Tensor, " N"], vocab_size: int) -> "_CountModel":
        """Count the examples; returns the model. A second call starts from zero.

        Only the last `context` characters of each row are read, so all models can share a dataset with a long context.
        Raises ValueError for rows shorter than `context` or an index outside the vocabulary.
        """
        check_examples(self, X, Y)
        self._tables, self.vocab_size = [], vocab_size
        self._check(X, Y)
        X, Y = X.cpu(), Y.cpu()
        keys = torch.zeros_like(Y)  # one context of length 0
        for k in range(self.context + 1):
            if k:
                keys = self._tables[-1].rows(keys) * vocab_size + X[:, -k]
            self._tables.append(_Table(keys, Y, vocab_size))
        return self

    def forward(self, X: Int[Tensor, "B block_size"]) -> Float64[Tensor, "B vocab_size"]:
        """The log-probabilities of the next character."""
        return self.next_char_probs(X).log()

    def next_char_probs(self, X: Int[Tensor, "B block_size"]) -> Float64[Tensor, "B vocab_size"]:
        """The probabilities of the character after each context.

        Raises ValueError before `fit`, for rows shorter than `context` or an index outside the vocabulary.
        """
        self._check(X, X)
        X, C = X.cpu(), torch.arange(self.vocab_size)
        return torch.cat([self._probs(rows, C.expand(len(rows), -1)) for rows in X.split(2**14)])  # bounds the memory

    def loss(self, X: Int[Tensor, "N block_size"], Y: Int[Tensor, " N"]) -> float:
        """The mean loss in nats over all examples: the result of `eval_loss`, but faster, since it looks up only Y."""
        return -self.target_probs(X, Y).log().mean().item()

    def target_probs(self, X: Int[Tensor, "N block_size"], Y: Int[Tensor, " N"]) -> Float64[Tensor, " N"]:
        """The probability of each Y after its context. Raises what `fit` raises, and ValueError before `fit`."""
        check_examples(self, X, Y)
        self._check(X, Y)
        return self._probs(X.cpu(), Y.cpu()[:, None])[:, 0]

    def _check(self, X: Tensor, Y: Tensor) -> None:
        if self.vocab_size is None:
            raise ValueError(f"this {type(self).__name__} has counted nothing yet: call fit(X, Y, vocab_size) first")
        if X.shape[1] < self.context:
            raise ValueError(
                f"X has {X.shape[1]} characters of context, but this model reads {self.context}: build the dataset "
                f"with block_size={self.block_size} or more"
            )
        low, high = min(int(X.min()), int(Y.min())), max(int(X.max()), int(Y.max()))
        if low < 0 or high >= self.vocab_size:
            raise ValueError(
                f"X or Y holds the index {low if low < 0 else high}, but this model counts {self.vocab_size} symbols: "
                "use the vocabulary that the examples were built with"
            )

    def _tables_and_rows(self, X: Tensor) -> Iterator[tuple[_Table, Tensor]]:
        """For each length of context, shortest first: its table, and the row in it of each context of X."""
        rows = torch.zeros(len(X), dtype=torch.int64)
        for k, table in enumerate(self._tables):
            rows = table.rows(rows * self.vocab_size + X[:, -k] if k else rows)
            yield table, rows

    def _probs(self, X: Tensor, C: Int[Tensor, "B K"]) -> Float64[Tensor, "B K"]:
        """The probabilities of the characters C after the contexts X."""
        raise NotImplementedError


class NGram(_CountModel):
    """Counts with add-k smoothing: p(c | h) = (n(h, c) + add) / (n(h) + add * vocab_size).

    h is the last `context` characters and n counts the training examples, so `context=1` is a bigram model and
    `context=3` a 4-gram. After a context that never occurred all characters are equally likely.
    Source: part 1 of the lecture's series. Taught in: page 13.

    >>> from mlp_lib import Vocab, build_dataset
    >>> vocab = Vocab("av")
    >>> X, Y = build_dataset(["ava", "va"], vocab, block_size=2)
    >>> model = NGram(context=1, add=0.5).fit(X, Y, len(vocab))
    >>> model.next_char_probs(torch.tensor([[0, 2]])).tolist()  # after "v": "a", twice
    [[0.14285714285714285, 0.7142857142857143, 0.14285714285714285]]
    """

    def __init__(self, context: int, add: float = 0.1) -> None:
        super().__init__(context)
        self.add = float(add)

    @property
    def n_parameters(self) -> int:
        """How many counts are kept, to compare with the number of parameters of a network."""
        return len(self._tables[-1].pairs)

    def _probs(self, X: Tensor, C: Tensor) -> Tensor:
        *_, (table, rows) = self._tables_and_rows(X)
        n_pair, n, _ = table.counts(rows, C)
        return (n_pair + self.add) / (n + self.add * self.vocab_size)


class Interpolated(_CountModel):
    """Counts of all contexts of 0 to `context` characters, each smoothed by the next shorter one (Witten-Bell form).

    With h the last k characters, h' the last k - 1 and T(h) the number of different characters that followed h,

        p_k(c | h) = (n(h, c) + strength * T(h) * p_{k-1}(c | h')) / (n(h) + strength * T(h)),

    down to p_{-1} = 1 / vocab_size. For a context that never occurred, p_k is p_{k-1}. The more different characters
    have followed a context, the more weight the shorter one gets. `strength` is often written lambda; 1 is Witten and
    Bell's own choice. Lists of names need more: 2 for 3 characters of context, 4 for 4 and 5.
    Source: Witten and Bell 1991, method C, in the interpolated form of Chen and Goodman 1998; `strength` is our
    addition. Taught in: pages 13 and 15.

    >>> from mlp_lib import Vocab, build_dataset
    >>> vocab = Vocab("av")
    >>> X, Y = build_dataset(["ava", "va"], vocab, block_size=2)
    >>> model = Interpolated(context=2).fit(X, Y, len(vocab))
    >>> model.next_char_probs(X).sum(dim=1).allclose(torch.ones(7, dtype=torch.float64))
    True
    """

    def __init__(self, context: int = 5, strength: float = 4.0) -> None:
        super().__init__(context)
        self.strength = float(strength)

    @property
    def n_parameters(self) -> int:
        """How many counts are kept, to compare with the number of parameters of a network."""
        return sum(len(table.pairs) for table in self._tables)

    def _probs(self, X: Tensor, C: Tensor) -> Tensor:
        probs = torch.full(C.shape, 1 / self.vocab_size, dtype=torch.float64)
        for table, rows in self._tables_and_rows(X):
            n_pair, n, T = table.counts(rows, C)
            weight = torch.where(n > 0, self.strength * T, 1)  # never occurred: (0 + 1 * probs) / (0 + 1) is probs
            probs = (n_pair + weight * probs) / (n + weight)
        return probs


def entropy_floor(X: Int[Tensor, "N block_size"], Y: Int[Tensor, " N"]) -> float:
    """The lowest mean loss in nats that any model can reach on these examples, given only X.

    It is the entropy of Y given X in these examples. A training loss below the floor of the training split is a bug; a
    dev loss below that floor is not. Source: lecture 00:37:56, where one batch cannot reach 0.

    >>> X = torch.tensor([[0], [0], [1], [1]])
    >>> entropy_floor(X, torch.tensor([1, 2, 0, 0]))  # after 0 a coin toss, after 1 certain: (ln 2 + 0) / 2
    0.34657359027997264
    """
    n, n_pair = (distinct_contexts(rows)[1].bincount().double() for rows in (X, torch.cat([X, Y[:, None]], dim=1)))
    return ((n * n.log()).sum() - (n_pair * n_pair.log()).sum()).item() / len(Y)


# ---- any model that gives probabilities ------------------------------------------------------------------------------


@torch.no_grad()
def char_probs(
    model: ProbabilityModel, X: Int[Tensor, "B block_size"], *, vocab_size: int | None = None
) -> Float64[Tensor, "B vocab_size"]:
    """The probabilities that `model` assigns to the character after each context.

    `model` is a count model; or any other module, whose logits go through a softmax, in evaluation mode; or a function
    from X to probabilities. A model with an attribute `block_size` gets that many of the last characters, so models
    with different contexts can share one X. Draws nothing.

    Raises TypeError for anything else, and ValueError for an output of the wrong shape (or with a number of symbols
    other than `vocab_size`, if given) and for rows that are not probabilities. Taught in: page 15.

    >>> from mlp_lib import MLP, MLPConfig
    >>> model = MLP(MLPConfig(vocab_size=4), g=torch.Generator().manual_seed(2147483647))
    >>> char_probs(model, torch.zeros(2, 8, dtype=torch.int64)).shape
    torch.Size([2, 4])
    """
    name, gives_logits = getattr(model, "__name__", type(model).__name__), False
    if isinstance(model, type) or not callable(model):
        raise TypeError(
            f"{name} is not a model: expected a torch.nn.Module that gives logits, a count model, or a function from X "
            "to probabilities"
        )
    X, parts = X[:, -getattr(model, "block_size", X.shape[1]) :], []
    for rows in X.split(2**14):  # bounds the memory
        if isinstance(model, _CountModel):
            out = model.next_char_probs(rows)
        elif isinstance(model, nn.Module):
            gives_logits = True
            with eval_mode(model):
                out = model(rows.to(device_of(model)))
        else:
            out = model(rows)
        shape = tuple(out.shape) if isinstance(out, Tensor) else None
        if shape is None or len(shape) != 2 or shape[0] != len(rows) or vocab_size not in (None, shape[1]):
            raise ValueError(
                f"{name} gave {type(out).__name__ if shape is None else f'shape {shape}'} for {len(rows)} contexts, "
                f"expected ({len(rows)}, {vocab_size or 'vocab_size'}): one row per context, one column per symbol"
            )
        out = out.detach().cpu().double()
        parts.append(F.softmax(out, dim=1) if gives_logits else out)
    probs = torch.cat(parts)
    sums = probs.sum(dim=1)
    wrong = ~((sums - 1).abs() < 1e-4) | (probs < 0).any(dim=1)  # nan is wrong too
    if wrong.any() and gives_logits:
        raise ValueError(f"{name} gave logits that are nan or infinite: its training blew up, train it again")
    if wrong.any():
        k = int(wrong.nonzero()[0])
        if probs[k].isnan().any():
            raise ValueError(f"{name} gave nan in row {k}: is it 0 / 0, after a context that was never seen?")
        raise ValueError(
            f"{name} must give probabilities, at least 0 and summing to 1 in each row, but row {k} ranges from "
            f"{probs[k].min():.4g} to {probs[k].max():.4g} and sums to {sums[k]:.4g}: divide each row by its sum "
            "(only a torch.nn.Module may give logits)"
        )
    return probs


def target_probs(
    model: ProbabilityModel, X: Int[Tensor, "N block_size"], Y: Int[Tensor, " N"], *, vocab_size: int | None = None
) -> Float64[Tensor, " N"]:
    """The probability that `model` assigns to each actual next character: the loss is the mean of their -log.

    `model` is as in `char_probs`. Raises what `char_probs` raises. Taught in: page 15.

    >>> X, Y = torch.tensor([[0], [1]]), torch.tensor([1, 0])
    >>> target_probs(lambda X: torch.tensor([[0.9, 0.1]]).expand(len(X), 2), X, Y).tolist()
    [0.10000000149011612, 0.8999999761581421]
    """
    if isinstance(model, _CountModel) and vocab_size in (None, model.vocab_size):
        probs = model.target_probs(X, Y)
        if (probs > 0).all():
            return probs  # otherwise char_probs checks the whole rows and raises
    return char_probs(model, X, vocab_size=vocab_size)[torch.arange(len(Y)), Y.cpu()]


# ---- the mixture of two models ---------------------------------------------------------------------------------------


def mixture_loss(
    p: ProbabilityModel,
    q: ProbabilityModel,
    X: Int[Tensor, "N block_size"],
    Y: Int[Tensor, " N"],
    weight: float | Float[Tensor, " N"],
) -> float:
    """The mean loss in nats of the mixture weight * p + (1 - weight) * q.

    `p` and `q` are models as in `char_probs`. The probabilities are mixed, not the logits. `weight` is a number from 0
    to 1, or one for each example. Source: Bengio et al. 2003, section 4.2. Taught in: page 15.

    >>> sure, unsure = (lambda X, a=a: torch.tensor([[a, 1 - a]]).expand(len(X), 2) for a in (1.0, 0.5))
    >>> round(mixture_loss(sure, unsure, torch.tensor([[0]]), torch.tensor([0]), weight=0.5), 4)  # -ln 0.75
    0.2877
    """
    weight = _weight(weight)
    return -(weight * target_probs(p, X, Y) + (1 - weight) * target_probs(q, X, Y)).log().mean().item()


def best_weight(
    p: ProbabilityModel, q: ProbabilityModel, X: Int[Tensor, "N block_size"], Y: Int[Tensor, " N"]
) -> float:
    """The weight from 0 to 1 for which `mixture_loss(p, q, X, Y, weight)` is lowest.

    Learn it on examples that neither model was trained on, or it favours the model that has memorised them. The loss is
    convex in the weight, so its slope changes sign at most once, and bisection finds that point; the EM algorithm
    approaches it in small steps. Source: Bengio et al. 2003, section 4.2. Taught in: page 15.

    >>> X, Y = torch.zeros(4, 1, dtype=torch.int64), torch.tensor([0, 0, 0, 1])
    >>> heads, tails = (lambda X, a=a: torch.tensor([[a, 1 - a]]).expand(len(X), 2) for a in (1.0, 0.0))
    >>> round(best_weight(heads, tails, X, Y), 6)
    0.75
    """
    p_y, q_y = target_probs(p, X, Y), target_probs(q, X, Y)
    low, high = 0.0, 1.0
    for _ in range(53):  # as many bits as a float has
        weight = (low + high) / 2
        gain = ((p_y - q_y) / (weight * p_y + (1 - weight) * q_y)).nan_to_num(0.0).mean()  # minus the slope
        low, high = (weight, high) if gain > 0 else (low, weight)
    return (low + high) / 2


class Mixture(nn.Module):
    """Two models as one module: its logits are the logarithms of weight * p + (1 - weight) * q.

    It can be evaluated, sampled from and tested like a network, but not trained. `p` and `q` are models as in
    `char_probs`, `weight` is a number from 0 to 1, and `block_size` is the larger of theirs.
    Source: Bengio et al. 2003, section 4.2. Taught in: page 15.

    >>> from mlp_lib import MLP, MLPConfig, Vocab, build_dataset
    >>> vocab = Vocab("av")
    >>> X, Y = build_dataset(["ava", "va"], vocab)
    >>> network = MLP(MLPConfig(vocab_size=3), g=torch.Generator().manual_seed(2147483647))
    >>> mixture = Mixture(network, Interpolated(context=2).fit(X, Y, len(vocab)), weight=0.5)
    >>> mixture(X).exp().sum(dim=1).allclose(torch.ones(7))
    True
    """

    def __init__(self, p: ProbabilityModel, q: ProbabilityModel, weight: float) -> None:
        super().__init__()
        self.p, self.q, self.weight = p, q, _weight(weight).item()
        self.block_size = max(getattr(model, "block_size", 1) for model in (p, q))

    @torch.no_grad()
    def forward(self, X: Int[Tensor, "B block_size"]) -> Float[Tensor, "B vocab_size"]:
        """The log-probabilities of the next character, float32, on the device of the models."""
        probs = self.weight * char_probs(self.p, X) + (1 - self.weight) * char_probs(self.q, X)
        return probs.log().float().to(device_of(self))


def _weight(weight: float | Tensor) -> Tensor:
    weight = torch.as_tensor(weight, dtype=torch.float64).detach().cpu()
    if not ((weight >= 0) & (weight <= 1)).all():
        raise ValueError(f"weight must be from 0 to 1, got {weight.tolist() if weight.ndim == 0 else weight}")
    return weight
