"""Draws what was run beside a study: its short list on fresh seeds, and re-runs on test images."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from cifar_tune.evaluation.ablation import Ablation
from cifar_tune.evaluation.best import Confirmation, Rerun
from cifar_tune.evaluation.records import Measured
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.words import say, say_effect, say_spread, say_value
from cifar_tune.reports import blocks
from cifar_tune.reports.blocks import Block, Cell, Prose, Row, Table
from cifar_tune.wording import format_params


def fresh_blocks(record: ReportRecord, command: str) -> Iterator[Block]:
    """Tables of what fresh seeds gave; nothing where none were run."""
    fresh = record.fresh
    if fresh.confirmation is None and not fresh.reruns:
        return
    base = f"{shlex.quote(record.file_name)} {record.options}"
    if fresh.confirmation is not None:
        yield _confirmation(fresh.confirmation)
        yield blocks.Command("Confirm it on more seeds", f"cifar-tune best confirm {base}")
    if fresh.reruns:
        yield _reruns(fresh.reruns)
        yield blocks.Command("Train the best again", f"cifar-tune best rerun {base}")
    for number, one in enumerate(fresh.ablations):
        yield _ablation(one, f"ablation-table-{number}" if number else "ablation-table")
    yield Prose(fresh.test_use.sentence())
    yield blocks.Command("Make this report again", command)


def _confirmation(found: Confirmation) -> Table:
    rows = []
    for one in found.candidates:
        is_best = found.best is not None and one.candidate.label == found.best.candidate.label
        behind = one.behind
        told = "" if behind is None else say_effect("val_accuracy", -behind.mean)
        shrinkage = one.shrinkage
        rows.append(
            Row(
                (
                    _name(one.candidate.label, {**one.candidate.params, **one.candidate.settings}),
                    Cell(say_value("val_accuracy", one.observed), is_number=True),
                    _figure("val_accuracy", one.val_accuracy),
                    Cell(
                        "" if shrinkage is None else say_effect("val_accuracy", -shrinkage),
                        is_number=True,
                    ),
                    Cell(
                        "confirmed best" if is_best else told, tone="good" if is_best else "plain"
                    ),
                )
            )
        )
    return Table(
        "confirmation-table",
        f"The short list on {found.seeds} fresh seeds",
        ("configuration", "first seen", "fresh seeds", "difference", "against the best"),
        tuple(rows),
        note="Mean validation accuracy with its 95 % interval. What was seen first is what the "
        "short list was chosen by, and so too good on average; the best of these is still chosen "
        "among several.",
    )


def _reruns(reruns: tuple[Rerun, ...]) -> Table:
    rows = (
        Row(
            (
                _name(one.candidate.label, {**one.candidate.params, **one.candidate.settings}),
                Cell(one.train_on),
                Cell(str(len(one.replicates)), is_number=True),
                _figure("val_accuracy", one.val_accuracy),
                _figure("test_accuracy", one.test_accuracy),
                _figure("seconds", one.seconds),
            )
        )
        for one in reruns
    )
    return Table(
        "reruns-table",
        "Trained again on fresh seeds, and read on the test images once for each",
        ("configuration", "trained on", "seeds", "validation", "test", "time"),
        tuple(rows),
        note="Mean over seeds, with its 95 % interval and the standard deviation. What was trained "
        "on the validation images too has no validation accuracy.",
    )


def _ablation(ablation: Ablation, id_: str) -> Table:
    rows = []
    for one in ablation.parts:
        loss = one.loss
        interval = ""
        if loss is not None and loss.low is not None and loss.high is not None:
            ends = (say_effect(loss.quantity, end) for end in (loss.low, loss.high))
            interval = " to ".join(ends)
        rows.append(
            Row(
                (
                    Cell(
                        ", ".join(map(say, one.values)), note=f"back to {format_params(one.values)}"
                    ),
                    Cell(str(loss.seeds if loss is not None else 0), is_number=True),
                    _figure("val_accuracy", one.val_accuracy),
                    Cell(
                        "none" if loss is None else say_effect(loss.quantity, loss.mean),
                        note=interval,
                        tone="missing" if loss is None else "plain",
                        is_number=True,
                    ),
                )
            )
        )
    whole = ablation.val_accuracy
    told = "none" if whole is None else say_value("val_accuracy", whole.mean)
    return Table(
        id_,
        f"{ablation.candidate.label} ({told}) without each of its hyperparameters",
        ("put back", "seeds", "validation", "worth"),
        tuple(rows),
        note="Worth: by how much the configuration is better with its own value than with the one "
        "that was put back; mean over pairs of one seed and the same images, with its 95 % "
        "interval, not corrected for the number of comparisons.",
    )


def _name(label: str, own: dict[str, float]) -> Cell:
    return Cell(label, note=format_params(own), is_code=True)


def _figure(quantity: str, measured: Measured | None) -> Cell:
    if measured is None:
        return Cell("none", tone="missing", is_number=True)
    return Cell(
        say_value(quantity, measured.mean), note=say_spread(quantity, measured), is_number=True
    )
