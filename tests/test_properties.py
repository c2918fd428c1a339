"""Properties that hold for any input, tested with generated inputs.

`make test` tries a few dozen examples, always the same, so that only a change of the code can make it fail.
`make torture` tries many more, different each time, and a failure prints the line that reproduces the example.
"""

import dataclasses
import functools
import math
import random
import re
import tempfile
import warnings
from pathlib import Path

import lecture_reference as lecture
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from mlp_lib import (
    MLP,
    History,
    MLPConfig,
    Step,
    Vocab,
    build_dataset,
    eval_loss,
    load_model,
    load_words,
    make_splits,
    next_char_probs,
    sample_words,
    save_model,
    split_words,
    train_steps,
)
from mlp_lib.course.exercises import Exercise
from mlp_lib.lab.counts import Interpolated, NGram
from mlp_lib.lab.ladder import Ladder
from mlp_lib.sweep import lr_sweep

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "mlp_lib_hypothesis")  # keep its files out of the checkout

ALWAYS = settings(
    database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def for_any(quick=40, long=2000, **inputs):
    """The body as two tests: with a few fixed examples, and in `make torture` with many random ones."""

    def twins(body):
        few = settings(ALWAYS, max_examples=quick, derandomize=True)(given(**inputs)(body))
        many = settings(ALWAYS, max_examples=long, print_blob=True)(given(**inputs)(body))

        @pytest.mark.parametrize("examples", ["few", pytest.param("many", marks=pytest.mark.torture)])
        def test(examples):
            (few if examples == "few" else many)()

        test.__name__, test.__doc__ = body.__name__, body.__doc__
        return test

    return twins


# ---- inputs ----------------------------------------------------------------------------------------------------------

# Any character but the boundary: letters, combining marks, characters beyond 16 bits, and lone surrogates, which are
# not characters but may occur in a str.
CHARACTERS = st.one_of(
    st.sampled_from("ab"), st.sampled_from("\u0301\u0308\u200d"), st.characters(min_codepoint=0x10000),
    st.characters(exclude_characters="."),
)  # fmt: skip
PLAIN = st.characters(exclude_characters=".", exclude_categories=["Cs"])
ALPHABETS = st.lists(CHARACTERS, min_size=1, max_size=30, unique=True)
SEEDS = st.integers(0, 2**63 - 1)
LOSSES = st.floats(0, 100)
FLOATS = st.floats(width=64)


@st.composite
def word_lists(draw, min_size=1, max_size=12, characters=CHARACTERS):
    """Words over a small alphabet of any characters; some may be empty, but not all."""
    letters = draw(st.lists(characters, min_size=1, max_size=6, unique=True))
    words = draw(st.lists(st.text(st.sampled_from(letters), max_size=8), min_size=min_size, max_size=max_size))
    assume(any(words))
    return words


@st.composite
def models(draw, characters=CHARACTERS):
    """A small network of any sizes and its vocabulary."""
    vocab = Vocab(draw(st.lists(characters, min_size=1, max_size=6, unique=True)))
    sizes = {name: draw(st.integers(1, 4)) for name in ("block_size", "n_embd", "n_hidden")}
    g = torch.Generator().manual_seed(draw(SEEDS))
    return MLP(MLPConfig(len(vocab), **sizes), g=g), vocab


def generator(seed):
    return torch.Generator().manual_seed(seed)


def identical(a, b):
    """The same numbers, nan included, of the same type."""
    return a.dtype == b.dtype and torch.equal(a, b) if not a.is_floating_point() else torch.equal(bits(a), bits(b))


def bits(t):
    return t.detach().contiguous().view({4: torch.int32, 8: torch.int64}[t.element_size()])


# ---- the list --------------------------------------------------------------------------------------------------------


def quietly(path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f"{re.escape(str(path))}: ", UserWarning)  # about changes to the words
        return load_words(path)


@for_any(quick=60, content=st.binary(max_size=60) | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode))
def test_any_file_gives_words_or_a_ValueError_in_one_line(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_bytes(content)
        try:
            words = quietly(path)
        except ValueError as error:
            words, said = None, str(error)
        if words is None:
            assert "words.txt" in said
            assert len(said.splitlines()) == 1
            return
        assert words
        assert not any("." in w or " ".join(w.split()) != w or w == "" for w in words)
        path.write_text("\n".join(words), encoding="utf-8")
        assert load_words(path) == words, "words that were read once must not change again"
    Vocab.from_words(words)


# ---- Vocab -----------------------------------------------------------------------------------------------------------


@for_any(alphabet=ALPHABETS, data=st.data())
def test_encode_and_decode_are_inverse_for_any_text(alphabet, data):
    vocab = Vocab(alphabet)
    text = data.draw(st.text(st.sampled_from([".", *alphabet]), max_size=30))
    indices = vocab.encode(text)
    assert vocab.decode(indices) == vocab.decode(torch.tensor(indices, dtype=torch.int64)) == text
    assert all(0 <= i < len(vocab) for i in indices)
    assert list(vocab.stoi) == [".", *alphabet]
    assert vocab.itos == {i: s for s, i in vocab.stoi.items()} == dict(enumerate([".", *alphabet]))


@for_any(words=word_lists())
def test_vocabulary_equals_the_lectures_for_any_words(words):
    before = list(words)
    vocab = Vocab.from_words(words)
    assert (vocab.stoi, vocab.itos) == lecture.vocabulary(words)
    assert vocab == Vocab.from_words(words[::-1])
    assert words == before


@for_any(alphabet=ALPHABETS, stranger=CHARACTERS, text=st.text(max_size=5), index=st.integers())
def test_unknown_symbols_and_indices_raise(alphabet, stranger, text, index):
    vocab = Vocab(alphabet)
    if stranger not in alphabet:
        with pytest.raises(ValueError, match="is not among the") as caught:
            vocab.encode(alphabet[0] + stranger + text)
        assert repr(stranger) in str(caught.value)
        with pytest.raises(ValueError, match="is not among the"):
            build_dataset([alphabet[0], stranger], vocab)
    if not 0 <= index <= len(alphabet):
        with pytest.raises(KeyError):
            vocab.decode([0, index])


# ---- build_dataset and the splits ------------------------------------------------------------------------------------


@for_any(words=word_lists(), block_size=st.integers(1, 9))
def test_dataset_equals_the_lectures_for_any_words(words, block_size):
    vocab, before = Vocab.from_words(words), list(words)
    stoi = dict(vocab.stoi)
    X, Y = build_dataset(words, vocab, block_size)
    Xl, Yl = lecture.dataset(words, stoi, block_size)
    assert torch.equal(X, Xl)
    assert torch.equal(Y, Yl)
    assert X.shape == (sum(len(w) + 1 for w in words), block_size)
    assert (words, vocab.stoi) == (before, stoi)
    assert "".join(vocab.decode(Y)) == "".join(w + "." for w in words)


@for_any(words=st.lists(st.text(CHARACTERS, max_size=3), min_size=6, max_size=200), seed=st.integers())
def test_split_keeps_every_word(words, seed):
    before, state = list(words), random.getstate()
    parts = split_words(words, seed=seed)
    assert parts == split_words(words, seed=seed)
    assert sorted(word for part in parts for word in part) == sorted(words)
    assert [len(part) for part in parts] == [
        int(0.8 * len(words)),
        int(0.9 * len(words)) - int(0.8 * len(words)),
        len(words) - int(0.9 * len(words)),
    ]
    assert words == before
    assert random.getstate() == state


@for_any(words=word_lists(min_size=6, max_size=20), block_size=st.integers(1, 4))
def test_splits_equal_the_lectures_for_any_words(words, block_size):
    vocab, before = Vocab.from_words(words), list(words)
    splits = make_splits(words, vocab, block_size)
    for (X, Y), theirs in zip(
        (splits[:2], splits[2:4], splits[4:]), lecture.splits(words, vocab.stoi, block_size), strict=True
    ):
        assert torch.equal(X, theirs[0])
        assert torch.equal(Y, theirs[1])
    assert words == before
    assert sum(len(Y) for Y in splits[1::2]) == sum(len(w) + 1 for w in words)


# ---- sampling --------------------------------------------------------------------------------------------------------


@for_any(
    pair=models(), seed=SEEDS, n=st.integers(0, 8), max_len=st.integers(1, 12), batched=st.booleans(),
    temperature=st.floats(0.01, 100), data=st.data(),
)  # fmt: skip
def test_sampled_words_respect_vocabulary_prefix_and_length(pair, seed, n, max_len, batched, temperature, data):
    model, vocab = pair
    symbols = [s for s in vocab.stoi if s != "."]
    prefix = data.draw(st.text(st.sampled_from(symbols), max_size=max_len - 1))
    settings = {"n": n, "temperature": temperature, "prefix": prefix, "max_len": max_len, "batched": batched}

    def draw():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            return sample_words(model, vocab, g=generator(seed), **settings), [str(w.message) for w in told]

    words, told = draw()
    assert (words, told) == draw()
    assert len(words) == n
    assert all(set(w) <= set(symbols) and w.startswith(prefix) and len(w) <= max_len for w in words)
    # Every word of max_len characters was cut: to end by itself it would have had to draw one more symbol.
    cut = sum(len(w) == max_len for w in words)
    assert told == [] if cut == 0 else told[0].startswith(f"{cut} of {n} words did not end within max_len={max_len}")


class Sure(torch.nn.Module):
    """Gives fixed logits for every context."""

    block_size = 2

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, X):
        return self.logits.expand(len(X), -1)


@for_any(
    quick=100,
    logits=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=8),
    temperature=st.floats(1e-6, 1e6),
)
def test_next_char_probs_sum_to_one_for_any_logits(logits, temperature):
    vocab = Vocab(map(chr, range(97, 96 + len(logits))))
    probs = next_char_probs(Sure(logits), vocab, temperature=temperature)
    assert probs.sum().item() == pytest.approx(1, abs=1e-5)
    assert bool((probs >= 0).all())
    assert probs[logits.index(max(logits))] == probs.max()


@for_any(context=st.text(st.sampled_from("abc."), max_size=9), block_size=st.integers(1, 4), seed=SEEDS)
def test_next_char_probs_use_only_the_end_of_a_context(context, block_size, seed):
    vocab = Vocab("abc")
    model = MLP(MLPConfig(4, block_size, 2, 3), g=generator(seed))
    padded = ("." * block_size + context)[-block_size:]
    expected = model(torch.tensor([vocab.encode(padded)])).softmax(1)[0]
    assert torch.allclose(next_char_probs(model, vocab, context), expected)


# ---- training and its record -----------------------------------------------------------------------------------------


@for_any(
    quick=20, long=500, words=word_lists(max_size=5), seed=SEEDS, steps=st.integers(0, 12), stop=st.integers(0, 12),
    batch_size=st.one_of(st.none(), st.integers(1, 9)), lr=st.floats(0, 1),
)  # fmt: skip
def test_run_in_two_parts_equals_one_run(words, seed, steps, stop, batch_size, lr):
    vocab = Vocab.from_words(words)
    X, Y = build_dataset(words, vocab)
    before = X.clone(), Y.clone()
    stop = min(stop, steps)
    ends = []
    for parts in ([(0, steps)], [(0, stop), (stop, steps - stop)]):
        g = generator(seed)
        model = MLP(MLPConfig(len(vocab), 3, 2, 3), g=g)
        taken = [
            step
            for start, n in parts
            for step in train_steps(model, X, Y, steps=n, start=start, lr=lr, batch_size=batch_size, g=g)
        ]
        ends.append((taken, [bits(p) for p in model.tensors()], g.get_state()))
        assert [step.i for step in taken] == list(range(steps))
    (taken, p, state), (taken2, p2, state2) = ends
    assert repr(taken) == repr(taken2)
    assert all(map(torch.equal, p, p2))
    assert torch.equal(state, state2)
    assert torch.equal(X, before[0])
    assert torch.equal(Y, before[1])


STEPS = st.lists(st.builds(Step, st.integers(0, 2**53), st.floats(0, 10), FLOATS), max_size=20)


@for_any(steps=STEPS)
def test_history_returns_what_was_recorded(steps):
    history = History()
    for step in steps:
        history.record(step)
    columns = history.stepi, history.lri, history.lossi
    history.record(Step(1, 0.1, 2.0))
    assert len(history) == len(steps) + 1
    assert repr(list(zip(*(c.tolist() for c in columns), strict=True))) == repr([tuple(step) for step in steps]), (
        "a column that was returned must not grow"
    )
    assert [c.dtype for c in columns] == [torch.int64, torch.float64, torch.float64]


# ---- count models ----------------------------------------------------------------------------------------------------


@for_any(quick=20, long=500, words=word_lists(), context=st.integers(0, 4), smooth=st.floats(0.01, 10))
def test_count_models_give_probabilities(words, context, smooth):
    vocab = Vocab.from_words(words)
    X, Y = build_dataset(words, vocab, block_size=4)
    for model in (NGram(context, smooth), Interpolated(context, smooth)):
        probs = model.fit(X, Y, len(vocab)).next_char_probs(X)
        assert torch.allclose(probs.sum(1), torch.ones(len(X), dtype=torch.float64))
        assert bool((probs > 0).all())
        assert eval_loss(model, X, Y) == pytest.approx(model.loss(X, Y), rel=1e-9)


# ---- the sweep -------------------------------------------------------------------------------------------------------

X, Y = build_dataset(["emma", "ava", "mia"], Vocab("aeimv"))


@for_any(
    quick=25, long=1000, seed=SEEDS, lo=st.floats(-6, 3), width=st.floats(0.01, 6), steps=st.integers(2, 40),
    runs=st.integers(1, 3), fresh=st.booleans(), batch_size=st.one_of(st.none(), st.integers(1, 40)),
    training=st.booleans(),
)  # fmt: skip
def test_sweep_changes_neither_model_nor_generator(seed, lo, width, training, **settings):
    g = generator(seed)
    model = MLP(MLPConfig(6, 3, 2, 4), g=g).train(training)
    params, state = [p.detach().clone() for p in model.tensors()], g.get_state()
    everywhere = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # too short to turn
        result = lr_sweep(model, X, Y, lo=10**lo, hi=10 ** (lo + width), g=g, **settings)
        again = lr_sweep(model, X, Y, lo=10**lo, hi=10 ** (lo + width), g=g, **settings)
    assert all(map(identical, model.tensors(), params))
    assert all(p.grad is None for p in model.tensors())
    assert torch.equal(g.get_state(), state)
    assert torch.equal(torch.get_rng_state(), everywhere)
    assert model.training == training
    assert identical(result.lossi, again.lossi)
    assert result.lossi.shape == (settings["runs"], settings["steps"])
    assert bool((result.lre.diff() >= 0).all())
    assert torch.equal(result.lrs, 10**result.lre)
    assert result.lrs[0].item() == pytest.approx(10**lo, rel=1e-4)
    assert result.lrs[-1].item() == pytest.approx(10 ** (lo + width), rel=1e-4)
    assert 10**lo * 0.999 <= result.suggestion <= 10 ** (lo + width) * 1.001


@for_any(lo=FLOATS, hi=FLOATS)
def test_sweep_refuses_an_invalid_range(lo, hi):
    assume(not 0 < lo < hi < math.inf)
    model = MLP(MLPConfig(6, 3, 2, 4), g=generator(1))
    with pytest.raises(ValueError, match="lo and hi must be rates with 0 < lo < hi"):
        lr_sweep(model, X, Y, lo=lo, hi=hi, steps=5, g=generator(1))


# ---- a model on disk -------------------------------------------------------------------------------------------------


@for_any(pair=models(PLAIN), double=st.booleans())
def test_load_returns_the_saved_model(pair, double):
    model, vocab = pair
    model = model.double() if double else model
    with tempfile.TemporaryDirectory() as folder:
        back, symbols = load_model(save_model(model, Path(folder) / "model", vocab=vocab))
    assert back.config == model.config
    assert all(map(identical, back.tensors(), model.tensors()))
    assert symbols == vocab


@functools.cache
def _saved():
    vocab = Vocab("aeimv\u00eb")
    model = MLP(MLPConfig(len(vocab), 3, 2, 4), g=generator(1))
    with tempfile.TemporaryDirectory() as folder:
        return save_model(model, Path(folder) / "model", vocab=vocab).read_bytes()


@for_any(
    quick=200, long=4000, at=st.floats(0, 1, exclude_max=True), header=st.booleans(),
    change=st.one_of(
        st.tuples(st.just("flip"), st.integers(1, 255)), st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("put"), st.binary(min_size=1, max_size=9)),
    ),
)  # fmt: skip
def test_damaged_file_gives_a_model_or_a_ValueError_in_one_line(at, header, change):
    content = bytearray(_saved())
    k, (what, value) = int(at * (content.index(b"}}") if header else len(content))), change
    if what == "flip":
        content[k] ^= value
    elif what == "cut":
        del content[k:]
    else:
        content[k:k] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(content)
        try:
            (model, vocab), said = load_model(path), ""
        except ValueError as error:
            said = str(error)
        if said:
            assert said.startswith(f"{path} is not a model that save_model wrote (")
            assert "\n" not in said
        else:
            assert model.config.vocab_size == len(vocab)
            assert [tuple(t.shape) for t in model.tensors()] == list(model.config.shapes.values())


# ---- the ladder ------------------------------------------------------------------------------------------------------

COUNTS = st.none() | st.integers(0, 2**63 - 1)
TEXTS = st.text(PLAIN, min_size=1, max_size=5)
CONFIGS = st.dictionaries(
    st.text(max_size=3), st.none() | st.integers() | st.floats(allow_nan=False) | TEXTS, max_size=3
)
RUNS = st.fixed_dictionaries(
    {"name": TEXTS, "kind": TEXTS, "config": CONFIGS},
    optional={
        "seed": st.integers(0, 2**64), "steps": COUNTS, "n_parameters": COUNTS, "seconds": st.floats(0, 1e9),
        "losses": st.dictionaries(st.sampled_from(["train", "dev"]), LOSSES | st.just(math.nan)),
    },
)  # fmt: skip


@for_any(quick=30, long=1000, runs=st.lists(RUNS, max_size=8))
def test_ladder_on_disk_equals_ladder_in_memory(runs):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "ladder.sqlite"
        in_memory = Ladder(path)
        in_memory.path = None
        for run in runs:
            Ladder(path).add(**run)
            in_memory.add(**run)
        found = [
            [repr(dataclasses.replace(e, at=None)) for e in ladder.entries] for ladder in (Ladder(path), in_memory)
        ]
        assert found[0] == found[1]
        assert repr(Ladder(path).rows) == repr(in_memory.rows)
        assert [p.name for p in Path(folder).rglob("*")] == (["new", path.name] if runs else [])


# ---- exercises -------------------------------------------------------------------------------------------------------


@for_any(value=st.integers() | st.floats() | st.text(max_size=3) | st.booleans(), documented=st.booleans())
def test_function_that_returns_something_is_an_attempt(value, documented):
    """A function whose body is `...` or `pass` is not attempted yet; one that returns a constant is an answer."""
    doc = "    'what it does'\n" if documented else ""
    question = Exercise("1.0", "value", judge=lambda answer: f"{answer()!r}", hints=["a"], solution=lambda: 1)
    for body, status in ((f"return {value!r}", "right"), ("...", "open"), ("pass", "open")):
        names = {"nan": math.nan, "inf": math.inf}
        exec(f"def answer():\n{doc}    {body}\n", names)
        assert question.evaluate(names["answer"]).status == status
