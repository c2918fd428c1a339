"""run_grid on a real Dask cluster of two worker processes: a worker is killed in mid-run, and the grid is resumed."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time

import pytest
import torch

from mlp_lib import Vocab, load_words, make_splits
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.grid import run_grid
from mlp_lib.lab.ladder import Ladder

WORDS = load_words()[:600]
SPLITS = make_splits(WORDS, Vocab.from_words(load_words()))
SEEDS = range(4)
PORT = "127.0.0.1:0"  # any that is free: with None the scheduler still asks for 8787
HIDDEN = [5, 6]


def test_in_CI_distributed_is_installed():
    """A laptop may do without; where the tests count, the cluster must have been tried."""
    if not os.environ.get("CI"):
        pytest.skip("CI is not set")
    assert importlib.util.find_spec("distributed") is not None


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")
    import dask

    quiet = {"distributed.scheduler.allowed-failures": 0, "distributed.logging.distributed": "critical",
             "temporary-directory": str(tmp_path_factory.mktemp("dask"))}  # fmt: skip
    with dask.config.set(quiet):
        yield distributed


@pytest.fixture(scope="module")
def cluster(dask):
    with (
        dask.LocalCluster(n_workers=2, processes=True, threads_per_worker=1, dashboard_address=PORT) as cluster,
        dask.Client(cluster) as client,
    ):
        yield client


def noting(folder, stuck=None):
    """A stepper that leaves a file for each run it starts; the run `stuck` = (n_hidden, seed) never gets on."""
    folder.mkdir()

    def stepper(model, X, Y, *, g, **arguments):
        run = (model.config.n_hidden, g.initial_seed())
        (folder / f"{run[0]}-{run[1]}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if run == stuck:
            time.sleep(600)
        return fast_steps(model, X, Y, g=g, **arguments)

    return stepper


def started(folder):
    """(n_hidden, seed), process of each run that was started."""
    for path in folder.iterdir():
        n_hidden, seed, pid, _ = map(int, path.name.split("-"))
        yield (n_hidden, seed), pid


def on_the_ladder(ladder):
    return [(entry.config["n_hidden"], entry.seed) for entry in ladder.entries]


def lr(i):
    return 0.1 if i < 20 else 0.01


SETTINGS = {"configs": [{"n_hidden": n} for n in HIDDEN], "seeds": SEEDS, "splits": SPLITS, "steps": 30}
EVERYTHING = [(n, seed) for n in HIDDEN for seed in SEEDS]


def test_a_worker_is_killed_in_mid_run_and_the_grid_is_resumed(dask, cluster, tmp_path):
    ladder, stuck = Ladder(tmp_path / "ladder.sqlite"), EVERYTHING[3]
    settings = {**SETTINGS, "lr": lambda i: 0.1 if i < 20 else 0.01, "ladder": ladder, "name": "on a cluster"}
    done_before = []

    def kill():
        """Kill the worker whose run is stuck, when some others are finished."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            victim = [pid for run, pid in started(tmp_path / "first") if run == stuck]
            if victim and len(ladder) >= 4:
                done_before.extend(on_the_ladder(ladder))
                time.sleep(1)
                os.kill(victim[0], getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows both are the end
                return
            time.sleep(0.05)

    stepper = noting(tmp_path / "first", stuck)
    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(dask.scheduler.KilledWorker) as info:
        run_grid(**settings, executor=cluster.get_executor(), stepper=stepper)
    killer.join()
    finished = on_the_ladder(ladder)
    assert len(set(finished)) == len(finished) >= 4
    assert stuck not in finished
    assert info.value.__notes__ == [
        f"{len(finished)} of 8 runs are finished and on the ladder: the same call trains the others"
    ]
    runs = [run for run, _ in started(tmp_path / "first")]
    assert [runs.count(run) for run in done_before] == [1] * len(done_before)  # not even by Dask, whose worker had them

    results = run_grid(**settings, executor=cluster.get_executor(), stepper=noting(tmp_path / "second"))
    assert [(r.config.n_hidden, r.seed) for r in results] == EVERYTHING
    assert {run for run, _ in started(tmp_path / "second")} == set(EVERYTHING) - set(finished)
    assert os.getpid() not in {pid for _, pid in started(tmp_path / "second")}
    assert [(r.config.n_hidden, r.seed) for r in results if r.found] == sorted(finished)
    assert sorted(on_the_ladder(ladder)) == EVERYTHING
    for ours, theirs in zip(run_grid(**SETTINGS, lr=lr), results, strict=True):
        assert theirs.losses == pytest.approx(ours.losses, abs=1e-5)
        if not theirs.found:
            assert torch.allclose(theirs.model.C, ours.model.C, atol=1e-5)


def test_workers_that_lack_the_package(dask, tmp_path):
    """Their Python has Dask and not ours: started without `site`, it does not read where this checkout lies."""
    ladder = Ladder(tmp_path / "ladder.sqlite")
    with (
        dask.LocalCluster(n_workers=0, processes=True, dashboard_address=PORT) as cluster,
        dask.Client(cluster) as client,
    ):
        worker = subprocess.Popen(
            [sys.executable, "-S", "-m", "distributed.cli.dask_worker", cluster.scheduler_address,
             "--no-dashboard", "--no-nanny", "--nthreads", "1"],
            env={**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}, cwd=tmp_path, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            client.wait_for_workers(1, timeout=60)
            with pytest.raises(ModuleNotFoundError) as info:
                run_grid(**SETTINGS, executor=client.get_executor(), ladder=ladder)
        finally:
            worker.kill()
            worker.wait()
    assert re.fullmatch(
        r"the executor's workers lack the package 'mlp_lib' \(No module named 'mlp_lib\S*'\): install there what is "
        "installed here, in the same versions, and run the grid again",
        str(info.value),
    )
    assert len(ladder) == 0
