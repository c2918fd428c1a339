"""Which exercises are solved in a folder of submitted notebooks: each is run again, and its checks decide.

    python -m mlp_lib.course.exercises grade FOLDER

What counts is the record that a check writes when an answer is right (`progress`), not what a notebook prints. Each
notebook has its own kernel, temporary folder, record and ladder, and is killed with everything it started when its time
is up.

This does not detect cheating. A notebook is a program with your rights: it can read what you can read, call
`solution()`, and write the record itself. If you would not run the notebook yourself, grade in a container.
"""

import asyncio
import csv
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TextIO

import nbformat
import psutil
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from tqdm import tqdm

from mlp_lib.course.exercises.progress import catalogue, read_record
from mlp_lib.lab.cores import usable_cores


class Graded(NamedTuple):
    """The result for one notebook.

    `notebook` is its path below the folder. `solved` has the numbers of the solved exercises, such as "3.2", in the
    order of the course. `remark` says what went wrong, with code cells counted from 1; empty if nothing went wrong.
    """

    notebook: str
    solved: tuple[str, ...]
    remark: str

    @property
    def student(self) -> str:
        """The first folder of the path, or the name of a notebook outside any folder."""
        first = Path(self.notebook).parts[0]
        return first.removesuffix(".ipynb")


def grade(folder: str | Path, *, timeout: float = 600.0, jobs: int = 1, progress: bool = False) -> list[Graded]:
    """Run every notebook below `folder` again (or one notebook) and say which exercises it solves, sorted by path.

    Each may take `timeout` seconds; what it solves within them counts. `jobs` notebooks run at once. After a cell that
    raises, the next one still runs. Nothing in `folder` is changed. `progress=True` draws a bar on stderr.
    Raises ValueError for a folder without notebooks.
    """
    folder = Path(folder)
    paths = find_notebooks(folder)
    if folder.is_file():
        folder, paths = folder.parent, [folder]
    if not paths:
        raise ValueError(f"there is no notebook (a file that ends in .ipynb) in {folder}")
    threads = max(1, usable_cores() // jobs)
    with tempfile.TemporaryDirectory(prefix="mlp_lib_grade_", ignore_cleanup_errors=True) as place:

        def one(k: int) -> Graded:
            name = paths[k].relative_to(folder).as_posix()
            return _grade_one(paths[k], name, Path(place).resolve() / str(k), timeout, threads)

        with ThreadPoolExecutor(jobs) as pool:
            try:
                graded = pool.map(one, range(len(paths)))
                return list(tqdm(graded, total=len(paths), unit=" notebooks", disable=not progress))
            except BaseException:  # interrupted: start nothing more, and end what runs
                pool.shutdown(wait=False, cancel_futures=True)
                _kill_below(Path(place).resolve())
                raise


def find_notebooks(folder: Path) -> list[Path]:
    """Every notebook below a folder, at any depth, except hidden ones and those in `__MACOSX`."""
    below = [(path, path.relative_to(folder).parts) for path in folder.rglob("*.ipynb") if path.is_file()]
    return sorted(path for path, parts in below if not any(p.startswith(".") or p == "__MACOSX" for p in parts))


# ---- one notebook ----------------------------------------------------------------------------------------------------


class _ThisPython(KernelSpecManager):
    """Makes every kernel use this Python, where the course is installed, whatever a notebook asks for."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(argv=make_ipkernel_cmd(), language="python", display_name=kernel_name)


class _Run(NotebookClient):
    """Runs the cells and records how far it got; drops what they print, which could fill the memory."""

    def __init__(self, cells: list, seconds: float) -> None:
        end = time.monotonic() + seconds
        super().__init__(
            nbformat.v4.new_notebook(cells=cells),
            km=AsyncKernelManager(kernel_spec_manager=_ThisPython()),
            timeout_func=lambda cell: max(0.1, end - time.monotonic()),
            allow_errors=True,
            shutdown_kernel="immediate",
            on_cell_execute=self._begin,
            on_cell_executed=self._end,
            on_cell_error=self._note_error,
        )
        self.at, self.errors = "", []

    def output(self, outs: list, msg: dict, display_id: str, cell_index: int) -> None:
        """Drop it."""

    def _begin(self, cell: object, cell_index: int) -> None:
        self.at = f"in cell {cell_index + 1} of {len(self.nb.cells)}"

    def _end(self, cell: object, cell_index: int, execute_reply: dict) -> None:
        if any(part.get("source") == "ask_exit" for part in execute_reply["content"].get("payload", ())):
            raise DeadKernelError("quit() was called")  # it may live on for a few cells

    def _note_error(self, cell: object, cell_index: int, execute_reply: dict) -> None:
        self.errors.append(f"cell {cell_index + 1} raised {execute_reply['content'].get('ename')}")


def _grade_one(path: Path, name: str, place: Path, seconds: float, threads: int) -> Graded:
    try:
        with warnings.catch_warnings(action="ignore"):  # about missing cell ids
            cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        shutil.copytree(path.parent, place / "work", ignore=_left_out)
    except Exception as error:
        return Graded(name, (), f"not run: it is not a notebook, or it cannot be copied ({type(error).__name__})")
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
    environment |= {
        "MLP_LIB_EXERCISES": str(place / "exercises.json"),
        "MLP_LIB_LADDER": str(place / "ladder.sqlite"),
        "IPYTHONDIR": str(place / "ipython"),
    }
    run, remarks = _Run(cells, seconds), []
    try:
        asyncio.run(run.async_execute(cwd=str(place / "work"), env=environment, cleanup_kc=True))
    except CellTimeoutError:
        remarks.append(f"timed out {run.at} after {seconds:g} s")
    except DeadKernelError:
        remarks.append(f"its kernel ended {run.at}")
    except Exception as error:
        remarks.append(f"stopped {run.at}: {type(error).__name__}: {error}")
    finally:
        _kill_below(place)
    record: dict[str, object] = {}
    try:
        record = read_record(place / "exercises.json")
    except (OSError, ValueError):
        remarks.append("its record was damaged")
    remarks += [run.errors[0] + f", {len(run.errors) - 1} more raised" * (len(run.errors) > 1)] if run.errors else []
    return Graded(name, tuple(number for number, _ in catalogue() if number in record), "; ".join(remarks))


def _left_out(folder: str, names: list[str]) -> list[str]:
    """What is not copied along with a notebook: hidden files, other submissions, and the student's own `mlp_lib`."""
    below = [Path(folder, name) for name in names]
    return [
        p.name
        for p in below
        if p.name.startswith(".") or p.stem == "mlp_lib" or p.suffix == ".ipynb" or next(p.rglob("*.ipynb"), None)
    ]


def _kill_below(place: Path) -> None:
    """Kill every process whose record is in this folder: kernels and whatever they started."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has ended, or belongs to another user
            record = process.environ().get("MLP_LIB_EXERCISES")
            if record and Path(record).is_relative_to(place):
                process.kill()
                process.wait(5)


# ---- what is printed and written -------------------------------------------------------------------------------------


def by_student(rows: Sequence[Graded]) -> dict[str, tuple[str, ...]]:
    """The exercises that each student solved in at least one of their notebooks, in the order of the course.

    >>> by_student([Graded("ada/03.ipynb", ("3.1",), ""), Graded("ada/01.ipynb", ("1.1",), "")])
    {'ada': ('1.1', '3.1')}
    """
    solved: dict[str, set[str]] = {}
    for row in rows:
        solved.setdefault(row.student, set()).update(row.solved)
    return {student: tuple(n for n, _ in catalogue() if n in numbers) for student, numbers in solved.items()}


def table(rows: Sequence[Graded]) -> str:
    """A line per notebook, then a line per student.

    >>> print(table([Graded("ada/03.ipynb", ("3.1", "3.2"), ""), Graded("bo.ipynb", (), "its kernel ended")]))
    notebook      solved  exercises  remark
    ada/03.ipynb       2  3.1 3.2
    bo.ipynb           0  -          its kernel ended
    <BLANKLINE>
    student  solved  exercises
    ada           2  3.1 3.2
    bo            0  -
    """
    notebooks = [(row.notebook, row.solved, row.remark) for row in rows]
    students = [(student, solved, "") for student, solved in by_student(rows).items()]
    return f"{_lines('notebook', notebooks, 'remark')}\n\n{_lines('student', students, '')}"


def _lines(who: str, rows: Sequence[tuple[str, tuple[str, ...], str]], remark: str) -> str:
    cells = [(name, str(len(solved)), " ".join(solved) or "-", said) for name, solved, said in rows]
    cells.insert(0, (who, "solved", "exercises", remark))
    wide = [max(len(line[k]) for line in cells) for k in range(3)]
    return "\n".join(
        f"{a:{wide[0]}}  {n:>{wide[1]}}  {which:{wide[2]}}  {said}".rstrip() for a, n, which, said in cells
    )


def write_csv(rows: Sequence[Graded], file: TextIO) -> None:
    """Write the same for a spreadsheet: 1 or 0 for each exercise. In a student's row the notebook is "(all)"."""
    numbers = [number for number, _ in catalogue()]
    lines = [(row.student, row.notebook, row.solved, row.remark) for row in rows]
    lines += [(student, "(all)", solved, "") for student, solved in by_student(rows).items()]
    to = csv.writer(file, lineterminator="\n")
    to.writerow(["student", "notebook", "solved", *numbers, "remark"])
    for student, notebook, solved, remark in lines:
        names = [f"./{n}" if n[0] in "=+-@" else n for n in (student, notebook)]  # a spreadsheet would run a formula
        to.writerow([*names, len(solved), *(int(n in solved) for n in numbers), remark])
