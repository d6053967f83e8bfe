"""What ``cifar-tune best`` prints in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cifar_tune.cli.console import make_table
from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.ranking_prior import SPREAD, SPREAD_HIGH, SPREAD_LOW
from cifar_tune.wording import format_accuracy, format_count, format_duration, format_percent

if TYPE_CHECKING:
    from cifar_tune.evaluation.best import BestRecord, Choice
    from cifar_tune.evaluation.candidates import Candidate
    from cifar_tune.evaluation.fresh_runs import Ablation, Confirmation, Rerun
    from cifar_tune.evaluation.quantities import ContrastRecord, Measured
    from cifar_tune.evaluation.ranking import Ranking
    from cifar_tune.evaluation.test_use import TestUse
    from cifar_tune.search.runner import StudyOutcome


def describe(candidate: Candidate) -> str:
    """Return a configuration's label, its trials and what sets it apart."""
    numbers = ", ".join(map(str, candidate.numbers))
    trials = f"trial {numbers}" if len(candidate.numbers) == 1 else f"trials {numbers}"
    own = "; " + format_params(candidate.own) if candidate.own else ""
    return f"{candidate.label} ({trials}{own})"


def print_choice(console: Console, choice: Choice) -> None:
    """Print which configuration a command is about, and why it is that one."""
    console.print(f"Configuration: {describe(choice.candidate)}; {choice.why}.")


def print_best(console: Console, record: BestRecord) -> None:
    """Print the confirmed best first, then the best by observed value and the short list."""
    from cifar_tune.storage.invocations import study_arguments

    ranking, is_confirmed = record.ranking, record.confirmation is not None
    if record.confirmation is not None:
        _print_confirmed(console, record.confirmation)
        console.print()
    best = ranking.observed_best.candidate
    console.print(
        f"Best by observed value: {describe(best)}, validation accuracy "
        f"{format_accuracy(best.mean)} on {record.spec.protocol.validation_images:,} images, "
        f"{format_count(len(best.outcomes), 'seed')}.",
        style=None if is_confirmed else "bold",
    )
    console.print(_describe_lead(ranking))
    console.print(_describe_spread(ranking))
    console.print()
    console.print(_shortlist_table(ranking))
    console.print()
    if not is_confirmed:
        arguments = study_arguments(record.spec, record.location)
        console.print(
            f"Test it on fresh seeds: cifar-tune best confirm {arguments}", soft_wrap=True
        )
    for rerun in record.reruns:
        if rerun.test_accuracy is not None:
            console.print(f"Test accuracy of {_describe_rerun(rerun)}")
    _print_test_use(console, record.test_use)


def print_confirmation(console: Console, record: BestRecord) -> None:
    """Print what fresh seeds say of a short list."""
    from cifar_tune.storage.invocations import study_arguments

    console.print()
    if record.confirmation is not None:
        _print_confirmed(console, record.confirmation)
    console.print(
        "It is a choice among several, and its figure is still a little too good. What may be "
        "quoted is what the test images tell: "
        f"cifar-tune best rerun {study_arguments(record.spec, record.location)}",
        soft_wrap=True,
    )
    _print_test_use(console, record.test_use)


def print_rerun(console: Console, rerun: Rerun, use: TestUse) -> None:
    """Print what a configuration gave that was trained again, seed by seed."""
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
    console.print(f"Test accuracy of {_describe_rerun(rerun)}", style="bold")
    _print_test_use(console, use)


def print_ablation(console: Console, ablation: Ablation) -> None:
    """Print what becomes of a configuration without each of its hyperparameters."""
    table = make_table("put back", "seeds", "val acc", "95 % interval", "lost without it")
    for part in ablation.parts:
        loss = part.loss
        table.add_row(
            format_params(part.values),
            *_format_measured(part.val_accuracy),
            "-" if loss is None else _format_difference(loss),
        )
    console.print()
    console.print(
        f"{describe(ablation.candidate)}: mean validation accuracy "
        f"{_format_with_interval(ablation.val_accuracy)}.",
        style="bold",
    )
    console.print(table)
    console.print("Points of accuracy, in pairs of one seed, with 95 % intervals.")


def print_unfinished(console: Console, outcome: StudyOutcome) -> None:
    """Print that a run has not come to its end."""
    why = f", since {outcome.why_left}" if outcome.why_left is not None else ""
    failed = sum(trial.has_failed for trial in outcome.trials)
    console.print(
        f"{format_count(len(outcome.left.named), 'trial')} left undone{why}; {failed} failed. "
        "The same command continues."
    )


# --- parts --------------------------------------------------------------------------------------


def _describe_lead(ranking: Ranking) -> str:
    lead, expected = ranking.lead, ranking.expected_lead
    if lead is None or expected is None:
        return "No other configuration is complete, so there is nothing that it leads."
    luck = min(max(lead - expected, 0.0), lead)
    return (
        f"It leads the next by {_format_points(lead)}, of which {_format_points(luck)} are "
        "probably luck; on other seeds and images expect "
        f"{format_accuracy(ranking.observed_best.expected)} of it."
    )


def _describe_spread(ranking: Ranking) -> str:
    """Return where the spread over seeds comes from, which all that is expected rests on."""
    if ranking.seed_sd is not None:
        return (
            f"Over seeds it scatters by {_format_points(ranking.seed_sd)} where there are several; "
            f"of another configuration, {_format_points(ranking.assumed_seed_sd)} are likely."
        )
    low, high = (f"{100 * end:.1f}" for end in (SPREAD_LOW, SPREAD_HIGH))
    return (
        "No configuration has two seeds, so how much seeds scatter is not known. What recorded "
        f"studies of this program show stands for it, about {_format_points(SPREAD)} and with a "
        f"probability of 95 % between {low} and {high}: the figures below are a first guess that "
        "`best confirm` replaces by a measurement."
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
    columns = ("configuration", "seeds", "first seen", "fresh seeds", "95 % interval")
    table = make_table(*columns, "shrinkage", "behind")
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
    best = confirmation.best
    if best is not None:
        shrinkage = best.shrinkage or 0.0
        console.print(
            f"Confirmed best: {describe(best.candidate)}, mean validation accuracy "
            f"{_format_with_interval(best.val_accuracy)} on "
            f"{format_count(confirmation.seeds, 'fresh seed')}; "
            f"{_format_points(abs(shrinkage))} {'less' if shrinkage >= 0 else 'more'} than first "
            "seen.",
            style="bold",
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
    console.print(use.sentence())
    for warning in use.warnings():
        console.print(f"Warning: {warning}", style="yellow")
