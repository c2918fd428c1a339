"""Many runs at once are the runs one after another: same results, in the order asked for, however many workers."""

import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from mlp_lib import MLP, MLPConfig, Splits, Step, Vocab, eval_loss, load_words, make_splits, train, train_steps
from mlp_lib.lab import ladder as ladder_module
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.grid import Result, run_grid
from mlp_lib.lab.ladder import Ladder, fingerprint


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """For the plain loop, which two threads do not make faster and a busy machine makes much slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


WORDS = load_words()[:1000]
VOCAB = Vocab.from_words(load_words())
SPLITS = make_splits(WORDS, VOCAB)
X, Y = SPLITS.Xtr, SPLITS.Ytr
CONFIGS = [MLPConfig(n_embd=2, n_hidden=10), MLPConfig(n_embd=3, n_hidden=33)]
SEEDS = [7, 3, 2147483647]


def lr(i):
    return 0.1 if i < 100 else 0.01


def by_hand(config, seed, steps=150, stepper=fast_steps):
    g = torch.Generator().manual_seed(seed)
    model = MLP(config, g=g)
    return model, train(model, X, Y, steps=steps, lr=lr, g=g, stepper=stepper)


def key(result):
    """Everything in a result that must not depend on who ran beside it."""
    tensors = [p.detach() for p in result.model.tensors()]
    return result.config, result.seed, result.losses, result.history.lossi.tolist(), [t.tolist() for t in tensors]


@pytest.mark.parametrize("stepper", [fast_steps, train_steps])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_grid_is_its_runs_by_hand(workers, stepper):
    results = run_grid(CONFIGS, SEEDS, X=X, Y=Y, steps=150, lr=lr, workers=workers, stepper=stepper)
    assert [(r.config, r.seed) for r in results] == [(c, s) for c in CONFIGS for s in SEEDS]
    for result in results:
        model, history = by_hand(result.config, result.seed, stepper=stepper)
        assert result.history.lossi.tolist() == history.lossi.tolist()
        assert result.history.lri.tolist() == [lr(i) for i in range(150)]
        assert all(torch.equal(p, q) for p, q in zip(result.model.tensors(), model.tensors(), strict=True))


def test_the_number_of_workers_changes_no_bit_of_the_losses():
    grids = [run_grid(CONFIGS, SEEDS, splits=SPLITS, steps=60, workers=workers) for workers in (1, 2, 6)]
    assert [key(r) for r in grids[1]] == [key(r) for r in grids[0]]
    assert [key(r) for r in grids[2]] == [key(r) for r in grids[0]]


def test_the_runs_go_on_side_by_side():
    together = threading.Barrier(3, timeout=30)

    def meeting(model, X, Y, **arguments):
        together.wait()  # passes only when three runs are here at once
        return fast_steps(model, X, Y, **arguments)

    run_grid([CONFIGS[0]], SEEDS, X=X, Y=Y, steps=5, workers=3, stepper=meeting)


def test_splits_give_train_and_dev_losses_and_leave_test_alone():
    poisoned = Splits(*SPLITS[:4], None, None)
    [result] = run_grid([{"n_hidden": 20}], [1], splits=poisoned, steps=50)
    assert result.config == MLPConfig(n_hidden=20)
    assert set(result.losses) == {"train", "dev"}
    assert result.losses["dev"] == pytest.approx(eval_loss(result.model, SPLITS.Xdev, SPLITS.Ydev), abs=1e-6)
    assert result.losses["train"] == pytest.approx(eval_loss(result.model, X, Y), abs=1e-6)
    assert result.seconds == result.history.seconds > 0
    assert repr(result).startswith("Result(MLPConfig(vocab_size=27")
    assert f"dev {result.losses['dev']:.4f}" in repr(result)


def test_splits_may_follow_the_configuration():
    asked = []

    def splits(config):
        asked.append(config.block_size)
        return make_splits(WORDS, VOCAB, config.block_size)

    configs = [{"block_size": b, "n_hidden": h} for b in (2, 4) for h in (5, 6)]
    results = run_grid(configs, [1, 2], splits=splits, steps=5)
    assert asked == [2, 4]
    assert [r.config.block_size for r in results] == [2] * 4 + [4] * 4


def test_eval_on_names_other_splits_and_eval_every_follows_them():
    own = {"dev": (SPLITS.Xdev, SPLITS.Ydev)}
    [result] = run_grid([{}], [1], X=X, Y=Y, steps=20, eval_on=own, eval_every=10)
    assert list(result.losses) == ["dev"]
    assert result.history.eval_stepi == [0, 10, 20]
    assert run_grid([{}], [1], X=X, Y=Y, steps=20)[0].losses == {}
    assert list(run_grid([{}], [1], splits=SPLITS, steps=2, eval_on=own)[0].losses) == ["dev"]


def test_a_run_that_blows_up_says_so_and_has_no_loss():
    [result] = run_grid([CONFIGS[0]], [1], splits=SPLITS, steps=50, lr=3.4e38)
    assert result.history.stopped.startswith("the loss was ")
    assert all(math.isnan(loss) for loss in result.losses.values())


class Collecting(ThreadPoolExecutor):
    """An executor of one's own that notes what it is handed."""

    def submit(self, function, /, *arguments, **named):
        self.handed = [*getattr(self, "handed", []), (function, arguments, named)]
        return super().submit(function, *arguments, **named)


def test_an_executor_of_ones_own_does_the_work_and_stays_open():
    with Collecting(2) as executor:
        results = run_grid(CONFIGS, SEEDS, X=X, Y=Y, steps=20, executor=executor)
        assert len(executor.handed) == 1 + 6  # the first one asks whether the workers have the package
        assert executor.submit(len, "open").result() == 4
    expected = run_grid(CONFIGS, SEEDS, X=X, Y=Y, steps=20)
    assert [key(r) for r in results] == [key(r) for r in expected]


def test_what_an_executor_is_handed_can_go_to_another_process():
    with Collecting(1) as executor:
        run_grid([CONFIGS[0]], [1], X=X, Y=Y, steps=3, lr=lr, executor=executor)
    function, arguments, named = pickle.loads(pickle.dumps(executor.handed[1]))
    result = pickle.loads(pickle.dumps(function(*arguments, **named)))
    assert isinstance(result, Result)
    assert len(result.history) == 3


def test_processes_give_the_same():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        got = run_grid([CONFIGS[0]], [1], splits=SPLITS, steps=30, executor=executor)
    [expected] = run_grid([CONFIGS[0]], [1], splits=SPLITS, steps=30)
    assert got[0].history.lossi.tolist() == expected.history.lossi.tolist()
    assert got[0].losses == pytest.approx(expected.losses, abs=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_torchs_thread_settings_are_afterwards_what_they_were(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run_grid(CONFIGS, [1], splits=SPLITS, steps=2)
        assert torch.get_num_threads() == threads
        with pytest.raises(ZeroDivisionError):
            run_grid(CONFIGS, [1], splits=SPLITS, steps=2, lr=lambda i: 1 / 0)
        assert torch.get_num_threads() == threads
        grids = [threading.Thread(target=run_grid, args=(CONFIGS, [n]), kwargs={"X": X, "Y": Y, "steps": 400 * (3 - n)})
                 for n in range(3)]  # fmt: skip
        for grid in grids:
            grid.start()
        for grid in grids:
            grid.join()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_error_in_one_run_ends_the_others_and_is_raised():
    def failing(model, X, Y, **arguments):
        if model.config == CONFIGS[1]:
            raise RuntimeError("no room")
        return fast_steps(model, X, Y, **{**arguments, "steps": 10**9})

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no room"):
        run_grid(CONFIGS, [1], X=X, Y=Y, steps=5, workers=2, stepper=failing)
    assert threading.active_count() == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_returns_what_is_complete():
    code = """
        import sys, time, threading, torch, warnings
        from mlp_lib import *
        from mlp_lib.lab.grid import run_grid
        from mlp_lib.lab.fast import fast_steps
        X, Y = build_dataset(load_words()[:1000], Vocab.from_words(load_words()))
        def uneven(model, X, Y, **arguments):
            if model.config.n_hidden == 5:
                return fast_steps(model, X, Y, **arguments)
            print("ready", flush=True)
            return fast_steps(model, X, Y, **{**arguments, "steps": 10**9})
        before = threading.active_count(), torch.get_num_threads()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            results = run_grid([{"n_hidden": 5}, {}], [1, 2], X=X, Y=Y, steps=20, stepper=uneven, workers=1)
        print(time.monotonic(), [r.seed for r in results], said[0].message, sep="|")
        after = threading.active_count(), torch.get_num_threads()
        assert after == before, (after, before)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env=os.environ.copy(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    end, seeds, message = out.strip().split("|")
    assert float(end) - sent < 0.5
    assert (seeds, message) == ("[1, 2]", "interrupted: 2 of 4 runs are complete")


def test_progress_goes_to_stderr_and_only_when_asked(capsys):
    run_grid(CONFIGS, [1], X=X, Y=Y, steps=2)
    assert capsys.readouterr() == ("", "")
    run_grid(CONFIGS, [1], X=X, Y=Y, steps=2, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err


# ---- with a ladder ---------------------------------------------------------------------------------------------------


@pytest.fixture
def board(tmp_path):
    return Ladder(tmp_path / "ladder.sqlite", words=WORDS)


def counted(runs):
    """A stepper that notes each run it is asked for."""

    def stepper(model, X, Y, *, g, **arguments):
        runs.append((model.config.n_hidden, g.initial_seed()))
        return fast_steps(model, X, Y, g=g, **arguments)

    return stepper


def falling(i):
    return 0.1 if i < 10 else 0.01


def grid(board, runs, **given):
    settings = {"splits": SPLITS, "steps": 20, "lr": falling, "name": "noted", **given}
    return run_grid(CONFIGS, SEEDS, **settings, ladder=board, stepper=counted(runs))


EVERY = [(c.n_hidden, seed) for c in CONFIGS for seed in SEEDS]


def test_runs_are_put_on_the_ladder_and_not_repeated(board):
    runs = []
    first = grid(board, runs)
    assert sorted(runs) == sorted(EVERY)
    assert not any(result.found for result in first)
    entry = next(e for e in board.entries if e.config["n_hidden"] == 33 and e.seed == 3)
    result = first[4]
    assert (entry.losses, entry.seconds, entry.steps) == (result.losses, result.seconds, 20)
    assert (entry.n_parameters, entry.words, entry.split) == (result.config.n_parameters, board.words, "clean")
    assert entry.config == {"vocab_size": 27, "block_size": 3, "n_embd": 3, "n_hidden": 33, "batch_size": 32,
                            "lr": entry.config["lr"]}  # fmt: skip
    assert entry.config["lr"].startswith("0.1 to 0.01 (")
    assert [row.runs for row in board.rows if row.runs] == [3, 3]

    again = grid(Ladder(board.path), runs)
    assert len(runs) == len(board) == 6
    assert [(r.config, r.seed, r.losses, r.seconds) for r in again] == [
        (r.config, r.seed, r.losses, r.seconds) for r in first
    ]
    assert all(r.found and r.model is None and r.history is None for r in again)
    assert repr(again[0]) == repr(first[0])[:-1] + ", from the ladder)"


def test_a_ladder_changes_no_run(board):
    with_it = run_grid(CONFIGS, [1], splits=SPLITS, steps=30, ladder=board)
    without = run_grid(CONFIGS, [1], splits=SPLITS, steps=30)
    assert [key(r) for r in with_it] == [key(r) for r in without]


OTHER = make_splits(WORDS[1:], VOCAB)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 21}, {"batch_size": 31}, {"lr": lambda i: 0.1 if i < 19 else 0.01}, {"lr": 0.1}, {"name": "again"},
        {"splits": OTHER}, {"eval_on": {"dev": (OTHER.Xdev, OTHER.Ydev)}}, {"eval_on": {"dev": (X, Y)}},
        {"splits": SPLITS._replace(Ydev=SPLITS.Ydev.flip(0))},
    ],
)  # fmt: skip
def test_whatever_may_change_a_loss_makes_another_run(board, change):
    runs = []
    grid(board, runs)
    grid(board, runs, **change)
    assert len(runs) == 12


@pytest.mark.parametrize(
    "same",
    [{"lr": lambda n: [0.1, 0.01][n >= 10]}, {"workers": 1}, {"eval_every": 5}, {"progress": True},
     {"steps": np.int64(20)}, {"batch_size": np.int64(32)},
     {"executor": ThreadPoolExecutor(1)},
     {"splits": Splits(*(t.to(torch.int16) for t in SPLITS))}],
)  # fmt: skip
def test_what_changes_no_loss_makes_the_same_run(board, same):
    runs = []
    grid(board, runs)
    grid(board, runs, **same)
    assert len(runs) == 6


def test_a_rate_that_never_changes_is_its_number(board):
    runs = []
    grid(board, runs, lr=0.1)
    grid(board, runs, lr=lambda i: 0.1)
    assert len(runs) == 6
    grid(board, runs, lr=lambda i: 0.2)
    assert len(runs) == 12


def test_sizes_from_numpy_are_sizes(board):
    config = MLPConfig(n_embd=np.int64(2), n_hidden=np.int64(10))
    settings = {"splits": SPLITS, "ladder": board}
    (first,) = run_grid([config], [1], steps=np.int64(5), batch_size=np.int64(8), **settings)
    (again,) = run_grid([{"n_embd": 2, "n_hidden": 10}], np.array([1]), steps=5, batch_size=8, **settings)
    assert again.found
    assert again.losses == first.losses


def test_our_two_steppers_make_different_runs_and_need_no_name(board):
    for stepper in (fast_steps, train_steps, fast_steps):
        run_grid(CONFIGS, [1], splits=SPLITS, steps=5, ladder=board, stepper=stepper)
    assert len(board) == 4


def test_a_run_that_blew_up_is_not_repeated_either(board):
    first, again = (run_grid([CONFIGS[0]], [1], splits=SPLITS, steps=50, lr=3e38, ladder=board) for _ in range(2))
    assert len(board) == 1
    assert again[0].found
    assert all(math.isnan(loss) for loss in again[0].losses.values())
    assert list(again[0].losses) == list(first[0].losses)
    assert board.entries[0].stopped == first[0].history.stopped


def failing_at(config, error):
    def stepper(model, X, Y, **arguments):
        if model.config == config:
            raise error
        return fast_steps(model, X, Y, **arguments)

    return stepper


def test_after_an_error_the_finished_runs_are_there(board):
    settings = {"splits": SPLITS, "steps": 5, "workers": 1, "ladder": board, "name": "failing"}
    with pytest.raises(RuntimeError, match="no room") as info:
        run_grid(CONFIGS, SEEDS, **settings, stepper=failing_at(CONFIGS[1], RuntimeError("no room")))
    assert info.value.__notes__ == ["3 of 6 runs are finished and on the ladder: the same call trains the others"]
    assert [e.config["n_hidden"] for e in board.entries] == [10] * 3
    runs = []
    results = run_grid(CONFIGS, SEEDS, **settings, stepper=counted(runs))
    assert runs == EVERY[3:]
    assert [r.found for r in results] == [True] * 3 + [False] * 3


def test_a_worker_that_was_interrupted_leaves_no_half_run(board):
    """An interrupt goes to every process of a terminal: a worker's run ends early, and is no result."""

    def interrupted(model, X, Y, **arguments):
        for step in fast_steps(model, X, Y, **arguments):
            yield step
            if model.config == CONFIGS[1] and step.i == 2:
                raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor, pytest.warns(UserWarning, match="interrupted") as said:
        results = run_grid(CONFIGS, SEEDS, splits=SPLITS, steps=5, ladder=board, name="stop", stepper=interrupted,
                           executor=executor)  # fmt: skip
    assert [str(w.message) for w in said] == ["interrupted: 3 of 6 runs are complete"]
    assert [r.config for r in results] == [CONFIGS[0]] * 3
    assert len(board) == 3


def test_a_disk_that_fills_up_costs_no_result(board, monkeypatch):
    put = Ladder.put

    def full(self, entry):
        if len(self) == 2:
            raise OSError("could not put the run on the ladder: disk full")
        put(self, entry)

    monkeypatch.setattr(Ladder, "put", full)
    with pytest.warns(UserWarning, match="disk full") as said:
        results = run_grid(CONFIGS, SEEDS, splits=SPLITS, steps=5, ladder=board, workers=1)
    assert [str(w.message) for w in said] == [
        "could not put the run on the ladder: disk full: this run and those after it are returned, but not on the "
        "ladder"
    ]
    assert len(results) == 6
    assert len(board) == 2


def test_a_ladder_that_cannot_be_written_is_refused_before_any_run(board, monkeypatch):
    board.add("x")
    connect = ladder_module._connect
    monkeypatch.setattr(ladder_module, "_connect", lambda path, mode: connect(path, "ro"))
    with pytest.raises(OSError) as info:
        go(ladder=board)
    assert str(info.value) == (
        f"could not write to the ladder: {board.path}: attempt to write a readonly database; give path= of a file that "
        "can be written"
    )


class Lacking(ThreadPoolExecutor):
    """Some of its workers lack the package: the one that is asked has it, the one that trains has not."""

    def submit(self, function, /, *arguments, **named):
        if function is eval:
            return super().submit(function, *arguments, **named)
        future = Future()
        future.set_exception(ModuleNotFoundError("No module named 'mlp_lib'", name="mlp_lib"))
        return future


def test_workers_that_lack_the_package():
    with pytest.raises(ModuleNotFoundError) as info:
        run_grid([{}], [1], X=X, Y=Y, steps=5, executor=Lacking(1))
    assert str(info.value) == (
        "the executor's workers lack the package 'mlp_lib' (No module named 'mlp_lib'): install there what is "
        "installed here, in the same versions, and run the grid again"
    )


def test_an_executor_is_sent_small_data_that_is_the_same():
    with Collecting(1) as executor:
        run_grid([CONFIGS[0]], [1], splits=SPLITS, steps=3, executor=executor)
    _, _, x, y, eval_on, _ = executor.handed[1][1]
    assert x.dtype == y.dtype == torch.uint8
    assert fingerprint(x, y) == fingerprint(X, Y)
    assert eval_on["train"][0] is x


class Never(ThreadPoolExecutor):
    def submit(self, *arguments, **named) -> Future:
        raise AssertionError("a run was started")


def go(configs=None, seeds=(1,), **arguments):
    given = {"X": X, "Y": Y, "steps": 5, "executor": Never(1), **arguments}
    return run_grid([{}] if configs is None else configs, seeds, **{k: v for k, v in given.items() if v != "absent"})


COUNTER = iter(range(99))
NOWHERE = Ladder("no/such/folder/ladder.sqlite")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: go([{"n_embed": 3}]), ValueError, "'n_embed' is no setting of MLPConfig, .*did you mean 'n_embd'"),
        (lambda: go([{"hidden": 3}]), ValueError, "did you mean 'n_hidden'"),
        (lambda: go([{"n_embd": 0}]), ValueError, "n_embd must be at least 1, got 0"),
        (lambda: go([200]), TypeError, "an MLPConfig or a dict of its fields, got 200"),
        (lambda: go(MLPConfig()), TypeError, r"configs must be a list .*write \[MLPConfig"),
        (lambda: go({"n_embd": 3}), TypeError, r"write \[\{'n_embd': 3\}\]"),
        (lambda: go([]), ValueError, "configs is empty"),
        (lambda: go(seeds=[]), ValueError, "seeds is empty"),
        (lambda: go(seeds=3), TypeError, r"seeds must be a list of whole numbers, got 3: write range\(5\)"),
        (lambda: go(seeds=[1, 2, 1]), ValueError, "the seed 1 is listed twice"),
        (lambda: go(seeds=[1, 2, 2]), ValueError, "the seed 2 is listed twice"),
        (lambda: go(seeds=[0.5]), TypeError, "each seed must be a whole number, got 0.5"),
        (lambda: go(seeds=[-1]), ValueError, "each seed must be at least 0, got -1"),
        (lambda: go(seeds=[2**64]), ValueError, "each seed must be below 2\\*\\*64, got 18446744073709551616"),
        (lambda: go(X="absent"), ValueError, "either as X= and Y= or as splits="),
        (lambda: go(splits=SPLITS), ValueError, "either as X= and Y= or as splits="),
        (lambda: go(X="absent", Y="absent"), ValueError, "either as X= and Y= or as splits="),
        (lambda: go(X="absent", Y="absent", splits=(X, Y)), TypeError, "splits must be a Splits, .* got tuple"),
        (lambda: go([{"block_size": 4}]), ValueError, "built with block_size=4"),
        (lambda: go([{}, {"vocab_size": 5}]), ValueError, "built with vocab_size=5"),
        (lambda: go(eval_on={"dev": (X[:0], Y[:0])}), ValueError, "hold no examples"),
        (lambda: go(eval_every=3), ValueError, "eval_every=3 but"),
        (lambda: go(steps=-1), ValueError, "steps must be at least 0"),
        (lambda: go(lr=-1), ValueError, "lr must be a finite number"),
        (lambda: go(batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda: go(workers=0, executor=None), ValueError, "workers must be at least 1"),
        (lambda: go(workers=2), ValueError, "workers=2 and an executor were given"),
        (lambda: go(executor=7), TypeError, r"executor must be a .*, got int: a Dask client has one, client.get_exec"),
        (lambda: go(ladder="x.sqlite"), TypeError, r"ladder must be a Ladder, such as Ladder\(words=words\), got str"),
        (lambda: go(name=""), ValueError, "name must be a text with something in it, got ''"),
        (lambda: go(name="a\ud800"), ValueError, "name holds '.*ud800', half of a character, which no file can hold"),
        (
            lambda: go(ladder=NOWHERE, stepper=lambda *a, **k: None),
            ValueError,
            "runs of a stepper of your own are found again under a name of their own only: pass name=, and another one",
        ),
        (lambda: go(eval_on=(X, Y)), TypeError, "eval_on must name its splits: write eval_on="),
        (
            lambda: go(ladder=NOWHERE, lr=lambda i: next(COUNTER) / 99),
            ValueError,
            "lr gives another learning rate when it is asked a second time for the same step",
        ),
    ],
)
def test_bad_settings_are_refused_before_any_run_starts(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_stepper_of_ones_own_is_closed():
    closed = []

    class Own:
        def __iter__(self):
            return self

        def __next__(self):
            return Step(0, 0.1, math.nan)  # ends the run

        def close(self):
            closed.append(self)

    run_grid(CONFIGS[:1], [1], X=X, Y=Y, steps=3, stepper=lambda *data, **settings: Own())
    assert len(closed) == 1
