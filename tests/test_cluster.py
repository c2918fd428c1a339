"""run_grid on a real Dask cluster of two worker processes: a worker is killed during a run, and the grid resumes."""

import os
import signal
import threading
import time

import pytest

from mlp_lib import MLPConfig, Vocab, load_words, make_splits
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.grid import run_grid
from mlp_lib.lab.ladder import Ladder

pytestmark = pytest.mark.torture

SPLITS = make_splits(load_words()[:600], Vocab.from_words(load_words()))
CONFIGS = [MLPConfig(n_hidden=n) for n in (5, 6)]
RUNS = [(config.n_hidden, seed) for config in CONFIGS for seed in range(4)]
STUCK = RUNS[3]


@pytest.fixture
def client(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")
    import dask

    quiet = {"distributed.scheduler.allowed-failures": 0, "distributed.logging.distributed": "critical",
             "temporary-directory": str(tmp_path)}  # fmt: skip
    with (
        dask.config.set(quiet),
        # any free port: with None the scheduler still asks for 8787
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def stepper_noting(folder, stuck=None):
    """A stepper that creates a file for each run it starts; the run `stuck` = (n_hidden, seed) hangs."""
    folder.mkdir()

    def noted(model, X, Y, *, g, **settings):
        run = (model.config.n_hidden, g.initial_seed())
        (folder / f"{run[0]}-{run[1]}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if run == stuck:
            time.sleep(600)
        return fast_steps(model, X, Y, g=g, **settings)

    return noted


def started(folder):
    """(n_hidden, seed) and process id of each run that was started."""
    for path in folder.iterdir():
        n_hidden, seed, pid, _ = map(int, path.name.split("-"))
        yield (n_hidden, seed), pid


def on_the_ladder(ladder):
    return [(entry.config["n_hidden"], entry.seed) for entry in ladder.entries]


def test_grid_resumes_after_a_worker_was_killed(client, tmp_path):
    ladder = Ladder(tmp_path / "ladder.sqlite")
    settings = {"X": SPLITS.Xtr, "Y": SPLITS.Ytr, "eval_on": {"dev": SPLITS[2:4]}, "steps": 30}
    settings["lr"] = lambda i: 0.1 if i < 20 else 0.01
    entered_before = []

    def kill():
        """Kill the worker whose run is stuck, once four others have finished."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            victim = [pid for run, pid in started(tmp_path / "first") if run == STUCK]
            if victim and len(ladder) >= 4:
                entered_before.extend(on_the_ladder(ladder))
                time.sleep(1)
                os.kill(victim[0], getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows SIGTERM kills too
                return
            time.sleep(0.05)

    stepper, killer = stepper_noting(tmp_path / "first", STUCK), threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Exception) as info:
        run_grid(CONFIGS, range(4), **settings, executor=client.get_executor(), ladder=ladder, stepper=stepper)
    killer.join()
    assert type(info.value).__name__ == "KilledWorker"
    finished = on_the_ladder(ladder)
    assert len(set(finished)) == len(finished) >= 4
    runs = [run for run, _ in started(tmp_path / "first")]
    assert [runs.count(run) for run in entered_before] == [1] * len(entered_before)  # Dask did not repeat them

    stepper = stepper_noting(tmp_path / "second")
    results = run_grid(CONFIGS, range(4), **settings, executor=client.get_executor(), ladder=ladder, stepper=stepper)
    assert [(r.config.n_hidden, r.seed) for r in results] == RUNS
    assert {run for run, _ in started(tmp_path / "second")} == set(RUNS) - set(finished)
    assert os.getpid() not in {pid for _, pid in started(tmp_path / "second")}
    assert sorted(on_the_ladder(ladder)) == RUNS
    for here, there in zip(run_grid(CONFIGS, range(4), **settings), results, strict=True):
        assert there.losses == pytest.approx(here.losses, abs=1e-5)
