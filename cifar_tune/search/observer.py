"""Who is shown what a run does, and who takes notes of it for a browser; these two do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cifar_tune.config.trial import TrialConfig
from cifar_tune.storage.records import TrialSummary
from cifar_tune.training.records import EpochMetrics

if TYPE_CHECKING:  # a command line shows its progress before it imports Optuna
    from optuna.trial import FrozenTrial

    from cifar_tune.search.open_study import OpenStudy
    from cifar_tune.search.plan import Plan


class Observer:
    """Is shown what a run does, as it does it; trials by their number."""

    def planned(self, plan: Plan) -> None:
        """Show what the run is about to do."""

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """Show that a trial begins, or goes on: then it has epochs."""

    def stepped(self, number: int, done: int) -> None:
        """Show how many of the epoch's training steps and validation batches are done."""

    def epoch_ended(self, number: int, metrics: EpochMetrics) -> None:
        """Show what an epoch of a trial gave."""

    def trial_ended(self, trial: TrialSummary) -> None:
        """Show that a trial ended, or waits to be continued by another run."""

    def noted(self, text: str) -> None:
        """Show what else happened that a reader should know."""


class Annotator:
    """Keeps what a browser shows of a study up to date; used with ``with``.

    The runner is given one, and knows no more of it: notes state figures of the test images that
    others have read, which nothing of the search may see.
    """

    def __enter__(self) -> Annotator:
        """Bring the notes up to date; the study's lease is held."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what was begun."""

    def planned(self, plan: Plan) -> None:
        """Take note of what the run is about to do."""

    def trial_changed(self, trial: FrozenTrial) -> None:
        """Take note of a trial that began, goes on, waits or ended."""

    def poll(self) -> None:
        """Do what is to be done now and then; called often while the run goes on."""

    def finish(self, should_stop: Callable[[], bool], why_left: str | None) -> None:
        """Take note that the run is at its end, and what kept it from doing all.

        ``should_stop`` is asked meanwhile; True ends it.
        """


MakeAnnotator = Callable[["OpenStudy", Observer], Annotator]
