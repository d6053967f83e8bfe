"""Which stored study is meant, and what the storage holds of a study file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cifar_tune.config.study_file import (
    LoadedStudyFile,
    StudySpec,
    find_study_files,
    load_study_file,
    resolve,
)
from cifar_tune.errors import InputError
from cifar_tune.storage.invocations import name_options, study_arguments
from cifar_tune.storage.location import (
    StorageLocation,
    check_readable,
    explain_errors,
    locate_storage,
)
from cifar_tune.storage.records import StoredStudy
from cifar_tune.storage.trial_counts import count_trials_by_file


@dataclass(frozen=True)
class StudySelector:
    """Which study is meant.

    Attributes:
        name: The name of a study file or its path.
        profile: A profile of the study file; None leaves the choice to the command.
        overrides: Changed keys of the protocol, which make a study of its own.
        storage: The path or URL of the database; None takes the default.
    """

    name: str
    profile: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    storage: str | None = None

    @property
    def location(self) -> StorageLocation:
        """Where the database is."""
        return locate_storage(self.storage)

    def load_file(self) -> LoadedStudyFile:
        """Return the study file."""
        return load_study_file(self.name)

    def find(self) -> tuple[StudySpec, StorageLocation]:
        """Return the one stored study that is meant, as its study file has it now, and where it is.

        Raises:
            InputError: None is stored, or several are and the options do not say which. A name
                alone means the study without overrides, where there is one.
            StudyFileError: The study file is wrong, or an override.
        """
        loaded, location = self.load_file(), self.location
        stored = [study for study in read_stored(loaded.name, location) if study.trials]
        matching = self._match(loaded, stored)
        if len(matching) == 1:
            return resolve(loaded, matching[0].profile, matching[0].overrides), location
        wanted = loaded.name
        if self.profile is not None:
            wanted = resolve(loaded, self.profile, self.overrides).study_name
        if matching:
            choices = " or ".join(
                name_options(resolve(loaded, study.profile, study.overrides)) for study in matching
            )
            raise InputError(
                f"{wanted}: several studies are stored in {location}; choose one with {choices}"
            )
        others = ", ".join(study.study_name for study in stored) or _list_studies_with_trials(
            location
        )
        profile = self.profile or next(iter(loaded.content.profiles))
        spec = resolve(loaded, profile, self.overrides)
        arguments = study_arguments(spec, location)
        raise InputError(
            f"{wanted}: is not stored in {location}, or has no trials; studies with trials: "
            f"{others}; `cifar-tune study run {arguments}` runs it"
        )

    def _match(self, loaded: LoadedStudyFile, stored: list[StoredStudy]) -> list[StoredStudy]:
        if self.profile is None and not self.overrides:
            return [study for study in stored if not study.overrides] or stored
        profiles = loaded.content.profiles if self.profile is None else (self.profile,)
        names = {resolve(loaded, profile, self.overrides).study_name for profile in profiles}
        return [study for study in stored if study.study_name in names]


def read_stored(file_name: str, location: StorageLocation) -> list[StoredStudy]:
    """Return the stored studies of a study file."""
    check_readable(location)
    if not location.exists():
        return []  # and Optuna need not be imported

    from cifar_tune.storage import studies

    with explain_errors(location):
        return studies.read_studies(location, file_name)


def _list_studies_with_trials(location: StorageLocation) -> str:
    counts = count_trials_by_file(location, list(find_study_files()))
    names = [name for of_file in counts.values() for name, trials in of_file.items() if trials]
    return ", ".join(names) or "no study"
