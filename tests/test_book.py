"""The reading edition builds without a warning or a kernel, has no dead links, and needs no network."""

import gc
import importlib.util
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from browser.conftest import BROWSERS, FLAGS, missing
from bs4 import BeautifulSoup
from test_notebooks import CHAPTERS, VIDEO

from mlp_lib.course.exercises import all_exercises

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# The hosts that pages may link to, such as those of papers and data. Add a new one here only on purpose.
OUTSIDE = {"www.youtube.com", "jmlr.org", "www.jmlr.org", "www.ssa.gov"}


class Book:
    """The built site: its folder, and each page parsed, by its path."""

    def __init__(self, folder):
        self.folder = folder
        gc.disable()  # everything is kept, and garbage collection would take longer than the parsing
        self.pages = {
            path.relative_to(folder).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
            for path in sorted(folder.rglob("*.html"))
            if "_static" not in path.parts
        }
        gc.enable()

    def notebook(self, path):
        return self.pages[f"notebooks/{path.stem}.html"]

    @cached_property
    def links(self):
        """(page, address) of everything that a page links to or loads."""
        return [
            (name, tag[attribute])
            for name, page in self.pages.items()
            for tag in page.find_all()
            for attribute in ("href", "src")
            if tag.has_attr(attribute)
        ]


@pytest.fixture(scope="module")
def build(tmp_path_factory, run_with_torch):
    """The folder of the built site, and the result of the build."""
    folder = tmp_path_factory.mktemp("book")
    sphinx = "import sys; from sphinx.cmd.build import main; sys.exit(main(sys.argv[1:]))"
    options = ["-W", "--keep-going", "-n", "-q", "-c", "book", "-d", folder / "doctrees"]
    return folder / "html", run_with_torch(sphinx, *options, ".", folder / "html")


@pytest.fixture(scope="module")
def book(build):
    folder, _ = build
    assert (folder / "search.html").exists(), "nothing was built: see the first test"  # the last page written
    return Book(folder)


def test_book_builds_without_a_warning(build):
    _, run = build
    assert run.stdout == ""
    assert run.returncode == 0


def said(tag):
    return " ".join(tag.get_text().split())


# ---- links -----------------------------------------------------------------------------------------------------------


def test_internal_links_have_a_target(book):
    anchors = {name: {tag["id"] for tag in page.find_all(id=True)} for name, page in book.pages.items()}
    dead = set()
    for name, link in book.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (book.folder / name).parent / unquote(parts.path) if parts.path else book.folder / name
        if not target.resolve().is_file():
            dead.add((name, link))
        elif parts.fragment and target.suffix == ".html":
            page = target.resolve().relative_to(book.folder.resolve()).as_posix()
            if unquote(parts.fragment) not in anchors[page]:
                dead.add((name, link))
    assert not dead


def test_external_links_go_to_known_hosts(book):
    found = {urlsplit(link).netloc for _, link in book.links if urlsplit(link).scheme in ("http", "https")}
    assert found <= OUTSIDE, f"{sorted(found - OUTSIDE)}: add it to OUTSIDE, or remove the link"
    assert all(urlsplit(link).scheme in ("", "http", "https", "data", "mailto") for _, link in book.links)


def test_pages_load_nothing_from_other_hosts(book):
    for name, page in book.pages.items():
        for tag in page.find_all(["script", "link", "img", "iframe", "source", "object", "embed"]):
            loaded = tag.get("src") or tag.get("data") or (tag.get("href") if tag.name == "link" else "") or ""
            assert not re.match(r"(https?:)?//", loaded), f"{name} loads {loaded}"
    for sheet in book.folder.rglob("*.css"):
        loads = re.findall(r"(?:@import|url\()\s*['\"]?((?:https?:)?//[^'\")]*)", sheet.read_text(encoding="utf-8"))
        assert not loads, f"{sheet.name} loads {loads}"


# ---- the pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_page_of_the_book_shows_every_stored_output(path, book):
    notebook = nbformat.read(path, as_version=4)
    page = book.notebook(path)
    assert said(page.h1).startswith(notebook.cells[0].source.splitlines()[0][2:])
    assert len(page.select("div.cell_input")) == sum(c.cell_type == "code" for c in notebook.cells)
    outputs = "\n".join(tag.get_text() for tag in page.select("div.cell_output"))
    pictures = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            pictures += "image/png" in output.get("data", {})
            assert output.get("text", "").rstrip() in outputs
    shown = page.select("div.cell_output img")
    assert len(shown) == pictures
    alts = [o.metadata["image/png"]["alt"] for c in notebook.cells for o in c.get("outputs", []) if has_alt(o)]
    told = " ".join(image["alt"] for image in shown)
    assert len(alts) == pictures
    assert all(" ".join(alt.split()) in " ".join(told.split()) for alt in alts)


def has_alt(output):
    return "alt" in output.get("metadata", {}).get("image/png", {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_sections_beyond_the_video_are_folded(path, book):
    folds = book.notebook(path).select("details.beyond")
    headings = re.findall(
        r"^## (Beyond the video: .*)$", "\n".join(c.source for c in nbformat.read(path, as_version=4).cells), re.M
    )
    assert [said(fold.find_previous("h2")).removesuffix("#") for fold in folds] == headings
    assert not any(fold.has_attr("open") for fold in folds)


def test_navigation_has_the_lecture_times(book):
    for name, page in book.pages.items():
        if name == "index.html":  # redirects to book/index.html
            continue
        entries = [said(a) for a in page.select("nav.bd-links a")]
        assert "00:00 · 00 · Start here" in entries, name
        assert "41:25 · 05 · Minibatches" in entries
        assert "1:13:24 · 12 · Sampling from the model" in entries
        assert "16 · How fast can it go?" in entries


@pytest.mark.parametrize(("seconds", "number"), CHAPTERS.items())
def test_chapter_links_to_the_video_and_to_its_sections(seconds, number, book):
    [row] = [tr for tr in book.pages["book/by_time.html"].select("tbody tr") if tr.a["href"] == f"{VIDEO}&t={seconds}s"]
    video, chapter, taught = row.find_all("td")
    assert said(chapter)
    links = [a["href"] for a in taught.find_all("a")]
    assert any(f"/{number}_" in link for link in links)
    for link in links:
        file, _, anchor = link.partition("#")
        page = book.pages[file.removeprefix("../")]
        # the heading of the section, or of the whole page, links to this second
        place = page.find(id=anchor).find_next(["h2", "h3"]) if anchor else page.h1.find_next("p")
        assert place.find("a", href=f"{VIDEO}&t={seconds}s"), link
    assert re.fullmatch(r"▶ (\d:)?\d\d:\d\d", said(video))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_hints_and_solutions_are_folded_below_their_exercises(path, book):
    folds = book.notebook(path).select("details.fold")
    assert not any(fold.has_attr("open") for fold in folds)
    expected = []
    for exercise in all_exercises():
        if int(exercise.number.partition(".")[0]) == int(path.stem[:2]):
            hints = [" ".join(hint.replace("`", "").split()) for hint in exercise.hints]
            of = len(hints)
            expected += [(f"Hint {k} of {of}", hint) for k, hint in enumerate(hints, start=1)]
            expected.append(("Solution", " ".join(exercise.solution_source().split())))
    found = [(said(fold.summary), said(fold).removeprefix(said(fold.summary)).strip()) for fold in folds]
    assert sorted(found) == sorted(expected)
    for cell in book.notebook(path).select("div.cell.tag_exercise"):
        assert said(cell.find_next_sibling()) == said(cell.find_next("details", class_="fold")), (
            "the first hint must follow the cell"
        )


def test_panel_pictures_have_a_note_about_jupyterlab(book):
    panels = sum(
        bool(re.fullmatch(r"\w+_panel: .*", output.get("data", {}).get("text/plain", "")))
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    )
    notes = [said(note) for page in book.pages.values() for note in page.select(".panel-note")]
    assert len(notes) == panels > 0
    assert "A picture of a panel. In JupyterLab it moves: prefix, temperature, seed, another seed." in notes


def test_formulas_are_mathml(book):
    page = book.notebook(next(p for p in NOTEBOOKS if p.stem.startswith("04")))
    assert page.select("div.formula > math[display=block]")
    assert not any("$" in said(p) for p in page.select("article p"))


# ---- what edition.py raises ------------------------------------------------------------------------------------------


def test_exercise_cell_without_a_known_check_stops_the_build():
    spec = importlib.util.spec_from_file_location("edition", ROOT / "book" / "edition.py")
    edition = importlib.util.module_from_spec(spec)
    sys.modules["edition"] = edition
    spec.loader.exec_module(edition)
    cell = nbformat.v4.new_code_cell("answer = ...\nq9.check(answer)")
    with pytest.raises(edition.ExtensionError, match=r"checks nothing that mlp_lib\.course\.exercises\.nb03 has"):
        edition.help_of(cell, "03")
    assert edition.literally("a * b, `c * d` and $e_f$") == r"a \* b\, `c * d` and \$e\_f\$"


# ---- in a browser ----------------------------------------------------------------------------------------------------


def look(folder, pages):
    """Open the pages in Chromium: which are too wide, which addresses are requested, whether a hint starts folded.

    Fails if a click does not open a hint or the search finds nothing. With BOOK_SCREENSHOTS=folder, each page is saved
    as a picture.
    """
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)))
    seen = {"wide": [], "asked": set(), "folded": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(reduced_motion="reduce")
        page.on("request", lambda request: seen["asked"].add(request.url))
        page.goto((folder / "index.html").as_uri())
        page.wait_for_url("**/book/index.html")
        shots = os.environ.get("BOOK_SCREENSHOTS")
        # At desktop width only the frame can be too wide where a phone shows no problem: one page per folder is enough.
        at_desk = pages if shots else {Path(name).parent: name for name in pages}.values()
        looks = [(390, "dark", name) for name in pages] + [(1280, "light", name) for name in at_desk]
        for width, scheme, name in looks:
            # Without screenshots the viewport is low, so that less is painted.
            page.set_viewport_size({"width": width, "height": 900 if shots else 300})
            page.emulate_media(color_scheme=scheme)
            page.goto((folder / name).as_uri())
            over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if over > 0:
                seen["wide"].append((name, width, over))
            if shots:
                page.wait_for_timeout(400)  # until the sidebar has slid away
                page.screenshot(path=f"{shots}/{name.replace('/', '_')}_{width}.png")
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto((folder / "notebooks" / "03_nll_vs_cross_entropy.html").as_uri())
            hint = page.locator("details.hint p").first
            seen["folded"].append(not hint.is_visible())
            page.locator("details.hint summary").first.click()
            hint.wait_for(state="visible")
            page.goto((folder / "search.html").as_uri() + "?q=saturation")
            page.locator("#search-results li a", has_text="14 · E02").first.wait_for()
        browser.close()
    return seen


def test_pages_fit_phone_and_desktop_and_request_no_other_host(book):
    try:
        import playwright  # noqa: F401
    except ImportError:
        missing("playwright is not installed")
    if not os.environ.get("CHROMIUM") and not any(map(shutil.which, BROWSERS)):
        missing("no Chromium found: apt-get install -y chromium, or name one in the variable CHROMIUM")
    # In a separate thread, because the panel tests may have a browser running in this one.
    with ThreadPoolExecutor(1) as thread:
        seen = thread.submit(look, book.folder, [name for name in book.pages if name != "index.html"]).result()
    assert seen["wide"] == []
    assert {urlsplit(url).scheme for url in seen["asked"]} <= {"file", "data"}
    assert seen["folded"] == [True, True]
