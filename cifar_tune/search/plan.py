"""What a run will do and how long it will take on this machine, before it does it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from cifar_tune.config.schema import NoPruner, PercentilePruner, Pruner
from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig


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
            step * config.images_trained_on / config.batch_size
            + batches * self.validation * step / self.train_median
            for step in (self.train_low, self.train_median, self.train_high)
        )


@dataclass(frozen=True)
class Costs:
    """Steps measured at the least and at the greatest freeze depth that a study's trials have.

    The deeper the freeze, the less is computed; in between it is taken to be in proportion.
    """

    shallow_depth: int
    shallow: StepTimes
    deep_depth: int
    deep: StepTimes

    def at(self, freeze_depth: float) -> StepTimes:
        """The expected step times at a freeze depth."""
        span = self.deep_depth - self.shallow_depth
        share = (freeze_depth - self.shallow_depth) / span if span else 0.0
        mixed = {
            part.name: (1 - share) * getattr(self.shallow, part.name)
            + share * getattr(self.deep, part.name)
            for part in fields(StepTimes)
        }
        return StepTimes(**mixed)


@dataclass(frozen=True)
class Work:
    """What is left to do of a study.

    Attributes:
        named: configurations of the replicates of named trials that are left, with the epochs that
            are left of each.
        named_total: how many replicates there are in all.
        sampled: trials left to sample.
        sampled_epochs_done: of those of them that were begun.
        queued: configurations of trials that people asked for, likewise.
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
        """Trials left."""
        return len(self.owed) + self.sampled


@dataclass(frozen=True)
class Plan:
    """What is left to do of a study, in trials, epochs and seconds.

    Attributes:
        named: replicates of named trials left.
        named_total: all of them.
        seeds: replicates of each named trial.
        sampled: trials left to sample.
        queued: trials that people asked for.
        workers: trials that run at once.
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
        """Trials left."""
        return self.named + self.sampled + self.queued


def freeze_depths(spec: StudySpec) -> tuple[int, int]:
    """The least and the greatest freeze depth that a trial of the study may have."""
    named = [spec.named_config(named, seed=0).freeze_depth for named in spec.named]
    searched = spec.space.freeze_depth
    if spec.trials and searched is not None:
        named += [int(searched.low), int(searched.high)]
    elif spec.trials or not named:
        named.append(example_config(spec).freeze_depth)
    return min(named), max(named)


def example_config(spec: StudySpec) -> TrialConfig:
    """A configuration of the study that costs as much as any of its sampled trials may."""
    params = {
        name: values.low if name == "freeze_depth" else values.high
        for name, values in spec.space.ranges().items()
    }
    return spec.config(params, seed=0)


def make_plan(spec: StudySpec, work: Work, costs: Costs, workers: int = 1) -> Plan:
    """Work out epochs and seconds from what is left and from measured steps.

    Args:
        costs: of a worker.
        workers: that train at once.
    """
    example = example_config(spec)
    shortest, share = _pruning(spec.pruner, example.epochs)
    sampled_epochs = work.sampled * example.epochs - work.sampled_epochs_done
    longest = sum(config.epochs for config in work.owed) + sampled_epochs
    saved = max(work.sampled * (example.epochs - shortest) - work.sampled_epochs_done, 0)
    searched = spec.space.freeze_depth
    depth = example.freeze_depth if searched is None else (searched.low + searched.high) / 2
    named = [
        [one.epochs * seconds for seconds in costs.at(one.freeze_depth).epoch_seconds(one)]
        for one in work.owed
    ]
    low, median, high = costs.at(depth).epoch_seconds(example)
    slowest = costs.at(example.freeze_depth).epoch_seconds(example)[2]
    low_named, median_named, high_named = (
        sum(times[index] for times in named) for index in range(3)
    )

    def wall(seconds: float) -> float:
        """Of so many seconds of training: shared out, but never less than one trial takes."""
        one = max([times[1] for times in named], default=shortest * median if work.sampled else 0)
        return max(seconds / workers, min(one, seconds))

    return Plan(
        named=len(work.named),
        named_total=work.named_total,
        seeds=spec.seeds,
        sampled=work.sampled,
        queued=len(work.queued),
        workers=workers,
        epochs=example.epochs,
        epochs_least=longest - saved,
        epochs_expected=longest - round(saved * share),
        epochs_most=longest,
        seconds_least=wall(low_named + (sampled_epochs - saved) * low),
        seconds_expected=wall(median_named + (sampled_epochs - round(saved * share)) * median),
        seconds_most=wall(high_named + sampled_epochs * max(high, slowest)),
        seconds_saved_most=saved * median / workers,
    )


def _pruning(pruner: Pruner, epochs: int) -> tuple[int, float]:
    """Epochs of a trial that is pruned as early as can be, and the share that is pruned."""
    if isinstance(pruner, NoPruner):
        return epochs, 0.0
    share = 1 - pruner.percentile / 100 if isinstance(pruner, PercentilePruner) else 0.5
    return min(pruner.warmup_epochs + 1, epochs), share
