"""Which exercises are solved in a folder of submitted notebooks: each is run again, and the checks tell.

    python -m mlp_lib.course.exercises grade FOLDER

What counts is the record that a check writes when an answer is right (`progress.py`), never what a
notebook prints, which is not even listened to. Each notebook is run in a process and a folder of its own, with a record
and a ladder of its own, and is killed with everything it started when its time is up.

This is no proctor. A notebook is a program with your rights: it can read what you can read, ask `solution()`, copy
from a neighbour, and whoever sets out to write the record without an answer can. Where you would not run the notebook
yourself, run the grading in a container or as a user who may do nothing.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from mlp_lib.course.exercises.progress import catalogue, read_record
from mlp_lib.lab.cores import usable_cores

if TYPE_CHECKING:
    import psutil

Status = Literal["run", "timed out", "died", "not run"]

_MOST_BYTES = 200_000_000  # of a notebook, and of what lies beside it
_NEEDED = ("jupyter_client", "psutil")  # both come with ipykernel


@dataclass(frozen=True)
class Graded:
    """What was found out about one notebook.

    `student` is its path below the folder. `solved` holds the numbers of the exercises that were solved, such as
    "3.2", in the order of the course. `status` is "run" (to its end), "timed out", "died" (its kernel ended before the
    last cell) or "not run"; `remark` says the rest in a few words, with code cells counted from 1.
    """

    student: str
    solved: tuple[str, ...]
    status: Status
    remark: str


def grade(
    folder: str | Path,
    *,
    timeout: float = 600.0,
    jobs: int = 1,
    on_done: Callable[[Graded], None] | None = None,
) -> list[Graded]:
    """Run every notebook below `folder` again and say which exercises it solves, in the order of `find_notebooks`.

    Each may take `timeout` seconds; what it solved until then counts. `jobs` notebooks run at once, and `on_done` is
    called after each. A cell that raises does not keep the next ones from being run, and whatever a notebook does is
    a remark in its row. Nothing in `folder` is changed: a notebook runs in a temporary copy of the files beside it.
    Raises ValueError for a folder without notebooks, for a time or a number of jobs that makes no sense, and
    ImportError where Jupyter's client is not installed.
    """
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout:g} seconds: give a notebook some time, such as 600")
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}: at least one notebook has to run at a time")
    for name in _NEEDED:
        try:
            __import__(name)
        except ImportError:
            raise ImportError(
                f"grading runs notebooks and needs {name}, which is missing: pip install ipykernel"
            ) from None
    folder = Path(folder)
    paths = find_notebooks(folder)
    if not paths:
        raise ValueError(f"there is no notebook (a file that ends in .ipynb) in {folder}")
    root = folder if folder.is_dir() else folder.parent
    stop = threading.Event()

    def one(path: Path) -> Graded:
        student = path.relative_to(root).as_posix()
        try:
            row = _grade_one(path, student, timeout, jobs, stop)
        except Exception as error:  # a full disk, say: the others are still to be graded
            row = Graded(student, (), "not run", f"{type(error).__name__}: {error}")
        if on_done is not None and not stop.is_set():
            on_done(row)
        return row

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, path) for path in paths]
        left = set(futures)
        try:
            while left:  # half a second at a time: on Windows, nobody could interrupt a wait without end
                done, left = wait(left, timeout=0.5, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
        finally:  # after an interruption nothing more is begun, and what runs is ended
            stop.set()
            pool.shutdown(cancel_futures=True)
        return [future.result() for future in futures]


def find_notebooks(folder: str | Path) -> list[Path]:
    """Everything below a folder whose name ends in .ipynb, sorted; of a file, the file itself.

    Folders are searched to any depth, links to folders excepted. What begins with a dot is left out
    (`.ipynb_checkpoints`, `.git`), and so is `__MACOSX`, which archives from a Mac bring along.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [folder] if folder.exists() else []
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _left_out(name))
        found += [Path(here, name) for name in folders + files if name.endswith(".ipynb") and not _left_out(name)]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def read_cells(path: Path) -> list[str]:
    """The code cells of a notebook, from the first to the last; empty ones too, so that they can be counted.

    Raises ValueError in one sentence for what is no notebook of Python in format 4, OSError if it cannot be read.
    """
    if path.is_dir():
        raise ValueError("a folder, not a notebook")
    if not path.is_file():  # reading a pipe would wait for ever
        raise ValueError("a link that leads nowhere" if path.is_symlink() else "not a file")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES // 1_000_000} MB: clear its outputs")
    content = path.read_bytes()
    if not content.strip():
        raise ValueError("an empty file")
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ValueError("not a notebook: it cannot be read as JSON") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("nbformat"), int):
        raise ValueError("not a notebook: it is JSON of another kind")
    if notebook["nbformat"] != 4:
        raise ValueError(f"a notebook of format {notebook['nbformat']}, not 4: open it in JupyterLab and save it")
    language = _language(notebook)
    if language.lower() not in ("", "python", "python3", "ipython"):
        raise ValueError(f"a notebook of {language}, not of Python")
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise ValueError("a damaged notebook: it has no list of cells")
    code = [cell.get("source") for cell in cells if cell.get("cell_type") == "code"]
    sources = ["".join(s) if isinstance(s, list) and all(isinstance(part, str) for part in s) else s for s in code]
    if not all(isinstance(source, str) for source in sources):
        raise ValueError("a damaged notebook: a code cell has no text")
    return sources


def table(rows: Sequence[Graded]) -> str:
    """The rows as text in columns: student, how many exercises, which, and what is to be said.

    >>> print(table([Graded("ada.ipynb", ("3.1", "3.2"), "run", ""), Graded("bo.ipynb", (), "not run", "empty")]))
    student    solved  exercises  remark
    ada.ipynb       2  3.1 3.2
    bo.ipynb        0  -          not run: empty
    """
    head = ("student", "solved", "exercises", "remark")
    body = [(_shown(r.student), str(len(r.solved)), " ".join(r.solved) or "-", _shown(_note(r))) for r in rows]
    wide = [max(len(line[k]) for line in [head, *body]) for k in range(3)]
    lines = [
        f"{student:{wide[0]}}  {count:>{wide[1]}}  {which:{wide[2]}}  {note}".rstrip()
        for student, count, which, note in [head, *body]
    ]
    return "\n".join(lines)


def as_csv(rows: Sequence[Graded]) -> str:
    """The rows for a spreadsheet: student, status, remark, solved (how many), then 1 or 0 for each exercise.

    A name that a spreadsheet would take for a formula begins with `./`.
    """
    numbers = [number for number, _ in catalogue()]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["student", "status", "remark", "solved", *numbers])
    for row in rows:
        name = _shown(row.student)
        name = f"./{name}" if name.startswith(("=", "+", "-", "@")) else name
        marks = [int(number in row.solved) for number in numbers]
        lines.writerow([name, row.status, _shown(row.remark), len(row.solved), *marks])
    return text.getvalue()


# ---- one notebook ----------------------------------------------------------------------------------------------------


def _grade_one(path: Path, student: str, timeout: float, jobs: int, stop: threading.Event) -> Graded:
    """Run one notebook, whatever it is and does; all that it left behind is gone afterwards."""
    if stop.is_set():
        return Graded(student, (), "not run", "interrupted")
    try:
        cells = read_cells(path)
    except (OSError, ValueError) as error:
        return Graded(student, (), "not run", getattr(error, "strerror", None) or str(error))
    # Windows deletes no file that somebody has open, and a program in its last breath may write one more.
    with tempfile.TemporaryDirectory(prefix="mlp_lib_grade_", ignore_cleanup_errors=True) as name:
        place = Path(name).resolve()
        (place / "cells.json").write_text(json.dumps(cells), encoding="utf-8")
        for folder in ("work", "temp", "ipython"):
            (place / folder).mkdir()
        try:
            _copy_neighbours(path, place / "work")
        except (OSError, ValueError) as error:
            return Graded(student, (), "not run", f"the files beside it could not be copied: {error}")
        return _outcome(student, place, len(cells), timeout, *_run_apart(place, timeout, jobs, stop))


def _run_apart(place: Path, timeout: float, jobs: int, stop: threading.Event) -> tuple[bool, str, str]:
    """Have the cells run by another Python: whether it ended in time, what it noted, and its last complaint."""
    import psutil

    # Files without a name: a notebook may delete whatever it finds, also around it.
    with tempfile.TemporaryFile() as notes, tempfile.TemporaryFile() as complaints:
        runner = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("runner.py")), str(place)],
            cwd=place,
            env=os.environ | _environment(place, jobs),
            stdin=subprocess.DEVNULL,
            stdout=notes,
            stderr=complaints,
            start_new_session=True,  # an interruption at the keyboard is for us
        )
        end = time.monotonic() + timeout
        in_time = True
        try:
            watched = psutil.Process(runner.pid)  # while its number is its own
            while in_time and runner.poll() is None:
                in_time = not stop.is_set() and time.monotonic() < end
                with suppress(subprocess.TimeoutExpired):
                    runner.wait(min(0.2, timeout))
        finally:
            children = []
            with suppress(psutil.Error):
                children = watched.children(recursive=True)
            runner.kill()
            runner.wait()
            _kill_all(children, place)
        return in_time, _text(notes), (_text(complaints).strip().splitlines() or [""])[-1]


def _text(file: BinaryIO) -> str:
    """The text in a file, of a long one the end."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 1_000_000))
    return file.read().decode("utf-8", "replace")


def _environment(place: Path, jobs: int) -> dict[str, str]:
    """What a notebook finds set: a record, a ladder and folders of its own, and its share of the cores."""
    own = {
        "MLP_LIB_EXERCISES": str(place / "exercises.json"),
        "MLP_LIB_LADDER": str(place / "ladder.sqlite"),
        "IPYTHONDIR": str(place / "ipython"),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(place / "temp"),
        "TEMP": str(place / "temp"),
        "TMP": str(place / "temp"),
    }
    if "OMP_NUM_THREADS" not in os.environ:
        own["OMP_NUM_THREADS"] = str(max(1, usable_cores() // jobs))
    return own


def _copy_neighbours(path: Path, work: Path) -> None:
    """Copy the files that a notebook may want to read: those beside it, and folders that hold no notebook.

    Notebooks are other submissions and are not copied; nor are links, nor an `mlp_lib` of the student's own, whose
    checks might be other checks. Raises ValueError if all that is too much.
    """
    left = _MOST_BYTES
    for source in _neighbours(path.parent):
        left -= source.stat().st_size
        if left < 0:
            raise ValueError(f"they are larger than {_MOST_BYTES // 1_000_000} MB")
        target = work / source.relative_to(path.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _neighbours(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        at_top = Path(here) == folder
        folders[:] = [
            name
            for name in folders
            if not _left_out(name)
            and name not in ("__pycache__", "mlp_lib")
            and not (at_top and next(Path(here, name).rglob("*.ipynb"), None))
        ]
        for name in files:
            file = Path(here, name)
            # is_file() before anything is opened: a pipe would be waited for
            wanted = not _left_out(name) and name != "mlp_lib.py" and file.suffix != ".ipynb"
            if wanted and not file.is_symlink() and file.is_file():
                yield file


def _outcome(
    student: str, place: Path, n_cells: int, timeout: float, in_time: bool, notes: str, complaint: str
) -> Graded:
    """The row of a notebook, from what its runner noted before each cell and after it."""
    begun, finished, solved, raised = 0, False, set(), []
    for line in notes.splitlines():
        with suppress(ValueError):  # the last line is cut off if the runner was killed
            note = json.loads(line)
            begun = note.get("begun", begun)
            finished = note.get("finished", finished)
            solved.update(note.get("solved", ()))
            raised += [(begun, note["raised"])] if note.get("raised") else []
    remarks = []
    if raised:
        remarks = [
            f"cell {raised[0][0]} raised {raised[0][1]}" + (f", {len(raised) - 1} more raised" * (len(raised) > 1))
        ]
    try:
        solved.update(read_record(place / "exercises.json"))  # a cell that never ended may have solved some
    except (OSError, ValueError):
        remarks.append("its record was damaged")
    course = tuple(number for number, _ in catalogue() if number in solved)
    if finished:
        return Graded(student, course, "run", "; ".join(remarks))
    if not begun:
        why = f"no kernel after {timeout:g} s" if not in_time else f"no kernel: {complaint or 'its runner was killed'}"
        return Graded(student, course, "not run", why)
    where = f"in cell {begun} of {n_cells}" + ("" if in_time else f" after {timeout:g} s")
    return Graded(student, course, "died" if in_time else "timed out", "; ".join([where, *remarks]))


def _kill_all(children: list["psutil.Process"], place: Path) -> None:
    """End a runner's children, the kernel first of all, and every process that they started and left.

    Those that cut loose are found by their environment, which names the folder of this notebook. Until none is found:
    one may have been starting another meanwhile.
    """
    import psutil

    for _ in range(20):
        found = children + _those_of(place)
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=1)
        children = []
        if not found:
            return


def _those_of(place: Path) -> list["psutil.Process"]:
    import psutil

    found = []
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):  # it ended, or is somebody else's
            process = psutil.Process(pid)
            mine = process.environ().get("MLP_LIB_EXERCISES") == str(place / "exercises.json")
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


# ---- words -----------------------------------------------------------------------------------------------------------


def _language(notebook: dict) -> str:
    """The language a notebook says it is in; empty if it does not say."""
    metadata = notebook.get("metadata")
    for part, key in (("kernelspec", "language"), ("language_info", "name")):
        described = metadata.get(part) if isinstance(metadata, dict) else None
        if isinstance(described, dict) and isinstance(described.get(key), str):
            return described[key]
    return ""


def _left_out(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _note(row: Graded) -> str:
    if row.status == "run":
        return row.remark
    words = {"timed out": "timed out", "died": "its kernel ended", "not run": "not run:"}
    return f"{words[row.status]} {row.remark}"


def _shown(text: str) -> str:
    """A text in one line, without what would steer a terminal: a file may have any name."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
