"""Trials and their epochs as pandas DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna

from cifar_tune.errors import InputError
from cifar_tune.evaluation.test_reads import read_ledger
from cifar_tune.storage.optuna_private import find_engine
from cifar_tune.storage.origin import list_all_trials, read_own_attributes
from cifar_tune.storage.records import TrialSummary
from cifar_tune.storage.trials import summarize

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = ("replicate", "seed", "epochs")
"""Columns of whole numbers that a trial may lack."""
_HISTORY = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


def import_pandas() -> Any:
    """Return the module ``pandas``.

    Raises:
        InputError: It is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise InputError("pandas is not installed: pip install 'cifar-tune[notebook]'") from error
    return pd


def make_trials_frame(study: optuna.Study) -> pd.DataFrame:
    """Return one row for each trial of a study, in order.

    Raises:
        InputError: pandas is not installed.
    """
    pd = import_pandas()
    test_accuracies = _read_test_accuracies(study)
    rows = []
    for trial in list_all_trials(study):
        weights = read_own_attributes(trial).get("kept_weights_sha256")
        tested = test_accuracies.get((trial.number, weights))
        rows.append(_trial_row(summarize(trial), tested))
    first, last = list(_trial_row(TrialSummary(number=0, state=""), None)), 5
    between = {key for row in rows for key in row} - set(first)
    columns = [*first[:-last], *sorted(between), *first[-last:]]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(_WHOLE, "Int64"))  # type: ignore[no-any-return]


def _trial_row(trial: TrialSummary, test_accuracy: float | None) -> dict[str, Any]:
    model, _, replicate = (trial.name or "").rpartition("/seed=")
    return {
        "number": trial.number,
        "origin": trial.origin,
        "name": model or None,
        "replicate": int(replicate) if replicate.isdecimal() else None,
        "seed": trial.seed,
        "state": trial.outcome,
        **{f"params.{key}": value for key, value in trial.params.items()},
        **{f"settings.{key}": value for key, value in trial.settings.items()},
        "epochs": trial.epochs,
        "val_accuracy": trial.val_accuracy,
        "test_accuracy": test_accuracy,
        "seconds": trial.seconds,
        "failure": trial.failure_message if trial.failure else None,
    }


def _read_test_accuracies(study: optuna.Study) -> dict[tuple[int, str | None], float]:
    """Return what the ledger has of trials: the first read of their weights. It reads no image."""
    engine = find_engine(study)
    if engine is None:
        return {}
    results = [read.result for read in read_ledger(engine, [study.study_name])]
    return {(result.trial, result.weights_sha256): result.accuracy for result in reversed(results)}


def make_history_frame(study: optuna.Study) -> pd.DataFrame:
    """Return one row for each epoch of each trial of a study, in order.

    Raises:
        InputError: pandas is not installed.
    """
    pd = import_pandas()
    rows = [
        {"number": trial.number, **{key: epoch[key] for key in _HISTORY}}
        for trial in list_all_trials(study)
        for epoch in read_own_attributes(trial).get("history", ())
    ]
    return pd.DataFrame(rows, columns=["number", *_HISTORY])  # type: ignore[no-any-return]
