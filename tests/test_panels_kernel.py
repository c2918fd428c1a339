"""The panels in a real kernel: values set in a cell and results from a panel's thread reach the page."""

import base64
import html
import re

import nbformat
import pytest
from nbclient import NotebookClient

SETUP = """
import time, torch
from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, load_words, make_splits
from mlp_lib.course.panels import *
from mlp_lib.lab.fast import fast_steps
from mlp_lib.sweep import lr_sweep
words = load_words()[:200]
vocab = Vocab.from_words(words)
X, Y = build_dataset(words, vocab)
g = torch.Generator().manual_seed(2147483647)
model = MLP(MLPConfig(len(vocab), 3, 2, 20), g=g)
result = lr_sweep(model, X, Y, steps=200, runs=2, fresh=True, stepper=fast_steps, g=g)
"""
DATA = "model.config, X, Y, X, Y"
# A panel, what another cell does with it, and the readout after that.
CELLS = [
    ("softmax_panel()", "controls['d'].value = 100", r"longhand nan nats, F\.cross_entropy 0\.0000 nats\."),
    ("sampling_panel(model, vocab, words=words)", "controls['prefix'].value = '<b>'", r"\[no\] the character '<' "),
    ("network_panel(model, vocab, words)", "controls['place'].value = 4", r"'mma' and then the end: p = "),
    ("embedding_panel({0: model.C, 1: 2 * model.C}, vocab)", "controls['pick'].value = 'z'", r"After 1 .* to 'z'"),
    ("init_panel(X, Y, model.config, seed=1)", "controls['output'].value = 0", r"first loss 3\.\d{4}, .* C, W1, b1\."),
    ("board_panel()", "buttons['forget all'].click()", r"Forget all \d+ solved exercises\?"),
    ("gradient_noise_panel({'it': model}, X, Y)", "buttons['fresh draw'].click()", r"32 examples, it: mean cosine 0\."),
    ("sweep_panel(model, X, Y, g=g, result=result)", "controls['seeds'].value = 3", r"lowest .*; 3 single sweeps"),
    (f"sizes_panel({DATA}, steps=500)", "controls['n_embd'].value = 5", r"n_embd 5, .* dev"),
    ("train_panel(model, X, Y, g=g, first=10)", "buttons['one step'].click()", r"paused: 11 steps, loss "),
]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """`run(cell)` returns the cell's outputs; `page(outputs)` what a page shows of the panel in them."""
    folder = tmp_path_factory.mktemp("kernel")
    notebook = nbformat.v4.new_notebook()
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})

    def run(source):
        notebook.cells.append(nbformat.v4.new_code_cell(source))
        client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
        return notebook.cells[-1].outputs

    def page(outputs):
        (view,) = [o.data["application/vnd.jupyter.widget-view+json"] for o in outputs if "data" in o]
        shown = {}
        for child in client.widget_state[view["model_id"]]["children"]:
            child = child.removeprefix("IPY_MODEL_")
            state = client.widget_state[child]
            if state["_model_name"] == "ImageModel":
                shown["picture"] = base64.b64decode(client.widget_buffers[child][("value",)]["data"])
            elif "value" in state:
                shown[state["_model_name"]] = state["value"]
        shown["readout"] = html.unescape(shown["HTMLModel"].partition("<style")[0])
        return shown

    with client.setup_kernel():
        run(SETUP)
        yield run, page


@pytest.mark.parametrize(("panel", "move", "said"), CELLS, ids=lambda text: text.partition("(")[0])
def test_value_set_in_a_cell_reaches_the_page(kernel, panel, move, said):
    run, page = kernel
    outputs = run(f"panel = {panel}\npanel")
    (alt,) = [o.metadata["image/png"]["alt"] for o in outputs if "data" in o]
    assert len(alt) > 30
    before = page(outputs)
    assert run(f"panel.{move}\nif panel.worker: panel.worker.wait()") == []
    run("1")  # when this returns, messages from the thread have arrived
    after = page(outputs)
    assert re.match(said, after["readout"])
    assert (after["picture"] == before["picture"]) == after["readout"].startswith(("[no]", "Forget"))
    run("panel.close()")


MOVING = [
    ("train_panel(model, X, Y, g=g, pace=0)", "buttons['start'].click()", "picture"),
    (f"sizes_panel({DATA}, steps=500)", "controls['steps'].value = 50_000", "FloatProgressModel"),
]


@pytest.mark.parametrize(("panel", "begin", "moves"), MOVING)
def test_curve_and_bar_move_while_the_kernel_runs_another_cell(kernel, panel, begin, moves):
    run, page = kernel
    outputs = run(f"panel = {panel}\npanel")
    run(f"panel.{begin}")
    seen = [page(outputs)[moves]]
    for _ in range(40):
        run("time.sleep(0.25)")
        if page(outputs)[moves] != seen[-1]:
            seen.append(page(outputs)[moves])
        if len(seen) == 3:
            break
    assert len(seen) == 3
    (said,) = run(
        "panel.close(); import threading; print([t.name for t in threading.enumerate() if 'panel' in t.name])"
    )
    assert said.text == "[]\n"
