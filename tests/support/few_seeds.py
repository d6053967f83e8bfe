"""What the statistics cannot reach where few seeds speak, and what claims need to be decided.

``python tests/support/few_seeds.py`` prints the figures of "What is not reached" in
``docs/statistics.md``. Seeds are normal here, and images are drawn anew for each run.
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
    """A study: ``replicated`` of its configurations have three seeds, ``failed`` of them fail."""

    spread: tuple[float, float]
    between: float
    replicated: int
    configurations: int = 12
    images: int = 10_000
    failed: int = 0


CASES = (
    Case((0.02, 0.02), 0.01, 0),
    Case((0.02, 0.02), 0.01, 4),
    Case((0.02, 0.02), 0.04, 4),
    Case((0.005, 0.005), 0.03, 1),
    Case((0.002, 0.04), 0.02, 12),
    Case((1e-6, 1e-6), 0.005, 0, 60, 1_000, 30),
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
            f"{len(said)} times, true {sum(true)}, highest {max(said, default=0):.2f}"
        )


def _simulate(
    case: Case, random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], list[Candidate]]:
    truth = random.normal(CENTRE, case.between, case.configurations)
    truth[case.configurations - case.failed :] = random.uniform(0.1, CENTRE - 0.05, case.failed)
    spreads = np.exp(random.uniform(*np.log(case.spread), case.configurations))
    candidates = []
    for number, (mean, spread) in enumerate(zip(truth, spreads, strict=True)):
        runs = random.normal(mean, spread, 3 if number < case.replicated else 1)
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
