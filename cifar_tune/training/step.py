"""One training step, and the totals of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from cifar_tune.config.trial import Precision, TrialConfig
from cifar_tune.data.loader import DeviceSplit
from cifar_tune.data.mixing import Labels, MixedLabels
from cifar_tune.errors import NonFiniteLossError
from cifar_tune.models.resnet import computing_in
from cifar_tune.training.sharpness import differentiate_uphill


@dataclass(frozen=True)
class LossAndAccuracy:
    """Mean cross-entropy in nats and the fraction classified rightly, over a set of images."""

    loss: float
    accuracy: float


def forward(model: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """Return the logits of a batch, float [B, number of classes], in the precision of the weights.

    Images are float32 [B, 3, S, S], or what a frozen part made of them.
    """
    with computing_in(precision, images.device):
        logits: Tensor = model(images)
    return logits.float() if precision == "bf16" else logits


def train_step(
    model: nn.Module, optimizer: Optimizer, images: Tensor, labels: Labels, config: TrialConfig
) -> tuple[Tensor, Tensor]:
    """Take one step of gradient descent on a batch of images, as for ``forward``, and their labels.

    Of the configuration, precision, label smoothing and the radius of SAM are read here.

    Returns:
        The mean loss before the step and the number classified rightly, both on the device. A mixed
        image is classified rightly as the class that has more weight.
    """

    def differentiate() -> tuple[Tensor, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        logits = forward(model, images, config.precision)
        targets = labels.probabilities(logits) if isinstance(labels, MixedLabels) else labels
        loss = functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
        loss.backward()
        return loss.detach(), logits.detach()

    if config.sam_radius:
        loss, logits = differentiate_uphill(model, config.sam_radius, differentiate)
    else:
        loss, logits = differentiate()
    optimizer.step()
    expected = labels.heaviest() if isinstance(labels, MixedLabels) else labels
    return loss, (logits.argmax(dim=1) == expected).sum()


class BatchTotals:
    """The losses and right answers of an epoch's batches, kept on the device until its end.

    They are written into tensors that are there from the start. A small tensor kept from each step
    pins the heap between the large ones that come and go, and memory grew by 10 MB a step.

    Attributes:
        batches: How many were added.
    """

    def __init__(self, model: nn.Module, split: DeviceSplit, config: TrialConfig) -> None:
        batches = -(-len(split) // config.batch_size)
        device, dtype = split.labels.device, next(model.parameters()).dtype
        self._losses = torch.zeros(batches, dtype=dtype, device=device)
        self._right = torch.zeros(batches, dtype=torch.int64, device=device)
        self._images = len(split)
        self._batch_size = config.batch_size
        self.batches = 0

    def add(self, loss: Tensor, right: Tensor) -> None:
        """Add the next batch: its mean loss and how many images were classified rightly."""
        self._losses[self.batches] = loss
        self._right[self.batches] = right
        self.batches += 1

    def tensors(self) -> dict[str, Tensor]:
        """Return what ``restore`` takes, by name."""
        return {"losses": self._losses, "right": self._right}

    def restore(self, tensors: Mapping[str, Tensor], batches: int) -> None:
        """Take up the totals of the first batches of an epoch."""
        if batches:
            self._losses.copy_(tensors["losses"])
            self._right.copy_(tensors["right"])
        self.batches = batches

    def close(self, epoch: int) -> LossAndAccuracy:
        """Return mean loss and accuracy of a training epoch.

        Raises:
            NonFiniteLossError: A loss is not finite; the error names the first step with one.
        """
        not_finite = (~self._losses.isfinite()).nonzero()
        if len(not_finite):
            raise NonFiniteLossError(epoch, int(not_finite[0, 0]) + 1)
        return self.mean()

    def mean(self) -> LossAndAccuracy:
        """Return mean loss and accuracy over all images."""
        weights = torch.full((self.batches,), self._batch_size, dtype=torch.float64)
        weights[-1] = self._images - self._batch_size * (self.batches - 1)
        return LossAndAccuracy(
            loss=float((self._losses.cpu().double() * weights).sum()) / self._images,
            accuracy=float(self._right.sum()) / self._images,
        )
