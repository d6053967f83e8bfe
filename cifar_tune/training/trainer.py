"""Trains and evaluates one network; it knows nothing of Optuna."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.loader import DeviceSplit, training_batches, validation_batches
from cifar_tune.errors import TrainingStopped
from cifar_tune.models.resnet import seed_dropouts, set_training
from cifar_tune.training.checkpoints import Checkpoints, Position, TrainingState, capture, restore
from cifar_tune.training.optimizer import make_optimizer, make_schedule, step_schedule
from cifar_tune.training.records import EpochMetrics
from cifar_tune.training.step import OnStep, ShouldStop, Tally, Totals, forward, never, train_step

if TYPE_CHECKING:
    from cifar_tune.training.step_graph import StepGraphs

OnEpoch = Callable[[EpochMetrics], bool]
"""Called after each epoch; False stops the training."""


@dataclass(frozen=True)
class Evaluation(Totals):
    """What a model made of a split: ``logits``, float [N, number of classes] on its device."""

    logits: Tensor


@dataclass(frozen=True)
class Fitted:
    """The epochs that were trained, and the logits of the validation images after the last."""

    epochs: tuple[EpochMetrics, ...]
    logits: Tensor


def fit(
    model: nn.Module,
    train: DeviceSplit,
    validation: DeviceSplit,
    config: TrialConfig,
    on_epoch: OnEpoch,
    on_step: OnStep,
    checkpoints: Checkpoints | None = None,
    should_stop: ShouldStop = never,
    start: TrainingState | None = None,
    graphs: StepGraphs | None = None,
) -> Fitted:
    """Train: cross-entropy, and optimiser and schedule of ``cifar_tune.training.optimizer``.

    Args:
        model: on the device of the splits.
        checkpoints: where the state is saved after each epoch but the last, before ``on_epoch`` is
            called, and when the training is stopped within one; None saves none. After the last
            epoch the trial's own files are written, which are as large.
        start: the state to go on from. ``on_epoch`` is called for its epochs again.
        graphs: of the training step, which is then replayed; None does it call by call.

    Returns:
        The epochs that were trained: all, or those up to the one after which ``on_epoch`` said
        to stop.

    Raises:
        NonFiniteLossError: a training loss became infinite or not a number.
        TrainingStopped: ``should_stop`` said so.
        StorageError: the state cannot be saved.
        UnusableCheckpointError: ``start`` does not fit.
    """
    rest = (train, validation, config, on_epoch, on_step, checkpoints, should_stop, start)
    with nullcontext() if graphs is None else graphs.training(model, train, config) as graph:
        if graph is None:
            optimizer = make_optimizer(model, config)
            return _fit(model, optimizer, partial(train_epoch, model, optimizer), *rest)
        fitted = _fit(graph.model, graph.optimizer, graph.train_epoch, *rest)
        model.load_state_dict(graph.model.state_dict())
        return fitted


def _fit(
    model: nn.Module,
    optimizer: Optimizer,
    run_epoch: Callable[..., Totals],
    train: DeviceSplit,
    validation: DeviceSplit,
    config: TrialConfig,
    on_epoch: OnEpoch,
    on_step: OnStep,
    checkpoints: Checkpoints | None,
    should_stop: ShouldStop,
    start: TrainingState | None,
) -> Fitted:
    """What ``fit`` does.

    Args:
        run_epoch: as ``train_epoch`` is called, without model and optimiser.
    """
    schedule = make_schedule(optimizer, config)
    tally = Tally(model, train, config)
    position, logits = Position(), torch.empty(0)
    if start is not None:
        position = start.position
        seed_dropouts(model, config, position.epochs + 1)
        tally.restore(restore(start, model, optimizer, schedule), position.steps)
        for metrics in position.history:
            if not on_epoch(metrics):
                return Fitted(position.history, logits)

    def save(place: Position, extra: Mapping[str, Tensor]) -> None:
        if checkpoints is not None:
            checkpoints.save(capture(model, optimizer, schedule, place, extra))

    history = position.history
    for epoch in range(position.epochs + 1, config.epochs + 1):
        begun = time.perf_counter() - position.seconds
        if not position.steps:
            seed_dropouts(model, config, epoch)
        try:
            trained = run_epoch(train, config, epoch, on_step, should_stop, tally)
            evaluated = evaluate(model, validation, config, epoch, on_step, should_stop)
        except TrainingStopped:
            elapsed = time.perf_counter() - begun
            save(Position(epoch - 1, tally.batches, elapsed, history), tally.tensors())
            raise
        step_schedule(schedule)
        seconds = round(time.perf_counter() - begun, 3)
        metrics = EpochMetrics(
            epoch, trained.loss, trained.accuracy, evaluated.loss, evaluated.accuracy, seconds
        )
        history, logits = (*history, metrics), evaluated.logits
        position, tally = Position(epoch, 0, 0.0, history), Tally(model, train, config)
        if epoch < config.epochs:
            save(position, {})
        if not on_epoch(metrics):
            break
    return Fitted(history, logits)


def train_epoch(
    model: nn.Module,
    optimizer: Optimizer,
    split: DeviceSplit,
    config: TrialConfig,
    epoch: int,
    on_step: OnStep,
    should_stop: ShouldStop = never,
    tally: Tally | None = None,
) -> Totals:
    """One pass over the training images; the host waits for the device only at its end.

    Args:
        tally: of the steps that are done already, which are left out; None for none.

    Raises:
        NonFiniteLossError: with the first step whose loss is not finite.
        TrainingStopped: ``should_stop`` said so; the tally has the steps that were done.
    """
    set_training(model, config)
    tally = Tally(model, split, config) if tally is None else tally
    for images, labels in training_batches(split, config, epoch, tally.batches):
        loss, correct = train_step(model, optimizer, images, labels, config)
        tally.add(loss, correct)
        on_step(tally.batches)
        if should_stop():
            raise TrainingStopped
    return tally.close(epoch)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: DeviceSplit,
    config: TrialConfig,
    epoch: int,
    on_step: OnStep,
    should_stop: ShouldStop = never,
) -> Evaluation:
    """Loss, accuracy and logits on a split, in evaluation mode.

    Raises:
        TrainingStopped: ``should_stop`` said so.
    """
    model.eval()
    tally = Tally(model, split, config)
    kept: Tensor | None = None
    done = 0
    for images, labels in validation_batches(split, config, epoch):
        logits = forward(model, images, config.precision)
        loss = functional.cross_entropy(logits, labels)
        tally.add(loss, (logits.argmax(dim=1) == labels).sum())
        if kept is None:  # for the reason that Tally gives
            kept = logits.new_empty(len(split), logits.shape[1])
        kept[done : done + len(labels)] = logits
        done += len(labels)
        on_step(config.steps + tally.batches)
        if should_stop():
            raise TrainingStopped
    assert kept is not None, "a split has at least one image"
    totals = tally.totals()
    return Evaluation(totals.loss, totals.accuracy, kept)
