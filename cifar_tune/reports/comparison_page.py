"""Draws studies, or two trials, beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cifar_tune import __version__
from cifar_tune.config.wording import format_params
from cifar_tune.evaluation.differences import Difference
from cifar_tune.evaluation.study_comparison import (
    COMPARED,
    ComparedModel,
    ComparedQuantity,
    StudyComparison,
)
from cifar_tune.evaluation.wording import (
    format_effect,
    format_effect_interval,
    format_interval,
    format_key,
    format_quantity,
    format_setting,
)
from cifar_tune.reports.blocks import Cell, Page, Prose, Row, Section, Table, number_cell
from cifar_tune.wording import format_count, format_percent

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_STUDIES = len(_LETTERS)


def draw_comparison(comparison: StudyComparison) -> Page:
    """Draw a comparison of studies."""
    names = [study.study_name for study in comparison.studies]
    return Page(
        title=f"Comparison of {', '.join(names)}",
        lead=_lead(comparison),
        warning="",
        sections=(
            Section("studies", "Studies", (_studies_table(comparison),)),
            Section("models", "Models in several studies", tuple(_draw_models(comparison))),
            Section("protocol", "Differences in protocol", (_protocol(comparison),)),
            Section("search", "Differences in search", (_search(comparison),)),
        ),
        footer=f"cifar-tune {__version__}",
    )


def _lead(comparison: StudyComparison) -> str:
    """Return how many models are shared, and which of the differences are clear of zero."""
    models = comparison.models
    identical = sum(model.is_identical for model in models)
    lead = f"{format_count(len(models), 'model')} in several studies"
    lead += f", {identical} with the same configuration. " if models else ". "
    clear = [
        f"{_model_name(model)}: {format_effect(quantity.quantity, contrast.mean)} in "
        f"{_LETTERS[place]}"
        for model in models
        for quantity in model.quantities
        if quantity.quantity != "seconds"
        for place, contrast in enumerate(quantity.contrasts)
        if contrast is not None and contrast.low is not None and contrast.high is not None
        if contrast.low > 0 or contrast.high < 0
    ]
    if clear:
        return lead + f"Differences with a 95 % interval clear of zero: {'; '.join(clear)}."
    compared = any(
        contrast
        for model in models
        for quantity in model.quantities
        if quantity.quantity != "seconds"
        for contrast in quantity.contrasts
    )
    return lead + (
        "No difference in accuracy has a 95 % interval clear of zero."
        if compared
        else "No accuracy can be compared."
    )


def _studies_table(comparison: StudyComparison) -> Table:
    rows = tuple(
        Row(
            (
                Cell(letter),
                Cell(study.study_name, is_code=True),
                number_cell(f"{study.complete} of {study.trials}"),
                number_cell("" if study.best is None else format_percent(study.best)),
                Cell(study.best_label),
            )
        )
        for letter, study in zip(_LETTERS, comparison.studies, strict=False)
    )
    return Table(
        id="compared-studies",
        caption="Studies",
        columns=("", "study", "complete trials", "best by validation", "its trial"),
        rows=rows,
        note="The best accuracy was selected: on new seeds the same trial scores lower on average.",
    )


def _draw_models(comparison: StudyComparison) -> Iterator[Table | Prose]:
    models = comparison.models
    if not models:
        yield Prose("No two named trials of these studies have the same hyperparameters.")
        return
    letters = _LETTERS[1 : len(comparison.studies)]
    further = [heading for letter in letters for heading in (letter, f"{letter} beside A")]
    for place, quantity in enumerate(COMPARED):
        rows = tuple(
            Row((Cell(_model_name(model)), *_model_cells(model.quantities[place])))
            for model in models
        )
        caption = format_key(quantity).capitalize()
        yield Table(f"models-{quantity}", caption, ("model", "A", *further), rows, _NOTES[quantity])
    rows = tuple(
        Row((Cell(_model_name(model)), Cell(_same(model)), Cell(format_params(model.own))))
        for model in models
    )
    yield Table("shared-models", "Models", ("model", "configuration", "hyperparameters"), rows)


_OF_ACCURACY = (
    "Mean over seeds with a 95 % interval; differences are of pairs with the same seed and images."
)
_NOTES = {
    "val_accuracy": _OF_ACCURACY,
    "test_accuracy": _OF_ACCURACY,
    "seconds": "Geometric mean over seeds.",
}


def _model_name(model: ComparedModel) -> str:
    return " / ".join(dict.fromkeys(name for name in model.names if name is not None))


def _same(model: ComparedModel) -> str:
    return "the same" if model.is_identical else "another protocol"


def _model_cells(quantity: ComparedQuantity) -> Iterator[Cell]:
    for place, measured in enumerate(quantity.measured):
        if measured is None:
            yield Cell("")
        else:
            seeds = format_count(measured.seeds, "seed")
            interval = "" if measured.low is None else format_interval(quantity.quantity, measured)
            text = format_quantity(quantity.quantity, measured.mean)
            yield number_cell(text, note=", ".join(filter(None, (interval, seeds))))
        if place > 0:
            yield _difference_cell(quantity, place)


def _difference_cell(quantity: ComparedQuantity, place: int) -> Cell:
    contrast = quantity.contrasts[place]
    if contrast is None:
        return Cell("", note=quantity.reasons[place])
    interval = format_effect_interval(contrast)
    return number_cell(format_effect(quantity.quantity, contrast.mean), note=interval)


def _protocol(comparison: StudyComparison) -> Table | Prose:
    letters = _LETTERS[: len(comparison.studies)]
    return draw_differences("protocol-differences", "Protocol", comparison.protocol, letters)


def _search(comparison: StudyComparison) -> Table | Prose:
    letters = _LETTERS[: len(comparison.studies)]
    return draw_differences("search-differences", "Search", comparison.search, letters)


def draw_differences(
    id_: str, caption: str, differences: Sequence[Difference], columns: Sequence[str]
) -> Table | Prose:
    """Draw settings that differ, a column for each record that they are of."""
    if not differences:
        return Prose(f"{caption}: no difference.")
    rows = tuple(
        Row(
            (
                Cell(_format_key(difference.key)),
                *(number_cell(_format_result(difference.key, it)) for it in difference.values),
            )
        )
        for difference in differences
    )
    return Table(id_, caption, ("", *columns), rows)


def _format_key(key: str) -> str:
    of_what, comma, part = key.rpartition(", ")
    return of_what + comma + format_key(part)


def _format_result(key: str, value: Any) -> str:
    """Return an accuracy in percent, a time in minutes and seconds, a setting as it is."""
    part = key.rpartition(", ")[2]
    if value is None or not (part == "seconds" or part.endswith("_accuracy")):
        return _format_value(value)
    values = value if isinstance(value, list) else [value]
    return ", ".join(format_quantity(part, it) for it in values)


def _format_value(value: Any) -> str:
    if value is None:
        return "not set"
    if not isinstance(value, dict):
        return f"{value:.4g}" if isinstance(value, float) else format_setting(value)
    if value.keys() == {"low", "high", "log"}:
        scale = ", log scale" if value["log"] else ""
        return f"{value['low']:g} to {value['high']:g}{scale}"
    name = value.get("name")
    inner = ", ".join(
        f"{format_key(key)} {_format_value(of_key)}"
        for key, of_key in value.items()
        if key != "name"
    )
    return " ".join(filter(None, (name, f"({inner})" if name and inner else inner)))
