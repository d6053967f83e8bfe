"""The commands of ``cifar-tune best`` but ``export``, which ``export.py`` has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from cifar_tune.cli import best_tables
from cifar_tune.cli.console import (
    LOADING,
    OutputOptions,
    command_line,
    make_console,
    print_json,
    print_study,
    run_on_console,
    show_run,
    study_header,
    waiting,
)
from cifar_tune.cli.export import best_export
from cifar_tune.cli.help import group
from cifar_tune.cli.options import (
    STUDY,
    WORKERS,
    ChosenOptions,
    completes,
    gather,
    number_option,
    options,
    study_options,
)
from cifar_tune.errors import InputError
from cifar_tune.search.preparation import MachineOptions
from cifar_tune.wording import format_times

if TYPE_CHECKING:
    from rich.console import Console

    from cifar_tune.api.runs import Run
    from cifar_tune.config.derived import Purpose
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.evaluation.best import BestRecord
    from cifar_tune.evaluation.candidates import Candidate
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.search.preparation import Prepared
    from cifar_tune.search.runner import RunOptions
    from cifar_tune.storage.selector import StudySelector

_TRAINING = (*STUDY, *WORKERS, "data-dir", "timeout", "storage", "json", "quiet")
"""Options of the commands that train."""
_top_option = number_option("--top", "Length of the short list; by default 4.")


@group("best", epilog="Example: cifar-tune best confirm dropout --seeds 3")
def best() -> None:
    """Find, confirm, re-run and export the best configuration."""


best.add_command(best_export)


@best.command("show", epilog="Example: cifar-tune best show dropout")
@_top_option
@study_options("profile", "epochs", "set", "storage", "json")
def best_show(study: StudySelector, top: int | None, as_json: bool) -> None:
    """Show the best configuration and how far to trust it.

    Part of the lead of the best of many is likely noise; how much is estimated.
    Once `best confirm` was run, what it found is the answer and stands first.

    NAME is the name of a study file or its path.
    """
    record = _read_best(study, OutputOptions(as_json), top)
    if as_json:
        print_json(_to_json(record, record.to_dict()))
    else:
        best_tables.print_best(make_console(), record)


@best.command("confirm", epilog="Example: cifar-tune best confirm dropout --seeds 3")
@number_option("--seeds", "Fresh seeds of each configuration.", default=3)
@_top_option
@study_options(*_TRAINING)
@gather("machine", MachineOptions)
@gather("output", OutputOptions)
def best_confirm(
    study: StudySelector,
    seeds: int,
    top: int | None,
    machine: MachineOptions,
    output: OutputOptions,
) -> None:
    """Train the short list again on fresh seeds and rank it anew.

    NAME is the name of a study file or its path. The runs are a study of their own, which the
    search never sees. Run again to continue, or with more --seeds.
    """
    before = _read_best(study, output, top)

    from cifar_tune.api.retraining import confirm

    console = output.progress_console()
    exit_code = _train(before, "confirm", console, lambda run: confirm(before, seeds, machine, run))
    after = _read_best(study, output, top)
    if output.as_json:
        print_json(_to_json(after, after.to_dict()))
    elif exit_code == 0:
        best_tables.print_confirmation(
            make_console(), after, machine.root, is_brief=output.is_quiet
        )
    sys.exit(exit_code)


@best.command("rerun", epilog="Example: cifar-tune best rerun dropout --seeds 5 --json")
@number_option("--seeds", "Fresh seeds.", default=5)
@options("trial", "named", "train-on")
@study_options(*_TRAINING)
@gather("chosen", ChosenOptions)
@gather("machine", MachineOptions)
@gather("output", OutputOptions)
def best_rerun(
    study: StudySelector,
    seeds: int,
    chosen: ChosenOptions,
    machine: MachineOptions,
    output: OutputOptions,
) -> None:
    """Train the best configuration again and test it once per seed.

    NAME is the name of a study file or its path. Without --trial or --name it is the confirmed
    best, else the likely best. Every read is written to the ledger before the figure is shown.
    """
    before = _read_best(study, output)

    from cifar_tune.api.retraining import read_test_images, retrain
    from cifar_tune.config.derived import rerun_purpose
    from cifar_tune.evaluation.best import choose

    console = output.progress_console()
    choice = choose(before, chosen.trial, chosen.trial_name)
    best_tables.print_choice(console, choice)
    console.print(
        f"After the last seed, this reads the test images up to {format_times(seeds)}. "
        f"{before.test_use.sentence()}"
    )
    candidate, train_on = choice.candidate, chosen.train_on
    exit_code = _train(
        before,
        rerun_purpose(train_on),
        console,
        lambda run: retrain(before, candidate, train_on, seeds, machine, run),
    )
    if exit_code == 0:
        with waiting("Evaluating on the test images", is_shown=output.is_shown):
            read_test_images(before, candidate, train_on, seeds, machine, command_line())
    after = _read_best(study, output)
    rerun = after.rerun_of(candidate, chosen.train_on)
    if output.as_json:
        figures = {"rerun": rerun and rerun.to_dict(), "test_use": after.test_use.to_dict()}
        print_json(_to_json(after, figures))
    elif exit_code == 0 and rerun is not None:
        best_tables.print_rerun(
            make_console(), rerun, after, machine.root, is_brief=output.is_quiet
        )
    sys.exit(exit_code)


@best.command("ablate", epilog="Example: cifar-tune best ablate beyond-scratch --only crop_padding")
@click.option(
    "--against",
    metavar="NAMED",
    shell_complete=completes("named trials"),
    help="Reset to the values of this named trial; by default the file's first.",
)
@click.option(
    "--only",
    "groups",
    multiple=True,
    metavar="KEY[,KEY]",
    shell_complete=completes("searched hyperparameters"),
    help="Reset this hyperparameter alone, or several together; by default each that differs "
    "by itself. May be repeated.",
)
@number_option("--seeds", "Fresh seeds of each configuration.", default=3)
@options("trial", "named")
@study_options(*_TRAINING)
@gather("chosen", ChosenOptions)
@gather("machine", MachineOptions)
@gather("output", OutputOptions)
def best_ablate(
    study: StudySelector,
    against: str | None,
    groups: tuple[str, ...],
    seeds: int,
    chosen: ChosenOptions,
    machine: MachineOptions,
    output: OutputOptions,
) -> None:
    """Measure how much each hyperparameter adds to the best.

    NAME is the name of a study file or its path. The best configuration is trained again with each
    hyperparameter reset to its value in a named trial. The runs stand beside those of `best rerun`,
    on the same seeds, and are compared on the validation images; the search never sees them.
    """
    before = _read_best(study, output)

    from cifar_tune.api.retraining import train_again
    from cifar_tune.evaluation.best import choose

    choice = choose(before, chosen.trial, chosen.trial_name)
    candidate = choice.candidate
    reference = _read_reference(before.spec, study.name, against)
    groups_put_back = _read_groups(groups, candidate, reference)
    without = [candidate.put_back(reference, keys) for keys in groups_put_back]
    console = output.progress_console()
    best_tables.print_choice(console, choice)
    # Beside the re-runs and on their seeds, so that the configuration itself is trained once.
    configurations = [candidate, *without]
    exit_code = _train(
        before,
        "rerun",
        console,
        lambda run: train_again(before, "rerun", configurations, seeds, machine, run),
    )
    after = _read_best(study, output)
    ablation = after.ablation_of(candidate)  # there is none where it was interrupted at once
    if output.as_json:
        print_json(_to_json(after, {"ablation": ablation and ablation.to_dict()}))
    elif exit_code == 0 and ablation is not None:
        best_tables.print_ablation(make_console(), ablation, is_brief=output.is_quiet)
    sys.exit(exit_code)


# --- parts --------------------------------------------------------------------------------------


def _read_best(study: StudySelector, output: OutputOptions, top: int | None = None) -> BestRecord:
    with waiting("Reading the study", is_shown=output.is_shown):
        spec, location = study.find()

        from cifar_tune.evaluation.best import compute_best

        return compute_best(location, spec, top)


def _to_json(record: BestRecord, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {**study_header(record.spec, record.location), **figures}


def _train(
    record: BestRecord, purpose: Purpose, console: Console, train: Callable[[Run], StudyOutcome]
) -> int:
    """Train configurations with ``train``, show how, and return the exit code.

    What is left undone is printed, but not beside JSON.
    """
    from cifar_tune.config.derived import derived_name

    print_study(console, derived_name(record.spec.study_name, purpose), record.spec.title)
    with show_run(console) as observer:
        observer.preparing(LOADING)

        def run(prepared: Prepared, options: RunOptions) -> StudyOutcome:
            return run_on_console(prepared, console, options, observer)

        outcome = train(run)
    if not outcome.is_done and not console.stderr:
        best_tables.print_unfinished(make_console(), outcome)
    return 130 if outcome.interrupted else 0 if outcome.is_done else 1


def _read_reference(spec: StudySpec, name: str, against: str | None) -> Mapping[str, float]:
    """Return the values of a named trial of the study file."""
    from cifar_tune.config.names import resolve_name, suggest_name

    named = {trial.name: trial.params for trial in spec.named}
    if not spec.space.ranges():
        raise InputError(f"{name}: has no search space, so there is nothing to reset")
    if not named:
        raise InputError(f"{name}: has no named trial whose values it could be reset to")
    reference = next(iter(named)) if against is None else against
    full_name = resolve_name(reference, named, f"--against {reference}")
    if full_name is None:
        raise InputError(
            f"--against {reference}: expected a named trial: {', '.join(named)}"
            f"{suggest_name(reference, named)}"
        )
    return named[full_name]


def _read_groups(
    groups: Sequence[str], candidate: Candidate, reference: Mapping[str, float]
) -> list[tuple[str, ...]]:
    """Return which hyperparameters are put back together; without groups, each by itself."""
    from cifar_tune.config.names import resolve_key, suggest_key

    differing = [key for key, value in reference.items() if candidate.params[key] != value]
    if not differing:
        raise InputError(f"{candidate.label}: already has the values of the named trial")
    wanted = [
        tuple(resolve_key(name, candidate.params) for name in text.split(",")) for text in groups
    ]
    for keys in wanted:
        for key in keys:
            if key not in differing:
                raise InputError(
                    f"--only {','.join(keys)}: {key} is not one of the hyperparameters that "
                    f"differ: {', '.join(differing)}{suggest_key(key, differing)}"
                )
    return wanted or [(key,) for key in differing]
