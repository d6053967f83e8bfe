"""The section with the learning curves of the named trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import plotly.graph_objects as go

from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import short_name
from cifar_tune.reports.blocks import Block
from cifar_tune.reports.study_blocks import make_chart
from cifar_tune.reports.theme import DASHES, QUANTITY_COLOURS, make_figure, translucent
from cifar_tune.training.pictures.palette import COLOURS

BAND = 0.16
"""Opacity of the band between the lowest and the highest seed."""

Curves = Sequence[tuple[str, Sequence[TrialRecord]]]
"""Named trials with their complete replicates."""


def draw_curves(record: ReportRecord) -> Iterator[Block]:
    """Draw the curves of all models in one figure, then each model's own."""
    curves = curves_of(record)
    if len(curves) > 1:
        yield make_chart(
            record,
            "curves-compared",
            "The models compared",
            "Validation accuracy after each epoch: mean over seeds, the band from the lowest to "
            "the highest seed.",
            plot_comparison(curves),
            [trial.number for _, trials in curves for trial in trials],
        )
    for name, trials in curves:
        is_one = len(trials) == 1
        seeds = "one seed" if is_one else f"mean over {len(trials)} seeds"
        band = "" if is_one else ", the band from the lowest to the highest"
        yield make_chart(
            record,
            f"curves-{short_name(name)}".replace("=", "-").replace(".", "-"),
            short_name(name),
            f"Accuracy and loss by epoch: {seeds}{band}.",
            plot_curves(trials),
            [trial.number for trial in trials],
            height=460,
        )


def curves_of(record: ReportRecord) -> Curves:
    """Return the named trials that were trained, with their complete replicates."""
    by_number = {trial.number: trial for trial in record.trials}
    return [
        (model.name, [by_number[number] for number in model.trials]) for model in record.trained
    ]


def plot_comparison(curves: Curves) -> go.Figure:
    """Plot the validation accuracy of each model by epoch."""
    tick = epoch_tick(trial for _, trials in curves for trial in trials)
    figure = make_figure(
        "epoch", "validation accuracy (%)", y_is_percent=True, xaxis={"dtick": tick}
    )
    for place, (name, trials) in enumerate(curves):
        line = {
            "color": COLOURS[place % len(COLOURS)],
            "dash": DASHES[place // len(COLOURS) % len(DASHES)],
        }
        _add_curve(figure, trials, "val_accuracy", short_name(name), line)
    return figure


def plot_curves(trials: Sequence[TrialRecord]) -> go.Figure:
    """Plot accuracy above loss by epoch, training and validation: the mean over seeds in a band."""
    figure = make_figure("epoch", "accuracy (%)", y_is_percent=True)
    lower = figure.layout.yaxis.to_plotly_json()
    lower |= {
        "title": {"text": "loss (nats)", "standoff": 8},
        "tickformat": "",
        "hoverformat": ".3f",
    }
    figure.update_layout(
        xaxis={"anchor": "y2", "dtick": epoch_tick(trials)},
        yaxis={"domain": [0.54, 1.0]},
        yaxis2={**lower, "domain": [0.0, 0.46], "anchor": "x"},
    )
    for key, name in (("train", "training"), ("val", "validation")):
        line = {"color": QUANTITY_COLOURS[f"{key}_accuracy"], "dash": "solid"}
        _add_curve(figure, trials, f"{key}_accuracy", name, line)
        _add_curve(figure, trials, f"{key}_loss", name, line, yaxis="y2")
    return figure


def epoch_tick(trials: Iterable[TrialRecord]) -> int:
    """Return the distance of ticks on an axis of epochs."""
    longest = max((len(trial.history) for trial in trials), default=1)
    return max(1, round(longest / 10))


def _add_curve(
    figure: go.Figure,
    trials: Sequence[TrialRecord],
    key: str,
    name: str,
    line: dict[str, str],
    *,
    yaxis: str = "y",
) -> None:
    """Add the mean over trials by epoch, in a band; the legend names it on the upper axis only."""
    longest = max((len(trial.history) for trial in trials), default=0)
    epochs = list(range(1, longest + 1))
    values = [
        [getattr(trial.history[epoch - 1], key) for trial in trials if len(trial.history) >= epoch]
        for epoch in epochs
    ]
    if len(trials) > 1:
        figure.add_scatter(
            x=epochs + epochs[::-1],
            y=[max(seeds) for seeds in values] + [min(seeds) for seeds in values][::-1],
            mode="lines",
            fill="toself",
            fillcolor=translucent(line["color"], BAND),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            yaxis=yaxis,
        )
    figure.add_scatter(
        x=epochs,
        y=[sum(seeds) / len(seeds) for seeds in values],
        mode="lines+markers",
        marker={"size": 5},
        line={**line, "width": 2},
        name=name,
        legendgroup=name,
        showlegend=yaxis == "y",
        yaxis=yaxis,
    )
