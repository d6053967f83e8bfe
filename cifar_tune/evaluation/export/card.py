"""The card of an exported model, in the form that the Hugging Face Hub reads.

Source: "Model cards" and "model-index" metadata, https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from cifar_tune.config.trial import TrialConfig
from cifar_tune.evaluation.export.temperature import Calibration
from cifar_tune.evaluation.quantities import Measured

_TEMPLATE = Path(__file__).with_name("card.md.j2")
_HEADS = {
    "linear": "nn.Linear(512, {classes})",
    "dropout": "nn.Sequential(nn.Dropout({rate:g}), nn.Linear(512, {classes}))",
    "mlp": (
        "nn.Sequential(\n    nn.Linear(512, 256), nn.ReLU(), nn.Dropout({rate:g}), "
        "nn.Linear(256, {classes})\n)"
    ),
}


@dataclass(frozen=True)
class ModelCard:
    """What a card states of a model.

    Attributes:
        title: The title of the study that it comes from.
        source: Study, trial and seed, in words.
        device: The device that it was trained on.
        val_accuracy: The validation accuracy of its configuration over seeds; None where the
            validation images were trained on.
        test_accuracy: The test accuracy of its configuration over seeds, where it is known.
        own_val_accuracy: The validation accuracy of this very model, likewise.
        own_test_accuracy: The test accuracy of this very model, likewise.
        test_reads: How often the test images were read for the study.
        command: The command that makes this export again.
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

    @property
    def figures(self) -> tuple[tuple[str, float | None, Measured | None], ...]:
        """The splits with the accuracy of this model and that of its configuration."""
        return (
            ("validation", self.own_val_accuracy, self.val_accuracy),
            ("test", self.own_test_accuracy, self.test_accuracy),
        )

    def to_markdown(self) -> str:
        """Return the card's text: metadata in YAML, then Markdown."""
        environment = Environment(
            undefined=StrictUndefined,
            autoescape=False,  # Markdown is no HTML
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
            card=self,
            config=self.config,
            metadata=yaml.safe_dump(_metadata(self), sort_keys=False, allow_unicode=True),
            code=loading_code(self.config, self.classes),
        )


def loading_code(config: TrialConfig, classes: tuple[str, ...]) -> str:
    """Return Python that loads the weights and classifies an image with torchvision alone."""
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


def _metadata(card: ModelCard) -> dict[str, Any]:
    is_cifar10 = card.config.data in ("bundled", "cifar10")
    data = "cifar10" if is_cifar10 else card.config.data
    results = [
        {
            "task": {"type": "image-classification", "name": "Image Classification"},
            "dataset": {
                "name": "CIFAR-10" if is_cifar10 else data,
                "type": data,
                "split": split,
            },
            "metrics": [
                {
                    "type": "accuracy",
                    "value": round(measured.mean, 6),
                    "name": _metric_name(measured),
                }
            ],
        }
        for split, _, measured in card.figures
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


def _metric_name(measured: Measured) -> str:
    name = f"mean accuracy over {measured.seeds} seeds"
    if measured.low is None:
        return name
    return f"{name}; 95 % interval {measured.low:.4f} to {measured.high:.4f}"
