"""A trial that a worker has, and who is shown what becomes of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Protocol

import optuna

from cifar_tune.agenda import Item
from cifar_tune.plan import Plan
from cifar_tune.records import EpochMetrics, TrialConfig, TrialSummary


class Observer(Protocol):
    """Is shown what a run does, as it does it; trials by their number."""

    def planned(self, plan: Plan) -> None:
        """The run is about to begin."""

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """A trial begins, or goes on: then it has epochs."""

    def stepped(self, number: int, done: int) -> None:
        """So many of the epoch's training steps and validation batches are done."""

    def epoch_ended(self, number: int, metrics: EpochMetrics) -> None:
        """An epoch of a trial ended."""

    def trial_ended(self, trial: TrialSummary) -> None:
        """A trial ended, or waits to be continued by another run."""

    def noted(self, text: str) -> None:
        """Something else that a reader should know happened."""


@dataclass
class Flight:
    """A trial that a worker has.

    Attributes:
        restarts: how often it was continued, from where, and why, as it is stored.
        why: it is continued this time; None if it is begun.
        reported: the last epoch that Optuna was told of.
        lines: what happened to it, for the record of one that fails.
        is_training: its worker has said that it began.
    """

    item: Item
    trial: optuna.Trial
    config: TrialConfig
    facts: dict[str, Any]
    history: list[EpochMetrics]
    restarts: list[dict[str, Any]]
    why: str | None
    reported: int
    lines: deque[str]
    is_training: bool = False

    @property
    def number(self) -> int:
        """Of the trial."""
        return self.trial.number

    @property
    def left(self) -> TrialConfig:
        """The trial with the epochs that are left."""
        return replace(self.config, epochs=max(self.config.epochs - self.reported, 1))
