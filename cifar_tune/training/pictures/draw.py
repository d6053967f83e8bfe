"""Draws the pictures of a trial that has just been trained, each into its file.

matplotlib is imported when something is drawn, in the worker; the runner never needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import Subset
from cifar_tune.errors import CifarTuneError, StorageError
from cifar_tune.files import replacing
from cifar_tune.training.records import EpochMetrics, TrialFiles

SHOWN_CLASSES = ("ship", "cat")
"""Whose first validation images are shown to the best trial, as in the assignment."""

STAGES = {
    "stem": "relu",
    "layer1": "layer1",
    "layer2": "layer2",
    "layer3": "layer3",
    "layer4": "layer4",
}
"""Parts of the network by what they are called, with the operation that ends each."""


@dataclass(frozen=True)
class Subject:
    """A trial as its pictures show it.

    Attributes:
        label: its name, or its number.
        classes: names in the order of the labels.
        validation: the images that ``logits`` are of.
        epochs: all that were trained, in order, at least one.
        logits: float32 [N, number of classes], after the last epoch; empty where they are not
            known.
    """

    label: str
    config: TrialConfig
    classes: tuple[str, ...]
    validation: Subset
    epochs: tuple[EpochMetrics, ...]
    logits: npt.NDArray[np.float32]


def draw_pictures(subject: Subject, model: nn.Module | None, files: TrialFiles) -> str | None:
    """Draw what ``files`` has a place for.

    Args:
        model: to be looked into for the activation maps; it is of no other use after. None leaves
            them out.

    Returns:
        What could not be drawn and why, in a line; None where all was. No error of drawing is
        raised: the trial is worth more than its pictures.

    Raises:
        StorageError: a file cannot be written.
    """
    faults = []
    for path, what, draw in _wanted(subject, model, files):
        try:
            png = draw()
        except CifarTuneError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            faults.append(f"its {what} could not be drawn: {said}")
            continue
        with replacing(path, len(png), StorageError) as temporary:
            temporary.write_bytes(png)
    return "; ".join(faults) or None


def _wanted(
    subject: Subject, model: nn.Module | None, files: TrialFiles
) -> Iterator[tuple[Path, str, Callable[[], bytes]]]:
    """Each picture's file, what it is called, and what draws it."""
    if files.learning_curves is not None:
        yield files.learning_curves, "learning curves", lambda: _draw_curves(subject)
    if files.confusion_matrix is not None and len(subject.logits):
        yield files.confusion_matrix, "confusion matrix", lambda: _draw_confusion(subject)
    if files.activation_maps is not None and model is not None:
        yield files.activation_maps, "activation maps", lambda: _draw_maps(subject, model)


def _draw_curves(subject: Subject) -> bytes:
    from cifar_tune.training.pictures.learning_curves import draw_learning_curves

    last, planned = subject.epochs[-1], subject.config.epochs
    epochs = f"{planned} epoch{'' if planned == 1 else 's'}"
    remark = f"{_accuracy(subject)} after {epochs}"
    if last.epoch < planned:
        remark = f"{_accuracy(subject)}; pruned after {last.epoch} of {epochs}"
    return draw_learning_curves(subject.epochs, subject.label, remark)


def _draw_confusion(subject: Subject) -> bytes:
    from cifar_tune.training.pictures.confusion_matrix import draw_confusion_matrix

    labels = subject.validation.pool.labels[subject.validation.rows]
    remark = f"{_accuracy(subject)}; counts of {len(labels):,} images, empty where there is none"
    said = subject.logits.argmax(axis=1)
    return draw_confusion_matrix(labels, said, subject.classes, subject.label, remark)


def _accuracy(subject: Subject) -> str:
    accuracy = f"validation accuracy {100 * subject.epochs[-1].val_accuracy:.2f} %"
    is_seen = subject.config.train_on == "train+val"
    return f"{accuracy} (of images trained on)" if is_seen else accuracy


def _draw_maps(subject: Subject, model: nn.Module) -> bytes:
    from cifar_tune.training.pictures.activation_maps import draw_activation_maps
    from cifar_tune.training.pictures.activation_record import ImageView
    from cifar_tune.training.pictures.feature_maps import GRAD_CAM_SIZE, look_into, see

    network = look_into(model.cpu(), STAGES.values(), subject.config)
    # Where the image set has no validation images of its own, they are some of those to train on.
    of_training = "" if subject.config.split == "fixed" else " of the training set"
    views = []
    for row in choose_rows(subject):
        pool = subject.validation.pool
        pixels, label = pool.images[row], int(pool.labels[row])
        seen = see(network, pixels)
        top = tuple((subject.classes[one], probability) for one, probability in seen.top[:3])
        views.append(
            ImageView(
                source=f"validation image {row}{of_training}",
                test_index=None,
                label=subject.classes[label],
                note="",
                top=top,
                pixels=np.ascontiguousarray(pixels.transpose(1, 2, 0)),
                layers=seen.layers,
                grad_cam=seen.grad_cam,
            )
        )
    fits = network.grad_cam.size >= GRAD_CAM_SIZE
    remark = f"Activation maps of the study's best trial when it ended; {_accuracy(subject)}"
    grad_cam = network.grad_cam if fits else None
    return draw_activation_maps(views, tuple(STAGES), grad_cam, subject.label, remark)


def choose_rows(subject: Subject) -> list[int]:
    """Rows, in the pool of the validation images, of the two that are shown.

    The first ship and the first cat, in the order of the image set; where it has no such classes,
    or none of their images validates, the first of the next class in the order of the labels.
    """
    rows = np.sort(subject.validation.rows)
    labels = subject.validation.pool.labels[rows]
    wanted = [subject.classes.index(name) for name in SHOWN_CLASSES if name in subject.classes]
    order = dict.fromkeys([*wanted, *range(len(subject.classes))])
    firsts = (rows[labels == label][:1].tolist() for label in order)
    return [row for found in firsts for row in found][:2]
