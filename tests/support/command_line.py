"""The command line as the tests call it, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from cifar_tune.training.pictures.activation_record import ActivationRecord, LayerView

TINY = ("--set", "train_images=64", "--set", "validation_images=50", "--set", "batch_size=32")
"""Overrides that make a trial of real images take a fraction of a second."""


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> dict[str, Any]:
        """Standard output as the one JSON object that it must be."""
        record: dict[str, Any] = json.loads(self.out)
        return record


Cli = Callable[..., Answer]
StopAfter = Callable[..., AbstractContextManager[None]]
Compute = Callable[..., ActivationRecord]
FINETUNE = "transfer/finetune/seed=1"


def run_dropout(cli: Cli, *arguments: str, epochs: int = 1) -> Answer:
    """Run the dropout study with tiny trials."""
    return cli("study", "run", "dropout", *TINY, "--epochs", str(epochs), *arguments)


def find_layer(record: ActivationRecord, layer: str, image: int = 0) -> LayerView:
    """What the report says of a layer for one of its images."""
    return next(one for one in record.images[image].layers if one.layer == layer)
