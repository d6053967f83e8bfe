"""A Gaussian process through the trials of a search, and what it says of each hyperparameter.

The effect of one hyperparameter is its partial dependence: the mean over the values that the trials
have of all others (Friedman, "Greedy function approximation", Annals of Statistics 29, 2001). Of a
Gaussian process this mean is normal, too, so its band is exact (Moosbauer, Herbinger, Casalicchio,
Lindauer and Bischl, "Explaining hyperparameter optimization via partial dependence plots", NeurIPS
2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize, stats

from cifar_tune.evaluation.stats import LEVEL

LEAST_TRIALS = 10
"""Fewer trials are not drawn a line through."""
MOST_TRIALS = 150
"""Of more trials, so many in even steps: the time grows with the cube."""
_POINTS = 25
_LENGTH, _NOISE = (math.log(0.6), 0.8), (math.log(0.3), 1.0)
"""Log-normal priors, mean and deviation, on the unit cube and for values of deviation one."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """The mean accuracy that the surrogate expects for each value of a hyperparameter."""

    parameter: str
    values: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


def compute_effects(
    ranges: Mapping[str, Mapping[str, Any]],
    params: Sequence[Mapping[str, float]],
    accuracies: Sequence[float],
) -> tuple[Effect, ...]:
    """Return the effect of each hyperparameter; none if the trials are too few or all alike.

    ``ranges`` has ``low``, ``high`` and whether it is ``log`` of each.
    """
    step = max(1, math.ceil(len(params) / MOST_TRIALS))
    params, accuracies = params[::step], accuracies[::step]
    spread = float(np.std(accuracies)) if len(accuracies) else 0.0
    keys = [key for key, ends in ranges.items() if ends["low"] < ends["high"]]
    if len(params) < LEAST_TRIALS or spread == 0 or not keys:
        return ()
    places = np.array([[_scale(ranges[key], row[key]) for key in keys] for row in params])
    centre = float(np.mean(accuracies))
    process = _fit(places, (np.asarray(accuracies) - centre) / spread)
    normal = float(stats.norm.ppf((1 + LEVEL) / 2))
    shares = np.linspace(0, 1, _POINTS)
    effects = []
    for column, key in enumerate(keys):
        means, deviations = process.average(column, shares)
        means, room = centre + spread * means, normal * spread * deviations
        values = tuple(_unscale(ranges[key], share) for share in shares)
        curves = (tuple(map(float, curve)) for curve in (means, means - room, means + room))
        effects.append(Effect(key, values, *curves))
    return tuple(effects)


def _scale(ends: Mapping[str, Any], value: float) -> float:
    low, high = ends["low"], ends["high"]
    if ends["log"]:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _unscale(ends: Mapping[str, Any], share: float) -> float:
    low, high = ends["low"], ends["high"]
    return float(low * (high / low) ** share) if ends["log"] else float(low + share * (high - low))


@dataclass(frozen=True)
class _Process:
    """A fitted process: where it was seen, its length scales, and the factor of its covariance."""

    places: Floats
    lengths: Floats
    scale: float
    factor: Any
    weights: Floats

    def average(self, column: int, shares: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of the mean over all places, with one column set to a share."""
        means, deviations = [], []
        for share in shares:
            moved = self.places.copy()
            moved[:, column] = share
            cross = self.scale * _matern(moved, self.places, self.lengths).mean(axis=0)
            own = self.scale * float(_matern(moved, moved, self.lengths).mean())
            means.append(float(cross @ self.weights))
            variance = own - float(cross @ linalg.cho_solve(self.factor, cross))
            deviations.append(math.sqrt(max(variance, 0.0)))
        return np.array(means), np.array(deviations)


def _fit(places: Floats, values: Floats) -> _Process:
    """Return the process with the length scales and noise of the highest posterior density."""
    dimensions = places.shape[1]
    start = np.array([_LENGTH[0]] * dimensions + [0.0, _NOISE[0]])

    def loss(logs: Floats) -> float:
        factor, weights = _solve(places, values, logs)
        fit = 0.5 * float(values @ weights) + float(np.log(np.diag(factor[0])).sum())
        lengths = (logs[:dimensions] - _LENGTH[0]) / _LENGTH[1]
        noise = (logs[-1] - _NOISE[0]) / _NOISE[1]
        return fit + 0.5 * float(lengths @ lengths + noise**2 + logs[-2] ** 2)

    bounds = [(-3.0, 3.0)] * dimensions + [(-4.0, 4.0), (-6.0, 2.0)]
    logs = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    factor, weights = _solve(places, values, logs)
    return _Process(places, np.exp(logs[:dimensions]), math.exp(2 * logs[-2]), factor, weights)


def _solve(places: Floats, values: Floats, logs: Floats) -> tuple[Any, Floats]:
    scale, noise = math.exp(2 * logs[-2]), math.exp(2 * logs[-1])
    covariance = scale * _matern(places, places, np.exp(logs[:-2]))
    covariance[np.diag_indices_from(covariance)] += noise + 1e-9
    factor = linalg.cho_factor(covariance, lower=True)
    return factor, linalg.cho_solve(factor, values)


def _matern(first: Floats, second: Floats, lengths: Floats) -> Floats:
    """Return Matérn's correlation with smoothness 5/2."""
    apart = (first[:, None] - second[None]) / lengths
    distance = np.sqrt(5 * (apart**2).sum(axis=-1))
    correlation: Floats = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return correlation
