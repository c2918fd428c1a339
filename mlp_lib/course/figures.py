"""How a page stores figures: sharp on a high-resolution screen, in few bytes, and with alternative text.

A notebook that imports `mlp_lib.course.compare` shows its figures this way. The alternative text is made from the
figure's titles and labels; where these do not say enough, set it: `figure.alt = "..."`.
"""

import io
import sys

from matplotlib.figure import Figure
from PIL import Image

_SCALE = 2  # pixels in the file per pixel on an ordinary screen


def png_and_metadata(figure: Figure, bbox_inches: str | None = "tight") -> tuple[bytes, dict[str, object]] | None:
    """The PNG of a figure and its metadata in a notebook: its width and height on the page and its `alt`.

    None for an empty figure, which IPython does not show.

    >>> figure = Figure(figsize=(2, 1), dpi=100)
    >>> axes = figure.add_subplot(title="Faster and faster", xlabel="time", ylabel="distance")
    >>> png_and_metadata(figure, bbox_inches=None)[1]
    {'alt': 'Faster and faster: distance over time', 'width': 200, 'height': 100}
    """
    if not figure.axes and not figure.texts:
        return None
    drawn, packed = io.BytesIO(), io.BytesIO()
    quick = {"compress_level": 1}
    figure.savefig(drawn, format="png", dpi=_SCALE * figure.dpi, bbox_inches=bbox_inches, pil_kwargs=quick)
    picture = Image.open(drawn).quantize()  # 256 colours are enough for a plot, and take a third of the bytes
    picture.save(packed, "png")
    width, height = (pixels // _SCALE for pixels in picture.size)
    return packed.getvalue(), {"alt": alt_text(figure), "width": width, "height": height}


def alt_text(figure: Figure) -> str:
    """A description of a figure for readers who cannot see it: its `alt`, else its titles and labels."""
    if getattr(figure, "alt", None):
        return figure.alt
    said = [figure.get_suptitle()]
    for ax in figure.axes:
        title = " ".join(filter(None, (ax.get_title(where) for where in ("left", "center", "right"))))
        over = " over ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
        said.append(": ".join(filter(None, (title, over))))
    return " ".join("; ".join(dict.fromkeys(filter(None, said))).split()) or "A figure without a title"


def use_in_notebook() -> None:
    """From now on show figures this way, if IPython is running; otherwise do nothing."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        import matplotlib_inline.backend_inline  # noqa: F401 - imported later, it would replace our formatter

        shell.display_formatter.formatters["image/png"].for_type(Figure, png_and_metadata)
