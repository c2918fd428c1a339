"""Parallel runs give the same results as single runs, in the order requested, for any number of workers."""

import functools
import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from mlp_lib import MLP, MLPConfig, Vocab, eval_loss, load_words, make_splits, train, train_steps
from mlp_lib.lab import grid as module
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.grid import run_grid
from mlp_lib.lab.ladder import Ladder

SPLITS = make_splits(load_words()[:1000], Vocab.from_words(load_words()))
X, Y = SPLITS.Xtr, SPLITS.Ytr
EVAL_ON = {"train": (X, Y), "dev": (SPLITS.Xdev, SPLITS.Ydev)}
CONFIGS = [MLPConfig(n_embd=2, n_hidden=10), MLPConfig(n_embd=3, n_hidden=33)]
SEEDS = [7, 3, 2147483647]
RUNS = [(config, seed) for config in CONFIGS for seed in SEEDS]


def lr(i):
    return 0.1 if i < 10 else 0.01


def grid(configs=CONFIGS, seeds=SEEDS, **settings):
    return run_grid(configs, seeds, **({"X": X, "Y": Y, "steps": 20, "lr": lr, "eval_on": EVAL_ON} | settings))


@functools.cache
def by_hand(config, seed, stepper=fast_steps):
    g = torch.Generator().manual_seed(seed)
    model = MLP(config, g=g)
    return model, train(model, X, Y, steps=20, lr=lr, g=g, stepper=stepper)


def check_against_by_hand(results, stepper=fast_steps):
    assert [(r.config, r.seed) for r in results] == RUNS
    for result in results:
        model, history = by_hand(result.config, result.seed, stepper)
        assert result.history.lossi.tolist() == history.lossi.tolist()
        assert all(torch.equal(p, q) for p, q in zip(result.model.tensors(), model.tensors(), strict=True))
        losses = {name: eval_loss(model, *pair) for name, pair in EVAL_ON.items()}
        assert result.losses == pytest.approx(losses, abs=1e-6)
        assert result.seconds == result.history.seconds > 0


@pytest.mark.parametrize("cores", [1, 2, 5])
@pytest.mark.parametrize("stepper", [fast_steps, train_steps])
def test_grid_results_equal_single_runs(monkeypatch, cores, stepper):
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the grid: two threads would sum in a different order
    try:
        check_against_by_hand(grid(stepper=stepper), stepper)
    finally:
        torch.set_num_threads(before)


def test_processes_give_the_same_results():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        results = grid(executor=executor)
    assert pickle.loads(pickle.dumps(results[0])).losses == results[0].losses
    check_against_by_hand(results)


def test_runs_are_concurrent():
    together = threading.Barrier(3, timeout=60)

    def meeting(model, X, Y, **settings):
        together.wait()  # passes only when three runs wait here at the same time
        return fast_steps(model, X, Y, **settings)

    with ThreadPoolExecutor(3) as executor:
        grid(CONFIGS[:1], stepper=meeting, executor=executor)
        assert executor.submit(len, "open").result() == 4


def test_eval_every_is_passed_to_train():
    [result] = grid(CONFIGS[:1], [1], eval_every=10)
    assert result.history.eval_stepi == [0, 10, 20]


def test_diverged_run_is_stopped_and_has_nan_losses():
    [result] = grid(CONFIGS[:1], [1], lr=3.4e38)
    assert result.history.stopped.startswith("the loss was ")
    assert all(math.isnan(loss) for loss in result.losses.values())


def failing(model, X, Y, **settings):
    if model.config == CONFIGS[1]:
        raise RuntimeError("no room")
    return fast_steps(model, X, Y, **settings)


def test_error_in_one_run_ends_the_others_and_is_raised(monkeypatch):
    def endless(model, X, Y, **settings):
        return failing(model, X, Y, **settings | {"steps": 10**9})

    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="no room"):
        grid(seeds=[1], stepper=endless)
    assert torch.get_num_threads() == before
    assert not [t for t in threading.enumerate() if "Pool" in t.name]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_interrupt_returns_the_complete_runs():
    code = """
        import threading, torch, warnings
        from mlp_lib import MLPConfig, Vocab, build_dataset, load_words
        from mlp_lib.lab import grid
        from mlp_lib.lab.fast import fast_steps

        def uneven(model, X, Y, **settings):
            if model.config.n_hidden == 5:
                return fast_steps(model, X, Y, **settings)
            print("ready", flush=True)
            return fast_steps(model, X, Y, **{**settings, "steps": 10**9})

        X, Y = build_dataset(load_words()[:1000], Vocab.from_words(load_words()))
        grid.usable_cores = lambda: 1
        before = torch.get_num_threads()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            results = grid.run_grid([MLPConfig(n_hidden=5), MLPConfig()], [1, 2], X=X, Y=Y, steps=20, stepper=uneven)
        print([r.seed for r in results], said[0].message)
        assert torch.get_num_threads() == before
        assert not [t for t in threading.enumerate() if "Pool" in t.name]
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.strip() == "[1, 2] interrupted: 2 of 4 runs are complete"


# ---- with a ladder ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ladder(tmp_path):
    return Ladder(tmp_path / "ladder.sqlite", words=["emma"])


def noting(trained):
    """A stepper that records each run in `trained`."""

    def noted(model, X, Y, *, g, **settings):
        trained.append((model.config, g.initial_seed()))
        return fast_steps(model, X, Y, g=g, **settings)

    return noted


def test_runs_on_the_ladder_are_not_repeated(ladder):
    trained = []
    first = grid(ladder=ladder, name="mine", stepper=noting(trained))
    assert sorted(trained, key=RUNS.index) == RUNS
    assert not any(result.found for result in first)
    entry = next(e for e in ladder.entries if (e.config["n_hidden"], e.seed) == (33, 3))
    assert (entry.losses, entry.seconds, entry.steps, entry.name) == (first[4].losses, first[4].seconds, 20, "mine")
    assert (entry.n_parameters, entry.words) == (CONFIGS[1].n_parameters, ladder.words)
    assert entry.config["lr"].startswith("0.1 to 0.01 (")
    assert [row.runs for row in ladder.rows if row.runs] == [3, 3]

    again = grid(ladder=Ladder(ladder.path), name="mine", stepper=noting(trained))
    assert len(trained) == len(ladder) == 6
    assert all(r.found and r.model is None and r.history is None for r in again)
    assert [(r.config, r.seed, r.losses, r.seconds) for r in again] == [
        (r.config, r.seed, r.losses, r.seconds) for r in first
    ]
    more = grid(CONFIGS[:1], [*SEEDS, 4], ladder=ladder, name="mine", stepper=noting(trained))
    assert [(r.seed, r.found) for r in more] == [(7, True), (3, True), (2147483647, True), (4, False)]
    assert trained[6:] == [(CONFIGS[0], 4)]


OTHERS = {
    "configuration": {"configs": [MLPConfig(n_embd=2, n_hidden=11)]},
    "seed": {"seeds": [8]},
    "name": {"name": "other"},
    "steps": {"steps": 21},
    "rate": {"lr": lambda i: 0.1 if i < 11 else 0.01},
    "batch size": {"batch_size": 31},
    "training data": {"X": X[1:], "Y": Y[1:]},
    "evaluation data": {"eval_on": {"dev": (X, Y)}},
    "name of a split": {"eval_on": {"train": EVAL_ON["train"], "Dev": EVAL_ON["dev"]}},
    "stepper": {"stepper": train_steps},
}


@pytest.mark.parametrize("what", OTHERS)
def test_different_run_is_not_found(ladder, what):
    grid(CONFIGS[:1], [7], ladder=ladder)
    [result] = grid(**{"configs": CONFIGS[:1], "seeds": [7], "ladder": ladder} | OTHERS[what])
    assert not result.found
    assert len(ladder) == 2


def test_run_with_equal_rates_is_found(ladder):
    grid(CONFIGS[:1], [7], lr=0.1, ladder=ladder)
    assert grid(CONFIGS[:1], [7], lr=lambda i: 0.1, ladder=ladder)[0].found


def test_diverged_run_is_not_repeated(ladder):
    first, again = (grid(CONFIGS[:1], [1], lr=3.4e38, ladder=ladder)[0] for _ in range(2))
    assert (first.found, again.found) == (False, True)
    assert all(math.isnan(loss) for loss in again.losses.values())
    assert ladder.entries[0].stopped == first.history.stopped


def test_finished_runs_are_on_the_ladder_after_an_error(ladder):
    with ThreadPoolExecutor(1) as executor, pytest.raises(RuntimeError, match="no room"):
        grid(ladder=ladder, stepper=failing, executor=executor)
    assert [e.config["n_hidden"] for e in ladder.entries] == [10] * 3


def test_interrupted_worker_leaves_no_incomplete_run(ladder):
    """A terminal sends an interrupt to every process, so a run in a worker ends early and is not a result."""

    def interrupted(model, X, Y, **settings):
        for step in fast_steps(model, X, Y, **settings):
            yield step
            if model.config == CONFIGS[1] and step.i == 2:
                raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor, pytest.warns(UserWarning, match="interrupted: 3 of 6 runs are complete"):
        results = grid(ladder=ladder, stepper=interrupted, executor=executor)
    assert [r.config for r in results] == [CONFIGS[0]] * 3
    assert len(ladder) == 3


class Never(ThreadPoolExecutor):
    def submit(self, *arguments, **named):
        raise AssertionError("a run was started")


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"seeds": 3}, TypeError, r"seeds must be a list of seeds, got 3: write range\(3\)"),
        ({"configs": [MLPConfig(), MLPConfig(block_size=4)]}, ValueError, "built with block_size=4"),
        ({"configs": [MLPConfig(), MLPConfig(vocab_size=5)]}, ValueError, "the indices of this model go from 0 to 4"),
        ({"eval_on": (X, Y)}, TypeError, "eval_on must be a dict, got tuple: write eval_on="),
        ({"steps": -1}, ValueError, "steps must be at least 0"),
        ({"executor": 7}, TypeError, r"executor must be a .*, got int: a Dask client has one, client.get_executor\(\)"),
        ({"ladder": "x.sqlite"}, TypeError, r"ladder must be a Ladder, such as Ladder\(words=words\), got str"),
        ({"ladder": Ladder(os.devnull + "/ladder.sqlite")}, OSError, "could not write to the ladder: "),
    ],
)
def test_invalid_arguments_raise_before_any_run_starts(settings, error, sentence):
    with pytest.raises(error, match=sentence):
        grid(**{"executor": Never(1)} | settings)
