"""Plots each trial of a search as a line through its hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.search_summary import SearchRecord
from cifar_tune.evaluation.wording import format_key
from cifar_tune.reports.theme import add_lines, make_figure, translucent
from cifar_tune.training.pictures.palette import COLOURS, LINE
from cifar_tune.wording import format_percent

_TICKS = 5
_ACCURACY = "val_accuracy"
"""The last axis; its ends are those of the trials."""
Axes = Mapping[str, Mapping[str, Any]]
"""The ends of each axis, ``low`` and ``high``, and whether it is ``log``."""


def plot_parallel(search: SearchRecord, trials: Sequence[TrialRecord]) -> go.Figure:
    """Plot each complete trial as a line through its values, the better half of them in colour.

    Plotly's own kind of parallel coordinates needs WebGL, which compiles code at run time, and a
    page that may run nothing but its own scripts forbids that. So these are plain lines.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.params]
    complete.sort(key=lambda trial: trial.values[_ACCURACY])
    accuracies = [trial.values[_ACCURACY] for trial in complete]
    low, high = min(accuracies, default=0.0), max(accuracies, default=1.0)
    middle = accuracies[len(accuracies) // 2] if accuracies else 0.0
    axes = {
        key: values
        for key, values in search.ranges.items()
        if all(key in trial.params for trial in complete)
    }
    axes[_ACCURACY] = {"low": low, "high": high, "log": False}
    figure = make_figure("", "")
    for is_better, name, colour in (
        (False, "other half", translucent(COLOURS[4], 0.55)),
        (True, "better half", COLOURS[0]),
    ):
        half = (trial for trial in complete if (trial.values[_ACCURACY] >= middle) == is_better)
        add_lines(
            figure,
            (_line(trial, axes) for trial in half),
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"size": 5},
            hovertemplate="%{text}<extra></extra>",
            name=name,
        )
    _label_axes(figure, axes)
    return figure


def _line(trial: TrialRecord, axes: Axes) -> tuple[Sequence[float], Sequence[float], str]:
    values = {**trial.params, _ACCURACY: trial.values[_ACCURACY]}
    shares = [_share(ends, values[key]) for key, ends in axes.items()]
    return range(len(axes)), shares, f"{trial.label}: {format_percent(values[_ACCURACY])}"


def _share(ends: Mapping[str, Any], value: float) -> float:
    """Return where a value lies on its axis, from 0 to 1."""
    low, high = ends["low"], ends["high"]
    if low == high:
        return 0.5
    if ends["log"]:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _label_axes(figure: go.Figure, axes: Axes) -> None:
    for place, (key, ends) in enumerate(axes.items()):
        is_last = key == _ACCURACY
        figure.add_vline(x=place, line={"color": LINE, "width": 1})
        for tick in range(_TICKS):
            share = tick / (_TICKS - 1)
            value = _value(ends, share)
            figure.add_annotation(
                x=place,
                y=share,
                text=format_percent(value) if is_last else f"{value:.2g}",
                showarrow=False,
                xanchor="right" if is_last else "left",
                xshift=-5 if is_last else 5,
                font={"size": 11},
            )
    figure.update_layout(
        xaxis={
            "tickvals": list(range(len(axes))),
            "ticktext": [format_key(key).replace(" ", "<br>") for key in axes],
            "range": [-0.15, len(axes) - 1 + 0.15],
            "showline": False,
            "showgrid": False,
        },
        yaxis={"visible": False, "range": [-0.04, 1.04]},
    )


def _value(ends: Mapping[str, Any], share: float) -> float:
    """Return the value at a share of an axis."""
    low, high = ends["low"], ends["high"]
    return float(low * (high / low) ** share) if ends["log"] else low + share * (high - low)
