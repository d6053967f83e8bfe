"""What each command does after its arguments are parsed: call the product, print the answer."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from cifar_tune import paths, tables
from cifar_tune.errors import StudyFileError
from cifar_tune.progress import Bars, PlainLines
from cifar_tune.records import StoredStudy
from cifar_tune.storage_location import (
    StorageLocation,
    check_readable,
    explain_errors,
    locate_storage,
)
from cifar_tune.study_file import (
    LoadedStudyFile,
    StudySpec,
    find_study_files,
    load_study_file,
    parse_override,
    resolve,
)

if TYPE_CHECKING:
    import torch

    from cifar_tune.runner import StudyOutcome

PLAIN_WIDTH = 120
"""Columns of a table that is not printed to a terminal."""


@dataclass(frozen=True)
class StudyOptions:
    """The options that ``plan`` and ``run`` share, as given on the command line."""

    profile: str | None
    trials: int | None
    seeds: int | None
    epochs: int | None
    settings: tuple[str, ...]
    seed: int | None
    device: str | None
    storage: str | None
    as_json: bool


@dataclass(frozen=True)
class Prepared:
    """A study that is ready to be planned or run, with all its input checked."""

    spec: StudySpec
    reason: str
    location: StorageLocation
    device: torch.device


def list_studies(storage: str | None, *, as_json: bool) -> None:
    """Print every study file, its profiles, and which have stored trials."""
    location = locate_storage(storage)
    found, faults = [], []
    for path in find_study_files().values():
        try:
            found.append(load_study_file(str(path)))
        except StudyFileError as error:
            faults.append(str(error))
    found.sort(key=lambda loaded: loaded.name)
    stored = {one.name: _stored(one.name, location) for one in found}
    if as_json:
        rows = [
            {
                "name": one.name,
                "title": one.content.title,
                "profiles": list(one.content.profiles),
                "file": str(one.path),
                "stored": {study.study_name: len(study.trials) for study in stored[one.name]},
            }
            for one in found
        ]
        print_json({"storage": str(location), "studies": rows})
    else:
        tables.print_list(_console(), found, stored, location)
    if faults:  # the others are shown all the same
        raise StudyFileError("\n".join(faults))


def show_study(
    name: str,
    profile: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    storage: str | None,
    as_json: bool,
) -> None:
    """Print a study file and what the storage holds of it.

    Args:
        profile: show only this profile.
        epochs, settings: overrides; show only the study that they make.
    """
    loaded = load_study_file(name)
    overrides = _overrides(epochs, settings)
    wanted = list(loaded.content.profiles) if profile is None else [profile]
    specs = {one: resolve(loaded, one, overrides) for one in wanted}
    location = locate_storage(storage)
    names = {spec.study_name for spec in specs.values()}
    stored = [
        study
        for study in _stored(loaded.name, location)
        if (study.study_name in names if overrides else study.study_name.split(":")[1] in specs)
    ]
    content = loaded.content.model_dump(exclude_none=True)
    content["profiles"] = {
        one: {
            **content["profiles"][one],
            "protocol": spec.protocol.model_dump(exclude_none=True),
        }
        for one, spec in specs.items()
    }
    if as_json:
        record = {"study": loaded.name, "file": str(loaded.path), **content}
        shown = [dataclasses.asdict(study) for study in stored]
        print_json({**record, "storage": str(location), "stored": shown})
        return
    console = _console()
    tables.print_study_file(console, loaded, content["profiles"])
    if not stored:
        console.print(f"\nNothing of it is stored in {location}.")
    for study in stored:
        console.print(Text.assemble((f"\n{study.study_name}", "bold"), f" in {location}"))
        console.print(tables.trials_table(study.trials, study.best, console.width))


def plan_study(name: str, options: StudyOptions) -> None:
    """Print what a run would do and how long it would take."""
    from cifar_tune import runner
    from cifar_tune import storage as stored
    from cifar_tune.bench import measure_steps

    ready = _prepare(name, options)
    with explain_errors(ready.location):
        study = stored.find_study(stored.open_to_read(ready.location), ready.spec.study_name)
        stored.check_definition(study, ready.spec, options.seed, data_digests=None)
        times = measure_steps(runner.example_config(ready.spec), ready.device)
        plan = runner.plan_study(ready.spec, study, times, options.trials)
    if options.as_json:
        header = {"study": ready.spec.file_name, "study_name": ready.spec.study_name}
        header |= {"profile": ready.spec.profile_name, "storage": str(ready.location)}
        print_json({**header, **dataclasses.asdict(plan)})
        return
    _print_header(_console(), ready)
    for line in tables.plan_lines(plan):
        _console().print(line)


def run_study(name: str, options: StudyOptions) -> int:
    """Run what is left of a study and print its trials; the exit code."""
    from cifar_tune import runner
    from cifar_tune.data.source import load_search_data

    ready = _prepare(name, options)
    data = load_search_data(ready.spec.protocol.data)
    console = _console(to_stderr=options.as_json)
    _print_header(console, ready)

    def run(observer: runner.Observer) -> StudyOutcome:
        return runner.run_study(
            ready.spec,
            ready.location,
            data,
            ready.device,
            observer,
            seed=options.seed,
            more_trials=options.trials,
        )

    if console.is_terminal:
        with Bars(console) as bars:
            outcome = run(bars)
    else:
        outcome = run(PlainLines(console))
    if options.as_json:
        print_json(_outcome_record(ready, outcome))
    else:
        validation_images = ready.spec.protocol.validation_images
        tables.print_outcome(console, outcome, validation_images, ready.location)
    return 130 if outcome.interrupted else 1 if outcome.failed else 0


def show_data() -> None:
    """Print which images are here."""
    from cifar_tune.data.bundle import RULE, read_bundled, read_manifest
    from cifar_tune.data.source import has_full_set

    console = _console()
    for split in RULE:
        console.print(f"bundled {split}: {len(read_bundled(split)):,} images, digests match")
    console.print(f"source: {read_manifest()['source']}")
    where = paths.full_set_folder()
    state = "imported" if has_full_set() else "not imported (cifar-tune data import FOLDER)"
    console.print(f"full CIFAR-10: {state}; {where}", soft_wrap=True)


def import_data(folder: Path) -> None:
    """Import the full CIFAR-10 and print where it went."""
    from cifar_tune.data.source import import_full_set

    where = import_full_set(folder)
    _console().print(f"full CIFAR-10: digests match; kept in {where}")


def bench(rounds: int, device_name: str | None, *, as_json: bool) -> None:
    """Time epochs of the plain loop and of ours, in turn, and print both."""
    from cifar_tune.bench import compare_epochs, software_line
    from cifar_tune.data.source import load_search_data
    from cifar_tune.device import choose_device, describe_device

    device = choose_device(device_name)
    spec = resolve(load_study_file("dropout"), "quick")
    config = spec.config(spec.named[0].params, seed=0)
    console = _console(to_stderr=as_json)
    console.print(f"{describe_device(device)}; {software_line()}")
    result = compare_epochs(
        config,
        load_search_data("bundled"),
        device,
        rounds,
        lambda name, seconds: console.print(f"  {name:<6}{seconds:8.2f} s"),
    )
    record: dict[str, Any] = {"device": describe_device(device), "images": result.images}
    for name, values in (("plain", result.plain_seconds), ("ours", result.ours_seconds)):
        median = statistics.median(values)
        record[f"{name}_seconds"] = list(values)
        record[f"{name}_images_per_second"] = result.images / median
        if not as_json:
            console.print(
                f"{name:<6} median {median:.2f} s ({min(values):.2f} to {max(values):.2f}), "
                f"{result.images / median:.0f} images/s",
            )
    record["ratio"] = statistics.median(result.ratios)
    if as_json:
        print_json(record)
        return
    console.print(
        f"plain / ours: median {record['ratio']:.2f} "
        f"({min(result.ratios):.2f} to {max(result.ratios):.2f}) over {rounds} rounds",
    )


def print_json(record: object) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(record, indent=2, ensure_ascii=False))  # noqa: T201


# --- parts --------------------------------------------------------------------------------------


def _console(*, to_stderr: bool = False) -> Console:
    # No markup: what is printed is the user's text, brackets and all.
    settings: dict[str, Any] = {"stderr": to_stderr, "markup": False, "highlight": False}
    console = Console(**settings)
    return console if console.is_terminal else Console(**settings, width=PLAIN_WIDTH)


def _prepare(name: str, options: StudyOptions) -> Prepared:
    """Check all that was asked for, cheapest first; writes nothing."""
    loaded = load_study_file(name)
    location = locate_storage(options.storage)
    overrides = _overrides(options.epochs, options.settings)
    if options.profile is not None:  # an error in it is found before PyTorch is imported
        resolve(loaded, options.profile, overrides, options.seeds)

    from cifar_tune.device import choose_device

    device = choose_device(options.device)
    profile, reason = _choose_profile(loaded, options.profile, device)
    spec = resolve(loaded, profile, overrides, options.seeds)
    return Prepared(spec, reason, location, device)


def _overrides(epochs: int | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """The overrides of ``--epochs`` and ``--set``."""
    overrides = dict(map(parse_override, settings))
    return overrides if epochs is None else {**overrides, "epochs": epochs}


def _choose_profile(
    loaded: LoadedStudyFile, asked_for: str | None, device: torch.device
) -> tuple[str, str]:
    """The profile to use, and why."""
    from cifar_tune.data.source import has_full_set

    profiles = list(loaded.content.profiles)
    if asked_for is not None:
        return asked_for, "as asked for"
    if len(profiles) == 1 or not {"quick", "assignment"} <= set(profiles):
        return profiles[0], "the file's first"
    if device.type != "cuda":
        return "quick", f"this run uses {device.type.upper()}, not CUDA"
    if not has_full_set():
        return "quick", "the full CIFAR-10 is not on this machine: cifar-tune data import"
    return "assignment", "this machine has CUDA and the full CIFAR-10"


def _stored(file_name: str, location: StorageLocation) -> list[StoredStudy]:
    """The stored studies of a study file."""
    check_readable(location)
    if not location.exists():
        return []  # and Optuna need not be imported

    from cifar_tune import storage

    with explain_errors(location):
        return storage.read_studies(location, file_name)


def _outcome_record(ready: Prepared, outcome: StudyOutcome) -> dict[str, Any]:
    return {
        "study": ready.spec.file_name,
        "study_name": ready.spec.study_name,
        "profile": ready.spec.profile_name,
        "storage": str(ready.location),
        "trials": [dataclasses.asdict(trial) for trial in outcome.trials],
        "best": dataclasses.asdict(outcome.best) if outcome.best is not None else None,
        "seconds": outcome.seconds,
    }


def _print_header(console: Console, ready: Prepared) -> None:
    from cifar_tune.device import describe_device

    spec = ready.spec
    console.print(Text.assemble((spec.study_name, "bold"), f"  {spec.title}"))
    console.print(f"profile {spec.profile_name}: {ready.reason}")
    console.print(
        f"device {describe_device(ready.device)}, storage {ready.location}",
        soft_wrap=True,
    )
