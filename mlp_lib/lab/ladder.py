"""The scoreboard of all runs, the sealed test set, and the one local file in which both are kept.

Taught in: notebook 07 (splits) and notebook 13 (the ladder).
"""

import hashlib
import html
import json
import math
import os
import sqlite3
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from numbers import Real
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import quote

import torch
from torch import Tensor, nn

from mlp_lib.data import check_count
from mlp_lib.lab.records import kept_in
from mlp_lib.train import check_examples, eval_loss
from mlp_lib.words import LECTURE_SHA256

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
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY,
    key TEXT UNIQUE,
    at TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    config TEXT NOT NULL,
    seed TEXT,
    steps INTEGER,
    n_parameters INTEGER,
    seconds REAL,
    losses TEXT NOT NULL,
    stopped TEXT,
    words TEXT,
    split TEXT NOT NULL
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

    Raises TypeError or ValueError for tensors that are no examples or a file that is something else, FileNotFoundError
    where there is no home folder and no file was named.
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
        self._fingerprint, self._answers = fingerprint(Xte, Yte), fingerprint(Yte)
        self.path = kept_in("ladder.sqlite", "MLP_LIB_LADDER") if path is None else Path(path).expanduser().absolute()
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
        if loss is not None and not math.isfinite(loss):
            loss = repr(loss)  # as text: SQLite would keep nan as NULL, which here means "not taken"
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
        return [
            Opening(datetime.fromisoformat(at), reason, data, None if loss is None else float(loss))
            for at, reason, data, loss in rows
        ]


def fingerprint(*tensors: Tensor) -> str:
    """The sha256 of tensors of indices with their shapes: the same for the same numbers, whatever their integer type.

    >>> fingerprint(torch.tensor([1, 2])) == fingerprint(torch.tensor([1, 2], dtype=torch.int8))
    True
    """
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
    return _storable("reason", reason.strip())


# ---- the ladder ------------------------------------------------------------------------------------------------------

SPLITS = ("clean", "de-duplicated", "other")


class Known(NamedTuple):
    """A dev loss in nats that stands beside yours: what reached it, on which `split`, and the figure's `source`."""

    dev: float
    name: str
    kind: str
    source: str
    split: str = "clean"
    n_parameters: int | None = None


_OURS = "notebook 15 with that list, mean of three seeds"
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
    Known(1.9792, "one layer, block 6, embedding 24, hidden 512, AdamW", "mlp", _OURS),
    Known(1.9595, "two layers, block 8, AdamW, dropout", "deeper", _OURS),
    Known(1.9310, "one layer mixed half and half with interpolated counts", "mixture", _OURS),
    Known(1.9203, "two layers mixed half and half with interpolated counts", "mixture", _OURS),
    Known(1.92, "a transformer (about)", "deeper", "reported for the lecture's makemore", "other"),
    Known(2.0749, "interpolated counts, context 3", "counts", _COUNTED, "de-duplicated", 29_107),
    Known(2.0134, "interpolated counts, context 5", "counts", _COUNTED, "de-duplicated", 133_338),
    Known(2.0130, "interpolated counts, context 4", "counts", _COUNTED, "de-duplicated", 73_212),
)
"""Dev losses on the lecture's own list. On the bundled list, a little longer, counts come out up to 0.013 apart."""


@dataclass(frozen=True)
class Entry:
    """One run on the ladder, as `Ladder.add` took it. `at` is UTC, `words` the sha256 of the word list.

    `losses` holds a loss in nats for each split it was measured on, nan where the run was `stopped`, which says why.
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
    split: str
    key: str | None = None

    @property
    def train(self) -> float | None:
        """The loss on the training split, None if it was not measured."""
        return self.losses.get("train")

    @property
    def dev(self) -> float | None:
        """The loss on the dev split, None if it was not measured."""
        return self.losses.get("dev")


class Row(NamedTuple):
    """A line of the table: the runs that differ in their seed alone, or a known result (`runs` is 0).

    `dev`, `train` and `seconds` are means over the `runs`; `low` and `high` the lowest and highest dev loss. Runs that
    were stopped have a line of their own, which counts them: they have no loss that could go into a mean.
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


class Rung(NamedTuple):
    """How far up a dev loss is: the lowest known loss it beats, and the next one to beat. None off either end."""

    dev: float
    reached: Known | None
    next: Known | None

    def __str__(self) -> str:
        beats = "beats none yet" if self.reached is None else f"beats {self.reached.dev:.4f} ({self.reached.name})"
        ahead = "none is ahead" if self.next is None else f"next is {self.next.dev:.4f} ({self.next.name})"
        return f"dev {self.dev:.4f} {beats}; {ahead}"


def rung_of(dev: float, *, split: str = "clean") -> Rung:
    """What a dev loss beats among the `KNOWN` results of a split, and which comes next: `Ladder.rung` without a ladder.

    >>> print(rung_of(2.1))
    dev 2.1000 beats 2.1018 (4-gram counts, add 0.1); next is 2.0913 (embedding 20, 400k steps, small init, L2)
    """
    if _checked_split(split) == "other":
        raise ValueError('a dev loss on a split of your own compares with none: use "clean" or "de-duplicated"')
    dev = _checked_loss("dev", dev)
    if math.isnan(dev):
        raise ValueError("dev is nan: the run blew up and reached no rung")
    known = sorted((k for k in KNOWN if k.split == split), reverse=True)  # from the highest loss to the lowest
    beaten = [k for k in known if dev < k.dev]
    ahead = known[len(beaten) :]
    return Rung(dev, beaten[-1] if beaten else None, ahead[0] if ahead else None)


class Ladder:
    """The scoreboard: every run you put on it, beside what others reached, lowest dev loss first.

    `ladder.add(...)` puts a run on it, `run_grid(..., ladder=ladder)` all runs of a grid. Shown, or as `ladder.rows`,
    it is a table in which runs that differ in their seed alone share a line, among the `KNOWN` results with their
    sources; `ladder.entries` are the single runs, and `ladder.rung(dev)` says what a loss beats and what comes next.

    `words` is the word list of the runs to come (or its sha256) and `split` says how it was split: "clean" is
    `split_words` with seed 42, "de-duplicated" the same after `list(dict.fromkeys(words))`, "other" anything else. A
    loss may be compared only within one list and one split.

    It is kept in the SQLite file in which a `TestVault` writes its openings, under the same rules: `path`, else the one
    that the environment variable `MLP_LIB_LADDER` names, else `~/.local/share/mlp_lib/ladder.sqlite`, made with the
    first run; where `CI` is set and no file was named, nothing is written and the runs end with the object. Several
    programs may write at once, and a kill in the middle of it leaves the runs before.

    Raises ValueError for a `split` that is none of the three or a file that is something else, FileNotFoundError where
    there is no home folder and no file was named.
    Taught in: notebook 13.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     ladder = Ladder(folder + "/ladder.sqlite", words=["emma", "ava"])
    ...     for seed, dev in enumerate([2.11, 2.10]):
    ...         ladder.add("my network", config={"n_hidden": 300}, seed=seed, dev=dev)
    ...     mine = [row for row in ladder.rows if row.runs]
    >>> [(row.name, row.runs, round(row.dev, 4)) for row in mine]
    [('my network', 2, 2.105)]
    """

    def __init__(
        self, path: str | Path | None = None, *, words: Sequence[str] | str | None = None, split: str = "clean"
    ) -> None:
        self.path = kept_in("ladder.sqlite", "MLP_LIB_LADDER") if path is None else Path(path).expanduser().absolute()
        self.words = _checked_words(words)
        self.split = _checked_split(split)
        self._unwritten: list[Entry] = []
        if self.path is not None:
            self._read("LIMIT 0")  # a file of another format is refused now, not at the end of the work

    @property
    def entries(self) -> list[Entry]:
        """Every run on the ladder, oldest first. Raises what reading the file raises."""
        return list(self._unwritten) if self.path is None else self._read("ORDER BY id")

    @property
    def rows(self) -> list[Row]:
        """The table: lowest mean dev loss first; runs without one come last. Raises what reading the file raises."""
        return sorted([*_grouped(self.entries), *map(_known_row, KNOWN)], key=_by_dev)

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
        train: float | None = None,
        dev: float | None = None,
    ) -> None:
        """Put one run on the ladder.

        `name` and `kind` ("mlp", "counts", "mixture", ...) are texts of your own; the plot tells kinds apart. `config`
        is an `MLPConfig` or a dict of whatever describes the run. `train` and `dev` are losses in nats, nan for a run
        that blew up, which counts as stopped. Raises TypeError or ValueError for values of another kind, OSError
        (TimeoutError if another program keeps the file) if it cannot be written.
        """
        measured = {"train": train, "dev": dev}
        losses = {split: _checked_loss(split, loss) for split, loss in measured.items() if loss is not None}
        for what, value in (("seed", seed), ("steps", steps), ("n_parameters", n_parameters)):
            if value is not None:
                check_count(what, value, least=0)
                if what != "seed" and value >= 2**63:  # a seed is kept as text
                    raise ValueError(f"{what} must be below 2**63, got {value}")
        timed = isinstance(seconds, Real) and not isinstance(seconds, bool) and 0 <= seconds < math.inf
        if seconds is not None and not timed:
            raise ValueError(f"seconds must be a number of at least 0, got {seconds!r}")
        blown = [split for split, loss in losses.items() if math.isnan(loss)]
        stopped = f"the {blown[0]} loss was nan" if blown else None  # else it would make the mean of its row nan
        entry = Entry(
            datetime.now(UTC).replace(microsecond=0), checked_text("name", name), checked_text("kind", kind),
            _checked_config(config), *(None if n is None else int(n) for n in (seed, steps, n_parameters)),
            None if seconds is None else float(seconds), losses, stopped, self.words, self.split,
        )  # fmt: skip
        self.put(entry)

    def put(self, entry: Entry) -> None:
        """Write an entry as it is; one whose `key` is there already is left as it was. Raises what `add` raises."""
        if self.path is None:
            if entry.key is None or self.find(entry.key) is None:
                self._unwritten.append(entry)
            return
        losses = {split: None if math.isnan(loss) else loss for split, loss in entry.losses.items()}
        row = (
            entry.key, entry.at.isoformat(), entry.name, entry.kind, json.dumps(entry.config),
            None if entry.seed is None else str(entry.seed),  # up to 2**64, more than an SQLite integer holds
            entry.steps, entry.n_parameters, entry.seconds, json.dumps(losses), entry.stopped, entry.words, entry.split,
        )  # fmt: skip
        with _writing(self.path, "put the run on the ladder") as db:
            db.execute(f"INSERT OR IGNORE INTO runs ({_COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)

    def find(self, key: str) -> Entry | None:
        """The run that was put there under this key, None if there is none. Raises what reading the file raises."""
        if self.path is None:
            return next((entry for entry in self._unwritten if entry.key == key), None)
        return next(iter(self._read("WHERE key = ?", key)), None)

    def check_writable(self) -> None:
        """Raise OSError, with one sentence, if runs cannot be written: before hours of training, not after them."""
        if self.path is not None:
            with _writing(self.path, "write to the ladder"):
                pass

    def rung(self, dev: float, *, split: str | None = None) -> Rung:
        """What a dev loss beats among the `KNOWN` results of the same split, and which comes next; printed, a sentence.

        `split` is the ladder's own if None. Raises TypeError or ValueError for a loss that is no number above 0, or the
        split "other", on which nothing can be compared.

        >>> print(Ladder("ladder.sqlite").rung(2.1))
        dev 2.1000 beats 2.1018 (4-gram counts, add 0.1); next is 2.0913 (embedding 20, 400k steps, small init, L2)
        """
        return rung_of(dev, split=self.split if split is None else split)

    def __len__(self) -> int:
        return len(self.entries)

    def __bool__(self) -> bool:
        return True  # a ladder nobody has climbed is still a ladder

    def __repr__(self) -> str:
        head, *cells = _cells(self.rows)
        widths = [max(len(line[k]) for line in (head, *cells)) for k in range(len(head))]
        lines = [self._caption()]
        for line in (head, *cells):
            pairs = zip(line, widths, _RIGHT, strict=True)
            lines.append("  ".join(text.rjust(w) if right else text.ljust(w) for text, w, right in pairs).rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *cells = _cells(self.rows)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in line)}</tr>" for line in cells)
        titles = "".join(f"<th>{html.escape(text)}</th>" for text in head)
        return (
            f"<table><caption>{html.escape(self._caption())}</caption>"
            f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _caption(self) -> str:
        runs = len(self)
        return f"Ladder: {runs:,} run{'' if runs == 1 else 's'} of yours and {len(KNOWN)} known results, losses in nats"

    def _read(self, which: str, *values: object) -> list[Entry]:
        with _reading(self.path) as db:
            if db is None or not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone():
                return []
            rows = db.execute(f"SELECT {_COLUMNS} FROM runs {which}", values).fetchall()
        return [_entry(*row) for row in rows]


_COLUMNS = "key, at, name, kind, config, seed, steps, n_parameters, seconds, losses, stopped, words, split"


def _entry(
    key: str | None, at: str, name: str, kind: str, config: str, seed: str | None, steps: int | None,
    n_parameters: int | None, seconds: float | None, losses: str, stopped: str | None, words: str | None, split: str,
) -> Entry:  # fmt: skip
    return Entry(
        datetime.fromisoformat(at), name, kind, json.loads(config), None if seed is None else int(seed), steps,
        n_parameters, seconds, {k: math.nan if v is None else v for k, v in json.loads(losses).items()},
        stopped, words, split, key,
    )  # fmt: skip


def words_sha256(words: Iterable[str]) -> str:
    """The sha256 of a word list, one word a line: it tells whether two runs saw the same list in the same order.

    >>> words_sha256(["emma", "olivia"])[:8]
    'fecc118f'
    """
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def _grouped(entries: Iterable[Entry]) -> list[Row]:
    groups: dict[tuple, list[Entry]] = {}
    for e in entries:
        same = (e.name, e.kind, json.dumps(e.config, sort_keys=True), e.steps, e.n_parameters, e.words, e.split)
        groups.setdefault((*same, e.stopped is None, *e.losses), []).append(e)
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[Entry]) -> Row:
    e = group[0]
    devs = [one.dev for one in group if one.dev is not None]
    return Row(
        dev=_mean(devs),
        low=min(devs, default=None),
        high=max(devs, default=None),
        train=_mean([one.train for one in group]),
        runs=len(group),
        name=e.name,
        kind=e.kind,
        config=e.config,
        steps=e.steps,
        n_parameters=e.n_parameters,
        seconds=_mean([one.seconds for one in group]),
        split=e.split,
        words=e.words,
        source="yours" if e.stopped is None else f"yours, {e.stopped}",
    )


def _known_row(k: Known) -> Row:
    return Row(k.dev, k.dev, k.dev, None, 0, k.name, k.kind, {}, None, k.n_parameters, None, k.split, None, k.source)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _by_dev(row: Row) -> tuple[float, float]:
    return (1, 0.0) if row.dev is None or math.isnan(row.dev) else (0, row.dev)


_HEAD = ("dev", "from", "to", "train", "runs", "name", "parameters", "steps", "time", "split", "words", "source")
_RIGHT = (True, True, True, True, True, False, True, True, True, False, False, False)
_LISTS = {LECTURE_SHA256: "lecture"}


def _cells(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """The table as texts, the head first."""
    lines = [_HEAD]
    for r in rows:
        spread = (_loss(r.low), _loss(r.high)) if r.runs > 1 else ("", "")
        time = "" if r.seconds is None else f"{r.seconds:.1f} s"
        words = "lecture" if r.runs == 0 else "" if r.words is None else _LISTS.get(r.words, r.words[:8])
        numbers = (_count(r.runs or None), r.name, _count(r.n_parameters), _count(r.steps))
        lines.append((_loss(r.dev), *spread, _loss(r.train), *numbers, time, r.split, words, r.source))
    return lines


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _checked_words(words: Sequence[str] | str | None) -> str | None:
    if words is None:
        return None
    if isinstance(words, str):
        if len(words) == 64 and set(words) <= set("0123456789abcdef"):
            return words
        raise ValueError(
            f"words must be a list of str, or the sha256 of one in 64 hexadecimal digits, got {words[:70]!r}"
        )
    return words_sha256(words)


def _checked_split(split: str) -> str:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(map(repr, SPLITS))}, got {split!r}")
    return split


def _checked_loss(name: str, loss: float) -> float:
    if isinstance(loss, Tensor) and loss.numel() == 1:
        loss = loss.item()
    if isinstance(loss, bool) or not isinstance(loss, Real):
        raise TypeError(f"{name} must be a loss in nats, got {loss!r}")
    if loss < 0 or math.isinf(loss):
        raise ValueError(f"{name} must be a loss in nats, finite and not below 0, got {loss!r}")
    return float(loss)


def checked_text(name: str, text: str) -> str:
    """The text in one line. Raises ValueError for what is no text, holds nothing, or that no file can hold.

    >>> checked_text("name", "my\\n  run")
    'my run'
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} must be a text with something in it, got {text!r}")
    return _storable(name, " ".join(text.split()))  # one line, whatever was pasted


def _storable(name: str, text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} holds {text[error.start]!r}, half of a character, which no file can hold: leave it out"
        ) from None
    return text


def _checked_config(config: object) -> dict[str, object]:
    if config is None:
        return {}
    if is_dataclass(config) and not isinstance(config, type):
        config = asdict(config)
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be an MLPConfig or a dict, got {config!r}")
    try:
        return json.loads(json.dumps(dict(config)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"config must hold numbers, texts and lists of them only: {error}") from None


# ---- the file --------------------------------------------------------------------------------------------------------


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
    return sqlite3.connect(f"{_uri(path)}?mode={mode}", uri=True, timeout=_WAIT_SECONDS, isolation_level=None)


def _uri(path: PurePath) -> str:
    """The path as SQLite wants it. `Path.as_uri` writes a network disk of Windows as file://server/..., which SQLite
    refuses: it takes no machine's name there, but four slashes.
    """
    posix = path.as_posix()
    return "file://" + ("" if posix.startswith("/") else "/") + quote(os.fsencode(posix), safe="/:")


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
