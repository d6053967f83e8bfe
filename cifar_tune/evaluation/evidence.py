"""Reads all that the storage holds of one study."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from cifar_tune import paths
from cifar_tune.errors import InputError, StorageError
from cifar_tune.evaluation.invocations import train_command
from cifar_tune.evaluation.records import Evidence, TrialRecord
from cifar_tune.evaluation.test_reads import TestRead, read_ledger
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.trials import summarize
from cifar_tune.training.predictions import Answers, load_predictions
from cifar_tune.training.records import EpochMetrics

IMPORTANCE_TRIALS = 4
"""Fewer complete trials say nothing of importances."""


def gather(location: StorageLocation, study_name: str, run_command: str) -> Evidence:
    """Read a study.

    Args:
        run_command: the command that runs this study.

    Raises:
        InputError: the study is not stored.
        StorageError: the database or a file beside it cannot be read or does not fit it.
    """
    with explain_errors(location):
        database = studies.open_to_read(location)
        study = studies.find_study(database, study_name)
        if study is None or database is None:
            raise InputError(f"study {study_name} is not stored in {location}")
        stored = study.get_trials(deepcopy=False)
        reads = [
            read for read in read_ledger(database.engine) if read.result.study_name == study_name
        ]
        importances = _importances(study, stored)
    trials = tuple(_read_trial(trial, reads, run_command) for trial in stored)
    return Evidence(
        study_name=study_name,
        definition=dict(study.user_attrs),
        trials=trials,
        test_reads=tuple(reads),
        validation=_read_answers(location, study_name, trials, "validation"),
        test=_read_answers(location, study_name, trials, "test"),
        importances=importances,
        software=tuple(dict.fromkeys(filter(None, map(_software, stored)))),
    )


def _read_trial(trial: FrozenTrial, reads: list[TestRead], run_command: str) -> TrialRecord:
    attributes = trial.user_attrs
    summary = summarize(trial)
    name = summary.name or ""
    model, _, replicate = name.rpartition("/")
    history = tuple(EpochMetrics(**one) for one in attributes.get("history", ()))
    values: dict[str, float] = {}
    if history:
        values = {
            "train_accuracy": history[-1].train_accuracy,
            "val_accuracy": history[-1].val_accuracy,
            "seconds": sum(one.seconds for one in history),
        }
    sha256 = attributes.get("kept_weights_sha256")
    of_it = [
        read.result
        for read in reads
        if read.result.trial == trial.number and read.result.weights_sha256 == sha256
    ]
    if of_it:
        values["test_accuracy"] = of_it[0].accuracy
        if of_it[0].flip_accuracy is not None:
            values["test_flip_accuracy"] = of_it[0].flip_accuracy
    config = attributes.get("config", {})
    return TrialRecord(
        number=trial.number,
        name=name,
        model=model,
        replicate=replicate,
        seed=summary.seed,
        state=summary.outcome,
        params=dict(summary.params),
        settings=dict(summary.settings),
        config=config,
        epochs_planned=config.get("epochs"),
        history=history,
        values=values,
        test_reads=len(of_it),
        device=str(attributes.get("facts", {}).get("device", "")),
        has_weights=sha256 is not None,
        failure=str((summary.failure or {}).get("message", "")),
        command=train_command(run_command, model, replicate) if name else run_command,
        queued=summary.queued,
    )


def _software(trial: FrozenTrial) -> str:
    versions = trial.user_attrs.get("facts", {}).get("software", {})
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _read_answers(
    location: StorageLocation, study_name: str, trials: tuple[TrialRecord, ...], split: str
) -> dict[int, Answers]:
    """By trial number; checked against the recorded accuracy, so that no other file passes."""
    quantity = {"validation": "val_accuracy", "test": "test_accuracy"}[split]
    found = {}
    for trial in trials:
        recorded = trial.values.get(quantity)
        if trial.state != "complete" or not trial.name or recorded is None:
            continue
        path = paths.predictions_file(location.beside, study_name, trial.number, split)
        answers = load_predictions(path)
        if answers is None:
            continue
        if abs(answers.accuracy - recorded) > 1e-9:
            raise StorageError(
                f"{path}: does not belong to trial {trial.number}: its accuracy is "
                f"{answers.accuracy:.4f}, {recorded:.4f} is recorded"
            )
        found[trial.number] = answers
    return found


def _importances(study: optuna.Study, trials: list[FrozenTrial]) -> dict[str, float]:
    """Importances by PED-ANOVA (Watanabe, Bansal, Hutter, IJCAI 2023), which counts complete
    trials only; none where they are too few or all alike."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    searched: dict[str, set[Any]] = {}
    for trial in complete:
        for key, value in trial.params.items():
            searched.setdefault(key, set()).add(value)
    varied = [key for key, values in searched.items() if len(values) > 1]
    if len(complete) < IMPORTANCE_TRIALS or not varied:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that all are alike shows in the figures
            found = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(), params=varied, normalize=True
            )
    except (ValueError, RuntimeError):  # e.g. every trial has the same value
        return {}
    return {key: float(value) for key, value in found.items()}
