"""Draws which classes a trial takes for which.

Cells and names are put where they belong without matplotlib's axes, whose ticks take as long as all
else together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cifar_tune.data.cifar10 import UInt8Array
from cifar_tune.training.pictures.canvas import begin_picture, paste, to_png, write
from cifar_tune.training.pictures.palette import SEQUENTIAL, TEXT

SIZE = (720, 480)
"""Width and height in pixels."""

_LEFT, _TOP = 122, 68
"""Pixels from the page's corner to the cells."""
_WIDTH, _HEIGHT = 510, 320
"""Of all cells, in pixels."""
_SCALE_LEFT, _SCALE_WIDTH = 650, 14
"""Of the scale of colours, in pixels."""
_COUNTED_MOST = 20
"""Classes up to which cells have their counts."""
_NAMED_MOST = 32
"""Classes up to which each has its name."""
_NAME_MOST = 11
"""Characters of a class's name."""
_DARK_FROM = 0.5
"""Share from which on a cell is so dark that its count is white."""


def draw_confusion_matrix(
    labels: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    classes: Sequence[str],
    title: str,
    remark: str,
) -> bytes:
    """Draw counts of true and predicted classes, coloured by the share of the true class, as PNG.

    ``labels`` are the true classes, [N], as ``predicted``; ``classes`` are their names in order.
    The remark stands below the title.
    """
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width, height = _WIDTH // len(classes), _HEIGHT // len(classes)
    figure = begin_picture(*SIZE, title, remark)
    cells = _colour(shares).repeat(height, axis=0).repeat(width, axis=1)
    if len(classes) <= _NAMED_MOST:  # a white line between them
        cells[height - 1 :: height] = 255
        cells[:, width - 1 :: width] = 255
    paste(figure, _LEFT, _TOP, cells)
    if len(classes) <= _COUNTED_MOST:
        for row, column in np.argwhere(counts).tolist():
            write(
                figure,
                _LEFT + (column + 0.5) * width,
                _TOP + (row + 0.5) * height,
                str(counts[row, column]),
                color="white" if shares[row, column] >= _DARK_FROM else TEXT,
                ha="center",
                va="center_baseline",
            )
    _name_classes(figure, classes, width, height)
    _draw_scale(figure)
    return to_png(figure)


def _name_classes(figure: Figure, classes: Sequence[str], width: int, height: int) -> None:
    """Say what rows and columns are, whose cells are so many pixels large."""
    bottom = _TOP + height * len(classes)
    middle = _LEFT + width * len(classes) / 2
    write(figure, middle, bottom + 66, "predicted class", ha="center")
    _write_upright(figure, 6, "true class")
    if len(classes) > _NAMED_MOST:
        return
    for place, name in enumerate(classes):
        text = name if len(name) <= _NAME_MOST else f"{name[: _NAME_MOST - 1]}…"
        middle = _TOP + (place + 0.5) * height
        write(figure, _LEFT - 8, middle, text, ha="right", va="center_baseline")
        middle = _LEFT + (place + 0.5) * width
        write(figure, middle, bottom + 8, text, ha="right", rotation=30)


def _colour(shares: npt.NDArray[np.float64]) -> UInt8Array:
    """Return the colours uint8 [H, W, 3] of shares [H, W] from 0 to 1."""
    colours = LinearSegmentedColormap.from_list("shares", SEQUENTIAL)
    painted: UInt8Array = colours(shares, bytes=True)[..., :3]
    return painted


def _draw_scale(figure: Figure) -> None:
    shares = np.linspace(1, 0, _HEIGHT)[:, None].repeat(_SCALE_WIDTH, axis=1)
    paste(figure, _SCALE_LEFT, _TOP, _colour(shares))
    for percent in (0, 50, 100):
        middle = _TOP + (1 - percent / 100) * (_HEIGHT - 1)
        left = _SCALE_LEFT + _SCALE_WIDTH + 6
        write(figure, left, middle, str(percent), va="center_baseline")
    _write_upright(figure, SIZE[0] - 28, "share of the true class (%)")


def _write_upright(figure: Figure, left: float, text: str) -> None:
    """Write a text from below, beside the middle of the cells."""
    write(figure, left, _TOP + _HEIGHT / 2, text, ha="center", rotation=90)
