"""Draws the activation report from its record; knows nothing of torch."""

from __future__ import annotations

from collections.abc import Iterator

from cifar_tune import __version__
from cifar_tune.reports.activation_layers import (
    TEXTS,
    draw_activity,
    draw_freezing,
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

_MOSAIC_WIDTH = 456
"""The most CSS pixels that a mosaic is wide, where its own pixels are not more: two in a row."""
_WIDTH = 224
"""CSS pixels of an image: two with their Grad-CAM in a row."""
_NAMED_IN_LEAD = 3
"""Images and layers that the lead speaks of one by one."""


def draw_activations(record: ActivationRecord, command: str) -> Page:
    """Draw the report, which ``command`` makes again."""
    config = record.config
    quick = (
        f"this is a quick run: {config.train_images:,} training images, "
        f"{format_count(config.epochs, 'epoch')}. A network that learns longer has other maps."
    )
    return Page(
        title=f"Activations of {_trial(record)} ({record.study_name})",
        lead=_lead(record),
        warning=quick if record.profile == "quick" else "",
        sections=(
            Section("images", "Input and Grad-CAM", (_draw_inputs(record),)),
            Section("maps", "Feature maps", tuple(_draw_maps(record))),
            draw_activity(record),
            draw_freezing(record),
            Section("reading", "How to read the pictures", make_prose(TEXTS.how_to_read(record))),
            Section("trial", "The trial", (_trial_facts(record),)),
        ),
        footer=f"cifar-tune {__version__}, from weights with SHA-256 {record.weights_sha256}",
        commands=(Command("This command makes the report again.", command),),
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
    return f"{'. '.join(sentences)}."


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


# --- the pictures -------------------------------------------------------------------------------


def _draw_inputs(record: ActivationRecord) -> Pictures:
    """Draw each image beside its Grad-CAM."""
    source, size = record.grad_cam.layer, record.grad_cam.size
    caption = (
        f"Grad-CAM of {source} ({size} x {size} places, spread bilinearly) for the predicted "
        "class, over the image in grey. Yellow is its strongest place, uncovered grey is zero; "
        "each image has a scale of its own."
    )
    tiles = tuple(tile for view in record.images for tile in _draw_input(record, view))
    return Pictures("inputs", "Images", caption, tiles)


def _draw_input(record: ActivationRecord, view: ImageView) -> tuple[Tile, Tile]:
    height, width, _ = view.pixels.shape
    kind = f"class {view.label}, " if view.label else ""
    note = f"{kind}{width} x {height} pixels{f'; {view.note}' if view.note else ''}"
    classes = ", ".join(f"{name} {percent(probability)}" for name, probability in view.top)
    empty = "" if view.grad_cam.any() else "; nothing in this layer speaks for the class"
    grad_cam = f"{view.source}, Grad-CAM of {record.grad_cam.layer} for the class {view.predicted}"
    return (
        Tile(paint_image(view.pixels), f"{view.source}, the input", _title(view), note, _WIDTH),
        Tile(
            paint_grad_cam(view.pixels, view.grad_cam),
            grad_cam,
            f"Grad-CAM: {view.predicted}",
            f"{classes}{empty}",
            _WIDTH,
        ),
    )


def _draw_maps(record: ActivationRecord) -> Iterator[Pictures]:
    """Yield the maps of each layer, those of all images side by side."""
    for place, layer in enumerate(record.images[0].layers):
        stats = layer.stats
        caption = "Each map scaled for itself from smallest (dark) to largest (light)"
        if stats.height * stats.width == 1:
            caption = "A map is one value here, so all are scaled together and show no place"
        which = f"all {stats.channels} channels"
        if stats.channels > MOST_MAPS:
            which = (
                f"the {MOST_MAPS} of {stats.channels} channels with the highest mean after the ReLU"
            )
        yield Pictures(
            f"maps-{layer.layer}",
            f"{layer.layer}: {stats.channels} maps of {stats.height} x {stats.width}",
            f"{caption}; {which}, in their order, row by row.",
            tuple(_draw_mosaic(view, view.layers[place]) for view in record.images),
        )


def _draw_mosaic(view: ImageView, layer: LayerView) -> Tile:
    png, width = paint_maps(layer)
    alt = f"{view.source}, feature maps of {layer.layer}"
    return Tile(png, alt, _title(view), width=width * max(1, _MOSAIC_WIDTH // width))


def _title(view: ImageView) -> str:
    """Return an image's name at the start of a sentence; a path keeps its first letter."""
    if view.test_index is None:
        return view.source
    return f"Test image {view.test_index} ({view.label})"


def _trial(record: ActivationRecord) -> str:
    return record.name or f"trial {record.trial}"
