"""The commands of ``cifar-tune trial`` and the ledger of test reads."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from cifar_tune import paths
from cifar_tune.cli.console import command_line, find_by_name, make_console, print_json
from cifar_tune.evaluation.test_reads import TestRead, TestResult
from cifar_tune.storage.location import (
    StorageLocation,
    check_readable,
    explain_errors,
    locate_storage,
)
from cifar_tune.storage.records import describe_failure, trial_label


def test_trials(
    name: str,
    trial_name: str | None,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    device: str | None,
    storage: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Evaluate a trial on the test images, or all that were not yet, and print what came out."""
    spec, location = find_by_name(name, profile, epochs, settings, storage)

    from cifar_tune.evaluation import test_images
    from cifar_tune.training.device import choose_device

    root, chosen = paths.data_root(data_dir), choose_device(device)
    wanted = (
        [trial_name] if trial_name is not None else test_images.unread(location, spec.study_name)
    )
    results = []
    for one in wanted:
        result = test_images.evaluate_on_test(
            location, spec.study_name, one, root, chosen, command_line()
        )
        results.append(result)
        if not as_json:
            _print_result(result, location)
    if as_json and trial_name is not None:
        print_json(dataclasses.asdict(results[0]))
    elif as_json:
        print_json({"test_results": list(map(dataclasses.asdict, results))})
    elif not results:
        make_console().print(
            f"{spec.study_name}: every named trial that is complete and whose weights were kept "
            "has been tested; TRIAL says which to test again."
        )


def _print_result(result: TestResult, location: StorageLocation) -> None:
    error = math.sqrt(result.accuracy * (1 - result.accuracy) / result.images)
    make_console().print(
        f"{result.study_name}, trial {result.trial} {result.name or '(sampled)'}: test accuracy "
        f"{result.accuracy:.4f} on {result.images:,} images (binomial standard error "
        f"{error:.4f}), loss {result.loss:.4f}, with mirrored images averaged in "
        f"{result.flip_accuracy:.4f}; written to the ledger in {location}",
        soft_wrap=True,
    )


def drop_trials(
    name: str,
    trial_name: str | None,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    storage: str | None,
    as_json: bool,
) -> None:
    """Drop a trial that has not ended, or all of them, and print which."""
    spec, location = find_by_name(name, profile, epochs, settings, storage)

    from cifar_tune.dashboard.notes.annotator import write_trial_note
    from cifar_tune.search import ended_trials

    console = make_console(to_stderr=as_json)
    dropped = ended_trials.drop_trials(location, spec, trial_name, console.print, write_trial_note)
    if as_json:
        print_json({"dropped": list(map(dataclasses.asdict, dropped))})
        return
    for one in dropped:
        console.print(
            f"{one.study_name}, {trial_label(one.trial)}: {describe_failure(one.trial)}",
            soft_wrap=True,
        )
    if not dropped:
        console.print(
            f"{spec.study_name}: every trial has ended; there is nothing to drop.", soft_wrap=True
        )


def show_test_reads(storage: str | None, *, as_json: bool) -> None:
    """Print the ledger of test reads."""
    location = locate_storage(storage)
    check_readable(location)
    rows: list[TestRead] = []
    if location.exists():
        from cifar_tune.evaluation.test_reads import read_ledger
        from cifar_tune.storage.studies import open_to_read

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
