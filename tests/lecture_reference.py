"""The lecture's arithmetic as plain functions: the reference that the library is compared with, bit for bit.

Each function follows the steps of the video in order, with the sizes as arguments. The library never imports this file.
"""

import random

import torch
import torch.nn.functional as F

SEED = 2147483647


def vocabulary(words):
    stoi = {"." if i == 0 else s: i for i, s in enumerate([".", *sorted({c for w in words for c in w})])}
    return stoi, {i: s for s, i in stoi.items()}


def dataset(words, stoi, block_size=3):
    xs, ys = [], []
    for w in words:
        window = [0] * block_size
        for c in w + ".":
            xs.append(window)
            ys.append(stoi[c])
            window = window[1:] + [stoi[c]]
    return torch.tensor(xs), torch.tensor(ys)


def splits(words, stoi, block_size=3):
    words = list(words)
    random.seed(42)
    random.shuffle(words)
    a, b = int(0.8 * len(words)), int(0.9 * len(words))
    return [dataset(part, stoi, block_size) for part in (words[:a], words[a:b], words[b:])]


def initial(g, *, vocab_size=27, block_size=3, n_embd=10, n_hidden=200):
    C = torch.randn((vocab_size, n_embd), generator=g)
    W1 = torch.randn((block_size * n_embd, n_hidden), generator=g)
    b1 = torch.randn(n_hidden, generator=g)
    W2 = torch.randn((n_hidden, vocab_size), generator=g)
    b2 = torch.randn(vocab_size, generator=g)
    return [C, W1, b1, W2, b2]


def loss_of(parameters, X, Y):
    C, W1, b1, W2, b2 = parameters
    emb = C[X]
    h = torch.tanh(emb.view(-1, W1.shape[0]) @ W1 + b1)
    return F.cross_entropy(h @ W2 + b2, Y)


def training(parameters, X, Y, *, steps, lr, g, batch_size=32):
    """Yield (loss before the update, rows drawn) after each step; `lr` is a function of the step's number."""
    for p in parameters:
        p.requires_grad = True
    for i in range(steps):
        ix = slice(None) if batch_size is None else torch.randint(0, X.shape[0], (batch_size,), generator=g)
        loss = loss_of(parameters, X[ix], Y[ix])
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data += -lr(i) * p.grad
        yield loss.item(), ix


def samples(parameters, itos, *, n, g, block_size=3):
    C, W1, b1, W2, b2 = parameters
    names = []
    for _ in range(n):
        out, window = [], [0] * block_size
        while True:
            emb = C[torch.tensor([window])]
            h = torch.tanh(emb.view(1, -1) @ W1 + b1)
            probs = F.softmax(h @ W2 + b2, dim=1)
            ix = torch.multinomial(probs, num_samples=1, generator=g).item()
            window = window[1:] + [ix]
            out.append(ix)
            if ix == 0:
                break
        names.append("".join(itos[i] for i in out))
    return names
