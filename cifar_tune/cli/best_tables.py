"""What ``cifar-tune best`` prints in the terminal."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cifar_tune.config.wording import format_params
from cifar_tune.wording import format_accuracy, format_duration

if TYPE_CHECKING:
    from cifar_tune.evaluation.ablation import Ablation
    from cifar_tune.evaluation.best import BestRecord, Choice
    from cifar_tune.evaluation.candidates import Candidate
    from cifar_tune.evaluation.fresh_runs import Rerun
    from cifar_tune.evaluation.quantities import Measured
    from cifar_tune.evaluation.test_use import TestUse
    from cifar_tune.search.runner import StudyOutcome


def describe(candidate: Candidate) -> str:
    """A configuration by its label, its trials and what sets it apart."""
    numbers = ", ".join(map(str, candidate.numbers))
    trials = f"trial {numbers}" if len(candidate.numbers) == 1 else f"trials {numbers}"
    own = format_params({**candidate.params, **candidate.settings})
    return f"{candidate.label} ({trials}{'; ' + own if own else ''})"


def print_choice(console: Console, choice: Choice) -> None:
    """Print which configuration a command is about, and why it is that one."""
    console.print(f"Configuration: {describe(choice.candidate)}; {choice.why}.")


def print_best(console: Console, record: BestRecord, name: str) -> None:
    """Print the best by observed value, the short list, and what has been done since."""
    ranking = record.ranking
    best = ranking.observed_best
    seeds = len(best.candidate.outcomes)
    console.print(
        f"Best by observed value: {describe(best.candidate)}, validation accuracy "
        f"{format_accuracy(best.candidate.mean)} on {record.images:,} images, "
        f"{seeds} seed{'s' if seeds > 1 else ''}.",
        style="bold",
    )
    console.print(_lead(record))
    console.print()
    console.print(_shortlist(record))
    console.print()
    if record.confirmation is None:
        console.print(f"Test it on fresh seeds: cifar-tune best confirm {shlex.quote(name)}")
    else:
        _print_confirmed(console, record)
    for rerun in record.reruns:
        if rerun.test_accuracy is not None:
            console.print(f"Test accuracy of {_said_of(rerun)}")
    _print_test_use(console, record.test_use)


def print_confirmation(console: Console, record: BestRecord, name: str) -> None:
    """Print what fresh seeds say of a short list."""
    console.print()
    _print_confirmed(console, record)
    console.print(
        "Chosen among several, it is still a little too good here; the test images tell: "
        f"cifar-tune best rerun {shlex.quote(name)}"
    )
    _print_test_use(console, record.test_use)


def print_rerun(console: Console, rerun: Rerun, use: TestUse) -> None:
    """Print what a configuration gave that was trained again, seed by seed."""
    table = _table("seed", "trial", "val acc", "test acc", "time")
    for one in rerun.replicates:
        table.add_row(
            one["replicate"].removeprefix("seed="),
            str(one["number"]),
            format_accuracy(one["val_accuracy"]),
            format_accuracy(one["test_accuracy"]),
            format_duration(one["seconds"]),
        )
    console.print()
    console.print(table)
    console.print()
    console.print(f"Test accuracy of {_said_of(rerun)}", style="bold")
    _print_test_use(console, use)


def print_ablation(console: Console, ablation: Ablation) -> None:
    """Print what becomes of a configuration without each of its hyperparameters."""
    table = _table("put back", "seeds", "val acc", "95 % interval", "lost without it")
    for one in ablation.parts:
        measured, loss = one.val_accuracy, one.loss
        table.add_row(
            format_params(one.values),
            "0" if measured is None else str(measured.seeds),
            format_accuracy(None if measured is None else measured.mean),
            _interval(measured),
            "-" if loss is None else _behind(loss.mean, loss.low, loss.high),
        )
    console.print()
    console.print(
        f"{describe(ablation.candidate)}: mean validation accuracy "
        f"{_with_interval(ablation.val_accuracy)}.",
        style="bold",
    )
    console.print(table)
    console.print("Points of accuracy, in pairs of one seed, with 95 % intervals.")


def print_unfinished(console: Console, outcome: StudyOutcome) -> None:
    """Print that a run has not come to its end."""
    left = len(outcome.left.named)
    why = f", since {outcome.why_left}" if outcome.why_left is not None else ""
    failed = sum(trial.has_failed for trial in outcome.trials)
    console.print(
        f"{left} trial{'' if left == 1 else 's'} left undone{why}; {failed} failed. "
        "The same command continues."
    )


# --- parts --------------------------------------------------------------------------------------


def _lead(record: BestRecord) -> str:
    ranking = record.ranking
    lead, expected = ranking.lead, ranking.expected_lead
    if lead is None or expected is None:
        return "No other configuration is complete, so there is nothing that it leads."
    luck = min(max(lead - expected, 0.0), lead)
    said = (
        f"It leads the next by {_points(lead)}, of which {_points(luck)} are probably luck; on "
        f"other seeds and images expect {format_accuracy(ranking.observed_best.expected)} of it."
    )
    if ranking.seed_sd is None:
        said += (
            " No configuration has two seeds, so that only the chance of the images is counted, "
            "and luck is likely to be more."
        )
    return said


def _shortlist(record: BestRecord) -> Table:
    table = _table("configuration", "seeds", "val acc", "95 % interval", "expected", "is best")
    for one in record.ranking.shortlist:
        own = format_params({**one.candidate.params, **one.candidate.settings})
        table.add_row(
            one.candidate.label + (f" ({own})" if own else ""),
            str(len(one.candidate.outcomes)),
            format_accuracy(one.candidate.mean),
            f"{100 * max(one.low, 0):.1f} to {100 * min(one.high, 1):.1f} %",
            format_accuracy(one.expected),
            f"{100 * one.probability:.0f} %",
        )
    return table


def _print_confirmed(console: Console, record: BestRecord) -> None:
    found = record.confirmation
    assert found is not None
    table = _table(
        "configuration",
        "seeds",
        "first seen",
        "fresh seeds",
        "95 % interval",
        "shrinkage",
        "behind",
    )
    for one in found.candidates:
        measured, behind, shrinkage = one.val_accuracy, one.behind, one.shrinkage
        table.add_row(
            one.candidate.label,
            "0" if measured is None else str(measured.seeds),
            format_accuracy(one.observed),
            format_accuracy(None if measured is None else measured.mean),
            _interval(measured),
            "-" if shrinkage is None else _points(shrinkage),
            "" if behind is None else _behind(behind.mean, behind.low, behind.high),
        )
    console.print(table)
    console.print()
    if found.best is not None:
        best = found.best
        less = "less" if (best.shrinkage or 0.0) >= 0 else "more"
        seeds = f"{found.seeds} fresh seed{'s' if found.seeds > 1 else ''}"
        console.print(
            f"Confirmed best: {describe(best.candidate)}, mean validation accuracy "
            f"{_with_interval(best.val_accuracy)} on {seeds}; "
            f"{_points(abs(best.shrinkage or 0.0))} {less} than first seen.",
            style="bold",
        )


def _said_of(rerun: Rerun) -> str:
    test = rerun.test_accuracy
    seeds = 0 if test is None else test.seeds
    parts = "training and validation" if rerun.train_on == "train+val" else "training"
    time = "" if rerun.seconds is None else f"; {format_duration(rerun.seconds.mean)} a seed"
    return (
        f"{rerun.candidate.label}, trained on the {parts} images: {_with_interval(test)}, "
        f"{seeds} seed{'s' if seeds != 1 else ''}{time}."
    )


def _with_interval(measured: Measured | None) -> str:
    if measured is None:
        return "not known"
    if measured.low is None:
        return f"{format_accuracy(measured.mean)} (one seed has no interval)"
    return f"{format_accuracy(measured.mean)} (95 % interval {_interval(measured)})"


def _interval(measured: Measured | None) -> str:
    if measured is None or measured.low is None or measured.high is None:
        return "-"
    return f"{100 * measured.low:.1f} to {100 * measured.high:.1f} %"


def _behind(mean: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * mean:.1f}{ends}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f} points"


def _print_test_use(console: Console, use: TestUse) -> None:
    console.print(use.sentence())
    for line in use.warnings():
        console.print(f"Warning: {line}", style="yellow")


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    return table
