"""Reads values that a person gives searched hyperparameters of a study, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cifar_tune.config.faults import nearest
from cifar_tune.config.space import Range, WholeRange
from cifar_tune.config.study_file import StudySpec


def read_params(
    spec: StudySpec, given: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """The values, and by key what is wrong with those that cannot be used."""
    ranges = spec.space.ranges()
    values: dict[str, float] = {}
    faults: dict[str, str] = {}
    for key, text in given.items():
        if key not in ranges:
            faults[key] = _unknown(spec, key, ranges)
            continue
        value = _number(text)
        if value is None or not ranges[key].contains(value) or _is_broken(ranges[key], value):
            faults[key] = f"expected {describe_range(ranges[key])}"
        else:
            values[key] = value
    return values, faults


def describe_range(values: Range) -> str:
    """What a hyperparameter may be, in words."""
    kind = "a whole number" if isinstance(values, WholeRange) else "a number"
    return f"{kind} from {values.low:g} to {values.high:g}"


def _unknown(spec: StudySpec, key: str, ranges: Mapping[str, Range]) -> str:
    if not ranges:
        return f"{spec.file_name} searches nothing"
    near = nearest(key, ranges)
    hint = f"; did you mean {near}?" if near else ""
    return f"is not searched by {spec.file_name}; expected one of {', '.join(ranges)}{hint}"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is_broken(values: Range, value: float) -> bool:
    return isinstance(values, WholeRange) and value != int(value)
