"""Which configuration is probably the best, on made-up numbers whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import spread_over_seeds

from cifar_tune.evaluation import ranking_model
from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.ranking import SHORTLIST, pooled_sd, rank
from cifar_tune.evaluation.ranking_prior import BETWEEN, DISAGREEMENT, OWN_IMAGES, SPREAD
from cifar_tune.evaluation.ranking_seeds import draw_effects

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
    """The best of 12, whose true accuracies scatter as much as the noise does."""
    generator = np.random.default_rng(1)
    too_high, wrong = [], []
    for _ in range(40):
        truth = generator.normal(0.6, 0.015, 12)
        ranking = rank(draw(truth, 3, 0.025, generator), 10_000)
        best = ranking.observed_best
        too_high.append(best.candidate.mean - truth[best.candidate.numbers[0]])
        wrong.append(best.expected - truth[best.candidate.numbers[0]])
    assert np.mean(too_high) > 0.009
    assert np.mean(wrong) == pytest.approx(0.0, abs=0.005)


def test_without_replicates_nothing_is_certain() -> None:
    """Seeds scatter by two points, twice as much as configurations; nothing in the data says so."""
    generator = np.random.default_rng(2)
    covered, certain = [], 0
    for _ in range(30):
        truth = generator.normal(0.7, 0.01, 12)
        ranking = rank(draw(truth, 1, 0.02, generator), 10_000)
        assert ranking.seed_sd is None
        certain += ranking.standings[0].probability >= 0.9
        covered += [it.low <= truth[it.candidate.numbers[0]] <= it.high for it in ranking.standings]
    assert certain == 0
    assert np.mean(covered) > 0.8


def test_configurations_that_failed_do_not_make_the_others_look_different() -> None:
    generator = np.random.default_rng(3)
    seen, expected = [], []
    for _ in range(15):
        truth = np.r_[generator.normal(0.7, 0.005, 30), generator.uniform(0.1, 0.65, 30)]
        values = generator.binomial(IMAGES, truth) / IMAGES
        best = rank([candidate(j, value) for j, value in enumerate(values)], IMAGES).observed_best
        seen.append(best.candidate.mean - truth[best.candidate.numbers[0]])
        expected.append(best.expected - truth[best.candidate.numbers[0]])
    assert np.mean(seen) > 0.02
    assert abs(np.mean(expected)) < 0.01


def test_what_fresh_seeds_gave_counts() -> None:
    lucky, other = candidate(0, 0.75), candidate(1, 0.73)
    confirmed = (
        replace(lucky, fresh=(0.70, 0.705, 0.695)),
        replace(other, fresh=(0.73, 0.725, 0.735)),
    )
    before, after = rank([lucky, other], 10_000), rank(confirmed, 10_000)
    assert before.standings[0].candidate.label == lucky.label
    assert after.standings[0].candidate.label == other.label
    assert after.standings[0].probability > 0.8
    assert after.seed_sd is not None
    assert after.observed_best.candidate.mean == 0.75


def test_the_prior_is_what_the_recorded_studies_say() -> None:
    printed = "\n".join(spread_over_seeds.describe())
    assert f"OWN_IMAGES = {OWN_IMAGES}; DISAGREEMENT = {DISAGREEMENT}" in printed
    assert f"SPREAD = {SPREAD}; of studies 0.3; of configurations 0.8" in printed
    assert f"BETWEEN = {BETWEEN}" in printed


def test_probabilities_add_up_and_are_the_same_each_time() -> None:
    candidates = [candidate(number, 0.5 + number / 100) for number in range(6)]
    one, other = rank(candidates, IMAGES), rank(candidates, IMAGES)
    assert one == other
    assert sum(standing.probability for standing in one.standings) == pytest.approx(1)


def test_the_short_list_is_short_however_many_are_alike() -> None:
    alike = [candidate(number, 0.6 + number / 1000) for number in range(40)]
    best = [(number,) for number in (39, 38, 37, 36)]
    assert [one.candidate.numbers for one in rank(alike, IMAGES).shortlist] == best
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
    assert ranking.seed_sd == pooled_sd(candidates)


def test_spread_over_seeds_is_not_known_from_single_runs() -> None:
    assert pooled_sd([candidate(0, 0.4), candidate(1, 0.5)]) is None
    assert rank([candidate(0, 0.4), candidate(1, 0.5)], IMAGES).seed_sd is None


def test_accuracies_of_nothing_and_of_all() -> None:
    ranking = rank([candidate(0, 0.0), candidate(1, 1.0), candidate(2, 1.0)], 50)
    assert ranking.observed_best.candidate.numbers == (1,)
    assert all(np.isfinite(one.expected) for one in ranking.standings)


def test_what_seeds_have_in_common_cancels_in_a_comparison() -> None:
    """Seeds move all configurations by two points together, and each by 0.3 points besides."""
    generator = np.random.default_rng(4)
    effects = generator.normal(0, 0.02, 5)
    values = 0.7 + 0.008 * np.arange(6)[:, None] + effects + generator.normal(0, 0.003, (6, 5))
    paired = [candidate(number, *outcomes) for number, outcomes in enumerate(values)]
    apart = [
        replace(one, seeds=tuple(100 * number + k for k in range(5)))
        for number, one in enumerate(paired)
    ]
    together, alone = (rank(candidates, 10_000) for candidates in (paired, apart))
    assert together.standings[0].candidate.numbers == (5,)
    assert together.standings[0].probability > 0.9
    assert alone.standings[0].probability < 0.7
    # It does not cancel in an accuracy.
    first = together.standings[0]
    assert first.high - first.low > 0.02


def test_effects_of_seeds_are_found_where_there_are_some() -> None:
    generator = np.random.default_rng(5)
    effects = np.array([0.03, -0.02, 0.01, -0.02])
    names = [(3, 1, 4, 2)] * 8 + [(3,)]
    noise = generator.normal(0, 0.002, (9, 4))
    outcomes = [tuple(0.5 + 0.02 * j + effects + noise[j]) for j in range(8)]
    outcomes.append((0.5 + effects[0],))
    taken, shared = draw_effects(outcomes, names, 6, generator)
    left = np.array([[part.std() for part in draw[:8]] for draw in taken])
    assert left.max() < 0.01
    assert np.mean([draw[8][0] for draw in taken]) == pytest.approx(0.5, abs=0.004)
    assert 0.005 < np.median(shared) < 0.05


@pytest.mark.parametrize(
    "names", [[(1,), (1,)], [(1, 2), (3, 4)], [(1, 2), (1,)], [(1, 2), (1, 3)]]
)
def test_without_two_seeds_in_common_there_is_nothing_to_take_out(
    names: list[tuple[int, ...]],
) -> None:
    outcomes = [tuple(0.5 + 0.1 * seed for seed in seeds) for seeds in names]
    taken, shared = draw_effects(outcomes, names, 3, np.random.default_rng(0))
    assert not shared.any()
    for draw in taken:
        for part, whole in zip(draw, outcomes, strict=True):
            assert tuple(part) == whole


def test_many_configurations_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = [candidate(number, 0.6 + number / 100, 0.61) for number in range(8)]
    whole = rank(candidates, IMAGES)
    monkeypatch.setattr(ranking_model, "CHUNK", 1_000)
    parts = rank(candidates, IMAGES)
    for one, other in zip(whole.standings, parts.standings, strict=True):
        assert one.candidate == other.candidate
        assert one.expected == pytest.approx(other.expected, abs=1e-9)
        assert one.probability == pytest.approx(other.probability, abs=0.03)
