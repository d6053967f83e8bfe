"""Reads the configuration of a trial from a database, an export or the folder of a model."""

from __future__ import annotations

from typing import Any

from cifar_tune.config.checked import Count
from cifar_tune.config.faults import read_record
from cifar_tune.config.hyperparameter import Hyperparameter
from cifar_tune.config.schema import Conditions
from cifar_tune.config.space import values_of, with_fields
from cifar_tune.config.trial import HYPERPARAMETERS, Precision, TrainOn, TrialConfig
from cifar_tune.errors import CifarTuneError


def _field_of(declared: Hyperparameter) -> tuple[Any, Any]:
    """Return type and default of a hyperparameter, as ``pydantic.create_model`` takes them."""
    if declared.is_required:
        return values_of(declared), ...
    may_be_none = declared.default is None
    return values_of(declared) | None if may_be_none else values_of(declared), declared.default


@with_fields({key: _field_of(declared) for key, declared in HYPERPARAMETERS.items()})
class StoredConfig(Conditions):
    """The fields of ``TrialConfig`` with their limits; what has a default may be left out."""

    seed: Count
    train_on: TrainOn = "train"
    precision: Precision = "fp32"

    def to_config(self) -> TrialConfig:
        """Return the configuration."""
        fields = self.model_dump()
        for key in ("normalize_mean", "normalize_std"):
            fields[key] = tuple(fields[key])
        return TrialConfig(**fields)


def read_config(raw: object, where: str, error_type: type[CifarTuneError]) -> TrialConfig:
    """Return the configuration of a trial, as ``TrialConfig.as_stored`` gives it.

    Raises:
        CifarTuneError: It is none; as of ``read_record``.
    """
    return read_record(StoredConfig, raw, where, error_type).to_config()
