"""Draws accuracy and loss of a trial over its epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cifar_tune.training.pictures.canvas import TEXT_SIZE, add_axes, begin_picture, to_png
from cifar_tune.training.pictures.palette import TEXT, TRAINING, VALIDATION
from cifar_tune.training.records import EpochMetrics

SIZE = (720, 400)
"""Width and height in pixels."""

_MARKED_MOST = 40
"""Epochs up to which each has a marker."""
_LOG_SPAN = 100.0
"""Of losses: from so many times the lowest on, the scale is logarithmic."""
_LINES = (("training", TRAINING, "s"), ("validation", VALIDATION, "o"))


def draw_learning_curves(epochs: Sequence[EpochMetrics], title: str, remark: str) -> bytes:
    """Draw accuracy and loss of training and validation images, side by side, as PNG.

    The epochs are in order, at least one. The remark stands below the title.
    """
    figure = begin_picture(*SIZE, title, remark)
    accuracies = (
        [100 * epoch.train_accuracy for epoch in epochs],
        [100 * epoch.val_accuracy for epoch in epochs],
    )
    losses = [epoch.train_loss for epoch in epochs], [epoch.val_loss for epoch in epochs]
    known = [value for value in chain(*losses) if math.isfinite(value) and value > 0]
    is_wide = bool(known) and max(known) > _LOG_SPAN * min(known)
    numbers = [epoch.epoch for epoch in epochs]
    accuracy = add_axes(figure, 62, 76, 386, 52)
    _draw_lines(accuracy, numbers, accuracies, "accuracy (%)")
    loss = add_axes(figure, 414, 76, 20, 52)
    scale = ", log scale" if is_wide else ""
    _draw_lines(loss, numbers, losses, f"loss (cross-entropy in nats{scale})")
    if is_wide:
        loss.set_yscale("log")
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
    axes: Axes, epochs: list[int], lines: tuple[list[float], list[float]], quantity: str
) -> None:
    for (name, colour, marker), values in zip(_LINES, lines, strict=True):
        axes.plot(
            epochs,
            values,
            color=colour,
            label=name,
            linewidth=1.8,
            marker=marker if len(epochs) <= _MARKED_MOST else None,
            markersize=4.5,
        )
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)
        axes.set_xticks(epochs)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.set_xlabel("epoch", color=TEXT, size=TEXT_SIZE)
    axes.set_ylabel(quantity, color=TEXT, size=TEXT_SIZE)
