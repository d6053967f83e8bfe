"""The commands of ``cifar-tune best``: show, confirm and rerun.

``ablate.py`` and ``export.py`` have the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cifar_tune import paths
from cifar_tune.cli import best_tables
from cifar_tune.cli.console import command_line, make_console, print_json, study_header
from cifar_tune.cli.lazy_group import LazyGroup
from cifar_tune.cli.options import (
    ChosenOptions,
    MachineOptions,
    gather,
    options,
    study_options,
)

if TYPE_CHECKING:
    from rich.console import Console

    from cifar_tune.cli.selector import StudySelector
    from cifar_tune.config.derived import Purpose
    from cifar_tune.config.study_file import StudySpec
    from cifar_tune.evaluation.best import BestRecord, Choice
    from cifar_tune.evaluation.candidates import Candidate
    from cifar_tune.search.runner import StudyOutcome
    from cifar_tune.storage.location import StorageLocation

_COMMANDS = {
    "ablate": (
        "cifar_tune.cli.ablate:best_ablate",
        "Train the best configuration without each of its hyperparameters: which made the "
        "difference?",
    ),
    "export": (
        "cifar_tune.cli.export:best_export",
        "Write the best configuration's model as a folder that plain torchvision loads.",
    ),
}
_READING = ("profile", "epochs", "set", "storage", "json")
TRAINING = (
    "profile",
    "epochs",
    "set",
    "device",
    "workers",
    "per-gpu",
    "slots",
    "data-dir",
    "timeout",
    "storage",
    "json",
)
"""Options of the commands that train."""
_top_option = click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Length of the short list; by default 3, and all whose interval overlaps the first's.",
)


@dataclass(frozen=True)
class StudyBest:
    """A stored study, where it is, and all that is known of its best configuration."""

    spec: StudySpec
    location: StorageLocation
    record: BestRecord

    def choose(self, chosen: ChosenOptions) -> Choice:
        """Return the configuration that is meant."""
        from cifar_tune.evaluation.best import choose

        return choose(self.record, chosen.trial, chosen.trial_name)


def read_best(study: StudySelector, top: int | None = None) -> StudyBest:
    """Return the stored study that is meant, with all that is known of its best configuration.

    Args:
        study: The study.
        top: The length of the short list; None as for ``ranking.rank``.

    Raises:
        InputError: It is not stored, or has no complete trial.
    """
    spec, location = study.find()

    from cifar_tune.evaluation.best import compute_best

    return StudyBest(spec, location, compute_best(location, spec, top))


@click.group(
    cls=LazyGroup,
    lazy_commands=_COMMANDS,
    epilog="Example: cifar-tune best confirm dropout --seeds 3",
)
def best() -> None:
    """The best configuration of a study: which it is, and what it is worth."""


@best.command("show", epilog="Example: cifar-tune best show dropout")
@_top_option
@study_options(*_READING)
def best_show(study: StudySelector, top: int | None, as_json: bool) -> None:
    """Say which configuration is the best so far, and how much of its lead is probably luck.

    NAME is the name of a study file or its path.
    """
    known = read_best(study, top)
    if as_json:
        _print_best_json(known)
    else:
        best_tables.print_best(make_console(), known.record, study.name)


def _print_best_json(known: StudyBest) -> None:
    print_json({**study_header(known.spec, known.location), **known.record.to_dict()})


@best.command("confirm", epilog="Example: cifar-tune best confirm dropout --seeds 3")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Fresh ones, each."
)
@_top_option
@study_options(*TRAINING)
@gather("machine", MachineOptions)
def best_confirm(
    study: StudySelector, seeds: int, top: int | None, machine: MachineOptions, as_json: bool
) -> None:
    """Train the short list again on fresh seeds, in pairs, and choose by the mean.

    NAME is the name of a study file or its path. The runs are a study of their own, which the
    search never sees. Run again to continue, or with more --seeds.
    """
    before = read_best(study, top)
    console = make_console(to_stderr=as_json)
    shortlist = [standing.candidate for standing in before.record.ranking.shortlist]
    outcome = run_derived(before, "confirm", shortlist, seeds, machine, console)
    exit_code = derived_exit_code(outcome)
    after = read_best(study, top)
    if as_json:
        _print_best_json(after)
    elif exit_code == 0:
        best_tables.print_confirmation(console, after.record, study.name)
    else:
        best_tables.print_unfinished(console, outcome)
    sys.exit(exit_code)


@best.command("rerun", epilog="Example: cifar-tune best rerun dropout --seeds 5 --json")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Fresh ones."
)
@options("trial", "named", "train-on")
@study_options(*TRAINING)
@gather("chosen", ChosenOptions)
@gather("machine", MachineOptions)
def best_rerun(
    study: StudySelector,
    seeds: int,
    chosen: ChosenOptions,
    machine: MachineOptions,
    as_json: bool,
) -> None:
    """Train the best configuration again, and read it on the test images, once for each seed.

    NAME is the name of a study file or its path. Without --trial or --name it is the confirmed
    best, else the likely best. Every read is written to the ledger before the figure is shown.
    """
    before = read_best(study)

    from cifar_tune.config.derived import rerun_purpose

    choice = before.choose(chosen)
    candidate = choice.candidate
    console = make_console(to_stderr=as_json)
    best_tables.print_choice(console, choice)
    purpose = rerun_purpose(chosen.train_on)
    outcome = run_derived(before, purpose, [candidate], seeds, machine, console)
    exit_code = derived_exit_code(outcome)
    if exit_code == 0:
        # Only when all seeds are done: a figure that is seen early invites to stop there.
        wanted = {f"{candidate.label}/seed={seed}" for seed in range(1, seeds + 1)}
        _read_test_images(before, purpose, wanted, machine)
    after = read_best(study)
    rerun = after.record.rerun_of(candidate, chosen.train_on)
    if as_json:
        print_json(
            {
                **study_header(after.spec, after.location),
                "rerun": None if rerun is None else rerun.to_dict(),
                "test_use": after.record.test_use.to_dict(),
            }
        )
    elif exit_code == 0 and rerun is not None:
        best_tables.print_rerun(console, rerun, after.record.test_use)
    else:
        best_tables.print_unfinished(console, outcome)
    sys.exit(exit_code)


def _read_test_images(
    known: StudyBest, purpose: Purpose, wanted: set[str], machine: MachineOptions
) -> None:
    """Evaluate those of the wanted re-runs on the test images that were not yet."""
    from cifar_tune.config.derived import derived_name
    from cifar_tune.evaluation.test_images import evaluate_on_test, unread
    from cifar_tune.training.device import choose_device

    study_name = derived_name(known.spec.study_name, purpose)
    root, device = paths.data_root(machine.data_dir), choose_device(machine.device)
    for name in unread(known.location, study_name):
        if name in wanted:
            evaluate_on_test(known.location, study_name, name, root, device, command_line())


# --- derived studies ----------------------------------------------------------------------------


def run_derived(
    known: StudyBest,
    purpose: Purpose,
    candidates: Sequence[Candidate],
    seeds: int,
    machine: MachineOptions,
    console: Console,
) -> StudyOutcome:
    """Run what is left of a study that is derived from another one.

    Args:
        known: The study that it is derived from.
        purpose: What the runs are for.
        candidates: The configurations that are trained.
        seeds: How many fresh seeds each of them has.
        machine: What they are trained on.
        console: Where the progress is shown.
    """
    from cifar_tune.cli.execution import Prepared
    from cifar_tune.cli.run import run_on_console
    from cifar_tune.config.derived import derive_spec, fresh_seed
    from cifar_tune.search.budget import parse_duration
    from cifar_tune.search.runner import RunOptions
    from cifar_tune.storage.studies import read_precision
    from cifar_tune.training.device import choose_device
    from cifar_tune.workers.choose import choose_workers

    spec, location = known.spec, known.location
    seconds = None if machine.timeout is None else parse_duration(machine.timeout)
    device = choose_device(machine.device)
    named = [candidate.as_named() for candidate in candidates]
    prepared = Prepared(
        spec=derive_spec(spec, purpose, named, seeds),
        reason=f"that of {spec.study_name}",
        location=location,
        device=device,
        workers=choose_workers(machine.workers, machine.per_gpu, device, machine.slots),
        root=paths.data_root(machine.data_dir),
        precision=read_precision(location, spec.study_name),
    )
    seed = fresh_seed(known.record.study_seed, purpose)
    return run_on_console(prepared, console, RunOptions(None, seconds, seed=seed))


def derived_exit_code(outcome: StudyOutcome) -> int:
    """Return the exit code of a command that ran a derived study."""
    if outcome.interrupted:
        return 130
    return 1 if outcome.failed or outcome.left.trials else 0
