"""What the storage holds, as DataFrames and as a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from cifar_tune import paths
from cifar_tune.api.studies import Storage, find_stored
from cifar_tune.config.study_file import StudySpec
from cifar_tune.evaluation import dataframes
from cifar_tune.storage.location import explain_errors
from cifar_tune.storage.studies import open_study

if TYPE_CHECKING:
    import pandas as pd


def trials_dataframe(
    study: optuna.Study | StudySpec | str, *, storage: Storage = None
) -> pd.DataFrame:
    """Return the trials of a study as a pandas DataFrame, one row a trial.

    The columns are ``number``, ``origin`` (``named``, ``sampled``, ``queued`` or ``foreign``),
    ``name`` and ``replicate`` of named trials, ``seed``, ``state``, ``params.*``, ``settings.*`` of
    named trials, ``epochs``, ``val_accuracy`` and ``test_accuracy`` as fractions, ``seconds`` of
    training and validation, and ``failure``. The test accuracy is what the ledger of test reads
    has; nothing is read for it.

    Args:
        study: An Optuna study, the study of ``load_study_file``, or the name of a study file.
        storage: A path, a database URL, or None for the default; not used with an Optuna study.

    Returns:
        The trials in the order of their numbers.

    Raises:
        InputError: pandas is not installed (``cifar-tune[notebook]``), or the study is not stored.
        StorageError: The database cannot be read.

    Example:
        >>> frame = ct.trials_dataframe("dropout")
        >>> frame[frame.state == "complete"].groupby("name").val_accuracy.mean()
    """
    return dataframes.make_trials_frame(_open(study, storage))


def history_dataframe(
    study: optuna.Study | StudySpec | str, *, storage: Storage = None
) -> pd.DataFrame:
    """Return the epochs of all trials of a study as a pandas DataFrame, one row an epoch.

    The columns are ``number`` of the trial, ``epoch`` from 1, ``train_loss`` and ``val_loss``
    (cross-entropy in nats), ``train_accuracy`` and ``val_accuracy`` as fractions, and ``seconds``.

    Args:
        study: An Optuna study, the study of ``load_study_file``, or the name of a study file.
        storage: A path, a database URL, or None for the default; not used with an Optuna study.

    Returns:
        The epochs in the order of trials and epochs.

    Raises:
        InputError: pandas is not installed (``cifar-tune[notebook]``), or the study is not stored.
        StorageError: The database cannot be read.

    Example:
        >>> history = ct.history_dataframe("dropout")
        >>> history.pivot(index="epoch", columns="number", values="val_accuracy")
    """
    return dataframes.make_history_frame(_open(study, storage))


def write_report(
    study: StudySpec | str, path: str | Path | None = None, *, storage: Storage = None
) -> Path:
    """Write the report of a stored study as one HTML file that needs no network.

    It is the file that ``cifar-tune report`` writes.

    Args:
        study: The study of ``load_study_file``, or the name of a study file.
        path: Where to write it; None takes ``reports/`` beside the database.
        storage: A path, a database URL, or None for the default; as ``--storage``.

    Returns:
        The path of the file.

    Raises:
        InputError: The study is not stored, or has no trials.
        StorageError: The database cannot be read, or the file cannot be written.

    Example:
        >>> ct.write_report("dropout", "dropout.html")
    """
    from cifar_tune.reports.html import write_page
    from cifar_tune.reports.study_page import make_study_report

    spec, location = find_stored(study, storage)
    default = paths.report_file(location.beside, spec.study_name)
    out = default if path is None else Path(path)
    _, page = make_study_report(spec, location, names_storage=True)
    write_page(page, out)
    return out


def _open(study: optuna.Study | StudySpec | str, storage: Storage) -> optuna.Study:
    if isinstance(study, optuna.Study):
        return study
    spec, location = find_stored(study, storage)
    with explain_errors(location):
        return open_study(location, spec.study_name)[1]
