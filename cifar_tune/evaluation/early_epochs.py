"""How well the order of trials after an early epoch tells their order after the last one.

Pruning rests on that: it stops a trial for what it shows before its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from cifar_tune.evaluation.evidence import TrialRecord
from cifar_tune.evaluation.stats import LEVEL

LEAST_TRIALS = 6
"""Fewer complete trials give no interval worth drawing."""


@dataclass(frozen=True)
class EarlyEpoch:
    """The rank correlation (Spearman) of the accuracies after an epoch with the last ones.

    Attributes:
        low: The lower end of the 95 % interval (Bonett and Wright, "Sample size requirements for
            estimating Pearson, Kendall and Spearman correlations", Psychometrika 65, 2000).
        high: The upper end of the interval.
    """

    epoch: int
    correlation: float
    low: float
    high: float


@dataclass(frozen=True)
class EarlyEpochs:
    """The rank correlation with the last epoch, by epoch, over the trials that ended it."""

    trials: int
    last_epoch: int
    epochs: tuple[EarlyEpoch, ...]


def compute_early_epochs(trials: Sequence[TrialRecord]) -> EarlyEpochs | None:
    """Return the correlations of the complete trials; None if they are too few or too short."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.history]
    last = max((len(trial.history) for trial in complete), default=0)
    whole = [
        [epoch.val_accuracy for epoch in trial.history]
        for trial in complete
        if len(trial.history) == last
    ]
    if len(whole) < LEAST_TRIALS or last < 2:
        return None
    final = [accuracies[-1] for accuracies in whole]
    epochs = (
        _correlate(epoch, [accuracies[epoch - 1] for accuracies in whole], final)
        for epoch in range(1, last)
    )
    known = tuple(epoch for epoch in epochs if epoch is not None)
    return EarlyEpochs(len(whole), last, known) if known else None


def _correlate(epoch: int, early: list[float], final: list[float]) -> EarlyEpoch | None:
    if len(set(early)) == 1 or len(set(final)) == 1:
        return None
    rank = float(stats.spearmanr(early, final).statistic)
    bounded = min(max(rank, -0.9999), 0.9999)
    error = math.sqrt((1 + bounded**2 / 2) / (len(final) - 3))
    room = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    low, high = (math.tanh(math.atanh(bounded) + sign * room) for sign in (-1, 1))
    return EarlyEpoch(epoch, rank, min(low, rank), max(high, rank))
