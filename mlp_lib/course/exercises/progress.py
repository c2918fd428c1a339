"""The record of solved exercises: one small file, which several notebooks may write at the same time.

The file is `exercises.json` in the user's data folder, or the one named by the environment variable
`MLP_LIB_EXERCISES`. It has the numbers of the solved exercises and when each was first solved, but no answers. To start
over, delete it. If the variable `CI` is set and no file is named, the record ends with the kernel.

Taught in: page 00.
"""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from mlp_lib.files import record_path as path_of_record
from mlp_lib.files import write_atomically

_FORMAT = {"format": "mlp_lib exercises", "version": 1}
_EXERCISE = re.compile(r'= Exercise\(\s*"(\d+\.\d+)",\s*"([^"]+)"')

_in_memory: dict[str, datetime] = {}  # the record when there is no file


def record_path() -> Path | None:
    """Where the record is kept; None if in no file."""
    return path_of_record("exercises.json", "MLP_LIB_EXERCISES")


def catalogue() -> list[tuple[str, str]]:
    """Number and title of every exercise of the course, in the order of the pages.

    They are read from the sources, because importing all modules takes a second: some need the compiler.

    >>> catalogue()[0]
    ('0.1', 'how many symbols?')
    """
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("nb[0-9][0-9].py")]
    found = [pair for source in sources for pair in _EXERCISE.findall(source)]
    return sorted(found, key=lambda pair: tuple(int(part) for part in pair[0].split(".")))


def solved() -> dict[str, datetime]:
    """The number of each exercise solved so far, and when it was first solved.

    Raises ValueError for a file that is not a record, OSError for one that cannot be read.
    """
    path = record_path()
    return dict(_in_memory) if path is None else read_record(path)


def note_solved(number: str) -> None:
    """Add an exercise, such as "3.2", unless it is already there.

    Raises what `solved` raises, and OSError if the file cannot be written; it is then unchanged.
    """
    path = record_path()
    now = datetime.now(UTC).replace(microsecond=0)
    if path is None:
        _in_memory.setdefault(number, now)
        return
    if number in read_record(path):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=10):  # no other notebook may write between the read and the write
            record = {number: now} | read_record(path)
            times = {number: at.isoformat() for number, at in record.items()}
            write_atomically(path, json.dumps(_FORMAT | {"solved": times}, indent=1).encode())
    except OSError as error:
        told = f"could not write {path} ({error})" if error.errno else error
        raise OSError(f"{told}: name another file in MLP_LIB_EXERCISES") from None


def forget_solved() -> None:
    """Delete the file, to start over. Raises ValueError for a file that is not a record, and leaves it alone."""
    _in_memory.clear()
    path = record_path()
    if path is not None and read_record(path):
        path.unlink(missing_ok=True)


def read_record(path: Path) -> dict[str, datetime]:
    """The record in a file, empty if there is no file. Raises what `solved` raises."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != _FORMAT["format"]:
            raise ValueError
        return {number: datetime.fromisoformat(at) for number, at in content["solved"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(
            f"{path} is not a record of solved exercises, or it is damaged: move it away, or name another file in "
            "MLP_LIB_EXERCISES"
        ) from None
