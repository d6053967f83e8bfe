"""Which configuration of a study is probably the best, and how much of its lead is luck.

The best of many noisy values looks better than it is, so what is expected of a configuration is its
observed value drawn towards the others (Efron and Morris, "Data analysis using Stein's estimator
and its generalizations", JASA 70, 1975), by the model of ``ranking_model``. Where no configuration
has several seeds, their spread is a prior from recorded studies: ``ranking_prior``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.ranking_model import Observed, infer
from cifar_tune.evaluation.ranking_prior import DISAGREEMENT, OWN_IMAGES
from cifar_tune.evaluation.stats import LEVEL, binomial_variance

SHORTLIST = 4
"""How many configurations a short list has, if there are so many."""


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands.

    Attributes:
        low: The lower end of the interval that holds its true mean with a probability of 95 %.
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
            there are none, and the prior alone stands for it.
        assumed_seed_sd: The median of what is taken for it, from both.
        shortlist: The first few.
    """

    standings: tuple[Standing, ...]
    observed_best: Standing
    lead: float | None
    expected_lead: float | None
    seed_sd: float | None
    assumed_seed_sd: float
    shortlist: tuple[Standing, ...]


def rank(
    candidates: Sequence[Candidate],
    images: int,
    top: int | None = None,
    *,
    same_images: bool = True,
) -> Ranking:
    """Rank the configurations of a study.

    Each outcome of the candidates, at least one, was measured on so many validation images, on the
    same ones or each on others. The short list has ``top`` of them, by default ``SHORTLIST``.
    """
    observed = [_observe(candidate, images) for candidate in candidates]
    posterior = infer(observed, same_images=same_images)
    probabilities = np.bincount(posterior.draws.argmax(axis=1), minlength=len(candidates))
    # What all share cancels in a comparison, but not in an accuracy.
    shared = 1 - OWN_IMAGES - DISAGREEMENT if same_images else 0.0
    common = np.random.default_rng(1).standard_normal((len(posterior.draws), 1))
    variances = [shared * it.of_images for it in observed]
    draws = posterior.draws + posterior.shared + common * np.sqrt(variances)
    ends = np.clip(np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0), 0.0, 1.0)
    standings = [
        Standing(candidate, float(low), float(high), float(mean), float(probability))
        for candidate, low, high, mean, probability in zip(
            candidates, *ends, posterior.expected, probabilities / len(draws), strict=True
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
        seed_sd=pooled_sd(candidates),
        assumed_seed_sd=posterior.seed_sd,
        shortlist=tuple(standings[: SHORTLIST if top is None else top]),
    )


def _observe(candidate: Candidate, images: int) -> Observed:
    of_images = binomial_variance(candidate.measured_mean, images)
    # An accuracy of 0 or 1 has no binomial variance; half an image's worth stands for it.
    return Observed(candidate.measured, candidate.measured_seeds, max(of_images, 0.25 / images**2))


def pooled_sd(candidates: Sequence[Candidate]) -> float | None:
    """Return the standard deviation over seeds, of candidates with several; None if none has."""
    several = [candidate.measured for candidate in candidates if len(candidate.measured) > 1]
    if not several:
        return None
    squares = sum(float(np.var(outcomes)) * len(outcomes) for outcomes in several)
    return math.sqrt(squares / sum(len(outcomes) - 1 for outcomes in several))
