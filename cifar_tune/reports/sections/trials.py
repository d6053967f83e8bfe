"""The sections with every trial of a study and with what all of them have in common."""

from __future__ import annotations

from collections.abc import Iterator

from cifar_tune.config.trial import QUANTITIES
from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_key, format_quantity, format_setting
from cifar_tune.reports.blocks import (
    Block,
    Cell,
    Command,
    Facts,
    Missing,
    Prose,
    Row,
    Table,
    Tone,
    number_cell,
)

_TONES: dict[str, Tone] = {"complete": "good", "fail": "bad", "pruned": "unsure"}


def draw_trials(record: ReportRecord) -> Iterator[Block]:
    """Draw the table of all trials."""
    rows = tuple(
        Row(_cells(trial, is_best=trial.number == record.best), f"trial-{trial.number}")
        for trial in record.trials
    )
    yield Table(
        "trials-table",
        "Every trial",
        ("#", "trial", "state", "settings", "epochs", "training", "validation", "test", "time"),
        rows,
        note="A named trial is trained again by the command of the study with --only and --seeds.",
        is_long=True,
    )


def _cells(trial: TrialRecord, *, is_best: bool) -> tuple[Cell, ...]:
    planned = trial.epochs_planned
    epochs = f"{len(trial.history)} of {planned}" if planned else str(len(trial.history))
    seed = f"seed {trial.seed}" if trial.seed is not None else ""
    state = "complete, best" if is_best else trial.state
    values = (
        format_quantity(key, trial.values[key]) if key in trial.values else "" for key in QUANTITIES
    )
    return (
        number_cell(str(trial.number)),
        Cell(trial.kind, note=seed, is_code=True),
        Cell(state, note=trial.failure, tone=_TONES.get(trial.state, "plain")),
        Cell(format_params({**trial.params, **trial.settings})),
        number_cell(epochs),
        *map(number_cell, values),
    )


def draw_protocol(record: ReportRecord) -> Iterator[Block]:
    """Draw the protocol, what sets it apart from the published one, and all trials."""
    there = {key: theirs for key, theirs, _ in record.differences}
    protocol = tuple(
        (format_key(key), format_setting(value), there.get(key, ""))
        for key, value in record.protocol.items()
    )
    yield Prose(f"Profile {record.profile}: {record.profile_description}.")
    yield Facts(
        "What all trials have in common",
        tuple(
            (name, f"{ours} (published: {theirs})" if theirs else ours)
            for name, ours, theirs in protocol
        ),
    )
    settlement = record.answer.settlement
    is_said = settlement is not None and all(model.trials for model in record.models)
    said = settlement.command if settlement is not None and is_said else ""
    # What would settle the question stands above all, where it says all that is missing.
    missing = (missing for missing in record.missing if missing.command != said)
    yield from (Missing(missing.what, missing.command) for missing in missing)
    if record.trials:
        yield from draw_trials(record)


def list_commands(record: ReportRecord) -> Iterator[Command]:
    """Return what to type, once for the whole page."""
    yield Command("Run the study, or what is left of it", record.command)
    yield Command(
        "Best configuration on fresh seeds", f"cifar-tune best confirm {record.arguments}"
    )
    yield Command("Its test accuracy", f"cifar-tune best rerun {record.arguments}")
    yield Command("Make this report", record.report_command)
    if record.published_command and record.differences:
        yield Command("Run the published protocol", record.published_command)
