"""Who is shown what a run does, and who takes notes of it for a browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cifar_tune.config.trial import TrialConfig
from cifar_tune.storage.records import TrialSummary

if TYPE_CHECKING:  # a command line shows its progress before it imports Optuna
    from optuna.trial import FrozenTrial

    from cifar_tune.search.open_study import OpenStudy
    from cifar_tune.search.plan import Plan
    from cifar_tune.training.records import EpochMetrics

MOST_NOTES = 8


class Observer:
    """Is shown what a run does, as it does it; trials by their number. This one does nothing."""

    def preparing(self, what: str) -> None:
        """Show what is done before the plan is known."""

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
    """Keeps what a browser shows of a study up to date; used with ``with``. This one does nothing.

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


@dataclass(frozen=True)
class LiveTrial:
    """A trial that is being trained.

    Attributes:
        epochs: Finished epochs, of ``config.epochs``.
        done: Training steps and validation batches of the next one.
        val_accuracy: Accuracy after the last of them, as a fraction; None before the first.
    """

    trial: TrialSummary
    config: TrialConfig
    epochs: int
    done: int
    val_accuracy: float | None

    @property
    def batches(self) -> int:
        """Training steps and validation batches of an epoch."""
        return self.config.steps - (-self.config.validation_images // self.config.batch_size)

    @property
    def share(self) -> float:
        """The part of the training that is done, from 0 to 1."""
        return min((self.epochs + self.done / self.batches) / self.config.epochs, 1.0)


@dataclass(frozen=True)
class LiveState:
    """What a service does.

    Attributes:
        study_name: The study that runs; None if none does.
        plan: What it is going to do; None until that is known.
        ended: How many trials this run of the study ended.
        began: When it began, by the monotonic clock.
    """

    study_name: str | None = None
    plan: Plan | None = None
    trials: Mapping[int, LiveTrial] = field(default_factory=dict)
    ended: int = 0
    began: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the study runs by now."""
        return time.monotonic() - self.began


class LiveRun(Observer):
    """An observer that hands on to another one, and remembers.

    One thread runs studies; others may ask for the state, which is replaced as a whole.
    """

    def __init__(self, shown: Observer) -> None:
        self._shown = shown
        self._state = LiveState()

    def state(self) -> LiveState:
        """Return what is done now."""
        return self._state

    def begin(self, study_name: str) -> None:
        """Note that a run of a study begins."""
        notes = self._state.notes
        self._state = LiveState(study_name, began=time.monotonic(), notes=notes)

    def end(self) -> None:
        """Note that the run ended."""
        self._state = LiveState(notes=self._state.notes)

    def _change_trial(self, number: int, **changes: Any) -> None:
        trials = self._state.trials
        changed = replace(trials[number], **changes)
        self._state = replace(self._state, trials={**trials, number: changed})

    def preparing(self, what: str) -> None:
        """Hand it on."""
        self._shown.preparing(what)

    def planned(self, plan: Plan) -> None:
        """Remember the plan."""
        self._state = replace(self._state, plan=plan)
        self._shown.planned(plan)

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """Remember the trial as one that is being trained."""
        started = LiveTrial(trial, config, trial.epochs, 0, trial.val_accuracy)
        trials = {**self._state.trials, trial.number: started}
        self._state = replace(self._state, trials=trials)
        self._shown.trial_started(trial, config)

    def stepped(self, number: int, done: int) -> None:
        """Remember how much of the epoch is done."""
        self._change_trial(number, done=done)
        self._shown.stepped(number, done)

    def epoch_ended(self, number: int, metrics: EpochMetrics) -> None:
        """Remember the epoch and its accuracy."""
        self._change_trial(number, epochs=metrics.epoch, done=0, val_accuracy=metrics.val_accuracy)
        self._shown.epoch_ended(number, metrics)

    def trial_ended(self, trial: TrialSummary) -> None:
        """Forget the trial, and count it if it is over."""
        state = self._state
        left = {number: live for number, live in state.trials.items() if number != trial.number}
        ended = state.ended + (trial.state != "waiting")
        self._state = replace(state, trials=left, ended=ended)
        self._shown.trial_ended(trial)

    def noted(self, text: str) -> None:
        """Remember the note."""
        notes = (*self._state.notes, text)[-MOST_NOTES:]
        self._state = replace(self._state, notes=notes)
        self._shown.noted(text)
