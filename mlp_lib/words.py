"""The word list: the bundled names, the lecture's own file, or yours.

    words = load_words()                 # the bundled names, or what the environment variable MLP_LIB_WORDS names
    words = load_words("lecture")        # the lecture's file, downloaded once
    words = load_words("my_words.txt")   # one word per line, in any alphabet

Taught in: page 01.
"""

import codecs
import csv
import hashlib
import io
import os
import re
import unicodedata
import warnings
from pathlib import Path

from mlp_lib.checks import BOUNDARY

LECTURE_URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"
LECTURE_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"

_PACKAGE = Path(__file__).resolve().parent
# An installed wheel has the list inside the package; a checkout keeps it in data/, where people look for it.
_BUNDLED = (_PACKAGE / "names.txt", _PACKAGE.parent / "data" / "names.txt")


def load_words(source: str | Path | None = None) -> list[str]:
    """The words of a list, one per line, in the list's order; duplicates are kept.

    `"lecture"` is the lecture's own file; any other `source` is the path of your list ("~" is your home folder). `None`
    is the bundled list, or what the environment variable `MLP_LIB_WORDS` names: "lecture" or a path.

    Words become lower case and Unicode NFC; invisible characters are dropped; a space inside a line is a symbol like
    any other; of a table, the first column is read. One UserWarning lists what was changed.

    Raises FileNotFoundError or IsADirectoryError for a wrong path, ValueError for a file that is not a list of words
    or, for "lecture", not the lecture's file, and ConnectionError if the download fails. Source: lecture 00:09:03.

    >>> load_words()[:5]
    ['emma', 'olivia', 'ava', 'isabella', 'sophia']
    """
    named = ", which MLP_LIB_WORDS names," if source is None and chosen_list() else ""
    source = chosen_list(source)
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
        raise IsADirectoryError(f"{path}{named} is a directory: give the path of a text file with one word per line")
    if not path.exists():
        raise FileNotFoundError(
            f"no file at {path}{named} (working directory {Path.cwd()}): give a path that exists, None for the bundled "
            'names, or "lecture" for the lecture\'s own list'
        )
    return _parse(path.read_bytes(), str(path))


def chosen_list(source: str | Path | None = None) -> str | Path | None:
    """What `load_words(source)` reads: `source`, else what `MLP_LIB_WORDS` names, else None for the bundled list."""
    return source if source is not None else os.environ.get("MLP_LIB_WORDS") or None


# ---- from bytes to words ---------------------------------------------------------------------------------------------

_NOT_TEXT = re.compile(r"[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufffd]")
_INVISIBLE = re.compile(r"[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
# Joiners and non-joiners change letters in Arabic and Indian scripts, but not in Latin, Greek, Cyrillic or Armenian.
_JOINER_WITHOUT_USE = re.compile(r"(?<![^\0-\u058f\u1e00-\u1fff])[\u200c\u200d]+")
_NUMBER = re.compile(r"[\d.,%+-]+")

# Lines that are not words: how to recognise them, and what to say. Matched against the lines joined by "\n".
_NOT_WORDS = (
    (r"^[\[{<]", "which looks like JSON, code or a web page: save the list as plain text with one word per line"),
    (r"^([-+*–—]\s|[•·‣▪◦●○])", "which begins with a bullet: remove the bullets"),
    (r"^\d+[.):]\s*\D", "which begins with a number: remove the numbers"),
    (r"^[\"“”„«»「『]|[\"“”«»」』]$|^(['‘`]).*['’`]$", "which has quotation marks around it: remove them"),
    (
        r"[,;\t|،、，；]",
        "which contains a column separator: write one word per line, or give every line the same columns",
    ),
    (
        re.escape(BOUNDARY),
        f"but {BOUNDARY!r} marks the start and end of a word here: leave it out, as in 'st john' for 'st. john'",
    ),
)
_COUNTED = re.compile(r"^\d+\s+\D|\D\s+\d[\d ]*$", re.M)  # "1 emma" or "emma 17102"; refused if most lines match


def _parse(content: bytes, name: str) -> list[str]:
    text = _decoded(content, name)
    changes = []
    text, n_invisible = _INVISIBLE.subn("", text)
    if (composed := unicodedata.normalize("NFC", text)) != text:
        changes.append("joined letters and accents (Unicode NFC)")
    text, n_joiners = _JOINER_WITHOUT_USE.subn("", composed)
    if n_invisible + n_joiners:
        changes.append(f"dropped invisible characters ({n_invisible + n_joiners:,})")
    if "İ" in text or "ı" in text:  # Turkish or Azeri: lower() turns İ into i with a second dot, and I into i, not ı
        dotted = text.replace("İ", "i").replace("I", "ı")
        if dotted != text:
            changes.append("lower-cased İ and I to i and ı, as in Turkish")
            text = dotted

    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), start=1) if line.strip()}
    if rows := _table(list(lines.values())):
        heading = _has_heading(rows)
        first = repr(rows[0][0].strip())
        changes.append(f"read the first of {len(rows[0])} columns, {'without' if heading else 'from'} {first}")
        cells = zip(list(lines)[heading:], (row[0].strip() for row in rows[heading:]), strict=True)
        lines = {number: cell for number, cell in cells if cell}
        _refuse_columns_without_words(list(lines.values()), name)
    if not lines:
        raise ValueError(f"{name} holds no words: give a text file with one word per line")
    _refuse_what_is_not_a_word(lines, name)

    found = list(lines.values())
    words = [" ".join(word.split()) for word in found]
    if n := _n_different(found, words):
        changes.append(f"evened out spaces ({n:,})")
    lowered = [unicodedata.normalize("NFC", word.lower()) for word in words]
    if n := _n_different(words, lowered):
        changes.append(f"made words lower case ({n:,})")
    if changes:
        warnings.warn(f"{name}: {'; '.join(changes)}", stacklevel=3)
    return lowered


def _n_different(before: list[str], after: list[str]) -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))


def _decoded(content: bytes, name: str) -> str:
    encoding = "UTF-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "UTF-8"
    remedy = "save the list as plain text in UTF-8"
    try:
        text = content.decode("utf-8-sig" if encoding == "UTF-8" else encoding)
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is 0x{content[error.start]:02x}"
        raise ValueError(f"{name} is not {encoding} text ({byte}): {remedy}") from None
    if found := _NOT_TEXT.search(text):
        raise ValueError(f"{name} contains the character U+{ord(found[0]):04X}, which is not text: {remedy}")
    return text


def _table(lines: list[str]) -> list[list[str]] | None:
    """The rows, if there are several lines and one separator gives all of them the same number of columns."""
    for separator in "\t;,":
        if len(lines) > 1 and all(separator in line for line in lines):
            try:
                rows = [next(csv.reader([line], delimiter=separator)) for line in lines]
            except csv.Error:
                continue
            if len({len(row) for row in rows}) == 1 < len(rows[0]):
                return rows
    return None


def _has_heading(rows: list[list[str]]) -> bool:
    """Whether some column holds a number in every row but the first."""
    numbers = [[_NUMBER.fullmatch(cell.strip()) is not None for cell in row] for row in rows]
    return any(all(column[1:]) and not column[0] for column in zip(*numbers, strict=True))


def _refuse_columns_without_words(cells: list[str], name: str) -> None:
    remedy = "move the words to the first column"
    if cells and sum(_NUMBER.fullmatch(cell) is not None for cell in cells) > len(cells) / 2:
        raise ValueError(f"the first column of {name} holds numbers, such as {cells[0]!r}: {remedy}")
    if len(cells) > 2 and len(set(cells)) == 1:
        raise ValueError(f"the first column of {name} holds {cells[0]!r} in every row: {remedy}")


def _refuse_what_is_not_a_word(lines: dict[int, str], name: str) -> None:
    text = "\n".join(lines.values())
    number_of = list(lines)

    def refuse(found: re.Match, why: str) -> None:
        number = number_of[text.count("\n", 0, found.start())]
        raise ValueError(f"line {number} of {name} is {lines[number][:40]!r}, {why}")

    for pattern, why in _NOT_WORDS:
        if found := re.search(pattern, text, re.M):
            refuse(found, why)
    counted = list(_COUNTED.finditer(text))
    if len(counted) > len(lines) / 2:
        refuse(counted[0], "and most lines have a number beside the word: remove the numbers")


# ---- the lecture's own file ------------------------------------------------------------------------------------------


def _lecture_bytes() -> bytes:
    """The lecture's file from a named copy, from the cache, or downloaded; the checksum is verified in every case."""
    if copy := os.environ.get("MLP_LECTURE_NAMES"):
        if not Path(copy).is_file():
            raise FileNotFoundError(
                f"MLP_LECTURE_NAMES names {copy}, which is not a file: correct the path or unset it"
            )
        return _checked(Path(copy).read_bytes(), copy, "point MLP_LECTURE_NAMES at the right file or unset it")

    import pooch  # here, because it takes a quarter of a second and only the lecture's file needs it

    try:
        folder = Path(os.environ.get("MLP_LIB_CACHE") or pooch.os_cache("mlp_lib")).expanduser()
    except RuntimeError:  # there is no home directory
        raise FileNotFoundError(
            "there is no home folder to keep the lecture's list in: set the environment variable MLP_LIB_CACHE to a "
            "folder, or MLP_LECTURE_NAMES to a copy of the file"
        ) from None
    try:
        path = pooch.retrieve(LECTURE_URL, LECTURE_SHA256, "lecture_names.txt", folder, downloader=_download)
        return Path(path).read_bytes()
    except ConnectionError:
        raise
    except OSError as error:  # the folder cannot be written, or the disk is full
        warnings.warn(f"could not keep the download in {folder} ({error}): it will be fetched again", stacklevel=3)
        content = io.BytesIO()
        _download(LECTURE_URL, content)
        return _checked(content.getvalue(), LECTURE_URL, "try again")
    except ValueError:  # a wrong checksum; pooch has already deleted the file
        raise ValueError(
            f"{LECTURE_URL} gave a file that is not the lecture's names.txt: try again, or set MLP_LECTURE_NAMES to "
            "a copy of the file"
        ) from None


def _download(url: str, output_file: object, pooch: object = None) -> None:
    """Like pooch's own downloader, but any failure becomes a ConnectionError of one sentence."""
    from pooch import HTTPDownloader
    from requests import RequestException

    try:
        HTTPDownloader()(url, output_file, pooch)
    except RequestException as error:
        raise ConnectionError(
            f"could not download {url} ({type(error).__name__}): check the connection, or set MLP_LECTURE_NAMES to a "
            "copy of the file"
        ) from error


def _checked(content: bytes, name: str, remedy: str) -> bytes:
    found = hashlib.sha256(b"\n".join(content.splitlines())).hexdigest()  # line endings do not matter
    if found != LECTURE_SHA256:
        raise ValueError(
            f"{name} is not the lecture's names.txt (sha256 {found[:12]}..., "
            f"expected {LECTURE_SHA256[:12]}...): {remedy}"
        )
    return content
