"""Tiny protocols, and a callback that keeps what it is told, for tests of the Python API."""

from __future__ import annotations

from typing import Any

import cifar_tune as ct

SMALL = {"train_images": 64, "validation_images": 50, "batch_size": 32}


class Told(ct.TrialCallback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def trial_begun(self, info: ct.TrialInfo) -> None:
        self.events.append(("begun", info.trial.number, info.trial.state, info.trial.epochs))

    def epoch_ended(self, info: ct.TrialInfo, metrics: ct.EpochMetrics) -> None:
        self.events.append(("epoch", info.trial.number, metrics.epoch))

    def trial_ended(self, info: ct.TrialInfo) -> None:
        self.events.append(("ended", info.trial.number, info.trial.state, info.study_name))
