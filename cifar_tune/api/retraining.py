"""Trains configurations of a study again, for functions that show the run in one way or another.

The command line and ``best.py`` both call these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifar_tune.api.runs import Run
from cifar_tune.config.derived import Purpose, derived_name, fresh_seed, rerun_purpose
from cifar_tune.search.preparation import MachineOptions, prepare_derived

if TYPE_CHECKING:
    from cifar_tune.config.trial import TrainOn
    from cifar_tune.evaluation.best import BestRecord
    from cifar_tune.evaluation.candidates import Candidate
    from cifar_tune.search.outcome import StudyOutcome


def train_again(
    record: BestRecord,
    purpose: Purpose,
    candidates: Sequence[Candidate],
    n_seeds: int,
    machine: MachineOptions,
    run: Run,
) -> StudyOutcome:
    """Train configurations on fresh seeds, as a study that stands beside theirs."""
    from cifar_tune.search.runner import RunOptions

    named = [candidate.as_named() for candidate in candidates]
    prepared = prepare_derived(record.spec, record.location, purpose, named, n_seeds, machine)
    seed = fresh_seed(record.study_seed, purpose)
    return run(prepared, RunOptions(None, machine.seconds, seed=seed))


def confirm(record: BestRecord, n_seeds: int, machine: MachineOptions, run: Run) -> StudyOutcome:
    """Train the short list on fresh seeds, and bring the notes of the study up to date."""
    from cifar_tune.dashboard.notes.annotator import refresh_notes

    outcome = train_again(record, "confirm", record.shortlist, n_seeds, machine, run)
    refresh_notes(record.location, record.spec)
    return outcome


def retrain(
    record: BestRecord,
    candidate: Candidate,
    train_on: TrainOn,
    n_seeds: int,
    machine: MachineOptions,
    run: Run,
) -> StudyOutcome:
    """Train a configuration on fresh seeds whose weights are kept for the test images."""
    return train_again(record, rerun_purpose(train_on), [candidate], n_seeds, machine, run)


def read_test_images(
    record: BestRecord,
    candidate: Candidate,
    train_on: TrainOn,
    n_seeds: int,
    machine: MachineOptions,
    command: str,
) -> None:
    """Evaluate those of the re-runs on the test images that were not yet; the ledger says so.

    To be called when all seeds are done: a figure that is seen early invites to stop there.
    ``command`` is what the ledger takes down.
    """
    from cifar_tune.dashboard.notes.annotator import refresh_notes
    from cifar_tune.evaluation.test_images import evaluate_on_test as evaluate
    from cifar_tune.evaluation.test_images import unread
    from cifar_tune.training.device import choose_device

    study_name = derived_name(record.spec.study_name, rerun_purpose(train_on))
    wanted = {f"{candidate.label}/seed={seed}" for seed in range(1, n_seeds + 1)}
    device = choose_device(machine.device)
    for name in unread(record.location, study_name):
        if name in wanted:
            evaluate(record.location, study_name, name, machine.root, device, command)
    refresh_notes(record.location, record.spec)
