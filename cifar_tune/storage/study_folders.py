"""Which folders beside the database have the files of a study.

The study itself says so, in an attribute with a name that was drawn when it was first run. So no
two studies share a file, whatever they and their databases are called, and a study or a database
that is renamed keeps its files. In a copy of a database, or of a study, what is new goes into
folders of its own, and what was there before is still read. The versions before knew no such
attribute: their folders were named after the study.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import optuna
from optuna.storages import RDBStorage
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from cifar_tune.errors import StorageError
from cifar_tune.paths import StudyFolder, artifacts_folder, new_study_folder, old_study_folder
from cifar_tune.storage.location import StorageLocation, read_tables
from cifar_tune.storage.optuna_private import get_study_id, list_attributes

ATTRIBUTE = "files"
"""Attribute of a study with its folders, the one that it writes to first."""


def _check_name(name: str) -> str:
    if name in (".", "..") or re.search(r"[/\\\0]", name):
        raise ValueError("expected the name of a file")
    return name


_FileName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_check_name)]


class _Record(BaseModel, extra="forbid", frozen=True):
    database: _FileName
    folder: _FileName


_RECORDS = TypeAdapter(Annotated[tuple[_Record, ...], Field(min_length=1)])


@dataclass(frozen=True)
class StudyFolders:
    """Where a study's files may be.

    Attributes:
        own: The folders that it writes to.
        earlier: Folders of it that other studies may write to.
    """

    own: StudyFolder | None
    earlier: tuple[StudyFolder, ...] = ()

    def __iter__(self) -> Iterator[StudyFolder]:
        return iter((*([] if self.own is None else [self.own]), *self.earlier))

    def find(self, path_in: Callable[[StudyFolder], Path]) -> Path:
        """Return the first of these paths that is there; where none is, where it was to be."""
        places = [path_in(folder) for folder in self]
        return next((path for path in places if path.is_file()), places[0])


def read_folders(study: optuna.Study, location: StorageLocation) -> StudyFolders:
    """Return where the files of a study are; nothing is written.

    Raises:
        StorageError: What is stored of it is damaged.
    """
    database, name = location.beside, study.study_name
    records = _read_records(name, study.user_attrs) or (
        _record(_old_folder(name, study.user_attrs, database)),
    )
    folders = [StudyFolder(database.with_name(one.database), one.folder) for one in records]
    if location.path is not None and location.path.is_symlink():
        folders.append(old_study_folder(location.path, name))  # earlier versions named it so
    own = None if _is_taken(study, records[0], location) else folders.pop(0)
    return StudyFolders(own, tuple(folders))


def claim_folder(study: optuna.Study, location: StorageLocation) -> StudyFolder:
    """Return the folder that this study, and no other, writes to.

    The first call stores it with the study.

    Raises:
        StorageError: What is stored of it is damaged.
    """
    folders = read_folders(study, location)
    records = _read_records(study.study_name, study.user_attrs)
    has_begun = any("config" in trial.user_attrs for trial in study.get_trials(deepcopy=False))
    own = folders.own
    if own is None or not (records or has_begun):
        own = new_study_folder(location.beside, study.study_name, uuid.uuid4().hex[:12])
    if not records and has_begun and folders.own is None:
        records = (_record(folders.earlier[0]),)
    if _record(own) not in records:
        stored = [record.model_dump() for record in (_record(own), *records)]
        study.set_user_attr(ATTRIBUTE, stored)
    return own


def list_artifact_folders(storage: RDBStorage, location: StorageLocation) -> list[Path]:
    """Return the folder of a database's artifacts, and those where its studies have older ones."""
    databases = {location.beside: None}
    for study in storage.get_all_studies():
        with suppress(StorageError):  # which is said where the study itself is meant
            for record in _read_records(study.study_name, study.user_attrs):
                databases[location.beside.with_name(record.database)] = None
    return list(map(artifacts_folder, databases))


def list_readers(study: optuna.Study, folder: StudyFolder, location: StorageLocation) -> list[str]:
    """Return the names of other studies of a database that have a folder, too: its copies.

    Raises:
        StorageError: What is stored of one of them is damaged.
    """
    others = list_attributes(study)
    others.pop(get_study_id(study))
    return [
        name
        for name, attributes in others.values()
        if _record(folder)
        in (
            _read_records(name, attributes)
            or (_record(_old_folder(name, attributes, location.beside)),)
        )
    ]


def is_claimed(storage: RDBStorage, folder: StudyFolder) -> bool:
    """Return whether any study in a database has a folder."""
    return any(
        _record(folder) in _read_records(study.study_name, study.user_attrs)
        for study in storage.get_all_studies()
    )


def _is_taken(study: optuna.Study, first: _Record, location: StorageLocation) -> bool:
    """Return whether another study, or a study of another database, may write to a folder."""
    database, is_old = location.beside, ATTRIBUTE not in study.user_attrs
    for study_id, (name, attributes) in list_attributes(study).items():
        # Of a study and its copy, the copy has the later number.
        if study_id < get_study_id(study) or (is_old and study_id != get_study_id(study)):
            others = _read_records(name, attributes)
            if first in others[:1] or (
                not others and first == _record(_old_folder(name, attributes, database))
            ):
                return True
    if is_old:
        return _has_namesake(location)
    if first.database == database.name:
        return False
    return location.path is None or database.with_name(first.database).is_file()


def _has_namesake(location: StorageLocation) -> bool:
    """Return whether another database had, in earlier versions, folders of the same names."""
    database = location.beside
    if location.path is None:
        return not location.is_named_in_full
    for path in database.parent.iterdir():
        is_other = path.stem == database.stem and not path.name.startswith(database.name)
        # What cannot be read is no database of this user's.
        with suppress(StorageError, sqlite3.Error):
            if is_other and path.is_file() and read_tables(path):
                return True
    return False


def _old_folder(study_name: str, attributes: Mapping[str, Any], database: Path) -> StudyFolder:
    """Return the folder of earlier versions, also of a study that was renamed since then."""
    overrides = attributes.get("overrides")
    # A study of derived trials has a slash in its name, and the attributes of another one.
    if isinstance(overrides, dict) and "/" not in study_name:
        changes = ",".join(f"{key}={overrides[key]}" for key in sorted(overrides))
        parts = [attributes.get("study_file"), attributes.get("profile"), changes]
        study_name = ":".join(str(part) for part in parts if part)
    return old_study_folder(database, study_name)


def _record(folder: StudyFolder) -> _Record:
    return _Record(database=folder.database.name, folder=folder.name)


def _read_records(study_name: str, attributes: Mapping[str, Any]) -> tuple[_Record, ...]:
    if ATTRIBUTE not in attributes:
        return ()
    try:
        return _RECORDS.validate_python(attributes[ATTRIBUTE])
    except ValidationError as error:
        raise StorageError(
            f"study {study_name}: its attribute {ATTRIBUTE} is {attributes[ATTRIBUTE]!r:.200}; "
            "expected a list of `database` and `folder`, the names of a file and a folder"
        ) from error
