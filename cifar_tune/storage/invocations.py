"""The commands that a reader is told to type."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from cifar_tune import paths
from cifar_tune.config.study_file import StudySpec, name_in_commands, parse_override
from cifar_tune.errors import StorageError
from cifar_tune.storage.location import StorageLocation, locate_storage


@dataclass(frozen=True)
class NextCommand:
    """A command that a user may want next, and what it is for."""

    purpose: str
    command: str


def study_arguments(spec: StudySpec, location: StorageLocation | None) -> str:
    """Return the arguments of a command that name a study, and its storage where one is given."""
    name = shlex.quote(name_in_commands(spec.source))
    storage = storage_options(location) if location is not None else ""
    return " ".join(filter(None, (name, name_options(spec), storage)))


def name_options(spec: StudySpec) -> str:
    """Return the options of the command line that name a study of a study file."""
    changed = [
        f"--set {shlex.quote(f'{key}={_toml(spec.overrides[key])}')}" for key in spec.overrides
    ]
    return " ".join([f"--profile {spec.profile_name}", *changed])


def _toml(value: object) -> str:
    """Return a value as ``--set`` reads it: a string as it is, unless that would be no string."""
    text = str(value)
    if isinstance(value, str) and parse_override(f"key={text}") == ("key", value):
        return text
    return text if isinstance(value, int | float) and text[-1].isdigit() else json.dumps(value)


def storage_options(location: StorageLocation) -> str:
    """Return the option that names a database file; empty where a command finds it by itself.

    It is empty for a server too, whose address may have a password in it.
    """
    try:
        is_found = location == locate_storage()
    except StorageError:  # what $CIFAR_TUNE_STORAGE says is wrong
        is_found = False
    if is_found or location.path is None:
        return ""
    return f"--storage {shlex.quote(location.argument)}"


def training_arguments(spec: StudySpec, location: StorageLocation, root: Path | None) -> str:
    """Return ``study_arguments`` with the folder of images and weights, where one is given."""
    option = "" if root is None else paths.data_option(root)
    return " ".join(filter(None, (study_arguments(spec, location), option)))


def confirm_command(spec: StudySpec, location: StorageLocation, root: Path | None) -> NextCommand:
    """Return the command that trains the best configurations of a study on fresh seeds."""
    arguments = training_arguments(spec, location, root)
    purpose = "Train the best configurations on fresh seeds"
    return NextCommand(purpose, f"cifar-tune best confirm {arguments}")


def rerun_command(spec: StudySpec, location: StorageLocation, root: Path | None) -> NextCommand:
    """Return the command that trains the best configuration and evaluates it on test images."""
    arguments = training_arguments(spec, location, root)
    purpose = "Train the best configuration again and test it"
    return NextCommand(purpose, f"cifar-tune best rerun {arguments}")


def report_command(spec: StudySpec, location: StorageLocation) -> NextCommand:
    """Return the command that writes the report of a study."""
    return NextCommand("Write the report", f"cifar-tune report {study_arguments(spec, location)}")


def train_command(run_command: str, model: str, replicate: str) -> str:
    """Return the command that trains a replicate of a named trial, with those before it."""
    number = replicate.rpartition("=")[2]
    return f"{run_command} --only {shlex.quote(model)} --seeds {number}"
