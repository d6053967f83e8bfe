"""Quantities over the replicates of a named trial, and the differences between two such trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from cifar_tune.evaluation import stats
from cifar_tune.evaluation.evidence import Evidence, TrialRecord
from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.evaluation.verdicts import Contrast, last_look
from cifar_tune.evaluation.wording import format_key
from cifar_tune.training.predictions import Answers

SMALLEST_EFFECT = 0.01
"""One point of accuracy counts where no claim says otherwise; intervals do not depend on it."""


@dataclass(frozen=True)
class Comparison:
    """A model compared with another one, or what is missing to compare them.

    Attributes:
        contrast: What a claim is judged by, from the seeds of the last planned look; None where
            something is missing.
        record: The comparison of all seeds, as reports state it; None where something is missing.
        missing: What there are no data of, in words; empty where nothing is missing.
    """

    contrast: Contrast | None = None
    record: ContrastRecord | None = None
    missing: str = ""


def replicates(evidence: Evidence, model: str) -> list[TrialRecord]:
    """Return the complete replicates of a named trial, in order."""
    trials = [
        trial for trial in evidence.trials if trial.model == model and trial.state == "complete"
    ]
    return sorted(trials, key=lambda trial: (len(trial.replicate), trial.replicate))


def measure(evidence: Evidence, trials: Sequence[TrialRecord], quantity: str) -> Measured | None:
    """Return a quantity over the trials that have it, or None where none has.

    Times are averaged by their logarithms, as they are compared, so their mean is the geometric
    one.
    """
    known = [trial for trial in trials if quantity in trial.values]
    if not known:
        return None
    estimate, basis = _estimate(evidence, [(trial,) for trial in known], quantity)
    numbers = tuple(trial.number for trial in known)
    if quantity != "seconds":
        return measured_fraction(estimate, basis, numbers)
    low, high = (None if end is None else math.exp(end) for end in (estimate.low, estimate.high))
    seconds = [trial.values[quantity] for trial in known]
    sd = statistics.stdev(seconds) if len(known) > 1 else None
    return Measured(math.exp(estimate.mean), sd, low, high, estimate.seeds, 0, basis, numbers)


def measured_fraction(estimate: stats.Estimate, basis: str, trials: tuple[int, ...]) -> Measured:
    """Return an accuracy as reports state it: no interval reaches below 0 or above 1."""
    low, high = (
        None if end is None else min(max(end, 0.0), 1.0) for end in (estimate.low, estimate.high)
    )
    return Measured(
        mean=estimate.mean,
        sd=estimate.sd,
        low=low,
        high=high,
        seeds=estimate.seeds,
        images=estimate.images,
        basis=basis,
        trials=trials,
    )


def image_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Return the 95 % interval of one seed's accuracy for the scatter of images alone (Wilson)."""
    right = round(accuracy * images)
    low, high = scipy_stats.binomtest(right, images).proportion_ci(stats.LEVEL, "wilson")
    return float(low), float(high)


def compare(
    evidence: Evidence,
    model: str,
    than: str,
    quantity: str,
    smallest_effect: float = SMALLEST_EFFECT,
) -> Comparison:
    """Compare a model with another one in pairs of replicates of the same number."""
    pairs = _pairs(evidence, model, than, quantity)
    what = f"{format_key(quantity)} of {model} and of {than}"
    if not pairs:
        return Comparison(missing=f"{what} with a seed in common")
    is_time = quantity == "seconds"
    if is_time and len({trial.device for pair in pairs for trial in pair}) > 1:
        return Comparison(missing=f"{what} on one device")
    estimate, basis = _estimate(evidence, pairs, quantity)
    look = last_look(len(pairs))
    mean, low, high = (
        # Of a time, the share of the other's that is saved.
        -math.expm1(-value) if is_time and value is not None else value
        for value in (estimate.mean, estimate.low, estimate.high)
    )
    assert mean is not None
    record = ContrastRecord(
        quantity=quantity,
        than=than,
        mean=mean,
        low=low,
        high=high,
        sd=estimate.sd,
        smallest_effect=smallest_effect,
        seeds=estimate.seeds,
        images=estimate.images,
        basis=basis,
        judged_seeds=look,
    )
    smallest = -math.log1p(-smallest_effect) if is_time else smallest_effect
    judged = estimate if look == len(pairs) else _estimate(evidence, pairs[:look], quantity)[0]
    return Comparison(Contrast(judged, smallest), record)


def _pairs(
    evidence: Evidence, model: str, than: str, quantity: str
) -> list[tuple[TrialRecord, TrialRecord]]:
    others = {trial.replicate: trial for trial in replicates(evidence, than)}
    return [
        (trial, others[trial.replicate])
        for trial in replicates(evidence, model)
        if trial.replicate in others
        # A seed that was changed between two runs would not make a pair.
        and trial.seed == others[trial.replicate].seed
        and quantity in trial.values
        and quantity in others[trial.replicate].values
    ]


def _estimate(
    evidence: Evidence, groups: Sequence[tuple[TrialRecord, ...]], quantity: str
) -> tuple[stats.Estimate, str]:
    """Return a quantity over single trials, or a difference over pairs, with the noise's basis."""
    values = [tuple(trial.values[quantity] for trial in group) for group in groups]
    if quantity == "seconds":
        # Of a pair, the logarithm of the ratio: above zero the first one is faster.
        ratios = [other[0] / first if other else first for first, *other in values]
        return stats.estimate_from_outcomes([math.log(ratio) for ratio in ratios]), "none"
    outcomes = [first - sum(other) for first, *other in values]
    if quantity == "train_accuracy":
        return stats.estimate_from_outcomes(outcomes), "none"
    kept = evidence.test if quantity == "test_accuracy" else evidence.validation
    if all(trial.number in kept for group in groups for trial in group):
        readings = [_reading(*(kept[trial.number] for trial in group)) for group in groups]
        return stats.estimate_from_images(readings), "images"
    images = _images(evidence, [trial for group in groups for trial in group], quantity)
    # Two models on the same images err together more often than not, so this is a bound.
    shared = sum(
        stats.binomial_variance(sum(column) / len(groups), images)
        for column in zip(*values, strict=True)
    )
    return stats.estimate_from_outcomes(outcomes, shared, images), "binomial"


def _reading(ours: Answers, theirs: Answers | None = None) -> stats.Reading:
    if theirs is None:
        return stats.Reading(ours.rows, ours.correct.astype(float))
    # One of the two may be imported, with its images in another order.
    here, there = np.argsort(ours.rows), np.argsort(theirs.rows)
    rows = ours.rows[here]
    if not np.array_equal(rows, theirs.rows[there]):
        raise ValueError("replicates of one seed were measured on different images")
    difference = ours.correct[here].astype(float) - theirs.correct[there].astype(float)
    return stats.Reading(rows, difference)


def _images(evidence: Evidence, trials: Sequence[TrialRecord], quantity: str) -> int:
    if quantity == "val_accuracy":
        return min(int(trial.config["validation_images"]) for trial in trials)
    numbers = {trial.number for trial in trials}
    return min(read.result.images for read in evidence.test_reads if read.result.trial in numbers)
