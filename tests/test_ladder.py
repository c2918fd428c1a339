import hashlib
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, ladder
from mlp_lib.ladder import Opening, TestVault

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


# ---- several at once, and kills --------------------------------------------------------------------------------------

WRITER = """
import sys, torch
from mlp_lib.ladder import TestVault
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
    with pytest.raises(TypeError):
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
