"""What several commands share: the console, JSON, and what they read of studies."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

from rich.console import Console

from cifar_tune.config.study_file import (
    LoadedStudyFile,
    StudySpec,
    find_study_files,
    load_study_file,
    parse_override,
    resolve,
)
from cifar_tune.errors import InputError
from cifar_tune.storage.location import (
    StorageLocation,
    check_readable,
    explain_errors,
    locate_storage,
)
from cifar_tune.storage.passwords import mask_passwords
from cifar_tune.storage.records import StoredStudy

PLAIN_WIDTH = 120
"""Columns of a table that is not printed to a terminal."""


def make_console(*, to_stderr: bool = False) -> Console:
    """The console; what is printed is the user's text, brackets and all, so there is no markup."""
    settings: dict[str, Any] = {"stderr": to_stderr, "markup": False, "highlight": False}
    console = Console(**settings)
    return console if console.is_terminal else Console(**settings, width=PLAIN_WIDTH)


def print_json(record: object) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(record, indent=2, ensure_ascii=False))  # noqa: T201


def command_line() -> str:
    """The command line as the ledger takes it down: without passwords."""
    typed = [mask_passwords(one, is_argument=True) for one in sys.argv[1:]]
    return shlex.join(["cifar-tune", *typed])


def read_overrides(epochs: int | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """The overrides of ``--epochs`` and ``--set``."""
    overrides = dict(map(parse_override, settings))
    return overrides if epochs is None else {**overrides, "epochs": epochs}


def read_stored(file_name: str, location: StorageLocation) -> list[StoredStudy]:
    """The stored studies of a study file."""
    check_readable(location)
    if not location.exists():
        return []  # and Optuna need not be imported

    from cifar_tune.storage import studies as storage

    with explain_errors(location):
        return storage.read_studies(location, file_name)


def find_stored(
    loaded: LoadedStudyFile,
    profile: str | None,
    overrides: dict[str, Any],
    location: StorageLocation,
) -> StudySpec:
    """The one stored study of a study file that is meant, as the file has it now.

    Args:
        profile: None takes the one that is stored.

    Raises:
        InputError: none is stored, or several are and the options do not say which.
    """
    stored = [study for study in read_stored(loaded.name, location) if study.trials]
    if profile is not None:
        wanted = resolve(loaded, profile, overrides).study_name
        found = [study for study in stored if study.study_name == wanted]
    elif overrides:
        wanted = loaded.name
        made = {resolve(loaded, one, overrides).study_name for one in loaded.content.profiles}
        found = [study for study in stored if study.study_name in made]
    else:
        wanted, found = loaded.name, stored
    if len(found) == 1:
        return resolve(loaded, found[0].profile, found[0].overrides)
    if found:
        raise InputError(
            f"{wanted}: several studies are stored in {location} "
            f"({', '.join(study.study_name for study in found)}); say which with --profile, and "
            "with --epochs or --set where it has them"
        )
    others = ", ".join(study.study_name for study in stored) or _with_data(location)
    raise InputError(
        f"{wanted}: is not stored in {location}, or has no trials; what has some: {others}; "
        f"`cifar-tune study run {loaded.name}` makes some"
    )


def find_by_name(
    name: str,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    storage: str | None,
) -> tuple[StudySpec, StorageLocation]:
    """The stored study that a command's argument and options name, and where it is.

    Raises:
        InputError: as ``find_stored``, or the study file is wrong.
    """
    loaded = load_study_file(name)
    location = locate_storage(storage)
    return find_stored(loaded, profile, read_overrides(epochs, settings), location), location


def _with_data(location: StorageLocation) -> str:
    """Every study that has trials, in words."""
    names = [
        study.study_name
        for file in find_study_files()
        for study in read_stored(file, location)
        if study.trials
    ]
    return ", ".join(names) or "no study"
