"""One training step, the totals of its epoch, and the callbacks of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from cifar_tune.config.trial import Precision, TrialConfig
from cifar_tune.data.loader import DeviceSplit
from cifar_tune.errors import NonFiniteLossError
from cifar_tune.models.resnet import computing_in

OnStep = Callable[[int], None]
"""Called after each step or validation batch, with how many of the epoch's are done."""


ShouldStop = Callable[[], bool]
"""Asked after each step and validation batch; True ends the training with ``TrainingStopped``."""


def never() -> bool:
    """Of a training that nothing stops."""
    return False


@dataclass(frozen=True)
class Totals:
    """Mean cross-entropy in nats and the fraction classified rightly, over a set of images."""

    loss: float
    accuracy: float


def forward(model: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """The logits of a batch, in the precision of the model's weights.

    Args:
        images: float32 [B, 3, S, S], or what a frozen part made of them.
        precision: that is computed in.
    """
    with computing_in(precision, images.device):
        logits: Tensor = model(images)
    return logits.float() if precision == "bf16" else logits


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    config: TrialConfig,
) -> tuple[Tensor, Tensor]:
    """Take one step of gradient descent on a batch.

    Args:
        model: The network to train.
        optimizer: The optimiser of its weights.
        images: The images, as for ``forward``.
        labels: The labels, int64 [B].
        config: The trial; its precision and label smoothing are read here.

    Returns:
        The mean loss before the step and the number classified rightly, both on the device.
    """
    optimizer.zero_grad(set_to_none=True)
    logits = forward(model, images, config.precision)
    loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    loss.backward()
    optimizer.step()
    return loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()


class Tally:
    """Losses and right answers of an epoch's batches, kept on the device until its end.

    They are written into tensors that are there from the start. A small tensor kept from each step
    pins the heap between the large ones that come and go, and memory grew by 10 MB a step.
    """

    def __init__(self, model: nn.Module, split: DeviceSplit, config: TrialConfig) -> None:
        batches = -(-len(split) // config.batch_size)
        device, dtype = split.labels.device, next(model.parameters()).dtype
        self._losses = torch.zeros(batches, dtype=dtype, device=device)
        self._right = torch.zeros(batches, dtype=torch.int64, device=device)
        self._images = len(split)
        self._batch_size = config.batch_size
        self.batches = 0  # that were added

    def add(self, loss: Tensor, right: Tensor) -> None:
        """Add the next batch: its mean loss and how many were classified rightly."""
        self._losses[self.batches] = loss
        self._right[self.batches] = right
        self.batches += 1

    def tensors(self) -> dict[str, Tensor]:
        """What ``restore`` takes."""
        return {"losses": self._losses, "right": self._right}

    def restore(self, tensors: Mapping[str, Tensor], batches: int) -> None:
        """Take up the tally of the first batches of an epoch."""
        if batches:
            self._losses.copy_(tensors["losses"])
            self._right.copy_(tensors["right"])
        self.batches = batches

    def first_not_finite(self) -> int | None:
        """The first batch, from 1, with a loss that is infinite or not a number, if any."""
        broken = (~self._losses.isfinite()).nonzero()
        return int(broken[0, 0]) + 1 if len(broken) else None

    def close(self, epoch: int) -> Totals:
        """Mean loss and accuracy of a training epoch.

        Raises:
            NonFiniteLossError: with the first step whose loss is not finite.
        """
        broken = self.first_not_finite()
        if broken is not None:
            raise NonFiniteLossError(epoch, broken)
        return self.totals()

    def totals(self) -> Totals:
        """Mean loss and accuracy over all images."""
        weights = torch.full((self.batches,), self._batch_size, dtype=torch.float64)
        weights[-1] = self._images - self._batch_size * (self.batches - 1)
        return Totals(
            loss=float((self._losses.cpu().double() * weights).sum()) / self._images,
            accuracy=float(self._right.sum()) / self._images,
        )
