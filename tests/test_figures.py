"""Figures on a page: sharp, small, with alternative text; in the notebook, the stored file and the reading edition."""

import importlib.util
import io
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mlp_lib.course.figures import alt_text, png_and_metadata

ROOT = Path(__file__).resolve().parent.parent
CELLS = [
    "import matplotlib.pyplot as plt\nfrom mlp_lib.course.compare import same_as_video",
    "plt.figure(figsize=(4, 2), dpi=80)\nplt.plot([1, 2])\nplt.title('Up')\nplt.ylabel('loss')\nplt.show()",
    "fig, ax = plt.subplots()\nax.plot([1, 2])\nfig.alt = 'A line that rises.'\n_ = display(fig)\nplt.close(fig)",
    "plt.figure()\nplt.show()",
]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_alternative_text_is_in_the_page_and_in_the_reading_edition(tmp_path):
    path = tmp_path / "01_figures.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]), path)
    load(ROOT / "tools" / "refresh_notebooks.py").refresh(path)
    page = nbformat.read(path, as_version=4)
    (up,), (line,), (empty,) = (cell.outputs for cell in page.cells[1:])
    assert up.metadata["image/png"]["alt"] == "Up: loss"
    assert 200 < up.metadata["image/png"]["width"] < 360
    assert 100 < up.metadata["image/png"]["height"] < 200
    assert line.metadata["image/png"]["alt"] == "A line that rises."
    assert "image/png" not in empty.data

    load(ROOT / "book" / "edition.py").edit(page, "01")
    assert [cell.metadata.mystnb.image.alt for cell in page.cells[1:3]] == ["Up: loss", "A line that rises."]
    assert "width" in up.metadata["image/png"]
    assert "height" not in up.metadata["image/png"]


def test_alternative_text_joins_titles_and_labels_of_all_axes():
    figure, (left, right) = plt.subplots(1, 2)
    figure.suptitle("Both\nruns")
    left.set(title="first", xlabel="step", ylabel="loss (nats)")
    figure.colorbar(right.imshow([[1, 2]]))
    assert alt_text(figure) == "Both runs; first: loss (nats) over step"
    assert alt_text(Figure()) == "A figure without a title"
    plt.close(figure)


@pytest.mark.parametrize("transparent", [False, True])
def test_picture_has_twice_the_pixels_in_fewer_bytes(transparent):
    figure = Figure(figsize=(4, 3), dpi=100)
    figure.subplots().imshow([[k * j for k in range(20)] for j in range(20)])
    if transparent:
        figure.patch.set_alpha(0)
    png, metadata = png_and_metadata(figure, bbox_inches=None)
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    assert picture.size == (2 * metadata["width"], 2 * metadata["height"]) == (800, 600)
    plain, exact = io.BytesIO(), io.BytesIO()
    figure.savefig(plain, dpi=100)
    figure.savefig(exact, dpi=200)
    assert len(png) < len(plain.getvalue())
    for corner in ((0, 0), (400, 300)):
        there, wanted = picture.getpixel(corner), Image.open(exact).getpixel(corner)
        assert max(abs(a - b) for a, b in zip(there, wanted, strict=True)) < 12 or wanted[3] == there[3] == 0
