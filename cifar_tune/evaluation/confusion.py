"""How a model classifies the images of a split: confusion matrix, classes, worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cifar_tune.evaluation.measure import measured_fraction
from cifar_tune.evaluation.records import (
    ConfusionRecord,
    Evidence,
    Measured,
    TrialRecord,
    WrongImage,
)
from cifar_tune.evaluation.stats import Reading, estimate_from_images
from cifar_tune.training.predictions import Answers, Predictions

SHOWN = 12
"""How many of the images that a model is most wrong about are shown."""


def compute_confusion(
    evidence: Evidence, model: str, trials: Sequence[TrialRecord]
) -> ConfusionRecord | None:
    """Of the test images where a replicate has met them, else of the validation images."""
    for split, kept in (("test", evidence.test), ("validation", evidence.validation)):
        known = [trial.number for trial in trials if trial.number in kept]
        if known:
            return _confusion(model, split, known, [kept[number] for number in known])
    return None


def _confusion(model: str, split: str, numbers: list[int], found: list[Answers]) -> ConfusionRecord:
    classes = found[0].classes
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    for one in found:
        np.add.at(counts, (one.labels, one.said), 1)
    return ConfusionRecord(
        model=model,
        split=split,
        images=len(found[0].labels),
        classes=classes,
        counts=tuple(tuple(map(int, row)) for row in counts),
        per_class=tuple(_class_accuracy(label, numbers, found) for label in range(len(classes))),
        most_wrong=_most_wrong(found[0]),
        trials=tuple(numbers),
    )


def _class_accuracy(label: int, numbers: list[int], found: list[Answers]) -> Measured | None:
    readings = []
    for one in found:
        is_of_it = one.labels == label
        if not is_of_it.any():
            return None
        readings.append(Reading(one.rows[is_of_it], one.correct[is_of_it].astype(float)))
    return measured_fraction(estimate_from_images(readings), "images", tuple(numbers))


def _most_wrong(found: Answers) -> tuple[WrongImage, ...]:
    if not isinstance(found, Predictions):
        return ()  # of an imported trial no image is kept
    probabilities, said = found.probabilities, found.said
    return tuple(
        WrongImage(
            row=int(found.rows[place]),
            label=found.classes[int(found.labels[place])],
            said=found.classes[int(said[place])],
            probability=float(probabilities[place, said[place]]),
            pixels=found.images[at],
        )
        for at, place in enumerate(found.most_wrong[:SHOWN])
        if said[place] != found.labels[place]
    )
