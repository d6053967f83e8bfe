"""The trials of a stored study as a list, sorted and filtered."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cifar_tune.config.names import resolve_key, suggest_key
from cifar_tune.errors import InputError
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.origin import list_all_trials
from cifar_tune.storage.records import TrialSummary
from cifar_tune.storage.trials import summarize

_GREATEST = math.inf


@dataclass(frozen=True)
class ListedTrial:
    """A trial, and the highest validation accuracy of its epochs; None before the first."""

    summary: TrialSummary
    best_val_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as JSON has it."""
        shown = {"shown_state": self.summary.shown_state}
        return {**asdict(self.summary), **shown, "best_val_accuracy": self.best_val_accuracy}


_KEYS: dict[str, Callable[[TrialSummary], Any]] = {
    "number": lambda trial: trial.number,
    "name": lambda trial: (trial.name is None, trial.name),
    "state": lambda trial: trial.shown_state,
    "value": lambda trial: -(-1.0 if trial.val_accuracy is None else trial.val_accuracy),
    "epochs": lambda trial: -trial.epochs,
    "elapsed": lambda trial: -(trial.seconds or 0.0),
}
"""What trials are sorted by: the highest accuracy, most epochs and longest time come first."""


def list_trials(location: StorageLocation, study_name: str) -> list[ListedTrial]:
    """Return the trials of a stored study in the order of their numbers.

    Raises:
        InputError: The study is not stored.
        StorageError: The storage cannot be read.
    """
    with explain_errors(location):
        _, study = studies.open_study(location, study_name)
        trials = list_all_trials(study)
    return [
        ListedTrial(summarize(trial), max(trial.intermediate_values.values(), default=None))
        for trial in trials
    ]


def choose_trials(
    trials: Iterable[ListedTrial],
    states: Collection[str] = (),
    sort: str = "number",
    limit: int | None = None,
) -> list[ListedTrial]:
    """Return the trials in some states, all if none is given, sorted, and no more than ``limit``.

    ``sort`` is one of the columns of ``trial list``, or a hyperparameter, which may be named as it
    is shown.

    Raises:
        InputError: There is nothing of that name to sort by.
    """
    chosen = [trial for trial in trials if not states or trial.summary.shown_state in states]
    chosen.sort(key=_find_key(sort, {key for trial in trials for key in trial.summary.params}))
    return chosen[:limit]


def _find_key(sort: str, hyperparameters: Collection[str]) -> Callable[[ListedTrial], Any]:
    name = resolve_key(sort, hyperparameters)
    if name in hyperparameters:
        return lambda trial: trial.summary.params.get(name, _GREATEST)
    if sort not in _KEYS:
        known = [*_KEYS, *sorted(hyperparameters)]
        raise InputError(
            f"--sort {sort}: expected one of {', '.join(known)}{suggest_key(sort, known)}"
        )
    key = _KEYS[sort]
    return lambda trial: key(trial.summary)
