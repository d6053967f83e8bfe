"""What every kind of worker does with a task: train the trial and tell how it ended."""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace

import torch

from cifar_tune.errors import CifarTuneError, NonFiniteLossError, TrainingStopped
from cifar_tune.training.callbacks import TrainingCallbacks
from cifar_tune.training.checkpoints import Position
from cifar_tune.training.device import describe_device
from cifar_tune.training.objective import run_trial
from cifar_tune.training.pictures.draw import draw_pictures
from cifar_tune.training.provenance import software
from cifar_tune.training.records import EpochMetrics, TrialResult
from cifar_tune.workers.protocol import (
    OUT_OF_MEMORY,
    REFUSED,
    Channel,
    EpochEnded,
    Failed,
    Finished,
    Materials,
    Started,
    Stepped,
    Stopped,
    Task,
)

STEPPED_SECONDS = 0.2
"""At least so long between two messages about steps: a fast device does thousands a second."""
TRACEBACK_CHARACTERS = 4000


def work(task: Task, materials: Materials, device: torch.device, channel: Channel) -> None:
    """Train a trial, or go on with it, and tell the runner all of it."""
    try:
        result = train(task, materials, device, channel)
    except TrainingStopped:
        channel.send(Stopped(task.number))
    except Exception as error:
        failed = describe_failure(task.number, error)
        error.__traceback__ = None  # it holds on to the tensors of the failed step
        if failed.kind == OUT_OF_MEMORY:
            torch.cuda.empty_cache()
        channel.send(failed)
    else:
        channel.send(Finished(task.number, result))


def train(task: Task, materials: Materials, device: torch.device, channel: Channel) -> TrialResult:
    """Train a trial, or go on with it; tell the runner all but how it ends, which is returned.

    Raises:
        Exception: As ``run_trial`` does.
    """
    teller = _Teller(task.number, device, channel)
    trained = run_trial(
        task.config,
        materials.data,
        materials.weights.get(task.config.weights),
        device,
        TrainingCallbacks(teller.started, teller.stepped, teller.epoch_ended, channel.should_stop),
        task.files,
    )
    note = draw_pictures(trained, task.label, task.files, task.best_so_far)
    return replace(trained.result, note=note)


class _Teller:
    """Tells the runner how the training of a trial goes on."""

    def __init__(self, number: int, device: torch.device, channel: Channel) -> None:
        self._number = number
        self._device = device
        self._channel = channel
        self._last_stepped = 0.0

    def started(self, position: Position, refusals: Sequence[str]) -> None:
        provenance = {
            "device": describe_device(self._device),
            "threads": torch.get_num_threads(),
            "host": platform.node(),
            "software": software(),
        }
        self._channel.send(
            Started(self._number, provenance, position.epochs, position.steps, tuple(refusals))
        )

    def stepped(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last_stepped >= STEPPED_SECONDS:
            self._last_stepped = now
            self._channel.send(Stepped(self._number, done))

    def epoch_ended(self, metrics: EpochMetrics) -> bool:
        self._channel.send(EpochEnded(self._number, metrics))
        return self._channel.decide()


def describe_failure(number: int, error: Exception) -> Failed:
    """Return what the runner is told of an error that ended a trial's training."""
    if isinstance(error, NonFiniteLossError):
        where = {"epoch": error.epoch, "step": error.step}
        return Failed(number, "not_finite", str(error), where)
    if isinstance(error, CifarTuneError):
        return Failed(number, REFUSED, str(error), {"error": type(error).__name__})
    kind = OUT_OF_MEMORY if isinstance(error, torch.OutOfMemoryError) else "error"
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    lines = "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:]
    return Failed(number, kind, message, {"traceback": lines})
