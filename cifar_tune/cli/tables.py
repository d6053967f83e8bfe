"""Text and tables that commands print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cifar_tune.config.wording import format_params, short_name
from cifar_tune.search.progress import state_style
from cifar_tune.wording import (
    format_accuracy,
    format_clock,
    format_count,
    format_duration,
    wrap_text,
)

if TYPE_CHECKING:
    from cifar_tune.config.study_file import LoadedStudyFile
    from cifar_tune.search.next_commands import RunOfStudy
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.storage.invocations import NextCommand
    from cifar_tune.storage.location import StorageLocation
    from cifar_tune.storage.records import TrialSummary


def trials_table(trials: Sequence[TrialSummary], best: TrialSummary | None, width: int) -> Table:
    """Return a table of the trials of a study, with the best one marked.

    Three hyperparameters fit into a terminal that is 80 columns wide.
    """
    names = list(dict.fromkeys(key for trial in trials for key in trial.params))
    gap = 2 if width >= 120 else 0  # besides the column that the box takes
    has_settings = any(trial.settings for trial in trials)
    table = Table(
        Column("#", justify="right"),
        Column("trial", no_wrap=True),
        "state",
        *(Column(short_name(name), justify="right") for name in names),
        *(["settings"] if has_settings else []),
        Column("epochs", justify="right"),
        Column("val acc", justify="right", no_wrap=True),
        Column("time", justify="right", no_wrap=True),
        box=SIMPLE_HEAD,
        header_style="bold",
        show_edge=False,
        padding=(0, gap, 0, 0),
    )
    for trial in trials:
        is_best = best is not None and trial.number == best.number
        table.add_row(
            str(trial.number),
            Text(trial.name or trial.origin),
            Text(_describe_state(trial), style=state_style(trial.state)),
            *(f"{trial.params[name]:.3g}" if name in trial.params else "" for name in names),
            *([format_params(trial.settings)] if has_settings else []),
            str(trial.epochs),
            format_accuracy(trial.val_accuracy),
            "" if trial.seconds is None else format_clock(round(trial.seconds)),
            style="bold" if is_best else "",
        )
    return table


def _describe_state(trial: TrialSummary) -> str:
    failure = trial.failure or {}
    if failure.get("kind") == "not_finite":
        return f"failed: loss not finite, epoch {failure['epoch']}, step {failure['step']}"
    return "interrupted" if failure.get("kind") == "interrupted" else trial.shown_state


def print_list(
    console: Console,
    files: Sequence[LoadedStudyFile],
    counts: Mapping[str, Mapping[str, int]],
    location: StorageLocation,
) -> None:
    """Print a table of study files, and how many trials the storage has of each."""
    table = Table(
        Column("study", no_wrap=True),
        Column("title", ratio=1),
        Column("profiles"),
        Column("trials", justify="right"),
        box=SIMPLE_HEAD,
        header_style="bold",
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for file in files:
        trials = sum(counts[file.name].values())
        profiles = ", ".join(file.content.profiles)
        table.add_row(*map(Text, (file.name, file.content.title, profiles, str(trials or "-"))))
    console.print(table)
    stored = {name: trials for file in files for name, trials in counts[file.name].items()}
    console.print(
        f"\nStored in {location}:" if stored else f"\nNothing is stored in {location}.",
        soft_wrap=True,
    )
    for name, trials in stored.items():
        console.print(f"  {name}: {format_count(trials, 'trial')}", soft_wrap=True)
    console.print("\nShow one: cifar-tune study show NAME   Run one: cifar-tune study run NAME")


def print_study_file(
    console: Console, loaded: LoadedStudyFile, profiles: Mapping[str, Any]
) -> None:
    """Print a study file: its space, named trials and claims, and some of its profiles."""
    content = loaded.content
    console.print(Text.assemble((loaded.name, "bold"), f"  {content.title}   ({loaded.path})"))
    console.print(" ".join(content.description.split()))
    console.print("\nspace", style="bold")
    ranges = content.space.ranges()
    if not ranges:
        console.print("  nothing is searched")
    for key, values in ranges.items():
        scale = ", log scale" if values.log else ""
        console.print(f"  {key}: {values.low:g} to {values.high:g}{scale}")
    console.print("named trials", style="bold")
    for named in content.named:
        own = format_params({**named.params, **named.settings.given()})
        console.print(f"  {named.name}: {own or 'the protocol as it is'}")
    if content.claims:
        console.print("claims, judged by its report", style="bold")
    for claim in content.claims:
        effects = ", ".join(f"{key} by {value:g}" for key, value in claim.better_in.given().items())
        console.print(f"  {claim.name}: {claim.text} ({effects})")
    for key, profile in profiles.items():
        console.print(Text.assemble((f"profile {key}", "bold"), f": {profile['description']}"))
        seeds, trials = profile["seeds"], profile["trials"]
        console.print(f"  seeds of each named trial: {seeds}, sampled trials: {trials}")
        parts = ("sampler", "pruner", "protocol") if trials else ("protocol",)
        for part in parts:
            text = ", ".join(f"{name} {value}" for name, value in profile[part].items())
            console.print(f"  {part}: {text}")


def print_outcome(console: Console, outcome: StudyOutcome, run: RunOfStudy) -> None:
    """Print the trials of a study, the best one, how far to trust it, and what to do next."""
    from cifar_tune.search.next_commands import list_next_commands

    console.print()
    console.print(trials_table(outcome.trials, outcome.best, console.width))
    console.print()
    print_result(console, outcome)
    if outcome.best is not None and outcome.best.val_accuracy is not None:
        accuracy, images = outcome.best.val_accuracy, run.spec.protocol.validation_images
        error = 100 * math.sqrt(accuracy * (1 - accuracy) / images)
        print_text(
            console,
            f"The standard error of one run on {images:,} validation images is {error:.1f} points. "
            "The best of many trials is overestimated by its own validation accuracy.",
        )
    if outcome.left.trials and outcome.why_left is not None:
        print_text(console, f"Not run: {_describe_left(outcome)}; {outcome.why_left}.")
    elif outcome.trials_run == 0 and not outcome.left.trials:
        more = "; --trials N samples N more" if run.spec.space.ranges() else ""
        print_text(console, f"Every trial had ended before this run{more}.")
    ended = "Interrupted" if outcome.interrupted else "Done"
    console.print(
        f"{ended} after {format_duration(outcome.seconds)}; stored in {run.location}.",
        soft_wrap=True,
    )
    print_next(console, list_next_commands(run, outcome))


def print_result(console: Console, outcome: StudyOutcome) -> None:
    """Print the best trial of a study on one line."""
    best = outcome.best
    if best is None:
        console.print("Best by validation: no trial is complete", style="bold")
        return
    values = format_params({**best.params, **best.settings})
    console.print(
        f"Best by validation: {best.label}, {format_accuracy(best.val_accuracy)}"
        + (f" ({values})" if values else ""),
        style="bold",
        soft_wrap=True,
    )


def print_next(console: Console, commands: Sequence[NextCommand]) -> None:
    """Print commands that can be copied, each under what it is for."""
    if commands:
        console.print("\nNext:")
    for next_command in commands:
        console.print(f"  {next_command.purpose}:\n    {next_command.command}", soft_wrap=True)


def print_text(console: Console, text: str) -> None:
    """Print a text in lines that fit into every terminal."""
    console.print(wrap_text(text), soft_wrap=True)


def _describe_left(outcome: StudyOutcome) -> str:
    left = outcome.left
    counts = {"named": len(left.named), "sampled": left.sampled, "queued": len(left.queued)}
    parts = [f"{count} {kind}" for kind, count in counts.items() if count]
    return f"{' and '.join(parts)} trial{'' if left.trials == 1 else 's'}"
