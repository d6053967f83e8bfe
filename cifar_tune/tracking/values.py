"""What is logged of a trial: the same names for every tracker."""

from __future__ import annotations

import importlib
from typing import Any

from cifar_tune.config.trial import HYPERPARAMETERS
from cifar_tune.errors import InputError
from cifar_tune.search.trial_callbacks import TrialInfo
from cifar_tune.training.records import EpochMetrics


def import_tracker(module: str, package: str, extra: str) -> Any:
    """Return a module of a package that an extra brings.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{package} is not installed: pip install 'cifar-tune[{extra}]'"
        ) from error


def describe_trial(info: TrialInfo) -> dict[str, str]:
    """Return what a trial is called and what it is: study, number, name, origin, data, weights."""
    trial, config = info.trial, info.config
    return {
        "study": info.study_name,
        "trial": str(trial.number),
        "name": trial.name or "",
        "origin": trial.origin,
        "data": config.data,
        "weights": config.weights,
    }


def list_values(info: TrialInfo) -> dict[str, float | str]:
    """Return the hyperparameters of a trial, its seed and its epochs."""
    config = info.config
    values = {key: getattr(config, key) for key in HYPERPARAMETERS}
    known = {key: value for key, value in values.items() if value is not None}
    return {**known, "seed": config.seed, "epochs": config.epochs}


def list_metrics(metrics: EpochMetrics) -> dict[str, float]:
    """Return the metrics of an epoch; accuracies are fractions, losses are in nats."""
    return {
        "train/loss": metrics.train_loss,
        "train/accuracy": metrics.train_accuracy,
        "val/loss": metrics.val_loss,
        "val/accuracy": metrics.val_accuracy,
        "seconds": metrics.seconds,
    }
