"""Blocks that several sections of a study's report are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.evaluation.wording import (
    format_effect,
    format_effect_interval,
    format_interval,
    format_quantity,
)
from cifar_tune.reports.blocks import Cell, number_cell


def quantity_cell(quantity: str, measured: Measured | None, *, missing: str = "none") -> Cell:
    """Return the mean of a quantity with its spread below, or the word for a missing one."""
    if measured is None:
        return number_cell(missing, tone="missing")
    mean = format_quantity(quantity, measured.mean)
    note = "" if measured.low is None else format_interval(quantity, measured)
    if quantity != "seconds":
        note = note.replace(" to ", "\N{EN DASH}")
    return number_cell(mean, note=note)


def effect_cell(contrast: ContrastRecord | None) -> Cell:
    """Return a mean difference with its interval below."""
    if contrast is None:
        return number_cell("none", tone="missing")
    mean = format_effect(contrast.quantity, contrast.mean)
    return number_cell(mean, note=format_effect_interval(contrast))


def configuration_cell(name: str, own: Mapping[str, Any]) -> Cell:
    """Return the name of a configuration, with what sets it apart below."""
    return Cell(name, note=format_params(own), is_code=True)
