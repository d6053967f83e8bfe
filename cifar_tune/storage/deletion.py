"""Deletes a stored study with those that are derived from it, and with their files.

The files go first, then the studies, so that a deletion that is interrupted can be done again. The
ledger of test reads stays, and so do reports.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import optuna

from cifar_tune import paths
from cifar_tune.config.derived import family
from cifar_tune.errors import InputError, StorageError
from cifar_tune.files import check_real_folder, explain_disk
from cifar_tune.storage import studies
from cifar_tune.storage.lease import Lease, hold_lease
from cifar_tune.storage.location import (
    StorageLocation,
    connect_to_file,
    explain_errors,
    read_tables,
)
from cifar_tune.storage.optuna_private import (
    count_trials,
    delete_study,
    get_study_id,
    list_artifact_ids,
)
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.study_folders import list_readers, read_folders

_KINDS = ("checkpoints", "weights", "predictions")
"""Kinds of folders that are a study's alone."""
_HAS_FOLDER = "SELECT 1 FROM study_user_attributes WHERE key = 'files' AND value_json LIKE ?"


@dataclass(frozen=True)
class StudyContents:
    """What is stored of a study, in the database and beside it.

    Attributes:
        files: The folders and files that are the study's alone.
        size_bytes: The bytes of those.
        readers: Other studies and databases that read the same files, which are kept for them.
    """

    study_name: str
    trials: int
    files: tuple[Path, ...]
    size_bytes: int
    readers: tuple[str, ...]


class Deletion:
    """A study and those that are derived from it, which no other process can run meanwhile."""

    def __init__(
        self, location: StorageLocation, contents: tuple[StudyContents, ...], leases: list[Lease]
    ) -> None:
        self.contents = contents
        self._location = location
        self._leases = leases

    def run(self) -> None:
        """Delete the files, then the studies; requests for them are cancelled.

        Raises:
            StorageError: Something cannot be deleted; what was not, is still stored.
        """
        for lease in self._leases:  # the user may have taken long to answer
            with lease.fence():
                pass
        for contents in self.contents:
            _remove(contents.files)
        with explain_errors(self._location):
            storage = studies.open_to_write(self._location)  # which no lease fences
            queue = TrialQueue(storage)
            for contents in reversed(self.contents):
                queue.studies.move(contents.study_name, "waiting", "cancelled", "study deleted")
                delete_study(storage.engine, storage.get_study_id_from_name(contents.study_name))


def is_stored(location: StorageLocation, study_name: str) -> bool:
    """Return whether there is a study of that name, with trials or without."""
    with explain_errors(location):
        storage = studies.open_to_read(location)
        return storage is not None and study_name in optuna.get_all_study_names(storage)


@contextmanager
def hold_for_deletion(
    location: StorageLocation, study_name: str, on_wait: Callable[[str], None]
) -> Iterator[Deletion]:
    """Look at a study that is to be deleted, and keep others from running it meanwhile.

    ``on_wait`` is told, once for each study, why it takes a while.

    Raises:
        InputError: The study is not stored.
        StudyBusyError: A process runs it, or one that is derived from it.
        StorageError: A link or a file is where a folder of its files is to be, or the database
            cannot be opened or written.
    """
    with ExitStack() as stack:
        leases, contents = [], []
        with explain_errors(location):
            stored = optuna.get_all_study_names(studies.open_to_write(location))
            if study_name not in stored:
                raise InputError(f"study {study_name} is not stored in {location}")
            for name in family(study_name):
                if name in stored:
                    # A connection each: a lease fences all that is written on its own.
                    storage = studies.open_to_write(location)
                    study = optuna.load_study(study_name=name, storage=storage)
                    lease = hold_lease(storage.engine, get_study_id(study), name, on_wait)
                    leases.append(stack.enter_context(lease))
                    contents.append(_look_at(study, location))
        yield Deletion(location, tuple(contents), leases)


def _look_at(study: optuna.Study, location: StorageLocation) -> StudyContents:
    """Return what there is of a study; its files only where nothing else reads them."""
    places = read_folders(study, location)
    first = next(iter(places))
    readers = [*list_readers(study, first, location), *_list_copies(location, first)]
    folders = [paths.worker_logs(location.beside, study.study_name)]
    artifacts: list[Path] = []
    if places.own is not None and not readers:
        folders += [places.own.of_kind(kind) for kind in _KINDS]
        artifacts = _list_artifacts(study, paths.artifacts_folder(places.own.database))
    for path in {*folders, *(path.parent for path in (*folders, *artifacts))}:
        check_real_folder(path, StorageError)
    files = tuple(path for path in (*folders, *artifacts) if os.path.lexists(path))
    trials = count_trials(study)
    return StudyContents(study.study_name, trials, files, _count_bytes(files), tuple(readers))


def _list_artifacts(study: optuna.Study, folder: Path) -> list[Path]:
    """Return the files that the records of a study's artifacts name."""
    # Anyone may have written a record: what is no name of a file is none of its files.
    names = [name for name in list_artifact_ids(study) if re.fullmatch(r"[A-Za-z0-9_-]+", name)]
    return [folder / name for name in names]


def _list_copies(location: StorageLocation, folder: paths.StudyFolder) -> list[str]:
    """Return the databases beside this one whose studies have a folder, too."""
    if location.path is None:
        return []
    own, copies = location.beside, []
    for path in sorted(own.absolute().parent.iterdir()):
        with suppress(StorageError, sqlite3.Error):  # it is none, or none of this user's
            is_other = path.is_file() and not path.samefile(own)
            if is_other and "study_user_attributes" in (read_tables(path) or ()):
                with closing(connect_to_file(path, "ro")) as database:
                    named = database.execute(_HAS_FOLDER, (f'%"{folder.name}"%',)).fetchone()
                copies += [str(path)] if named else []
    return copies


def _count_bytes(files: Iterable[Path]) -> int:
    """Return the bytes of files and folders; a link has its own."""
    sizes = (path.lstat().st_size for path in files if not path.is_dir())
    inner = (
        (Path(folder) / name).lstat().st_size
        for path in files
        for folder, _, names in os.walk(path)
        for name in names
    )
    return sum(sizes) + sum(inner)


def _remove(files: Iterable[Path]) -> None:
    """Remove files and folders, and their parents where nothing else is in those."""
    for path in files:
        with explain_disk(path, StorageError, what="deleted"):
            check_real_folder(path.parent, StorageError)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                path.parent.rmdir()
