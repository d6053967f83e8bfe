"""Frozen records that the modules hand to one another."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

HYPERPARAMETERS = ("dropout_rate", "learning_rate", "augmentation_strength", "freeze_depth")
"""What a study may search over."""

DataName = Literal["bundled", "cifar10"]
Head = Literal["linear", "dropout", "mlp"]
FrozenBatchNorm = Literal["batch", "running"]


@dataclass(frozen=True)
class TrialConfig:
    """All that decides the outcome of one trial on one kind of machine.

    Attributes:
        data: ``bundled`` (the mini CIFAR-10 in the package) or ``cifar10`` (the full set).
        train_images: number of training images.
        validation_images: number of validation images.
        input_size: height and width in pixels that images are resized to.
        normalize_mean: mean of each channel, on the scale 0 to 1.
        normalize_std: standard deviation of each channel, on the same scale.
        augment_validation: augment validation images as training images are.
        head: ``linear``: Linear(512, 10); ``dropout``: Dropout(p), Linear(512, 10); ``mlp``:
            Linear(512, 256), ReLU, Dropout(p), Linear(256, 10).
        frozen_batch_norm: ``batch``: batch norm in the frozen part normalises with batch
            statistics and its running averages move; ``running``: it is a fixed function.
        batch_size: images in a training step; the last step of an epoch has the rest.
        epochs: passes over the training images.
        cosine_t_max: ``T_max`` of the cosine schedule, in epochs.
        dropout_rate: probability p of the head's dropout.
        learning_rate: Adam's, at the start of the schedule.
        augmentation_strength: 0 is none, 1 the recipe of ``cifar_tune.data.augment``.
        freeze_depth: 0 freezes nothing, 1 the stem, 2 to 5 also layer1 to layer4.
        seed: of initialisation, order, augmentation and dropout.
    """

    data: DataName
    train_images: int
    validation_images: int
    input_size: int
    normalize_mean: tuple[float, float, float]
    normalize_std: tuple[float, float, float]
    augment_validation: bool
    head: Head
    frozen_batch_norm: FrozenBatchNorm
    batch_size: int
    epochs: int
    cosine_t_max: int
    dropout_rate: float
    learning_rate: float
    augmentation_strength: float
    freeze_depth: int
    seed: int

    @property
    def steps(self) -> int:
        """Training steps in an epoch."""
        return -(-self.train_images // self.batch_size)

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration, as hexadecimal."""
        return digest_of(dataclasses.asdict(self))


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch gave.

    Attributes:
        epoch: counted from 1.
        train_loss: mean cross-entropy (nats) over the epoch's training images, as they were used.
        train_accuracy: fraction of them classified rightly, as they were used.
        val_loss: mean cross-entropy (nats) on the validation images after the epoch.
        val_accuracy: fraction of the validation images classified rightly after the epoch.
        seconds: wall-clock seconds of training and validation.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrialResult:
    """What a trial gave: its epochs in order, and whether it was stopped before the last."""

    epochs: tuple[EpochMetrics, ...]
    pruned: bool

    @property
    def val_accuracy(self) -> float:
        """Validation accuracy after the last epoch that was trained, as a fraction."""
        return self.epochs[-1].val_accuracy


@dataclass(frozen=True)
class TrialSummary:
    """A stored trial as tables and JSON show it.

    Attributes:
        number: of the trial in its study, from 0.
        name: of a named trial with its replicate, e.g. ``dropout/p=0.3/seed=2``; None if sampled.
        seed: that the trial was trained with; None until it was begun.
        state: ``waiting``, ``running``, ``complete``, ``pruned`` or ``fail``.
        params: the values of the searched hyperparameters.
        epochs: how many were trained.
        val_accuracy: after the last of them, as a fraction; None before the first.
        seconds: wall-clock seconds from start to end; None until it ended.
        failure: why it failed: ``kind`` (``not_finite``, ``interrupted`` or ``error``),
            ``message`` and, where known, ``epoch`` and ``step``; None otherwise.
    """

    number: int
    name: str | None
    seed: int | None
    state: str
    params: dict[str, float]
    epochs: int
    val_accuracy: float | None
    seconds: float | None
    failure: dict[str, Any] | None


@dataclass(frozen=True)
class StoredStudy:
    """A stored study: its name, its trials in order, and the best complete one, if any."""

    study_name: str
    trials: tuple[TrialSummary, ...]
    best: TrialSummary | None


def digest_of(value: object) -> str:
    """SHA-256 of a value's canonical JSON, as hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
