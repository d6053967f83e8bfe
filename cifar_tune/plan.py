"""What a run will do and how long it will take on this machine, before it does it."""

from __future__ import annotations

from dataclasses import dataclass

from cifar_tune.records import TrialConfig
from cifar_tune.study_schema import NoPruner, PercentilePruner, Pruner


@dataclass(frozen=True)
class StepTimes:
    """Measured wall-clock seconds of one training step and of one validation batch.

    Attributes:
        train_low, train_median, train_high: 10th percentile, median and 90th percentile of
            training steps of a full batch.
        validation: median validation batch.
    """

    train_low: float
    train_median: float
    train_high: float
    validation: float

    def epoch_seconds(self, config: TrialConfig) -> tuple[float, float, float]:
        """Seconds of an epoch: low, expected, high."""
        batches = -(-config.validation_images // config.batch_size)
        return tuple(  # type: ignore[return-value]
            step * config.train_images / config.batch_size
            + batches * self.validation * step / self.train_median
            for step in (self.train_low, self.train_median, self.train_high)
        )


@dataclass(frozen=True)
class Plan:
    """What is left to do of a study, in trials, epochs and seconds.

    Attributes:
        named: replicates of named trials left.
        named_total: all of them.
        seeds: replicates of each named trial.
        sampled: trials left to sample.
        epochs: of a trial that is not pruned.
        epochs_least, epochs_expected, epochs_most: of all trials together, if all sampled ones
            are pruned as early as can be, if the share that the pruner aims at is, if none is.
        seconds_least, seconds_expected, seconds_most: the time for them, with a fast, a
            median and a slow step of those that were measured.
        seconds_saved_most: what pruning saves at the most, at the median step.
    """

    named: int
    named_total: int
    seeds: int
    sampled: int
    epochs: int
    epochs_least: int
    epochs_expected: int
    epochs_most: int
    seconds_least: float
    seconds_expected: float
    seconds_most: float
    seconds_saved_most: float


def make_plan(
    *,
    named: int,
    named_total: int,
    seeds: int,
    sampled: int,
    pruner: Pruner,
    config: TrialConfig,
    times: StepTimes,
) -> Plan:
    """Work out epochs and seconds from what is left and from measured steps."""
    shortest, share = _pruning(pruner, config.epochs)
    longest = (named + sampled) * config.epochs
    saved = sampled * (config.epochs - shortest)
    expected = longest - round(saved * share)
    low, median, high = times.epoch_seconds(config)
    return Plan(
        named=named,
        named_total=named_total,
        seeds=seeds,
        sampled=sampled,
        epochs=config.epochs,
        epochs_least=longest - saved,
        epochs_expected=expected,
        epochs_most=longest,
        seconds_least=(longest - saved) * low,
        seconds_expected=expected * median,
        seconds_most=longest * high,
        seconds_saved_most=saved * median,
    )


def _pruning(pruner: Pruner, epochs: int) -> tuple[int, float]:
    """Epochs of a trial that is pruned as early as can be, and the share that is pruned."""
    if isinstance(pruner, NoPruner):
        return epochs, 0.0
    share = 1 - pruner.percentile / 100 if isinstance(pruner, PercentilePruner) else 0.5
    return min(pruner.warmup_epochs + 1, epochs), share
