"""The card of an exported model, in the form that the Hugging Face Hub reads.

Source: "Model cards" and "model-index" metadata, https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from cifar_tune.config.trial import TrialConfig
from cifar_tune.evaluation.export.temperature import Calibration
from cifar_tune.evaluation.quantities import Measured

_HEADS = {
    "linear": "nn.Linear(512, {classes})",
    "dropout": "nn.Sequential(nn.Dropout({rate:g}), nn.Linear(512, {classes}))",
    "mlp": (
        "nn.Sequential(\n    nn.Linear(512, 256), nn.ReLU(), nn.Dropout({rate:g}), "
        "nn.Linear(256, {classes})\n)"
    ),
}


@dataclass(frozen=True)
class Described:
    """What a card states of a model.

    Attributes:
        title: of the study that it comes from.
        source: study, trial and seed, in words.
        device: that it was trained on.
        val_accuracy: of the configuration over its seeds; None where none is unseen.
        test_accuracy: likewise, where the test images were read.
        own_val_accuracy: of this very model; likewise.
        own_test_accuracy: likewise.
        test_reads: how often the test images were read for the study.
        command: that makes this export again.
    """

    title: str
    source: str
    device: str
    software: Mapping[str, str]
    config: TrialConfig
    classes: tuple[str, ...]
    weights_sha256: str
    val_accuracy: Measured | None
    test_accuracy: Measured | None
    own_val_accuracy: float | None
    own_test_accuracy: float | None
    calibration: Calibration | None
    test_reads: int
    command: str


def write_card(described: Described) -> str:
    """The card's text: metadata in YAML, then Markdown."""
    metadata = yaml.safe_dump(_metadata(described), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{metadata}---\n",
        f"# ResNet-18: {described.title}\n",
        _about(described),
        "## Use\n\n```python\n" + loading_code(described.config, described.classes) + "```\n",
        "## What it is worth\n\n" + _figures(described),
        "## How it was trained\n\n" + _protocol(described),
        "## Limits\n\n" + _limits(described),
    ]
    return "\n".join(parts)


def loading_code(config: TrialConfig, classes: tuple[str, ...]) -> str:
    """Python that loads the weights and classifies an image with torchvision alone."""
    head = _HEADS[config.head].format(rate=config.dropout_rate, classes=len(classes))
    size = config.input_size
    return f"""\
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision import transforms
from torchvision.models import resnet18

model = resnet18()
model.fc = {head}
model.load_state_dict(load_file("model.safetensors"))
model.eval()

prepare = transforms.Compose(
    [
        transforms.Resize(({size}, {size})),
        transforms.ToTensor(),
        transforms.Normalize({_floats(config.normalize_mean)}, {_floats(config.normalize_std)}),
    ]
)
with torch.inference_mode():
    logits = model(prepare(Image.open("image.png").convert("RGB"))[None])
"""


def _floats(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _metadata(described: Described) -> dict[str, Any]:
    is_cifar10 = described.config.data in ("bundled", "cifar10")
    data = "cifar10" if is_cifar10 else described.config.data
    name = "CIFAR-10" if is_cifar10 else data
    results = [
        {
            "task": {"type": "image-classification", "name": "Image Classification"},
            "dataset": {"name": name, "type": data, "split": split},
            "metrics": [
                {
                    "type": "accuracy",
                    "value": round(measured.mean, 6),
                    "name": f"mean accuracy over {measured.seeds} seeds"
                    + _ends(measured, "; 95 % interval {} to {}"),
                }
            ],
        }
        for split, measured in (
            ("validation", described.val_accuracy),
            ("test", described.test_accuracy),
        )
        if measured is not None
    ]
    return {
        "library_name": "torchvision",
        "pipeline_tag": "image-classification",
        "tags": ["resnet18", "cifar-tune"],
        "datasets": [data],
        "metrics": ["accuracy"],
        "model-index": [{"name": f"resnet18-{data}", "results": results}],
    }


def _ends(measured: Measured, text: str) -> str:
    if measured.low is None or measured.high is None:
        return ""
    return text.format(f"{measured.low:.4f}", f"{measured.high:.4f}")


def _about(described: Described) -> str:
    classes = ", ".join(described.classes)
    return (
        f"torchvision's ResNet-18 for {len(described.classes)} classes ({classes}), from "
        f"{described.source}. SHA-256 of `model.safetensors`: `{described.weights_sha256}`.\n"
    )


def _figures(described: Described) -> str:
    lines = ["| images | this model | its configuration, mean over seeds | 95 % interval | seeds |"]
    lines.append("|---|---|---|---|---|")
    for split, own, measured in (
        ("validation", described.own_val_accuracy, described.val_accuracy),
        ("test", described.own_test_accuracy, described.test_accuracy),
    ):
        if measured is None and own is None:
            lines.append(f"| {split} | not measured | | | |")
            continue
        mean = "" if measured is None else f"{measured.mean:.4f}"
        ends = "" if measured is None else _ends(measured, "{} to {}")
        seeds = "" if measured is None else str(measured.seeds)
        shown = "" if own is None else f"{own:.4f}"
        lines.append(f"| {split} | {shown} | {mean} | {ends} | {seeds} |")
    calibration = described.calibration
    if calibration is None:
        told = (
            "Its probabilities are not calibrated: it was trained on all images that a "
            "temperature could have been fitted on."
        )
    else:
        told = (
            f"Divide the logits by the temperature {calibration.temperature:.4f} before the "
            f"softmax: it was fitted on the {calibration.images:,} validation images, where the "
            f"expected calibration error falls from {calibration.error_before:.4f} to "
            f"{calibration.error_after:.4f} (15 bins)."
        )
    reads = described.test_reads
    times = "once" if reads == 1 else f"{reads} times"
    return "\n".join(lines) + (
        f"\n\n{told}\n\nThe test images have been read {times} for the study that it comes from.\n"
    )


def _protocol(described: Described) -> str:
    config = described.config
    rows = "\n".join(f"| `{key}` | {value} |" for key, value in config.as_stored().items())
    software = ", ".join(f"{name} {version}" for name, version in described.software.items())
    optimizer = {"adam": "Adam", "sgd": "SGD"}[config.optimizer]
    return (
        f"{optimizer} with a cosine learning rate, stepped each epoch, on {described.device} with "
        f"{software}.\n\n| setting | value |\n|---|---|\n{rows}\n\nMade by `{described.command}`.\n"
    )


def _limits(described: Described) -> str:
    config = described.config
    said = [
        "It knows its classes only: whatever it is shown, it names one of them.",
        f"It was trained on images brought to {config.input_size} pixels; larger images lose their "
        "detail before it sees them.",
        "The intervals are for other seeds and other images of the same source, not for images of "
        "another kind.",
    ]
    if config.images_trained_on < 40_000 and config.data == "bundled":
        said.append(
            f"It is of a quick run: {config.images_trained_on:,} training images, "
            f"{config.epochs} epochs."
        )
    return "\n".join(f"- {line}" for line in said) + "\n"
