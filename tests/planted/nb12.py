"""Mistakes that learners make in notebook 12, each with words its message must hold."""

import torch

from mlp_lib.course.exercises.nb12 import q1, q2, q3

# --- 12.1


def _draw(probs, g):
    return torch.multinomial(probs, num_samples=1, generator=g).item()


def no_stop(next_probs, block_size, g):
    out, context = [], [0] * block_size
    while True:
        ix = _draw(next_probs(context), g)
        context = context[1:] + [ix]
        out.append(ix)


def not_slid(next_probs, block_size, g):
    out, context = [], [0] * block_size
    while True:
        ix = _draw(next_probs(context), g)
        if ix == 0:
            return out
        out.append(ix)


def slid_the_wrong_way(next_probs, block_size, g):
    out, context = [], [0] * block_size
    while True:
        ix = _draw(next_probs(context), g)
        if ix == 0:
            return out
        context = [ix] + context[:-1]
        out.append(ix)


def grows(next_probs, block_size, g):
    out, context = [], [0] * block_size
    while True:
        ix = _draw(next_probs(context), g)
        if ix == 0:
            return out
        context = context + [ix]
        out.append(ix)


def starts_with_a_letter(next_probs, block_size, g):
    out, context = [], [1] * block_size
    while True:
        ix = _draw(next_probs(context), g)
        if ix == 0:
            return out
        context = context[1:] + [ix]
        out.append(ix)


def three_written_in(next_probs, block_size, g):
    return _loop(next_probs, 3, lambda probs: _draw(probs, g))


def _loop(next_probs, block_size, draw):
    out, context = [], [0] * block_size
    while True:
        ix = draw(next_probs(context))
        if ix == 0:
            return out
        context = context[1:] + [ix]
        out.append(ix)


def generator_left_out(next_probs, block_size, g):
    return _loop(next_probs, block_size, lambda probs: torch.multinomial(probs, num_samples=1).item())


def own_generator(next_probs, block_size, g):
    mine = torch.Generator().manual_seed(2147483647)
    return _loop(next_probs, block_size, lambda probs: _draw(probs, mine))


def seeded_inside(next_probs, block_size, g):
    g.manual_seed(2147483647 + 10)
    return _loop(next_probs, block_size, lambda probs: _draw(probs, g))


def likeliest(next_probs, block_size, g):
    out, context = [], [0] * block_size
    for _ in range(50):
        ix = next_probs(context).argmax().item()
        if ix == 0:
            break
        context = context[1:] + [ix]
        out.append(ix)
    return out


def end_marker_kept(next_probs, block_size, g):
    return _loop(next_probs, block_size, lambda probs: _draw(probs, g)) + [0]


def first_context_kept(next_probs, block_size, g):
    return [0] * block_size + _loop(next_probs, block_size, lambda probs: _draw(probs, g))


def no_return(next_probs, block_size, g):
    _loop(next_probs, block_size, lambda probs: _draw(probs, g))


def asked_once(next_probs, block_size, g):
    out, probs = [], next_probs([0] * block_size)
    while True:
        ix = _draw(probs, g)
        if ix == 0:
            return out
        out.append(ix)


def batch_of_one(next_probs, block_size, g):
    return _loop(lambda context: next_probs([context]), block_size, lambda probs: _draw(probs, g))


def tensor_context(next_probs, block_size, g):
    return _loop(lambda context: next_probs(torch.tensor(context)), block_size, lambda probs: _draw(probs, g))


def sharpened(next_probs, block_size, g):
    return _loop(next_probs, block_size, lambda probs: _draw(probs**2, g))


def softmax_twice(next_probs, block_size, g):
    return _loop(next_probs, block_size, lambda probs: _draw(torch.where(probs == 0, 0, torch.softmax(probs, 0)), g))


# --- 12.2


def multiplied(logits, T):
    return torch.softmax(logits * T, -1)


def divided_after(logits, T):
    return torch.softmax(logits, -1) / T


def divided_after_and_normalised(logits, T):
    probs = torch.softmax(logits, -1) / T
    return probs / probs.sum(-1, keepdim=True)


def power_not_normalised(logits, T):
    return torch.softmax(logits, -1) ** (1 / T)


def by_hand_no_shift(logits, T):
    counts = (logits / T).exp()
    return counts / counts.sum(-1, keepdim=True)


def power_normalised(logits, T):
    probs = torch.softmax(logits, -1) ** (1 / T)
    return probs / probs.sum()


def one_maximum(logits, T):
    counts = ((logits - logits.max()) / T).exp()
    return counts / counts.sum(-1, keepdim=True)


def power_of_the_softmax(logits, T):
    probs = torch.softmax(logits, -1) ** (1 / T)
    return probs / probs.sum(-1, keepdim=True)


def dim_1(logits, T):
    return torch.softmax(logits / T, dim=1)


def columns(logits, T):
    return torch.softmax(logits / T, 0)


def still_logits(logits, T):
    return logits / T


def in_place(logits, T):
    logits /= T
    return torch.softmax(logits, -1)


# --- 12.3


def distinct(samples, train_words):
    return len(set(samples) - set(train_words)) / len(set(samples))


def distinct_over_all(samples, train_words):
    return len(set(samples) - set(train_words)) / len(samples)


def substring(samples, train_words):
    text = " ".join(train_words)
    return sum(name not in text for name in samples) / len(samples)


def old(samples, train_words):
    return sum(name in train_words for name in samples) / len(samples)


def number(samples, train_words):
    return sum(name not in train_words for name in samples)


def per_cent(samples, train_words):
    return 100 * number(samples, train_words) / len(samples)


def over_train(samples, train_words):
    return number(samples, train_words) / len(train_words)


MISTAKES = [
    (q1, no_stop, "without `break` the loop is endless"),
    (q1, not_slid, "the window did not slide"),
    (q1, slid_the_wrong_way, "add the new one on the right"),
    (q1, grows, "keeps its length"),
    (q1, starts_with_a_letter, "a word starts from [0, 0]"),
    (q1, three_written_in, "with block_size 2 next_probs was called with the context [0, 0, 0]"),
    (q1, asked_once, "next_probs was asked 1 time"),
    (q1, batch_of_one, "called with [[0, 0]]: it takes the context itself"),
    (q1, tensor_context, "called with tensor([0, 0]): it takes the context itself"),
    (q1, generator_left_out, "pass generator=g"),
    (q1, own_generator, "a generator made anew"),
    (q1, seeded_inside, "is g seeded in your function?"),
    (q1, likeliest, "the likeliest symbol was taken"),
    (q1, end_marker_kept, "the 0 ends the word and is no part of it"),
    (q1, first_context_kept, "the zeros of the first context are no part of it"),
    (q1, no_return, "returned None"),
    (q1, sharpened, "give torch.multinomial the probabilities as they are"),
    (q1, softmax_twice, "give torch.multinomial the probabilities as they are"),
    (q2, multiplied, "T multiplied"),
    (q2, divided_after, "they sum to 1 / T"),
    (q2, divided_after_and_normalised, "T has no effect"),
    (q2, power_not_normalised, "divide by the sum"),
    (q2, by_hand_no_shift, "exp leaves the range of float32"),
    (q2, power_normalised, "normalise each row by itself"),
    (q2, one_maximum, "one maximum was subtracted from all rows"),
    (q2, power_of_the_softmax, "the softmax came first and lost the small ones"),
    (q2, dim_1, "dim=-1 fits both"),
    (q2, columns, "normalise each row by itself"),
    (q2, still_logits, "softmax is missing"),
    (q2, in_place, "in place"),
    (q3, distinct, "counts each different name once"),
    (q3, distinct_over_all, "different new names over all samples"),
    (q3, substring, "only a part of 'anna'"),
    (q3, old, "the new ones are the others"),
    (q3, number, "divide by the number of samples"),
    (q3, per_cent, "per cent"),
    (q3, over_train, "not of train names"),
]
