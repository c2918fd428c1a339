"""What every panel is made of: labelled controls, a picture, and one line that says the numbers.

The picture is a PNG in an `Image`, drawn from a `matplotlib.figure.Figure` without pyplot: it needs no extension of
JupyterLab, leaves no figure behind, and stays on the page for readers who have no kernel.
"""

import html
import io
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
from ipywidgets import Layout
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from traitlets import Unicode

from mlp_lib.course.figures import png_and_metadata
from mlp_lib.course.panels.worker import Worker
from mlp_lib.plots import legible

Draw = Callable[..., str]  # draw(figure, **values of the controls) -> the readout

_NOTICED = 0.1  # seconds; when drawing takes longer, the readout says that it is under way
_WIDE = "27em"  # two beside each other on a page of usual width

# ipywidgets can neither announce a text nor name the handle of a slider or an image. So with each readout comes an
# empty style element, whose `onload` does both when the readout has been still for a second: a screen reader announces
# only what changes inside an element that is there already, and a curve that grows changes five times a second.
_FOR_SCREEN_READERS = """<style onload="
    const text = this.parentNode.textContent, row = this.parentNode.parentNode, panel = this.closest('.widget-vbox');
    let status = row.querySelector('[role=status]');
    if (!status) {
        status = document.createElement('div');
        status.setAttribute('role', 'status');
        status.style = 'position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)';
        row.append(status);
    }
    clearTimeout(status.timer);
    status.timer = setTimeout(() => {
        status.textContent = text;
        for (const label of panel.querySelectorAll('.widget-label'))
            for (const part of label.parentNode.querySelectorAll('.noUi-handle, .widget-readout'))
                part.setAttribute('aria-label', label.textContent);
        for (const image of panel.querySelectorAll('img')) image.alt = image.title;
    }, 1000);
"></style>"""


class Picture(ipywidgets.Image):
    """An Image with a `tooltip`, which the page has as its title.

    JupyterLab's part of ipywidgets 8.1 asks a widget with a tooltip for its description, which an Image lacks.
    """

    description = Unicode("").tag(sync=True)


class PlotPanel(ipywidgets.VBox):
    """Controls, a picture that `draw` makes of their values, and its readout in words, redrawn at every change.

    `draw(figure, **values)` gets an empty Figure and the value of each control under its name; it returns the readout.
    `buttons` maps what a button says to what a click does; the picture is redrawn after it. `alt` describes the
    picture, `size` is its width and height in inches. A `worker`, if given, trains for the panel: its bar is shown, and
    closing the panel ends its thread.

    An error in the first picture is raised where the panel is made. Later a ValueError or TypeError shows as its
    sentence after "[no]", any other error as its name and first line after "[error]"; the last picture stays, and
    `error` has the error. `redraw()` may be called from any thread.

    `figure` is what was drawn last, `readout` what was said, for tests and for saving. Taught in: page 00.
    """

    worker: Worker | None = None  # also for a panel whose making failed

    def __init__(
        self,
        name: str,
        draw: Draw,
        controls: Mapping[str, ipywidgets.ValueWidget],
        *,
        alt: str,
        buttons: Mapping[str, Callable[[], object]] = {},
        size: tuple[float, float] = (6.8, 3.4),
        worker: Worker | None = None,
    ) -> None:
        self._name, self._draw, self.worker = name, draw, worker
        self._drawing = threading.RLock()
        self._acting = False  # a button's action is under way
        self._places: list[Bbox] = []
        self._took = 0.0  # seconds for the last picture
        self.controls = dict(controls)
        self.buttons = {says: ipywidgets.Button(description=says) for says in buttons}
        self.figure = Figure(figsize=size, dpi=100)
        self.figure.alt = alt
        FigureCanvasAgg(self.figure)
        self.error: Exception | None = None
        self.readout = ""
        self.image = Picture(
            format="png", tooltip=alt, layout=Layout(align_self="flex-start", flex="0 0 auto", max_width="100%")
        )
        # Not a Label: that would make a formula of what stands between two dollar signs.
        self.status = ipywidgets.HTML(layout=Layout(width="auto", min_height="1.6em"))
        self._show()  # before anything is on the page: what fails here fails in the cell

        rows = [_row(widgets) for widgets in (self.controls.values(), self.buttons.values()) if widgets]
        super().__init__([*rows, *([worker.bar] if worker else []), self.image, self.status])
        for control in self.controls.values():
            control.observe(self._control_moved, names="value")
        for says, button in self.buttons.items():
            button.on_click(self._click(buttons[says]))

    @property
    def values(self) -> dict[str, Any]:
        """The value of each control under its name."""
        return {name: control.value for name, control in self.controls.items()}

    def redraw(self) -> None:
        """Draw the picture of the controls' present values; an error shows in the readout."""
        with self._drawing:
            if self._took > _NOTICED and threading.current_thread() is threading.main_thread():
                self._say(f"drawing ... {self.readout}")  # the last numbers stay in view
            try:
                self._show()
            except Exception as error:
                self._fail(error)

    def close(self) -> None:
        """Take the panel off the page and end what runs for it."""
        if self.worker is not None:
            self.worker.close()
        for child in self.children:
            for grandchild in getattr(child, "children", ()):
                _close(grandchild)
            _close(child)
        self.layout.close()
        super().close()

    def _show(self) -> None:
        with self._drawing:
            clock = time.perf_counter()
            self.figure.clear()
            # A symbol that the font lacks is drawn as a box; the page need not warn of it.
            silence(".*[Gg]lyph.* missing from")
            said = self._draw(self.figure, **self.values)
            legible(self.figure)
            self._place_axes()
            png = io.BytesIO()
            self.figure.canvas.print_png(png)  # unlike savefig, it draws only once
            self._took = time.perf_counter() - clock
            self.error, self.image.value = None, png.getvalue()
            self.readout = one_line(said)
            self._say(self.readout)  # last: whoever waits for the readout finds the picture there

    def _say(self, text: str) -> None:
        self.status.value = html.escape(text) + _FOR_SCREEN_READERS

    def _fail(self, error: Exception) -> None:
        self.error = error
        first_line = (str(error).strip() or "no reason given").splitlines()[0]
        expected = isinstance(error, (ValueError, TypeError))
        self.readout = one_line(f"[no] {first_line}" if expected else f"[error] {type(error).__name__}: {first_line}")
        self._say(self.readout)

    def _place_axes(self) -> None:
        """Put the axes where the first picture had them: nothing jumps, and half of the time is saved."""
        axes = [ax for ax in self.figure.axes if ax.get_subplotspec() is not None]  # the others have a place already
        if len(axes) != len(self._places):
            self.figure.set_layout_engine("constrained")
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")
            self._places = [ax.get_position() for ax in axes]
        for ax, place in zip(axes, self._places, strict=True):
            ax.set_position(place)

    def _control_moved(self, change: object) -> None:
        if not self._acting:
            self.redraw()

    def _click(self, action: Callable[[], object]) -> Callable[[object], None]:
        def clicked(button: object) -> None:
            failed = None
            self._acting = True  # however many controls the action moves, one picture is drawn
            try:
                action()
            except Exception as error:
                failed = error
            finally:
                self._acting = False
            self.redraw()
            if failed is not None:
                self._fail(failed)

        return clicked

    def __repr__(self) -> str:
        return f"{self._name}: {', '.join([*(c.description for c in self.controls.values()), *self.buttons])}"

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict[str, object], dict[str, object]]:
        """What the page keeps: the live widget where there is a kernel, and the picture where there is none."""
        with self._drawing:
            png, metadata = png_and_metadata(self.figure, bbox_inches=None)
        return {**super()._repr_mimebundle_(**kwargs), "image/png": png}, {"image/png": metadata}


def silence(message: str) -> None:
    """Ignore warnings with this message (a regular expression) in the modules of the panels: their readouts say it.

    For good, and not with `warnings.catch_warnings`, which two threads that draw at the same time would mix up.
    """
    warnings.filterwarnings("ignore", message, module=re.escape(__package__) + r"\b")


def one_line(text: str, most: int = 300) -> str:
    r"""`text` in one line that is not too long.

    >>> one_line("a\nb")
    'a b'
    >>> len(one_line("x" * 1000))
    300
    """
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 4] + " ..."


def even_ticks(ax: Axes) -> None:
    """Numbers on the vertical axis that take the same room whatever they are, so that its label is never cut off."""
    ax.yaxis.set_major_formatter(lambda y, at: f"{y:g}".rjust(5, "\N{FIGURE SPACE}"))


# ---- controls --------------------------------------------------------------------------------------------------------


def slider(
    description: str, value: float, low: float, high: float, step: float = 0.1, *, continuous: bool = True
) -> ipywidgets.FloatSlider:
    """A slider over numbers; the arrow keys move it by `step`."""
    return ipywidgets.FloatSlider(
        value, min=low, max=high, step=step, continuous_update=continuous, **_common(description)
    )


def whole_slider(description: str, value: int, low: int, high: int) -> ipywidgets.IntSlider:
    """A slider over whole numbers."""
    return ipywidgets.IntSlider(value, min=low, max=high, continuous_update=False, **_common(description))


def log_slider(
    description: str, value: float, low: float, high: float, step: float = 0.1, *, base: float = 10, digits: str = ".3g"
) -> ipywidgets.FloatLogSlider:
    """A slider from base**low to base**high in steps of `step` in the exponent."""
    return ipywidgets.FloatLogSlider(
        value, base=base, min=low, max=high, step=step, continuous_update=False, readout_format=digits,
        **_common(description),
    )  # fmt: skip


def choice(description: str, options: Sequence[Any], value: object) -> ipywidgets.Dropdown:
    """One of several; `options` are values or (what it says, value) pairs."""
    return ipywidgets.Dropdown(options=options, value=value, **_common(description))


def choice_slider(description: str, options: Sequence[tuple[str, Any]], value: object) -> ipywidgets.SelectionSlider:
    """A slider over (what it says, value) pairs in their order: numbers unevenly spaced, or 0 on a log scale."""
    return ipywidgets.SelectionSlider(options=options, value=value, continuous_update=False, **_common(description))


def text(description: str, value: str = "", *, placeholder: str = "") -> ipywidgets.Text:
    """A line of text, taken over at Enter or when the field is left."""
    return ipywidgets.Text(value, placeholder=placeholder, continuous_update=False, **_common(description))


def number(description: str, value: int, low: int = 0, high: int = 2**53) -> ipywidgets.BoundedIntText:
    """A whole number to type, or to move with the arrow keys; JavaScript has no larger ones."""
    return ipywidgets.BoundedIntText(value, min=low, max=high, **_common(description))


def _common(description: str) -> dict[str, object]:
    return {"description": description, "style": {"description_width": "8em"}, "layout": Layout(width=_WIDE)}


def _close(widget: ipywidgets.Widget) -> None:
    """Close a widget and its two parts that are widgets too: each would be kept for as long as the kernel lives."""
    widget.layout.close()
    if widget.has_trait("style"):
        widget.style.close()
    widget.close()


def _row(widgets: Sequence[ipywidgets.Widget]) -> ipywidgets.Box:
    """Side by side where the page is wide enough, else one under another."""
    return ipywidgets.Box(list(widgets), layout=Layout(flex_flow="row wrap"))
