"""One run on disk: a folder with the weights, the record of the training, and what one would want to know about it.

    my-run/
        run.json      the format, the configuration, the symbols, seed, note and losses; readable by eye
        tensors.npz   C, W1, b1, W2, b2, the symbols, the record's columns and the generator's state, as plain arrays

Loading executes nothing: `run.json` is JSON, `tensors.npz` a zip of arrays that is read with pickle refused. Both parts
are checked against each other before a tensor is made.
"""

import errno
import hashlib
import io
import json
import math
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlp_lib.data import Vocab
from mlp_lib.model import MLP, MLPConfig
from mlp_lib.train import History, Step

FORMAT = "mlp_lib run 1"
_JSON, _TENSORS = "run.json", "tensors.npz"
_DTYPES = {"<f4": torch.float32, "<f8": torch.float64}
_MOST_JSON = 10_000_000  # bytes; a real one has a few thousand


@dataclass(frozen=True)
class Run:
    """What was saved: `model` and `vocab`; `history`, `seed`, `losses`, `note` and `g` where they were handed in.

    `losses[name]` are exact losses in nats. `g` is a new generator in the state that was saved: `train` with it and
    `start=len(history)` carries on as if the run had never stopped.
    """

    model: MLP
    vocab: Vocab
    history: History | None = None
    seed: int | None = None
    losses: dict[str, float] = field(default_factory=dict)
    note: str = ""
    g: torch.Generator | None = None


def save_run(
    path: str | Path,
    model: MLP,
    vocab: Vocab,
    *,
    history: History | None = None,
    seed: int | None = None,
    losses: Mapping[str, float] | None = None,
    note: str = "",
    g: torch.Generator | None = None,
) -> Path:
    """Write the run to the folder `path`, whole or not at all, and return it.

    Everything is written to a folder beside it (its name ends in ".partial") and moved into place in one step, so that
    a kill or a full disk never leaves half a run. When the call returns, the run is on the disk.

    Raises FileExistsError if `path` exists (a run is never overwritten), TypeError or ValueError for what is no MLP, a
    vocabulary that does not fit it, or what JSON cannot hold; OSError if it cannot be written.
    Source: the lecture keeps its parameters in the notebook only. Taught in: notebook 11.

    >>> from tempfile import TemporaryDirectory
    >>> model = MLP(MLPConfig(vocab_size=4, n_embd=2, n_hidden=5), g=torch.Generator().manual_seed(1))
    >>> with TemporaryDirectory() as folder:
    ...     path = save_run(folder + "/first", model, Vocab("abc"), seed=1, losses={"dev": 2.5})
    ...     run = load_run(path)
    >>> run.losses, torch.equal(run.model.C, model.C)
    ({'dev': 2.5}, True)
    """
    path = Path(path).expanduser().absolute()
    arrays, about = _packed(model, vocab, history, seed, losses, note, g)
    if path.exists():
        raise FileExistsError(f"{path} exists already: a run is never overwritten, choose another name or remove it")
    content = io.BytesIO()
    np.savez(content, **arrays)
    about["sha256"] = hashlib.sha256(content.getvalue()).hexdigest()
    facts = _json(about)  # before anything is written
    if len(facts) > _MOST_JSON:
        raise ValueError(f"{_JSON} would have {len(facts):,} bytes, more than load_run reads: shorten the note")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(parents=True)
        _write(partial / _TENSORS, content.getvalue())
        _write(partial / _JSON, facts)
        _sync(partial)
        try:
            partial.rename(path)
        except OSError as error:
            if path.exists():  # somebody was quicker
                raise FileExistsError(f"{path} exists already: a run is never overwritten, choose another") from error
            raise
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, FileExistsError):
            raise
        raise OSError(
            f"could not write the run {path} ({error.strerror or error}): nothing was left there, see to the disk"
        ) from error
    try:
        _sync(path.parent)
    except OSError as error:  # by now the run stands there, and a second try would meet it
        raise OSError(
            f"the run is in {path}, but the disk did not confirm it ({error.strerror or error}): see to the disk, "
            "then read the run with load_run"
        ) from error
    return path


def load_run(path: str | Path) -> Run:
    """The run in the folder `path`, as `save_run` wrote it. Executes nothing of what it reads.

    Raises FileNotFoundError if there is no run, ValueError for a folder that is damaged, of another format, or whose
    parts do not fit each other: what it does not know it refuses.
    """
    path = Path(path).expanduser().absolute()
    about, content = _read(path / _JSON, path, most=_MOST_JSON), _read(path / _TENSORS, path)
    try:
        return _unpacked(json.loads(about.decode("utf-8"), parse_constant=_no_number), content)
    except _Refused as refused:
        raise ValueError(f"{path} is no run that can be read: {refused}") from None
    except (
        ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError, EOFError
    ) as error:  # fmt: skip
        # JSON, zip and NumPy's header have many ways to be wrong; to the reader they are one.
        raise ValueError(f"{path} is no run that can be read: it is damaged or was not written by save_run") from error
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise ValueError(f"{path} is no run that can be read: {_TENSORS} is damaged ({error})") from error


class _Refused(Exception):
    """Why a folder is not read, as a sentence."""


# ---- what goes where -------------------------------------------------------------------------------------------------


def _packed(
    model: MLP,
    vocab: Vocab,
    history: History | None,
    seed: int | None,
    losses: Mapping[str, float] | None,
    note: str,
    g: torch.Generator | None,
) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """The arrays and the facts of a run, checked."""
    if not isinstance(model, MLP):
        raise TypeError(f"model must be an MLP, got {type(model).__name__}: save another module with torch.save")
    if not isinstance(vocab, Vocab) or len(vocab) != model.config.vocab_size:
        raise ValueError(
            f"the model was built with vocab_size={model.config.vocab_size}, got {vocab!r}: "
            "hand in the vocabulary it was trained with"
        )
    if not isinstance(note, str):
        raise TypeError(f"note must be a text, got {note!r}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
        raise TypeError(f"seed must be a whole number or None, got {seed!r}")
    if losses is not None and not isinstance(losses, Mapping):
        raise TypeError(f"losses must be a dict such as {{'dev': 2.1}}, got {losses!r}")
    if history is not None and not isinstance(history, History):
        raise TypeError(f"history must be what train returns, got {type(history).__name__}")
    dtypes = {p.dtype for p in model.tensors()}
    if len(dtypes) > 1 or dtypes - set(_DTYPES.values()):
        raise ValueError("only parameters that are all float32 or all float64 can be saved: call model.float() first")
    arrays = {name: _array(p) for name, p in zip(model.config.shapes, model.tensors(), strict=True)}
    about: dict[str, object] = {
        "format": FORMAT,
        "config": asdict(model.config),
        "symbols": "".join(vocab.stoi)[1:],  # without the boundary, which is always the first
        "seed": None if seed is None else int(seed),  # JSON takes no NumPy integer
        "losses": {_text(name): _number(name, loss) for name, loss in (losses or {}).items()},
        "note": note,
    }
    # Once more, where the checksum covers them: another letter for a row of C would be another model in silence.
    arrays["symbols"] = np.array([ord(s) for s in about["symbols"]], dtype="<u4")
    if history is not None:
        arrays |= {name: _array(getattr(history, name)) for name in ("stepi", "lri", "lossi")}
        arrays["eval_stepi"] = np.asarray(history.eval_stepi, dtype="<i8")
        arrays |= {f"evals_{k}": np.asarray(values, dtype="<f8") for k, values in enumerate(history.evals.values())}
        about["history"] = {
            "steps": len(history),
            "seconds": history.seconds,
            "stopped": history.stopped,
            "evals": [_text(name) for name in history.evals],
        }
    if g is not None:
        if not isinstance(g, torch.Generator) or g.device.type != "cpu":
            raise TypeError(f"g must be a torch.Generator on the CPU, got {g!r}")
        arrays["g"] = g.get_state().numpy()
    return arrays, about


def _unpacked(about: object, content: bytes) -> Run:
    """The run of the two files' contents; raises `_Refused` or whatever the damage makes of it."""
    if not isinstance(about, dict) or "format" not in about:
        raise _Refused(f"{_JSON} has no format line")
    if about["format"] != FORMAT:
        raise _Refused(f"its format is {str(about['format'])[:40]!r}, and this version reads {FORMAT!r} only")
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise _Refused(f"{_TENSORS} is not the file that {_JSON} describes (its sha256 differs)")
    config, vocab = MLPConfig(**about["config"]), Vocab(about["symbols"])
    if len(vocab) != config.vocab_size:
        raise _Refused(f"{len(vocab)} symbols for a model of vocab_size={config.vocab_size}")
    record = about.get("history")
    shapes = config.shapes
    arrays = _arrays(content)
    known = {*shapes, "symbols", "stepi", "lri", "lossi", "eval_stepi", "g"}
    for name in arrays:
        if name not in known and not name.startswith("evals_"):
            raise _Refused(f"{_TENSORS} holds {name!r}, which no run has")
    if "symbols" in arrays and arrays["symbols"].tolist() != [ord(s) for s in about["symbols"]]:
        raise _Refused(f"the symbols of {_JSON} are not those of {_TENSORS}")
    tensors = []
    for name, shape in shapes.items():
        a = arrays[name]
        if a.shape != shape or a.dtype.str not in _DTYPES or a.dtype != arrays["C"].dtype:
            raise _Refused(f"{name} is {a.dtype} of shape {a.shape}, and the configuration asks for {shape}")
        tensors.append(torch.from_numpy(a.copy()))
    seed, note = about["seed"], about["note"]
    if not isinstance(note, str) or not (seed is None or isinstance(seed, int)):
        raise _Refused(f"seed or note of {_JSON} is of another kind")
    return Run(
        model=MLP.from_tensors(*tensors),
        vocab=vocab,
        history=None if record is None else _history(record, arrays),
        seed=seed,
        losses={_text(name): float(loss) for name, loss in about["losses"].items()},
        note=note,
        g=None if "g" not in arrays else _generator(arrays["g"]),
    )


def _history(record: dict, arrays: dict[str, np.ndarray]) -> History:
    columns = [arrays[name] for name in ("stepi", "lri", "lossi")]
    if any(a.shape != (record["steps"],) or a.dtype.str not in ("<i8", "<f8") for a in columns):
        raise _Refused(f"the record has {record['steps']!r} steps, its columns {[a.shape for a in columns]}")
    history = History()
    for i, lr, loss in zip(*(a.tolist() for a in columns), strict=True):
        history.record(Step(int(i), lr, loss))
    history.eval_stepi = [int(i) for i in arrays["eval_stepi"].tolist()]
    for k, name in enumerate(record["evals"]):
        history.evals[_text(name)] = [float(x) for x in arrays[f"evals_{k}"].tolist()]
    history.seconds, history.stopped = float(record["seconds"]), record["stopped"]
    if not (history.stopped is None or isinstance(history.stopped, str)):
        raise _Refused(f"why the run stopped is {history.stopped!r}, no sentence")
    return history


def _generator(state: np.ndarray) -> torch.Generator:
    g = torch.Generator()
    if state.dtype != np.uint8 or state.shape != tuple(g.get_state().shape):
        raise _Refused("the generator's state is of another kind")
    try:
        g.set_state(torch.from_numpy(state.copy()))
    except RuntimeError:
        raise _Refused("the generator's state is damaged") from None
    return g


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an npz. Stored uncompressed, as np.savez does, so that all together are no larger than the file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        left = len(content)
        for member in archive.infolist():
            left -= member.file_size
            if member.compress_type != zipfile.ZIP_STORED or left < 0:
                raise _Refused(f"{_TENSORS} was not written by save_run: {member.filename!r} is packed")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: _fitting(arrays, name, len(content)) for name in arrays.files}


def _fitting(arrays: np.lib.npyio.NpzFile, name: str, most: int) -> np.ndarray:
    """One array, after a look at what its header promises: memory is asked for only if the bytes are there."""
    with arrays.zip.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > most:
        raise _Refused(f"the header of {name!r} promises {shape} of {dtype}, more than the file holds")
    return arrays[name]


def _array(t: Tensor) -> np.ndarray:
    a = t.detach().cpu().contiguous().numpy()
    return a.astype(a.dtype.newbyteorder("<"), copy=False)


def _number(name: str, loss: float) -> float | str:
    """JSON has no nan and no inf: they are kept as text, which `float` reads back."""
    try:
        loss = float(loss)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"the loss {name!r} must be a number, got {loss!r}: leave out what was not measured") from None
    return loss if math.isfinite(loss) else repr(loss)


def _text(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a loss needs a name such as 'dev', got {name!r}")
    return name


# ---- files -----------------------------------------------------------------------------------------------------------


def _json(about: dict[str, object]) -> bytes:
    """The facts as a file. Raises ValueError for what none can hold, such as half of a surrogate pair."""
    try:
        return json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except ValueError as error:
        raise ValueError(f"{_JSON} cannot hold this run ({error}): correct its symbols, names, note or seed") from None


def _no_number(constant: str) -> float:
    raise _Refused(f"{_JSON} holds {constant}, which save_run writes as a text")


def _read(file: Path, run: Path, *, most: int | None = None) -> bytes:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):  # a device or a pipe may never end
            raise ValueError(f"{run} is no run that can be read: {file.name} is no file")
        if most is not None and found.st_size > most:
            raise ValueError(f"{file} has {found.st_size:,} bytes, which no run needs: it is not read")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no run in {run}: {file.name} is missing, see the path") from None
    except OSError as error:
        raise OSError(f"cannot read {file} ({error.strerror})") from error


def _write(file: Path, content: bytes) -> None:
    with open(file, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())


def _sync(folder: Path) -> None:
    """Make the folder's entries last, where the system can (Windows opens no folder, some disks sync none)."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)
