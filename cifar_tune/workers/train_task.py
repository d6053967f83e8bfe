"""What every kind of worker does with a task: train the trial and say how it ended."""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Callable

import torch

from cifar_tune.errors import CifarTuneError, NonFiniteLossError, TrainingStopped
from cifar_tune.training.checkpoints import Position
from cifar_tune.training.device import describe_device
from cifar_tune.training.objective import run_trial
from cifar_tune.training.provenance import software
from cifar_tune.training.records import EpochMetrics
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
"""At least so long between two words about steps: a fast device does thousands a second."""
TRACEBACK_CHARACTERS = 4000

Work = Callable[[Task, Materials, torch.device, Channel], None]
"""What a pool runs; ``work``, unless a test puts another in its place."""


def work(task: Task, materials: Materials, device: torch.device, channel: Channel) -> None:
    """Train a trial, or go on with it, and tell the runner all of it."""
    number, config = task.number, task.config
    last_stepped = 0.0

    def on_start(position: Position, refusals: list[str]) -> None:
        facts = {
            "device": describe_device(device),
            "threads": torch.get_num_threads(),
            "host": platform.node(),
            "software": software(),
        }
        started = Started(number, facts, position.epochs, position.steps, tuple(refusals))
        channel.send(started)

    def on_epoch(metrics: EpochMetrics) -> bool:
        channel.send(EpochEnded(number, metrics))
        return channel.decide()

    def on_step(done: int) -> None:
        nonlocal last_stepped
        now = time.monotonic()
        if now - last_stepped >= STEPPED_SECONDS:
            last_stepped = now
            channel.send(Stepped(number, done))

    try:
        result = run_trial(
            config,
            materials.data,
            materials.weights.get(config.weights),
            device,
            on_epoch,
            on_step,
            task.files,
            channel.is_stopping,
            on_start,
            task.label,
            task.best_so_far,
        )
    except TrainingStopped:
        channel.send(Stopped(number))
    except NonFiniteLossError as error:
        where = {"epoch": error.epoch, "step": error.step}
        channel.send(Failed(number, "not_finite", str(error), where))
    except CifarTuneError as error:
        channel.send(Failed(number, REFUSED, str(error), {"error": type(error).__name__}))
    except Exception as error:
        is_memory = isinstance(error, torch.OutOfMemoryError)
        lines = "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:]
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        kind = OUT_OF_MEMORY if is_memory else "error"
        # The traceback holds on to the tensors of the failed step.
        error.__traceback__ = None
        if is_memory:
            torch.cuda.empty_cache()
        channel.send(Failed(number, kind, message, {"traceback": lines}))
    else:
        channel.send(Finished(number, result))
