"""Recorded learning curves, as ``record_curves.py`` wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from places import TEST_DATA
from scipy.spatial.distance import cdist

from cifar_tune.config.space import Space

CURVES = TEST_DATA / "learning_curves.json"
NEAR = 10
"""Recorded trials that count as near to a configuration."""

Array = NDArray[np.float64]

SEARCHED = ("dropout_rate", "learning_rate", "augmentation_strength", "freeze_depth")
"""The hyperparameters whose curves are recorded, in the order of their columns."""


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


def find_near(points: Array, trials: Array) -> NDArray[np.intp]:
    """The rows of the ``NEAR`` trials nearest to each point, (points, NEAR)."""
    return np.argsort(cdist(points, trials), axis=1)[:, :NEAR]
