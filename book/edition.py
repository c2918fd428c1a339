"""What the book adds to the pages as they are read: lecture times, folded hints and solutions, notes under panels.

Sections beyond the video are folded, as JupyterLab shows them. Times come from the headings of the pages, hints and
solutions from the exercises themselves.
"""

import importlib
import inspect
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import nbformat
from docutils import nodes
from latex2mathml.converter import convert
from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.inspect import stringify_signature
from sphinx.util.typing import stringify_annotation
from sphinx.writers.html5 import HTML5Translator

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
_VIDEO = r"\[▶ [\d:]+\]\((?P<url>https://www\.youtube\.com/watch\?v=\w+&t=(?P<seconds>\d+)s)\)"
_HEADING = re.compile(rf"^(?P<level>#+) (?P<title>.*?) · {_VIDEO}$", re.M)
_EXERCISE = re.compile(r"^(\w+)\.check\(", re.M)
_ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")
_PANEL = re.compile(r"\w+_panel: (.*)")


# ---- the lecture's times ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A section of a page, or a whole page, that teaches what the video says from a second on."""

    title: str
    target: str  # of a link in a page of this folder


@dataclass(frozen=True)
class Chapter:
    """A chapter of the video: where it begins, what it is about, and the places that teach it."""

    url: str
    clock: str
    name: str
    places: list[Place]


def clock(seconds: int) -> str:
    """Seconds as the video shows them: 2485 is 41:25, 3649 is 1:00:49."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


@cache
def pages() -> list[dict[str, str]]:
    """Every notebook: `file`, `name` without its suffix, `title`, and `clock`, its first lecture time or ""."""
    found = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        first = nbformat.read(path, as_version=4).cells[0].source
        time = re.search(rf"^{_VIDEO} to", first, re.M)
        at = clock(int(time["seconds"])) if time else ""
        found.append({"file": path.name, "name": path.stem, "title": first.splitlines()[0][2:], "clock": at})
    return found


CHAPTERS = {
    0: "introduction",
    108: "the paper, by Bengio and others",
    543: "building the training dataset",
    739: "the embedding table",
    1115: "the hidden layer; storage and views",
    1755: "the output layer",
    1793: "the negative log likelihood",
    1937: "summary of the network",
    1969: "`F.cross_entropy`, and why",
    2276: "the training loop, on one batch",
    2485: "the full dataset, minibatches",
    2740: "finding a learning rate",
    3200: "training, validation and test split",
    3649: "a larger hidden layer",
    3927: "looking at the embeddings",
    4036: "a larger embedding",
    4243: "when a loss may go into a paper",
    4306: "the final code",
    4404: "sampling from the model",
}
"""The second at which each chapter of the video begins, and what it is about."""


@cache
def chapters() -> list[Chapter]:
    """The chapters of the video in their order, with the sections of the pages that teach them."""
    places: dict[int, list[Place]] = {}
    for page in pages():
        notebook = nbformat.read(NOTEBOOKS / page["file"], as_version=4)
        for seconds, title, anchor in mark_times(notebook, page["name"][:2]):
            places.setdefault(int(seconds), []).append(Place(f"{page['name'][:2]} · {title}", f"#{anchor}"))
    video = "https://www.youtube.com/watch?v=TCH_1BHY58I"
    return [Chapter(f"{video}&t={at}s", clock(at), name, places[at]) for at, name in CHAPTERS.items()]


def mark_times(notebook: nbformat.NotebookNode, number: str) -> list[tuple[str, str, str]]:
    """Put a link target above each heading with a lecture time; gives (seconds, title, target) of each.

    The target of second 2485 on page 05 is `t2485-05`, that of a second such heading `t2485-05-2`.
    """
    found: list[tuple[str, str, str]] = []

    def with_target(heading: re.Match[str]) -> str:
        seconds = heading["seconds"]
        again = sum(seconds == other for other, _, _ in found) + 1
        target = f"t{seconds}-{number}" + (f"-{again}" if again > 1 else "")
        found.append((seconds, heading["title"], target))
        return f"({target})=\n{heading[0]}"

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _HEADING.sub(with_target, cell.source)
    return found


# ---- the pages -------------------------------------------------------------------------------------------------------


def literally(text: str) -> str:
    """Markdown that shows a text as it is; what stands between backticks is code."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", p) for p in parts)


def folded(title: str, body: str, kind: str) -> str:
    """Markdown for something that the reader opens."""
    return f"::::{{dropdown}} {title}\n:class-container: fold {kind}\n\n{body}\n::::"


def help_of(cell: nbformat.NotebookNode, number: str) -> str:
    """Markdown with the hints of an exercise, one by one, and its solution, all folded.

    Raises ExtensionError if the cell checks no exercise of its page.
    """
    called = _EXERCISE.search(cell.source)
    exercise = called and getattr(importlib.import_module(f"mlp_lib.course.exercises.nb{number}"), called[1], None)
    if exercise is None:
        module = f"mlp_lib.course.exercises.nb{number}"
        raise ExtensionError(f"the exercise cell {cell.source!r} checks nothing that {module} has")
    steps = [
        folded(f"Hint {k} of {len(exercise.hints)}", literally(hint), "hint")
        for k, hint in enumerate(exercise.hints, start=1)
    ]
    solution = f"````python\n{exercise.solution_source()}\n````"
    return "\n\n".join([*steps, folded("Solution", solution, "solution")])


def panel_note(cell: nbformat.NotebookNode) -> str | None:
    """What to say under the picture of a panel, with the names of its controls; None for any other cell."""
    for output in cell.outputs:
        panel = _PANEL.fullmatch(output.get("data", {}).get("text/plain", ""))
        if panel:
            controls = ", ".join(f"*{literally(control)}*" for control in panel[1].split(", "))
            return f":::{{div}} panel-note\nA picture of a panel. In JupyterLab it moves: {controls}.\n:::"
    return None


def edit(notebook: nbformat.NotebookNode, number: str) -> None:
    """Add to a page, in place, what the book shows and JupyterLab does not."""
    mark_times(notebook, number)
    cells, heading = [], ""
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ ([^\[\n]*)", cell.source, re.M)
            heading = headings[-1].rstrip(" ·") if headings else heading
        else:
            figures = [o["metadata"]["image/png"] for o in cell.outputs if "image/png" in o.get("metadata", {})]
            alt = "; ".join(figure["alt"] for figure in figures if "alt" in figure)
            cell.metadata["mystnb"] = {"image": {"alt": alt or f"Figure: {heading}"}}
            for figure in figures:
                figure.pop("height", None)  # a narrow screen shrinks the width, and the height follows
            below = help_of(cell, number) if "exercise" in cell.metadata.get("tags", []) else panel_note(cell)
            if below:
                cells.append(nbformat.v4.new_markdown_cell(below))
    notebook.cells = cells


def on_source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Edit the notebooks; fill in the times where pages of this folder ask for them."""
    folder, _, name = docname.rpartition("/")
    if folder == "notebooks":
        notebook = nbformat.reads(source[0], as_version=4)
        edit(notebook, name[:2])
        source[0] = nbformat.writes(notebook)
    elif folder == "book":
        source[0] = jinja2.Template(source[0]).render(pages=pages(), chapters=chapters())


class Folded(nodes.General, nodes.Element):
    """What the reader opens: everything of a section but its heading."""


def on_doctree_read(app: Sphinx, doctree: nodes.document) -> None:
    """Fold the sections beyond the video."""
    for section in doctree.findall(nodes.section):
        title = section[0].astext()
        if title.startswith("Beyond the video: "):
            inside = Folded("", *section.children[1:], summary=title.removeprefix("Beyond the video: "))
            section.children = section.children[:1]
            section += inside


def visit_folded(translator: HTML5Translator, node: Folded) -> None:
    """Closed; a link to a place inside opens it."""
    summary = translator.encode(f"Open: {node['summary']}")
    translator.body.append(f'<details class="beyond"><summary>{summary}</summary>')


def depart_folded(translator: HTML5Translator, node: Folded) -> None:
    """The end of it."""
    translator.body.append("</details>")


# ---- the library -----------------------------------------------------------------------------------------------------


def on_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """End a module's docstring where a table begins: its rows are the functions that follow on the page."""
    if what == "module":
        del lines[next((k for k, line in enumerate(lines) if line.startswith("|")), len(lines)) :]


def on_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write signatures as the sources do: a widget's metaclass hides its `__init__`, and aliases come spelled out."""
    if what == "class" and signature and signature.startswith("(*args"):
        own = inspect.signature(obj.__init__)
        own = own.replace(parameters=list(own.parameters.values())[1:], return_annotation=own.empty)
        signature = stringify_signature(own, unqualified_typehints=True)
    if signature:
        signature = signature.replace(_ARRAY_LIKE, "~numpy.typing.ArrayLike").replace("<factory>", "...")
    return signature, returns


# ---- formulas: MathML, which browsers draw themselves ----------------------------------------------------------------


def visit_math(translator: HTML5Translator, node: nodes.math) -> None:
    """A formula in a line."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_displaymath(translator: HTML5Translator, node: nodes.math_block) -> None:
    """A formula on its own."""
    translator.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("source-read", on_source_read)
    app.connect("doctree-read", on_doctree_read)
    app.add_node(Folded, html=(visit_folded, depart_folded))
    app.connect("autodoc-process-docstring", on_docstring)
    app.connect("autodoc-process-signature", on_signature)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
