"""The card of an exported model, in the form that the Hugging Face Hub reads.

Source: "Model cards" and "model-index" metadata, https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from cifar_tune.config.trial import TrialConfig
from cifar_tune.evaluation.export.temperature import Calibration
from cifar_tune.evaluation.quantities import Measured

_TEMPLATE = Path(__file__).with_name("card.md.j2")


@dataclass(frozen=True)
class ModelCard:
    """What a card states of a model.

    Attributes:
        source: Study, trial and seed, in words.
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
        )


def _metadata(card: ModelCard) -> dict[str, Any]:
    is_cifar10 = card.config.data in ("bundled", "cifar10")
    data = "cifar10" if is_cifar10 else card.config.data
    name = "CIFAR-10" if is_cifar10 else data
    results = [
        {
            "task": {"type": "image-classification", "name": "Image Classification"},
            "dataset": {"name": name, "type": data, "split": split},
            "metrics": metrics,
        }
        for split, own, accuracy in card.figures
        if (metrics := [*_own_metric(own), *_mean_metric(accuracy)])
    ]
    return {
        "library_name": "torchvision",
        "pipeline_tag": "image-classification",
        "tags": ["resnet18", "cifar-tune"],
        "datasets": [data],
        "metrics": ["accuracy"],
        "model-index": [{"name": f"resnet18-{data}", "results": results}],
    }


def _own_metric(accuracy: float | None) -> Iterator[dict[str, Any]]:
    if accuracy is not None:
        yield {"type": "accuracy", "value": round(accuracy, 6), "name": "accuracy of this model"}


def _mean_metric(accuracy: Measured | None) -> Iterator[dict[str, Any]]:
    if accuracy is not None:
        name = f"mean accuracy over {accuracy.seeds} seeds"
        if accuracy.low is not None:
            name += f"; 95 % interval {accuracy.low:.4f} to {accuracy.high:.4f}"
        yield {"type": "accuracy", "value": round(accuracy.mean, 6), "name": name}
