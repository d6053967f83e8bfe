"""What was run beside a study on fresh seeds: confirmation, re-runs for the test images, ablations.

Each is stored as a study of its own, whose name derives from that of the study it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cifar_tune.config.derived import PURPOSES, Purpose, derived_name, family
from cifar_tune.evaluation.ablation import Ablation, read_ablations
from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.evidence import Evidence, TrialRecord, gather
from cifar_tune.evaluation.measure import compare, measure, replicates
from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.evaluation.test_use import TestUse, read_test_use
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import StorageLocation, explain_errors


@dataclass(frozen=True)
class ConfirmedCandidate:
    """A configuration of a short list on fresh seeds.

    Attributes:
        val_accuracy: The validation accuracy over the fresh seeds; None before the first is done.
        observed: The mean that put it on the short list.
        behind: How much better the confirmed best is, in pairs; None for the best itself.
    """

    candidate: Candidate
    val_accuracy: Measured | None
    observed: float
    behind: ContrastRecord | None

    @property
    def shrinkage(self) -> float | None:
        """What was observed first, less what fresh seeds gave."""
        return None if self.val_accuracy is None else self.observed - self.val_accuracy.mean

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration with its figures as JSON has them."""
        return {
            **self.candidate.to_dict(),
            "observed": self.observed,
            "shrinkage": self.shrinkage,
            "val_accuracy": self.val_accuracy and asdict(self.val_accuracy),
            "behind_best": self.behind and asdict(self.behind),
        }


@dataclass(frozen=True)
class Confirmation:
    """A short list on fresh seeds, the highest mean first; ``best`` has all ``seeds``."""

    study_name: str
    seeds: int
    candidates: tuple[ConfirmedCandidate, ...]
    best: ConfirmedCandidate | None

    def to_dict(self) -> dict[str, Any]:
        """Return the short list as JSON has it."""
        return {
            "study_name": self.study_name,
            "seeds": self.seeds,
            "best": self.best and self.best.candidate.label,
            "candidates": [confirmed.to_dict() for confirmed in self.candidates],
        }


@dataclass(frozen=True)
class Rerun:
    """A configuration that was trained again and evaluated on the test images.

    Attributes:
        replicates: The number, seed, accuracies and seconds of each complete trial; None where a
            figure does not exist.
    """

    study_name: str
    train_on: str
    candidate: Candidate
    val_accuracy: Measured | None
    test_accuracy: Measured | None
    seconds: Measured | None
    replicates: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration with its figures as JSON has them."""
        return {
            "study_name": self.study_name,
            **self.candidate.to_dict(),
            "train_on": self.train_on,
            "test_accuracy": self.test_accuracy and asdict(self.test_accuracy),
            "val_accuracy": self.val_accuracy and asdict(self.val_accuracy),
            "seconds": self.seconds and asdict(self.seconds),
            "replicates": list(self.replicates),
        }


@dataclass(frozen=True)
class FreshRuns:
    """What was run beside a study, and how often the test images were read for it.

    Attributes:
        confirmation: The short list on fresh seeds; None before it was run.
        reruns: Configurations that were trained again for the test images.
        ablations: Configurations without some of their hyperparameters.
    """

    confirmation: Confirmation | None
    reruns: tuple[Rerun, ...]
    ablations: tuple[Ablation, ...]
    test_use: TestUse

    def rerun_of(self, candidate: Candidate, train_on: str) -> Rerun | None:
        """Return what a configuration gave when it was trained again on such images, if it was."""
        for rerun in self.reruns:
            if rerun.candidate.label == candidate.label and rerun.train_on == train_on:
                return rerun
        return None

    def ablation_of(self, candidate: Candidate) -> Ablation | None:
        """Return what became of a configuration without its hyperparameters, if it is known."""
        for ablation in self.ablations:
            if ablation.candidate.label == candidate.label:
                return ablation
        return None


def read_fresh_runs(
    location: StorageLocation, study_name: str, candidates: Sequence[Candidate]
) -> FreshRuns:
    """Return what was run beside a study with the configurations ``candidates``."""
    test_use = read_test_use(location, study_name)
    with explain_errors(location):
        storage = stored.open_to_read(location)
        # To open a database takes longer than to look which studies it has.
        if all(stored.find_study(storage, name) is None for name in family(study_name)[1:]):
            return FreshRuns(None, (), (), test_use)
    by_label = {candidate.label: candidate for candidate in candidates}
    again = {purpose: _gather(location, study_name, purpose) for purpose in PURPOSES[1:]}
    rerun = again["rerun"]
    return FreshRuns(
        confirmation=_read_confirmation(_gather(location, study_name, "confirm"), by_label),
        reruns=tuple(_read_reruns(again, by_label)),
        ablations=() if rerun is None else tuple(read_ablations(rerun, candidates)),
        test_use=test_use,
    )


def _gather(location: StorageLocation, study_name: str, purpose: Purpose) -> Evidence | None:
    name = derived_name(study_name, purpose)
    with explain_errors(location):
        study = stored.find_study(stored.open_to_read(location), name)
        if study is None or "named" not in study.user_attrs:
            return None
    return gather(location, name, f"cifar-tune best {purpose.partition('-')[0]}")


def _read_confirmation(
    evidence: Evidence | None, candidates: Mapping[str, Candidate]
) -> Confirmation | None:
    """Return what fresh seeds say of a short list; None if none were run."""
    if evidence is None:
        return None
    measured = {
        label: measure(evidence, replicates(evidence, label), "val_accuracy")
        for label in evidence.definition["named"]
        if label in candidates
    }
    seeds = max((found.seeds for found in measured.values() if found is not None), default=0)
    best = max(
        (label for label, found in measured.items() if found is not None and found.seeds == seeds),
        key=lambda label: _mean(measured[label]),
        default=None,
    )
    confirmed = [
        ConfirmedCandidate(
            candidate=candidates[label],
            val_accuracy=found,
            observed=candidates[label].mean,
            behind=None
            if best is None or label == best
            else compare(evidence, best, label, "val_accuracy").record,
        )
        for label, found in measured.items()
    ]
    confirmed.sort(key=lambda entry: -_mean(entry.val_accuracy))
    chosen = next((entry for entry in confirmed if entry.candidate.label == best), None)
    return Confirmation(evidence.study_name, seeds, tuple(confirmed), chosen)


def _mean(measured: Measured | None) -> float:
    return -1.0 if measured is None else measured.mean


def _read_reruns(
    again: Mapping[Purpose, Evidence | None], candidates: Mapping[str, Candidate]
) -> Iterator[Rerun]:
    """Yield the configurations that were trained again for the test images."""
    for purpose, evidence in again.items():
        if evidence is None:
            continue
        for label in evidence.definition["named"]:
            if label in candidates:
                yield _read_rerun(evidence, candidates[label], purpose)


def _read_rerun(evidence: Evidence, candidate: Candidate, purpose: Purpose) -> Rerun:
    trials = replicates(evidence, candidate.label)
    learns_validation = purpose == "rerun-all"
    return Rerun(
        study_name=evidence.study_name,
        train_on="train+val" if learns_validation else "train",
        candidate=candidate,
        val_accuracy=None if learns_validation else measure(evidence, trials, "val_accuracy"),
        test_accuracy=measure(evidence, trials, "test_accuracy"),
        seconds=measure(evidence, trials, "seconds"),
        replicates=tuple(_replicate(trial, learns_validation) for trial in trials),
    )


def _replicate(trial: TrialRecord, learns_validation: bool) -> dict[str, Any]:
    return {
        "number": trial.number,
        "replicate": trial.replicate,
        "seed": trial.seed,
        "val_accuracy": None if learns_validation else trial.values.get("val_accuracy"),
        "test_accuracy": trial.values.get("test_accuracy"),
        "test_flip_accuracy": trial.values.get("test_flip_accuracy"),
        "seconds": round(trial.values["seconds"], 3),
    }
