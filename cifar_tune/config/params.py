"""Checks values that a person gives searched hyperparameters of a study."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cifar_tune.config.names import suggest_key
from cifar_tune.config.space import Range, WholeRange
from cifar_tune.config.study_file import StudySpec

MOST_SEED = 2**63 - 1


def check_params(
    spec: StudySpec, wanted: Mapping[str, object]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the values that can be used, and by key what was expected of the others."""
    ranges = spec.space.ranges()
    values: dict[str, float] = {}
    faults: dict[str, str] = {}
    for key, value in wanted.items():
        if key not in ranges:
            faults[key] = _describe_unknown(spec, key, ranges)
        elif isinstance(value, int | float) and _is_in(ranges[key], value):
            values[key] = int(value) if isinstance(ranges[key], WholeRange) else float(value)
        else:
            faults[key] = f"expected {describe_range(ranges[key])}"
    return values, faults


def read_params(
    spec: StudySpec, texts: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Check values that were typed, as ``check_params`` does."""
    return check_params(spec, {key: _read_number(text) for key, text in texts.items()})


def describe_range(values: Range) -> str:
    """Return in words what a hyperparameter may be."""
    kind = "a whole number" if isinstance(values, WholeRange) else "a number"
    return f"{kind} from {values.low:g} to {values.high:g}"


def _describe_unknown(spec: StudySpec, key: str, ranges: Mapping[str, Range]) -> str:
    if not ranges:
        return f"{spec.file_name} has no search space"
    known = ", ".join(ranges)
    return f"is not searched by {spec.file_name}; expected one of {known}{suggest_key(key, ranges)}"


def _is_in(values: Range, value: float) -> bool:
    is_kind = not isinstance(value, bool) and (not isinstance(values, WholeRange) or value % 1 == 0)
    return is_kind and values.contains(value)  # nan is in no range


def _read_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def read_seed(text: str) -> tuple[int | None, str]:
    """Return the seed that was typed, None for none, and what was expected if it is wrong."""
    if not text:
        return None, ""
    if re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= MOST_SEED:
        return int(text), ""
    return None, f"expected a whole number from 0 on, at most {MOST_SEED}"
