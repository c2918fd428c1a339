"""Re-run the notebooks and store their outputs, so that doing it twice gives the same files byte for byte.

    python tools/refresh_notebooks.py                          # all of notebooks/
    python tools/refresh_notebooks.py notebooks/03_*.ipynb     # some

A cell that raises stops the refresh of its notebook, and nothing is written for it. So does anything on stderr that
is not a progress bar or the note of a first compilation: a warning in a stored page is a fault of the page.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def refresh(path: Path) -> None:
    """Run one notebook from a clean kernel in its own folder and write it back with clean outputs."""
    notebook = nbformat.read(path, as_version=4)
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
    client.execute()
    clean(notebook, path)
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
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            output.pop("transient", None)
            kept.append(output)
        cell.outputs = kept


def _expected_on_stderr(text: str) -> bool:
    return all(
        not line.strip() or line.startswith("mlp_lib: compiling") or " steps/s" in line
        for line in text.replace("\r", "\n").splitlines()
    )


def main() -> None:
    """Refresh the notebooks named on the command line, or all of them."""
    paths = [Path(p) for p in sys.argv[1:]] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in paths:
        print(f"{path.name} ...", end=" ", flush=True)
        refresh(path.resolve())
        print("done")


if __name__ == "__main__":
    main()
