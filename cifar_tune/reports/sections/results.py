"""The section with what each named trial reached, beside what was published of it."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go

from cifar_tune.config.trial import QUANTITIES
from cifar_tune.evaluation.named_trials import ModelRecord
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import format_effect, format_key, format_quantity, short_name
from cifar_tune.reports.blocks import (
    Block,
    Cell,
    Command,
    Missing,
    Points,
    Row,
    Table,
    number_cell,
)
from cifar_tune.reports.study_blocks import (
    configuration_cell,
    make_chart,
    quantity_cell,
    trial_anchor,
)
from cifar_tune.reports.theme import QUANTITY_COLOURS, SYMBOLS, error_bars, make_figure
from cifar_tune.training.pictures.palette import COLOURS, LINE
from cifar_tune.wording import format_count


def draw_results(record: ReportRecord) -> Iterator[Block]:
    """Draw what is missing, then tables and figures of all that was measured."""
    yield from (Missing(missing.what, missing.command) for missing in record.missing)
    if not record.trained:
        return
    yield _results_table(record)
    trials = [number for model in record.trained for number in model.trials]
    stated = " Open symbols: as published, one run each." if _stated_beside(record) else ""
    yield make_chart(
        record,
        "accuracies",
        "Accuracy of each model",
        "Mean over seeds with its 95 % interval, for the scatter of seeds and for the finite "
        f"number of images; without a bar where there is one seed.{stated}",
        plot_accuracies(record),
        trials,
    )
    if len(record.trained) > 1 and record.pareto:
        yield make_chart(
            record,
            "accuracy-against-time",
            "Accuracy against time",
            f"Mean {format_key(record.pareto_quantity)} and mean time of training and validation, "
            f"with 95 % intervals, on {' and '.join(record.devices)}. Filled: no other is as good "
            f"in both ({', '.join(map(short_name, record.pareto))}).",
            plot_pareto(record),
            trials,
        )
    if any(model.published for model in record.models):
        yield _published_table(record)
        if not record.is_comparable:
            yield Command(
                "Run under the protocol of the published figures",
                record.published_command,
            )
    if record.remarks:
        yield Points(f"What to know of {record.published_source}", record.remarks)


# --- tables -------------------------------------------------------------------------------------


def _results_table(record: ReportRecord) -> Table:
    reads = record.fresh.test_use.reads
    return Table(
        "results-table",
        f"Measured here, on {' and '.join(record.devices)}",
        ("model", "seeds", *map(format_key, QUANTITIES)),
        tuple(map(_results_row, record.models)),
        note="Mean over seeds, with its 95 % interval and the standard deviation; accuracies after "
        "the last epoch. Training accuracy is that of the epoch's images as they were used, "
        "augmentation and dropout included. Time is that of training and validation. The test "
        f"images were read {format_count(reads, 'time')} for this study.",
    )


def _results_row(model: ModelRecord) -> Row:
    link = trial_anchor(model.trials[0]) if model.trials else ""
    cells = [
        configuration_cell(short_name(model.name), model.own, link=link),
        number_cell(str(len(model.trials))),
    ]
    for key in QUANTITIES:
        measured = model.measured.get(key)
        link = "" if measured is None else trial_anchor(measured.trials[0])
        cells.append(quantity_cell(key, measured, link=link, missing="missing"))
    return Row(tuple(cells))


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


# --- figures ------------------------------------------------------------------------------------


def plot_accuracies(record: ReportRecord) -> go.Figure:
    """Plot the accuracies of each model side by side, with intervals, and what was published."""
    names = [short_name(model.name) for model in record.models]
    places = {"tickvals": list(range(len(names))), "ticktext": names}
    figure = make_figure(
        "",
        "accuracy (%)",
        y_is_percent=True,
        xaxis={**places, "range": [-0.5, len(names) - 0.5]},
        yaxis={"range": [0, 1]},
    )
    for place, quantity in enumerate(QUANTITY_COLOURS):
        _add_accuracy(figure, record, quantity, place)
    return figure


def _add_accuracy(figure: go.Figure, record: ReportRecord, quantity: str, place: int) -> None:
    # Each model has a whole number on the axis, its three accuracies beside one another.
    models = [
        (number + 0.2 * (place - 1), model)
        for number, model in enumerate(record.models)
        if quantity in model.measured
    ]
    if not models:
        return
    figure.add_scatter(
        x=[x for x, _ in models],
        y=[model.measured[quantity].mean for _, model in models],
        error_y=error_bars([model.measured[quantity] for _, model in models]),
        mode="markers",
        marker={"color": QUANTITY_COLOURS[quantity], "size": 9, "symbol": SYMBOLS[place]},
        name=format_key(quantity),
        text=[short_name(model.name) for _, model in models],
        hovertemplate="%{text}: %{y:.1%}<extra>%{fullData.name}</extra>",
    )
    stated = [
        (number + 0.2 * (place - 1), model.published[quantity])
        for number, model in enumerate(record.models)
        if model.is_comparable and quantity in model.published
    ]
    if stated:
        figure.add_scatter(
            x=[x for x, _ in stated],
            y=[accuracy for _, accuracy in stated],
            mode="markers",
            marker={
                "color": QUANTITY_COLOURS[quantity],
                "size": 12,
                "symbol": f"{SYMBOLS[place]}-open",
                "line": {"width": 2},
            },
            name=f"{format_key(quantity)}, as published",
        )


def plot_pareto(record: ReportRecord) -> go.Figure:
    """Plot accuracy against training time, with the front of models that none beats in both."""
    quantity = record.pareto_quantity
    models = [model for model in record.models if {quantity, "seconds"} <= model.measured.keys()]
    longest = max((model.measured["seconds"].mean for model in models), default=0.0)
    unit, size = ("minutes", 60.0) if longest >= 180 else ("seconds", 1.0)
    figure = make_figure(
        f"training time ({unit})",
        f"{format_key(quantity)} (%)",
        y_is_percent=True,
        xaxis={"rangemode": "tozero"},
    )
    front = [model for name in record.pareto for model in models if model.name == name]
    figure.add_scatter(
        x=[model.measured["seconds"].mean / size for model in front],
        y=[model.measured[quantity].mean for model in front],
        mode="lines",
        line={"color": LINE, "dash": "dot", "shape": "hv"},
        name="Pareto front",
        hoverinfo="skip",
    )
    for place, model in enumerate(models):
        time, accuracy = model.measured["seconds"], model.measured[quantity]
        colour = COLOURS[place % len(COLOURS)]
        is_open = "" if model.name in record.pareto else "-open"
        symbol = SYMBOLS[place % len(SYMBOLS)] + is_open
        figure.add_scatter(
            x=[time.mean / size],
            y=[accuracy.mean],
            error_x=error_bars([time], 1 / size, color=colour),
            error_y=error_bars([accuracy], color=colour),
            mode="markers",
            marker={"color": colour, "size": 11, "symbol": symbol},
            name=short_name(model.name),
            hovertemplate=f"%{{y:.1%}} after %{{x:.1f}} {unit}<extra>%{{fullData.name}}</extra>",
        )
    return figure
