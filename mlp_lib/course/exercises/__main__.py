"""`python -m mlp_lib.course.exercises`: the exercises, which are solved; `grade FOLDER`: those of a whole class."""

import argparse
import sys
from pathlib import Path

from mlp_lib.course.exercises.grade import grade, table, write_csv
from mlp_lib.course.exercises.progress import catalogue, solved
from mlp_lib.lab.cores import usable_cores


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for and return the exit status: 0 once the list or the table is printed."""
    asked = _parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # a file may have a name that the terminal cannot show
    try:
        return _grade(asked) if asked.command == "grade" else _list()
    except KeyboardInterrupt:
        print("interrupted; every kernel was ended", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _list() -> int:
    done = solved()
    for number, title in catalogue():
        print(f"[{'ok' if number in done else '  '}] {number:5} {title}")
    print("\npython -m mlp_lib.course.exercises grade FOLDER   which of them are solved in each notebook of a folder")
    return 0


def _grade(asked: argparse.Namespace) -> int:
    if asked.csv:
        asked.csv.touch()  # raises now, not after hours of grading
    rows = grade(asked.folder, timeout=asked.timeout, jobs=asked.jobs, progress=True)
    print(table(rows))
    if asked.csv:
        with asked.csv.open("w", encoding="utf-8", newline="") as file:
            write_csv(rows, file)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlp_lib.course.exercises",
        description="Without a command: every exercise of the course, and which are solved on this machine.",
    )
    one = parser.add_subparsers(dest="command").add_parser(
        "grade",
        help="which exercises are solved in each notebook of a folder",
        description=(
            "Run every notebook below FOLDER again, each in a kernel and a temporary folder of its own, and print "
            "which exercises their checks found solved, for each notebook and for each student: the first folder of "
            "the path, or the name of a notebook that is in no folder. This does not detect cheating: a notebook is a "
            "program with your rights."
        ),
    )
    one.add_argument("folder", metavar="FOLDER", type=Path, help="searched to any depth; or one notebook")
    one.add_argument("--timeout", metavar="SECONDS", type=float, default=600.0, help="per notebook (600)")
    cores = usable_cores()
    one.add_argument("--jobs", metavar="N", type=int, default=cores, help=f"notebooks at once (one per core: {cores})")
    one.add_argument("--csv", metavar="FILE", type=Path, help="write the table for a spreadsheet, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
