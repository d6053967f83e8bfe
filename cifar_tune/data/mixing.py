"""Mixing the images of a training batch with one another: mixup and CutMix, as torchvision does.

Each image is mixed with the one before it in its batch, and its label with that one's. Mixup (Zhang
et al. 2018) adds the two with weights; CutMix (Yun et al. 2019) replaces a box of one by that of
the other. A batch has one draw for all of its images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.draw_record import DrawRecord
from cifar_tune.data.geometry import inside_boxes


@dataclass(frozen=True)
class MixedLabels:
    """The labels of a mixed batch.

    Attributes:
        own: int64 [B], of the images themselves.
        other: int64 [B], of those that they are mixed with.
        weights: float32 [B, 2], of both.
    """

    own: Tensor
    other: Tensor
    weights: Tensor

    def probabilities(self, like: Tensor) -> Tensor:
        """Return the weight of each class, in the form of logits [B, number of classes]."""
        classes = torch.arange(like.shape[1], device=like.device)
        weights = self.weights.to(like.dtype)
        own = (self.own.unsqueeze(1) == classes) * weights[:, :1]
        other: Tensor = (self.other.unsqueeze(1) == classes) * weights[:, 1:]
        return own + other

    def heaviest(self) -> Tensor:
        """Return the label that has more weight, int64 [B]."""
        return torch.where(self.weights[:, 0] >= self.weights[:, 1], self.own, self.other)


Labels = Tensor | MixedLabels
"""The labels of a training batch: int64 [B], or those of mixed images."""


@dataclass(frozen=True)
class MixDraws(DrawRecord):
    """How N images are mixed, the same for all images of a batch.

    Attributes:
        pixel_weights: float32 [N, 2], of the image's own pixels and of the other's.
        label_weights: float32 [N, 2], likewise of the labels.
        box: int64 [N, 4], left, top, right and bottom of what is the other's alone; the last two
            are not in it.
    """

    pixel_weights: Tensor
    label_weights: Tensor
    box: Tensor

    def changing_nothing(self) -> MixDraws:
        """Return as many draws that mix nothing."""
        own = torch.zeros_like(self.pixel_weights)
        own[:, 0] = 1
        return MixDraws(own, own.clone(), torch.zeros_like(self.box))


def draw_mixing(count: int, config: TrialConfig, epoch: int) -> MixDraws:
    """Draw on the CPU how the batches of an epoch are mixed, from a generator of their own.

    A batch is given to CutMix with its probability, and else to mixup where there is one.
    """
    generator = np.random.default_rng(derive_seed(config.seed, "mixing", epoch))
    draws = [_draw_batch(config, generator) for _ in range(-(-count // config.batch_size))]
    batch = torch.arange(count) // config.batch_size
    pixels, labels, boxes = zip(*draws, strict=True)
    return MixDraws(
        torch.tensor([[share, 1 - share] for share in pixels])[batch],
        torch.tensor([[share, 1 - share] for share in labels])[batch],
        torch.tensor(boxes, dtype=torch.int64)[batch],
    )


def _draw_batch(
    config: TrialConfig, generator: np.random.Generator
) -> tuple[float, float, tuple[int, int, int, int]]:
    """Return the share of the own pixels outside of the box, that of the own label, and the box."""
    nothing = (0, 0, 0, 0)
    if generator.random() < config.cutmix_probability:
        size = config.input_size
        half = int(0.5 * math.sqrt(1 - generator.random()) * size)
        centre = generator.integers(size, size=2).tolist()
        left, top = (max(place - half, 0) for place in centre)
        right, bottom = (min(place + half, size) for place in centre)
        share = 1 - (right - left) * (bottom - top) / size**2
        return 1.0, share, (left, top, right, bottom)
    if config.mixup_alpha:
        share = float(generator.beta(config.mixup_alpha, config.mixup_alpha))
        return share, share, nothing
    return 1.0, 1.0, nothing


def mix_images(images: Tensor, draws: MixDraws) -> Tensor:
    """Mix a batch float32 [B, 3, S, S]."""
    other = images.roll(1, 0)
    weights = draws.pixel_weights.to(images.dtype).view(-1, 2, 1, 1, 1)
    inside = inside_boxes(draws.box, images.shape[-1])
    mixed = torch.where(inside, other, other * weights[:, 1] + images * weights[:, 0])
    return mixed.contiguous(memory_format=torch.channels_last)


def mix_labels(labels: Tensor, draws: MixDraws) -> MixedLabels:
    """Mix the labels int64 [B] of a batch as its images are mixed."""
    return MixedLabels(labels, labels.roll(1, 0), draws.label_weights)
