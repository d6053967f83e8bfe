"""How good the verdicts are: made-up accuracies whose truth is known, judged as real ones are.

A model classifies image i with seed s rightly where

    ability + a seed's luck + an image's ease + the image's ease for this model + the rest > 0,

all but the ability normal with mean zero, so its true accuracy is known in closed form. An image's
ease is shared by all models and seeds, as it is where all are tested on one set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from cifar_tune.evaluation.stats import Estimate, Reading, estimate_from_images
from cifar_tune.evaluation.verdicts import POWER, Contrast, Judgement, judge

FAMILIES = (1, 6, 20)
SEED_COUNTS = (3, 5, 10)
ACCURACY = 0.75
"""The true accuracy of the baseline that the others are compared with."""
SMALLEST_EFFECT = 0.02
PILOT_SEEDS = 3


@dataclass(frozen=True)
class World:
    """Where accuracies come from: standard deviations, in units of that of the rest.

    Attributes:
        seed: The standard deviation of a seed's luck, per model.
        shared: The standard deviation of an image's ease, for all models.
        own: The standard deviation of an image's ease for one model.
        share: Which fraction of the images each seed is measured on, drawn anew, as by a split.
    """

    name: str
    seed: float
    shared: float
    own: float
    images: int
    share: float = 1.0


WORLDS = (
    World("seeds scatter most", seed=0.16, shared=1.5, own=0.7, images=2_000),
    World("both noises alike", seed=0.05, shared=1.5, own=0.7, images=2_000),
    World("images decide", seed=0.01, shared=1.5, own=0.7, images=1_000),
    World("each seed its own split", seed=0.05, shared=1.5, own=0.7, images=4_000, share=0.5),
)
"""At an accuracy of 75 %, seeds alone scatter by 2.6, 0.8, 0.2 and 0.8 points."""
ADVISED_WORLDS = tuple(world for world in WORLDS if world.name != "images decide")
"""Where images decide, no number of seeds does, and the advice says so."""
FIGURES = len(WORLDS) * 2 * (len(SEED_COUNTS) + len(FAMILIES)) + len(ADVISED_WORLDS) * len(FAMILIES)


@dataclass(frozen=True)
class Rate:
    """How often something happened.

    Attributes:
        seeds: The number of seeds of each model; the median of those that were advised.
        family: The number of claims judged together.
        rate: The fraction of the rounds in which it happened.
        error: The binomial standard error of ``rate``.
        low: The least that the rate should be.
        high: The most that the rate should be.
        holds: Whether it is within these, give or take three standard errors.
    """

    what: str
    world: str
    seeds: int
    family: int
    rate: float
    error: float
    low: float
    high: float
    holds: bool


@dataclass(frozen=True)
class Simulated:
    """What each seed classifies rightly.

    Attributes:
        rows: The images that each seed is measured on, int64 [m].
        correct: For each model, 0 or 1 for all images [seeds, n].
    """

    rows: list[npt.NDArray[np.int64]]
    correct: list[npt.NDArray[np.float64]]

    def accuracy(self, model: int, than: int | None = None) -> Estimate:
        """Return the accuracy of a model, or by how much it is above that of ``than``."""
        values = self.correct[model] - (0.0 if than is None else self.correct[than])
        seeds = zip(self.rows, values, strict=True)
        return estimate_from_images([Reading(rows, correct[rows]) for rows, correct in seeds])

    def contrast(self, model: int) -> Contrast:
        """Return the contrast of a model with the first."""
        return Contrast(self.accuracy(model, than=0), SMALLEST_EFFECT)


def simulate(
    world: World, accuracies: Sequence[float], seeds: int, random: np.random.Generator
) -> Simulated:
    """Simulate models of these true accuracies, each trained with so many seeds."""
    ease = world.shared * random.standard_normal(world.images, dtype=np.float32)
    # An ability has its true accuracy where all that scatters around it has this deviation.
    spread = math.sqrt(1 + world.seed**2 + world.shared**2 + world.own**2)
    correct = []
    for accuracy in accuracies:
        own = ease + world.own * random.standard_normal(world.images, dtype=np.float32)
        luck = world.seed * random.standard_normal((seeds, 1), dtype=np.float32)
        latent = random.standard_normal((seeds, world.images), dtype=np.float32)
        latent += own + luck + np.float32(float(special.ndtri(accuracy)) * spread)
        correct.append((latent > 0).astype(np.float64))
    rows = [np.arange(world.images)] * seeds
    if world.share < 1:
        size = int(world.share * world.images)
        rows = [np.sort(random.permutation(world.images)[:size]) for _ in range(seeds)]
    return Simulated(rows, correct)


def calibrate(rounds: int, seed: int = 0) -> Iterator[Rate]:
    """Yield ``FIGURES`` rates of intervals and verdicts, each from ``rounds`` simulated studies."""
    random = np.random.default_rng(seed)
    for world in WORLDS:
        for seeds in SEED_COUNTS:
            yield from _coverage(world, seeds, rounds, random)
    for world in WORLDS:
        for family in FAMILIES:
            yield _false_verdicts(world, family, 0.0, "supported", rounds, random)
            yield _false_verdicts(world, family, SMALLEST_EFFECT, "refuted", rounds, random)
    for world in ADVISED_WORLDS:
        for family in FAMILIES:
            yield _right_with_advice(world, family, rounds, random)


def _coverage(
    world: World, seeds: int, rounds: int, random: np.random.Generator
) -> tuple[Rate, Rate]:
    """Return how often the intervals of an accuracy and of a difference hold the truth."""
    covered = np.zeros((2, rounds), dtype=bool)
    for number in range(rounds):
        simulated = simulate(world, (ACCURACY, ACCURACY + SMALLEST_EFFECT), seeds, random)
        covered[0, number] = _covers(simulated.accuracy(0), ACCURACY)
        covered[1, number] = _covers(simulated.accuracy(1, than=0), SMALLEST_EFFECT)
    return (
        _rate("interval of an accuracy holds it", world, seeds, 1, covered[0], 0.93, 0.97),
        _rate("interval of a difference holds it", world, seeds, 1, covered[1], 0.93, 0.97),
    )


def _covers(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= truth <= estimate.high


def _false_verdicts(
    world: World, family: int, truth: float, wrong: str, rounds: int, random: np.random.Generator
) -> Rate:
    """Return how often one claim or more of a family gets the verdict ``wrong``.

    Each is about a model that is better than one baseline by the true difference ``truth``.
    """
    seeds = SEED_COUNTS[1]
    hits = []
    for _ in range(rounds):
        simulated = simulate(world, (ACCURACY, *[ACCURACY + truth] * family), seeds, random)
        judgements = judge([[simulated.contrast(model)] for model in range(1, family + 1)])
        hits.append(any(judgement.verdict == wrong for judgement in judgements))
    kind = "no difference" if wrong == "supported" else "the smallest effect"
    what = f"{kind}: a claim of the family is {wrong}"
    return _rate(what, world, seeds, family, np.array(hits), 0.0, 0.05)


def _right_with_advice(world: World, family: int, rounds: int, random: np.random.Generator) -> Rate:
    """Return how often a true claim of twice the smallest effect is supported as advised."""

    def judge_anew(seeds: int) -> Judgement:
        simulated = simulate(world, (ACCURACY, ACCURACY + 2 * SMALLEST_EFFECT), seeds, random)
        # The other claims of the family have no data yet: they take their share of the level.
        return judge([[simulated.contrast(1)], *[[None]] * (family - 1)])[0]

    hits, advised = [], []
    for _ in range(rounds):
        judgement = judge_anew(PILOT_SEEDS)
        seeds = judgement.advice.seeds if judgement.advice is not None else None
        if seeds is not None:
            judgement = judge_anew(seeds)
        hits.append(judgement.verdict == "supported")
        advised.append(seeds or PILOT_SEEDS)
    what = "twice the smallest effect: supported with the advised seeds"
    return _rate(what, world, int(np.median(advised)), family, np.array(hits), POWER, 1.0)


def _rate(
    what: str,
    world: World,
    seeds: int,
    family: int,
    hits: npt.NDArray[np.bool_],
    low: float,
    high: float,
) -> Rate:
    rate = float(hits.mean())
    error = math.sqrt(max(rate * (1 - rate), 1 / len(hits)) / len(hits))
    holds = low - 3 * error <= rate <= high + 3 * error
    return Rate(what, world.name, seeds, family, rate, error, low, high, holds)
