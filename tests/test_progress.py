"""The record of solved exercises: what it keeps, what it refuses, and that no answer suffers from it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlp_lib.course.exercises import Exercise, all_exercises, nb00, progress, told
from mlp_lib.course.exercises.__main__ import main
from mlp_lib.course.exercises.progress import catalogue, forget_solved, note_solved, record_path, solved


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The path of a record of this test's own, in a folder that does not exist yet."""
    path = tmp_path / "new" / "exercises.json"
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(path))
    monkeypatch.setattr(progress, "_unwritten", {})
    monkeypatch.setattr(told, "_complained", False)
    return path


def test_the_catalogue_is_what_the_modules_hold():
    assert catalogue() == [(q.number, q.title) for q in all_exercises()]


def test_what_is_noted_is_kept_until_it_is_forgotten(record):
    assert solved() == {}
    assert not record.parent.exists(), "looking writes nothing"
    note_solved("3.1")
    first = solved()["3.1"]
    assert abs(first.timestamp() - time.time()) < 60
    note_solved("10.2")
    before = record.read_bytes()
    note_solved("3.1")
    assert record.read_bytes() == before, "the first time stays"
    assert set(solved()) == {"3.1", "10.2"}
    assert os.listdir(record.parent) == [record.name], "one file, nothing left beside it"
    forget_solved()
    assert not record.exists()
    assert solved() == {}
    forget_solved()


def test_the_record_can_be_deleted_at_any_time(record):
    note_solved("3.1")
    record.unlink()
    assert solved() == {}
    note_solved("3.2")
    assert set(solved()) == {"3.2"}


def test_where_the_record_lies(monkeypatch, tmp_path):
    for name in ("CI", "MLP_LIB_EXERCISES", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert record_path() == tmp_path / ".local" / "share" / "mlp_lib" / "exercises.json"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert record_path() == tmp_path / "data" / "mlp_lib" / "exercises.json"
    monkeypatch.setenv("MLP_LIB_EXERCISES", "~/mine.json")
    assert record_path() == tmp_path / "mine.json"
    monkeypatch.setenv("CI", "true")
    assert record_path() == tmp_path / "mine.json"
    monkeypatch.delenv("MLP_LIB_EXERCISES")
    assert record_path() is None


def test_nothing_is_written_where_ci_is_set(monkeypatch, record):
    monkeypatch.delenv("MLP_LIB_EXERCISES")
    monkeypatch.setenv("CI", "1")
    monkeypatch.setenv("XDG_DATA_HOME", str(record.parent))
    note_solved("3.1")
    assert set(solved()) == {"3.1"}, "kept for this kernel"
    assert not record.parent.exists()
    forget_solved()
    assert solved() == {}


OTHER_FILES = {
    "another program's": b'{"solved": {"3.1": "2026-01-01"}}',
    "a list": b"[1, 2]",
    "cut off": b'{"format": "mlp_lib exercises", "version": 1, "sol',
    "empty": b"",
    "no text": b"\xff\xfe\x00\x01",
    "deep": b"[" * 100_000,
    "a picture, large": b"\x89PNG" * 500_000,
    "times that are none": b'{"format": "mlp_lib exercises", "version": 1, "solved": {"3.1": 5}}',
    "no record": b'{"format": "mlp_lib exercises", "version": 1, "solved": ["3.1"]}',
}


@pytest.mark.parametrize("content", OTHER_FILES.values(), ids=OTHER_FILES)
def test_another_file_is_refused_in_a_sentence_and_left_alone(record, capsys, content):
    record.parent.mkdir()
    record.write_bytes(content)
    for action in (solved, lambda: note_solved("3.1"), forget_solved):
        with pytest.raises(ValueError, match="damaged or the file of another program") as caught:
            action()
        assert str(record) in str(caught.value)
        assert "\n" not in str(caught.value)
    nb00.toy.check(27)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("[ok] 0.1")
    assert said[1].startswith("(not marked on the board: ")
    assert record.read_bytes() == content
    assert os.listdir(record.parent) == [record.name]


def test_a_newer_record_is_refused(record):
    record.parent.mkdir()
    record.write_text('{"format": "mlp_lib exercises", "version": 2, "solved": {}}')
    with pytest.raises(ValueError, match="has version 2 and this mlp_lib knows version 1: update mlp_lib"):
        note_solved("3.1")


def test_a_folder_is_refused(record):
    record.mkdir(parents=True)
    with pytest.raises(ValueError, match="is no file: name one in MLP_LIB_EXERCISES"):
        note_solved("3.1")


@pytest.mark.parametrize("kind", ["under a file", "in /proc"])
def test_what_cannot_be_written_is_said_once_and_the_answer_is_judged(record, tmp_path, monkeypatch, capsys, kind):
    if kind == "under a file":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "exercises.json"
    elif Path("/proc").is_dir():
        path = Path("/proc/nothing/exercises.json")
    else:
        pytest.skip("no /proc here")
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(path))
    with pytest.raises(OSError, match=r"could not (read|write) .*; MLP_LIB_EXERCISES may name a file elsewhere"):
        note_solved("3.1")
    nb00.toy.check(27)
    nb00.toy.check(27)
    nb00.toy.check(26)
    said = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in said] == ["[ok] 0.1", "(not mar", "[ok] 0.1", "[no] 0.1"]
    assert len(said[1]) < 300


def test_without_a_home_the_answer_is_judged(record, monkeypatch, capsys):
    monkeypatch.delenv("MLP_LIB_EXERCISES")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("CI", raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    nb00.toy.check(27)
    assert capsys.readouterr().out.startswith("[ok] 0.1")
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "which are solved is not known: no home folder was found" in said
    assert "name a file in the environment variable MLP_LIB_EXERCISES" in said


def test_check_marks_what_is_right_and_nothing_else(record, capsys):
    for answer in (..., None, 26, "27", print):
        nb00.toy.check(answer)
    nb00.toy.evaluate(27)
    assert solved() == {}
    nb00.toy.check(27)
    assert set(solved()) == {"0.1"}
    assert "(not marked" not in capsys.readouterr().out


def test_an_exercise_of_ones_own_is_not_marked(record):
    Exercise("3.1", "mine", right="Right.", hints=["a", "b"], solution=lambda: 1).check(1)
    assert solved() == {}


def test_a_link_is_followed(record, tmp_path):
    record.parent.mkdir()
    record.symlink_to(tmp_path / "elsewhere.json")
    note_solved("3.1")
    assert record.is_symlink()
    assert "3.1" in json.loads((tmp_path / "elsewhere.json").read_text())["solved"]


def test_threads_lose_nothing(record):
    numbers = [f"{page}.{k}" for page in range(1, 9) for k in range(1, 6)]
    threads = [
        threading.Thread(target=lambda part=part: [note_solved(n) for n in part])
        for part in (numbers[::2], numbers[1::2])
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(solved()) == set(numbers)


# Without torch, which takes seconds to start: the record needs the standard library only.
WRITER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("progress", {path!r})
progress = importlib.util.module_from_spec(spec)
spec.loader.exec_module(progress)
print("ready", flush=True)
for k in range({n}):
    progress.note_solved(f"{name}.{{k}}")
"""


def writer(name, n):
    code = WRITER.format(path=progress.__file__, name=name, n=n)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_programs_at_once_lose_nothing(record):
    for process in [writer(name, 25) for name in (1, 2)]:
        assert process.wait(120) == 0
        process.stdout.close()
    assert set(solved()) == {f"{name}.{k}" for name in (1, 2) for k in range(25)}
    assert os.listdir(record.parent) == [record.name]


def test_who_is_killed_while_writing_leaves_a_whole_record_and_no_lock(record):
    for attempt in range(3):
        process = writer(attempt, 100_000)
        time.sleep(0.05 + 0.03 * attempt)
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait(60)
        process.stdout.close()
        known = set(solved())
        clock = time.perf_counter()
        note_solved(f"after.{attempt}")
        assert time.perf_counter() - clock < 4
        assert set(solved()) == known | {f"after.{attempt}"}
        assert os.listdir(record.parent) == [record.name]
