"""Figures of reports: their size, fonts and axes, and how one becomes an SVG file.

A figure is drawn by matplotlib at two widths, for a page and for a phone. Texts stay texts. On a
page, what is drawn in ``TEXT``, ``LINE`` or ``GRID`` takes the page's own colours, light or dark;
every other colour stands on both.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cifar_tune.training.pictures.palette import GRID, LINE, TEXT

WIDE, HALF, NARROW = 960, 460, 350
"""Widths in CSS pixels: of a page, of half a page, and of a phone."""
TEXT_SIZE = 12.5
_DPI = 72
"""A point is a CSS pixel then."""
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.labelcolor": TEXT,
    "axes.labelsize": TEXT_SIZE,
    "axes.linewidth": 1.0,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": TEXT_SIZE,
    "axes.unicode_minus": True,
    "font.family": "sans-serif",
    "font.size": TEXT_SIZE,
    "grid.color": GRID,
    "grid.linewidth": 1.0,
    "legend.borderaxespad": 0.2,
    "legend.fontsize": TEXT_SIZE,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.labelcolor": TEXT,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "svg.fonttype": "none",
    "text.color": TEXT,
    "text.parse_math": False,
    "xtick.color": LINE,
    "xtick.labelcolor": TEXT,
    "xtick.labelsize": TEXT_SIZE,
    "ytick.color": LINE,
    "ytick.labelcolor": TEXT,
    "ytick.labelsize": TEXT_SIZE,
}


@contextmanager
def report_style() -> Iterator[None]:
    """Draw with the style of reports, and with nothing that a user has set for matplotlib."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for key, value in _STYLE.items():
            mpl.rcParams[key] = value
        yield


def make_axes(
    width: int, height: int, columns: int = 1, rows: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many CSS pixels and its axes, row by row.

    ``options`` are those of ``Figure.subplots``.
    """
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    figure.patch.set_visible(False)
    for one in axes:
        one.patch.set_visible(False)
    return figure, axes


def use_percent(axes: Axes, axis: str = "y", most: int = 6) -> None:
    """Write fractions on an axis in percent."""
    chosen = axes.yaxis if axis == "y" else axes.xaxis
    chosen.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 5, 10]))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}"))


def use_epochs(axes: Axes, most: int = 7) -> None:
    """Write whole numbers on the horizontal axis."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, integer=True))


def use_numbers(axes: Axes, *, is_log: bool, most: int) -> None:
    """Write the values of a hyperparameter on the horizontal axis."""
    if is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=most))


def add_legend(figure: Figure, axes: Iterable[Axes], columns: int) -> None:
    """Put one legend above all axes; things of the same name stand in it once."""
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        drawn, names = list(handles.values()), list(handles)
        figure.legend(drawn, names, loc="outside upper left", ncols=columns)


# --- files ----------------------------------------------------------------------------------------


def to_svg(figure: Figure, salt: str) -> str:
    """Return a figure as an SVG element; the same figure gives the same text.

    ``salt`` tells the ids in it from those of other figures on a page.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", dpi=_DPI, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Names of groups, which other figures of a page have too; nothing refers to them.
    text = re.sub(r'<g id="[a-z0-9_.]+">', "<g>", text)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def on_white(svg: str) -> str:
    """Return an SVG for a file of its own, which may be shown on any page."""
    return re.sub(
        r"(<svg[^>]*>)", r'\1\n<rect width="100%" height="100%" fill="#ffffff"/>', svg, count=1
    )


def for_page(svg: str, label: str) -> str:
    """Return an SVG for the inside of an HTML page, in the page's fonts and colours.

    ``label`` is the escaped text for those who do not see it.
    """
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    opening = f'<svg viewBox="{box[1]}" role="img" aria-label="{label}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)
    # Its style would be that of the whole page; page.css has the same for figures.
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in ((TEXT, "text"), (LINE, "plot-line"), (GRID, "plot-grid")):
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file of twice its CSS pixels, on white."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=2 * _DPI, facecolor="white", metadata={"Software": None}
    )
    return buffer.getvalue()


def digest_comment(figure: Figure) -> str:
    """Return a comment with the SHA-256 of what a figure shows: its words, numbers to six digits.

    It is a part of every SVG file, so that one can be told from a figure of other data, also where
    another version of matplotlib has drawn it.
    """
    shown = [line for axes in figure.axes for line in _list_shown(axes)]
    digest = hashlib.sha256("\n".join(shown).encode()).hexdigest()
    return f"<!-- data sha256:{digest} -->"


def _list_shown(axes: Axes) -> Iterator[str]:
    yield f"{axes.get_title(loc='left')} {axes.get_xlabel()} {axes.get_ylabel()}"
    for artist in axes.get_children():
        if isinstance(artist, Line2D):
            yield _write_numbers(artist.get_xydata())
        elif isinstance(artist, PathCollection):
            yield _write_numbers(artist.get_offsets())
        elif isinstance(artist, LineCollection):
            yield from map(_write_numbers, artist.get_segments())
        elif isinstance(artist, Rectangle) and artist is not axes.patch:
            yield _write_numbers([artist.get_bbox().extents])
        elif isinstance(artist, Text):
            yield artist.get_text()


def _write_numbers(points: Any) -> str:
    numbers: Sequence[Sequence[float]] = np.asarray(points, dtype=float).tolist()
    return " ".join(f"{value:.6g}" for point in numbers for value in point)
