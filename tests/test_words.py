"""Word lists: what is read, what is changed with a warning, what is refused, and the lecture's own file."""

import hashlib
import http.server
import sys
import threading
import unicodedata
from pathlib import Path

import pytest

from mlp_lib import Vocab, build_dataset, load_words, words


@pytest.fixture
def listed(tmp_path):
    """Writes a list and gives its path."""

    def write(content):
        path = tmp_path / "words.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# --- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("emma\nolivia", ["emma", "olivia"]),
        ("\ufeffemma\r\n\r\n \tolivia  \r\n", ["emma", "olivia"]),
        ("emma\rolivia\r", ["emma", "olivia"]),
        ("b\na\nb\n", ["b", "a", "b"]),
        ("da silva\nnew york\n12 monkeys\n", ["da silva", "new york", "12 monkeys"]),
        ("zoë\nİzmir\n".replace("İ", "i").encode("utf-16"), ["zoë", "izmir"]),
        ("'t hooft\nʻokina\no'brien\n-ing\nno 5\n", ["'t hooft", "ʻokina", "o'brien", "-ing", "no 5"]),
        # a non-joiner in a Persian word, a joiner in a Malayalam one, a vowel sign that NFC leaves alone
        ("می\u200cخواهم\nക്\u200d\nकि\n", ["می\u200cخواهم", "ക്\u200d", "कि"]),
        ("ılgaz\n", ["ılgaz"]),
    ],
)
def test_words_are_read_without_a_warning(listed, content, expected):
    path = listed(content)
    assert load_words(path) == load_words(str(path)) == expected  # pytest turns a warning into an error


def test_space_is_a_symbol_like_any_other(listed):
    found = load_words(listed("da silva\n"))
    X, Y = build_dataset(found, Vocab.from_words(found))
    assert len(X) == len("da silva.")
    assert Vocab.from_words(found).decode(Y) == "da silva."


CHANGED = [
    ("Emma\nOLIVIA\nava\n", ["emma", "olivia", "ava"], "made words lower case (2)"),
    ("ΛΌΓΟΣ\n", ["λόγος"], "made words lower case (1)"),
    (unicodedata.normalize("NFD", "zoë\n"), ["zoë"], "joined letters and accents (Unicode NFC)"),
    ("new\u00a0york\nda  silva\n", ["new york", "da silva"], "evened out spaces (2)"),
    ("em\u200bma\n\u2060\nso\u00adfia\nm\u200dax\n", ["emma", "sofia", "max"], "dropped invisible characters (4)"),
    ("İbrahim\n", ["ibrahim"], "lower-cased İ and I to i and ı, as in Turkish"),
    (
        "Işıl\nIRMAK\nAli\n",
        ["ışıl", "ırmak", "ali"],
        "lower-cased İ and I to i and ı, as in Turkish; made words lower case (2)",
    ),
    ("emma,F,17102\nmary ann,F,5\n", ["emma", "mary ann"], "read the first of 3 columns, from 'emma'"),
    ("name;births\nemma;17102\nava;5\n", ["emma", "ava"], "read the first of 2 columns, without 'name'"),
    ('"emma"\t"F"\n\n"ava"\t"F"\n', ["emma", "ava"], "read the first of 2 columns, from 'emma'"),
    ("emma,\nava,\n", ["emma", "ava"], "read the first of 2 columns, from 'emma'"),
]


@pytest.mark.parametrize(("content", "expected", "says"), CHANGED)
def test_changes_to_the_words_give_one_warning(listed, content, expected, says):
    path = listed(content)
    with pytest.warns(UserWarning, match=": ") as told:
        assert load_words(path) == expected
    assert [str(w.message) for w in told] == [f"{path}: {says}"]
    assert told[0].filename == __file__


# --- what is refused ------------------------------------------------------------------------------------------------

BULLET = "which begins with a bullet: remove the bullets"
NUMBERED = "which begins with a number: remove the numbers"
BESIDE = "and most lines have a number beside the word: remove the numbers"
QUOTED = "which has quotation marks around it: remove them"
MARKUP = "which looks like JSON, code or a web page: save the list as plain text with one word per line"
COLUMNS = "which contains a column separator: write one word per line, or give every line the same columns"
DOT = "but '.' marks the start and end of a word here: leave it out, as in 'st john' for 'st. john'"
EMPTY = "{path} holds no words: give a text file with one word per line"
GIVE = "give the path of a text file with one word per line"
MOVE = "move the words to the first column"
SAVE = "save the list as plain text in UTF-8"


def line(number, seen, why):
    return f"line {number} of {{path}} is {seen!r}, {why}"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", EMPTY),
        ("\n \r\n\u200b\n", EMPTY),
        (b"emma\n\xff\xfe", f"{{path}} is not UTF-8 text (byte 5 is 0xff): {SAVE}"),
        (b"\xff\xfee", f"{{path}} is not UTF-16 text (byte 2 is 0x65): {SAVE}"),
        ("em\0ma\n", f"{{path}} contains the character U+0000, which is not text: {SAVE}"),
        ("ren\ufffde\n", f"{{path}} contains the character U+FFFD, which is not text: {SAVE}"),
        ("emma\n\nst. john\n", line(3, "st. john", DOT)),
        ('["emma", "olivia"]', line(1, '["emma", "olivia"]', MARKUP)),
        ('{\n"emma": 1,\n"ava": 2\n}', line(1, "{", MARKUP)),
        ('["emma", 1]\n["ava", 2]\n', line(1, '["emma"', MARKUP)),
        ("<!DOCTYPE html>\n<html>\n", line(1, "<!DOCTYPE html>", MARKUP)),
        ("# girls\n- emma\n", line(2, "- emma", BULLET)),
        ("* emma\n", line(1, "* emma", BULLET)),
        ("•emma\n", line(1, "•emma", BULLET)),
        ("1. emma\n2. ava\n", line(1, "1. emma", NUMBERED)),
        ("1) emma\n", line(1, "1) emma", NUMBERED)),
        ("1 emma\n2 ava\n", line(1, "1 emma", BESIDE)),
        ("girls\nemma F 17102\nava F 5\n", line(2, "emma F 17102", BESIDE)),
        ('"emma"\n"olivia"\n', line(1, '"emma"', QUOTED)),
        ("'emma',\n'olivia',\n", line(1, "'emma'", QUOTED)),
        ("«emma»\n", line(1, "«emma»", QUOTED)),
        ("emma, olivia, ava\n", line(1, "emma, olivia, ava", COLUMNS)),
        ("emma,F,17102\nolivia\n", line(1, "emma,F,17102", COLUMNS)),
        ("emma\tF\nolivia\n", line(1, "emma\tF", COLUMNS)),
        ("王伟，李娜\n", line(1, "王伟，李娜", COLUMNS)),
        (
            "1,emma\n2,ava\n",
            "the first column of {path} holds numbers, such as '1': " + MOVE,
        ),
        (
            "AK,F,1910,mary,14\nAK,F,1910,anna,12\nAK,F,1910,margaret,9\n",
            "the first column of {path} holds 'AK' in every row: " + MOVE,
        ),
    ],
)
def test_file_that_is_not_a_word_list_raises_ValueError(listed, content, sentence):
    path = listed(content)
    with pytest.raises(ValueError) as caught:
        load_words(path)
    assert str(caught.value) == sentence.replace("{path}", str(path))


def test_source_that_is_not_a_file_raises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(words, "_BUNDLED", (tmp_path / "a", tmp_path / "names.txt"))
    missing = (
        f"(working directory {tmp_path}): give a path that exists, None for the bundled names, "
        'or "lecture" for the lecture\'s own list'
    )
    for source, error, sentence in (
        ("namse.txt", FileNotFoundError, f"no file at namse.txt {missing}"),
        (
            tmp_path,
            IsADirectoryError,
            f"{tmp_path} is a directory: {GIVE}",
        ),
        (42, TypeError, 'source must be None, "lecture" or a path, got 42'),
        (
            None,
            FileNotFoundError,
            f"the bundled list {tmp_path / 'names.txt'} is missing: restore it with `git checkout data/names.txt`",
        ),
    ):
        with pytest.raises(error) as caught:
            load_words(source)
        assert str(caught.value) == sentence
    monkeypatch.setenv("MLP_LIB_WORDS", "namse.txt")
    with pytest.raises(FileNotFoundError) as caught:
        load_words()
    assert str(caught.value) == f"no file at namse.txt, which MLP_LIB_WORDS names, {missing}"


def test_tilde_means_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.txt").write_text("emma\n")
    assert load_words("~/mine.txt") == ["emma"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~nobody.txt").write_text("ava\n")
    assert load_words("~nobody.txt") == ["ava"], "~nobody is not the home folder of a user"


# --- one switch for the whole course --------------------------------------------------------------------------------


def test_MLP_LIB_WORDS_replaces_the_bundled_list(listed, monkeypatch):
    bundled = load_words()
    path = listed("emma\n")
    monkeypatch.setenv("MLP_LIB_WORDS", str(path))
    assert load_words() == load_words(None) == ["emma"]
    other = path.with_name("other.txt")
    other.write_text("ava\n")
    assert load_words(other) == ["ava"], "a list named in the call must come first"
    monkeypatch.setenv("MLP_LIB_WORDS", "")
    assert load_words() == bundled


def test_MLP_LIB_WORDS_can_be_lecture(tmp_path, monkeypatch):
    copy = tmp_path / "copy.txt"
    copy.write_bytes(b"emma\nolivia")
    pretend_checksum(monkeypatch, copy.read_bytes())
    monkeypatch.setenv("MLP_LECTURE_NAMES", str(copy))
    monkeypatch.setenv("MLP_LIB_WORDS", "lecture")
    assert load_words() == ["emma", "olivia"]


# --- the lecture's own file -----------------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.delenv("MLP_LECTURE_NAMES", raising=False)
    monkeypatch.setenv("MLP_LIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def serve(monkeypatch):
    """A web server on this machine that answers every request with `content`, and claims `length` bytes."""
    servers = []

    def start(content, length=None):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(words, "LECTURE_URL", f"http://127.0.0.1:{server.server_port}/names.txt")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        return requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def pretend_checksum(monkeypatch, content):
    monkeypatch.setattr(words, "LECTURE_SHA256", hashlib.sha256(content).hexdigest())


def files(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_lecture_list_is_downloaded_once_then_cached(cache, serve, monkeypatch):
    content = b"emma\nolivia"
    pretend_checksum(monkeypatch, content)
    requests = serve(content)
    assert load_words("lecture") == load_words("lecture") == ["emma", "olivia"]
    assert requests == ["/names.txt"]
    assert files(cache) == ["lecture_names.txt"]
    (cache / "lecture_names.txt").write_bytes(b"emma\nol")
    assert load_words("lecture") == ["emma", "olivia"], "a damaged copy must be replaced"
    assert len(requests) == 2


def test_offline_download_raises_ConnectionError(cache, monkeypatch):
    monkeypatch.setattr(words, "LECTURE_URL", "http://127.0.0.1:9/names.txt")  # the discard port: nothing listens
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ConnectionError) as caught:
        load_words("lecture")
    assert str(caught.value) == (
        "could not download http://127.0.0.1:9/names.txt (ConnectionError): check the connection, or set "
        "MLP_LECTURE_NAMES to a copy of the file"
    )
    assert files(cache) == []


def test_truncated_download_raises_ConnectionError(cache, serve):
    serve(b"emma\nol", length=228_145)
    with pytest.raises(ConnectionError, match=r"could not download .* \(ChunkedEncodingError\): check the connection"):
        load_words("lecture")
    assert files(cache) == []


def test_download_with_a_wrong_checksum_raises_ValueError(cache, serve):
    serve(b"emma\nolivia\n")
    with pytest.raises(ValueError, match=r"gave a file that is not the lecture's names\.txt: try again, or set MLP_"):
        load_words("lecture")
    assert files(cache) == []


def test_unwritable_cache_gives_a_warning_and_the_words(cache, serve, monkeypatch):
    content = b"emma\nolivia"
    pretend_checksum(monkeypatch, content)
    serve(content)
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="could not keep the download in .*: it will be fetched again"):
        assert load_words("lecture") == ["emma", "olivia"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows finds a home folder in other ways")
def test_missing_home_raises_FileNotFoundError_with_both_remedies(cache, monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    for name in ("HOME", "MLP_LIB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(FileNotFoundError, match=r"there is no home folder .* MLP_LIB_CACHE .* MLP_LECTURE_NAMES to a"):
        load_words("lecture")
    assert not Path("~").exists()


def test_named_copy_is_verified_with_any_line_endings(cache, monkeypatch, tmp_path):
    copy = tmp_path / "copy.txt"
    monkeypatch.setenv("MLP_LECTURE_NAMES", str(copy))
    with pytest.raises(FileNotFoundError, match=r"which is not a file: correct the path or unset it"):
        load_words("lecture")
    copy.write_text("emma\n")
    with pytest.raises(ValueError, match=r"copy\.txt is not the lecture's names\.txt .*: point MLP_LECTURE_NAMES at"):
        load_words("lecture")
    pretend_checksum(monkeypatch, b"emma\nolivia")
    for content in (b"emma\nolivia", b"emma\nolivia\n", b"emma\r\nolivia\r\n", b"emma\rolivia"):
        copy.write_bytes(content)
        assert load_words("lecture") == ["emma", "olivia"]
