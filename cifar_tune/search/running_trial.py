"""A trial that a worker has."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.work_list import Item
from cifar_tune.storage.optuna_private import get_latest_trial
from cifar_tune.training.records import EpochMetrics

LAST_LINES = 20


@dataclass
class RunningTrial:
    """A trial that a worker has.

    Attributes:
        provenance: What reproduces the trial besides its configuration.
        history: The epochs that Optuna was told of.
        restarts: How often the trial was continued, from where, and why, as it is stored.
        reason: Why it is continued this time; None if it is begun.
        log: What happened to it last, for the record of one that fails.
        is_training: Whether its worker has said that it began.
    """

    item: Item
    trial: optuna.Trial
    config: TrialConfig
    provenance: dict[str, Any]
    history: list[EpochMetrics]
    restarts: list[dict[str, Any]]
    reason: str | None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    is_training: bool = False

    @property
    def number(self) -> int:
        """The number of the trial in its study."""
        return self.trial.number

    @property
    def epochs(self) -> int:
        """The number of epochs that Optuna was told of."""
        return len(self.history)

    @property
    def config_left(self) -> TrialConfig:
        """The configuration with only the epochs that are left."""
        return replace(self.config, epochs=max(self.config.epochs - self.epochs, 1))

    @property
    def deaths(self) -> int:
        """How many workers died with this trial."""
        return sum(restart.get("died", False) for restart in self.restarts)

    def latest(self) -> FrozenTrial:
        """Return the trial as it is now."""
        return get_latest_trial(self.trial)
