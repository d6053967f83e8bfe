"""Intervals and verdicts for accuracies and times over seeds: numbers in, numbers out.

An accuracy is uncertain for two reasons: another seed would have trained another model, and another
sample of images would have measured it otherwise. More seeds reduce the first alone. Both are
separated as in studies of readers and cases, with seeds as readers and images as cases (Gallas,
"One-shot estimate of MRMC variance: AUC", Academic Radiology 13, 2006; Hillis, "A comparison of
denominator degrees of freedom methods for multiple observer ROC analysis", Statistics in Medicine
26, 2007). With outcomes d of ``k`` seeds, each the mean over its images,

    variance of their mean = s² / k + c,

where s² is the sample variance of the k outcomes and c the mean covariance of the outcomes of two
seeds, which they share because they share images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

LEVEL = 0.95
"""Of the intervals, two-sided; a verdict needs half of the rest on its side."""
POWER = 0.8
"""Probability with which the advised number of seeds decides."""
MOST_SEEDS = 1_000
CAUTION = 0.8
"""One-sided confidence of the limits that advice is computed from."""

Verdict = Literal["supported", "refuted", "undecided"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What one seed gave on its images: ``values`` float [n] for the images ``rows`` int [n].

    A value is 1 for an image classified rightly and 0 for another, or the difference of two models.
    """

    rows: npt.NDArray[np.int64]
    values: Floats


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its uncertainty.

    Attributes:
        mean: of the outcomes.
        seeds: number of outcomes.
        images: number that each was measured on; 0 for what is not measured on images.
        seed_variance: s², the sample variance of the outcomes; None with one seed.
        shared_variance: c, what the seeds share because they share images.
        low: lower end of the interval; None with one seed, which has no spread.
        high: upper end.
    """

    mean: float
    seeds: int
    images: int
    seed_variance: float | None
    shared_variance: float
    low: float | None
    high: float | None

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds."""
        return None if self.seed_variance is None else math.sqrt(self.seed_variance)


@dataclass(frozen=True)
class Contrast:
    """A difference that a claim says is above zero, and the smallest one that counts (> 0)."""

    difference: Estimate
    smallest_effect: float


@dataclass(frozen=True)
class Advice:
    """How to decide an undecided claim.

    Attributes:
        seeds: with which it is decided with probability ``POWER``; None where no number of seeds
            will, because the images are too few, or where nothing can be said yet.
        images: how many would do, where ``seeds`` is None for that reason.
        assumed: the true difference that this holds for.
        contrast: place among the claim's contrasts of the one that takes the most.
    """

    seeds: int | None
    images: int | None
    assumed: float
    contrast: int


@dataclass(frozen=True)
class Judgement:
    """What is made of a claim.

    Attributes:
        support_p: probability of such data where the claim is false, corrected for all claims of
            the family (Holm).
        refute_p: the same where it is true by the smallest effect that counts.
        deciding: place among the claim's contrasts of the one that it hangs on.
        advice: for a claim that is undecided for want of seeds or images; None otherwise.
    """

    verdict: Verdict
    support_p: float
    refute_p: float
    deciding: int
    advice: Advice | None


# --- estimates ----------------------------------------------------------------------------------


def estimate_from_images(readings: Sequence[Reading]) -> Estimate:
    """The mean over seeds, from what each gave on each image.

    Seeds may have all, some or no images in common.
    """
    outcomes = [float(reading.values.mean()) for reading in readings]
    images = min(len(reading.rows) for reading in readings)
    if len(readings) == 1:
        shared = float(readings[0].values.var()) / images
    else:
        shared = max(_mean_covariance(readings), 0.0)
    return estimate_from_outcomes(outcomes, shared, images)


def estimate_from_outcomes(
    outcomes: Sequence[float], shared_variance: float = 0.0, images: int = 0
) -> Estimate:
    """The mean of one outcome a seed, with Student's t and Satterthwaite's degrees of freedom.

    Args:
        shared_variance: what the outcomes share, or a bound of it.
        images: that each was measured on, if any.
    """
    mean = float(np.mean(outcomes))
    if len(outcomes) == 1:
        return Estimate(mean, 1, images, None, shared_variance, None, None)
    spread = float(np.var(outcomes, ddof=1))
    half = _half_width(spread, shared_variance, len(outcomes), images)
    low, high = mean - half, mean + half
    return Estimate(mean, len(outcomes), images, spread, shared_variance, low, high)


def binomial_variance(accuracy: float, images: int) -> float:
    """Variance of an accuracy that is measured on so many images, as a fraction squared."""
    return accuracy * (1 - accuracy) / images


def _mean_covariance(readings: Sequence[Reading]) -> float:
    """Mean covariance of the outcomes of two seeds, from the images that they share."""
    pairs = list(itertools.combinations(readings, 2))
    found, weights = [], []
    for one, other in pairs:
        if len(one.rows) == len(other.rows) and bool((one.rows == other.rows).all()):
            left, right = one.values, other.values
        else:
            _, at, there = np.intersect1d(one.rows, other.rows, return_indices=True)
            left, right = one.values[at], other.values[there]
        shared = len(left)
        weights.append(shared / (len(one.rows) * len(other.rows)))
        if shared > 1:
            centred = (left - left.mean()) @ (right - right.mean())
            found.append((shared, float(centred) / (shared - 1)))
    if not found:
        return 0.0
    # One figure an image, the same for all pairs; a pair tells as much of it as it shares images.
    each = sum(shared * value for shared, value in found) / sum(shared for shared, _ in found)
    return each * sum(weights) / len(pairs)


def _variance(spread: float, shared: float, seeds: int) -> float:
    return spread / seeds + shared


def _degrees(spread: float, shared: float, seeds: int, images: int) -> float:
    """Satterthwaite's degrees of freedom ("An approximate distribution of estimates of variance
    components", Biometrics Bulletin 2, 1946)."""
    parts = (spread / seeds) ** 2 / (seeds - 1) + shared**2 / max(images - 1, 1)
    return _variance(spread, shared, seeds) ** 2 / parts if parts > 0 else math.inf


def _half_width(spread: float, shared: float, seeds: int, images: int) -> float:
    degrees = _degrees(spread, shared, seeds, images)
    quantile = float(special.stdtrit(degrees, (1 + LEVEL) / 2)) if degrees < math.inf else 0.0
    return quantile * math.sqrt(_variance(spread, shared, seeds))


# --- verdicts -----------------------------------------------------------------------------------


def judge(claims: Sequence[Sequence[Contrast | None]]) -> list[Judgement]:
    """Judge a family of claims together.

    A claim is a list of contrasts and says that each of them is above zero. It is supported where
    all are shown to be above zero: no correction is needed among them (Berger, "Multiparameter
    hypothesis testing and acceptance sampling", Technometrics 24, 1982). It is refuted where one is
    shown to be below the smallest effect that counts, which is corrected for their number
    (Bonferroni), also if it is above zero (inferiority to the smallest effect of interest: Lakens,
    Scheel, Isager, "Equivalence testing for psychological research", AMPPS 1, 2018). Over the
    family both are corrected by Holm ("A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 1979), so that the probability of one or more wrong
    verdicts of a kind is at most 2.5 %.

    Args:
        claims: None stands for a contrast whose data are missing: it cannot be shown to be above
            zero, but the others may refute the claim. Every claim counts in the family.
    """
    supports = [[_support_p(contrast) for contrast in claim] for claim in claims]
    refutes = [[_refute_p(contrast) for contrast in claim] for claim in claims]
    support_p = _holm([max(found, default=1.0) for found in supports])
    refute_p = _holm([min(1.0, len(found) * min(found, default=1.0)) for found in refutes])
    judged = []
    for number, claim in enumerate(claims):
        verdict = _verdict(support_p[number], refute_p[number])
        against = refutes[number] if verdict == "refuted" else [-p for p in supports[number]]
        deciding = int(np.argmin(against)) if against else 0
        known = [contrast for contrast in claim if contrast is not None]
        is_open = verdict == "undecided" and len(known) == len(claim) > 0
        advice = advise(known, len(claims)) if is_open else None
        judged.append(Judgement(verdict, support_p[number], refute_p[number], deciding, advice))
    return judged


def _verdict(support_p: float, refute_p: float) -> Verdict:
    level = (1 - LEVEL) / 2
    if refute_p <= level:
        return "refuted"
    return "supported" if support_p <= level else "undecided"


def _support_p(contrast: Contrast | None) -> float:
    """One-sided p-value against a difference of zero or less."""
    if contrast is None:
        return 1.0
    return _p_above(contrast.difference, contrast.difference.mean)


def _refute_p(contrast: Contrast | None) -> float:
    """One-sided p-value against a difference of the smallest effect or more."""
    if contrast is None:
        return 1.0
    return _p_above(contrast.difference, contrast.smallest_effect - contrast.difference.mean)


def _p_above(found: Estimate, distance: float) -> float:
    if found.seed_variance is None:
        return 1.0  # one seed shows nothing
    parts = (found.seed_variance, found.shared_variance, found.seeds)
    variance = _variance(*parts)
    if variance == 0:
        return 0.0 if distance > 0 else 1.0
    degrees = _degrees(*parts, found.images)
    return float(special.stdtr(degrees, -distance / math.sqrt(variance)))


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


# --- advice -------------------------------------------------------------------------------------


def advise(claim: Sequence[Contrast], family: int) -> Advice | None:
    """How many seeds decide a claim among ``family`` claims with probability ``POWER``.

    The spread is not known either: it is taken at its upper confidence limit (Browne, "On the use
    of a pilot sample for sample size determination", Statistics in Medicine 14, 1995).

    Returns:
        None where a contrast has one seed and so no spread.
    """
    if any(contrast.difference.seed_variance is None for contrast in claim):
        return None
    missed = (1 - POWER) / len(claim)
    found = [_advise_one(contrast, family, missed, place) for place, contrast in enumerate(claim)]
    # The hardest contrast says what the claim takes.
    return max(found, key=lambda one: (one.images or 0, one.seeds or 0))


def _advise_one(contrast: Contrast, family: int, missed: float, place: int) -> Advice:
    difference, smallest = contrast.difference, contrast.smallest_effect
    assumed = _assumed(contrast)
    # From zero on one side, from the smallest effect on the other.
    distance = assumed if assumed > 0 else smallest
    level = (1 - LEVEL) / 2 / family
    spread = _upper_limit(difference)
    shared = difference.shared_variance
    wanted = float(stats.norm.ppf(1 - level) + stats.norm.ppf(1 - missed))
    if shared > 0 and math.sqrt(shared) * wanted >= distance:
        images = difference.images * shared * (wanted / distance) ** 2
        # Half of the room is left to the seeds.
        return Advice(None, math.ceil(2 * images), assumed, place)

    def decides(seeds: int) -> bool:
        degrees = min(_degrees(spread, shared, seeds, difference.images), 1e6)
        critical = float(special.stdtrit(degrees, 1 - level))
        shift = distance / math.sqrt(_variance(spread, shared, seeds))
        return float(stats.nct.sf(critical, degrees, shift)) >= 1 - missed

    low, high = difference.seeds, difference.seeds + 1
    while high < MOST_SEEDS and not decides(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return Advice(high if high <= MOST_SEEDS else None, None, assumed, place)


def _assumed(contrast: Contrast) -> float:
    """The true difference that advice is given for: none, or at least twice the smallest effect."""
    difference, smallest = contrast.difference, contrast.smallest_effect
    if difference.mean < smallest:
        return 0.0
    assert difference.seed_variance is not None
    parts = (difference.seed_variance, difference.shared_variance, difference.seeds)
    quantile = float(special.stdtrit(min(_degrees(*parts, difference.images), 1e6), CAUTION))
    return max(2 * smallest, difference.mean - quantile * math.sqrt(_variance(*parts)))


def _upper_limit(difference: Estimate) -> float:
    """Upper one-sided confidence limit of the variance over seeds."""
    assert difference.seed_variance is not None
    degrees = difference.seeds - 1
    return difference.seed_variance * degrees / float(stats.chi2.ppf(1 - CAUTION, degrees))
