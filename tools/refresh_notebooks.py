"""Re-run the notebooks and store their outputs, so that doing it twice gives the same files byte for byte.

    python tools/refresh_notebooks.py                          # all of notebooks/
    python tools/refresh_notebooks.py notebooks/03_*.ipynb     # some
    python tools/refresh_notebooks.py --measure-again          # and take the times anew

Times come out otherwise each time. A cell that shows some (a printed "35.6 us", a picture of seconds) is tagged
`measured`, and what it shows is a measurement with a date of its own: it is kept as long as the code of the page up to
there is the code that was measured and the cell still says the same apart from the times. `--measure-again` takes them
all anew; do that on a machine with nothing else to do.

A cell that raises stops the refresh of its notebook, and nothing is written for it. So does anything on stderr that
is not a progress bar or the note of a first compilation: a warning in a stored page is a fault of the page.
"""

import argparse
import base64
import configparser
import hashlib
import io
import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MEASURED = "measured"  # the tag, and the key under which a cell keeps what was measured
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"


def refresh(path: Path, *, measure_again: bool = False) -> None:
    """Run one notebook from a clean kernel in its own folder and write it back with clean outputs."""
    notebook = nbformat.read(path, as_version=4)
    stored = {cell.id: (cell.metadata.get(MEASURED), cell.get("outputs")) for cell in notebook.cells}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,  # else one print is stored as one piece or two, as chance has it
    )
    with tempfile.TemporaryDirectory() as folder:
        # The page is to show what it does itself, and not the exercises and runs of whoever refreshes it.
        records = {"MLP_LIB_EXERCISES": "exercises.json", "MLP_LIB_LADDER": "ladder.sqlite"}
        client.execute(env=os.environ | {name: str(Path(folder) / file) for name, file in records.items()})
    clean(notebook, path)
    keep_measurements(notebook, {} if measure_again else stored)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def clean(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Drop what differs from run to run; a cell keeps the id it has."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
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
    """The same picture, in base64, in the fewest bytes, which takes longer than a live page may wait."""
    packed = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).save(packed, "png", optimize=True)
    return base64.b64encode(packed.getvalue()).decode("ascii")


def keep_measurements(notebook: nbformat.NotebookNode, stored: dict) -> None:
    """Put back what `measured` cells showed before, where the code is the same; note for each which code it was."""
    code = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        code.update(cell.source.encode() + b"\0")
        if MEASURED not in cell.metadata.get("tags", []):
            continue
        measured, outputs = stored.get(cell.id, (None, None))
        if measured == code.hexdigest()[:16] and _said(outputs) == _said(cell.outputs):
            cell.outputs = outputs
        cell.metadata[MEASURED] = code.hexdigest()[:16]


def _said(outputs: list) -> list:
    """What the outputs say, without their times and pictures."""
    config = configparser.ConfigParser()
    config.read(SANITIZE)
    said = []
    for output in outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        for section in config.sections():
            text = re.sub(config[section]["regex"], config[section]["replace"], text)
        said.append((output.output_type, sorted(output.get("data", {})), text))
    return said


def _expected_on_stderr(text: str) -> bool:
    return all(
        not line.strip() or line.startswith("mlp_lib: compiling") or " steps/s" in line
        for line in text.replace("\r", "\n").splitlines()
    )


def main() -> None:
    """Refresh the notebooks named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description="Re-run the notebooks and store their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="the notebooks; all of notebooks/ if none is named")
    parser.add_argument("--measure-again", action="store_true", help="take the times shown anew, too")
    asked = parser.parse_args()
    for path in asked.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        print(f"{path.name} ...", end=" ", flush=True)
        refresh(path.resolve(), measure_again=asked.measure_again)
        print("done")


if __name__ == "__main__":
    main()
