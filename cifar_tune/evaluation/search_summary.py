"""What a search did: best so far, importances, what pruning stopped and saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cifar_tune.config.study_file import StudySpec
from cifar_tune.evaluation.early_epochs import EarlyEpochs, compute_early_epochs
from cifar_tune.evaluation.evidence import Evidence, TrialRecord
from cifar_tune.evaluation.importance import (
    LEAST_TRIALS,
    Importance,
    compute_importances,
    resample_importances,
)
from cifar_tune.evaluation.surrogate import Effect, compute_effects


@dataclass(frozen=True)
class PrunedTrial:
    """A trial that was stopped, after which epoch of how many, and the seconds that it saved."""

    number: int
    epochs: int
    epochs_planned: int
    val_accuracy: float
    seconds_saved: float


@dataclass(frozen=True)
class SearchRecord:
    """What a search did.

    Attributes:
        ranges: The range of each searched hyperparameter.
        best_so_far: (number, value, best value up to it) of the complete trials in order.
        importance_intervals: The same with their uncertainty.
        importances_of_good: What matters among the better half of the trials.
        effects: What a surrogate says of each hyperparameter, of the complete trials.
        early_epochs: How well early epochs tell the last one; None if too few trials are complete.
        counted: Which trials the importances count, in words.
        epochs_run: Epochs of the sampled trials.
        epochs_saved: Epochs that pruning left out.
        seconds_run: Seconds that the sampled trials took.
        seconds_saved: Seconds that pruning saved, at the pace of each trial that was stopped.
    """

    ranges: dict[str, dict[str, Any]]
    best_so_far: tuple[tuple[int, float, float], ...]
    importances: dict[str, float]
    importance_intervals: tuple[Importance, ...]
    importances_of_good: tuple[Importance, ...]
    effects: tuple[Effect, ...]
    early_epochs: EarlyEpochs | None
    counted: str
    pruned: tuple[PrunedTrial, ...]
    epochs_run: int
    epochs_saved: int
    seconds_run: float
    seconds_saved: float


def compute_search(evidence: Evidence, spec: StudySpec) -> SearchRecord | None:
    """Return what the sampled trials gave; None if there is none."""
    sampled = [trial for trial in evidence.trials if not trial.name and trial.history]
    if not sampled:
        return None
    best_so_far, best = [], 0.0
    for trial in evidence.complete:
        best = max(best, trial.values["val_accuracy"])
        best_so_far.append((trial.number, trial.values["val_accuracy"], best))
    pruned = tuple(_pruned(trial) for trial in sampled if trial.state == "pruned")
    ranges = {key: values.model_dump() for key, values in spec.space.ranges().items()}
    whole = [trial for trial in evidence.complete if ranges.keys() <= trial.params.keys()]
    return SearchRecord(
        ranges=ranges,
        best_so_far=tuple(best_so_far),
        importances=compute_importances(evidence.stored),
        importance_intervals=resample_importances(evidence.stored),
        importances_of_good=resample_importances(evidence.stored, of_good=True),
        effects=compute_effects(
            ranges,
            [trial.params for trial in whole],
            [trial.values["val_accuracy"] for trial in whole],
        ),
        early_epochs=compute_early_epochs(evidence.trials),
        counted=_counted(evidence),
        pruned=pruned,
        epochs_run=sum(len(trial.history) for trial in sampled),
        epochs_saved=sum(trial.epochs_planned - trial.epochs for trial in pruned),
        seconds_run=sum(trial.values["seconds"] for trial in sampled),
        seconds_saved=sum(trial.seconds_saved for trial in pruned),
    )


def _pruned(trial: TrialRecord) -> PrunedTrial:
    planned = trial.epochs_planned or len(trial.history)
    pace = trial.values["seconds"] / len(trial.history)
    return PrunedTrial(
        number=trial.number,
        epochs=len(trial.history),
        epochs_planned=planned,
        val_accuracy=trial.values["val_accuracy"],
        seconds_saved=round(pace * (planned - len(trial.history)), 3),
    )


def _counted(evidence: Evidence) -> str:
    complete = len(evidence.complete)
    named = sum(bool(trial.name) for trial in evidence.complete)
    pruned = sum(trial.state == "pruned" for trial in evidence.trials)
    counts = f"{complete} complete trials count ({named} named, {complete - named} sampled)"
    if pruned:
        counts += f"; {pruned} pruned ones do not"
    if complete < LEAST_TRIALS:
        counts += f"; at least {LEAST_TRIALS} are needed"
    return counts
