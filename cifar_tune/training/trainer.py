"""Trains and evaluates one network; it knows nothing of Optuna."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import DeviceSplit, training_batches, validation_batches
from cifar_tune.errors import TrainingStopped
from cifar_tune.models.resnet import seed_dropouts, set_training
from cifar_tune.training.callbacks import NO_CALLBACKS, TrainingCallbacks
from cifar_tune.training.checkpoints import (
    Checkpoints,
    Position,
    Trained,
    TrainingState,
    capture,
    restore,
)
from cifar_tune.training.optimizer import make_optimizer, make_schedule, step_schedule
from cifar_tune.training.records import EpochMetrics
from cifar_tune.training.step import BatchTotals, LossAndAccuracy, forward, train_step
from cifar_tune.training.step_graph import StepGraph
from cifar_tune.training.weight_average import make_average


@dataclass(frozen=True)
class Evaluation(LossAndAccuracy):
    """The outcome of an evaluation.

    Attributes:
        logits: float [N, number of classes], on the model's device.
    """

    logits: Tensor


@dataclass(frozen=True)
class Fitted:
    """The outcome of a training.

    Attributes:
        epochs: All that were trained, in order.
        logits: Of the validation images after the last epoch, float [N, number of classes]; empty
            where no epoch was trained in this process.
        pruned: Whether ``on_epoch`` said to stop.
    """

    epochs: tuple[EpochMetrics, ...]
    logits: Tensor
    pruned: bool


class Trainer:
    """Trains a network with cross-entropy, and with ``cifar_tune.training.optimizer``.

    Args:
        model: The network, on the device of the splits that it is trained and evaluated on.
        config: The configuration of the trial.
        callbacks: Called as the training goes on; ``on_start`` is not.
        checkpoints: Where the state is saved after each epoch but the last, before ``on_epoch`` is
            called, and when the training is stopped within one; None saves none. After the last
            epoch the trial's own files are written, which are as large.
        graph: The graph of the training step that is lent to this trial, to be replayed; None makes
            the step call by call.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrialConfig,
        callbacks: TrainingCallbacks = NO_CALLBACKS,
        checkpoints: Checkpoints | None = None,
        graph: StepGraph | None = None,
    ) -> None:
        self._given_model = model
        self._model = model if graph is None else graph.model
        average = make_average(model, config) if graph is None else graph.average
        optimizer = make_optimizer(model, config, average) if graph is None else graph.optimizer
        schedule = make_schedule(optimizer, config)
        self._trained = Trained(self._model, optimizer, schedule, average)
        self._config = config
        self._callbacks = callbacks
        self._checkpoints = checkpoints
        self._graph = graph

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and kept: the moving average where there is one."""
        return self._trained.result

    def fit(
        self, train: DeviceSplit, validation: DeviceSplit, start: TrainingState | None = None
    ) -> Fitted:
        """Train up to the last epoch, or to the one after which ``on_epoch`` says to stop.

        It goes on from the state ``start``; None begins anew.

        Raises:
            NonFiniteLossError: A training loss became infinite or not a number.
            TrainingStopped: ``should_stop`` said so.
            StorageError: The state cannot be saved.
            UnusableCheckpointError: ``start`` does not fit.
        """
        totals = BatchTotals(self._model, train, self._config)
        position, logits = Position(), torch.empty(0)
        if start is not None:
            position = start.position
            seed_dropouts(self._model, self._config, position.epochs + 1)
            batches = restore(start, self._trained)
            totals.restore(batches, position.steps)
        pruned = not all(map(self._callbacks.on_epoch, position.history))
        while not pruned and position.epochs < self._config.epochs:
            position, logits = self._run_epoch(position, totals, train, validation)
            totals = BatchTotals(self._model, train, self._config)
            if position.epochs < self._config.epochs:
                self._save(position, {})
            pruned = not self._callbacks.on_epoch(position.history[-1])
        if self.result is not self._given_model:
            self._given_model.load_state_dict(self.result.state_dict())
        return Fitted(position.history, logits, pruned)

    def _save(self, position: Position, batches: Mapping[str, Tensor]) -> None:
        """Save the state with the totals of the steps done of an epoch that was begun."""
        if self._checkpoints is not None:
            self._checkpoints.save(capture(self._trained, position, batches))

    def _run_epoch(
        self, position: Position, totals: BatchTotals, train: DeviceSplit, validation: DeviceSplit
    ) -> tuple[Position, Tensor]:
        """Train the next epoch, or what is left of it, and evaluate; return the logits too."""
        config, epoch = self._config, position.epochs + 1
        begun = time.perf_counter() - position.seconds
        if not position.steps:
            seed_dropouts(self._model, config, epoch)
        try:
            trained = self._train_epoch(train, epoch, totals)
            evaluated = evaluate(self.result, validation, config, epoch, self._callbacks)
        except TrainingStopped:
            elapsed = time.perf_counter() - begun
            stopped = Position(position.epochs, totals.batches, elapsed, position.history)
            self._save(stopped, totals.tensors())
            raise
        step_schedule(self._trained.schedule)
        seconds = round(time.perf_counter() - begun, 3)
        metrics = EpochMetrics(
            epoch, trained.loss, trained.accuracy, evaluated.loss, evaluated.accuracy, seconds
        )
        return Position(epoch, history=(*position.history, metrics)), evaluated.logits

    def _train_epoch(self, train: DeviceSplit, epoch: int, totals: BatchTotals) -> LossAndAccuracy:
        if self._graph is not None:
            return self._graph.train_epoch(train, self._config, epoch, self._callbacks, totals)
        model, optimizer = self._trained.model, self._trained.optimizer
        return train_epoch(model, optimizer, train, self._config, epoch, self._callbacks, totals)


def train_epoch(
    model: nn.Module,
    optimizer: Optimizer,
    split: DeviceSplit,
    config: TrialConfig,
    epoch: int,
    callbacks: TrainingCallbacks = NO_CALLBACKS,
    totals: BatchTotals | None = None,
) -> LossAndAccuracy:
    """Train one pass over the training images; the host waits for the device only at its end.

    Order and augmentation of the images follow from the number of the epoch, from 1. ``totals`` are
    of the steps that are done already, which are left out; the steps that are done now are added.

    Raises:
        NonFiniteLossError: A loss is not finite; the error names the first step with one.
        TrainingStopped: ``should_stop`` said so.
    """
    set_training(model, config)
    totals = BatchTotals(model, split, config) if totals is None else totals
    for images, labels in training_batches(split, config, epoch, totals.batches):
        loss, correct = train_step(model, optimizer, images, labels, config)
        totals.add(loss, correct)
        callbacks.step_done(totals.batches)
    return totals.close(epoch)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: DeviceSplit,
    config: TrialConfig,
    epoch: int = 0,
    callbacks: TrainingCallbacks = NO_CALLBACKS,
) -> Evaluation:
    """Compute loss, accuracy and logits on a split, in evaluation mode.

    ``epoch`` is the one that the augmentation is of, where the protocol augments these images.

    Raises:
        TrainingStopped: ``should_stop`` said so.
    """
    model.eval()
    totals = BatchTotals(model, split, config)
    all_logits: Tensor | None = None
    done = 0
    for images, labels in validation_batches(split, config, epoch):
        logits = forward(model, images, config.precision)
        loss = functional.cross_entropy(logits, labels)
        totals.add(loss, (logits.argmax(dim=1) == labels).sum())
        if all_logits is None:  # one tensor from the start, for the reason that BatchTotals gives
            all_logits = logits.new_empty(len(split), logits.shape[1])
        all_logits[done : done + len(labels)] = logits
        done += len(labels)
        callbacks.step_done(config.steps + totals.batches)
    assert all_logits is not None, "a split has at least one image"
    mean = totals.mean()
    return Evaluation(mean.loss, mean.accuracy, all_logits)
