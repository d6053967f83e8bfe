"""What a search did: best so far, importances, what pruning stopped and saved."""

from __future__ import annotations

from typing import Any

from cifar_tune.evaluation.evidence import IMPORTANCE_TRIALS
from cifar_tune.evaluation.records import (
    Evidence,
    PrunedTrial,
    SearchRecord,
    SweepRecord,
    TrialRecord,
)

_NOT_COMPARED = ("seed",)


def compute_search(evidence: Evidence, ranges: dict[str, dict[str, Any]]) -> SearchRecord | None:
    """What the sampled trials gave; None where there is none."""
    sampled = [one for one in evidence.trials if not one.name and one.history]
    if not sampled:
        return None
    best_so_far, best = [], 0.0
    for trial in evidence.trials:
        if trial.state == "complete":
            best = max(best, trial.values["val_accuracy"])
            best_so_far.append((trial.number, trial.values["val_accuracy"], best))
    pruned = tuple(_pruned(trial) for trial in sampled if trial.state == "pruned")
    return SearchRecord(
        ranges=ranges,
        best_so_far=tuple(best_so_far),
        importances=evidence.importances,
        counted=_counted(evidence),
        pruned=pruned,
        epochs_run=sum(len(trial.history) for trial in sampled),
        epochs_saved=sum(one.epochs_planned - one.epochs for one in pruned),
        seconds_run=sum(trial.values["seconds"] for trial in sampled),
        seconds_saved=sum(one.seconds_saved for one in pruned),
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
    complete = [one for one in evidence.trials if one.state == "complete"]
    named = sum(bool(one.name) for one in complete)
    pruned = sum(one.state == "pruned" for one in evidence.trials)
    counts = (
        f"{len(complete)} complete trials count ({named} named, {len(complete) - named} sampled)"
    )
    left_out = f"; {pruned} pruned ones do not" if pruned else ""
    if len(complete) < IMPORTANCE_TRIALS:
        left_out += f"; at least {IMPORTANCE_TRIALS} are needed"
    return counts + left_out


def compute_sweep(
    evidence: Evidence, configs: dict[str, dict[str, Any]], log_keys: set[str]
) -> SweepRecord | None:
    """The hyperparameter that all named trials differ in, if it is one and a number.

    Args:
        configs: the resolved configuration of each named trial.
        log_keys: hyperparameters that are searched on a logarithmic scale.
    """
    if len(configs) < 2:
        return None
    keys = next(iter(configs.values())).keys()
    varied = [
        key
        for key in keys
        if key not in _NOT_COMPARED and len({str(one[key]) for one in configs.values()}) > 1
    ]
    if len(varied) != 1 or not isinstance(next(iter(configs.values()))[varied[0]], int | float):
        return None
    (key,) = varied
    points = sorted((float(config[key]), name) for name, config in configs.items())
    others = tuple(
        (float(trial.params[key]), trial.values["val_accuracy"], trial.number, trial.state)
        for trial in evidence.trials
        if not trial.name and trial.history and key in trial.params
    )
    return SweepRecord(key, key in log_keys, tuple(points), others)
