"""The only way to the test images.

A finished trial's kept weights are evaluated on them, which is written down, or single images are
given to look at, which measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial
from torch import nn

from cifar_tune import paths
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES, LabelledImages
from cifar_tune.data.loader import place
from cifar_tune.data.search_data import Subset, open_imported
from cifar_tune.errors import DataError, InputError, WeightsError
from cifar_tune.evaluation.kept_models import load_kept_model
from cifar_tune.evaluation.test_reads import TestResult, read_ledger, record_test_read
from cifar_tune.evaluation.trial import find_complete
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.study_folders import StudyFolders, claim_folder, read_folders
from cifar_tune.training.predictions import make_predictions, save_predictions
from cifar_tune.training.trainer import Evaluation, evaluate


@dataclass(frozen=True)
class _TestSplit:
    """The test images with the names of their classes, and the digest of their bytes."""

    classes: tuple[str, ...]
    images: LabelledImages
    sha256: str


def evaluate_on_test(
    location: StorageLocation,
    study_name: str,
    trial_name: str,
    root: Path,
    device: torch.device,
    command: str,
) -> TestResult:
    """Evaluate a finished trial on the test images, without augmentation, and write it down.

    The trial is given by its number, or its name with its replicate; ``command`` is the command
    line, for the ledger; imported images are in ``root``.

    Raises:
        InputError: There is no such trial, or it is not complete.
        WeightsError: Its weights were not kept, or are no longer what they were.
        DataError: Its image set has no test images, or is another one by now.
        StorageError: The ledger cannot be written; then the figure is not shown either.
    """
    study, trial = _find_kept(location, study_name, trial_name)
    config = TrialConfig(**trial.user_attrs["config"])
    test = _open_test_split(config, trial.user_attrs["facts"], root)
    model = load_kept_model(location, study, trial, len(test.classes)).to(device)
    evaluation, flip_accuracy = _evaluate(model, test.images, config, device)
    result = TestResult(
        study_name=study_name,
        trial=trial.number,
        name=trial.user_attrs.get("name"),
        seed=config.seed,
        weights_sha256=trial.user_attrs["kept_weights_sha256"],
        test_sha256=test.sha256,
        images=len(test.images),
        accuracy=evaluation.accuracy,
        loss=evaluation.loss,
        flip_accuracy=flip_accuracy,
    )
    with explain_errors(location):
        record_test_read(studies.open_to_write(location).engine, result, command)
        folder = claim_folder(study, location)
    rows, logits = np.arange(len(test.images)), evaluation.logits.float().cpu().numpy()
    answers = make_predictions(test.classes, test.images, rows, logits)
    save_predictions(answers, paths.predictions_file(folder, trial.number, "test"))
    return result


def list_to_test(location: StorageLocation, study_name: str, trial_name: str | None) -> list[str]:
    """Return the trials that are to be evaluated on the test images, as ``evaluate_on_test`` takes.

    That is the one that is given; with None, all named ones that were not evaluated yet.

    Raises:
        InputError: There is no such trial, or it is not complete.
        WeightsError: Its weights were not kept.
    """
    if trial_name is None:
        return unread(location, study_name)
    _, trial = _find_kept(location, study_name, trial_name)
    return [str(trial.number)]


def _find_kept(
    location: StorageLocation, study_name: str, trial_name: str
) -> tuple[optuna.Study, FrozenTrial]:
    """Return a stored study, and the complete trial of a number or name, whose weights were kept.

    Raises:
        InputError: There is no such trial, or it is not complete.
        WeightsError: Its weights were not kept.
    """
    with explain_errors(location):
        _, study = studies.open_study(location, study_name)
        trial = find_complete(study, trial_name)
    if "kept_weights_sha256" not in trial.user_attrs:
        raise WeightsError(
            f"trial {trial.number} of {study_name}: its weights were not kept; keep_weights in the "
            "study file's profile says which are"
        )
    return study, trial


def _evaluate(
    model: nn.Module, images: LabelledImages, config: TrialConfig, device: torch.device
) -> tuple[Evaluation, float]:
    """Evaluate on images as they are; return the accuracy with mirrored ones averaged in too."""
    config = replace(config, augment_validation=False)
    rows = np.arange(len(images))
    mirrored = LabelledImages(images.images[..., ::-1].copy(), images.labels)
    evaluations = [
        evaluate(model, place(Subset(part, rows), config, device), config)
        for part in (images, mirrored)
    ]
    plain, flipped = (evaluation.logits.float().cpu().numpy() for evaluation in evaluations)
    averaged = (plain + flipped) / 2
    return evaluations[0], float((averaged.argmax(axis=1) == images.labels).mean())


def unread(location: StorageLocation, study_name: str) -> list[str]:
    """Return the named trials with kept weights that were not evaluated on the test images yet.

    They are complete, and in order. A read whose answers on each image are no longer there counts
    as none.
    """
    with explain_errors(location):
        storage, study = studies.open_study(location, study_name)
        results = [read.result for read in read_ledger(storage.engine, [study_name])]
        trials = study.get_trials(deepcopy=False)
        folders = read_folders(study, location)
    read_weights = {
        result.weights_sha256
        for result in results
        if result.study_name == study_name and _has_test_answers(folders, result.trial)
    }
    return [
        trial.user_attrs["name"]
        for trial in trials
        if trial.state.name == "COMPLETE"
        and "name" in trial.user_attrs
        and trial.user_attrs.get("kept_weights_sha256") not in {None, *read_weights}
    ]


def _has_test_answers(folders: StudyFolders, number: int) -> bool:
    return folders.find(lambda folder: paths.predictions_file(folder, number, "test")).exists()


def show_test_images(
    config: TrialConfig, facts: dict[str, object], root: Path, wanted: Sequence[int | str]
) -> tuple[tuple[int, ...], LabelledImages]:
    """Return single test images to look at, with the index of each among the test images.

    Showing single images is no evaluation: no accuracy is measured, and so it is no row of the
    ledger. ``wanted`` is the index of each image, from 0, or a class, meaning its first test image;
    ``facts`` prove that the image set in ``root`` is still the one that the trial learnt from.

    Raises:
        InputError: There is no such image, or no image of such a class.
        DataError: The image set has no test images, or is another one by now.
    """
    test = _open_test_split(config, facts, root)
    rows = tuple(_find_row(test, config.data, index_or_class) for index_or_class in wanted)
    return rows, test.images.take(np.array(rows, dtype=np.int64))


def _find_row(test: _TestSplit, data: str, wanted: int | str) -> int:
    if isinstance(wanted, str):
        label = test.classes.index(wanted) if wanted in test.classes else -1
        rows = np.flatnonzero(test.images.labels == label)
        if not len(rows):
            raise InputError(f"images {data}: have no test image of class {wanted}")
        return int(rows[0])
    if not 0 <= wanted < len(test.images):
        raise InputError(
            f"test image {wanted}: images {data} have no such; expected 0 to {len(test.images) - 1}"
        )
    return wanted


def _open_test_split(config: TrialConfig, facts: dict[str, object], root: Path) -> _TestSplit:
    if config.data == "bundled":
        images = read_bundled("test")
        return _TestSplit(CLASSES, images, images.digests()["images"])
    image_set = open_imported(config.data, root, ("test",))
    trained_on = facts["data_digests"]
    if not isinstance(trained_on, dict) or not trained_on.items() <= image_set.digests.items():
        raise DataError(f"images {config.data}: are not those that the trial learnt from")
    if "test" not in image_set.splits:
        raise DataError(f"images {config.data}: have no test split")
    images = image_set.splits["test"]
    digests = images.digests()
    now = {f"test {kind}": digest for kind, digest in digests.items()}
    if not now.items() <= image_set.digests.items():
        raise DataError(f"images {config.data}: the test images are damaged; import them again")
    return _TestSplit(image_set.classes, images, digests["images"])
