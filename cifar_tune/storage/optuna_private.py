"""Every private name of Optuna's and of optuna-dashboard's that the package uses, and no others.

What Optuna has no public name for stands here as a function or an alias with a plain name, so that
a new version is tried by the tests of this module. It was written for Optuna 5.0.0 and
optuna-dashboard 0.21.0; ``pyproject.toml`` has the bounds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.orm import scoped_session, sessionmaker

StudyModel = models.StudyModel
StudyUserAttributeModel = models.StudyUserAttributeModel
StudySystemAttributeModel = models.StudySystemAttributeModel
TrialModel = models.TrialModel
TrialUserAttributeModel = models.TrialUserAttributeModel

ARTIFACT_KEY_PREFIX = "artifacts:"
"""Begins the key of a system attribute that has the record of an artifact, before its id."""

FIXED_PARAMS = "fixed_params"
"""Key of a trial's system attribute with the values that ``Study.enqueue_trial`` was given."""

DASHBOARD_REQUEST_LOGGER = "optuna_dashboard._bottle_util"
"""Name of the logger to which optuna-dashboard writes the errors of its requests."""


# --- studies --------------------------------------------------------------------------------------


def get_storage(study: optuna.Study) -> BaseStorage:
    """Return the storage of a study."""
    return study._storage


def get_study_id(study: optuna.Study) -> int:
    """Return the id of a study in the database."""
    return study._study_id


def get_engine(study: optuna.Study) -> Engine:
    """Return the connection to the database of a study."""
    storage: Any = study._storage
    engine: Engine = getattr(storage, "_backend", storage).engine
    return engine


def find_engine(study: optuna.Study) -> Engine | None:
    """Return the connection to the database of a study; None if it is stored in another way."""
    storage: Any = study._storage
    backend = getattr(storage, "_backend", storage)
    return backend.engine if isinstance(backend, RDBStorage) else None


def find_study_name(engine: Engine, trial: FrozenTrial) -> str | None:
    """Return the name of the study that a trial belongs to; None if the database has no such."""
    study, stored = StudyModel, TrialModel
    of_trial = (
        select(study.study_name)
        .join(stored, stored.study_id == study.study_id)
        .where((stored.trial_id == trial._trial_id) & (stored.number == trial.number))
    )
    with engine.connect() as connection:
        return connection.scalar(of_trial)


def list_attributes(study: optuna.Study) -> dict[int, tuple[str, Mapping[str, Any]]]:
    """Return names and user attributes of all studies in the database of one, by their ids."""
    studies = study._storage.get_all_studies()
    return {frozen._study_id: (frozen.study_name, frozen.user_attrs) for frozen in studies}


class SelectedStudy(optuna.Study):
    """A study of which samplers, pruners and all others see only some trials."""

    def __init__(self, study: optuna.Study, is_selected: Callable[[FrozenTrial], bool]) -> None:
        """Make a view of a study that shows the selected trials."""
        super().__init__(study.study_name, study._storage, study.sampler, study.pruner)
        self._is_selected = is_selected

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in trials if self._is_selected(trial)]

    def get_all_trials(self) -> list[FrozenTrial]:
        """Return all trials of the study."""
        return super()._get_trials(deepcopy=False)


class StudyStandIn:
    """Base class of what stands for Optuna's ``FrozenStudy``, whose id has a private name."""

    def __init__(self, study_id: int) -> None:
        self._study_id = study_id

    @property
    def study_id(self) -> int:
        """The id of the study in the database."""
        return self._study_id


@contextmanager
def in_one_transaction(storage: RDBStorage) -> Iterator[Connection]:
    """Let all that the storage is told meanwhile, and the connection, be one transaction.

    Optuna commits after each thing that it stores. What goes wrong in this context undoes all.
    """
    with storage.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # its driver begins only at a change
        of_optuna = storage.scoped_session
        storage.scoped_session = scoped_session(
            sessionmaker(connection, join_transaction_mode="rollback_only")
        )
        try:
            yield connection
        finally:
            storage.scoped_session.remove()
            storage.scoped_session = of_optuna


def count_trials(study: optuna.Study) -> int:
    """Return how many trials a study has, without loading them."""
    counted = select(func.count()).where(TrialModel.study_id == study._study_id)
    with get_engine(study).connect() as connection:
        return connection.scalars(counted).one()


def list_artifact_ids(study: optuna.Study) -> list[str]:
    """Return the ids of all artifacts that are recorded with a study or with its trials."""
    of_trials, of_study = models.TrialSystemAttributeModel, StudySystemAttributeModel
    keys = [
        select(of_study.key).where(of_study.study_id == study._study_id),
        select(of_trials.key).join(TrialModel).where(TrialModel.study_id == study._study_id),
    ]
    with get_engine(study).connect() as connection:
        stored = [key for query in keys for key in connection.scalars(query)]
    recorded = (key for key in stored if key.startswith(ARTIFACT_KEY_PREFIX))
    return sorted({key.removeprefix(ARTIFACT_KEY_PREFIX) for key in recorded})


def delete_study(engine: Engine, study_id: int) -> None:
    """Delete a study with its trials in one transaction, by a statement for each table.

    ``optuna.delete_study`` loads every row first, which takes minutes with thousands of trials.
    """
    trials = select(TrialModel.trial_id).where(TrialModel.study_id == study_id)
    with engine.begin() as connection:
        for table in reversed(models.BaseModel.metadata.sorted_tables):
            if "study_id" in table.c:
                connection.execute(delete(table).where(table.c.study_id == study_id))
            elif "trial_id" in table.c:
                connection.execute(delete(table).where(table.c.trial_id.in_(trials)))


# --- trials ---------------------------------------------------------------------------------------


def get_trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """Return the id of a trial in the database, which is not its number."""
    return trial._trial_id


def get_trial_id_of_number(study: optuna.Study, number: int) -> int:
    """Return the id of the trial that has this number in its study."""
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


def get_stored_trial(study: optuna.Study, trial: optuna.Trial | FrozenTrial) -> FrozenTrial:
    """Return a trial as the storage has it now."""
    return study._storage.get_trial(trial._trial_id)


def get_latest_trial(trial: optuna.Trial) -> FrozenTrial:
    """Return a running trial as it is now, without a look into the database."""
    return trial._get_latest_trial()


def add_trial(study: optuna.Study, template: FrozenTrial) -> int:
    """Add a trial in one transaction, and return its id.

    ``Study.add_trial`` returns no id, and refuses an ended trial that has no start.
    """
    return study._storage.create_new_trial(study._study_id, template)


def open_trial(study: optuna.Study, trial_id: int) -> optuna.Trial:
    """Return a running trial, as ``Study.ask`` does.

    ``Study.ask`` would take any trial that waits, also one that is not meant.
    """
    study._thread_local.cached_all_trials = None
    return optuna.Trial(study, trial_id)


def set_trial_state(study: optuna.Study, trial_id: int, state: TrialState) -> None:
    """Set the state of a trial, also to one that ``Study.tell`` does not set."""
    study._storage.set_trial_state_values(trial_id, state)


def leave_waiting(
    engine: Engine, trial_id: int, state: TrialState, attributes: Mapping[str, Any]
) -> bool:
    """Begin or end a trial that waits, and store user attributes with it, all in one transaction.

    Optuna reads a state before it writes one, so that two processes can take the same trial.

    Returns:
        Whether the trial still waited; otherwise nothing is changed.
    """
    trials, stored = TrialModel.__table__, TrialUserAttributeModel.__table__
    moment = "datetime_start" if state == TrialState.RUNNING else "datetime_complete"
    waiting = (trials.c.trial_id == trial_id) & (trials.c.state == TrialState.WAITING)
    now = datetime.now()  # local, without a zone, as Optuna stores it
    with engine.begin() as connection:
        change = update(trials).where(waiting).values({"state": state, moment: now})
        if not connection.execute(change).rowcount:
            return False
        for key, value in attributes.items():
            is_old = (stored.c.trial_id == trial_id) & (stored.c.key == key)
            connection.execute(delete(stored).where(is_old))
            row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            connection.execute(insert(stored).values(row))
    return True


def list_waiting(study: optuna.Study) -> list[int]:
    """Return the ids of the trials that wait, in one query however many others there are."""
    trials = TrialModel.__table__
    waiting = select(trials.c.trial_id).where(
        (trials.c.study_id == study._study_id) & (trials.c.state == TrialState.WAITING)
    )
    with get_engine(study).connect() as connection:
        return sorted(connection.scalars(waiting))


def list_newest_ended(engine: Engine, key: str, limit: int) -> list[tuple[int, int]]:
    """Return study and trial ids of the newest trials that ended and have a user attribute."""
    trial, attribute = TrialModel, TrialUserAttributeModel
    ended = [state for state in TrialState if state.is_finished()]
    newest = (
        select(trial.study_id, trial.trial_id)
        .join(attribute, attribute.trial_id == trial.trial_id)
        .where((attribute.key == key) & trial.state.in_(ended))
        .order_by(trial.trial_id.desc())
        .limit(limit)
    )
    with engine.connect() as connection:
        return [(study_id, trial_id) for study_id, trial_id in connection.execute(newest)]


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Suggest a value from a distribution of any kind."""
    return trial._suggest(name, distribution)


def sample_by_gaussian_process(
    sampler: optuna.samplers.GPSampler,
    study: optuna.Study,
    ended: list[FrozenTrial],
    running: list[FrozenTrial],
    search_space: dict[str, BaseDistribution],
) -> dict[str, Any]:
    """Draw values as ``GPSampler`` does, from trials that its caller has chosen."""
    return sampler._sample_relative_impl(study, ended, running, search_space)


# --- optuna-dashboard -----------------------------------------------------------------------------

SelectAttributes = Callable[[FrozenTrial, Mapping[str, Any]], Mapping[str, Any]]


@cache  # once in a process, for each ``select``
def select_serialized_attributes(select: SelectAttributes) -> None:
    """Let optuna-dashboard serialize a trial with a part of its study's system attributes.

    ``select`` returns, of a trial and its study's attributes, those that belong to the trial. Does
    nothing where optuna-dashboard does not have the function that is replaced.
    """
    from optuna_dashboard import _serializer

    serialize = getattr(_serializer, "serialize_frozen_trial", None)
    if serialize is None:
        return

    def serialize_selected(
        study_id: int, trial: FrozenTrial, attributes: Mapping[str, Any], *others: Any
    ) -> Any:
        return serialize(study_id, trial, select(trial, attributes), *others)

    _serializer.serialize_frozen_trial = serialize_selected


@cache
def skip_finished_trials() -> None:
    """Let optuna-dashboard gather the search space of a study from trials that are new.

    By itself it goes through all trials anew while each is finished. Does nothing where
    optuna-dashboard does not have the class that is replaced.
    """
    from optuna_dashboard import _inmemory_cache

    gathered: Any = getattr(_inmemory_cache, "_CachedExtraStudyProperty", None)
    if gathered is None:
        return

    class GatheredOnce(gathered):  # type: ignore[misc]
        _cursor: int

        def update(self, trials: list[FrozenTrial]) -> None:
            if not trials or trials[-1].number < self._cursor:  # another study, with an old id
                self.__init__()  # type: ignore[misc]
            super().update(trials)
            if trials and all(trial.state.is_finished() for trial in trials):
                self._cursor = trials[-1].number

    _inmemory_cache._CachedExtraStudyProperty = GatheredOnce
