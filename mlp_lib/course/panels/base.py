"""The parts of every panel: labelled controls, a picture, and a readout of one line with the numbers.

The picture is a PNG in an `Image`, drawn from a `matplotlib.figure.Figure` without pyplot: it needs no JupyterLab
extension, leaves no figure open, and stays on the page for readers without a kernel.
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

_NOTICED = 0.1  # seconds; if drawing takes longer, the readout says "drawing ..."
_WIDE = "27em"  # two fit side by side on a page of usual width

# ipywidgets can neither announce text nor label an image or the handle of a slider. So each readout comes with an empty
# style element, whose `onload` does both once the readout has not changed for a second. It waits because a growing
# curve changes the readout five times a second, and it keeps one status element because a screen reader announces only
# changes inside an existing element.
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
    """An Image with a `tooltip`, which becomes its title on the page.

    The JupyterLab side of ipywidgets 8.1 requires a description of a widget with a tooltip, and an Image has none.
    """

    description = Unicode("").tag(sync=True)


class PlotPanel(ipywidgets.VBox):
    """Controls, a picture that `draw` makes from their values, and its readout in words, redrawn at every change.

    `draw(figure, **values)` gets an empty Figure and the value of each control under its name; it returns the readout.
    `buttons` maps the label of a button to the function that a click calls; the picture is redrawn after it. `alt`
    describes the picture; `size` is its width and height in inches. A `worker`, if given, trains for the panel: its
    progress bar is shown, and closing the panel ends its thread.

    An error in the first picture is raised by the constructor. After that, the readout shows a ValueError or TypeError
    as "[no]" and its message, any other error as "[error]", its name and its first line; the last picture stays, and
    `error` has the error. `redraw()` may be called from any thread.

    `figure` and `readout` are the last picture and readout, for tests and for saving. Taught in: page 00.
    """

    worker: Worker | None = None  # so that close() works even if the constructor failed

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
        # Not a Label, which would typeset text between two dollar signs as a formula.
        self.status = ipywidgets.HTML(layout=Layout(width="auto", min_height="1.6em"))
        self._show()  # before anything is on the page, so an error here is raised in the cell

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
        """Draw the picture for the current values of the controls; an error is shown in the readout."""
        with self._drawing:
            if self._took > _NOTICED and threading.current_thread() is threading.main_thread():
                self._say(f"drawing ... {self.readout}")  # keep the last numbers visible
            try:
                self._show()
            except Exception as error:
                self._fail(error)

    def close(self) -> None:
        """Remove the panel from the page and end its thread."""
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
            # A symbol that the font lacks is drawn as a box, which needs no warning on the page.
            silence(".*[Gg]lyph.* missing from")
            said = self._draw(self.figure, **self.values)
            legible(self.figure)
            self._place_axes()
            png = io.BytesIO()
            self.figure.canvas.print_png(png)  # unlike savefig, it draws only once
            self._took = time.perf_counter() - clock
            self.error, self.image.value = None, png.getvalue()
            self.readout = one_line(said)
            self._say(self.readout)  # last, so the picture is there when the readout changes

    def _say(self, text: str) -> None:
        self.status.value = html.escape(text) + _FOR_SCREEN_READERS

    def _fail(self, error: Exception) -> None:
        self.error = error
        first_line = (str(error).strip() or "no reason given").splitlines()[0]
        expected = isinstance(error, (ValueError, TypeError))
        self.readout = one_line(f"[no] {first_line}" if expected else f"[error] {type(error).__name__}: {first_line}")
        self._say(self.readout)

    def _place_axes(self) -> None:
        """Put the axes where the first picture had them, so that nothing jumps and drawing takes half the time."""
        axes = [ax for ax in self.figure.axes if ax.get_subplotspec() is not None]  # others were placed by `draw`
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
            self._acting = True  # one redraw at the end, even if the action moves several controls
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
        """What the page stores: the live widget, and the picture for readers without a kernel."""
        with self._drawing:
            png, metadata = png_and_metadata(self.figure, bbox_inches=None)
        return {**super()._repr_mimebundle_(**kwargs), "image/png": png}, {"image/png": metadata}


def silence(message: str) -> None:
    """Ignore warnings with this message (a regular expression) in the modules of the panels; the readout says it.

    The filter stays. `warnings.catch_warnings` would not work, because two threads may draw at the same time.
    """
    warnings.filterwarnings("ignore", message, module=re.escape(__package__) + r"\b")


def one_line(text: str, most: int = 300) -> str:
    r"""`text` in one line of at most `most` characters.

    >>> one_line("a\nb")
    'a b'
    >>> len(one_line("x" * 1000))
    300
    """
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 4] + " ..."


def even_ticks(ax: Axes) -> None:
    """Give all numbers on the vertical axis the same width, so that the axis label is never cut off."""
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
    """A dropdown; `options` are values or (text, value) pairs."""
    return ipywidgets.Dropdown(options=options, value=value, **_common(description))


def choice_slider(description: str, options: Sequence[tuple[str, Any]], value: object) -> ipywidgets.SelectionSlider:
    """A slider over (text, value) pairs in their order, for numbers that are unevenly spaced, or 0 on a log scale."""
    return ipywidgets.SelectionSlider(options=options, value=value, continuous_update=False, **_common(description))


def text(description: str, value: str = "", *, placeholder: str = "") -> ipywidgets.Text:
    """A text field; its value changes at Enter or when the field loses focus."""
    return ipywidgets.Text(value, placeholder=placeholder, continuous_update=False, **_common(description))


def number(description: str, value: int, low: int = 0, high: int = 2**53) -> ipywidgets.BoundedIntText:
    """A field for a whole number, also changed by the arrow keys; 2**53 is the largest that is exact in JavaScript."""
    return ipywidgets.BoundedIntText(value, min=low, max=high, **_common(description))


def _common(description: str) -> dict[str, object]:
    return {"description": description, "style": {"description_width": "8em"}, "layout": Layout(width=_WIDE)}


def _close(widget: ipywidgets.Widget) -> None:
    """Close a widget and its layout and style, which are widgets too and would live as long as the kernel."""
    widget.layout.close()
    if widget.has_trait("style"):
        widget.style.close()
    widget.close()


def _row(widgets: Sequence[ipywidgets.Widget]) -> ipywidgets.Box:
    """Side by side if the page is wide enough, else one below the other."""
    return ipywidgets.Box(list(widgets), layout=Layout(flex_flow="row wrap"))
