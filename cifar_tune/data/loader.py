"""A split on the device, as uint8; an epoch is a sequence of index operations on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cifar_tune.data.augment import Draws, draw, transform
from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.records import TrialConfig
from cifar_tune.seeds import derive_seed


@dataclass(frozen=True)
class DeviceSplit:
    """Images and labels on the device.

    Attributes:
        images: uint8 [N, 3, 32, 32].
        labels: int64 [N].
        mean: float32 [3], of the normalisation.
        std: float32 [3], of the normalisation.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def place(part: LabelledImages, config: TrialConfig, device: torch.device) -> DeviceSplit:
    """Copy a split to the device."""
    return DeviceSplit(
        images=torch.tensor(part.images, device=device),
        labels=torch.tensor(part.labels, dtype=torch.int64, device=device),
        mean=torch.tensor(config.normalize_mean, dtype=torch.float32, device=device),
        std=torch.tensor(config.normalize_std, dtype=torch.float32, device=device),
    )


def training_batches(
    split: DeviceSplit, config: TrialConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of one training epoch, in an order and with an augmentation of its own.

    Both follow from the trial's seed and the epoch alone, so an epoch can be made again by
    itself. They are drawn on the CPU at once: every device gets the same, and none has to wait
    for the host inside an epoch.

    Yields:
        Normalised images float32 [B, 3, S, S] and labels int64 [B]; the last batch has the rest.
    """
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "epoch", epoch))
    device = split.labels.device
    order = torch.randperm(len(split), generator=generator).to(device)
    draws = draw(len(split), config.augmentation_strength, config.input_size, generator)
    yield from _batches(split, config, order, draws)


def validation_batches(
    split: DeviceSplit, config: TrialConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The validation images in order; augmented only where the protocol says so."""
    draws = None
    if config.augment_validation:
        generator = torch.Generator().manual_seed(derive_seed(config.seed, "validation", epoch))
        draws = draw(len(split), config.augmentation_strength, config.input_size, generator)
    order = torch.arange(len(split), device=split.labels.device)
    yield from _batches(split, config, order, draws)


def _batches(
    split: DeviceSplit, config: TrialConfig, order: Tensor, draws: Draws | None
) -> Iterator[tuple[Tensor, Tensor]]:
    draws = draws.to(order.device) if draws is not None else None
    for start in range(0, len(order), config.batch_size):
        rows = slice(start, start + config.batch_size)
        chosen = order[rows]
        images = transform(
            split.images[chosen],
            draws.take(rows) if draws is not None else None,
            config.input_size,
            split.mean,
            split.std,
        )
        yield images, split.labels[chosen]
