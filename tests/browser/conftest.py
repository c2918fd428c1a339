"""JupyterLab in a real browser, for the panels: a server, a page, and methods that move controls as a user does.

Lab saves automatically, so notebooks, settings, workspaces and data are in a temporary folder. Without Chromium these
tests are skipped, unless CI is set: then they fail, so that no change goes untested.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SECONDS = 30  # timeout; on an idle machine everything takes a moment, but the two cores may be shared


def missing(what):
    """Skip the test, but fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}: in CI the panels must be tested in a browser (.ci/run installs one)", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def chromium():
    """A running browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing("no Chromium found: apt-get install -y chromium, or name one in the variable CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab on a free port of this machine: its address, its token, and the folder it serves."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    for path in (folder, settings):
        path.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token = secrets.token_hex(16)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "LabApp.user_settings_dir": home / "settings",
        "LabApp.workspaces_dir": home / "workspaces",
        "ServerApp.open_browser": False,
    }
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", *(f"--{k}={v}" for k, v in options.items())]
    (home / "rfc3987_syntax.py").write_text("raise ImportError")  # the real one takes seconds and is not needed
    # No settings of the user, and the library of this checkout.
    own = {f"JUPYTER_{name.upper()}_DIR": str(home / name) for name in ("config", "data", "runtime")}
    environment = os.environ | own | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=home)
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/api?token={token}", server, home / "log"))
            yield {"address": f"http://127.0.0.1:{port}", "token": token, "folder": folder}
        finally:
            server.terminate()
            server.wait(20)


def answers(url, server, log):
    assert server.poll() is None, log.read_text()
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def wait_for(condition, seconds=_SECONDS, what="result"):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"no {what} after {seconds} s"
        time.sleep(0.05)
    return result


@pytest.fixture(scope="session")
def open_notebook(lab, chromium):
    """A function that opens a notebook of the given code cells, runs all of them, and returns the Page."""
    context = chromium.new_context(viewport={"width": 1200, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(_SECONDS * 1000)

    def open_it(name, cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells.values()])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, lab["folder"] / f"{name}.ipynb")
        page = context.new_page()
        page.goto(f"{lab['address']}/lab/workspaces/{name}/tree/{name}.ipynb?token={lab['token']}")
        page.wait_for_function("window.jupyterapp && window.jupyterapp.shell.currentWidget")
        idle = "window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status == 'idle'"
        page.wait_for_function(idle)
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(idle)
        assert not page.locator("[data-mime-type='application/vnd.jupyter.error']").all_text_contents()
        return Page(page, list(cells))

    yield open_it
    context.close()


class Page:
    """A notebook in JupyterLab, and the names of its cells."""

    def __init__(self, page, names):
        self.page, self.names = page, names

    def panel(self, name):
        """The panel in the cell of this name."""
        cell = self.page.locator(".jp-Notebook-cell").nth(self.names.index(name))
        cell.evaluate("cell => cell.scrollIntoView()")  # Lab does not render distant cells
        box = cell.locator(".jp-OutputArea-output .widget-vbox").first
        box.wait_for()
        return Panel(self.page, box)


class Panel:
    """A PlotPanel in the browser: methods that read its picture and readout, and methods that move its controls."""

    def __init__(self, page, box):
        self.page, self.box = page, box
        self.image = box.locator("img.widget-image")
        self.chosen = {}  # the option that each dropdown must show, by label
        box.scroll_into_view_if_needed()

    # ---- reading ----

    def picture(self):
        """The address of the picture, which is different for each picture."""
        return self.image.get_attribute("src")

    def readout(self):
        """The line under the picture."""
        return self.box.locator("> .widget-html .widget-html-content").inner_text()

    def wait_readout(self, pattern):
        """Wait until the readout matches; it is set after the picture."""
        seen = []
        try:
            wait_for(
                lambda: seen.append(self.readout()) or (seen[-1][:7] != "drawing" and re.search(pattern, seen[-1]))
            )
        except AssertionError:
            raise AssertionError(f"the readout never matched {pattern!r}; it says {seen[-1]!r}") from None
        # By now the kernel has answered each choice, and the answer must not have emptied the field.
        for label, option in self.chosen.items():
            assert self.shown(label) == option, label
        return seen[-1]

    def shown(self, label):
        """The option that a dropdown shows."""
        shown = "select => select.selectedOptions[0]?.label.replaceAll('\\u00a0', ' ')"
        return self.control(label).locator("select").evaluate(shown)

    def moved(self, hand, pattern):
        """Call `hand` and wait for a new picture and readout; returns the new readout and the one before."""
        before, said = self.picture(), self.readout()
        hand()
        wait_for(lambda: self.picture() != before, what="new picture")
        return self.wait_readout(pattern), said

    # ---- moving ----

    def control(self, label):
        """The row of the control with this label."""
        row = self.box.locator(".widget-inline-hbox", has=self.page.get_by_text(label, exact=True)).first
        row.scroll_into_view_if_needed()
        return row

    def keys(self, label, *keys):
        """Press keys on a slider's handle or in a field."""
        self.chosen.pop(label, None)
        self.control(label).locator(".noUi-handle, input, select").first.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def next_by_keys(self, label):
        """Choose the next option of a dropdown with Enter, arrow, Enter. (JupyterLab handles a lone arrow itself.)"""
        for key in ("Enter", "ArrowDown", "Enter"):
            self.keys(label, key)
            self.page.wait_for_timeout(150)

    def drag(self, label, share):
        """Drag a slider's handle with the mouse to this share of its track."""
        row = self.control(label)
        track, handle = (row.locator(css).first.bounding_box() for css in (".noUi-base", ".noUi-handle"))
        y = handle["y"] + handle["height"] / 2
        self.page.mouse.move(handle["x"] + handle["width"] / 2, y)
        self.page.mouse.down()
        self.page.mouse.move(track["x"] + share * track["width"], y, steps=5)
        self.page.mouse.up()

    def write(self, label, text):
        """Replace the text of a field, and press Enter."""
        field = self.control(label).locator("input").first
        field.fill(text)
        field.press("Enter")

    def choose(self, label, option):
        """Choose an option of a dropdown by its text."""
        self.control(label).locator("select").select_option(label=option)
        wait_for(lambda: self.shown(label) == option, what=f"{option!r} shown for {label}")
        self.chosen[label] = option

    def click(self, says):
        """Click a button."""
        self.box.get_by_role("button", name=says, exact=True).click()
