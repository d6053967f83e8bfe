"""Which configuration is probably the best, on made-up numbers whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.ranking import SHORTLIST, pooled_variance, rank

IMAGES = 1_000


def candidate(number: int, *outcomes: float) -> Candidate:
    return Candidate(f"sampled/trial-{number}", (number,), outcomes, {}, {})


def draw(
    truth: np.ndarray, seeds: int, sd: float, generator: np.random.Generator
) -> list[Candidate]:
    return [
        candidate(number, *np.clip(generator.normal(true, sd, seeds), 0, 1))
        for number, true in enumerate(truth)
    ]


def test_of_equal_configurations_the_lead_is_luck() -> None:
    generator = np.random.default_rng(0)
    ranking = rank(draw(np.full(50, 0.6), 2, 0.01, generator), IMAGES)
    assert ranking.lead is not None
    assert ranking.expected_lead is not None
    assert ranking.lead > 0
    assert ranking.expected_lead < 0.2 * ranking.lead
    best = ranking.observed_best
    assert best.luck > 0.01
    assert best.expected == pytest.approx(0.6, abs=0.006)
    assert best.probability < 0.2


def test_a_lead_far_beyond_the_noise_is_no_luck() -> None:
    ranking = rank(
        [candidate(0, 0.5, 0.51), candidate(1, 0.8, 0.81), candidate(2, 0.52, 0.5)], IMAGES
    )
    assert ranking.observed_best.candidate.numbers == (1,)
    assert ranking.standings[0] is ranking.observed_best
    assert ranking.observed_best.probability > 0.99
    assert abs(ranking.observed_best.luck) < 0.01


def test_what_is_expected_of_the_best_is_right_on_average() -> None:
    """The best of 20, whose true accuracies scatter as much as the noise does."""
    generator = np.random.default_rng(1)
    too_high, luck = [], []
    for _ in range(300):
        truth = generator.normal(0.6, 0.0155, 20)  # the binomial standard error of 1,000 images
        seen = generator.binomial(IMAGES, truth) / IMAGES
        ranking = rank([candidate(number, value) for number, value in enumerate(seen)], IMAGES)
        best = ranking.observed_best
        too_high.append(best.candidate.mean - truth[best.candidate.numbers[0]])
        luck.append(best.luck)
    assert np.mean(too_high) > 0.012
    assert np.mean(luck) == pytest.approx(np.mean(too_high), abs=0.003)


def test_probabilities_add_up_and_are_the_same_each_time() -> None:
    candidates = [candidate(number, 0.5 + number / 100) for number in range(6)]
    one, other = rank(candidates, IMAGES), rank(candidates, IMAGES)
    assert one == other
    assert sum(standing.probability for standing in one.standings) == pytest.approx(1)


def test_the_short_list_has_three_and_all_that_overlap_the_first() -> None:
    apart = [candidate(number, value) for number, value in enumerate((0.9, 0.7, 0.5, 0.3))]
    assert [one.candidate.numbers for one in rank(apart, IMAGES).shortlist] == [(0,), (1,), (2,)]
    alike = [candidate(number, 0.6 + number / 1000) for number in range(8)]
    assert len(rank(alike, IMAGES).shortlist) == 8
    assert len(rank(alike, IMAGES, top=2).shortlist) == 2
    assert len(rank(alike[:2], IMAGES).shortlist) == 2 < SHORTLIST


def test_one_configuration_leads_nothing() -> None:
    ranking = rank([candidate(0, 0.4)], IMAGES)
    assert (ranking.lead, ranking.expected_lead) == (None, None)
    assert ranking.observed_best.luck == 0
    assert ranking.observed_best.probability == 1


def test_more_seeds_are_trusted_more() -> None:
    several = candidate(0, 0.60, 0.61, 0.60, 0.61, 0.60)
    candidates = [several, candidate(1, 0.62), candidate(2, 0.50, 0.51), candidate(3, 0.55)]
    ranking = rank(candidates, IMAGES)
    width = {one.candidate.numbers[0]: one.high - one.low for one in ranking.standings}
    assert width[0] < width[1]
    assert ranking.seed_sd == pytest.approx(pooled_variance(candidates) ** 0.5)


def test_spread_over_seeds_is_not_known_from_single_runs() -> None:
    assert pooled_variance([candidate(0, 0.4), candidate(1, 0.5)]) is None
    assert rank([candidate(0, 0.4), candidate(1, 0.5)], IMAGES).seed_sd is None


def test_accuracies_of_nothing_and_of_all() -> None:
    ranking = rank([candidate(0, 0.0), candidate(1, 1.0), candidate(2, 1.0)], 50)
    assert ranking.observed_best.candidate.numbers == (1,)
    assert all(np.isfinite(one.expected) for one in ranking.standings)
