"""Opens studies in the database and reads them back."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event, func, select

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import Precision
from cifar_tune.errors import InputError, StorageError
from cifar_tune.storage import definition, server
from cifar_tune.storage.attributes import check_study_attributes
from cifar_tune.storage.location import StorageLocation, check_readable, check_writable
from cifar_tune.storage.optuna_private import (
    StudyModel,
    StudyUserAttributeModel,
    TrialModel,
    find_engine,
)
from cifar_tune.storage.origin import list_all_trials, select_own_trials
from cifar_tune.storage.records import StoredStudy, check_format
from cifar_tune.storage.sqlite import CONNECT_ARGUMENTS, expect_same_file, use_write_ahead_log
from cifar_tune.storage.trials import rank, summarize


def open_to_write(location: StorageLocation) -> RDBStorage:
    """Open the database, making it first where there is none.

    Raises:
        StorageError: It cannot be opened or written, or is not Optuna's.
    """
    check_writable(location)
    if location.path is None:
        storage = server.make_tables(lambda: _open(location))
        server.wait_for_server(storage.engine)
        return storage
    location.beside.parent.mkdir(parents=True, exist_ok=True)
    storage = _open(location)
    event.listen(storage.engine, "connect", use_write_ahead_log)
    # Connections made before the listener do not have its settings.
    storage.remove_session()
    storage.engine.dispose()
    expect_same_file(storage.engine, location.path)
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
        if server.is_missing_table(error):  # a server's database that has no study yet
            return None
        raise


def _open(location: StorageLocation, *, makes_tables: bool = True) -> RDBStorage:
    is_file = location.path is not None
    settings = {"connect_args": CONNECT_ARGUMENTS} if is_file else server.server_settings(location)
    try:
        return RDBStorage(
            location.url, engine_kwargs=settings, skip_table_creation=not makes_tables
        )
    except ImportError as error:
        raise StorageError(f"{location}: {server.missing_driver(location)}") from error
    except RuntimeError as error:  # Optuna's word for tables of another version
        raise StorageError(f"{location}: {_explain_version(location, str(error))}") from error


def _explain_version(location: StorageLocation, reason: str) -> str:
    """Return what Optuna says of tables of another version, with the command that mends them."""
    found = re.search(r"set up by optuna ([\w.]+)", reason)
    made_by = f"optuna {found[1]}" if found else "another optuna"
    fault = f"has tables of {made_by}, expected those of optuna {optuna.__version__}"
    if "storage upgrade" not in reason:
        return fault
    url = shlex.quote(location.url) if location.path is not None else "URL"
    return (
        f"{fault}; `optuna storage upgrade --storage {url}` brings them up to date, best after a "
        "copy was made"
    )


def open_study(location: StorageLocation, study_name: str) -> tuple[RDBStorage, optuna.Study]:
    """Return the database, opened to read, and a study that is stored in it.

    Raises:
        InputError: The study is not stored.
        StorageError: The database cannot be opened, or is not Optuna's.
    """
    storage = open_to_read(location)
    study = find_study(storage, study_name)
    if study is None or storage is None:
        raise InputError(f"study {study_name} is not stored in {location}")
    return storage, study


def find_study(storage: RDBStorage | None, study_name: str) -> optuna.Study | None:
    """Return the stored study of that name, if there is one.

    Raises:
        StorageError: A newer version wrote it.
    """
    if storage is None or study_name not in optuna.get_all_study_names(storage=storage):
        return None
    study = select_own_trials(optuna.load_study(study_name=study_name, storage=storage))
    where = f"{storage.engine.url.database}: study {study_name}"
    check_study_attributes(study, where)
    check_format(study_name, study.user_attrs.get("format"))
    return study


def create_study(storage: RDBStorage, study_name: str) -> optuna.Study:
    """Return the study of that name; make it where there is none."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log that, also to a terminal
    try:
        study = optuna.create_study(
            study_name=study_name, storage=storage, direction="maximize", load_if_exists=True
        )
    finally:
        optuna.logging.set_verbosity(verbosity)
    return select_own_trials(study)


def prepare_study(storage: RDBStorage, spec: StudySpec) -> optuna.Study:
    """Return the study of a specification, in which trials are to be enqueued.

    It is created where it is not stored yet; the first run of it completes its definition.

    Raises:
        StudyMismatchError: It is stored with other settings.
    """
    definition.check_definition(find_study(storage, spec.study_name), spec, None, digests=None)
    study = create_study(storage, spec.study_name)
    if "profile" not in study.user_attrs:
        definition.write_identity(study, spec)
    return study


def read_precision(location: StorageLocation, study_name: str) -> Precision | None:
    """Return the precision of a stored study, or None where there is none, or no run of it yet."""
    study = find_study(open_to_read(location), study_name)
    if study is None or not definition.is_defined(study):
        return None
    return definition.stored_precision(study)


def locate_study(study: optuna.Study) -> StorageLocation | None:
    """Return where a study is stored; None where that is no database that lasts."""
    engine = find_engine(study)
    if engine is None:
        return None
    if engine.url.get_backend_name() != "sqlite":
        return StorageLocation(engine.url.render_as_string(hide_password=False), None)
    database = engine.url.database
    return None if database in (None, "", ":memory:") else StorageLocation(None, Path(database))


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Return the complete trial with the highest validation accuracy, the first of equals."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=rank, default=None)


def read_study(study: optuna.Study) -> StoredStudy:
    """Return all trials of a study, and the best one; none of a study that was never run."""
    best = best_trial(study)
    return StoredStudy(
        study.study_name,
        study.user_attrs.get("profile", ""),
        study.user_attrs.get("overrides", {}),
        tuple(map(summarize, list_all_trials(study))) if definition.is_defined(study) else (),
        summarize(best) if best is not None else None,
    )


@dataclass(frozen=True)
class StudyCounts:
    """A study, and how many trials it has by state in lower case."""

    study_id: int
    study_name: str
    profile: str
    overrides: Mapping[str, Any]
    states: Mapping[str, int]


def count_trials(storage: RDBStorage) -> list[StudyCounts]:
    """Count the trials of all studies of study files, without reading any of them."""
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
    attributes: dict[tuple[int, str], dict[str, Any]] = {}
    with storage.engine.connect() as connection:
        for study_id, state, count in connection.execute(counted):
            states.setdefault(study_id, {})[state.name.lower()] = count
        for study_id, name, key, value in connection.execute(named):
            attributes.setdefault((study_id, name), {})[key] = json.loads(value)
    return [
        StudyCounts(
            study_id, name, values["profile"], values.get("overrides", {}), states.get(study_id, {})
        )
        for (study_id, name), values in attributes.items()
        if "profile" in values
    ]


def read_studies(location: StorageLocation, file_name: str) -> list[StoredStudy]:
    """Return the stored studies of a study file: one for each profile and set of overrides."""
    storage = open_to_read(location)
    if storage is None:
        return []
    names = optuna.get_all_study_names(storage=storage)
    of_file = (name for name in names if name.split(":")[0] == file_name)
    stored = (find_study(storage, name) for name in of_file)
    return [read_study(study) for study in stored if study is not None]
