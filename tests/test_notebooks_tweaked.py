"""Notebooks as readers use them: with changed numbers, another word list, cells run twice.

`make torture` runs all of these tests; `make test` runs a sample.
"""

import ast
import os
import random
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from test_notebooks import parts

from mlp_lib import load_words
from nbval_tolerance import differences, tolerances_of

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "notebooks").glob("[01][0-9]_*.ipynb"))
SANITIZE = re.compile(r"\d[\d,]*(\.\d+)? (s|ms|us)\b")  # as in tests/nbval_sanitize.cfg

# Lists in other alphabets. The Greek one has sixty words made of stems and endings, a few of them twice.
STEMS = (
    "αγρ", "βασ", "γλωσσ", "δεντρ", "ελπιδ", "ζω", "ηλι", "θαλασσ", "ιστορ", "καρδ",
    "λογ", "μερ", "νησ", "ουραν", "ποταμ", "ροδ", "σελην", "τριαντ", "φιλ", "χαρ",
)  # fmt: skip
GREEK = [stem + ending for stem in STEMS for ending in ("ος", "α", "ι")] + ["φιλος", "λογος", "ηλιος"]


def invented(first, n_letters, n_words, longest):
    """`n_words` random words over `n_letters` letters, starting at the letter `first`."""
    letters, chance = [chr(ord(first) + k) for k in range(n_letters)], random.Random(n_words)
    return ["".join(chance.choices(letters, k=chance.randint(1, longest))) for _ in range(n_words)]


LISTS = {
    "Greek": GREEK,
    "Arabic": invented("ف", 8, 300, 5),
    "Devanagari": [c + v for c in invented("क", 20, 20, 1) for v in ("", "\u093e", "\u093f\u0902", "ल\u0940")],
    "Korean": invented("가", 200, 300, 3),
    "Cyrillic": invented("а", 32, 300, 8),
    "Japanese": invented("ぁ", 80, 400, 4),
    "Chinese": invented("一", 400, 800, 3),
    "two thousand symbols": invented("一", 2000, 3000, 3),
    "one letter": ["a" * n for n in range(1, 10)] * 6,
    "six words": ["emma", "olivia", "ava", "isabella", "sophia", "charlotte"],
}

SETTINGS = {
    "small": {"n_embd": 2, "n_hidden": 10, "block_size": 1, "batch_size": 1, "steps": 300},
    # With few words, because networks of this size take up to six minutes per page on the whole list.
    "large": {"n_embd": 24, "n_hidden": 500, "block_size": 8, "batch_size": 1024, "steps": 60, "words": "Greek"},
    "odd": {"n_embd": 7, "n_hidden": 33, "block_size": 4, "batch_size": 100, "steps": 500},
    "Greek, odd": {"words": "Greek", "n_embd": 5, "block_size": 2, "n_hidden": 17, "steps": 300},
    **{name: {"words": name, "n_hidden": 16, "steps": 150} for name in LISTS},
}
IN_EVERY_RUN = {("04", "Greek, odd")}
TWICE_IN_EVERY_RUN = {"02"}


def parameters_of(cell):
    """The names that the parameters cell sets, with their values."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign)
    }


def run(notebook, folder):
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()


def tagged(notebook, tag):
    return next((k for k, c in enumerate(notebook.cells) if tag in c.metadata.get("tags", [])), None)


def said(notebook):
    return "".join(
        o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "stream"
    )


def marked(quick):
    return () if quick else (pytest.mark.torture,)


CHANGED = [
    pytest.param(path, name, id=f"{path.stem[:2]}-{name}", marks=marked((path.stem[:2], name) in IN_EVERY_RUN))
    for path in PATHS
    for name in SETTINGS
    if tagged(nbformat.read(path, as_version=4), "parameters") is not None
]


@pytest.mark.parametrize(("path", "name"), CHANGED)
def test_page_runs_with_changed_parameters_or_another_list(path, name, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    at = tagged(notebook, "parameters")
    before = parameters_of(notebook.cells[at])
    changed = {k: v for k, v in SETTINGS[name].items() if k in before and v != before[k]}
    if "steps" in changed:
        changed["steps"] = min(changed["steps"], before["steps"])
    if "words" in SETTINGS[name]:
        monkeypatch.setenv("MLP_LIB_WORDS", str(tmp_path / "words.txt"))
        (tmp_path / "words.txt").write_text("\n".join(LISTS[SETTINGS[name]["words"]]), encoding="utf-8")
    elif not changed:
        pytest.skip("this notebook has none of these numbers")
    source = "\n".join(f"{k} = {v!r}" for k, v in changed.items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(source))
    run(notebook, path.parent)
    assert "missing from font" not in said(notebook), "a figure shows a letter that its font lacks"


@pytest.mark.torture
@pytest.mark.skipif(not os.environ.get("MLP_LECTURE_NAMES"), reason="MLP_LECTURE_NAMES names no copy of the file")
@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem[:2])
def test_page_runs_with_the_lectures_own_file(path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    monkeypatch.setenv("MLP_LIB_WORDS", "lecture")
    run(notebook, path.parent)
    assert "(video:" not in said(notebook), "a number of the video that this page does not reproduce"


FEW_STEPS = 300  # instead of more than 1,000
BY_THE_CLOCK = ("# 05", "# 16")  # these compare times, with tolerances for the pages' own number of steps


def shortened(notebook):
    """Reduce the steps in the parameters cell of a page that trains long; returns whether it did."""
    at = tagged(notebook, "parameters")
    if at is None or notebook.cells[0].source.startswith(BY_THE_CLOCK):
        return False
    if parameters_of(notebook.cells[at]).get("steps", 0) <= 1000:
        return False
    cell = notebook.cells[at]
    cell.source = re.sub(r"^steps = [\d_]+", f"steps = {FEW_STEPS}", cell.source, flags=re.M)
    return True


LISTS_ENTRIES = "nb16-half-p"  # the leaderboard so far: its cell, run again, begins an empty one


TWICE = [pytest.param(p, id=p.stem[:2], marks=marked(p.stem[:2] in TWICE_IN_EVERY_RUN)) for p in PATHS]


def seen(cell, measured=False):
    """The text of a cell's outputs, without measured times and stderr; a figure counts only by its text."""
    numbers = re.compile(r" *\d[\d,.]*") if measured else SANITIZE  # including the blanks that align them
    text = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            continue
        text.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return numbers.sub("N", "".join(text))


def code_of(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def differs(cell, stored):
    measured = "measured" in stored.metadata.get("tags", [])
    shown, expected = seen(cell, measured), seen(stored, measured)
    tolerances = tolerances_of(stored.metadata.get("tags", []))
    return bool(differences(expected, shown, tolerances)) if tolerances else shown != expected


@pytest.mark.parametrize("path", TWICE)
def test_cells_give_the_same_results_when_run_again_in_any_order(path):
    """Run each cell twice, then all of them once more in random order, like a reader who goes back and forth.

    Out of order a cell may raise, because a reader notices that. It must not show a wrong result.
    """
    notebook = nbformat.read(path, as_version=4)
    if shortened(notebook):
        run(notebook, path.parent)  # once, for the expected outputs with so few steps
    stored = code_of(notebook)
    twins = [twin(cell, copy) for cell in stored for copy in "ab"]
    again = [twin(cell, "c") for cell in random.Random(path.name).sample(stored, len(stored))]
    for cell in again:
        cell.metadata["tags"] = ["raises-exception"]
    notebook.cells = twins + again
    run(notebook, path.parent)
    for number, (cell, first, second) in enumerate(zip(stored, twins[::2], twins[1::2], strict=True), start=1):
        assert not differs(first, cell), f"cell {number}, first time:\n{first.source}"
        assert not differs(second, cell), f"cell {number}, second time:\n{second.source}"
    by_id = {f"{cell.id}-c": cell for cell in stored}
    for cell in again:
        if cell.id == f"{LISTS_ENTRIES}-c":
            continue
        raised = any(output.output_type == "error" for output in cell.outputs)
        assert raised or not differs(cell, by_id[cell.id]), f"in another order:\n{cell.source}"


@pytest.mark.parametrize("path", PATHS[1:13], ids=lambda p: p.stem[:2])
def test_lecture_route_runs_without_the_sections_beyond_it(path, tmp_path, monkeypatch):
    """Only the head, the end and the ▶ sections run, with few words and steps, as for a learner who skips the rest."""
    (tmp_path / "words.txt").write_text("\n".join(load_words()[:1000]), encoding="ascii")
    monkeypatch.setenv("MLP_LIB_WORDS", str(tmp_path / "words.txt"))
    notebook = nbformat.read(path, as_version=4)
    kept = [cell for kind, cell in parts(notebook) if kind != "beyond"]
    assert len(kept) < len(notebook.cells), "this page must have sections beyond the video"
    notebook.cells = kept
    parameters = kept[tagged(notebook, "parameters")]
    if parameters_of(parameters).get("steps", 0) > 150:
        parameters.source += "\nsteps = 150"
    run(notebook, path.parent)


def twin(cell, copy):
    """A copy of the cell with a different id, not run yet."""
    new = nbformat.v4.new_code_cell(cell.source)
    new.id = f"{cell.id}-{copy}"
    return new
