"""Learn mean accuracies from recorded trials, in two ways that have little in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from curves import Array, Curves, find_near
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

TREES = 200
LEAF_TRIALS = 2
"""At least so many in a leaf."""
RIDGE = 5.0
"""Of the quadratic, in recorded trials."""


class Regression(Protocol):
    """Learns (trials, epochs) from (trials, hyperparameters), both as they are in ``Curves``."""

    errors: Array
    """Per epoch, the root mean square of what it predicts amiss for trials that it has not seen."""

    def predict(self, points: Array) -> Array:
        """Mean accuracy (points, epochs)."""


class GaussianProcess:
    """One process for each epoch: squared-exponential kernel with a length for each hyperparameter,
    by maximum likelihood.

    The noise differs from place to place (high rates scatter ten times as much as low ones): its
    shape is the squared error of the nearest trials, in a second fit after one without.

    Attributes:
        noise: of each trial, as a standard deviation, (trials, epochs).
    """

    def __init__(self, curves: Curves) -> None:
        self._seen = curves.points
        self._center = curves.accuracies.mean(axis=0)
        fits = [
            _fit_process(curves.points, values) for values in (curves.accuracies - self._center).T
        ]
        self._kernels = [(fit.lengths, fit.signal, fit.weights) for fit in fits]
        self.noise: Array = np.sqrt(np.stack([fit.noise for fit in fits], axis=1))
        self.errors: Array = np.sqrt([(fit.left_out**2).mean() for fit in fits])

    def predict(self, points: Array) -> Array:
        """See ``Regression``."""
        means = [
            signal * _similarity(points, self._seen, lengths) @ weights
            for lengths, signal, weights in self._kernels
        ]
        predicted: Array = np.stack(means, axis=1) + self._center
        return predicted


@dataclass(frozen=True)
class _Fit:
    """A process of one epoch.

    Attributes:
        noise: variance at each trial.
        weights: of the trials in a prediction.
        left_out: error at each trial of a process that has not seen it.
    """

    lengths: Array
    signal: float
    noise: Array
    weights: Array
    left_out: Array


def _fit_process(points: Array, values: Array) -> _Fit:
    fit = _fit_with_noise(points, values, np.ones(len(values)))
    squares = fit.left_out[find_near(points, points)] ** 2
    shape = squares.mean(axis=1)
    return _fit_with_noise(points, values, shape / shape.mean())


def _fit_with_noise(points: Array, values: Array, shape: Array) -> _Fit:
    """Args: shape: of the noise's variance at each trial; its height is fitted."""
    dimensions, variance = points.shape[1], float(values.var())

    def covariance(logs: Array) -> Array:
        lengths, (signal, height) = np.exp(logs[:dimensions]), np.exp(logs[dimensions:])
        found: Array = signal * _similarity(points, points, lengths) + np.diag(height * shape)
        return found

    def loss(logs: Array) -> float:
        factor = cho_factor(covariance(logs), lower=True)
        fit = values @ cho_solve(factor, values)
        return float(0.5 * fit + np.log(np.diag(factor[0])).sum())

    start = np.log([*[0.7] * dimensions, variance, 0.1 * variance])
    bounds = [
        *[(np.log(0.2), np.log(10.0))] * dimensions,
        (np.log(0.01 * variance), np.log(100 * variance)),
        (np.log(1e-3 * variance), np.log(variance)),
    ]
    logs = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    inverse = np.linalg.inv(covariance(logs))
    weights = inverse @ values
    found = np.exp(logs)
    # Rasmussen and Williams (2006), equation 5.12.
    left_out = weights / np.diag(inverse)
    return _Fit(found[:dimensions], float(found[-2]), found[-1] * shape, weights, left_out)


def _similarity(left: Array, right: Array, lengths: Array) -> Array:
    scaled_left, scaled_right = left / lengths, right / lengths
    similarity: Array = np.exp(-0.5 * cdist(scaled_left, scaled_right, "sqeuclidean"))
    return similarity


class Forest:
    """A quadratic, and a forest for what it leaves over: bagged regression trees whose cuts are
    drawn at random. Coarser than a Gaussian process, and of another kind than any sampler."""

    def __init__(self, curves: Curves, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        count = len(curves.points)
        self._bags = []
        sums, votes = np.zeros_like(curves.accuracies), np.zeros(count)
        for _ in range(TREES):
            rows = random.integers(0, count, count)
            bag = _Bag.grow(curves.points[rows], curves.accuracies[rows], random)
            self._bags.append(bag)
            left_out = np.setdiff1d(np.arange(count), rows)
            sums[left_out] += bag.predict(curves.points[left_out])
            votes[left_out] += 1
        missed = sums / votes[:, None] - curves.accuracies
        self.errors: Array = np.sqrt((missed**2).mean(axis=0))

    def predict(self, points: Array) -> Array:
        """See ``Regression``."""
        mean: Array = np.mean([bag.predict(points) for bag in self._bags], axis=0)
        return mean


@dataclass(frozen=True)
class _Bag:
    """A quadratic and a tree, of trials that were drawn with repetition."""

    center: Array
    coefficients: Array
    tree: _Node

    @staticmethod
    def grow(points: Array, values: Array, random: np.random.Generator) -> _Bag:
        terms = _quadratic_terms(points)
        ridge = RIDGE * np.eye(terms.shape[1])
        center = values.mean(axis=0)
        solved = np.linalg.solve(terms.T @ terms + ridge, terms.T @ (values - center))
        coefficients = np.asarray(solved, dtype=np.float64)
        left = values - center - terms @ coefficients
        return _Bag(center, coefficients, _grow(points, left, random))

    def predict(self, points: Array) -> Array:
        quadratic = self.center + _quadratic_terms(points) @ self.coefficients
        mean: Array = quadratic + _descend(self.tree, points)
        return mean


def _quadratic_terms(points: Array) -> Array:
    centered = 2 * points - 1
    products = [
        centered[:, one] * centered[:, other]
        for one in range(points.shape[1])
        for other in range(one, points.shape[1])
    ]
    return np.column_stack([centered, *products])


@dataclass(frozen=True)
class _Node:
    """A cut of one hyperparameter, or a leaf, which has no branches."""

    mean: Array
    dimension: int = 0
    cut: float = 0.0
    branches: tuple[_Node, _Node] | None = None


def _grow(points: Array, values: Array, random: np.random.Generator) -> _Node:
    """The best of one random cut for each hyperparameter, until leaves are small."""
    mean = values.mean(axis=0)
    choices = []
    for dimension, (low, high) in enumerate(zip(points.min(0), points.max(0), strict=True)):
        cut = random.uniform(low, high)
        is_left = points[:, dimension] < cut
        if min(is_left.sum(), (~is_left).sum()) >= LEAF_TRIALS:
            spread = sum(values[side].var(0).sum() * side.sum() for side in (is_left, ~is_left))
            choices.append((spread, dimension, cut))
    if not choices:
        return _Node(mean)
    _, dimension, cut = min(choices)
    is_left = points[:, dimension] < cut
    branches = [_grow(points[side], values[side], random) for side in (is_left, ~is_left)]
    return _Node(mean, dimension, cut, (branches[0], branches[1]))


def _descend(node: _Node, points: Array) -> Array:
    if node.branches is None:
        return np.tile(node.mean, (len(points), 1))
    is_left = points[:, node.dimension] < node.cut
    found = np.empty((len(points), len(node.mean)))
    for branch, side in zip(node.branches, (is_left, ~is_left), strict=True):
        if side.any():
            found[side] = _descend(branch, points[side])
    return found
