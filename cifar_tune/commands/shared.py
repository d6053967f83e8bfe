"""What several commands share: the console, JSON, and what they read of studies."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from cifar_tune.records import StoredStudy
from cifar_tune.storage_location import StorageLocation, check_readable, explain_errors
from cifar_tune.study_file import parse_override

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


def read_overrides(epochs: int | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """The overrides of ``--epochs`` and ``--set``."""
    overrides = dict(map(parse_override, settings))
    return overrides if epochs is None else {**overrides, "epochs": epochs}


def read_stored(file_name: str, location: StorageLocation) -> list[StoredStudy]:
    """The stored studies of a study file."""
    check_readable(location)
    if not location.exists():
        return []  # and Optuna need not be imported

    from cifar_tune import storage

    with explain_errors(location):
        return storage.read_studies(location, file_name)
