"""The section with what a search did: history, importances, slices, curves, pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.search_summary import PrunedTrial, SearchRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_key, format_quantity
from cifar_tune.reports.blocks import Block, Facts, Prose, Row, Table, number_cell
from cifar_tune.reports.sections.curves import epoch_tick
from cifar_tune.reports.sections.parallel_coordinates import plot_parallel
from cifar_tune.reports.study_blocks import make_chart, trial_anchor
from cifar_tune.reports.theme import add_lines, add_markers, make_figure, translucent
from cifar_tune.training.pictures.palette import COLOURS, LINE
from cifar_tune.wording import format_duration


def draw_search(record: ReportRecord) -> Iterator[Block]:
    """Draw what the sampled trials gave, and what pruning saved."""
    search = record.search
    if search is None:
        return
    yield _summary(record, search)
    yield make_chart(
        record,
        "history",
        "Optimisation history",
        "Validation accuracy after the last epoch that was trained, by trial. The best of many "
        "looks better than it is.",
        plot_history(search, record.trials),
        _with_value(record),
    )
    yield _importances(record, search)
    yield from _slices(record, search)
    if len(search.ranges) > 1:
        yield make_chart(
            record,
            "parallel",
            "Parallel coordinates",
            "A line for each complete trial through its values, each axis over the whole range "
            "that is searched; the better half in colour.",
            plot_parallel(search, record.trials),
            _complete(record),
        )
    yield make_chart(
        record,
        "pruning",
        "Learning curves and pruning",
        "Validation accuracy by epoch of every trial, with the points where trials were pruned.",
        plot_learning_curves(record.trials),
        _with_value(record),
    )
    if search.pruned:
        yield _pruned_table(search)


# --- parts --------------------------------------------------------------------------------------


def _summary(record: ReportRecord, search: SearchRecord) -> Facts:
    rows = []
    best = next((trial for trial in record.trials if trial.number == record.best), None)
    if best is not None:
        accuracy = format_quantity("val_accuracy", best.values["val_accuracy"])
        rows.append(("best so far", f"trial {best.number}, {best.kind}: {accuracy}"))
        rows.append(("its settings", format_params({**best.params, **best.settings})))
    run, saved = format_duration(search.seconds_run), format_duration(search.seconds_saved)
    total = search.epochs_run + search.epochs_saved
    share = f" of {total}" if total else ""
    rows.append(("sampled trials", f"{search.epochs_run} epochs in {run}"))
    rows.append(("saved by pruning", f"{search.epochs_saved}{share} epochs, about {saved}"))
    return Facts("In short", tuple(rows))


def _importances(record: ReportRecord, search: SearchRecord) -> Block:
    if not search.importances:
        return Prose(f"Importance of the hyperparameters: not computed; {search.counted}.")
    return make_chart(
        record,
        "importances",
        "Importance of the hyperparameters",
        f"By PED-ANOVA, for the best tenth of the trials; {search.counted}. With few trials "
        "this is a hint at most.",
        plot_importances(search),
        _complete(record),
        height=120 + 50 * len(search.importances),
    )


def _slices(record: ReportRecord, search: SearchRecord) -> Iterator[Block]:
    for key, values in search.ranges.items():
        words = format_key(key)
        yield make_chart(
            record,
            f"slice-{key.replace('_', '-')}",
            f"Slice: {words}",
            f"Validation accuracy of every trial against its {words}; all else differs too.",
            plot_slice(key, is_log=values["log"], trials=record.trials),
            _with_value(record),
            height=340,
        )


def _pruned_table(search: SearchRecord) -> Table:
    return Table(
        "pruned-table",
        "What was pruned, and when",
        ("trial", "after epoch", "validation accuracy then", "time saved, about"),
        tuple(map(_pruned_row, search.pruned)),
        note="Time saved: the epochs that were left, at the pace of the trial's own.",
        is_long=len(search.pruned) > 25,
    )


def _pruned_row(trial: PrunedTrial) -> Row:
    return Row(
        (
            number_cell(str(trial.number), link=trial_anchor(trial.number)),
            number_cell(f"{trial.epochs} of {trial.epochs_planned}"),
            number_cell(format_quantity("val_accuracy", trial.val_accuracy)),
            number_cell(format_duration(trial.seconds_saved)),
        )
    )


def _with_value(record: ReportRecord) -> list[int]:
    return [trial.number for trial in record.trials if trial.history]


def _complete(record: ReportRecord) -> list[int]:
    return [trial.number for trial in record.trials if trial.state == "complete"]


# --- figures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """Trials that look alike in a figure."""

    name: str
    colour: str
    symbol: str
    trials: list[TrialRecord]


def _kinds(trials: Sequence[TrialRecord]) -> list[_Kind]:
    """Return named, complete and pruned trials that have a value; none of the kinds is empty."""
    valued = [trial for trial in trials if trial.history]
    sampled = [trial for trial in valued if not trial.name]
    complete = [trial for trial in sampled if trial.state == "complete"]
    pruned = [trial for trial in sampled if trial.state == "pruned"]
    kinds = (
        _Kind("named", COLOURS[2], "diamond", [trial for trial in valued if trial.name]),
        _Kind("sampled, complete", COLOURS[0], "circle", complete),
        _Kind("sampled, pruned", COLOURS[5], "x-thin-open", pruned),
    )
    return [kind for kind in kinds if kind.trials]


def plot_history(search: SearchRecord, trials: Sequence[TrialRecord]) -> go.Figure:
    """Plot the value of each trial, and the best so far among the complete ones."""
    figure = make_figure("trial", "validation accuracy (%)", y_is_percent=True)
    _add_points(figure, trials, lambda trial: trial.number, "%{text}: %{y:.1%}")
    return figure.add_scatter(
        x=[number for number, _, _ in search.best_so_far],
        y=[best for _, _, best in search.best_so_far],
        mode="lines",
        line={"color": LINE, "shape": "hv"},
        name="best so far",
        hoverinfo="skip",
    )


def plot_slice(key: str, *, is_log: bool, trials: Sequence[TrialRecord]) -> go.Figure:
    """Plot validation accuracy against one searched hyperparameter."""
    figure = make_figure(
        format_key(key), "validation accuracy (%)", y_is_percent=True, x_is_log=is_log
    )
    searched = [trial for trial in trials if key in trial.params]
    _add_points(figure, searched, lambda trial: trial.params[key], "%{text}: %{y:.1%} at %{x:.3g}")
    return figure


def _add_points(
    figure: go.Figure,
    trials: Sequence[TrialRecord],
    x: Callable[[TrialRecord], float],
    hover: str,
) -> None:
    """Add the validation accuracy of each trial, named, complete and pruned ones apart."""
    for kind in _kinds(trials):
        points = [(x(trial), trial.values["val_accuracy"], trial.label) for trial in kind.trials]
        add_markers(figure, points, kind.colour, kind.symbol, kind.name, hover)


def plot_importances(search: SearchRecord) -> go.Figure:
    """Plot the share that each hyperparameter has of all importance."""
    importances = sorted(search.importances.items(), key=lambda pair: pair[1])
    figure = make_figure(
        "importance (share of all)",
        "",
        legend=False,
        xaxis={"tickformat": ".0%", "range": [0, 1.08]},
        yaxis={"showgrid": False},
        bargap=0.4,
    )
    return figure.add_bar(
        x=[value for _, value in importances],
        y=[format_key(key) for key, _ in importances],
        orientation="h",
        marker={"color": COLOURS[0]},
        text=[f"{100 * value:.0f} %" for _, value in importances],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )


def plot_learning_curves(trials: Sequence[TrialRecord]) -> go.Figure:
    """Plot validation accuracy by epoch of every trial, and the points where trials were pruned.

    There is one trace for each kind of trial, however many trials there are.
    """
    tick = epoch_tick(trials)
    figure = make_figure(
        "epoch", "validation accuracy (%)", y_is_percent=True, xaxis={"dtick": tick}
    )
    for kind in _kinds(trials):
        curves = (
            (
                [epoch.epoch for epoch in trial.history],
                [epoch.val_accuracy for epoch in trial.history],
                trial.label,
            )
            for trial in kind.trials
        )
        add_lines(
            figure,
            curves,
            mode="lines",
            line={"color": translucent(kind.colour, 0.6), "width": 1.5},
            hovertemplate="%{text}, epoch %{x}: %{y:.1%}<extra></extra>",
            name=kind.name,
        )
        if "pruned" in kind.name:
            _add_ends(figure, kind)
    return figure


def _add_ends(figure: go.Figure, kind: _Kind) -> None:
    figure.add_scatter(
        x=[len(trial.history) for trial in kind.trials],
        y=[trial.values["val_accuracy"] for trial in kind.trials],
        mode="markers",
        marker={"color": kind.colour, "symbol": kind.symbol, "size": 9, "line": {"width": 2}},
        text=[trial.label for trial in kind.trials],
        hovertemplate="%{text} pruned after epoch %{x}<extra></extra>",
        name="pruned here",
    )
