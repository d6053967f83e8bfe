"""Quantities over the replicates of a named trial, and their differences between two."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from cifar_tune.evaluation.records import ContrastRecord, Evidence, Measured, TrialRecord
from cifar_tune.evaluation.stats import (
    Estimate,
    Reading,
    binomial_variance,
    estimate_from_images,
    estimate_from_outcomes,
)
from cifar_tune.evaluation.verdicts import Contrast
from cifar_tune.evaluation.words import say
from cifar_tune.training.predictions import Answers


def replicates(evidence: Evidence, model: str) -> list[TrialRecord]:
    """The complete replicates of a named trial, in order."""
    found = [one for one in evidence.trials if one.model == model and one.state == "complete"]
    return sorted(found, key=lambda trial: (len(trial.replicate), trial.replicate))


def measure(evidence: Evidence, trials: Sequence[TrialRecord], quantity: str) -> Measured | None:
    """A quantity over replicates, of those that have it; None where none has.

    Times are averaged by their logarithms, as they are compared: their mean is the geometric one.
    """
    known = [trial for trial in trials if quantity in trial.values]
    if not known:
        return None
    estimate, basis = _estimate(evidence, known, quantity)
    numbers = tuple(trial.number for trial in known)
    if quantity != "seconds":
        return measured_fraction(estimate, basis, numbers)
    low, high = (None if end is None else math.exp(end) for end in (estimate.low, estimate.high))
    sd = statistics.stdev(one.values[quantity] for one in known) if len(known) > 1 else None
    return Measured(math.exp(estimate.mean), sd, low, high, estimate.seeds, 0, basis, numbers)


def measured_fraction(estimate: Estimate, basis: str, trials: tuple[int, ...]) -> Measured:
    """An accuracy as it is reported; no interval of one reaches below 0 or above 1."""
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


def _estimate(
    evidence: Evidence, trials: Sequence[TrialRecord], quantity: str
) -> tuple[Estimate, str]:
    outcomes = [trial.values[quantity] for trial in trials]
    if quantity == "seconds":
        return estimate_from_outcomes([math.log(seconds) for seconds in outcomes]), "none"
    if quantity == "train_accuracy":
        return estimate_from_outcomes(outcomes), "none"
    kept = _answers(evidence, quantity)
    if all(trial.number in kept for trial in trials):
        return estimate_from_images([_reading(kept[trial.number]) for trial in trials]), "images"
    images = _images(evidence, trials, quantity)
    mean = sum(outcomes) / len(outcomes)
    return estimate_from_outcomes(outcomes, binomial_variance(mean, images), images), "binomial"


def compare(
    evidence: Evidence, model: str, than: str, quantity: str, smallest_effect: float
) -> tuple[Contrast, ContrastRecord] | str:
    """How much better a model is than another, in pairs of replicates of the same number.

    Returns:
        The contrast, and how it is reported; or in words what is missing.
    """
    pairs = _pairs(evidence, model, than, quantity)
    if not pairs:
        return f"{say(quantity)} of {model} and of {than} with a seed in common"
    if quantity == "seconds":
        devices = {trial.device for pair in pairs for trial in pair}
        if len(devices) > 1:
            return f"{say(quantity)} of {model} and of {than} on one device"
    estimate, basis = _difference(evidence, pairs, quantity)
    is_time = quantity == "seconds"
    smallest = -math.log1p(-smallest_effect) if is_time else smallest_effect

    def shown(value: float | None) -> float | None:
        # The share of the other's time that is saved.
        return -math.expm1(-value) if is_time and value is not None else value

    mean = shown(estimate.mean)
    assert mean is not None
    record = ContrastRecord(
        quantity=quantity,
        than=than,
        mean=mean,
        low=shown(estimate.low),
        high=shown(estimate.high),
        sd=estimate.sd,
        smallest_effect=smallest_effect,
        seeds=estimate.seeds,
        images=estimate.images,
        basis=basis,
    )
    return Contrast(estimate, smallest), record


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


def _difference(
    evidence: Evidence, pairs: Sequence[tuple[TrialRecord, TrialRecord]], quantity: str
) -> tuple[Estimate, str]:
    values = [(one.values[quantity], other.values[quantity]) for one, other in pairs]
    if quantity == "seconds":
        ratios = [math.log(other / one) for one, other in values]
        return estimate_from_outcomes(ratios), "none"
    differences = [one - other for one, other in values]
    if quantity == "train_accuracy":
        return estimate_from_outcomes(differences), "none"
    kept = _answers(evidence, quantity)
    readings = [
        _paired_reading(kept[one.number], kept[other.number])
        for one, other in pairs
        if one.number in kept and other.number in kept
    ]
    if len(readings) == len(pairs):
        return estimate_from_images(readings), "images"
    images = _images(evidence, [trial for pair in pairs for trial in pair], quantity)
    # Two models on the same images err together more often than not, so this is a bound.
    shared = sum(
        binomial_variance(sum(column) / len(pairs), images) for column in zip(*values, strict=True)
    )
    return estimate_from_outcomes(differences, shared, images), "binomial"


def _answers(evidence: Evidence, quantity: str) -> dict[int, Answers]:
    return evidence.test if quantity == "test_accuracy" else evidence.validation


def _reading(answers: Answers) -> Reading:
    return Reading(answers.rows, answers.correct.astype(float))


def _paired_reading(one: Answers, other: Answers) -> Reading:
    # One of the two may be imported, with its images in another order.
    here, there = np.argsort(one.rows), np.argsort(other.rows)
    rows = one.rows[here]
    if not np.array_equal(rows, other.rows[there]):
        raise ValueError("replicates of one seed were measured on different images")
    difference = one.correct[here].astype(float) - other.correct[there].astype(float)
    return Reading(rows, difference)


def _images(evidence: Evidence, trials: Sequence[TrialRecord], quantity: str) -> int:
    if quantity == "val_accuracy":
        return min(int(trial.config["validation_images"]) for trial in trials)
    numbers = {trial.number for trial in trials}
    return min(read.result.images for read in evidence.test_reads if read.result.trial in numbers)
