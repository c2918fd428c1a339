"""Reading a list of words (stand-in)."""

import hashlib
import http.client
import os
import tempfile
import unicodedata
import urllib.request
import warnings
from pathlib import Path

from mlp_lib.checks import BOUNDARY

LECTURE_URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"
LECTURE_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
_DOWNLOAD_SECONDS = 30

_PACKAGE = Path(__file__).resolve().parent
# An installed wheel carries the list inside the package; a checkout keeps it in data/, where people look for it.
_BUNDLED = (_PACKAGE / "names.txt", _PACKAGE.parent / "data" / "names.txt")


def load_words(source: str | Path | None = None) -> list[str]:
    """The words of a list, one per line, in the list's order; duplicates are kept.

    `None` gives the bundled names, `"lecture"` the lecture's own file (from the environment variable
    `MLP_LECTURE_NAMES` if it names a copy, else downloaded once and cached), anything else is the path of your list,
    in which "~" is your home folder.

    Harmless differences are evened out: a byte order mark, CRLF line ends, blank lines, spaces around a word, upper
    case, and letters with accents written as two code points (Unicode NFC).

    Raises FileNotFoundError or IsADirectoryError for a wrong path, ValueError for a file that is not a list of words
    (empty, not UTF-8 text, a line of several words, a "." inside a word) or is not the lecture's file, and
    ConnectionError if the download fails. Source: lecture 00:09:03. Taught in: notebook 01.

    >>> load_words()[:5]
    ['emma', 'olivia', 'ava', 'isabella', 'sophia']
    """
    if source is None:
        path = next((p for p in _BUNDLED if p.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"the bundled list {_BUNDLED[-1]} is missing: restore it with `git checkout data/names.txt`"
            )
        return _parse(path.read_bytes(), str(path))
    if source == "lecture":
        return _parse(_lecture_bytes(), "the lecture's names.txt")
    if not isinstance(source, (str, Path)):
        raise TypeError(f'source must be None, "lecture" or a path, got {source!r}')
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: give the path of a text file with one word a line")
    if not path.exists():
        raise FileNotFoundError(
            f"no file at {path} (looked from {Path.cwd()}): give a path that exists, None for the bundled names, "
            'or "lecture" for the lecture\'s own list'
        )
    return _parse(path.read_bytes(), str(path))


def _parse(content: bytes, name: str) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is not UTF-8 text (byte {error.start} is 0x{content[error.start]:02x}): "
            "save the list as plain text in UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{name} holds a zero byte, so it is not plain text: give a text file with one word a line")
    words = []
    for number, line in enumerate(text.splitlines(), start=1):
        word = unicodedata.normalize("NFC", line.strip().lower())
        if not word:
            continue
        if any(c.isspace() for c in word):
            raise ValueError(
                f"line {number} of {name} holds several words, {word[:40]!r}: put each on its own line, or a hyphen "
                "where one name has a space"
            )
        if BOUNDARY in word:
            raise ValueError(
                f"line {number} of {name} holds {word[:40]!r}, but {BOUNDARY!r} marks the start and end of a word "
                "here: remove it from the list"
            )
        words.append(word)
    if not words:
        raise ValueError(f"{name} holds no words: give a text file with one word a line")
    return words


def _lecture_bytes() -> bytes:
    """The lecture's file from a named copy, from the cache, or from the net; its checksum is right in every case."""
    copy = os.environ.get("MLP_LECTURE_NAMES")
    if copy:
        if not Path(copy).is_file():
            raise FileNotFoundError(f"MLP_LECTURE_NAMES names {copy}, which is no file: correct the path or unset it")
        return _checked(Path(copy).read_bytes(), copy, "point MLP_LECTURE_NAMES at the right file or unset it")
    cached = _cache_folder() / "lecture_names.txt"
    if cached.is_file():
        return _checked(cached.read_bytes(), str(cached), "delete it and it is fetched anew")
    content = _checked(
        _download(LECTURE_URL), LECTURE_URL, "the download was cut off or the file has changed; try again"
    )
    _write_whole(cached, content)
    return content


def _cache_folder() -> Path:
    if os.environ.get("MLP_LIB_CACHE"):
        return Path(os.environ["MLP_LIB_CACHE"])
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlp_lib"
    except RuntimeError:  # pathlib's word for a user without a home
        raise FileNotFoundError(
            "no home folder was found to keep the lecture's list in: name a folder in the environment variable "
            "MLP_LIB_CACHE, or a copy of the file in MLP_LECTURE_NAMES"
        ) from None


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_DOWNLOAD_SECONDS) as answer:
            return answer.read()
    except http.client.IncompleteRead as error:
        short = "" if error.expected is None else f", {error.expected:,} short"  # an answer in chunks has no length
        raise ConnectionError(
            f"the download of {url} stopped after {len(error.partial):,} bytes{short}: try again"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(
            f"could not download {url} ({reason}): check the connection, or set MLP_LECTURE_NAMES to a copy of the file"
        ) from error


def _checked(content: bytes, name: str, remedy: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != LECTURE_SHA256:
        raise ValueError(
            f"{name} is not the lecture's names.txt (sha256 {found[:12]}..., "
            f"expected {LECTURE_SHA256[:12]}...): {remedy}"
        )
    return content


def _write_whole(path: Path, content: bytes) -> None:
    """Put the file in place in one move, so that no reader and no interruption ever sees half of it."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        # The words are right and in hand; only the next call pays for it.
        warnings.warn(f"could not keep the download in {path} ({error}): it will be fetched again", stacklevel=4)
