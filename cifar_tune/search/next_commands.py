"""The commands that a user is told to type after a run, by what its study is still missing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cifar_tune.config.derived import Purpose, derived_name
from cifar_tune.config.study_file import StudySpec
from cifar_tune.search.budget import TIME_IS_UP, TOO_LITTLE_TIME
from cifar_tune.search.outcome import StudyOutcome
from cifar_tune.storage import studies
from cifar_tune.storage.invocations import (
    NextCommand,
    confirm_command,
    report_command,
    rerun_command,
    study_arguments,
    training_arguments,
)
from cifar_tune.storage.location import StorageLocation, explain_errors

MOST_COMMANDS = 3
FEWEST_SEEDS = 3
"""An interval of fewer seeds is too wide to tell most configurations apart."""


@dataclass(frozen=True)
class RunOfStudy:
    """A run that has ended, and how it was asked for.

    Attributes:
        spec: The study.
        location: Where it is stored.
        root: The folder of imported images and weights.
        only: The named trials that were asked for by name; empty for all.
        asked_trials: How many trials were to be sampled, if not as many as the study file states.
    """

    spec: StudySpec
    location: StorageLocation
    root: Path
    only: tuple[str, ...] = ()
    asked_trials: int | None = None


def list_next_commands(run: RunOfStudy, outcome: StudyOutcome) -> list[NextCommand]:
    """Return at most three commands, the most needed first, with the options that they need."""
    return list(_list_commands(run, outcome))[:MOST_COMMANDS]


def _list_commands(run: RunOfStudy, outcome: StudyOutcome) -> Iterator[NextCommand]:
    spec, left = run.spec, outcome.left
    trains = training_arguments(spec, run.location, run.root)
    if left.trials and outcome.why_left in (None, TIME_IS_UP, TOO_LITTLE_TIME):
        command = f"cifar-tune study run {trains}{_work_options(run, left.sampled)}"
        yield NextCommand("Continue this run", command)
    complete = [trial for trial in outcome.trials if trial.state == "complete"]
    if not complete:
        return
    if spec.named and not left.trials and spec.profile.seeds < FEWEST_SEEDS:
        sampled = " --trials 0" if spec.space.ranges() else ""
        options = f"{_only_options(run)} --seeds {FEWEST_SEEDS}{sampled}"
        command = f"cifar-tune study run {trains}{options}"
        yield NextCommand("Train the named trials with more seeds", command)
    labels = {(trial.name or str(trial.number)).partition("/seed=")[0] for trial in complete}
    if len(labels) > 1 and not _is_stored(run, "confirm"):
        yield confirm_command(spec, run.location, run.root)
    elif not _is_stored(run, "rerun"):
        yield rerun_command(spec, run.location, run.root)
    yield report_command(spec, run.location)
    study = study_arguments(spec, run.location)
    yield NextCommand("Show the best configuration", f"cifar-tune best show {study}")


def _work_options(run: RunOfStudy, sampled: int) -> str:
    """Return the options that say how much is left, where they were given."""
    profile = run.spec.source.content.profiles[run.spec.profile_name]
    seeds = run.spec.profile.seeds
    options = _only_options(run)
    options += f" --seeds {seeds}" if seeds != profile.seeds else ""
    return options + (f" --trials {sampled}" if run.asked_trials is not None else "")


def _only_options(run: RunOfStudy) -> str:
    return "".join(f" --only {shlex.quote(name)}" for name in run.only)


def _is_stored(run: RunOfStudy, purpose: Purpose) -> bool:
    with explain_errors(run.location):
        storage = studies.open_to_read(run.location)
        name = derived_name(run.spec.study_name, purpose)
        return studies.find_study(storage, name) is not None
