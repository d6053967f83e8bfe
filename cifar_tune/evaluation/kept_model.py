"""Finds complete trials whose weights were kept, and loads their models."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from cifar_tune import paths
from cifar_tune.config.trial import TrialConfig
from cifar_tune.errors import InputError
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import load_model
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.trials import names_of


def find_complete(study: optuna.Study, trial_name: str) -> FrozenTrial:
    """Return the complete trial of that number, or of that name with its replicate.

    Raises:
        InputError: There is none; the message names those there are.
    """
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial_name in names_of(trial):
            if trial.state.name == "COMPLETE":
                return trial
            state = trial.state.name.lower()
            if trial_name == str(trial.number):
                raise InputError(
                    f"trial {trial_name} of {study.study_name} is {state}, not complete"
                )
    names = [
        trial.user_attrs.get("name", str(trial.number))
        for trial in trials
        if trial.state.name == "COMPLETE"
    ]
    raise InputError(
        f"{study.study_name} has no complete trial {trial_name!r}; expected one of: "
        f"{', '.join(names) or 'none is complete'}"
    )


def load_kept_model(
    location: StorageLocation, study_name: str, trial: FrozenTrial, classes: int
) -> nn.Module:
    """Return the model of a trial with its kept weights.

    Raises:
        WeightsError: The weights are gone, or no longer what they were.
    """
    model = build_model(TrialConfig(**trial.user_attrs["config"]), classes)
    file = paths.kept_weights_file(location.beside, study_name, trial.number)
    load_model(model, file, trial.user_attrs["kept_weights_sha256"])
    return model
