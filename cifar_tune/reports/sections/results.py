"""The section that compares the named trials: table, curves, times, what was published."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_tune.config.trial import QUANTITIES
from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.named_trials import ModelRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_effect, format_key, format_quantity, short_name
from cifar_tune.reports.blocks import Block, Cell, Chart, Points, Row, Table, number_cell
from cifar_tune.reports.sections.curves import draw_curves
from cifar_tune.reports.sections.reruns import draw_reruns
from cifar_tune.reports.sections.search import shortlist_table
from cifar_tune.reports.study_blocks import configuration_cell, quantity_cell
from cifar_tune.reports.theme import NARROW, add_legend, make_axes, use_percent
from cifar_tune.training.pictures.palette import LINE, TEST, VALIDATION


def draw_comparison(record: ReportRecord) -> Iterator[Block]:
    """Draw tables and figures of all that was measured of the named trials."""
    if record.trained:
        yield _results_table(record)
    if record.search is None and record.ranking is not None:
        yield shortlist_table(record.ranking)
    yield from draw_curves(record)
    if _times_differ(record) and record.pareto:
        yield Chart(
            "accuracy-against-time",
            "Accuracy against time",
            f"Mean {format_key(record.pareto_quantity)} and mean time on "
            f"{' and '.join(record.devices)}, with 95 % intervals where there are several seeds. "
            "Filled: no other is as good in both.",
            partial(plot_pareto, record),
        )
    yield from draw_reruns(record)
    if any(model.published for model in record.models):
        yield _published_table(record)
    if record.remarks:
        yield Points(f"What to know of {record.published_source}", record.remarks)


def _times_differ(record: ReportRecord) -> bool:
    """Return whether the slowest model's time is apart from the fastest one's."""
    by_number = {trial.number: trial for trial in record.trials}
    ends = []
    for model in record.trained:
        time = model.measured.get("seconds")
        if time is not None and time.low is not None and time.high is not None:
            ends.append((time.low, time.high))
        elif time is not None:
            ends.append(_spread_of_epochs([by_number[number] for number in model.trials]))
    return len(ends) > 1 and max(low for low, _ in ends) > min(high for _, high in ends)


def _spread_of_epochs(trials: Sequence[TrialRecord]) -> tuple[float, float]:
    """Return about where the time of a single run lies, from how its epochs differ."""
    seconds = [epoch.seconds for trial in trials for epoch in trial.history]
    mean = sum(seconds) / len(seconds)
    variance = sum((second - mean) ** 2 for second in seconds) / max(len(seconds) - 1, 1)
    room = 2 * math.sqrt(variance * len(seconds))
    return sum(seconds) - room, sum(seconds) + room


# --- tables -------------------------------------------------------------------------------------


def _results_table(record: ReportRecord) -> Table:
    reads = record.fresh.test_use.reads
    values = [model.own for model in record.models]
    varied = {key for own in values for key in own if any(it.get(key) != own[key] for it in values)}
    return Table(
        "results-table",
        "Named trials",
        ("model", "seeds", *map(format_key, QUANTITIES)),
        tuple(_results_row(model, varied) for model in record.models),
        note="Mean over seeds with 95 % interval, after the last epoch; training accuracy with "
        f"augmentation and dropout. Reads of the test images for this study: {reads}.",
    )


def _results_row(model: ModelRecord, varied: Collection[str]) -> Row:
    quantities = (
        quantity_cell(key, model.measured.get(key), missing="missing") for key in QUANTITIES
    )
    own = {key: value for key, value in model.own.items() if key in varied}
    name = configuration_cell(short_name(model.name), own)
    return Row((name, number_cell(str(len(model.trials))), *quantities))


def _published_table(record: ReportRecord) -> Table:
    """Return what was published, beside ours where the protocol is the same, else by itself."""
    published = [model for model in record.models if model.published]
    beside = _stated_beside(record)
    note = "Another protocol than that of the figures above: the two are not to be compared."
    if beside:
        note = (
            "Small: ours, under the same protocol, and the difference. Times are of other "
            f"devices: {record.published_device} there, {' and '.join(record.devices)} here."
        )
    if beside and len(beside) < len(published):
        note += " The others have another protocol here and are not to be compared."
    return Table(
        "published-table",
        f"As published in {record.published_source}, on {record.published_device}, one run each",
        ("model", *map(format_key, QUANTITIES)),
        tuple(map(_published_row, published)),
        note=note,
    )


def _published_row(model: ModelRecord) -> Row:
    cells = [Cell(short_name(model.name), note=model.note, is_code=True)]
    for quantity in QUANTITIES:
        stated = model.published.get(quantity)
        text = "not stated" if stated is None else format_quantity(quantity, stated)
        cells.append(number_cell(text, note=_ours(model, quantity)))
    return Row(tuple(cells))


def _ours(model: ModelRecord, quantity: str) -> str:
    """Return our own figure, with its difference to a published one of the same protocol."""
    measured, stated = model.measured.get(quantity), model.published.get(quantity)
    if not model.is_comparable or measured is None or stated is None:
        return ""
    ours = f"ours {format_quantity(quantity, measured.mean)}"
    if quantity == "seconds":
        return ours
    return f"{ours}, {format_effect(quantity, measured.mean - stated)}"


def _stated_beside(record: ReportRecord) -> list[ModelRecord]:
    """Return the models whose published figures are of the same protocol."""
    return [model for model in record.models if model.is_comparable and model.published]


# --- accuracy against time -----------------------------------------------------------------------


def plot_pareto(record: ReportRecord, width: int) -> Figure:
    """Plot accuracy against time, with the front of models that none beats in both."""
    quantity = record.pareto_quantity
    models = [model for model in record.models if {quantity, "seconds"} <= model.measured.keys()]
    longest = max(model.measured["seconds"].mean for model in models)
    unit, size = ("minutes", 60.0) if longest >= 180 else ("seconds", 1.0)
    colour = TEST if quantity == "test_accuracy" else VALIDATION
    figure, (axes,) = make_axes(width, 270)

    def place_of(model: ModelRecord) -> tuple[float, float]:
        return model.measured["seconds"].mean / size, model.measured[quantity].mean

    front = [model for name in record.pareto for model in models if model.name == name]
    axes.plot(
        [model.measured["seconds"].mean / size for model in front],
        [model.measured[quantity].mean for model in front],
        drawstyle="steps-post", color=LINE, linestyle="--", linewidth=1.2, label="Pareto front",
    )  # fmt: skip
    for model in models:
        time, accuracy, place = model.measured["seconds"], model.measured[quantity], place_of(model)
        if accuracy.low is not None and accuracy.high is not None:
            axes.plot([place[0]] * 2, [accuracy.low, accuracy.high], color=colour, alpha=0.55)
        if time.low is not None and time.high is not None:
            times = [time.low / size, time.high / size]
            axes.plot(times, [place[1]] * 2, color=colour, alpha=0.55)
        face = colour if model.name in record.pareto else "none"
        axes.plot(*place, "o", markerfacecolor=face, markeredgecolor=colour, markersize=8)
    axes.margins(x=0.12, y=0.15)
    _name_points(axes, [(short_name(model.name), place_of(model)) for model in models])
    use_percent(axes, most=6 if width > NARROW else 5)
    axes.set_xlabel(f"time of training and validation ({unit})")
    axes.set_ylabel(f"{format_key(quantity)} (%)")
    add_legend(figure, [axes], 2)
    return figure


def _name_points(axes: Axes, points: Sequence[tuple[str, tuple[float, float]]]) -> None:
    """Write each point's name at its right, or at its left where another one is close."""
    for name, (x, y) in points:
        others = [place for other, place in points if other != name]
        is_left = any(_is_near(axes, (x, y), place) and place[0] >= x for place in others)
        shift, side = ((-8, 5), "right") if is_left else ((8, 5), "left")
        axes.annotate(name, (x, y), shift, textcoords="offset points", ha=side, fontsize=11)


def _is_near(axes: Axes, place: tuple[float, float], other: tuple[float, float]) -> bool:
    width, height = (high - low for low, high in (axes.get_xlim(), axes.get_ylim()))
    return abs(other[0] - place[0]) < 0.12 * width and abs(other[1] - place[1]) < 0.09 * height
