"""The record of solved exercises: what it keeps, what it refuses, and that no answer suffers from it."""

import os
import threading

import pytest

from mlp_lib.course.exercises import Exercise, nb00, progress
from mlp_lib.course.exercises.progress import catalogue, forget_solved, note_solved, record_path, solved


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The path of a record of this test's own, in a folder that does not exist yet."""
    path = tmp_path / "new" / "exercises.json"
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(path))
    monkeypatch.setattr(progress, "_in_memory", {})
    return path


def test_what_is_noted_is_kept_until_it_is_forgotten(record):
    assert solved() == {}
    assert not record.parent.exists(), "looking writes nothing"
    note_solved("3.1")
    note_solved("10.2")
    before = record.read_bytes()
    note_solved("3.1")
    assert record.read_bytes() == before, "the first time stays"
    assert set(solved()) == {"3.1", "10.2"}
    assert all(at.tzinfo is not None for at in solved().values())
    forget_solved()
    assert not record.exists()
    assert solved() == {}


def test_where_the_record_is(monkeypatch, tmp_path):
    for name in ("CI", "MLP_LIB_EXERCISES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert record_path().name == "exercises.json"
    monkeypatch.setenv("CI", "true")
    assert record_path() is None
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(tmp_path / "mine.json"))
    assert record_path() == tmp_path / "mine.json"


def test_where_ci_is_set_the_record_ends_with_the_kernel(monkeypatch, record):
    monkeypatch.delenv("MLP_LIB_EXERCISES")
    monkeypatch.setenv("CI", "1")
    note_solved("3.1")
    assert set(solved()) == {"3.1"}
    forget_solved()
    assert solved() == {}


OTHER_FILES = {
    "another program's": b'{"solved": {"3.1": "2026-01-01"}}',
    "a list": b"[1, 2]",
    "cut off": b'{"format": "mlp_lib exercises", "version": 1, "sol',
    "empty": b"",
    "binary": b"\xff\xfe\x00\x01",
    "deep": b"[" * 100_000,
    "not times": b'{"format": "mlp_lib exercises", "version": 1, "solved": {"3.1": 5}}',
    "a list of exercises": b'{"format": "mlp_lib exercises", "version": 1, "solved": ["3.1"]}',
}


@pytest.mark.parametrize("content", OTHER_FILES.values(), ids=OTHER_FILES)
def test_another_file_is_refused_and_left_alone(record, content):
    record.parent.mkdir()
    record.write_bytes(content)
    for action in (solved, lambda: note_solved("3.1"), forget_solved):
        with pytest.raises(ValueError, match="is not a record of solved exercises, or it is damaged: move it away"):
            action()
    assert record.read_bytes() == content


def test_a_record_that_cannot_be_written_spoils_no_answer(record, capsys):
    record.parent.write_text("")
    with pytest.raises(OSError, match=r"could not write .*: name another file in MLP_LIB_EXERCISES"):
        note_solved("3.1")
    nb00.toy.check(27)
    assert capsys.readouterr().out.startswith("[ok] 0.1")


def test_a_right_answer_is_noted_and_nothing_else(record):
    for answer in (..., None, 26, "27", print):
        nb00.toy.check(answer)
    assert solved() == {}
    nb00.toy.check(27)
    assert set(solved()) == {"0.1"}


def test_an_exercise_of_ones_own_is_not_marked(record):
    Exercise("3.1", "mine", right="Right.", hints=["a", "b"], solution=lambda: 1).check(1)
    assert solved() == {}


def test_the_catalogue_is_what_the_modules_hold():
    from mlp_lib.course.exercises import all_exercises

    assert catalogue() == [(q.number, q.title) for q in all_exercises()]


def test_the_file_is_replaced_and_a_link_is_followed(record, tmp_path):
    note_solved("1.1")
    elsewhere = tmp_path / "elsewhere.json"
    os.rename(record, elsewhere)
    record.symlink_to(elsewhere)
    with open(elsewhere, "rb") as reader:
        before = elsewhere.read_bytes()
        note_solved("2.1")
        assert reader.read() == before, "a reader keeps the old file whole"
    assert record.is_symlink()
    assert set(solved()) == {"1.1", "2.1"}


def test_threads_lose_nothing(record):
    numbers = [f"{page}.{k}" for page in range(1, 5) for k in range(1, 6)]
    threads = [
        threading.Thread(target=lambda part=part: [note_solved(n) for n in part])
        for part in (numbers[::2], numbers[1::2])
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(solved()) == set(numbers)
