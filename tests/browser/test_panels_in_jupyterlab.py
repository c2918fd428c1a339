"""Every control of every panel is moved by key or mouse in JupyterLab, and picture and readout must follow.

All panels are in one notebook, one per cell, so that all tests share one server, one page and one kernel. For a new
panel: add its cell to CELLS, and a test with the cell's name that moves each of its controls.
"""

import json
import os
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError

SETUP = """
import itertools, os, tempfile, torch
os.environ["MLP_LIB_EXERCISES"] = tempfile.mkdtemp() + "/exercises.json"
from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, make_splits, train
from mlp_lib.course.exercises.progress import note_solved
from mlp_lib.course.panels import *
from mlp_lib.lab.fast import fast_steps
from mlp_lib.sweep import lr_sweep
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
# The panel of each test, by the test's name. The cells share one kernel, so each uses its own numbered variables.
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
    "training_with_a_loss_on_demand": """
model_3, g_3 = run(MLPConfig(len(vocab), 3, 2, 50))
settings = {"eval_on": (X[::9], Y[::9]), "on_demand": {"dev": (X[::5], Y[::5])}, "stepper": fast_steps, "pace": 0}
train_panel(model_3, X, Y, g=g_3, first=200, steps=10_000_000, **settings)
""",
    "board": "for number in ('0.1', '1.2'):\n    note_solved(number)\nboard_panel()",
    # When a test clicks it, it marks an exercise as solved, as another notebook would.
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
result = lr_sweep(model_5, X_more, Y_more, steps=200, runs=2, fresh=True, stepper=fast_steps, g=g_5)
sweep_panel(model_5, X_more, Y_more, g=g_5, result=result, train_for=500)
""",
    "sizes": "sizes_panel(config, *make_splits(thousand, vocab)[:4], steps=1000, n_words=200)",
}


@pytest.fixture(scope="module")
def page(open_notebook):
    return open_notebook("panels", {"setup": SETUP} | CELLS)


@pytest.fixture
def panel(page, request):
    """The panel of the cell with the test's name; afterwards checks that the page shows no traceback."""
    panel = page.panel(request.node.name.removeprefix("test_"))
    yield panel
    shoot(panel, request.node.name)
    assert "Traceback" not in page.page.locator("body").inner_text()


def shoot(panel, name):
    """With PANEL_SCREENSHOTS=folder, save a picture of the panel; docs/ has some of them."""
    if folder := os.environ.get("PANEL_SCREENSHOTS"):
        panel.page.wait_for_timeout(500)
        panel.box.screenshot(path=f"{folder}/{name}.png")


def number(pattern, text):
    return float(re.search(pattern, text).group(1).replace(",", ""))


def other(text):
    """A pattern for any other readout, except those of a panel at work and errors."""
    return rf"^(?!{re.escape(text)}$)(?!drawing|training|sweeping|\[)"


def test_softmax(panel):
    said, before = panel.moved(lambda: panel.keys("logit of d", "ArrowRight"), r"0\.0832 nats\. ")
    assert "0.1336 nats" in before
    for label in ("logit of a", "logit of b", "logit of c"):
        loss = number(r"F.cross_entropy (\S+)", said)
        press = [label, "ArrowRight", "ArrowRight"]
        said, _ = panel.moved(lambda press=press: panel.keys(*press), rf"^(?!.*entropy {loss:.4f})long")
        assert number(r"F.cross_entropy (\S+)", said) > loss  # a wrong character became more likely
    said, _ = panel.moved(lambda: panel.drag("logit of d", 0.98), r"longhand nan")
    assert "F.cross_entropy 0.0000 nats. exp(" in said
    panel.moved(lambda: panel.drag("logit of d", 0.5), r"longhand \d")
    panel.moved(lambda: panel.drag("added to all", 0.0), r"Even exp\(")
    panel.moved(lambda: panel.drag("added to all", 0.5), r"longhand \d")
    panel.moved(lambda: panel.choose("the right one", "a"), other(panel.readout()))


def test_training(panel):
    panel.wait_readout(r"^paused: 50 steps, loss \d+\.\d+, floor 0\.2515; lr 0\.1, batch size 32")
    panel.moved(lambda: panel.click("one step"), r"^paused: 51 steps")
    panel.moved(lambda: panel.click("start"), r"^running: [1-9]")
    steps = [number(r"running: ([\d,]+)", panel.wait_readout(r"^running: "))]
    for _ in range(3):  # the readout must advance without a click
        said = panel.wait_readout(rf"^running: (?!{steps[-1]:.0f} )")
        steps.append(number(r"running: ([\d,]+)", said))
    assert steps == sorted(set(steps))
    panel.keys("learning rate", *["ArrowLeft"] * 10)
    panel.wait_readout(r"^running: .*; lr 0\.01,")
    panel.choose("batch size", "all examples")
    panel.wait_readout(r"^running: .*batch size all")
    panel.choose("pace", "as fast as it can")
    panel.wait_readout(r"^running")
    panel.moved(lambda: panel.click("pause"), r"^paused")
    still = panel.picture(), panel.readout()
    panel.page.wait_for_timeout(500)
    assert (panel.picture(), panel.readout()) == still
    panel.drag("learning rate", 0.9)
    panel.wait_readout(r"^paused: .*; lr [1-9]")
    panel.moved(lambda: panel.click("reset"), r"^ready: 0 steps, loss [\d.]+, floor")


def test_sampling(panel):
    panel.moved(lambda: panel.write("prefix", "em"), r"likeliest next: .* 12 names")
    said, before = panel.moved(lambda: panel.drag("temperature", 0.02), r"likeliest next: \S+ (1\.000|0\.[6-9])")
    top = r"likeliest next: \S+ ([\d.]+)"
    assert number(top, said) > number(top, before)  # at a lower temperature the first is more likely
    panel.moved(lambda: panel.keys("temperature", "ArrowRight"), r"likeliest next")
    panel.moved(lambda: panel.keys("seed", "ArrowUp"), r"likeliest next")
    panel.moved(lambda: panel.click("another seed"), r"likeliest next")
    assert panel.control("seed").locator("input").input_value() == str(2147483647 + 12)
    picture = panel.picture()
    for text, pattern in (
        ("<img src=x onerror=alert(1)>", r"^\[no\] the character '<' in '<img src=x onerror"),
        ("$x^2$", r"^\[no\] the character '\$'"),
    ):
        panel.write("prefix", text)
        panel.wait_readout(pattern)
    assert panel.box.locator("img").count() == 1
    assert panel.box.locator("mjx-container, script").count() == 0
    assert panel.picture() == picture
    panel.moved(lambda: panel.write("prefix", ""), r"likeliest next")


def test_network(panel):
    panel.wait_readout(r"^'\.\.e' and then 'm'")
    panel.moved(lambda: panel.keys("character", "ArrowRight"), r"^'\.em' and then 'm'")
    panel.moved(lambda: panel.write("word", "olivia"), r"^'\.ol' and then 'i'")
    panel.moved(lambda: panel.drag("character", 1.0), r"^'via' and then the end: p = 0?\.?\d")
    panel.write("word", "<b>")
    panel.wait_readout(r"^\[no\] the character '<'")
    panel.moved(lambda: panel.write("word", "ava"), r"^'ava' and then the end")


def test_embedding(panel):
    panel.wait_readout(
        r"^After 500 updates, nearest to 'a': ('.' \d\.\d\d,? ?){4}\. These are nearest in all 5 columns; [0-4] of 4"
    )
    panel.moved(lambda: panel.keys("updates", "ArrowLeft"), r"^After 100 updates, nearest to 'a'")
    panel.moved(lambda: panel.drag("updates", 0.0), r"^After 0 updates, nearest to 'a'")
    panel.moved(lambda: panel.choose("frame", "the whole run"), r"^After 0 updates")
    panel.moved(lambda: panel.drag("updates", 1.0), r"^After 500 updates, nearest to 'a'")
    panel.moved(lambda: panel.choose("character", "'q'"), r"^After 500 updates, nearest to 'q'")
    panel.moved(lambda: panel.next_by_keys("character"), r"^After 500 updates, nearest to 'r'")


def test_start(panel):
    beyond = r"; ([\d.]+)% of"
    first = panel.wait_readout(r"^first loss \d\d\.\d{4}, uniform 3\.2958 nats; 6\d\.\d% .*Every tensor has a gradient")
    said, _ = panel.moved(lambda: panel.keys("output scale", *["ArrowLeft"] * 5), r"^first loss (\d|1\d)\.")
    assert 3.2958 < number(r"loss ([\d.]+)", said) < number(r"loss ([\d.]+)", first)
    said, _ = panel.moved(lambda: panel.drag("hidden scale", 0.6), r"; (?!6\d\.)\d+\.\d% of")
    assert number(beyond, said) < number(beyond, first)
    panel.moved(lambda: panel.drag("output scale", 0.0), r"^first loss 3\.2958, .*No gradient for C, W1, b1\.$")
    panel.moved(lambda: panel.keys("hidden scale", "Home"), r"; 0\.0% of .*No gradient for C, W1, b1, W2\.$")
    panel.moved(lambda: panel.keys("output scale", "End"), r"No gradient for C, W2\.$")


def test_training_with_a_loss_on_demand(panel):
    panel.wait_readout(r"^paused: 200 steps, loss \d\.\d{4}; lr 0\.1, batch size 32")
    panel.moved(lambda: panel.click("dev loss"), r"^paused: 200 steps, loss \S+, dev loss \d\.\d{4} at 200; lr")
    panel.moved(lambda: panel.click("reset"), r"^ready: 0 steps, loss [\d.]+; lr 0\.1, batch size 32")
    panel.moved(lambda: panel.click("start"), r"^running: [1-9],?\d{3}")
    panel.moved(lambda: panel.click("dev loss"), r"^running: .*dev loss \d\.\d{4} at [\d,]+; lr")
    panel.choose("batch size", "128")
    panel.wait_readout(r"batch size 128")
    panel.moved(lambda: panel.click("pause"), r"^paused")
    at = int(number(r"paused: ([\d,]+)", panel.readout()))
    panel.moved(lambda: panel.click("dev loss"), rf"dev loss \d\.\d{{4}} at {at:,}; lr 0\.1")
    panel.click("one step")  # too small a change to see in the picture
    panel.wait_readout(rf"^paused: {at + 1:,} steps")


def test_board(panel):
    panel.wait_readout(r"^2 of \d+ exercises solved\. Next: 1\.1 \(")
    panel.moved(lambda: panel.choose("show", "page 01"), r"^2 of")
    panel.moved(lambda: panel.next_by_keys("show"), r"^2 of")
    panel.moved(lambda: panel.choose("show", "all pages"), r"^2 of")
    panel.page.get_by_role("button", name="solve 1.1 elsewhere").click()
    panel.moved(lambda: panel.click("refresh"), r"^3 of \d+ exercises solved\. Next: 1\.3 \(")
    panel.click("forget all")
    panel.wait_readout(r"^Forget all 3 solved exercises\? Press 'yes, forget all', or")
    panel.click("refresh")
    panel.wait_readout(r"^3 of")
    panel.box.get_by_role("button", name="forget all", exact=True).focus()
    panel.page.keyboard.press("Enter")
    panel.wait_readout(r"^Forget all 3")
    panel.page.wait_for_timeout(600)  # not a double click
    panel.moved(lambda: panel.click("yes, forget all"), r"^0 of \d+ exercises solved\. Next: 0\.1 \(")


def test_noise(panel):
    cosine = r"mean cosine (-?[\d.]+)"
    panel.wait_readout(r"^32 examples, before training: mean cosine")
    arrows = ["ArrowRight"] * 2
    said, before = panel.moved(lambda: panel.keys("batch size", *arrows), r"^128 examples, .* (ms|us) per step$")
    assert number(cosine, said) > number(cosine, before)
    low, _ = panel.moved(lambda: panel.drag("batch size", 0.0), r"^1 example, .* per step$")
    assert number(cosine, low) < number(cosine, before)
    panel.moved(lambda: panel.choose("network", "after 2,000 steps"), r"^1 example, after 2,000 steps")
    panel.moved(lambda: panel.drag("batch size", 0.35), r"^(16|32) examples, after 2,000 steps.* per step$")
    shoot(panel, "panel_05")
    said, _ = panel.moved(lambda: panel.click("fresh draw"), other(panel.readout()))
    assert panel.control("seed").locator("input").input_value() == str(2147483647 + 1)
    panel.moved(lambda: panel.keys("seed", "ArrowUp"), other(said))


def test_sweep(panel):
    rate = r"lowest at rate ([\d.]+)"
    assert "; 2 single sweeps give " in panel.wait_readout(rate)
    said, _ = panel.moved(lambda: panel.keys("sweeps", "ArrowRight", "ArrowRight"), r"^lowest .*; 4 single sweeps give")
    said, _ = panel.moved(lambda: panel.choose("steps", "1,000"), other(said))
    said, _ = panel.moved(lambda: panel.drag("smooth over", 0.6), other(said))
    trained, _ = panel.moved(lambda: panel.click("train with it"), r"^lowest .*Trained 500 steps at [\d.]+: loss \d")
    assert number(r"steps at ([\d.]+)", trained) == number(rate, said)
    shoot(panel, "panel_06")
    panel.moved(lambda: panel.drag("exponent to", 0.0), r"^lowest at rate 0\.0")
    panel.moved(lambda: panel.keys("exponent to", *["ArrowRight"] * 8), r"^lowest at rate 0\.[1-9]")
    panel.drag("exponent from", 1.0)
    said = panel.wait_readout(r"^lowest at|^\[no\] lo and hi must be rates")
    panel.moved(lambda: panel.drag("exponent from", 0.4), other(said) + ".*Trained 500")
    # Many changes at once: the last one counts, and the bar is visible meanwhile.
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
    panel.moved(lambda: panel.keys("n_embd", *["ArrowRight"] * 4), r"^n_embd 6, n_hidden 31, .*: \d.* parameters")
    panel.moved(lambda: panel.drag("n_hidden", 0.5), r"^n_embd 6, n_hidden 2\d\d, .*: \d.* parameters")
    longer, _ = panel.moved(lambda: panel.choose("steps", "5,000"), r"^n_embd 6, .* 5,000 steps: .*dev - train")
    assert number(gap, longer) > number(gap, said)  # it has memorised the training words
    more, _ = panel.moved(lambda: panel.choose("training words", "800"), r"^n_embd 6, .* 800 words, 5,000 steps: .*dev")
    assert number(gap, more) < number(gap, longer)
    shoot(panel, "panel_07")
    more, _ = panel.moved(lambda: panel.keys("seed", "ArrowUp"), r"^n_embd 6, .*; seed 2147483648$")
    panel.moved(lambda: panel.choose("drawn against", "parameters"), "^" + re.escape(more))
    panel.choose("steps", "50,000")
    # The numbers of the last network stay visible.
    panel.wait_readout(r"^training n_embd 6, n_hidden 2\d\d, 800 words, 50,000 steps \.\.\. " + re.escape(more))
    panel.box.locator(".progress").wait_for(state="visible")
    panel.moved(lambda: panel.click("reset"), r"^no network yet: press train$")
    panel.box.locator(".progress").wait_for(state="hidden")
    panel.choose("steps", "2,000")
    panel.click("train")
    panel.wait_readout(r"^n_embd 6, .* 2,000 steps: \d")


PANELS = [name for name in CELLS if name != "elsewhere"]


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_no_violations(page, theme):
    axe = Axe()
    page.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    page.page.wait_for_function("theme => document.body.dataset.jpThemeName == theme", arg=theme)
    for name in PANELS:
        panel = page.panel(name)
        panel.box.get_by_role("img").and_(panel.box.locator("[alt]")).wait_for()  # a second after the readout
        shoot(panel, f"{theme}_{name}".replace("JupyterLab ", ""))
        panel.box.evaluate("box => box.setAttribute('data-axe', '')")
        found = axe.run(page.page, context="[data-axe]").response["violations"]
        panel.box.evaluate("box => box.removeAttribute('data-axe')")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], name


def test_readout_is_announced_when_it_stops_changing(page):
    panel = page.panel("softmax")
    status = panel.box.get_by_role("status")
    watch = "n => new MutationObserver(() => n.seen.push(n.textContent)).observe(n, { childList: true })"
    status.evaluate(watch)
    for _ in range(4):  # on a busy machine a second may pass between two of the moves
        status.evaluate("n => n.seen = []")
        for _ in range(3):
            panel.moved(lambda: panel.keys("logit of d", "ArrowRight"), other(panel.readout()))
        panel.page.wait_for_timeout(1500)
        seen = status.evaluate("n => n.seen")
        if len(seen) == 1:
            break
    assert (seen[-1], len(seen)) == (panel.readout(), 1)


def test_reopened_page_shows_the_pictures_of_its_panels(page, lab):
    """Saved and opened again, the page shows its panels before any cell is run. The last test: it ends the kernel."""
    page.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    saved = json.loads((lab["folder"] / "panels.ipynb").read_text(encoding="utf-8"))
    assert saved["metadata"].get("widgets"), "JupyterLab saved no state: was the course installed by make setup?"

    # While other tests were running, JupyterLab once failed to draw the restored widgets; another reload draws them.
    for last in (False, False, True):
        page.page.reload()
        page.page.wait_for_function("window.jupyterapp && window.jupyterapp.shell.currentWidget")
        try:
            page.panel(PANELS[0]).image.wait_for()
            break
        except TimeoutError:
            if last:
                raise
    for name in PANELS:
        image = page.panel(name).image
        image.wait_for()
        width, in_file = image.evaluate("img => [img.getBoundingClientRect().width, img.naturalWidth]")
        assert width > 100, name
        assert in_file > 100, name
    assert "Error displaying widget" not in page.page.inner_text("body")
