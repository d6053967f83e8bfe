"""The commands of ``cifar-tune trial`` and the ledger of test reads."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from pathlib import Path
from typing import Any

from cifar_tune import paths
from cifar_tune.commands.shared import make_console, print_json, read_overrides, read_stored
from cifar_tune.errors import InputError
from cifar_tune.records import TestRead
from cifar_tune.storage_location import (
    StorageLocation,
    check_readable,
    explain_errors,
    locate_storage,
)
from cifar_tune.study_file import LoadedStudyFile, load_study_file, resolve


def test_trial(
    name: str,
    trial_name: str,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    device: str | None,
    storage: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Evaluate a trial on the test images and print what came out."""
    loaded = load_study_file(name)
    location = locate_storage(storage)
    study_name = _stored_study(loaded, profile, read_overrides(epochs, settings), location)

    from cifar_tune import rerun
    from cifar_tune.device import choose_device

    command = shlex.join(["cifar-tune", *sys.argv[1:]])
    root = paths.data_root(data_dir)
    result = rerun.test_trial(
        location, study_name, trial_name, root, choose_device(device), command
    )
    if as_json:
        print_json(dataclasses.asdict(result))
        return
    error = math.sqrt(result.accuracy * (1 - result.accuracy) / result.images)
    make_console().print(
        f"{study_name}, trial {result.trial} {result.name or '(sampled)'}: test accuracy "
        f"{result.accuracy:.4f} on {result.images:,} images (binomial standard error "
        f"{error:.4f}), loss {result.loss:.4f}; written to the ledger in {location}",
        soft_wrap=True,
    )


def show_test_reads(storage: str | None, *, as_json: bool) -> None:
    """Print the ledger of test reads."""
    location = locate_storage(storage)
    check_readable(location)
    rows: list[TestRead] = []
    if location.exists():
        from cifar_tune.ledger import read_ledger
        from cifar_tune.storage import open_to_read

        with explain_errors(location):
            opened = open_to_read(location)
            rows = read_ledger(opened.engine) if opened is not None else []
    if as_json:
        reads = [{"time": r.time, "command": r.command, **vars(r.result)} for r in rows]
        print_json({"storage": str(location), "test_reads": reads})
        return
    for row in rows:
        one = row.result
        make_console().print(
            f"{row.time}  {one.study_name}, trial {one.trial} {one.name or '(sampled)'}: "
            f"{one.accuracy:.4f} on {one.images:,} images; {row.command}",
            soft_wrap=True,
        )
    make_console().print(f"The test images were read {len(rows)} times; ledger in {location}.")


def _stored_study(
    loaded: LoadedStudyFile,
    profile: str | None,
    overrides: dict[str, Any],
    location: StorageLocation,
) -> str:
    """The name of the one stored study that is meant."""
    names = [study.study_name for study in read_stored(loaded.name, location) if study.trials]
    if profile is not None:
        wanted = resolve(loaded, profile, overrides).study_name
        found = [name for name in names if name == wanted]
    else:
        wanted = loaded.name
        made = {resolve(loaded, one, overrides).study_name for one in loaded.content.profiles}
        found = [name for name in names if name in made] if overrides else names
    if len(found) == 1:
        return found[0]
    stored = ", ".join(names) or "nothing of it"
    reason = "several studies are stored" if found else "is not stored"
    raise InputError(f"{wanted}: {reason} in {location} ({stored}); say which with --profile")
