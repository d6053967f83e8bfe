"""Shows single images to a trained trial and takes down what its layers make of them.

``pictures.feature_maps`` looks into the network; here are the trial, the images and the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import CLASSES, FULL_SET, IMAGE_SIZE, UInt8Array
from cifar_tune.data.importing.image_folder import Oddities, decode_images
from cifar_tune.data.search_data import open_imported
from cifar_tune.errors import DataError, InputError, WeightsError
from cifar_tune.evaluation.kept_models import load_kept_model
from cifar_tune.evaluation.test_images import show_test_images
from cifar_tune.evaluation.trial import find_complete
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.trials import rank
from cifar_tune.training.pictures.activation_record import ActivationRecord
from cifar_tune.training.pictures.feature_maps import describe_freeze, look_into, see
from cifar_tune.wording import printable

DEFAULT_LAYERS = ("conv1", "layer1.0.conv1", "layer1.1.conv2")
"""Counterparts of the three layers that the assignment showed."""
DEFAULT_CLASSES = ("ship", "cat")
"""Whose first test images are shown where none is named, as in the assignment."""


@dataclass(frozen=True)
class _Image:
    """An image before the network saw it, as ``see`` takes it; ``pixels`` are uint8 [3, H, H]."""

    source: str
    test_index: int | None
    label: str | None
    note: str
    pixels: UInt8Array


def compute_activations(
    location: StorageLocation,
    study_name: str,
    trial_name: str | None,
    images: Sequence[str],
    layers: Sequence[str],
    root: Path,
) -> ActivationRecord:
    """Show images to a trained trial and take down what its layers make of them.

    The trial is given by its number, or its name with its replicate; None takes the complete trial
    with kept weights that has the highest validation accuracy, the first of equals. ``images`` are
    the indices of test images, from 0, or the paths of image files. Without any, the first ship and
    the first cat of the test images are shown, or the first image of each of the first two classes
    where there are no ships and cats. ``layers`` are shown after ``DEFAULT_LAYERS``, by
    torchvision's names; imported images are in ``root``.

    Raises:
        InputError: There is no such study, trial, image or layer.
        WeightsError: The trial's weights were not kept, or are no longer what they were.
        DataError: The trial's image set is missing, has no test images, or is another one by now.
    """
    with explain_errors(location):
        _, study = studies.open_study(location, study_name)
        trial = _find_kept(study, trial_name)
        profile = study.user_attrs.get("profile", "")
    attributes = trial.user_attrs
    config, facts = TrialConfig(**attributes["config"]), attributes["facts"]
    classes, size = _describe_image_set(config, facts, root)
    opened = _open_images(images, config, facts, classes, size, root)
    model = load_kept_model(location, study, trial, len(classes))
    network = look_into(model, (*DEFAULT_LAYERS, *layers), config)
    return ActivationRecord(
        study_name=study_name,
        profile=profile,
        trial=trial.number,
        name=attributes.get("name"),
        val_accuracy=trial.value or 0.0,
        weights_sha256=attributes["kept_weights_sha256"],
        config=config,
        classes=classes,
        parameters=network.parameters,
        layers=tuple(layer.name for layer in network.layers),
        freezes=tuple(describe_freeze(network, layer) for layer in network.layers),
        grad_cam=network.grad_cam,
        images=tuple(see(network, classes=classes, **vars(image)) for image in opened),
    )


def _find_kept(study: optuna.Study, trial_name: str | None) -> FrozenTrial:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kept = [trial for trial in complete if "kept_weights_sha256" in trial.user_attrs]
    if trial_name is None:
        if not kept:
            raise WeightsError(
                f"{study.study_name}: no complete trial has its weights kept; keep_weights = "
                '"named" in the study file\'s profile keeps those of named trials that are run '
                "from then on"
            )
        return max(kept, key=rank)
    trial = find_complete(study, trial_name)
    if trial not in kept:
        names = ", ".join(other.user_attrs.get("name", str(other.number)) for other in kept)
        raise WeightsError(
            f"trial {trial.number} of {study.study_name}: its weights were not kept; keep_weights "
            f"in the study file's profile says which are; kept are those of: {names or 'no trial'}"
        )
    return trial


# --- the images ---------------------------------------------------------------------------------


def _describe_image_set(
    config: TrialConfig, facts: Mapping[str, Any], root: Path
) -> tuple[tuple[str, ...], int]:
    """Return the classes that a trial learnt, and the height and width of its images in pixels."""
    if config.data in ("bundled", FULL_SET):
        return CLASSES, IMAGE_SIZE
    image_set = open_imported(config.data, root, ("train",))
    if not facts["data_digests"].items() <= image_set.digests.items():
        raise DataError(f"images {config.data}: are not those that the trial learnt from")
    return image_set.classes, image_set.splits["train"].images.shape[-1]


def _open_images(
    texts: Sequence[str],
    config: TrialConfig,
    facts: dict[str, object],
    classes: tuple[str, ...],
    size: int,
    root: Path,
) -> list[_Image]:
    # One that is named twice is shown once.
    keys: list[int | str] = list(
        dict.fromkeys(int(text) if _is_index(text) else text for text in texts)
    )
    images: dict[int | str, _Image] = {
        key: _read_file(key, size) for key in keys if isinstance(key, str)
    }
    if not keys:
        keys += DEFAULT_CLASSES if set(DEFAULT_CLASSES) <= set(classes) else classes[:2]
    wanted = [key for key in keys if key not in images]
    if wanted:
        rows, shown = show_test_images(config, facts, root, wanted)
        for key, row, pixels, label in zip(wanted, rows, shown.images, shown.labels, strict=True):
            images[key] = _Image(f"test image {row}", row, classes[label], "", pixels)
    return [images[key] for key in keys]


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _read_file(text: str, size: int) -> _Image:
    """Read an image file as images are read on import, brought to the size of the image set."""
    oddities = Oddities()
    (pixels,) = decode_images(Path(), [Path(text)], size, oddities)
    if oddities.unreadable:
        raise InputError(f"{oddities.list_unreadable()}; a test image is named by its index")
    note = ", ".join(what for _, _, what in oddities.list_changes(size))
    return _Image(printable(text), None, None, note, pixels)
