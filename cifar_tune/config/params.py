"""Reads values that a person gives searched hyperparameters of a study, as text."""

from __future__ import annotations

from collections.abc import Mapping

from cifar_tune.config.faults import suggest
from cifar_tune.config.space import Range, WholeRange
from cifar_tune.config.study_file import StudySpec


def read_params(
    spec: StudySpec, texts: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the values, and by key what is wrong with those that cannot be used."""
    ranges = spec.space.ranges()
    values: dict[str, float] = {}
    faults: dict[str, str] = {}
    for key, text in texts.items():
        if key not in ranges:
            faults[key] = _unknown(spec, key, ranges)
            continue
        value = _number(text)
        if value is None or not _allows(ranges[key], value):
            faults[key] = f"expected {describe_range(ranges[key])}"
        else:
            values[key] = value
    return values, faults


def describe_range(values: Range) -> str:
    """Return what a hyperparameter may be, in words."""
    kind = "a whole number" if isinstance(values, WholeRange) else "a number"
    return f"{kind} from {values.low:g} to {values.high:g}"


def _unknown(spec: StudySpec, key: str, ranges: Mapping[str, Range]) -> str:
    if not ranges:
        return f"{spec.file_name} searches nothing"
    known = ", ".join(ranges)
    return f"is not searched by {spec.file_name}; expected one of {known}{suggest(key, ranges)}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _allows(values: Range, value: float) -> bool:
    """Return whether a hyperparameter with this range may have a value, infinite or none at all."""
    is_broken = isinstance(values, WholeRange) and not value.is_integer()
    return values.contains(value) and not is_broken
