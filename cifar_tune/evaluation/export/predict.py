"""What an exported model says of image files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.data.importing.image_folder import Oddities, decode_images
from cifar_tune.data.loader import place
from cifar_tune.data.search_data import Subset
from cifar_tune.errors import InputError
from cifar_tune.evaluation.export.model_files import ExportedModel
from cifar_tune.training.trainer import evaluate
from cifar_tune.wording import printable


@dataclass(frozen=True)
class Prediction:
    """The probabilities of an image's classes: float64 [classes], calibrated if the model is."""

    path: str
    probabilities: npt.NDArray[np.float64]


def predict(
    exported: ExportedModel, paths: Sequence[Path], device: torch.device
) -> tuple[Prediction, ...]:
    """Classify image files.

    They are read as images are on import: made RGB, brought to the size of the images that the
    model learnt from.

    Raises:
        InputError: A file is not an image; the message names each.
    """
    size = exported.image_size
    images = np.empty((len(paths), 3, size, size), dtype=np.uint8)
    unreadable = []
    for row, path in enumerate(paths):
        oddities = Oddities()
        images[row] = decode_images(path.parent, (Path(path.name),), size, oddities)[0]
        if oddities.unreadable:
            unreadable.append(printable(str(path)))
    if unreadable:
        raise InputError("\n".join(f"{path}: cannot be read as an image" for path in unreadable))
    config = dataclasses.replace(exported.config, augment_validation=False, precision="fp32")
    shown = LabelledImages(images, np.zeros(len(paths), dtype=np.uint8))
    split = place(Subset(shown, np.arange(len(paths))), config, device)
    evaluation = evaluate(exported.model, split, config)
    calibration = exported.calibration
    temperature = 1.0 if calibration is None else calibration.temperature
    logits = evaluation.logits.double().cpu().numpy() / temperature
    probabilities = special.softmax(logits, axis=1)
    return tuple(
        Prediction(printable(str(path)), row)
        for path, row in zip(paths, probabilities, strict=True)
    )
