"""Who is shown what a run does, and who takes notes of it for a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from optuna.trial import FrozenTrial

from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.open_study import OpenStudy
from cifar_tune.search.plan import Plan
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

    def finish(self, should_stop: Callable[[], bool], why_left: str | None) -> None:
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

    def finish(self, should_stop: Callable[[], bool], why_left: str | None) -> None:
        """Nothing."""


MakeAnnotator = Callable[[OpenStudy, "Observer"], Annotator]


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
