"""Runs on disk: what was saved comes back, a kill leaves nothing half, and what is not a run is refused unread."""

import errno
import hashlib
import io
import json
import os
import stat
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, sample_words, train
from mlp_lib.lab.store import Run, load_run, save_run

WORDS = ["emma", "ava", "mia", "eva", "amy"]
VOCAB = Vocab.from_words(WORDS)
X, Y = build_dataset(WORDS, VOCAB, block_size=2)
CONFIG = MLPConfig(vocab_size=len(VOCAB), block_size=2, n_embd=3, n_hidden=5)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def trained(steps=20, **settings):
    g = generator()
    model = MLP(CONFIG, g=g)
    history = train(model, X, Y, steps=steps, batch_size=4, eval_on={"train": (X, Y)}, eval_every=5, g=g, **settings)
    return model, history, g


def saved(path, **more):
    model, history, g = trained()
    settings = {"history": history, "seed": 1, "losses": {"dev": 2.5}, "note": "a first try", "g": g}
    return save_run(path, model, VOCAB, **(settings | more))


def test_what_was_saved_comes_back(tmp_path):
    model, history, g = trained()
    path = save_run(tmp_path / "run", model, VOCAB, history=history, seed=7, losses={"dev": 2.5}, note="ä", g=g)
    run = load_run(path)
    assert isinstance(run, Run)
    for p, q in zip(run.model.tensors(), model.tensors(), strict=True):
        assert torch.equal(p, q)
        assert p.dtype == q.dtype
    assert (run.model.config, run.vocab, run.seed, run.losses, run.note) == (CONFIG, VOCAB, 7, {"dev": 2.5}, "ä")
    for column in ("stepi", "lri", "lossi"):
        assert torch.equal(getattr(run.history, column), getattr(history, column))
    assert (run.history.eval_stepi, run.history.evals) == (history.eval_stepi, history.evals)
    assert (run.history.seconds, run.history.stopped) == (history.seconds, history.stopped)
    words = [sample_words(m, VOCAB, n=5, g=generator()) for m in (model, run.model)]
    assert words[0] == words[1]


def test_a_run_carries_on_as_if_it_had_never_stopped(tmp_path):
    whole, *_ = trained(steps=20)
    model, history, g = trained(steps=12)
    run = load_run(save_run(tmp_path / "run", model, VOCAB, history=history, g=g))
    train(run.model, X, Y, start=len(run.history), steps=8, batch_size=4, g=run.g)
    assert all(torch.equal(p, q) for p, q in zip(run.model.tensors(), whole.tensors(), strict=True))


def test_saving_changes_nothing_and_needs_little(tmp_path):
    model, _, g = trained()
    before, state = [p.clone() for p in model.tensors()], g.get_state()
    run = load_run(save_run(tmp_path / "deep" / "run", model.double(), VOCAB, losses={"dev": float("nan")}, g=g))
    assert torch.equal(g.get_state(), state)
    assert all(torch.equal(p, q) for p, q in zip(model.float().tensors(), before, strict=True))
    assert run.model.C.dtype == torch.float64
    assert run.history is None
    assert run.losses["dev"] != run.losses["dev"], "nan comes back as nan"


def test_a_stopped_run_says_so_when_it_comes_back(tmp_path):
    model, history, _ = trained(lr=1e30)
    assert history.stopped
    run = load_run(save_run(tmp_path / "run", model, VOCAB, history=history))
    assert run.history.stopped == history.stopped
    assert run.history.lossi.isnan().equal(history.lossi.isnan())


def test_the_facts_are_readable_by_eye(tmp_path):
    about = json.loads((saved(tmp_path / "run") / "run.json").read_text(encoding="utf-8"))
    assert about["format"] == "mlp_lib run 1"
    assert about["config"] == {"vocab_size": len(VOCAB), "block_size": 2, "n_embd": 3, "n_hidden": 5}
    assert (about["symbols"], about["seed"], about["losses"]) == ("aeimvy", 1, {"dev": 2.5})


# ---- whole or not at all ---------------------------------------------------------------------------------------------


def test_a_run_is_never_overwritten(tmp_path):
    path = saved(tmp_path / "run")
    before = (path / "run.json").read_bytes()
    with pytest.raises(FileExistsError, match="exists already: a run is never overwritten"):
        saved(path, note="another")
    assert (path / "run.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"], "nothing is left beside it"


def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"could not write the run .*run \(No space left on device\): nothing was left"):
        saved(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows opens no folder")
def test_a_run_that_stands_there_is_not_said_to_be_gone(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"the run is in .*run, but the disk did not confirm it") as caught:
        saved(tmp_path / "run")
    assert "nothing was left" not in str(caught.value)
    assert load_run(tmp_path / "run").seed == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows opens no folder")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_disk_that_syncs_no_folder_can_be_saved_to(tmp_path, monkeypatch, number):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert load_run(saved(tmp_path / "run")).seed == 1


def test_numbers_from_numpy_are_numbers(tmp_path):
    config = MLPConfig(vocab_size=len(VOCAB), block_size=2, n_embd=3, n_hidden=np.int64(10))
    model = MLP(config, g=generator())
    path = save_run(tmp_path / "run", model, VOCAB, seed=np.int64(3), losses={"dev": np.float64(2)})
    run = load_run(path)
    assert (run.seed, run.losses, run.model.config) == (3, {"dev": 2.0}, config)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="could not write the run"):
        saved(tmp_path / "file" / "run")


KILLED_WHILE_SAVING = """
import os, random, shutil, signal, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_store import load_run, saved

kills, top, reports = int(sys.argv[3]), Path(sys.argv[2]), 0
random.seed(1)
for kill in range(kills):
    folder = top / str(kill)
    folder.mkdir()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        k = 0
        while True:
            os.write(writer, saved(folder / f"run{k}").name.encode() + b" ")  # only now it is reported
            k += 1
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        first = pipe.read(1)  # it is at work
        time.sleep(random.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reported = (first + pipe.read()).decode().split()
    for name in reported:
        assert load_run(folder / name).note == "a first try", name
    for path in folder.iterdir():
        if not path.name.endswith(".partial"):
            load_run(path)  # whatever stands there under its name is whole
    reports += len(reported)
    shutil.rmtree(folder)
print(reports)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.torture)])
def test_a_kill_at_any_moment_loses_nothing_that_was_reported(tmp_path, kills):
    arguments = [os.path.dirname(__file__), str(tmp_path), str(kills)]
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= kills, "each child saved something before it was killed"


# ---- what is no run --------------------------------------------------------------------------------------------------


def changed(path, **facts):
    about = json.loads((path / "run.json").read_text(encoding="utf-8"))
    about.update(facts)
    (path / "run.json").write_text(json.dumps({k: v for k, v in about.items() if v is not ...}), encoding="utf-8")
    return path


def repacked(path, change=lambda arrays: None, write=np.savez):
    """The run with other arrays, and the sha256 that belongs to them, as someone hostile would make it."""
    with np.load(path / "tensors.npz") as file:
        arrays = dict(file)
    change(arrays)
    with open(path / "tensors.npz", "wb") as file:
        write(file, **arrays)
    return changed(path, sha256=hashlib.sha256((path / "tensors.npz").read_bytes()).hexdigest())


def rewritten(path, **facts):
    return json.loads((path / "run.json").read_text(encoding="utf-8"))["history"] | facts


def rezipped(path, change):
    """The run with a change of the zip's own bytes, and the sha256 that belongs to them."""
    content = change((path / "tensors.npz").read_bytes())
    (path / "tensors.npz").write_bytes(content)
    return changed(path, sha256=hashlib.sha256(content).hexdigest())


def promised_size(content):
    """The directory of the zip says that its first file has nearly 4 GB."""
    at = content.index(b"PK\x01\x02") + 24
    return content[:at] + struct.pack("<I", 2**32 - 16) + content[at + 4 :]


def the_same_again(content):
    """The directory of the zip names the same file a thousand times: little on the disk, much in memory."""
    first = content.index(b"PK\x01\x02")
    entry = content[first : content.index(b"PK\x01\x02", first + 4)]
    end = content.rindex(b"PK\x05\x06")
    count, size = struct.unpack("<HI", content[end + 10 : end + 16])
    numbers = struct.pack("<HHI", count + 1000, count + 1000, size + 1000 * len(entry))
    return content[:end] + entry * 1000 + content[end : end + 8] + numbers + content[end + 16 :]


def long_header(content):
    """An array whose header is longer than NumPy evaluates."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename == "C.npy":
                text = data[10 : data.index(b"\n")].ljust(60_000) + b"\n"
                data = data[:8] + struct.pack("<H", len(text)) + text + data[data.index(b"\n") + 1 :]
            new.writestr(member.filename, data)
    return packed.getvalue()


class Bomb:
    def __reduce__(self):
        return os.system, ("echo executed > executed",)


def _bomb(arrays):
    arrays["C"] = np.array([Bomb()], dtype=object)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: changed(p, format="mlp_lib run 2"), "its format is 'mlp_lib run 2', and this version reads"),
        (lambda p: changed(p, format=...), "has no format line"),
        (lambda p: (p / "run.json").write_text("[1, 2]"), "has no format line"),
        (lambda p: (p / "run.json").write_text("{"), "damaged"),
        (lambda p: (p / "run.json").write_bytes(b"\xff\xfe"), "damaged"),
        (lambda p: (p / "run.json").write_text("[" * 100_000), "damaged"),
        (lambda p: (p / "run.json").write_text(" " * 10_000_001), "bytes, which no run needs"),
        (lambda p: changed(p, symbols="abc"), "4 symbols for a model of vocab_size=7"),
        (lambda p: changed(p, symbols="aab"), "damaged"),
        (lambda p: changed(p, config={"n_hidden": 10**9}), "7 symbols for a model of vocab_size=27"),
        (lambda p: changed(p, config={"vocab_size": 7, "block_size": 2, "n_embd": 3, "n_hidden": 6}), "asks for"),
        (lambda p: changed(p, config={"evil": 1}), "damaged"),
        (lambda p: changed(p, seed="one"), "of another kind"),
        (lambda p: changed(p, losses={"dev": "much"}), "damaged"),
        (lambda p: changed(p, losses=...), "damaged"),
        (lambda p: changed(p, history={"steps": 3, "seconds": 1, "stopped": None, "evals": []}), "has 3 steps"),
        (lambda p: changed(p, history=rewritten(p, stopped=[1])), "why the run stopped is [1], no sentence"),
        (lambda p: changed(p, losses=None), "damaged"),
        (lambda p: changed(p, symbols="aeimvz"), "the symbols of run.json are not those of tensors.npz"),
        (lambda p: changed(p, seed=float("nan")), "run.json holds NaN, which save_run writes as a text"),
        (lambda p: changed(p, losses={"dev": float("-inf")}), "run.json holds -Infinity"),
        (lambda p: (p / "tensors.npz").write_bytes(b""), "its sha256 differs"),
        (lambda p: (p / "tensors.npz").write_bytes((p / "tensors.npz").read_bytes()[:-30]), "its sha256 differs"),
        (lambda p: repacked(p, lambda a: a.pop("C")), "damaged"),
        (lambda p: repacked(p, lambda a: a.update(more=a["C"])), "holds 'more', which no run has"),
        (lambda p: repacked(p, lambda a: a.update(C=a["C"].T)), "C is float32 of shape (3, 7)"),
        (lambda p: repacked(p, lambda a: a.update(C=a["C"].astype(int))), "C is int64"),
        (lambda p: repacked(p, lambda a: a.update(b2=a["b2"].astype(float))), "b2 is float64"),
        (lambda p: repacked(p, lambda a: a.update(g=a["g"][:10])), "the generator's state is of another kind"),
        (lambda p: repacked(p, lambda a: a.update(g=a["g"] * 0 + 255)), "the generator's state is damaged"),
        (lambda p: repacked(p, _bomb), "more than the file holds"),
        (lambda p: repacked(p, write=np.savez_compressed), "is packed"),
        (lambda p: rezipped(p, promised_size), "'C.npy' is packed"),
        (lambda p: rezipped(p, the_same_again), "is packed"),
        (lambda p: repacked(p, lambda a: a.update({"../../executed": a["C"]})), "holds '../../executed', which no run"),
        (lambda p: repacked(p, lambda a: a.update({"/executed": a["C"]})), "holds '/executed', which no run has"),
        (lambda p: rezipped(p, lambda z: z.replace(b"C.npy", b"C.pkl")), "damaged"),
        (lambda p: rezipped(p, long_header), "damaged"),
    ],
)  # fmt: skip
def test_what_is_no_run_is_refused_with_a_sentence(tmp_path, monkeypatch, spoil, sentence):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "run")
    spoil(path)
    with pytest.raises(ValueError, match=r"is not read|is no run that can be read") as caught:
        load_run(path)
    assert sentence in str(caught.value)
    assert not list(tmp_path.parent.rglob("executed*")), "nothing was run, and nothing unpacked"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs the files of Unix")
@pytest.mark.parametrize("name", ["run.json", "tensors.npz"])
@pytest.mark.parametrize("what", ["a pipe", "a device", "a folder", "a link to nothing"])
def test_what_is_no_file_is_not_waited_for(tmp_path, name, what):
    file = saved(tmp_path / "run") / name
    file.unlink()
    if what == "a pipe":
        os.mkfifo(file)
    elif what == "a folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero" if what == "a device" else tmp_path / "nowhere")
    sentence = "there is no run in" if what == "a link to nothing" else f"is no run that can be read: {name} is no file"
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        load_run(tmp_path / "run")


def test_a_link_to_a_run_is_followed_and_a_linked_secret_is_not_shown(tmp_path):
    path = saved(tmp_path / "run")
    (tmp_path / "link").symlink_to(path)
    assert load_run(tmp_path / "link").note == "a first try"
    (tmp_path / "secret").write_text("the password is xyzzy")
    (path / "run.json").unlink()
    (path / "run.json").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="is no run that can be read") as caught:
        load_run(path)
    assert "xyzzy" not in str(caught.value)


def test_a_file_without_end_is_refused_before_it_is_read(tmp_path):
    path = saved(tmp_path / "run")
    with open(path / "run.json", "r+b") as file:
        file.truncate(10**12)  # takes no room on the disk: it is all holes
    with pytest.raises(ValueError, match="has 1,000,000,000,000 bytes, which no run needs: it is not read"):
        load_run(path)


def test_a_run_of_before_without_its_symbols_twice_is_read(tmp_path):
    path = repacked(saved(tmp_path / "run"), lambda a: a.pop("symbols"))
    assert load_run(path).vocab == VOCAB


def test_a_header_that_promises_the_moon_asks_for_no_memory(tmp_path):
    path = saved(tmp_path / "run")
    content = io.BytesIO()
    with zipfile.ZipFile(path / "tensors.npz") as old, zipfile.ZipFile(content, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename == "C.npy":
                data = data.replace(b"(7, 3), }         ", b"(7, 3000000000), }")
                assert b"3000000000" in data
            new.writestr(member.filename, data)
    (path / "tensors.npz").write_bytes(content.getvalue())
    changed(path, sha256=hashlib.sha256(content.getvalue()).hexdigest())
    with pytest.raises(ValueError, match=r"the header of 'C' promises \(7, 3000000000\)"):
        load_run(path)


def test_any_damage_is_noticed(tmp_path):
    """A bit flipped, a byte cut, anywhere in either file: never another run in silence, never another exception."""
    path = saved(tmp_path / "run")
    whole = load_run(path)
    dice = np.random.default_rng(1)
    for name in ("run.json", "tensors.npz"):
        good = (path / name).read_bytes()
        for _ in range(150):
            at = int(dice.integers(len(good)))
            bad = bytearray(good)
            bad[at] ^= 1 << int(dice.integers(8))
            (path / name).write_bytes(bad if dice.random() < 0.7 else good[:at])
            try:
                run = load_run(path)
            except ValueError:
                continue
            # A letter of the note or a digit of a loss may change: run.json is for people, too. The model may not.
            assert name == "run.json"
            assert all(torch.equal(p, q) for p, q in zip(run.model.tensors(), whole.model.tensors(), strict=True))
        (path / name).write_bytes(good)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no run in .*nowhere: run.json is missing"):
        load_run(tmp_path / "nowhere")
    path = saved(tmp_path / "run")
    (path / "tensors.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"tensors.npz is missing"):
        load_run(path)


def endless():
    history = trained()[1]
    history.seconds = float("inf")
    return history


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"model": torch.nn.Linear(2, 2)}, TypeError, "model must be an MLP, got Linear"),
        ({"vocab": Vocab("ab")}, ValueError, "vocab_size=7, got Vocab('.ab')"),
        ({"seed": 1.5}, TypeError, "seed must be a whole number or None, got 1.5"),
        ({"note": 3}, TypeError, "note must be a text, got 3"),
        ({"history": [1.0]}, TypeError, "history must be what train returns, got list"),
        ({"losses": {1: 2.0}}, TypeError, "a loss needs a name such as 'dev', got 1"),
        ({"losses": {"dev": None}}, TypeError, "the loss 'dev' must be a number, got None: leave out what was not"),
        ({"losses": 2.5}, TypeError, "losses must be a dict such as {'dev': 2.1}, got 2.5"),
        ({"seed": True}, TypeError, "seed must be a whole number or None, got True"),
        ({"g": 1}, TypeError, "g must be a torch.Generator on the CPU, got 1"),
        ({"note": "half \ud800"}, ValueError, "run.json cannot hold this run ('utf-8' codec can't encode"),
        ({"losses": {"\udfff": 2.0}}, ValueError, "run.json cannot hold this run ('utf-8' codec can't encode"),
        ({"seed": 10**5000}, ValueError, "run.json cannot hold this run (Exceeds the limit"),
        ({"history": endless()}, ValueError, "run.json cannot hold this run (Out of range float values"),
    ],
)  # fmt: skip
def test_bad_input_writes_nothing(tmp_path, change, error, sentence):
    model, history, g = trained()
    settings = {"model": model, "vocab": VOCAB, "history": history, "g": g} | change
    with pytest.raises(error) as caught:
        save_run(tmp_path / "run", **settings)
    assert sentence in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_half_and_mixed_precision_are_refused(tmp_path):
    mixed = trained()[0]
    mixed.b2 = torch.nn.Parameter(mixed.b2.detach().double())
    for model in (trained()[0].half(), trained()[0].bfloat16(), mixed):
        with pytest.raises(ValueError, match="only parameters that are all float32 or all float64 can be saved"):
            save_run(tmp_path / "run", model, VOCAB)


def test_a_note_that_could_not_be_read_again_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"would have 10,0.* bytes, more than load_run reads: shorten the note"):
        saved(tmp_path / "run", note="x" * 10_000_001)
    assert list(tmp_path.iterdir()) == []
