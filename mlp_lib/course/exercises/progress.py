"""Which exercises were solved here: one small file, that other notebooks may read and write at the same time.

The file is `~/.local/share/mlp_lib/exercises.json`, or the one that the environment variable `MLP_LIB_EXERCISES` names.
It holds the numbers of the solved exercises and when each was first solved, and nothing of the answers; delete it to
begin anew. Where the variable `CI` is set and no file is named, nothing is written: the record ends with the kernel.
Taught in: notebook 00.
"""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mlp_lib.files import record_path as kept_in

_FORMAT = "mlp_lib exercises"
_VERSION = 1
_WAIT_SECONDS = 5.0  # for another notebook that is writing, which takes it some milliseconds
_MOST_BYTES = 1_000_000  # a record of ours is a hundred times smaller

_EXERCISE = re.compile(r'= Exercise\(\s*"(\d+\.\d+)",\s*"([^"]+)"')

_unwritten: dict[str, str] = {}  # the record where no file is kept


def record_path() -> Path | None:
    """Where the record is kept; None for nowhere."""
    return kept_in("exercises.json", "MLP_LIB_EXERCISES")


def catalogue() -> list[tuple[str, str]]:
    """Number and title of every exercise of the course, in the order of the pages.

    They are read off the sources, since to import all modules takes a second: some bring a compiler along.

    >>> catalogue()[0]
    ('0.1', 'how many symbols?')
    """
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("nb[0-9][0-9].py")]
    found = [pair for source in sources for pair in _EXERCISE.findall(source)]
    return sorted(found, key=lambda pair: tuple(int(part) for part in pair[0].split(".")))


def solved() -> dict[str, datetime]:
    """The number of each exercise solved so far, and when it first was.

    Raises ValueError for a file that is no record of this library, OSError for one that cannot be read; each says so
    in one sentence with the path.
    """
    path = record_path()
    record = _unwritten if path is None else read_record(path)
    return {number: datetime.fromisoformat(at) for number, at in record.items()}


def note_solved(number: str) -> None:
    """Enter an exercise, such as "3.2"; one that is there already keeps its time.

    What other notebooks enter at the same moment is kept. Raises what `solved` raises, and OSError (TimeoutError if
    another program holds the file) if nothing can be written; the file is then as it was.
    """
    path = record_path()
    record = _unwritten if path is None else read_record(path)
    if number in record:
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if path is None:
        _unwritten[number] = now
        return
    with _sentences(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            _write(path, {number: now} | read_record(path))  # read again: it may have grown while we waited


def forget_solved() -> None:
    """Begin anew: the file is deleted. A file that is no record of ours is left alone; raises what `solved` raises."""
    _unwritten.clear()
    path = record_path()
    if path is None or not path.exists():
        return
    with _sentences(path, "delete"), _alone(path):
        read_record(path)
        path.unlink(missing_ok=True)


# ---- the file --------------------------------------------------------------------------------------------------------


def read_record(path: Path) -> dict[str, str]:
    """The record in a file: the number of each exercise, and when it was solved in ISO format; empty for no file.

    Raises what `solved` raises.
    """
    with _sentences(path, "read"):
        if not path.exists():
            return {}
        if not path.is_file():
            raise ValueError(f"{path} is no file: name one in MLP_LIB_EXERCISES")
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(_foreign(path))
        try:
            content = json.loads(path.read_bytes().decode("utf-8"))
        except (ValueError, RecursionError):
            raise ValueError(_foreign(path)) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(_foreign(path))
    if content.get("version") != _VERSION:
        raise ValueError(
            f"{path} has version {content.get('version')!r} and this mlp_lib knows version {_VERSION}: update mlp_lib, "
            "or name another file in MLP_LIB_EXERCISES"
        )
    record = content.get("solved")
    if not isinstance(record, dict) or not all(_is_time(at) for at in record.values()):
        raise ValueError(_foreign(path))
    return record


def _write(path: Path, record: dict[str, str]) -> None:
    """Put the record into the file at once: whoever reads, and whoever is killed, finds the old one or the new one."""
    target = _real(path)
    for left in target.parent.glob(f"{target.name}.*.new"):  # by a program that was killed, since we are alone
        left.unlink()
    content = json.dumps({"format": _FORMAT, "version": _VERSION, "solved": record}, indent=1)
    file, beside = tempfile.mkstemp(prefix=target.name + ".", suffix=".new", dir=target.parent)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as new:
            new.write(content + "\n")
            new.flush()
            os.fsync(new.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _real(path: Path) -> Path:
    """Where a link leads, for people who keep such files elsewhere."""
    return Path(os.path.realpath(path))


def _is_time(at: object) -> bool:
    try:
        datetime.fromisoformat(at)
    except (TypeError, ValueError):
        return False
    return True


def _foreign(path: Path) -> str:
    return (
        f"{path} is damaged or the file of another program, no record of solved exercises: move it away, or name "
        "another file in MLP_LIB_EXERCISES"
    )


@contextmanager
def _sentences(path: Path, what: str) -> Iterator[None]:
    """Say what the disk has to say in one sentence, with the path and a way out."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a sentence of our own
            raise
        raise OSError(
            f"could not {what} {path}: {error.strerror}; MLP_LIB_EXERCISES may name a file elsewhere"
        ) from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other notebook is changing the file, and keep them waiting meanwhile.

    The system forgets the lock of a program that dies, so none is ever left behind.
    """
    target = _real(path)
    lock = target.with_name(target.name + ".lock")
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        file = lock.open("ab")
        if _locked(file):
            # Whoever had it before deleted it: what we hold may be a file that nobody else will find.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                    break
        file.close()
        if time.monotonic() > end:
            raise TimeoutError(f"another program has kept {lock} for {_WAIT_SECONDS:g} s: wait for it to end")
        time.sleep(0.005)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes no file that is open: it stays, empty
            lock.unlink()
        file.close()


def _locked(file: BinaryIO) -> bool:
    """Try to take the lock on an open file; it ends when the file is closed."""
    try:
        try:
            import fcntl
        except ImportError:
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
