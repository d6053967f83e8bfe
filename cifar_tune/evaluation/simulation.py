"""Simulated accuracies whose truth is known.

A model classifies image i with seed s rightly where

    ability + a seed's luck + an image's ease + the image's ease for this model + the rest > 0,

all but the ability with mean zero, so its true accuracy is known. An image's ease is shared by all
models and seeds, as it is where all are tested on one set.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from cifar_tune.evaluation.stats import Estimate, Reading, estimate_from_images


@dataclass(frozen=True)
class World:
    """Where accuracies come from: standard deviations, in units of that of the rest.

    Attributes:
        seed: The standard deviation of a seed's luck, per model.
        shared: The standard deviation of an image's ease, for all models.
        own: The standard deviation of an image's ease for one model.
        share: Which fraction of the images each seed is measured on, drawn anew, as by a split.
        accuracy: The true accuracy of the baseline that the others are compared with.
        has_heavy_tails: Whether luck is Student's t with three degrees of freedom, else normal.
        common: The share of the luck's variance that all models have in common with one seed.
        later: How many times as much every second model's luck scatters.
        collapses: The probability that a run of any model but the first ends at chance.
    """

    name: str
    seed: float
    shared: float
    own: float
    images: int
    share: float = 1.0
    accuracy: float = 0.75
    has_heavy_tails: bool = False
    common: float = 0.0
    later: float = 1.0
    collapses: float = 0.0

    def luck(self, model: int) -> float:
        """Return the standard deviation of the luck of a model's seeds."""
        return self.seed * (self.later if model % 2 else 1.0)


@dataclass(frozen=True)
class Simulated:
    """What each seed classifies rightly.

    Attributes:
        rows: The images that each seed is measured on, int64 [m].
        correct: For each model, 0 or 1 for all images [seeds, n].
        has_collapsed: Whether a run ended at chance.
    """

    rows: list[npt.NDArray[np.int64]]
    correct: list[npt.NDArray[np.float64]]
    has_collapsed: bool = False

    def accuracy(self, model: int, than: int | None = None, seeds: int | None = None) -> Estimate:
        """Return the accuracy of a model, or by how much it is above that of ``than``.

        With ``seeds`` it is from the first of them.
        """
        values = self.correct[model][:seeds]
        if than is not None:
            values = values - self.correct[than][:seeds]
        parts = zip(self.rows[:seeds], values, strict=True)
        return estimate_from_images([Reading(rows, correct[rows]) for rows, correct in parts])

    def last(self, seeds: int) -> Simulated:
        """Return what the last seeds classify rightly."""
        kept = [correct[-seeds:] for correct in self.correct]
        return Simulated(self.rows[-seeds:], kept, self.has_collapsed)

    def outcomes(self, model: int, seeds: int) -> tuple[float, ...]:
        """Return the accuracies of a model's first seeds."""
        parts = list(zip(self.rows, self.correct[model], strict=True))[:seeds]
        return tuple(float(correct[rows].mean()) for rows, correct in parts)


def simulate(
    world: World, accuracies: Sequence[float], seeds: int, random: np.random.Generator
) -> Simulated:
    """Simulate models of these true accuracies, each trained with so many seeds."""
    ease = world.shared * random.standard_normal(world.images, dtype=np.float32)
    together = _luck(world, seeds, random)
    correct, has_collapsed = [], False
    for model, accuracy in enumerate(accuracies):
        own = ease + world.own * random.standard_normal(world.images, dtype=np.float32)
        luck = math.sqrt(world.common) * together
        luck = luck + math.sqrt(1 - world.common) * _luck(world, seeds, random)
        latent = random.standard_normal((seeds, world.images), dtype=np.float32)
        ability = _ability(world, accuracy, world.luck(model))
        latent += own + (world.luck(model) * luck + ability).astype(np.float32)
        right = (latent > 0).astype(np.float64)
        for seed in np.flatnonzero(random.random(seeds) < world.collapses) if model else ():
            right[seed] = random.random(world.images) < 0.1
            has_collapsed = True
        correct.append(right)
    rows = [np.arange(world.images)] * seeds
    if world.share < 1:
        size = int(world.share * world.images)
        rows = [np.sort(random.permutation(world.images)[:size]) for _ in range(seeds)]
    return Simulated(rows, correct, has_collapsed)


def _luck(world: World, seeds: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return luck of variance 1 [seeds, 1]."""
    if world.has_heavy_tails:
        return random.standard_t(3, (seeds, 1)) / math.sqrt(3)
    return random.standard_normal((seeds, 1))


def _ability(world: World, accuracy: float, luck: float) -> float:
    """Return the ability that has a true accuracy, over luck and images."""
    spread = math.sqrt(1 + world.shared**2 + world.own**2)
    if not world.has_heavy_tails:
        return float(special.ndtri(accuracy)) * math.hypot(spread, luck)
    return _heavy_ability(round(accuracy, 6), luck, spread)


@functools.cache
def _heavy_ability(accuracy: float, luck: float, spread: float) -> float:
    quantiles = special.stdtrit(3, (np.arange(2_000) + 0.5) / 2_000) / math.sqrt(3)

    def excess(ability: float) -> float:
        return float(special.ndtr((ability + luck * quantiles) / spread).mean()) - accuracy

    return float(optimize.brentq(excess, -50.0, 50.0))
