"""The commands of ``cifar-tune study``: list, show, plan and run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cifar_tune.cli import tables
from cifar_tune.cli.console import make_console, print_json, read_overrides, read_stored
from cifar_tune.cli.execution import Prepared, StudyOptions, execute, prepare, settle_precision
from cifar_tune.config.study_file import find_study_files, load_study_file, resolve
from cifar_tune.errors import StudyFileError
from cifar_tune.storage.location import explain_errors, locate_storage

if TYPE_CHECKING:
    from cifar_tune.search.runner import StudyOutcome


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
    from cifar_tune.search import runner
    from cifar_tune.search.costs import measure_costs
    from cifar_tune.search.plan import make_plan
    from cifar_tune.search.progress import plan_lines
    from cifar_tune.storage import studies as stored

    ready = prepare(name, options, begins_workers=False)
    with explain_errors(ready.location):
        study = stored.find_study(stored.open_to_read(ready.location), ready.spec.study_name)
        stored.check_definition(study, ready.spec, options.seed, digests=None)
        work = runner.remaining_work(ready.spec, study, runner.RunOptions(options.trials))
        ready = settle_precision(ready, make_console(to_stderr=options.as_json))
        costs = measure_costs(ready.spec, ready.device, ready.workers.threads)
        plan = make_plan(ready.spec, work, costs, ready.workers.at_once)
    if options.as_json:
        header = {"study": ready.spec.file_name, "study_name": ready.spec.study_name}
        header |= {"profile": ready.spec.profile_name, "storage": str(ready.location)}
        print_json({**header, **dataclasses.asdict(plan)})
        return
    for line in plan_lines(plan):
        make_console().print(line)


def run_study(name: str, options: StudyOptions) -> int:
    """Run what is left of a study and print its trials; the exit code."""
    from cifar_tune.search.budget import parse_duration
    from cifar_tune.search.runner import RunOptions

    seconds = None if options.timeout is None else parse_duration(options.timeout)
    ready = prepare(name, options)
    spec = ready.spec
    console = make_console(to_stderr=options.as_json)
    outcome = execute(ready, console, RunOptions(options.trials, seconds, seed=options.seed))
    if options.as_json:
        print_json(_outcome_record(ready, outcome))
    else:
        validation_images = spec.protocol.validation_images
        tables.print_outcome(console, outcome, validation_images, ready.location)
    return 130 if outcome.interrupted else 1 if outcome.failed else 0


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
            "queued": len(outcome.left.queued),
            "why": outcome.why_left,
        },
    }
