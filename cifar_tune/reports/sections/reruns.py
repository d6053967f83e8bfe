"""The section with what was run beside a study: confirmation on fresh seeds, re-runs, ablations."""

from __future__ import annotations

from collections.abc import Iterator

from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.fresh_runs import (
    Ablated,
    Ablation,
    Confirmation,
    ConfirmedCandidate,
    Rerun,
)
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import (
    format_effect,
    format_key,
    format_quantity,
)
from cifar_tune.reports.blocks import Block, Cell, Prose, Row, Table, number_cell
from cifar_tune.reports.study_blocks import configuration_cell, effect_cell, quantity_cell


def draw_reruns(record: ReportRecord) -> Iterator[Block]:
    """Draw tables of what fresh seeds gave."""
    fresh = record.fresh
    if fresh.confirmation is None and not fresh.reruns:
        return
    if fresh.confirmation is not None:
        yield _confirmation_table(fresh.confirmation)
    if fresh.reruns:
        yield _reruns_table(fresh.reruns)
    for number, ablation in enumerate(fresh.ablations):
        id_ = f"ablation-table-{number}" if number else "ablation-table"
        yield _ablation_table(ablation, id_)
    yield Prose(fresh.test_use.sentence())


def _confirmation_table(confirmation: Confirmation) -> Table:
    return Table(
        "confirmation-table",
        f"The short list on {confirmation.seeds} fresh seeds",
        ("configuration", "first seen", "fresh seeds", "difference", "against the best"),
        tuple(_confirmation_row(entry, confirmation.best) for entry in confirmation.candidates),
        note="Mean validation accuracy with its 95 % interval. What was seen first is what the "
        "short list was chosen by, and so too good on average; the best of these is still chosen "
        "among several.",
    )


def _confirmation_row(confirmed: ConfirmedCandidate, best: ConfirmedCandidate | None) -> Row:
    candidate, shrinkage, behind = confirmed.candidate, confirmed.shrinkage, confirmed.behind
    difference = "" if shrinkage is None else format_effect("val_accuracy", -shrinkage)
    against = "" if behind is None else format_effect("val_accuracy", -behind.mean)
    is_best = best is not None and candidate.label == best.candidate.label
    return Row(
        (
            configuration_cell(candidate.label, candidate.own),
            number_cell(format_quantity("val_accuracy", confirmed.observed)),
            quantity_cell("val_accuracy", confirmed.val_accuracy),
            number_cell(difference),
            Cell("confirmed best", tone="good") if is_best else Cell(against),
        )
    )


def _reruns_table(reruns: tuple[Rerun, ...]) -> Table:
    rows = (
        Row(
            (
                configuration_cell(rerun.candidate.label, rerun.candidate.own),
                Cell(rerun.train_on),
                number_cell(str(len(rerun.replicates))),
                quantity_cell("val_accuracy", rerun.val_accuracy),
                quantity_cell("test_accuracy", rerun.test_accuracy),
                quantity_cell("seconds", rerun.seconds),
            )
        )
        for rerun in reruns
    )
    return Table(
        "reruns-table",
        "Trained again on fresh seeds, and read on the test images once for each",
        ("configuration", "trained on", "seeds", "validation", "test", "time"),
        tuple(rows),
        note="Mean over seeds, with its 95 % interval and the standard deviation. What was trained "
        "on the validation images too has no validation accuracy.",
    )


def _ablation_table(ablation: Ablation, id_: str) -> Table:
    whole = ablation.val_accuracy
    accuracy = "none" if whole is None else format_quantity("val_accuracy", whole.mean)
    return Table(
        id_,
        f"{ablation.candidate.label} ({accuracy}) without each of its hyperparameters",
        ("put back", "seeds", "validation", "worth"),
        tuple(map(_ablation_row, ablation.parts)),
        note="Worth: by how much the configuration is better with its own value than with the one "
        "that was put back; mean over pairs of one seed and the same images, with its 95 % "
        "interval, not corrected for the number of comparisons.",
    )


def _ablation_row(part: Ablated) -> Row:
    keys = ", ".join(map(format_key, part.values))
    return Row(
        (
            Cell(keys, note=f"back to {format_params(part.values)}"),
            number_cell("0" if part.loss is None else str(part.loss.seeds)),
            quantity_cell("val_accuracy", part.val_accuracy),
            effect_cell(part.loss),
        )
    )
