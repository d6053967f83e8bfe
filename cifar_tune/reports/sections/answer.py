"""The opening of a study's report: the answer, one figure, what would settle it, two remarks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_tune.evaluation.answer import ComparedModel
from cifar_tune.evaluation.quantities import Measured
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.test_use import PICKING
from cifar_tune.reports.blocks import Block, Box, Chart
from cifar_tune.reports.theme import NARROW, add_legend, make_axes, use_percent
from cifar_tune.training.pictures.palette import STOPPED, TEST, VALIDATION
from cifar_tune.wording import format_count, format_percent, format_times

_ROW, _AROUND = 34, 96
"""CSS pixels of a row, and of what is above and below all rows."""
_FOUND_BY = {
    "named": "named trials",
    "confirmation": "configurations on fresh seeds",
    "sampled": "trials of the search, the best first",
}


def draw_opening(record: ReportRecord) -> Iterator[Block]:
    """Draw what the answer rests on, what would settle it and what to know before quoting it."""
    answer = record.answer
    if answer.models:
        yield _chart(record)
    settlement = answer.settlement
    if settlement is not None and answer.models:
        yield Box("What would settle it", settlement.sentence, settlement.command)
    elif settlement is not None:
        yield Box("Next", "run the study.", settlement.command)
    if record.differences:
        keys = format_count(len(record.differences), "setting")
        yield Box(
            "Not the published protocol",
            f"profile {record.profile} differs in {keys}, listed under Protocol. These figures say "
            "nothing about the published ones.",
        )
    use = record.fresh.test_use
    if use.is_flagged:
        after = f", {format_count(use.trials_after, 'trial')} begun after the first" * bool(
            use.trials_after
        )
        yield Box(
            "Test images",
            f"read {format_times(use.reads)} for "
            f"{format_count(use.configurations, 'configuration')}{after}. {PICKING}",
        )


def _chart(record: ReportRecord) -> Chart:
    answer = record.answer
    several = any(model.seeds > 1 for model in answer.models)
    interval = (
        "95 % interval over seeds and images"
        if several
        else f"95 % interval for {answer.images:,} images; one seed tells nothing of other seeds"
    )
    band = ""
    if answer.noise is not None:
        leader = answer.find(answer.leader).label
        band = f" Shaded: not to be told apart from {leader}."
    return Chart(
        "accuracies",
        f"Validation accuracy of the {_FOUND_BY[answer.basis]}",
        f"Mean with its {interval}.{band}",
        partial(plot_accuracies, record),
    )


def plot_accuracies(record: ReportRecord, width: int) -> Figure:
    """Plot each model with its interval, on the range of the data."""
    rows = _list_rows(record)
    figure, (axes,) = make_axes(width, _AROUND + _ROW * len(rows))
    answer = record.answer
    if answer.noise is not None:
        mean = answer.find(answer.leader).mean
        axes.axvspan(mean - answer.noise, mean, color=STOPPED, alpha=0.2, linewidth=0)
    for place, (model, is_search) in enumerate(rows):
        _add_model(axes, place, model, is_search=is_search)
        test = _find_test(record, model.name)
        if test is not None:
            _add_test(axes, place + 0.24, test)
    labels = [
        f"best of search: {model.label}" if is_search and width > NARROW else model.label
        for model, is_search in rows
    ]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    use_percent(axes, "x", 9 if width > NARROW else 5)
    axes.set_xlabel("accuracy (%)")
    add_legend(figure, [axes], 3)
    return figure


def _list_rows(record: ReportRecord) -> list[tuple[ComparedModel, bool]]:
    answer = record.answer
    rows = [(model, False) for model in answer.models]
    return rows if answer.best_sampled is None else [*rows, (answer.best_sampled, True)]


def _add_model(axes: Axes, place: int, model: ComparedModel, *, is_search: bool) -> None:
    style: dict[str, Any] = {"color": VALIDATION, "linewidth": 2.2, "solid_capstyle": "round"}
    axes.plot([model.low, model.high], [place, place], **style, alpha=0.55)
    face = "none" if is_search else VALIDATION
    mark: dict[str, Any] = {"markersize": 9, "markerfacecolor": face, "markeredgecolor": VALIDATION}
    name = "best of the search" if is_search else "validation"
    axes.plot([model.mean], [place], "o", label=name, **mark)
    mean = (model.mean, place)
    axes.annotate(format_percent(model.mean), mean, (0, 7), textcoords="offset points",
                  ha="center", va="bottom", fontsize=11)  # fmt: skip


def _find_test(record: ReportRecord, name: str) -> Measured | None:
    if record.answer.basis == "confirmation":
        return None
    models = (model for model in record.models if model.name == name)
    return next((model.measured.get("test_accuracy") for model in models), None)


def _add_test(axes: Axes, place: float, test: Measured) -> None:
    if test.low is not None and test.high is not None:
        axes.plot([test.low, test.high], [place, place], color=TEST, alpha=0.55)
    axes.plot([test.mean], [place], "D", color=TEST, markersize=6, label="test")
