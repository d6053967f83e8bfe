"""The section with what a search did: its history, the short list, what pruning rests on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.early_epochs import EarlyEpochs
from cifar_tune.evaluation.ranking import Ranking, Standing
from cifar_tune.evaluation.search_summary import SearchRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import short_name
from cifar_tune.reports.blocks import Block, Cell, Chart, Prose, Row, Table, number_cell
from cifar_tune.reports.sections.search_plots import (
    plot_early_epochs,
    plot_history,
    plot_importances,
    plot_slices,
)
from cifar_tune.wording import format_count, format_duration, format_percent


def draw_search(record: ReportRecord) -> Iterator[Block]:
    """Draw what the sampled trials gave, and what pruning saved."""
    search = record.search
    if search is None:
        return
    if record.ranking is not None:
        yield shortlist_table(record.ranking)
    yield Chart(
        "history",
        "The search",
        _describe_history(search),
        partial(plot_history, record.trials),
    )
    if search.ranges and record.trials:
        surrogate = (
            " Line and band: mean over all else and 95 % band of a Gaussian process through the "
            "complete trials."
            if search.effects
            else " No surrogate: fewer than ten complete trials, or all alike."
        )
        yield Chart(
            "slices",
            "Validation accuracy by hyperparameter",
            f"All else differs, too.{surrogate}",
            partial(plot_slices, search, record.trials),
        )
    yield from _draw_halves(search)


def _describe_history(search: SearchRecord) -> str:
    run, saved = format_duration(search.seconds_run), format_duration(search.seconds_saved)
    text = f"Sampled trials: {format_count(search.epochs_run, 'epoch')} in {run}"
    if search.pruned:
        text += f"; pruning saved {format_count(search.epochs_saved, 'epoch')}, about {saved}"
    return f"{text}. The highest of many values is too high on average."


def _draw_halves(search: SearchRecord) -> Iterator[Block]:
    if len(search.ranges) > 1 and search.importance_intervals:
        good = " and of the better half" if search.importances_of_good else ""
        yield Chart(
            "importances",
            "Importance of the hyperparameters",
            f"Share by PED-ANOVA over the whole range{good}, with 95 % intervals from resampled "
            f"trials. {_capitalize(search.counted)}.",
            partial(plot_importances, search),
            is_half=True,
        )
    elif len(search.ranges) > 1:
        yield Prose(f"Importance of the hyperparameters: not computed; {search.counted}.")
    early = search.early_epochs
    if early is not None:
        yield Chart(
            "early-epochs",
            "Do early epochs predict the last?",
            f"{_describe_correlation(early)} Rank correlation with the validation accuracy after "
            f"epoch {early.last_epoch}, {early.trials} complete trials, 95 % intervals. Pruning "
            "rests on it.",
            partial(plot_early_epochs, early),
            is_half=True,
        )


def _describe_correlation(early: EarlyEpochs) -> str:
    middle = early.epochs[(len(early.epochs) - 1) // 2]
    ends = f"{middle.low:.2f} to {middle.high:.2f}".replace("-", "\N{MINUS SIGN}")
    rank = f"{middle.correlation:.2f}".replace("-", "\N{MINUS SIGN}")
    answer = "Yes" if middle.low > 0.5 else "Partly" if middle.low > 0 else "Not established"
    return f"{answer}: {rank} ({ends}) after epoch {middle.epoch}."


def _capitalize(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def shortlist_table(ranking: Ranking) -> Table:
    """Return the configurations that ``best show`` has, with what to expect of them."""
    is_best = "P(best), rough" if ranking.seed_sd is None else "P(best)"
    return Table(
        "shortlist-table",
        "Best by validation, and what to expect of it",
        ("configuration", "seeds", "validation", "expected on new seeds", is_best),
        tuple(map(_shortlist_row, ranking.shortlist)),
        note="The best of many looks better than it is: what is expected is drawn to the others.",
    )


def _shortlist_row(standing: Standing) -> Row:
    candidate = standing.candidate
    label = short_name(candidate.label).replace("trial-", "trial ")
    ends = f"{100 * standing.low:.1f} to {100 * standing.high:.1f}"
    return Row(
        (
            Cell(label, note=format_params(candidate.own), is_code=True),
            number_cell(str(len(candidate.measured))),
            number_cell(format_percent(candidate.measured_mean)),
            number_cell(format_percent(standing.expected), note=ends),
            number_cell(format_percent(standing.probability, 0)),
        )
    )
