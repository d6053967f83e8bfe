"""How good intervals and verdicts are: simulated studies whose truth is known, judged as real ones.

The worlds are those of ``simulation``. ``calibration_of_ranking`` does the same for what
``best show`` and ``best confirm`` say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cifar_tune.evaluation.simulation import Simulated, World, simulate
from cifar_tune.evaluation.stats import LEVEL, Estimate
from cifar_tune.evaluation.verdicts import POWER, Contrast, Judgement, judge

FAMILIES = (1, 6, 20)
SEED_COUNTS = (3, 5, 10)
LOOKED_AT = (2, 3, 4, 5, 7, 10)
"""The numbers of seeds after which a report is read again, planned or not."""
SMALLEST_EFFECT = 0.02
PILOT_SEEDS = 3
ADVICES = 2
"""How often the advice is followed."""

WORLDS = (
    World("seeds scatter most", seed=0.16, shared=1.5, own=0.7, images=2_000),
    World("both noises alike", seed=0.05, shared=1.5, own=0.7, images=2_000),
    World("images decide", seed=0.01, shared=1.5, own=0.7, images=1_000),
    World("each seed its own split", seed=0.05, shared=1.5, own=0.7, images=4_000, share=0.5),
    World("many easy images", seed=0.1, shared=3.0, own=0.7, images=2_000, accuracy=0.93),
    World("heavy tails", seed=0.1, shared=1.5, own=0.7, images=2_000, has_heavy_tails=True),
    World("unequal spreads", seed=0.02, shared=1.5, own=0.7, images=2_000, later=10.0),
    World("seeds in common", seed=0.1, shared=1.5, own=0.7, images=2_000, common=0.7),
)
"""At an accuracy of 75 %, a luck of 0.16, 0.05 and 0.01 scatters by 2.6, 0.8 and 0.2 points."""
ADVISED_WORLDS = tuple(world for world in WORLDS[:4] if world.name != "images decide")
"""Where images decide, no number of seeds does, and the advice says so."""
COLLAPSING = World(
    "one run in twenty collapses", seed=0.05, shared=1.5, own=0.7, images=2_000, collapses=0.05
)
COVERAGES = 2 * len(WORLDS) * len(SEED_COUNTS)
FIGURES = COVERAGES + 2 * len(WORLDS) * len(FAMILIES) + len(ADVISED_WORLDS) * len(FAMILIES) + 1


@dataclass(frozen=True)
class Rate:
    """How often something happened, or by how much something is off on average.

    Attributes:
        seeds: The number of seeds of each model; the median of those that were advised.
        family: The number of claims judged together; of configurations that are ranked.
        rate: The fraction of the rounds in which it happened, or the mean.
        error: The standard error of ``rate``.
        low: The least that the rate should be.
        high: The most that the rate should be.
        holds: Whether it is within these, give or take three standard errors.
        unit: ``%`` for a fraction, ``points`` for a mean.
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
    unit: Literal["%", "points"] = "%"


def calibrate(rounds: int, seed: int = 0) -> Iterator[Rate]:
    """Yield ``FIGURES`` rates of intervals and verdicts, each from ``rounds`` simulated studies."""
    random = np.random.default_rng(seed)
    for world in WORLDS:
        for seeds in SEED_COUNTS:
            yield from _coverage(world, seeds, rounds, random)
    for world in WORLDS:
        yield from _false_verdicts(world, 0.0, "supported", rounds, random)
        yield from _false_verdicts(world, SMALLEST_EFFECT, "refuted", rounds, random)
    for world in ADVISED_WORLDS:
        for family in FAMILIES:
            yield _right_with_advice(world, family, rounds, random)
    yield _collapsed(rounds, random)


def contrast(simulated: Simulated, model: int, seeds: int | None = None) -> Contrast:
    """Return the contrast of a model with the first, from its first seeds."""
    return Contrast(simulated.accuracy(model, than=0, seeds=seeds), SMALLEST_EFFECT)


def _coverage(
    world: World, seeds: int, rounds: int, random: np.random.Generator
) -> tuple[Rate, Rate]:
    """Return how often the intervals of an accuracy and of a difference hold the truth."""
    covered = np.zeros((2, rounds), dtype=bool)
    accuracies = (world.accuracy, world.accuracy + SMALLEST_EFFECT)
    for number in range(rounds):
        simulated = simulate(world, accuracies, seeds, random)
        covered[0, number] = covers(simulated.accuracy(0), world.accuracy)
        covered[1, number] = covers(simulated.accuracy(1, than=0), SMALLEST_EFFECT)
    return (
        rate_of("interval of an accuracy holds it", world, (seeds, 1), covered[0], (0.93, 0.97)),
        rate_of("interval of a difference holds it", world, (seeds, 1), covered[1], (0.93, 0.97)),
    )


def covers(estimate: Estimate, truth: float) -> bool:
    """Return whether an interval holds the truth."""
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= truth <= estimate.high


def _false_verdicts(
    world: World, truth: float, wrong: str, rounds: int, random: np.random.Generator
) -> Iterator[Rate]:
    """Yield how often one claim or more of a family gets the verdict ``wrong`` at any look.

    Each is about a model that is better than one baseline by the true difference ``truth``. The
    smaller families are the first claims of the largest.
    """
    largest = max(FAMILIES)
    accuracies = (world.accuracy, *[world.accuracy + truth] * largest)
    hits = np.zeros((len(FAMILIES), rounds), dtype=bool)
    for number in range(rounds):
        simulated = simulate(world, accuracies, LOOKED_AT[-1], random)
        for seeds in LOOKED_AT:
            claims = [[contrast(simulated, model, seeds)] for model in range(1, largest + 1)]
            for place, family in enumerate(FAMILIES):
                judged = judge(claims[:family], gives_advice=False)
                hits[place, number] |= any(it.verdict == wrong for it in judged)
    kind = "no difference" if wrong == "supported" else "the smallest effect"
    what = f"{kind}: a claim of the family is {wrong} in one of {len(LOOKED_AT)} looks"
    for family, of_family in zip(FAMILIES, hits, strict=True):
        yield rate_of(what, world, (LOOKED_AT[-1], family), of_family, (0.0, (1 - LEVEL) / 2))


def _right_with_advice(world: World, family: int, rounds: int, random: np.random.Generator) -> Rate:
    """Return how often a true claim of twice the smallest effect is supported as advised."""

    def judge_anew(seeds: int) -> Judgement:
        accuracies = (world.accuracy, world.accuracy + 2 * SMALLEST_EFFECT)
        simulated = simulate(world, accuracies, seeds, random)
        # The other claims of the family have no data yet: they take their share of the level.
        return judge([[contrast(simulated, 1)], *[[None]] * (family - 1)])[0]

    hits, advised = [], []
    for _ in range(rounds):
        judgement, seeds = judge_anew(PILOT_SEEDS), PILOT_SEEDS
        for number in range(ADVICES):
            if judgement.advice is None or judgement.advice.seeds is None:
                break
            seeds = judgement.advice.seeds
            judgement = judge_anew(seeds)
            if number == 0:
                advised.append(seeds)
        hits.append(judgement.verdict == "supported")
    what = "twice the smallest effect: supported, the advised seeds added up to twice"
    median = int(np.median(advised)) if advised else PILOT_SEEDS
    return rate_of(what, world, (median, family), np.array(hits), (POWER, 1.0))


def _collapsed(rounds: int, random: np.random.Generator) -> Rate:
    """Return how often a claim is supported although a run was seen to collapse."""
    world, seeds, hits = COLLAPSING, SEED_COUNTS[1], []
    for _ in range(rounds):
        # As many points above the first as collapses cost: no difference in truth.
        lifted = (world.accuracy - 0.1 * world.collapses) / (1 - world.collapses)
        simulated = simulate(world, (world.accuracy, lifted), seeds, random)
        judgement = judge([[contrast(simulated, 1)]])[0]
        hits.append(simulated.has_collapsed and judgement.verdict == "supported")
    what = "no difference: a claim is supported although a run was seen to collapse"
    return rate_of(what, world, (seeds, 1), np.array(hits), (0.0, (1 - LEVEL) / 2))


def rate_of(
    what: str,
    world: World,
    counts: tuple[int, int],
    hits: npt.NDArray[np.bool_],
    wanted: tuple[float, float],
) -> Rate:
    """Return how often something happened, with the numbers of seeds and claims, and its bounds."""
    rate = float(hits.mean())
    error = math.sqrt(max(rate * (1 - rate), 1 / len(hits)) / len(hits))
    holds = wanted[0] - 3 * error <= rate <= wanted[1] + 3 * error
    return Rate(what, world.name, *counts, rate, error, *wanted, holds)
