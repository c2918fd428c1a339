"""A full disk or a home that cannot be written: one clear sentence, nothing half-written, answers are still judged.

The disk is full for a child process only: the system lets none of its files grow beyond a limit. The error ("File too
large") has a different text from that of a full disk, but it is raised in the same places.
"""

import os
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the limits of Unix")

START = """
import ctypes, hashlib, os, resource, sqlite3, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
sys.dont_write_bytecode = True  # an import under the limit would leave a truncated file in the real cache
import torch
from mlp_lib import MLP, MLPConfig, Vocab, load_model, load_words, save_model, words
from mlp_lib.course.exercises import nb00
from mlp_lib.course.exercises.progress import note_solved, solved
from mlp_lib.lab.ladder import Ladder, TestVault

folder = Path(sys.argv[1])
vocab = Vocab("abc")
model = MLP(MLPConfig(4, 2, 3, 50), g=torch.Generator().manual_seed(1))


def full(size):
    "From now on no file can grow beyond `size` bytes."
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def room():
    full(resource.getrlimit(resource.RLIMIT_FSIZE)[1])


def sentence(error, call):
    "The message of the error, which must be one short line."
    try:
        call()
    except error as caught:
        said = str(caught)
        assert "\\n" not in said and len(said) < 400, said
        return said
    raise AssertionError("nothing was raised")


def content(of):
    return sorted(str(p.relative_to(of)) for p in of.rglob("*"))
"""


@pytest.fixture
def child(run_with_torch):
    """Runs code with this folder as its home and no other folder configured; the assertions are in the code."""

    def run(code, home):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MLP_")) and k != "CI"}
        done = run_with_torch(START + code, home, env=kept | {"HOME": str(home)})
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


# ---- a full disk -----------------------------------------------------------------------------------------------------


def test_full_disk_leaves_a_saved_model_complete_or_absent(child, tmp_path):
    child(
        """
path = save_model(model, folder / "model", vocab=vocab)
before = path.read_bytes()
model.C.data.zero_()
for size in (0, 1, 100, len(before) // 2, len(before) - 1):
    full(size)
    for name in ("model", "new"):
        said = sentence(OSError, lambda: save_model(model, folder / name, vocab=vocab))
        assert said.startswith(f"could not write {folder / name} (") and said.endswith("; nothing was changed there")
    assert content(folder) == ["model"] and path.read_bytes() == before
room()
save_model(model, path, vocab=vocab)
assert not load_model(path)[0].C.any()
""",
        tmp_path,
    )


def test_full_disk_leaves_the_ladder_readable(child, tmp_path):
    child(
        """
path = folder / "ladder.sqlite"
full(0)
board = Ladder(path)
said = sentence(OSError, lambda: board.add("first", losses={"dev": 2.0}))
assert said.startswith(f"could not put the run on the ladder: {path}: ") and said.endswith("can be written"), said
assert board.entries == [] and len(board.rows) > 0
vault = TestVault(torch.tensor([[0], [1]]), torch.tensor([1, 0]), path=path)
said = sentence(OSError, lambda: vault.open(reason="to see"))
assert said.startswith("could not write down the opening, so the test set stays sealed"), said
assert vault.openings == []
room()
for k in range(5):
    board.add("before", seed=k, losses={"dev": 2.0})
vault.open(reason="before")
full(path.stat().st_size)
failed = 0
for k in range(200):  # as many as fit into the file are written, the rest are refused
    try:
        board.add("while", seed=k, config={"x": "x" * 500}, losses={"dev": 2.0})
    except OSError as error:
        assert str(error).startswith(f"could not put the run on the ladder: {path}: "), error
        failed += 1
assert failed > 150
assert [e.seed for e in board.entries if e.name == "before"] == list(range(5))
assert len(board) == 5 + 200 - failed
assert sentence(OSError, lambda: [vault.open(reason="x" * 9000)])
assert [o.reason for o in vault.openings] == ["before"]
room()
board.add("after", losses={"dev": 2.0})
assert content(folder) == ["ladder.sqlite"]
assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
""",
        tmp_path,
    )


def test_full_disk_does_not_stop_the_judging_of_exercises(child, tmp_path):
    said = child(
        """
record = folder / ".local" / "share" / "mlp_lib" / "exercises.json"
note_solved("3.1")
before = record.read_bytes()
full(10)
nb00.toy.check(27)
nb00.toy.check(26)
assert record.read_bytes() == before and set(solved()) == {"3.1"}
assert content(record.parent) == [record.name, record.name + ".lock"]
room()
nb00.toy.check(27)
assert set(solved()) == {"3.1", "0.1"}
""",
        tmp_path,
    ).splitlines()
    assert [line[:8] for line in said] == ["[ok] 0.1", "(not mar", "[no] 0.1", "[ok] 0.1"]
    assert "could not write" in said[1]


# The lecture's file without a network: a fake download writes the content.
DOWNLOAD = """
content_there = b"\\n".join([b"emma", b"olivia"] * 1000)
words.LECTURE_SHA256 = hashlib.sha256(content_there).hexdigest()
downloads = []

def download(url, output_file, pooch=None):
    downloads.append(url)
    if hasattr(output_file, "write"):
        return output_file.write(content_there)
    Path(output_file).write_bytes(content_there)

words._download = download

def fetched():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert load_words("lecture")[:2] == ["emma", "olivia"]
    return [str(w.message) for w in told]
"""


def test_download_that_cannot_be_stored_is_used(child, tmp_path):
    child(
        DOWNLOAD
        + """
cache = folder / ".cache" / "mlp_lib"
full(100)
for _ in range(2):
    (told,) = fetched()
    assert told.startswith(f"could not keep the download in {cache} ("), told
    assert told.endswith("it will be fetched again") and "\\n" not in told
    assert content(cache) == []
room()
downloads.clear()
assert fetched() == fetched() == [] and len(downloads) == 1
assert content(cache) == ["lecture_names.txt"]
""",
        tmp_path,
    )


# ---- a home that cannot be written -----------------------------------------------------------------------------------

HOMELESS = (
    DOWNLOAD
    + """
home = Path.home()
for _ in range(2):
    nb00.toy.check(27)
nb00.toy.check(26)
assert solved() == {}
said = sentence(OSError, lambda: note_solved("3.1"))
assert said.startswith(f"could not write {home}") and "name another file in MLP_LIB_EXERCISES" in said, said
board, vault = Ladder(), TestVault(torch.tensor([[0], [1]]), torch.tensor([1, 0]))
assert board.path.is_relative_to(home) and board.entries == vault.openings == []
said = sentence(OSError, lambda: board.add("x", losses={"dev": 2.0}))
assert said.startswith(f"could not put the run on the ladder: {board.path}: "), said
said = sentence(OSError, lambda: vault.open(reason="to see"))
assert "the test set stays sealed" in said, said
said = sentence(OSError, lambda: save_model(model, "~/models/first", vocab=vocab))
assert said.startswith(f"could not write {home / 'models' / 'first'} ("), said
(told,) = fetched()
assert told.startswith("could not keep the download in ") and "\\n" not in told, told
"""
)


def told_once(said):
    said = said.splitlines()
    assert [line[:8] for line in said] == ["[ok] 0.1", "(not mar", "[ok] 0.1", "[no] 0.1"]
    assert "could not write" in said[1]
    assert len(said[1]) < 400


def test_home_below_a_file_gives_one_sentence_per_error(child, tmp_path):
    (tmp_path / "file").write_text("")
    told_once(child(HOMELESS, tmp_path / "file" / "home"))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# Root ignores permissions unless it drops its capabilities.
AS_ANYONE = """
header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, none) == 0
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="drops Linux capabilities")
def test_home_without_write_permission_gives_one_sentence_per_error(child, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "there").write_text("")
    home.chmod(0o555)
    try:
        said = child(AS_ANYONE + HOMELESS, home)
    finally:
        home.chmod(0o755)
    told_once(said)
    assert "Permission denied" in said
    assert [p.name for p in home.iterdir()] == ["there"]
