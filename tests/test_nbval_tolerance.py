"""The pytest plugin that compares the numbers of a tagged cell within a tolerance."""

import importlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nbval_tolerance import differences, tolerances_of

ROOT = Path(__file__).resolve().parent.parent

# tag, stored, new: close enough
NEAR = [
    ("within-0.02", "loss 2.17", "loss 2.17"),
    ("within-0.02", "loss 2.17", "loss 2.18"),
    ("within-0.02", "loss 2.17", "loss 2.19"),  # as a float, 2.19 - 2.17 > 0.02
    ("within-10%", "3.0 times", "3.3 times"),
    ("within-10%", "3.0x, 0.5s", "3.3x, 0.45s"),
    ("within-0.02", "a -0.01 b", "a 0.01 b"),
    ("within-0.02", "tensor([ 0.01, -0.20])", "tensor([-0.01, -0.19])"),
    ("within-0.02", "a −0.01 b +1.5", "a -0.01 b +1.51"),
    ("within-0.02", "[0. 1. 2.]", "[0.01 1. 1.99]"),
    ("within-0.02", "array([0., 1.])", "array([0.01, 0.99])"),
    ("within-1%", "11,897.0 of 999.9", "11,900.5 of 1,000.1"),
    ("within-5e-05", "1e-05", "3.5e-5"),
    ("within-5e-05", "1.e-05", "0.00002"),
    ("within-0.02", ".5 of 1", "0.51 of 1"),
    ("within-0.02", "nan, inf, -inf", "nan, inf, -inf"),
    ("within-1", "33 % and 33%", "34 % and 32%"),
    ("within-10%", "33 %", "34 %"),
    ("within-0.5", "33.0 %", "33.4 %"),
    ("within-3", "26 dead units", "28 dead units"),
    ("within-1%", "a 0.7-0.9 range", "a 0.701-0.899 range"),
    ("within-0.02", "10000", "10,000"),
    # a number of another width changes only the padding of columns
    ("within-1%", "step   loss\n  10  9.996\n 100  2.400", "step    loss\n  10  10.002\n 100   2.400"),
    ("within-1%", "9.996  | a\n2.4    | b", "10.002 | a\n2.4    | b"),
]

# tag, stored, new, what the sentence says
FAR = [
    ("within-0.02", "a 2.17 b\nloss 2.17 end", "a 2.17 b\nloss 2.21 end",
     "2.21 differs from the stored 2.17 by 0.04, not allowed by within-0.02, in the line 'loss 2.21 end'"),
    ("within-10%", "3.0 times", "3.6 times", "3.6 differs from the stored 3.0 by 0.6 (20 %), not allowed by"),
    ("within-10%", "0.0", "0.1", "0.1 differs from the stored 0.0 by 0.1, not allowed by within-10%"),
    ("within-0.02", "-2.17", "2.17", "2.17 differs from the stored -2.17 by 4.34"),
    ("within-0.02", "1,234.5", "1,235.5", "1,235.5 differs from the stored 1,234.5 by 1.0"),
    ("within-0.02", "1e-05", "1e+05", "1e+05 differs from the stored 1e-05 by 99999.99999"),
    ("within-0.02", "nan", "2.17", "2.17 differs from the stored nan, not allowed by within-0.02"),
    ("within-0.02", "inf", "-inf", "-inf differs from the stored inf"),
    ("within-10%", "2147483647", "2147483648", "by 1 (4.66e-08 %), whole numbers must be equal under within-10%"),
    ("within-10%", "10000 steps.", "10001 steps.", "whole numbers must be equal"),
    ("within-3", "26 units", "30 units", "30 differs from the stored 26 by 4"),
    ("within-0.5", "33 %", "34 %", "34 differs from the stored 33 by 1"),
    ("within-0.02", "train 2.17", "dev 2.17", "text between the numbers differs: 'dev ' where 'train ' is stored"),
    ("within-0.02", "a 1.5", "a  1.5", "'a  ' where 'a ' is stored"),  # the same width, so it is not padding
    ("within-1%", "9.996\n2.4", "10.002 2.4", "text between the numbers"),
    ("within-0.02", "1.5 2.5", "1.5 2.5 3.5", "text between the numbers differs"),
    ("within-50%", "1.50", "1.5 1.5", "text between the numbers differs|there are 2 numbers where 1 are stored"),
    ("within-50%", "torch 2.13.0", "torch 2.12.0", "'torch 2.12.0' where 'torch 2.13.0' is stored"),
    ("within-50%", "W1 and x0.5", "W2 and x0.5", "'W2 and x0.5'"),
]  # fmt: skip


@pytest.mark.parametrize(("tag", "stored", "new"), NEAR)
def test_numbers_within_the_tolerance_are_accepted(tag, stored, new):
    assert differences(stored, new, tolerances_of([tag])) == []


@pytest.mark.parametrize(("tag", "stored", "new", "sentence"), FAR)
def test_numbers_beyond_the_tolerance_are_reported(tag, stored, new, sentence):
    [said] = differences(stored, new, tolerances_of([tag]))
    assert any(part in said for part in sentence.split("|"))


def test_one_of_two_tolerances_is_enough():
    tolerances = tolerances_of(["parameters", "within-0.02", "within-10%"])
    assert differences("0.01 and 100.0", "0.02 and 109.0", tolerances) == []
    [said] = differences("0.01 and 100.0", "0.04 and 109.0", tolerances)
    assert "not allowed by within-0.02 and within-10%" in said


@pytest.mark.parametrize("tag", ["within", "within-", "within-a-bit", "within-0,02", "within--1", "within-5 %"])
def test_invalid_within_tag_raises_ValueError(tag):
    with pytest.raises(ValueError, match=r"is not understood: write within-0\.02"):
        tolerances_of([tag])


def cell(source, stored=None, *tags, count=1):
    """A code cell whose stored output is `stored`: the text of a stream, or an output."""
    outputs = [new_output("stream", text=stored)] if isinstance(stored, str) else [stored] if stored else []
    return new_code_cell(source, outputs=outputs, execution_count=count, metadata={"tags": list(tags)})


def result(text, **data):
    return new_output("execute_result", {"text/plain": text, **data}, execution_count=1)


def run(folder, *arguments, **pages):
    """Run pytest in `folder`, outside this project: its message for each cell of each page, and its stdout."""
    for name, cells in pages.items():
        nbformat.write(new_notebook(cells=[new_markdown_cell("# A page"), *cells]), folder / f"{name}.ipynb")
    # nbformat imports it if it is installed, which takes longer than everything else here, and does not need it.
    (folder / "rfc3987_syntax.py").write_text("raise ImportError")
    plugins = ["-p", "nbval_tolerance", "-p", "nbval", "-p", "xdist", "-p", "no:cacheprovider"]
    call = [sys.executable, "-m", "pytest", *plugins]
    done = subprocess.run(
        [*call, "--nbval", "--nbval-current-env", "--junitxml=result.xml", *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    said = {name: [""] * len(cells) for name, cells in pages.items()}
    for case in ET.parse(folder / "result.xml").iter("testcase"):
        name, number = case.get("classname").partition(".")[0], int(case.get("name").removeprefix("Cell "))
        said[name][number] = "".join(f.text or f.get("type") for f in case if f.tag in ("failure", "skipped", "error"))
    return said, done.stdout


HTML = {"text/html": "<table border='1'><td>2.17</td></table>"}
SHOW = "class Table:\n    def __init__(self, html, text):\n        self.html, self.text = html, text\n"
SHOW += "    def __repr__(self):\n        return self.text\n    def _repr_html_(self):\n        return self.html"


def test_plugin_works_outside_this_project(tmp_path):
    (tmp_path / "clean.cfg").write_text("[t]\nregex: took \\d+ s\nreplace: took N s\n")
    passing = [
        cell(SHOW),
        cell("print('loss 2.17')", "loss 2.17\n"),
        cell("print('loss 2.18')", "loss 2.17\n", "within-0.02"),
        cell("print('loss 2.18, took 7 s')", "loss 2.17, took 5 s\n", "within-0.02"),
        cell("2.18", result("2.17"), "within-0.02"),
        cell("Table(\"<table border='1'><td>2.18</td></table>\", '2.16')", result("2.17", **HTML), "within-0.02"),
        cell("pass"),
        cell("1 / 0", new_output("error", ename="ZeroDivisionError", evalue="division by zero"), "raises-exception"),
        cell("print(1)", None, "nbval-ignore-output", count=None),
    ]
    failing = {
        "differ": cell("print('loss 2.18')", "loss 2.17\n"),
        "2.21 differs from the stored 2.17 by 0.04, not allowed by within-0.02": cell(
            "print('loss 2.21')", "loss 2.17\n", "within-0.02"
        ),
        "2.22 differs from the stored 2.17 by 0.05": cell(
            "Table(\"<table border='1'><td>2.22</td></table>\", '2.17')", result("2.17", **HTML), "within-0.02"
        ),
        "'lass ' where 'loss ' is stored": cell("print('lass 2.17')", "loss 2.17\n", "within-0.02"),
        "and 2 more numbers": cell("print(7 * '2.5 ')", 7 * "1.5 " + "\n", "within-0.02"),
        "the tag 'within-a-bit' is not understood": cell("print('loss 2.17')", "loss 2.17\n", "within-a-bit"),
        "Unexpected output fields": cell("print('loss 2.17')", None, "within-0.02"),
    }
    stripped = [cell("x = 1", count=None), cell("print(x)", count=None), cell("", count=None), cell("print(x)", "1\n")]
    pages = {"page": [*passing, *failing.values()], "stripped": stripped}
    said, _ = run(tmp_path, "--nbval-sanitize-with=clean.cfg", **pages)
    assert said["page"][: len(passing)] == [""] * len(passing)
    for sentence, failure in zip(failing, said["page"][len(passing) :], strict=True):
        assert sentence in failure
    assert "2 of 4 code cells of this notebook were stored without having been run" in said["stripped"][0]
    assert said["stripped"][1:] == ["pytest.xfail", "", ""]


CHAIN = [cell("x = 0"), *[cell("x += 1; x", result(str(k))) for k in range(1, 5)]]


def test_cells_of_a_notebook_stay_on_one_worker(tmp_path):
    said, output = run(tmp_path, "-n", "2", page=CHAIN)
    assert "nbval: --dist loadfile instead of load" in output
    assert said["page"] == [""] * 5


def test_cells_fail_if_dist_spreads_them(tmp_path):
    said, _ = run(tmp_path, "-n", "1", "--dist", "worksteal", page=CHAIN[:2])
    assert all("--dist worksteal spreads the cells" in failure for failure in said["page"])


def test_plugin_imports_nothing_slow():
    """Every pytest in the environment imports it, so it must not import torch."""
    code = "import sys, nbval_tolerance; print([m for m in ('torch', 'numpy', 'nbval', 'mlp_lib') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_measure_tolerances_reports_shifted_seeds(tmp_path, monkeypatch, capsys):
    page = new_notebook(
        cells=[
            cell("seed = 2147483647", None, "parameters"),
            cell("print(f'seed {seed}: loss {seed / 1e9:.3f}')", "seed 2147483647: loss 2.147\n", "within-0.03"),
        ]
    )
    page.cells[1].id = "loss"
    nbformat.write(page, tmp_path / "page.ipynb")
    monkeypatch.syspath_prepend(ROOT / "tools")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["measure_tolerances.py", "page.ipynb", "-v", "seeds", "--shifts", "10000000"])
    importlib.import_module("measure_tolerances").main()
    said = capsys.readouterr().out
    assert "0.01     0.466 %   2.157 for 2.147" in said
    assert "! 2157483647 for 2147483647" in said  # a whole number, to which the tolerance does not apply
    assert 'loss = { tag = "within-0.03", machines = 0, seeds = 0.01, tried = "seeds+10000000" }' in said
