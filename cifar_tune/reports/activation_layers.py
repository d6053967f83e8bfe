"""Draws what the activation report says of layers: how active they are and what freezing keeps."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from cifar_tune.environment import make_environment
from cifar_tune.reports.blocks import Cell, Chart, Prose, Row, Section, Table, number_cell
from cifar_tune.reports.theme import NARROW, add_legend, make_axes, use_percent
from cifar_tune.training.pictures.activation_record import (
    ActivationRecord,
    ImageView,
    LayerFreeze,
    LayerView,
)
from cifar_tune.training.pictures.palette import COLOURS
from cifar_tune.wording import format_count, format_percent

_ENVIRONMENT = make_environment("cifar_tune.reports", escapes=False)  # ``html`` escapes all texts
TEXTS: Any = _ENVIRONMENT.get_template("activation_prose.j2").module
"""The macros of the template."""


def make_prose(text: str) -> tuple[Prose, ...]:
    """Return the paragraphs of a macro's text."""
    paragraphs = text.strip().split("\n\n")
    return tuple(Prose(paragraph.replace("\n", " ")) for paragraph in paragraphs)


def _draw_stats(record: ActivationRecord, view: ImageView, key: str) -> Table:
    """Draw how active the layers are for one image; ``key`` is the start of its ids."""
    return Table(
        f"{key}-layers",
        f"How much is active for {view.source}, and how strongly",
        (
            "Layer",
            "Maps",
            "Measured after",
            "Active",
            "Mean of active",
            "Largest",
            "Silent channels",
            "In this trial",
        ),
        tuple(map(_stats_row, view.layers, record.freezes)),
        "Active: share of values above zero where it was measured. Silent: no value of the channel "
        "is above zero for this image. Strengths of different layers are on different scales.",
    )


def _stats_row(layer: LayerView, freeze: LayerFreeze) -> Row:
    stats = layer.stats
    return Row(
        (
            Cell(layer.layer, is_code=True),
            Cell(f"{stats.channels} of {stats.height} x {stats.width}"),
            Cell(_describe_passed(stats.passed)),
            number_cell(percent(stats.active_fraction)),
            number_cell(f"{stats.mean_active:.4g}"),
            number_cell(f"{stats.maximum:.4g}"),
            number_cell(f"{stats.silent_channels} of {stats.channels}"),
            Cell(
                _frozen(freeze),
                note=f"from depth {freeze.depth} on",
                link=f"freeze-{layer.layer}",
            ),
        )
    )


def _describe_passed(passed: tuple[str, ...]) -> str:
    """Return what lies between a layer and the values that were measured."""
    words = {"add": "shortcut added", "relu": "ReLU", "relu_1": "ReLU"}
    names = [re.sub(r"^layer\d\.\d\.", "", name) for name in passed]
    return ", ".join(words.get(name, name) for name in names) or "nothing more"


def draw_activity(record: ActivationRecord) -> Section:
    """Draw how active the layers are, for all images and for each of them."""
    images = format_count(len(record.images), "image")
    chart = Chart(
        "active-share",
        "Active share by layer and image",
        "Share of the values above zero after the ReLU that follows each layer, in percent; one "
        f"trained network, {images}, so there are no error bars.",
        partial(_plot_shares, record),
    )
    tables = (
        _draw_stats(record, view, f"image-{number}") for number, view in enumerate(record.images, 1)
    )
    return Section("active", "How much of each layer is active", (chart, *tables))


def _plot_shares(record: ActivationRecord, width: int) -> Figure:
    figure, (axes,) = make_axes(width, 320)
    thick = 0.7 / max(len(record.images), 1)
    for number, view in enumerate(record.images):
        axes.bar(
            [place + (number + 0.5) * thick - 0.35 for place in range(len(record.layers))],
            [layer.stats.active_fraction for layer in view.layers],
            width=0.9 * thick,
            color=COLOURS[number % len(COLOURS)],
            label=f"{view.source}{f' ({view.label})' if view.label else ''}",
        )
    rotation = 0 if width > NARROW and len(record.layers) <= 8 else 35
    place: dict[str, Any] = {"rotation": rotation, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(record.layers)), record.layers, **(place if rotation else {}))
    axes.set_ylim(0, 1)
    axes.grid(visible=False, axis="x")
    use_percent(axes)
    axes.set_ylabel("active values (%)")
    add_legend(figure, [axes], 2 if width > NARROW else 1)
    return figure


def draw_freezing(record: ActivationRecord) -> Section:
    """Draw what freezing the layers keeps fixed and what not."""
    table = Table(
        "freezing-layers",
        "What freezing each layer keeps fixed",
        (
            "Layer",
            "From depth",
            "In this trial",
            "Own parameters",
            "Kept fixed",
            "Share of all",
            "Batch norms",
        ),
        tuple(map(_freezing_row, record.freezes)),
        "From depth: the smallest freeze depth that includes the layer. Kept fixed: parameters of "
        "all groups that this depth freezes, with their share of the network's "
        f"{record.parameters:,} and the batch-norm layers among them.",
    )
    prose = make_prose(TEXTS.freezing(record.config))
    return Section("freezing", "What freezing keeps fixed", (*prose, table))


def _freezing_row(freeze: LayerFreeze) -> Row:
    cells = (
        Cell(freeze.layer, is_code=True),
        number_cell(str(freeze.depth)),
        Cell(_frozen(freeze)),
        number_cell(f"{freeze.parameters:,}"),
        number_cell(f"{freeze.fixed_parameters:,}"),
        number_cell(f"{freeze.fixed_share * 100:.4g} %"),
        number_cell(str(freeze.batch_norms)),
    )
    return Row(cells, id=f"freeze-{freeze.layer}")


def _frozen(freeze: LayerFreeze) -> str:
    return "frozen" if freeze.is_frozen else "learns"


def percent(fraction: float) -> str:
    """Return a fraction as a percentage that is never broken before its sign."""
    return format_percent(fraction).replace(" ", "\u00a0")
