"""What a finished trial says of each image of a split, kept in a file beside the database.

Statistics need it: two models are compared on the same images, so what matters of a finite
evaluation set is how often they differ on one image. Reports need it too, and need no image set.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.errors import StorageError
from cifar_tune.files import check_regular, replacing

MOST_WRONG = 24
"""How many images are kept with the predictions: those with the highest loss."""


@dataclass(frozen=True)
class Answers:
    """Which class a trial took each of ``N`` images of a split for.

    It is all that is known of a trial that was imported.

    Attributes:
        classes: names in the order of the labels.
        rows: int64 [N], of the images in the part of the image set that they come from; in no two
            places the same.
        labels: int64 [N].
        said: int64 [N], the label that was given.
    """

    classes: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    said: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check that it is one answer an image.

        Raises:
            ValueError: It is not.
        """
        arrays = (self.rows, self.labels, self.said)
        if len({array.shape for array in arrays}) > 1 or self.rows.ndim != 1 or not len(self.rows):
            raise ValueError("expected one row, label and answer an image")
        for array, most in zip(arrays, (math.inf, *[len(self.classes)] * 2), strict=True):
            if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= most:
                raise ValueError("expected rows from 0, and labels and answers of its classes")
        if len(np.unique(self.rows)) < len(self.rows):
            raise ValueError("expected each image once")

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Bool [N], which images were classified rightly."""
        right: npt.NDArray[np.bool_] = self.said == self.labels
        return right

    @property
    def accuracy(self) -> float:
        """Fraction of the images classified rightly."""
        return int(self.correct.sum()) / len(self.labels)


@dataclass(frozen=True)
class Predictions(Answers):
    """Answers, with what they were made from.

    Attributes:
        logits: float32 [N, number of classes].
        most_wrong: int64 [M], places in the split, the highest loss first.
        images: uint8 [M, 3, H, H], the images of ``most_wrong``.
    """

    logits: npt.NDArray[np.float32]
    most_wrong: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint8]

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Float64 [N, number of classes], the softmax of the logits."""
        shifted = np.exp(self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True))
        shares: npt.NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
        return shares


def make_predictions(
    classes: tuple[str, ...],
    pool: LabelledImages,
    rows: npt.NDArray[np.int64],
    logits: npt.NDArray[np.float32],
) -> Predictions:
    """Return predictions on these rows of the images, with the most wrong of them."""
    labels = pool.labels[rows].astype(np.int64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    most_wrong = np.argsort(-loss, kind="stable")[:MOST_WRONG]
    images = pool.images[rows[most_wrong]]
    said = logits.argmax(axis=1)
    return Predictions(classes, rows.astype(np.int64), labels, said, logits, most_wrong, images)


def save_predictions(answers: Answers, path: Path) -> None:
    """Write answers, or predictions, to a file that appears whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    left_out = {"classes", "said"} if isinstance(answers, Predictions) else {"classes"}
    arrays = {
        key: np.ascontiguousarray(value)
        for key, value in vars(answers).items()
        if key not in left_out
    }
    metadata = {"classes": json.dumps(answers.classes)}
    size = sum(array.nbytes for array in arrays.values())
    with replacing(path, size, StorageError) as temporary:
        save_file(arrays, temporary, metadata=metadata)


def load_predictions(path: Path) -> Answers | None:
    """Read predictions, or answers where no more was kept; None where there is no such file.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            classes = tuple(json.loads(file.metadata()["classes"]))
        if "said" in arrays:
            return Answers(classes=classes, **arrays)
        return Predictions(classes=classes, said=arrays["logits"].argmax(axis=1), **arrays)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path}: holds no predictions: {error}") from error
