"""What training would give for any configuration, learnt from recorded learning curves.

The mean of each epoch's validation accuracy comes from a regression, by default a Gaussian process;
a forest of another make shows whether a result is the regression's own. The noise is that of the
recorded trials: a drawn curve has the residuals, in all of its epochs together, of one of the
recorded trials near it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.stats import qmc

from cifar_tune.study_schema import Space

CURVES = Path(__file__).parent / "data" / "learning_curves.json"
NEAR = 10
"""Recorded trials among which a drawn curve finds its residuals."""
TREES = 200
LEAF_TRIALS = 3

Array = NDArray[np.float64]


class Regression(Protocol):
    """Learns (trials, epochs) from (trials, hyperparameters), both as they are in ``Curves``."""

    errors: Array
    """Per epoch, the root mean square of what it predicts amiss for trials that it has not seen."""

    def predict(self, points: Array) -> Array:
        """Mean accuracy (points, epochs)."""


@dataclass(frozen=True)
class Curves:
    """Recorded trials.

    Attributes:
        space: that they were drawn from.
        points: (trials, hyperparameters), each from 0 to 1 over its range, in the order of
            ``Space.ranges``.
        accuracies: (trials, epochs), as fractions.
        models: of each trial, the named trial that it is a replicate of; empty if sampled.
    """

    space: Space
    points: Array
    accuracies: Array
    models: tuple[str, ...]

    @property
    def seed_deviations(self) -> Mapping[str, Array]:
        """Standard deviation over seeds of each epoch's accuracy, by named trial."""
        return {
            model: np.std(self.accuracies[np.array(self.models) == model], axis=0, ddof=1)
            for model in dict.fromkeys(filter(None, self.models))
        }


def load_curves(path: Path = CURVES) -> Curves:
    """Read what ``record_curves.py`` wrote."""
    stored = json.loads(path.read_text("utf-8"))
    space = Space.model_validate(stored["space"])
    return Curves(
        space=space,
        points=np.array([scale(space, trial["params"]) for trial in stored["trials"]]),
        accuracies=np.array([trial["val_accuracy"] for trial in stored["trials"]]),
        models=tuple(trial["model"] for trial in stored["trials"]),
    )


def scale(space: Space, params: Mapping[str, Any]) -> list[float]:
    """Each hyperparameter from 0 to 1 over its range."""
    scaled = []
    for name, values in space.ranges().items():
        low, high, value = values.low, values.high, float(params[name])
        if values.log:
            low, high, value = np.log((low, high, value))
        scaled.append(float((value - low) / (high - low)))
    return scaled


class GaussianProcess:
    """One process for each epoch: squared-exponential kernel with a length for each
    hyperparameter, and noise, all by maximum likelihood."""

    def __init__(self, curves: Curves) -> None:
        self._seen = curves.points
        self._center = curves.accuracies.mean(axis=0)
        centered = (curves.accuracies - self._center).T
        self._kernels = [_most_likely_kernel(curves.points, values) for values in centered]
        self._weights, inverses = [], []
        for (lengths, signal, noise), values in zip(self._kernels, centered, strict=True):
            covariance = signal * _similarity(self._seen, self._seen, lengths)
            inverse = np.linalg.inv(covariance + noise * np.eye(len(values)))
            self._weights.append(inverse @ values)
            inverses.append(np.diag(inverse))
        # Rasmussen and Williams (2006), equation 5.12.
        left_out = np.array(self._weights) / np.array(inverses)
        self.errors: Array = np.sqrt((left_out**2).mean(axis=1))
        self.noise: Array = np.sqrt([noise for _, _, noise in self._kernels])

    def predict(self, points: Array) -> Array:
        """See ``Regression``."""
        means = [
            signal * _similarity(points, self._seen, lengths) @ weights
            for (lengths, signal, _), weights in zip(self._kernels, self._weights, strict=True)
        ]
        return np.stack(means, axis=1) + self._center


def _similarity(left: Array, right: Array, lengths: Array) -> Array:
    distances = ((left[:, None] - right[None]) / lengths) ** 2
    similarity: Array = np.exp(-0.5 * distances.sum(axis=2))
    return similarity


def _most_likely_kernel(points: Array, values: Array) -> tuple[Array, float, float]:
    """Lengths, signal variance and noise variance."""
    dimensions = points.shape[1]

    def loss(logs: Array) -> float:
        lengths, (signal, noise) = np.exp(logs[:dimensions]), np.exp(logs[dimensions:])
        covariance = signal * _similarity(points, points, lengths) + noise * np.eye(len(values))
        factor = cho_factor(covariance, lower=True)
        fit = values @ cho_solve(factor, values)
        return float(0.5 * fit + np.log(np.diag(factor[0])).sum())

    variance = float(values.var())
    start = np.log([*[0.7] * dimensions, variance, 0.1 * variance])
    bounds = [
        *[(np.log(0.1), np.log(10.0))] * dimensions,
        (np.log(0.01 * variance), np.log(100 * variance)),
        (np.log(1e-3 * variance), np.log(variance)),
    ]
    found = np.exp(minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)
    return found[:dimensions], float(found[-2]), float(found[-1])


class Forest:
    """Bagged regression trees whose cuts are drawn at random; all epochs by the same trees."""

    def __init__(self, curves: Curves, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        count = len(curves.points)
        self._trees = []
        sums, votes = np.zeros_like(curves.accuracies), np.zeros(count)
        for _ in range(TREES):
            rows = random.integers(0, count, count)
            tree = _grow(curves.points[rows], curves.accuracies[rows], random)
            self._trees.append(tree)
            left_out = np.setdiff1d(np.arange(count), rows)
            sums[left_out] += _descend(tree, curves.points[left_out])
            votes[left_out] += 1
        missed = sums / votes[:, None] - curves.accuracies
        self.errors: Array = np.sqrt((missed**2).mean(axis=0))

    def predict(self, points: Array) -> Array:
        """See ``Regression``."""
        mean: Array = np.mean([_descend(tree, points) for tree in self._trees], axis=0)
        return mean


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


class Surrogate:
    """Draws learning curves, and knows how good each configuration truly is.

    Args:
        regression: of the mean; by default a Gaussian process, which the noise is taken from too.
    """

    def __init__(self, curves: Curves, regression: Regression | None = None) -> None:
        process = GaussianProcess(curves)
        self.regression: Regression = regression or process
        self.noise = process.noise
        self._curves = curves
        self.space = curves.space
        residuals = curves.accuracies - process.predict(curves.points)
        # What a regression leaves over of its own trials is less than the noise it was fitted with.
        self._residuals = residuals * (process.noise / np.sqrt((residuals**2).mean(axis=0)))

    @property
    def epochs(self) -> int:
        """Of a trial that is not pruned."""
        return self._curves.accuracies.shape[1]

    def mean(self, params: Mapping[str, Any]) -> Array:
        """True accuracy after each epoch."""
        mean: Array = self.regression.predict(np.array([scale(self._curves.space, params)]))[0]
        return mean

    def draw(self, params: Mapping[str, Any], random: np.random.Generator) -> list[float]:
        """The learning curve of one trial, in thousandths as 1,000 validation images give them."""
        point = np.array(scale(self._curves.space, params))
        near = np.argsort(((self._curves.points - point) ** 2).sum(axis=1))[:NEAR]
        values = self.mean(params) + self._residuals[random.choice(near)]
        return [float(value) for value in np.clip(values, 0, 1).round(3)]

    @cached_property
    def best_accuracy(self) -> float:
        """The highest true accuracy after the last epoch that there is in the space."""
        points = qmc.Sobol(len(self._curves.space.ranges()), seed=0).random_base2(14)
        random = np.random.default_rng(0)
        for width in (0.1, 0.03, 0.01, 0.003):
            points = self._with_whole_depths(points)
            means = self.regression.predict(points)[:, -1]
            best = points[np.argmax(means)]
            around = best + width * random.standard_normal((2000, len(best)))
            points = np.concatenate([best[None], np.clip(around, 0, 1)])
        return float(self.regression.predict(self._with_whole_depths(points))[:, -1].max())

    def _with_whole_depths(self, points: Array) -> Array:
        names = list(self._curves.space.ranges())
        depths = self._curves.space.freeze_depth
        if depths is None:
            return points
        column, steps = names.index("freeze_depth"), depths.high - depths.low
        points[:, column] = np.minimum(np.round(points[:, column] * steps), steps) / steps
        return points
