"""Opens studies in the database and reads them back."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event, func, select

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import Precision, without_defaults
from cifar_tune.errors import StorageError, StudyMismatchError
from cifar_tune.storage.location import StorageLocation, check_readable, check_writable
from cifar_tune.storage.optuna_private import StudyModel, StudyUserAttributeModel, TrialModel
from cifar_tune.storage.records import FORMAT, StoredStudy, check_format
from cifar_tune.storage.server import (
    is_missing_table,
    make_tables,
    missing_driver,
    server_settings,
    wait_for_server,
)
from cifar_tune.storage.sqlite import CONNECT_ARGUMENTS, use_write_ahead_log
from cifar_tune.storage.trials import rank, summarize

DEFAULT_SEED = 0
_GROWING = ("named", "weights_digests")


@dataclass(frozen=True)
class Digests:
    """SHA-256 of what a study learns from: images by part, pretrained weights by name."""

    data: Mapping[str, str]
    weights: Mapping[str, str]


def open_to_write(location: StorageLocation) -> RDBStorage:
    """Open the database, making it first where there is none.

    Raises:
        StorageError: It cannot be opened or written, or is not Optuna's.
    """
    check_writable(location)
    if location.path is None:
        storage = make_tables(lambda: _open(location))
        wait_for_server(storage.engine)
        return storage
    location.path.parent.mkdir(parents=True, exist_ok=True)
    storage = _open(location)
    event.listen(storage.engine, "connect", use_write_ahead_log)
    # Connections made before the listener do not have its settings.
    storage.remove_session()
    storage.engine.dispose()
    return storage


def open_to_read(location: StorageLocation) -> RDBStorage | None:
    """Open the database, or return None where there is none; make nothing.

    Raises:
        StorageError: It cannot be opened, or is not Optuna's.
    """
    check_readable(location)
    if not location.exists():
        return None
    try:
        return _open(location, makes_tables=location.path is not None)
    except StorageInternalError as error:
        if is_missing_table(error):  # a server's database that holds no study yet
            return None
        raise


def _open(location: StorageLocation, *, makes_tables: bool = True) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ExperimentalWarning)
    is_file = location.path is not None
    settings = {"connect_args": CONNECT_ARGUMENTS} if is_file else server_settings(location)
    try:
        return RDBStorage(
            location.url, engine_kwargs=settings, skip_table_creation=not makes_tables
        )
    except ImportError as error:
        raise StorageError(f"{location}: {missing_driver(location)}") from error
    except RuntimeError as error:  # Optuna's word for tables of another version
        raise StorageError(f"{location}: {error}") from error


# --- studies ------------------------------------------------------------------------------------


def find_study(storage: RDBStorage | None, study_name: str) -> optuna.Study | None:
    """The stored study of that name, if there is one.

    Raises:
        StorageError: a newer version wrote it.
    """
    if storage is None or study_name not in optuna.get_all_study_names(storage=storage):
        return None
    study = optuna.load_study(study_name=study_name, storage=storage)
    check_format(study_name, study.user_attrs.get("format"))
    return study


def create_study(storage: RDBStorage, study_name: str) -> optuna.Study:
    """The study of that name, made where there is none."""
    return optuna.create_study(
        study_name=study_name, storage=storage, direction="maximize", load_if_exists=True
    )


def check_definition(
    study: optuna.Study | None,
    spec: StudySpec,
    seed: int | None,
    digests: Digests | None,
) -> int:
    """Check that a stored study, if any, was made with the same settings.

    Args:
        seed: the study's seed as asked for; None takes the stored one, else ``DEFAULT_SEED``.
        digests: of images and weights; None leaves them unchecked, for a plan that loads none.

    Returns:
        The study's seed.

    Raises:
        StudyMismatchError: it was not; the message names each difference.
    """
    if study is None:
        return DEFAULT_SEED if seed is None else seed
    stored = study.user_attrs
    if _is_half_written(study, _definition(spec, DEFAULT_SEED, Digests({}, {})).keys()):
        return stored.get("seed", DEFAULT_SEED) if seed is None else seed
    if "protocol" not in stored:
        raise StudyMismatchError(f"study {study.study_name} was made by another program")
    effective: int = stored["seed"] if seed is None else seed
    wanted = _definition(spec, effective, digests or Digests(stored["data_digests"], {}))
    differences = [
        line
        for key in ("seed", "protocol", "space", "data_digests")
        for line in _differences(key, stored.get(key), wanted[key])
    ]
    # A file may gain and lose named trials, and a run may leave some out together with the weights
    # that they start from; what stays must stay what it was.
    if spec.precision is not None:
        differences += _differences("precision", stored_precision(study), spec.precision)
    for key in _GROWING:
        for name, was in stored[key].items():
            differences += _differences(f"{key}.{name}", was, wanted[key].get(name, was))
    if differences:
        raise StudyMismatchError(
            f"study {study.study_name} is stored with other settings, and values of different "
            f"settings are never ranked together: {'; '.join(differences)}. Undo the change, "
            "give the study file another name, or use another --storage"
        )
    return effective


def stored_precision(study: optuna.Study) -> Precision:
    """The precision that a study's trials are trained in; those of older versions knew one only."""
    precision: Precision = study.user_attrs.get("precision", "fp32")
    return precision


def read_precision(location: StorageLocation, study_name: str) -> Precision | None:
    """The precision of a stored study; None where there is none of that name."""
    study = find_study(open_to_read(location), study_name)
    return None if study is None else stored_precision(study)


def _is_half_written(study: optuna.Study, keys: Set[str]) -> bool:
    """Whether a run was ended before it had stored all that defines its study, by its keys."""
    stored = study.user_attrs.keys()
    return stored <= keys and stored != keys and not study.get_trials(deepcopy=False)


def write_definition(study: optuna.Study, spec: StudySpec, seed: int, digests: Digests) -> None:
    """Store what defines the study beside it; called by the holder of its lease."""
    definition = _definition(spec, seed, digests)
    # What a name once meant stays known, also when the file no longer has it.
    for key in _GROWING:
        definition[key] = {**study.user_attrs.get(key, {}), **definition[key]}
    for key, value in definition.items():
        if study.user_attrs.get(key) != value:
            study.set_user_attr(key, value)
    # A claim is worth something only if it was written down before the first result was seen.
    if not study.get_trials(deepcopy=False):
        study.set_user_attr("claims", {claim.name: claim.model_dump() for claim in spec.claims})
    if study.metric_names is None:
        study.set_metric_names(["val_accuracy"])


def _definition(spec: StudySpec, seed: int, digests: Digests) -> dict[str, Any]:
    ranges = spec.space.ranges()
    return {
        "format": FORMAT,
        "title": spec.title,
        "study_file": spec.file_name,
        "profile": spec.profile_name,
        "overrides": dict(spec.overrides),
        "seed": seed,
        "protocol": without_defaults(spec.protocol.model_dump()),
        "space": {name: values.model_dump() for name, values in ranges.items()},
        "named": {
            named.name: {"params": named.params, "settings": named.settings.given()}
            for named in spec.named
        },
        "sampler": spec.profile.sampler.model_dump(),
        "pruner": spec.profile.pruner.model_dump(),
        "data_digests": dict(digests.data),
        "weights_digests": dict(digests.weights),
        "precision": spec.precision or "fp32",
    }


def _differences(key: str, stored: object, wanted: object) -> Iterable[str]:
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for part in {**stored, **wanted}:
            yield from _differences(f"{key}.{part}", stored.get(part), wanted.get(part))
    elif stored != wanted:
        yield f"{key} is {wanted!r}, stored {stored!r}"


# --- reading ---------------------------------------------------------------------------------


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial with the highest validation accuracy; the first of equals."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=rank, default=None)


def read_study(study: optuna.Study) -> StoredStudy:
    """All trials of a study, and the best one."""
    best = best_trial(study)
    return StoredStudy(
        study.study_name,
        study.user_attrs.get("profile", ""),
        study.user_attrs.get("overrides", {}),
        tuple(map(summarize, study.get_trials(deepcopy=False))),
        summarize(best) if best is not None else None,
    )


@dataclass(frozen=True)
class StudyCounts:
    """How many trials a study has, by state in lower case, and its number in the database."""

    study_id: int
    study_name: str
    profile: str
    overrides: Mapping[str, Any]
    states: Mapping[str, int]


def count_trials(storage: RDBStorage) -> list[StudyCounts]:
    """The studies of study files, without a look at each of their trials and notes."""
    trial, study, attribute = TrialModel, StudyModel, StudyUserAttributeModel
    counted = select(trial.study_id, trial.state, func.count()).group_by(
        trial.study_id, trial.state
    )
    named = (
        select(study.study_id, study.study_name, attribute.key, attribute.value_json)
        .join(attribute, attribute.study_id == study.study_id)
        .where(attribute.key.in_(("profile", "overrides")))
        .order_by(study.study_id)
    )
    states: dict[int, dict[str, int]] = {}
    found: dict[tuple[int, str], dict[str, Any]] = {}
    with storage.engine.connect() as connection:
        for study_id, state, count in connection.execute(counted):
            states.setdefault(study_id, {})[state.name.lower()] = count
        for study_id, name, key, value in connection.execute(named):
            found.setdefault((study_id, name), {})[key] = json.loads(value)
    return [
        StudyCounts(
            study_id, name, values["profile"], values.get("overrides", {}), states.get(study_id, {})
        )
        for (study_id, name), values in found.items()
        if "profile" in values
    ]


def read_studies(location: StorageLocation, file_name: str) -> list[StoredStudy]:
    """The stored studies of a study file: one for each profile and set of overrides."""
    storage = open_to_read(location)
    if storage is None:
        return []
    names = optuna.get_all_study_names(storage=storage)
    of_file = (name for name in names if name.split(":")[0] == file_name)
    found = (find_study(storage, name) for name in of_file)
    return [read_study(study) for study in found if study is not None]
