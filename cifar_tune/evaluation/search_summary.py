"""What a search did: best so far, importances, what pruning stopped and saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cifar_tune.config.study_file import StudySpec
from cifar_tune.evaluation.evidence import IMPORTANCE_TRIALS, Evidence, TrialRecord


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
        counted: Which trials the importances count, in words.
        epochs_run: Epochs of the sampled trials.
        epochs_saved: Epochs that pruning left out.
        seconds_run: Seconds that the sampled trials took.
        seconds_saved: Seconds that pruning saved, at the pace of each trial that was stopped.
    """

    ranges: dict[str, dict[str, Any]]
    best_so_far: tuple[tuple[int, float, float], ...]
    importances: dict[str, float]
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
    return SearchRecord(
        ranges={key: values.model_dump() for key, values in spec.space.ranges().items()},
        best_so_far=tuple(best_so_far),
        importances=evidence.importances,
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
    if complete < IMPORTANCE_TRIALS:
        counts += f"; at least {IMPORTANCE_TRIALS} are needed"
    return counts
