"""kill -9 during a write: everything reported as written is there, and the files are intact."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk works too, but slowly

# Two children write at a time. A child reports an entry through a pipe as soon as the call that writes it has returned.
KILLING = """
import os, random, signal, sys, time
from pathlib import Path

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
random.seed(kills)
reported = []


def start(name):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for k in range(10**9):
            write(f"{name}.{k}")
            os.write(writer, f"{name}.{k} ".encode())
    os.close(writer)
    return child, os.fdopen(reader, "rb")


for kill in range(kills):
    both = [start(2 * kill), start(2 * kill + 1)]
    first = [pipe.read(1) for _, pipe in both]  # both are at work
    for (child, pipe), start_of_it in zip(both, first):
        time.sleep(random.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with pipe:
            reported += (start_of_it + pipe.read()).decode().split(" ")[:-1]
    assert set(reported) <= set(there()), sorted(set(reported) - set(there()))
write("after")
assert "after" in there()
assert len(reported) >= 2 * kills, "each child wrote something before it was killed"
"""

LADDER = """
import sqlite3, sys, torch
from mlp_lib.lab.ladder import Ladder, TestVault

path = sys.argv[1] + "/ladder.sqlite"
ladder, vault = Ladder(path), TestVault(torch.tensor([[0], [1]]), torch.tensor([1, 0]), path=path)


def write(name):
    ladder.add(name, config={"more": "x" * random.choice([0, 100, 9000])}, losses={"dev": 2.0})
    vault.open(reason=name)


def there():
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    return {e.name for e in ladder.entries} & {o.reason for o in vault.openings}
"""

EXERCISES = """
import os, sys
os.environ["MLP_LIB_EXERCISES"] = sys.argv[1] + "/exercises.json"
from mlp_lib.course.exercises.progress import note_solved as write, solved as there
"""


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.torture)])
@pytest.mark.parametrize("files", [LADDER, EXERCISES], ids=["ladder", "exercises"])
def test_kill_loses_no_reported_write(kills, files, run_with_torch):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        done = run_with_torch(files + KILLING, folder, kills)
    assert done.returncode == 0, done.stdout


EACH_LINE = """
import itertools, os, signal, sys
from pathlib import Path
from mlp_lib.files import write_atomically

path, old, new, found = Path(sys.argv[1]) / "record", b"old" * 9000, b"new" * 9000, []
for k in itertools.count():
    path.write_bytes(old)
    child = os.fork()
    if child == 0:
        lines = itertools.count()

        def trace(frame, event, argument):
            if event == "line" and next(lines) == k:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        write_atomically(path, new)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    found.append(path.read_bytes())
    if os.WIFEXITED(status):
        break
half = [(k, len(content)) for k, content in enumerate(found) if content not in (old, new)]
assert not half, f"killed before line (and bytes there): {half}"
assert found[0] == old and found[-1] == new
"""


def test_kill_during_a_write_leaves_the_old_or_the_new_content():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        call = [sys.executable, "-c", EACH_LINE, folder]
        done = subprocess.run(call, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
