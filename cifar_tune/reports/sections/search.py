"""Draws what a search did."""

from __future__ import annotations

from collections.abc import Iterator

from cifar_tune.evaluation.records import SearchRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.words import anchor, say, say_value, sources
from cifar_tune.reports.blocks import Block, Cell, Chart, Facts, Prose, Row, Table
from cifar_tune.reports.figures.search import (
    draw_history,
    draw_importances,
    draw_learning_curves,
    draw_parallel,
    draw_slice,
)
from cifar_tune.wording import format_duration, format_params


def search_blocks(record: ReportRecord, command: str) -> Iterator[Block]:
    """History, importances, slices, parallel coordinates, curves, and what pruning saved."""
    search = record.search
    if search is None:
        return
    yield _best(record, search)
    with_value = tuple(trial.number for trial in record.trials if trial.history)
    made_from = sources(record.trials, with_value)
    complete = sources(
        record.trials,
        tuple(trial.number for trial in record.trials if trial.state == "complete"),
    )
    yield Chart(
        "history",
        "Optimisation history",
        "Validation accuracy after the last epoch that was trained, by trial. The best of many "
        "looks better than it is.",
        draw_history(search, record.trials),
        made_from,
        command,
    )
    if search.importances:
        yield Chart(
            "importances",
            "Importance of the hyperparameters",
            f"By PED-ANOVA, for the best tenth of the trials; {search.counted}. With few trials "
            "this is a hint at most.",
            draw_importances(search),
            complete,
            command,
            height=120 + 50 * len(search.importances),
        )
    else:
        yield Prose(f"Importance of the hyperparameters: not computed; {search.counted}.")
    for key, values in search.ranges.items():
        yield Chart(
            f"slice-{key.replace('_', '-')}",
            f"Slice: {say(key)}",
            f"Validation accuracy of every trial against its {say(key)}; all else differs too.",
            draw_slice(key, is_log=values["log"], trials=record.trials),
            made_from,
            command,
            height=340,
        )
    if len(search.ranges) > 1:
        yield Chart(
            "parallel",
            "Parallel coordinates",
            "A line for each complete trial through its values, each axis over the whole range "
            "that is searched; the better half in colour.",
            draw_parallel(search, record.trials),
            complete,
            command,
        )
    yield Chart(
        "pruning",
        "Learning curves and pruning",
        "Validation accuracy by epoch of every trial, with the points where trials were pruned.",
        draw_learning_curves(record.trials),
        made_from,
        command,
    )
    yield from _pruned(search)


def _best(record: ReportRecord, search: SearchRecord) -> Facts:
    rows = []
    best = next((trial for trial in record.trials if trial.number == record.best), None)
    if best is not None:
        accuracy = say_value("val_accuracy", best.values["val_accuracy"])
        rows.append(("best so far", f"trial {best.number}, {best.kind}: {accuracy}"))
        rows.append(("its settings", format_params({**best.params, **best.settings})))
    total = search.epochs_run + search.epochs_saved
    share = f" of {total}" if total else ""
    rows.append(
        ("sampled trials", f"{search.epochs_run} epochs in {format_duration(search.seconds_run)}")
    )
    rows.append(
        (
            "saved by pruning",
            f"{search.epochs_saved}{share} epochs, about {format_duration(search.seconds_saved)}",
        )
    )
    return Facts("In short", tuple(rows))


def _pruned(search: SearchRecord) -> Iterator[Block]:
    if not search.pruned:
        return
    rows = tuple(
        Row(
            (
                Cell(str(one.number), link=anchor(one.number), is_number=True),
                Cell(f"{one.epochs} of {one.epochs_planned}", is_number=True),
                Cell(say_value("val_accuracy", one.val_accuracy), is_number=True),
                Cell(format_duration(one.seconds_saved), is_number=True),
            )
        )
        for one in search.pruned
    )
    yield Table(
        "pruned-table",
        "What was pruned, and when",
        ("trial", "after epoch", "validation accuracy then", "time saved, about"),
        rows,
        note="Time saved: the epochs that were left, at the pace of the trial's own.",
        is_long=len(rows) > 25,
    )
