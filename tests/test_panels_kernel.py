"""The panels in a real kernel: what a cell sets, and what a panel's thread finds, reaches the page.

For a new panel: add its cell to CELLS, and what is set and must be said to MOVES. One kernel serves all of them.
"""

import re

import pytest
from panel_kernel import kernel_after, part, shown, stored

SETUP = """
import time, torch
from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, make_splits
from mlp_lib.course.exercises.nb00 import toy
from mlp_lib.course.panels import (
    board_panel, embedding_panel, gradient_noise_panel, init_panel, network_panel, sampling_panel, sizes_panel,
    softmax_panel, sweep_panel, train_panel,
)
words = load_words()[:200]
vocab = Vocab.from_words(words)
config = MLPConfig(len(vocab), 3, 2, 20)
X, Y = build_dataset(words, vocab)
splits = make_splits(words, vocab)
g = torch.Generator().manual_seed(2147483647)
model = MLP(config, g=g)
def new():
    own = torch.Generator().manual_seed(1)
    return {"model": MLP(config, g=own), "X": X, "Y": Y, "g": own}
def tables():
    own = torch.Generator().manual_seed(1)
    return {k: torch.randn((len(vocab), 2), generator=own) for k in range(3)}
"""
CELLS = {
    "softmax": "panel = softmax_panel()\npanel",
    "train": "panel = train_panel(**new(), first=10, on_demand={'dev': (X, Y)})\npanel",
    "sampling": "panel = sampling_panel(model, vocab, words=words, max_len=9)\npanel",
    "network": "panel = network_panel(model, vocab, words)\npanel",
    "embedding": "panel = embedding_panel(tables(), vocab)\npanel",
    "start": "panel = init_panel(X, Y, config, seed=1)\npanel",
    "board": "panel = board_panel()\npanel",
    "noise": "panel = gradient_noise_panel({'start': model}, X, Y)\npanel",
    "sweep": "panel = sweep_panel(model, X, Y, g=g, steps=200, seeds=2, train_for=200)\npanel",
    "sizes": "panel = sizes_panel(config, *splits[:4], steps=500, n_words=50)\npanel",
}
DONE = "\npanel.worker.wait(60); panel.worker._thread.join()"
MOVES = [
    ("softmax", "panel.controls['d'].value = 100", r"longhand nan nats, F\.cross_entropy 0\.0000 nats\."),
    ("train", "panel.buttons['one step'].click()", r"paused: 11 steps, loss "),
    ("train", "panel.controls['lr'].value = 0.01", r"paused: 10 steps, loss "),
    ("train", "panel.buttons['dev loss'].click()", r"paused: 10 steps, loss \S+, dev loss \S+ at 10; lr"),
    ("sampling", "panel.controls['prefix'].value = 'em'", r"likeliest next: "),
    ("sampling", "panel.controls['prefix'].value = '<b>'", r"\[no\] the character '<' in '<b>' is not among"),
    ("network", "panel.controls['place'].value = 4", r"'mma' and then the end: p = "),
    ("embedding", "panel.controls['updates'].value = 0", r"After 0 updates, nearest to 'a': '.' \d"),
    ("embedding", "panel.controls['pick'].value = 'z'", r"After 2 updates, nearest to 'z': '.' \d"),
    ("start", "panel.controls['output'].value = 0", r"first loss 3\.\d{4}, uniform .* No gradient for C, W1, b1\."),
    ("board", "panel.buttons['forget all'].click()", r"Forget all 0 solved exercises\?"),
    ("board", "toy.check(27)\npanel.buttons['refresh'].click()", r"1 of \d+ exercises solved\. Next: 1\.1 \("),
    ("noise", "panel.controls['batch_size'].value = 256.0", r"256 examples, start: mean cosine 0\."),
    ("noise", "panel.buttons['fresh draw'].click()", r"32 examples, start: mean cosine 0\."),
    ("sweep", "panel.controls['seeds'].value = 3" + DONE, r"lowest at rate 0\.(?!.*Trained)"),
    ("sweep", "panel.buttons['train with it'].click()" + DONE, r"lowest at rate 0\..*Trained 200 steps at"),
    ("sweep", "panel.controls['hi'].value = -2; panel.controls['lo'].value = 0" + DONE, r"\[no\] lo must be below hi"),
    ("sizes", "panel.controls['n_embd'].value = 5" + DONE, r"n_embd 5, n_hidden 20, 50 words, 500 steps: "),
    ("sizes", "panel.buttons['reset'].click()", r"no network yet: press train"),
]  # fmt: skip
# After these the picture is as before: it stays where the panel says what is wrong, and shows no rate and no question.
SAME_PICTURE = "'<b>'", "'lr'", "'forget all'"
RUN_BY_ITSELF = """
panel.controls['pace'].value = 0
panel.buttons['start'].click()
time.sleep(0.8)
print(panel.session.status, len(panel.session.history) > 20)
panel.close()
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("k")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLP_LIB_EXERCISES", str(folder / "exercises.json"))
        with kernel_after(SETUP, folder) as both:
            yield both


@pytest.mark.parametrize(("name", "move", "said"), MOVES)
def test_a_value_set_in_a_cell_reaches_the_page(kernel, name, move, said):
    run, client = kernel
    outputs = run(CELLS[name])
    picture, before = shown(client, outputs)
    # the sweep's is stored with fewer shades
    assert name == "sweep" or picture == stored(outputs), "the page and the stored output show the same"
    printed = run(move)
    assert all(o.output_type == "stream" and o.text.startswith("[ok]") for o in printed), printed
    run("1")  # what a thread sent has arrived before this
    after, readout = shown(client, outputs)
    assert re.match(said, readout), readout
    assert readout != before
    assert (after == picture) == any(part in move for part in SAME_PICTURE)
    run("panel.close()")


def test_the_curve_grows_while_the_kernel_works_on_something_else(kernel):
    run, client = kernel
    outputs = run(CELLS["train"])
    picture, _ = shown(client, outputs)
    (said,) = run(RUN_BY_ITSELF)
    assert said.text == "running True\n"
    after, readout = shown(client, outputs)
    assert after != picture
    assert readout.startswith(("running", "paused", "drawing"))


def test_the_bar_moves_while_the_kernel_works_on_something_else(kernel):
    run, client = kernel
    outputs = run(CELLS["sizes"])
    bar = part(client, outputs, "FloatProgressModel")
    run("panel.controls['steps'].value = 50_000")
    shares = []
    for _ in range(4):
        run("time.sleep(0.25)")
        shares.append(client.widget_state[bar]["value"])
    assert shares == sorted(shares)
    assert shares[-1] > 0
    (said,) = run("panel.close(); import threading; print([t.name for t in threading.enumerate() if 'Work' in t.name])")
    assert said.text == "[]\n"
