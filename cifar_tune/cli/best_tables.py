"""What ``cifar-tune best`` prints in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cifar_tune.cli.console import make_table
from cifar_tune.cli.tables import print_next, print_text
from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.ranking_prior import SPREAD, SPREAD_HIGH, SPREAD_LOW
from cifar_tune.wording import (
    format_accuracy,
    format_count,
    format_duration,
    format_field,
    format_percent,
    wrap_text,
)

if TYPE_CHECKING:
    from cifar_tune.evaluation.best import BestRecord, Choice
    from cifar_tune.evaluation.candidates import Candidate
    from cifar_tune.evaluation.fresh_runs import Ablation, Confirmation, Rerun
    from cifar_tune.evaluation.quantities import ContrastRecord, Measured
    from cifar_tune.evaluation.ranking import Ranking
    from cifar_tune.evaluation.test_use import TestUse
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.storage.invocations import NextCommand


MOST_NAME_COLUMNS = 24
"""Columns of a name that is printed on one line beside the figures of a confirmation."""


def describe(candidate: Candidate) -> str:
    """Return a configuration's label, its trials and what sets it apart."""
    numbers = ", ".join(map(str, candidate.numbers))
    trials = f"trial {numbers}" if len(candidate.numbers) == 1 else f"trials {numbers}"
    own = "; " + format_params(candidate.own) if candidate.own else ""
    return f"{candidate.label} ({trials}{own})"


def print_choice(console: Console, choice: Choice) -> None:
    """Print which configuration a command is about, and why it is that one."""
    text = f"{describe(choice.candidate)}; {choice.why}"
    console.print(format_field("chosen", text), soft_wrap=True)


def print_best(console: Console, record: BestRecord) -> None:
    """Print the confirmed best, the best by observed value, the short list and the answer."""
    from cifar_tune.evaluation.leader import read_answer

    ranking, is_confirmed = record.ranking, record.confirmation is not None
    if record.confirmation is not None:
        _print_confirmed(console, record.confirmation)
        console.print()
    best = ranking.observed_best.candidate
    images = format_count(record.spec.protocol.validation_images, "image")
    text = (
        f"Best by validation: {describe(best)}, {format_accuracy(best.mean)} on {images}, "
        f"{format_count(len(best.outcomes), 'seed')}."
    )
    console.print(wrap_text(text), style=None if is_confirmed else "bold", soft_wrap=True)
    print_text(console, _describe_lead(ranking))
    print_text(console, _describe_spread(ranking))
    console.print()
    console.print(_shortlist_table(ranking))
    console.print()
    for rerun in record.reruns:
        if rerun.test_accuracy is not None:
            print_text(console, f"Test accuracy of {_describe_rerun(rerun)}")
    _print_test_use(console, record.test_use)
    print_next(console, _list_next(record))
    console.print()
    answer = read_answer(record.location, record.spec).sentence
    console.print(wrap_text(answer), style="bold", soft_wrap=True)


def print_confirmation(
    console: Console, record: BestRecord, root: Path, *, is_brief: bool = False
) -> None:
    """Print what fresh seeds say of a short list; only the best if it is to be brief."""
    confirmation = record.confirmation
    if is_brief:
        text = "" if confirmation is None else _describe_confirmed_best(confirmation)
        console.print(text, style="bold", soft_wrap=True)
        return
    console.print()
    if confirmation is not None:
        _print_confirmed(console, confirmation)
    print_text(
        console,
        "It was chosen among several by these figures, so its validation accuracy is still "
        "slightly too high. The test images give a figure to quote.",
    )
    _print_test_use(console, record.test_use)
    print_next(console, _list_next(record, root))


def print_rerun(
    console: Console, rerun: Rerun, record: BestRecord, root: Path, *, is_brief: bool = False
) -> None:
    """Print what a configuration gave that was trained again; only the mean if brief."""
    if is_brief:
        console.print(f"Test accuracy of {_describe_rerun(rerun)}", style="bold", soft_wrap=True)
        return
    table = make_table("seed", "trial", "val acc", "test acc", "time")
    for replicate in rerun.replicates:
        table.add_row(
            replicate["replicate"].removeprefix("seed="),
            str(replicate["number"]),
            format_accuracy(replicate["val_accuracy"]),
            format_accuracy(replicate["test_accuracy"]),
            format_duration(replicate["seconds"]),
        )
    console.print()
    console.print(table)
    console.print()
    text = wrap_text(f"Test accuracy of {_describe_rerun(rerun)}")
    console.print(text, style="bold", soft_wrap=True)
    _print_test_use(console, record.test_use)
    print_next(console, _list_next(record, root))


def print_ablation(console: Console, ablation: Ablation, *, is_brief: bool = False) -> None:
    """Print the accuracy of a configuration without each of its hyperparameters."""
    text = (
        f"{describe(ablation.candidate)}: mean validation accuracy "
        f"{_format_with_interval(ablation.val_accuracy)}."
    )
    if is_brief:
        console.print(text, style="bold", soft_wrap=True)
        return
    table = make_table("reset to", "seeds", "val acc", "95 % interval", "accuracy lost")
    for part in ablation.parts:
        loss = part.loss
        table.add_row(
            format_params(part.values),
            *_format_measured(part.val_accuracy),
            "-" if loss is None else _format_difference(loss),
        )
    console.print()
    console.print(wrap_text(text), style="bold", soft_wrap=True)
    console.print(table)
    print_text(console, "Accuracy lost: in points, paired by seed, with 95 % intervals.")


def print_unfinished(console: Console, outcome: StudyOutcome) -> None:
    """Print that a run has not come to its end."""
    why = f" ({outcome.why_left})" if outcome.why_left is not None else ""
    failed = sum(trial.has_failed for trial in outcome.trials)
    print_text(
        console,
        f"Not run: {format_count(len(outcome.left.named), 'trial')}{why}; failed: {failed}. "
        "Run the same command to continue.",
    )


# --- parts --------------------------------------------------------------------------------------


def _describe_lead(ranking: Ranking) -> str:
    lead, expected = ranking.lead, ranking.expected_lead
    if lead is None or expected is None:
        return "No other configuration has a complete trial to compare it with."
    noise = min(max(lead - expected, 0.0), lead)
    return (
        f"It leads the next configuration by {_format_points(lead)}; about {100 * noise:.1f} of "
        "that is likely noise. Expected on new seeds and images: "
        f"{format_accuracy(ranking.observed_best.expected)}."
    )


def _describe_spread(ranking: Ranking) -> str:
    """Return where the spread over seeds comes from, which all that is expected rests on."""
    if ranking.seed_sd is not None:
        return (
            "Standard deviation over seeds: "
            f"{_format_points(ranking.seed_sd)} where a configuration has several seeds; "
            f"{_format_points(ranking.assumed_seed_sd)} assumed for the others."
        )
    low, high = (f"{100 * end:.1f}" for end in (SPREAD_LOW, SPREAD_HIGH))
    return (
        "No configuration has two seeds, so the standard deviation over seeds is not measured. "
        f"Assumed from recorded studies: {_format_points(SPREAD)} (95 % between {low} and "
        f"{high}). The figures below are rough until `best confirm` measures it."
    )


def _shortlist_table(ranking: Ranking) -> Table:
    is_best = "is best (a guess)" if ranking.seed_sd is None else "is best"
    table = make_table("configuration", "seeds", "val acc", "expected", "95 % interval", is_best)
    for standing in ranking.shortlist:
        candidate = standing.candidate
        table.add_row(
            candidate.label + (f" ({format_params(candidate.own)})" if candidate.own else ""),
            str(len(candidate.measured)),
            format_accuracy(candidate.measured_mean),
            format_accuracy(standing.expected),
            f"{100 * standing.low:.1f} to {format_percent(standing.high)}",
            format_percent(standing.probability, 0),
        )
    return table


def _print_confirmed(console: Console, confirmation: Confirmation) -> None:
    columns = ("configuration", "seeds", "in study", "fresh seeds", "95 % interval")
    table = make_table(*columns, "shrinkage", "behind")
    # In a narrow terminal short names stay on one line, and so do intervals and shrinkage.
    longest = max((len(it.candidate.label) for it in confirmation.candidates), default=0)
    table.columns[0].no_wrap, table.columns[0].overflow = longest <= MOST_NAME_COLUMNS, "fold"
    for column in table.columns[4:6]:
        column.no_wrap = True
    for confirmed in confirmation.candidates:
        behind, shrinkage = confirmed.behind, confirmed.shrinkage
        seeds, mean, interval = _format_measured(confirmed.val_accuracy)
        table.add_row(
            confirmed.candidate.label,
            seeds,
            format_accuracy(confirmed.observed),
            mean,
            interval,
            "-" if shrinkage is None else _format_points(shrinkage),
            "" if behind is None else _format_difference(behind),
        )
    console.print(table)
    console.print()
    text = _describe_confirmed_best(confirmation)
    console.print(wrap_text(text), style="bold", soft_wrap=True)


def _describe_confirmed_best(confirmation: Confirmation) -> str:
    best = confirmation.best
    if best is None:
        return "No configuration is complete on all fresh seeds."
    shrinkage = best.shrinkage or 0.0
    return (
        f"Confirmed best: {describe(best.candidate)}, mean validation accuracy "
        f"{_format_with_interval(best.val_accuracy)} on "
        f"{format_count(confirmation.seeds, 'fresh seed')}; "
        f"{_format_points(abs(shrinkage))} {'below' if shrinkage >= 0 else 'above'} its value in "
        "the study."
    )


def _describe_rerun(rerun: Rerun) -> str:
    test = rerun.test_accuracy
    images = "training and validation" if rerun.train_on == "train+val" else "training"
    time = "" if rerun.seconds is None else f"; {format_duration(rerun.seconds.mean)} a seed"
    return (
        f"{rerun.candidate.label}, trained on the {images} images: {_format_with_interval(test)}, "
        f"{format_count(0 if test is None else test.seeds, 'seed')}{time}."
    )


def _format_measured(measured: Measured | None) -> tuple[str, str, str]:
    """Return the cells for the seeds, the mean and its interval."""
    if measured is None:
        return "0", "-", "-"
    return str(measured.seeds), format_accuracy(measured.mean), _format_interval(measured)


def _format_with_interval(measured: Measured | None) -> str:
    if measured is None:
        return "not known"
    if measured.low is None:
        return f"{format_accuracy(measured.mean)} (one seed has no interval)"
    return f"{format_accuracy(measured.mean)} (95 % interval {_format_interval(measured)})"


def _format_interval(measured: Measured) -> str:
    if measured.low is None or measured.high is None:
        return "-"
    return f"{100 * measured.low:.1f} to {format_percent(measured.high)}"


def _format_difference(contrast: ContrastRecord) -> str:
    mean = f"{100 * contrast.mean:.1f}"
    if contrast.low is None or contrast.high is None:
        return mean
    return f"{mean} ({100 * contrast.low:+.1f} to {100 * contrast.high:+.1f})"


def _format_points(fraction: float) -> str:
    return f"{100 * fraction:.1f} points"


def _print_test_use(console: Console, use: TestUse) -> None:
    print_text(console, use.sentence())
    for warning in use.warnings():
        console.print(wrap_text(f"Warning: {warning}"), style="yellow", soft_wrap=True)


def _list_next(record: BestRecord, root: Path | None = None) -> list[NextCommand]:
    """Return what the best configuration is missing, as commands."""
    from cifar_tune.storage import invocations

    commands = []
    if record.confirmation is None:
        commands.append(invocations.confirm_command(record.spec, record.location, root))
    if not record.reruns:
        commands.append(invocations.rerun_command(record.spec, record.location, root))
    return [*commands, invocations.report_command(record.spec, record.location)]
