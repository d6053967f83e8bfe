"""Colours and the base layout of every figure; ``templates/page.css`` turns them for a dark page.

A figure is drawn once, for a light page. What is drawn in ``TEXT``, ``LINE`` or ``GRID`` takes the
page's own colour by a CSS rule, on a dark page too; every other colour must stand on both.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

TEXT = "#1c2024"
"""Of axis titles, ticks, legends and annotations; on a dark page they are light."""
LINE = "#8a929c"
"""Of axes and reference lines."""
GRID = "#e1e5ea"
"""Of grid lines, hardly seen on purpose."""

COLOURS: tuple[str, ...] = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # bluish green
    "#8350E8",  # violet
    "#7A8CA0",  # slate
    "#B8304A",  # crimson
    "#9A7B00",  # olive
    "#D070A8",  # pink
)
"""One for each thing compared, in this order; each has a contrast of 3:1 or more to white and to
#14161a, as WCAG 2.2 asks of graphics (1.4.11).

The first three are of Okabe and Ito, "Color Universal Design" (https://jfly.uni-koeln.de/color/,
2008). Their orange, sky blue and yellow are too light for a white page, so the others were chosen
to be as far as possible from these, also as red-green blind readers see them (simulated after
Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009). The first six stay apart; further ones, or
more than one use of a colour, need ``DASHES`` or marker symbols beside them.
"""

DASHES: tuple[str, ...] = ("solid", "dash", "dot", "dashdot", "12px,3px", "8px,3px,2px,3px,2px,3px")
"""Of lines, where colour alone does not tell them apart; each shows in the width of a legend."""

SEQUENTIAL: tuple[tuple[float, str], ...] = (
    (0.0, "#f6f9fc"),
    (0.15, "#d3e3f1"),
    (0.4, "#a6c9e4"),
    (0.55, "#3579b1"),
    (0.8, "#17609c"),
    (1.0, "#0a3763"),
)
"""Colour scale of a heatmap, few to many, steep in the middle, where neither black nor white texts
are read well. Leave the colour of texts in cells to plotly, which picks one that stands out from
each; a dark page inverts cells and their texts together."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
"""The page's own; nothing is fetched."""


def translucent(colour: str, alpha: float) -> str:
    """A colour of ``COLOURS`` that lets ``1 - alpha`` through, for bands around lines."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha:g})"


def make_figure(
    x_title: str,
    y_title: str,
    *,
    y_is_percent: bool = False,
    x_is_log: bool = False,
    legend: bool = True,
    **layout: Any,
) -> go.Figure:
    """An empty figure with the layout that all figures share.

    Args:
        x_title: with the unit.
        y_title: with the unit, which is ``%`` where ``y_is_percent``.
        y_is_percent: y values are fractions, shown as percentages.
        legend: shown above the plot, in as many rows as it needs.
        **layout: anything else for ``Figure.update_layout``, over what is set here.
    """
    figure = go.Figure()
    # The template that plotly takes by default is 6 KB in each figure and overrides our colours.
    figure.layout.template = None
    axis = {
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
    figure.update_layout(
        autosize=True,
        colorway=list(COLOURS),
        font={"family": FONT, "size": 13, "color": TEXT},
        hovermode="closest",
        # Hover boxes are light on both pages; their own dark is not TEXT, which would be turned.
        hoverlabel={
            "align": "left",
            "bgcolor": "#ffffff",
            "font": {"color": "#101418", "size": 12},
            "namelength": -1,
        },
        # Held at the top of the figure: one that is held by the plot is not moved by plotly.js when
        # a window grows and the plot's margin with it.
        legend={
            "bgcolor": "rgba(0, 0, 0, 0)",
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
        },
        margin={"l": 56, "r": 16, "t": 16, "b": 48},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        showlegend=legend,
        xaxis={**axis, "title": {"text": x_title, "standoff": 8}},
        yaxis={**axis, "title": {"text": y_title, "standoff": 8}},
    )
    if y_is_percent:
        # Two decimals at most: ticks half a percent apart would else be named alike.
        figure.update_layout(yaxis={"tickformat": ".2~%", "hoverformat": ".1%"})
    if x_is_log:
        # "D2" names 1, 2 and 5 of each decade: a range of less than one has names, too.
        figure.update_layout(xaxis={"type": "log", "dtick": "D2", "tickformat": ".2~g"})
    figure.update_layout(**layout)
    return figure
