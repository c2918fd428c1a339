"""The shapes in the signatures of the lecture's files, checked by beartype while every public function runs.

A child process imports the lecture's modules through jaxtyping's hook, which checks the arguments and results of every
call. It must not be installed in this process, where other tests check the messages for wrong arguments.
"""

import subprocess
import sys
from pathlib import Path

MODULES = [f"mlp_lib.{name}" for name in ("data", "model", "train", "sample", "sweep", "weights")]

HOOK = f"""
import sys, warnings
from jaxtyping import install_import_hook, TypeCheckError
install_import_hook({MODULES}, "beartype.beartype")
import torch
"""

EVERY_FUNCTION = """
from mlp_lib import *
from mlp_lib.data import distinct_contexts
from mlp_lib.sweep import lr_sweep

warnings.simplefilter("ignore", UserWarning)  # too short to turn, words that are cut
for words, block_size, n_embd, n_hidden in [
    (["ab", "", "ba", "abc", "c", "b"], 1, 1, 1), (["emma", "ava"] * 4, 3, 2, 5), (["ab"] * 6, 5, 4, 1),
]:
    g = torch.Generator().manual_seed(1)
    vocab = Vocab.from_words(words)
    assert len(split_words(words)) == 3
    X, Y = build_dataset(words, vocab, block_size)
    distinct_contexts(X)
    make_splits(words, vocab, block_size)
    model = MLP(MLPConfig(len(vocab), block_size, n_embd, n_hidden), g=g)
    model.trace(X)
    assert MLP.from_tensors(*(p.detach() for p in model.tensors()))(X).shape == (len(X), len(vocab))
    for batch_size in (None, 4):
        history = train(model, X, Y, steps=3, batch_size=batch_size, eval_on={"all": (X, Y)}, g=g)
        history.stepi, history.lri, history.lossi
        for runs, fresh in ((1, False), (2, True)):
            result = lr_sweep(model, X, Y, steps=25, batch_size=batch_size, runs=runs, fresh=fresh, g=g)
            result.curves, result.mean, result.band, result.minima, result.suggestion, result.at_edge, repr(result)
    for batched in (False, True):
        sample_words(model, vocab, n=3, max_len=9, batched=batched, g=g)
    next_char_probs(model, vocab, "a")
    load_model(save_model(model, sys.argv[1], vocab=vocab))
"""

WRONG = """
from mlp_lib import data, model

try:
    data.distinct_contexts(torch.zeros(3))
except TypeCheckError:
    pass
else:
    raise AssertionError("a flat tensor of floats passed for contexts: the hook is not at work")
"""


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )


def test_shapes_in_signatures_hold_in_every_function(tmp_path):
    done = run(HOOK + EVERY_FUNCTION + WRONG, str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
