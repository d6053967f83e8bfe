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
from cifar_tune.wording import format_accuracy, format_duration

if TYPE_CHECKING:
    from cifar_tune.config.study_file import LoadedStudyFile
    from cifar_tune.search.runner import StudyOutcome
    from cifar_tune.storage.location import StorageLocation
    from cifar_tune.storage.records import TrialSummary


def trials_table(trials: Sequence[TrialSummary], best: TrialSummary | None, width: int) -> Table:
    """Return a table of the trials of a study, with the best one marked.

    Three hyperparameters fit into a terminal that is 80 columns wide.
    """
    names = list(dict.fromkeys(key for trial in trials for key in trial.params))
    gap = 2 if width >= 100 else 0  # besides the column that the box takes
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
            "" if trial.seconds is None else format_duration(trial.seconds),
            style="bold" if is_best else "",
        )
    return table


def _describe_state(trial: TrialSummary) -> str:
    failure = trial.failure or {}
    if failure.get("kind") == "not_finite":
        return f"fail: loss not finite, epoch {failure['epoch']}, step {failure['step']}"
    if trial.state == "waiting" and trial.epochs:
        return "to be continued"
    return "cut short" if failure.get("kind") == "interrupted" else trial.outcome


def print_list(
    console: Console,
    files: Sequence[LoadedStudyFile],
    counts: Mapping[str, Mapping[str, int]],
    location: StorageLocation,
) -> None:
    """Print study files and how many trials each stored study has, by its file and its name."""
    for file in files:
        console.print(Text.assemble((file.name, "bold"), f"  {file.content.title}"))
        profiles = ", ".join(file.content.profiles)
        console.print(f"  profiles: {profiles}; file: {file.path}", soft_wrap=True)
        for study_name, trials in counts[file.name].items():
            line = f"  stored: {study_name}, {trials} trials in {location}"
            console.print(line, soft_wrap=True)


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


def print_outcome(
    console: Console, outcome: StudyOutcome, validation_images: int, location: StorageLocation
) -> None:
    """Print the trials of a study, the best one, and how far to trust it."""
    console.print()
    console.print(trials_table(outcome.trials, outcome.best, console.width))
    console.print()
    if outcome.best is not None and outcome.best.val_accuracy is not None:
        best, accuracy = outcome.best, outcome.best.val_accuracy
        error = math.sqrt(accuracy * (1 - accuracy) / validation_images)
        values = format_params({**best.params, **best.settings})
        own = f" ({values})" if values else ""
        console.print(
            f"Best: {best.label}, validation accuracy {format_accuracy(accuracy)}{own}",
            style="bold",
        )
        console.print(
            f"One run on {validation_images:,} validation images has a binomial standard error of "
            f"{100 * error:.1f} points, and the best of many looks better than it is.",
        )
    left = len(outcome.left.named) + outcome.left.sampled
    if outcome.trials_run == 0 and not left:
        console.print("Nothing was left to do; --trials N adds N sampled trials.")
    if left and outcome.why_left is not None:
        console.print(f"Left undone: {_describe_left(outcome)}, since {outcome.why_left}.")
    ended = f"{'Interrupted' if outcome.interrupted else 'Done'} after"
    console.print(
        f"{ended} {format_duration(outcome.seconds)}; stored in {location}.", soft_wrap=True
    )
    if outcome.interrupted or left:
        console.print("The same command continues.")


def _describe_left(outcome: StudyOutcome) -> str:
    named, sampled = len(outcome.left.named), outcome.left.sampled
    parts = [f"{named} named"] * (named > 0) + [f"{sampled} sampled"] * (sampled > 0)
    return " and ".join(parts) + f" trial{'' if named + sampled == 1 else 's'}"
