"""The model behind the ranking: what the observed accuracies say of the true ones.

A configuration's observed mean is its true accuracy with the noise of its seeds and of the images
that are easy for it alone; what all configurations share cancels. The true accuracies are normal
around a centre, but for some that failed and lie anywhere below it: a few that fail do not make the
others look different. Spreads over seeds are log-normal around that of the study. Nothing of this
is fixed: the centre, the scatter, the share that failed, the shares of images and every spread are
integrated over (Gelman, "Prior distributions for variance parameters in hierarchical models",
Bayesian Analysis 1, 2006), by importance sampling whose proposals are learnt in rounds (Cappé,
Guillin, Marin, Robert, "Population Monte Carlo", Journal of Computational and Graphical Statistics
13, 2004). Numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from cifar_tune.evaluation.ranking_prior import (
    BETWEEN,
    DISAGREEMENT,
    OWN_IMAGES,
    SPREAD,
    SPREAD_OF_CONFIGURATIONS,
    SPREAD_OF_STUDIES,
    WEIGHT_OF_SHARES,
)
from cifar_tune.evaluation.ranking_seeds import draw_effects

Floats = npt.NDArray[np.float64]

ROUNDS = (800, 1_000, 2_400)
"""How many points each round of importance sampling has; the last one is used."""
KERNELS = 50
"""From how many points of a round the next one is proposed."""
DRAWS = 800
"""Draws of what all configurations share; of each, ``REPEATS`` draws of their accuracies."""
REPEATS = 8
EFFECTS = 8
"""Draws of what seeds have in common for all configurations."""
CHUNK = 60_000
"""Of how many configurations, over all points, the figures are in memory at once."""
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(11)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
_SCATTERS = math.log(3e-4), math.log(0.5)
_LEAST = 1e-300
_LEAST_CENTRE = 1e-3


@dataclass(frozen=True)
class Observed:
    """The outcomes of one configuration.

    Attributes:
        seeds: Which seed each outcome has; equal ones are paired across configurations.
        of_images: The binomial variance of one outcome.
    """

    outcomes: tuple[float, ...]
    seeds: tuple[Hashable, ...]
    of_images: float


@dataclass(frozen=True)
class Posterior:
    """What is known of the true accuracies.

    Attributes:
        expected: The mean of each [n].
        draws: Draws of all of them together [draws, n], without what all share.
        shared: Draws of what the seeds add to all of them [draws, 1].
        seed_sd: The spread over seeds of a configuration of the study, the posterior median.
    """

    expected: Floats
    draws: Floats
    shared: Floats
    seed_sd: float


@dataclass(frozen=True)
class _Data:
    """What was observed, with each draw of the effects of seeds taken out.

    Attributes:
        means: The mean outcome [e, n].
        squares: The sum of squares around it [e, n].
        seeds: The number of seeds [n].
        of_images: The binomial variance of one outcome [n].
        same_images: Whether all are measured on the same images.
    """

    means: Floats
    squares: Floats
    seeds: Floats
    of_images: Floats
    same_images: bool


@dataclass(frozen=True)
class _Points:
    """Places of what all configurations share, each [h].

    Attributes:
        main: The centre, and the logarithms of the scatter and of the spread over seeds [h, 3].
        width: How the spreads of configurations scatter.
        failed: The share of configurations that failed.
        own: The share of the binomial variance from images that are easy for one alone.
        disagreement: The share from images on which seeds disagree.
        effect: The draw of the effects of seeds that the point goes by.
    """

    main: Floats
    width: Floats
    failed: Floats
    own: Floats
    disagreement: Floats
    effect: npt.NDArray[np.int64]

    def take(self, places: npt.NDArray[np.int64] | slice) -> _Points:
        """Return the points at these places."""
        return _Points(*(part[places] for part in vars(self).values()))

    def split(self, configurations: int) -> Iterator[_Points]:
        """Yield them in parts that fit into memory."""
        size = max(1, CHUNK // configurations)
        for start in range(0, len(self.main), size):
            yield self.take(slice(start, start + size))


@dataclass(frozen=True)
class _Kinds:
    """What each configuration may be at each point: failed or not, with each spread of its own.

    Attributes:
        weights: How likely it is, not normalised [h, 2, q, n].
        variances: The variance of its observed mean [h, q, n].
        means: The observed mean [h, n].
    """

    weights: Floats
    variances: Floats
    means: Floats


def infer(observed: Sequence[Observed], *, same_images: bool = True) -> Posterior:
    """Return the posterior of the true accuracies of configurations."""
    random = np.random.default_rng(0)
    effects, shared_sds = draw_effects(
        [it.outcomes for it in observed], [it.seeds for it in observed], EFFECTS, random
    )
    data = _Data(
        means=np.array([[np.mean(part) for part in draw] for draw in effects]),
        squares=np.array([[np.var(part) * len(part) for part in draw] for draw in effects]),
        seeds=np.array([len(it.outcomes) for it in observed]),
        of_images=np.array([it.of_images for it in observed]),
        same_images=same_images,
    )
    points, proposed = _first_points(data, random)
    for size in ROUNDS[1:]:
        weights = _weigh(points, proposed, data)
        points, proposed = _next_points(points, np.sqrt(weights), size, data, random)
    chosen = points.take(_resample(_weigh(points, proposed, data), DRAWS))
    posterior = _draw(chosen, data, shared_sds, random)
    # One alone says what it says: there is nothing to draw it towards.
    return posterior if len(observed) > 1 else replace(posterior, expected=data.means[0])


# --- what all configurations share ----------------------------------------------------------------


def _first_points(data: _Data, random: np.random.Generator) -> tuple[_Points, Floats]:
    """Return points all over the place, with the logarithm of the density that they come from."""
    size = ROUNDS[0]
    scatter = random.uniform(*_SCATTERS, size)
    spread = random.normal(math.log(SPREAD), 1.2 * SPREAD_OF_STUDIES, size)
    width = np.hypot(np.exp(scatter), np.exp(spread))
    at = data.means[0][random.integers(data.means.shape[1], size=size)]
    centre = at + width * random.standard_normal(size)
    distances = (centre[:, None] - data.means[0]) / width[:, None]
    density = np.exp(-0.5 * distances**2).mean(axis=1) / width + _LEAST
    main = np.stack([centre, scatter, spread], axis=1)
    of_spread = -0.5 * ((spread - math.log(SPREAD)) / (1.2 * SPREAD_OF_STUDIES)) ** 2
    return _with_the_rest(main, data, random), np.log(density) + of_spread


def _next_points(
    points: _Points, weights: Floats, size: int, data: _Data, random: np.random.Generator
) -> tuple[_Points, Floats]:
    """Return points near the likely ones, with the logarithm of their density."""
    weights = weights / weights.sum()
    kernels = points.main[_resample(weights, KERNELS)]
    covariance = np.cov(points.main.T, aweights=weights) + 1e-10 * np.eye(3)
    root = np.linalg.cholesky(covariance / 2)
    main = kernels[random.integers(KERNELS, size=size)]
    main = main + random.standard_normal((size, 3)) @ root.T
    places, centres = (np.linalg.solve(root, part.T).T for part in (main, kernels))
    distances = (places**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    distances = distances - 2 * places @ centres.T
    density = np.log(np.exp(-0.5 * distances).mean(axis=1) + _LEAST)
    return _with_the_rest(main, data, random), density


def _with_the_rest(main: Floats, data: _Data, random: np.random.Generator) -> _Points:
    """Return points whose other parts are drawn from their prior."""
    size = len(main)
    own, disagreement = np.zeros(size), np.ones(size)
    if data.same_images:
        shares = np.array([OWN_IMAGES, DISAGREEMENT, 1 - OWN_IMAGES - DISAGREEMENT])
        own, disagreement, _ = random.dirichlet(WEIGHT_OF_SHARES * shares, size).T
    failed = random.uniform(0, 0.8, size) * (random.random(size) < 0.5)
    if data.means.shape[1] == 1:
        failed[:] = 0.0
    width = SPREAD_OF_CONFIGURATIONS * np.abs(random.standard_normal(size))
    return _Points(main, width, failed, own, disagreement, np.arange(size) % EFFECTS)


def _weigh(points: _Points, proposed: Floats, data: _Data) -> Floats:
    """Return the importance weights of points."""
    centre, scatter, spread = points.main.T
    parts = (_find_kinds(part, data).weights for part in points.split(len(data.seeds)))
    each = [np.log(part.sum(axis=(1, 2)) + _LEAST).sum(axis=1) for part in parts]
    logs = np.concatenate(each) - proposed
    # The density of the logarithm of the scatter is that of the scatter, times itself.
    logs += scatter - np.log1p((np.exp(scatter) / BETWEEN) ** 2)
    logs -= 0.5 * ((spread - math.log(SPREAD)) / SPREAD_OF_STUDIES) ** 2
    logs[(centre < _LEAST_CENTRE) | (centre > 1) | (scatter < _SCATTERS[0])] = -np.inf
    for effect in range(EFFECTS):
        own = points.effect == effect
        logs[own] -= special.logsumexp(logs[own])
    weights: Floats = np.exp(logs) / EFFECTS
    return weights


def _find_kinds(points: _Points, data: _Data) -> _Kinds:
    centre, scatter, spread = (part[:, None, None] for part in points.main.T)
    logs = spread + points.width[:, None, None] * _NODES[:, None]
    totals = np.exp(2 * logs) + points.disagreement[:, None, None] * data.of_images
    means, squares = data.means[points.effect], data.squares[points.effect][:, None]
    # Relative to the spread that fits best, so that it is no number too small.
    best = np.maximum(squares / np.maximum(data.seeds - 1, 1), 1e-3 * data.of_images)
    seen = (data.seeds - 1) * np.log(totals / best) + squares * (1 / totals - 1 / best)
    seen = np.exp(-0.5 * seen) * _NODE_WEIGHTS[:, None]
    variances = totals / data.seeds + points.own[:, None, None] * data.of_images
    around = variances + np.exp(2 * scatter)
    distances = means[:, None] - centre
    usual = np.exp(-0.5 * distances**2 / around) / np.sqrt(2 * math.pi * around)
    failed = special.ndtr(-distances / np.sqrt(variances)) / np.maximum(centre, _LEAST_CENTRE)
    share = points.failed[:, None, None]
    weights = np.stack([(1 - share) * seen * usual, share * seen * failed], axis=1)
    return _Kinds(weights, variances, means)


def _resample(weights: Floats, size: int) -> npt.NDArray[np.int64]:
    """Return places as often as their weights say, with the least noise."""
    totals = np.cumsum(weights)
    places: npt.NDArray[np.int64] = np.searchsorted(
        totals, (np.arange(size) + 0.5) / size * totals[-1]
    )
    return places


# --- draws --------------------------------------------------------------------------------------


def _draw(
    points: _Points, data: _Data, shared_sds: Floats, random: np.random.Generator
) -> Posterior:
    """Draw the true accuracies, given what they share."""
    shared = np.tile(shared_sds[points.effect], REPEATS)[:, None]
    shared = shared * random.standard_normal(shared.shape)
    parts = [
        _draw_part(part, _find_kinds(part, data), random) for part in points.split(len(data.seeds))
    ]
    expected = np.concatenate([expected for expected, _ in parts]).mean(axis=0)
    draws = np.concatenate([draws for _, draws in parts], axis=1)
    nodes = random.choice(_NODES, p=_NODE_WEIGHTS, size=len(points.main))
    spread = math.exp(float(np.median(points.main[:, 2] + points.width * nodes)))
    return Posterior(expected, draws.reshape(-1, draws.shape[-1]), shared, spread)


def _draw_part(
    points: _Points, kinds: _Kinds, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the means [h, n] and draws [repeats, h, n] of the true accuracies at points."""
    centre, scatter = points.main[:, :2].T[:, :, None, None]
    means, deviations = kinds.means[:, None], np.sqrt(kinds.variances)
    pulled = 1 / (1 + kinds.variances / np.exp(2 * scatter))
    middle, width = centre + pulled * (means - centre), np.sqrt(pulled) * deviations
    # One that failed has a flat density below the centre, cut off there.
    top = (centre - means) / deviations
    below = special.ndtr(top)
    density = np.exp(-0.5 * top**2) / math.sqrt(2 * math.pi)
    low = np.clip(means - deviations * density / np.maximum(below, _LEAST), 0.0, centre)
    weights = kinds.weights.reshape(len(centre), -1, means.shape[-1]) + _LEAST
    weights /= weights.sum(axis=1, keepdims=True)
    expected = (weights * np.concatenate([middle, low], axis=1)).sum(axis=1)
    shape = len(centre), 1, means.shape[-1]
    totals, draws = weights.cumsum(axis=1), []
    for _ in range(REPEATS):
        chosen = (totals < random.random(shape)).sum(axis=1, keepdims=True)
        has_failed, node = np.divmod(np.minimum(chosen, 2 * len(_NODES) - 1), len(_NODES))
        mid, wide, deviation, mass = (
            np.take_along_axis(part, node, axis=1) for part in (middle, width, deviations, below)
        )
        usual = mid + wide * random.standard_normal(shape)
        quantiles = np.clip(random.random(shape) * mass, 1e-15, 1.0)
        cut = np.maximum(means + deviation * special.ndtri(quantiles), 0.0)
        draws.append(np.where(has_failed == 1, cut, usual)[:, 0])
    return expected, np.array(draws)
