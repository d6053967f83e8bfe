"""Moving the pixels of images on the device, in the fixed-point integers that Pillow uses.

Sources: Pillow's ``src/libImaging/Geometry.c`` (``affine_fixed``, 16-bit fractions) and
``Image.rotate``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BITS = 16
IDENTITY = (1 << _BITS, 0, 1 << (_BITS - 1), 0, 1 << _BITS, 1 << (_BITS - 1))
"""The transform that leaves each pixel in its place."""


def fixed_point(*matrix: float) -> Tensor:
    """Return an inverse transform of six numbers as ``affine_pixels`` takes it, int32 [6]."""
    a, b, c, d, e, f = matrix
    centred = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    return torch.tensor([math.floor(value * (1 << _BITS) + 0.5) for value in centred]).int()


def rotation_matrices(degrees: Tensor, size: int) -> Tensor:
    """Return inverse rotations about the centre, int32 [N, 6], as ``affine_pixels`` takes them.

    ``degrees`` (float64 [N]) are counter-clockwise as for ``Image.rotate``; ``size`` is the height
    and width of the image in pixels.
    """
    radians = degrees * (math.pi / 180)
    cos, sin = radians.cos(), radians.sin()
    centre = size / 2
    across = cos * -centre + sin * centre + centre  # where column 0, row 0 comes from
    down = -sin * centre - cos * centre + centre
    rows = (
        cos,
        -sin,
        across + (cos - sin) / 2,  # half a pixel on: from corners to centres
        sin,
        cos,
        down + (sin + cos) / 2,
    )
    return (torch.stack(rows, dim=1) * (1 << _BITS) + 0.5).floor().to(torch.int32)


def shift_pixels(pixels: Tensor, shift: Tensor) -> Tensor:
    """Move each image to the left and up; what comes in from outside is black."""
    size = pixels.shape[-1]
    steps = torch.arange(size, device=pixels.device)
    column = (steps + shift[:, :1]).view(-1, 1, size)
    row = (steps + shift[:, 1:]).view(-1, size, 1)
    return _take(pixels, column, row)


def affine_pixels(pixels: Tensor, affine: Tensor, flip: Tensor | None = None) -> Tensor:
    """Trace each pixel back through a transform and a flip; those from outside are black.

    Args:
        pixels: [N, C, H, H].
        affine: int32 [N, 6], inverse transforms in 16-bit fixed point. The pixel at column x and
            row y comes from column ``(a2 + a0·x + a1·y) >> 16`` and row
            ``(a5 + a3·x + a4·y) >> 16``.
        flip: bool [N], which images are mirrored left to right before; None for none.
    """
    size = pixels.shape[-1]
    steps = torch.arange(size, device=pixels.device, dtype=torch.int32)
    x, y = steps.view(1, 1, size), steps.view(1, size, 1)
    a0, a1, a2, a3, a4, a5 = (part.view(-1, 1, 1) for part in affine.unbind(dim=1))
    column = (a2 + a0 * x + a1 * y) >> _BITS
    row = (a5 + a3 * x + a4 * y) >> _BITS
    if flip is not None:
        column = torch.where(flip.view(-1, 1, 1), size - 1 - column, column)
    return _take(pixels, column, row)


def inside_boxes(boxes: Tensor, size: int) -> Tensor:
    """Return which pixels of images of a height and width are in a box, bool [N, 1, size, size].

    ``boxes`` are int64 [N, 4]: left, top, right and bottom; the last two are not in it.
    """
    steps = torch.arange(size, device=boxes.device)
    left, top, right, bottom = (side.view(-1, 1) for side in boxes.unbind(dim=1))
    across = ((steps >= left) & (steps < right)).view(-1, 1, 1, size)
    down = ((steps >= top) & (steps < bottom)).view(-1, 1, size, 1)
    return across & down


def _take(pixels: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Return images of the pixels at these places, black where a place is outside the image."""
    size = pixels.shape[-1]
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    index = row.clamp(0, size - 1) * size + column.clamp(0, size - 1)
    flat = index.to(torch.int64).flatten(1).unsqueeze(1).expand(-1, pixels.shape[1], -1)
    return pixels.flatten(2).gather(2, flat).view_as(pixels) * inside.unsqueeze(1)
