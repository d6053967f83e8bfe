"""Draws what the activation report says of layers: how active they are and what freezing keeps."""

from __future__ import annotations

import re

import plotly.graph_objects as go

from cifar_tune.reports.blocks import Cell, Chart, Prose, Row, Section, Table
from cifar_tune.reports.theme import COLOURS, make_figure
from cifar_tune.training.pictures.activation_record import ActivationRecord, ImageView, LayerFreeze


def draw_stats(record: ActivationRecord, view: ImageView, key: str) -> Table:
    """How active the layers are for one image; ``key`` is the start of its ids."""
    rows = []
    for layer, freeze in zip(view.layers, record.freezes, strict=True):
        stats = layer.stats
        rows.append(
            Row(
                (
                    Cell(layer.layer, is_code=True),
                    Cell(f"{stats.channels} of {stats.height} x {stats.width}"),
                    Cell(_passed(stats.passed)),
                    Cell(percent(stats.active_fraction), is_number=True),
                    Cell(f"{stats.mean_active:.4g}", is_number=True),
                    Cell(f"{stats.maximum:.4g}", is_number=True),
                    Cell(f"{stats.silent_channels} of {stats.channels}", is_number=True),
                    Cell(
                        _frozen(freeze),
                        note=f"from depth {freeze.depth} on",
                        link=f"freeze-{layer.layer}",
                    ),
                )
            )
        )
    columns = (
        "Layer",
        "Maps",
        "Measured after",
        "Active",
        "Mean of active",
        "Largest",
        "Silent channels",
        "In this trial",
    )
    return Table(
        f"{key}-layers",
        f"How much is active for {view.source}, and how strongly",
        columns,
        tuple(rows),
        "Active: share of values above zero where it was measured. Silent: no value of the channel "
        "is above zero for this image. Strengths of different layers are on different scales.",
    )


def _passed(passed: tuple[str, ...]) -> str:
    """What lies between a layer and the values that were measured, without the block's name."""
    words = {"add": "shortcut added", "relu": "ReLU", "relu_1": "ReLU"}
    names = [re.sub(r"^layer\d\.\d\.", "", name) for name in passed]
    return ", ".join(words.get(name, name) for name in names) or "nothing more"


def draw_shares(record: ActivationRecord, command: str) -> Section:
    """How active the layers are for all images; ``command`` makes the figure again."""
    figure = make_figure(
        "layer", "active values (%)", y_is_percent=True, barmode="group", bargap=0.3
    )
    for number, view in enumerate(record.images):
        figure.add_trace(
            go.Bar(
                name=f"{view.source}{f' ({view.label})' if view.label else ''}",
                x=list(record.layers),
                y=[layer.stats.active_fraction for layer in view.layers],
                marker={"color": COLOURS[number % len(COLOURS)]},
            )
        )
    figure.update_yaxes(range=[0, 1])
    return Section(
        "active",
        "How much of each layer is active",
        (
            Chart(
                "active-share",
                "Active share by layer and image",
                "Share of the values above zero after the ReLU that follows each layer, in "
                f"percent; one trained network, {count(len(record.images), 'image')}, so there are "
                "no error bars.",
                figure,
                ((f"trial {record.trial}, {record.name or 'sampled'}", "trial"),),
                command,
            ),
        ),
    )


def draw_freezing(record: ActivationRecord) -> Section:
    """What freezing the layers keeps fixed and what not."""
    rows = tuple(
        Row(
            (
                Cell(one.layer, is_code=True),
                Cell(str(one.depth), is_number=True),
                Cell(_frozen(one)),
                Cell(f"{one.parameters:,}", is_number=True),
                Cell(f"{one.fixed_parameters:,}", is_number=True),
                Cell(f"{one.fixed_share * 100:.4g} %", is_number=True),
                Cell(str(one.batch_norms), is_number=True),
            ),
            id=f"freeze-{one.layer}",
        )
        for one in record.freezes
    )
    columns = (
        "Layer",
        "From depth",
        "In this trial",
        "Own parameters",
        "Kept fixed",
        "Share of all",
        "Batch norms",
    )
    note = (
        "From depth: the smallest freeze depth that includes the layer. Kept fixed: parameters of "
        "all groups that this depth freezes, with their share of the network's "
        f"{record.parameters:,} and the batch-norm layers among them."
    )
    table = Table("freezing-layers", "What freezing each layer keeps fixed", columns, rows, note)
    prose = map(Prose, _say_freezing(record))
    return Section("freezing", "What freezing keeps fixed", (*prose, table))


def _say_freezing(record: ActivationRecord) -> tuple[str, str]:
    """What freezing is, and what it does not keep fixed with the trial's batch norm."""
    config = record.config
    start = "random weights" if config.weights == "none" else f"the weights {config.weights}"
    here = (
        f"This trial has freeze depth {config.freeze_depth} and started from {start}."
        if config.freeze_depth
        else "This trial has freeze depth 0: nothing was frozen, every layer could learn."
    )
    what = (
        "Freezing goes from the input on, a whole group at a time: depth 1 is the stem (conv1 and "
        "bn1), 2 to 5 add layer1 to layer4. The parameters of a frozen group get no gradient and "
        f"no step. {here}"
    )
    if config.frozen_batch_norm == "running":
        return what, (
            "With frozen_batch_norm = running, which is this trial's setting, frozen groups are "
            "in evaluation mode while the rest learns: their running averages stay too, and every "
            "map in them is what it was before training."
        )
    return what, (
        "What that does not keep fixed: with frozen_batch_norm = batch, which is this trial's "
        "setting, batch norm in a frozen group goes on normalising with the statistics of each "
        "batch, and its running averages, which are no parameters, go on moving. So after training "
        "a frozen layer does not answer an image as before. Only the convolution conv1 does, whose "
        "input is the image itself; the maps after the first batch norm change with the averages."
    )


def _frozen(freeze: LayerFreeze) -> str:
    return "frozen" if freeze.is_frozen else "learns"


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal, never broken before its sign."""
    return f"{fraction * 100:.1f}\u00a0%"


def count(number: int, what: str) -> str:
    """A number of things, whose plural has an s."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
