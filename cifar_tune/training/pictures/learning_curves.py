"""Draws accuracy and loss of a trial over its epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cifar_tune.training.pictures.canvas import TEXT_SIZE, add_axes, begin_picture, to_png
from cifar_tune.training.pictures.palette import COLOURS, TEXT
from cifar_tune.training.records import EpochMetrics

SIZE = (720, 400)
"""Width and height in pixels."""

_MARKED_MOST = 40
"""Epochs up to which each has a marker."""
_LOG_SPAN = 100.0
"""Of losses: from so many times the lowest on, the scale is logarithmic."""
_LINES = (("training", COLOURS[0], "o"), ("validation", COLOURS[1], "s"))


def draw_learning_curves(epochs: Sequence[EpochMetrics], title: str, remark: str) -> bytes:
    """Draw accuracy and loss of training and validation images, side by side, as PNG.

    Args:
        epochs: In order, at least one.
        title: The title.
        remark: The line below it.
    """
    figure = begin_picture(*SIZE, title, remark)
    accuracy = add_axes(figure, 62, 76, 386, 52)
    loss = add_axes(figure, 414, 76, 20, 52)
    _draw_lines(
        accuracy,
        epochs,
        [100 * epoch.train_accuracy for epoch in epochs],
        [100 * epoch.val_accuracy for epoch in epochs],
    )
    losses = [epoch.train_loss for epoch in epochs], [epoch.val_loss for epoch in epochs]
    _draw_lines(loss, epochs, *losses)
    known = [value for value in chain(*losses) if math.isfinite(value) and value > 0]
    is_wide = bool(known) and max(known) > _LOG_SPAN * min(known)
    if is_wide:
        loss.set_yscale("log")
    _label(accuracy, "accuracy (%)")
    _label(loss, "loss (cross-entropy in nats, log scale)" if is_wide else
           "loss (cross-entropy in nats)")  # fmt: skip
    figure.legend(
        handles=accuracy.get_lines(),
        loc="upper right",
        bbox_to_anchor=(1 - 12 / SIZE[0], 1 - 28 / SIZE[1]),
        ncols=2,
        frameon=False,
        fontsize=TEXT_SIZE,
        labelcolor=TEXT,
        borderaxespad=0,
    )
    return to_png(figure)


def _draw_lines(
    axes: Axes, epochs: Sequence[EpochMetrics], training: list[float], validation: list[float]
) -> None:
    numbers = [epoch.epoch for epoch in epochs]
    for (name, colour, marker), values in zip(_LINES, (training, validation), strict=True):
        axes.plot(
            numbers,
            values,
            color=colour,
            label=name,
            linewidth=1.8,
            marker=marker if len(numbers) <= _MARKED_MOST else None,
            markersize=4.5,
        )
    if len(numbers) == 1:
        axes.set_xlim(numbers[0] - 0.5, numbers[0] + 0.5)
        axes.set_xticks(numbers)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def _label(axes: Axes, what: str) -> None:
    axes.set_xlabel("epoch", color=TEXT, size=TEXT_SIZE)
    axes.set_ylabel(what, color=TEXT, size=TEXT_SIZE)
