"""Makes optuna-dashboard's study page quick with thousands of trials.

By itself it reads the attributes of all studies for each request, looks through all of a study's
for each of its trials, and goes through all trials anew while each is finished. Here they are those
of the study asked for, sorted by trial, and finished trials are gone through once. Nothing is kept
between requests, so that a note is there as soon as it is saved.

Two private names of optuna-dashboard are replaced for that, in ``storage.optuna_private``.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Engine, text

from cifar_tune.storage.definition import KEPT
from cifar_tune.storage.optuna_private import (
    StudyStandIn,
    get_trial_id,
    select_serialized_attributes,
    skip_finished_trials,
)

_OF_TRIAL = re.compile(r"dashboard:(?:artifacts:)?(\d+):")
"""Begins the key of a study's attribute that belongs to a trial, with the trial's id."""
_NAMES = text("SELECT study_id, study_name FROM studies ORDER BY study_id")
_USER_ATTRIBUTES = text("SELECT key, value_json FROM study_user_attributes WHERE study_id = :id")
_SYSTEM_ATTRIBUTES = text(
    "SELECT key, value_json FROM study_system_attributes WHERE study_id = :id"
)


class StudyAttributes(dict[str, Any]):
    """Attributes of a study, with those that belong to its trials at hand."""

    @cached_property
    def by_trial(self) -> dict[int, dict[str, Any]]:
        """The attributes that belong to a trial, by its id."""
        by_trial: dict[int, dict[str, Any]] = defaultdict(dict)
        for key, value in self.items():
            if begin := _OF_TRIAL.match(key):
                by_trial[int(begin[1])][key] = value
        return dict(by_trial)


class _Study(StudyStandIn):
    """Stands for Optuna's ``FrozenStudy``; attributes are read when they are asked for."""

    def __init__(
        self, study_id: int, name: str, directions: Sequence[StudyDirection], engine: Engine
    ) -> None:
        super().__init__(study_id)
        self.study_name = name
        self.directions = list(directions)
        self._engine = engine

    @cached_property
    def user_attrs(self) -> StudyAttributes:
        """What the page lists: of a study of ours, not what defines it, which is pages of JSON."""
        attributes = self._read(_USER_ATTRIBUTES)
        if "protocol" in attributes:
            for key in KEPT:
                attributes.pop(key, None)
        return attributes

    @cached_property
    def system_attrs(self) -> StudyAttributes:
        return self._read(_SYSTEM_ATTRIBUTES)

    def _read(self, query: Any) -> StudyAttributes:
        with self._engine.connect() as connection:
            rows = connection.execute(query, {"id": self.study_id}).all()
        return StudyAttributes((key, json.loads(value)) for key, value in rows)


def cache_reads(storage: RDBStorage) -> BaseStorage:
    """Return Optuna's caching storage on ``storage``, as optuna-dashboard is to read it."""
    cached = get_storage(storage)

    def read_studies() -> list[Any]:
        with storage.engine.connect() as connection:
            rows = connection.execute(_NAMES).all()
        studies = []
        for study_id, name in rows:
            with suppress(KeyError):  # it was deleted since
                directions = cached.get_study_directions(study_id)
                studies.append(_Study(study_id, name, directions, storage.engine))
        return studies

    cached.get_all_studies = read_studies  # type: ignore[method-assign]
    select_serialized_attributes(_attributes_of_trial)
    skip_finished_trials()
    return cached


def _attributes_of_trial(trial: FrozenTrial, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(attributes, StudyAttributes):
        return attributes.by_trial.get(get_trial_id(trial), {})
    return attributes
