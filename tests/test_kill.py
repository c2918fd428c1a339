"""kill -9 at random moments of a write: what was reported as written is there, and the files are whole.

The ladder with the openings of the test set, and any file that is written with `write_atomically`.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlp_lib.course.exercises import progress
from mlp_lib.course.exercises.progress import note_solved, solved
from mlp_lib.lab.ladder import Ladder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
ROOT = Path(__file__).resolve().parent.parent
TIMES = pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.torture)])

# Importing torch takes seconds, so one program does it, and the ones to be killed branch off from it. A child reports
# an entry through a pipe as soon as the call that writes it has returned; what is in the pipe has to be on the disk.
KILLING = """
import os, random, signal, sys, time
from pathlib import Path

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
random.seed(kills)
reported = []
for kill in range(kills):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for k in range(10**9):
            write(f"{kill}.{k}")
            os.write(writer, f"{kill}.{k} ".encode())
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        first = pipe.read(1)  # it is at work
        time.sleep(random.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reported += (first + pipe.read()).decode().split(" ")[:-1]
    look(reported)
write("after")
look([*reported, "after"])
print(len(reported))
"""

LADDER = """
import sqlite3, torch
from mlp_lib.lab.ladder import Ladder, TestVault

def write(name):
    board.add(name, config={"name": name, "more": "x" * random.choice([0, 100, 9000])}, seed=1, dev=2.0)
    if random.random() < 0.3:
        vault.open(reason=name)

def look(reported):
    entries, reasons = board.entries, [o.reason for o in vault.openings]
    names = [e.name for e in entries]
    # Each child has one write under way when it is killed, and that one may be there or not.
    told = set(reported)
    assert [n for n in names if n in told] == reported
    assert len(names) <= len(reported) + kills and len(set(names)) == len(names), "one too many"
    assert all(e.config["name"] == e.name for e in entries)
    places = {n: k for k, n in enumerate(names)}
    assert reasons == sorted(set(reasons), key=places.get), "an opening without its run"
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    if "after" in reported:
        assert os.listdir(folder) == [path.name], "whoever wrote last has tidied up"

import os, random, sys
from pathlib import Path
path = Path(sys.argv[1]) / "ladder.sqlite"
kills = int(sys.argv[2])
board, vault = Ladder(path), TestVault(torch.tensor([[0], [1]]), torch.tensor([1, 0]), path=path)
"""

ONE_FILE = """
from mlp_lib.files import write_atomically

def write(name):
    text = f"{name} " * 20_000  # of several blocks, so that half of it can be met
    write_atomically(path, text.encode())

def look(reported):
    name, *others = path.read_text().split()
    assert len(others) == 19_999 and set(others) <= {name}, "half a file"
    # Only the write that was under way at the kill may be there without having been reported.
    kill, k = name.split(".") if "." in name else (None, None)
    assert name == reported[-1] or int(k) == 1 + int(reported[-1].split(".")[1]), (name, reported[-1])

import os, sys
from pathlib import Path
path = Path(sys.argv[1]) / "file"
"""


@pytest.fixture
def quick():
    """A folder in memory where there is such a place: a disk is safe too, but slow."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@TIMES
@pytest.mark.parametrize("files", [LADDER, ONE_FILE], ids=["ladder", "one file"])
def test_a_kill_loses_nothing_that_was_reported(quick, kills, files):
    done = subprocess.run(
        [sys.executable, "-c", files + KILLING, str(quick), str(kills)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= kills, "each child wrote something before it was killed"


def test_whoever_reads_first_takes_back_what_a_kill_left(quick):
    """What a kill in the middle of a write leaves, made by copying the two files while a write is under way."""
    path, left = quick / "ladder.sqlite", quick / "left" / "ladder.sqlite"
    Ladder(path).add("before", dev=2.0)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")  # so that a write reaches the file before it is committed
    db.execute("PRAGMA cache_spill = 1")
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE runs SET name = 'half'")
    for _ in range(50):
        db.execute(
            "INSERT INTO runs (at, name, kind, config, losses, split) VALUES ('', ?, '', '', '', '')", ("x" * 9000,)
        )
    left.parent.mkdir()
    for name in ("ladder.sqlite", "ladder.sqlite-journal"):
        shutil.copy(quick / name, left.parent / name)
    db.close()
    assert b"half" in left.read_bytes(), "the copy was made in mid-write"
    assert [e.name for e in Ladder(left).entries] == ["before"]
    assert os.listdir(left.parent) == [left.name]


# ---- the moments that a kill at random seldom meets ------------------------------------------------------------------


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The path of a record of solved exercises with one in it."""
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(tmp_path / "exercises.json"))
    note_solved("1.1")
    return tmp_path / "exercises.json"


def test_whoever_reads_while_the_record_is_written_reads_the_old_one_whole(record):
    before = record.read_bytes()
    with open(record, "rb") as reader:
        note_solved("2.1")
        assert reader.read() == before, "the file was moved into place, not written over"
    assert set(solved()) == {"1.1", "2.1"}


def test_what_another_program_enters_while_we_wait_for_it_stays(record, monkeypatch):
    alone = progress._alone

    @contextmanager
    def after_another(path):
        monkeypatch.setattr(progress, "_alone", alone)
        note_solved("3.1")  # the other program, which had the lock before us
        with alone(path):
            yield

    monkeypatch.setattr(progress, "_alone", after_another)
    note_solved("2.1")
    assert set(solved()) == {"1.1", "2.1", "3.1"}


def test_a_record_that_another_program_keeps_is_waited_for(record, monkeypatch):
    monkeypatch.setattr(progress, "_WAIT_SECONDS", 0.05)
    with progress._alone(record):
        with pytest.raises(TimeoutError, match=r"another program has kept .* for 0.05 s: wait for it to end"):
            note_solved("2.1")
        note_solved("1.1")  # there already: nothing to write, nothing to wait for
    note_solved("2.1")
    assert set(solved()) == {"1.1", "2.1"}
    assert os.listdir(record.parent) == [record.name]
