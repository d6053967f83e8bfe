"""Blocks that several sections of a study's report are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import plotly.graph_objects as go

from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.quantities import ContrastRecord, Measured
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import (
    format_effect,
    format_effect_interval,
    format_quantity,
    format_spread,
)
from cifar_tune.reports.blocks import Cell, Chart, number_cell


def trial_anchor(number: int) -> str:
    """Return the ``id`` of a trial's row in the table of all trials."""
    return f"trial-{number}"


def make_chart(
    record: ReportRecord,
    id_: str,
    title: str,
    caption: str,
    figure: go.Figure,
    trials: Iterable[int],
    *,
    height: int = 420,
) -> Chart:
    """Return a figure with links to the trials that it is made of, given by their numbers."""
    by_number = {trial.number: trial for trial in record.trials}
    sources = tuple(
        (
            f"{number} {by_number[number].name or f'({by_number[number].kind})'}",
            trial_anchor(number),
        )
        for number in trials
    )
    return Chart(id_, title, caption, figure, sources, record.report_command, height)


def quantity_cell(
    quantity: str, measured: Measured | None, *, link: str = "", missing: str = "none"
) -> Cell:
    """Return the mean of a quantity with its spread below, or the word for a missing one."""
    if measured is None:
        return number_cell(missing, tone="missing")
    mean = format_quantity(quantity, measured.mean)
    return number_cell(mean, note=format_spread(quantity, measured), link=link)


def effect_cell(contrast: ContrastRecord | None) -> Cell:
    """Return a mean difference with its interval below."""
    if contrast is None:
        return number_cell("none", tone="missing")
    mean = format_effect(contrast.quantity, contrast.mean)
    return number_cell(mean, note=format_effect_interval(contrast))


def configuration_cell(name: str, own: Mapping[str, Any], *, link: str = "") -> Cell:
    """Return the name of a configuration, with what sets it apart below."""
    return Cell(name, note=format_params(own), link=link, is_code=True)
