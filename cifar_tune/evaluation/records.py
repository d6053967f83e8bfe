"""What a report of a study states: frozen records, computed from the storage and drawn afterwards.

Accuracies are fractions, times seconds of training and validation. A quantity is one of
``QUANTITIES``. Commands are what a user types to get or to fill in what they stand beside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cifar_tune.evaluation.test_reads import TestRead
from cifar_tune.evaluation.verdicts import Advice, Verdict
from cifar_tune.training.predictions import Answers
from cifar_tune.training.records import EpochMetrics


@dataclass(frozen=True)
class TrialRecord:
    """A trial as it is stored.

    Attributes:
        name: of a named trial with its replicate; empty if sampled.
        model: the named trial without the replicate; empty if sampled.
        replicate: e.g. ``seed=2``; empty if sampled.
        values: quantities that are known.
        test_reads: how often it met the test images.
        command: trains it, where it is a named one.
        queued: whether a person asked for it.
    """

    number: int
    name: str
    model: str
    replicate: str
    seed: int | None
    state: str
    params: dict[str, float]
    settings: dict[str, Any]
    config: dict[str, Any]
    epochs_planned: int | None
    history: tuple[EpochMetrics, ...]
    values: dict[str, float]
    test_reads: int
    device: str
    has_weights: bool
    failure: str
    command: str
    queued: bool = False

    @property
    def kind(self) -> str:
        """Its name, or where it comes from: ``queued`` or ``sampled``."""
        return self.name or ("queued" if self.queued else "sampled")

    @property
    def val_accuracy(self) -> float | None:
        """After the last epoch; None before the first."""
        return self.values.get("val_accuracy")

    @property
    def label(self) -> str:
        """Name, or number where it has none."""
        return self.name or f"trial {self.number}"


@dataclass(frozen=True)
class Evidence:
    """All that the storage holds of one study.

    Attributes:
        definition: what was stored of it when it was first run.
        test_reads: of its trials, the oldest first.
        validation: what trials say of each validation image, by number, where it was kept.
        test: likewise of the test images.
        importances: of the searched hyperparameters, adding up to 1; empty where too few trials
            are complete.
        software: versions that trials were computed with, each set of them once.
    """

    study_name: str
    definition: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    test_reads: tuple[TestRead, ...]
    validation: dict[int, Answers]
    test: dict[int, Answers]
    importances: dict[str, float]
    software: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """Something that is not there, and the command that fills it."""

    what: str
    command: str


@dataclass(frozen=True)
class Measured:
    """A quantity of a model over its replicates.

    Attributes:
        mean: of accuracies the arithmetic, of times the geometric one.
        sd: standard deviation over seeds; None with one.
        low: lower end of the 95 % interval, for both noises; None with one seed.
        high: upper end.
        images: that each was measured on; 0 for times and for training accuracy.
        basis: how the noise of the images was had: ``images`` (from the answers on each),
            ``binomial`` (a bound, where answers were not kept) or ``none``.
        trials: numbers of those it is made of.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    seeds: int
    images: int
    basis: str
    trials: tuple[int, ...]


@dataclass(frozen=True)
class ModelRecord:
    """A named trial with all its replicates.

    Attributes:
        own: what sets it apart from the protocol.
        measured: by quantity, what is known.
        published: by quantity, what a publication states.
        is_comparable: whether that was measured under the same configuration, whatever differs in
            the protocol of others.
        note: what it should be read with.
        trials: numbers of the complete replicates.
        command: trains it.
    """

    name: str
    own: dict[str, Any]
    measured: dict[str, Measured]
    published: dict[str, float]
    is_comparable: bool
    note: str
    trials: tuple[int, ...]
    command: str


@dataclass(frozen=True)
class ContrastRecord:
    """One comparison of a claim: ``trial`` is better than ``than`` by ``mean``.

    In accuracies the difference; in seconds the share of the other's time that is saved, from the
    mean of the logarithms of the ratios.
    """

    quantity: str
    than: str
    mean: float
    low: float | None
    high: float | None
    sd: float | None
    smallest_effect: float
    seeds: int
    images: int
    basis: str


@dataclass(frozen=True)
class ClaimRecord:
    """A claim, judged.

    Attributes:
        declared: whether it stood in the study file ``before`` the first trial, was ``changed``
            since, or was written down ``after`` it.
        family: number of claims that are judged together.
        support_p: corrected for the family; likewise ``refute_p``.
        deciding: place among ``contrasts`` of the one that the verdict hangs on.
        unknown: comparisons without data, in words.
    """

    name: str
    text: str
    source: str
    trial: str
    declared: str
    verdict: Verdict
    support_p: float
    refute_p: float
    family: int
    contrasts: tuple[ContrastRecord, ...]
    deciding: int | None
    unknown: tuple[str, ...]
    advice: Advice | None


@dataclass(frozen=True)
class SweepRecord:
    """Named trials that differ in one hyperparameter alone.

    Attributes:
        points: (value, model).
        others: sampled trials as (value, validation accuracy, number, state).
    """

    parameter: str
    is_log: bool
    points: tuple[tuple[float, str], ...]
    others: tuple[tuple[float, float, int, str], ...]


@dataclass(frozen=True)
class PrunedTrial:
    """A trial that was stopped, after which epoch of how many, and the seconds that it saved."""

    number: int
    epochs: int
    epochs_planned: int
    val_accuracy: float
    seconds_saved: float


@dataclass(frozen=True)
class SearchRecord:
    """What a search did.

    Attributes:
        best_so_far: (trial number, its value, best up to it), complete trials in order.
        counted: in words, which trials the importances count.
        epochs_run: of the sampled trials.
        epochs_saved: by pruning.
        seconds_run: of the sampled trials.
        seconds_saved: by pruning, at the pace of each trial that was stopped.
    """

    ranges: dict[str, dict[str, Any]]
    best_so_far: tuple[tuple[int, float, float], ...]
    importances: dict[str, float]
    counted: str
    pruned: tuple[PrunedTrial, ...]
    epochs_run: int
    epochs_saved: int
    seconds_run: float
    seconds_saved: float


@dataclass(frozen=True)
class WrongImage:
    """An image that a trial is most wrong about: its row in the split and what was said of it."""

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
        counts: [class][said], summed over the replicates.
        per_class: accuracy by class over the replicates; None where a split has no image of it.
        most_wrong: of the first replicate.
        trials: numbers of the replicates.
    """

    model: str
    split: str
    images: int
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    per_class: tuple[Measured | None, ...]
    most_wrong: tuple[WrongImage, ...]
    trials: tuple[int, ...]
