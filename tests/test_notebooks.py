"""The form of the notebooks: nothing skipped, nothing stale, no broken links, no number only in prose."""

import json
import re
import tomllib
from pathlib import Path

import nbformat
import pytest

from nbval_tolerance import tolerances_of

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
VIDEO = "https://www.youtube.com/watch?v=TCH_1BHY58I"
KNOWN_TAGS = {"parameters", "exercise", "raises-exception", "nbval-ignore-output", "measured"}

# The video's chapters in seconds, and the notebook that has a section for each.
CHAPTERS = {
    0: "00", 108: "01", 543: "01", 739: "02", 1115: "02", 1755: "03", 1793: "03", 1937: "03", 1969: "03", 2276: "04",
    2485: "05", 2740: "06", 3200: "07", 3649: "08", 3927: "09", 4036: "10", 4243: "10", 4306: "11", 4404: "12",
}  # fmt: skip


def load(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def prose(notebook):
    return "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


@each_notebook
def test_notebook_is_valid_and_small(path):
    notebook = load(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    ids = [c.id for c in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert "widgets" not in notebook.metadata
    assert path.stat().st_size < 500_000


@each_notebook
def test_notebook_was_run_from_top_to_bottom_in_a_new_kernel(path):
    counts = [c.execution_count for c in code_cells(load(path))]
    assert counts == list(range(1, len(counts) + 1)), "run `make refresh`"


@each_notebook
def test_cells_have_only_known_tags_and_no_way_around_nbval(path):
    cells = code_cells(load(path))
    tags = [set(c.metadata.get("tags", [])) for c in cells]
    assert {tag for tag in set().union(*tags) if not tag.startswith("within-")} <= KNOWN_TAGS
    assert sum("nbval-ignore-output" in t for t in tags) <= 3
    assert not any("nbval" in c.source.lower() for c in cells), "use tags, not comment markers"
    assert not any(c.source.rstrip().endswith(";") for c in cells), "nbval does not honour a trailing semicolon"
    assert not any(re.search(r"^\s*[%!]", c.source, re.M) for c in cells), "no magics, no shell"


@each_notebook
def test_cells_that_show_a_time_are_tagged_measured(path):
    """`make refresh` keeps the output of such a cell until its code changes, so that a second run changes nothing."""
    for cell in code_cells(load(path)):
        said = "".join(o.get("text", "") for o in cell.outputs)
        measured = "measured" in cell.metadata.get("tags", [])
        assert measured or not re.search(r"\d (s|ms|us)\b", said), f"tag it `measured`: {said[:80]}"
        assert measured == ("measured" in cell.metadata), "run `make refresh`"


@each_notebook
def test_tolerances_are_measured_and_allow_twice_the_machine_difference(path):
    """`tools/measure_tolerances.py` prints the lines of tolerances.toml."""
    lines = tomllib.loads((ROOT / "tests" / "tolerances.toml").read_text(encoding="utf-8")).get(path.stem, {})
    tags = {c.id: t for c in code_cells(load(path)) if (t := tolerances_of(c.metadata.get("tags", [])))}
    assert {cell: [line["tag"]] for cell, line in lines.items()} == {cell: [t.tag for t in tags[cell]] for cell in tags}
    for cell, line in lines.items():
        assert set(line) == {"tag", "machines", "seeds", "tried"}, cell
        [tolerance] = tags[cell]
        assert 2 * line["machines"] <= float(tolerance.amount) * (100 if tolerance.relative else 1), cell


@each_notebook
def test_stored_outputs_are_clean(path):
    for number, cell in enumerate(code_cells(load(path)), start=1):
        for output in cell.outputs:
            if "raises-exception" not in cell.metadata.get("tags", []):
                assert output.output_type != "error", f"cell {number} raised {output.get('ename')}"
            assert not (output.output_type == "stream" and output.name == "stderr"), f"cell {number} wrote to stderr"
            text = json.dumps({k: v for k, v in output.items() if k != "data"})
            text += json.dumps({k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")})
            assert "image/svg+xml" not in output.get("data", {}), "SVG is compared as text: use PNG"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert not re.search(r" at 0x[0-9a-f]{6,}", text), f"cell {number} shows an address"
            assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", text), f"cell {number} shows a path"


# ---- the sections of a page ------------------------------------------------------------------------------------------

STANDARD = {"The numbers to play with": "head", "Recap": "end", "Mistakes people make here": "end", "Try this": "end"}
LECTURE = [p for p in PATHS if "01" <= p.stem[:2] <= "12"]


def kind_of(heading):
    """The part of a page that a `##` heading begins: head, route (the lecture's), beyond (the video) or end."""
    if "[▶ " in heading:
        return "route"
    return "beyond" if heading.startswith("Beyond the video: ") else STANDARD.get(heading)


def parts(notebook):
    """Each cell with the part of the page that it belongs to, for a markdown cell the part of its last heading."""
    kind = "head"
    for cell in notebook.cells:
        headings = re.findall(r"^## (.*)$", cell.source, re.M) if cell.cell_type == "markdown" else []
        for heading in headings:
            kind = kind_of(heading)
        yield kind, cell


@pytest.mark.parametrize("path", LECTURE, ids=lambda p: p.stem)
def test_sections_follow_the_lecture_or_are_beyond_the_video(path):
    notebook = load(path)
    first = notebook.cells[0].source
    assert re.search(r"about \d+ minutes for the lecture's route, \d+ minutes beyond the video", first)
    folded = False
    for cell in notebook.cells:
        headings = re.findall(r"^## (.*)$", cell.source, re.M) if cell.cell_type == "markdown" else []
        assert not folded or not headings or cell.source.startswith("## "), "the section above would hide it"
        folded = kind_of(headings[-1]) == "beyond" if headings else folded
        assert None not in [kind_of(h) for h in headings], f"a ▶, or 'Beyond the video: ... (N minutes)': {headings}"
        beyond = [h for h in headings if kind_of(h) == "beyond"]
        assert all(re.search(r"\(\d+ minutes\)$", h) for h in beyond)
        assert not beyond or (len(headings) == 1 and cell.source.startswith("## ")), (
            "start it in a new cell, to fold it"
        )
        assert bool(beyond) == bool(cell.metadata.get("jp-MarkdownHeadingCollapsed")), f"folded: {headings}"


@each_notebook
def test_notebook_has_the_standard_sections(path):
    notebook = load(path)
    first, text = notebook.cells[0].source, prose(notebook)
    assert re.match(rf"# {path.stem[:2]} · \S", first)
    if path.stem.startswith("00"):
        return
    assert "**You will be able to**" in first
    assert "before this:" in first
    assert all(f"## {heading}\n" in f"{text}\n" for heading in STANDARD)
    tagged = [c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1, "one cell must have the numbers to play with"
    exercises = [c for c in code_cells(notebook) if "exercise" in c.metadata.get("tags", [])]
    numbers = re.findall(r"^### Exercise \d+\.(\d+) ", text, re.M)
    assert numbers == [str(k + 1) for k in range(len(exercises))], "number the exercises in reading order"
    assert all("not attempted yet" in "".join(o.get("text", "") for o in c.outputs) for c in exercises)


@each_notebook
def test_outputs_show_numbers_not_ranges(path):
    for cell in code_cells(load(path)):
        said = "".join(o.get("text", "") for o in cell.outputs)
        assert not re.search(r": between [\d.-]+ and [\d.-]+", said), f"print the number itself: {said[:80]}"


@each_notebook
def test_relative_links_have_a_target(path):
    text = prose(load(path))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file = target.partition("#")[0]
        assert not file or (path.parent / file).exists(), f"{path.name} links to {target}, which does not exist"


@each_notebook
def test_labels_of_video_links_match_their_seconds(path):
    for label, url in re.findall(rf"\[▶ ([\d:]+)\]\(({re.escape(VIDEO)}[^)]*)\)", prose(load(path))):
        seconds = 0
        for part in label.split(":"):
            seconds = 60 * seconds + int(part)
        assert url == f"{VIDEO}&t={seconds}s", f"{label} leads to {url}"


def test_links_between_pages_use_the_title_of_the_page():
    titles = {p.name: load(p).cells[0].source.splitlines()[0][2:] for p in PATHS}
    for path in PATHS[1:]:  # the overview on page 00 has shorter titles
        for label, file in re.findall(r"\[(\d\d · [^\]]*)\]\((\d\d_\w+\.ipynb)\)", prose(load(path))):
            assert file == PATHS[0].name or label == titles[file], f"{path.name}: {label!r} is called {titles[file]!r}"


@pytest.mark.parametrize(("seconds", "number"), CHAPTERS.items())
def test_every_chapter_of_the_video_has_a_section(seconds, number):
    [path] = [p for p in PATHS if p.stem.startswith(number)]
    headings = "\n".join(re.findall(r"^#+ .*$", prose(load(path)), re.M)) + load(path).cells[0].source
    assert f"{VIDEO}&t={seconds}s)" in headings, f"{path.name} has no section with a link to second {seconds}"


# Numbers of three or more digits that prose may name although no cell prints them: years, and figures from sources.
REPORTED = {
    "": {"145"},
    "00": {"200,000"},
    "07": {"182,441", "22,902", "22,803"},
    "10": {"17.7697"},
    "13": {"11,897"},
    "01": {"2003", "2018", "100,000", "17,000"},
}
_NOT_A_FIGURE = re.compile(
    r"\]\([^)]*\)|\[▶[^\]]*\]?|`[^`]*`|\d+ minutes|Exercise \d+\.\d+|[Nn]otebooks? \d\d( and \d\d| to \d\d)?|\d\d:\d\d"
)


def shown_numbers(notebook):
    """Each number in the code and the outputs of a page, with the tolerance of its cell."""
    for cell in code_cells(notebook):
        tolerance = next((t for t in tolerances_of(cell.metadata.get("tags", []))), None)
        texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
        texts.append(re.sub(r"(?<=\d)_(?=\d)", "", cell.source))
        for found in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", "\n".join(texts).replace(",", "")):
            allowed = 0.0 if tolerance is None else float(tolerance.amount)
            yield float(found), allowed * float(found) if tolerance and tolerance.relative else allowed


@each_notebook
def test_numbers_in_prose_are_in_a_cell(path):
    """A figure in prose must be close to a number in a cell, within its tolerance, so that it cannot go stale."""
    notebook = load(path)
    shown = list(shown_numbers(notebook))
    reported = REPORTED[""] | REPORTED.get(path.stem[:2], set())
    missing = []
    for cell in notebook.cells:
        text = _NOT_A_FIGURE.sub("", cell.source) if cell.cell_type == "markdown" else ""
        for match in re.findall(r"(?<![\w./-])\d[\d,]*(?:\.\d+)?(?!\w)", text):
            number = match.rstrip(",")
            digits = number.replace(",", "")
            if len(digits.replace(".", "").lstrip("0")) < 3 or number in reported:
                continue
            unit = 10.0 ** -len(digits.partition(".")[2])
            as_said = (float(digits), float(digits) / 100)  # a cell may print 0.33 where the prose says 33 %
            if not any(abs(n - said) <= allowed + 0.501 * unit for n, allowed in shown for said in as_said):
                missing.append(f"{number} in {cell.source[:60]!r}")
    assert missing == []


def test_page_00_and_the_readme_agree_on_the_minutes_of_each_page():
    """The minutes of a page are in three places."""
    for path in PATHS[1:13]:
        minutes = re.search(r"about (\d+) minutes for the lecture's route", load(path).cells[0].source)[1]
        for text in (prose(load(PATHS[0])), (ROOT / "README.md").read_text("utf-8")):
            row = next(line for line in text.splitlines() if line.startswith("|") and f"{path.name})" in line)
            assert f"| {minutes} |" in row, row


def test_twelve_pages_have_a_panel_under_a_figure():
    with_panel = [p for p in PATHS if any(re.search(r"\w+_panel\(", c.source) for c in code_cells(load(p)))]
    assert len(with_panel) == 12
