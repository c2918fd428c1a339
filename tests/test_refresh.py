"""A second `make refresh` gives the same files; a measured time is kept until its code changes."""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_notebooks_tweaked import shortened

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))

spec = importlib.util.spec_from_file_location("refresh_notebooks", ROOT / "tools" / "refresh_notebooks.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

TIMED = 'import time\nprint(f"{1e3 * time.perf_counter():.6f} ms")'


def written(path, *cells):
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def measured(source):
    return new_code_cell(source, metadata={"tags": ["measured"]})


def shown(path, k):
    return nbformat.read(path, as_version=4).cells[k].outputs[0]["text"]


@pytest.fixture(scope="module")
def client():
    """One kernel for all tests that do not need a fresh one, because starting a kernel takes a second."""
    client = NotebookClient(new_notebook(), kernel_name="python3", store_widget_state=False, coalesce_streams=True)
    with client.setup_kernel():
        yield client


@pytest.fixture
def refresh(client, monkeypatch):
    """`tool.refresh` in that kernel, which is reset before each page."""

    def execute(notebook, folder):
        forget = new_notebook(cells=[new_code_cell(f"%reset -f\nimport os; os.chdir({str(folder)!r})")])
        for client.nb in (forget, notebook):
            for k, cell in enumerate(client.nb.cells):
                client.execute_cell(cell, k)

    monkeypatch.setattr(tool, "execute", execute)
    return tool.refresh


@pytest.fixture
def page(tmp_path):
    return written(tmp_path / "page.ipynb", new_markdown_cell("# A page"), new_code_cell("n = 2"), measured(TIMED))


def test_second_refresh_gives_the_same_file_despite_times(page):
    tool.refresh(page)
    once = page.read_bytes()
    tool.refresh(page)
    assert page.read_bytes() == once


def test_saved_widget_state_is_removed(page):
    notebook = nbformat.read(page, as_version=4)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    tool.clean(notebook, page)
    assert "widgets" not in notebook.metadata


def test_time_is_replaced_after_a_code_change_or_on_request(page, refresh):
    refresh(page)
    first = shown(page, 2)
    notebook = nbformat.read(page, as_version=4)
    notebook.cells[1].source = "n = 3"
    nbformat.write(notebook, page)
    refresh(page)
    second = shown(page, 2)
    assert second != first
    refresh(page, measure_again=True)
    assert shown(page, 2) != second


def test_output_other_than_times_is_always_updated(tmp_path, refresh):
    """The first cell reads a file, so its output can change without a change of code."""
    (tmp_path / "n.txt").write_text("1")
    source = 'n = open("n.txt").read()\nprint(n)\n' + TIMED
    page = written(tmp_path / "page.ipynb", measured(source), new_code_cell("print(n)"))
    refresh(page)
    (tmp_path / "n.txt").write_text("2")
    refresh(page)
    assert shown(page, 0).startswith("2\n")
    assert shown(page, 1) == "2\n"


def test_numbers_within_the_tolerance_are_kept(tmp_path, refresh):
    """The cells read a file, to imitate another machine that gives another number."""
    (tmp_path / "n.txt").write_text("2.17")
    source = 'n = float(open("n.txt").read())\nprint("loss", n)\nn'
    page = written(
        tmp_path / "page.ipynb",
        new_code_cell(source, metadata={"tags": ["within-0.02"]}),
        new_code_cell(source + '\nprint("0.2 s")', metadata={"tags": ["within-10%", "measured"]}),
        new_code_cell("print(n)"),
    )
    refresh(page)
    stored = [shown(page, k) for k in range(3)]
    (tmp_path / "n.txt").write_text("2.18")
    refresh(page)
    assert [shown(page, k) for k in range(3)] == [*stored[:2], "2.18\n"]
    assert nbformat.read(page, as_version=4).cells[0].outputs[1]["data"]["text/plain"] == "2.17"
    (tmp_path / "n.txt").write_text("2.20")
    refresh(page)
    assert [shown(page, k) for k in range(3)] == ["loss 2.2\n", stored[1], "2.2\n"]
    refresh(page, measure_again=True)
    assert shown(page, 1) == "loss 2.2\n0.2 s\n"


def test_warning_stops_the_refresh_and_nothing_is_written(tmp_path, refresh):
    page = written(tmp_path / "page.ipynb", new_code_cell('import warnings\nwarnings.warn("old")'))
    before = page.read_bytes()
    with pytest.raises(SystemExit, match="cell 0: unexpected text on stderr"):
        refresh(page)
    assert page.read_bytes() == before


@pytest.mark.torture
@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_second_refresh_of_every_notebook_gives_the_same_file(path, tmp_path):
    page = tmp_path / path.name
    notebook = nbformat.read(path, as_version=4)
    shortened(notebook)
    nbformat.write(notebook, page)
    tool.refresh(page)
    once = page.read_bytes()
    tool.refresh(page)
    assert page.read_bytes() == once


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_stored_pictures_have_the_best_compression(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            assert png is None or tool.smaller(png) == png, "run `make refresh`"
