"""Draws the figures of a search: history, importances, slices, parallel coordinates, pruning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from cifar_tune.evaluation.records import SearchRecord, TrialRecord
from cifar_tune.evaluation.words import say
from cifar_tune.reports.theme import COLOURS, LINE, make_figure, translucent

_COMPLETE, _PRUNED, _NAMED = COLOURS[0], COLOURS[5], COLOURS[2]
_TICKS = 5


def draw_history(search: SearchRecord, trials: Sequence[TrialRecord]) -> go.Figure:
    """The value of each trial, and the best so far among the complete ones."""
    figure = make_figure("trial", "validation accuracy (%)", y_is_percent=True)
    _add_points(figure, trials, lambda trial: trial.number, "%{text}: %{y:.1%}")
    figure.add_scatter(
        x=[number for number, _, _ in search.best_so_far],
        y=[best for _, _, best in search.best_so_far],
        mode="lines",
        line={"color": LINE, "shape": "hv"},
        name="best so far",
        hoverinfo="skip",
    )
    return figure


def _kinds(
    trials: Sequence[TrialRecord],
) -> list[tuple[str, str, str, list[TrialRecord]]]:
    """Named, complete and pruned trials that have a value, each with its look; none empty."""
    valued = [trial for trial in trials if trial.history]
    kinds = [
        ("named", _NAMED, "diamond", [one for one in valued if one.name]),
        (
            "sampled, complete",
            _COMPLETE,
            "circle",
            [one for one in valued if not one.name and one.state == "complete"],
        ),
        (
            "sampled, pruned",
            _PRUNED,
            "x-thin-open",
            [one for one in valued if not one.name and one.state == "pruned"],
        ),
    ]
    return [kind for kind in kinds if kind[3]]


def draw_importances(search: SearchRecord) -> go.Figure:
    """Share of the importance of each hyperparameter."""
    found = sorted(search.importances.items(), key=lambda one: one[1])
    figure = make_figure("importance (share of all)", "", legend=False)
    figure.add_bar(
        x=[value for _, value in found],
        y=[say(key) for key, _ in found],
        orientation="h",
        marker={"color": _COMPLETE},
        text=[f"{100 * value:.0f} %" for _, value in found],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure.update_layout(
        xaxis={"tickformat": ".0%", "range": [0, 1.08]}, yaxis={"showgrid": False}, bargap=0.4
    )
    return figure


def draw_slice(key: str, *, is_log: bool, trials: Sequence[TrialRecord]) -> go.Figure:
    """Validation accuracy against one searched hyperparameter."""
    figure = make_figure(say(key), "validation accuracy (%)", y_is_percent=True, x_is_log=is_log)
    having = [trial for trial in trials if key in trial.params]
    _add_points(figure, having, lambda trial: trial.params[key], "%{text}: %{y:.1%} at %{x:.3g}")
    return figure


def _add_points(
    figure: go.Figure,
    trials: Sequence[TrialRecord],
    x: Callable[[TrialRecord], float],
    hover: str,
) -> None:
    """The validation accuracy of each trial, named, complete and pruned ones apart."""
    for name, colour, symbol, found in _kinds(trials):
        figure.add_scatter(
            x=[x(trial) for trial in found],
            y=[trial.values["val_accuracy"] for trial in found],
            mode="markers",
            marker={
                "color": colour,
                "symbol": symbol,
                "size": 8,
                "line": {"color": colour, "width": 1.5},
            },
            text=[trial.label for trial in found],
            hovertemplate=f"{hover}<extra></extra>",
            name=name,
        )


def draw_parallel(search: SearchRecord, trials: Sequence[TrialRecord]) -> go.Figure:
    """Each complete trial as a line through its values, the better half of them in colour.

    Drawn as plain lines: Plotly's own kind needs WebGL, which compiles code at run time, and a page
    that may run nothing but its own scripts forbids that.
    """
    complete = [one for one in trials if one.state == "complete" and one.params]
    complete.sort(key=lambda one: one.values["val_accuracy"])
    keys = [key for key in search.ranges if all(key in trial.params for trial in complete)]
    values = [trial.values["val_accuracy"] for trial in complete]
    low, high = min(values, default=0.0), max(values, default=1.0)
    figure = make_figure("", "", legend=True)
    middle = sorted(values)[len(values) // 2] if values else 0.0
    for better in (False, True):
        lines = [one for one in complete if (one.values["val_accuracy"] >= middle) == better]
        x: list[int | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for trial in lines:
            shares = [_share(search, key, trial.params[key]) for key in keys]
            accuracy = trial.values["val_accuracy"]
            shares.append((accuracy - low) / (high - low) if high > low else 0.5)
            x += [*range(len(shares)), None]
            y += [*shares, None]
            texts += [f"{trial.label}: {100 * accuracy:.1f} %"] * (len(shares) + 1)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            line={"color": _COMPLETE if better else translucent(COLOURS[4], 0.55), "width": 1.5},
            marker={"size": 5},
            text=texts,
            hovertemplate="%{text}<extra></extra>",
            name="better half" if better else "other half",
        )
    _label_axes(figure, search, keys, low, high)
    return figure


def _share(search: SearchRecord, key: str, value: float) -> float:
    """Where a value lies in its range, from 0 to 1."""
    values = search.ranges[key]
    low, high = values["low"], values["high"]
    if values["log"]:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _label_axes(
    figure: go.Figure, search: SearchRecord, keys: Sequence[str], low: float, high: float
) -> None:
    for place, key in enumerate([*keys, ""]):
        figure.add_vline(x=place, line={"color": LINE, "width": 1})
        for tick in range(_TICKS):
            share = tick / (_TICKS - 1)
            if key:
                values = search.ranges[key]
                text = f"{_value_at(values['low'], values['high'], share, values['log']):.2g}"
            else:
                text = f"{100 * (low + share * (high - low)):.1f} %"
            last = place == len(keys)
            figure.add_annotation(
                x=place,
                y=share,
                text=text,
                showarrow=False,
                xanchor="right" if last else "left",
                xshift=-5 if last else 5,
                font={"size": 11},
            )
    figure.update_layout(
        xaxis={
            "tickvals": list(range(len(keys) + 1)),
            "ticktext": [
                *(say(key).replace(" ", "<br>") for key in keys),
                "validation<br>accuracy",
            ],
            "range": [-0.15, len(keys) + 0.15],
            "showline": False,
            "showgrid": False,
        },
        yaxis={"visible": False, "range": [-0.04, 1.04]},
    )


def _value_at(low: float, high: float, share: float, is_log: bool) -> float:
    return float(low * (high / low) ** share) if is_log else low + share * (high - low)


def draw_learning_curves(trials: Sequence[TrialRecord]) -> go.Figure:
    """Validation accuracy by epoch of every trial, with the points where trials were pruned.

    One trace for each kind of trial, however many there are.
    """
    figure = make_figure("epoch", "validation accuracy (%)", y_is_percent=True)
    for name, colour, symbol, found in _kinds(trials):
        x: list[int | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for trial in found:
            x += [*(one.epoch for one in trial.history), None]
            y += [*(one.val_accuracy for one in trial.history), None]
            texts += [trial.label] * (len(trial.history) + 1)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": translucent(colour, 0.6), "width": 1.5},
            text=texts,
            hovertemplate="%{text}, epoch %{x}: %{y:.1%}<extra></extra>",
            name=name,
        )
        if "pruned" in name:
            figure.add_scatter(
                x=[len(trial.history) for trial in found],
                y=[trial.values["val_accuracy"] for trial in found],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 9, "line": {"width": 2}},
                text=[trial.label for trial in found],
                hovertemplate="%{text} pruned after epoch %{x}<extra></extra>",
                name="pruned here",
            )
    longest = max((len(trial.history) for trial in trials), default=1)
    figure.update_layout(xaxis={"dtick": max(1, round(longest / 10))})
    return figure
