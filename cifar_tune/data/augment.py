"""The assignment's image transforms as batched functions on the device, exact to the last bit.

The report's recipe is, per image: ``Resize(size)``, ``RandomHorizontalFlip(0.40)``,
``RandomRotation(30)`` (nearest, black corners), to tensor, normalise, as torchvision does them on
Pillow images. Pillow computes resize and rotation in fixed-point integers; the same integers are
computed here, so that every device gives the pixels that Pillow gives.

Before them an image may be cropped and get an operation of TrivialAugment, and after them a square
of it may be erased.

Source: Pillow's ``src/libImaging/Resample.c`` (bilinear, two passes of 8 bits, 22-bit weights).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.auto_augment import Operations, apply_operations, draw_operations
from cifar_tune.data.draw_record import DrawRecord
from cifar_tune.data.geometry import (
    IDENTITY,
    affine_pixels,
    inside_boxes,
    rotation_matrices,
    shift_pixels,
)
from cifar_tune.data.mixing import MixDraws

FLIP_PROBABILITY = 0.40
ROTATION_DEGREES = 30.0

_WEIGHT_BITS = 22


@dataclass(frozen=True)
class Draws(DrawRecord):
    """The random part of augmentation for N images, drawn on the CPU.

    Attributes:
        flip: bool [N], whether the image is mirrored left to right.
        affine: int32 [N, 6], the inverse rotation, as ``affine_pixels`` takes it.
        shift: int64 [N, 2], columns and rows by which a random crop has moved the image before it
            is resized, to the left and up; None without crops.
        operations: of TrivialAugment, before the image is resized; None without it.
        erased: int64 [N, 4], left, top, right and bottom of what is erased; None for nothing.
        mixing: How training images are mixed with one another; None where they are not.
    """

    flip: Tensor
    affine: Tensor
    shift: Tensor | None = None
    operations: Operations | None = None
    erased: Tensor | None = None
    mixing: MixDraws | None = None

    def changing_nothing(self) -> Draws:
        """Return as many draws of the same kinds that leave the images as they are."""
        return Draws(
            torch.zeros_like(self.flip),
            torch.zeros_like(self.affine) + self.affine.new_tensor(IDENTITY),
            None if self.shift is None else torch.zeros_like(self.shift),
            None if self.operations is None else self.operations.changing_nothing(),
            None if self.erased is None else torch.zeros_like(self.erased),
            None if self.mixing is None else self.mixing.changing_nothing(),
        )


def draw(
    count: int, config: TrialConfig, generator: torch.Generator, device: torch.device
) -> Draws | None:
    """Draw what changes each image; None where there is no augmentation.

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
    share, operations = config.auto_augment, None
    if share:
        operations = draw_operations(count, share, generator)
    erased = _draw_squares(count, config, generator) if config.erase_size else None
    return Draws(flip, affine, shift, operations, erased).to(device)


def _draw_squares(count: int, config: TrialConfig, generator: torch.Generator) -> Tensor:
    """Return boxes [N, 4] around pixels drawn anywhere; what is outside of the image is cut off."""
    size = config.input_size
    side = round(config.erase_size * size)
    first = torch.randint(size, (count, 2), generator=generator) - side // 2
    return torch.cat([first, first + side], dim=1).clamp(0, size)


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
    pixels = images if draws is None or draws.shift is None else shift_pixels(images, draws.shift)
    if draws is not None and draws.operations is not None:
        pixels = apply_operations(pixels, draws.operations)
    if size != images.shape[-1]:
        across = _resize_last(pixels.to(torch.int32), size)
        pixels = _resize_last(across.transpose(2, 3), size).transpose(2, 3)
    if draws is not None:
        pixels = affine_pixels(pixels, draws.affine, draws.flip)
    scaled = (pixels.to(torch.float32) / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    if draws is not None and draws.erased is not None:
        scaled = scaled.masked_fill(inside_boxes(draws.erased, size), 0)
    return scaled.contiguous(memory_format=torch.channels_last)


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
