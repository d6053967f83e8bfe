"""The learning curves of the named trials, a panel for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import short_name
from cifar_tune.reports.blocks import Block, Chart
from cifar_tune.reports.theme import NARROW, add_legend, make_axes, use_epochs, use_percent
from cifar_tune.training.pictures.palette import STOPPED, TRAINING, VALIDATION

MOST_PANELS = 12
_PANEL_HEIGHT, _AROUND = 170, 60

Curves = Sequence[tuple[str, Sequence[TrialRecord]]]
"""Named trials with their complete replicates."""


def draw_curves(record: ReportRecord) -> Iterator[Block]:
    """Draw the curves of each model beside those of the others; none for a single epoch."""
    curves = curves_of(record)
    longest = max((len(trial.history) for _, trials in curves for trial in trials), default=0)
    if longest < 2:
        return
    several = any(len(trials) > 1 for _, trials in curves)
    seeds = "mean over seeds, the band from the lowest to the highest" if several else "one seed"
    left_out = len(curves) - MOST_PANELS
    more = f" The first {MOST_PANELS} of {len(curves)} models." if left_out > 0 else ""
    others = " Grey: validation of the other models." if len(curves) > 1 else ""
    yield Chart(
        "curves-compared",
        "Learning curves",
        f"Accuracy by epoch, {seeds}.{others}{more}",
        partial(plot_curves, curves[:MOST_PANELS]),
    )


def curves_of(record: ReportRecord) -> Curves:
    """Return the named trials that were trained, with their complete replicates."""
    by_number = {trial.number: trial for trial in record.trials}
    return [
        (model.name, [by_number[number] for number in model.trials]) for model in record.trained
    ]


def plot_curves(curves: Curves, width: int) -> Figure:
    """Plot a panel for each model, with the axes in common."""
    columns = min(len(curves), 4 if width > NARROW else 2)
    rows = -(-len(curves) // columns)
    height = _AROUND + _PANEL_HEIGHT * rows
    figure, panels = make_axes(width, height, columns, rows, sharex=True, sharey=True)
    for axes, (name, trials) in zip(panels, curves, strict=False):
        for other, other_trials in curves:
            if other != name:
                epochs, means, _, _ = mean_curve(other_trials, "val_accuracy")
                axes.plot(epochs, means, color=STOPPED, alpha=0.45, linewidth=1)
        _add_curve(axes, trials, "train_accuracy", TRAINING, "training")
        _add_curve(axes, trials, "val_accuracy", VALIDATION, "validation")
        axes.set_title(short_name(name))
        use_epochs(axes, 6)
        use_percent(axes, most=5)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes in panels[-columns:]:
        axes.set_xlabel("epoch")
    for axes in panels[::columns]:
        axes.set_ylabel("accuracy (%)")
    add_legend(figure, panels[:1], 2)
    return figure


def mean_curve(
    trials: Sequence[TrialRecord], key: str
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return epochs with the mean, the lowest and the highest of the trials that reached each."""
    longest = max((len(trial.history) for trial in trials), default=0)
    epochs = list(range(1, longest + 1))
    values = [
        [getattr(trial.history[epoch - 1], key) for trial in trials if len(trial.history) >= epoch]
        for epoch in epochs
    ]
    means = [sum(seeds) / len(seeds) for seeds in values]
    return epochs, means, [min(seeds) for seeds in values], [max(seeds) for seeds in values]


def _add_curve(axes: Axes, trials: Sequence[TrialRecord], key: str, colour: str, name: str) -> None:
    epochs, means, lows, highs = mean_curve(trials, key)
    if len(trials) > 1:
        axes.fill_between(epochs, lows, highs, color=colour, alpha=0.16, linewidth=0)
    marker = "o" if len(epochs) <= 12 else None
    axes.plot(epochs, means, color=colour, marker=marker, markersize=4, label=name)
