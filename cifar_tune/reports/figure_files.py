"""Writes the figures of a page as files of their own, for documents that cannot hold a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cifar_tune.errors import InputError
from cifar_tune.files import replacing
from cifar_tune.reports.blocks import Chart, Page, Pictures
from cifar_tune.reports.html import check_ids
from cifar_tune.reports.theme import (
    HALF,
    WIDE,
    digest_comment,
    on_white,
    report_style,
    to_png,
    to_svg,
)

Kind = Literal["svg", "png"]


def write_figures(page: Page, folder: Path, kind: Kind = "svg") -> list[Path]:
    """Write every figure as ``<id>.<kind>`` and every small picture as ``<id>-<number>.png``.

    Returns:
        The files: those of figures, then those of pictures.

    Raises:
        InputError: The folder cannot be written to.
        ValueError: An id of the page cannot name a file or is used twice.
    """
    check_ids(page)
    charts = {block.id: block for block in page.blocks if isinstance(block, Chart)}
    pictures = [block for block in page.blocks if isinstance(block, Pictures)]
    return write_charts(charts, folder, kind) + [
        _write(folder / f"{block.id}-{number}.png", tile.png)
        for block in pictures
        for number, tile in enumerate(block.tiles, start=1)
    ]


def write_charts(charts: Mapping[str, Chart], folder: Path, kind: Kind = "svg") -> list[Path]:
    """Write figures as ``<name>.<kind>``, as on a light page, on white.

    Nothing is written unless all of them can be drawn.

    Raises:
        InputError: The folder cannot be written to.
    """
    contents = [_draw(chart, kind) for chart in charts.values()]
    return [
        _write(folder / f"{name}.{kind}", content)
        for name, content in zip(charts, contents, strict=True)
    ]


def digest_chart(chart: Chart) -> str:
    """Return the comment that says what data a figure shows."""
    with report_style():
        return digest_comment(chart.draw(WIDE))


def _draw(chart: Chart, kind: Kind) -> bytes:
    with report_style():
        figure = chart.draw(HALF if chart.is_half else WIDE)
        if kind == "png":
            return to_png(figure)
        return f"{on_white(to_svg(figure, chart.id))}\n{digest_chart(chart)}\n".encode()


def _write(path: Path, content: bytes) -> Path:
    with replacing(path, len(content), InputError) as temporary:
        temporary.write_bytes(content)
    return path
