"""Intervals for accuracies and times over seeds: numbers in, numbers out.

An accuracy is uncertain for two reasons: another seed would have trained another model, and another
sample of images would have measured it otherwise. More seeds reduce the first alone. Both are
separated as in studies of readers and cases, with seeds as readers and images as cases (Gallas,
"One-shot estimate of MRMC variance: AUC", Academic Radiology 13, 2006; Hillis, "A comparison of
denominator degrees of freedom methods for multiple observer ROC analysis", Statistics in Medicine
26, 2007). With outcomes d of ``k`` seeds, each the mean over its images,

    variance of their mean = s² / k + c,

where s² is the sample variance of the k outcomes and c the mean covariance of the outcomes of two
seeds, which they share because they share images.

What the error of such a mean is distributed as has no closed form. Satterthwaite's Student's t
("An approximate distribution of estimates of variance components", Biometrics Bulletin 2, 1946) is
too short where few seeds scatter more than images do, and far too short in the tails that many
claims are corrected to. The solution of Behrens and Fisher (Fisher, "The fiducial argument in
statistical inference", Annals of Eugenics 6, 1935), a Student's t for the seeds plus a normal for
the images, is not, and a little too long where both count. Verdicts go by it; intervals take the
mean of the two. ``calibration`` measures what comes of that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

LEVEL = 0.95
"""The two-sided level of intervals; a verdict needs half of the rest on its side."""

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
    """The mean of the outcomes of seeds, with its uncertainty.

    Attributes:
        images: How many images each outcome was measured on; 0 for none.
        seed_variance: The sample variance s² of the outcomes; None with one seed.
        shared_variance: The covariance c of outcomes that share images.
    """

    mean: float
    seeds: int
    images: int
    seed_variance: float | None
    shared_variance: float

    @property
    def low(self) -> float | None:
        """The lower end of the interval; None with one seed, which has no spread."""
        return None if self._half is None else self.mean - self._half

    @property
    def high(self) -> float | None:
        """The upper end of the interval; None with one seed."""
        return None if self._half is None else self.mean + self._half

    @functools.cached_property
    def _half(self) -> float | None:
        """Half of the interval's length: computed where it is asked for, as verdicts do not."""
        if self.seed_variance is None:
            return None
        spread, shared, seeds = self.seed_variance, self.shared_variance, self.seeds
        beyond = (1 - LEVEL) / 2
        degrees = degrees_of_freedom(spread, shared, seeds, self.images)
        deviation = math.sqrt(total_variance(spread, shared, seeds))
        short = -float(special.stdtrit(degrees, beyond)) * deviation
        return (short + distance_beyond(beyond, spread, shared, seeds)) / 2

    @property
    def sd(self) -> float | None:
        """The standard deviation over seeds."""
        return None if self.seed_variance is None else math.sqrt(self.seed_variance)


# --- estimates ----------------------------------------------------------------------------------


def estimate_from_images(readings: Sequence[Reading]) -> Estimate:
    """Return the mean over seeds, from what each gave on each image.

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
    """Return the mean of one outcome a seed, with its interval.

    ``shared_variance`` is the covariance of the outcomes, or a bound of it; ``images`` is how many
    each was measured on, if any.
    """
    mean = float(np.mean(outcomes))
    if len(outcomes) == 1:
        return Estimate(mean, 1, images, None, shared_variance)
    spread = float(np.var(outcomes, ddof=1))
    if shared_variance == 0:
        spread = max(spread, rounding_variance(images))
    return Estimate(mean, len(outcomes), images, spread, shared_variance)


def binomial_variance(accuracy: float, images: int) -> float:
    """Return the variance of an accuracy that is measured on so many images."""
    return accuracy * (1 - accuracy) / images


def rounding_variance(images: int) -> float:
    """Return by how much outcomes that are whole images may differ where they tie."""
    return 1 / (12 * images**2) if images else 0.0


def collapse_bound(seeds: int) -> float:
    """Return the largest share of runs of a kind that none of so many seeds showed.

    This is the upper end of the one-sided 95 % interval (Clopper and Pearson, "The use of
    confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26, 1934).
    """
    return float(1 - (1 - LEVEL) ** (1 / seeds))


def _mean_covariance(readings: Sequence[Reading]) -> float:
    """Return the mean covariance of the outcomes of two seeds, from the images that they share."""
    rows = [reading.rows for reading in readings]
    if all(other is rows[0] or np.array_equal(rows[0], other) for other in rows[1:]):
        values = np.stack([reading.values for reading in readings])
        present = np.ones_like(values)
    else:
        # A column for each image; 0 where a seed was not measured on it.
        everyone, columns = np.unique(np.concatenate(rows), return_inverse=True)
        values, present = np.zeros((2, len(rows), len(everyone)))
        seeds = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        values[seeds, columns] = np.concatenate([reading.values for reading in readings])
        present[seeds, columns] = 1.0
    pairs = np.triu_indices(len(rows), 1)
    shared = (present @ present.T)[pairs]
    sums = values @ present.T
    products = (values @ values.T)[pairs] - sums[pairs] * sums.T[pairs] / np.maximum(shared, 1)
    known = shared > 1
    if not known.any():
        return 0.0
    # One figure an image, the same for all pairs; a pair tells as much of it as it shares images.
    per_image = float((shared * products)[known] @ (1 / (shared[known] - 1))) / shared[known].sum()
    sizes = np.array([len(part) for part in rows])
    return float(per_image * (shared / np.outer(sizes, sizes)[pairs]).mean())


def total_variance(spread: float, shared: float, seeds: int) -> float:
    """Return the variance of a mean over seeds.

    Here and below ``spread`` is s², the variance of one outcome, and ``shared`` is c, the
    covariance of two.
    """
    return spread / seeds + shared


def degrees_of_freedom(spread: float, shared: float, seeds: int, images: int) -> float:
    """Return Satterthwaite's degrees of freedom."""
    parts = (spread / seeds) ** 2 / (seeds - 1) + shared**2 / max(images - 1, 1)
    # Beyond a million it is the normal.
    return min(total_variance(spread, shared, seeds) ** 2 / parts, 1e6) if parts > 0 else 1e6


def tail(distance: float, spread: float, shared: float, seeds: int) -> float:
    """Return the probability of an error above ``distance``, by Behrens and Fisher.

    The Student's t is a normal whose variance is drawn, so this is a mean over draws, at the
    quantiles of the chi-square distribution that belong to ``_SHARES``.
    """
    deviations = np.sqrt(spread / seeds * (seeds - 1) / _chi_square(seeds - 1) + shared)
    return float(special.ndtr(-distance / deviations) @ _WEIGHTS)


def distance_beyond(beyond: float, spread: float, shared: float, seeds: int) -> float:
    """Return the distance that an error exceeds with a probability, by Behrens and Fisher."""
    deviation = math.sqrt(total_variance(spread, shared, seeds))
    if deviation == 0:
        return 0.0
    # The seeds' Student's t alone, for all of the variance, lies further out.
    most = -float(special.stdtrit(seeds - 1, beyond)) * deviation

    def excess(distance: float) -> float:
        return tail(distance, spread, shared, seeds) - beyond

    return float(optimize.brentq(excess, 0.0, 1.01 * most, xtol=1e-9 * deviation, rtol=1e-8))


def _quadrature() -> tuple[Floats, Floats]:
    """Return shares from 0 to 1 and their weights, dense near 0, where variances are largest."""
    places, weights = np.polynomial.legendre.leggauss(64)
    places, weights, power = (places + 1) / 2, weights / 2, 6
    return places**power, weights * power * places ** (power - 1)


_SHARES, _WEIGHTS = _quadrature()


@functools.cache
def _chi_square(degrees: int) -> Floats:
    """Return the quantiles of the chi-square distribution that belong to ``_SHARES``."""
    quantiles: Floats = np.asarray(2 * special.gammaincinv(degrees / 2, _SHARES), np.float64)
    return quantiles
