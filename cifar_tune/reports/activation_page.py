"""Draws the activation report from its record; knows nothing of torch."""

from __future__ import annotations

from cifar_tune import __version__
from cifar_tune.reports.activation_layers import (
    draw_freezing,
    draw_shares,
    draw_stats,
    percent,
)
from cifar_tune.reports.blocks import (
    Command,
    Facts,
    Page,
    Pictures,
    Prose,
    Section,
    Tile,
)
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
            draw_shares(record, command),
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
    prose = (
        _describe_tests(record),
        "The picture of a layer shows the layer's own output; of a convolution that is the "
        "result of the convolution itself, before batch norm and ReLU, as in the assignment. "
        "Every map is scaled for itself from its smallest value (dark) to its largest (light): "
        "shapes can be compared between maps, strengths cannot.",
        "How much is active is measured elsewhere: a convolution's own output has no natural "
        "zero, so the tables count the values above zero after the ReLU that follows it. Each "
        "table says what lies between; after layer1.1.conv2 that is the shortcut of its block too.",
        "The assignment showed conv1_conv, conv2_block1_1_conv and conv2_block2_3_conv of Keras's "
        "ResNet-50. The counterparts by their place in this ResNet-18 are conv1, layer1.0.conv1 "
        "and layer1.1.conv2. It remarked that the early maps show the outline of the object and "
        "the later ones are hard to read: compare the pictures of the three below.",
        _describe_grad_cam(record),
    )
    return Section(
        "trial",
        "The trial and how to read the pictures",
        (
            _trial_facts(record),
            *map(Prose, prose),
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


def _describe_tests(record: ActivationRecord) -> str:
    tests = sum(view.test_index is not None for view in record.images)
    if not tests:
        return "No test image is shown."
    words = {1: "One test image is", 2: "Two test images are"}
    return (
        f"{words.get(tests, f'{tests} test images are')} shown, no accuracy was measured on "
        f"{'it' if tests == 1 else 'them'}: this report is no row in the ledger of test reads."
    )


def _describe_grad_cam(record: ActivationRecord) -> str:
    chosen = record.grad_cam
    size, last = record.config.input_size, chosen.sizes[-1]
    text = (
        "Grad-CAM (Selvaraju et al., ICCV 2017) weights the maps of a layer by how much the logit "
        "of the predicted class grows with each, on average over places, and keeps what speaks "
        "for that class. It tells where, not why, and of one class only. "
    )
    if chosen.size == last:
        return text + f"Here it is that of {chosen.layer}, the last, with {last} x {last} places."
    where = ", ".join(f"layer{n} {side} x {side}" for n, side in enumerate(chosen.sizes, 1))
    reason = (
        "the deepest with at least 4 x 4, is shown; it is less particular to a class than the "
        "last layer would be"
        if chosen.size >= 4
        else "that with the most, is shown, although it can hardly tell places apart"
    )
    return (
        text + f"Usually the last layer's is shown. At {size} x {size} pixels the layers have few "
        f"places ({where}), so {chosen.layer}, {reason}."
    )


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
