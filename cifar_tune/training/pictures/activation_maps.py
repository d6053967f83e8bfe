"""Draws what a trained network makes of a few images, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from cifar_tune.data.cifar10 import UInt8Array
from cifar_tune.training.pictures.activation_pictures import (
    mix_grad_cam,
    palette,
    scale_maps,
    shown_channels,
)
from cifar_tune.training.pictures.activation_record import GradCamLayer, ImageView, LayerView
from cifar_tune.training.pictures.canvas import begin_picture, paste, to_png, write

MAPS = 16
"""The most active maps of a stage, which are shown."""
LEFT, TOP = 14, 92
"""Pixels from the page's corner to the first image."""
CELL = 128
"""Height and width of an image in pixels."""

_COLUMNS = 4
"""Maps in a row of a stage."""
_TILE = CELL // _COLUMNS
_GAP = 14
CAPTION = 34
"""Pixels below a row, with its caption."""
_REMARK = 40
"""Pixels at the bottom, with the explanation."""


def draw_activation_maps(
    views: Sequence[ImageView],
    stages: Sequence[str],
    grad_cam: GradCamLayer | None,
    title: str,
    remark: str,
) -> bytes:
    """Draw a row for each image as PNG: itself, its Grad-CAM, and the active maps of each stage.

    There is at least one view; ``stages`` are what the views' layers are called. ``grad_cam`` is
    None where no map is large enough for one. The remark stands below the title.
    """
    headings = [("image", "")]
    explanation = (
        f"Of each stage the {MAPS} most active maps, each from its smallest value (dark) to its "
        "largest (light); maps of one pixel are scaled together."
    )
    if grad_cam is not None:
        headings.append(("Grad-CAM", f"{grad_cam.layer}, {grad_cam.size} x {grad_cam.size}"))
        explanation += "\nGrad-CAM: where the network sees what speaks for the predicted class."
    for stage, layer in zip(stages, views[0].layers, strict=True):
        channels, height, width = layer.maps.shape
        headings.append((stage, f"{channels} maps of {height} x {width} px"))
    page_width = 2 * LEFT + len(headings) * (CELL + _GAP) - _GAP
    page_height = TOP + len(views) * (CELL + CAPTION) + _REMARK
    figure = begin_picture(page_width, page_height, title, remark)
    for column, (name, detail) in enumerate(headings):
        left = LEFT + column * (CELL + _GAP)
        write(figure, left, TOP - 32, name, weight="bold")
        write(figure, left, TOP - 17, detail, size=8)
    for row, view in enumerate(views):
        top = TOP + row * (CELL + CAPTION)
        for column, cell in enumerate(_paint_row(view, has_grad_cam=grad_cam is not None)):
            paste(figure, LEFT + column * (CELL + _GAP), top, cell)
        write(figure, LEFT, top + CELL + 6, _describe(view))
    write(figure, LEFT, page_height - _REMARK, explanation, size=8)
    return to_png(figure)


def _paint_row(view: ImageView, *, has_grad_cam: bool) -> list[UInt8Array]:
    image = _fit(view.pixels)
    heat = [mix_grad_cam(image, view.grad_cam)] if has_grad_cam else []
    return [image, *heat, *map(_tile, view.layers)]


def _describe(view: ImageView) -> str:
    """Return what an image is, and what it is taken for."""
    verdict = "right" if view.predicted == view.label else "wrong"
    return (
        f"{view.source}, class {view.label}; predicted: {view.predicted}, "
        f"{100 * view.probability:.1f} % ({verdict})"
    )


def _tile(layer: LayerView) -> UInt8Array:
    """Draw the most active maps of a stage as one image uint8 [CELL, CELL, 3]."""
    levels = scale_maps(layer.maps[list(shown_channels(layer, MAPS))])
    canvas = np.full((CELL, CELL, 3), 255, dtype=np.uint8)
    colours = palette()
    for place, level in enumerate(levels):
        top, left = place // _COLUMNS * _TILE, place % _COLUMNS * _TILE
        canvas[top : top + _TILE - 1, left : left + _TILE - 1] = colours[_resize(level)][:-1, :-1]
    return canvas


def _resize(levels: UInt8Array) -> UInt8Array:
    """Resize a map to its place: its pixels repeated, or averaged where it is larger."""
    filters = Image.Resampling.NEAREST if levels.shape[0] <= _TILE else Image.Resampling.BOX
    return np.asarray(Image.fromarray(levels).resize((_TILE, _TILE), filters))


def _fit(pixels: UInt8Array) -> UInt8Array:
    """Resize an image uint8 [H, W, 3] to its place."""
    is_whole = CELL % pixels.shape[0] == 0
    filters = Image.Resampling.NEAREST if is_whole else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((CELL, CELL), filters))
