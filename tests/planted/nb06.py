"""Typical wrong answers to the exercises of notebook 06, and the words that each must get to hear."""

import math

import torch
import torch.nn.functional as F

from mlp_lib.course.exercises.nb06 import q1, q2, q3

# 6.1 rates in powers of ten


def linear(lo, hi, steps):  # C15
    return torch.linspace(lo, hi, steps)


def exponents(lo, hi, steps):  # C15
    return torch.linspace(math.log10(lo), math.log10(hi), steps)


def natural_logarithm(lo, hi, steps):
    return 10 ** torch.linspace(math.log(lo), math.log(hi), steps)


def descending(lo, hi, steps):
    return 10 ** torch.linspace(math.log10(hi), math.log10(lo), steps)


def rates_taken_for_exponents(lo, hi, steps):
    return 10 ** torch.linspace(lo, hi, steps)


def without_the_end(lo, hi, steps):
    return [lo * (hi / lo) ** (i / steps) for i in range(steps)]


def one_too_many(lo, hi, steps):
    return [lo * (hi / lo) ** (i / steps) for i in range(steps + 1)]


def bent(lo, hi, steps):
    return [lo + (hi - lo) * (i / (steps - 1)) ** 2 for i in range(steps)]


def as_text(lo, hi, steps):
    return [str(rate) for rate in q1.solve(lo, hi, steps).tolist()]


# 6.2 a sweep


def _step(model, X, Y, lr, g, *, clear=True, sign=-1, global_g=False):
    ix = torch.randint(0, X.shape[0], (32,), generator=None if global_g else g)
    loss = F.cross_entropy(model(X[ix]), Y[ix])
    if clear:
        for p in model.parameters():
            p.grad = None
    loss.backward()
    for p in model.parameters():
        p.data += sign * lr * p.grad
    return loss, ix


def update_uses_a_tenth(make_model, X, Y, lrs, g):  # C1
    model, lossi = make_model(), []
    for i in range(len(lrs)):
        lr = lrs[i]
        ix = torch.randint(0, X.shape[0], (32,), generator=g)
        loss = F.cross_entropy(model(X[ix]), Y[ix])
        for p in model.parameters():
            p.grad = None
        loss.backward()
        for p in model.parameters():
            p.data += -0.1 * p.grad
        lossi.append((lr, loss.item()))
    return [loss for _, loss in lossi]


_kept = {}


def model_kept(make_model, X, Y, lrs, g):  # C16
    if make_model not in _kept:
        _kept[make_model] = make_model()
    return [_step(_kept[make_model], X, Y, lr, g)[0].item() for lr in lrs]


def a_model_from_elsewhere(make_model, X, Y, lrs, g):  # C16
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Flatten(), torch.nn.Linear(8, 5))
    return [_step(model, X, Y, lr, g)[0].item() for lr in lrs]


def losses_after_the_update(make_model, X, Y, lrs, g):
    model, lossi = make_model(), []
    for lr in lrs:
        _, ix = _step(model, X, Y, lr, g)
        lossi.append(F.cross_entropy(model(X[ix]), Y[ix]).item())
    return lossi


def last_rate_throughout(make_model, X, Y, lrs, g):
    model = make_model()
    return [_step(model, X, Y, lrs[-1], g)[0].item() for _ in lrs]


def one_step_late(make_model, X, Y, lrs, g):
    model = make_model()
    return [_step(model, X, Y, lrs[max(i - 1, 0)], g)[0].item() for i in range(len(lrs))]


def a_model_for_every_step(make_model, X, Y, lrs, g):
    return [_step(make_model(), X, Y, lr, g)[0].item() for lr in lrs]


def rates_of_its_own(make_model, X, Y, lrs, g):
    return q2.solve(make_model, X, Y, 10 ** torch.linspace(-3, 0, len(lrs)), g)


def rates_taken_twice_to_the_power(make_model, X, Y, lrs, g):
    return q2.solve(make_model, X, Y, 10**lrs, g)


def rates_from_the_end(make_model, X, Y, lrs, g):
    return q2.solve(make_model, X, Y, lrs.flip(0), g)


def model_from_g(make_model, X, Y, lrs, g):
    return q2.solve(lambda: make_model(g), X, Y, lrs, g)


def gradients_piled_up(make_model, X, Y, lrs, g):
    model = make_model()
    return [_step(model, X, Y, lr, g, clear=False)[0].item() for lr in lrs]


def uphill(make_model, X, Y, lrs, g):
    model = make_model()
    return [_step(model, X, Y, lr, g, sign=1)[0].item() for lr in lrs]


def global_generator(make_model, X, Y, lrs, g):
    model = make_model()
    return [_step(model, X, Y, lr, g, global_g=True)[0].item() for lr in lrs]


def whole_dataset(make_model, X, Y, lrs, g):
    model = make_model()
    lossi = []
    for lr in lrs:
        loss = F.cross_entropy(model(X), Y)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data += -lr * p.grad
        lossi.append(loss.item())
    return lossi


def log10_of_the_loss(make_model, X, Y, lrs, g):
    model = make_model()
    return [_step(model, X, Y, lr, g)[0].log10().item() for lr in lrs]


# 6.3 a rate that falls


def one_late(i):
    return 0.1 if i <= 10_000 else 0.01 if i <= 15_000 else 0.001


def one_early(i):
    return 0.1 if i + 1 < 10_000 else 0.01 if i + 1 < 15_000 else 0.001


def rises(i):
    return 0.1 if i < 10_000 else 1.0 if i < 15_000 else 10.0


def turned_round(i):
    return 0.001 if i < 10_000 else 0.01 if i < 15_000 else 0.1


_state = {"lr": 0.1, "calls": 0}


def stateful(i):
    if i in (10_000, 15_000):
        _state["lr"] *= 0.1
    return _state["lr"]


def counts_calls(i):
    _state["calls"] += 1
    return 0.1 if _state["calls"] <= 10_000 else 0.01 if _state["calls"] <= 15_000 else 0.001


def never_the_third(i):
    if i >= 10_000:
        return 0.01
    if i >= 15_000:
        return 0.001
    return 0.1


def step_10_000_left_out(i):
    if i < 10_000:
        return 0.1
    if 10_000 < i < 15_000:
        return 0.01
    return 0.001


def counted_from_one(i):
    if 1 <= i <= 10_000:
        return 0.1
    return 0.01 if 10_001 <= i <= 15_000 else 0.001


def constant(i):
    return 1.0


def ten_times(i):
    return 10 * q3.solve(i)


def text(i):
    return str(q3.solve(i))


def no_return_at_the_end(i):
    if i < 10_000:
        return 0.1
    if i < 15_000:
        return 0.01


MISTAKES = [
    (q1, linear, "equal differences, so nearly all rates lie near 1"),
    (q1, exponents, "these are the exponents"),
    (q1, natural_logarithm, "natural logarithm"),
    (q1, descending, "from the highest to the lowest"),
    (q1, rates_taken_for_exponents, "you took them for exponents"),
    (q1, without_the_end, "with both ends included"),
    (q1, one_too_many, "5 rates, expected 4"),
    (q1, bent, "the factor is not always the same"),
    (q1, as_text, "not a row of numbers"),
    (q2, update_uses_a_tenth, "the rate is swept, but the update does not use it"),
    (q2, model_kept, "the model that the first one left blown up"),
    (q2, a_model_from_elsewhere, "make_model was never called"),
    (q2, losses_after_the_update, "measured after the update"),
    (q2, last_rate_throughout, "all steps used the last rate"),
    (q2, one_step_late, "one step late or early"),
    (q2, a_model_for_every_step, "a new model for every step, 12 in all"),
    (q2, rates_of_its_own, "rates from 0.001 to 1"),
    (q2, rates_taken_twice_to_the_power, "lrs holds rates already"),
    (q2, rates_from_the_end, "you went through lrs from its end"),
    (q2, model_from_g, "TypeError: make_model() takes 0 positional arguments"),
    (q2, gradients_piled_up, "gradients pile up"),
    (q2, uphill, "which sign has the update"),
    (q2, global_generator, "torch's global generator has"),
    (q2, whole_dataset, "each step should draw its 32 rows"),
    (q2, log10_of_the_loss, "log10 of the loss"),
    (q3, one_late, "one step late: steps are counted from 0"),
    (q3, one_early, "one step early"),
    (q3, rises, "the rate goes up"),
    (q3, turned_round, "It should fall as i grows"),
    (q3, stateful, "remembers what it was asked before"),
    (q3, counts_calls, "lr(i) is 0.1 for every i, early or late"),
    (q3, constant, "lr(i) is 1 for every i, early or late"),
    (q3, step_10_000_left_out, "lr(10,000) is 0.001, expected 0.01, and the steps beside it are right"),
    (q3, counted_from_one, "lr(0) is 0.001, expected 0.1, and lr(1) is right"),
    (q3, ten_times, "lr(0) is 1, expected 0.1"),
    (q3, text, "expected one number, lr(0), got '0.1'"),
    (q3, never_the_third, "which of your conditions is asked first, or is there no third rate"),
    (q3, no_return_at_the_end, "a way through your function without `return`"),
]
