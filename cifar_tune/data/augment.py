"""The assignment's image transforms as batched functions on the device, exact to the last bit.

The report's recipe is, per image: ``Resize(size)``, ``RandomHorizontalFlip(0.40)``,
``RandomRotation(30)`` (nearest, black corners), to tensor, normalise, as torchvision does them on
Pillow images. Pillow computes resize and rotation in fixed-point integers; the same integers are
computed here, so that every device gives the pixels that Pillow gives.

Sources: Pillow's ``src/libImaging/Resample.c`` (bilinear, two passes of 8 bits, 22-bit weights),
``src/libImaging/Geometry.c`` (``affine_fixed``, 16-bit fractions) and ``Image.rotate``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.draw_record import DrawRecord
from cifar_tune.data.mixing import MixDraws

FLIP_PROBABILITY = 0.40
ROTATION_DEGREES = 30.0

_WEIGHT_BITS = 22
_AFFINE_BITS = 16


@dataclass(frozen=True)
class Draws(DrawRecord):
    """The random part of augmentation for N images, drawn on the CPU.

    Attributes:
        flip: bool [N], whether the image is mirrored left to right.
        affine: int32 [N, 6], the inverse rotation in 16-bit fixed point. The pixel at column x
            and row y comes from column ``(a2 + a0·x + a1·y) >> 16`` and row
            ``(a5 + a3·x + a4·y) >> 16``.
        shift: int64 [N, 2], columns and rows by which a random crop has moved the image before it
            is resized, to the left and up; None without crops.
        mixing: How training images are mixed with one another; None where they are not.
    """

    flip: Tensor
    affine: Tensor
    shift: Tensor | None = None
    mixing: MixDraws | None = None


def draw(
    count: int, config: TrialConfig, generator: torch.Generator, device: torch.device
) -> Draws | None:
    """Draw flips, rotations and crops, each image its own; None where there is no augmentation.

    With the strength 1 they are the report's recipe. The flip probability grows with the strength
    up to one half, where it is strongest, unless it is given; the rotation up to ±120° at 4. The
    generator is one of the CPU, so that every device gets the same draws.
    """
    if not config.augments:
        return None
    strength, flips = config.augmentation_strength, config.flip_probability
    flips = min(FLIP_PROBABILITY * strength, 0.5) if flips is None else flips
    flip = torch.rand(count, generator=generator) < flips
    turn = torch.rand(count, generator=generator, dtype=torch.float64) * 2 - 1
    affine = rotation_matrices(turn * (ROTATION_DEGREES * strength), config.input_size)
    most = config.crop_padding
    shift = torch.randint(-most, most + 1, (count, 2), generator=generator) if most else None
    return Draws(flip, affine, shift).to(device)


def rotation_matrices(degrees: Tensor, size: int) -> Tensor:
    """Return inverse rotations about the centre, int32 [N, 6], as ``Draws.affine`` has them.

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
    return (torch.stack(rows, dim=1) * (1 << _AFFINE_BITS) + 0.5).floor().to(torch.int32)


def transform(images: Tensor, draws: Draws | None, size: int, mean: Tensor, std: Tensor) -> Tensor:
    """Resize, augment and normalise a batch.

    Args:
        images: uint8 [N, 3, H, H].
        draws: flips and rotations of the N images, drawn for ``size``; None for none.
        size: height and width of the result in pixels, at least H.
        mean: float32 [3] on the scale 0 to 1.
        std: float32 [3] on the same scale.

    Returns:
        float32 [N, 3, size, size] in channels-last memory order.
    """
    pixels = images if draws is None or draws.shift is None else _shift(images, draws.shift)
    if size != images.shape[-1]:
        across = _resize_last(pixels.to(torch.int32), size)
        pixels = _resize_last(across.transpose(2, 3), size).transpose(2, 3)
    if draws is not None:
        pixels = _flip_and_rotate(pixels, draws)
    scaled = (pixels.to(torch.float32) / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    return scaled.contiguous(memory_format=torch.channels_last)


def _shift(pixels: Tensor, shift: Tensor) -> Tensor:
    """Move each image to the left and up; what comes in from outside is black."""
    size = pixels.shape[-1]
    steps = torch.arange(size, device=pixels.device)
    column = (steps + shift[:, :1]).view(-1, 1, size)
    row = (steps + shift[:, 1:]).view(-1, size, 1)
    return _take_pixels(pixels, column, row)


def _flip_and_rotate(pixels: Tensor, draws: Draws) -> Tensor:
    """Trace each pixel back through rotation and flip; those from outside the image are black."""
    size = pixels.shape[-1]
    steps = torch.arange(size, device=pixels.device, dtype=torch.int32)
    x, y = steps.view(1, 1, size), steps.view(1, size, 1)
    a0, a1, a2, a3, a4, a5 = (part.view(-1, 1, 1) for part in draws.affine.unbind(dim=1))
    column = (a2 + a0 * x + a1 * y) >> _AFFINE_BITS
    row = (a5 + a3 * x + a4 * y) >> _AFFINE_BITS
    column = torch.where(draws.flip.view(-1, 1, 1), size - 1 - column, column)
    return _take_pixels(pixels, column, row)


def _take_pixels(pixels: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Return images of the pixels at these places, black where a place is outside the image."""
    size = pixels.shape[-1]
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    index = row.clamp(0, size - 1) * size + column.clamp(0, size - 1)
    flat = index.to(torch.int64).flatten(1).unsqueeze(1).expand(-1, pixels.shape[1], -1)
    return pixels.flatten(2).gather(2, flat).view_as(pixels) * inside.unsqueeze(1)


def _resize_last(pixels: Tensor, size: int) -> Tensor:
    """Enlarge the last dimension of int32 pixels bilinearly, rounded to whole values."""
    left, weights = _resize_taps(pixels.shape[-1], size, pixels.device)
    right = (left + 1).clamp(max=pixels.shape[-1] - 1)
    mixed = pixels[..., left] * weights[0] + pixels[..., right] * weights[1]
    return (mixed + (1 << (_WEIGHT_BITS - 1))) >> _WEIGHT_BITS


@cache
def _resize_taps(source: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return which two pixels an enlarged pixel mixes.

    That is the left one's index int64 [size], and the weights of both int32 [2, size] in 22-bit
    fixed point.
    """
    left, weights = [], []
    for position in range(size):
        centre = (position + 0.5) * source / size
        first = max(math.floor(centre - 0.5), 0)
        near = [max(1 - abs(first + k + 0.5 - centre), 0.0) for k in (0, 1)]
        if first + 1 == source:
            near[1] = 0.0
        total = sum(near)
        left.append(first)
        weights.append([math.floor(w / total * (1 << _WEIGHT_BITS) + 0.5) for w in near])
    taps = torch.tensor(weights, dtype=torch.int32, device=device).T.contiguous()
    return torch.tensor(left, dtype=torch.int64, device=device), taps
