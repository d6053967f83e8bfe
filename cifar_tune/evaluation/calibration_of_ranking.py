"""How good the ranking is: what ``best show`` and ``best confirm`` say in simulated studies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cifar_tune.evaluation.calibration import Rate, covers, rate_of
from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.ranking import Ranking, rank
from cifar_tune.evaluation.simulation import World, simulate

CONFIGURATIONS = 12
SEEDS = 3
BINS = (0.5, 0.6, 0.7, 0.8, 0.9)
CASES = 200
"""Fewer cases than this say nothing of a bin."""
TOLERANCE = 0.05
"""How far "is best" may be from how often it is true."""
BIAS = 0.003
"""How far the expected accuracy of the best may be off."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Search:
    """A study to be ranked.

    Attributes:
        between: The standard deviation of the true accuracies.
        replicated: How many configurations have so many ``seeds``; the others have one.
        failed: How many of them fail.
    """

    world: World
    between: float
    replicated: int = CONFIGURATIONS
    failed: int = 0
    seeds: int = SEEDS


def _world(name: str, luck: float) -> World:
    return World(f"ranking: {name}", luck, 1.5, 0.7, 2_000)


SEARCHES = (
    Search(_world("all replicated", 0.05), 0.02),
    Search(_world("seeds scatter most", 0.12), 0.02),
    Search(_world("two seeds", 0.05), 0.02, seeds=2),
    Search(_world("four replicated", 0.03), 0.02, replicated=4),
    Search(replace(_world("heavy tails", 0.06), has_heavy_tails=True), 0.02),
    Search(replace(_world("unequal spreads", 0.02), later=6.0), 0.02),
    Search(replace(_world("seeds in common", 0.1), common=0.7), 0.02),
    Search(replace(_world("many easy images", 0.1), shared=3.0, accuracy=0.93), 0.01),
    Search(_world("half of them fail", 0.03), 0.01, replicated=6, failed=6),
)
GUESSED = Search(_world("no replicate", 0.05), 0.02, replicated=0)
RANKING_FIGURES = 3 * len(SEARCHES) + 1


@dataclass(frozen=True)
class _Ranked:
    """A ranking with the truth.

    Attributes:
        truth: The true accuracies, by the number of the configuration.
        confirmed: Whether the interval of the one that fresh seeds chose holds its accuracy.
    """

    ranking: Ranking
    truth: Floats
    confirmed: bool


def calibrate_ranking(rounds: int, seed: int = 1) -> Iterator[Rate]:
    """Yield ``RANKING_FIGURES`` rates, and one for each bin of "is best" that has the cases."""
    random = np.random.default_rng(seed)
    everything = []
    for search in SEARCHES:
        ranked = [_rank(search, random) for _ in range(rounds)]
        everything += ranked
        yield _bias(search, ranked)
        yield _coverage(search, ranked)
        held = np.array([it.confirmed for it in ranked])
        what = "interval of the confirmed best holds its accuracy"
        yield rate_of(what, search.world, (SEEDS, CONFIGURATIONS), held, (0.93, 0.97))
    guessed = [_rank(GUESSED, random) for _ in range(rounds)]
    certain = [
        it.ranking.standings[0].probability >= BINS[-1] and not _is_best(it, 0) for it in guessed
    ]
    what = "wrongly called best with 90 % or more, from one seed each"
    yield rate_of(what, GUESSED.world, (1, CONFIGURATIONS), np.array(certain), (0.0, 0.05))
    yield from _reliability(everything)


def _rank(search: Search, random: np.random.Generator) -> _Ranked:
    world = search.world
    truth = random.normal(world.accuracy, search.between, CONFIGURATIONS)
    if search.failed:
        low, high = 0.2, world.accuracy - 3 * search.between
        truth[-search.failed :] = random.uniform(low, high, search.failed)
    truth = np.clip(truth, 0.01, 0.99)
    simulated = simulate(world, truth.tolist(), 2 * SEEDS, random)
    candidates = []
    for number in range(CONFIGURATIONS):
        seeds = search.seeds if number < search.replicated else 1
        outcomes = simulated.outcomes(number, seeds)
        candidates.append(Candidate(f"trial-{number}", (number,), outcomes, {}, {}))
    ranking = rank(candidates, world.images)
    shortlist = [standing.candidate.numbers[0] for standing in ranking.shortlist]
    fresh = {number: simulated.outcomes(number, 2 * SEEDS)[SEEDS:] for number in shortlist}
    chosen = max(fresh, key=lambda number: sum(fresh[number]))
    estimate = simulated.last(SEEDS).accuracy(chosen)
    return _Ranked(ranking, truth, covers(estimate, float(truth[chosen])))


def _is_best(ranked: _Ranked, place: int) -> bool:
    return ranked.ranking.standings[place].candidate.numbers[0] == int(ranked.truth.argmax())


def _bias(search: Search, ranked: list[_Ranked]) -> Rate:
    """Return by how much the expected accuracy of the first is too high."""
    firsts = [it.ranking.standings[0] for it in ranked]
    errors = np.array(
        [
            first.expected - it.truth[first.candidate.numbers[0]]
            for first, it in zip(firsts, ranked, strict=True)
        ]
    )
    what = "expected accuracy of the best, above the true one"
    return _mean_of(what, search.world.name, search.seeds, errors, BIAS)


def _coverage(search: Search, ranked: list[_Ranked]) -> Rate:
    held = [
        [s.low <= it.truth[s.candidate.numbers[0]] <= s.high for s in it.ranking.standings]
        for it in ranked
    ]
    shares = np.array(held).mean(axis=1)
    error = float(shares.std() / math.sqrt(len(shares))) + 1e-9
    rate, low, high = float(shares.mean()), 0.93, 1.0
    holds = low - 3 * error <= rate <= high
    what = "interval of what is expected holds the truth"
    return Rate(
        what, search.world.name, search.seeds, CONFIGURATIONS, rate, error, low, high, holds
    )


def _reliability(ranked: list[_Ranked]) -> Iterator[Rate]:
    """Yield, for each bin of "is best", how much more often it was true than said."""
    said = np.array([s.probability for it in ranked for s in it.ranking.standings])
    true = np.array([_is_best(it, place) for it in ranked for place in range(CONFIGURATIONS)])
    for low, high in zip(BINS, (*BINS[1:], 1.01), strict=True):
        chosen = (said >= low) & (said < high)
        if chosen.sum() >= CASES:
            what = f'"is best" of {100 * low:.0f} to {100 * min(high, 1):.0f} %: true more often'
            errors = true[chosen] - said[chosen]
            yield _mean_of(what, "ranking: all of these", SEEDS, errors, TOLERANCE)


def _mean_of(what: str, world: str, seeds: int, errors: Floats, bound: float) -> Rate:
    mean = float(errors.mean())
    error = float(errors.std() / math.sqrt(len(errors)))
    holds = abs(mean) <= bound + 3 * error
    return Rate(what, world, seeds, CONFIGURATIONS, mean, error, -bound, bound, holds, "points")
