"""Which weights are kept, and which fall, as trials come to their end."""

from __future__ import annotations

from typing import Any

import pytest
from keeping import make_spec

from cifar_tune.storage.kept_weights import (
    WEIGHTS_BYTES,
    KeptCandidate,
    KeptWeights,
    choose_kept,
    may_be_kept,
    room_needed,
)

SIZE = 40_000_000


def make_candidate(number: int, accuracy: float, *, is_named: bool = False) -> KeptCandidate:
    return KeptCandidate(number, is_named, accuracy, SIZE)


SAMPLED = [make_candidate(0, 0.5), make_candidate(1, 0.7), make_candidate(2, 0.7)]
NAMED = [make_candidate(3, 0.1, is_named=True), make_candidate(4, 0.9, is_named=True)]


def candidates(*accuracies: float, named: int = 0) -> list[KeptCandidate]:
    return [
        KeptCandidate(number, number < named, accuracy, WEIGHTS_BYTES)
        for number, accuracy in enumerate(accuracies)
    ]


def test_named_ones_and_the_best_of_the_others_are_kept() -> None:
    some = candidates(0.1, 0.2, 0.5, 0.3, 0.5, 0.4, named=2)
    assert choose_kept(make_spec(keep_weights="named", keep_best=2), some) == {0, 1, 2, 4}
    assert choose_kept(make_spec(keep_weights="named", keep_best=0), some) == {0, 1}
    assert choose_kept(make_spec(keep_weights="none", keep_best=1), some) == {2}
    assert choose_kept(make_spec(keep_weights="none", keep_best=0), some) == set()


def test_the_cap_lets_named_ones_in_first() -> None:
    capped = make_spec(keep_weights="named", keep_best=3, keep_gigabytes=0.14)
    assert choose_kept(capped, candidates(0.1, 0.2, 0.9, 0.8, named=2)) == {0, 1, 2}
    assert choose_kept(capped, candidates(0.1, 0.2, 0.3, 0.4, 0.9, named=4)) == {0, 1, 2}
    assert room_needed(capped, named=4, others=9) == 140_000_000
    assert (
        room_needed(capped.with_profile(keep_gigabytes=10), named=4, others=9) == 7 * WEIGHTS_BYTES
    )


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({}, set()),
        ({"keep_best": 1}, {4}),
        ({"keep_best": 2}, {4, 1}),
        ({"keep_best": 9}, {0, 1, 2, 3, 4}),
        ({"keep_weights": "named"}, {3, 4}),
        ({"keep_weights": "named", "keep_best": 1}, {3, 4, 1}),
        # Room for two: named ones come first, in the order they were run.
        ({"keep_weights": "named", "keep_best": 1, "keep_gigabytes": 0.1}, {3, 4}),
        ({"keep_weights": "named", "keep_best": 1, "keep_gigabytes": 0.05}, {3}),
        ({"keep_best": 9, "keep_gigabytes": 0.0}, set()),
    ],
)
def test_choice(policy: dict[str, Any], kept: set[int]) -> None:
    assert choose_kept(make_spec(**policy), [*SAMPLED, *NAMED]) == kept


def test_better_trials_take_the_place_of_others_once() -> None:
    weights = KeptWeights(make_spec(keep_best=1), [make_candidate(0, 0.5)])
    assert weights.pop_fallen() == set()
    assert not weights.add(make_candidate(1, 0.4))
    assert weights.pop_fallen() == set()  # its file has never had its name
    assert weights.add(make_candidate(2, 0.6))
    assert (0 in weights, 1 in weights, 2 in weights) == (False, False, True)
    assert weights.pop_fallen() == {0}
    assert weights.pop_fallen() == set()


def test_weights_that_are_not_kept_any_more_fall_when_a_run_begins() -> None:
    weights = KeptWeights(make_spec(keep_best=1), SAMPLED)
    assert 1 in weights
    assert weights.pop_fallen() == {0, 2}


def test_room_and_whether_weights_are_written() -> None:
    assert not may_be_kept(make_spec(), is_named=True)
    assert may_be_kept(make_spec(keep_best=1), is_named=False)
    named = make_spec(keep_weights="named")
    assert may_be_kept(named, is_named=True)
    assert not may_be_kept(named, is_named=False)
    assert room_needed(make_spec(keep_best=0), 5, 9) == 0
    assert room_needed(make_spec(keep_best=1), 5, 0) == WEIGHTS_BYTES
    assert room_needed(named.with_profile(keep_best=2), 5, 1) == 6 * WEIGHTS_BYTES
    assert room_needed(named.with_profile(keep_best=2, keep_gigabytes=0.25), 5, 9) == 250_000_000
