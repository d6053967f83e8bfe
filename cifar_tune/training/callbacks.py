"""What a training calls while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cifar_tune.errors import TrainingStopped
from cifar_tune.training.checkpoints import Position
from cifar_tune.training.records import EpochMetrics

OnStart = Callable[[Position, Sequence[str]], None]
OnStep = Callable[[int], None]
OnEpoch = Callable[[EpochMetrics], bool]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class TrainingCallbacks:
    """The functions that a training calls; those that are left out do nothing.

    Attributes:
        on_start: Called before the first step with the position that the training starts from and
            with the reasons why checkpoints were refused.
        on_step: Called after each training step and validation batch with how many of the epoch's
            are done.
        on_epoch: Called after each epoch; False stops the training, and the trial is pruned. When a
            trial is continued, it is called for the epochs before too.
        should_stop: Asked after each training step and validation batch; True saves the state and
            ends the training with ``TrainingStopped``.
    """

    on_start: OnStart = lambda _position, _refusals: None
    on_step: OnStep = lambda _done: None
    on_epoch: OnEpoch = lambda _metrics: True
    should_stop: ShouldStop = lambda: False

    def step_done(self, done: int) -> None:
        """Tell of a step, and ask whether to stop.

        Raises:
            TrainingStopped: ``should_stop`` said so.
        """
        self.on_step(done)
        if self.should_stop():
            raise TrainingStopped


NO_CALLBACKS = TrainingCallbacks()
