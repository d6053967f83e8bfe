"""Intervals and verdicts against what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cifar_tune.evaluation.stats import (
    Estimate,
    Reading,
    collapse_bound,
    distance_beyond,
    estimate_from_images,
    estimate_from_outcomes,
    tail,
)
from cifar_tune.evaluation.verdicts import Contrast, judge


def contrast(*differences: float, smallest: float = 0.01, shared: float = 0.0) -> Contrast:
    return Contrast(estimate_from_outcomes(differences, shared, 1000), smallest)


def test_without_images_in_common_it_is_students_interval() -> None:
    random = np.random.default_rng(1)
    values = [(random.random(200) < 0.7).astype(float) for _ in range(5)]
    readings = [Reading(np.arange(200) + 200 * k, one) for k, one in enumerate(values)]
    found = estimate_from_images(readings)
    outcomes = [one.mean() for one in values]
    known = stats.ttest_1samp(outcomes, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert found.sd == pytest.approx(np.std(outcomes, ddof=1))


def test_what_seeds_share_does_not_shrink_with_their_number() -> None:
    """Seeds that agree on every image are no more than one look at the images."""
    right = (np.random.default_rng(2).random(500) < 0.6).astype(float)
    rows = np.arange(500)
    few, many = (estimate_from_images([Reading(rows, right)] * k) for k in (2, 20))
    binomial = right.mean() * (1 - right.mean()) / 499
    for found in (few, many):
        assert found.shared_variance == pytest.approx(binomial)
        assert found.high is not None
        assert found.high - found.mean == pytest.approx(1.962 * math.sqrt(binomial), rel=2e-3)


def test_order_of_the_images_does_not_matter() -> None:
    """Equal images in equal order take a shorter way than others."""
    random = np.random.default_rng(6)
    ease = random.normal(size=300)
    readings = [Reading(np.arange(300), (ease > random.normal()).astype(float)) for _ in range(4)]
    turned = [
        Reading(reading.rows[::step], reading.values[::step])
        for reading, step in zip(readings, (1, -1, 1, -1), strict=True)
    ]
    one, other = estimate_from_images(readings), estimate_from_images(turned)
    assert one.shared_variance == pytest.approx(other.shared_variance)
    assert one.high == pytest.approx(other.high)


def test_shared_noise_is_found_where_seeds_share_some_images() -> None:
    random = np.random.default_rng(3)
    ease = random.normal(size=20_000)
    readings = []
    for _ in range(6):
        rows = np.sort(random.permutation(20_000)[:10_000])
        readings.append(Reading(rows, (ease[rows] + random.normal(size=10_000) > 0).astype(float)))
    # Of two such readings a third of the quarter is common; half of the images are.
    found = estimate_from_images(readings)
    assert found.shared_variance == pytest.approx(0.25 / 3 * 0.5 / 10_000, rel=0.1)


def test_one_seed_has_no_interval_and_shows_nothing() -> None:
    one = estimate_from_images([Reading(np.arange(100), np.ones(100))])
    assert (one.low, one.high, one.sd) == (None, None, None)
    (judged,) = judge([[contrast(0.5)]])
    assert judged.verdict == "undecided"
    assert judged.advice is None


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((0.050, 0.052, 0.049, 0.051), "supported"),
        ((-0.050, -0.052, -0.049, -0.051), "refuted"),
        ((0.001, 0.002, 0.001, 0.0015), "refuted"),  # above zero, but less than counts
        ((0.05, -0.04, 0.03, 0.01), "undecided"),
    ],
)
def test_verdict_of_one_claim(differences: tuple[float, ...], verdict: str) -> None:
    (judged,) = judge([[contrast(*differences)]])
    assert judged.verdict == verdict


def test_a_claim_of_several_comparisons_needs_all_and_falls_with_one() -> None:
    good, bad = contrast(0.05, 0.051, 0.052), contrast(-0.05, -0.051, -0.052)
    open_ = contrast(0.05, -0.03, 0.02)
    verdicts = [one.verdict for one in judge([[good, good], [good, open_], [good, bad]])]
    assert verdicts == ["supported", "undecided", "refuted"]
    # What is unknown cannot be shown, but the rest may refute.
    assert [one.verdict for one in judge([[good, None], [bad, None]])] == ["undecided", "refuted"]
    assert judge([[good, bad]])[0].deciding == 1


def test_correction_is_holms() -> None:
    claims = [[contrast(0.02 * k, 0.021 * k, 0.018 * k)] for k in (1.0, 1.2, 1.5)]
    one, two, three = sorted(judge([claim])[0].support_p for claim in claims)
    together = sorted(judged.support_p for judged in judge(claims))
    assert together == pytest.approx([3 * one, max(3 * one, 2 * two), max(3 * one, 2 * two, three)])


def test_advice_grows_with_the_spread_and_gives_up_where_images_decide() -> None:
    calm, wild = (
        judge([[contrast(0.01 + spread, 0.02 - spread, 0.015)]])[0] for spread in (0.02, 0.05)
    )
    assert calm.advice is not None
    assert wild.advice is not None
    assert calm.advice.seeds is not None
    assert wild.advice.seeds is not None
    assert 3 < calm.advice.seeds < wild.advice.seeds
    # The images alone scatter by two points, so no number of seeds shows two.
    (few,) = judge([[contrast(0.02, 0.021, 0.019, shared=0.02**2)]])
    assert few.advice is not None
    assert few.advice.seeds is None
    assert few.advice.images is not None
    assert few.advice.images > 5_000


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("beyond", [0.025, 0.025 / 20])
def test_tail_without_images_is_students(seeds: int, beyond: float) -> None:
    """By quadrature; against the closed form that there is where images make no noise."""
    distance = distance_beyond(beyond, 4.0 * seeds, 0.0, seeds)
    assert distance == pytest.approx(2 * stats.t.isf(beyond, seeds - 1), rel=1e-6)
    assert tail(distance, 4.0 * seeds, 0.0, seeds) == pytest.approx(beyond, rel=1e-6)
    # With the noise of images alone it is the normal.
    assert tail(2.0, 0.0, 1.0, seeds) == pytest.approx(stats.norm.sf(2.0), rel=1e-6)


def test_tail_is_the_one_of_sampled_errors() -> None:
    random = np.random.default_rng(5)
    errors = 1.5 * random.standard_t(2, size=400_000) + random.normal(size=400_000)
    for distance in (2.0, 5.0, 15.0):
        expected = float((errors > distance).mean())
        assert tail(distance, 3 * 1.5**2, 1.0, 3) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("difference", [0.001, 0.02])
def test_two_seeds_that_tie_are_no_certainty(difference: float) -> None:
    """Equal differences of 1,000 images may differ by what rounding hides."""
    tie = estimate_from_outcomes([difference, difference], 0.0, 1_000)
    assert tie.seed_variance == pytest.approx(1 / (12 * 1_000**2))
    assert tie.low is not None
    assert tie.low < tie.mean
    judged = judge([[Contrast(tie, 0.02)], *[[None]] * 19])[0]
    assert judged.verdict == "undecided"
    assert min(judged.support_p, judged.refute_p) > 0.05


def test_no_spread_at_all_shows_nothing() -> None:
    same = Estimate(5.0, 3, 0, 0.0, 0.0)
    assert judge([[Contrast(same, 0.01)]])[0].verdict == "undecided"


def test_with_one_seed_a_claim_hangs_on_the_comparison_that_is_most_against_it() -> None:
    """No p-value tells them apart: a lead of 0.8 points over one, 0.6 points behind another."""
    claim = [contrast(0.008), None, contrast(-0.006), contrast(0.004)]
    (judged,) = judge([claim])
    assert (judged.verdict, judged.deciding) == ("undecided", 2)
    assert judge([[None, None]])[0].deciding == 0


def test_seeds_that_are_added_until_a_verdict_falls_keep_the_promise() -> None:
    """Without a correction for looks 8 % of such claims are supported, none of which is true."""
    random = np.random.default_rng(7)
    wrong = 0
    for differences in random.normal(0.0, 0.01, (400, 20)):
        estimates = (estimate_from_outcomes(differences[:seeds]) for seeds in range(3, 21))
        judged = (judge([[Contrast(one, 0.02)]])[0].verdict for one in estimates)
        wrong += "supported" in judged
    assert wrong / 400 <= 0.025


def test_what_seeds_did_not_show_is_bounded() -> None:
    assert collapse_bound(5) == pytest.approx(0.451, abs=1e-3)
