"""How hyperparameters and other settings are named for a reader."""

from __future__ import annotations

from collections.abc import Mapping

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
    return f"{value:.3g}" if isinstance(value, int | float) else str(value)
