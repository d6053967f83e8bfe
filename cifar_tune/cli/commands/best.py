"""The commands of ``cifar-tune best``: show, confirm and rerun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_tune import paths
from cifar_tune.cli import best_tables
from cifar_tune.cli.commands.best_json import (
    Found,
    best_json,
    header_json,
    rerun_json,
    test_use_json,
)
from cifar_tune.cli.console import command_line, find_by_name, make_console, print_json
from cifar_tune.cli.execution import Prepared, execute
from cifar_tune.config.trial import TrainOn
from cifar_tune.errors import InputError

if TYPE_CHECKING:
    from cifar_tune.config.derived import Purpose
    from cifar_tune.evaluation.candidates import Candidate
    from cifar_tune.search.runner import StudyOutcome


@dataclass(frozen=True)
class BestOptions:
    """The options that the commands share, as given on the command line; those that train have all
    of them."""

    profile: str | None
    epochs: int | None
    settings: tuple[str, ...]
    storage: str | None
    as_json: bool
    device: str | None = None
    workers: str | None = None
    per_gpu: int | None = None
    slots: int | None = None
    data_dir: Path | None = None
    timeout: str | None = None


def show_best(name: str, top: int | None, options: BestOptions) -> None:
    """Print which configuration is the best, and how much of its lead is luck."""
    found = find(name, options, top)
    if options.as_json:
        print_json(best_json(found))
        return
    best_tables.print_best(make_console(), found.record, name)


def confirm_best(name: str, seeds: int, top: int | None, options: BestOptions) -> int:
    """Run a short list on fresh seeds and print what they say; the exit code."""
    found = find(name, options, top)
    shortlist = [one.candidate for one in found.record.ranking.shortlist]
    outcome = run_derived(found, "confirm", shortlist, seeds, options)
    code = exit_code(outcome)
    after = find(name, options, top)
    if options.as_json:
        print_json(best_json(after))
    elif code == 0:
        best_tables.print_confirmation(make_console(), after.record, name)
    else:
        best_tables.print_unfinished(make_console(), outcome)
    return code


def rerun_best(
    name: str,
    seeds: int,
    trial: int | None,
    trial_name: str | None,
    train_on: TrainOn,
    options: BestOptions,
) -> int:
    """Train a configuration again, read it on the test images, and print it; the exit code."""
    if trial is not None and trial_name is not None:
        raise InputError("--trial and --name: expected one of the two")
    found = find(name, options, None)

    from cifar_tune.config.derived import rerun_purpose
    from cifar_tune.evaluation.best import choose

    choice = choose(found.record, trial, trial_name)
    console = make_console(to_stderr=options.as_json)
    console.print(f"Configuration: {best_tables.describe(choice.candidate)}; {choice.why}.")
    purpose = rerun_purpose(train_on)
    outcome = run_derived(found, purpose, [choice.candidate], seeds, options)
    code = exit_code(outcome)
    if code == 0:
        # Only when all seeds are done: a figure that is seen early invites to stop there.
        wanted = {f"{choice.candidate.label}/seed={k}" for k in range(1, seeds + 1)}
        _read_test_images(found, purpose, wanted, options)
    after = find(name, options, None)
    rerun = after.record.rerun_of(choice.candidate, train_on)
    if options.as_json:
        shown = None if rerun is None else rerun_json(rerun)
        print_json({**header_json(after), "rerun": shown, "test_use": test_use_json(after.record)})
    elif code == 0 and rerun is not None:
        best_tables.print_rerun(console, rerun, after.record.test_use)
    else:
        best_tables.print_unfinished(console, outcome)
    return code


def _read_test_images(
    found: Found, purpose: Purpose, wanted: set[str], options: BestOptions
) -> None:
    """Evaluate those of the wanted re-runs on the test images that were not yet."""
    from cifar_tune.config.derived import derived_name
    from cifar_tune.evaluation.test_images import evaluate_on_test, unread
    from cifar_tune.training.device import choose_device

    study_name = derived_name(found.spec.study_name, purpose)
    root, device = paths.data_root(options.data_dir), choose_device(options.device)
    for one in unread(found.location, study_name):
        if one in wanted:
            evaluate_on_test(found.location, study_name, one, root, device, command_line())


# --- the study ----------------------------------------------------------------------------------


def find(name: str, options: BestOptions, top: int | None) -> Found:
    """The stored study that is meant, with all that is known of its best configuration.

    Args:
        top: length of the short list; None as for ``likely_best.rank``.

    Raises:
        InputError: it is not stored, or has no complete trial.
    """
    spec, location = find_by_name(
        name, options.profile, options.epochs, options.settings, options.storage
    )

    from cifar_tune.evaluation.best import compute_best

    return Found(name, spec, location, compute_best(location, spec, top))


def run_derived(
    found: Found,
    purpose: Purpose,
    candidates: list[Candidate],
    seeds: int,
    options: BestOptions,
) -> StudyOutcome:
    """Run what is left of a derived study."""
    from cifar_tune.config.derived import derive_spec, fresh_seed
    from cifar_tune.search.budget import parse_duration
    from cifar_tune.search.runner import RunOptions
    from cifar_tune.storage.studies import read_precision
    from cifar_tune.training.device import choose_device
    from cifar_tune.workers.choose import choose_workers

    seconds = None if options.timeout is None else parse_duration(options.timeout)
    device = choose_device(options.device)
    ready = Prepared(
        spec=derive_spec(found.spec, purpose, [one.as_named() for one in candidates], seeds),
        reason=f"that of {found.spec.study_name}",
        location=found.location,
        device=device,
        workers=choose_workers(options.workers, options.per_gpu, device, options.slots),
        root=paths.data_root(options.data_dir),
        precision=read_precision(found.location, found.spec.study_name),
    )
    console = make_console(to_stderr=options.as_json)
    seed = fresh_seed(found.record.study_seed, purpose)
    return execute(ready, console, RunOptions(None, seconds, seed=seed))


def exit_code(outcome: StudyOutcome) -> int:
    """Of a command that ran a derived study."""
    if outcome.interrupted:
        return 130
    return 1 if outcome.failed or outcome.left.trials else 0
