"""How hyperparameters and other settings are named for a reader."""

from __future__ import annotations

from collections.abc import Mapping

from cifar_tune.config.hyperparameter import Hyperparameter
from cifar_tune.config.trial import HYPERPARAMETERS

_SHORT_NAMES = {"frozen_batch_norm": "batch norm"} | {
    key: declared.short for key, declared in HYPERPARAMETERS.items() if declared.short
}


def short_name(key: str) -> str:
    """Return the name of a setting where there is little room."""
    return _SHORT_NAMES.get(key, key)


def long_name(key: str) -> str:
    """Return the name of a setting in a text, with its unit."""
    declared = HYPERPARAMETERS.get(key)
    name = (declared.label if declared else "") or key.replace("_", " ")
    return f"{name} ({declared.unit})" if declared and declared.unit else name


def format_params(params: Mapping[str, float | str]) -> str:
    """Return searched values or a named trial's settings on one line, under short names."""
    return ", ".join(f"{short_name(key)} {_format(value)}" for key, value in params.items())


def _format(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def hyperparameter_table() -> str:
    """Return the Markdown table of all hyperparameters that the README has."""
    lines = ["| key | what it is | values | by default |", "|---|---|---|---|"]
    for key, declared in HYPERPARAMETERS.items():
        cells = (f"`{key}`", declared.help, _describe_values(declared), _describe_default(declared))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _describe_values(declared: Hyperparameter) -> str:
    if declared.choices:
        return " or ".join(f'`"{choice}"`' for choice in declared.choices) + ", not searched"
    low = f"above {declared.gt:g}" if declared.gt is not None else f"from {declared.ge:g}"
    high = ""
    if declared.lt is not None:
        high = f" to below {declared.lt:g}"
    elif declared.le is not None:
        high = f" to {declared.le:g}"
    return f"{low}{high}" + (", whole" if declared.is_whole else "")


def _describe_default(declared: Hyperparameter) -> str:
    if declared.is_required:
        return "always given"
    if declared.default is None:
        return "not given"
    return f'`"{declared.default}"`' if declared.choices else f"{declared.default:g}"
