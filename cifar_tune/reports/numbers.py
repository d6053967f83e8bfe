"""The numbers of a study's report for other programs: one JSON object, or one table."""

from __future__ import annotations

import dataclasses
from typing import Any

from cifar_tune.evaluation.records import ContrastRecord, Measured
from cifar_tune.evaluation.study import ReportRecord

COLUMNS = (
    "part", "model", "trial", "seed", "state", "epoch", "quantity", "than", "value", "low", "high",
    "sd", "seeds", "images", "verdict",
)  # fmt: skip
"""Of the table. ``part`` says what a row is: ``measured``, ``published``, ``trial``, ``epoch``,
``claim``, ``class`` or ``confusion``."""


def record_json(record: ReportRecord) -> dict[str, Any]:
    """The record as JSON has it, without the pixels of images."""
    found = dataclasses.asdict(record)
    for wrong in (found["confusion"] or {}).get("most_wrong", ()):
        del wrong["pixels"]
    return found


def csv_rows(record: ReportRecord) -> list[dict[str, object]]:
    """Every number of the report, one a row; accuracies as fractions, times in seconds."""
    rows: list[dict[str, object]] = []

    def add(part: str, **values: object) -> None:
        rows.append({**dict.fromkeys(COLUMNS, ""), "part": part, **values})

    for model in record.models:
        for quantity, measured in model.measured.items():
            add("measured", model=model.name, quantity=quantity, **_measured(measured))
        for quantity, stated in model.published.items():
            add("published", model=model.name, quantity=quantity, value=stated)
    for trial in record.trials:
        about = {
            "model": trial.model,
            "trial": trial.number,
            "seed": trial.seed,
            "state": trial.state,
        }
        for key, value in {**trial.params, **trial.values}.items():
            add("trial", **about, quantity=key, value=value)
        for metrics in trial.history:
            for key, value in dataclasses.asdict(metrics).items():
                if key != "epoch":
                    add("epoch", **about, epoch=metrics.epoch, quantity=key, value=value)
    for claim in record.claims:
        for contrast in claim.contrasts:
            add("claim", model=claim.trial, verdict=claim.verdict, **_contrast(contrast))
        for unknown in claim.unknown:
            add("claim", model=claim.trial, verdict=claim.verdict, quantity=f"missing: {unknown}")
    _add_confusion(record, add)
    return [{key: "" if value is None else value for key, value in row.items()} for row in rows]


def _measured(measured: Measured) -> dict[str, object]:
    return {
        "value": measured.mean,
        "low": measured.low,
        "high": measured.high,
        "sd": measured.sd,
        "seeds": measured.seeds,
        "images": measured.images,
    }


def _contrast(contrast: ContrastRecord) -> dict[str, object]:
    return {
        "quantity": contrast.quantity,
        "than": contrast.than,
        "value": contrast.mean,
        "low": contrast.low,
        "high": contrast.high,
        "sd": contrast.sd,
        "seeds": contrast.seeds,
        "images": contrast.images,
    }


def _add_confusion(record: ReportRecord, add: Any) -> None:
    found = record.confusion
    if found is None:
        return
    for name, one in zip(found.classes, found.per_class, strict=True):
        if one is not None:
            add("class", model=found.model, quantity=name, **_measured(one))
    for name, row in zip(found.classes, found.counts, strict=True):
        for said, count in zip(found.classes, row, strict=True):
            add("confusion", model=found.model, quantity=name, than=said, value=count)
