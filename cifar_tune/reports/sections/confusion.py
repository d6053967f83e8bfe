"""Draws how a model classifies: confusion matrix, classes, and its worst mistakes."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image

from cifar_tune.evaluation.records import WrongImage
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.words import short, sources
from cifar_tune.reports.blocks import Block, Chart, Pictures, Prose, Tile
from cifar_tune.reports.figures.confusion import draw_classes, draw_confusion


def confusion_blocks(record: ReportRecord, command: str) -> Iterator[Block]:
    """Of the most accurate of the named trials, on the test images where they were read."""
    found = record.confusion
    if found is None:
        return
    seeds = "one seed" if len(found.trials) == 1 else f"{len(found.trials)} seeds together"
    which = f"the {found.images:,} {found.split} images"
    if len([model for model in record.models if model.trials]) > 1:
        yield Prose(f"Of {short(found.model)}, the best of the named trials on validation images.")
    if found.split == "validation":
        yield Prose("The test images were not read, so these are the validation images.")
    made_from = sources(record.trials, found.trials)
    yield Chart(
        "confusion",
        "Confusion matrix",
        f"Of each class, in percent, what {which} were said to be; {seeds}.",
        draw_confusion(found),
        made_from,
        command,
        height=520,
    )
    yield Chart(
        "classes",
        "Accuracy by class",
        f"On {which}: mean over seeds with 95 % interval where there are several.",
        draw_classes(found),
        made_from,
        command,
        height=360,
    )
    if found.most_wrong:
        yield Pictures(
            "most-wrong",
            "The images it is most wrong about",
            f"Those of {which} with the highest loss, by trial {found.trials[0]}: what each is, "
            "and what it was said to be with which probability.",
            tuple(map(_tile, found.most_wrong)),
        )


def _tile(wrong: WrongImage) -> Tile:
    buffer = io.BytesIO()
    Image.fromarray(wrong.pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    said = f"{wrong.said}, {100 * wrong.probability:.0f}\u00a0%"
    return Tile(
        buffer.getvalue(),
        alt=f"image {wrong.row}: {wrong.label}, said to be {said}",
        title=wrong.label,
        note=f"said {said}; #{wrong.row}",
        width=104,
    )
