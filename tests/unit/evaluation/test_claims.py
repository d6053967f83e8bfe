"""Claims of a study file, on made-up answers."""

from __future__ import annotations

import numpy as np
from test_measure import evidence, trial

from cifar_tune.config.schema import Claim, SmallestEffects
from cifar_tune.evaluation.claims import judge_claims
from cifar_tune.training.predictions import Answers

CLASSES = tuple("abcdefghij")


def answers(share: float) -> Answers:
    """Answers on 1,000 images of which such a share is right."""
    labels = np.arange(1_000) % 10
    wrong = np.arange(1_000) >= 1_000 * share
    return Answers(CLASSES, np.arange(1_000), labels, (labels + wrong) % 10)


def test_runs_at_chance_are_named() -> None:
    shares = {("m/a", 1): 0.8, ("m/a", 2): 0.1, ("m/a", 3): 0.79, ("m/b", 1): 0.7,
              ("m/b", 2): 0.71, ("m/b", 3): 0.13}  # fmt: skip
    kept = {number: answers(share) for number, share in enumerate(shares.values())}
    trials = [
        trial(number, model, seed, values={"val_accuracy": kept[number].accuracy})
        for number, (model, seed) in enumerate(shares)
    ]
    claim = Claim(
        name="a-over-b",
        text="a",
        trial="m/a",
        than=["m/b"],
        better_in=SmallestEffects(val_accuracy=0.01),
    )
    (judged,) = judge_claims(evidence(*trials, validation=kept), [claim])
    # Within three standard errors of a tenth of 1,000 images: up to 12.8 %.
    assert judged.at_chance == ("m/a/seed=2",)
    assert judged.verdict == "undecided"
