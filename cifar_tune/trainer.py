"""Trains and evaluates one network; it knows nothing of Optuna."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from cifar_tune.data.loader import DeviceSplit, training_batches, validation_batches
from cifar_tune.errors import NonFiniteLossError
from cifar_tune.model import set_training
from cifar_tune.records import EpochMetrics, TrialConfig
from cifar_tune.seeds import derive_seed

OnEpoch = Callable[[EpochMetrics], bool]
"""Called after each epoch; False stops the training."""

OnStep = Callable[[int], None]
"""Called after each step or validation batch, with how many of the epoch's are done."""


@dataclass(frozen=True)
class Totals:
    """Mean cross-entropy in nats and the fraction classified rightly, over a set of images."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Evaluation(Totals):
    """What a model made of a split: ``logits``, float [N, number of classes] on its device."""

    logits: Tensor


@dataclass(frozen=True)
class Fitted:
    """The epochs that were trained, and the evaluation on the validation images after the last."""

    epochs: tuple[EpochMetrics, ...]
    last: Evaluation


def fit(
    model: nn.Module,
    train: DeviceSplit,
    validation: DeviceSplit,
    config: TrialConfig,
    on_epoch: OnEpoch,
    on_step: OnStep,
) -> Fitted:
    """Train as the assignment did: cross-entropy, Adam, cosine learning rate stepped each epoch.

    Args:
        model: on the device of the splits.

    Returns:
        The epochs that were trained: all, or those up to the one after which ``on_epoch`` said
        to stop.

    Raises:
        NonFiniteLossError: a training loss became infinite or not a number.
    """
    optimizer = make_optimizer(model, config)
    schedule = CosineAnnealingLR(optimizer, T_max=config.cosine_t_max)
    history: list[EpochMetrics] = []
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        # The dropout masks follow from seed and epoch alone, like the order of the images.
        torch.manual_seed(derive_seed(config.seed, "dropout", epoch))
        trained = train_epoch(model, optimizer, train, config, epoch, on_step)
        evaluated = evaluate(model, validation, config, epoch, on_step)
        schedule.step()
        seconds = time.perf_counter() - start
        history.append(
            EpochMetrics(
                epoch,
                trained.loss,
                trained.accuracy,
                evaluated.loss,
                evaluated.accuracy,
                round(seconds, 3),
            )
        )
        if not on_epoch(history[-1]):
            break
    return Fitted(tuple(history), evaluated)


def make_optimizer(model: nn.Module, config: TrialConfig) -> Optimizer:
    """Adam with PyTorch's defaults over the parameters that are not frozen."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = parameters[0].device.type in ("cpu", "cuda")  # one kernel instead of one a tensor
    return Adam(parameters, lr=config.learning_rate, fused=fused)


def train_step(
    model: nn.Module, optimizer: Optimizer, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of gradient descent on a batch.

    Args:
        images: float32 [B, 3, S, S].
        labels: int64 [B].

    Returns:
        The mean loss before the step and the number classified rightly, both on the device.
    """
    optimizer.zero_grad(set_to_none=True)
    logits = model(images)
    loss = functional.cross_entropy(logits, labels)
    loss.backward()
    optimizer.step()
    return loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()


def train_epoch(
    model: nn.Module,
    optimizer: Optimizer,
    split: DeviceSplit,
    config: TrialConfig,
    epoch: int,
    on_step: OnStep,
) -> Totals:
    """One pass over the training images; the host waits for the device only at its end.

    Raises:
        NonFiniteLossError: with the first step whose loss is not finite.
    """
    set_training(model, config)
    tally = _Tally(model, split, config)
    for images, labels in training_batches(split, config, epoch):
        loss, correct = train_step(model, optimizer, images, labels)
        tally.add(loss, correct, len(labels))
        on_step(tally.batches)
    broken = tally.first_not_finite()
    if broken is not None:
        raise NonFiniteLossError(epoch, broken)
    return tally.totals()


@torch.inference_mode()
def evaluate(
    model: nn.Module, split: DeviceSplit, config: TrialConfig, epoch: int, on_step: OnStep
) -> Evaluation:
    """Loss, accuracy and logits on a split, in evaluation mode."""
    model.eval()
    tally = _Tally(model, split, config)
    kept: Tensor | None = None
    done = 0
    for images, labels in validation_batches(split, config, epoch):
        logits = model(images)
        loss = functional.cross_entropy(logits, labels)
        tally.add(loss, (logits.argmax(dim=1) == labels).sum(), len(labels))
        if kept is None:  # for the reason that _Tally gives
            kept = logits.new_empty(len(split), logits.shape[1])
        kept[done : done + len(labels)] = logits
        done += len(labels)
        on_step(config.steps + tally.batches)
    assert kept is not None, "a split has at least one image"
    totals = tally.totals()
    return Evaluation(totals.loss, totals.accuracy, kept)


class _Tally:
    """Losses and right answers of an epoch's batches, kept on the device until its end.

    They are written into tensors that are there from the start. A small tensor kept from each step
    pins the heap between the large ones that come and go, and memory grew by 10 MB a step.
    """

    def __init__(self, model: nn.Module, split: DeviceSplit, config: TrialConfig) -> None:
        batches = -(-len(split) // config.batch_size)
        device, dtype = split.labels.device, next(model.parameters()).dtype
        self._losses = torch.zeros(batches, dtype=dtype, device=device)
        self._right = torch.zeros(batches, dtype=torch.int64, device=device)
        self._sizes: list[int] = []

    @property
    def batches(self) -> int:
        """How many were added."""
        return len(self._sizes)

    def add(self, loss: Tensor, right: Tensor, size: int) -> None:
        """Add a batch of ``size`` images: its mean loss and how many were classified rightly."""
        self._losses[self.batches] = loss
        self._right[self.batches] = right
        self._sizes.append(size)

    def first_not_finite(self) -> int | None:
        """The first batch, from 1, with a loss that is infinite or not a number, if any."""
        broken = (~self._losses.isfinite()).nonzero()
        return int(broken[0, 0]) + 1 if len(broken) else None

    def totals(self) -> Totals:
        """Mean loss and accuracy over all images."""
        weights = torch.tensor(self._sizes, dtype=torch.float64)
        count = float(weights.sum())
        return Totals(
            loss=float((self._losses.cpu().double() * weights).sum()) / count,
            accuracy=float(self._right.sum()) / count,
        )
