"""The command ``cifar-tune best ablate``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from cifar_tune.cli import best_tables
from cifar_tune.cli.best import TRAINING, derived_exit_code, read_best, run_derived
from cifar_tune.cli.console import make_console, print_json, study_header
from cifar_tune.cli.options import ChosenOptions, MachineOptions, gather, options, study_options
from cifar_tune.errors import InputError

if TYPE_CHECKING:
    from cifar_tune.cli.selector import StudySelector
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.evaluation.candidates import Candidate


@click.command(
    "ablate", epilog="Example: cifar-tune best ablate beyond-scratch --only crop_padding"
)
@click.option(
    "--against",
    metavar="NAMED",
    help="Put back the values of this named trial; by default those of the file's first.",
)
@click.option(
    "--only",
    "groups",
    multiple=True,
    metavar="KEY[,KEY]",
    help="Put back this hyperparameter alone, or several together; by default each that differs "
    "by itself. May be repeated.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Fresh ones, each."
)
@options("trial", "named")
@study_options(*TRAINING)
@gather("chosen", ChosenOptions)
@gather("machine", MachineOptions)
def best_ablate(
    study: StudySelector,
    against: str | None,
    groups: tuple[str, ...],
    seeds: int,
    chosen: ChosenOptions,
    machine: MachineOptions,
    as_json: bool,
) -> None:
    """Train the best configuration without each of its hyperparameters: which made the difference?

    NAME is the name of a study file or its path. Each is put back to what a named trial has, the
    others stay. The runs stand beside those of `best rerun`, on the same seeds, and are compared on
    the validation images; the search never sees them.
    """
    before = read_best(study)

    from cifar_tune.evaluation.ablation import put_back

    choice = before.choose(chosen)
    reference = _read_reference(before.spec, study.name, against)
    parts = [
        put_back(choice.candidate, reference, keys)
        for keys in _read_groups(groups, choice.candidate, reference)
    ]
    console = make_console(to_stderr=as_json)
    best_tables.print_choice(console, choice)
    # Beside the re-runs and on their seeds, so that the configuration itself is trained once.
    configurations = [choice.candidate, *parts]
    outcome = run_derived(before, "rerun", configurations, seeds, machine, console)
    exit_code = derived_exit_code(outcome)
    after = read_best(study)
    # There is none yet where it was interrupted at once.
    ablation = after.record.ablation_of(choice.candidate)
    if as_json:
        shown = None if ablation is None else ablation.to_dict()
        print_json({**study_header(after.spec, after.location), "ablation": shown})
    elif exit_code == 0 and ablation is not None:
        best_tables.print_ablation(console, ablation)
    else:
        best_tables.print_unfinished(console, outcome)
    sys.exit(exit_code)


def _read_reference(spec: StudySpec, name: str, against: str | None) -> Mapping[str, float]:
    """Return the values of a named trial of the study file."""
    named = {trial.name: trial.params for trial in spec.named}
    if not spec.space.ranges():
        raise InputError(f"{name}: searches nothing, so there is nothing to put back")
    if not named:
        raise InputError(f"{name}: has no named trial whose values could be put back")
    reference = next(iter(named)) if against is None else against
    if reference not in named:
        raise InputError(f"--against {against}: expected a named trial: {', '.join(named)}")
    return named[reference]


def _read_groups(
    groups: Sequence[str], candidate: Candidate, reference: Mapping[str, float]
) -> list[tuple[str, ...]]:
    """Return which hyperparameters are put back together; without groups, each by itself."""
    differing = [key for key, value in reference.items() if candidate.params[key] != value]
    if not differing:
        raise InputError(f"{candidate.label}: has the values that are to be put back")
    wanted = [tuple(group.split(",")) for group in groups]
    for group in wanted:
        for key in group:
            if key not in differing:
                raise InputError(
                    f"--only {','.join(group)}: {key} is not one of the hyperparameters that "
                    f"differ: {', '.join(differing)}"
                )
    return wanted or [(key,) for key in differing]
