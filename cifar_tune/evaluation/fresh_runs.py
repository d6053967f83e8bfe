"""What was run beside a study on fresh seeds: confirmation, re-runs for the test images, ablations.

Each is stored as a study of its own, whose name derives from that of the study it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cifar_tune.config.derived import ABLATED, PURPOSES, Purpose, derived_name
from cifar_tune.evaluation.candidates import Candidate, known_seed
from cifar_tune.evaluation.evidence import Evidence, gather
from cifar_tune.evaluation.measure import compare, measure, replicates
from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.evaluation.test_use import TestUse, read_test_use
from cifar_tune.notebook import render_table
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.wording import format_accuracy, format_duration


@dataclass(frozen=True)
class ConfirmedCandidate:
    """A configuration of a short list on fresh seeds.

    Attributes:
        val_accuracy: The validation accuracy over the fresh seeds; None before the first is done.
        outcomes: The validation accuracy of each fresh seed.
        seeds: These seeds.
        observed: The mean that put it on the short list.
        behind: How much better the confirmed best is, in pairs; None for the best itself.
    """

    candidate: Candidate
    val_accuracy: Measured | None
    outcomes: tuple[float, ...]
    seeds: tuple[int, ...]
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

    Example:
        >>> rerun = ct.rerun_best("dropout", n_seeds=5)
        >>> rerun.test_accuracy.mean, rerun.test_accuracy.sd
    """

    study_name: str
    train_on: str
    candidate: Candidate
    val_accuracy: Measured | None
    test_accuracy: Measured | None
    seconds: Measured | None
    replicates: tuple[dict[str, Any], ...]

    def _repr_html_(self) -> str:
        """Show the seeds in a notebook."""
        rows = [
            (
                replicate["replicate"],
                format_accuracy(replicate["val_accuracy"]),
                format_accuracy(replicate["test_accuracy"]),
                format_duration(replicate["seconds"]),
            )
            for replicate in self.replicates
        ]
        columns = ("seed", "validation accuracy", "test accuracy", "time")
        test = self.test_accuracy
        text = "not evaluated on the test images"
        if test is not None:
            text = f"test accuracy {format_accuracy(test.mean)}"
        if test is not None and test.low is not None and test.high is not None:
            text += f", 95 % interval {format_accuracy(test.low)} to {format_accuracy(test.high)}"
        return render_table(self.candidate.label, text, columns, rows)

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
class Ablated:
    """A configuration with some of its hyperparameters put back.

    Attributes:
        values: The values that the hyperparameters were put back to.
        val_accuracy: The validation accuracy over seeds; None before the first is done.
        loss: By how much the configuration is better with its own values, in pairs; None before
            the first pair is done.
    """

    values: dict[str, float]
    val_accuracy: Measured | None
    loss: ContrastRecord | None


@dataclass(frozen=True)
class Ablation:
    """A configuration, and the same without each hyperparameter, the greatest loss first."""

    study_name: str
    candidate: Candidate
    val_accuracy: Measured | None
    parts: tuple[Ablated, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration with its parts as JSON has them."""
        return {
            "study_name": self.study_name,
            **self.candidate.to_dict(),
            "val_accuracy": self.val_accuracy and asdict(self.val_accuracy),
            "parts": [asdict(part) for part in self.parts],
        }


@dataclass(frozen=True)
class FreshRuns:
    """What was run beside a study, and how often the test images were read for it.

    Attributes:
        confirmation: The short list on fresh seeds; None before it was run.
    """

    confirmation: Confirmation | None
    reruns: tuple[Rerun, ...]
    ablations: tuple[Ablation, ...]
    test_use: TestUse

    def rerun_of(self, candidate: Candidate, train_on: str) -> Rerun | None:
        """Return what a configuration gave when it was trained again on such images, if it was."""
        wanted = (candidate.label, train_on)
        reruns = (run for run in self.reruns if (run.candidate.label, run.train_on) == wanted)
        return next(reruns, None)

    def ablation_of(self, candidate: Candidate) -> Ablation | None:
        """Return what became of a configuration without its hyperparameters, if it is known."""
        ablations = (part for part in self.ablations if part.candidate.label == candidate.label)
        return next(ablations, None)


def read_fresh_runs(
    location: StorageLocation, study_name: str, candidates: Sequence[Candidate]
) -> FreshRuns:
    """Return what was run beside a study with the configurations ``candidates``."""
    with explain_errors(location):
        storage = stored.open_to_read(location)
        studies = {
            purpose: stored.find_study(storage, derived_name(study_name, purpose))
            for purpose in PURPOSES
        }
    runs = {
        purpose: gather(location, study.study_name, f"cifar-tune best {purpose.partition('-')[0]}")
        for purpose, study in studies.items()
        if study is not None and "named" in study.user_attrs
    }
    by_label = {candidate.label: candidate for candidate in candidates}
    return FreshRuns(
        confirmation=_read_confirmation(runs["confirm"], by_label) if "confirm" in runs else None,
        reruns=tuple(
            _read_rerun(evidence, by_label[label], purpose)
            for purpose, evidence in runs.items()
            if purpose != "confirm"
            for label in evidence.definition["named"]
            if label in by_label
        ),
        ablations=tuple(_read_ablations(runs["rerun"], candidates)) if "rerun" in runs else (),
        test_use=read_test_use(location, study_name),
    )


def with_fresh_outcomes(candidates: Sequence[Candidate], fresh: FreshRuns) -> list[Candidate]:
    """Return the candidates with the outcomes and seeds that a confirmation gave so far."""
    confirmed = fresh.confirmation.candidates if fresh.confirmation is not None else ()
    by_label = {it.candidate.label: it for it in confirmed if it.outcomes}
    return [
        replace(it, fresh=found.outcomes, seeds=it.seeds + found.seeds)
        if (found := by_label.get(it.label))
        else it
        for it in candidates
    ]


def _read_confirmation(evidence: Evidence, candidates: Mapping[str, Candidate]) -> Confirmation:
    accuracies = {
        label: measure(evidence, replicates(evidence, label), "val_accuracy")
        for label in evidence.definition["named"]
        if label in candidates
    }
    ranked = sorted(accuracies, key=lambda label: -_mean(accuracies[label]))
    counts = {label: 0 if mean is None else mean.seeds for label, mean in accuracies.items()}
    seeds = max(counts.values(), default=0)
    best = next((label for label in ranked if counts[label] == seeds > 0), None)
    measured = {
        label: [trial for trial in replicates(evidence, label) if "val_accuracy" in trial.values]
        for label in ranked
    }
    confirmed = {
        label: ConfirmedCandidate(
            candidate=candidates[label],
            val_accuracy=accuracies[label],
            outcomes=tuple(trial.values["val_accuracy"] for trial in measured[label]),
            seeds=tuple(known_seed(trial.seed, trial.number) for trial in measured[label]),
            observed=candidates[label].mean,
            behind=None
            if best is None or label == best
            else compare(evidence, best, label, "val_accuracy").record,
        )
        for label in ranked
    }
    chosen = None if best is None else confirmed[best]
    return Confirmation(evidence.study_name, seeds, tuple(confirmed.values()), chosen)


def _mean(measured: Measured | None) -> float:
    return -1.0 if measured is None else measured.mean


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
        replicates=tuple(
            {
                "number": trial.number,
                "replicate": trial.replicate,
                "seed": trial.seed,
                "val_accuracy": None if learns_validation else trial.val_accuracy,
                "test_accuracy": trial.values.get("test_accuracy"),
                "test_flip_accuracy": trial.values.get("test_flip_accuracy"),
                "seconds": round(trial.values["seconds"], 3),
            }
            for trial in trials
        ),
    )


def _read_ablations(evidence: Evidence, candidates: Sequence[Candidate]) -> Iterator[Ablation]:
    """Yield the ablations of a study's configurations that stand among its re-runs."""
    named: dict[str, dict[str, dict[str, float]]] = evidence.definition["named"]
    for candidate in candidates:
        whole, prefix = candidate.label, f"{candidate.label}{ABLATED}"
        parts = [
            Ablated(
                values={
                    key: named[label]["params"][key]
                    for key in label.removeprefix(prefix).split("+")
                },
                val_accuracy=measure(evidence, replicates(evidence, label), "val_accuracy"),
                loss=compare(evidence, whole, label, "val_accuracy").record,
            )
            for label in named
            if label.startswith(prefix)
        ]
        if parts:
            parts.sort(key=lambda part: -2.0 if part.loss is None else -part.loss.mean)
            accuracy = measure(evidence, replicates(evidence, whole), "val_accuracy")
            yield Ablation(evidence.study_name, candidate, accuracy, tuple(parts))
