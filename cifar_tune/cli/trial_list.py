"""The command ``cifar-tune trial list``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cifar_tune.cli.console import make_console, print_json
from cifar_tune.cli.help import command
from cifar_tune.cli.options import number_option, study_options
from cifar_tune.wording import format_count

if TYPE_CHECKING:
    from cifar_tune.storage.records import TrialSummary
    from cifar_tune.storage.selector import StudySelector

WIDE = 100
"""Columns of a terminal that names of trials are shown in full on."""
_STATES = ("complete", "pruned", "failed", "running", "paused", "queued", "dropped", "cancelled")


@command("list", epilog="Example: cifar-tune trial list dropout --state complete --sort value")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES),
    metavar="STATE",
    help=f"Only trials in this state: {', '.join(_STATES)}. May be repeated.",
)
@click.option(
    "--sort",
    default="number",
    show_default=True,
    metavar="COLUMN",
    help="number, name, state, value (the highest validation accuracy first), epochs, elapsed, or "
    "a hyperparameter.",
)
@number_option("--limit", "List no more than N trials.")
@study_options("profile", "epochs", "set", "storage", "json")
def trial_list(
    study: StudySelector, states: tuple[str, ...], sort: str, limit: int | None, as_json: bool
) -> None:
    """List the trials of a study.

    NAME is the name of a study file or its path. The value of a trial is its validation accuracy
    after its last epoch, by which trials are compared.
    """
    spec, location = study.find()

    from cifar_tune.cli import tables
    from cifar_tune.evaluation.trial_list import choose_trials, list_trials

    trials = list_trials(location, spec.study_name)
    chosen = choose_trials(trials, states, sort, limit)
    if as_json:
        header = {"storage": str(location), "study_name": spec.study_name, "total": len(trials)}
        print_json({**header, "trials": [trial.to_dict() for trial in chosen]})
        return
    console = make_console()
    complete = [trial.summary for trial in trials if trial.summary.state == "complete"]
    best = max(complete, key=lambda trial: trial.val_accuracy or 0.0, default=None)
    if chosen:
        summaries = [trial.summary for trial in chosen]
        if console.width < WIDE:
            summaries = _shorten_names(summaries)
        console.print(tables.trials_table(summaries, best, console.width))
    shown = "" if len(chosen) == len(trials) else f"{len(chosen)} of "
    console.print(
        f"{shown}{format_count(len(trials), 'trial')} of {spec.study_name} in {location}",
        soft_wrap=True,
    )


def _shorten_names(trials: Sequence[TrialSummary]) -> list[TrialSummary]:
    """Return trials whose names are without the group that all named ones have in common."""
    groups = {trial.name.partition("/")[0] for trial in trials if trial.name is not None}
    if len(groups) != 1:
        return list(trials)
    group = f"{groups.pop()}/"
    return [
        dataclasses.replace(trial, name=trial.name and trial.name.removeprefix(group))
        for trial in trials
    ]
