"""The assignment's image transforms as batched functions on the device.

The report's recipe is, per image: ``Resize(size)``, ``RandomHorizontalFlip(0.40)``,
``RandomRotation(30)`` (nearest, black corners), to tensor, normalise. Here the three geometric
steps are one sampling grid: each output pixel is traced back through rotation, flip and resize
to the place in the 32-pixel image that it comes from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FLIP_PROBABILITY = 0.40
ROTATION_DEGREES = 30.0


@dataclass(frozen=True)
class Draws:
    """The random part of augmentation for a set of images.

    Attributes:
        flip: bool [N], whether the image is mirrored left to right.
        degrees: float32 [N], its rotation in degrees, counter-clockwise.
    """

    flip: Tensor
    degrees: Tensor

    def take(self, rows: slice) -> Draws:
        """The draws of some of the images."""
        return Draws(self.flip[rows], self.degrees[rows])

    def to(self, device: torch.device) -> Draws:
        """The same draws on a device."""
        return Draws(self.flip.to(device), self.degrees.to(device))


def draw(count: int, strength: float, generator: torch.Generator) -> Draws | None:
    """Draw flips and rotations, each image its own.

    Args:
        count: number of images N.
        strength: 0 gives None, no augmentation; 1 the report's recipe. The flip probability
            grows with it up to one half, where it is strongest, the rotation up to ±120° at 4.
        generator: a CPU generator, so that every device gets the same draws.
    """
    if strength == 0:
        return None
    probability = min(FLIP_PROBABILITY * strength, 0.5)
    flip = torch.rand(count, generator=generator) < probability
    turn = torch.rand(count, generator=generator) * 2 - 1
    return Draws(flip, turn * (ROTATION_DEGREES * strength))


def transform(images: Tensor, draws: Draws | None, size: int, mean: Tensor, std: Tensor) -> Tensor:
    """Resize, augment and normalise a batch.

    Args:
        images: uint8 [N, 3, H, H].
        draws: flips and rotations of the N images; None for none.
        size: height and width of the result in pixels.
        mean: float32 [3] on the scale 0 to 1.
        std: float32 [3] on the same scale.

    Returns:
        float32 [N, 3, size, size] in channels-last memory order.
    """
    pixels = images.to(torch.float32)
    if draws is not None:
        pixels = _sample(pixels, draws, size)
    elif size != images.shape[-1]:
        pixels = functional.interpolate(pixels, size=(size, size), mode="bilinear")
    if size != images.shape[-1]:
        pixels = pixels.round()  # as the 8-bit image in between has it
    scaled = (pixels / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    return scaled.contiguous(memory_format=torch.channels_last)


def _sample(pixels: Tensor, draws: Draws, size: int) -> Tensor:
    """Resize, flip and rotate by one sampling grid; pixels that come from outside are black.

    A rotated pixel takes the nearest pixel of the resized image (Pillow's rule: the pixel whose
    square holds the traced-back centre), and that pixel is a bilinear mix of the original's.
    """
    source = pixels.shape[-1]
    radians = draws.degrees * (math.pi / 180)
    cos, sin = radians.cos().view(-1, 1, 1), radians.sin().view(-1, 1, 1)
    centre = torch.arange(size, device=pixels.device, dtype=torch.float32) + 0.5 - size / 2
    x, y = centre.view(1, 1, size), centre.view(1, size, 1)
    column = (cos * x - sin * y + size / 2).floor()
    row = (sin * x + cos * y + size / 2).floor()
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    column = torch.where(draws.flip.view(-1, 1, 1), size - 1 - column, column)
    if size == source:  # nothing to mix: each pixel is one of the original's
        index = row.clamp(0, size - 1) * size + column.clamp(0, size - 1)
        flat = index.to(torch.int64).flatten(1).unsqueeze(1).expand(-1, pixels.shape[1], -1)
        sampled = pixels.flatten(2).gather(2, flat).view_as(pixels)
    else:
        # grid_sample counts from -1 to 1 across the image, pixel squares included.
        grid = torch.stack((column, row), dim=-1).add(0.5).mul(2 / size).sub(1)
        sampled = functional.grid_sample(
            pixels, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
    return sampled * inside.unsqueeze(1)
