"""The figures of a study as optuna-dashboard draws them: each alone in a box, without a caption."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import plotly.graph_objects as go

from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_key
from cifar_tune.reports.sections.curves import curves_of, plot_comparison
from cifar_tune.reports.sections.results import plot_accuracies, plot_pareto
from cifar_tune.reports.sections.sweep import plot_sweep

MAX_CHARACTERS = 100_000
"""Characters of a figure; it is sent anew with every look at the study."""


def study_figures(record: ReportRecord) -> dict[str, str]:
    """Return Plotly's JSON by the id that a figure has in the page."""
    texts = {name: _finish(figure, title).to_json() for name, title, figure in _draw(record)}
    return {name: text for name, text in texts.items() if len(text) <= MAX_CHARACTERS}


def _draw(record: ReportRecord) -> Iterator[tuple[str, str, go.Figure]]:
    """Yield id, title and figure."""
    sweep = record.sweep
    if sweep is not None and (record.trained or sweep.others):
        name = f"accuracy-by-{sweep.parameter.replace('_', '-')}"
        title = f"Accuracy against {format_key(sweep.parameter)}"
        figure = plot_sweep(record, sweep)
        if len(figure.to_json()) > MAX_CHARACTERS:
            figure = plot_sweep(record, dataclasses.replace(sweep, others=()))
        yield name, f"{title}, with 95 % intervals", figure
    elif record.trained:
        title = "Accuracy of each named trial, with 95 % intervals"
        yield "accuracy-by-named-trial", title, plot_accuracies(record)
    if len(record.trained) > 1 and record.pareto:
        yield "accuracy-against-time", "Accuracy against training time", plot_pareto(record)
    if record.trained:
        title = "Learning curves of the named trials, means over seeds"
        yield "learning-curves-of-named-trials", title, plot_comparison(curves_of(record))


def _finish(figure: go.Figure, title: str) -> go.Figure:
    """Give a figure what the page of a report has around it: a title and a background."""
    return figure.update_layout(
        title={"text": title, "x": 0, "xref": "paper", "y": 0.98, "yanchor": "top"},
        legend={"y": 0.9},
        margin={"t": 80},
        paper_bgcolor="#ffffff",
    )
