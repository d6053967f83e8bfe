"""What the statistics cannot reach where few seeds speak, and what claims need to be decided.

``python tests/support/few_seeds.py`` prints the figures of "What is not reached" in
``docs/statistics.md``. Images are drawn anew for each run here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cifar_tune.evaluation import calibration, simulation, verdicts
from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.ranking import rank

REPEATS = 60
CENTRE = 0.7


@dataclass(frozen=True)
class Case:
    """A study: ``replicated`` of its configurations have three seeds, ``failed`` of them fail.

    Attributes:
        alike: The correlation of the true accuracies of neighbours, as along a hyperparameter.
        has_heavy_tails: Whether seeds are Student's t with three degrees of freedom, else normal.
    """

    spread: tuple[float, float]
    between: float
    replicated: int
    configurations: int = 12
    images: int = 10_000
    failed: int = 0
    alike: float = 0.0
    has_heavy_tails: bool = False


CASES = (
    Case((0.02, 0.02), 0.01, 0),
    Case((0.02, 0.02), 0.01, 4),
    Case((0.02, 0.02), 0.04, 4),
    Case((0.005, 0.005), 0.03, 1),
    Case((0.002, 0.04), 0.02, 12),
    Case((1e-6, 1e-6), 0.005, 0, 60, 1_000, 30),
    Case((0.01, 0.01), 0.015, 30, 30, alike=0.9),
    Case((0.02, 0.02), 0.03, 6, 6, has_heavy_tails=True),
    Case((0.002, 0.03), 0.02, 3, 40),
)


def describe_rankings() -> Iterator[str]:
    """Yield, for each case, how far the highest is above the truth, as observed and expected."""
    random = np.random.default_rng(3)
    for case in CASES:
        observed, expected, said, true = [], [], [], []
        for _ in range(REPEATS):
            truth, candidates = _simulate(case, random)
            ranking = rank(candidates, case.images)
            best = ranking.observed_best
            right = truth[best.candidate.numbers[0]]
            observed.append(best.candidate.mean - right)
            expected.append(best.expected - right)
            first = ranking.standings[0]
            if first.probability >= 0.5:
                said.append(first.probability)
                true.append(first.candidate.numbers[0] == truth.argmax())
        error = 100 * float(np.std(expected)) / math.sqrt(REPEATS)
        yield (
            f"{case}: observed {100 * np.mean(observed):+.1f}, expected "
            f"{100 * np.mean(expected):+.1f} ± {error:.1f}; called best with 50 % or more "
            f"{len(said)} times, {sum(said):.1f} expected to be true, true {sum(true)}, highest "
            f"{max(said, default=0):.2f}"
        )


def _simulate(
    case: Case, random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], list[Candidate]]:
    steps = random.standard_normal(case.configurations)
    for place in range(1, case.configurations):
        fresh = math.sqrt(1 - case.alike**2) * steps[place]
        steps[place] = case.alike * steps[place - 1] + fresh
    truth = CENTRE + case.between * steps
    truth[case.configurations - case.failed :] = random.uniform(0.1, CENTRE - 0.05, case.failed)
    spreads = np.exp(random.uniform(*np.log(case.spread), case.configurations))
    candidates = []
    for number, (mean, spread) in enumerate(zip(truth, spreads, strict=True)):
        seeds = 3 if number < case.replicated else 1
        luck = random.standard_normal(seeds)
        if case.has_heavy_tails:
            luck = random.standard_t(3, seeds) / math.sqrt(3)
        runs = mean + spread * luck
        outcomes = random.binomial(case.images, np.clip(runs, 0, 1)) / case.images
        candidates.append(Candidate(f"trial-{number}", (number,), tuple(outcomes), {}, {}))
    return truth, candidates


def describe_needs() -> Iterator[str]:
    """Yield the first planned look that supports twice the smallest effect with 80 %."""
    random = np.random.default_rng(1)
    for world in calibration.ADVISED_WORLDS:
        accuracies = (world.accuracy, world.accuracy + 2 * calibration.SMALLEST_EFFECT)
        for family in calibration.FAMILIES:
            for look in verdicts.LOOKS:
                hits = 0
                for _ in range(REPEATS):
                    simulated = simulation.simulate(world, accuracies, look, random)
                    claims = [[calibration.contrast(simulated, 1)], *[[None]] * (family - 1)]
                    judged = verdicts.judge(claims, gives_advice=False)
                    hits += judged[0].verdict == "supported"
                if hits >= verdicts.POWER * REPEATS:
                    yield f"{world.name}, {family} claims: {look} seeds"
                    break


if __name__ == "__main__":
    for line in (*describe_rankings(), *describe_needs()):
        sys.stdout.write(line + "\n")
