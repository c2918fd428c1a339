"""Words to tensors: what is handled, what is refused and how, and the download."""

import http.client
import http.server
import io
import threading
import unicodedata

import numpy as np
import pytest
import torch

from mlp_lib import Vocab, build_dataset, data, load_words, make_splits, split_words

# --- load_words: harmless differences -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"emma\nolivia\n",
        b"emma\nolivia",
        b"\xef\xbb\xbfemma\nolivia\n",
        b"emma\r\nolivia\r\n",
        b"emma\rolivia\r",
        b"\n\nemma\n   \n\tolivia  \n\n",
        b"Emma\nOLIVIA\n",
    ],
    ids=["plain", "no last newline", "byte order mark", "CRLF", "CR", "blanks and spaces", "upper case"],
)
def test_harmless_differences_are_evened_out(tmp_path, content):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    assert load_words(path) == load_words(str(path)) == ["emma", "olivia"]


def test_accents_written_in_two_ways_are_one_symbol(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("zo\u00eb\n" + unicodedata.normalize("NFD", "zo\u00eb\n"), encoding="utf-8")
    first, second = load_words(path)
    assert first == second == "zo\u00eb"


def test_duplicates_and_order_are_kept(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("b\na\nb\n")
    assert load_words(path) == ["b", "a", "b"]


# --- load_words: what is refused, in one sentence -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "{path} holds no words: give a text file with one word a line"),
        (b"\n \r\n\n", "{path} holds no words: give a text file with one word a line"),
        (b"emma\n\xff\xfe", "{path} is not UTF-8 text (byte 5 is 0xff): save the list as plain text in UTF-8"),
        (b"em\0ma\n", "{path} holds a zero byte, so it is not plain text: give a text file with one word a line"),
        (
            b"emma\nmary ann\n",
            "line 2 of {path} holds several words, 'mary ann': put each on its own line, or a hyphen "
            "where one name has a space",
        ),
        (
            b"emma\n\nst.john\n",
            "line 3 of {path} holds 'st.john', but '.' marks the start and end of a word here: remove it from the list",
        ),
    ],
)
def test_a_file_that_is_no_word_list(tmp_path, content, sentence):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_words(path)
    assert str(caught.value) == sentence.format(path=path)


def test_a_missing_file_names_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load_words("namse.txt")
    assert str(caught.value) == (
        f"no file at namse.txt (looked from {tmp_path}): give a path that exists, None for the bundled names, "
        'or "lecture" for the lecture\'s own list'
    )


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.txt").write_text("emma\n")
    assert load_words("~/mine.txt") == ["emma"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~nobody.txt").write_text("ava\n")
    assert load_words("~nobody.txt") == ["ava"], "a name that only looks like a user's home"


def test_a_directory(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a directory: give the path of a text file with one word a line"):
        load_words(tmp_path)


def test_a_source_of_the_wrong_type():
    with pytest.raises(TypeError, match='source must be None, "lecture" or a path, got 42'):
        load_words(42)


def test_a_missing_bundled_list(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "_BUNDLED", (tmp_path / "a", tmp_path / "names.txt"))
    with pytest.raises(
        FileNotFoundError, match=r"names\.txt is missing: restore it with `git checkout data/names\.txt`"
    ):
        load_words()


# --- the lecture's own file -----------------------------------------------------------------------------------------


@pytest.fixture
def no_copy(monkeypatch, tmp_path):
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
        monkeypatch.setattr(data, "LECTURE_URL", f"http://127.0.0.1:{server.server_port}/names.txt")
        return requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _pretend_checksum(monkeypatch, content):
    import hashlib

    monkeypatch.setattr(data, "LECTURE_SHA256", hashlib.sha256(content).hexdigest())


def test_downloaded_once_then_cached(no_copy, serve, monkeypatch):
    content = b"emma\nolivia\n"
    _pretend_checksum(monkeypatch, content)
    requests = serve(content)
    assert load_words("lecture") == load_words("lecture") == ["emma", "olivia"]
    assert requests == ["/names.txt"]
    assert [p.name for p in no_copy.iterdir()] == ["lecture_names.txt"]


def test_offline(no_copy, monkeypatch):
    monkeypatch.setattr(data, "LECTURE_URL", "http://127.0.0.1:9/names.txt")  # the discard port: nobody listens
    with pytest.raises(
        ConnectionError, match=r"could not download .*: check the connection, or set MLP_LECTURE_NAMES to"
    ):
        load_words("lecture")
    assert not no_copy.exists()


def test_cut_off_half_way(no_copy, serve):
    serve(b"emma\nol", length=228_145)
    with pytest.raises(ConnectionError, match=r"stopped after 7 bytes, 228,138 short: try again"):
        load_words("lecture")
    assert not no_copy.exists()


def test_an_answer_in_chunks_that_is_cut_off_has_no_length_to_name(no_copy, monkeypatch):
    class Answer(io.BytesIO):
        def read(self):
            raise http.client.IncompleteRead(b"emma")

    monkeypatch.setattr(data.urllib.request, "urlopen", lambda url, timeout: Answer())
    with pytest.raises(ConnectionError, match=r"stopped after 4 bytes: try again"):
        load_words("lecture")


def test_wrong_checksum(no_copy, serve):
    serve(b"emma\nolivia\n")
    with pytest.raises(ValueError, match=r"is not the lecture's names\.txt \(sha256 .*\): the download was cut off or"):
        load_words("lecture")
    assert not no_copy.exists()


def test_a_damaged_cache_says_what_to_delete(no_copy):
    no_copy.mkdir()
    (no_copy / "lecture_names.txt").write_text("emma\n")
    with pytest.raises(
        ValueError, match=r"lecture_names\.txt is not the lecture's .*: delete it and it is fetched anew"
    ):
        load_words("lecture")


def test_a_cache_that_cannot_be_written_is_told_and_costs_nothing(no_copy, serve, monkeypatch):
    content = b"emma\nolivia\n"
    _pretend_checksum(monkeypatch, content)
    serve(content)
    no_copy.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="could not keep the download .*: it will be fetched again"):
        assert load_words("lecture") == ["emma", "olivia"]


def test_a_failed_move_leaves_nothing_half_written(no_copy, serve, monkeypatch):
    content = b"emma\nolivia\n"
    _pretend_checksum(monkeypatch, content)
    serve(content)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.os, "replace", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        load_words("lecture")
    assert list(no_copy.iterdir()) == []


def test_without_a_home_a_folder_or_a_copy_is_asked_for(no_copy, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("MLP_LIB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(data.Path, "home", homeless)
    with pytest.raises(FileNotFoundError, match=r"no home folder .* MLP_LIB_CACHE, or a copy of the file in MLP_LEC"):
        load_words("lecture")


def test_a_named_copy_is_checked(no_copy, monkeypatch, tmp_path):
    copy = tmp_path / "copy.txt"
    monkeypatch.setenv("MLP_LECTURE_NAMES", str(copy))
    with pytest.raises(FileNotFoundError, match=r"which is no file: correct the path or unset it"):
        load_words("lecture")
    copy.write_text("emma\n")
    with pytest.raises(ValueError, match=r"copy\.txt is not the lecture's names\.txt .*: point MLP_LECTURE_NAMES at"):
        load_words("lecture")


# --- Vocab ----------------------------------------------------------------------------------------------------------


def test_encode_and_decode_undo_each_other():
    vocab = Vocab.from_words(["zoë", "emma"])
    assert vocab.decode(vocab.encode("zoë.")) == "zoë."
    assert vocab.decode(torch.tensor([0, 1])) == ".a"
    assert len(vocab) == 7
    assert vocab == Vocab("aemozë")
    assert vocab != Vocab("aemoz")
    assert repr(vocab) == "Vocab('.aemozë')"
    assert hash(vocab) == hash(Vocab("aemozë"))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: Vocab(["a", "bc"]), ValueError, "each symbol must be one character, got 'bc'"),
        (
            lambda: Vocab("a."),
            ValueError,
            "the symbols include '.', which is added as symbol 0 by itself: leave it out",
        ),
        (lambda: Vocab("aba"), ValueError, "the symbol 'a' is listed twice: list each once"),
        (lambda: Vocab(""), ValueError, "a vocabulary needs at least one symbol besides '.', got none"),
        (
            lambda: Vocab.from_words([]),
            ValueError,
            "cannot build a vocabulary from 0 words without a character: load some words first",
        ),
        (
            lambda: Vocab.from_words("emma"),
            TypeError,
            "words must be a list of str, got one str 'emma': write ['emma']",
        ),
        (lambda: Vocab.from_words(["a", 3]), TypeError, "words must hold str only, got 3"),
        (
            lambda: Vocab("ab").encode("abc"),
            ValueError,
            "the character 'c' in 'abc' is not among the 3 symbols '.ab': "
            "use only these, or build the vocabulary from a list that has it",
        ),
        (lambda: Vocab("ab").decode([0, 3]), ValueError, "index 3 has no symbol: this vocabulary has 3, from 0 to 2"),
    ],
)
def test_vocab_refuses(call, error, sentence):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == sentence


# --- build_dataset --------------------------------------------------------------------------------------------------


def test_one_word_worked_out():
    X, Y = build_dataset(["emma"], Vocab("aem"))
    assert X.tolist() == [[0, 0, 0], [0, 0, 2], [0, 2, 3], [2, 3, 3], [3, 3, 1]]
    assert Y.tolist() == [2, 3, 3, 1, 0]


def test_an_empty_word_gives_the_row_that_the_lectures_loop_gives():
    X, Y = build_dataset(["", "a"], Vocab("a"), block_size=2)
    assert X.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert Y.tolist() == [0, 1, 0]


def test_characters_beyond_ascii():
    words = ["αβ", "β𝄞", "é"]
    vocab = Vocab.from_words(words)
    X, Y = build_dataset(words, vocab, block_size=1)
    assert "".join(vocab.decode(Y)) == "αβ.β𝄞.é."
    assert "".join(vocab.decode(X[:, 0])) == ".αβ.β𝄞.é"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_a_smaller_dtype_holds_the_same_indices(dtype):
    words = load_words()[:100]
    vocab = Vocab.from_words(words)
    wide, narrow = build_dataset(words, vocab), build_dataset(words, vocab, dtype=dtype)
    assert all(n.dtype == dtype and torch.equal(w, n.long()) for w, n in zip(wide, narrow, strict=True))


def test_the_words_are_not_changed():
    words = ["emma", "olivia"]
    build_dataset(words, Vocab.from_words(words))
    assert words == ["emma", "olivia"]


VOCAB = Vocab("aem")


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: build_dataset(["emma"], VOCAB, 0), ValueError, "block_size must be at least 1, got 0"),
        (lambda: build_dataset(["emma"], VOCAB, -3), ValueError, "block_size must be at least 1, got -3"),
        (lambda: build_dataset(["emma"], VOCAB, 2.0), TypeError, "block_size must be a whole number, got 2.0"),
        (lambda: build_dataset(["emma"], VOCAB, True), TypeError, "block_size must be a whole number, got True"),
        (
            lambda: build_dataset([], VOCAB),
            ValueError,
            "cannot build a dataset from an empty list: load some words first",
        ),
        (
            lambda: build_dataset("emma", VOCAB),
            TypeError,
            "words must be a list of str, got one str 'emma': write ['emma']",
        ),
        (
            lambda: build_dataset(None, VOCAB),
            TypeError,
            "words must be a list of str, got NoneType: load_words() gives one",
        ),
        (
            lambda: build_dataset(["emma", "ämma"], VOCAB),
            ValueError,
            "the character 'ä' in 'ämma' is not among the 4 symbols '.aem': "
            "use only these, or build the vocabulary from a list that has it",
        ),
        (
            lambda: build_dataset(["emma", "e.m"], VOCAB),
            ValueError,
            "the word 'e.m' holds '.', which marks the start and end of a word: remove it",
        ),
        (
            lambda: build_dataset(["emma"], VOCAB, dtype=torch.float32),
            ValueError,
            "dtype must be an integer type of torch, such as torch.int64, got torch.float32",
        ),
        (
            lambda: build_dataset(["Ā"], Vocab(map(chr, range(256, 512))), dtype=torch.uint8),
            ValueError,
            "torch.uint8 holds no index above 255, but the vocabulary has 257 symbols",
        ),
    ],
)
def test_build_dataset_refuses(call, error, sentence):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == sentence


# --- splits ---------------------------------------------------------------------------------------------------------


def test_split_is_the_same_every_time_and_leaves_the_list_and_the_global_generator_alone():
    import random

    words = load_words()
    before, state = list(words), random.getstate()
    first, second = split_words(words), split_words(words)
    assert first == second
    assert words == before
    assert random.getstate() == state
    assert [len(part) for part in first] == [25_742, 3_218, 3_218]
    assert sorted([*first[0], *first[1], *first[2]]) == sorted(words)
    assert split_words(words, seed=43) != first


def test_words_may_come_from_a_generator():
    words = ["emma", "ava", "mae", "eva", "amma", "mav"]
    vocab = Vocab.from_words(w for w in words)
    assert vocab == Vocab.from_words(words)
    for got, due in zip(build_dataset((w for w in words), vocab), build_dataset(words, vocab), strict=True):
        assert torch.equal(got, due)
    assert split_words(w for w in words) == split_words(words)


def test_a_seed_is_a_whole_number():
    words = load_words()[:100]
    assert split_words(words, seed=np.int64(-3)) == split_words(words, seed=-3)
    for seed in (None, 1.0, "42", True):
        with pytest.raises(TypeError) as caught:
            make_splits(words, Vocab.from_words(words), seed=seed)
        assert str(caught.value) == (
            f"seed must be a whole number, got {seed!r}: with another one every call splits in another way"
        )


def test_split_sizes_at_the_smallest():
    assert [len(part) for part in split_words(list("abcdef"))] == [4, 1, 1]


@pytest.mark.parametrize("n", range(6))
def test_too_few_words_to_split(n):
    words = [chr(97 + k) for k in range(n)]
    with pytest.raises(ValueError) as caught:
        make_splits(words, Vocab("abcdefghij"))
    assert str(caught.value) == f"{n} words are too few to split 80/10/10 with none empty: give at least 6"
