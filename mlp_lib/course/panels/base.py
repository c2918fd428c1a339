"""The panel under all panels: labelled controls, a picture, and one line that says the numbers.

The picture is a PNG in an `Image`, made from a `matplotlib.figure.Figure` without pyplot: it needs no extension of
JupyterLab, leaves no figure behind, and stays on the page for readers who have no kernel.
"""

import base64
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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from traitlets import Unicode

from mlp_lib.plots import legible

Draw = Callable[..., str]  # draw(figure, **values of the controls) -> the readout

_DPI = 100
_NOTICED = 0.1  # seconds; who waits longer is told that something happens
_LABEL = {"description_width": "8em"}
_WIDE = "27em"  # two beside each other on a page of usual width


class Picture(ipywidgets.Image):
    """An Image with a name for screen readers: its `tooltip`, which the page has as the title of the image.

    JupyterLab's part of ipywidgets 8.1 asks every widget with a tooltip for a description, and shows an error in place
    of an Image, which has none. So this one has an empty one.
    """

    description = Unicode("").tag(sync=True)


class PlotPanel(ipywidgets.VBox):
    """Controls, a picture that `draw` makes of their values, and its readout in words, redrawn at every change.

    `draw(figure, **values)` gets an empty Figure and the value of each control under its name; it returns the readout.
    `buttons` maps what a button says to what a click does; the picture is drawn anew after it. `alt` describes the
    picture, `size` is its width and height in inches. While a picture is drawn the readout says `slow`, if it is given,
    or "drawing ..." if the last one took more than 0.1 s.
    `on_close` is called once when the panel is closed.

    Errors: those of the first picture are raised where the panel is made. Later a ValueError or TypeError, the
    library's answer to bad input, shows as its sentence after "[no]", and any other error as its name and first line
    after "[error]"; the last good picture stays. The error itself is kept in `error`, and a good redraw clears it.

    `figure` is the figure of the last picture, for tests and for those who want to save it. `redraw()` may be called
    from any thread. Raises ValueError for a control without a description. Taught in: notebook 00.
    """

    _on_close: Callable[[], object] | None = None  # also for a panel whose making failed, when it is collected

    def __init__(
        self,
        name: str,
        draw: Draw,
        controls: Mapping[str, ipywidgets.ValueWidget],
        *,
        alt: str,
        buttons: Mapping[str, Callable[[], object]] | None = None,
        size: tuple[float, float] = (6.8, 3.4),
        slow: str | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        for key, control in controls.items():
            if not getattr(control, "description", ""):
                raise ValueError(f"the control {key!r} of {name} has no description: every control needs a label")
        self._name, self._draw, self._slow, self._on_close = name, draw, slow, on_close
        self._drawing = threading.RLock()
        self.controls = dict(controls)
        self.buttons = {says: ipywidgets.Button(description=says) for says in buttons or {}}
        self.figure = Figure(figsize=size, dpi=_DPI)
        self._places: list[Bbox] = []
        self._acting = False  # a button's action is under way
        self._took = 0.0  # seconds for the last picture
        FigureCanvasAgg(self.figure)
        self.error: Exception | None = None
        self.image = Picture(
            format="png", tooltip=alt, layout=Layout(align_self="flex-start", flex="0 0 auto", max_width="100%")
        )
        # Not a Label: that would make a formula of what stands between two dollar signs.
        self.status = ipywidgets.HTML(layout=Layout(width="auto", min_height="1.6em"))
        self._show()  # before anything is on the page: what fails here fails in the cell

        rows = [_row(list(self.controls.values()))] if self.controls else []
        if self.buttons:
            rows.append(_row(list(self.buttons.values())))
        super().__init__([*rows, self.image, self.status])
        for control in self.controls.values():
            control.observe(self._control_moved, names="value")
        for says, button in self.buttons.items():
            button.on_click(self._click(buttons[says]))

    @property
    def values(self) -> dict[str, Any]:
        """The value of each control under its name."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def readout(self) -> str:
        """What the line under the picture says."""
        return html.unescape(self.status.value)

    def redraw(self) -> None:
        """Draw the picture of the controls' present values; an error shows in the readout."""
        with self._drawing:
            if self._slow is not None or self._took > _NOTICED:
                self._say(self._slow or "drawing ...")
            try:
                self._show()
            except Exception as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """Show an error as one sentence in the readout; the picture stays."""
        self.error = error
        first_line = (str(error).strip() or "no reason given").splitlines()[0]
        known = isinstance(error, (ValueError, TypeError))
        self._say(f"[no] {first_line}" if known else f"[error] {type(error).__name__}: {first_line}")

    def close(self) -> None:
        """Take the panel off the page and end what runs for it."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()
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
            said = self._draw(self.figure, **self.values)
            legible(self.figure)
            self._place()
            png = io.BytesIO()
            self.figure.canvas.print_png(png)  # as savefig does, but drawn once: savefig draws first for nothing
            self.error = None
            self._took = time.perf_counter() - clock
            self.image.value = png.getvalue()
            self._say(said)  # last: who waits for the readout finds the picture there

    def _say(self, text: str) -> None:
        self.status.value = html.escape(plain(text))

    def _place(self) -> None:
        """Put the axes where the first picture had them: nothing jumps under a hand, and half of the time is saved."""
        axes = [
            ax for ax in self.figure.axes if ax.get_subplotspec() is not None
        ]  # not those with a place of their own
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
                self.fail(failed)

        return clicked

    def __repr__(self) -> str:
        return f"{self._name}: {', '.join([*(c.description for c in self.controls.values()), *self.buttons])}"

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """What the page keeps: the live widget where there is a kernel, and the picture where there is none."""
        return {**super()._repr_mimebundle_(**kwargs), "image/png": base64.b64encode(self.image.value).decode("ascii")}


def silence(message: str) -> None:
    """Let no module of the panels warn with this message (a regular expression): their readouts say what there is.

    For good, and not with `warnings.catch_warnings`: that takes the filters of the whole process and puts them back
    later. Panels draw in several threads, and filters set in another thread meanwhile would be lost, or never leave.
    """
    warnings.filterwarnings("ignore", message, module=re.escape(__package__) + r"\b")


def plain(text: str, most: int = 300) -> str:
    r"""`text` as one line that is not too long.

    >>> plain("a\nb")
    'a b'
    >>> len(plain("x" * 1000))
    300
    """
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 4] + " ..."


# ---- controls that look alike ----------------------------------------------------------------------------------------


def slider(
    description: str, value: float, low: float, high: float, step: float = 0.1, *, continuous: bool = True
) -> ipywidgets.FloatSlider:
    """A slider over numbers; the arrow keys move it by `step`, and one may type into its readout."""
    return ipywidgets.FloatSlider(
        value, min=low, max=high, step=step, description=description, continuous_update=continuous, **_common()
    )


def whole_slider(description: str, value: int, low: int, high: int, *, continuous: bool = True) -> ipywidgets.IntSlider:
    """A slider over whole numbers."""
    return ipywidgets.IntSlider(
        value, min=low, max=high, description=description, continuous_update=continuous, **_common()
    )


def log_slider(
    description: str, value: float, low: float, high: float, step: float = 0.1, *, continuous: bool = True
) -> ipywidgets.FloatLogSlider:
    """A slider from 10**low to 10**high in steps of `step` in the exponent."""
    return ipywidgets.FloatLogSlider(
        value, min=low, max=high, step=step, description=description, continuous_update=continuous,
        readout_format=".3g", **_common(),
    )  # fmt: skip


def choice(description: str, options: Sequence[Any], value: object) -> ipywidgets.Dropdown:
    """One of several; `options` are values or (what it says, value) pairs."""
    return ipywidgets.Dropdown(options=options, value=value, description=description, **_common())


def choice_slider(
    description: str, options: Sequence[tuple[str, Any]], value: object, *, continuous: bool = True
) -> ipywidgets.SelectionSlider:
    """A slider over values in their order, each with what it says: numbers unevenly spaced, or 0 on a log scale."""
    return ipywidgets.SelectionSlider(
        options=options, value=value, description=description, continuous_update=continuous, **_common()
    )


def text(description: str, value: str = "", *, placeholder: str = "") -> ipywidgets.Text:
    """A line of text, taken over at Enter or when the field is left."""
    return ipywidgets.Text(
        value, description=description, placeholder=placeholder, continuous_update=False, **_common()
    )


def number(description: str, value: int, low: int, high: int) -> ipywidgets.BoundedIntText:
    """A whole number to type, or to move with the arrow keys."""
    return ipywidgets.BoundedIntText(value, min=low, max=high, description=description, **_common())


def _common() -> dict[str, object]:
    return {"style": dict(_LABEL), "layout": Layout(width=_WIDE)}


def _close(widget: ipywidgets.Widget) -> None:
    """Close a widget and its two parts that are widgets too: each would be kept for as long as the kernel lives."""
    widget.layout.close()
    if widget.has_trait("style"):
        widget.style.close()
    widget.close()


def _row(children: list[ipywidgets.Widget]) -> ipywidgets.Box:
    """Side by side where the page is wide enough, else one under another."""
    return ipywidgets.Box(children, layout=Layout(flex_flow="row wrap"))
