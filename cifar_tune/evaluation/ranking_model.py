"""The model behind the ranking: what the observed accuracies say of the true ones.

A configuration's observed mean is its true accuracy with the noise of its seeds and of the images
that are easy for it alone; what all configurations share cancels. The true accuracies are normal
around a centre, but for some that failed and lie anywhere below it: a few that fail do not make the
others look different. Spreads over seeds are log-normal around that of the study. Nothing of this
is fixed: the centre, the scatter, the share that failed and every spread are integrated over on a
grid, and the posterior is drawn from (Gelman, "Prior distributions for variance parameters in
hierarchical models", Bayesian Analysis 1, 2006). Numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from cifar_tune.evaluation.ranking_prior import (
    BETWEEN,
    SPREAD,
    SPREAD_OF_CONFIGURATIONS,
    SPREAD_OF_STUDIES,
)

Floats = npt.NDArray[np.float64]

DRAWS = 1_000
"""Draws of what all configurations share; of each, ``REPEATS`` draws of their accuracies."""
REPEATS = 8
CENTRES = 48
_LOG_SPREADS = np.linspace(math.log(2e-4), math.log(0.2), 24)
_PLACES = np.linspace(-3, 3, 13)
"""Where the spread of a study may be, in standard deviations of the prior."""
_WIDTHS = ((SPREAD_OF_CONFIGURATIONS / 5, 0.85), (SPREAD_OF_CONFIGURATIONS, 0.15))
"""How the spreads of its configurations may scatter, with weights: nearly equal, or as recorded."""
_SCATTERS = np.geomspace(5e-4, 0.3, 14)
_FAILED = ((0.0, 0.4), (0.1, 0.2), (0.25, 0.15), (0.5, 0.15), (0.75, 0.1))
"""Shares of configurations that may have failed, with weights."""
_LEAST = 1e-300
_LEAST_CENTRE = 1e-3


@dataclass(frozen=True)
class Observed:
    """The outcomes of one configuration, and the noise that its images make.

    Attributes:
        own: The variance of its mean from images that are easy for it alone.
        floor: The least variance over seeds, from images on which they disagree.
    """

    outcomes: tuple[float, ...]
    own: float
    floor: float


@dataclass(frozen=True)
class Posterior:
    """What is known of the true accuracies.

    Attributes:
        expected: The mean of each [n].
        draws: Draws of all of them together [draws, n].
        seed_sd: The spread over seeds of a configuration of the study, the posterior median.
    """

    expected: Floats
    draws: Floats
    seed_sd: float


@dataclass(frozen=True)
class _Spreads:
    """The spreads over seeds that configurations may have.

    Attributes:
        of_study: The logarithm of the prior of each spread of the study, and width around it [w].
        given_study: What that makes of the spread of one configuration [w, s].
        likelihoods: How well each spread agrees with a configuration's seeds [s, n].
        variances: The variance of its observed mean with that spread [s, n].
    """

    of_study: Floats
    given_study: Floats
    likelihoods: Floats
    variances: Floats


@dataclass(frozen=True)
class _Cells:
    """The grid over what configurations share, and densities of the observed means in it.

    Attributes:
        centres: The places where the centre may be [c].
        usual: The density for a configuration of the usual kind [s, a, c, n].
        failed: The density for one that failed [s, c, n].
    """

    means: Floats
    centres: Floats
    usual: Floats
    failed: Floats


def infer(observed: Sequence[Observed]) -> Posterior:
    """Return the posterior of the true accuracies of configurations."""
    means = np.array([np.mean(one.outcomes) for one in observed])
    spreads = _spreads(observed)
    random = np.random.default_rng(0)
    if len(observed) == 1:
        return _infer_alone(means, spreads, random)
    centres, of_centres = _centres(means, spreads)
    cells = _cells(means, spreads, centres)
    weighted = spreads.given_study[:, :, None] * spreads.likelihoods
    usual = np.einsum("wsn,sacn->wacn", weighted, cells.usual, optimize=True)
    failed = np.einsum("wsn,scn->wcn", weighted, cells.failed, optimize=True)[:, None]
    # The places are even in the logarithm of the scatter, so its density is times itself.
    of_scatters = np.log(_SCATTERS / (1 + (_SCATTERS / BETWEEN) ** 2))
    prior = spreads.of_study[:, None, None] + of_scatters[:, None] + np.log(of_centres)
    logs = np.stack(
        [
            np.log((1 - share) * usual + share * failed + _LEAST).sum(axis=-1)
            + prior
            + math.log(weight)
            for share, weight in _FAILED
        ]
    )
    return _draw(np.exp(logs - logs.max()), spreads, cells, random)


def _spreads(observed: Sequence[Observed]) -> _Spreads:
    seeds = np.array([len(one.outcomes) for one in observed])
    squares = np.array([np.var(one.outcomes) * len(one.outcomes) for one in observed])
    totals = np.exp(2 * _LOG_SPREADS)[:, None] + [one.floor for one in observed]
    logs = -(seeds - 1) / 2 * np.log(totals) - squares / (2 * totals)
    centres = math.log(SPREAD) + SPREAD_OF_STUDIES * _PLACES
    widths = np.array([width for width, _ in _WIDTHS])[:, None, None]
    given = np.exp(-0.5 * ((_LOG_SPREADS - centres[:, None]) / widths) ** 2)
    given = given.reshape(-1, len(_LOG_SPREADS))
    of_study = np.log([[weight] for _, weight in _WIDTHS]) - _PLACES**2 / 2
    return _Spreads(
        of_study=of_study.ravel(),
        given_study=given / given.sum(axis=1, keepdims=True),
        likelihoods=np.exp(logs - logs.max(axis=0)),
        variances=totals / seeds + [one.own for one in observed],
    )


def _centres(means: Floats, spreads: _Spreads) -> tuple[Floats, Floats]:
    """Return places where the centre may be, dense where configurations are, with their weights."""
    room = 3 * math.sqrt(float(np.median(spreads.variances[len(_LOG_SPREADS) // 2])))
    ordered = np.sort([*means, means.min() - room, means.max() + room])
    places = np.linspace(0, len(ordered) - 1, CENTRES)
    dense = np.interp(places, np.arange(len(ordered)), ordered)
    centres = np.unique(np.clip(dense, _LEAST_CENTRE, 1.0))
    return centres, np.gradient(centres)


def _cells(means: Floats, spreads: _Spreads, centres: Floats) -> _Cells:
    totals = spreads.variances[:, None, None, :] + (_SCATTERS**2)[:, None, None]
    squares = (means - centres[:, None]) ** 2
    usual = np.exp(-squares / (2 * totals)) / np.sqrt(2 * math.pi * totals)
    deviations = np.sqrt(spreads.variances)[:, None, :]
    below = special.ndtr((centres[:, None] - means) / deviations)
    mass = below - special.ndtr(-means / deviations)
    return _Cells(means, centres, usual, mass / centres[:, None])


# --- draws --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Given:
    """What each configuration is, given what all share and its own spread [draws, s, n].

    Attributes:
        weights: How likely its spread is, and after all spreads once more those of one that failed.
        middle: The mean of a usual one.
        width: The standard deviation of a usual one.
        low: The mean of one that failed.
        top: How far the centre is above its observed mean, in ``deviations`` [s, n].
    """

    means: Floats
    deviations: Floats
    weights: Floats
    middle: Floats
    width: Floats
    low: Floats
    top: Floats

    def draw(self, random: np.random.Generator) -> Floats:
        """Draw the true accuracies once [draws, n]."""
        shape = len(self.weights), 1, len(self.means)
        chosen = (self.weights.cumsum(axis=1) < random.random(shape)).sum(axis=1, keepdims=True)
        chosen = np.minimum(chosen, self.weights.shape[1] - 1)
        has_failed, spread = np.divmod(chosen, len(_LOG_SPREADS))
        middle, width, top, deviation = (
            np.take_along_axis(np.broadcast_to(part, self.middle.shape), spread, axis=1)
            for part in (self.middle, self.width, self.top, self.deviations)
        )
        usual = middle + width * random.standard_normal(shape)
        # A flat density below the centre, cut off there.
        quantiles = np.clip(random.random(shape) * special.ndtr(top), 1e-15, 1.0)
        low = np.maximum(self.means + deviation * special.ndtri(quantiles), 0.0)
        drawn: Floats = np.where(has_failed == 1, low, usual)[:, 0]
        return drawn


def _draw(
    posterior: Floats, spreads: _Spreads, cells: _Cells, random: np.random.Generator
) -> Posterior:
    """Draw what configurations share from its posterior [f, w, a, c], then what they are."""
    totals = np.cumsum(posterior.ravel())
    places = np.searchsorted(totals, (np.arange(DRAWS) + 0.5) / DRAWS * totals[-1])
    shares, widths, scatters, at = np.unravel_index(places, posterior.shape)
    share = np.array([share for share, _ in _FAILED])[shares][:, None, None]
    own = spreads.given_study[widths][:, :, None] * spreads.likelihoods
    usual = own * cells.usual[:, scatters, at].swapaxes(0, 1) * (1 - share)
    failed = own * cells.failed[:, at].swapaxes(0, 1) * share
    weights = np.concatenate([usual, failed], axis=1) + _LEAST
    weights /= weights.sum(axis=1, keepdims=True)
    given = _given(cells.centres[at], _SCATTERS[scatters] ** 2, weights, spreads, cells.means)
    both = np.concatenate([given.middle, given.low], axis=1)
    draws = np.concatenate([given.draw(random) for _ in range(REPEATS)])
    by_spread = weights.mean(axis=(0, 2)).reshape(2, -1).sum(axis=0)
    return Posterior((weights * both).sum(axis=1).mean(axis=0), draws, _median_spread(by_spread))


def _given(
    centres: Floats, scatters: Floats, weights: Floats, spreads: _Spreads, means: Floats
) -> _Given:
    """Return what configurations are, given a centre and a variance around it for each draw."""
    centre, scatter = centres[:, None, None], scatters[:, None, None]
    deviations = np.sqrt(spreads.variances)
    pulled = scatter / (scatter + spreads.variances)
    bottom, top = -means / deviations, (centre - means) / deviations
    mass = np.maximum(special.ndtr(top) - special.ndtr(bottom), _LEAST)
    low = means - deviations * (_density(top) - _density(bottom)) / mass
    return _Given(
        means=means,
        deviations=deviations,
        weights=weights,
        middle=centre + pulled * (means - centre),
        width=np.sqrt(pulled) * deviations,
        low=np.clip(low, 0.0, centre),
        top=top,
    )


def _infer_alone(means: Floats, spreads: _Spreads, random: np.random.Generator) -> Posterior:
    """Return what a configuration says by itself: there is nothing to draw it towards."""
    own = spreads.given_study * spreads.likelihoods[:, 0]
    weights = np.exp(spreads.of_study) @ own
    weights /= weights.sum()
    chosen = random.choice(len(weights), size=DRAWS * REPEATS, p=weights)
    errors = np.sqrt(spreads.variances[chosen]) * random.standard_normal((len(chosen), 1))
    return Posterior(means, means + errors, _median_spread(weights))


def _median_spread(weights: Floats) -> float:
    return math.exp(float(np.interp(0.5, weights.cumsum(), _LOG_SPREADS)))


def _density(places: Floats) -> Floats:
    density: Floats = np.exp(-0.5 * places**2) / math.sqrt(2 * math.pi)
    return density
