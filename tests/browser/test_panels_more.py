"""The panels of 00 (board), 09, 11 and 14 in JupyterLab: every control moved, picture and readout seen to follow.

Each panel stands in a notebook of its own, which is closed after its test.
"""

import os
import re

import pytest

SETUP = """
import itertools, os, tempfile, torch
os.environ["MLP_LIB_EXERCISES"] = tempfile.mkdtemp() + "/exercises.json"
from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, train
from mlp_lib.exercises.progress import note_solved
from mlp_lib.fast import fast_steps
from mlp_lib.widgets import board_panel, embedding_panel, start_panel, train_panel
torch.set_num_threads(1)
words = load_words()[:300]
vocab = Vocab.from_words(words)
X, Y = build_dataset(words, vocab)
def run(n_embd):
    g = torch.Generator().manual_seed(2147483647)
    return MLP(MLPConfig(len(vocab), 3, n_embd, 50), g=g), g
"""
EMBEDDING = """
model, g = run(5)
maps = {0: model.C.detach().clone()}
for start, stop in itertools.pairwise((0, 10, 100, 500)):
    history = train(model, X, Y, start=start, steps=stop - start, g=g)
    maps[stop] = model.C.detach().clone()
embedding_panel(maps, vocab)
"""
START = "start_panel(X, Y, MLPConfig(len(vocab), 3, 10, 100), seed=2147483647)"
TRAIN = """
model, g = run(2)
settings = {"eval_on": (X[::9], Y[::9]), "on_demand": {"dev": (X[::5], Y[::5])}, "stepper": fast_steps, "pace": 0}
train_panel(model, X, Y, g=g, first=200, steps=10_000_000, **settings)
"""
BOARD = "for number in ('0.1', '1.2'):\n    note_solved(number)\nboard_panel()"
# Clicked by a test, it solves an exercise as another notebook would.
OTHER = """
import ipywidgets
elsewhere = ipywidgets.Button(description="solve 1.1 elsewhere")
elsewhere.on_click(lambda button: note_solved("1.1"))
elsewhere
"""


@pytest.fixture
def panel(open_notebook, request):
    """Opens a notebook with one panel, found by a label of it."""
    opened = []

    def open_it(name, cells, label):
        opened.append(open_notebook(name, [SETUP, *cells]))
        opened.append(opened[0].panel(label))
        return opened[1]

    yield open_it
    if folder := os.environ.get("PANEL_SCREENSHOTS"):
        opened[1].screenshot(f"{folder}/{request.node.name}.png")
    assert "Traceback" not in opened[0].text()
    opened[0].page.close()


def next_by_keys(panel, label):
    """Choose the next option of a list as a keyboard does it: open, down, take. (JupyterLab keeps a mere arrow.)"""
    for key in ("Enter", "ArrowDown", "Enter"):
        panel.keys(label, key)
        panel.page.wait_for_timeout(150)


def number(pattern, text):
    return float(re.search(pattern, text).group(1).replace(",", ""))


def test_embedding(panel):
    panel = panel("embedding", [EMBEDDING], "updates")
    panel.wait_readout(
        r"^After 500 updates, nearest to 'a': ('.' \d\.\d\d,? ?){4}\. That is in all 5 columns; [0-4] of 4"
    )
    assert panel.pixels() == [480, 480]
    panel.moved(lambda: panel.keys("updates", "ArrowLeft"), r"^After 100 updates, nearest to 'a'")
    said, _ = panel.moved(lambda: panel.drag("updates", 0.0), r"^After 0 updates, nearest to 'a'")
    far = number(r"'a': '.' ([\d.]+)", said)
    panel.moved(lambda: panel.choose("frame", "the whole run"), r"^After 0 updates")
    said, _ = panel.moved(lambda: panel.drag("updates", 1.0), r"^After 500 updates, nearest to 'a'")
    assert number(r"'a': '.' ([\d.]+)", said) != far
    said, before = panel.moved(lambda: panel.choose("character", "'q'"), r"^After 500 updates, nearest to 'q'")
    assert "'q'" not in said.split(":")[1], "it is not its own neighbour"
    assert said != before
    panel.moved(lambda: next_by_keys(panel, "character"), r"^After 500 updates, nearest to 'r'")
    panel.choose("frame", "this moment")
    panel.moved(lambda: next_by_keys(panel, "frame"), r"^After 500 updates")


def test_start(panel):
    panel = panel("start", [START], "output scale")
    first = panel.wait_readout(
        r"^first loss \d\d\.\d{4}, uniform 3\.2958 nats; 6\d\.\d% of .*Every tensor has a gradient"
    )
    said, _ = panel.moved(lambda: panel.keys("output scale", "ArrowLeft", 5), r"^first loss (\d|1\d)\.")
    assert 3.2958 < number(r"loss ([\d.]+)", said) < number(r"loss ([\d.]+)", first)
    said, _ = panel.moved(lambda: panel.drag("hidden scale", 0.6), r"; (?!6\d\.)\d+\.\d% of")
    assert number(r"nats; ([\d.]+)%", said) < number(r"nats; ([\d.]+)%", first)
    panel.moved(lambda: panel.drag("output scale", 0.0), r"^first loss 3\.2958, .*No gradient for C, W1, b1\.$")
    panel.moved(lambda: panel.keys("hidden scale", "Home"), r"; 0\.0% of .*No gradient for C, W1, b1, W2\.$")
    panel.moved(lambda: panel.keys("output scale", "End"), r"No gradient for C, W2\.$")
    panel.moved(lambda: panel.keys("hidden scale", "End"), r"; 9\d\.\d% of .*Every tensor has a gradient")
    panel.moved(lambda: panel.drag("hidden scale", 0.68), r"; [1-5]\d\.\d% of")
    panel.moved(lambda: panel.drag("output scale", 0.52), r"^first loss [34]\.")


def test_training_with_a_loss_on_demand(panel):
    panel = panel("train", [TRAIN], "learning rate")
    panel.wait_readout(r"^paused: 200 steps, loss \d\.\d{4}; lr 0\.1, batch size 32")
    panel.moved(lambda: panel.click("dev loss"), r"^paused: 200 steps, loss \S+, dev loss \d\.\d{4} at 200; lr")
    panel.moved(lambda: panel.click("reset"), r"^ready: 0 steps, loss [\d.]+; lr 0\.1, batch size 32")
    panel.moved(lambda: panel.click("start"), r"^running: ")
    panel.wait_readout(r"^running: [1-9],?\d{3}")
    panel.moved(lambda: panel.click("dev loss"), r"dev loss \d\.\d{4} at (?!200;)[\d,]+; lr")
    panel.keys("learning rate", "ArrowLeft", 10)
    panel.wait_readout(r"; lr 0\.01,")
    panel.choose("batch size", "128")
    panel.wait_readout(r"batch size 128")
    panel.moved(lambda: panel.click("pause"), r"^paused")
    at = number(r"paused: ([\d,]+)", panel.readout())
    panel.moved(lambda: panel.click("dev loss"), rf"dev loss \d\.\d{{4}} at {int(at):,}; lr 0\.01")
    panel.choose("pace", "10 steps a second")
    panel.click("one step")  # too little to be seen in the picture
    panel.wait_readout(rf"^paused: {int(at) + 1:,} steps")


def test_board(panel):
    panel = panel("board", [BOARD, OTHER], "refresh")
    said = panel.wait_readout(r"^2 of \d+ exercises solved\. Next: 1\.1 \(")
    total = int(number(r"of (\d+)", said))
    panel.moved(lambda: panel.choose("show", "notebook 01"), r"^2 of")
    panel.moved(lambda: next_by_keys(panel, "show"), r"^2 of")
    panel.moved(lambda: panel.choose("show", "all notebooks"), r"^2 of")
    panel.page.get_by_role("button", name="solve 1.1 elsewhere").click()
    panel.page.wait_for_timeout(300)
    assert panel.readout().startswith("2 of")
    panel.moved(lambda: panel.click("refresh"), r"^3 of \d+ exercises solved\. Next: 1\.3 \(")
    panel.click("forget all")
    panel.wait_readout(r"^Forget all 3 solved exercises\? 'yes, forget all' does it")
    panel.click("refresh")
    panel.wait_readout(r"^3 of")
    panel.box.get_by_role("button", name="forget all", exact=True).focus()
    panel.page.keyboard.press("Enter")
    panel.wait_readout(r"^Forget all 3")
    panel.page.wait_for_timeout(600)  # no double click
    panel.moved(lambda: panel.click("yes, forget all"), rf"^0 of {total} exercises solved\. Next: 0\.1 \(")
    panel.page.get_by_role("button", name="solve 1.1 elsewhere").click()
    panel.moved(lambda: panel.click("refresh"), r"^1 of \d+ exercises solved\. Next: 0\.1 \(")
