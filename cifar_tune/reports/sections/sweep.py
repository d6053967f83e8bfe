"""The section with accuracies against the one hyperparameter that named trials differ in."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go

from cifar_tune.evaluation.named_trials import SweepRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_key
from cifar_tune.reports.blocks import Block
from cifar_tune.reports.study_blocks import make_chart
from cifar_tune.reports.theme import (
    DASHES,
    QUANTITY_COLOURS,
    SYMBOLS,
    add_markers,
    error_bars,
    make_figure,
)
from cifar_tune.training.pictures.palette import COLOURS


def draw_sweep(record: ReportRecord) -> Iterator[Block]:
    """Draw the accuracies against the hyperparameter."""
    sweep = record.sweep
    if sweep is None:
        return
    numbers = [number for model in record.trained for number in model.trials]
    others = [number for _, _, number, _ in sweep.others]
    also = (
        " Sampled trials differ in everything that is searched, so they show where the search "
        "looked rather than the effect of one value."
        if others
        else ""
    )
    if numbers or others:
        yield make_chart(
            record,
            "sweep-chart",
            f"Accuracy against {format_key(sweep.parameter)}",
            "Named trials, equal but for this value: mean over seeds with 95 % interval." + also,
            plot_sweep(record, sweep),
            [*numbers, *others],
        )


def plot_sweep(record: ReportRecord, sweep: SweepRecord) -> go.Figure:
    """Plot the accuracies of named trials, and sampled trials, against the hyperparameter."""
    figure = make_figure(
        format_key(sweep.parameter), "accuracy (%)", y_is_percent=True, x_is_log=sweep.is_log
    )
    models = {model.name: model for model in record.models}
    for place, (quantity, colour) in enumerate(QUANTITY_COLOURS.items()):
        points = [
            (value, models[name].measured[quantity])
            for value, name in sweep.points
            if quantity in models[name].measured
        ]
        if points:
            figure.add_scatter(
                x=[value for value, _ in points],
                y=[measured.mean for _, measured in points],
                error_y=error_bars([measured for _, measured in points]),
                mode="lines+markers",
                line={"color": colour, "dash": DASHES[place]},
                marker={"size": 8, "symbol": SYMBOLS[place]},
                name=format_key(quantity),
            )
    for wanted, symbol, name in (
        ("complete", "circle-open", "sampled, validation"),
        ("pruned", "x-thin", "sampled and pruned, validation"),
    ):
        sampled = [
            (value, accuracy, f"trial {number}")
            for value, accuracy, number, state in sweep.others
            if state == wanted
        ]
        if sampled:
            add_markers(figure, sampled, COLOURS[4], symbol, name)
    return figure
