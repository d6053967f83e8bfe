"""Whether there is time, and budget, for one more trial."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from cifar_tune.config.schema import Budget
from cifar_tune.config.trial import TrialConfig
from cifar_tune.errors import InputError
from cifar_tune.search.plan import Costs
from cifar_tune.training.records import EpochMetrics

TIME_IS_UP = "the time limit of --timeout is reached"
TOO_LITTLE_TIME = "too little time is left of --timeout for one more trial"
_UNITS = {"d": 86_400.0, "h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}


def parse_duration(text: str) -> float:
    """Return the seconds of ``2h``, ``90min``, ``1h30m``, ``45s`` or a plain number of seconds.

    Raises:
        InputError: It is none of them, or is not above zero.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[dhms])", text)
    plain = re.sub(r"\s", "", text)
    if parts and plain == "".join(number + unit for number, unit in parts):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    elif re.fullmatch(r"\d+(\.\d+)?", plain):
        seconds = float(plain)
    else:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise InputError(f"--timeout {text}: expected a duration such as 2h, 90min, 1h30m or 45s")
    return seconds


@dataclass
class Spending:
    """What a study has used and may use.

    Attributes:
        budget: The budget of the study, over all of its runs.
        deadline: When this run must end, as ``time.monotonic`` counts; None for no such limit.
        costs: The measured steps of a worker.
        share: The share of a device that a trial has.
        epochs: The epochs that the study's trials were trained for.
        device_seconds: The seconds of a whole device that they took.
    """

    budget: Budget
    deadline: float | None
    costs: Costs
    share: float
    epochs: int = 0
    device_seconds: float = 0.0
    _measured: float = 0.0
    _predicted: float = 0.0

    def add_stored(self, trial: FrozenTrial) -> None:
        """Count the epochs of a trial that an earlier run trained."""
        history = trial.user_attrs.get("history", ())
        share = trial.user_attrs.get("facts", {}).get("device_share", 1.0)
        self.epochs += len(history)
        self.device_seconds += sum(epoch["seconds"] * share for epoch in history)

    def add(self, config: TrialConfig, metrics: EpochMetrics) -> None:
        """Count an epoch that was trained."""
        self.epochs += 1
        self.device_seconds += metrics.seconds * self.share
        self._measured += metrics.seconds
        self._predicted += self._plan_seconds(config)

    def is_time_up(self) -> bool:
        """Return whether the run's deadline has come."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def reason_against(self, config: TrialConfig, running: Iterable[TrialConfig]) -> str | None:
        """Return in words why a trial may not be begun; None if it may.

        Args:
            config: The trial, with the epochs that are left of it.
            running: The trials that run, likewise.
        """
        seconds = config.epochs * self._epoch_seconds(config)
        if self.deadline is not None and time.monotonic() + seconds > self.deadline:
            return TOO_LITTLE_TIME
        others = list(running)
        if self.budget.epochs is not None:
            epochs = self.epochs + config.epochs + sum(other.epochs for other in others)
            if epochs > self.budget.epochs:
                return (
                    f"the study's budget of {self.budget.epochs:,} epochs is too small for one "
                    f"more trial ({self.epochs:,} are used)"
                )
        if self.budget.device_seconds is not None:
            committed = sum(other.epochs * self._epoch_seconds(other) for other in others)
            wanted = self.device_seconds + (seconds + committed) * self.share
            if wanted > self.budget.device_seconds:
                return (
                    f"the study's budget of {self.budget.device_seconds:,.0f} device-seconds is "
                    f"too small for one more trial ({self.device_seconds:,.0f} are used)"
                )
        return None

    def _epoch_seconds(self, config: TrialConfig) -> float:
        """Return the seconds of an epoch as planned, corrected by what epochs took in this run."""
        correction = self._measured / self._predicted if self._predicted else 1.0
        return correction * self._plan_seconds(config)

    def _plan_seconds(self, config: TrialConfig) -> float:
        return self.costs.epoch_seconds(config)[1]
