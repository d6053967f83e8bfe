"""What the figures of optuna-dashboard's pages are made with: Plotly's layout, markers and bars.

Colours mean what they mean in reports: ``training/pictures/palette.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.training.pictures.palette import (
    COLOURS,
    GRID,
    LINE,
    TEST,
    TEXT,
    TRAINING,
    VALIDATION,
)

DASHES: tuple[str, ...] = ("solid", "dash", "dot", "dashdot", "12px,3px", "8px,3px,2px,3px,2px,3px")
"""Of lines, where colour alone does not tell them apart; each shows in the width of a legend."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
QUANTITY_COLOURS = {"train_accuracy": TRAINING, "val_accuracy": VALIDATION, "test_accuracy": TEST}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
"""The page's own; nothing is fetched."""

_AXIS: dict[str, Any] = {
    "automargin": True,
    "color": TEXT,
    "gridcolor": GRID,
    "linecolor": LINE,
    "showline": True,
    "ticks": "outside",
    "tickcolor": LINE,
    "ticklen": 4,
    "zeroline": False,
}
# Not one of plotly's templates: each figure would hold a copy of it, beside its own layout.
_LAYOUT: dict[str, Any] = {
    "autosize": True,
    "colorway": list(COLOURS),
    "font": {"family": FONT, "size": 13, "color": TEXT},
    "hovermode": "closest",
    # Hover boxes are light on both pages; their own dark is not TEXT, which would be turned.
    "hoverlabel": {
        "align": "left",
        "bgcolor": "#ffffff",
        "font": {"color": "#101418", "size": 12},
        "namelength": -1,
    },
    # Held at the top of the figure: one that is held by the plot is not moved by plotly.js when
    # a window grows and the plot's margin with it.
    "legend": {
        "bgcolor": "rgba(0, 0, 0, 0)",
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "top",
        "yref": "container",
    },
    "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
    "paper_bgcolor": "rgba(0, 0, 0, 0)",
    "plot_bgcolor": "rgba(0, 0, 0, 0)",
}
# Two decimals at most: ticks half a percent apart would else be named alike.
_PERCENT_AXIS = {"tickformat": ".2~%", "hoverformat": ".1%"}
# "D2" names 1, 2 and 5 of each decade: a range of less than one has names, too.
_LOG_AXIS = {"type": "log", "dtick": "D2", "tickformat": ".2~g"}


def make_figure(
    x_title: str,
    y_title: str,
    *,
    y_is_percent: bool = False,
    x_is_log: bool = False,
    legend: bool = True,
    **layout: Any,
) -> go.Figure:
    """Return an empty figure with the layout that all figures share.

    Titles have the unit, which is ``%`` for fractions where ``y_is_percent``. The legend stands
    above the plot, in as many rows as it needs. ``layout`` is anything else for
    ``Figure.update_layout``, over what is set here.
    """
    figure = go.Figure()
    # The template that plotly takes by default is 6 KB in each figure and overrides our colours.
    figure.layout.template = None
    figure.update_layout(
        _LAYOUT,
        showlegend=legend,
        xaxis={**_AXIS, "title": {"text": x_title, "standoff": 8}},
        yaxis={**_AXIS, "title": {"text": y_title, "standoff": 8}},
    )
    if y_is_percent:
        figure.update_layout(yaxis=_PERCENT_AXIS)
    if x_is_log:
        figure.update_layout(xaxis=_LOG_AXIS)
    return figure.update_layout(**layout)


def add_markers(
    figure: go.Figure,
    points: Iterable[tuple[float, float, str]],
    colour: str,
    symbol: str,
    name: str,
    hover: str = "%{text}: %{y:.1%} at %{x:.3g}",
) -> None:
    """Add points, each with its text, as one trace."""
    x, y, texts = zip(*points, strict=True)
    line = {"color": colour, "width": 1.5}
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 8, "line": line},
        text=texts,
        hovertemplate=f"{hover}<extra></extra>",
        name=name,
    )


def translucent(colour: str, alpha: float) -> str:
    """Return a colour of ``COLOURS`` that lets ``1 - alpha`` through, for bands around lines."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha:g})"


def error_bars(
    records: Sequence[Measured | ContrastRecord], scale: float = 1.0, **style: object
) -> dict[str, object]:
    """Return error bars of 95 % intervals, without any length for one seed."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [
            0 if record.high is None else scale * (record.high - record.mean) for record in records
        ],
        "arrayminus": [
            0 if record.low is None else scale * (record.mean - record.low) for record in records
        ],
        "thickness": 1.5,
        "width": 5,
        **style,
    }
