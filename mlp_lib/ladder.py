"""The sealed test set, and the local file in which every look at it is written down.

Taught in: notebook 07 (splits).
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlp_lib.train import check_examples, eval_loss

# The file is SQLite, which several programs may use at once. Two numbers in its header say that it is ours and of which
# format, so that another program's file is refused and not written into. The plain rollback journal is kept, not WAL:
# it also works in a home folder on a network disk, and leaves one file.
_APPLICATION = 0x6D6C7031  # "mlp1"
_FORMAT = 1
_WAIT_SECONDS = 30.0  # for another program that is writing

# Whoever adds a table adds it here: files made before get it with their next entry.
_TABLES = """
CREATE TABLE IF NOT EXISTS openings (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    reason TEXT NOT NULL,
    data TEXT NOT NULL,
    answers TEXT NOT NULL,
    loss REAL
);
"""


class Opening(NamedTuple):
    """One look at a test set: `at` (UTC), `reason`, the data's `fingerprint`, the `loss` in nats if it was taken."""

    at: datetime
    reason: str
    fingerprint: str
    loss: float | None


class TestVault:
    """The test split, locked away: handed out only for a `reason`, and every time is written down.

    `vault.open(reason=...)` gives Xte (N, block_size) and Yte (N,); `vault.loss(model, reason=...)` gives the exact
    loss on them. `vault.openings` lists the times so far, in this program and in others, and `len(vault)` counts them.
    Names that were split in the same way are the same test set, whatever the block_size. It is a reminder, no lock:
    whoever kept Xte can still use it.

    The record is a SQLite file: `path`, else the one that the environment variable `MLP_LIB_LADDER` names, else
    `~/.local/share/mlp_lib/ladder.sqlite`. It is made at the first opening. Where the variable `CI` is set and no file
    was named, nothing is written: a machine that re-runs the notebooks takes no look, and its record ends with the
    vault.

    Raises TypeError or ValueError for tensors that are no examples or a file that is something else.
    Source: lecture 00:53:20. Taught in: notebook 07.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     vault = TestVault(torch.tensor([[0], [1]]), torch.tensor([1, 0]), path=folder + "/ladder.sqlite")
    ...     Xte, Yte = vault.open(reason="to see that it opens")
    ...     vault
    TestVault(2 examples, opened 1 time)
    """

    __test__ = False  # the name begins as pytest's test classes do

    def __init__(self, Xte: Tensor, Yte: Tensor, *, path: str | Path | None = None) -> None:
        check_examples(nn.Identity(), Xte, Yte)
        # Copies: what was sealed stays what it was.
        self._Xte, self._Yte = Xte.detach().clone(), Yte.detach().clone()
        self._fingerprint, self._answers = _sha256(Xte, Yte), _sha256(Yte)
        self.path = _default_path() if path is None else Path(path).expanduser().absolute()
        self._unwritten: list[Opening] = []
        if self.path is not None:
            self._read()  # a file of another format is refused now, not at the end of the work

    @property
    def fingerprint(self) -> str:
        """The sha256 of the two tensors, with their shapes: it tells whether two test sets are the same."""
        return self._fingerprint

    @property
    def openings(self) -> list[Opening]:
        """Every opening of this test set so far, oldest first. Raises what reading the file raises."""
        return list(self._unwritten) if self.path is None else self._read()

    def open(self, *, reason: str) -> tuple[Tensor, Tensor]:
        """Xte (N, block_size) and Yte (N,), after the reason was written down.

        Raises TypeError or ValueError for a reason that is not a text with something in it, OSError (TimeoutError if
        another program keeps the file) if the opening cannot be written down: the test set then stays sealed.
        """
        self._record(_checked_reason(reason), loss=None)
        return self._Xte.clone(), self._Yte.clone()

    def loss(self, model: nn.Module, *, reason: str) -> float:
        """The exact loss of `model` on the test set in nats: one opening, with the loss beside the reason.

        Raises what `open` and `eval_loss` raise; a model that does not fit the data opens nothing.
        """
        reason = _checked_reason(reason)
        loss = eval_loss(model, self._Xte, self._Yte)
        self._record(reason, loss=loss)  # before anyone sees it
        return loss

    def __len__(self) -> int:
        return len(self.openings)

    def __bool__(self) -> bool:
        return True  # a vault that was never opened is still a vault

    def __repr__(self) -> str:
        times = len(self)
        return f"TestVault({len(self._Yte):,} examples, opened {times} time{'' if times == 1 else 's'})"

    def _record(self, reason: str, *, loss: float | None) -> None:
        at = datetime.now(UTC).replace(microsecond=0)
        if self.path is None:
            self._unwritten.append(Opening(at, reason, self._fingerprint, loss))
            return
        row = (at.isoformat(), reason, self._fingerprint, self._answers, loss)
        with _writing(self.path, "write down the opening, so the test set stays sealed") as db:
            db.execute("INSERT INTO openings (at, reason, data, answers, loss) VALUES (?, ?, ?, ?, ?)", row)

    def _read(self) -> list[Opening]:
        with _reading(self.path) as db:
            if db is None or not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'openings'").fetchone():
                return []
            rows = db.execute(
                "SELECT at, reason, data, loss FROM openings WHERE answers = ? ORDER BY id", (self._answers,)
            ).fetchall()
        return [Opening(datetime.fromisoformat(at), *rest) for at, *rest in rows]


def _sha256(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for t in tensors:
        t = t.detach().to("cpu", torch.int64).contiguous()  # the same names in a smaller type are the same names
        digest.update(repr(tuple(t.shape)).encode())
        digest.update(t.numpy().astype("<i8", copy=False).tobytes())
    return digest.hexdigest()


def _checked_reason(reason: str) -> str:
    if not isinstance(reason, str):
        raise TypeError(f'reason must be a text, got {reason!r}: write reason="final loss of the chosen model"')
    if not reason.strip():
        raise ValueError(
            'the test set opens only for a reason, and reason is empty: write reason="final loss of the chosen model"'
        )
    return reason.strip()


# ---- the file --------------------------------------------------------------------------------------------------------


def _default_path() -> Path | None:
    """Where the record is kept if no path is given; None for nowhere."""
    named = os.environ.get("MLP_LIB_LADDER")
    if named:
        return Path(named).expanduser().absolute()
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return None
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data).absolute() / "mlp_lib" / "ladder.sqlite"


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection to a file of ours, or None if there is no file yet."""
    with _sentences(path, "read the record"):
        if not path.exists():
            yield None
            return
        # Not mode=ro: after a kill in the middle of a write, the next to open the file has to tidy up, even to read.
        with closing(_connect(path, "rw")) as db:
            _check_format(db, path)
            yield db


@contextmanager
def _writing(path: Path, what: str) -> Iterator[sqlite3.Connection]:
    """A connection inside one transaction: all of it is written, or nothing. The file is made if it is not there."""
    with _sentences(path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(_connect(path, "rwc")) as db:
            db.execute("BEGIN IMMEDIATE")  # waits its turn here, so that nobody can come between check and entry
            _check_format(db, path)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {_FORMAT}")
            for statement in filter(str.strip, _TABLES.split(";")):
                db.execute(statement)
            yield db
            db.execute("COMMIT")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=_WAIT_SECONDS, isolation_level=None)


def _check_format(db: sqlite3.Connection, path: Path) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        if application == 0 and db.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
            return  # empty: ours to fill
        raise ValueError(f"{path} is an SQLite file of another program: give the path of a file that mlp_lib may make")
    if version > _FORMAT:
        raise ValueError(
            f"{path} has format {version} and this mlp_lib knows formats up to {_FORMAT}: update mlp_lib, or give "
            "another path"
        )


@contextmanager
def _sentences(path: Path, what: str) -> Iterator[None]:
    """Turn what SQLite and the disk have to say into one sentence with the path and a way out."""
    try:
        if path.is_dir():
            raise IsADirectoryError(
                f"{path} is a folder: give the path of a file in it, such as {path / 'ladder.sqlite'}"
            )
        yield
    except sqlite3.Error as error:
        kind = getattr(error, "sqlite_errorname", "")
        if kind == "SQLITE_NOTADB":
            raise ValueError(
                f"{path} is a file of another kind, no ladder of mlp_lib: give the path of a file that mlp_lib may make"
            ) from None
        if kind.startswith("SQLITE_CORRUPT"):
            raise ValueError(f"{path} is damaged ({error}): move it away and a new one is begun") from None
        if kind.startswith("SQLITE_BUSY"):
            raise TimeoutError(
                f"could not {what}: another program has kept {path} for {_WAIT_SECONDS:g} s; wait for it to end"
            ) from None
        raise OSError(f"could not {what}: {path}: {error}; give path= of a file that can be written") from None
    except OSError as error:
        if error.errno is None:  # a sentence of our own
            raise
        raise OSError(f"could not {what}: {path}: {error.strerror}; give path= of a file that can be written") from None
