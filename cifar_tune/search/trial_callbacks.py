"""What a program may have called while trials are trained, in a run or by ``study.optimize``."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from cifar_tune.config.trial import TrialConfig
from cifar_tune.errors import InputError
from cifar_tune.search.observer import Observer
from cifar_tune.storage.records import TrialSummary
from cifar_tune.wording import printable

if TYPE_CHECKING:
    from cifar_tune.search.plan import Plan
    from cifar_tune.training.records import EpochMetrics

logger = logging.getLogger("cifar_tune")
_METHODS = ("trial_begun", "epoch_ended", "trial_ended")


@dataclass(frozen=True)
class TrialInfo:
    """The trial that a callback is called for.

    Attributes:
        study_name: The name of the Optuna study, e.g. ``dropout:quick``.
        trial: Number, name, seed, values and state. The state is ``running`` until
            ``trial_ended``, then ``complete``, ``pruned`` or ``fail``; ``waiting`` means that the
            trial was paused and is resumed by the next run.
        config: The full configuration.

    Example:
        >>> class Printer(ct.TrialCallback):
        ...     def trial_ended(self, info: ct.TrialInfo) -> None:
        ...         print(info.trial.label, info.trial.state, info.trial.val_accuracy)
    """

    study_name: str
    trial: TrialSummary
    config: TrialConfig


class TrialCallback(Protocol):
    """Base class of callbacks of ``run_study`` and ``Objective``; each method does nothing.

    The methods are called in the process that called ``run_study`` or ``study.optimize``, one at a
    time, in the order of events of each trial. While one runs, no further trial is started, so it
    should take milliseconds. An exception in a callback is logged once as a warning by the logger
    ``cifar_tune``; the trial goes on, and the callback is called again for the next event.

    Example:
        >>> class Printer(ct.TrialCallback):
        ...     def epoch_ended(self, info: ct.TrialInfo, metrics: ct.EpochMetrics) -> None:
        ...         print(info.trial.label, metrics.epoch, metrics.val_accuracy)
        >>> outcome = ct.run_study("dropout", n_trials=2, callbacks=[Printer()])
    """

    def trial_begun(self, info: TrialInfo) -> None:
        """Called when a trial begins, or is resumed: then ``info.trial.epochs`` is above 0."""

    def epoch_ended(self, info: TrialInfo, metrics: EpochMetrics) -> None:
        """Called after each epoch of a trial."""

    def trial_ended(self, info: TrialInfo) -> None:
        """Called when a trial has ended, or is paused."""


def check_callbacks(callbacks: Sequence[TrialCallback]) -> tuple[TrialCallback, ...]:
    """Return callbacks, each of which has the methods of one.

    Raises:
        InputError: One has not, such as a class in place of an instance; or they are no sequence.
    """
    if not isinstance(callbacks, Iterable):
        raise InputError(f"callbacks = {reprlib.repr(callbacks)}: expected a list of callbacks")
    checked = tuple(callbacks)
    for place, callback in enumerate(checked):
        is_one = all(callable(getattr(callback, name, None)) for name in _METHODS)
        if isinstance(callback, type) or not is_one:
            shown = printable(reprlib.repr(callback))
            raise InputError(
                f"callbacks[{place}] = {shown}: expected an instance of a TrialCallback"
            )
    return checked


class CallbackObserver(Observer):
    """An observer that hands on to another one, and calls callbacks."""

    def __init__(
        self, study_name: str, callbacks: Sequence[TrialCallback], shown: Observer | None = None
    ) -> None:
        self._study_name = study_name
        self._callbacks = callbacks
        self._shown = shown or Observer()
        self._running: dict[int, TrialInfo] = {}
        self._failed: set[int] = set()  # callbacks, by their place

    def preparing(self, what: str) -> None:
        """Hand on."""
        self._shown.preparing(what)

    def planned(self, plan: Plan) -> None:
        """Hand on."""
        self._shown.planned(plan)

    def trial_started(self, trial: TrialSummary, config: TrialConfig) -> None:
        """Tell of a trial that begins, or is resumed."""
        self._shown.trial_started(trial, config)
        self._running[trial.number] = TrialInfo(self._study_name, trial, config)
        self._call("trial_begun", self._running[trial.number])

    def stepped(self, number: int, done: int) -> None:
        """Hand on."""
        self._shown.stepped(number, done)

    def epoch_ended(self, number: int, metrics: EpochMetrics) -> None:
        """Tell of an epoch."""
        self._shown.epoch_ended(number, metrics)
        self._call("epoch_ended", self._running[number], metrics)

    def trial_ended(self, trial: TrialSummary) -> None:
        """Tell of a trial that has ended, or is paused."""
        self._shown.trial_ended(trial)
        self._call("trial_ended", replace(self._running.pop(trial.number), trial=trial))

    def noted(self, text: str) -> None:
        """Hand on."""
        self._shown.noted(text)

    def _call(self, method: str, info: TrialInfo, *arguments: Any) -> None:
        for place, callback in enumerate(self._callbacks):
            try:
                getattr(callback, method)(info, *arguments)
            except Exception as error:
                if place not in self._failed:
                    self._failed.add(place)
                    logger.warning(
                        "callback %s: %s failed at %s: %s: %s; training goes on, and further "
                        "errors of this callback are not logged",
                        type(callback).__name__,
                        method,
                        info.trial.label,
                        type(error).__name__,
                        printable(error),
                    )
                    logger.debug("callback %s", type(callback).__name__, exc_info=True)


class LoggedNotes(Observer):
    """An observer that writes notes to the log, at level INFO."""

    def noted(self, text: str) -> None:
        """Log it."""
        logger.info(text)
