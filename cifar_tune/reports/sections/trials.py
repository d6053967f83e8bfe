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
    Prose,
    Row,
    Table,
    Tone,
    number_cell,
)
from cifar_tune.reports.study_blocks import trial_anchor

_TONES: dict[str, Tone] = {"complete": "good", "fail": "bad", "pruned": "unsure"}


def draw_trials(record: ReportRecord) -> Iterator[Block]:
    """Draw the table of all trials, whose rows the rest of the page links to."""
    rows = tuple(
        Row(_cells(trial, is_best=trial.number == record.best), trial_anchor(trial.number))
        for trial in record.trials
    )
    yield Table(
        "trials-table",
        "Every trial, with the command that trains it",
        ("#", "trial", "state", "settings", "epochs", "training", "validation", "test", "time"),
        rows,
        note="A sampled trial is made again by the whole study's command in an empty storage.",
        is_long=len(rows) > 25,
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
        Cell(format_params({**trial.params, **trial.settings}), note=trial.command),
        number_cell(epochs),
        *map(number_cell, values),
    )


def draw_protocol(record: ReportRecord) -> Iterator[Block]:
    """Draw the protocol, where it ran, and the commands."""
    protocol = [(format_key(key), format_setting(value)) for key, value in record.protocol.items()]
    places = [("device", device) for device in record.devices]
    places += [("software", software) for software in record.software]
    plan = record.command.replace("study run", "study plan")
    show = record.command.replace("study run", "study show")
    yield Prose(f"Profile {record.profile}: {record.profile_description}.")
    yield Facts("What all trials have in common", tuple(protocol))
    yield Facts("Where it ran", tuple(places))
    yield Command("Run the study, or what is left of it", record.command)
    yield Command("See what a run would take", plan)
    yield Command("Make this report again", record.report_command)
    yield Command("See the study file and its trials in the terminal", show)
