"""Grading a folder: what the record says counts, whatever else a notebook does, and nothing is left behind."""

import csv
import io
import os
import sys
from types import SimpleNamespace

import nbformat
import psutil
import pytest

from mlp_lib.course.exercises import __main__ as command
from mlp_lib.course.exercises import grade as module
from mlp_lib.course.exercises import progress
from mlp_lib.course.exercises.grade import Graded, find_notebooks, grade, table, write_csv

# Enters an exercise as a check does when the answer is right, but without torch, which takes seconds to start.
SOLVE = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("progress", {progress.__file__!r})
progress = importlib.util.module_from_spec(spec)
spec.loader.exec_module(progress)
progress.note_solved("0.1")
"""
MORE = 'progress.note_solved("1.1")'
# Starts a process, and one that leaves its group.
START = """
import signal, subprocess, sys, time
sleep = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
loose = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True)"
with open(PIDS, "w") as file:
    subprocess.Popen([sys.executable, "-c", sleep], stdout=file)
    subprocess.run([sys.executable, "-c", loose], stdout=file, start_new_session=True)
while open(PIDS).read().count("\\n") < 2:
    time.sleep(0.05)
"""
# Prints and never ends.
LOOP = """
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
while True:
    print("x" * 10_000)
"""
NEIGHBOURS = """
import os, pathlib
assert sorted(os.listdir()) == ["data", "words.txt"], os.listdir()
assert pathlib.Path("data/more.txt").read_text() == "more"
pathlib.Path("words.txt").write_text("changed")
"""
# name: (cells, what is solved, the remark)
CLASS = {
    "checks": (["from mlp_lib.course.exercises.nb00 import toy", "toy.check(27)"], ["0.1"], ""),
    "damages": (
        [SOLVE, 'progress.record_path().write_text("nothing")', "raise SystemExit"],
        [],
        "its record was damaged; cell 3 raised SystemExit",
    ),
    "exits": ([SOLVE, "import os; os._exit(0)", MORE], ["0.1"], "its kernel ended in cell 2 of 3"),
    "quits": ([SOLVE, "quit()", "1", MORE], ["0.1"], "its kernel ended in cell 2 of 4"),
    "neighbours/page": ([NEIGHBOURS + SOLVE], ["0.1"], ""),
    "prints_ok": (['print("[ok] 3.1 right")', 'import os; os.write(1, b"[ok] 3.2 right")'], [], ""),
    "raises": (["1 / 0", SOLVE, "input()", "", "def f(:", MORE], ["0.1", "1.1"],
               "cell 1 raised ZeroDivisionError, 2 more raised"),
}  # fmt: skip
LOOPS = [SOLVE, START, LOOP, MORE], ["0.1"], "timed out in cell 3 of 4 after 60 s"
NO_NOTEBOOKS = {
    "broken": b'{"cells": [',
    "empty": b"",
    "picture": b"\x89PNG\r\n\x1a\n\xff",
    "other": b"[1]",
    "no_cells": b'{"nbformat": 4, "cells": 3}',
}


def notebook(path, *sources):
    path.parent.mkdir(parents=True, exist_ok=True)
    page = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "not_installed", "display_name": "x"}})
    page.cells = [nbformat.v4.new_markdown_cell("# A page"), *map(nbformat.v4.new_code_cell, sources)]
    nbformat.write(page, path)


def leftovers():
    return {name for name in os.listdir(module.tempfile.gettempdir()) if name.startswith("mlp_lib_grade_")}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The rows of the class by name."""
    folder = tmp_path_factory.mktemp("class")
    for name, (cells, *_) in CLASS.items():
        notebook(folder / f"{name}.ipynb", *cells)
    for name, content in NO_NOTEBOOKS.items():
        (folder / f"{name}.ipynb").write_bytes(content)
    beside = folder / "neighbours"
    for name, text in {
        "words.txt": "words",
        "data/more.txt": "more",
        ".env": "secret",
        "mlp_lib/__init__.py": "",
    }.items():
        (beside / name).parent.mkdir(exist_ok=True)
        (beside / name).write_text(text)
    (beside / "another").mkdir()
    (beside / "another" / "page.ipynb").write_bytes(b"")  # another submission: its folder is not copied
    before, there = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}, leftovers()
    rows = grade(folder, timeout=600, jobs=2)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before, "the folder is as it was"
    assert leftovers() <= there
    return {row.notebook.removesuffix(".ipynb"): row for row in rows}


@pytest.mark.parametrize("name", CLASS)
def test_the_record_counts(graded, name):
    _, solved, remark = CLASS[name]
    assert graded[name] == Graded(f"{name}.ipynb", tuple(solved), remark)


@pytest.mark.parametrize("name", [*NO_NOTEBOOKS, "neighbours/another/page"])
def test_not_a_notebook(graded, name):
    row = graded[name]
    assert row.solved == ()
    assert row.remark.startswith("not run: it is not a notebook, or it cannot be copied (")


def test_a_notebook_that_never_ends(tmp_path, monkeypatch):
    file, there = tmp_path / "pids.txt", leftovers()
    cells, solved, remark = LOOPS
    notebook(tmp_path / "in" / "loops.ipynb", *(source.replace("PIDS", repr(str(file))) for source in cells))
    # By this clock nothing before the loop takes any time, however busy the machine; the loop has the last 3 s.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 57.0 if file.exists() else 0.0))
    assert grade(tmp_path / "in", timeout=60) == [Graded("loops.ipynb", tuple(solved), remark)]
    assert leftovers() <= there
    pids = file.read_text().split()
    assert len(pids) == 2
    assert not any(psutil.pid_exists(int(p)) and psutil.Process(int(p)).status() != "zombie" for p in pids)


def test_find_notebooks(tmp_path):
    for name in (
        "b/two.ipynb",
        "a.ipynb",
        "b/.ipynb_checkpoints/two.ipynb",
        "__MACOSX/a.ipynb",
        "b/._two.ipynb",
        "c.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_notebooks(tmp_path)] == ["a.ipynb", "b/two.ipynb"]


# ---- the table and the command ---------------------------------------------------------------------------------------

ROWS = [
    Graded("ada/01.ipynb", ("1.1",), ""),
    Graded("ada/week 2/03.ipynb", ("3.1", "3.2"), ""),
    Graded("=bo.ipynb", (), "its kernel ended in cell 2 of 9"),
]


def test_table_has_a_line_per_notebook_and_per_student():
    notebooks, students = table(ROWS).split("\n\n")
    assert [line.split()[-1] for line in notebooks.splitlines()[1:]] == ["1.1", "3.2", "9"]
    assert students.splitlines()[1:] == ["ada           3  1.1 3.1 3.2", "=bo           0  -"]


def test_csv_has_a_row_per_notebook_and_per_student():
    file = io.StringIO()
    write_csv(ROWS, file)
    lines = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [(line["student"], line["notebook"], line["solved"]) for line in lines] == [
        ("ada", "ada/01.ipynb", "1"),
        ("ada", "ada/week 2/03.ipynb", "2"),
        ("./=bo", "./=bo.ipynb", "0"),
        ("ada", "(all)", "3"),
        ("./=bo", "(all)", "0"),
    ]
    assert [n for n, _ in progress.catalogue() if lines[3][n] == "1"] == ["1.1", "3.1", "3.2"]


def test_command_prints_and_writes(tmp_path, capsys):
    (tmp_path / "ada.ipynb").write_text("")
    file = tmp_path / "out.csv"
    assert command.main(["grade", str(tmp_path), "--csv", str(file), "--jobs", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["ada", "0", "-"]
    assert file.read_text().splitlines()[-1].startswith("ada,(all),0,0,")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["grade", "EMPTY"], "there is no notebook (a file that ends in .ipynb) in "),
        (["grade", "EMPTY", "--csv", "EMPTY/missing/out.csv"], "No such file or directory"),
    ],
)
def test_command_says_what_is_wrong_before_it_grades(tmp_path, capsys, arguments, sentence):
    assert command.main([a.replace("EMPTY", str(tmp_path)) for a in arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_command_lists_the_exercises(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(tmp_path / "exercises.json"))
    progress.note_solved("0.1")
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[ok] 0.1")
    assert lines[1].startswith("[  ] 1.1")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_ends_every_kernel(tmp_path, run_with_torch):
    pid = tmp_path / "pid.txt"
    source = """
import os, pathlib, time
pathlib.Path(PID).write_text(str(os.getpid()))
time.sleep(60)
pathlib.Path(PID).write_text("nobody ended this kernel")
"""
    notebook(tmp_path / "in" / "a.ipynb", source.replace("PID", repr(str(pid))))
    code = """
import signal, sys, threading, time
from pathlib import Path
from mlp_lib.course.exercises.__main__ import main

def interrupt():
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

folder, pid = map(Path, sys.argv[1:])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
threading.Thread(target=interrupt, daemon=True).start()
sys.exit(main(["grade", str(folder)]))
"""
    assert run_with_torch(code, tmp_path / "in", pid).returncode == 130
    assert not psutil.pid_exists(int(pid.read_text()))
