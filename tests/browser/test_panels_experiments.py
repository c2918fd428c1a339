"""The panels of notebooks 05 to 08 and 10 in JupyterLab: each control moved by key or mouse, training seen to train.

Each panel stands in a notebook of its own, since some of their labels are the same.
"""

import os
import re

SETUP = """
import torch
from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, make_splits, train
from mlp_lib.fast import fast_steps
from mlp_lib.widgets import noise_panel, sizes_panel, sweep_panel
torch.set_num_threads(1)
words = load_words()[:1000]
vocab = Vocab.from_words(words)
X, Y = build_dataset(words, vocab)
config = MLPConfig(len(vocab), 3, 2, 30)
def new_model():
    g = torch.Generator().manual_seed(2147483647)
    return MLP(config, g=g), g
model, g = new_model()
"""
NOISE = """
late, _ = new_model()
history = train(late, X, Y, steps=2000, g=g, stepper=fast_steps)
noise_panel({"before training": model, "after 2,000 steps": late}, X, Y)
"""
SWEEP = "panel = sweep_panel(model, X, Y, g=g, steps=200, seeds=2, train_for=500)\npanel"
SIZES = """
panel = sizes_panel(config, *make_splits(words, vocab)[:4], steps=1000, n_words=200)
panel
"""


def shoot(panel, name):
    """With PANEL_SCREENSHOTS=folder, the panel as it looks now is kept for eyes; docs/ has the good ones."""
    if folder := os.environ.get("PANEL_SCREENSHOTS"):
        panel.page.wait_for_timeout(500)
        panel.screenshot(f"{folder}/{name}.png")


def number(pattern, text):
    return float(re.search(pattern, text).group(1).replace(",", ""))


def other(text):
    """A pattern for any readout but this one that is no message about work."""
    return rf"^(?!{re.escape(text)}$)(?!working|drawing|training|sweeping|\[)"


def test_noise(open_notebook):
    panel = open_notebook("noise", [SETUP, NOISE]).panel("batch size")
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


def test_sweep(open_notebook):
    panel = open_notebook("sweep", [SETUP, SWEEP]).panel("train with it")
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


def test_sizes(open_notebook):
    panel = open_notebook("sizes", [SETUP, SIZES]).panel("n_hidden")
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

    picture = panel.picture()
    panel.choose("drawn against", "parameters")
    panel.wait_readout("^" + re.escape(more))
    assert panel.picture() != picture
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
