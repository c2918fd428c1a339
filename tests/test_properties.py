"""What holds for any input, tried with inputs that nobody wrote down.

`make test` tries a few dozen examples, always the same, so that it fails for a change of the code alone; `make torture`
tries many more, others each time, and a failure prints the line that brings the same example back.
"""

import dataclasses
import functools
import json
import math
import random
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
    load_words,
    make_splits,
    next_char_probs,
    sample_words,
    split_words,
    train,
    train_steps,
)
from mlp_lib.course.exercises import Exercise
from mlp_lib.lab.counts import Interpolated, NGram
from mlp_lib.lab.ladder import Ladder
from mlp_lib.lab.store import load_run, save_run
from mlp_lib.sweep import lr_sweep

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "mlp_lib_hypothesis")  # its tables, not in the checkout

ALWAYS = settings(
    database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def for_any(quick=40, long=2000, **inputs):
    """The body as two tests: a few examples that are always the same, and in `make torture` many that are not."""

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

# Any character but the boundary: letters, signs that combine with the letter before, characters beyond 16 bits, halves
# of surrogate pairs, which are no characters at all but may stand in a str.
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
    """Words over a small alphabet of any characters; empty ones too, but not all of them."""
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


@for_any(quick=60, content=st.binary(max_size=60) | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode))
def test_any_file_is_a_list_of_words_or_refused_in_one_sentence(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_bytes(content)
        try:
            words = load_words(path)
        except ValueError as error:
            words, said = None, str(error)
        if words is None:
            assert "words.txt" in said
            assert len(said.splitlines()) == 1
            return
        assert words
        assert not any("." in w or any(c.isspace() for c in w) or w == "" for w in words)
        path.write_text("\n".join(words), encoding="utf-8")
        assert load_words(path) == words, "what was evened out once is even"
    Vocab.from_words(words)


# ---- Vocab -----------------------------------------------------------------------------------------------------------


@for_any(alphabet=ALPHABETS, data=st.data())
def test_encoding_and_decoding_undo_each_other(alphabet, data):
    vocab = Vocab(alphabet)
    text = data.draw(st.text(st.sampled_from([".", *alphabet]), max_size=30))
    indices = vocab.encode(text)
    assert vocab.decode(indices) == vocab.decode(torch.tensor(indices, dtype=torch.int64)) == text
    assert all(0 <= i < len(vocab) for i in indices)
    assert list(vocab.stoi) == [".", *alphabet]
    assert vocab.itos == {i: s for s, i in vocab.stoi.items()} == dict(enumerate([".", *alphabet]))


@for_any(words=word_lists())
def test_the_vocabulary_of_words_is_the_lectures(words):
    before = list(words)
    vocab = Vocab.from_words(words)
    assert (vocab.stoi, vocab.itos) == lecture.vocabulary(words)
    assert vocab == Vocab.from_words(words[::-1])
    assert words == before


@for_any(alphabet=ALPHABETS, stranger=CHARACTERS, text=st.text(max_size=5), index=st.integers())
def test_what_is_not_in_the_vocabulary_is_refused(alphabet, stranger, text, index):
    vocab = Vocab(alphabet)
    if stranger not in alphabet:
        with pytest.raises(ValueError, match="is not among the") as caught:
            vocab.encode(alphabet[0] + stranger + text)
        assert repr(stranger) in str(caught.value)
        with pytest.raises(ValueError, match="is not among the"):
            build_dataset([alphabet[0], stranger], vocab)
    if not 0 <= index <= len(alphabet):
        with pytest.raises(ValueError, match=f"index {index} has no symbol"):
            vocab.decode([0, index])


# ---- build_dataset and the splits ------------------------------------------------------------------------------------


@for_any(words=word_lists(), block_size=st.integers(1, 9), dtype=st.sampled_from([torch.int64, torch.int8]))
def test_the_dataset_is_that_of_the_lectures_loop(words, block_size, dtype):
    vocab, before = Vocab.from_words(words), list(words)
    stoi = dict(vocab.stoi)
    X, Y = build_dataset(words, vocab, block_size, dtype=dtype)
    Xl, Yl = lecture.dataset(words, stoi, block_size)
    assert torch.equal(X.long(), Xl)
    assert torch.equal(Y.long(), Yl)
    assert X.dtype == Y.dtype == dtype
    assert X.shape == (sum(len(w) + 1 for w in words), block_size)
    assert (words, vocab.stoi) == (before, stoi)
    assert "".join(vocab.decode(Y)) == "".join(w + "." for w in words)


@for_any(words=st.lists(st.text(max_size=3), min_size=6, max_size=200), seed=st.integers())
def test_the_parts_of_a_split_are_the_whole(words, seed):
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
def test_the_splits_are_the_lectures(words, block_size):
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
def test_sampled_words_are_words_of_the_vocabulary(pair, seed, n, max_len, batched, temperature, data):
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
    # The cut words have max_len characters; one that ended by itself there would have had to draw one more.
    cut = sum(len(w) == max_len for w in words)
    assert told == [] if cut == 0 else told[0].startswith(f"{cut} of {n} words did not end within max_len={max_len}")


class Sure(torch.nn.Module):
    """Gives the logits it was made with, whatever it reads."""

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
def test_probabilities_sum_to_one_for_any_logits(logits, temperature):
    vocab = Vocab(map(chr, range(97, 96 + len(logits))))
    probs = next_char_probs(Sure(logits), vocab, temperature=temperature)
    assert probs.sum().item() == pytest.approx(1, abs=1e-5)
    assert bool((probs >= 0).all())
    assert probs[logits.index(max(logits))] == probs.max()


@for_any(context=st.text(st.sampled_from("abc."), max_size=9), block_size=st.integers(1, 4), seed=SEEDS)
def test_only_the_end_of_a_context_counts(context, block_size, seed):
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
def test_a_run_in_two_parts_is_the_run_in_one(words, seed, steps, stop, batch_size, lr):
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


STEPS = st.lists(st.builds(Step, st.integers(0, 2**62), st.floats(0, 10), FLOATS), max_size=20)


@for_any(steps=STEPS, updates=st.lists(st.integers(0, 2**62), max_size=5))
def test_a_history_holds_what_was_entered(steps, updates):
    history = History()
    for step in steps:
        history.record(step)
    for n in updates:
        history.record_losses(n, {"train": float(n), "dev": n / 2})
    assert len(history) == len(history.stepi) == len(history.lri) == len(history.lossi) == len(steps)
    assert repr(list(zip(history.stepi.tolist(), history.lri.tolist(), history.lossi.tolist(), strict=True))) == repr(
        [tuple(step) for step in steps]
    )
    assert (history.stepi.dtype, history.lri.dtype) == (torch.int64, torch.float64)
    assert history.eval_stepi == updates
    assert history.evals == ({"train": [float(n) for n in updates], "dev": [n / 2 for n in updates]} if updates else {})
    columns = history.stepi, history.lossi
    history.record(Step(1, 0.1, 2.0))
    assert [len(c) for c in columns] == [len(steps)] * 2, "a column that was handed out does not grow"


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
    seeds=st.integers(1, 3), fresh=st.booleans(), batch_size=st.one_of(st.none(), st.integers(1, 40)),
    window=st.one_of(st.none(), st.integers(1, 50)), threads=st.sampled_from([None, 1, 2]), training=st.booleans(),
)  # fmt: skip
def test_a_sweep_leaves_model_and_generator_as_they_were(seed, lo, width, training, **settings):
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
    assert result.lossi.shape == (settings["seeds"], settings["steps"])
    assert bool((result.lre.diff() >= 0).all())
    assert torch.equal(result.lrs, 10**result.lre)
    assert result.lrs[0].item() == pytest.approx(10**lo, rel=1e-4)
    assert result.lrs[-1].item() == pytest.approx(10 ** (lo + width), rel=1e-4)
    assert 10**lo * 0.999 <= result.suggestion <= 10 ** (lo + width) * 1.001


@for_any(lo=FLOATS, hi=FLOATS)
def test_a_sweep_refuses_rates_that_are_no_range(lo, hi):
    assume(not 0 < lo < hi < math.inf)
    model = MLP(MLPConfig(6, 3, 2, 4), g=generator(1))
    with pytest.raises(ValueError, match=r"must be a finite learning rate above 0|lo must be below hi"):
        lr_sweep(model, X, Y, lo=lo, hi=hi, steps=5, g=generator(1))


# ---- a run on disk ---------------------------------------------------------------------------------------------------

NAMES = st.text(PLAIN, max_size=6)


@st.composite
def runs(draw):
    """The arguments of `save_run`, of all kinds."""
    model, vocab = draw(models(PLAIN))
    if draw(st.booleans()):
        model = model.double()
    history = None
    if draw(st.booleans()):
        history = History()
        for step in draw(STEPS):
            history.record(step)
        names = draw(st.lists(NAMES, max_size=3, unique=True))
        for n in draw(st.lists(st.integers(0, 2**62), max_size=3)):
            history.record_losses(n, {name: draw(FLOATS) for name in names})
        history.seconds = draw(st.floats(0, 1e9))
        history.stopped = draw(st.none() | NAMES)
    return model, vocab, {
        "history": history, "seed": draw(st.none() | st.integers()),
        "losses": draw(st.dictionaries(NAMES, FLOATS, max_size=3)), "note": draw(NAMES),
        "g": draw(st.none() | st.builds(generator, SEEDS)),
    }  # fmt: skip


def facts(vocab, history, seed, losses, note, g):
    """Everything of a run but its model, so that two can be compared; nan equals nan."""
    record = history and [getattr(history, name) for name in ("eval_stepi", "evals", "seconds", "stopped")]
    columns = history and [getattr(history, name).tolist() for name in ("stepi", "lri", "lossi")]
    return repr((vocab.stoi, columns, record, seed, losses, note, g and g.get_state().tolist()))


@for_any(run=runs())
def test_a_run_comes_back_as_it_was_saved(run):
    model, vocab, more = run
    with tempfile.TemporaryDirectory() as folder:
        back = load_run(save_run(Path(folder) / "run", model, vocab, **more))
    assert back.model.config == model.config
    assert all(map(identical, back.model.tensors(), model.tensors()))
    assert facts(back.vocab, *(getattr(back, name) for name in more)) == facts(vocab, **more)


@for_any(symbols=st.lists(CHARACTERS, min_size=1, max_size=4, unique=True), note=st.text(CHARACTERS, max_size=4))
def test_what_a_file_cannot_hold_is_refused_before_anything_is_written(symbols, note):
    vocab = Vocab(symbols)
    model = MLP(MLPConfig(len(vocab), 1, 1, 1), g=generator(1))
    halves = any(0xD800 <= ord(c) < 0xE000 for c in [*symbols, *note])
    with tempfile.TemporaryDirectory() as folder:
        if halves:
            with pytest.raises(ValueError, match=r"^run\.json cannot hold this run \("):
                save_run(Path(folder) / "run", model, vocab, note=note)
            assert list(Path(folder).iterdir()) == []
        else:
            run = load_run(save_run(Path(folder) / "run", model, vocab, note=note))
            assert (run.vocab, run.note) == (vocab, note)


@functools.cache
def _whole():
    """A run, and the contents of its files: made once, since to save one waits for the disk."""
    g = generator(1)
    model, vocab = MLP(MLPConfig(6, 3, 2, 4), g=g), Vocab("aeimv")
    history = train(model, X, Y, steps=10, batch_size=4, eval_on={"dev": (X, Y)}, eval_every=5, g=g)
    more = {"history": history, "seed": 1, "losses": {"dev": 2.5}, "note": "first", "g": g}
    with tempfile.TemporaryDirectory() as folder:
        path = save_run(Path(folder) / "run", model, vocab, **more)
        return load_run(path), {p.name: p.read_bytes() for p in path.iterdir()}


def _loaded(files):
    """What `load_run` makes of a folder with these files: the run, or None if it refused them in one sentence."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return run_or_sentence(Path(folder))


def run_or_sentence(path):
    """The run, or None if it was refused in one sentence; any other error comes through."""
    try:
        return load_run(path)
    except ValueError as error:
        said = str(error)
    assert "is no run that can be read" in said
    assert "\n" not in said
    return None


@for_any(
    quick=300, long=4000, name=st.sampled_from(["run.json", "tensors.npz"]), at=st.floats(0, 1, exclude_max=True),
    change=st.one_of(
        st.tuples(st.just("flip"), st.integers(1, 255)), st.tuples(st.just("cut"), st.integers(0, 0)),
        st.tuples(st.just("put"), st.binary(min_size=1, max_size=9)), st.tuples(st.just("zero"), st.integers(1, 600)),
    ),
)  # fmt: skip
def test_damage_gives_one_sentence_or_the_same_model(name, at, change):
    whole, files = _whole()
    content = bytearray(files[name])
    k, (what, value) = int(at * len(content)), change
    if what == "flip":
        content[k] ^= value
    elif what == "cut":
        del content[k:]
    elif what == "put":
        content[k:k] = value
    else:
        content[k : k + value] = bytes(len(content[k : k + value]))
    run = _loaded(files | {name: bytes(content)})
    if run is None:
        return
    # run.json is for people, too: a letter of the note or a digit of a loss may change, what the model is may not.
    assert all(map(identical, run.model.tensors(), whole.model.tensors()))
    assert run.vocab == whole.vocab
    if name == "tensors.npz":
        assert facts(*(getattr(run, f.name) for f in dataclasses.fields(run)[1:])) == facts(
            *(getattr(whole, f.name) for f in dataclasses.fields(whole)[1:])
        )


@for_any(long=2000, path=st.lists(st.integers(0, 9), min_size=1, max_size=3), value=st.one_of(
    st.none(), st.booleans(), st.integers(), FLOATS, st.text(PLAIN, max_size=3), st.just([]), st.just({}),
))  # fmt: skip
def test_facts_of_another_kind_give_one_sentence_or_a_whole_run(path, value):
    """Any value of run.json, also one deep inside, replaced by any other: sentence or run, never another error."""
    _, files = _whole()
    about = json.loads(files["run.json"])
    place, key = about, None
    for k in path:
        if key is not None:
            if not isinstance(place[key], (dict, list)) or not place[key]:
                break
            place = place[key]
        key = sorted(place)[k % len(place)] if isinstance(place, dict) else k % len(place)
    place[key] = value
    run = _loaded(files | {"run.json": json.dumps(about).encode()})
    if run is not None:
        assert run.model.config == MLPConfig(6, 3, 2, 4)
        assert run.vocab == Vocab("aeimv")
        assert run.history is None or all(isinstance(name, str) for name in run.history.evals)


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
def test_a_ladder_on_disk_is_a_ladder_in_memory(runs):
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
def test_a_function_that_returns_something_is_an_attempt(value, documented):
    """Left alone is a function whose body is `...` or `pass`; one that returns a constant is an answer."""
    doc = "    'what it does'\n" if documented else ""
    question = Exercise("1.0", "value", lambda answer: f"{answer()!r}", hints=["a"], solution=lambda: 1)
    for body, status in ((f"return {value!r}", "right"), ("...", "open"), ("pass", "open")):
        names = {"nan": math.nan, "inf": math.inf}
        exec(f"def answer():\n{doc}    {body}\n", names)
        assert question.evaluate(names["answer"]).status == status
