"""How far a run is and how long it has left, at any moment: also between two news of workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar_tune.search.observer import LiveTrial
    from cifar_tune.search.plan import Plan


@dataclass
class _Trained:
    """The part of a run that one trial is, in epochs.

    Attributes:
        first: Epochs that were trained before this run.
        total: Epochs of the whole trial.
        trained: Epochs that are trained by now, parts of one included.
        batch: The part of an epoch that one training step or validation batch is.
        moved: When ``trained`` last changed; None while the trial does not run.
    """

    first: float
    total: float
    trained: float
    batch: float
    moved: float | None
    is_over: bool = False


class RunProgress:
    """What a run has done of its plan, by the clock that its caller reads, in seconds.

    The unit is an epoch. Epochs that pruning saves count as done, so that the part which is done
    never falls and is 1 at the end. Between two news of a trial, at most one training step is
    taken to be done, at the speed of the plan.
    """

    def __init__(self, plan: Plan, now: float) -> None:
        self._plan = plan
        self._start = now
        self._trials: dict[int, _Trained] = {}
        self._sampled_over = 0
        self._highest = 0.0
        seconds, epochs = plan.seconds_expected, max(plan.epochs_expected, 1)
        self._epoch_seconds = max(seconds / epochs, 1e-9)
        """Wall-clock seconds of the run for each epoch, as planned."""

    def update(self, live: LiveTrial, now: float) -> None:
        """Take note of a trial that runs."""
        number, config = live.trial.number, live.config
        trained = live.share * config.epochs
        known = self._trials.get(number)
        if known is None:
            known = _Trained(trained, config.epochs, trained, 1 / live.batches, now)
            self._trials[number] = known
        if known.moved is None or known.trained != trained:
            known.trained, known.moved = trained, now

    def end(self, number: int, *, is_over: bool, is_sampled: bool) -> None:
        """Take note that a trial ended, or is paused."""
        trial = self._trials[number]
        trial.moved, trial.is_over = None, is_over
        self._sampled_over += is_over and is_sampled

    def fraction(self, now: float) -> float:
        """Return the part of the run that is done, from 0 to 1; it never falls."""
        fraction = self._settled(now) / max(self._total(), 1e-9)
        self._highest = max(self._highest, min(fraction, 1.0))
        return self._highest

    def elapsed(self, now: float) -> float:
        """Return the seconds since the plan was made."""
        return now - self._start

    def remaining(self, now: float) -> float:
        """Return the seconds that are expected to be left.

        An epoch is taken to last as long as those of this run, which the plan's estimate of one
        epoch of each worker joins.
        """
        plan = self._plan
        left = self._total() - self._settled(now)
        sampled_left = max(plan.sampled - self._sampled_over, 0)
        saved = (plan.epochs_most - plan.epochs_expected) * sampled_left / max(plan.sampled, 1)
        trained = sum(self._now(trial, now) - trial.first for trial in self._trials.values())
        seconds = self.elapsed(now) + plan.workers * self._epoch_seconds
        return max(left - saved, 0.0) * seconds / (max(trained, 0.0) + plan.workers)

    def _total(self) -> float:
        known = sum(trial.total - trial.first for trial in self._trials.values())
        return max(float(self._plan.epochs_most), known)  # more may have been queued meanwhile

    def _settled(self, now: float) -> float:
        return sum(
            (trial.total if trial.is_over else self._now(trial, now)) - trial.first
            for trial in self._trials.values()
        )

    def _now(self, trial: _Trained, now: float) -> float:
        """Return the epochs that are trained, with what is expected of the step that runs."""
        if trial.moved is None:
            return trial.trained
        epochs = (now - trial.moved) / (self._epoch_seconds * self._plan.workers)
        return min(trial.trained + min(epochs, trial.batch), trial.total)
