"""Every control of every panel, moved by key or mouse in JupyterLab; picture and readout follow the numbers.

All panels stand in one notebook, one a cell, so that one server, one page and one kernel serve all tests: to open a
notebook takes longer than to move all that a panel has. For a new panel: add its cell to CELLS, and a test of the
cell's name that moves each of its controls.
"""

import os
import re

import pytest

SETUP = """
import itertools, os, tempfile, torch
os.environ["MLP_LIB_EXERCISES"] = tempfile.mkdtemp() + "/exercises.json"
from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, make_splits, train
from mlp_lib.course.exercises.progress import note_solved
from mlp_lib.lab.fast import fast_steps
from mlp_lib.course.panels import (
    board_panel, embedding_panel, gradient_noise_panel, init_panel, network_panel, sampling_panel, sizes_panel,
    softmax_panel, sweep_panel, train_panel,
)
torch.set_num_threads(1)
thousand = load_words()[:1000]
words = thousand[:300]
vocab = Vocab.from_words(words)
X, Y = build_dataset(words, vocab)
X_more, Y_more = build_dataset(thousand, vocab)
config = MLPConfig(len(vocab), 3, 2, 30)
def run(config):
    g = torch.Generator().manual_seed(2147483647)
    return MLP(config, g=g), g
trained, g = run(config)
history = train(trained, X, Y, steps=1000, g=g)
"""
# The panel of each test, by the test's name. The cells share one kernel: names that end in a number are a cell's own.
CELLS = {
    "softmax": "softmax_panel()",
    "training": """
model_1, g_1 = run(config)
train_panel(model_1, *build_dataset(words[:5], vocab), g=g_1, floor=0.2515, first=50)
""",
    "sampling": "sampling_panel(trained, vocab, words=words)",
    "network": "network_panel(trained, vocab, words)",
    "embedding": """
model_2, g_2 = run(MLPConfig(len(vocab), 3, 5, 50))
maps = {0: model_2.C.detach().clone()}
for start, stop in itertools.pairwise((0, 10, 100, 500)):
    history = train(model_2, X, Y, start=start, steps=stop - start, g=g_2)
    maps[stop] = model_2.C.detach().clone()
embedding_panel(maps, vocab)
""",
    "start": "init_panel(X, Y, MLPConfig(len(vocab), 3, 10, 100), seed=2147483647)",
    # Of another name than the one above: of a name, one runs at a time.
    "training_with_a_loss_on_demand": """
model_3, g_3 = run(MLPConfig(len(vocab), 3, 2, 50))
settings = {"eval_on": (X[::9], Y[::9]), "on_demand": {"dev": (X[::5], Y[::5])}, "stepper": fast_steps, "pace": 0}
train_panel(model_3, X, Y, g=g_3, first=200, steps=10_000_000, name="other", **settings)
""",
    "board": "for number in ('0.1', '1.2'):\n    note_solved(number)\nboard_panel()",
    # Clicked by a test, it solves an exercise as another notebook would.
    "elsewhere": """
import ipywidgets
elsewhere = ipywidgets.Button(description="solve 1.1 elsewhere")
elsewhere.on_click(lambda button: note_solved("1.1"))
elsewhere
""",
    "noise": """
model_4, g_4 = run(config)
late, _ = run(config)
history = train(late, X_more, Y_more, steps=2000, g=g_4, stepper=fast_steps)
gradient_noise_panel({"before training": model_4, "after 2,000 steps": late}, X_more, Y_more)
""",
    "sweep": """
model_5, g_5 = run(config)
panel = sweep_panel(model_5, X_more, Y_more, g=g_5, steps=200, seeds=2, train_for=500)
panel
""",
    "sizes": """
panel = sizes_panel(config, *make_splits(thousand, vocab)[:4], steps=1000, n_words=200)
panel
""",
}


@pytest.fixture(scope="module")
def page(open_notebook):
    return open_notebook("panels", {"setup": SETUP} | CELLS)


@pytest.fixture
def panel(page, request):
    """The panel of the cell that has the test's name.

    With PANEL_SCREENSHOTS=folder, its last look is kept for eyes.
    """
    panel = page.panel(request.node.name.removeprefix("test_"))
    yield panel
    shoot(panel, request.node.name)
    assert "Traceback" not in page.text()


def shoot(panel, name):
    """With PANEL_SCREENSHOTS=folder, the panel as it looks now is kept for eyes; docs/ has the good ones."""
    if folder := os.environ.get("PANEL_SCREENSHOTS"):
        panel.page.wait_for_timeout(500)
        panel.screenshot(f"{folder}/{name}.png")


def next_by_keys(panel, label):
    """Choose the next option of a list as a keyboard does it: open, down, take. (JupyterLab keeps a mere arrow.)"""
    for key in ("Enter", "ArrowDown", "Enter"):
        panel.keys(label, key)
        panel.page.wait_for_timeout(150)


def number(pattern, text):
    return float(re.search(pattern, text).group(1).replace(",", ""))


def other(text):
    """A pattern for any readout but this one that is no message about work."""
    return rf"^(?!{re.escape(text)}$)(?!working|drawing|training|sweeping|\[)"


def test_softmax(panel):
    assert panel.pixels() == [680, 680]
    assert panel.image.get_attribute("title").startswith("Left, bars of the logits")

    said, before = panel.moved(lambda: panel.keys("logit of d", "ArrowRight"), r"0\.0832 nats\. ")
    assert "0.1336 nats" in before
    for label in ("logit of a", "logit of b", "logit of c"):
        loss = number(r"F.cross_entropy (\S+)", said)
        said, _ = panel.moved(lambda label=label: panel.keys(label, "ArrowRight", 2), rf"^(?!.*entropy {loss:.4f})long")
        assert number(r"F.cross_entropy (\S+)", said) > loss  # a wrong one gained

    said, _ = panel.moved(lambda: panel.drag("logit of d", 0.98), r"longhand nan")
    assert "F.cross_entropy 0.0000 nats. exp(" in said
    assert "inf in float32" in said
    panel.moved(lambda: panel.drag("logit of d", 0.5), r"longhand \d")
    panel.moved(lambda: panel.drag("added to all", 1.0), r"longhand nan")
    panel.moved(lambda: panel.drag("added to all", 0.0), r"Even exp\(")
    panel.moved(lambda: panel.drag("added to all", 0.5), r"longhand \d")
    said = panel.readout()
    panel.moved(lambda: panel.choose("the right one", "a"), r"^(?!" + re.escape(said) + r")longhand \d")


def test_training(panel):
    panel.wait_readout(r"^paused: 50 steps, loss \d+\.\d+, floor 0\.2515; lr 0\.1, batch size 32")
    panel.moved(lambda: panel.click("one step"), r"^paused: 51 steps")
    panel.moved(lambda: panel.click("start"), r"^running: [1-9]")
    grown = [panel.wait_readout(r"^running: \d\d")]
    for _ in range(3):  # by itself, and in the order of the steps
        grown.append(panel.wait_readout(r"^running: (?!" + re.escape(grown[-1][9:].split()[0]) + " )"))
    steps = [number(r"running: ([\d,]+)", said) for said in grown]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]

    panel.keys("learning rate", "ArrowLeft", 10)
    panel.wait_readout(r"^running: .*; lr 0\.01,")
    panel.choose("batch size", "all examples")
    panel.wait_readout(r"^running: .*batch size all")
    panel.choose("pace", "as fast as it can")
    panel.wait_readout(r"^running")
    panel.moved(lambda: panel.click("pause"), r"^paused")
    still = panel.picture(), panel.readout()
    panel.page.wait_for_timeout(500)
    assert (panel.picture(), panel.readout()) == still
    assert number(r"loss ([\d.]+)", still[1]) > 0.2515
    panel.drag("learning rate", 0.9)
    panel.wait_readout(r"^paused: .*; lr [1-9]")
    panel.moved(lambda: panel.click("reset"), r"^ready: 0 steps, loss [\d.]+, floor")


def test_sampling(panel, page):
    panel.moved(lambda: panel.write("prefix", "em"), r"likeliest next: .* 12 names")
    said, before = panel.moved(lambda: panel.drag("temperature", 0.02), r"likeliest next: \S+ (1\.000|0\.[6-9])")
    top = r"likeliest next: \S+ ([\d.]+)"
    assert number(top, said) > number(top, before)  # colder: surer
    panel.moved(lambda: panel.keys("temperature", "ArrowRight", 4), r"likeliest next")
    panel.moved(lambda: panel.keys("seed", "ArrowUp"), r"likeliest next")
    panel.moved(lambda: panel.click("another seed"), r"likeliest next")
    assert panel.control("seed").locator("input").input_value() == str(2147483647 + 12)

    picture = panel.picture()
    for text, pattern in (
        ("<img src=x onerror=alert(1)>", r"^\[no\] the character '<' in '<img src=x onerror"),
        ("$x^2$", r"^\[no\] the character '\$'"),
        ("a" * 3000, r"^\[no\] prefix has 3000 characters"),
    ):
        panel.write("prefix", text)
        panel.wait_readout(pattern)
    assert panel.box.locator("img").count() == 1
    assert panel.box.locator("mjx-container, script").count() == 0
    assert panel.picture() == picture
    assert "Traceback" not in page.text()
    panel.moved(lambda: panel.write("prefix", ""), r"likeliest next")


def test_network(panel):
    panel.wait_readout(r"^'\.\.e' and then 'm'")
    panel.moved(lambda: panel.keys("character", "ArrowRight"), r"^'\.em' and then 'm'")
    panel.moved(lambda: panel.keys("character", "ArrowRight", 2), r"^'mma' and then the end")
    panel.moved(lambda: panel.write("word", "olivia"), r"^'ivi' and then 'a'|^'liv' and then 'i'")
    panel.moved(lambda: panel.drag("character", 1.0), r"^'via' and then the end: p = 0?\.?\d")
    panel.write("word", "<b>")
    panel.wait_readout(r"^\[no\] the character '<'")
    panel.moved(lambda: panel.write("word", "ava"), r"^'ava' and then the end")


def test_embedding(panel):
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
    panel.page.wait_for_timeout(300)  # drawn by now; what it draws may be the same
    panel.wait_readout(r"^After 500 updates, nearest to 'r'")
    panel.moved(lambda: next_by_keys(panel, "frame"), r"^After 500 updates")


def test_start(panel):
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


def test_noise(panel):
    assert panel.pixels() == [680, 680]
    cosine = r"mean cosine (-?[\d.]+)"
    said = panel.wait_readout(r"^32 examples, before training: mean cosine")
    assert "a step" not in said
    said, before = panel.moved(lambda: panel.keys("batch size", "ArrowRight", 2), r"^128 examples, .* (ms|us) a step$")
    assert number(cosine, said) > number(cosine, before)
    low, _ = panel.moved(lambda: panel.drag("batch size", 0.0), r"^1 example, .* a step$")
    assert number(cosine, low) < number(cosine, before)
    high, _ = panel.moved(lambda: panel.drag("batch size", 1.0), r"^4,096 examples, .* a step$")
    assert number(cosine, high) > 0.95

    said, _ = panel.moved(lambda: panel.choose("network", "after 2,000 steps"), r"^4,096 examples, after 2,000 steps")
    panel.moved(lambda: panel.drag("batch size", 0.35), r"^(16|32) examples, after 2,000 steps.* a step$")
    shoot(panel, "panel_05")
    said, before = panel.moved(lambda: panel.click("fresh draw"), other(panel.readout()))
    assert said.split(":")[0] == before.split(":")[0]
    assert panel.control("seed").locator("input").input_value() == str(2147483647 + 1)
    panel.moved(lambda: panel.keys("seed", "ArrowUp"), other(said))


def test_sweep(panel):
    rate = r"lowest at rate ([\d.]+)"
    said = panel.wait_readout(rate)
    assert "of 2 sweeps alone" in said
    said, _ = panel.moved(lambda: panel.keys("sweeps", "ArrowRight", 2), r"of 4 sweeps alone")
    said, _ = panel.moved(lambda: panel.choose("steps", "1,000"), other(said))
    said, _ = panel.moved(lambda: panel.drag("smooth over", 0.6), other(said))
    assert 0.01 < number(rate, said) < 1

    trained, _ = panel.moved(lambda: panel.click("train with it"), r"Trained 500 steps at [\d.]+: loss \d")
    assert number(r"steps at ([\d.]+)", trained) == number(rate, said)
    assert 1.5 < number(r"loss ([\d.]+)$", trained) < 5
    shoot(panel, "panel_06")

    panel.moved(lambda: panel.drag("exponent to", 0.0), r"^lowest at rate 0\.0")
    panel.moved(lambda: panel.keys("exponent to", "ArrowRight", 8), r"^lowest at rate 0\.[1-9]")
    panel.drag("exponent from", 1.0)
    panel.wait_readout(r"^lowest at|^\[no\] lo must be below hi")
    said = panel.readout()
    panel.moved(lambda: panel.drag("exponent from", 0.4), other(said) + ".*Trained 500")

    # Much at once: the last wish counts, and the bar shows that it works.
    panel.choose("steps", "5,000")
    panel.keys("sweeps", "End")
    panel.box.locator(".progress").wait_for(state="visible")
    panel.click("train with it")
    panel.choose("steps", "100")
    panel.keys("sweeps", "Home")
    panel.wait_readout(r"^lowest at rate [\d.]+ \(smoothed loss [\d.]+\)\. |^lowest at rate [\d.]+ \(.{1,30}\): an end")
    panel.box.locator(".progress").wait_for(state="hidden")


def test_sizes(panel):
    gap = r"dev - train ([+-][\d.]+)"
    said = panel.wait_readout(r"^n_embd 2, n_hidden 30, 200 words, 1,000 steps: \d")
    panel.moved(lambda: panel.keys("n_hidden", "ArrowRight"), r"^n_embd 2, n_hidden 31, 200 words, 1,000 steps: 1,135")
    panel.moved(lambda: panel.keys("n_embd", "ArrowRight", 4), r"^n_embd 6, n_hidden 31, .*: \d.* parameters")
    large, _ = panel.moved(lambda: panel.drag("n_hidden", 0.5), r"^n_embd 6, n_hidden 2\d\d, .*: \d.* parameters")
    assert number(r"([\d,]+) parameters", large) > number(r"([\d,]+) parameters", said)
    longer, _ = panel.moved(lambda: panel.choose("steps", "5,000"), r"200 words, 5,000 steps: .*dev - train")
    assert number(gap, longer) > number(gap, said)  # it learns by heart
    more, _ = panel.moved(lambda: panel.choose("training words", "800"), r" 800 words, 5,000 steps: .*dev - train")
    assert number(gap, more) < number(gap, longer)
    shoot(panel, "panel_07")
    more, _ = panel.moved(lambda: panel.keys("seed", "ArrowUp"), r"; seed 2147483648$")

    panel.moved(lambda: panel.choose("drawn against", "parameters"), "^" + re.escape(more))
    panel.moved(lambda: panel.choose("drawn against", "training words"), "^" + re.escape(more))
    panel.click("train")
    panel.wait_readout(r"^(working|training) ")
    panel.wait_readout("^" + re.escape(more))  # the same again, to the last digit

    panel.choose("steps", "50,000")
    panel.wait_readout(r"^training n_embd 6, n_hidden 2\d\d, 800 words, 50,000 steps \.\.\.")
    panel.box.locator(".progress").wait_for(state="visible")
    panel.moved(lambda: panel.click("reset"), r"^no network yet: press train$")
    panel.box.locator(".progress").wait_for(state="hidden")
    panel.choose("steps", "2,000")
    panel.wait_readout(r"2,000 steps: \d")
    panel.keys("n_hidden", "Home")
    panel.wait_readout(r"n_hidden 10, ")
    panel.wait_readout(r"n_hidden 10, .*parameters")
