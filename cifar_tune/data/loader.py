"""A split on the device, as uint8; an epoch is a sequence of index operations on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cifar_tune.config.seeds import derive_seed
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.augment import Draws, draw, transform
from cifar_tune.data.mixing import Labels, draw_mixing, mix_images, mix_labels
from cifar_tune.data.search_data import Subset


@dataclass(frozen=True)
class DeviceSplit:
    """Images and labels on the device, and which of them the split is made of.

    Attributes:
        images: uint8 [N, 3, H, H], or what a frozen part made of them: floats [N, C, H, W] in
            channels-last memory order.
        labels: int64 [N].
        rows: int64 [M], the split's rows of ``images`` and ``labels``.
        mean: float32 [3], of the normalisation.
        std: float32 [3], of the normalisation.
        prefix: a frozen part that normalised images pass through; None for none.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    mean: Tensor
    std: Tensor
    prefix: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.rows)


def place(part: Subset, config: TrialConfig, device: torch.device) -> DeviceSplit:
    """Bring a split to the device: its images alone, or on the CPU without any copy."""
    if device.type == "cpu":
        pool, rows = part.pool, part.rows
    else:
        pool, rows = part.copy(), np.arange(len(part))
    return DeviceSplit(
        images=torch.from_numpy(pool.images).to(device),
        labels=torch.from_numpy(pool.labels).to(device, torch.int64),
        rows=torch.from_numpy(rows).to(device),
        mean=torch.tensor(config.normalize_mean, dtype=torch.float32, device=device),
        std=torch.tensor(config.normalize_std, dtype=torch.float32, device=device),
    )


def training_batches(
    split: DeviceSplit, config: TrialConfig, epoch: int, skip: int = 0
) -> Iterator[tuple[Tensor, Labels]]:
    """Yield the batches of one training epoch, in an order and with an augmentation of its own.

    The first ``skip`` batches are left out. Each is as ``make_batch`` returns it; the last one has
    the rest.
    """
    order, draws = draw_epoch(split, config, epoch)
    for chosen, taken in _batches(config, order, draws, skip):
        yield make_batch(split, config, chosen, taken)


def draw_epoch(split: DeviceSplit, config: TrialConfig, epoch: int) -> tuple[Tensor, Draws | None]:
    """Draw what a training epoch has of its own: the order and the augmentation of its images.

    Both follow from the trial's seed and the epoch alone, so an epoch can be made again by
    itself. They are drawn on the CPU at once: every device gets the same, and none has to wait
    for the host inside an epoch.

    Returns:
        Rows of ``split.images`` int64 [M] and the draws of those images, all on their device.
    """
    device = split.rows.device
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "epoch", epoch))
    order = split.rows[torch.randperm(len(split), generator=generator).to(device)]
    draws = draw(len(split), config, generator, device)
    if draws is not None and config.mixes:
        draws = replace(draws, mixing=draw_mixing(len(split), config, epoch).to(device))
    off = config.augmentation_off_epochs
    if draws is not None and off and epoch > config.epochs - off:
        draws = draws.changing_nothing()
    return order, draws


def make_batch(
    split: DeviceSplit, config: TrialConfig, chosen: Tensor, draws: Draws | None
) -> tuple[Tensor, Labels]:
    """Gather and transform a batch; nothing in it waits for the device.

    ``chosen`` are rows of ``split.images``, int64 [B], with their ``draws``; None does not augment.

    Returns:
        Normalised images float32 [B, 3, S, S], or features where the split has them, and their
        labels.
    """
    labels = split.labels[chosen]
    mixing = None if draws is None else draws.mixing
    return (
        _make_images(split, config, chosen, draws),
        labels if mixing is None else mix_labels(labels, mixing),
    )


def _make_images(
    split: DeviceSplit, config: TrialConfig, chosen: Tensor, draws: Draws | None
) -> Tensor:
    if split.images.is_floating_point():
        images = split.images.permute(0, 2, 3, 1)[chosen].permute(0, 3, 1, 2)
    else:
        images = normalised(split, chosen, config.input_size, draws)
    if draws is not None and draws.mixing is not None:
        images = mix_images(images, draws.mixing)
    return images if split.prefix is None else split.prefix(images)


def validation_batches(
    split: DeviceSplit, config: TrialConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the validation images in order; augmented only where the protocol says so."""
    draws = None
    if config.augment_validation:
        generator = torch.Generator().manual_seed(derive_seed(config.seed, "validation", epoch))
        draws = draw(len(split), config, generator, split.rows.device)
    for chosen, taken in _batches(config, split.rows, draws, skip=0):
        yield _make_images(split, config, chosen, taken), split.labels[chosen]


def _batches(
    config: TrialConfig, order: Tensor, draws: Draws | None, skip: int
) -> Iterator[tuple[Tensor, Draws | None]]:
    """Yield the rows of each batch in this order, with their draws."""
    for start in range(skip * config.batch_size, len(order), config.batch_size):
        rows = slice(start, start + config.batch_size)
        yield order[rows], draws.take(rows) if draws is not None else None


def normalised(
    split: DeviceSplit, rows: Tensor, input_size: int, draws: Draws | None = None
) -> Tensor:
    """Return some images of a split, float32 [B, 3, S, S]; augmented where there are draws."""
    return transform(split.images[rows], draws, input_size, split.mean, split.std)
