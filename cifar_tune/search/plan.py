"""What a run will do and how long it will take on this machine, before it does it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal

from cifar_tune.config.space import Range
from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.pruners import expect_pruning

TRIAL_SECONDS = (0.3, 0.8, 2.5)
"""What a trial takes besides its epochs, low, expected, high: images are placed, files written."""
RUN_SECONDS = (0.5, 2.0, 6.0)
"""What a run takes besides its trials, likewise: workers begin, notes and figures are written."""
DRIFT = (0.85, 1.0, 1.35)
"""The speed of a machine over minutes, as a multiple of what a few seconds of it showed, likewise.

These three were chosen on runs of the quick profiles on two shared cores, some of them busy;
``tests/support/plan_times.py`` prints how often the time of a run lies within the range.
"""


@dataclass(frozen=True)
class StepTimes:
    """Measured wall-clock seconds of one training step and of one validation batch.

    They are of a machine on which as many trials are trained at once as the run will train.

    Attributes:
        train_low, train_median, train_high: The 10th percentile, median and 90th percentile of
            training steps of a full batch.
        validation: The median validation batch.
    """

    train_low: float
    train_median: float
    train_high: float
    validation: float

    def epoch_seconds(self, config: TrialConfig) -> tuple[float, float, float]:
        """Return the seconds of an epoch: low, expected, high."""
        steps = config.images_trained_on / config.batch_size
        batches = -(-config.validation_images // config.batch_size)
        epoch = steps + batches * self.validation / self.train_median  # in training steps
        return self.train_low * epoch, self.train_median * epoch, self.train_high * epoch


@dataclass(frozen=True)
class Costs:
    """Steps measured at the least and at the greatest freeze depth that a study's trials have.

    The deeper the freeze, the less is computed; in between it is taken to be in proportion. So it
    is with batches of a size between two that were measured.

    Attributes:
        batch_size: The images in a batch; 0 if all trials have the same.
        small: The costs of the smallest batches; None if all trials have the same size.
    """

    shallow_depth: int
    shallow: StepTimes
    deep_depth: int
    deep: StepTimes
    batch_size: int = 0
    small: Costs | None = None

    def at(self, freeze_depth: float, batch_size: int = 0) -> StepTimes:
        """Return the expected step times at a freeze depth and, where they differ, batch size."""
        span = self.deep_depth - self.shallow_depth
        share = (freeze_depth - self.shallow_depth) / span if span else 0.0
        times = _between(self.shallow, self.deep, share)
        if self.small is None:
            return times
        share = (self.batch_size - batch_size) / (self.batch_size - self.small.batch_size)
        return _between(times, self.small.at(freeze_depth), share)

    def epoch_seconds(self, config: TrialConfig) -> tuple[float, float, float]:
        """Return the seconds of an epoch of a trial: low, expected, high."""
        return self.at(config.freeze_depth, config.batch_size).epoch_seconds(config)


def _between(first: StepTimes, second: StepTimes, share: float) -> StepTimes:
    """Return what lies on the way from the first to the second."""
    mixed = {
        part.name: (1 - share) * getattr(first, part.name) + share * getattr(second, part.name)
        for part in fields(StepTimes)
    }
    return StepTimes(**mixed)


@dataclass(frozen=True)
class Work:
    """What is left to do of a study.

    Attributes:
        named: The configurations of the replicates of named trials that are left, with the epochs
            that are left of each.
        named_total: How many replicates there are in all.
        sampled: How many trials are left to sample.
        sampled_epochs_done: The epochs that are done of those of them that were begun.
        queued: The configurations of trials that people asked for, likewise.
    """

    named: tuple[TrialConfig, ...]
    named_total: int
    sampled: int
    sampled_epochs_done: int = 0
    queued: tuple[TrialConfig, ...] = ()

    @property
    def owed(self) -> tuple[TrialConfig, ...]:
        """Trials that are known beforehand: they are never pruned."""
        return (*self.named, *self.queued)

    @property
    def trials(self) -> int:
        """How many trials are left."""
        return len(self.owed) + self.sampled


@dataclass(frozen=True)
class Plan:
    """What is left to do of a study, in trials, epochs and seconds.

    Attributes:
        named: How many replicates of named trials are left.
        named_total: How many there are in all.
        seeds: How many replicates each named trial has.
        sampled: How many trials are left to sample.
        queued: How many trials people asked for.
        workers: How many trials run at once.
        epochs: The epochs of a trial that is not pruned.
        epochs_least, epochs_expected, epochs_most: The epochs of all trials together, if all
            sampled ones are pruned as early as can be, if the share that the pruner aims at is, if
            none is.
        seconds_least, seconds_expected, seconds_most: The time for them, with a fast, a median and
            a slow step of those that were measured, and with what a trial and a run take besides.
        seconds_saved_most: What pruning saves at the most, at the median step.
    """

    named: int
    named_total: int
    seeds: int
    sampled: int
    queued: int
    workers: int
    epochs: int
    epochs_least: int
    epochs_expected: int
    epochs_most: int
    seconds_least: float
    seconds_expected: float
    seconds_most: float
    seconds_saved_most: float

    @property
    def trials(self) -> int:
        """How many trials are left."""
        return self.named + self.sampled + self.queued


def find_ends(spec: StudySpec, key: Literal["freeze_depth", "batch_size"]) -> tuple[int, int]:
    """Return the least and the greatest value of a key that a trial of the study may have."""
    values = [int(getattr(spec.named_config(named, seed=0), key)) for named in spec.named]
    searched = spec.space.ranges().get(key)
    if spec.profile.trials and searched is not None:
        values += [int(searched.low), int(searched.high)]
    elif spec.profile.trials or not values:
        values.append(int(getattr(example_config(spec), key)))
    return min(values), max(values)


def example_config(spec: StudySpec) -> TrialConfig:
    """Return a configuration of the study that costs as much as any of its sampled trials may."""
    params = {
        name: values.low if name in ("freeze_depth", "batch_size") else values.high
        for name, values in spec.space.ranges().items()
    }
    return spec.config(params, seed=0)


def make_plan(spec: StudySpec, work: Work, costs: Costs, workers: int = 1) -> Plan:
    """Work out epochs and seconds from what is left and from the measured steps of a worker."""
    example = example_config(spec)
    shortest, share = expect_pruning(spec.profile.pruner, example.epochs)
    epochs = work.sampled * example.epochs - work.sampled_epochs_done
    saved_most = max(work.sampled * (example.epochs - shortest) - work.sampled_epochs_done, 0)
    saved = round(saved_most * share)
    epochs_most = sum(config.epochs for config in work.owed) + epochs
    sampled_epoch_seconds = _sampled_epoch_seconds(spec, example, costs)
    owed = [(config.epochs, costs.epoch_seconds(config)) for config in work.owed]

    def share_out(quantile: int, sampled_epochs: int) -> float:
        """Return the seconds until the last of the trials has ended, and the run with it."""
        each = sampled_epochs / work.sampled if work.sampled else 0.0
        trials = [trial_epochs * seconds[quantile] for trial_epochs, seconds in owed]
        trials += [each * sampled_epoch_seconds[quantile]] * work.sampled
        seconds = [TRIAL_SECONDS[quantile] + DRIFT[quantile] * trial for trial in trials]
        return RUN_SECONDS[quantile] + _last_end(seconds, workers) if seconds else 0.0

    return Plan(
        named=len(work.named),
        named_total=work.named_total,
        seeds=spec.profile.seeds,
        sampled=work.sampled,
        queued=len(work.queued),
        workers=workers,
        epochs=example.epochs,
        epochs_least=epochs_most - saved_most,
        epochs_expected=epochs_most - saved,
        epochs_most=epochs_most,
        seconds_least=share_out(0, epochs - saved_most),
        seconds_expected=share_out(1, epochs - saved),
        seconds_most=share_out(2, epochs),
        seconds_saved_most=saved_most * sampled_epoch_seconds[1] / workers,
    )


def _last_end(trials_seconds: Iterable[float], workers: int) -> float:
    """Return when the last trial ends if each is given to the worker that is free first."""
    free_at = [0.0] * workers
    for seconds in trials_seconds:
        heapq.heapreplace(free_at, free_at[0] + seconds)
    return max(free_at)


def _sampled_epoch_seconds(
    spec: StudySpec, example: TrialConfig, costs: Costs
) -> tuple[float, float, float]:
    """Return the seconds of an epoch of sampled trials: in the middle of what is searched."""
    ranges = spec.space.ranges()
    middle = {key: _middle(ranges[key]) for key in ("freeze_depth", "batch_size") if key in ranges}
    depth = middle.get("freeze_depth", example.freeze_depth)
    usual = replace(example, batch_size=round(middle.get("batch_size", example.batch_size)))
    low, median, high = costs.at(depth, usual.batch_size).epoch_seconds(usual)
    slowest = costs.epoch_seconds(example)[2]
    return low, median, max(high, slowest)


def _middle(values: Range) -> float:
    return math.sqrt(values.low * values.high) if values.log else (values.low + values.high) / 2
