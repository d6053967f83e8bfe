"""Drops trials that stopped runs have left, so that a study can be at its end without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from cifar_tune.config.derived import PURPOSES, derive_spec
from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import InputError
from cifar_tune.storage import studies as stored
from cifar_tune.storage import trials
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.optuna_private import get_study_id
from cifar_tune.storage.records import TrialSummary
from cifar_tune.storage.study_files import StudyFiles
from cifar_tune.storage.study_folders import claim_folder


@dataclass(frozen=True)
class Dropped:
    """A trial that was dropped, as it is stored now."""

    study_name: str
    trial: TrialSummary


def drop_trials(
    location: StorageLocation,
    spec: StudySpec,
    trial_name: str | None,
    on_wait: Callable[[str], None],
) -> list[Dropped]:
    """End trials that have not ended, as failed with that as the reason; their checkpoints go.

    They stay in the study as what was begun and dropped, and stand in for nothing: a run that is to
    have a named trial of that name, or one more sampled trial, begins a new one. ``trial_name`` is
    the number of a trial, or its name with its replicate; None drops all of the study, and of its
    confirmations and re-runs. ``on_wait`` is told, once for each study, why it takes a while.

    Raises:
        InputError: The study is not stored, there is no such trial, or it has ended.
        StudyBusyError: A process runs the study, and nothing of it was dropped.
        StorageError: The database cannot be opened or written.
    """
    specs = [spec]
    if trial_name is None:
        specs += [derive_spec(spec, purpose, (), 0) for purpose in PURPOSES]
    with explain_errors(location):
        reading = stored.open_to_read(location)
        if stored.find_study(reading, spec.study_name) is None:
            raise InputError(f"study {spec.study_name} is not stored in {location}")
        # Looked at before anything is written.
        concerned = [
            spec
            for spec in specs
            if (study := stored.find_study(reading, spec.study_name))
            and _list_unfinished(study, trial_name)
        ]
        dropped: list[Dropped] = []
        if concerned:
            storage = stored.open_to_write(location)
            for part in concerned:
                dropped += _drop(storage, location, part, trial_name, on_wait)
        return dropped


def _drop(
    storage: RDBStorage,
    location: StorageLocation,
    spec: StudySpec,
    trial_name: str | None,
    on_wait: Callable[[str], None],
) -> Iterator[Dropped]:
    name = spec.study_name
    study = stored.create_study(storage, name)
    with hold_lease(storage.engine, get_study_id(study), name, on_wait):
        files = StudyFiles(spec, location.beside, claim_folder(study, location))
        for trial in _list_unfinished(study, trial_name):
            ended = trials.record_drop(study, trial)
            files.clear(trial.number)
            yield Dropped(name, trials.summarize(ended))
        files.remove_empty_folders()


def _list_unfinished(study: optuna.Study, trial_name: str | None) -> list[FrozenTrial]:
    """Return the trials that have not ended, or the one of that number or name.

    Raises:
        InputError: There is none of that name, or it has ended.
    """
    stored_trials = study.get_trials(deepcopy=False)
    unfinished = [trial for trial in stored_trials if not trial.state.is_finished()]
    if trial_name is None:
        return unfinished
    named = trials.find_trials(stored_trials, trial_name, study.study_name)
    if waiting := [trial for trial in named if not trial.state.is_finished()]:
        return waiting
    state = f"is {named[-1].state.name.lower()}" if named else "is not there"
    names = ", ".join(map(trials.name_of, unfinished))
    raise InputError(
        f"trial {trial_name} of {study.study_name} {state}; expected one that has not ended: "
        f"{names or 'every trial has ended'}{trials.suggest_trial(unfinished, trial_name)}"
    )
