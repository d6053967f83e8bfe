"""The commands of ``cifar-tune study``: list, show, plan and run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from cifar_tune import paths, tables
from cifar_tune.commands.shared import make_console, print_json, read_overrides, read_stored
from cifar_tune.errors import InputError, StudyFileError
from cifar_tune.progress import Bars, PlainLines
from cifar_tune.storage_location import StorageLocation, explain_errors, locate_storage
from cifar_tune.study_file import (
    LoadedStudyFile,
    StudySpec,
    find_study_files,
    load_study_file,
    resolve,
)

if TYPE_CHECKING:
    import torch

    from cifar_tune.flights import Observer
    from cifar_tune.runner import RunLimits, StudyOutcome
    from cifar_tune.workers.choose import WorkerChoice


@dataclass(frozen=True)
class StudyOptions:
    """The options that ``plan`` and ``run`` share, as given on the command line."""

    profile: str | None
    trials: int | None
    seeds: int | None
    only: tuple[str, ...]
    epochs: int | None
    settings: tuple[str, ...]
    seed: int | None
    device: str | None
    workers: str | None
    per_gpu: int | None
    storage: str | None
    data_dir: Path | None
    as_json: bool
    timeout: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A study that is ready to be planned or run, with all its input checked."""

    spec: StudySpec
    reason: str
    location: StorageLocation
    device: torch.device
    workers: WorkerChoice
    root: Path  # of imported images and weights


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
    stored = {one.name: read_stored(one.name, location) for one in found}
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
        tables.print_list(make_console(), found, stored, location)
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
    overrides = read_overrides(epochs, settings)
    wanted = list(loaded.content.profiles) if profile is None else [profile]
    specs = {one: resolve(loaded, one, overrides) for one in wanted}
    location = locate_storage(storage)
    names = {spec.study_name for spec in specs.values()}
    stored = [
        study
        for study in read_stored(loaded.name, location)
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
    console = make_console()
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
    from cifar_tune.bench import measure_costs
    from cifar_tune.plan import make_plan

    ready = _prepare(name, options)
    with explain_errors(ready.location):
        study = stored.find_study(stored.open_to_read(ready.location), ready.spec.study_name)
        stored.check_definition(study, ready.spec, options.seed, digests=None)
        work = runner.remaining_work(ready.spec, study, options.trials)
        costs = measure_costs(ready.spec, ready.device, ready.workers.threads)
        plan = make_plan(ready.spec, work, costs, ready.workers.count or 1)
    if options.as_json:
        header = {"study": ready.spec.file_name, "study_name": ready.spec.study_name}
        header |= {"profile": ready.spec.profile_name, "storage": str(ready.location)}
        print_json({**header, **dataclasses.asdict(plan)})
        return
    _print_header(make_console(), ready)
    for line in tables.plan_lines(plan):
        make_console().print(line)


def run_study(name: str, options: StudyOptions) -> int:
    """Run what is left of a study and print its trials; the exit code."""
    from cifar_tune.budget import parse_duration
    from cifar_tune.runner import RunLimits

    seconds = None if options.timeout is None else parse_duration(options.timeout)
    ready = _prepare(name, options)
    spec = ready.spec
    console = make_console(to_stderr=options.as_json)
    outcome = execute(ready, console, options.seed, RunLimits(options.trials, seconds))
    if options.as_json:
        print_json(_outcome_record(ready, outcome))
    else:
        validation_images = spec.protocol.validation_images
        tables.print_outcome(console, outcome, validation_images, ready.location)
    return 130 if outcome.interrupted else 1 if outcome.failed else 0


def execute(ready: Prepared, console: Console, seed: int | None, limits: RunLimits) -> StudyOutcome:
    """Run what is left of a study, with its progress on the console."""
    from cifar_tune import runner
    from cifar_tune.bench import measure_costs
    from cifar_tune.data.source import load_search_data
    from cifar_tune.plan import example_config
    from cifar_tune.weights.registry import load_weights
    from cifar_tune.workers.choose import make_pool
    from cifar_tune.workers.messages import Materials

    spec, workers = ready.spec, ready.workers
    data = load_search_data(spec.protocol.data, ready.root)
    data.check(example_config(spec))
    weights = load_weights(spec.weights(limits.more_trials), ready.root)
    materials = Materials(data, weights, ready.root.absolute())
    logs = paths.worker_logs(ready.location.beside, spec.study_name)
    _print_header(console, ready)

    def run(observer: Observer) -> StudyOutcome:
        return runner.run_study(
            spec,
            ready.location,
            materials,
            lambda: make_pool(workers, materials, ready.device, spec.resources, logs),
            lambda: measure_costs(spec, ready.device, workers.threads),
            observer,
            seed=seed,
            limits=limits,
        )

    if console.is_terminal:
        with Bars(console) as bars:
            return run(bars)
    return run(PlainLines(console))


def _prepare(name: str, options: StudyOptions) -> Prepared:
    """Check all that was asked for, cheapest first; writes nothing."""
    loaded = load_study_file(name)
    location = locate_storage(options.storage)
    overrides = read_overrides(options.epochs, options.settings)
    if options.trials and options.only:
        raise InputError("--only and --trials: expected one of the two; --only samples nothing")
    if options.trials and not loaded.content.space.ranges():
        raise InputError(f"--trials {options.trials}: {loaded.name} searches nothing; expected 0")
    if options.profile is not None:  # an error in it is found before PyTorch is imported
        resolve(loaded, options.profile, overrides, options.seeds, options.only)

    from cifar_tune.device import choose_device
    from cifar_tune.workers.choose import choose_workers

    device = choose_device(options.device)
    workers = choose_workers(options.workers, options.per_gpu, device)
    root = paths.data_root(options.data_dir)
    profile, reason = _choose_profile(loaded, options, device, root)
    spec = resolve(loaded, profile, overrides, options.seeds, options.only)
    return Prepared(spec, reason, location, device, workers, root)


def _choose_profile(
    loaded: LoadedStudyFile, options: StudyOptions, device: torch.device, root: Path
) -> tuple[str, str]:
    """The profile to use, and why: what is not here is never what a run begins with unasked."""
    from cifar_tune.data.source import has_full_set
    from cifar_tune.weights.registry import missing_weights

    profiles = list(loaded.content.profiles)
    if options.profile is not None:
        return options.profile, "as asked for"
    if len(profiles) == 1 or not {"quick", "assignment"} <= set(profiles):
        return profiles[0], "the file's first"
    if device.type != "cuda":
        return "quick", f"this run uses {device.type.upper()}, not CUDA"
    if not has_full_set(root):
        return "quick", "the full CIFAR-10 is not on this machine: cifar-tune data fetch"
    overrides = read_overrides(options.epochs, options.settings)
    needed = resolve(loaded, "assignment", overrides, only=options.only).weights()
    missing = missing_weights(needed, root)
    if missing:
        return "quick", f"weights {', '.join(missing)} are not on this machine: cifar-tune weights"
    return "assignment", "this machine has CUDA and all that the assignment needs"


def _outcome_record(ready: Prepared, outcome: StudyOutcome) -> dict[str, Any]:
    return {
        "study": ready.spec.file_name,
        "study_name": ready.spec.study_name,
        "profile": ready.spec.profile_name,
        "storage": str(ready.location),
        "trials": [dataclasses.asdict(trial) for trial in outcome.trials],
        "best": dataclasses.asdict(outcome.best) if outcome.best is not None else None,
        "seconds": outcome.seconds,
        "left": {
            "named": len(outcome.left.named),
            "sampled": outcome.left.sampled,
            "why": outcome.why_left,
        },
    }


def _print_header(console: Console, ready: Prepared) -> None:
    from cifar_tune.device import describe_device

    spec = ready.spec
    console.print(Text.assemble((spec.study_name, "bold"), f"  {spec.title}"))
    console.print(f"profile {spec.profile_name}: {ready.reason}")
    protocol, weights = spec.protocol, ", ".join(sorted(spec.weights())) or "none"
    console.print(
        f"images {protocol.data}: {protocol.train_images:,} / {protocol.validation_images:,} at "
        f"{protocol.input_size} px, split {protocol.split}; pretrained weights: {weights}",
        soft_wrap=True,
    )
    console.print(
        f"device {describe_device(ready.device)}, {ready.workers}, storage {ready.location}",
        soft_wrap=True,
    )
