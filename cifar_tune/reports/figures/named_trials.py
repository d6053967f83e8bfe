"""Draws the figures of named trials: curves, accuracies, time, the sweep of a hyperparameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from cifar_tune.evaluation.records import Measured, ModelRecord, SweepRecord, TrialRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.words import say, short
from cifar_tune.reports.theme import (
    COLOURS,
    DASHES,
    LINE,
    make_figure,
    translucent,
)
from cifar_tune.training.records import EpochMetrics

BAND = 0.16
"""Opacity of the band between the lowest and the highest seed."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
QUANTITY_COLOURS = {
    "train_accuracy": COLOURS[1],
    "val_accuracy": COLOURS[0],
    "test_accuracy": COLOURS[2],
}


def draw_curves(trials: Sequence[TrialRecord]) -> go.Figure:
    """Accuracy above loss, training and validation, by epoch: the mean over seeds in a band."""
    figure = make_figure("epoch", "accuracy (%)", y_is_percent=True)
    lower = figure.layout.yaxis.to_plotly_json()
    lower |= {
        "title": {"text": "loss (nats)", "standoff": 8},
        "tickformat": "",
        "hoverformat": ".3f",
    }
    figure.update_layout(
        xaxis={"anchor": "y2", "dtick": _epoch_tick(trials)},
        yaxis={"domain": [0.54, 1.0]},
        yaxis2={**lower, "domain": [0.0, 0.46], "anchor": "x"},
    )
    for colour, part, accuracy, loss in (
        (QUANTITY_COLOURS["train_accuracy"], "training", "train_accuracy", "train_loss"),
        (QUANTITY_COLOURS["val_accuracy"], "validation", "val_accuracy", "val_loss"),
    ):
        histories = [trial.history for trial in trials]
        for key, axis in ((accuracy, "y"), (loss, "y2")):
            _add_curve(figure, histories, key, colour, part, yaxis=axis, is_named=axis == "y")
    return figure


def draw_comparison(models: Sequence[tuple[str, Sequence[TrialRecord]]]) -> go.Figure:
    """Validation accuracy by epoch of each model."""
    figure = make_figure("epoch", "validation accuracy (%)", y_is_percent=True)
    figure.update_layout(
        xaxis={"dtick": _epoch_tick([one for _, found in models for one in found])}
    )
    for place, (name, trials) in enumerate(models):
        histories = [trial.history for trial in trials]
        colour, dash = _style(place)
        _add_curve(figure, histories, "val_accuracy", colour, short(name), dash=dash)
    return figure


def _style(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def _epoch_tick(trials: Iterable[TrialRecord]) -> int:
    longest = max((len(trial.history) for trial in trials), default=1)
    return max(1, round(longest / 10))


def _add_curve(
    figure: go.Figure,
    histories: Sequence[Sequence[EpochMetrics]],
    key: str,
    colour: str,
    name: str,
    *,
    yaxis: str = "y",
    dash: str = "solid",
    is_named: bool = True,
) -> None:
    epochs = range(1, max(map(len, histories), default=0) + 1)
    values = [
        [getattr(history[epoch - 1], key) for history in histories if len(history) >= epoch]
        for epoch in epochs
    ]
    x = list(epochs)
    if len(histories) > 1:
        edge = [max(one) for one in values] + [min(one) for one in values][::-1]
        figure.add_scatter(
            x=x + x[::-1],
            y=edge,
            mode="lines",
            fill="toself",
            fillcolor=translucent(colour, BAND),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            yaxis=yaxis,
        )
    figure.add_scatter(
        x=x,
        y=[sum(one) / len(one) for one in values],
        mode="lines+markers",
        marker={"size": 5},
        line={"color": colour, "dash": dash, "width": 2},
        name=name,
        legendgroup=name,
        showlegend=is_named,
        yaxis=yaxis,
    )


def error_bars(measured: Sequence[Measured], scale: float = 1.0) -> dict[str, object]:
    """Error bars from intervals; none for one seed."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if one.high is None else scale * (one.high - one.mean) for one in measured],
        "arrayminus": [0 if one.low is None else scale * (one.mean - one.low) for one in measured],
        "thickness": 1.5,
        "width": 5,
    }


def draw_accuracies(record: ReportRecord) -> go.Figure:
    """The accuracies of each model side by side, with intervals, and what was published."""
    figure = make_figure("", "accuracy (%)", y_is_percent=True)
    figure.update_layout(yaxis={"range": [0, 1]})
    for place, quantity in enumerate(QUANTITY_COLOURS):
        models = [model for model in record.models if quantity in model.measured]
        if not models:
            continue
        measured = [model.measured[quantity] for model in models]
        figure.add_scatter(
            x=[_position(record.models, model) + 0.2 * (place - 1) for model in models],
            y=[one.mean for one in measured],
            error_y=error_bars(measured),
            mode="markers",
            marker={"color": QUANTITY_COLOURS[quantity], "size": 9, "symbol": SYMBOLS[place]},
            name=say(quantity),
            text=[short(model.name) for model in models],
            hovertemplate="%{text}: %{y:.1%}<extra>%{fullData.name}</extra>",
        )
        stated = [
            model for model in record.models if model.is_comparable and quantity in model.published
        ]
        if stated:
            figure.add_scatter(
                x=[_position(record.models, model) + 0.2 * (place - 1) for model in stated],
                y=[model.published[quantity] for model in stated],
                mode="markers",
                marker={
                    "color": QUANTITY_COLOURS[quantity],
                    "size": 12,
                    "symbol": f"{SYMBOLS[place]}-open",
                    "line": {"width": 2},
                },
                name=f"{say(quantity)}, as published",
            )
    names = [short(model.name) for model in record.models]
    figure.update_layout(
        xaxis={
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "range": [-0.5, len(names) - 0.5],
        }
    )
    return figure


def _position(models: Sequence[ModelRecord], model: ModelRecord) -> int:
    return [one.name for one in models].index(model.name)


def draw_pareto(record: ReportRecord) -> go.Figure:
    """Accuracy against training time, with the front of models that none beats in both."""
    quantity = record.pareto_quantity
    models = [one for one in record.models if {quantity, "seconds"} <= one.measured.keys()]
    longest = max((one.measured["seconds"].mean for one in models), default=0.0)
    unit, size = ("minutes", 60.0) if longest >= 180 else ("seconds", 1.0)
    title = f"training time ({unit})"
    figure = make_figure(title, f"{say(quantity)} (%)", y_is_percent=True)
    figure.update_layout(xaxis={"rangemode": "tozero"})
    front = [one for name in record.pareto for one in models if one.name == name]
    figure.add_scatter(
        x=[one.measured["seconds"].mean / size for one in front],
        y=[one.measured[quantity].mean for one in front],
        mode="lines",
        line={"color": LINE, "dash": "dot", "shape": "hv"},
        name="Pareto front",
        hoverinfo="skip",
    )
    for place, model in enumerate(models):
        time, accuracy = model.measured["seconds"], model.measured[quantity]
        colour, _ = _style(place)
        on_front = model.name in record.pareto
        figure.add_scatter(
            x=[time.mean / size],
            y=[accuracy.mean],
            error_x={**error_bars([time], 1 / size), "color": colour},
            error_y={**error_bars([accuracy]), "color": colour},
            mode="markers",
            marker={
                "color": colour,
                "size": 11,
                "symbol": SYMBOLS[place % len(SYMBOLS)] + ("" if on_front else "-open"),
            },
            name=short(model.name),
            hovertemplate=f"%{{y:.1%}} after %{{x:.1f}} {unit}<extra>%{{fullData.name}}</extra>",
        )
    return figure


def draw_sweep(record: ReportRecord, sweep: SweepRecord) -> go.Figure:
    """Accuracies against the one hyperparameter that named trials differ in, and sampled trials."""
    figure = make_figure(
        say(sweep.parameter), "accuracy (%)", y_is_percent=True, x_is_log=sweep.is_log
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
                y=[one.mean for _, one in points],
                error_y=error_bars([one for _, one in points]),
                mode="lines+markers",
                line={"color": colour, "dash": DASHES[place]},
                marker={"size": 8, "symbol": SYMBOLS[place]},
                name=say(quantity),
            )
    for state, symbol, text in (
        ("complete", "circle-open", "sampled, validation"),
        ("pruned", "x-thin", "sampled and pruned, validation"),
    ):
        others = [one for one in sweep.others if one[3] == state]
        if others:
            figure.add_scatter(
                x=[one[0] for one in others],
                y=[one[1] for one in others],
                mode="markers",
                marker={
                    "color": COLOURS[4],
                    "size": 8,
                    "symbol": symbol,
                    "line": {"color": COLOURS[4], "width": 1.5},
                },
                text=[f"trial {one[2]}" for one in others],
                hovertemplate="%{text}: %{y:.1%} at %{x:.3g}<extra></extra>",
                name=text,
            )
    return figure
