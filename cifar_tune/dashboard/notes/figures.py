"""The figures of a study in optuna-dashboard's page, which draws them with Plotly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from cifar_tune.dashboard.notes.plotly_layout import (
    DASHES,
    QUANTITY_COLOURS,
    SYMBOLS,
    add_markers,
    error_bars,
    make_figure,
    translucent,
)
from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.named_trials import SweepRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_key, short_name
from cifar_tune.reports.sections.curves import Curves, mean_curve
from cifar_tune.training.pictures.palette import COLOURS, LINE, STOPPED, VALIDATION

BAND = 0.16
"""Opacity of the band between the lowest and the highest seed."""


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
    for wanted, symbol, colour, name in (
        ("complete", "circle-open", VALIDATION, "sampled, validation"),
        ("pruned", "x-thin", STOPPED, "stopped early, validation"),
    ):
        sampled = [
            (value, accuracy, f"trial {number}")
            for value, accuracy, number, state in sweep.others
            if state == wanted
        ]
        if sampled:
            add_markers(figure, sampled, colour, symbol, name)
    return figure


def plot_accuracies(record: ReportRecord) -> go.Figure:
    """Plot the accuracies of each model side by side, with intervals, and what was published."""
    names = [short_name(model.name) for model in record.models]
    places = {"tickvals": list(range(len(names))), "ticktext": names}
    figure = make_figure(
        "",
        "accuracy (%)",
        y_is_percent=True,
        xaxis={**places, "range": [-0.5, len(names) - 0.5]},
    )
    for place, quantity in enumerate(QUANTITY_COLOURS):
        _add_accuracy(figure, record, quantity, place)
    return figure


def _add_accuracy(figure: go.Figure, record: ReportRecord, quantity: str, place: int) -> None:
    # Each model has a whole number on the axis, its three accuracies beside one another.
    models = [
        (number + 0.2 * (place - 1), model)
        for number, model in enumerate(record.models)
        if quantity in model.measured
    ]
    if not models:
        return
    figure.add_scatter(
        x=[x for x, _ in models],
        y=[model.measured[quantity].mean for _, model in models],
        error_y=error_bars([model.measured[quantity] for _, model in models]),
        mode="markers",
        marker={"color": QUANTITY_COLOURS[quantity], "size": 9, "symbol": SYMBOLS[place]},
        name=format_key(quantity),
        text=[short_name(model.name) for _, model in models],
        hovertemplate="%{text}: %{y:.1%}<extra>%{fullData.name}</extra>",
    )
    stated = [
        (number + 0.2 * (place - 1), model.published[quantity])
        for number, model in enumerate(record.models)
        if model.is_comparable and quantity in model.published
    ]
    if stated:
        figure.add_scatter(
            x=[x for x, _ in stated],
            y=[accuracy for _, accuracy in stated],
            mode="markers",
            marker={
                "color": QUANTITY_COLOURS[quantity],
                "size": 12,
                "symbol": f"{SYMBOLS[place]}-open",
                "line": {"width": 2},
            },
            name=f"{format_key(quantity)}, as published",
        )


def plot_pareto(record: ReportRecord) -> go.Figure:
    """Plot accuracy against training time, with the front of models that none beats in both."""
    quantity = record.pareto_quantity
    models = [model for model in record.models if {quantity, "seconds"} <= model.measured.keys()]
    longest = max((model.measured["seconds"].mean for model in models), default=0.0)
    unit, size = ("minutes", 60.0) if longest >= 180 else ("seconds", 1.0)
    figure = make_figure(
        f"training time ({unit})",
        f"{format_key(quantity)} (%)",
        y_is_percent=True,
        xaxis={"rangemode": "tozero"},
    )
    front = [model for name in record.pareto for model in models if model.name == name]
    figure.add_scatter(
        x=[model.measured["seconds"].mean / size for model in front],
        y=[model.measured[quantity].mean for model in front],
        mode="lines",
        line={"color": LINE, "dash": "dot", "shape": "hv"},
        name="Pareto front",
        hoverinfo="skip",
    )
    for place, model in enumerate(models):
        time, accuracy = model.measured["seconds"], model.measured[quantity]
        colour = COLOURS[place % len(COLOURS)]
        is_open = "" if model.name in record.pareto else "-open"
        symbol = SYMBOLS[place % len(SYMBOLS)] + is_open
        figure.add_scatter(
            x=[time.mean / size],
            y=[accuracy.mean],
            error_x=error_bars([time], 1 / size, color=colour),
            error_y=error_bars([accuracy], color=colour),
            mode="markers",
            marker={"color": colour, "size": 11, "symbol": symbol},
            name=short_name(model.name),
            hovertemplate=f"%{{y:.1%}} after %{{x:.1f}} {unit}<extra>%{{fullData.name}}</extra>",
        )
    return figure


def plot_comparison(curves: Curves) -> go.Figure:
    """Plot the validation accuracy of each model by epoch."""
    tick = _epoch_tick(trial for _, trials in curves for trial in trials)
    figure = make_figure(
        "epoch", "validation accuracy (%)", y_is_percent=True, xaxis={"dtick": tick}
    )
    for place, (name, trials) in enumerate(curves):
        line = {
            "color": COLOURS[place % len(COLOURS)],
            "dash": DASHES[place // len(COLOURS) % len(DASHES)],
        }
        _add_curve(figure, trials, short_name(name), line)
    return figure


def _epoch_tick(trials: Iterable[TrialRecord]) -> int:
    """Return the distance of ticks on an axis of epochs."""
    longest = max((len(trial.history) for trial in trials), default=1)
    return max(1, round(longest / 10))


def _add_curve(
    figure: go.Figure, trials: Sequence[TrialRecord], name: str, line: dict[str, str]
) -> None:
    """Add the mean validation accuracy by epoch, in the band of the seeds."""
    epochs, means, lows, highs = mean_curve(trials, "val_accuracy")
    if len(trials) > 1:
        figure.add_scatter(
            x=epochs + epochs[::-1],
            y=highs + lows[::-1],
            mode="lines",
            fill="toself",
            fillcolor=translucent(line["color"], BAND),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
    figure.add_scatter(
        x=epochs,
        y=means,
        mode="lines+markers",
        marker={"size": 5},
        line={**line, "width": 2},
        name=name,
    )
