"""Draws the confusion matrix and the accuracy of each class."""

from __future__ import annotations

import plotly.graph_objects as go

from cifar_tune.evaluation.records import ConfusionRecord
from cifar_tune.reports.figures.named_trials import error_bars
from cifar_tune.reports.theme import COLOURS, SEQUENTIAL, TEXT, make_figure


def draw_confusion(confusion: ConfusionRecord) -> go.Figure:
    """Of each class, the share that was said to be each class."""
    shares = [[count / max(sum(row), 1) for count in row] for row in confusion.counts]
    figure = make_figure("said", "is", legend=False)
    figure.add_heatmap(
        z=shares,
        x=list(confusion.classes),
        y=list(confusion.classes),
        text=[[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares],
        texttemplate="%{text}",
        colorscale=[list(step) for step in SEQUENTIAL],
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        showscale=False,
        hovertemplate="%{y} said to be %{x}: %{z:.1%}<extra></extra>",
    )
    figure.update_layout(
        xaxis={"showgrid": False, "showline": False, "tickangle": -45},
        yaxis={"showgrid": False, "showline": False, "autorange": "reversed"},
    )
    return figure


def draw_classes(confusion: ConfusionRecord) -> go.Figure:
    """Accuracy by class with intervals, the best first."""
    found = [
        (name, one)
        for name, one in zip(confusion.classes, confusion.per_class, strict=True)
        if one is not None
    ]
    found.sort(key=lambda one: -one[1].mean)
    figure = make_figure("", "accuracy (%)", y_is_percent=True, legend=False)
    figure.add_bar(
        x=[name for name, _ in found],
        y=[one.mean for _, one in found],
        error_y={**error_bars([one for _, one in found]), "color": TEXT},
        marker={"color": COLOURS[0]},
        hovertemplate="%{x}: %{y:.1%}<extra></extra>",
    )
    figure.update_layout(yaxis={"range": [0, 1]}, bargap=0.35)
    return figure
