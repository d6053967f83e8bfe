"""The commands of ``cifar-tune study`` but ``queue``, which ``queue.py`` has."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from cifar_tune.cli import tables
from cifar_tune.cli.compare import study_compare
from cifar_tune.cli.console import (
    LOADING,
    OutputOptions,
    announce,
    log_run,
    make_console,
    print_json,
    print_study,
    run_on_console,
    show_run,
    study_header,
)
from cifar_tune.cli.deletion import study_delete
from cifar_tune.cli.help import group
from cifar_tune.cli.new_study import study_new
from cifar_tune.cli.options import gather, options, study_options
from cifar_tune.cli.queue import queue
from cifar_tune.errors import StudyFileError
from cifar_tune.search.preparation import (
    MachineOptions,
    WorkOptions,
    missing_materials,
    prepare,
)
from cifar_tune.storage.location import explain_errors, locate_storage
from cifar_tune.wording import format_count

if TYPE_CHECKING:
    from cifar_tune.config.study_file import LoadedStudyFile
    from cifar_tune.storage.selector import StudySelector


@group("study", epilog="Example: cifar-tune study run dropout")
def study() -> None:
    """Create, list, plan, run and delete studies."""


study.add_command(queue)
study.add_command(study_compare)
study.add_command(study_new)
study.add_command(study_delete)


@study.command("list", waits_for="Reading study files", epilog="Example: cifar-tune study list")
@options("storage", "json")
def study_list(storage: str | None, as_json: bool) -> None:
    """List study files and what is stored of each."""
    from cifar_tune.config.study_file import find_study_files, load_study_file
    from cifar_tune.storage.trial_counts import count_trials_by_file

    location = locate_storage(storage)
    files, faults = [], []
    for path in find_study_files().values():
        try:
            files.append(load_study_file(str(path)))
        except StudyFileError as error:
            faults.append(str(error))
    files.sort(key=lambda file: file.name)
    counts = count_trials_by_file(location, [file.name for file in files])
    if as_json:
        rows = [
            {
                "name": file.name,
                "title": file.content.title,
                "profiles": list(file.content.profiles),
                "file": str(file.path),
                "stored": counts[file.name],
            }
            for file in files
        ]
        print_json({"storage": str(location), "studies": rows})
    else:
        tables.print_list(make_console(), files, counts, location)
    if faults:  # the others are shown all the same
        raise StudyFileError("\n".join(faults))


@study.command("show", epilog="Example: cifar-tune study show dropout --profile quick")
@study_options("profile", "epochs", "set", "storage", "json")
def study_show(study: StudySelector, as_json: bool) -> None:
    """Show a study file and its stored trials.

    NAME is the name of a study file or its path. With --epochs or --set, only the study of its
    own that they name is shown.
    """
    from cifar_tune.config.study_file import resolve
    from cifar_tune.storage.selector import read_stored

    loaded, location = study.load_file(), study.location
    wanted = list(loaded.content.profiles) if study.profile is None else [study.profile]
    specs = {profile: resolve(loaded, profile, study.overrides) for profile in wanted}
    names = {spec.study_name for spec in specs.values()}
    studies = [
        stored
        for stored in read_stored(loaded.name, location)
        if (
            stored.study_name in names
            if study.overrides
            else stored.study_name.split(":")[1] in specs
        )
    ]
    content = loaded.content.model_dump(exclude_none=True)
    for profile, spec in specs.items():
        content["profiles"][profile]["protocol"] = spec.protocol.model_dump(exclude_none=True)
    content["profiles"] = {profile: content["profiles"][profile] for profile in specs}
    if as_json:
        record = {"study": loaded.name, "file": str(loaded.path), **content}
        shown = list(map(dataclasses.asdict, studies))
        print_json({**record, "storage": str(location), "stored": shown})
        return
    console = make_console()
    tables.print_study_file(console, loaded, content["profiles"])
    if not studies:
        console.print(f"\nNothing of it is stored in {location}.")
    for stored in studies:
        console.print(Text.assemble((f"\n{stored.study_name}", "bold"), f" in {location}"))
        console.print(tables.trials_table(stored.trials, stored.best, console.width))


_WORK = ("profile", "trials", "seeds", "only", "epochs", "set", "seed")
_MACHINE = ("device", "workers", "per-gpu", "precision", "slots", "storage", "data-dir", "json")


@study.command(
    "plan",
    waits_for="Reading the study file",
    epilog="Example: cifar-tune study plan dropout --profile quick --trials 20",
)
@study_options(*_WORK, *_MACHINE)
@gather("work", WorkOptions)
@gather("machine", MachineOptions)
def study_plan(
    study: StudySelector, work: WorkOptions, machine: MachineOptions, as_json: bool
) -> None:
    """Show what a run would do and how long it would take.

    This machine is measured for a few seconds. NAME is the name of a study file or its path.
    """
    from cifar_tune.search.progress import plan_lines
    from cifar_tune.search.spinner import Spinner

    console = make_console(to_stderr=as_json)

    def begin(loaded: LoadedStudyFile) -> None:
        print_study(console, loaded.name, loaded.content.title)
        spinner.show(LOADING)

    with Spinner(console) as spinner:
        prepared = prepare(study, work, machine, begins_workers=False, on_checked=begin)
        spec, location = prepared.spec, prepared.location

        from cifar_tune.search.costs import measure_costs
        from cifar_tune.search.plan import make_plan
        from cifar_tune.search.runner import RunOptions, remaining_work
        from cifar_tune.storage import studies
        from cifar_tune.storage.definition import check_definition

        with explain_errors(location):
            stored = studies.find_study(studies.open_to_read(location), spec.study_name)
            check_definition(stored, spec, work.seed, digests=None)
            remaining = remaining_work(spec, stored, RunOptions(work.trials))
            prepared = announce(prepared, console, spinner.show)
            spinner.show("Measuring training steps")
            costs = measure_costs(prepared.spec, prepared.device, prepared.workers)
            missing = missing_materials(prepared)
            plan = make_plan(prepared.spec, remaining, costs, prepared.workers.at_once)
    if as_json:
        record = {**study_header(spec, location), **dataclasses.asdict(plan)}
        print_json({**record, "missing": missing})
        return
    for line in plan_lines(plan):
        console.print(line, soft_wrap=True)
    for line in missing:
        console.print(Text.assemble(("missing    ", "yellow"), line), soft_wrap=True)


@study.command(
    "run",
    waits_for="Reading the study file",
    epilog="Example: cifar-tune study run dropout --profile quick --trials 10",
)
@study_options(*_WORK, *_MACHINE, "timeout", "log", "quiet")
@gather("work", WorkOptions)
@gather("machine", MachineOptions)
@gather("output", OutputOptions)
def study_run(
    study: StudySelector, work: WorkOptions, machine: MachineOptions, output: OutputOptions
) -> None:
    """Run a study, or continue it.

    What is left of it is run: its named trials first, then its search. NAME is the name of a study
    file or its path. Run again to continue, also after a crash; Ctrl-C stops cleanly.
    """
    seconds = machine.seconds
    console = output.progress_console()

    def begin(loaded: LoadedStudyFile) -> None:
        print_study(console, loaded.name, loaded.content.title)
        observer.preparing(LOADING)

    with show_run(console) as observer:
        prepared = prepare(study, work, machine, on_checked=begin)

        from cifar_tune.search.next_commands import RunOfStudy
        from cifar_tune.search.runner import RunOptions

        options = RunOptions(work.trials, seconds, seed=work.seed)
        logged = log_run(output, prepared, observer)
        outcome = run_on_console(prepared, console, options, logged)
    if output.as_json:
        print_json({**study_header(prepared.spec, prepared.location), **outcome.to_dict()})
    elif output.is_quiet:
        tables.print_result(make_console(), outcome)
    else:
        ended = RunOfStudy(prepared.spec, prepared.location, machine.root, work.only, work.trials)
        tables.print_outcome(console, outcome, ended)
    sys.exit(130 if outcome.interrupted else 1 if outcome.failed else 0)


# --- to and from another machine ---------------------------------------------------------------


@study.command("export", epilog="Example: cifar-tune study export dropout --out dropout.json")
@study_options("profile", "epochs", "set", "storage")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the JSON file.",
)
def study_export(study: StudySelector, out: Path) -> None:
    """Write a stored study to a JSON file.

    That is its definition, trials, metrics, versions, digests and test reads. NAME is the name of a
    study file or its path. Confirmations, re-runs and predictions for each image are included;
    weights and pictures are not.
    """
    spec, location = study.find()

    from cifar_tune.evaluation.export.study import export_study

    content = export_study(location, spec, out)
    counts = ", ".join(
        f"{exported['study_name']} with {format_count(len(exported['trials']), 'trial')}"
        for exported in content["studies"]
    )
    make_console().print(
        f"{out}: {counts}; {format_count(len(content['test_reads']), 'read')} of the test images",
        soft_wrap=True,
    )


@study.command(
    "import", waits_for="Reading the files", epilog="Example: cifar-tune study import dropout.json"
)
@click.argument(
    "files", metavar="FILE...", type=click.Path(path_type=Path), nargs=-1, required=True
)
@options("storage", "json")
def study_import(files: tuple[Path, ...], storage: str | None, as_json: bool) -> None:
    """Add exported studies to the storage.

    What is there already is not added again. Each FILE is what `cifar-tune study export` wrote. One
    that was altered is refused.
    """
    from cifar_tune.evaluation.export.study import import_studies, read_export

    location = locate_storage(storage)
    contents = [read_export(path) for path in files]  # all, before any is added
    imports = import_studies(contents, location)
    trials = {name: added for imported in imports for name, added in imported.trials.items()}
    test_reads = sum(imported.test_reads for imported in imports)
    if as_json:
        print_json({"storage": str(location), "trials": trials, "test_reads": test_reads})
        return
    for study_name, added in trials.items():
        trials_added = format_count(added, "trial")
        make_console().print(f"{study_name}: {trials_added} added to {location}", soft_wrap=True)
    reads = format_count(test_reads, "read")
    make_console().print(f"{reads} of the test images added to the ledger")
