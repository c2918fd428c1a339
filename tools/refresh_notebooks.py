"""Re-run the notebooks and store their outputs; a second refresh gives the same files, byte for byte.

    python tools/refresh_notebooks.py                          # all of notebooks/
    python tools/refresh_notebooks.py notebooks/03_*.ipynb     # some
    python tools/refresh_notebooks.py --measure-again          # also replace times and numbers within a tolerance

Times differ at each run. A cell that shows times (a printed "35.6 us", a plot of seconds) is tagged `measured`. Its
output is kept as long as the code of the page up to that cell has not changed since the measurement and the cell still
prints the same apart from the times. `--measure-again` replaces all of them; do that on an idle machine.

The last digits of trained numbers differ between machines. The stored text of a cell tagged `within-...` is kept as
long as the new one is within the tolerance, so that a refresh on another machine changes no number.

A cell that raises stops the refresh of its notebook, and the file is not written. So does anything on stderr that is
not a progress bar or the note of a first compilation: a stored page must not contain a warning.
"""

import argparse
import base64
import configparser
import hashlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from nbval_tolerance import differences, tolerances_of  # noqa: E402 - a checkout may be newer than what is installed

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
KEPT = ("tags", "jp-MarkdownHeadingCollapsed")  # of a cell's metadata
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MEASURED = "measured"  # the tag, and the key under which a cell keeps what was measured
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"


def refresh(path: Path, *, measure_again: bool = False) -> None:
    """Run one notebook from a clean kernel in its own folder and write it back with clean outputs."""
    notebook = nbformat.read(path, as_version=4)
    stored = {cell.id: (cell.metadata.get(MEASURED), cell.get("outputs")) for cell in notebook.cells}
    execute(notebook, path.parent)
    clean(notebook, path)
    keep_measurements(notebook, {} if measure_again else stored)
    keep_numbers(notebook, {} if measure_again else stored)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def execute(notebook: nbformat.NotebookNode, folder: Path, **settings: object) -> None:
    """Run all cells in a new kernel in `folder`. `settings` go to the client; `env` has variables for the kernel."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    variables = os.environ | settings.pop("env", {})
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,  # otherwise one print is sometimes stored in two pieces
        **settings,
    )
    with tempfile.TemporaryDirectory() as temporary:
        # The page must not show exercises and runs of the person who refreshes it.
        records = {"MLP_LIB_EXERCISES": "exercises.json", "MLP_LIB_LADDER": "ladder.sqlite"}
        client.execute(env=variables | {name: str(Path(temporary) / file) for name, file in records.items()})


def clean(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Remove everything that differs from run to run; cells keep their ids."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({k: cell.metadata[k] for k in KEPT if cell.metadata.get(k)})
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                if not _expected_on_stderr(output.text):
                    raise SystemExit(f"{path.name}, cell {number}: unexpected text on stderr: {output.text[:400]}")
                continue
            if "data" in output:
                output.data.pop(WIDGET_VIEW, None)
                if "image/png" in output.data:
                    output.data["image/png"] = smaller(output.data["image/png"])
            if "metadata" in output:
                output.metadata = nbformat.from_dict({k: v for k, v in output.metadata.items() if k == "image/png"})
            output.pop("transient", None)
            kept.append(output)
        cell.outputs = kept


def smaller(png: str) -> str:
    """The same picture in base64 with the best compression, which is too slow for a live page."""
    packed = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).save(packed, "png", optimize=True)
    return base64.b64encode(packed.getvalue()).decode("ascii")


def keep_measurements(notebook: nbformat.NotebookNode, stored: dict) -> None:
    """Restore the stored outputs of `measured` cells whose code is the same; record the hash of that code."""
    code = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        code.update(cell.source.encode() + b"\0")
        tags = cell.metadata.get("tags", [])
        if MEASURED not in tags:
            continue
        measured, outputs = stored.get(cell.id, (None, None))
        if measured == code.hexdigest()[:16] and _alike(outputs, cell.outputs, tags):
            cell.outputs = outputs
        cell.metadata[MEASURED] = code.hexdigest()[:16]


def keep_numbers(notebook: nbformat.NotebookNode, stored: dict) -> None:
    """Restore the stored text of cells tagged `within-...` if it is within the tolerance. New pictures are kept."""
    for cell in notebook.cells:
        outputs = stored.get(cell.id, (None, None))[1]
        tags = cell.metadata.get("tags", [])
        if MEASURED in tags or not tolerances_of(tags) or not _alike(outputs, cell.outputs, tags):
            continue
        for old, new in zip(outputs, cell.outputs, strict=True):
            if "text" in new:
                new.text = old.text
            new.get("data", {}).update({k: text for k, text in old.get("data", {}).items() if k.startswith("text/")})


def texts(outputs: list | None) -> dict[tuple, str]:
    """The texts of outputs by number and kind, without times and stderr; "" for a picture."""
    config = configparser.ConfigParser()
    config.read(SANITIZE)
    found = {}
    for number, output in enumerate(o for o in outputs or [] if o.get("name") != "stderr"):
        for kind, text in {output.output_type: output.get("text", ""), **output.get("data", {})}.items():
            if kind != WIDGET_VIEW:
                found[number, kind] = text if isinstance(text, str) and not kind.startswith("image/") else ""
    for section in config.sections():
        regex, replace = config[section]["regex"], config[section]["replace"]
        found = {key: re.sub(regex, replace, text) for key, text in found.items()}
    return found


def _alike(old: list | None, new: list, tags: list[str]) -> bool:
    """Whether the texts of outputs are equal, within the tolerances of the cell's tags."""
    before, now, tolerances = texts(old), texts(new), tolerances_of(tags)
    return before.keys() == now.keys() and all(
        before[key] == now[key] or (tolerances and not differences(before[key], now[key], tolerances)) for key in now
    )


def _expected_on_stderr(text: str) -> bool:
    return all(
        not line.strip() or line.startswith("mlp_lib: compiling") or " steps/s" in line
        for line in text.replace("\r", "\n").splitlines()
    )


def main() -> None:
    """Refresh the notebooks named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description="Re-run the notebooks and store their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="the notebooks; all of notebooks/ if none is named")
    parser.add_argument(
        "--measure-again", action="store_true", help="replace times and numbers within a tolerance, too"
    )
    asked = parser.parse_args()
    for path in asked.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        print(f"{path.name} ...", end=" ", flush=True)
        refresh(path.resolve(), measure_again=asked.measure_again)
        print("done")


if __name__ == "__main__":
    main()
