"""Exercises of notebook 11: a smoothed curve, a slope for the learning rate, a report, a run that can be repeated."""

import math
import random
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlp_lib.course.exercises.answers import brief, close, number, own_function
from mlp_lib.course.exercises.base import Exercise, Mistake
from mlp_lib.model import MLP, MLPConfig

# --------------------------------------------------------------------------------------------------------- 11.1


def smooth_any(lossi: Tensor, block: int) -> Tensor:
    """The means of lossi (n,) over blocks of `block` steps; what is left over at the end has a mean of its own."""
    return torch.stack([part.mean() for part in lossi.split(block)])


def _same(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))


def _check_smooth(answer: object) -> str:
    own_function(answer, "q1.check(smooth_any)")
    for lossi, block in (
        ([8.0, 4.0, 3.0, 5.0, 2.0, 1.0], 2),
        ([8.0, 4.0, 3.0, 5.0, 2.0, 1.0, 6.0, 2.0, 4.0], 4),
        ([6.0, 2.0, 1.0, 3.0, 5.0], 3),
        ([2.0, 4.0, 9.0], 5),
        ([2.0, 4.0], 1),
    ):
        _check_smoothed(answer, lossi, block)
    return "every step is in one mean, and the rest at the end has its own, over as many steps as it has."


def _check_smoothed(answer: Callable, lossi: list[float], block: int) -> None:
    n, given = len(lossi), torch.tensor(lossi)
    case = f"for {n} losses in blocks of {block}"
    try:
        got = answer(given, block)
    except RuntimeError as error:
        if "invalid for input" not in str(error):
            raise
        raise Mistake(
            f"{case}: .view raised, since {n} is no multiple of {block}: {n % block} left over. A rectangle has no "
            "place for them"
        ) from None
    if given.tolist() != lossi:
        raise Mistake(f"{case}: the losses that were handed in have been changed; the caller still needs them")
    try:
        found = [float(x) for x in got]
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"{case}: expected a tensor or list of means, got {brief(got)}") from None
    parts = [lossi[k : k + block] for k in range(0, n, block)]
    expected = [sum(part) / len(part) for part in parts]
    if _same(found, expected):
        return
    whole = lossi[: n // block * block]
    if whole and _same(found, [sum(whole[k::block]) / (n // block) for k in range(block)]):
        raise Mistake(
            f"{case}: {len(found)} numbers, the first is the mean of steps 0, {block}, {2 * block}, ...: the mean "
            "went down the columns. Neighbours in time stand in one row"
        )
    if len(parts[-1]) < block:
        shown = f"the last {len(parts[-1])} of {n} steps"
        if _same(found, expected[:-1]):
            raise Mistake(f"{case}: {len(found)} means, but {shown} are in none of them: the end of the run is cut off")
        if _same(found, [*expected[:-1], sum(parts[-1]) / block]):
            raise Mistake(
                f"{case}: the last mean is {found[-1]:g}, for {parts[-1]}: a sum divided by {block} although there are "
                f"{len(parts[-1])}. Zeros that fill up a block pull it down"
            )
    if len(found) == n - block + 1 and len(parts) != len(found):
        raise Mistake(
            f"{case}: {len(found)} means, which is a window that moves by one step. Blocks do not overlap: expected "
            f"{len(parts)}"
        )
    if _same(found, [sum(part) for part in parts]):
        raise Mistake(f"{case}: the first is {found[0]:g}, the sum of {parts[0]}: the mean is asked for")
    if len(found) == block != len(parts):
        raise Mistake(
            f"{case}: {len(found)} means, expected {len(parts)}: block is the length of a row, not their number"
        )
    raise Mistake(f"{case}, {lossi}: expected {[round(x, 4) for x in expected]}, got {brief(found)}")


q1 = Exercise(
    "11.1",
    "a smooth curve of any length",
    _check_smooth,
    hints=[
        "What does lossi.view(-1, block) need of the length, and what would you do with the steps left over?",
        "lossi.split(block) cuts a tensor into pieces of block elements; the last piece may be shorter.",
        "One mean for each piece; torch.stack makes a tensor of them.",
    ],
    solution=smooth_any,
)


# --------------------------------------------------------------------------------------------------------- 11.2


def sloped(steps: int) -> Callable[[int], float]:
    """A schedule for a run of `steps`: 0.1 in the first half, then straight down to 0.01, reached in the last step."""
    half, last = steps // 2, steps - 1

    def lr(i: int) -> float:
        if i < half:
            return 0.1
        return 0.1 + (0.01 - 0.1) * (i - half) / (last - half)

    return lr


def _rate(lr: Callable[[int], object], i: int, said: str) -> float:
    value = lr(i)
    if value is None:
        raise Mistake(f"{said}: lr({i}) is None: is there a way through your function without `return`?")
    return number(value, f"lr({i})")


def _check_sloped(answer: object) -> str:
    own_function(answer, "q2.check(sloped)")
    for steps in (20, 8, 200_000):
        _check_slope(answer, steps)
    return "level, then straight down to the last step, for a run of any length and in whatever order it is asked."


def _check_slope(answer: Callable, steps: int) -> None:
    said = f"for {steps:,} steps"
    lr = answer(steps)
    if not callable(lr):
        raise Mistake(f"{said}: expected a function of the step's number, got {brief(lr)}: return lr, not lr(i)")
    half, last = steps // 2, steps - 1
    asked = sorted({0, 1, half - 1, half, half + 1, (half + last) // 2, last - 1, last})
    expected = {i: 0.1 if i < half else 0.1 - 0.09 * (i - half) / (last - half) for i in asked}
    got = {i: _rate(lr, i, said) for i in asked}
    answer(2 * steps)  # a second schedule must not change the first
    for i in reversed(asked):
        again = _rate(lr, i, said)
        if not close(again, got[i]):
            raise Mistake(
                f"{said}: lr({i}) was {got[i]:g}, and {again:g} when asked again: the function remembers or counts its "
                "calls. A run that is carried on with start= needs the same rate for the same step"
            )
    wrong = [i for i in asked if not close(got[i], expected[i])]
    if not wrong:
        return
    if all(close(got[i], 0.1 if i < half else 0.01) for i in asked):
        raise Mistake(f"{said}: lr({half}) is 0.01 at once. That is the lecture's cliff; a slope is asked for")
    if all(close(got[i], 0.1 - 0.09 * i / last) for i in asked):
        raise Mistake(
            f"{said}: lr(1) is {got[1]:g}, already below 0.1: the slope begins with the first step, not at half"
        )
    if steps == 8 and all(close(got[i], 0.1 if i < 10 else 0.1 - 0.09 * (i - 10) / 9) for i in asked):
        raise Mistake(
            f"{said}: lr({last}) is {got[last]:g}, as in a run of 20: is a number typed in, in place of steps?"
        )
    if all(close(got[i], 0.1) for i in asked):
        raise Mistake(
            f"{said}: lr({last}) is still 0.1: it never falls, or is the page's `border` used, or a number typed in?"
        )
    if any(got[i] < 0 for i in asked):
        i = next(i for i in asked if got[i] < 0)
        raise Mistake(
            f"{said}: lr({i}) is {got[i]:g}. A negative rate climbs: after the half, count steps from the half"
        )
    if any(got[i] > 0.1 + 1e-9 for i in asked):
        i = next(i for i in asked if got[i] > 0.1 + 1e-9)
        raise Mistake(f"{said}: lr({i}) is {got[i]:g}, above 0.1: the line has its ends exchanged, or starts elsewhere")
    if all(close(got[i], 0.1 - 0.09 * (i - half) / (steps - half)) for i in asked if i >= half):
        raise Mistake(
            f"{said}: lr({last}) is {got[last]:g}, not 0.01, and {last} is the last step: the line is one step too "
            f"long. From step {half} to step {last} there are {last - half} gaps"
        )
    if all(close(got[i], 0.1 * 0.1 ** ((i - half) / (last - half))) for i in asked if i >= half):
        middle = (half + last) // 2
        raise Mistake(
            f"{said}: lr({middle}) is {got[middle]:g}: both ends are right, but it falls by equal factors. A straight "
            "line falls by equal differences"
        )
    i = wrong[0]
    raise Mistake(f"{said}: lr({i}) is {got[i]:g}, expected {expected[i]:g}")


q2 = Exercise(
    "11.2",
    "a slope in place of the cliff",
    _check_sloped,
    hints=[
        "sloped(steps) returns a function, defined inside it; that one takes i and needs no memory.",
        "How far along the slope is step i? 0 at i = steps // 2, 1 at the last step, which is steps - 1.",
        "0.1 + (0.01 - 0.1) * share is the straight line, with share from 0 to 1.",
    ],
    solution=sloped,
)


# --------------------------------------------------------------------------------------------------------- 11.3


def report(parameters: Sequence[Tensor], splits: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The exact loss of each split, under its own name, by hand from the five tensors."""
    C, W1, b1, W2, b2 = parameters
    losses = {}
    with torch.no_grad():
        for name, (X, Y) in splits.items():
            emb = C[X]  # (N, block_size, n_embd)
            h = torch.tanh(emb.view(emb.shape[0], -1) @ W1 + b1)  # (N, n_hidden)
            losses[name] = F.cross_entropy(h @ W2 + b2, Y).item()
    return losses


def _report_case(
    seed: int, sizes: Mapping[str, int], *, n_embd: int, block_size: int
) -> tuple[list[Tensor], dict[str, tuple[Tensor, Tensor]]]:
    g = torch.Generator().manual_seed(seed)
    model = MLP(MLPConfig(5, block_size, n_embd, 7), g=g)
    splits = {}
    for name, n in sizes.items():
        X = torch.randint(0, 5, (n, block_size), generator=g)
        splits[name] = (X, torch.randint(0, 5, (n,), generator=g))
    return model.tensors(), splits


def _loss(parameters: Sequence[Tensor], X: Tensor, Y: Tensor) -> float:
    with torch.no_grad():
        return F.cross_entropy(MLP.from_tensors(*(p.detach() for p in parameters))(X), Y).item()


def _check_report(answer: object) -> str:
    own_function(answer, "q3.check(report)")
    # Equal sizes first: there nothing raises when the rows of one split meet the labels of another.
    _check_report_of(answer, *_report_case(1, {"train": 40, "dev": 40}, n_embd=2, block_size=3))
    # A row length of 6 typed in is right there, and not for these.
    sizes = {"dev": 30, "train": 50, "dev without doubles": 20}
    try:
        _check_report_of(answer, *_report_case(2, sizes, n_embd=4, block_size=2))
    except RuntimeError as error:
        if "shape" not in str(error):
            raise
        raise Mistake(
            f"right for block_size 3 and n_embd 2, but for 2 and 4 it raised: {error}. Is a row length or "
            "a number of rows typed in, or one of the page's? emb.view(emb.shape[0], -1) needs none"
        ) from None
    return "each loss from its own rows, its own labels, a forward pass of its own, and under its own name."


def _check_report_of(answer: Callable, parameters: list[Tensor], splits: dict[str, tuple[Tensor, Tensor]]) -> None:
    names = list(splits)
    before = [p.detach().clone() for p in parameters]
    got = answer(parameters, dict(splits))
    if not isinstance(got, Mapping) or set(got) != set(names):
        raise Mistake(f"expected a dict with the names {names}, got {brief(got)}")
    if any(not torch.equal(p, b) for p, b in zip(parameters, before, strict=True)):
        raise Mistake("the parameters have changed: a report looks, it does not train")
    found = {name: number(got[name], f"the loss of {name!r}") for name in names}
    expected = {name: _loss(parameters, *splits[name]) for name in names}
    wrong = [name for name in names if not close(found[name], expected[name])]
    if not wrong:
        return
    said = f"for splits {', '.join(names)}: {wrong[0]!r} is {found[wrong[0]]:.4f}, expected {expected[wrong[0]]:.4f}"
    if all(any(close(found[name], expected[other]) for other in names) for name in names) and len(
        {round(value, 6) for value in found.values()}
    ) == len(names):
        other = next(other for other in names if close(found[wrong[0]], expected[other]))
        raise Mistake(f"{said}, which is the loss of {other!r}: the labels are swapped")
    for name in wrong:
        for other in names:
            if other == name:
                continue
            if close(found[name], expected[other]):
                raise Mistake(f"{said}: the number for {name!r} is the loss of {other!r} once more")
            X, Y = splits[other][0], splits[name][1]
            n = min(len(X), len(Y))
            if close(found[name], _loss(parameters, X[:n], Y[:n])):
                raise Mistake(
                    f"{said}. Your number has the h of {other!r} and the labels of {name!r}: a stale forward pass, "
                    "made for other rows and not made again"
                )
    name = wrong[0]
    X, Y = splits[name]
    if close(found[name], expected[name] * len(Y)):
        raise Mistake(f"{said}: a sum over the {len(Y)} examples; the mean is asked for")
    if close(found[name], expected[name] / math.log(10)) or close(found[name], math.log10(expected[name])):
        raise Mistake(f"{said}: that is the loss through log10. Report nats")
    if close(found[name], expected[name] / math.log(2)):
        raise Mistake(f"{said}: that is the loss in bits. Report nats")
    if close(found[name], math.exp(expected[name])):
        raise Mistake(f"{said}: that is the perplexity, exp of the loss. Report nats")
    C, W1, b1, W2, b2 = (p.detach() for p in parameters)
    product = C[X].view(len(X), -1) @ W1
    h = torch.tanh(product + b1)
    for logits, sentence in (
        ((product + b1) @ W2 + b2, "the tanh is missing"),
        (torch.relu(product + b1) @ W2 + b2, "relu stands in the place of tanh"),
        (torch.tanh(product) @ W2 + b2, "b1 is missing"),
        (h @ W2, "b2 is missing"),
        ((h @ W2 + b2).softmax(1), "the softmax was done twice. F.cross_entropy has one inside: hand it the logits"),
    ):
        if close(found[name], F.cross_entropy(logits, Y).item()):
            raise Mistake(f"{said}: {sentence}")
    for n in (1, 2, 4, 8, 10, 16, 32):
        if n < len(Y) and close(found[name], _loss(parameters, X[:n], Y[:n])):
            raise Mistake(f"{said}: only the first {n} of {len(Y)} rows were asked. A report takes them all")
    raise Mistake(f"{said}: the forward pass differs from the page's, or has other parameters than those handed in")


q3 = Exercise(
    "11.3",
    "a report that cannot mix things up",
    _check_report,
    hints=[
        "One loop over splits.items() gives a name with its own X and Y: nothing typed twice, nothing swapped.",
        "emb, h and logits belong inside the loop. Which of them depends on X?",
        "C, W1, b1, W2, b2 = parameters; then the forward pass of this page and F.cross_entropy(logits, Y).item().",
    ],
    solution=report,
)


# --------------------------------------------------------------------------------------------------------- 11.4


def fit(
    model: nn.Module,
    X: Tensor,
    Y: Tensor,
    *,
    steps: int,
    lr: Callable[[int], float],
    batch_size: int,
    g: torch.Generator,
) -> list[float]:
    """Train the model in place by minibatches from `g`, and return the loss of each step, before its update."""
    lossi = []
    for i in range(steps):
        ix = torch.randint(0, X.shape[0], (batch_size,), generator=g)
        loss = F.cross_entropy(model(X[ix]), Y[ix])
        for p in model.parameters():
            p.grad = None
        loss.backward()
        for p in model.parameters():
            p.data += -lr(i) * p.grad
        lossi.append(loss.item())
    return lossi


_STEPS, _BATCH = 6, 4


class _Watched(nn.Module):
    """A small model that writes down what it is asked and with which parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MLP(MLPConfig(6, 2, 2, 5), g=torch.Generator().manual_seed(3))
        self.asked: list[tuple[Tensor, list[Tensor]]] = []

    def forward(self, X: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.asked.append((X.clone(), [p.detach().clone() for p in self.inner.parameters()]))
        return self.inner(X)


def _data() -> tuple[Tensor, Tensor]:
    """All contexts of two symbols; the answer is a function of the row, so a row tells its answer."""
    X = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    return X, (2 * X[:, 0] + X[:, 1]) % 6


def _lr(i: int) -> float:
    return 0.1 if i < _STEPS // 2 else 0.01


def _run(answer: Callable, seed: int, global_seed: int) -> tuple[list[float], _Watched]:
    model, (X, Y), g = _Watched(), _data(), torch.Generator().manual_seed(seed)
    torch.manual_seed(global_seed)
    random.seed(global_seed)
    state = torch.get_rng_state()
    got = answer(model, X, Y, steps=_STEPS, lr=_lr, batch_size=_BATCH, g=g)
    try:
        losses = [float(x.detach() if isinstance(x, Tensor) else x) for x in got]
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"expected the list of the {_STEPS} losses, got {brief(got)}") from None
    if len(losses) != _STEPS:
        raise Mistake(f"expected {_STEPS} losses for {_STEPS} steps, got {len(losses)}")
    if torch.equal(g.get_state(), torch.Generator().manual_seed(seed).get_state()):
        if not torch.equal(torch.get_rng_state(), state):
            raise Mistake(
                "g came back untouched, and the global generator has moved: the minibatches are drawn from the global "
                "one. The same g gives another run each time"
            )
        raise Mistake("g came back untouched: nothing was drawn from it, so what chooses the minibatches?")
    if not torch.equal(torch.get_rng_state(), state):
        raise Mistake(
            "the global generator is another after the call: something draws from it or seeds it, and cells elsewhere "
            "that use it will notice"
        )
    return losses, model


def _check_all_rows(answer: Callable) -> None:
    model, X = _Watched(), torch.tensor([[0, 0], [1, 1]])
    answer(model, X, 3 * X[:, 0], steps=24, lr=_lr, batch_size=2, g=torch.Generator().manual_seed(1))
    seen = {row for X, _ in model.asked for row in X[:, 0].tolist()}
    if len(seen) < 2:
        raise Mistake(
            f"with X of 2 rows, 24 minibatches of 2 held row {min(seen)} alone: torch.randint(0, n, ...) gives 0 to "
            "n - 1, so n is X.shape[0]"
        )


def _check_fit(answer: object) -> str:
    own_function(answer, "q4.check(fit)")
    states = random.getstate(), torch.get_rng_state()
    try:
        first, model = _run(answer, seed=1, global_seed=10)
        again, twin = _run(answer, seed=1, global_seed=11)
        other, _ = _run(answer, seed=2, global_seed=10)
        if first != again:
            k = next(k for k in range(_STEPS) if first[k] != again[k])
            raise Mistake(
                f"two runs with the same g differ: loss {first[k]:.4f} and {again[k]:.4f} at step {k}. Something "
                "besides g chooses, draws or remembers"
            )
        if first == other:
            raise Mistake("g seeded with 1 and with 2 give the same run: the minibatches do not follow from g")
        _check_steps(first, model)
        if any(not torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True)):
            raise Mistake("two runs with the same g end with other parameters")
        _check_all_rows(answer)
    finally:
        random.setstate(states[0])
        torch.set_rng_state(states[1])
    return "the same g, the same run to the last bit; another g, another run; and every step is the lecture's."


def _check_steps(losses: Sequence[float], model: _Watched) -> None:
    if len(model.asked) != _STEPS:
        raise Mistake(f"{len(model.asked)} forward passes for {_STEPS} steps: one each, with gradients")
    after = [snapshot for _, snapshot in model.asked[1:]] + [[p.detach().clone() for p in model.inner.parameters()]]
    summed = [torch.zeros_like(p) for p in after[-1]]
    for i, ((X, before), then) in enumerate(zip(model.asked, after, strict=True)):
        if X.shape != (_BATCH, 2):
            raise Mistake(f"step {i}: the model was given X of shape {tuple(X.shape)}, expected {(_BATCH, 2)}")
        Y = (2 * X[:, 0] + X[:, 1]) % 6
        tensors = [p.clone().requires_grad_() for p in before]
        emb = tensors[0][X].view(_BATCH, -1)
        logits = torch.tanh(emb @ tensors[1] + tensors[2]) @ tensors[3] + tensors[4]
        loss = F.cross_entropy(logits, Y)
        grads = torch.autograd.grad(loss, tensors)
        if not close(losses[i], loss.item()):
            raise Mistake(
                f"step {i}: you report {losses[i]:.4f}, and the minibatch given to the model has {loss.item():.4f}: do "
                "X[ix] and Y[ix] have the same ix, and is the loss the mean, in nats?"
            )
        if all(torch.equal(p, q) for p, q in zip(before, then, strict=True)):
            raise Mistake(f"step {i}: no parameter has moved")
        summed = [s + d for s, d in zip(summed, grads, strict=True)]
        moved = [q - p for p, q in zip(before, then, strict=True)]
        if _along(moved, grads, -_lr(i)):
            continue
        if i and _along(moved, summed, -_lr(i)):
            raise Mistake(f"step {i}: the update holds the gradients of all steps so far: reset them before backward")
        if _along(moved, grads, _lr(i)):
            raise Mistake(f"step {i}: the parameters moved up the gradient: the update is -lr(i) * p.grad")
        if _along(moved, grads, -_lr(0)):
            raise Mistake(f"step {i}: the update uses {_lr(0):g}, but lr({i}) is {_lr(i):g}: ask lr anew in each step")
        raise Mistake(f"step {i}: the parameters did not move by -lr({i}) * p.grad, with lr({i}) = {_lr(i):g}")
    if all(torch.equal(X, model.asked[0][0]) for X, _ in model.asked):
        raise Mistake("every step has the same minibatch: draw ix inside the loop")


def _along(moved: Sequence[Tensor], grads: Sequence[Tensor], factor: float) -> bool:
    return all(torch.allclose(m, factor * d, atol=2e-6) for m, d in zip(moved, grads, strict=True))


q4 = Exercise(
    "11.4",
    "a run that can be repeated",
    _check_fit,
    hints=[
        "Whatever is drawn at random must be drawn from g. What is drawn in a step?",
        "torch.randint takes generator=g; without it the numbers come from PyTorch's global generator.",
        "Seed nothing inside: the caller has seeded g. The rest is this page's loop, with model(X[ix]).",
    ],
    solution=fit,
)
