import dataclasses
import hashlib
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
import torch

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words
from mlp_lib.lab import ladder
from mlp_lib.lab.ladder import KNOWN, Entry, Ladder, Opening, TestVault, words_sha256

WORDS = ["emma", "ava", "mae", "eva", "amma"]
VOCAB = Vocab.from_words(WORDS)
WHY = "final loss"


def examples(words=WORDS, block_size=3, dtype=torch.int64):
    return build_dataset(words, VOCAB, block_size, dtype=dtype)


def network():
    return MLP(MLPConfig(len(VOCAB), 3, 2, 10), g=torch.Generator().manual_seed(2147483647))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ladder.sqlite"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of its own, on a machine that is no CI."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CI", "MLP_LIB_LADDER", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


# ---- opening ---------------------------------------------------------------------------------------------------------


def test_opening_gives_the_data_and_writes_down_when_why_and_what(path):
    Xte, Yte = examples()
    vault = TestVault(Xte, Yte, path=path)
    before = datetime.now(UTC)
    X, Y = vault.open(reason="  final loss of notebook 11 ")
    after = datetime.now(UTC)
    assert torch.equal(X, Xte)
    assert torch.equal(Y, Yte)
    (opening,) = vault.openings
    assert opening == Opening(opening.at, "final loss of notebook 11", vault.fingerprint, None)
    assert before.replace(microsecond=0) <= opening.at <= after
    assert opening.at.utcoffset().total_seconds() == 0


def test_nothing_is_made_before_the_first_opening(path):
    vault = TestVault(*examples(), path=path / "deeper" / "x.sqlite")
    assert len(vault) == 0
    assert vault.openings == []
    assert "opened 0 times" in repr(vault)
    assert list(path.parent.iterdir()) == []
    vault.open(reason=WHY)
    assert len(vault) == 1


def test_the_loss_is_the_exact_loss_and_is_kept_beside_the_reason(path):
    vault, model = TestVault(*examples(), path=path), network()
    loss = vault.loss(model, reason=WHY)
    assert loss == eval_loss(model, *examples())
    assert [(o.reason, o.loss) for o in vault.openings] == [(WHY, loss)]


def test_the_record_outlives_the_vault_and_counts_other_vaults(path):
    TestVault(*examples(), path=path).open(reason="first")
    TestVault(*examples(), path=str(path)).open(reason="second")
    vault = TestVault(*examples(), path=path)
    assert [o.reason for o in vault.openings] == ["first", "second"]
    assert len(vault) == 2


def test_another_test_set_in_the_same_file_has_its_own_count(path):
    TestVault(*examples(), path=path).open(reason=WHY)
    other = TestVault(*examples(WORDS[::-1]), path=path)
    assert len(other) == 0
    other.open(reason=WHY)
    assert len(other) == len(TestVault(*examples(), path=path)) == 1


def test_the_same_names_with_another_context_are_the_same_test_set(path):
    short, long = (TestVault(*examples(block_size=b), path=path) for b in (3, 8))
    short.open(reason=WHY)
    long.open(reason=WHY)
    assert short.fingerprint != long.fingerprint
    assert [o.fingerprint for o in short.openings] == [short.fingerprint, long.fingerprint]
    assert len(long) == 2


def test_the_fingerprint_depends_on_the_data_alone(path):
    Xte, Yte = examples()
    a = TestVault(Xte, Yte, path=path)
    assert a.fingerprint == TestVault(*examples(dtype=torch.int8), path=path).fingerprint
    assert a.fingerprint == TestVault(Xte.T.contiguous().T, Yte, path=path).fingerprint
    assert a.fingerprint != TestVault(Xte, Yte.flip(0), path=path).fingerprint
    digest = hashlib.sha256()
    for t in (Xte, Yte):
        digest.update(repr(tuple(t.shape)).encode() + t.numpy().astype("<i8").tobytes())
    assert a.fingerprint == digest.hexdigest()


def test_what_was_sealed_stays_what_it_was(path):
    Xte, Yte = examples()
    vault = TestVault(Xte, Yte, path=path)
    Xte.zero_()
    X, Y = vault.open(reason=WHY)
    assert torch.equal(X, examples()[0])
    Y.zero_()
    assert torch.equal(vault.open(reason=WHY)[1], examples()[1])


def test_the_repr_never_shows_the_data(path):
    vault = TestVault(*examples(), path=path)
    assert repr(vault) == "TestVault(22 examples, opened 0 times)"
    vault.open(reason=WHY)
    assert repr(vault) == "TestVault(22 examples, opened 1 time)"
    assert "tensor" not in repr(vault) + str(vault)


def test_a_loss_that_is_no_number_is_kept_as_it_was(path):
    vault = TestVault(*examples(), path=path)
    model = MLP(MLPConfig(len(VOCAB)), g=torch.Generator().manual_seed(1))
    model.b2.data.fill_(math.nan)
    assert math.isnan(vault.loss(model, reason=WHY))
    assert math.isnan(TestVault(*examples(), path=path).openings[-1].loss)


def test_a_vault_never_opened_is_still_true(path):
    assert TestVault(*examples(), path=path)


# ---- where it is written ---------------------------------------------------------------------------------------------


def test_by_default_the_record_is_in_the_users_data_folder(home, monkeypatch):
    vault = TestVault(*examples())
    assert vault.path == home / ".local" / "share" / "mlp_lib" / "ladder.sqlite"
    vault.open(reason=WHY)
    assert vault.path.is_file()
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    assert TestVault(*examples()).path == home / "data" / "mlp_lib" / "ladder.sqlite"


def test_the_environment_may_name_the_file_and_a_path_goes_before_it(home, path, monkeypatch):
    monkeypatch.setenv("MLP_LIB_LADDER", str(home / "mine.sqlite"))
    assert TestVault(*examples()).path == home / "mine.sqlite"
    assert TestVault(*examples(), path=path).path == path
    assert TestVault(*examples(), path="~/x.sqlite").path == home / "x.sqlite"


@pytest.mark.parametrize("value", ["true", "1", "yes"])
def test_where_CI_is_set_nothing_is_left_behind(home, path, monkeypatch, value):
    monkeypatch.setenv("CI", value)
    vault = TestVault(*examples())
    vault.open(reason=WHY)
    assert [o.reason for o in vault.openings] == [WHY]
    assert len(TestVault(*examples())) == 0
    assert list(home.iterdir()) == []
    TestVault(*examples(), path=path).open(reason=WHY)  # asked for by name
    assert path.is_file()


@pytest.mark.parametrize("value", ["", "0", "false", "False"])
def test_CI_set_to_no_is_no_CI(home, monkeypatch, value):
    monkeypatch.setenv("CI", value)
    assert TestVault(*examples()).path is not None


def test_without_a_home_the_way_out_is_named(home, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    for make in (Ladder, lambda: TestVault(*examples())):
        with pytest.raises(FileNotFoundError, match=r"no home folder .* the environment variable MLP_LIB_LADDER"):
            make()
    monkeypatch.setenv("MLP_LIB_LADDER", str(home / "named.sqlite"))
    assert Ladder().path == home / "named.sqlite"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (PureWindowsPath(r"\\server\share\my home\x.sqlite"), "file:////server/share/my%20home/x.sqlite"),
        (PureWindowsPath(r"C:\Users\é\x.sqlite"), "file:///C:/Users/%C3%A9/x.sqlite"),
        (PurePosixPath("/home/a?b#c%20/x.sqlite"), "file:///home/a%3Fb%23c%2520/x.sqlite"),
    ],
)
def test_the_address_of_the_file_has_no_machines_name(path, uri):
    assert ladder._uri(path) == uri


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_file_of_any_name_is_that_file(tmp_path):
    path = tmp_path / "a folder" / "my #1? 100% né\udcff.sqlite"
    Ladder(path).add("mine", dev=2.0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert len(Ladder(path)) == 1
    slashes = Path("/" + str(path))  # as the path of a network disk begins
    assert len(Ladder(slashes)) == 1


# ---- several at once, and kills --------------------------------------------------------------------------------------

WRITER = """
import sys, torch
from mlp_lib.lab import ladder
from mlp_lib.lab.ladder import TestVault
vault = TestVault(torch.tensor([[0], [1]]), torch.tensor([1, 0]), path=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for k in range(int(sys.argv[3])):
    vault.open(reason=f"{sys.argv[2]} {k}")
    if k == 20:
        print("under way", flush=True)
"""


def writer(path, name, times):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(times)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
    return process


def small_vault(path):
    return TestVault(torch.tensor([[0], [1]]), torch.tensor([1, 0]), path=path)


def test_two_programs_writing_at_once_lose_nothing(path):
    a, b = writer(path, "a", 150), writer(path, "b", 150)
    for process in (a, b):
        assert process.stdout.readline() == "ready\n"
    for process in (a, b):  # both at once, on a file that neither has made yet
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in (a, b):
        process.communicate(timeout=120)
        assert process.returncode == 0
    reasons = [o.reason for o in small_vault(path).openings]
    assert sorted(reasons) == sorted(f"{name} {k}" for name in "ab" for k in range(150))


def test_a_kill_in_mid_write_leaves_a_readable_record(path):
    process = writer(path, "killed", 10**6)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "under way\n"]
    process.kill()
    process.communicate()
    reasons = [o.reason for o in small_vault(path).openings]
    assert len(reasons) >= 21
    assert reasons == [f"killed {k}" for k in range(len(reasons))]
    small_vault(path).open(reason="after")
    assert small_vault(path).openings[-1].reason == "after"


def test_threads_may_share_a_vault(path):
    vault = TestVault(*examples(), path=path)
    threads = [threading.Thread(target=lambda: [vault.open(reason=WHY) for _ in range(10)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(vault) == 40


def test_a_write_that_fails_half_way_leaves_nothing(path):
    vault = TestVault(*examples(), path=path)
    vault.open(reason=WHY)

    def half_way():
        with ladder._writing(path, "try") as db:
            db.execute("DELETE FROM openings")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_way()
    assert len(vault) == 1


# ---- bad input: one sentence each ------------------------------------------------------------------------------------


def test_a_reason_is_asked_for_by_name(path):
    vault = TestVault(*examples(), path=path)
    with pytest.raises(TypeError, match="reason"):
        vault.open()
    with pytest.raises(TypeError, match="positional"):
        vault.open("final loss")
    assert not path.exists()


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_an_empty_reason_opens_nothing(path, reason):
    vault = TestVault(*examples(), path=path)
    for look in (lambda: vault.open(reason=reason), lambda: vault.loss(network(), reason=reason)):
        with pytest.raises(ValueError) as info:
            look()
        assert str(info.value) == (
            'the test set opens only for a reason, and reason is empty: write reason="final loss of the chosen model"'
        )
    assert not path.exists()


def test_a_reason_that_is_no_text(path):
    with pytest.raises(TypeError) as info:
        TestVault(*examples(), path=path).open(reason=7)
    assert str(info.value) == 'reason must be a text, got 7: write reason="final loss of the chosen model"'


def test_tensors_that_are_no_examples(path):
    Xte, Yte = examples()
    with pytest.raises(ValueError, match="X has 22 rows but Y has 21"):
        TestVault(Xte, Yte[1:], path=path)
    with pytest.raises(TypeError, match=r"X must be a torch\.Tensor, got list"):
        TestVault([[0]], Yte, path=path)


def test_a_model_that_does_not_fit_opens_nothing(path):
    vault = TestVault(*examples(block_size=5), path=path)
    with pytest.raises(ValueError, match="block_size=3"):
        vault.loss(network(), reason=WHY)
    assert len(vault) == 0


def test_a_file_of_another_kind_is_refused_and_left_alone(path):
    path.write_text("emma\nolivia\n" * 100)
    with pytest.raises(ValueError) as info:
        TestVault(*examples(), path=path)
    assert str(info.value) == (
        f"{path} is a file of another kind, no ladder of mlp_lib: give the path of a file that mlp_lib may make"
    )
    assert path.read_text() == "emma\nolivia\n" * 100


def test_another_programs_sqlite_file_is_refused_and_left_alone(path):
    vault = TestVault(*examples(), path=path)  # the file comes into being behind its back
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE songs (title)")
    db.close()
    content = path.read_bytes()
    sentence = f"{path} is an SQLite file of another program: give the path of a file that mlp_lib may make"
    for look in (lambda: TestVault(*examples(), path=path), lambda: vault.open(reason=WHY)):
        with pytest.raises(ValueError) as info:
            look()
        assert str(info.value) == sentence
    assert path.read_bytes() == content


def test_a_file_of_a_later_format_is_refused(path):
    TestVault(*examples(), path=path).open(reason=WHY)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ValueError) as info:
        TestVault(*examples(), path=path)
    assert str(info.value) == (
        f"{path} has format 99 and this mlp_lib knows formats up to 1: update mlp_lib, or give another path"
    )


def test_a_damaged_file_is_named(path):
    vault = TestVault(*examples(), path=path)
    for _ in range(200):
        vault.open(reason=WHY * 20)
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged .*: move it away and a new one is begun"):
        len(vault)


def test_a_folder_for_a_path(tmp_path):
    with pytest.raises(IsADirectoryError) as info:
        TestVault(*examples(), path=tmp_path)
    assert str(info.value) == (
        f"{tmp_path} is a folder: give the path of a file in it, such as {tmp_path / 'ladder.sqlite'}"
    )


def test_a_place_that_cannot_be_written_keeps_the_test_set_sealed(tmp_path):
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" / "ladder.sqlite"
    vault = TestVault(*examples(), path=where)
    with pytest.raises(OSError) as info:
        vault.open(reason=WHY)
    # the folder that cannot be made is a file
    assert str(info.value) in {
        f"could not write down the opening, so the test set stays sealed: {where}: {why}; "
        "give path= of a file that can be written"
        for why in ("Not a directory", "File exists")
    }
    assert vault.openings == []


def test_a_read_only_file_is_read_and_not_written(path, monkeypatch):
    vault = TestVault(*examples(), path=path)
    vault.open(reason=WHY)
    # The tests may run as root, whom no permission stops: ask SQLite for what it does by itself on a read-only disk.
    connect = ladder._connect
    monkeypatch.setattr(ladder, "_connect", lambda path, mode: connect(path, "ro"))
    assert len(vault) == 1
    with pytest.raises(OSError) as info:
        vault.loss(network(), reason=WHY)
    assert str(info.value) == (
        f"could not write down the opening, so the test set stays sealed: {path}: attempt to write a readonly "
        "database; give path= of a file that can be written"
    )
    assert len(vault) == 1


def test_a_file_that_another_program_keeps(path, monkeypatch):
    monkeypatch.setattr(ladder, "_WAIT_SECONDS", 0.05)
    vault = TestVault(*examples(), path=path)
    vault.open(reason=WHY)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(TimeoutError) as info:
            vault.open(reason=WHY)
    finally:
        other.close()
    assert str(info.value) == (
        "could not write down the opening, so the test set stays sealed: another program has kept "
        f"{path} for 0.05 s; wait for it to end"
    )
    assert len(vault) == 1


# ---- the ladder: what is put on it -----------------------------------------------------------------------------------


def climb(path, **settings):
    """A ladder with two seeds of one network, one of another, and one that blew up."""
    board = Ladder(path, words=WORDS, **settings)
    for seed, dev in ((1, 2.05), (2, 2.07)):
        board.add("mine", config=MLPConfig(n_hidden=300), seed=seed, steps=1000, n_parameters=17_697,
                  seconds=1.5 * seed,
                  train=1.99, dev=dev)  # fmt: skip
    board.add("other", kind="mixture", config={"weight": 0.5}, dev=1.95)
    board.add("gone", seed=3, dev=math.nan)
    return board


def test_a_run_is_kept_whole_and_outlives_the_ladder(path):
    before = datetime.now(UTC).replace(microsecond=0)
    climb(path)
    first, _, other, gone = Ladder(path).entries
    assert before <= first.at <= datetime.now(UTC)
    assert first == Entry(
        first.at, "mine", "mlp", {"vocab_size": 27, "block_size": 3, "n_embd": 10, "n_hidden": 300}, 1, 1000, 17_697,
        1.5,
        {"train": 1.99, "dev": 2.05}, None, words_sha256(WORDS), "clean",
    )  # fmt: skip
    assert (first.train, first.dev, other.train, other.kind) == (1.99, 2.05, None, "mixture")
    assert math.isnan(gone.dev)
    assert len(Ladder(path)) == 4


def test_the_largest_seed_is_kept(path):
    Ladder(path).add("x", seed=2**64 - 1)
    assert Ladder(path).entries[0].seed == 2**64 - 1


def test_runs_and_openings_share_a_file(path):
    vault = TestVault(*examples(), path=path)
    vault.open(reason=WHY)
    climb(path)
    vault.open(reason="again")
    assert len(vault) == 2
    assert len(Ladder(path)) == 4


def test_a_file_with_openings_only_is_an_empty_ladder_and_takes_runs(path):
    TestVault(*examples(), path=path).open(reason=WHY)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE runs")  # as a file made before there were any
    db.close()
    board = Ladder(path)
    assert board.entries == []
    board.add("x")
    assert len(board) == 1


def test_nothing_is_made_before_the_first_run(path):
    board = Ladder(path)
    assert (len(board), bool(board)) == (0, True)
    assert "0 runs of yours" in repr(board)
    assert not path.exists()


@pytest.mark.parametrize("value", ["true", "1"])
def test_where_CI_is_set_the_ladder_leaves_nothing_behind(home, path, monkeypatch, value):
    monkeypatch.setenv("CI", value)
    board = climb(None)
    board.put(Entry(board.entries[0].at, "k", "mlp", {}, 1, 1, 1, 1.0, {}, None, None, "clean", key="abc"))
    assert len(board) == 5
    assert board.find("abc").name == "k"
    assert board.find("abd") is None
    board.put(board.find("abc"))
    assert len(board) == 5
    board.check_writable()
    assert list(home.iterdir()) == []
    assert len(Ladder()) == 0


def test_by_default_the_ladder_is_in_the_vaults_file(home):
    assert Ladder().path == TestVault(*examples()).path


def test_a_key_is_there_once(path):
    board = climb(path)
    entry = Entry(board.entries[0].at, "k", "mlp", {}, 1, 1, 1, 1.0, {"dev": 2.0}, None, None, "clean", key="abc")
    assert board.find("abc") is None
    board.put(entry)
    assert board.find("abc") == entry
    board.put(dataclasses.replace(entry, name="another", losses={"dev": 1.0}))
    assert board.find("abc") == entry, "the first one stays"
    assert len(board) == 5


def test_the_sha256_of_the_lectures_list_is_that_of_its_file():
    words = load_words()
    assert words_sha256(words) == hashlib.sha256("\n".join(words).encode()).hexdigest()
    assert (
        Ladder("x.sqlite", words=words).words
        == words_sha256(words)
        == Ladder("x.sqlite", words=words_sha256(words)).words
    )


# ---- the ladder: how it is shown -------------------------------------------------------------------------------------


def test_seeds_share_a_row_and_known_results_stand_between(path):
    rows = climb(path).rows
    mine, other, gone = (next(row for row in rows if row.name == name) for name in ("mine", "other", "gone"))
    assert (mine.runs, mine.low, mine.high, mine.seconds, mine.source) == (2, 2.05, 2.07, 2.25, "yours")
    assert mine.dev == pytest.approx(2.06)
    assert (other.runs, other.dev, other.kind) == (1, 1.95, "mixture")
    assert rows[-1] == gone
    assert math.isnan(gone.dev)
    assert len(rows) == 3 + len(KNOWN)
    devs = [row.dev for row in rows[:-1]]
    assert devs == sorted(devs)
    assert all(row.source and row.split for row in rows)


def test_what_differs_in_more_than_the_seed_has_its_own_row(path):
    board = climb(path)
    same = {
        "seed": 3,
        "steps": 1000,
        "n_parameters": 17_697,
        "train": 1.9,
        "dev": 2.0,
        "config": MLPConfig(n_hidden=300),
    }
    board.add("mine", **same)
    assert [row.runs for row in board.rows if row.name == "mine"] == [3]
    board.add("mine", **{**same, "steps": 2000})
    board.add("mine", **{**same, "config": MLPConfig(n_hidden=301)})
    Ladder(path, words=WORDS, split="de-duplicated").add("mine", **same)
    Ladder(path, words=WORDS[1:]).add("mine", **same)
    assert sorted(row.runs for row in board.rows if row.name == "mine") == [1, 1, 1, 1, 3]


def test_the_table_as_text(path):
    lines = repr(climb(path)).splitlines()
    assert lines[0] == f"Ladder: 4 runs of yours and {len(KNOWN)} known results, losses in nats"
    assert re.split(r"  +", lines[1].strip())[:5] == ["dev", "from", "to", "train", "runs"]
    [mine] = [re.split(r"  +", line.strip()) for line in lines if "  mine  " in line]
    assert mine == ["2.0600", "2.0500", "2.0700", "1.9900", "2", "mine", "17,697", "1,000", "2.2 s", "clean",
                    words_sha256(WORDS)[:8], "yours"]  # fmt: skip
    assert lines[-1].split()[0] == "nan"


def test_markup_in_names_is_shown_and_not_obeyed(path):
    board = Ladder(path)
    board.add("<script>alert('&')</script>\n two", kind="<b>", dev=2.0)
    page = board._repr_html_()
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt; two" in page
    assert "<script" not in page
    assert page.count("<tr>") == 1 + 1 + len(KNOWN)
    assert "<script>alert('&')</script> two" in repr(board)


# ---- the rungs -------------------------------------------------------------------------------------------------------


def test_rungs(path):
    board = Ladder(path)
    rung = board.rung(2.1)
    assert (rung.reached.dev, rung.next.dev) == (2.1018, 2.0913)
    assert str(rung) == (
        "dev 2.1000 beats 2.1018 (4-gram counts, add 0.1); next is 2.0913 (embedding 20, 400k steps, small init, L2)"
    )
    assert board.rung(2.1018).reached.dev == 2.1057  # equal is not beaten
    assert board.rung(2.1018).next.dev == 2.1018
    assert board.rung(4.0).reached is None
    assert str(board.rung(4.0)) == "dev 4.0000 beats none yet; next is 3.2958 (uniform guessing among 27 symbols)"
    assert board.rung(1.0).next is None
    assert str(board.rung(1.0)).endswith("; none is ahead")
    assert board.rung(torch.tensor(2.1)).next.dev == 2.0913


def test_every_loss_lies_between_its_rungs(path):
    board = Ladder(path)
    for split in ("clean", "de-duplicated"):
        own = sorted(k.dev for k in KNOWN if k.split == split)
        for dev in [d + e for d in own for e in (-1e-5, 0, 1e-5)]:
            rung = board.rung(dev, split=split)
            assert rung.reached is None or rung.reached.split == split
            assert (rung.reached and rung.reached.dev) == min((d for d in own if d > dev), default=None)
            assert (rung.next and rung.next.dev) == max((d for d in own if d <= dev), default=None)


def test_the_ladders_split_chooses_its_rungs(path):
    assert Ladder(path, split="de-duplicated").rung(2.05).reached.dev == 2.0749


def test_known_results_say_where_they_come_from():
    assert all(k.source and k.name and k.split in ladder.SPLITS for k in KNOWN)
    known = {(k.dev, k.split) for k in KNOWN}
    assert {
        (2.1701, "other"),
        (2.1161, "clean"),
        (2.0340, "other"),
        (1.9937, "clean"),
        (2.0134, "de-duplicated"),
    } <= known


def test_a_run_that_was_stopped_has_its_own_row(path):
    board = Ladder(path)
    board.add("mine", seed=1, dev=2.0)
    (entry,) = board.entries
    board.put(dataclasses.replace(entry, seed=2, losses={"dev": math.nan}, stopped="the loss was inf at step 3"))
    rows = [row for row in board.rows if row.runs]
    assert [row.runs for row in rows] == [1, 1]
    assert rows[0].dev == 2.0
    assert math.isnan(rows[1].dev)
    assert rows[1].source == "yours, the loss was inf at step 3"


def test_runs_that_blew_up_spoil_no_mean_and_are_counted(path):
    board = Ladder(path)
    for seed, dev in enumerate([2.0, math.nan, 2.2, math.nan]):
        board.add("mine", seed=seed, dev=dev)
    ended, blown = (row for row in board.rows if row.runs)
    assert (ended.runs, ended.low, ended.high, ended.source) == (2, 2.0, 2.2, "yours")
    assert ended.dev == pytest.approx(2.1)
    assert (blown.runs, blown.source) == (2, "yours, the dev loss was nan")
    assert math.isnan(blown.dev)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda b: b.add("x", steps=2**63), f"steps must be below 2**63, got {2**63}"),
        (lambda b: b.add("x", n_parameters=2**63), f"n_parameters must be below 2**63, got {2**63}"),
        (
            lambda b: b.add("a\ud800"),
            "name holds '\\ud800', half of a character, which no file can hold: leave it out",
        ),
        (
            lambda b: TestVault(*examples(), path=b.path).open(reason="a\udc00"),
            "reason holds '\\udc00', half of a character, which no file can hold: leave it out",
        ),
    ],
)
def test_what_the_file_cannot_hold(path, call, sentence):
    board = Ladder(path)
    with pytest.raises(ValueError) as info:
        call(board)
    assert str(info.value) == sentence
    assert not path.exists()


# ---- the ladder: several at once, and kills --------------------------------------------------------------------------

CLIMBER = """
import sys
from mlp_lib.lab import ladder
from mlp_lib.lab.ladder import Ladder
board = Ladder(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for k in range(int(sys.argv[3])):
    board.add(sys.argv[2], config={"k": k}, seed=k, dev=2.0)
    if k == 3:
        print("under way", flush=True)
"""


@pytest.fixture
def quick(tmp_path):
    """A file in memory where there is such a place: writing to a disk is safe but takes 20 ms a run."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder) / "ladder.sqlite"


def climber(path, name, times):
    return subprocess.Popen(
        [sys.executable, "-c", CLIMBER, str(path), name, str(times)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def test_two_programs_that_put_1000_runs_each_lose_none(quick):
    both = [climber(quick, name, 1000) for name in "ab"]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:  # at once, on a file that neither has made yet
        go(process)
    for process in both:
        process.communicate(timeout=300)
        assert process.returncode == 0
    entries = Ladder(quick).entries
    assert sorted((e.name, e.seed) for e in entries) == [(name, k) for name in "ab" for k in range(1000)]
    assert all(e.config == {"k": e.seed} for e in entries)


# Importing torch takes seconds, so one program does it and the ones to be killed branch off from it.
FORKING = """
import os, sys
from mlp_lib.lab import ladder
from mlp_lib.lab.ladder import Ladder
for n in range(10):
    child = os.fork()
    if child == 0:
        board = Ladder(sys.argv[1])
        for k in range(10**6):
            board.add(str(n), seed=k, dev=2.0)
            if k == 3:
                print(os.getpid(), flush=True)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")
def test_ten_kills_in_mid_write_leave_a_readable_ladder(quick):
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(quick)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
    for n in range(10):
        child = int(process.stdout.readline())
        time.sleep(0.003 * n)  # another moment of the write each time
        os.kill(child, signal.SIGKILL)
        seeds = [e.seed for e in Ladder(quick).entries if e.name == str(n)]
        assert len(seeds) >= 4
        assert seeds == list(range(len(seeds)))
    assert process.wait(timeout=60) == 0
    process.stdout.close()
    Ladder(quick).add("after")
    with sqlite3.connect(quick) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


# ---- the ladder: bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda b: b.add(""), ValueError, "name must be a text with something in it, got ''"),
        (lambda b: b.add("x", kind=3), ValueError, "kind must be a text with something in it, got 3"),
        (lambda b: b.add("x", dev="2"), TypeError, "dev must be a loss in nats, got '2'"),
        (
            lambda b: b.add("x", train=-1.0),
            ValueError,
            "train must be a loss in nats, finite and not below 0, got -1.0",
        ),
        (lambda b: b.add("x", dev=math.inf), ValueError, "dev must be a loss in nats, finite and not below 0, got inf"),
        (lambda b: b.add("x", seed=1.5), TypeError, "seed must be a whole number, got 1.5"),
        (lambda b: b.add("x", steps=-1), ValueError, "steps must be at least 0, got -1"),
        (lambda b: b.add("x", seconds=-1), ValueError, "seconds must be a number of at least 0, got -1"),
        (lambda b: b.add("x", config=7), TypeError, "config must be an MLPConfig or a dict, got 7"),
        (
            lambda b: b.add("x", config={"lr": print}),
            TypeError,
            "config must hold numbers, texts and lists of them only: Object of type builtin_function_or_method is "
            "not JSON serializable",
        ),
        (
            lambda b: Ladder(b.path, split="dirty"),
            ValueError,
            "split must be one of 'clean', 'de-duplicated', 'other', got 'dirty'",
        ),
        (
            lambda b: Ladder(b.path, words="emma"),
            ValueError,
            "words must be a list of str, or the sha256 of one in 64 hexadecimal digits, got 'emma'",
        ),
        (lambda b: b.rung("low"), TypeError, "dev must be a loss in nats, got 'low'"),
        (lambda b: b.rung(math.nan), ValueError, "dev is nan: the run blew up and reached no rung"),
        (
            lambda b: b.rung(2.0, split="other"),
            ValueError,
            'a dev loss on a split of your own compares with none: use "clean" or "de-duplicated"',
        ),
    ],
)
def test_the_ladder_refuses(path, call, error, sentence):
    board = Ladder(path)
    with pytest.raises(error) as info:
        call(board)
    assert str(info.value) == sentence
    assert len(board) == 0


def test_a_ladder_of_another_kind_is_refused_and_left_alone(path):
    path.write_text("emma\nolivia\n" * 100)
    with pytest.raises(ValueError) as info:
        Ladder(path)
    assert str(info.value) == (
        f"{path} is a file of another kind, no ladder of mlp_lib: give the path of a file that mlp_lib may make"
    )
    assert path.read_text() == "emma\nolivia\n" * 100


def test_a_ladder_of_a_later_format_is_refused(path):
    climb(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ValueError, match=r"has format 99 and this mlp_lib knows formats up to 1: update mlp_lib, or"):
        Ladder(path)


def test_a_ladder_that_cannot_be_written_is_read_and_says_so(path, monkeypatch):
    board = climb(path)
    connect = ladder._connect
    monkeypatch.setattr(ladder, "_connect", lambda path, mode: connect(path, "ro"))
    assert len(board) == 4
    for what, call in (
        ("put the run on the ladder", lambda: board.add("x")),
        ("write to the ladder", board.check_writable),
    ):
        with pytest.raises(OSError) as info:
            call()
        assert str(info.value) == (
            f"could not {what}: {path}: attempt to write a readonly database; give path= of a file that can be written"
        )
    assert len(board) == 4


def test_what_is_in_the_file_is_plain(path):
    """Other programs can read it: columns of plain values, JSON for the rest, no nan in it."""
    climb(path)
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT name, config, losses FROM runs ORDER BY id").fetchall()
    db.close()
    assert [row[0] for row in rows] == ["mine", "mine", "other", "gone"]
    assert [json.loads(losses) for *_, losses in rows][2:] == [{"dev": 1.95}, {"dev": None}]
