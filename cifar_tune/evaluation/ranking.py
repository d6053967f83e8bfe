"""Which configuration of a study is probably the best, and how much of its lead is luck.

The best of many noisy values looks better than it is. True accuracies are taken as normal around
their mean, and each observed one as its true value with a noise of known variance; what is expected
of a configuration is then its observed value drawn towards the mean (Efron and Morris, "Data
analysis using Stein's estimator and its generalizations", JASA 70, 1975), with the variance of the
true values by moments (DerSimonian and Laird, "Meta-analysis in clinical trials", Controlled
Clinical Trials 7, 1986). Numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from cifar_tune.config.schema import NamedTrial, Settings
from cifar_tune.evaluation.stats import LEVEL, binomial_variance

SHORTLIST = 3
"""Configurations that a short list has at the least, where there are so many."""
DRAWS = 20_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A configuration with what its complete trials gave.

    Attributes:
        label: name without the replicate, e.g. ``dropout/p=0.3``, or ``sampled/trial-7``.
        numbers: of its trials.
        outcomes: validation accuracy of each.
        params: the searched values.
        settings: what a named trial sets for itself besides.
    """

    label: str
    numbers: tuple[int, ...]
    outcomes: tuple[float, ...]
    params: dict[str, float]
    settings: dict[str, Any]

    @property
    def mean(self) -> float:
        """Of the outcomes."""
        return sum(self.outcomes) / len(self.outcomes)

    def as_named(self) -> NamedTrial:
        """Return the configuration as a named trial of a study, under its label."""
        return NamedTrial(name=self.label, params=self.params, settings=Settings(**self.settings))


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands.

    Attributes:
        low: lower end of the 95 % interval of its observed mean.
        high: upper end.
        expected: what is expected of it on other seeds and images.
        probability: that it is the best of all.
    """

    candidate: Candidate
    low: float
    high: float
    expected: float
    probability: float

    @property
    def luck(self) -> float:
        """By how much its observed mean is probably too high."""
        return self.candidate.mean - self.expected


@dataclass(frozen=True)
class Ranking:
    """All candidates, the one of which most is expected first.

    Attributes:
        observed_best: the one with the highest observed mean.
        seed_sd: standard deviation over seeds, from candidates with several; None where there are
            none, and what is said of luck is then too little.
        shortlist: the first few, and every one whose interval overlaps the first's.
    """

    standings: tuple[Standing, ...]
    observed_best: Standing
    seed_sd: float | None
    shortlist: tuple[Standing, ...]

    @property
    def lead(self) -> float | None:
        """By how much the observed best leads the next by observed mean; None if it is alone."""
        next_best = self._next()
        if next_best is None:
            return None
        return self.observed_best.candidate.mean - next_best.candidate.mean

    @property
    def expected_lead(self) -> float | None:
        """What is expected of that lead on other seeds and images."""
        next_best = self._next()
        return None if next_best is None else self.observed_best.expected - next_best.expected

    def _next(self) -> Standing | None:
        others = [one for one in self.standings if one is not self.observed_best]
        return max(others, key=lambda one: one.candidate.mean, default=None)


def rank(candidates: Sequence[Candidate], images: int, top: int | None = None) -> Ranking:
    """Rank the configurations of a study.

    Args:
        candidates: at least one.
        images: validation images that each outcome was measured on.
        top: length of the short list; None takes ``SHORTLIST`` and those that overlap the first.
    """
    means = np.array([one.mean for one in candidates])
    seeds = np.array([len(one.outcomes) for one in candidates])
    seed_variance = pooled_variance(candidates)
    noise = (seed_variance or 0.0) / seeds + np.array(
        [binomial_variance(mean, images) for mean in means]
    )
    # An accuracy of 0 or 1 has no binomial variance; half an image's worth stands for it.
    noise = np.maximum(noise, 0.25 / images**2)
    expected, remaining = _shrink(means, noise)
    probabilities = _probabilities_of_best(expected, remaining)
    half = float(special.ndtri((1 + LEVEL) / 2)) * np.sqrt(noise)
    standings = [
        Standing(one, float(mean - width), float(mean + width), float(best), float(chance))
        for one, mean, width, best, chance in zip(
            candidates, means, half, expected, probabilities, strict=True
        )
    ]
    # Where nothing tells them apart, the observed values still say in which order to try them.
    order = tuple(
        sorted(
            standings,
            key=lambda one: (-one.expected, -one.candidate.mean, one.candidate.numbers[0]),
        )
    )
    best = max(order, key=lambda one: (one.candidate.mean, -one.candidate.numbers[0]))
    return Ranking(
        standings=order,
        observed_best=best,
        seed_sd=None if seed_variance is None else math.sqrt(seed_variance),
        shortlist=_shorten(order, top),
    )


def pooled_variance(candidates: Sequence[Candidate]) -> float | None:
    """Variance of one outcome over seeds, from all candidates that have several; None where none
    has."""
    several = [one.outcomes for one in candidates if len(one.outcomes) > 1]
    if not several:
        return None
    squares = sum(float(np.var(one)) * len(one) for one in several)
    return squares / sum(len(one) - 1 for one in several)


def _shorten(order: tuple[Standing, ...], top: int | None) -> tuple[Standing, ...]:
    if top is not None:
        return order[:top]
    overlap = (place for place, one in enumerate(order, 1) if one.high >= order[0].low)
    last = max(overlap, default=0)
    return tuple(
        one
        for place, one in enumerate(order[: max(last, SHORTLIST)], 1)
        if place <= SHORTLIST or one.high >= order[0].low
    )


def _shrink(means: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and variance of each true value."""
    weights = 1 / noise
    centre = float(weights @ means / weights.sum())
    excess = float(weights @ (means - centre) ** 2) - (len(means) - 1)
    scale = float(weights.sum() - (weights @ weights) / weights.sum())
    between = max(excess / scale, 0.0) if scale > 0 else 0.0
    if len(means) == 1:
        return means, noise  # there is nothing to draw it towards
    share = between / (between + noise)
    weights = 1 / (between + noise)
    centre = float(weights @ means / weights.sum())
    # With its own uncertainty of the centre, none is ever certain, also where all seem alike.
    return centre + share * (means - centre), share * noise + (1 - share) ** 2 / weights.sum()


def _probabilities_of_best(expected: Floats, variance: Floats) -> Floats:
    """Of each, by drawing; the same draws each time."""
    draws = np.random.default_rng(0).standard_normal((DRAWS, len(expected)))
    best = (expected + draws * np.sqrt(variance)).argmax(axis=1)
    found: Floats = np.bincount(best, minlength=len(expected)) / DRAWS
    return found
