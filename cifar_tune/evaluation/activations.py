"""Shows single images to a trained trial and takes down what its layers make of them.

``pictures.feature_maps`` looks into the network; here are the trial, the images and the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from cifar_tune import paths
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.cifar10 import CLASSES, FULL_SET, IMAGE_SIZE, UInt8Array
from cifar_tune.data.importing.image_folder import Oddities, decode_images
from cifar_tune.data.search_data import open_imported
from cifar_tune.errors import DataError, InputError, WeightsError
from cifar_tune.evaluation.test_images import find_complete, show_test_images
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import load_model
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.training.pictures.activation_record import ActivationRecord, ImageView
from cifar_tune.training.pictures.feature_maps import Network, describe_freeze, look_into, see
from cifar_tune.wording import printable

DEFAULT_LAYERS = ("conv1", "layer1.0.conv1", "layer1.1.conv2")
"""Counterparts of the three layers that the assignment showed."""
DEFAULT_CLASSES = ("ship", "cat")
"""Whose first test images are shown where none is named, as in the assignment."""


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
        trial_name: the number of the trial, or its name with its replicate; None takes the
            complete trial with kept weights that has the highest validation accuracy, the first
            of equals.
        images: each the index of a test image, from 0, or the path of an image file. None given:
            the first ship and the first cat of the test images, or the first image of each of the
            first two classes where there are no ships and cats.
        layers: shown after ``DEFAULT_LAYERS``, by torchvision's names.
        root: the folder of imported images.

    Raises:
        InputError: there is no such study, trial, image or layer.
        WeightsError: the trial's weights were not kept, or are no longer what they were.
        DataError: the trial's image set is missing, has no test images, or is another one by now.
    """
    trial, profile = _open_trial(location, study_name, trial_name)
    attributes = trial.user_attrs
    config, facts = TrialConfig(**attributes["config"]), attributes["facts"]
    classes, size = _classes_and_size(config, facts, root)
    given = _open_images(images, config, facts, (classes, size), root)
    model = build_model(config, len(classes))
    file = paths.kept_weights_file(location.beside, study_name, trial.number)
    load_model(model, file, attributes["kept_weights_sha256"])
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
        images=tuple(_view(network, one, classes) for one in given),
    )


# --- the trial ----------------------------------------------------------------------------------


def _open_trial(
    location: StorageLocation, study_name: str, trial_name: str | None
) -> tuple[FrozenTrial, str]:
    """The trial that is meant, and its study's profile."""
    with explain_errors(location):
        study = stored.find_study(stored.open_to_read(location), study_name)
        if study is None:
            raise InputError(f"study {study_name} is not stored in {location}")
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
    kept = _with_weights(trials)
    if "kept_weights_sha256" not in trial.user_attrs:
        names = ", ".join(one.user_attrs.get("name", str(one.number)) for one in kept)
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


@dataclass(frozen=True)
class _Given:
    """An image before the network saw it; ``pixels`` are uint8 [3, H, H], the rest as in a view."""

    source: str
    test_index: int | None
    label: str | None
    note: str
    pixels: UInt8Array


def _classes_and_size(
    config: TrialConfig, facts: Mapping[str, Any], root: Path
) -> tuple[tuple[str, ...], int]:
    """Names of the classes, and height and width of the images in pixels."""
    if config.data in ("bundled", FULL_SET):
        return CLASSES, IMAGE_SIZE
    found = open_imported(config.data, root, ("train",))
    if not facts["data_digests"].items() <= found.digests.items():
        raise DataError(f"images {config.data}: are not those that the trial learnt from")
    return found.classes, found.splits["train"].images.shape[-1]


def _open_images(
    texts: Sequence[str],
    config: TrialConfig,
    facts: dict[str, object],
    known: tuple[tuple[str, ...], int],
    root: Path,
) -> list[_Given]:
    classes, size = known
    files = {text: _read_file(text, size) for text in texts if not _is_index(text)}
    indices = dict.fromkeys(int(text) for text in texts if _is_index(text))
    wanted: tuple[int | str, ...] = tuple(indices)
    if not texts:
        named = set(DEFAULT_CLASSES) <= set(classes)
        wanted = DEFAULT_CLASSES if named else classes[:2]
    tests: dict[int, _Given] = {}
    if wanted:
        rows, shown = show_test_images(config, facts, root, wanted)
        for row, pixels, label in zip(rows, shown.images, shown.labels, strict=True):
            tests[row] = _Given(f"test image {row}", row, classes[label], "", pixels)
    if not texts:
        return list(tests.values())
    found = [tests[int(text)] if _is_index(text) else files[text] for text in texts]
    # One that is named twice is shown once.
    return list({(one.source, one.test_index): one for one in found}.values())


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _read_file(text: str, size: int) -> _Given:
    """Read an image file as images are read on import, brought to the size of the image set."""
    path, shown = Path(text), printable(text)
    oddities = Oddities()
    (pixels,) = decode_images(path.parent, (Path(path.name),), size, oddities)
    if oddities.unreadable.count:
        raise InputError(
            f"{shown}: cannot be read as an image: it is not there, damaged, too large, of more "
            "than 8 bits a channel or of another format; a test image is named by its index"
        )
    done = {
        f"resized and cropped to {size} x {size} pixels": oddities.other_size,
        "made RGB": oddities.other_colours if oddities.other_colours.count else oddities.grey,
    }
    note = ", ".join(what for what, tally in done.items() if tally.count)
    return _Given(shown, None, None, note, pixels)


def _view(network: Network, given: _Given, classes: tuple[str, ...]) -> ImageView:
    seen = see(network, given.pixels)
    return ImageView(
        source=given.source,
        test_index=given.test_index,
        label=given.label,
        note=given.note,
        top=tuple((classes[label], probability) for label, probability in seen.top[:3]),
        pixels=given.pixels.transpose(1, 2, 0),
        layers=seen.layers,
        grad_cam=seen.grad_cam,
    )
