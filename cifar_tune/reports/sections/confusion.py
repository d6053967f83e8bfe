"""The section with how the best model classifies: confusion matrix, classes, worst mistakes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cifar_tune.evaluation.confusion import ConfusionRecord, WrongImage
from cifar_tune.evaluation.measure import image_interval
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import short_name
from cifar_tune.reports.blocks import Block, Chart, Pictures, Tile
from cifar_tune.reports.theme import NARROW, make_axes, use_percent
from cifar_tune.training.pictures.palette import TEST, TEXT, VALIDATION
from cifar_tune.wording import format_percent

SHOWN = 9
"""Images that the model is most wrong about."""
_WRITTEN = 0.03
"""The number of a lower share is left out."""
_DARK_FROM = 0.85
"""Share from which on a cell is so dark that its number is white."""


def draw_confusion(record: ReportRecord) -> Iterator[Block]:
    """Draw the mistakes of the most accurate of the named trials."""
    confusion = record.confusion
    if confusion is None:
        return
    trials = confusion.trials
    seeds = "one seed" if len(trials) == 1 else f"{len(trials)} seeds together"
    which = f"{confusion.images:,} {confusion.split} images"
    yield Chart(
        "confusion",
        f"True and predicted classes: {short_name(confusion.model)}",
        f"Percent of each true class from 3 % on; {which}, {seeds}. Accuracy by class with its "
        "95 % interval.",
        partial(plot_confusion, confusion),
    )
    if confusion.most_wrong:
        yield Pictures(
            "most-wrong",
            "The images with the highest loss",
            f"True class, and the prediction of trial {trials[0]} with its probability.",
            tuple(map(_tile, confusion.most_wrong[:SHOWN])),
        )


def _tile(wrong: WrongImage) -> Tile:
    buffer = io.BytesIO()
    Image.fromarray(wrong.pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    said = f"{wrong.said}, {100 * wrong.probability:.0f}\u00a0%"
    return Tile(
        buffer.getvalue(),
        alt=f"image {wrong.row}: {wrong.label}, predicted {said}",
        title=wrong.label,
        note=said,
        width=88,
    )


def plot_confusion(confusion: ConfusionRecord, width: int) -> Figure:
    """Plot which share of each class was taken for each class, and the accuracy of each."""
    is_wide = width > NARROW
    classes = len(confusion.classes)
    height = 90 + (34 if is_wide else 26) * classes
    ratios = [2.6, 1] if is_wide else [1]
    figure, panels = make_axes(width, height, len(ratios), sharey=True, width_ratios=ratios)
    _add_cells(panels[0], confusion, size=11.5 if is_wide else 8)
    if is_wide:
        _add_classes(panels[1], confusion)
    return figure


def _add_cells(axes: Axes, confusion: ConfusionRecord, size: float) -> None:
    colour = TEST if confusion.split == "test" else VALIDATION
    for row, counts in enumerate(confusion.counts):
        for column, count in enumerate(counts):
            share = count / max(sum(counts), 1)
            cell = Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=colour, alpha=share)
            if count:
                axes.add_patch(cell)
            if share < _WRITTEN:
                continue
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center_baseline",
                fontsize=size, color="#ffffff" if share >= _DARK_FROM else TEXT,
            )  # fmt: skip
    places = range(len(confusion.classes))
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_yticks(places, confusion.classes)
    axes.set_xticks(places, confusion.classes, rotation=35, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _add_classes(axes: Axes, confusion: ConfusionRecord) -> None:
    colour = TEST if confusion.split == "test" else VALIDATION
    for place, accuracy in enumerate(confusion.per_class):
        if accuracy is None:
            continue
        low, high = accuracy.low, accuracy.high
        if low is None or high is None:
            low, high = image_interval(accuracy.mean, accuracy.images)
        axes.plot([low, high], [place, place], color=colour, alpha=0.55)
        axes.plot([accuracy.mean], [place], "o", color=colour)
        axes.annotate(
            format_percent(accuracy.mean, 0), (accuracy.mean, place), (0, 5),
            textcoords="offset points", ha="center", va="bottom", fontsize=10.5,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    use_percent(axes, "x", 5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("accuracy (%)")
