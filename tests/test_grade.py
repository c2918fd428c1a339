"""Grading a folder: what is solved counts, whatever else a notebook is or does, and nothing is left behind."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from mlp_lib.course.exercises import __main__ as command
from mlp_lib.course.exercises import grade as module
from mlp_lib.course.exercises import nb00, nb01, progress
from mlp_lib.course.exercises.grade import Graded, as_csv, find_notebooks, grade, read_cells, table

# Marks an exercise as its check does when it is right, but without torch, which takes seconds to start.
SOLVE = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("progress", {progress.__file__!r})
progress = importlib.util.module_from_spec(spec)
spec.loader.exec_module(progress)
progress.note_solved("0.1")
"""
MORE = 'progress.note_solved("1.1")'


def notebook(path, *sources, **metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"cell_type": "markdown", "metadata": {}, "source": "# A page"}]
    cells += [
        {"cell_type": "code", "metadata": {}, "source": s, "outputs": [], "execution_count": None} for s in sources
    ]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": cells}))


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def leftovers():
    return {name for name in os.listdir(module.tempfile.gettempdir()) if name.startswith("mlp_lib_grade_")}


# Starts a program, and one that cuts loose from whoever started it; then prints and never ends.
LOOP = """
import signal, subprocess, sys, time
sleep = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
loose = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True)"
with open(PIDS, "w") as file:
    subprocess.Popen([sys.executable, "-c", sleep], stdout=file)
    subprocess.run([sys.executable, "-c", loose], stdout=file, start_new_session=True)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
while True:
    print("x" * 10_000)
    time.sleep(0.001)  # 10 MB a second at the most: more would only keep the others from their work
"""
NEIGHBOURS = """
import os, pathlib
assert sorted(os.listdir()) == ["data", "words.txt"], os.listdir()
assert pathlib.Path("data/more.txt").read_text() == "more"
pathlib.Path("words.txt").write_text("changed")
pathlib.Path("data/more.txt").unlink()
pathlib.Path("mine.txt").write_text("mine")
"""
HOSTILE = {
    "a_loop": [SOLVE, LOOP, MORE],
    "damages": [SOLVE, 'progress.record_path().write_text("nothing")', "import sys; sys.exit(1)"],
    "exits": [SOLVE, "import os; os._exit(0)", MORE],
    "forges": ['print("[ok] 3.1 right", flush=True)', 'import os; os.write(1, b\'{"solved": ["3.1"]}\\n\')'],
    "forgets": [SOLVE, "progress.forget_solved()", MORE],
    "kills": [SOLVE, "import os; os.kill(os.getppid(), 9)", "import time; time.sleep(600)"],
    "neighbours/page": [NEIGHBOURS + SOLVE],
    "prints": ["import sys", "for k in range(20): print('x' * 10_000_000, file=sys.stderr)", SOLVE],
    "quits": [SOLVE, "quit()", MORE],
    "deletes": [SOLVE, "import os, shutil; shutil.rmtree(os.path.abspath('..'), ignore_errors=True)", "1 / 0"],
    "raises": ["1 / 0", SOLVE, "input()", "", "def f(:", "import sys; sys.exit(1)", "%matplotlib inline", MORE],
    "unknown": [SOLVE, 'progress.note_solved("77.1")'],
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The folder of all hostile notebooks, graded once: rows by student, and what the loop had started."""
    folder = tmp_path_factory.mktemp("class")
    pids = tmp_path_factory.mktemp("pids") / "pids.txt"
    for name, cells in HOSTILE.items():
        cells = [source.replace("PIDS", repr(str(pids))) for source in cells]
        notebook(folder / f"{name}.ipynb", *cells, kernelspec={"name": "nobody-has-it", "language": "python"})
    (folder / "neighbours" / "words.txt").write_text("words")
    (folder / "neighbours" / "data").mkdir()
    (folder / "neighbours" / "data" / "more.txt").write_text("more")
    notebook(folder / "neighbours" / "another" / "page.ipynb")  # another submission: not copied
    (folder / "neighbours" / ".env").write_text("secret")
    (folder / "neighbours" / "mlp_lib").mkdir()
    (folder / "neighbours" / "mlp_lib" / "__init__.py").write_text("mine")
    for name, content in {"broken": b'{"cells": [', "empty": b"", "picture": b"\x89PNG\r\n\x1a\n\xff"}.items():
        (folder / f"{name}.ipynb").write_bytes(content)
    (folder / "folder.ipynb").mkdir()
    before, there = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}, leftovers()
    rows = grade(folder, timeout=15, jobs=2)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before, "the folder is as it was"
    assert leftovers() <= there
    return {row.student: row for row in rows}, [int(pid) for pid in pids.read_text().split()]


@pytest.mark.parametrize(
    ("name", "solved", "status", "remark"),
    [
        ("a_loop", ("0.1",), "timed out", "in cell 2 of 3 after 15 s"),
        ("damages", ("0.1",), "run", "cell 3 raised SystemExit; its record was damaged"),
        ("deletes", ("0.1",), "run", "cell 3 raised ZeroDivisionError"),
        ("exits", ("0.1",), "died", "in cell 2 of 3"),
        ("forges", (), "run", ""),
        ("forgets", ("0.1", "1.1"), "run", ""),
        ("kills", ("0.1",), "died", "in cell 2 of 3"),
        ("neighbours/page", ("0.1",), "run", ""),
        ("prints", ("0.1",), "run", ""),
        ("quits", ("0.1",), "died", "in cell 2 of 3"),
        ("raises", ("0.1", "1.1"), "run", "cell 1 raised ZeroDivisionError, 3 more raised"),
        ("unknown", ("0.1",), "run", ""),
        ("broken", (), "not run", "not a notebook: it cannot be read as JSON"),
        ("empty", (), "not run", "an empty file"),
        ("picture", (), "not run", "not a notebook: it cannot be read as JSON"),
        ("folder", (), "not run", "a folder, not a notebook"),
        ("neighbours/another/page", (), "run", ""),
    ],
)
def test_whatever_a_notebook_does_is_a_row(graded, name, solved, status, remark):
    rows, _ = graded
    assert rows[f"{name}.ipynb"] == Graded(f"{name}.ipynb", solved, status, remark)


def test_every_notebook_has_its_row_and_the_rows_are_sorted(graded):
    rows, _ = graded
    assert len(rows) == len(HOSTILE) + 5
    assert list(rows) == sorted(rows)


def test_what_a_notebook_started_is_ended_with_it(graded):
    _, pids = graded
    assert len(pids) == 2, "one child, and one that cut loose"
    assert [pid for pid in pids if alive(pid)] == []


def test_the_exercises_of_the_course_are_solved_by_their_solutions(tmp_path):
    sources = [
        "from collections.abc import Sequence\n\nfrom torch import Tensor\n\n"
        "from mlp_lib.course.exercises.nb00 import toy\nfrom mlp_lib.course.exercises.nb01 import q1, q2, q3",
        f"{nb00.toy.solution_source()}\n\ntoy.check({nb00.toy.solve.__name__}())",
        f"{nb01.q1.solution_source()}\n\nq1.check({nb01.q1.solve.__name__})",
        "q2.check(lambda words, block_size: len(words))",
        f"{nb01.q3.solution_source()}\n\nq3.check({nb01.q3.solve.__name__})",
    ]
    notebook(tmp_path / "page.ipynb", *sources)
    [row] = grade(tmp_path)
    assert row == Graded("page.ipynb", ("0.1", "1.1", "1.3"), "run", "")


# ---- what is no notebook ---------------------------------------------------------------------------------------------

CODE = {"cell_type": "code", "source": "1"}
NO_NOTEBOOKS = {
    "": "an empty file",
    " \n": "an empty file",
    "\x00\x01": "not a notebook: it cannot be read as JSON",
    "[" * 100_000: "not a notebook: it cannot be read as JSON",
    "[1, 2]": "not a notebook: it is JSON of another kind",
    '{"cells": []}': "not a notebook: it is JSON of another kind",
    '{"nbformat": 3, "worksheets": []}': "a notebook of format 3, not 4: open it in JupyterLab and save it",
    '{"nbformat": 4, "metadata": {"kernelspec": {"language": "R"}}, "cells": []}': "a notebook of R, not of Python",
    '{"nbformat": 4, "metadata": {"language_info": {"name": "C#"}}, "cells": []}': "a notebook of C#, not of Python",
    '{"nbformat": 4, "cells": 3}': "a damaged notebook: it has no list of cells",
    '{"nbformat": 4, "cells": [3]}': "a damaged notebook: it has no list of cells",
    '{"nbformat": 4, "cells": [{"cell_type": "code"}]}': "a damaged notebook: a code cell has no text",
    '{"nbformat": 4, "cells": [{"cell_type": "code", "source": [1]}]}': "a damaged notebook: a code cell has no text",
}  # fmt: skip


@pytest.mark.parametrize(("content", "sentence"), NO_NOTEBOOKS.items(), ids=range(len(NO_NOTEBOOKS)))
def test_what_is_no_notebook_is_refused_in_a_sentence(tmp_path, content, sentence):
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_cells(tmp_path / "a.ipynb")
    assert grade(tmp_path) == [Graded("a.ipynb", (), "not run", sentence)]


def test_a_notebook_too_large_is_not_read(tmp_path, monkeypatch):
    notebook(tmp_path / "a.ipynb")
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    with pytest.raises(ValueError, match="larger than 0 MB: clear its outputs"):
        read_cells(tmp_path / "a.ipynb")


def test_neighbours_too_large_are_not_copied(tmp_path, monkeypatch):
    notebook(tmp_path / "a.ipynb")
    (tmp_path / "data.bin").write_bytes(bytes(2000))
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    [row] = grade(tmp_path)
    assert row.remark == "the files beside it could not be copied: they are larger than 0 MB"


def test_what_nobody_foresaw_is_a_row_too(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    notebook(tmp_path / "a.ipynb")
    notebook(tmp_path / "b.ipynb")
    monkeypatch.setattr(module.tempfile, "TemporaryDirectory", full)
    assert [row.remark for row in grade(tmp_path)] == ["OSError: [Errno 28] No space left on device"] * 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_pipes_and_links_that_lead_nowhere_are_rows(tmp_path):
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "nowhere.ipynb").symlink_to(tmp_path / "missing")
    assert [row.remark for row in grade(tmp_path)] == ["a link that leads nowhere", "not a file"]


def test_source_may_be_a_list_of_lines_and_empty_cells_count(tmp_path):
    cells = [{"cell_type": "code", "source": s} for s in (["a = 1\n", "b = 2"], "", "c = 3")]
    (tmp_path / "a.ipynb").write_text(json.dumps({"nbformat": 4, "cells": cells}), encoding="utf-8-sig")
    assert read_cells(tmp_path / "a.ipynb") == ["a = 1\nb = 2", "", "c = 3"]


# ---- which files -----------------------------------------------------------------------------------------------------


def test_what_is_found(tmp_path):
    for name in (
        "b/two.ipynb", "a.ipynb", "b/deep/one.ipynb", "b/.ipynb_checkpoints/two-checkpoint.ipynb", "__MACOSX/a.ipynb",
        "b/._two.ipynb", ".git/x.ipynb", "notes.txt",
    ):  # fmt: skip
        notebook(tmp_path / name)
    assert [p.relative_to(tmp_path).as_posix() for p in find_notebooks(tmp_path)] == [
        "a.ipynb", "b/deep/one.ipynb", "b/two.ipynb",
    ]  # fmt: skip
    assert find_notebooks(tmp_path / "a.ipynb") == [tmp_path / "a.ipynb"]
    assert find_notebooks(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"timeout": 0}, "timeout is 0 seconds: give a notebook some time, such as 600"),
        ({"timeout": float("nan")}, "timeout is nan seconds"),
        ({"jobs": 0}, "jobs is 0: at least one notebook has to run at a time"),
        ({}, r"there is no notebook \(a file that ends in .ipynb\) in "),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, keywords, sentence):
    with pytest.raises(ValueError, match=sentence):
        grade(tmp_path, **keywords)


def test_without_jupyter_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jupyter_client", None)
    with pytest.raises(ImportError, match="needs jupyter_client, which is missing: pip install ipykernel"):
        grade(tmp_path)


# ---- the table and the command ---------------------------------------------------------------------------------------

ROWS = [
    Graded("ada/03.ipynb", ("3.1", "3.2"), "run", ""),
    Graded("=cmd|x.ipynb", (), "timed out", "in cell 1 of 9 after 600 s"),
    Graded("bo\n\x1b[2J.ipynb", ("0.1",), "died", "in cell 2 of 9"),
]


def test_the_table_shows_a_line_a_notebook():
    assert table(ROWS).splitlines() == [
        "student              solved  exercises  remark",
        "ada/03.ipynb              2  3.1 3.2",
        "=cmd|x.ipynb              0  -          timed out in cell 1 of 9 after 600 s",
        r"bo\x0a\x1b[2J.ipynb       1  0.1        its kernel ended in cell 2 of 9",
    ]


def test_the_spreadsheet_has_a_column_an_exercise():
    lines = list(csv.DictReader(io.StringIO(as_csv(ROWS))))
    assert [line["student"] for line in lines] == ["ada/03.ipynb", "./=cmd|x.ipynb", r"bo\x0a\x1b[2J.ipynb"]
    assert [line["status"] for line in lines] == ["run", "timed out", "died"]
    numbers = [number for number, _ in progress.catalogue()]
    assert [n for n in numbers if lines[0][n] == "1"] == ["3.1", "3.2"]
    assert all(lines[1][n] == "0" for n in numbers)
    assert set(lines[0]) == {"student", "status", "remark", "solved", *numbers}


def test_the_command_prints_a_table_and_writes_a_file(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").write_text("")
    file = tmp_path / "out.csv"
    assert command.main(["grade", str(tmp_path / "in"), "--csv", str(file)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1] == "ada.ipynb       0  -          not run: an empty file"
    assert said.err == "1 done: ada.ipynb\n"
    assert file.read_text().splitlines()[1].startswith("ada.ipynb,not run,an empty file,0,0,")
    assert command.main(["grade", str(tmp_path / "in"), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row == {"student": "ada.ipynb", "solved": [], "status": "not run", "remark": "an empty file"}


def test_a_table_that_cannot_be_written_is_said_before_the_grading(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "grade", lambda *a, **k: pytest.fail("graded"))
    assert command.main(["grade", str(tmp_path), "--csv", str(tmp_path / "missing" / "out.csv")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("not graded: ")
    assert "out.csv" in said.err


def test_a_disk_that_fills_up_while_grading_costs_no_table(tmp_path, monkeypatch, capsys):
    file = tmp_path / "out.csv"
    file.write_text("last week's")

    def grade(*a, **k):
        assert file.read_text() == "last week's", "trying the file changes nothing in it"
        file.unlink()
        file.mkdir()  # from now on it cannot be written
        return ROWS

    monkeypatch.setattr(command, "grade", grade)
    assert command.main(["grade", str(tmp_path), "--csv", str(file)]) == 1
    said = capsys.readouterr()
    assert said.out == table(ROWS) + "\n"
    assert said.err.startswith("graded, but not written: ")


def test_the_command_says_what_is_wrong_in_a_sentence(tmp_path, capsys):
    file = tmp_path / "out.csv"
    assert command.main(["grade", str(tmp_path / "missing"), "--csv", str(file)]) == 1
    assert capsys.readouterr().err.startswith("not graded: there is no notebook (a file that ends in .ipynb) in ")
    assert not file.exists()


def test_without_a_command_the_exercises_are_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(tmp_path / "exercises.json"))
    progress.note_solved("0.1")
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[ok] 0.1   how many symbols?"
    assert lines[1].startswith("[  ] 1.1   ")
    assert len(lines) == len(progress.catalogue()) + 2
    (tmp_path / "exercises.json").write_text("nothing")
    assert command.main([]) == 0
    assert capsys.readouterr().out.startswith("(which are solved is not known: ")


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT and SIGKILL")
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"], ids=["interrupted", "killed"])
def test_when_the_grading_ends_early_no_kernel_goes_on(tmp_path, how):
    pid = tmp_path / "pid.txt"
    cell = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    notebook(tmp_path / "in" / "a.ipynb", cell)
    # A shell lets its background jobs ignore SIGINT, and those hand it on.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from mlp_lib.course.exercises.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    grading = subprocess.Popen(
        [sys.executable, "-c", code, "grade", str(tmp_path / "in")],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: pid.exists() and pid.read_text())
    grading.send_signal(getattr(signal, how))
    said = grading.communicate(timeout=30)[1]
    wait_for(lambda: not alive(int(pid.read_text())))
    if how == "SIGINT":
        assert grading.returncode == 130
        assert said == "interrupted; every kernel was ended\n"
        assert not list(tmp_path.glob("mlp_lib_grade_*"))


def test_the_documentation_says_that_it_is_no_proctor(capsys):
    assert "no proctor" in module.__doc__
    with pytest.raises(SystemExit):
        command.main(["grade", "--help"])
    assert re.search(r"no\s+proctor", capsys.readouterr().out)
