"""A trained model as a folder that others can use: written, opened, and asked about images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from scipy import special
from torch import nn

from cifar_tune.config.checked import Digest, Label, Positive, Record
from cifar_tune.config.faults import read_record
from cifar_tune.config.space import fault
from cifar_tune.config.stored_config import StoredConfig
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.data.importing.image_folder import MAX_CLASSES, Oddities, decode_images
from cifar_tune.data.loader import place
from cifar_tune.data.search_data import Subset
from cifar_tune.errors import InputError, StorageError, WeightsError
from cifar_tune.evaluation.export.card import ModelCard
from cifar_tune.evaluation.export.temperature import Calibration
from cifar_tune.files import parse_json, read_text, replacing
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import load_model
from cifar_tune.training.trainer import evaluate

MOST_PIXELS = 4096
"""The height and width of no image that a model learnt from is greater."""
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = 1


class _ModelConfig(Record):
    """What the configuration of an exported model has to say."""

    format: Positive
    classes: Annotated[list[Label], Field(min_length=1, max_length=MAX_CLASSES)]
    image_size: Annotated[int, Field(strict=True, ge=1, le=MOST_PIXELS)]
    weights_sha256: Digest
    calibration: Calibration | None
    config: StoredConfig

    @model_validator(mode="after")
    def _tells_classes_apart(self) -> _ModelConfig:
        if len(set(self.classes)) < len(self.classes):
            raise fault("classes", "a name of its own for each")
        return self


@dataclass(frozen=True)
class ExportedModel:
    """A model from a folder.

    Attributes:
        image_size: The height and width in pixels that images have before they are resized to
            ``config.input_size``.
        calibration: None where probabilities are not calibrated.
    """

    model: nn.Module
    config: TrialConfig
    classes: tuple[str, ...]
    image_size: int
    calibration: Calibration | None


def write_model(
    folder: Path, weights: Path, card: ModelCard, image_size: int, trial: dict[str, Any]
) -> None:
    """Write weights, card and configuration, each of which appears whole or not at all.

    The configuration comes last, so that a folder that has one is complete. It names the trial that
    the model comes from, and the height and width in pixels of the images that it learnt from.

    Raises:
        StorageError: A file cannot be written.
        WeightsError: The kept weights are not those that were recorded.
    """
    content = weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise WeightsError(f"{weights}: is not the file that was kept")
    about = {
        "format": FORMAT,
        "made_by": "cifar-tune",
        "architecture": "torchvision.models.resnet18",
        "head": card.config.head,
        "classes": list(card.classes),
        "image_size": image_size,
        "weights_sha256": card.weights_sha256,
        "calibration": card.calibration and asdict(card.calibration),
        "config": card.config.as_stored(),
        "trial": trial,
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    for name, data in (
        (WEIGHTS, content),
        (CARD, card.to_markdown().encode()),
        (CONFIG, text.encode()),
    ):
        with replacing(folder / name, len(data), StorageError) as temporary:
            temporary.write_bytes(data)


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Check that a model can be written to a folder.

    Raises:
        InputError: It is a file, or has other files, or a model that is to stay.
    """
    if folder.is_dir():
        others = sorted(path.name for path in folder.iterdir())
        if others and not (overwrite and CONFIG in others):
            raise InputError(
                f"--out {folder}: is not empty ({', '.join(others[:3])}); expected a new folder, "
                "or --overwrite for one that has an exported model"
            )
    elif folder.exists():
        raise InputError(f"--out {folder}: is a file; expected a folder")


def open_model(folder: Path, device: torch.device) -> ExportedModel:
    """Open a folder that ``write_model`` wrote.

    Raises:
        InputError: It is no such folder, or of a newer version.
        WeightsError: Its weights are not those that its configuration names.
    """
    about = _read_config(folder / CONFIG)
    model = build_model(about.config.to_config(), len(about.classes))
    load_model(model, folder / WEIGHTS, about.weights_sha256)
    model.to(device).eval()
    return ExportedModel(
        model, about.config.to_config(), tuple(about.classes), about.image_size, about.calibration
    )


def _read_config(path: Path) -> _ModelConfig:
    try:
        about = parse_json(read_text(path))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; expected the folder of an exported model"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    version = about.get("format") if isinstance(about, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise InputError(
            f"{path}: format {version} is of a newer cifar-tune; expected at most {FORMAT}"
        )
    return read_record(_ModelConfig, about, str(path), InputError)


def classify(
    exported: ExportedModel, paths: Sequence[Path], device: torch.device
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Return the probabilities of the classes of image files, float64 [N, classes].

    They are calibrated if the model is. The files are read as images are on import: turned upright,
    made RGB, brought to the size of the images that the model learnt from; what was done to them
    is returned too, a sentence each.

    Raises:
        InputError: Files are no images, or are not there; the message names them.
    """
    oddities = Oddities()
    images = decode_images(Path(), paths, exported.image_size, oddities)
    if oddities.unreadable:
        raise InputError(oddities.list_unreadable())
    config = replace(exported.config, augment_validation=False, precision="fp32")
    shown = LabelledImages(images, np.zeros(len(paths), dtype=np.uint8))
    split = place(Subset(shown, np.arange(len(paths))), config, device)
    evaluation = evaluate(exported.model, split, config)
    temperature = exported.calibration.temperature if exported.calibration else 1.0
    logits = evaluation.logits.double().cpu().numpy() / temperature
    probabilities: npt.NDArray[np.float64] = special.softmax(logits, axis=1)
    return probabilities, oddities.notes(exported.image_size)
