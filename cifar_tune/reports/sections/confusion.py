"""The section with how the best model classifies: confusion matrix, classes, worst mistakes."""

from __future__ import annotations

import io
from collections.abc import Iterator

import plotly.graph_objects as go
from PIL import Image

from cifar_tune.evaluation.confusion import ConfusionRecord, WrongImage
from cifar_tune.evaluation.study import ReportRecord
from cifar_tune.evaluation.wording import short_name
from cifar_tune.reports.blocks import Block, Pictures, Prose, Tile
from cifar_tune.reports.study_blocks import make_chart
from cifar_tune.reports.theme import error_bars, make_figure
from cifar_tune.training.pictures.palette import COLOURS, SEQUENTIAL, TEXT


def draw_confusion(record: ReportRecord) -> Iterator[Block]:
    """Draw the mistakes of the most accurate of the named trials."""
    confusion = record.confusion
    if confusion is None:
        return
    trials = confusion.trials
    seeds = "one seed" if len(trials) == 1 else f"{len(trials)} seeds together"
    which = f"the {confusion.images:,} {confusion.split} images"
    if len(record.trained) > 1:
        name = short_name(confusion.model)
        yield Prose(f"Of {name}, the best of the named trials on validation images.")
    if confusion.split == "validation":
        yield Prose("The test images were not read, so these are the validation images.")
    yield make_chart(
        record,
        "confusion",
        "Confusion matrix",
        f"Of each class, in percent, what {which} were said to be; {seeds}.",
        plot_confusion(confusion),
        trials,
        height=520,
    )
    yield make_chart(
        record,
        "classes",
        "Accuracy by class",
        f"On {which}: mean over seeds with 95 % interval where there are several.",
        plot_classes(confusion),
        trials,
        height=360,
    )
    if confusion.most_wrong:
        yield Pictures(
            "most-wrong",
            "The images it is most wrong about",
            f"Those of {which} with the highest loss, by trial {trials[0]}: what each is, "
            "and what it was said to be with which probability.",
            tuple(map(_tile, confusion.most_wrong)),
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


def plot_confusion(confusion: ConfusionRecord) -> go.Figure:
    """Plot which share of each class was taken for each class."""
    shares = [[count / max(sum(row), 1) for count in row] for row in confusion.counts]
    figure = make_figure(
        "said",
        "is",
        legend=False,
        xaxis={"showgrid": False, "showline": False, "tickangle": -45},
        yaxis={"showgrid": False, "showline": False, "autorange": "reversed"},
    )
    return figure.add_heatmap(
        z=shares,
        x=list(confusion.classes),
        y=list(confusion.classes),
        text=[[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares],
        texttemplate="%{text}",
        colorscale=[list(step) for step in SEQUENTIAL],
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        showscale=False,
        hovertemplate="%{y} said to be %{x}: %{z:.1%}<extra></extra>",
    )


def plot_classes(confusion: ConfusionRecord) -> go.Figure:
    """Plot the accuracy of each class with its interval, the best class first."""
    accuracies = [
        (name, accuracy)
        for name, accuracy in zip(confusion.classes, confusion.per_class, strict=True)
        if accuracy is not None
    ]
    accuracies.sort(key=lambda pair: -pair[1].mean)
    figure = make_figure(
        "", "accuracy (%)", y_is_percent=True, legend=False, yaxis={"range": [0, 1]}, bargap=0.35
    )
    return figure.add_bar(
        x=[name for name, _ in accuracies],
        y=[accuracy.mean for _, accuracy in accuracies],
        error_y=error_bars([accuracy for _, accuracy in accuracies], color=TEXT),
        marker={"color": COLOURS[0]},
        hovertemplate="%{x}: %{y:.1%}<extra></extra>",
    )
