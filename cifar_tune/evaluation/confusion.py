"""How a model classifies the images of a split: confusion matrix, classes, worst mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cifar_tune.evaluation.evidence import Evidence, TrialRecord
from cifar_tune.evaluation.measure import measured_fraction
from cifar_tune.evaluation.quantities import Measured
from cifar_tune.evaluation.stats import Reading, estimate_from_images
from cifar_tune.training.predictions import Answers, Predictions

SHOWN = 12
"""How many of the images that a model is most wrong about are shown."""


@dataclass(frozen=True)
class WrongImage:
    """An image that a trial is most wrong about: its row in the split, the name of its class.

    ``said`` is the class that it was taken for, with the probability that was given to that.
    """

    row: int
    label: str
    said: str
    probability: float
    pixels: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class ConfusionRecord:
    """How a model's replicates classify the images of a split.

    Attributes:
        split: ``test`` or ``validation``.
        counts: How many images of each class [row] were taken for each class [column], summed over
            the replicates.
        per_class: The accuracy of each class over the replicates; None where a split has no image
            of the class.
        most_wrong: The worst mistakes of the first replicate.
    """

    model: str
    split: str
    images: int
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    per_class: tuple[Measured | None, ...]
    most_wrong: tuple[WrongImage, ...]
    trials: tuple[int, ...]

    def to_rows(self) -> Iterator[dict[str, object]]:
        """Yield accuracies of classes and the confusion matrix as rows of a report's CSV."""
        for label, accuracy in zip(self.classes, self.per_class, strict=True):
            if accuracy is not None:
                row = {"part": "class", "model": self.model, "quantity": label}
                yield {**row, **accuracy.to_row()}
        for label, counts in zip(self.classes, self.counts, strict=True):
            for said, count in zip(self.classes, counts, strict=True):
                row = {"part": "confusion", "model": self.model, "quantity": label}
                yield {**row, "than": said, "value": count}


def compute_confusion(
    evidence: Evidence, model: str, trials: Sequence[TrialRecord]
) -> ConfusionRecord | None:
    """Return how a model classifies the test images if a replicate was evaluated on them.

    Else its validation images are taken; None if the answers on neither were kept.
    """
    for split, kept in (("test", evidence.test), ("validation", evidence.validation)):
        known = [trial.number for trial in trials if trial.number in kept]
        if known:
            return _confusion(model, split, known, [kept[number] for number in known])
    return None


def _confusion(
    model: str, split: str, numbers: list[int], replicates: list[Answers]
) -> ConfusionRecord:
    classes = replicates[0].classes
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    for answers in replicates:
        np.add.at(counts, (answers.labels, answers.said), 1)
    return ConfusionRecord(
        model=model,
        split=split,
        images=len(replicates[0].labels),
        classes=classes,
        counts=tuple(tuple(map(int, row)) for row in counts),
        per_class=tuple(
            _class_accuracy(label, numbers, replicates) for label in range(len(classes))
        ),
        most_wrong=_most_wrong(replicates[0]),
        trials=tuple(numbers),
    )


def _class_accuracy(label: int, numbers: list[int], replicates: list[Answers]) -> Measured | None:
    readings = []
    for answers in replicates:
        is_of_class = answers.labels == label
        if not is_of_class.any():
            return None
        correct = answers.correct[is_of_class].astype(float)
        readings.append(Reading(answers.rows[is_of_class], correct))
    return measured_fraction(estimate_from_images(readings), "images", tuple(numbers))


def _most_wrong(answers: Answers) -> tuple[WrongImage, ...]:
    if not isinstance(answers, Predictions):
        return ()  # of an imported trial no image is kept
    probabilities, classes = answers.probabilities, answers.classes
    labels, said = answers.labels, answers.said
    return tuple(
        WrongImage(
            row=int(answers.rows[place]),
            label=classes[int(labels[place])],
            said=classes[int(said[place])],
            probability=float(probabilities[place, said[place]]),
            pixels=pixels,
        )
        for place, pixels in zip(answers.most_wrong[:SHOWN], answers.images, strict=False)
        if said[place] != labels[place]
    )
