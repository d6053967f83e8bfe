"""The console that commands print to, and JSON."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cifar_tune.storage.passwords import mask_passwords

if TYPE_CHECKING:
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.storage.location import StorageLocation

PLAIN_WIDTH = 120
"""Columns of a table that is not printed to a terminal."""


def make_console(*, to_stderr: bool = False) -> Console:
    """Return a console without markup: what is printed is the user's text, brackets and all."""
    settings: dict[str, Any] = {"stderr": to_stderr, "markup": False, "highlight": False}
    console = Console(**settings)
    return console if console.is_terminal else Console(**settings, width=PLAIN_WIDTH)


def print_json(record: object) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(record, indent=2, ensure_ascii=False))  # noqa: T201


def study_header(spec: StudySpec, location: StorageLocation) -> dict[str, Any]:
    """Return what the JSON object of a study begins with."""
    return {
        "study": spec.file_name,
        "study_name": spec.study_name,
        "profile": spec.profile_name,
        "storage": str(location),
    }


def command_line() -> str:
    """Return the command line as the ledger takes it down: without passwords."""
    arguments = [mask_passwords(argument, is_argument=True) for argument in sys.argv[1:]]
    return shlex.join(["cifar-tune", *arguments])
