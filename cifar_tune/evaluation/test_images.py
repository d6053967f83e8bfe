"""The only way to the test images.

A finished trial's kept weights are evaluated on them, which is written down, or single images are
given to look at, which measures nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial

from cifar_tune import paths
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES, LabelledImages
from cifar_tune.data.loader import place
from cifar_tune.data.search_data import Subset, open_imported
from cifar_tune.errors import DataError, InputError, WeightsError
from cifar_tune.evaluation.test_reads import TestResult, read_ledger, record_test_read
from cifar_tune.models.resnet import build_model
from cifar_tune.models.weight_files import load_model
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import StorageLocation, explain_errors
from cifar_tune.storage.trials import names_of
from cifar_tune.training.predictions import make_predictions, save_predictions
from cifar_tune.training.trainer import evaluate


def evaluate_on_test(
    location: StorageLocation,
    study_name: str,
    trial_name: str,
    root: Path,
    device: torch.device,
    command: str,
) -> TestResult:
    """Evaluate a finished trial on the test images, without augmentation, and write it down.

    Args:
        trial_name: the number of the trial, or its name with its replicate.
        root: the folder of imported images.
        command: the command line, for the ledger.

    Raises:
        InputError: there is no such trial, or it is not complete.
        WeightsError: its weights were not kept, or are no longer what they were.
        DataError: its image set has no test images, or is another one by now.
        StorageError: the ledger cannot be written; then the figure is not shown either.
    """
    with explain_errors(location):
        study = stored.find_study(stored.open_to_read(location), study_name)
        if study is None:
            raise InputError(f"study {study_name} is not stored in {location}")
        trial = find_complete(study, trial_name)
        config = TrialConfig(**trial.user_attrs["config"])
    sha256 = trial.user_attrs.get("kept_weights_sha256")
    if sha256 is None:
        raise WeightsError(
            f"trial {trial.number} of {study_name}: its weights were not kept; keep_weights in the "
            "study file's profile says which are"
        )
    classes, test, digest = _open_test_split(config, trial.user_attrs["facts"], root)
    model = build_model(config, len(classes))
    load_model(model, paths.kept_weights_file(location.beside, study_name, trial.number), sha256)
    unchanged = dataclasses.replace(config, augment_validation=False)
    whole = Subset(test, np.arange(len(test)))
    mirrored = Subset(LabelledImages(test.images[..., ::-1].copy(), test.labels), whole.rows)
    model.to(device)
    found, flipped = (
        evaluate(model, place(part, unchanged, device), unchanged) for part in (whole, mirrored)
    )
    logits = found.logits.float().cpu().numpy()
    averaged = (logits + flipped.logits.float().cpu().numpy()) / 2
    made = make_predictions(classes, whole.rows, test.images, test.labels, logits)
    result = TestResult(
        study_name=study_name,
        trial=trial.number,
        name=trial.user_attrs.get("name"),
        seed=config.seed,
        weights_sha256=sha256,
        test_sha256=digest,
        images=len(test),
        accuracy=found.accuracy,
        loss=found.loss,
        flip_accuracy=float((averaged.argmax(axis=1) == test.labels).mean()),
    )
    with explain_errors(location):
        record_test_read(stored.open_to_write(location).engine, result, command)
    path = paths.predictions_file(location.beside, study_name, trial.number, "test")
    save_predictions(made, path)
    return result


def unread(location: StorageLocation, study_name: str) -> list[str]:
    """The named trials of a study, complete and with kept weights, that have not met the test
    images; in order.

    A read whose answers on each image are no longer there counts as none.
    """
    with explain_errors(location):
        storage = stored.open_to_read(location)
        study = stored.find_study(storage, study_name)
        if study is None or storage is None:
            raise InputError(f"study {study_name} is not stored in {location}")
        results = [one.result for one in read_ledger(storage.engine)]
        trials = study.get_trials(deepcopy=False)
    read = {
        one.weights_sha256
        for one in results
        if one.study_name == study_name
        and paths.predictions_file(location.beside, study_name, one.trial, "test").exists()
    }
    return [
        trial.user_attrs["name"]
        for trial in trials
        if trial.state.name == "COMPLETE"
        and "name" in trial.user_attrs
        and trial.user_attrs.get("kept_weights_sha256") not in {None, *read}
    ]


def show_test_images(
    config: TrialConfig, facts: dict[str, object], root: Path, wanted: Sequence[int | str]
) -> tuple[tuple[int, ...], LabelledImages]:
    """Give single test images to look at.

    Showing single images is no evaluation: no accuracy is measured, and so it is no row of the
    ledger.

    Args:
        facts: of the trial, to prove that its image set is still the one it learnt from.
        root: the folder of imported images.
        wanted: each the index of a test image, from 0, or a class, meaning its first test image.

    Returns:
        The index of each among the test images, and the images in that order.

    Raises:
        InputError: there is no such image, or no image of such a class.
        DataError: the image set has no test images, or is another one by now.
    """
    classes, test, _ = _open_test_split(config, facts, root)
    rows = []
    for one in wanted:
        if isinstance(one, str):
            label = classes.index(one) if one in classes else -1
            found = np.flatnonzero(test.labels == label)
            if not len(found):
                raise InputError(f"images {config.data}: have no test image of class {one}")
            rows.append(int(found[0]))
        elif 0 <= one < len(test):
            rows.append(one)
        else:
            raise InputError(
                f"test image {one}: images {config.data} have no such; expected 0 to "
                f"{len(test) - 1}"
            )
    return tuple(rows), test.take(np.array(rows, dtype=np.int64))


def find_complete(study: optuna.Study, trial_name: str) -> FrozenTrial:
    """The complete trial of that number, or of that name with its replicate.

    Raises:
        InputError: there is none; the message names those there are.
    """
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial_name in names_of(trial):
            if trial.state.name == "COMPLETE":
                return trial
            state = trial.state.name.lower()
            if trial_name == str(trial.number):
                raise InputError(
                    f"trial {trial_name} of {study.study_name} is {state}, not complete"
                )
    names = [t.user_attrs.get("name", str(t.number)) for t in trials if t.state.name == "COMPLETE"]
    raise InputError(
        f"{study.study_name} has no complete trial {trial_name!r}; expected one of: "
        f"{', '.join(names) or 'none is complete'}"
    )


def _open_test_split(
    config: TrialConfig, facts: dict[str, object], root: Path
) -> tuple[tuple[str, ...], LabelledImages, str]:
    """Names of the classes, test images, and the SHA-256 of their bytes."""
    if config.data == "bundled":
        test = read_bundled("test")
        classes: tuple[str, ...] = CLASSES
    else:
        found = open_imported(config.data, root, ("test",))
        trained_on = facts["data_digests"]
        if not isinstance(trained_on, dict) or not trained_on.items() <= found.digests.items():
            raise DataError(f"images {config.data}: are not those that the trial learnt from")
        if "test" not in found.splits:
            raise DataError(f"images {config.data}: have no test split")
        test, classes = found.splits["test"], found.classes
        now = {f"test {kind}": digest for kind, digest in test.digests().items()}
        if not now.items() <= found.digests.items():
            raise DataError(f"images {config.data}: the test images are damaged; import them again")
    return classes, test, test.digests()["images"]
