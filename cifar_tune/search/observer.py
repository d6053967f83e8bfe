"""A trial that a worker has, who is shown what becomes of it, and who takes notes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.plan import Plan
from cifar_tune.search.work_list import Agenda, Item
from cifar_tune.storage.lease import Lease
from cifar_tune.storage.location import StorageLocation
from cifar_tune.storage.records import TrialSummary
from cifar_tune.training.records import EpochMetrics


class Annotator(Protocol):
    """Keeps what a browser shows of a study up to date; used with ``with``.

    The runner is given one, and knows no more of it: notes state figures of the test images that
    others have read, which nothing of the search may see.
    """

    def __enter__(self) -> Annotator:
        """The study's lease is held, and its notes are brought up to date."""

    def __exit__(self, *_: object) -> None:
        """What was begun is given up."""

    def planned(self, plan: Plan) -> None:
        """The run is about to begin."""

    def trial_changed(self, trial: FrozenTrial) -> None:
        """A trial began, goes on, waits or ended."""

    def poll(self) -> None:
        """Called often while the run goes on."""

    def finish(self, is_stopping: Callable[[], bool], why_left: str | None) -> None:
        """The run is at its end; ``why_left``: what kept it from doing all that it was to do."""


class NoAnnotator:
    """Leaves no notes."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> NoAnnotator:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def planned(self, plan: Plan) -> None:
        """Nothing."""

    def trial_changed(self, trial: FrozenTrial) -> None:
        """Nothing."""

    def poll(self) -> None:
        """Nothing."""

    def finish(self, is_stopping: Callable[[], bool], why_left: str | None) -> None:
        """Nothing."""


MakeAnnotator = Callable[
    [RDBStorage, optuna.Study, StudySpec, StorageLocation, Agenda, Lease, "Observer"], Annotator
]
"""Of a storage whose study the lease is held of."""


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
