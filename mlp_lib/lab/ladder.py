"""The leaderboard of all runs, the sealed test set, and the local file that stores both.

    ladder = Ladder(words=words)
    ladder.add("my network", config=model.config, seed=1, losses={"dev": 2.11})
    print(standing(2.11))

Taught in: page 07 (splits) and page 13 (the ladder).
"""

import hashlib
import html
import json
import math
import sqlite3
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor, nn

from mlp_lib.files import record_path
from mlp_lib.train import eval_loss
from mlp_lib.words import LECTURE_SHA256

# ---- the sealed test set ---------------------------------------------------------------------------------------------


class Opening(NamedTuple):
    """One look at a test set: `at` (UTC), `reason`, the `fingerprint` of the data, the `loss` in nats if measured."""

    at: datetime
    reason: str
    fingerprint: str
    loss: float | None


class TestVault:
    """The sealed test split: it opens only for a `reason`, and every opening is recorded.

    `vault.open(reason=...)` gives Xte and Yte; `vault.loss(model, reason=...)` gives the exact loss on them.
    `vault.openings` lists the openings so far, including those of other programs, and `len(vault)` counts them. The
    same names count as the same test set for any block_size. It is a reminder, not a lock.

    The record is a SQLite file: `path`, else the one that the environment variable `MLP_LIB_LADDER` names, else
    `ladder.sqlite` in the user's data folder. If the variable `CI` is set and no file is named, nothing is written and
    the record is lost with the vault. Raises OSError for a file that cannot be read or written.
    Source: lecture 00:53:20. Taught in: page 07.

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     vault = TestVault(torch.tensor([[0], [1]]), torch.tensor([1, 0]), path=folder + "/ladder.sqlite")
    ...     Xte, Yte = vault.open(reason="to see that it opens")
    ...     vault
    TestVault(2 examples, opened 1 time)
    """

    __test__ = False  # not a pytest class, although its name begins with Test

    def __init__(
        self, Xte: Int[Tensor, "N block_size"], Yte: Int[Tensor, " N"], *, path: str | Path | None = None
    ) -> None:
        self._Xte, self._Yte = Xte.clone(), Yte.clone()
        self.path = _path(path)
        self._in_memory: list[Opening] = []  # used if there is no file

    @property
    def openings(self) -> list[Opening]:
        """All openings of this test set so far, oldest first."""
        if self.path is None:
            return list(self._in_memory)
        query = "SELECT at, reason, data, loss FROM openings WHERE answers = ? ORDER BY id"
        rows = _read(self.path, "openings", query, fingerprint(self._Yte))
        return [
            Opening(datetime.fromisoformat(at), *row, None if loss is None else float(loss)) for at, *row, loss in rows
        ]

    def open(self, *, reason: str) -> tuple[Int[Tensor, "N block_size"], Int[Tensor, " N"]]:
        """Record the reason and return Xte and Yte.

        Raises TypeError for a reason that is not a str, ValueError for an empty one, and OSError if the opening cannot
        be written down. In all these cases the test set stays sealed.
        """
        self._record(_checked_reason(reason), loss=None)
        return self._Xte.clone(), self._Yte.clone()

    def loss(self, model: nn.Module, *, reason: str) -> float:
        """The exact loss of `model` on the test set in nats: one opening, recorded with its reason and loss.

        Raises what `open` and `eval_loss` raise; a model that does not fit the data does not count as an opening.
        """
        reason = _checked_reason(reason)
        loss = eval_loss(model, self._Xte, self._Yte)
        self._record(reason, loss=loss)  # before the caller sees it
        return loss

    def __len__(self) -> int:
        return len(self.openings)

    def __bool__(self) -> bool:
        return True  # a vault that was never opened is still a vault

    def __repr__(self) -> str:
        times = len(self)
        return f"TestVault({len(self._Yte):,} examples, opened {times} time{'' if times == 1 else 's'})"

    def _record(self, reason: str, loss: float | None) -> None:
        opening = Opening(_now(), reason, fingerprint(self._Xte, self._Yte), loss)
        if self.path is None:
            self._in_memory.append(opening)
            return
        # The loss as text: SQLite would keep nan as NULL, which here means "not measured".
        row = (
            opening.at.isoformat(),
            reason,
            opening.fingerprint,
            fingerprint(self._Yte),
            None if loss is None else str(loss),
        )
        with _writing(self.path, "write down the opening, so the test set stays sealed") as db:
            db.execute("INSERT INTO openings (at, reason, data, answers, loss) VALUES (?, ?, ?, ?, ?)", row)


def fingerprint(*tensors: Int[Tensor, "..."]) -> str:
    """The sha256 of tensors of indices and their shapes: equal only for equal data.

    >>> import torch
    >>> fingerprint(torch.tensor([1, 2])) == fingerprint(torch.tensor([[1, 2]]))
    False
    """
    digest = hashlib.sha256()
    for t in tensors:
        digest.update(repr(tuple(t.shape)).encode())
        digest.update(t.cpu().long().numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _checked_reason(reason: str) -> str:
    if not isinstance(reason, str):
        raise TypeError(f'reason must be a str, got {reason!r}: write reason="final loss of the chosen model"')
    if not reason.strip():
        raise ValueError(
            'the test set opens only for a reason, and reason is empty: write reason="final loss of the chosen model"'
        )
    return reason.strip()


# ---- known results ---------------------------------------------------------------------------------------------------


class Known(NamedTuple):
    """A dev loss in nats to compare with: the model that reached it, its `source`, and the `split` it was measured on.

    "clean" is `split_words` with seed 42, "de-duplicated" the same after `list(dict.fromkeys(words))`, "other" anything
    else. Losses on different splits cannot be compared.
    """

    dev: float
    name: str
    kind: str
    source: str
    split: str = "clean"
    n_parameters: int | None = None


_PAGE_15 = "page 15 with that list, mean of three seeds"
_COUNTED = "counted here, mlp_lib.lab.counts"

KNOWN: tuple[Known, ...] = (
    Known(math.log(27), "uniform guessing among 27 symbols", "counts", "ln 27", n_parameters=0),
    Known(2.4530, "bigram counts, add 0.3", "counts", _COUNTED, n_parameters=620),
    Known(2.2225, "trigram counts, add 0.1", "counts", _COUNTED, n_parameters=5_806),
    Known(2.2, "what exercise E01 asks to beat", "mlp", "the exercises under the video"),
    Known(2.1701, "the video's last network, after four shuffles", "mlp", "lecture 01:11:46", "other", 11_897),
    Known(2.168, "the video's last network", "mlp", "four reports, 2.168 to 2.178", n_parameters=11_897),
    Known(2.1161, "embedding 24, batch 128, found by Optuna", "mlp", "a learner's report, one seed"),
    Known(2.1057, "with BatchNorm", "mlp", "part 3 of the lecture's series"),
    Known(2.1018, "4-gram counts, add 0.1", "counts", _COUNTED, n_parameters=22_701),
    Known(2.0913, "embedding 20, 400k steps, small init, L2", "mlp", "a learner's report, one seed"),
    Known(2.0653, "interpolated counts, context 3", "counts", _COUNTED, n_parameters=29_154),
    Known(2.0340, "block 4", "mlp", "a learner's report, one seed", "other"),
    Known(2.027, "block 8 with BatchNorm", "mlp", "part 5 of the lecture's series"),
    Known(1.9939, "interpolated counts, context 4", "counts", _COUNTED, n_parameters=73_580),
    Known(1.9937, "WaveNet-like, block 8", "deeper", "part 5 of the lecture's series", "clean", 76_000),
    Known(1.9844, "interpolated counts, context 5", "counts", _COUNTED, n_parameters=134_297),
    Known(1.9815, "one layer, block 6, embedding 40, hidden 512, AdamW", "mlp", _PAGE_15),
    Known(1.9545, "two layers, block 7, AdamW, dropout", "deeper", _PAGE_15),
    Known(1.9330, "one layer mixed half and half with interpolated counts", "mixture", _PAGE_15),
    Known(1.9185, "two layers mixed half and half with interpolated counts", "mixture", _PAGE_15),
    Known(1.92, "a transformer (about)", "deeper", "reported for the lecture's makemore", "other"),
    Known(2.0749, "interpolated counts, context 3", "counts", _COUNTED, "de-duplicated", 29_107),
    Known(2.0134, "interpolated counts, context 5", "counts", _COUNTED, "de-duplicated", 133_338),
    Known(2.0130, "interpolated counts, context 4", "counts", _COUNTED, "de-duplicated", 73_212),
)
"""Dev losses on the lecture's own list. On the bundled list, a little longer, count models differ by up to 0.013."""


class Standing(NamedTuple):
    """A dev loss among the `KNOWN` ones: the best result that it beats and the next one ahead, or None."""

    dev: float
    beaten: Known | None
    ahead: Known | None

    def __str__(self) -> str:
        beats = "beats none yet" if self.beaten is None else f"beats {self.beaten.dev:.4f} ({self.beaten.name})"
        ahead = "none is ahead" if self.ahead is None else f"next is {self.ahead.dev:.4f} ({self.ahead.name})"
        return f"dev {self.dev:.4f} {beats}; {ahead}"


def standing(dev: float) -> Standing:
    """Which of the `KNOWN` results a dev loss (nats, on the clean split) beats, and which one is next.

    >>> print(standing(2.1))
    dev 2.1000 beats 2.1018 (4-gram counts, add 0.1); next is 2.0913 (embedding 20, 400k steps, small init, L2)
    """
    known = sorted(k for k in KNOWN if k.split == "clean")
    return Standing(
        dev, next((k for k in known if dev < k.dev), None), next((k for k in reversed(known) if dev >= k.dev), None)
    )


# ---- the ladder ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One run on the ladder, as `Ladder.add` took it. `at` is UTC, `words` the sha256 of the word list.

    `losses` maps each measured split to its loss in nats, nan if the run was stopped; `stopped` says why.
    """

    at: datetime
    name: str
    kind: str
    config: dict[str, object]
    seed: int | None
    steps: int | None
    n_parameters: int | None
    seconds: float | None
    losses: dict[str, float]
    stopped: str | None
    words: str | None
    key: str | None


class Row(NamedTuple):
    """A row of the table: runs that differ only in their seed, or a known result (`runs` is 0).

    `dev`, `train` and `seconds` are means over the `runs`; `low` and `high` are the lowest and highest dev loss.
    Stopped runs have a separate row, because they have no loss to include in a mean.
    """

    dev: float | None
    low: float | None
    high: float | None
    train: float | None
    runs: int
    name: str
    kind: str
    config: dict[str, object]
    steps: int | None
    n_parameters: int | None
    seconds: float | None
    split: str
    words: str | None
    source: str


class Ladder:
    """The leaderboard: your runs and the `KNOWN` results, lowest dev loss first.

    `ladder.add(...)` adds a run, `run_grid(..., ladder=ladder)` all runs of a grid. Displayed in a notebook, or as
    `ladder.rows`, it is a table in which runs that differ only in their seed share a row; `ladder.entries` are the
    single runs. `words` is the word list of the runs that will be added. Runs are shown as being on the clean split,
    `split_words` with seed 42.

    It is stored in the same SQLite file as the openings of a `TestVault`, found by the same rules. Several programs may
    write at once. Raises OSError for a file that cannot be read or written. Taught in: page 13.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     ladder = Ladder(folder + "/ladder.sqlite", words=["emma", "ava"])
    ...     for seed, dev in enumerate([2.11, 2.10]):
    ...         ladder.add("my network", config={"n_hidden": 300}, seed=seed, losses={"dev": dev})
    ...     mine = [row for row in ladder.rows if row.runs]
    >>> [(row.name, row.runs, round(row.dev, 4)) for row in mine]
    [('my network', 2, 2.105)]
    """

    def __init__(self, path: str | Path | None = None, *, words: Sequence[str] | None = None) -> None:
        self.path = _path(path)
        # the sha256 of the words, one per line, which is that of the lecture's file for the lecture's list
        self.words = None if words is None else hashlib.sha256("\n".join(words).encode()).hexdigest()
        self._in_memory: list[Entry] = []  # used if there is no file

    @property
    def entries(self) -> list[Entry]:
        """All runs on the ladder, oldest first."""
        if self.path is None:
            return list(self._in_memory)
        rows = _read(self.path, "runs", f"SELECT {', '.join(_COLUMNS)} FROM runs ORDER BY id")
        return [_entry_of(dict(zip(_COLUMNS, row, strict=True))) for row in rows]

    @property
    def rows(self) -> list[Row]:
        """The table: lowest mean dev loss first; runs without one come last."""
        known = [
            Row(k.dev, k.dev, k.dev, None, 0, k.name, k.kind, {}, None, k.n_parameters, None, k.split, None, k.source)
            for k in KNOWN
        ]
        return sorted(
            known + _grouped(self.entries), key=lambda r: r.dev if r.dev is not None and r.dev == r.dev else math.inf
        )

    def add(
        self,
        name: str,
        *,
        kind: str = "mlp",
        config: object = None,
        seed: int | None = None,
        steps: int | None = None,
        n_parameters: int | None = None,
        seconds: float | None = None,
        losses: Mapping[str, float] = {},
        stopped: str | None = None,
        key: str | None = None,
    ) -> None:
        """Add one run to the ladder.

        `name` and `kind` ("mlp", "counts", "mixture", ...) are free text; `plot_ladder` gives each kind its own colour.
        `config` is an `MLPConfig` or a dict that describes the run. `losses` maps splits to nats; with a loss that is
        not finite the run counts as stopped. If a run with the same `key` is already there, nothing is added.
        """
        losses = {split: float(loss) for split, loss in losses.items()}
        blown = [split for split, loss in losses.items() if not math.isfinite(loss)]
        if blown and stopped is None:
            stopped = f"the {blown[0]} loss was {losses[blown[0]]}"  # it would make the mean of its row nan or inf
        config = asdict(config) if is_dataclass(config) else dict(config or {})
        entry = Entry(_now(), name, kind, config, seed, steps, n_parameters, seconds, losses, stopped, self.words, key)
        if self.path is None:
            self._in_memory.append(entry)
            return
        row = _row_of(entry) | {"split": "clean"}
        with _writing(self.path, "put the run on the ladder") as db:
            marks = ", ".join("?" * len(row))
            db.execute(f"INSERT OR IGNORE INTO runs ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def check_writable(self) -> None:
        """Raise OSError if runs cannot be written, so that you know before hours of training."""
        if self.path is not None:
            with _writing(self.path, "write to the ladder"):
                pass

    def __len__(self) -> int:
        return len(self.entries)

    def __bool__(self) -> bool:
        return True  # an empty ladder is still a ladder

    def __repr__(self) -> str:
        return f"Ladder({len(self):,} runs of yours and {len(KNOWN)} known results)"

    def _repr_html_(self) -> str:
        head = (
            "dev",
            "from",
            "to",
            "train",
            "runs",
            "name",
            "parameters",
            "steps",
            "seconds",
            "split",
            "words",
            "source",
        )
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in _texts(row))}</tr>" for row in self.rows
        )
        titles = "".join(f"<th>{title}</th>" for title in head)
        return f"<table><caption>{self!r}, losses in nats</caption><tr>{titles}</tr>{body}</table>"


def _grouped(entries: Sequence[Entry]) -> list[Row]:
    groups: dict[tuple, list[Entry]] = {}
    for e in entries:
        config = json.dumps(e.config, sort_keys=True)
        same = (e.name, e.kind, config, e.steps, e.n_parameters, e.words, e.stopped is None, *e.losses)
        groups.setdefault(same, []).append(e)
    rows = []
    for group in groups.values():
        e = group[0]
        devs = [one.losses["dev"] for one in group if "dev" in one.losses]
        trains = [one.losses["train"] for one in group if "train" in one.losses]
        times = [one.seconds for one in group if one.seconds is not None]
        mean_dev, mean_train, mean_time = (statistics.fmean(v) if v else None for v in (devs, trains, times))
        source = "yours" if e.stopped is None else f"yours, {e.stopped}"
        rows.append(
            Row(
                mean_dev, min(devs, default=None), max(devs, default=None), mean_train, len(group), e.name, e.kind,
                e.config, e.steps, e.n_parameters, mean_time, "clean", e.words, source,
            )
        )  # fmt: skip
    return rows


def _texts(r: Row) -> list[str]:
    """The cells of a row as they are shown."""
    losses = (r.dev, r.low if r.runs > 1 else None, r.high if r.runs > 1 else None, r.train)
    words = "lecture" if r.runs == 0 or r.words == LECTURE_SHA256 else (r.words or "")[:8]
    return [
        *("" if loss is None else f"{loss:.4f}" for loss in losses), str(r.runs or ""), r.name,
        *("" if n is None else f"{n:,}" for n in (r.n_parameters, r.steps)),
        "" if r.seconds is None else f"{r.seconds:.1f}", r.split, words, r.source,
    ]  # fmt: skip


# ---- the file --------------------------------------------------------------------------------------------------------

# SQLite lets several programs write at once, and a kill during a write leaves the previous content.
_TABLES = (
    """CREATE TABLE IF NOT EXISTS openings (id INTEGER PRIMARY KEY, at TEXT NOT NULL, reason TEXT NOT NULL,
    data TEXT NOT NULL, answers TEXT NOT NULL, loss REAL)""",
    """CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, key TEXT UNIQUE, at TEXT NOT NULL, name TEXT NOT NULL,
    kind TEXT NOT NULL, config TEXT NOT NULL, seed TEXT, steps INTEGER, n_parameters INTEGER, seconds REAL,
    losses TEXT NOT NULL, stopped TEXT, words TEXT, split TEXT NOT NULL)""",
)
_COLUMNS = [field.name for field in fields(Entry)]
_WAIT_SECONDS = 30.0  # how long to wait while another program is writing


def _row_of(entry: Entry) -> dict[str, object]:
    """The entry as a row of the table, by column."""
    losses = {split: None if math.isnan(loss) else loss for split, loss in entry.losses.items()}  # JSON has no nan
    seed = None if entry.seed is None else str(entry.seed)  # up to 2**64, too large for an SQLite integer
    as_text = {"at": entry.at.isoformat(), "config": json.dumps(entry.config), "losses": json.dumps(losses)}
    return vars(entry) | as_text | {"seed": seed}


def _entry_of(row: dict[str, object]) -> Entry:
    losses = {split: math.nan if loss is None else loss for split, loss in json.loads(row["losses"]).items()}
    seed = None if row["seed"] is None else int(row["seed"])
    at, config = datetime.fromisoformat(row["at"]), json.loads(row["config"])
    return Entry(**(row | {"at": at, "config": config, "losses": losses, "seed": seed}))


def _path(path: str | Path | None) -> Path | None:
    return record_path("ladder.sqlite", "MLP_LIB_LADDER") if path is None else Path(path).expanduser().absolute()


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _read(path: Path, table: str, query: str, *values: object) -> list[tuple]:
    with _in_one_sentence(path, "read the record"):
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as db:
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            return db.execute(query, values).fetchall() if there else []


@contextmanager
def _writing(path: Path, doing: str) -> Iterator[sqlite3.Connection]:
    """A connection inside one transaction: all of it is written, or nothing. Creates the file if it does not exist."""
    with _in_one_sentence(path, doing):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                db.execute(table)
            yield db
            db.execute("COMMIT")


@contextmanager
def _in_one_sentence(path: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise OSError(f"could not {doing}: {path}: {why}; give path= of a file that can be written") from None
