"""The commands of ``cifar-tune trial``, and the ledger of test reads."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_tune.cli.compare import trial_diff
from cifar_tune.cli.confirmation import confirm, yes_option
from cifar_tune.cli.console import (
    LOADING,
    command_line,
    make_console,
    print_json,
    waiting,
)
from cifar_tune.cli.help import command, group
from cifar_tune.cli.options import options, study_options, trial_argument
from cifar_tune.cli.trial_list import trial_list
from cifar_tune.storage.location import (
    StorageLocation,
    check_readable,
    explain_errors,
    locate_storage,
)
from cifar_tune.wording import (
    format_accuracy,
    format_count,
    format_duration,
    format_percent,
    format_times,
)

if TYPE_CHECKING:
    from rich.console import Console

    from cifar_tune.evaluation.reproduce import Reproduction
    from cifar_tune.evaluation.test_reads import TestRead, TestResult
    from cifar_tune.evaluation.trial import TrialDossier
    from cifar_tune.storage.selector import StudySelector
    from cifar_tune.training.records import EpochMetrics

_DATA = ("profile", "epochs", "set", "device", "storage", "data-dir", "json")
"""Options of the commands that read images."""


@group("trial", epilog="Example: cifar-tune trial test transfer transfer/scratch/seed=1")
def trial() -> None:
    """List, show, test, repeat and drop single trials."""


trial.add_command(trial_diff)
trial.add_command(trial_list)


@trial.command("test", epilog="Example: cifar-tune trial test transfer scratch/seed=1 --yes")
@yes_option
@study_options(*_DATA)
@trial_argument(required=False)
def trial_test(
    study: StudySelector,
    trial_name: str | None,
    device: str | None,
    root: Path,
    as_json: bool,
    is_confirmed: bool,
) -> None:
    """Evaluate a complete trial on the test images.

    NAME is the name of a study file or its path, TRIAL the number or name of a trial whose weights
    were kept; without it, every named trial that was not tested yet. Every read of the test images
    counts: how often they were read is shown first, and --yes or an answer is needed. A read is
    written to a ledger before the figure is shown: cifar-tune test-reads.
    """
    spec, location = study.find()

    from cifar_tune.dashboard.notes.annotator import refresh_notes
    from cifar_tune.evaluation.test_images import evaluate_on_test, list_to_test
    from cifar_tune.training.device import choose_device

    chosen = choose_device(device)
    names = list_to_test(location, spec.study_name, trial_name)
    if names:
        notice = _describe_reads(location, spec.study_name, len(names))
        question = f"Evaluate {format_count(len(names), 'trial')} on the test images?"
        confirm(notice, question, "trial test", is_confirmed=is_confirmed)
    results = []
    for name in names:
        with waiting("Evaluating on the test images", is_shown=not as_json):
            result = evaluate_on_test(location, spec.study_name, name, root, chosen, command_line())
        results.append(result)
        if not as_json:
            _print_test_result(result, location)
    if results:
        refresh_notes(location, spec)
    if as_json:
        records = list(map(dataclasses.asdict, results))
        print_json(records[0] if trial_name is not None else {"test_results": records})
    elif not results:
        make_console().print(
            f"{spec.study_name}: every complete named trial whose weights were kept has been "
            "tested; give TRIAL to test one again.",
            soft_wrap=True,
        )


def _describe_reads(location: StorageLocation, study_name: str, reads: int) -> str:
    """Return how often the test images are going to be read, were read, and why that matters."""
    from cifar_tune.evaluation.test_use import PICKING, read_test_use

    use = read_test_use(location, study_name)
    reading = f"{study_name}: this reads the test images {format_times(reads)}."
    return f"{reading}\n{use.sentence()} {PICKING}"


def _print_test_result(result: TestResult, location: StorageLocation) -> None:
    error = math.sqrt(result.accuracy * (1 - result.accuracy) / result.images)
    make_console().print(
        f"{result.study_name}, trial {result.trial} {result.name or '(sampled)'}: test accuracy "
        f"{format_percent(result.accuracy)} on {result.images:,} images (binomial standard error "
        f"{100 * error:.1f} points), loss {result.loss:.4f}, with mirrored images averaged in "
        f"{format_accuracy(result.flip_accuracy)}; written to the ledger in {location}",
        soft_wrap=True,
    )


@command("test-reads", waits_for="Reading the ledger", epilog="Example: cifar-tune test-reads")
@options("storage", "json")
def test_reads(storage: str | None, as_json: bool) -> None:
    """List every evaluation on the test images."""
    location = locate_storage(storage)
    check_readable(location)
    reads = _read_ledger(location) if location.exists() else []
    if as_json:
        records = [
            {"time": read.time, "command": read.command, **vars(read.result)} for read in reads
        ]
        print_json({"storage": str(location), "test_reads": records})
        return
    for read in reads:
        result = read.result
        make_console().print(
            f"{read.time}  {result.study_name}, trial {result.trial} "
            f"{result.name or '(sampled)'}: {format_percent(result.accuracy)} on "
            f"{result.images:,} images; {read.command}",
            soft_wrap=True,
        )
    make_console().print(
        f"The test images were read {format_times(len(reads))}; ledger in {location}.",
        soft_wrap=True,
    )


def _read_ledger(location: StorageLocation) -> list[TestRead]:
    from cifar_tune.evaluation.test_reads import read_ledger
    from cifar_tune.storage.studies import open_to_read

    with explain_errors(location):
        storage = open_to_read(location)
        return [] if storage is None else read_ledger(storage.engine)


@trial.command("show", epilog="Example: cifar-tune trial show dropout 3")
@study_options("profile", "epochs", "set", "storage", "json")
@trial_argument()
def trial_show(study: StudySelector, trial_name: str, as_json: bool) -> None:
    """Show a trial: configuration, versions, digests, epochs.

    NAME is the name of a study file or its path, TRIAL the trial's number or full name.
    """
    spec, location = study.find()

    from cifar_tune.evaluation.trial import flatten, read_dossier

    dossier = read_dossier(location, spec.study_name, trial_name)
    if as_json:
        print_json({"storage": str(location), **dataclasses.asdict(dossier)})
        return
    console = make_console()
    sections = {
        f"{dossier.study_name}, {dossier.summary.label}": list(_list_facts(dossier)),
        "configuration": dossier.config.items(),
        "made with": flatten(dossier.facts).items(),
    }
    for title, values in sections.items():
        if values:
            console.print(title, style="bold")
        for key, value in values:
            console.print(f"  {key}: {value}", soft_wrap=True)
    if dossier.history:
        console.print("epochs", style="bold")
    for epoch in dossier.history:
        console.print(
            f"  {epoch.epoch}: training {format_accuracy(epoch.train_accuracy)}, loss "
            f"{epoch.train_loss:.4f}; validation {format_accuracy(epoch.val_accuracy)}, loss "
            f"{epoch.val_loss:.4f}; {format_duration(epoch.seconds)}"
        )


def _list_facts(dossier: TrialDossier) -> Iterator[tuple[str, str]]:
    summary, definition = dossier.summary, dossier.definition
    yield "state", summary.shown_state
    if summary.failure:
        yield "failure", summary.failure_message
    if summary.val_accuracy is not None:
        yield "validation accuracy", format_accuracy(summary.val_accuracy)
    if summary.seconds is not None:
        yield "time", format_duration(summary.seconds)
    yield "study", f"seed {definition.get('seed')}, profile {definition.get('profile')}"
    if dossier.weights_sha256 is None:
        yield "weights", "not kept"
    else:
        file = dossier.weights_file or "no longer on the disk"
        yield "weights", f"{file} (SHA-256 {dossier.weights_sha256})"
    for restart in dossier.restarts:
        place = f"after epoch {restart.get('epochs', 0)}, step {restart.get('steps', 0)}"
        yield "resumed", f"{place} ({restart['why']})"
    for read in dossier.test_reads:
        yield "test images", f"read {read.time}: {format_percent(read.result.accuracy)}"


@trial.command("rerun", epilog="Example: cifar-tune trial rerun dropout 3")
@study_options(*_DATA)
@trial_argument()
def trial_rerun(
    study: StudySelector,
    trial_name: str,
    device: str | None,
    root: Path,
    as_json: bool,
) -> None:
    """Train a trial again and compare the results.

    NAME is the name of a study file or its path, TRIAL the trial's number or full name. On the same
    kind of processor with the same versions that is bit for bit, elsewhere within the spread over
    seeds; what differs is named. Nothing is stored.
    """
    spec, location = study.find()

    from cifar_tune.evaluation.trial import read_dossier

    dossier = read_dossier(location, spec.study_name, trial_name)

    from cifar_tune.search.spinner import Spinner

    console = make_console(to_stderr=as_json)
    seconds = sum(epoch.seconds for epoch in dossier.history)
    console.print(
        f"{dossier.study_name}, {dossier.summary.label}: {len(dossier.history)} epochs, "
        f"{format_duration(seconds)} when it was stored"
    )
    with Spinner(console) as spinner:
        spinner.show(LOADING)  # only after the trial was found
        from cifar_tune.evaluation.reproduce import reproduce
        from cifar_tune.training.device import choose_device

        chosen = choose_device(device)
        spinner.show("Training the trial again")
        reproduction = reproduce(dossier, root, chosen, functools.partial(_print_epoch, console))
    if as_json:
        header = {"study_name": dossier.study_name, "trial": dossier.number}
        print_json({**header, **dataclasses.asdict(reproduction)})
    else:
        for line in _describe_reproduction(reproduction):
            console.print(line, soft_wrap=True)
    sys.exit(0 if reproduction.reproduced else 1)


def _print_epoch(console: Console, stored: EpochMetrics, again: EpochMetrics) -> None:
    console.print(
        f"epoch {again.epoch}: validation accuracy {format_accuracy(again.val_accuracy)}, stored "
        f"{format_accuracy(stored.val_accuracy)}"
    )


def _describe_reproduction(reproduction: Reproduction) -> Iterator[str]:
    last = reproduction.epochs[-1]
    stored, again = last.stored.val_accuracy, last.again.val_accuracy
    for difference in reproduction.differences:
        yield f"differs: {difference}"
    weights = {None: "", True: "; the same weights", False: "; other weights"}
    yield (
        f"Final validation accuracy {100 * again:.2f} %, stored {100 * stored:.2f} %"
        f"{weights[reproduction.same_weights]}."
    )
    basis = reproduction.explained_by
    points = f"{100 * reproduction.explained_difference:.1f} points"
    if reproduction.agreement == "bit for bit":
        yield "Reproduced bit for bit: every figure of every epoch is the same."
    elif reproduction.agreement == "within the seed spread":
        yield f"Reproduced within the seed spread: {basis} explains up to {points}."
    elif reproduction.differences:
        yield f"Not reproduced: {basis} explains only {points}."
    else:
        yield "Not reproduced, on the same device with the same versions."


@trial.command("drop", epilog="Example: cifar-tune trial drop dropout dropout/p=0.3/seed=2")
@study_options("profile", "epochs", "set", "storage", "json")
@trial_argument(required=False)
def trial_drop(study: StudySelector, trial_name: str | None, as_json: bool) -> None:
    """End a paused trial without training it further.

    NAME is the name of a study file or its path, TRIAL the trial's number or full name; without it,
    all that was left of the study, its confirmations and re-runs. What is dropped stays in the
    study as a failed trial that says so, and its checkpoints are removed. Nothing goes on with it:
    a run that is to have that named trial, or one more sampled trial, begins a new one.
    """
    spec, location = study.find()

    from cifar_tune.dashboard.notes.annotator import refresh_notes
    from cifar_tune.search.ended_trials import drop_trials

    console = make_console(to_stderr=as_json)
    dropped = drop_trials(location, spec, trial_name, console.print)
    if dropped:
        refresh_notes(location, spec)
    if as_json:
        print_json({"dropped": list(map(dataclasses.asdict, dropped))})
        return
    for drop in dropped:
        console.print(
            f"{drop.study_name}, {drop.trial.label}: {drop.trial.failure_message}", soft_wrap=True
        )
    if not dropped:
        console.print(f"{spec.study_name}: every trial has ended; nothing to drop.", soft_wrap=True)
