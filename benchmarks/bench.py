"""How long a step of the lecture's network takes with different implementations, and how long its loss takes.

Run it with `make bench` on an idle machine. It takes some minutes and writes results.md in this folder. All contestants
take turns in short bursts, and the fastest burst of each counts, so that a disturbance slows single bursts and not a
contestant.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words, make_splits, sample_words, train
from mlp_lib.data import distinct_contexts
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.grid import run_grid

HERE = Path(__file__).resolve().parent
SEED = 2147483647
BATCH = 32
THREADS = torch.get_num_threads()
LIMIT = "limit: the same FLOPs at the rate of a large product, 1 core"
OURS = "ours, `train(stepper=fast_steps)`"

clock = time.perf_counter  # --busy replaces it with the processor time of this process


def fresh(config=None, seed=SEED):
    g = torch.Generator().manual_seed(seed)
    return MLP(config or MLPConfig(), g=g), g


def seconds_of(run, *arguments):
    start = clock()
    run(*arguments)
    return clock() - start


def quickest(contestants: dict[str, Callable[[int], object]], seconds: float, burst: float = 0.05) -> dict[str, float]:
    """Microseconds per step of each contestant, a function that takes n steps: the fastest of many bursts in turn."""
    sizes = {}
    for name, run in contestants.items():
        n = getattr(run, "least", 1)
        run(n)  # warm up: compilation and other costs of the first call
        while min(seconds_of(run, n) for _ in range(5)) < burst / 2:
            n *= 2
        sizes[name] = n
    best = dict.fromkeys(contestants, float("inf"))
    end = time.perf_counter() + seconds * len(contestants)
    while time.perf_counter() < end:
        for name, run in contestants.items():
            best[name] = min(best[name], seconds_of(run, sizes[name]) / sizes[name] * 1e6)
    return best


# ---- the contestants -------------------------------------------------------------------------------------------------


def lecture_loop(X, Y, config=None, batch=BATCH, threads=1):
    """The lecture's training cell, unchanged."""
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
            emb = C[X[ix]]
            h = torch.tanh(emb.view(-1, width) @ W1 + b1)
            logits = h @ W2 + b2
            loss = F.cross_entropy(logits, Y[ix])
            for p in parameters:
                p.grad = None
            loss.backward()
            for p in parameters:
                p.data += -0.1 * p.grad
            lossi.append(loss.log10().item())

    return run


class Layers(nn.Module):
    """The same network, written with torch's layers."""

    def __init__(self):
        super().__init__()
        c = MLPConfig()
        self.C = nn.Embedding(c.vocab_size, c.n_embd)
        self.hidden = nn.Linear(c.block_size * c.n_embd, c.n_hidden)
        self.out = nn.Linear(c.n_hidden, c.vocab_size)

    def forward(self, X):
        return self.out(torch.tanh(self.hidden(self.C(X).flatten(1))))


def module_and_sgd(X, Y, threads=1, compiled=False):
    model, g = Layers(), torch.Generator().manual_seed(SEED)
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
    C, W1, b1, W2, b2 = (p.detach().numpy().copy() for p in fresh()[0].tensors())
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
    # One thread: such a small step is slower on two.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import jax.numpy as jnp

    state = tuple(jnp.asarray(p.detach().numpy()) for p in fresh()[0].tensors()), jax.random.key(0)
    X, Y = jnp.asarray(X.numpy(), jnp.int32), jnp.asarray(Y.numpy(), jnp.int32)

    def loss_of(p, Xb, Yb):
        C, W1, b1, W2, b2 = p
        h = jnp.tanh(C[Xb].reshape(len(Xb), -1) @ W1 + b1)
        return -jnp.take_along_axis(jax.nn.log_softmax(h @ W2 + b2), Yb[:, None], 1).mean()

    def step(p, batch):
        loss, grads = jax.value_and_grad(loss_of)(p, *batch)
        return tuple(a - 0.1 * da for a, da in zip(p, grads, strict=True)), loss

    chunk = 256  # a scan is compiled for a fixed length

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


def ours(X, Y, config=None, batch=BATCH):
    model, g = fresh(config)

    def run(n):
        torch.set_num_threads(1)
        train(model, X, Y, steps=n, batch_size=batch, g=g, stepper=fast_steps)

    return run


def flops(batch=BATCH):
    """The FLOPs of the six matrix products of a step, two forward and four backward; a multiply-add counts as two."""
    c = MLPConfig()
    return 2 * 3 * batch * c.n_hidden * (c.block_size * c.n_embd + c.vocab_size)


def products():
    """The six products alone, in the shapes of the step, with NumPy's BLAS."""
    c = MLPConfig()
    inputs = c.block_size * c.n_embd
    shapes = [(BATCH, inputs), (inputs, c.n_hidden), (BATCH, c.n_hidden), (c.n_hidden, c.vocab_size)]
    emb, W1, h, W2, d = (np.ones(s, np.float32) for s in (*shapes, (BATCH, c.vocab_size)))
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
    """Microseconds per step by contestant, and for each contestant that cannot run the name of its error."""
    contestants, missing = {}, {}
    for threads in sorted({1, THREADS}):
        many = f"{threads} thread{'s' * (threads > 1)}"
        contestants[f"the lecture's loop ({many})"] = lecture_loop(X, Y, threads=threads)
        contestants[f"`nn.Module`, `torch.optim.SGD` ({many})"] = module_and_sgd(X, Y, threads=threads)
    contestants["NumPy by hand"] = numpy_by_hand(X, Y)
    contestants[OURS] = ours(X, Y)
    contestants["limit: the six products alone, same shapes"] = products()
    for name, make in (
        ("JAX, `jit` of a `lax.scan`", jax_scan),
        ("`torch.compile` of forward and backward", lambda X, Y: module_and_sgd(X, Y, compiled=True)),
    ):
        try:
            contestants[name] = make(X, Y)
            contestants[name](getattr(contestants[name], "least", 3))
        except Exception as error:  # not installed, no compiler, an unsupported Python
            contestants.pop(name, None)
            missing[name] = type(error).__name__
    contestants[LIMIT] = big_product()
    best = quickest(contestants, seconds)
    best[LIMIT] *= flops() / contestants[LIMIT].flops
    for start in ("the lecture's loop", "`nn.Module`"):  # keep the faster of one thread and several
        _, *worse = sorted((name for name in best if name.startswith(start)), key=best.get)
        for name in worse:
            del best[name]
    return best, missing


def lecture_loss(splits, rounds=3):
    """Seconds on one core to the lecture's loss: with its own loop, with that loop compiled, and with fewer steps.

    The first two are 200,000 steps, scaled up from bursts. The third is page 16's recipe, including the preparation of
    its data from Xtr, Ytr; the second return value is the mean dev loss of its five seeds.
    """
    Xtr, Ytr, Xdev, Ydev = splits[:4]
    steps, burst = 1600, 200
    loop, compiled = lecture_loop(Xtr, Ytr), ours(Xtr, Ytr)

    def recipe(seed):
        contexts, which = distinct_contexts(Xtr)
        followed = torch.bincount(which * 27 + Ytr, minlength=len(contexts) * 27).view(-1, 27)
        copies = (followed.sum(1) ** 0.75).round().long()
        row = torch.arange(len(contexts)).repeat_interleave(copies)
        weights = followed / copies[:, None] * len(row) / len(Ytr)
        model, g = fresh(seed=seed)
        with torch.no_grad():
            for p, scale in zip(model.tensors(), (2, 30**-0.5, 0, 0.1, 0), strict=True):
                p *= scale
        how = {"steps": steps, "lr": lambda i: min(1, 2 * (1 - i / steps)), "batch_size": 24}
        for _ in fast_steps(model, contexts[row], weights[row], g=g, **how):
            pass
        return model

    torch.set_num_threads(1)
    dev = statistics.fmean(eval_loss(recipe(SEED + k), Xdev, Ydev) for k in range(5))
    times = [
        (
            seconds_of(loop, burst) * 200_000 / burst,
            seconds_of(compiled, 10 * burst) * 200_000 / (10 * burst),
            seconds_of(recipe, SEED + k),
        )
        for _ in range(rounds)
        for k in range(5)
    ]
    return [min(column) for column in zip(*times, strict=True)], dev


def growth(X, Y, seconds):
    """{varied size: [(value, us per step of ours, us per step of the lecture's loop)]}"""
    cases = {
        "batch size": [(b, None, b) for b in (1, 8, 32, 128, 512, 4096)],
        "hidden units": [(h, MLPConfig(n_hidden=h), BATCH) for h in (50, 100, 200, 400, 800)],
    }
    tables = {title: [] for title in cases}
    for title, rows in cases.items():
        for value, config, batch in rows:
            pair = {"ours": ours(X, Y, config, batch), "loop": lecture_loop(X, Y, config, batch)}
            best = quickest(pair, seconds)
            tables[title].append((value, best["ours"], best["loop"]))
    return tables


def models(X, Y, counts, steps):
    """[(models trained at once, us per model and step)], with `run_grid` on all cores."""
    best = dict.fromkeys(counts, float("inf"))
    for _ in range(4):
        for n in counts:
            start = time.perf_counter()
            run_grid([MLPConfig()], range(n), X=X, Y=Y, steps=steps)
            best[n] = min(best[n], (time.perf_counter() - start) / (n * steps) * 1e6)
    return list(best.items())


def around(words, vocab, X, Y):
    """Rows (task, the lecture's seconds, ours): building the dataset, sampling 10,000 names."""
    spec = importlib.util.spec_from_file_location("lecture", HERE.parent / "tests" / "lecture_reference.py")
    lecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lecture)
    torch.set_num_threads(1)
    model, g = fresh()
    train(model, X, Y, steps=20_000, g=g, stepper=fast_steps)
    tensors, n = [p.detach() for p in model.tensors()], 10_000

    def least(times, run):
        return min(seconds_of(run) for _ in range(times))

    built = least(5, lambda: lecture.dataset(words, vocab.stoi)), least(15, lambda: build_dataset(words, vocab))
    drawn = (
        10 * least(4, lambda: lecture.samples(tensors, vocab.itos, n=n // 10, g=g)),
        least(10, lambda: sample_words(model, vocab, n, batched=True, g=g)),
    )
    return [(f"dataset of {len(words):,} words", *built), (f"{n:,} names sampled (`batched=True`)", *drawn)]


# ---- the report ------------------------------------------------------------------------------------------------------


def machine():
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    found = [f"{name} {installed[name]}" for name in ("torch", "numba", "numpy", "jax") if name in installed]
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, {', '.join(found)}"


def row(*cells):
    return f"| {' | '.join(map(str, cells))} |"


def race_table(best, missing):
    loop = next(us for name, us in best.items() if name.startswith("the lecture's loop"))
    out = [row("", "µs per step", "times as fast as the lecture's loop", "share of the limit"), "|---|---:|---:|---:|"]
    for name, us in sorted(best.items(), key=lambda item: -item[1]):
        out.append(row(name, f"{us:.1f}", f"{loop / us:.1f} ×", f"{best[LIMIT] / us:.0%}"))
    return out + [row(name, f"failed: {reason}", "", "") for name, reason in missing.items()]


def loss_table(times, dev):
    names = (
        "the lecture's loop, 200,000 steps (scaled up from bursts of 200)",
        "the same, compiled (scaled up from bursts of 2,000)",
        f"page 16's settings, 1,600 steps: dev {dev:.4f}, mean of five seeds",
    )
    out = [row("", "s on one core", "times as fast as the lecture's loop"), "|---|---:|---:|"]
    for name, seconds in zip(names, times, strict=True):
        out.append(row(name, f"{seconds:.3f}" if seconds < 1 else f"{seconds:.1f}", f"{times[0] / seconds:,.1f} ×"))
    return out


def report(best, missing, loss, tables, grid, rows):
    loop = next(us for name, us in best.items() if name.startswith("the lecture's loop"))
    out = [
        "# What a step costs, and what a loss costs",
        "",
        f"{machine()}. Made by `make bench`.",
        "",
        "The lecture's last network (vocabulary 27, context 3, embedding 10, 200 hidden units, 11,897 parameters),",
        f"batch {BATCH}, plain SGD, float32: {flops() / 1e6:.2f} MFLOP of matrix products per step. The contestants",
        "take turns, and the fastest burst of each counts. For the plain torch loops, the faster of 1 and",
        f"{THREADS} threads is shown; torch.compile and JAX ran with 1 thread, where they are faster, and ours uses 1.",
        "The limits are sgemm alone: the six products of a step in their own shapes (NumPy's BLAS), and the same",
        "number of FLOPs at the rate of one 768 x 768 product (torch's BLAS, 1 thread).",
        "",
        *race_table(best, missing),
        "",
        "## The lecture's loss: seconds on one core to dev <= 2.17",
        "",
        "The same network and split. The settings of the last row were chosen on dev; its time includes preparing the",
        "data and is the fastest of fifteen runs, which take turns with bursts of the other two.",
        "",
        *loss_table(*loss),
        "",
        "## How the cost grows",
        "",
        "Microseconds per step of ours and of the lecture's loop (1 thread).",
        "",
    ]
    for title, entries in tables.items():
        out += [row(title, *(value for value, _, _ in entries)), "|---|" + "---:|" * len(entries)]
        out.append(row("ours", *(f"{us:.1f}" for _, us, _ in entries)))
        out.append(row("the lecture's loop", *(f"{us:.0f}" for _, _, us in entries)))
        out += [row("ratio", *(f"{loop_us / us:.1f} ×" for _, us, loop_us in entries)), ""]
    out += ["Many models at once, `run_grid` on all cores, all overhead included:", ""]
    out += [row("models", *(n for n, _ in grid)), "|---|" + "---:|" * len(grid)]
    out.append(row("µs per model and step", *(f"{us:.1f}" for _, us in grid)))
    out.append(row("times as fast as the lecture's loop", *(f"{loop / us:.1f} ×" for _, us in grid)))
    out += ["", "## Around the training", "", row("", "the lecture's code", "ours", ""), "|---|---:|---:|---:|"]
    for name, theirs, own in rows:
        out.append(row(name, f"{theirs * 1e3:,.0f} ms", f"{own * 1e3:,.1f} ms", f"{theirs / own:.0f} ×"))
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time per contestant (default 4)")
    parser.add_argument("--only", choices=["race", "loss"], help="print one of the first two tables and write nothing")
    parser.add_argument("--busy", action="store_true", help="count processor time, for a machine that is not idle")
    arguments = parser.parse_args()
    if arguments.busy:
        global clock
        clock = time.process_time
    words = load_words()
    vocab = Vocab.from_words(words)
    splits = make_splits(words, vocab)
    X, Y = splits[:2]
    if arguments.only == "loss":
        print("\n".join(loss_table(*lecture_loss(splits))))
        return
    best, missing = race(X, Y, arguments.seconds)
    if arguments.only == "race":
        print("\n".join(race_table(best, missing)))
        return
    loss = lecture_loss(splits)
    torch.set_num_threads(THREADS)
    grid = models(X, Y, (1, 2, 4, 16), steps=10_000)
    tables = growth(X, Y, arguments.seconds / 6)
    text = report(best, missing, loss, tables, grid, around(words, vocab, X, Y))
    (HERE / "results.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
