"""Paints images, feature maps and Grad-CAM as PNG files; the same arrays give the same bytes.

Maps are coloured with viridis, whose steps look equally large and which keeps its order in grey
and for colour-blind readers: J. R. Nuñez, C. R. Anderton and R. S. Renslow, "Optimizing colormaps
with consideration for color vision deficiency", PLOS ONE 13 (7), 2018.
"""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from cifar_tune.data.cifar10 import UInt8Array
from cifar_tune.training.pictures.activation_record import FloatArray, LayerView

MOST_MAPS = 64
"""Maps in a mosaic; of more channels the most active are shown."""
COLUMNS = 8
"""Maps in a row of a mosaic."""

_MAP_PIXELS = 32
"""The least height and width of a map in a mosaic."""
_IMAGE_PIXELS = 256
"""About the height and width of an enlarged image."""
_GAP = 2
_GREY = (128, 128, 128)
_LEVELS = 255
"""Colours of a palette; the last of 256 entries is the grey between the maps."""
_HEAT_MOST = 0.75
"""How far the strongest place of a Grad-CAM covers the image."""


def paint_image(pixels: UInt8Array) -> bytes:
    """Paint an image uint8 [H, W, 3], enlarged by repeating its pixels."""
    return _png(Image.fromarray(_enlarge(pixels)))


def paint_grad_cam(pixels: UInt8Array, heat: FloatArray) -> bytes:
    """Paint a Grad-CAM over its image uint8 [H, W, 3], which is grey: all colour is the Grad-CAM's.

    ``heat`` (float32 [h, w], not negative) is scaled to its own maximum and spread bilinearly over
    the image. Zero leaves the image as it is.
    """
    return _png(Image.fromarray(mix_grad_cam(_enlarge(pixels), heat)))


def mix_grad_cam(pixels: UInt8Array, heat: FloatArray) -> UInt8Array:
    """Return what ``paint_grad_cam`` paints, as an array uint8 [H, W, 3] as large as ``pixels``."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float64)
    scaled = heat / heat.max() if heat.max() > 0 else heat
    spread = Image.fromarray(scaled.astype(np.float32)).resize(
        (grey.shape[1], grey.shape[0]), Image.Resampling.BILINEAR
    )
    strength = np.asarray(spread, dtype=np.float64).clip(0, 1)
    colours = _viridis()[(strength * (_LEVELS - 1)).round().astype(np.int64)]
    cover = (strength * _HEAT_MOST)[..., None]
    mixed = grey[..., None] * (1 - cover) + colours * cover
    return mixed.round().astype(np.uint8)


def paint_maps(view: LayerView) -> tuple[bytes, int]:
    """Paint the feature maps of a layer as one mosaic, in the order of their channels.

    Each map is scaled for itself from its smallest value, dark, to its largest, light. Maps of one
    value each are scaled together.

    Returns:
        The PNG file and its width in pixels.
    """
    levels = scale_maps(view.maps[list(shown_channels(view))])
    repeat = -(-_MAP_PIXELS // levels.shape[-1])
    levels = levels.repeat(repeat, axis=1).repeat(repeat, axis=2)
    count, height, width = levels.shape
    rows, columns = -(-count // COLUMNS), min(count, COLUMNS)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP)
    canvas = np.full(shape, _LEVELS, dtype=np.uint8)
    for place, level in enumerate(levels):
        top = _GAP + place // COLUMNS * (height + _GAP)
        left = _GAP + place % COLUMNS * (width + _GAP)
        canvas[top : top + height, left : left + width] = level
    picture = Image.fromarray(canvas)
    picture.putpalette(palette().tobytes())
    return _png(picture), shape[1]


def scale_maps(maps: FloatArray) -> UInt8Array:
    """Return maps [C, H, W] as places in ``palette``.

    Each is scaled from its own smallest value to its largest, or all together where each is of one
    value.
    """
    exact = maps.astype(np.float64)
    over = (1, 2) if exact[0].size > 1 else None
    low = exact.min(axis=over, keepdims=True)
    span = exact.max(axis=over, keepdims=True) - low
    scaled = (exact - low) / np.where(span > 0, span, 1)
    levels: UInt8Array = (scaled * (_LEVELS - 1)).round().astype(np.uint8)
    return levels


def palette() -> UInt8Array:
    """Return the colours uint8 [256, 3] of maps, from low to high, and the grey between them."""
    return np.vstack([_viridis().round(), _GREY]).astype(np.uint8)


def shown_channels(view: LayerView, most: int = MOST_MAPS) -> tuple[int, ...]:
    """Return the channels that are shown: all, or those with the highest mean after the ReLU."""
    order = np.argsort(-view.activity, kind="stable")[:most]
    return tuple(sorted(order.tolist()))


def _viridis() -> npt.NDArray[np.float64]:
    """Return colours from low to high, float64 [255, 3] on the scale 0 to 255."""
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 1, _LEVELS))
    return np.asarray(colours, dtype=np.float64)[:, :3] * 255


def _enlarge(pixels: UInt8Array) -> UInt8Array:
    repeat = max(1, _IMAGE_PIXELS // pixels.shape[0])
    return pixels.repeat(repeat, axis=0).repeat(repeat, axis=1)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
