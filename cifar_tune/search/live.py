"""What a run does at this moment, for a page that is asked now and then from other threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace

from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.observer import Observer
from cifar_tune.search.plan import Plan
from cifar_tune.storage.records import TrialSummary
from cifar_tune.training.records import EpochMetrics

MOST_NOTES = 8


@dataclass(frozen=True)
class LiveTrial:
    """A trial that is being trained.

    Attributes:
        epochs: finished, of ``config.epochs``.
        done: training steps and validation batches of the next one.
        val_accuracy: after the last of them, as a fraction; None before the first.
    """

    trial: TrialSummary
    config: TrialConfig
    epochs: int
    done: int
    val_accuracy: float | None

    @property
    def share(self) -> float:
        """Of the training that is done, from 0 to 1."""
        batches = self.config.steps - (-self.config.validation_images // self.config.batch_size)
        return min((self.epochs + self.done / batches) / self.config.epochs, 1.0)


@dataclass(frozen=True)
class LiveState:
    """What a service does.

    Attributes:
        study_name: of the study that runs; None if none does.
        plan: None until it is made.
        trials: being trained.
        ended: trials that this run of the study ended.
        seconds: since it began.
        notes: the newest last.
    """

    study_name: str | None = None
    plan: Plan | None = None
    trials: tuple[LiveTrial, ...] = ()
    ended: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


class LiveRun(Observer):
    """An observer that hands on to another one, and remembers."""

    def __init__(self, shown: Observer) -> None:
        self._shown = shown
        self._lock = threading.Lock()
        self._study_name: str | None = None
        self._plan: Plan | None = None
        self._trials: dict[int, LiveTrial] = {}
        self._ended = 0
        self._began = 0.0
        self._notes: deque[str] = deque(maxlen=MOST_NOTES)

    def state(self) -> LiveState:
        """What is done now."""
        with self._lock:
            seconds = time.monotonic() - self._began if self._study_name is not None else 0.0
            trials = tuple(self._trials[number] for number in sorted(self._trials))
            notes = tuple(self._notes)
            return LiveState(self._study_name, self._plan, trials, self._ended, seconds, notes)

    def begin(self, study_name: str) -> None:
        """A run of a study begins."""
        with self._lock:
            self._study_name, self._plan, self._ended = study_name, None, 0
            self._began = time.monotonic()
            self._trials.clear()

    def end(self) -> None:
        """It ended."""
        with self._lock:
            self._study_name, self._plan = None, None
            self._trials.clear()

    def planned(self, plan: Plan) -> None:
        """As of an observer."""
        with self._lock:
            self._plan = plan
        self._shown.planned(plan)

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """As of an observer."""
        with self._lock:
            begun = LiveTrial(trial, config, trial.epochs, 0, trial.val_accuracy)
            self._trials[trial.number] = begun
        self._shown.trial_started(trial, config)

    def stepped(self, number: int, done: int) -> None:
        """As of an observer."""
        with self._lock:
            self._trials[number] = replace(self._trials[number], done=done)
        self._shown.stepped(number, done)

    def epoch_ended(self, number: int, metrics: EpochMetrics) -> None:
        """As of an observer."""
        with self._lock:
            accuracy = metrics.val_accuracy
            trained = replace(
                self._trials[number], epochs=metrics.epoch, done=0, val_accuracy=accuracy
            )
            self._trials[number] = trained
        self._shown.epoch_ended(number, metrics)

    def trial_ended(self, trial: TrialSummary) -> None:
        """As of an observer."""
        with self._lock:
            self._trials.pop(trial.number, None)
            self._ended += trial.state != "waiting"
        self._shown.trial_ended(trial)

    def noted(self, text: str) -> None:
        """As of an observer."""
        with self._lock:
            self._notes.append(text)
        self._shown.noted(text)
