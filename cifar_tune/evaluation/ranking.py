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

from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.stats import LEVEL, binomial_variance

SHORTLIST = 3
"""How many configurations a short list has at the least, if there are so many."""
DRAWS = 20_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands.

    Attributes:
        low: The lower end of the 95 % interval of its observed mean.
        high: The upper end of the interval.
        expected: The mean that is expected of it on other seeds and images.
        probability: The probability that it is the best of all.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration with its figures as JSON has them."""
        return {
            **self.candidate.to_dict(),
            "val_accuracy": self.candidate.mean,
            "low": self.low,
            "high": self.high,
            "expected": self.expected,
            "luck": self.luck,
            "probability_of_best": self.probability,
        }


@dataclass(frozen=True)
class Ranking:
    """All candidates, the one with the highest expected mean first.

    Attributes:
        observed_best: The one with the highest observed mean.
        lead: By how much that leads the next by observed mean; None if it is alone.
        expected_lead: The lead that is expected on other seeds and images; None if it is alone.
        seed_sd: The standard deviation over seeds, from candidates with several seeds; None if
            there are none, and what is said of luck is then too little.
        shortlist: The first few, and every one whose interval overlaps the first one's.
    """

    standings: tuple[Standing, ...]
    observed_best: Standing
    lead: float | None
    expected_lead: float | None
    seed_sd: float | None
    shortlist: tuple[Standing, ...]


def rank(candidates: Sequence[Candidate], images: int, top: int | None = None) -> Ranking:
    """Rank the configurations of a study.

    Each outcome of the candidates, at least one, was measured on so many validation images. The
    short list has ``top`` of them; None takes ``SHORTLIST`` and those that overlap the first.
    """
    means = np.array([candidate.mean for candidate in candidates])
    seed_variance = pooled_variance(candidates)
    noise = _noise(candidates, means, seed_variance or 0.0, images)
    expected, remaining = _shrink(means, noise)
    probabilities = _probabilities_of_best(expected, remaining)
    half = float(special.ndtri((1 + LEVEL) / 2)) * np.sqrt(noise)
    standings = [
        Standing(candidate, float(low), float(high), float(mean), float(probability))
        for candidate, low, high, mean, probability in zip(
            candidates, means - half, means + half, expected, probabilities, strict=True
        )
    ]
    # Where nothing tells them apart, the observed values still say in which order to try them.
    standings.sort(key=lambda it: (-it.expected, -it.candidate.mean, it.candidate.numbers[0]))
    best = max(standings, key=lambda it: (it.candidate.mean, -it.candidate.numbers[0]))
    others = [standing for standing in standings if standing is not best]
    next_best = max(others, key=lambda it: it.candidate.mean, default=None)
    return Ranking(
        standings=tuple(standings),
        observed_best=best,
        lead=best.candidate.mean - next_best.candidate.mean if next_best else None,
        expected_lead=best.expected - next_best.expected if next_best else None,
        seed_sd=None if seed_variance is None else math.sqrt(seed_variance),
        shortlist=_shorten(standings, top),
    )


def _noise(
    candidates: Sequence[Candidate], means: Floats, seed_variance: float, images: int
) -> Floats:
    """Return the variance of each observed mean, over seeds and images."""
    seeds = np.array([len(candidate.outcomes) for candidate in candidates])
    of_images = np.array([binomial_variance(mean, images) for mean in means])
    # An accuracy of 0 or 1 has no binomial variance; half an image's worth stands for it.
    noise: Floats = np.maximum(seed_variance / seeds + of_images, 0.25 / images**2)
    return noise


def pooled_variance(candidates: Sequence[Candidate]) -> float | None:
    """Return the variance of one outcome over seeds, from candidates with several; None if none."""
    several = [candidate.outcomes for candidate in candidates if len(candidate.outcomes) > 1]
    if not several:
        return None
    squares = sum(float(np.var(outcomes)) * len(outcomes) for outcomes in several)
    return squares / sum(len(outcomes) - 1 for outcomes in several)


def _shorten(standings: Sequence[Standing], top: int | None) -> tuple[Standing, ...]:
    if top is not None:
        return tuple(standings[:top])
    return tuple(
        standing
        for place, standing in enumerate(standings)
        if place < SHORTLIST or standing.high >= standings[0].low
    )


def _shrink(means: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Return the posterior mean and variance of each true value."""
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
    """Return the probability of each to be the best, from the same draws each time."""
    draws = np.random.default_rng(0).standard_normal((DRAWS, len(expected)))
    best = (expected + draws * np.sqrt(variance)).argmax(axis=1)
    probabilities: Floats = np.bincount(best, minlength=len(expected)) / DRAWS
    return probabilities
