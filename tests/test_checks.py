"""The message for each likely mistake of a learner, and when arguments are checked."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from mlp_lib import (
    MLP,
    MLPConfig,
    Vocab,
    build_dataset,
    checks,
    eval_loss,
    make_splits,
    next_char_probs,
    sample_words,
    save_model,
    split_words,
    train,
    train_steps,
)
from mlp_lib.sweep import lr_sweep

VOCAB = Vocab("abc")
X, Y = build_dataset(["ab", "cab", "bc"], VOCAB)
G = torch.Generator()
MODEL = MLP(MLPConfig(len(VOCAB), 3, 2, 4), g=G)


class Own(nn.Module):
    """A learner's own model with `columns` logits per example, which `last` transforms, and extra attributes."""

    def __init__(self, last=lambda logits: logits, columns=4, **attributes):
        super().__init__()
        self.C = nn.Embedding(len(VOCAB), 2)
        self.out = nn.Linear(6, columns)
        self.last = last
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, X):
        return self.last(self.out(self.C(X).flatten(1)))


class Untrainable(nn.Module):
    """Its tensors are plain attributes."""

    def __init__(self):
        super().__init__()
        self.W = torch.randn(len(VOCAB), len(VOCAB))

    def forward(self, X):
        return self.W[X[:, -1]]


def leaf():
    return torch.zeros(2, requires_grad=True)


def steps(model=MODEL, X=X, Y=Y, **changes):
    return lambda: list(train_steps(model, X, Y, **{"steps": 1, "g": G, **changes}))


def run(**changes):
    return lambda: train(MODEL, X, Y, **{"steps": 1, "g": G, **changes})


def sample(model=MODEL, vocab=VOCAB, **changes):
    return lambda: sample_words(model, vocab, **{"n": 1, "g": G, **changes})


def sweep(model=MODEL, **changes):
    return lambda: lr_sweep(model, X, Y, **{"steps": 5, "g": G, **changes})


def words(*given):
    return lambda: build_dataset(*given)


def tensors(C=(5, 3), W1=(6, 4), b1=(4,), W2=(4, 5), b2=(5,)):
    return lambda: MLP.from_tensors(*map(torch.zeros, (C, W1, b1, W2, b2)))


WRITE_G = ": write g=torch.Generator().manual_seed(2147483647)"
TAKE_BOTH = "take both from the same build_dataset call"
EXPECTED = "expected X (N, block_size) and Y (N,), got"
LOGITS = (
    "Own must return logits (B, vocab_size), one row per example and one column per symbol; for one example it returned"
)
ONLY_LOGITS = "let forward return only the logits of the next character"
HIDDEN = (
    "is hidden from model.parameters(), so it would never be trained: "
    "wrap tensors in nn.Parameter, and lists in nn.ParameterList or nn.ModuleList"
)
RANGE = ": the lower first, and 0.001 rather than its exponent -3"
NOT_A_SYMBOL = "is not among the 4 symbols '.abc': use only these, or build the vocabulary from a list that has it"

MISTAKES = [
    # ---- numbers and generators
    (lambda: train_steps(MODEL, X, Y, steps=1), TypeError,
     "train_steps() missing 1 required keyword-only argument: 'g'"),
    (lambda: MLP(MLPConfig()), TypeError, "MLP.__init__() missing 1 required keyword-only argument: 'g'"),
    (lambda: MLP(MLPConfig(), g=None), TypeError, f"g must be a torch.Generator, got None{WRITE_G}"),
    (steps(g=2147483647), TypeError, f"g must be a torch.Generator, got 2147483647{WRITE_G}"),
    (steps(steps=-1), ValueError, "steps must be at least 0, got -1"),
    (run(steps=1e5), TypeError, "steps must be a whole number, got 100000.0"),
    (run(start=-1), ValueError, "start must be at least 0, got -1"),
    (run(batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
    (sample(n=-1), ValueError, "n must be at least 0, got -1"),
    (sample(max_len=0), ValueError, "max_len must be at least 1, got 0"),
    (sweep(runs=[1, 2]), TypeError, "runs must be a whole number, got [1, 2]"),
    (words(["ab"], VOCAB, 0), ValueError, "block_size must be at least 1, got 0"),
    (words(["ab"], VOCAB, True), TypeError, "block_size must be a whole number, got True"),
    (lambda: MLPConfig(n_hidden=0), ValueError, "n_hidden must be at least 1, got 0"),
    (lambda: MLPConfig(block_size=1.5), TypeError, "block_size must be a whole number, got 1.5"),
    (lambda: MLPConfig(vocab_size=1), ValueError, "vocab_size must be at least 2, got 1"),
    (steps(lr=-0.1), ValueError, "lr must be a finite number of at least 0, got -0.1: try 0.1"),
    (run(lr=float("nan")), ValueError, "lr must be a finite number of at least 0, got nan: try 0.1"),
    (run(lr=float("inf")), ValueError, "lr must be a finite number of at least 0, got inf: try 0.1"),
    (run(lr="0.1"), TypeError, "lr must be a number or a function of the step's number, got '0.1'"),
    (steps(lr=lambda i: -1), ValueError, "lr(0) must be a finite number of at least 0, got -1: try 0.1"),
    (steps(lr=lambda i: None, start=7), TypeError, "lr(7) must be a number, got None"),
    (sample(temperature=0), ValueError, "temperature must be a finite number above 0, got 0: try 0.5 or 2"),
    (sample(temperature=-1), ValueError, "temperature must be a finite number above 0, got -1: try 0.5 or 2"),
    (lambda: next_char_probs(MODEL, VOCAB, temperature=float("nan")), ValueError,
     "temperature must be a finite number above 0, got nan: try 0.5 or 2"),
    (sample(temperature="hot"), TypeError, "temperature must be a number above 0, got 'hot'"),
    # ---- words
    (words("emma", VOCAB), TypeError, "words must be a list of str, got the str 'emma': load_words() gives one"),
    (words(None, VOCAB), TypeError, "words must be a list of str, got NoneType: load_words() gives one"),
    (lambda: Vocab.from_words([]), ValueError, "words is empty: load some words first, load_words() gives a list"),
    (lambda: Vocab.from_words(["a", 3]), TypeError, "words must hold str only, got 3"),
    (words(["ab", "a.b"], VOCAB), ValueError,
     "the word 'a.b' holds '.', which marks the start and end of a word: remove it"),
    (words(["ab", "abd"], VOCAB), ValueError, f"the character 'd' in 'abd' {NOT_A_SYMBOL}"),
    (words(["ab"], VOCAB.stoi), TypeError, "vocab must be a Vocab, got dict: make one with Vocab.from_words(words)"),
    (lambda: Vocab(["a", "bc"]), ValueError,
     "symbols must be distinct single characters, and '.' is added automatically: got ['a', 'bc']"),
    (lambda: Vocab("aba"), ValueError,
     "symbols must be distinct single characters, and '.' is added automatically: got ['a', 'b', 'a']"),
    (lambda: Vocab("a."), ValueError,
     "symbols must be distinct single characters, and '.' is added automatically: got ['a', '.']"),
    (lambda: VOCAB.encode("dab"), ValueError, f"the character 'd' in 'dab' {NOT_A_SYMBOL}"),
    (lambda: split_words(["ab"] * 9, seed=None), TypeError,
     "seed must be a whole number, got None: without one every call splits differently"),
    (lambda: make_splits(["ab"] * 5, VOCAB), ValueError,
     "5 words are too few to split 80/10/10 with none empty: give at least 6"),
    # ---- X and Y
    (steps(X=X.tolist()), TypeError, "X must be a torch.Tensor, got list"),
    (steps(X=X.float()), TypeError, "X must hold torch.int64 indices, got torch.float32: build it with build_dataset"),
    (steps(Y=Y[1:]), ValueError, f"{EXPECTED} (10, 3) and (9,): {TAKE_BOTH}"),
    (steps(Y=Y[:, None]), ValueError, f"{EXPECTED} (10, 3) and (10, 1): {TAKE_BOTH}"),
    (lambda: eval_loss(MODEL, X[:0], Y[:0]), ValueError, "X and Y hold no examples: build them from at least one word"),
    (lambda: eval_loss(MODEL, *build_dataset(["ab"], VOCAB, 4)), ValueError,
     "X has 4 characters of context, but this model was built with block_size=3: build the dataset with block_size=3"),
    (steps(X=X + 1), ValueError, "X or Y holds the index 4, but the indices of this model go from 0 to 3: "
     "build model and dataset from the same vocabulary"),
    (steps(Y=Y - 1), ValueError, "X or Y holds the index -1, but the indices of this model go from 0 to 3: "
     "build model and dataset from the same vocabulary"),
    (lambda: MODEL(X[0]), ValueError,
     "X has shape (3,), but this model was built with block_size=3: build the dataset with block_size=3"),
    (lambda: MODEL(X.float()), TypeError, "X holds torch.float32, but indices are torch.int64: call X.long()"),
    (lambda: MODEL([[0, 0, 0]]), TypeError, "X must be a torch.Tensor, got list: write torch.tensor(X)"),
    # ---- models
    (steps(model=MLP), TypeError, "model must be a torch.nn.Module that maps X to logits, got type"),
    (lambda: MLP(10, g=G), TypeError, "config must be an MLPConfig, got 10: write MLP(MLPConfig(n_embd=10), g=g)"),
    (tensors(W2=(4, 6)), ValueError, "the five tensors do not fit together: "
     "got {'C': (5, 3), 'W1': (6, 4), 'b1': (4,), 'W2': (4, 6), 'b2': (5,)}, "
     "but with block_size=2 and the columns of C and W1 they must be "
     "{'C': (5, 3), 'W1': (6, 4), 'b1': (4,), 'W2': (4, 5), 'b2': (5,)}"),
    (steps(Own(lambda logits: (logits, 0.0))), TypeError, f"{LOGITS} a tuple: {ONLY_LOGITS}"),
    (sample(Own(lambda logits: (logits, 0.0), block_size=3, config=MODEL.config)), TypeError,
     f"{LOGITS} a tuple: {ONLY_LOGITS}"),
    (lambda: eval_loss(Own(lambda logits: logits[:, None]), X, Y), TypeError,
     f"{LOGITS} shape (1, 1, 4): {ONLY_LOGITS}"),
    (steps(Own(columns=3)), ValueError,
     "Y holds the index 3, but Own gives only 3 logits per example: give its last layer one output per symbol"),
    (steps(Untrainable()), ValueError, "no parameter of this Untrainable requires a gradient, so there is nothing to "
     "train: wrap its tensors in nn.Parameter, or call model.requires_grad_()"),
    (steps(Own(W=leaf())), ValueError, f"Own.W {HIDDEN}"),
    (steps(Own(layers=[nn.Tanh(), nn.Linear(2, 2)])), ValueError, f"Own.layers {HIDDEN}"),
    (sweep(Own(layers={"hidden": [nn.Linear(2, 2)]})), ValueError, f"Own.layers {HIDDEN}"),
    (sweep(Own(), fresh=True), TypeError,
     "fresh=True draws an MLP of the model's sizes, but Own is not an MLP: pass one, or leave fresh out"),
    (sample(Own()), TypeError, "Own does not say how many characters it reads: give it an attribute block_size"),
    (sample(vocab=Vocab("ab")), ValueError, "the vocabulary has 3 symbols, but the model gives logits for 4: "
     "use the vocabulary that the model was trained with"),
    (lambda: save_model(MODEL, "never.written", vocab=Vocab("ab")), ValueError, "the vocabulary has 3 symbols, but "
     "the model gives logits for 4: use the vocabulary that the model was trained with"),
    # ---- other arguments
    (sample(prefix="a."), ValueError, "prefix 'a.' holds '.', which ends a word: leave it out"),
    (sample(prefix="abc", max_len=3), ValueError, "prefix has 3 characters and max_len is 3: nothing is left to draw"),
    (run(eval_on=(X, Y)), TypeError, "eval_on must be a dict, got tuple: write eval_on={'dev': (Xdev, Ydev)}"),
    (run(eval_on={"dev": X}), TypeError, "eval_on['dev'] must be a pair (X, Y), got Tensor: write (Xdev, Ydev)"),
    (run(eval_every=5), ValueError,
     "eval_every=5, but eval_on names no split: pass eval_on={'dev': (Xdev, Ydev)}"),
    (run(eval_every=0, eval_on={"dev": (X, Y)}), ValueError, "eval_every must be at least 1, got 0"),
    (sweep(lo=-3, hi=1), ValueError, f"lo and hi must be rates with 0 < lo < hi, got -3 and 1{RANGE}"),
    (sweep(lo=1, hi=0.1), ValueError, f"lo and hi must be rates with 0 < lo < hi, got 1 and 0.1{RANGE}"),
    (sweep(steps=1), ValueError, "steps must be at least 2, got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "sentence"), MISTAKES, ids=[sentence[:50] for *_, sentence in MISTAKES])
def test_mistake_gives_its_message_and_changes_nothing(call, error, sentence):
    before, state = [p.clone() for p in MODEL.tensors()], G.get_state()
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == sentence
    assert all(map(torch.equal, before, MODEL.tensors()))
    assert torch.equal(G.get_state(), state) or "lr(" in sentence  # a step draws its batch before it calls lr


def test_valid_arguments_are_accepted():
    tied = Own(numbers=[1, 2, 3], act=[nn.Tanh()], f=lambda x: x, norm=nn.BatchNorm1d(4), fixed=torch.ones(3))
    tied.register_buffer("seen", torch.zeros(()))
    tied.head = nn.Linear(2, 2)
    tied.head.weight = tied.tail = nn.Parameter(torch.zeros(2, 2))
    tied.all_layers, tied.by_name = [tied.C, tied.out], {"W": tied.out.weight}
    tied.h = tied(X)  # kept for a plot: it requires a gradient, but is not a parameter
    sequential = nn.Sequential(nn.Embedding(4, 2), nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.LSTM(5, 4))
    for model in (tied, sequential):
        checks.check_trainable(model, X, G)
    partly = Own()
    partly.C.requires_grad_(False)
    steps(partly)()
    sample(Own(block_size=np.int64(3), config={"n_embd": 2}), max_len=2000)()
    assert next_char_probs(Own(block_size=np.int64(3)), VOCAB, "ab").shape == (4,)
    assert build_dataset(["ab"], VOCAB, np.int64(2))[0].shape == (3, 2)
    steps(lr=0, batch_size=np.int64(2), steps=np.int64(1), model=MLP(MODEL.config, g=G))()


def calls(function, during):
    """How often `function` is called during a call of `during`."""
    count = 0

    def look(frame, event, _):
        nonlocal count
        count += event == "call" and frame.f_code is function.__code__

    sys.setprofile(look)
    try:
        during()
    finally:
        sys.setprofile(None)
    return count


def test_arguments_are_checked_only_at_the_outermost_call():
    model = MLP(MODEL.config, g=G)
    watched = {"eval_on": {"all": (X, Y)}, "eval_every": 1}

    def short():
        train(model, X, Y, steps=3, g=G, **watched)

    assert calls(checks.check_examples, short) == 2  # X and Y, and those of eval_on
    assert calls(checks.check_generator, short) == 1
    assert calls(checks.check_word_list, lambda: make_splits(["ab"] * 9, VOCAB)) == 1
    with pytest.raises(TypeError):
        train(model, X, Y, steps="3", g=G)
    assert calls(checks.check_examples, short) == 2, "an error must not switch the checks off"


def test_generator_function_is_checked_at_the_call():
    with pytest.raises(ValueError, match="steps must be at least 0"):
        train_steps(MODEL, X, Y, steps=-1, g=G)


def test_calls_in_another_thread_are_checked():
    import threading

    told = []

    def other():
        try:
            train_steps(MODEL, X, Y, steps=-1, g=G)
        except ValueError as error:
            told.append(str(error))

    def stepper(model, X, Y, **settings):  # runs inside `train`, where this thread skips further checks
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return train_steps(model, X, Y, **settings)

    run(stepper=stepper, lr=0.0)()
    assert told == ["steps must be at least 0, got -1"]


def test_check_logits_does_not_change_the_model():
    model = Own(lambda logits: logits + 0 * torch.rand(logits.shape), norm=nn.BatchNorm1d(4))
    model.last = lambda logits: model.norm(logits) + torch.rand(())
    model.C.eval()
    modes, mean, state = [m.training for m in model.modules()], model.norm.running_mean.clone(), torch.get_rng_state()
    checks.check_logits(model, X, Y)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(model.norm.running_mean, mean)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())
