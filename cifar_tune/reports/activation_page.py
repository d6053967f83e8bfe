"""Draws the activation report from its record; knows nothing of torch."""

from __future__ import annotations

from cifar_tune import __version__
from cifar_tune.reports.activation_layers import (
    TEXTS,
    draw_freezing,
    draw_shares,
    draw_stats,
    make_prose,
    percent,
)
from cifar_tune.reports.blocks import Command, Facts, Page, Pictures, Section, Tile
from cifar_tune.training.pictures.activation_pictures import (
    MOST_MAPS,
    paint_grad_cam,
    paint_image,
    paint_maps,
)
from cifar_tune.training.pictures.activation_record import ActivationRecord, ImageView, LayerView
from cifar_tune.wording import format_count

_MOSAIC_WIDTH = 560
"""The most CSS pixels that a mosaic is wide, where its own pixels are not more."""
_IMAGE_WIDTH = 256
_NAMED_IN_LEAD = 3
"""Images and layers that the lead speaks of one by one."""


def draw_activations(record: ActivationRecord, command: str) -> Page:
    """Draw the report, which ``command`` makes again."""
    config = record.config
    quick = (
        f"this is a quick run: {config.train_images:,} training images, "
        f"{format_count(config.epochs, 'epoch')}. A network that learns longer has other maps."
    )
    images = tuple(
        _draw_image(record, view, f"image-{number}") for number, view in enumerate(record.images, 1)
    )
    return Page(
        title=f"Activations of {_trial(record)} ({record.study_name})",
        lead=_lead(record),
        warning=quick if record.profile == "quick" else "",
        sections=(
            _draw_trial(record, command),
            *images,
            draw_shares(record),
            draw_freezing(record),
        ),
        footer=f"cifar-tune {__version__}, from weights with SHA-256 {record.weights_sha256}",
    )


# --- the trial ----------------------------------------------------------------------------------


def _lead(record: ActivationRecord) -> str:
    sentences = [
        f"{_title(view)} is taken for {view.predicted} ({percent(view.probability)})"
        for view in record.images[:_NAMED_IN_LEAD]
    ]
    rest = len(record.images) - len(sentences)
    if rest:
        sentences.append(f"{format_count(rest, 'more image')} below")
    shares = []
    for place, layer in enumerate(record.layers[:_NAMED_IN_LEAD]):
        fractions = [view.layers[place].stats.active_fraction for view in record.images]
        low, high = percent(min(fractions)), percent(max(fractions))
        shares.append(f"{layer} {low if low == high else f'{low} to {high}'}")
    return f"{'. '.join(sentences)}. Share of values that are active: {', '.join(shares)}."


def _draw_trial(record: ActivationRecord, command: str) -> Section:
    return Section(
        "trial",
        "The trial and how to read the pictures",
        (
            _trial_facts(record),
            *make_prose(TEXTS.how_to_read(record)),
            Command("This command makes the report again.", command),
        ),
    )


def _trial_facts(record: ActivationRecord) -> Facts:
    config = record.config
    frozen = {
        "batch": "normalises with batch statistics, running averages move",
        "running": "a fixed function",
    }[config.frozen_batch_norm]
    rows = (
        ("Study", record.study_name),
        ("Trial", f"{record.trial}, {record.name or 'sampled'}"),
        ("Validation accuracy", percent(record.val_accuracy)),
        ("Trained on", f"{config.train_images:,} images ({config.data}), seed {config.seed}"),
        ("Epochs", str(config.epochs)),
        ("Started from", "random weights" if config.weights == "none" else config.weights),
        ("Freeze depth", str(config.freeze_depth)),
        ("Batch norm in the frozen part", frozen),
        ("Network input", f"{config.input_size} x {config.input_size} pixels"),
        ("Parameters", f"{record.parameters:,}"),
    )
    return Facts("The trial", rows)


# --- an image -----------------------------------------------------------------------------------


def _draw_image(record: ActivationRecord, view: ImageView, key: str) -> Section:
    height, width, _ = view.pixels.shape
    kind = f"class {view.label}, " if view.label else ""
    note = f"{kind}{width} x {height} pixels{f'; {view.note}' if view.note else ''}"
    said = f"{view.predicted}, {percent(view.probability)}"
    source, size = record.grad_cam.layer, record.grad_cam.size
    empty = "" if view.grad_cam.any() else " Nothing in this layer speaks for the class."
    tiles = (
        Tile(paint_image(view.pixels), f"{view.source}, the input", "Input", note, _IMAGE_WIDTH),
        Tile(
            paint_grad_cam(view.pixels, view.grad_cam),
            f"{view.source}, Grad-CAM of {source} for the class {view.predicted}",
            f"Grad-CAM: {view.predicted}",
            f"predicted with {percent(view.probability)}",
            _IMAGE_WIDTH,
        ),
    )
    caption = (
        f"Grad-CAM of {source} ({size} x {size} places, spread bilinearly) for {said}, over the "
        "image in grey. Yellow is its strongest place, uncovered grey is zero; the scale is this "
        f"image's own.{empty}"
    )
    rows = tuple((name, percent(probability)) for name, probability in view.top)
    return Section(
        key,
        _title(view),
        (
            Pictures(f"{key}-input", "Input and Grad-CAM", caption, tiles),
            Facts("Most probable classes", rows),
            *(_draw_maps(view, layer, key) for layer in view.layers),
            draw_stats(record, view, key),
        ),
    )


def _draw_maps(view: ImageView, layer: LayerView, key: str) -> Pictures:
    stats = layer.stats
    png, width = paint_maps(layer)
    caption = "Each map scaled for itself from smallest (dark) to largest (light)"
    if stats.height * stats.width == 1:
        caption = "A map is one value here, so all are scaled together and show no place"
    some = stats.channels > MOST_MAPS
    which = (
        f"the {MOST_MAPS} of {stats.channels} channels with the highest mean after the ReLU, "
        if some
        else f"all {stats.channels} channels, "
    )
    return Pictures(
        f"{key}-{layer.layer}",
        f"{layer.layer}: {stats.channels} maps of {stats.height} x {stats.width}",
        f"{caption}; {which}in their order, row by row.",
        (
            Tile(
                png,
                f"{view.source}, feature maps of {layer.layer}",
                width=width * max(1, _MOSAIC_WIDTH // width),
            ),
        ),
    )


def _title(view: ImageView) -> str:
    """Return an image's name at the start of a sentence; a path keeps its first letter."""
    if view.test_index is None:
        return view.source
    return f"Test image {view.test_index} ({view.label})"


def _trial(record: ActivationRecord) -> str:
    return record.name or f"trial {record.trial}"
