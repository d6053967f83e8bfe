"""TrivialAugment (Müller and Hutter 2021) as batched functions on the device, with Pillow's pixels.

An image gets one operation of the wide space, with a magnitude of 31 and a sign, as torchvision's
``TrivialAugmentWide`` draws them. An operation is one of three kinds: pixels come from other places
(shears, translations, rotations), each value becomes another one of the same channel (brightness,
contrast, posterize, solarize, autocontrast, equalize), or an image is blended with its grey or its
smooth version (colour, sharpness). All kinds are computed for all images, with parameters that
change nothing for those of another kind, so that the host need not know which image has which.

Sources: Pillow's ``ImageOps.py``, ``ImageEnhance.py``, ``src/libImaging/Blend.c`` and ``Filter.c``
(kernels of 3x3, borders as they are), ``Convert.c`` (grey in 16-bit fixed point).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cifar_tune.data.cifar10 import IMAGE_SIZE
from cifar_tune.data.draw_record import DrawRecord
from cifar_tune.data.geometry import IDENTITY, affine_pixels, fixed_point, rotation_matrices

OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
"""The operations, in torchvision's order and by its names."""
MAGNITUDES = 31
SIGNS = 2
_LEVELS = 256


@dataclass(frozen=True)
class Operations(DrawRecord):
    """One operation for each of N images.

    Attributes:
        kind: int64 [N], the place in ``OPERATIONS``.
        affine: int32 [N, 6], where pixels come from, as of ``affine_pixels``.
        factor: float32 [N], the share of the image in a blend: 1 for none, more than 1 away from
            what it is blended with.
        level: int64 [N], the bits that posterize keeps, as a mask, or the first level that solarize
            inverts.
    """

    kind: Tensor
    affine: Tensor
    factor: Tensor
    level: Tensor

    def changing_nothing(self) -> Operations:
        """Return as many operations that leave the images as they are."""
        nothing = torch.zeros_like(self.kind.cpu())
        return make_operations(nothing, nothing, nothing).to(self.kind.device)


def draw_operations(count: int, share: float, generator: torch.Generator) -> Operations:
    """Draw on the CPU the operations of so many images, a share of which gets one."""
    chosen = torch.rand(count, generator=generator) < share
    kind = torch.randint(len(OPERATIONS), (count,), generator=generator)
    magnitude = torch.randint(MAGNITUDES, (count,), generator=generator)
    sign = (torch.rand(count, generator=generator) <= 0.5).long()
    return make_operations(torch.where(chosen, kind, 0), magnitude, sign)


def make_operations(kind: Tensor, magnitude: Tensor, sign: Tensor) -> Operations:
    """Return operations of these kinds, magnitudes from 0 to 30, and signs, 1 for minus."""
    affine, factor, level = _tables()
    place = (kind, magnitude, sign)
    return Operations(kind, affine[place], factor[place], level[place])


@cache
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Return ``affine``, ``factor`` and ``level`` by kind, magnitude and sign."""
    shape = (len(OPERATIONS), MAGNITUDES, SIGNS)
    affine = torch.tensor(IDENTITY, dtype=torch.int32).repeat(*shape, 1)
    factor, level = torch.ones(shape), torch.zeros(shape, dtype=torch.int64)
    small, pixels, turns, falling = (
        torch.linspace(first, last, MAGNITUDES).tolist()
        for first, last in ((0, 0.99), (0, 32), (0, 135), (1, 0))
    )
    bits = (8 - torch.arange(MAGNITUDES) / ((MAGNITUDES - 1) / 6)).round().int().tolist()
    for magnitude in range(MAGNITUDES):
        for sign, of_sign in enumerate((1.0, -1.0)):
            place = magnitude, sign
            # Towards the shear and back, as torchvision computes it.
            shear = math.tan(math.radians(math.degrees(math.atan(of_sign * small[magnitude]))))
            move = float(int(of_sign * pixels[magnitude]))
            affine[1, *place] = fixed_point(1, shear, 0, 0, 1, 0)
            affine[2, *place] = fixed_point(1, 0, 0, shear, 1, 0)
            affine[3, *place] = fixed_point(1, 0, -move, 0, 1, 0)
            affine[4, *place] = fixed_point(1, 0, 0, 0, 1, -move)
            degrees = torch.tensor([of_sign * turns[magnitude]], dtype=torch.float64)
            affine[5, *place] = rotation_matrices(degrees, IMAGE_SIZE)[0]
            factor[6:10, *place] = 1 + of_sign * small[magnitude]
            level[10, *place] = _LEVELS - (1 << (8 - bits[magnitude]))
            level[11, *place] = math.ceil(255 * falling[magnitude])
    return affine, factor, level


def apply_operations(pixels: Tensor, operations: Operations) -> Tensor:
    """Return the images uint8 [N, 3, H, H] after their operations."""
    moved = affine_pixels(pixels, operations.affine)
    grey = _to_grey(moved)
    levels = _levels_of(moved, grey, operations)
    mapped = levels.gather(2, moved.flatten(2).long()).view_as(moved)
    return _blend_images(mapped, grey, operations)


def _is(operations: Operations, name: str) -> Tensor:
    """Return which images have an operation, bool [N, 1, 1]."""
    return (operations.kind == OPERATIONS.index(name)).view(-1, 1, 1)


def _levels_of(pixels: Tensor, grey: Tensor, operations: Operations) -> Tensor:
    """Return what each level of each channel becomes, uint8 [N, 3, 256]."""
    levels = torch.arange(_LEVELS, device=pixels.device)
    level = operations.level.view(-1, 1, 1)
    factor = operations.factor.view(-1, 1, 1)
    count = grey[0].numel()
    mean = (2 * grey.flatten(1).sum(dim=1) + count).div(2 * count, rounding_mode="floor")
    is_contrast = _is(operations, "Contrast")
    start = torch.where(is_contrast, mean.view(-1, 1, 1), 0)
    blended = _blend(start, levels.view(1, 1, -1), factor)
    by_image = torch.where(_is(operations, "Brightness") | is_contrast, blended, levels)
    by_image = torch.where(_is(operations, "Posterize"), levels & level, by_image)
    inverted = torch.where(levels < level, levels, _LEVELS - 1 - levels)
    by_image = torch.where(_is(operations, "Solarize"), inverted, by_image)
    low, high = pixels.flatten(2).aminmax(dim=2)
    stretched = _stretched_levels(pixels.device)[low.long(), high.long()].long()
    by_channel = torch.where(_is(operations, "AutoContrast"), stretched, by_image)
    equalized = _equalized_levels(pixels, high.long())
    return torch.where(_is(operations, "Equalize"), equalized, by_channel).to(torch.uint8)


def _equalized_levels(pixels: Tensor, high: Tensor) -> Tensor:
    """Return the levels [N, 3, 256] that give a channel as many pixels of each, Pillow's way."""
    channels, count = high.numel(), pixels[0, 0].numel()
    first = torch.arange(channels, device=pixels.device).view(-1, 1) * _LEVELS
    places = (pixels.reshape(channels, count) + first).flatten()
    histogram = torch.zeros(channels * _LEVELS, dtype=torch.int64, device=pixels.device)
    histogram = histogram.scatter_add(0, places, torch.ones_like(places))
    histogram = histogram.view(*high.shape, _LEVELS)
    step = (count - histogram.gather(2, high.unsqueeze(2))) // 255
    before = histogram.cumsum(dim=2) - histogram
    levels = (step // 2 + before) // step.clamp(min=1)
    unchanged = torch.arange(_LEVELS, device=pixels.device)
    return torch.where(step > 0, levels.clamp(max=_LEVELS - 1), unchanged)


@cache
def _stretched_levels(device: torch.device) -> Tensor:
    """Return the levels uint8 [256, 256, 256] that autocontrast gives by lowest and highest level.

    Pillow computes them in double precision and cuts off what is behind the point, so a level may
    come out one too low; on a device without double precision that cannot be computed.
    """
    table = torch.arange(_LEVELS, dtype=torch.uint8).repeat(_LEVELS, _LEVELS, 1)
    levels = torch.arange(_LEVELS, dtype=torch.float64)
    for low in range(_LEVELS - 1):
        high = torch.arange(low + 1, _LEVELS, dtype=torch.float64).unsqueeze(1)
        scale = torch.full_like(high, 255) / (high - low)  # 255 / x is 255 times 1 / x in PyTorch
        stretched = (levels * scale + -low * scale).clamp(0, 255)
        table[low, low + 1 :] = stretched.to(torch.uint8)
    return table.to(device)


def _blend_images(pixels: Tensor, grey: Tensor, operations: Operations) -> Tensor:
    """Blend images with their grey or their smooth version, where that is their operation."""
    is_color, is_sharpness = (_is(operations, name).unsqueeze(1) for name in ("Color", "Sharpness"))
    start = torch.where(is_color, grey.unsqueeze(1), _smooth(pixels))
    factor = operations.factor.view(-1, 1, 1, 1)
    blended = _blend(start, pixels, factor)
    return torch.where(is_color | is_sharpness, blended, pixels).to(torch.uint8)


def _blend(start: Tensor, end: Tensor, factor: Tensor) -> Tensor:
    """Return whole numbers from 0 to 255: start for the factor 0, end for 1, beyond it for more."""
    begin = start.to(torch.float32)
    return (begin + factor * (end.to(torch.float32) - begin)).clamp(0, 255).to(torch.int64)


def _to_grey(pixels: Tensor) -> Tensor:
    """Return the brightness int32 [N, H, H] of images."""
    red, green, blue = pixels.to(torch.int32).unbind(dim=1)
    return (red * 19595 + green * 38470 + blue * 7471 + (1 << 15)) >> 16


def _smooth(pixels: Tensor) -> Tensor:
    """Return each pixel with its neighbours, itself five times; the border as it is."""
    wide = pixels.to(torch.int32)
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]
    smooth = wide.clone()
    smooth[:, :, 1:-1, 1:-1] = (2 * total + 13).div(26, rounding_mode="floor")
    return smooth
