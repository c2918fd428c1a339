"""Every control of every panel, moved by key or mouse in JupyterLab; picture and readout follow the numbers.

All panels stand in one notebook, so that one page and one kernel serve all tests. For a new panel: add its cell to
CELLS, and a test that moves each of its controls.
"""

import os
import re

import pytest

SETUP = """
import torch
from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, train
from mlp_lib.widgets import network_panel, sampling_panel, softmax_panel, train_panel
torch.set_num_threads(1)
words = load_words()[:300]
vocab = Vocab.from_words(words)
def new_model():
    g = torch.Generator().manual_seed(2147483647)
    return MLP(MLPConfig(len(vocab), 3, 2, 30), g=g), g
trained, g = new_model()
history = train(trained, *build_dataset(words, vocab), steps=1000, g=g)
X, Y = build_dataset(words[:5], vocab)
"""
CELLS = [
    SETUP,
    "softmax_panel()",
    "model, g = new_model()\ntrain_panel(model, X, Y, g=g, floor=0.2515, first=50)",
    "sampling_panel(trained, vocab, words=words)",
    "network_panel(trained, vocab, words)",
]


@pytest.fixture(scope="module")
def page(open_notebook):
    return open_notebook("panels", CELLS)


@pytest.fixture(autouse=True)
def screenshot(request, page):
    """With PANEL_SCREENSHOTS=folder, the last look of each panel is kept for eyes."""
    yield
    if folder := os.environ.get("PANEL_SCREENSHOTS"):
        page.page.screenshot(path=f"{folder}/{request.node.name}.png")


def number(pattern, text):
    return float(re.search(pattern, text).group(1).replace(",", ""))


def test_softmax(page):
    panel = page.panel("logit of a")
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


def test_training(page):
    panel = page.panel("learning rate")
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


def test_sampling(page):
    panel = page.panel("prefix")
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


def test_network(page):
    panel = page.panel("word")
    panel.wait_readout(r"^'\.\.e' and then 'm'")
    panel.moved(lambda: panel.keys("character", "ArrowRight"), r"^'\.em' and then 'm'")
    panel.moved(lambda: panel.keys("character", "ArrowRight", 2), r"^'mma' and then the end")
    panel.moved(lambda: panel.write("word", "olivia"), r"^'ivi' and then 'a'|^'liv' and then 'i'")
    panel.moved(lambda: panel.drag("character", 1.0), r"^'via' and then the end: p = 0?\.?\d")
    panel.write("word", "<b>")
    panel.wait_readout(r"^\[no\] the character '<'")
    panel.moved(lambda: panel.write("word", "ava"), r"^'ava' and then the end")
