"""Shows single images to a trained trial and takes down what its layers make of them.

``pictures.feature_maps`` looks into the network; here are the trial, the images and the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import CLASSES, FULL_SET, IMAGE_SIZE, UInt8Array
from cifar_tune.data.importing.image_folder import Oddities, decode_images
from cifar_tune.data.search_data import open_imported
from cifar_tune.errors import DataError, InputError, WeightsError
from cifar_tune.evaluation.kept_model import find_complete, load_kept_model
from cifar_tune.evaluation.test_images import show_test_images
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.training.pictures.activation_record import ActivationRecord
from cifar_tune.training.pictures.feature_maps import describe_freeze, look_into, see
from cifar_tune.wording import printable

DEFAULT_LAYERS = ("conv1", "layer1.0.conv1", "layer1.1.conv2")
"""Counterparts of the three layers that the assignment showed."""
DEFAULT_CLASSES = ("ship", "cat")
"""Whose first test images are shown where none is named, as in the assignment."""


@dataclass(frozen=True)
class _ImageSet:
    """What a trial learnt from: names of classes, height and width of images in pixels."""

    classes: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class _Image:
    """An image before the network saw it; ``pixels`` are uint8 [3, H, H], the rest as in a view."""

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

    Args:
        location: The storage.
        study_name: The trial's study.
        trial_name: The number of the trial, or its name with its replicate; None takes the
            complete trial with kept weights that has the highest validation accuracy, the first
            of equals.
        images: The indices of test images, from 0, or the paths of image files. Without any, the
            first ship and the first cat of the test images are shown, or the first image of each
            of the first two classes where there are no ships and cats.
        layers: The layers shown after ``DEFAULT_LAYERS``, by torchvision's names.
        root: The folder of imported images.

    Raises:
        InputError: There is no such study, trial, image or layer.
        WeightsError: The trial's weights were not kept, or are no longer what they were.
        DataError: The trial's image set is missing, has no test images, or is another one by now.
    """
    trial, profile = _open_trial(location, study_name, trial_name)
    attributes = trial.user_attrs
    config, facts = TrialConfig(**attributes["config"]), attributes["facts"]
    image_set = _open_image_set(config, facts, root)
    opened = _open_images(images, config, facts, image_set, root)
    model = load_kept_model(location, study_name, trial, len(image_set.classes))
    network = look_into(model, (*DEFAULT_LAYERS, *layers), config)
    return ActivationRecord(
        study_name=study_name,
        profile=profile,
        trial=trial.number,
        name=attributes.get("name"),
        val_accuracy=trial.value or 0.0,
        weights_sha256=attributes["kept_weights_sha256"],
        config=config,
        classes=image_set.classes,
        parameters=network.parameters,
        layers=tuple(layer.name for layer in network.layers),
        freezes=tuple(describe_freeze(network, layer) for layer in network.layers),
        grad_cam=network.grad_cam,
        images=tuple(
            see(
                network,
                image.pixels,
                image_set.classes,
                image.source,
                image.label,
                image.test_index,
                image.note,
            )
            for image in opened
        ),
    )


# --- the trial ----------------------------------------------------------------------------------


def _open_trial(
    location: StorageLocation, study_name: str, trial_name: str | None
) -> tuple[FrozenTrial, str]:
    """Return the trial that is meant, and its study's profile."""
    with explain_errors(location):
        _, study = studies.open_study(location, study_name)
        trials = study.get_trials(deepcopy=False)
        if trial_name is None:
            trial = _best_kept(study_name, trials)
        else:
            trial = find_complete(study, trial_name)
            _check_kept(study_name, trial, trials)
        return trial, study.user_attrs.get("profile", "")


def _best_kept(study_name: str, trials: Iterable[FrozenTrial]) -> FrozenTrial:
    kept = _with_weights(trials)
    if not kept:
        raise WeightsError(
            f'{study_name}: no complete trial has its weights kept; keep_weights = "named" in '
            "the study file's profile keeps those of named trials that are run from then on"
        )
    return max(kept, key=lambda trial: (trial.value or 0.0, -trial.number))


def _check_kept(study_name: str, trial: FrozenTrial, trials: Iterable[FrozenTrial]) -> None:
    if "kept_weights_sha256" not in trial.user_attrs:
        kept = _with_weights(trials)
        names = ", ".join(other.user_attrs.get("name", str(other.number)) for other in kept)
        raise WeightsError(
            f"trial {trial.number} of {study_name}: its weights were not kept; keep_weights in the "
            f"study file's profile says which are; kept are those of: {names or 'no trial'}"
        )


def _with_weights(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    return [
        trial
        for trial in trials
        if trial.state.name == "COMPLETE" and "kept_weights_sha256" in trial.user_attrs
    ]


# --- the images ---------------------------------------------------------------------------------


def _open_image_set(config: TrialConfig, facts: Mapping[str, Any], root: Path) -> _ImageSet:
    if config.data in ("bundled", FULL_SET):
        return _ImageSet(CLASSES, IMAGE_SIZE)
    image_set = open_imported(config.data, root, ("train",))
    if not facts["data_digests"].items() <= image_set.digests.items():
        raise DataError(f"images {config.data}: are not those that the trial learnt from")
    return _ImageSet(image_set.classes, image_set.splits["train"].images.shape[-1])


def _open_images(
    texts: Sequence[str],
    config: TrialConfig,
    facts: dict[str, object],
    image_set: _ImageSet,
    root: Path,
) -> list[_Image]:
    files = {text: _read_file(text, image_set.size) for text in texts if not _is_index(text)}
    wanted: Sequence[int | str] = list(
        dict.fromkeys(int(text) for text in texts if _is_index(text))
    )
    if not texts:
        has_defaults = set(DEFAULT_CLASSES) <= set(image_set.classes)
        wanted = DEFAULT_CLASSES if has_defaults else image_set.classes[:2]
    tests: dict[int, _Image] = {}
    if wanted:
        rows, shown = show_test_images(config, facts, root, wanted)
        for row, pixels, label in zip(rows, shown.images, shown.labels, strict=True):
            name = image_set.classes[label]
            tests[row] = _Image(f"test image {row}", row, name, "", pixels)
    if not texts:
        return list(tests.values())
    images = [tests[int(text)] if _is_index(text) else files[text] for text in texts]
    # One that is named twice is shown once.
    return list({(image.source, image.test_index): image for image in images}.values())


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _read_file(text: str, size: int) -> _Image:
    """Read an image file as images are read on import, brought to the size of the image set."""
    path, shown = Path(text), printable(text)
    oddities = Oddities()
    (pixels,) = decode_images(path.parent, (Path(path.name),), size, oddities)
    if oddities.unreadable:
        raise InputError(
            f"{shown}: cannot be read as an image: it is not there, damaged, too large, of more "
            "than 8 bits a channel or of another format; a test image is named by its index"
        )
    done = {
        f"resized and cropped to {size} x {size} pixels": oddities.other_size,
        "made RGB": oddities.other_colours or oddities.grey,
    }
    note = ", ".join(what for what, names in done.items() if names)
    return _Image(shown, None, None, note, pixels)
