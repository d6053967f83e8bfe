"""Writes the figures of a page as files of their own, for documents that cannot hold a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from cifar_tune.config.trial import digest_of
from cifar_tune.errors import InputError, WorkError
from cifar_tune.files import replacing
from cifar_tune.reports.blocks import Chart, Page, Pictures
from cifar_tune.reports.html import check_ids
from cifar_tune.training.pictures.palette import TEXT

Kind = Literal["svg", "png"]
_WIDTH = 900
"""The width of a figure in CSS pixels; PNG files have twice as many."""
_SECONDS = 60.0
"""The time that drawing one figure may take."""


def write_figures(page: Page, folder: Path, kind: Kind = "svg") -> list[Path]:
    """Write every figure as ``<id>.<kind>`` and every small picture as ``<id>-<number>.png``.

    Returns:
        The files: those of figures, then those of pictures.

    Raises:
        InputError, WorkError: As ``write_charts`` does.
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
        InputError: Kaleido or a browser is missing, or the folder cannot be written to.
        WorkError: The browser failed.
    """
    contents = _draw(list(charts.values()), kind)
    return [
        _write(folder / f"{name}.{kind}", content)
        for name, content in zip(charts, contents, strict=True)
    ]


def digest_comment(figure: go.Figure) -> str:
    """Return a comment with the SHA-256 of what a figure shows: its words, numbers to six digits.

    It is a part of every SVG file, so that one can be told from a figure of other data, also where
    another version of Plotly or of the browser has drawn it.
    """
    digest = digest_of([_shown(trace) for trace in figure.to_plotly_json()["data"]])
    return f"<!-- data sha256:{digest} -->"


_SHOWN = ("x", "y", "z", "text", "name", "error_x", "error_y", "array", "arrayminus", "values")


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shown(part) for key, part in value.items() if key in _SHOWN}
    if isinstance(value, list | tuple | np.ndarray):
        return [_shown(part) for part in value]
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return int(value) if isinstance(value, np.integer) else value


def _write(path: Path, content: bytes) -> Path:
    with replacing(path, len(content), InputError) as temporary:
        temporary.write_bytes(content)
    return path


def _draw(charts: Sequence[Chart], kind: Kind) -> list[bytes]:
    """Return the content of each chart's file; one start of the browser draws all of them."""
    if not charts:
        return []
    options = {"format": kind, "width": _WIDTH, "scale": 2 if kind == "png" else 1}
    with TemporaryDirectory() as name:
        paths = [Path(name) / f"{index}.{kind}" for index in range(len(charts))]
        _run_browser(
            [
                {"fig": _on_white(chart), "path": path, "opts": {**options, "height": chart.height}}
                for chart, path in zip(charts, paths, strict=True)
            ]
        )
        contents = [path.read_bytes() for path in paths]
    if kind == "png":
        return contents
    return [_signed(svg, chart) for svg, chart in zip(contents, charts, strict=True)]


def _run_browser(figures: list[dict[str, Any]]) -> None:
    try:
        import kaleido
        from kaleido.errors import ChromeNotFoundError
    except ImportError as error:
        raise InputError(
            "figure files are drawn by kaleido, which is missing: pip install 'cifar-tune[figures]'"
        ) from error
    # Without mathjax=False the browser would be sent to another host for it.
    options = {"mathjax": False, "timeout": _SECONDS}
    try:
        kaleido.write_fig_from_object_sync(figures, kopts=options, cancel_on_error=True)
    except ChromeNotFoundError as error:
        raise InputError(
            "figure files are drawn by Chrome or Chromium, and none is found on PATH: install one, "
            "or set BROWSER_PATH to it (pip install 'cifar-tune[figures]' does not bring it)"
        ) from error
    # Whatever else a browser can fail of has types of three packages, and none in common.
    except Exception as error:
        reason = str(next(iter(error.args), "")).partition("\n")[0] or type(error).__name__
        raise WorkError(f"the browser could not draw the figures: {reason}") from error


def _on_white(chart: Chart) -> dict[str, Any]:
    """Return the figure's data and layout for a file of its own."""
    figure: dict[str, Any] = chart.figure.to_plotly_json()
    layout = {**figure["layout"], "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}
    layout["font"] = {"color": TEXT, **layout.get("font", {})}
    # plotly.js gives each trace a random name of its own where it has none.
    traces = [{**trace, "uid": f"t{index}"} for index, trace in enumerate(figure["data"])]
    return {"data": traces, "layout": layout}


def _signed(svg: bytes, chart: Chart) -> bytes:
    """Return the SVG with the digest of what it shows, without random digits of plotly.js."""
    digits = re.search(rb'id="defs-([0-9a-f]{6})"', svg)
    fixed = svg.replace(digits[1], chart.id.encode()) if digits else svg
    return fixed + f"{digest_comment(chart.figure)}\n".encode()
