"""What training would give for any configuration, learnt from recorded learning curves.

The mean of each epoch's validation accuracy comes from a regression, by default a Gaussian process;
a forest of another make shows whether a result is the regression's own. The noise is that of the
recorded trials: a drawn curve has the residuals, in all of its epochs together, of one of the
recorded trials near it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from curve_regressions import GaussianProcess, Regression
from curves import SEARCHED, Array, Curves, find_near, scale
from scipy.stats import qmc

from cifar_tune.config.study_file import StudySpec


class Surrogate:
    """Draws learning curves, and knows how good each configuration truly is.

    Args:
        regression: of the mean; by default a Gaussian process, which the noise is taken from too.
        study: whose space is searched, within that of the curves; what it does not search over is
            as in its protocol. By default the whole space.
    """

    def __init__(
        self,
        curves: Curves,
        regression: Regression | None = None,
        study: StudySpec | None = None,
    ) -> None:
        process = GaussianProcess(curves)
        self.regression: Regression = regression or process
        self._curves = curves
        self.space = curves.space if study is None else study.space
        self._fixed = {} if study is None else study.protocol.model_dump(include=set(SEARCHED))
        residuals = curves.accuracies - process.predict(curves.points)
        # What a regression leaves over of its own trials is less than the noise it was fitted with.
        share = np.sqrt(((residuals / process.noise) ** 2).mean(axis=0))
        self._residuals = residuals / share

    def mean(self, params: Mapping[str, Any]) -> Array:
        """True accuracy after each epoch."""
        mean: Array = self.regression.predict(self._point(params))[0]
        return mean

    def draw(self, params: Mapping[str, Any], random: np.random.Generator) -> list[float]:
        """The learning curve of one trial, in thousandths as 1,000 validation images give them."""
        values = self.mean(params) + random.choice(self._near_residuals(params))
        return [float(value) for value in np.clip(values, 0, 1).round(3)]

    def noise(self, params: Mapping[str, Any]) -> Array:
        """Standard deviation of each epoch's accuracy."""
        noise: Array = np.sqrt((self._near_residuals(params) ** 2).mean(axis=0))
        return noise

    def _near_residuals(self, params: Mapping[str, Any]) -> Array:
        near: Array = self._residuals[find_near(self._point(params), self._curves.points)[0]]
        return near

    def _point(self, params: Mapping[str, Any]) -> Array:
        return np.array([scale(self._curves.space, {**self._fixed, **params})])

    @cached_property
    def best_accuracy(self) -> float:
        """The highest true accuracy after the last epoch that there is in the space."""
        ranges = self.space.ranges()
        low = self._point({name: one.low for name, one in ranges.items()})
        high = self._point({name: one.high for name, one in ranges.items()})
        points = low + (high - low) * qmc.Sobol(low.size, seed=0).random_base2(14)
        random = np.random.default_rng(0)
        for width in (0.1, 0.03, 0.01, 0.003, 0.0):
            points = self._with_whole_depths(np.clip(points, low, high))
            means = self.regression.predict(points)[:, -1]
            best = points[np.argmax(means)]
            around = best + width * random.standard_normal((2000, len(best)))
            points = np.concatenate([best[None], around])
        return float(means.max())

    def _with_whole_depths(self, points: Array) -> Array:
        column = list(SEARCHED).index("freeze_depth")
        depths = self._curves.space.freeze_depth
        if depths is not None:
            steps = depths.high - depths.low
            points[:, column] = np.round(points[:, column] * steps) / steps
        return points
