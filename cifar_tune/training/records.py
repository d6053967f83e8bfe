"""What one trial gives, epoch by epoch and whole, and the files it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cifar_tune.config.checked import Fraction, Number, Positive, Seconds


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

    Example:
        >>> result = objective.train(config, on_epoch=lambda metrics: metrics.val_accuracy > 0.2)
        >>> result.epochs[-1].val_loss
    """

    epoch: Positive
    train_loss: Number
    train_accuracy: Fraction
    val_loss: Number
    val_accuracy: Fraction
    seconds: Seconds


@dataclass(frozen=True)
class TrialResult:
    """What a trial gave.

    Attributes:
        epochs: in order.
        pruned: whether it was stopped before the last.
        kept_sha256: SHA-256 of the file of its final weights; None where they were not kept.
        note: which pictures could not be drawn, and why; None where nothing is to be said.

    Example:
        >>> objective = ct.Objective(spec)
        >>> result = objective.train(config)
        >>> result.val_accuracy
    """

    epochs: tuple[EpochMetrics, ...]
    pruned: bool
    kept_sha256: str | None
    note: str | None = None

    @property
    def val_accuracy(self) -> float:
        """Validation accuracy after the last epoch that was trained, as a fraction."""
        return self.epochs[-1].val_accuracy


@dataclass(frozen=True)
class TrialFiles:
    """Where a trial keeps what it makes; None keeps none of it.

    Attributes:
        weights: the final weights, unless the trial is pruned.
        predictions: what the last epoch said of each validation image; likewise.
        checkpoints: a folder for the newest states, from which the trial goes on.
        features: a folder for what frozen parts make of images, which trials share.
        learning_curves: a picture (PNG) of accuracy and loss over the epochs.
        confusion_matrix: a picture of which classes the last epoch took for which.
        activation_maps: a picture of what the layers make of two images; only of a trial that no
            complete one of its study surpasses.
    """

    weights: Path | None = None
    predictions: Path | None = None
    checkpoints: Path | None = None
    learning_curves: Path | None = None
    confusion_matrix: Path | None = None
    activation_maps: Path | None = None
    features: Path | None = None

    @property
    def made(self) -> dict[str, Path]:
        """Where there is to be a file once the trial has ended, by field."""
        fields = {key: path for key, path in vars(self).items() if path is not None}
        return {key: path for key, path in fields.items() if key not in ("checkpoints", "features")}
