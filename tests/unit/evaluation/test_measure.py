"""Quantities over replicates, and differences in pairs of replicates."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from cifar_tune.evaluation.evidence import Evidence, TrialRecord
from cifar_tune.evaluation.measure import compare, measure, replicates
from cifar_tune.training.predictions import Answers

CLASSES = ("cat", "ship")


def trial(number: int, model: str, seed: int, **changes: Any) -> TrialRecord:
    settings: dict[str, Any] = {
        "number": number, "name": f"{model}/seed={seed}", "model": model,
        "replicate": f"seed={seed}", "seed": seed, "state": "complete", "params": {},
        "settings": {}, "config": {"validation_images": 100}, "epochs_planned": 1, "history": (),
        "values": {}, "test_reads": 0, "device": "cpu", "has_weights": False, "failure": "",
        "command": "",
    }  # fmt: skip
    return TrialRecord(**(settings | changes))


def evidence(*trials: TrialRecord, validation: dict[int, Answers] | None = None) -> Evidence:
    return Evidence("study", {}, trials, (), validation or {}, {}, {}, ())


def answers(right: list[bool]) -> Answers:
    labels = np.zeros(len(right), dtype=np.int64)
    return Answers(CLASSES, np.arange(len(right)), labels, 1 - np.array(right, dtype=np.int64))


def test_replicates_are_complete_and_in_order_of_their_numbers() -> None:
    found = evidence(
        trial(0, "a", 10), trial(1, "a", 2), trial(2, "b", 1), trial(3, "a", 3, state="fail")
    )
    assert [one.number for one in replicates(found, "a")] == [1, 0]


def test_a_quantity_that_no_trial_has_is_none() -> None:
    found = evidence(trial(0, "a", 1))
    assert measure(found, found.trials, "val_accuracy") is None


def test_the_mean_of_times_is_the_geometric_one() -> None:
    trials = [trial(n, "a", n, values={"seconds": seconds}) for n, seconds in enumerate((10, 40))]
    found = measure(evidence(*trials), trials, "seconds")
    assert found is not None
    assert found.mean == pytest.approx(20)
    assert found.sd == pytest.approx(math.sqrt(450))
    assert (found.seeds, found.images, found.basis, found.trials) == (2, 0, "none", (0, 1))


def test_without_answers_the_noise_of_images_is_bounded() -> None:
    one = trial(0, "a", 1, values={"val_accuracy": 0.9})
    found = measure(evidence(one), [one], "val_accuracy")
    assert found is not None
    assert (found.mean, found.sd, found.low, found.high) == (0.9, None, None, None)
    assert (found.images, found.basis) == (100, "binomial")


def test_no_interval_of_an_accuracy_leaves_its_range() -> None:
    values = [answers([True] * 9 + [False]), answers([True] * 10)]
    trials = [
        trial(n, "a", n, values={"val_accuracy": part.accuracy}) for n, part in enumerate(values)
    ]
    found = measure(evidence(*trials, validation=dict(enumerate(values))), trials, "val_accuracy")
    assert found is not None
    assert (found.mean, found.basis, found.high) == (0.95, "images", 1.0)


def test_pairs_are_replicates_of_one_seed() -> None:
    accuracies = {("a", 1): 0.6, ("a", 2): 0.8, ("b", 1): 0.5, ("b", 2): 0.6, ("b", 3): 0.9}
    trials = [
        trial(n, model, seed, values={"val_accuracy": value})
        for n, ((model, seed), value) in enumerate(accuracies.items())
    ]
    comparison = compare(evidence(*trials), "a", "b", "val_accuracy", 0.02)
    assert comparison.record is not None
    assert comparison.contrast is not None
    assert comparison.record.mean == pytest.approx(0.15)
    assert (comparison.record.seeds, comparison.record.than) == (2, "b")
    assert comparison.contrast.smallest_effect == 0.02


def test_a_claim_is_judged_on_the_seeds_of_the_last_planned_look() -> None:
    values = (0.10, 0.12, 0.14, 0.90)
    trials = [
        trial(n, model, seed, values={"val_accuracy": value if model == "a" else 0.05})
        for n, (model, (seed, value)) in enumerate(
            itertools.product("ab", enumerate(values, start=1))
        )
    ]
    comparison = compare(evidence(*trials), "a", "b", "val_accuracy")
    assert comparison.record is not None
    assert comparison.contrast is not None
    assert (comparison.record.seeds, comparison.record.judged_seeds) == (4, 3)
    assert comparison.record.mean == pytest.approx(0.265)
    assert comparison.contrast.difference.seeds == 3
    assert comparison.contrast.difference.mean == pytest.approx(0.07)


def test_a_difference_of_times_is_the_share_that_is_saved() -> None:
    trials = [
        trial(n, model, 1, values={"seconds": seconds})
        for n, (model, seconds) in enumerate((("a", 30.0), ("b", 40.0)))
    ]
    comparison = compare(evidence(*trials), "a", "b", "seconds", 0.05)
    assert comparison.record is not None
    assert comparison.record.mean == pytest.approx(0.25)


def test_what_cannot_be_compared_is_said() -> None:
    a, b = trial(0, "a", 1, values={"seconds": 1.0}), trial(1, "b", 2, values={"seconds": 1.0})
    missing = compare(evidence(a, b), "a", "b", "seconds")
    assert missing.contrast is missing.record is None
    assert missing.missing == "training time of a and of b with a seed in common"
    elsewhere = trial(1, "b", 1, values={"seconds": 1.0}, device="gpu")
    assert compare(evidence(a, elsewhere), "a", "b", "seconds").missing.endswith("on one device")
