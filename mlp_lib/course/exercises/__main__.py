"""`python -m mlp_lib.course.exercises`: the exercises, which are solved; `grade FOLDER`: those of a whole class."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from mlp_lib.course.exercises.grade import Graded, as_csv, grade, table
from mlp_lib.course.exercises.progress import catalogue, solved
from mlp_lib.lab.cores import usable_cores


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for and return the exit status: 0 once the list or the table is printed."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file may have a name that the terminal cannot show
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.command == "grade":
        return _grade(asked)
    try:
        done = solved()
    except (OSError, ValueError) as error:
        print(f"(which are solved is not known: {error})")
        done = {}
    for number, title in catalogue():
        print(f"[{'ok' if number in done else '  '}] {number:5} {title}")
    print("\npython -m mlp_lib.course.exercises grade FOLDER   which of them are solved in each notebook of a folder")
    return 0


def _grade(asked: argparse.Namespace) -> int:
    n_done = 0

    def on_done(row: Graded) -> None:
        nonlocal n_done
        n_done += 1
        print(f"{n_done} done: {row.student}", file=sys.stderr, flush=True)

    try:
        if asked.csv:
            _check_writable(asked.csv)
        rows = grade(asked.folder, timeout=asked.timeout, jobs=asked.jobs, on_done=on_done)
    except (ImportError, OSError, ValueError) as error:
        print(f"not graded: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; every kernel was ended", file=sys.stderr)
        return 130
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) if asked.json else table(rows))
    if asked.csv:
        try:
            asked.csv.write_text(as_csv(rows), encoding="utf-8", newline="")
        except (OSError, ValueError) as error:
            print(f"graded, but not written: {error}", file=sys.stderr)
            return 1
    return 0


def _check_writable(file: Path) -> None:
    """Raise OSError if the file cannot be written: before hours of grading, not after them. Nothing is changed."""
    there = os.path.lexists(file)
    with open(file, "a", encoding="utf-8"):
        pass
    if not there:
        file.unlink()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlp_lib.course.exercises",
        description="Without a command: every exercise of the course, and which are solved on this machine.",
    )
    commands = parser.add_subparsers(dest="command")
    one = commands.add_parser(
        "grade",
        help="which exercises are solved in each notebook of a folder",
        description=(
            "Run every notebook below FOLDER again, each in a process and a temporary folder of its own, and print "
            "which exercises their checks found solved. Whatever a notebook prints counts for nothing. It is no "
            "proctor: a notebook is a program with your rights, and one that sets out to cheat can."
        ),
    )
    one.add_argument("folder", metavar="FOLDER", type=Path, help="searched to any depth; or one notebook")
    one.add_argument("--timeout", metavar="SECONDS", type=float, default=600.0, help="for each notebook (600)")
    cores = usable_cores()
    one.add_argument("--jobs", metavar="N", type=int, default=cores, help=f"notebooks at once (one a core: {cores})")
    one.add_argument("--csv", metavar="FILE", type=Path, help="write the table for a spreadsheet, too")
    one.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
