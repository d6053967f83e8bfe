"""Everything that made a trial, and what came of it, as one record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from cifar_tune import paths
from cifar_tune.errors import InputError
from cifar_tune.evaluation.candidates import group
from cifar_tune.evaluation.differences import Difference, list_differences
from cifar_tune.evaluation.ranking import pooled_sd
from cifar_tune.evaluation.test_reads import TestRead, read_ledger
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.origin import list_all_trials, read_own_attributes
from cifar_tune.storage.records import TrialSummary
from cifar_tune.storage.study_folders import read_folders
from cifar_tune.storage.trials import find_trials, name_of, suggest_trial, summarize
from cifar_tune.training.records import EpochMetrics


@dataclass(frozen=True)
class TrialDossier:
    """All that is stored of a trial.

    Attributes:
        definition: The attributes of its study, as it was first run.
        config: The full configuration; empty before the trial was begun.
        facts: What else made it: device, versions, digests of images, split and weights.
        restarts: Where and why it was continued, each time.
        weights_sha256: The digest of its kept weights; None where they were not kept.
        weights_file: The file of its kept weights; None where there is none, or no longer.
        test_reads: The reads of the test images for it, the oldest first.
        seed_sd: The standard deviation of validation accuracy over seeds in its study; None where
            no configuration has two.
    """

    study_name: str
    definition: Mapping[str, Any]
    summary: TrialSummary
    config: dict[str, Any]
    facts: dict[str, Any]
    history: tuple[EpochMetrics, ...]
    restarts: tuple[dict[str, Any], ...]
    weights_sha256: str | None
    weights_file: str | None
    test_reads: tuple[TestRead, ...]
    seed_sd: float | None

    @property
    def number(self) -> int:
        """The number of the trial in its study."""
        return self.summary.number


def read_dossier(location: StorageLocation, study_name: str, trial_name: str) -> TrialDossier:
    """Read all that is stored of a trial, given by its number or its name with its replicate.

    Raises:
        InputError: There is no such trial.
        StorageError: The storage cannot be read.
    """
    with explain_errors(location):
        storage, study = studies.open_study(location, study_name)
        trials = study.get_trials(deepcopy=False)
        trial = _find(study_name, list_all_trials(study), trial_name)
        reads = read_ledger(storage.engine, [study_name])
        definition = dict(study.user_attrs)
        folders = read_folders(study, location)
    attributes = read_own_attributes(trial)
    seed_sd = pooled_sd(group(map(summarize, trials)))
    weights = folders.find(lambda folder: paths.kept_weights_file(folder, trial.number))
    sha256 = attributes.get("kept_weights_sha256")
    return TrialDossier(
        study_name=study_name,
        definition=definition,
        summary=summarize(trial),
        config=dict(attributes.get("config", {})),
        facts=dict(attributes.get("facts", {})),
        history=tuple(EpochMetrics(**epoch) for epoch in attributes.get("history", ())),
        restarts=tuple(attributes.get("restarts", ())),
        weights_sha256=sha256,
        weights_file=str(weights) if sha256 is not None and weights.is_file() else None,
        test_reads=tuple(
            read
            for read in reads
            if read.result.study_name == study_name and read.result.trial == trial.number
        ),
        seed_sd=seed_sd,
    )


def diff_trials(first: TrialDossier, second: TrialDossier) -> dict[str, tuple[Difference, ...]]:
    """Return what two trials do not have in common, by part: configuration, origin, results.

    Each difference has the value of the first trial and that of the second.
    """
    both = (first, second)
    parts: dict[str, list[Mapping[str, Any]]] = {
        "configuration": [dossier.config for dossier in both],
        "made with": [flatten(dossier.facts) for dossier in both],
        "results": [_results(dossier) for dossier in both],
    }
    return {part: list_differences(records) for part, records in parts.items()}


def _results(dossier: TrialDossier) -> dict[str, Any]:
    summary = dossier.summary
    figures = {
        "state": summary.outcome,
        "epochs": summary.epochs,
        "val_accuracy": summary.val_accuracy,
        "seconds": summary.seconds,
        "test_accuracy": [read.result.accuracy for read in dossier.test_reads] or None,
    }
    epochs = {f"epoch {epoch.epoch}, val_accuracy": epoch.val_accuracy for epoch in dossier.history}
    return {**figures, **epochs}


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put nested mappings on one level, for a reader."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{key}, {part}": inner for part, inner in value.items()}
        else:
            flat[key] = value
    return flat


def find_complete(study: optuna.Study, trial_name: str) -> FrozenTrial:
    """Return the complete trial of that number, or of that name with its replicate.

    Raises:
        InputError: There is none; the message names those there are.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    matching = find_trials(trials, trial_name, study.study_name)
    for trial in matching:
        if trial in complete:
            return trial
    if matching:
        state = matching[-1].state.name.lower()
        raise InputError(f"trial {trial_name} of {study.study_name} is {state}, not complete")
    raise InputError(
        f"{study.study_name} has no complete trial {trial_name!r}; expected one of: "
        f"{_list_names(complete) or 'none is complete'}{suggest_trial(complete, trial_name)}"
    )


def _find(study_name: str, trials: list[FrozenTrial], trial_name: str) -> FrozenTrial:
    """Return the trial of that number or name; of several of a name, the one that came furthest."""
    matching = find_trials(trials, trial_name, study_name)
    if matching:
        return max(matching, key=lambda trial: (len(trial.intermediate_values), trial.number))
    raise InputError(
        f"{study_name} has no trial {trial_name!r}; expected a number from 0 to "
        f"{len(trials) - 1}, or one of: {_list_names(trials) or 'it has none'}"
        f"{suggest_trial(trials, trial_name)}"
    )


def _list_names(trials: Iterable[FrozenTrial]) -> str:
    return ", ".join(dict.fromkeys(map(name_of, trials)))
