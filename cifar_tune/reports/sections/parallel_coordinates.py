"""Plots each trial of a search as a line through its hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.search_summary import SearchRecord
from cifar_tune.evaluation.wording import format_key
from cifar_tune.reports.theme import add_lines, make_figure, translucent
from cifar_tune.training.pictures.palette import COLOURS, LINE
from cifar_tune.wording import format_percent

_TICKS = 5


def plot_parallel(search: SearchRecord, trials: Sequence[TrialRecord]) -> go.Figure:
    """Plot each complete trial as a line through its values, the better half of them in colour.

    Plotly's own kind of parallel coordinates needs WebGL, which compiles code at run time, and a
    page that may run nothing but its own scripts forbids that. So these are plain lines.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.params]
    complete.sort(key=lambda trial: trial.values["val_accuracy"])
    ranges = {
        key: values
        for key, values in search.ranges.items()
        if all(key in trial.params for trial in complete)
    }
    accuracies = [trial.values["val_accuracy"] for trial in complete]
    low, high = min(accuracies, default=0.0), max(accuracies, default=1.0)
    middle = accuracies[len(accuracies) // 2] if accuracies else 0.0
    figure = make_figure("", "", legend=True)

    def make_line(trial: TrialRecord) -> tuple[Sequence[float], Sequence[float], str]:
        accuracy = trial.values["val_accuracy"]
        shares = [_share(values, trial.params[key]) for key, values in ranges.items()]
        shares.append((accuracy - low) / (high - low) if high > low else 0.5)
        return range(len(shares)), shares, f"{trial.label}: {format_percent(accuracy)}"

    for is_better, name, colour in (
        (False, "other half", translucent(COLOURS[4], 0.55)),
        (True, "better half", COLOURS[0]),
    ):
        half = [
            trial for trial in complete if (trial.values["val_accuracy"] >= middle) == is_better
        ]
        add_lines(
            figure,
            map(make_line, half),
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"size": 5},
            hovertemplate="%{text}<extra></extra>",
            name=name,
        )
    _label_axes(figure, ranges, low, high)
    return figure


def _share(values: Mapping[str, Any], value: float) -> float:
    """Return where a value lies in its range, from 0 to 1."""
    low, high = values["low"], values["high"]
    if values["log"]:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _label_axes(
    figure: go.Figure, ranges: Mapping[str, Mapping[str, Any]], low: float, high: float
) -> None:
    labels = [[f"{value:.2g}" for value in _tick_values(values)] for values in ranges.values()]
    of_accuracy = _tick_values({"low": low, "high": high, "log": False})
    labels.append([f"{100 * value:.1f} %" for value in of_accuracy])
    for place, texts in enumerate(labels):
        is_last = place == len(ranges)
        figure.add_vline(x=place, line={"color": LINE, "width": 1})
        for tick, text in enumerate(texts):
            figure.add_annotation(
                x=place,
                y=tick / (_TICKS - 1),
                text=text,
                showarrow=False,
                xanchor="right" if is_last else "left",
                xshift=-5 if is_last else 5,
                font={"size": 11},
            )
    names = [format_key(key).replace(" ", "<br>") for key in ranges]
    figure.update_layout(
        xaxis={
            "tickvals": list(range(len(labels))),
            "ticktext": [*names, "validation<br>accuracy"],
            "range": [-0.15, len(ranges) + 0.15],
            "showline": False,
            "showgrid": False,
        },
        yaxis={"visible": False, "range": [-0.04, 1.04]},
    )


def _tick_values(values: Mapping[str, Any]) -> Iterator[float]:
    low, high = values["low"], values["high"]
    for tick in range(_TICKS):
        share = tick / (_TICKS - 1)
        yield float(low * (high / low) ** share) if values["log"] else low + share * (high - low)
