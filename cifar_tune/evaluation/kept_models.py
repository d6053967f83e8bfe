"""The networks of trials whose weights were kept."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from cifar_tune import paths
from cifar_tune.config.trial import TrialConfig
from cifar_tune.errors import InputError, WeightsError
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import load_model, read_class_count
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.optuna_private import find_study_name
from cifar_tune.storage.study_folders import read_folders


def load_kept_model(
    location: StorageLocation, study: optuna.Study, trial: FrozenTrial, classes: int | None = None
) -> nn.Module:
    """Return the model of a trial with its kept weights, which tells so many classes apart.

    Raises:
        WeightsError: The weights are gone, or no longer what they were.
    """
    with explain_errors(location):
        folders = read_folders(study, location)
    file = folders.find(lambda folder: paths.kept_weights_file(folder, trial.number))
    if classes is None:
        classes = read_class_count(file)
    model = build_model(TrialConfig(**trial.user_attrs["config"]), classes)
    load_model(model, file, trial.user_attrs["kept_weights_sha256"])
    return model


def load_model_of_trial(location: StorageLocation, trial: FrozenTrial) -> nn.Module:
    """Return the model of a trial that Optuna returned, in evaluation mode.

    Raises:
        InputError: No study that is stored there has this trial.
        WeightsError: Its weights were not kept, are gone, or are no longer what they were.
        StorageError: The database cannot be read.
    """
    with explain_errors(location):
        storage = studies.open_to_read(location)
        name = None if storage is None else find_study_name(storage.engine, trial)
        study = studies.find_study(storage, name) if name is not None else None
        trials = [] if study is None else study.get_trials(deepcopy=False)
    stored = next((other for other in trials if other.number == trial.number), None)
    if study is None or stored is None or stored.user_attrs != trial.user_attrs:
        raise InputError(f"trial {trial.number}: is not of a study that is stored in {location}")
    if "kept_weights_sha256" not in stored.user_attrs:
        raise WeightsError(
            f"trial {trial.number} of {study.study_name}: its weights were not kept; keep_best and "
            "keep_weights in the study file's profile say which are"
        )
    return load_kept_model(location, study, stored).eval()
