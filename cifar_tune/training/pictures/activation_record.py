"""What the activation report found: plain records, so that drawing them needs no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import UInt8Array

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LayerStats:
    """How much of a layer's map is active for one image, and how strongly.

    A convolution's own output has no natural zero: batch norm shifts it. So the next ReLU's output
    is measured, where active means above zero. ``passed`` says what lies between.

    Attributes:
        channels: how many maps the layer gives.
        height: of a map in pixels.
        width: of a map in pixels.
        passed: operations from the layer to the values that were measured, in order; the last of
            them gave the values. Empty where the layer is itself a ReLU or a pooling of one.
        active_fraction: share of all values above zero.
        mean_active: mean of the values above zero; 0 where there is none.
        maximum: the largest value.
        silent_channels: how many channels have no value above zero for this image.
    """

    channels: int
    height: int
    width: int
    passed: tuple[str, ...]
    active_fraction: float
    mean_active: float
    maximum: float
    silent_channels: int


@dataclass(frozen=True)
class LayerView:
    """A layer for one image.

    Attributes:
        layer: as it was asked for.
        maps: float32 [C, H, W], the layer's own output, before anything that follows.
        activity: float32 [C], mean of each channel where ``stats`` were measured.
    """

    layer: str
    maps: FloatArray
    activity: FloatArray
    stats: LayerStats


@dataclass(frozen=True)
class ImageView:
    """What the network makes of one image.

    Attributes:
        source: in words, e.g. ``test image 8``, or a path.
        test_index: among the test images, from 0; None for a file.
        label: name of its class; None for a file.
        note: what was done to bring a file to the images' size; empty for nothing.
        top: the most probable classes with their probabilities as fractions, at most three.
        pixels: uint8 [H, W, 3], RGB, in the images' own size.
        layers: in the order of ``ActivationRecord.layers``.
        grad_cam: float32 [h, w], not negative, in units of the class's logit.
    """

    source: str
    test_index: int | None
    label: str | None
    note: str
    top: tuple[tuple[str, float], ...]
    pixels: UInt8Array
    layers: tuple[LayerView, ...]
    grad_cam: FloatArray

    @property
    def predicted(self) -> str:
        """The most probable class."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Of the most probable class, as a fraction."""
        return self.top[0][1]


@dataclass(frozen=True)
class LayerFreeze:
    """What a layer has to do with freezing.

    Attributes:
        depth: the smallest freeze depth that includes it.
        is_frozen: whether the trial's freeze depth does.
        parameters: of the layer itself; 0 for one without, such as a ReLU.
        fixed_parameters: how many of the network that depth keeps fixed.
        fixed_share: which share of all parameters they are, the head's included.
        batch_norms: batch-norm layers among what that depth freezes.
    """

    layer: str
    depth: int
    is_frozen: bool
    parameters: int
    fixed_parameters: int
    fixed_share: float
    batch_norms: int


@dataclass(frozen=True)
class GradCamLayer:
    """The layer whose Grad-CAM is shown.

    Attributes:
        layer: the deepest of ``layer1`` to ``layer4`` with a map large enough to show a place.
        size: height and width of its map in pixels.
        sizes: those of all four, from ``layer1`` on.
    """

    layer: str
    size: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class ActivationRecord:
    """The activations of a trained trial for a few images.

    Attributes:
        trial: its number in its study.
        name: of a named trial with its replicate; None if sampled.
        val_accuracy: of the trial, as a fraction.
        weights_sha256: of the file of its kept weights.
        classes: names in the order of the labels.
        parameters: of the whole network, the head's included.
        layers: that are shown, in order.
        freezes: of the layers, in the same order.
    """

    study_name: str
    profile: str
    trial: int
    name: str | None
    val_accuracy: float
    weights_sha256: str
    config: TrialConfig
    classes: tuple[str, ...]
    parameters: int
    layers: tuple[str, ...]
    freezes: tuple[LayerFreeze, ...]
    grad_cam: GradCamLayer
    images: tuple[ImageView, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON has it."""
        return dataclasses.asdict(self, dict_factory=_without_arrays)

    def to_rows(self) -> list[dict[str, object]]:
        """Return a row of CSV for each image, layer and quantity; shares are fractions."""
        quantities = [field.name for field in dataclasses.fields(LayerStats)]
        quantities.remove("passed")
        return [
            {
                "study": self.study_name,
                "trial": self.trial,
                "name": self.name,
                "image": view.source,
                "label": view.label,
                "predicted": view.predicted,
                "probability": view.probability,
                "layer": layer.layer,
                "measured_at": layer.stats.passed[-1] if layer.stats.passed else layer.layer,
                "quantity": quantity,
                "value": getattr(layer.stats, quantity),
            }
            for view in self.images
            for layer in view.layers
            for quantity in quantities
        ]


def _without_arrays(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if not isinstance(value, np.ndarray)}
