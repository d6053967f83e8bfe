"""Where a trial comes from: a run made it, someone asked for it, or another program did it all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from cifar_tune.storage.attributes import check_trial
from cifar_tune.storage.optuna_private import FIXED_PARAMS, SelectedStudy, get_engine
from cifar_tune.storage.records import CANCELLED, REFUSED


def select_own_trials(study: optuna.Study) -> optuna.Study:
    """Return a study without its foreign trials, for samplers, pruners and all others.

    Its trials are checked when they are read, those that have ended once.

    Raises:
        StorageError: Then, where one is not as this program stores it.
    """
    checked: set[int] = set()
    where = f"{get_engine(study).url.database}: study {study.study_name}"

    def is_own(trial: FrozenTrial) -> bool:
        if is_foreign(trial):
            return False
        if trial.number not in checked and is_begun(trial):
            attributes = read_own_attributes(trial)
            check_trial(trial, attributes, f"{where}: trial {trial.number}")
            if trial.state.is_finished():
                checked.add(trial.number)
        return True

    return SelectedStudy(study, is_own)


def list_all_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of a study with the foreign ones."""
    if isinstance(study, SelectedStudy):
        study.get_trials(deepcopy=False)  # which checks its own ones
        return study.get_all_trials()
    return study.get_trials(deepcopy=False)


def read_own_attributes(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the attributes of a trial that this program stored with it.

    A trial that was refused or cancelled has others of whoever asked for it.
    """
    if is_foreign(trial):
        return {}
    attributes, failure = trial.user_attrs, trial.user_attrs.get("failure")
    kind = failure.get("kind") if isinstance(failure, dict) else None
    if kind in (CANCELLED, REFUSED):
        return {key: attributes[key] for key in ("failure", "queued") if key in attributes}
    return attributes


def read_asker(trial: FrozenTrial) -> dict[str, Any]:
    """Return what is stored of who asked for a trial; nothing where another program enqueued it."""
    queued = trial.user_attrs.get("queued")
    return dict(queued) if isinstance(queued, dict) else {}


def read_requested_params(trial: FrozenTrial) -> dict[Any, Any]:
    """Return the values that a trial was asked for with, as they are stored."""
    params = trial.system_attrs.get(FIXED_PARAMS, trial.params)
    return params if isinstance(params, dict) else {FIXED_PARAMS: params}


def is_begun(trial: FrozenTrial) -> bool:
    """Return whether a run has begun a trial, or another program has.

    A run stores the number of a trial with it as it begins one that was asked for: a person may
    enqueue a trial with all attributes of another one.
    """
    attributes, asker = trial.user_attrs, read_asker(trial)
    if trial.state != TrialState.WAITING or "retry_of" in attributes:
        return True
    if not asker:
        return "seed" in attributes and FIXED_PARAMS not in trial.system_attrs
    # An earlier version stored no number, but created the trial as it began it.
    return asker.get("trial") == trial.number or ("id" in asker and bool(trial.params))


def is_request(trial: FrozenTrial) -> bool:
    """Return whether someone asked for a trial; that it is run a second time, nobody did."""
    if "retry_of" in trial.user_attrs:
        return False
    if read_asker(trial) or not is_begun(trial):
        return True
    # ``Study.ask`` of another program has taken it.
    return trial.state == TrialState.RUNNING and FIXED_PARAMS in trial.system_attrs


def is_foreign(trial: FrozenTrial) -> bool:
    """Return whether another program made a trial: such a trial counts nowhere."""
    attributes = trial.user_attrs
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return "config" not in attributes
    return not (attributes.keys() & {"seed", "config"} or is_request(trial))


def number_requests(trials: Iterable[FrozenTrial]) -> dict[int, int]:
    """Return which of the trials that were asked for each one is, from 1, by its number.

    Its seeds follow from that. Those that an earlier version made keep the number of the request.
    """
    indices: dict[int, int] = {}
    index = 0
    for trial in trials:
        is_enqueued = FIXED_PARAMS in trial.system_attrs and "retry_of" not in trial.user_attrs
        if is_enqueued or is_request(trial):
            known = read_asker(trial).get("id")
            index = known if isinstance(known, int) else index + 1
            indices[trial.number] = index
    return indices
