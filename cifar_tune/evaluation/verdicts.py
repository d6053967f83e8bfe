"""Claims that one model is better than others, judged: supported, refuted or undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from cifar_tune.evaluation.stats import (
    LEVEL,
    Estimate,
    degrees_of_freedom,
    distance_beyond,
    rounding_variance,
    tail,
    total_variance,
)

POWER = 0.8
"""The probability with which the advised number of seeds decides, if the spread is as assumed."""
LOOKS = (3, 5, 7, 10, 15, 20, 30, 45, 70, 100, 150, 200, 300, 450, 700, 1_000)
"""The numbers of seeds at which a claim is planned to be judged."""
LOOK_FACTOR = 6
"""What p-values are corrected by for the looks that are planned: Pocock's constant nominal level
("Group sequential methods in the design and analysis of clinical trials", Biometrika 64, 1977)."""
UNPLANNED_FACTOR = 60
"""What they are corrected by at any other number of seeds."""

Verdict = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True)
class Contrast:
    """A difference that a claim says is above zero, and the smallest one that counts (> 0)."""

    difference: Estimate
    smallest_effect: float


@dataclass(frozen=True)
class Advice:
    """How to decide an undecided claim.

    Attributes:
        seeds: The first planned look that decides it with probability ``POWER``; None where no
            number of seeds does, because the images are too few, or where nothing can be said yet.
        images: How many images would do, where there are too few.
        assumed: The true difference that this holds for.
        contrast: The place among the claim's contrasts of the one that takes the most.
    """

    seeds: int | None
    images: int | None
    assumed: float
    contrast: int


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim, and what it rests on.

    Attributes:
        support_p: The probability of such data where the claim is false, corrected for all claims
            of the family (Holm) and for the planned looks.
        refute_p: The same where it is true by the smallest effect that counts.
        deciding: The place among the claim's contrasts of the one that the verdict hangs on: that
            which stands most in the way of the claim. One without data is never it.
        advice: How to decide a claim that is undecided for want of seeds or images.
    """

    verdict: Verdict
    support_p: float
    refute_p: float
    deciding: int
    advice: Advice | None


def judge(
    claims: Sequence[Sequence[Contrast | None]], *, gives_advice: bool = True
) -> list[Judgement]:
    """Judge a family of claims together.

    A claim is a list of contrasts and says that each of them is above zero. It is supported where
    all are shown to be above zero: no correction is needed among them (Berger, "Multiparameter
    hypothesis testing and acceptance sampling", Technometrics 24, 1982). It is refuted where one is
    shown to be below the smallest effect that counts, which is corrected for their number
    (Bonferroni), also if it is above zero (inferiority to the smallest effect of interest: Lakens,
    Scheel, Isager, "Equivalence testing for psychological research", AMPPS 1, 2018). Over the
    family both are corrected by Holm ("A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 1979), and each for ``LOOKS``, so that the probability of
    one or more wrong verdicts of a kind is at most 2.5 %, also if seeds are added until a verdict
    falls.

    None stands for a contrast whose data are missing: it cannot be shown to be above zero, but the
    others may refute the claim. Every claim counts in the family.
    """
    supports = [[_p_value(contrast) for contrast in claim] for claim in claims]
    refutes = [[_p_value(contrast, refutes=True) for contrast in claim] for claim in claims]
    support_p = _holm([max(values, default=1.0) for values in supports])
    refute_p = _holm([min(1.0, len(values) * min(values, default=1.0)) for values in refutes])
    judgements = []
    for place, claim in enumerate(claims):
        verdict = _verdict(support_p[place], refute_p[place])
        against = refutes[place] if verdict == "refuted" else [-p for p in supports[place]]
        deciding = _find_deciding(claim, against)
        known = [contrast for contrast in claim if contrast is not None]
        is_open = verdict == "undecided" and len(known) == len(claim) > 0
        advice = advise(known, len(claims)) if is_open and gives_advice else None
        judgements.append(Judgement(verdict, support_p[place], refute_p[place], deciding, advice))
    return judgements


def _find_deciding(claim: Sequence[Contrast | None], against: Sequence[float]) -> int:
    """Return the place of the least of ``against``; where several are, the least difference."""

    def order(place: int) -> tuple[bool, float, float]:
        contrast = claim[place]
        if contrast is None:
            return True, 0.0, 0.0
        return False, against[place], contrast.difference.mean / contrast.smallest_effect

    return min(range(len(claim)), key=order, default=0)


def last_look(seeds: int) -> int:
    """Return at which number of seeds the last planned look was; all of them before the first."""
    return max((look for look in LOOKS if look <= seeds), default=seeds)


def look_factor(seeds: int) -> int:
    """Return what a p-value at so many seeds is corrected by for looking again."""
    return LOOK_FACTOR if seeds in LOOKS else UNPLANNED_FACTOR


def _verdict(support_p: float, refute_p: float) -> Verdict:
    level = (1 - LEVEL) / 2
    if refute_p <= level:
        return "refuted"
    return "supported" if support_p <= level else "undecided"


def _p_value(contrast: Contrast | None, *, refutes: bool = False) -> float:
    """Return the one-sided p-value against a difference of zero or less, corrected for looks.

    With ``refutes``, it is the one against a difference of the smallest effect or more.
    """
    spread = None if contrast is None else _spread(contrast.difference)
    if contrast is None or spread is None:
        return 1.0
    difference = contrast.difference
    distance = contrast.smallest_effect - difference.mean if refutes else difference.mean
    uncorrected = tail(distance, spread, difference.shared_variance, difference.seeds)
    return min(1.0, look_factor(difference.seeds) * uncorrected)


def _spread(difference: Estimate) -> float | None:
    """Return the variance over seeds; None with one seed, and where all tie in whole."""
    if difference.seed_variance is None:
        return None
    spread = max(difference.seed_variance, rounding_variance(difference.images))
    return spread if spread + difference.shared_variance > 0 else None


def _holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's corrected p-values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    ranked = np.arange(len(order), 0, -1) * np.asarray(p_values)[order]
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(np.minimum(ranked, 1.0))
    return [float(value) for value in corrected]


# --- advice -------------------------------------------------------------------------------------


def advise(claim: Sequence[Contrast], family: int) -> Advice | None:
    """Return how many seeds decide a claim among ``family`` claims with probability ``POWER``.

    The spread is not known either: it is taken where half of all samples would be below theirs. So
    the advice is as often too low as too high, and where a verdict does not fall then, it is given
    again. There is none where a contrast has one seed and so no spread.
    """
    if any(_spread(contrast.difference) is None for contrast in claim):
        return None
    places = range(len(claim))
    against = [place for place in places if _points_against(claim[place])]
    if against:
        # One contrast refutes the claim: the one that does so most easily.
        share = family * len(claim)
        advices = [_advise_one(claim[place], share, 1 - POWER, place) for place in against]
        return min(advices, key=_effort)
    # All of them support it: the hardest one says what it takes.
    missed = (1 - POWER) / len(claim)
    return max((_advise_one(claim[place], family, missed, place) for place in places), key=_effort)


def _points_against(contrast: Contrast) -> bool:
    return contrast.difference.mean < contrast.smallest_effect


def _effort(advice: Advice) -> tuple[int, int]:
    never = LOOKS[-1] + 1
    return (advice.images or 0, never if advice.seeds is None else advice.seeds)


def _advise_one(contrast: Contrast, family: int, missed: float, place: int) -> Advice:
    difference, smallest = contrast.difference, contrast.smallest_effect
    assumed = _assumed(contrast)
    # From the smallest effect on one side, from zero on the other.
    distance = smallest - assumed if _points_against(contrast) else assumed
    level = (1 - LEVEL) / 2 / family / LOOK_FACTOR
    others, pilot = difference.seeds - 1, _spread(difference)
    assert pilot is not None
    spread = pilot * others / float(stats.chi2.median(others))
    shared = difference.shared_variance
    wanted = float(stats.norm.ppf(1 - level) + stats.norm.ppf(1 - missed))
    if shared > 0 and math.sqrt(shared) * wanted >= distance:
        images = difference.images * shared * (wanted / distance) ** 2
        # Half of the room is left to the seeds.
        return Advice(None, math.ceil(2 * images), assumed, place)

    def decides(seeds: int) -> bool:
        deviation = math.sqrt(total_variance(spread, shared, seeds))
        critical = distance_beyond(level, spread, shared, seeds) / deviation
        degrees = degrees_of_freedom(spread, shared, seeds, difference.images)
        return float(stats.nct.sf(critical, degrees, distance / deviation)) >= 1 - missed

    looks = (look for look in LOOKS if look > difference.seeds)
    return Advice(next(filter(decides, looks), None), None, assumed, place)


def _assumed(contrast: Contrast) -> float:
    """Return the true difference that advice is given for.

    This is none where the data point against a claim, else twice the smallest effect, or what was
    observed where that is further from what is to be ruled out.
    """
    mean, smallest = contrast.difference.mean, contrast.smallest_effect
    return min(0.0, mean) if _points_against(contrast) else max(2 * smallest, mean)
