"""What the steps of an epoch read and write: on the device before the first of them begins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.augment import Draws
from cifar_tune.data.loader import DeviceSplit, draw_epoch
from cifar_tune.models.resnet import SeededDropout
from cifar_tune.training.step import BatchTotals


@dataclass(frozen=True)
class EpochTensors:
    """What changes from epoch to epoch, on the device.

    Attributes:
        order: int64 [M], rows of the images in the order of the epoch.
        draws: of the M images; None where they are not augmented.
        counter: int64 [], the next step of the epoch, from 0.
        offsets: int64 [B], 0 to B - 1.
        learning_rates: float32 [G], of the optimiser's groups, as the fused kernel reads them;
            float64 on the CPU, where it can.
        totals: what ``BatchTotals`` has.
    """

    order: Tensor
    draws: Draws | None
    counter: Tensor
    offsets: Tensor
    learning_rates: Tensor
    totals: dict[str, Tensor]

    @classmethod
    def make(
        cls, model: nn.Module, split: DeviceSplit, config: TrialConfig, groups: int
    ) -> EpochTensors:
        """Return the tensors of the first epoch, for an optimiser with so many groups."""
        device = split.labels.device
        exact = torch.float64 if device.type == "cpu" else torch.float32
        return cls(
            *draw_epoch(split, config, 1),
            counter=torch.zeros((), dtype=torch.int64, device=device),
            offsets=torch.arange(config.batch_size, device=device),
            learning_rates=torch.zeros(groups, dtype=exact, device=device),
            totals=BatchTotals(model, split, config).tensors(),
        )

    def put(self, order: Tensor, draws: Draws | None) -> None:
        """Take up the order and the draws of another epoch."""
        self.order.copy_(order)
        if self.draws is not None and draws is not None:
            for name, value in draws.tensors().items():
                self.draws.tensors()[name].copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        draws = {} if self.draws is None else self.draws.tensors()
        single = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return {**single, **self.totals, **draws}


@dataclass(frozen=True)
class Masks:
    """The dropout masks of an epoch, drawn batch by batch as the layer would draw them itself.

    Attributes:
        kept: bool [M, features], what is not made zero.
        scale: float32 [], what it is enlarged by.
    """

    layer: SeededDropout
    kept: Tensor
    scale: Tensor

    @classmethod
    def make(cls, layer: SeededDropout, images: int, device: torch.device) -> Masks:
        """Return masks that keep everything."""
        kept = torch.ones(images, layer.features, dtype=torch.bool, device=device)
        return cls(layer, kept, torch.ones((), device=device))

    def draw(self, first: int, end: int, batch_size: int) -> None:
        """Draw those of some batches, from where the layer's generator is."""
        self.scale.fill_(1).div_(1 - self.layer.p)
        for batch in self.kept[first * batch_size : end * batch_size].split(batch_size):
            if self.layer.p:
                batch.copy_(self.layer.draw(torch.empty_like(batch, dtype=self.scale.dtype)) != 0)
            else:
                batch.fill_(True)

    def show(self, rows: slice | Tensor) -> None:
        """Let the layer use those of some images."""
        self.layer.noise = self.kept[rows] * self.scale

    @property
    def generator(self) -> torch.Generator:
        """The generator that the layer draws from."""
        assert self.layer.generator is not None, "it was not seeded"
        return self.layer.generator
