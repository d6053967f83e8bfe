"""Draws the pictures of a trial that has just been trained, each into its file.

matplotlib is imported when something is drawn, in the worker; the runner never needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cifar_tune.data.search_data import Subset
from cifar_tune.errors import CifarTuneError, StorageError
from cifar_tune.files import replacing
from cifar_tune.training.objective import TrainedTrial
from cifar_tune.training.records import TrialFiles

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


def draw_pictures(
    trial: TrainedTrial, label: str, files: TrialFiles, best_so_far: float = 0.0
) -> str | None:
    """Draw the pictures that ``files`` has a place for, under the trial's name or number.

    Activation maps are drawn of a trial that is complete and not below ``best_so_far``, the highest
    validation accuracy of the study's complete trials; its network is of no other use after.

    Returns:
        What could not be drawn and why, in a line; None where all was. No error of drawing is
        raised: the trial is worth more than its pictures.

    Raises:
        StorageError: A file cannot be written.
    """
    is_best = not trial.result.pruned and trial.result.val_accuracy >= best_so_far
    has_logits = len(trial.logits) > 0
    pictures = (
        ("learning curves", files.learning_curves, _draw_curves),
        ("confusion matrix", files.confusion_matrix if has_logits else None, _draw_confusion),
        ("activation maps", files.activation_maps if is_best else None, _draw_maps),
    )
    faults = []
    for what, path, draw in pictures:
        if path is None:
            continue
        try:
            png = draw(trial, label)
        except CifarTuneError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            faults.append(f"its {what} could not be drawn: {reason}")
            continue
        with replacing(path, len(png), StorageError) as temporary:
            temporary.write_bytes(png)
    return "; ".join(faults) or None


def _draw_curves(trial: TrainedTrial, label: str) -> bytes:
    from cifar_tune.training.pictures.learning_curves import draw_learning_curves

    trained, planned = trial.result.epochs[-1].epoch, trial.config.epochs
    epochs = f"{planned} epoch{'' if planned == 1 else 's'}"
    remark = f"{_format_accuracy(trial)} after {epochs}"
    if trained < planned:
        remark = f"{_format_accuracy(trial)}; pruned after {trained} of {epochs}"
    return draw_learning_curves(trial.result.epochs, label, remark)


def _draw_confusion(trial: TrainedTrial, label: str) -> bytes:
    from cifar_tune.training.pictures.confusion_matrix import draw_confusion_matrix

    labels = trial.validation.pool.labels[trial.validation.rows]
    images = f"counts of {len(labels):,} images, empty where there is none"
    predicted = trial.logits.argmax(axis=1)
    remark = f"{_format_accuracy(trial)}; {images}"
    return draw_confusion_matrix(labels, predicted, trial.classes, label, remark)


def _format_accuracy(trial: TrainedTrial) -> str:
    accuracy = f"validation accuracy {100 * trial.result.val_accuracy:.2f} %"
    is_seen = trial.config.train_on == "train+val"
    return f"{accuracy} (of images trained on)" if is_seen else accuracy


def _draw_maps(trial: TrainedTrial, label: str) -> bytes:
    from cifar_tune.training.pictures.activation_maps import draw_activation_maps
    from cifar_tune.training.pictures.feature_maps import GRAD_CAM_SIZE, look_into, see

    network = look_into(trial.model.cpu(), STAGES.values(), trial.config)
    # Where the image set has no validation images of its own, they are some of those to train on.
    of_training = "" if trial.config.split == "fixed" else " of the training set"
    pool = trial.validation.pool
    views = [
        see(
            network,
            pool.images[row],
            trial.classes,
            source=f"validation image {row}{of_training}",
            label=trial.classes[pool.labels[row]],
        )
        for row in choose_rows(trial.validation, trial.classes)
    ]
    grad_cam = network.grad_cam if network.grad_cam.size >= GRAD_CAM_SIZE else None
    remark = f"Activation maps of the study's best trial when it ended; {_format_accuracy(trial)}"
    return draw_activation_maps(views, tuple(STAGES), grad_cam, label, remark)


def choose_rows(validation: Subset, classes: Sequence[str]) -> list[int]:
    """Return the rows, in the pool of the validation images, of the two that are shown.

    The first ship and the first cat, in the order of the image set; where it has no such classes,
    or none of their images validates, the first of the next class in the order of the labels.
    """
    rows = np.sort(validation.rows)
    labels = validation.pool.labels[rows]
    wanted = [classes.index(name) for name in SHOWN_CLASSES if name in classes]
    order = dict.fromkeys([*wanted, *range(len(classes))])
    firsts = (rows[labels == label][:1].tolist() for label in order)
    return [row for first in firsts for row in first][:2]
