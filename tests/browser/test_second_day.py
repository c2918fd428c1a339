"""A page that was run, saved, and opened again shows its panels as pictures, before anything is run again."""

import json

from playwright.sync_api import TimeoutError

CELLS = {
    "panel": "from mlp_lib.course.panels import softmax_panel\nsoftmax_panel()",
}


def test_panels_are_pictures_on_the_second_day(open_notebook, lab):
    today = open_notebook("second_day", CELLS)
    today.panel("panel").image.wait_for()
    today.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    today.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    saved = json.loads((lab["folder"] / "second_day.ipynb").read_text(encoding="utf-8"))
    assert saved["metadata"].get("widgets"), "JupyterLab saved no state: was the course installed by make setup?"

    # Beside other tests JupyterLab was once seen not to draw the restored widgets; the next reload does.
    for last in (False, False, True):
        today.page.reload()
        today.page.wait_for_function("window.jupyterapp && window.jupyterapp.shell.currentWidget")
        try:
            panel = today.panel("panel")
            panel.image.wait_for()
            break
        except TimeoutError:
            if last:
                raise
    width, in_file = panel.image.evaluate("img => [img.getBoundingClientRect().width, img.naturalWidth]")
    assert width > 100
    assert in_file > 100
    assert "Error displaying widget" not in today.page.inner_text("body")
