"""The leaderboard of runs and the sealed test set: what is stored, how it is shown, what is refused."""

import math
import sqlite3
import threading

import pytest
import torch

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words
from mlp_lib.lab import ladder as module
from mlp_lib.lab.ladder import KNOWN, Ladder, TestVault, fingerprint, standing
from mlp_lib.words import LECTURE_SHA256

WORDS = ["emma", "ava", "mae", "eva", "amma"]
VOCAB = Vocab.from_words(WORDS)
WHY = "final loss"


def examples(words=WORDS, block_size=3):
    return build_dataset(words, VOCAB, block_size)


def network():
    return MLP(MLPConfig(len(VOCAB), 3, 2, 10), g=torch.Generator().manual_seed(2147483647))


@pytest.fixture(params=["in a file", "in memory"])
def path(request, tmp_path, monkeypatch):
    """The path of the record: the same tests run with a file and with a record in memory."""
    if request.param == "in a file":
        return tmp_path / "new" / "ladder.sqlite"
    monkeypatch.delenv("MLP_LIB_LADDER", raising=False)
    monkeypatch.setenv("CI", "true")
    return None


# ---- the test set ----------------------------------------------------------------------------------------------------


def test_opening_returns_the_data_and_is_recorded(path):
    vault, model = TestVault(*examples(), path=path), network()
    assert (len(vault), bool(vault), repr(vault)) == (0, True, "TestVault(22 examples, opened 0 times)")
    X, Y = vault.open(reason="  a look ")
    assert torch.equal(X, examples()[0])
    assert torch.equal(Y, examples()[1])
    loss = vault.loss(model, reason=WHY)
    assert loss == eval_loss(model, *examples())
    assert [(o.reason, o.loss) for o in vault.openings] == [("a look", None), (WHY, loss)]
    assert vault.openings[0].fingerprint == fingerprint(*examples())
    assert vault.openings[0].at.utcoffset().total_seconds() == 0
    model.b2.data.fill_(math.nan)
    vault.loss(model, reason=WHY)
    assert math.isnan(vault.openings[-1].loss)


def test_sealed_data_cannot_be_changed(path):
    Xte, Yte = examples()
    vault = TestVault(Xte, Yte, path=path)
    Xte.zero_()
    vault.open(reason=WHY)[0].zero_()
    assert torch.equal(vault.open(reason=WHY)[0], examples()[0])


def test_openings_are_counted_per_test_set(tmp_path):
    path = tmp_path / "ladder.sqlite"
    TestVault(*examples(), path=path).open(reason="first")
    TestVault(*examples(block_size=8), path=str(path)).open(reason="longer context")
    TestVault(*examples(WORDS[::-1]), path=path).open(reason="other names")
    assert [o.reason for o in TestVault(*examples(), path=path).openings] == ["first", "longer context"]


@pytest.mark.parametrize(("reason", "error"), [("", ValueError), (" \n", ValueError), (7, TypeError)])
def test_vault_stays_sealed_without_a_reason(path, reason, error):
    vault = TestVault(*examples(), path=path)
    for look in (lambda: vault.open(reason=reason), lambda: vault.loss(network(), reason=reason)):
        with pytest.raises(error, match='reason="final loss of the chosen model"'):
            look()
    assert len(vault) == 0


def test_model_that_does_not_fit_opens_nothing(path):
    vault = TestVault(*examples(block_size=5), path=path)
    with pytest.raises(ValueError, match="block_size=3"):
        vault.loss(network(), reason=WHY)
    assert len(vault) == 0


# ---- the ladder ------------------------------------------------------------------------------------------------------


def climb(path):
    """A ladder with two seeds of one network, a mixture, and a run that blew up."""
    ladder = Ladder(path, words=WORDS)
    for seed, dev in ((2**64 - 1, 2.05), (2, 2.07)):
        ladder.add(
            "mine", config=MLPConfig(n_hidden=300), seed=seed, steps=1000, n_parameters=17_697, seconds=2.0,
            losses={"train": 1.99, "dev": dev},
        )  # fmt: skip
    ladder.add("<other>", kind="mixture", config={"weight": 0.5}, losses={"dev": 1.95})
    ladder.add("mine", seed=3, losses={"dev": math.nan})
    return ladder


def test_ladder_keeps_all_fields_of_a_run(path):
    first, _, other, gone = climb(path).entries
    assert (first.name, first.kind, first.seed, first.steps, first.seconds) == ("mine", "mlp", 2**64 - 1, 1000, 2.0)
    assert first.config == {"vocab_size": 27, "block_size": 3, "n_embd": 10, "n_hidden": 300}
    assert first.losses == {"train": 1.99, "dev": 2.05}
    assert (other.seed, other.kind, other.losses["dev"]) == (None, "mixture", 1.95)
    assert (math.isnan(gone.losses["dev"]), gone.stopped) == (True, "the dev loss was nan")


def test_runs_and_openings_share_a_file_and_outlive_their_objects(tmp_path):
    path = tmp_path / "ladder.sqlite"
    TestVault(*examples(), path=path).open(reason=WHY)
    before = climb(path).entries
    assert repr(Ladder(path).entries) == repr(before)
    assert len(TestVault(*examples(), path=path)) == 1


def test_seeds_share_a_row_among_the_known_results(path):
    rows = climb(path).rows
    mine, gone = (row for row in rows if row.name == "mine")
    assert (mine.runs, mine.low, mine.high, mine.seconds, mine.source) == (2, 2.05, 2.07, 2.0, "yours")
    assert mine.dev == pytest.approx(2.06)
    assert (gone, gone.source) == (rows[-1], "yours, the dev loss was nan")
    assert len(rows) == 3 + len(KNOWN)
    devs = [row.dev for row in rows[:-1]]
    assert devs == sorted(devs)


@pytest.mark.parametrize("other", [{"steps": 2}, {"config": {"n": 2}}, {"kind": "counts"}, {"losses": {"tenth": 2.0}}])
def test_runs_that_differ_in_more_than_the_seed_have_separate_rows(path, other):
    ladder = Ladder(path)
    for seed, settings in enumerate([{}, {}, other]):
        ladder.add("x", seed=seed, **({"steps": 1, "config": {"n": 1}, "losses": {"dev": 2.0}} | settings))
    assert sorted(row.runs for row in ladder.rows if row.runs) == [1, 2]


def test_ladder_html_escapes_names_and_lists_every_row(path):
    ladder = Ladder(path, words=load_words())
    ladder.add("<script>", n_parameters=17_697, losses={"dev": 2.06})
    html = ladder._repr_html_()
    assert f"{ladder!r}, losses in nats" in html
    assert "&lt;script&gt;" in html
    assert "17,697" in html
    assert html.count("<tr>") == 2 + len(KNOWN)


def test_row_names_the_lectures_list(monkeypatch, tmp_path):
    words = load_words()
    monkeypatch.setattr(module, "LECTURE_SHA256", Ladder(words=words).words)
    ladder = Ladder(tmp_path / "ladder.sqlite", words=words)
    ladder.add("x", losses={"dev": 1.0})
    assert module._texts(ladder.rows[0])[-2] == "lecture"
    assert len(ladder.words) == len(LECTURE_SHA256)


def test_run_with_a_known_key_is_not_added_again(tmp_path):
    ladder = Ladder(tmp_path / "ladder.sqlite")
    for name in ("first", "second"):
        ladder.add(name, key="abc")
    assert [entry.name for entry in ladder.entries] == ["first"]


@pytest.mark.parametrize("dev", sorted(k.dev + e for k in KNOWN if k.split == "clean" for e in (-1e-5, 0, 1e-5)))
def test_standing_is_between_its_two_neighbours(dev):
    known = [k.dev for k in KNOWN if k.split == "clean"]
    place = standing(dev)
    assert (place.beaten and place.beaten.dev) == min((k for k in known if k > dev), default=None)
    assert (place.ahead and place.ahead.dev) == max((k for k in known if k <= dev), default=None)


def test_standing_in_a_sentence():
    assert str(standing(4.0)) == "dev 4.0000 beats none yet; next is 3.2958 (uniform guessing among 27 symbols)"
    assert str(standing(1.0)).endswith("; none is ahead")


# ---- the file --------------------------------------------------------------------------------------------------------


def test_ladder_path_comes_from_the_argument_or_MLP_LIB_LADDER(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLP_LIB_LADDER", "~/mine.sqlite")
    assert Ladder().path == TestVault(*examples()).path == tmp_path / "mine.sqlite"
    assert Ladder("~/x.sqlite").path == tmp_path / "x.sqlite"


def test_reading_creates_no_file(tmp_path):
    path = tmp_path / "new" / "ladder.sqlite"
    assert (len(Ladder(path)), bool(Ladder(path)), len(TestVault(*examples(), path=path))) == (0, True, 0)
    assert list(tmp_path.iterdir()) == []


def a_folder(path):
    path.mkdir()


def another_kind(path):
    path.write_text("emma\nolivia\n" * 100)


def below_a_file(path):
    path.parent.rmdir()
    path.parent.write_text("")


def kept_by_another_program(path):
    Ladder(path).add("x")
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("BEGIN EXCLUSIVE")
    return db


@pytest.mark.parametrize("obstacle", [a_folder, another_kind, below_a_file, kept_by_another_program])
def test_unusable_file_raises_OSError(tmp_path, monkeypatch, obstacle):
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.05)
    path = tmp_path / "folder" / "ladder.sqlite"
    path.parent.mkdir()
    held = obstacle(path)
    vault = TestVault(*examples(), path=path)
    for doing, call in {
        "put the run on the ladder": lambda: Ladder(path).add("x"),
        "write to the ladder": Ladder(path).check_writable,
        "write down the opening, so the test set stays sealed": lambda: vault.open(reason=WHY),
    }.items():
        with pytest.raises(OSError) as info:
            call()
        assert str(info.value).startswith(f"could not {doing}: {path}: ")
        assert str(info.value).endswith("; give path= of a file that can be written")
    if held:
        held.close()


def test_concurrent_threads_lose_no_run(tmp_path):
    ladder = Ladder(tmp_path / "ladder.sqlite")
    threads = [threading.Thread(target=lambda: [ladder.add("x") for _ in range(10)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(ladder) == 40
