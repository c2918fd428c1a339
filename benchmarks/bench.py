"""One table and one plot: what a step of the lecture's network costs here, done in every way one could do it.

Run it with `make bench`, on an idle machine. It writes results.md and results.png beside itself and takes some minutes.

Contestants take turns in short bursts, and the quickest burst of each counts: whatever else the machine does in the
meantime then slows a burst, not a contestant.
"""

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, make_splits, sample_words, train
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.grid import run_grid

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
SEED = 2147483647
BATCH = 32
THREADS = torch.get_num_threads()
LIMIT = "limit: the same FLOPs at the rate of a large product, 1 core"


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def fresh(config=None):
    g = generator()
    return MLP(config or MLPConfig(), g=g), g


clock = time.perf_counter  # or, on a busy machine, the processor time of this process


def quickest(contestants: dict[str, Callable[[int], object]], seconds: float, burst: float = 0.05) -> dict[str, float]:
    """Microseconds a step of each contestant, a function that takes n steps: the quickest of many bursts in turn."""

    def clocked(run, n):
        start = clock()
        run(n)
        return clock() - start

    sizes = {}
    for name, run in contestants.items():
        n = getattr(run, "least", 1)
        run(n)  # whatever happens only once
        while min(clocked(run, n) for _ in range(5)) < burst / 2:
            n *= 2
        sizes[name] = n
    best = dict.fromkeys(contestants, float("inf"))
    end = time.perf_counter() + seconds * len(contestants)
    while time.perf_counter() < end:
        for name, run in contestants.items():
            best[name] = min(best[name], clocked(run, sizes[name]) / sizes[name] * 1e6)
    return best


# ---- the contestants -------------------------------------------------------------------------------------------------


def lecture_loop(X, Y, config=None, batch=BATCH, threads=1):
    """The cell of the lecture, as it stands there."""
    model, g = fresh(config)
    C, W1, b1, W2, b2 = (p.detach().clone() for p in model.tensors())
    parameters = [C, W1, b1, W2, b2]
    for p in parameters:
        p.requires_grad = True
    width = W1.shape[0]

    def run(n):
        torch.set_num_threads(threads)
        lossi = []
        for _ in range(n):
            ix = torch.randint(0, X.shape[0], (batch,), generator=g)
            emb = C[X[ix].long()]  # long() costs nothing unless the list was built with a smaller dtype
            h = torch.tanh(emb.view(-1, width) @ W1 + b1)
            logits = h @ W2 + b2
            loss = F.cross_entropy(logits, Y[ix].long())
            for p in parameters:
                p.grad = None
            loss.backward()
            for p in parameters:
                p.data += -0.1 * p.grad
            lossi.append(loss.log10().item())

    return run


class Layers(nn.Module):
    """The same network as people write it with torch's layers."""

    def __init__(self):
        super().__init__()
        c = MLPConfig()
        self.C = nn.Embedding(c.vocab_size, c.n_embd)
        self.hidden = nn.Linear(c.block_size * c.n_embd, c.n_hidden)
        self.out = nn.Linear(c.n_hidden, c.vocab_size)

    def forward(self, X):
        return self.out(torch.tanh(self.hidden(self.C(X).flatten(1))))


def module_and_sgd(X, Y, threads=1, compiled=False):
    model, g = Layers(), generator()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_of(Xb, Yb):
        return F.cross_entropy(model(Xb), Yb)

    if compiled:
        loss_of = torch.compile(loss_of)

    def run(n):
        torch.set_num_threads(threads)
        for _ in range(n):
            ix = torch.randint(0, X.shape[0], (BATCH,), generator=g)
            loss = loss_of(X[ix], Y[ix])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return run


def numpy_by_hand(X, Y):
    model, _ = fresh()
    C, W1, b1, W2, b2 = (p.detach().numpy().copy() for p in model.tensors())
    X, Y = X.numpy(), Y.numpy()
    rng = np.random.default_rng(SEED)
    rows = np.arange(BATCH)

    def run(n):
        for _ in range(n):
            ix = rng.integers(0, len(X), BATCH)
            Xb, Yb = X[ix], Y[ix]
            emb = C[Xb].reshape(BATCH, -1)
            h = np.tanh(emb @ W1 + b1)
            logits = h @ W2 + b2
            logits -= logits.max(1, keepdims=True)
            d = np.exp(logits)
            total = d.sum(1, keepdims=True)
            float((np.log(total[:, 0]) - logits[rows, Yb]).mean())
            d /= total
            d[rows, Yb] -= 1
            d /= BATCH
            dW2, db2 = h.T @ d, d.sum(0)
            dh = (d @ W2.T) * (1 - h * h)
            dW1, db1 = emb.T @ dh, dh.sum(0)
            dC = np.zeros_like(C)
            np.add.at(dC, Xb, (dh @ W1.T).reshape(BATCH, -1, C.shape[1]))
            for p, dp in ((C, dC), (W1, dW1), (b1, db1), (W2, dW2), (b2, db2)):
                p -= np.float32(0.1) * dp

    return run


def jax_scan(X, Y):
    # One thread, for a step as small as this is slower on two.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import jax.numpy as jnp

    model, _ = fresh()
    state = tuple(jnp.asarray(p.detach().numpy()) for p in model.tensors()), jax.random.key(0)
    X, Y = jnp.asarray(X.numpy(), jnp.int32), jnp.asarray(Y.numpy(), jnp.int32)

    def loss_of(p, Xb, Yb):
        C, W1, b1, W2, b2 = p
        h = jnp.tanh(C[Xb].reshape(len(Xb), -1) @ W1 + b1)
        return -jnp.take_along_axis(jax.nn.log_softmax(h @ W2 + b2), Yb[:, None], 1).mean()

    def step(p, batch):
        loss, grads = jax.value_and_grad(loss_of)(p, *batch)
        return tuple(a - 0.1 * da for a, da in zip(p, grads, strict=True)), loss

    chunk = 256  # a scan is compiled for one length

    @jax.jit
    def scan(state):
        p, key = state
        key, now = jax.random.split(key)
        ix = jax.random.randint(now, (chunk, BATCH), 0, len(X))
        p, losses = jax.lax.scan(step, p, (X[ix], Y[ix]))
        return (p, key), losses

    def run(n):
        nonlocal state
        for _ in range(n // chunk):
            state, losses = scan(state)
        losses.block_until_ready()

    run.least = chunk
    return run


def ours(X, Y, config=None, batch=BATCH, look_every=None, least=1):
    """A call looks through all of X and Y once, so on a very long list `least` steps share that."""
    model, g = fresh(config)

    def run(n):
        for _ in fast_steps(model, X, Y, steps=n, batch_size=batch, look_every=look_every, g=g):
            pass

    run.least = least
    return run


def ours_in_train(X, Y):
    model, g = fresh()
    return lambda n: train(model, X, Y, steps=n, g=g, stepper=fast_steps)


def flops(config=None, batch=BATCH):
    """Of the six matrix products of a step: two forward, four backward; a multiply-add counts as two."""
    c = config or MLPConfig()
    return 2 * 3 * batch * c.n_hidden * (c.block_size * c.n_embd + c.vocab_size)


def products(batch=BATCH):
    """The six products alone, in the shapes of the step, by NumPy's BLAS."""
    c = MLPConfig()
    rng = np.random.default_rng(0)
    inputs = c.block_size * c.n_embd
    shapes = {"emb": (batch, inputs), "W1": (inputs, c.n_hidden), "h": (batch, c.n_hidden)}
    shapes |= {"W2": (c.n_hidden, c.vocab_size), "d": (batch, c.vocab_size)}
    emb, W1, h, W2, d = (rng.standard_normal(s, dtype=np.float32) for s in shapes.values())
    pairs = [(emb, W1), (h, W2), (h.T, d), (d, W2.T), (emb.T, h), (h, W1.T)]
    todo = [(a, b, np.empty((a.shape[0], b.shape[1]), np.float32)) for a, b in pairs]

    def run(n):
        for _ in range(n):
            for a, b, out in todo:
                np.matmul(a, b, out=out)

    return run


def big_product(size=768):
    """One product large enough to run at the core's full rate."""
    A, out = torch.ones(size, size), torch.empty(size, size)

    def run(n):
        torch.set_num_threads(1)
        for _ in range(n):
            torch.mm(A, A, out=out)

    run.flops = 2 * size**3
    return run


# ---- the parts -------------------------------------------------------------------------------------------------------


def race(X, Y, seconds):
    """Rows (name, us) of the table; a contestant that cannot run has a reason in place of its time."""
    contestants = {
        "the lecture's loop, 1 thread": lecture_loop(X, Y),
        "`nn.Module`, `torch.optim.SGD`, 1 thread": module_and_sgd(X, Y),
        "NumPy by hand": numpy_by_hand(X, Y),
        "ours, `train(stepper=fast_steps)`": ours_in_train(X, Y),
        "ours, iterator, `look_every=None`": ours(X, Y),
        "ours, iterator, `look_every=1`": ours(X, Y, look_every=1),
        "limit: the six products alone, same shapes": products(),
    }
    if THREADS > 1:
        contestants[f"the lecture's loop, {THREADS} threads"] = lecture_loop(X, Y, threads=THREADS)
        contestants[f"`nn.Module`, `torch.optim.SGD`, {THREADS} threads"] = module_and_sgd(X, Y, threads=THREADS)
    missing = {}
    try:
        contestants["JAX, `jit` of a `lax.scan`"] = jax_scan(X, Y)
    except ImportError:
        missing["JAX, `jit` of a `lax.scan`"] = "not installed"
    try:
        compiled = module_and_sgd(X, Y, compiled=True)
        compiled(3)
        contestants["`torch.compile` of forward and backward"] = compiled
    except Exception as error:  # no compiler, an unsupported Python: the reason goes into the table
        missing["`torch.compile` of forward and backward"] = f"failed: {type(error).__name__}"
    big = big_product()
    contestants[LIMIT] = big
    best = quickest(contestants, seconds)
    best[LIMIT] *= flops() / big.flops
    return best, missing


def growth(words, vocab, seconds):
    """{what grows: [(value, us a step of ours, us a step of the lecture's loop)]}"""
    data = {b: build_dataset(words, vocab, b) for b in (1, 2, 3, 5, 8)}
    tables = {}

    def measure(title, cases, least=1):
        rows = []
        for value, (x, y, config, batch) in cases.items():
            pair = {"ours": ours(x, y, config, batch, least=least), "loop": lecture_loop(x, y, config, batch)}
            best = quickest(pair, seconds)
            rows.append((value, best["ours"], best["loop"]))
        tables[title] = rows

    X, Y = data[3]
    measure("batch size", {b: (X, Y, None, b) for b in (1, 8, 32, 128, 512, 4096)})
    measure("hidden units", {h: (X, Y, MLPConfig(n_hidden=h), BATCH) for h in (50, 100, 200, 400, 800)})
    measure("embedding", {e: (X, Y, MLPConfig(n_embd=e), BATCH) for e in (2, 5, 10, 20, 40)})
    measure("context", {b: (*data[b], MLPConfig(block_size=b), BATCH) for b in data})
    many = {}
    for times in (1, 10, 100):
        many[f"{len(words) * times:,}"] = (
            *build_dataset(words * times, vocab, dtype=torch.int8), None, BATCH)  # fmt: skip
    measure("words in the list", many, least=20_000)
    return tables


def models(X, Y, counts, steps):
    """[(models trained at once, us per model and step)]; a grid of them, all cores."""
    best = dict.fromkeys(counts, float("inf"))
    for _ in range(4):
        for n in counts:
            clock = time.perf_counter()
            run_grid([MLPConfig()], range(n), X=X, Y=Y, steps=steps)
            best[n] = min(best[n], (time.perf_counter() - clock) / (n * steps) * 1e6)
    return list(best.items())


def lecture_build(words, vocab, block_size=3):
    X, Y = [], []
    for w in words:
        context = [0] * block_size
        for ch in w + ".":
            ix = vocab.stoi[ch]
            X.append(context)
            Y.append(ix)
            context = context[1:] + [ix]
    return torch.tensor(X), torch.tensor(Y)


def lecture_sample(model, vocab, n, g):
    C, W1, b1, W2, b2 = (p.detach() for p in model.tensors())
    names = []
    for _ in range(n):
        out, context = [], [0] * 3
        while True:
            emb = C[torch.tensor([context])]
            h = torch.tanh(emb.view(1, -1) @ W1 + b1)
            probs = F.softmax(h @ W2 + b2, dim=1)
            ix = torch.multinomial(probs, num_samples=1, generator=g).item()
            context = context[1:] + [ix]
            out.append(ix)
            if ix == 0:
                break
        names.append("".join(vocab.itos[i] for i in out))
    return names


def around(words, vocab, X, Y):
    """Rows (what, the lecture's seconds, ours): building the dataset, drawing 10,000 names."""
    torch.set_num_threads(1)
    model, g = fresh()
    train(model, X, Y, steps=20_000, g=g, stepper=fast_steps)

    def least(f, times):
        best = float("inf")
        for _ in range(times):
            clock = time.perf_counter()
            f()
            best = min(best, time.perf_counter() - clock)
        return best

    n = 10_000
    return [
        (f"dataset of {len(words):,} words", least(lambda: lecture_build(words, vocab), 5),
         least(lambda: build_dataset(words, vocab), 15)),
        (f"{n:,} names drawn (`batched=True`)", 10 * least(lambda: lecture_sample(model, vocab, n // 10, g), 4),
         least(lambda: sample_words(model, vocab, n, batched=True, g=g), 10)),
    ]  # fmt: skip


def hundredfold():
    """Seconds and peak MB of a process that builds the dataset of a list a hundred times as long."""
    code = (
        "import resource, sys, time, torch\n"
        "from mlp_lib import *\n"
        "words = load_words() * 100\n"
        "vocab = Vocab.from_words(words)\n"
        "clock = time.perf_counter()\n"
        "X, Y = build_dataset(words, vocab, dtype=torch.int8)\n"
        "seconds = time.perf_counter() - clock\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)\n"
        "print(len(words), len(Y), seconds, peak / 1e6)\n"
    )
    try:
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError:  # Windows has no resource module
        return None
    return [float(x) for x in out.split()]


# ---- the report ------------------------------------------------------------------------------------------------------


def cpu():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions():
    found = []
    for name in ("torch", "numba", "numpy", "jax"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([f"Python {platform.python_version()}", *found])


def better_threads(best):
    """Of a contestant measured with one thread and with several, the better stands for it."""
    merged = {}
    for name, us in best.items():
        base, _, threads = name.rpartition(", ")
        if threads.endswith(("thread", "threads")):
            others = [u for n, u in best.items() if n.startswith(f"{base}, ") and "thread" in n]
            if us == min(others):
                merged[f"{base} ({threads})"] = us
        else:
            merged[name] = us
    return dict(sorted(merged.items(), key=lambda item: -item[1]))


def report(best, missing, tables, grid, rows, hundred):
    merged = better_threads(best)
    loop = next(us for name, us in merged.items() if name.startswith("the lecture's loop"))
    limit = best[LIMIT]
    out = [
        "# What a step costs",
        "",
        f"{cpu()}, {os.cpu_count()} cores, {platform.system()}; {versions()}. Made by `make bench`.",
        "",
        "The lecture's last network (vocabulary 27, context 3, embedding 10, 200 hidden units, 11,897 parameters),",
        f"batch {BATCH}, plain SGD, float32: {flops() / 1e6:.2f} MFLOP of matrix products a step. The contestants took",
        "turns, and the quickest burst of each counts. Of the plain torch loops the better of 1 and",
        f"{THREADS} threads is shown; torch.compile and JAX ran with 1 thread, where they are quicker, ours uses 1.",
        "The limits are sgemm alone: the six products of a step in their own shapes (NumPy's BLAS), and as many",
        "FLOPs at the rate of one 768 x 768 product (torch's BLAS, 1 thread).",
        "",
        "| | µs a step | the lecture's loop takes | share of the limit reached |",
        "|---|---:|---:|---:|",
    ]
    for name, us in merged.items():
        out.append(f"| {name} | {us:.1f} | {loop / us:.1f} × | {limit / us:.0%} |")
    out += [f"| {name} | {reason} | | |" for name, reason in missing.items()]
    out += ["", "## How the cost grows", "", "Microseconds a step, ours and the lecture's loop (1 thread).", ""]
    for title, entries in tables.items():
        out.append(f"| {title} | " + " | ".join(str(value) for value, _, _ in entries) + " |")
        out.append("|---|" + "---:|" * len(entries))
        out.append("| ours | " + " | ".join(f"{us:.1f}" for _, us, _ in entries) + " |")
        out.append("| the lecture's loop | " + " | ".join(f"{us:.0f}" for _, _, us in entries) + " |")
        out.append("| ratio | " + " | ".join(f"{loop_us / us:.1f} ×" for _, us, loop_us in entries) + " |")
        out.append("")
    out.append("Many models at once, `run_grid` on all cores, everything included:")
    out.append("")
    out.append("| models | " + " | ".join(str(n) for n, _ in grid) + " |")
    out.append("|---|" + "---:|" * len(grid))
    out.append("| µs per model and step | " + " | ".join(f"{us:.1f}" for _, us in grid) + " |")
    out.append("| the lecture's loop takes | " + " | ".join(f"{loop / us:.1f} ×" for _, us in grid) + " |")
    out += ["", "## Around the training", "", "| | the lecture's code | ours | |", "|---|---:|---:|---:|"]
    for name, theirs, own in rows:
        out.append(f"| {name} | {theirs * 1e3:,.0f} ms | {own * 1e3:,.1f} ms | {theirs / own:.0f} × |")
    if hundred is not None:
        words, examples, seconds, peak = hundred
        out.append("")
        out.append(
            f"A hundredfold list ({words:,.0f} words, {examples:,.0f} examples) is built in {seconds:.1f} s with "
            f"`dtype=torch.int8`; the process peaks at {peak:,.0f} MB, torch and the list included."
        )
    return "\n".join(out) + "\n"


def plot(best, tables):
    merged = better_threads(best)
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=(3, 2))
    names = [name.replace("`", "") for name in merged]
    colors = ["#0072b2" if n.startswith("ours") else "#999999" if n.startswith("limit") else "#d55e00" for n in names]
    bars = axes[0].barh(names, list(merged.values()), color=colors)
    axes[0].bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
    axes[0].set(xlabel="microseconds a step", title="A step of the lecture's network")
    axes[0].tick_params(axis="y", labelsize=7)
    axes[0].margins(x=0.12)
    entries = tables["batch size"]
    axes[1].loglog([v for v, _, _ in entries], [us for _, us, _ in entries], "o-", color="#0072b2", label="ours")
    loop = [us for _, _, us in entries]
    axes[1].loglog([v for v, _, _ in entries], loop, "s--", color="#d55e00", label="the lecture's loop")
    axes[1].set(xlabel="batch size", ylabel="microseconds a step", title="Larger batches")
    axes[1].legend(fontsize=7)
    fig.savefig(HERE / "results.png", dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time per contestant (default 4)")
    parser.add_argument("--race-only", action="store_true", help="print the first table only and write nothing")
    parser.add_argument("--busy", action="store_true", help="count processor time, for a machine that is not idle")
    arguments = parser.parse_args()
    if arguments.busy:
        global clock
        clock = time.process_time
    words = load_words()
    vocab = Vocab.from_words(words)
    X, Y = make_splits(words, vocab)[:2]
    best, missing = race(X, Y, arguments.seconds)
    if arguments.race_only:
        for name, us in sorted(best.items(), key=lambda item: item[1]):
            print(f"{us:8.1f}  {name}")
        print(missing)
        return
    torch.set_num_threads(THREADS)
    grid = models(X, Y, (1, 2, 4, 16), steps=10_000)
    tables = growth(words, vocab, arguments.seconds / 6)
    rows = around(words, vocab, X, Y)
    text = report(best, missing, tables, grid, rows, hundredfold())
    (HERE / "results.md").write_text(text, encoding="utf-8")
    plot(best, tables)
    print(text)


if __name__ == "__main__":
    main()
