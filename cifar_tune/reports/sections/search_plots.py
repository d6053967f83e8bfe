"""The figures of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_tune.config.wording import short_name as short_key
from cifar_tune.evaluation.early_epochs import EarlyEpochs
from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.importance import Importance
from cifar_tune.evaluation.search_summary import SearchRecord
from cifar_tune.evaluation.wording import format_key, short_name
from cifar_tune.reports.theme import (
    NARROW,
    add_legend,
    make_axes,
    use_epochs,
    use_numbers,
    use_percent,
)
from cifar_tune.training.pictures.palette import COLOURS, LINE, STOPPED, TEXT, VALIDATION

_GOOD = COLOURS[3]
"""What holds among the better half of the trials."""
MOST_SLICES = 8


@dataclass(frozen=True)
class _Kind:
    """Trials that look alike in a figure, and how they are drawn."""

    name: str
    trials: list[TrialRecord]
    style: dict[str, Any]


def _kinds(trials: Sequence[TrialRecord]) -> list[_Kind]:
    """Return named, sampled and stopped trials that have a value."""
    valued = [trial for trial in trials if trial.history]
    sampled = [trial for trial in valued if not trial.name]
    complete = [trial for trial in sampled if trial.state == "complete"]
    stopped = [trial for trial in sampled if trial.state == "pruned"]
    named = [trial for trial in valued if trial.name]
    filled: dict[str, Any] = {"color": VALIDATION}
    hollow: dict[str, Any] = {
        "markerfacecolor": "none",
        "markeredgecolor": VALIDATION,
        "markeredgewidth": 1.6,
    }
    kinds = (
        _Kind("named", named, {"marker": "D", "markersize": 6, **filled}),
        _Kind("sampled, complete", complete, {"marker": "o", **hollow}),
        _Kind("stopped early", stopped, {"marker": "x", "color": STOPPED, "markeredgewidth": 1.8}),
    )
    return [kind for kind in kinds if kind.trials]


def _add_points(
    axes: Axes, trials: Sequence[TrialRecord], place: Callable[[TrialRecord], float]
) -> None:
    for kind in _kinds(trials):
        places = [place(trial) for trial in kind.trials]
        values = [trial.values["val_accuracy"] for trial in kind.trials]
        axes.plot(places, values, linestyle="none", label=kind.name, **kind.style)


def plot_history(trials: Sequence[TrialRecord], width: int) -> Figure:
    """Plot the value of each trial by the epochs spent, and the best so far of the complete."""
    figure, (axes,) = make_axes(width, 300)
    spent, total = {}, 0
    for trial in trials:
        total += len(trial.history)
        spent[trial.number] = total
    _add_points(axes, trials, lambda trial: spent[trial.number])
    complete = [trial for trial in trials if trial.state == "complete"]
    best, steps = None, []
    for trial in complete:
        value = trial.values["val_accuracy"]
        if best is None or value > best.values["val_accuracy"]:
            best = trial
        steps.append((spent[trial.number], best.values["val_accuracy"]))
    if best is not None:
        steps.append((total, best.values["val_accuracy"]))
        x, y = zip(*steps, strict=True)
        axes.plot(x, y, drawstyle="steps-post", color=LINE, label="best so far")
        axes.annotate(
            _label(best), (spent[best.number], best.values["val_accuracy"]), (0, 7),
            textcoords="offset points", ha="center", fontsize=11, color=TEXT,
        )  # fmt: skip
    axes.margins(y=0.14)
    use_percent(axes)
    use_epochs(axes, 10 if width > NARROW else 5)
    axes.set_xlabel("epochs spent on all trials")
    axes.set_ylabel("validation accuracy (%)")
    add_legend(figure, [axes], 4 if width > NARROW else 2)
    return figure


def _label(trial: TrialRecord) -> str:
    return short_name(trial.name) if trial.name else trial.label


def plot_slices(search: SearchRecord, trials: Sequence[TrialRecord], width: int) -> Figure:
    """Plot validation accuracy against each hyperparameter, a panel for each."""
    keys = list(search.ranges)[:MOST_SLICES]
    columns = min(len(keys), 4 if width > NARROW else 1)
    rows = -(-len(keys) // columns)
    figure, panels = make_axes(width, 70 + 200 * rows, columns, rows, sharey=True)
    effects = {effect.parameter: effect for effect in search.effects}
    for axes, key in zip(panels, keys, strict=False):
        effect = effects.get(key)
        if effect is not None:
            axes.fill_between(
                effect.values, effect.lows, effect.highs, color=VALIDATION, alpha=0.16, linewidth=0
            )
            axes.plot(effect.values, effect.means, color=VALIDATION, label="surrogate")
        searched = [trial for trial in trials if key in trial.params]
        _add_points(axes, searched, lambda trial, key=key: trial.params[key])  # type: ignore[misc]
        use_numbers(axes, is_log=search.ranges[key]["log"], most=4)
        axes.set_xlabel(format_key(key))
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        use_percent(axes, most=6)
        axes.set_ylabel("validation accuracy (%)" if width > NARROW else "validation (%)")
    add_legend(figure, panels[:1], 4 if width > NARROW else 2)
    return figure


def plot_importances(search: SearchRecord, width: int) -> Figure:
    """Plot the share of each hyperparameter with its interval, and that among good trials."""
    keys = [importance.parameter for importance in search.importance_intervals]
    figure, (axes,) = make_axes(width, max(100 + 42 * len(keys), 230))
    _add_importances(axes, keys, search.importance_intervals, VALIDATION, "whole range", -0.11)
    if search.importances_of_good:
        _add_importances(axes, keys, search.importances_of_good, _GOOD, "better half", 0.16)
        add_legend(figure, [axes], 2)
    axes.set_yticks(range(len(keys)), [short_key(key).replace("_", " ") for key in keys])
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    use_percent(axes, "x", 5)
    axes.set_xlabel("share of all importance (%)")
    return figure


def _add_importances(
    axes: Axes,
    keys: Sequence[str],
    importances: Sequence[Importance],
    colour: str,
    name: str,
    shift: float,
) -> None:
    for importance in importances:
        place = keys.index(importance.parameter) + shift
        axes.plot([importance.low, importance.high], [place, place], color=colour, alpha=0.55)
        axes.plot([importance.share], [place], "o", color=colour, label=name)


def plot_early_epochs(early: EarlyEpochs, width: int) -> Figure:
    """Plot the rank correlation with the last epoch, by epoch."""
    figure, (axes,) = make_axes(width, 230)
    epochs = [epoch.epoch for epoch in early.epochs]
    lows, highs = [one.low for one in early.epochs], [one.high for one in early.epochs]
    if len(epochs) > 10:
        axes.fill_between(epochs, lows, highs, color=VALIDATION, alpha=0.16, linewidth=0)
    else:
        axes.vlines(epochs, lows, highs, color=VALIDATION, alpha=0.55, linewidth=2)
    marker = "o" if len(epochs) <= 30 else None
    correlations = [epoch.correlation for epoch in early.epochs]
    axes.plot(epochs, correlations, color=VALIDATION, marker=marker)
    axes.axhline(0, color=LINE, linewidth=1)
    axes.set_ylim(min(0.0, *lows) - 0.08, 1.05)
    axes.set_xlim(0.5, early.last_epoch + 0.5)
    use_epochs(axes)
    axes.set_xlabel("epoch")
    axes.set_ylabel("rank correlation")
    return figure
