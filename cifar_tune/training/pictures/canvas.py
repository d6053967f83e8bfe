"""What the pictures of a trial share: a white page with a title, and how it becomes a PNG file.

Only matplotlib's object interface is used, and none of its global state: a worker may be a thread
of the runner's process. The same figures give the same bytes.
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cifar_tune.data.cifar10 import UInt8Array
from cifar_tune.training.pictures.palette import GRID, LINE, TEXT

DPI = 100
TITLE_SIZE = 11
TEXT_SIZE = 9
"""In points; a point is ``DPI / 72`` pixels."""

_TITLE_MOST = 60
"""Characters of a title that fit beside a legend."""
_MUTED = "#59616b"
_MARGIN = 14
"""Pixels around everything."""


def begin_picture(width: int, height: int, title: str, remark: str) -> Figure:
    """Return a white page with a title and a line below it.

    Width and height are in pixels; a title that is too long is cut.
    """
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    if len(title) > _TITLE_MOST:
        title = f"{title[: _TITLE_MOST - 1]}…"
    write(figure, _MARGIN, _MARGIN, title, size=TITLE_SIZE, weight="bold")
    write(figure, _MARGIN, _MARGIN + 20, remark, color=_MUTED)
    return figure


def write(figure: Figure, left: float, top: float, text: str, **properties: Any) -> None:
    """Put a text on the page, as it is: a dollar sign is one.

    It is held at a point so many pixels from the page's left and upper edge. ``properties`` are as
    matplotlib names them: ``ha`` and ``va`` say where it is held, ``rotation`` is around the point.
    """
    width, height = page_size(figure)
    figure.text(
        left / width,
        1 - top / height,
        text,
        rotation_mode="anchor",
        parse_math=False,
        **{"size": TEXT_SIZE, "color": TEXT, "va": "top", **properties},
    )


def paste(figure: Figure, left: int, top: int, pixels: UInt8Array) -> None:
    """Put an image uint8 [H, W, 3] on the page, pixel for pixel."""
    _, height = page_size(figure)
    figure.figimage(pixels, left, height - top - len(pixels), origin="upper")


def page_size(figure: Figure) -> tuple[int, int]:
    """Return width and height in pixels."""
    width, height = figure.get_size_inches() * DPI
    return round(width), round(height)


def add_axes(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Add axes whose margins are in pixels, with lines as the reports have them."""
    width, height = page_size(figure)
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width,
         (height - top - bottom) / height)
    )  # fmt: skip
    for side, spine in axes.spines.items():
        spine.set_color(LINE)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=TEXT, labelsize=TEXT_SIZE, color=LINE)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def to_png(figure: Figure) -> bytes:
    """Return the page as a PNG file, without a date or matplotlib's version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
