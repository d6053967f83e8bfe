"""Studies for programs that use Optuna themselves: with the sampler and pruner of a study file."""

from __future__ import annotations

import optuna

from cifar_tune.config.study_file import StudySpec
from cifar_tune.errors import InputError
from cifar_tune.search.pruners import make_pruner
from cifar_tune.search.study_sampler import StudySampler
from cifar_tune.storage import studies
from cifar_tune.storage.definition import check_definition
from cifar_tune.storage.location import StorageLocation, explain_errors


def create_study(
    spec: StudySpec, location: StorageLocation, seed: int | None, *, load_if_exists: bool
) -> optuna.Study:
    """Return the study of a specification, with its sampler and its pruner; make it if need be.

    ``seed`` is the study's; None takes the stored one.

    Raises:
        InputError: It is stored already, and ``load_if_exists`` is False.
        StudyMismatchError: It is stored with other settings.
        StorageError: The database cannot be opened or written.
    """
    with explain_errors(location):
        existing = studies.find_study(studies.open_to_read(location), spec.study_name)
        if existing is not None and not load_if_exists:
            raise InputError(f"study {spec.study_name} is stored in {location} already")
        study_seed = check_definition(existing, spec, seed, digests=None)
        study = studies.prepare_study(studies.open_to_write(location), spec)
        if "seed" not in study.user_attrs:
            study.set_user_attr("seed", study_seed)
    study.sampler = StudySampler(spec, study_seed)
    study.pruner = make_pruner(spec.profile.pruner)
    return study
