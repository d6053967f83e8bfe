"""What each hyperparameter of a configuration is worth: the same without it, on the same seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cifar_tune.config.derived import ABLATED
from cifar_tune.evaluation.candidates import Candidate
from cifar_tune.evaluation.evidence import Evidence
from cifar_tune.evaluation.measure import compare, measure, replicates
from cifar_tune.evaluation.quantities import ContrastRecord, Measured


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


def read_ablations(evidence: Evidence, candidates: Sequence[Candidate]) -> Iterator[Ablation]:
    """Yield the ablations of a study's configurations that stand among its re-runs."""
    named: dict[str, dict[str, dict[str, float]]] = evidence.definition["named"]
    for candidate in candidates:
        prefix = f"{candidate.label}{ABLATED}"
        parts = [
            _read(evidence, candidate.label, label, definition["params"], prefix)
            for label, definition in named.items()
            if label.startswith(prefix)
        ]
        if parts:
            parts.sort(key=lambda part: -2.0 if part.loss is None else -part.loss.mean)
            whole = measure(evidence, replicates(evidence, candidate.label), "val_accuracy")
            yield Ablation(evidence.study_name, candidate, whole, tuple(parts))


def _read(
    evidence: Evidence, whole: str, label: str, params: Mapping[str, float], prefix: str
) -> Ablated:
    return Ablated(
        values={key: params[key] for key in label.removeprefix(prefix).split("+")},
        val_accuracy=measure(evidence, replicates(evidence, label), "val_accuracy"),
        loss=compare(evidence, whole, label, "val_accuracy").record,
    )


def put_back(
    candidate: Candidate, reference: Mapping[str, float], keys: Sequence[str]
) -> Candidate:
    """Return the configuration with a reference's values of some keys, under a name of its own."""
    return dataclasses.replace(
        candidate,
        label=f"{candidate.label}{ABLATED}{'+'.join(keys)}",
        params={**candidate.params, **{key: reference[key] for key in keys}},
        numbers=(),
        outcomes=(),
    )
