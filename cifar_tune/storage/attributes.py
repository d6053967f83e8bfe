"""What this program stores with studies and trials as attributes of Optuna's, checked when read.

Optuna takes any value, and so does whoever writes to the database or makes an export.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field, StrictBool, model_validator

from cifar_tune.config.checked import (
    Count,
    Digest,
    Finite,
    Fraction,
    Label,
    Positive,
    Record,
    ReplicateName,
    Text,
)
from cifar_tune.config.faults import read_record
from cifar_tune.config.schema import Claim
from cifar_tune.config.space import fault
from cifar_tune.config.stored_config import StoredConfig
from cifar_tune.config.trial import Precision
from cifar_tune.errors import StorageError
from cifar_tune.training.records import EpochMetrics

Digests = dict[str, Digest]


class _Range(Record):
    low: Finite
    high: Finite
    log: StrictBool = False


class _Named(Record):
    params: dict[str, Finite]
    settings: dict[str, Any]


class StudyAttributes(Record):
    """The attributes of a study; none has to be there, since a run writes one after the other."""

    format: Positive | None = None
    title: Text = ""
    study_file: Label | None = None
    profile: Label | None = None
    overrides: dict[str, Any] | None = None
    seed: Count = 0
    protocol: dict[str, Any] | None = None
    space: dict[str, _Range] | None = None
    named: dict[str, _Named] | None = None
    claims: dict[str, Claim] | None = None
    sampler: dict[str, Any] | None = None
    pruner: dict[str, Any] | None = None
    data_digests: Digests | None = None
    weights_digests: Digests | None = None
    precision: Precision = "fp32"


class _Facts(Record):
    data_digests: Digests
    device: Text
    software: dict[str, Text]
    device_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    threads: Positive | None = None


class _Failure(Record):
    kind: Label = "error"
    message: Text
    epoch: Count | None = None
    step: Count | None = None

    @model_validator(mode="after")
    def _says_where(self) -> _Failure:
        if self.kind == "not_finite" and None in (self.epoch, self.step):
            raise fault('kind = "not_finite"', "an epoch and a step with it")
        return self


class _Asker(Record):
    by: Text = ""
    at: Text = ""
    study: Text = ""
    id: Count | None = None
    trial: Count | None = None
    seed: Count | None = None


class TrialAttributes(Record):
    """The attributes of a trial that a run has begun."""

    name: ReplicateName | None = None
    seed: Count | None = None
    settings: dict[str, Any] | None = None
    config: StoredConfig | None = None
    facts: _Facts | None = None
    history: list[EpochMetrics] | None = None
    restarts: list[dict[str, Any]] | None = None
    failure: _Failure | None = None
    kept_weights_sha256: Digest | None = None
    queued: _Asker | None = None
    retry_of: Count | None = None


class _Outcome(Record):
    """What Optuna has of a trial that has ended."""

    value: Fraction = 0.0
    params: dict[Label, Finite]
    val_accuracy: dict[Positive, Fraction]


def check_study_attributes(study: optuna.Study, where: str) -> None:
    """Check what is stored with a study.

    Raises:
        StorageError: It is not as this program stores it; the message begins with ``where``.
    """
    read_record(StudyAttributes, study.user_attrs, where, StorageError)


def check_trial(trial: FrozenTrial, attributes: Mapping[str, Any], where: str) -> None:
    """Check a trial that a run has begun: its attributes, and how it ended.

    Raises:
        StorageError: It is not as this program stores it; the message begins with ``where``.
    """
    record = read_record(TrialAttributes, attributes, where, StorageError)
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        for key in ("config", "facts", "history"):
            if not getattr(record, key):
                raise StorageError(f"{where}: {key}: is missing; the trial has ended")
        outcome: dict[str, Any] = (
            {"value": trial.value} if trial.state == TrialState.COMPLETE else {}
        )
        outcome |= {"params": trial.params, "val_accuracy": trial.intermediate_values}
        read_record(_Outcome, outcome, where, StorageError)
        for name, values in trial.distributions.items():
            low, high = getattr(values, "low", 0.0), getattr(values, "high", 0.0)
            value = trial.params[name]
            if not low <= value <= high:
                raise StorageError(f"{where}: {name} = {value}: expected {low:g} to {high:g}")
