"""What each hyperparameter of a configuration is worth: the same without it, on the same seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar_tune.config.derived import ABLATED
from cifar_tune.evaluation.measure import compare, measure, replicates
from cifar_tune.evaluation.ranking import Candidate
from cifar_tune.evaluation.records import ContrastRecord, Evidence, Measured

if TYPE_CHECKING:
    from cifar_tune.evaluation.ranking import Candidate  # SciPy takes a while to load

SMALLEST_EFFECT = 0.01
"""One point of accuracy counts, as in the claims of study files; intervals do not depend on it."""


@dataclass(frozen=True)
class Ablated:
    """A configuration with some of its hyperparameters put back.

    Attributes:
        values: what they were put back to, by hyperparameter.
        val_accuracy: over seeds; None before the first is done.
        loss: by how much the configuration is better with its own values, in pairs; None before
            the first pair is done.
    """

    values: dict[str, float]
    val_accuracy: Measured | None
    loss: ContrastRecord | None


@dataclass(frozen=True)
class Ablation:
    """A configuration, and what becomes of it without each of its hyperparameters; the greatest
    loss first."""

    study_name: str
    candidate: Candidate
    val_accuracy: Measured | None
    parts: tuple[Ablated, ...]


def read_ablations(evidence: Evidence, candidates: Sequence[Candidate]) -> Iterator[Ablation]:
    """Those that stand among the re-runs of a study.

    Args:
        evidence: of the re-runs.
        candidates: configurations of the study.
    """
    named: dict[str, dict[str, dict[str, float]]] = evidence.definition["named"]
    for candidate in candidates:
        prefix = f"{candidate.label}{ABLATED}"
        parts = []
        for label, definition in named.items():
            if label.startswith(prefix):
                keys = label.removeprefix(prefix).split("+")
                values = {key: definition["params"][key] for key in keys}
                parts.append(_read(evidence, candidate.label, label, values))
        if parts:
            parts.sort(key=lambda one: -2.0 if one.loss is None else -one.loss.mean)
            trials = replicates(evidence, candidate.label)
            whole = measure(evidence, trials, "val_accuracy")
            yield Ablation(evidence.study_name, candidate, whole, tuple(parts))


def _read(evidence: Evidence, whole: str, label: str, values: dict[str, float]) -> Ablated:
    compared = compare(evidence, whole, label, "val_accuracy", SMALLEST_EFFECT)
    return Ablated(
        values=values,
        val_accuracy=measure(evidence, replicates(evidence, label), "val_accuracy"),
        loss=None if isinstance(compared, str) else compared[1],
    )


def put_back(
    candidate: Candidate, reference: Mapping[str, float], keys: Sequence[str]
) -> Candidate:
    """The configuration with a reference's values of some hyperparameters, under a name of its
    own."""
    return dataclasses.replace(
        candidate,
        label=f"{candidate.label}{ABLATED}{'+'.join(keys)}",
        params={**candidate.params, **{key: reference[key] for key in keys}},
        numbers=(),
        outcomes=(),
    )
