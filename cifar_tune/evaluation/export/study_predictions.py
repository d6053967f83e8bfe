"""What trials say of each image, as an export of their study has it: text in JSON.

Intervals and comparisons are made of these answers. Logits, and the images that a trial is most
wrong about, are not part of it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from cifar_tune.config.trial import digest_of
from cifar_tune.errors import InputError
from cifar_tune.paths import StudyFolder, predictions_file
from cifar_tune.storage.study_folders import StudyFolders
from cifar_tune.training.predictions import Answers, load_predictions, save_predictions

SPLITS = ("validation", "test")


class AnswersKey(NamedTuple):
    """Which trial answered on the images of which split."""

    study_name: str
    trial: int
    split: str


class ExportedAnswers(BaseModel):
    """The images of each split by their digest, and what each trial said of which images."""

    images: dict[str, Any]
    trials: list[dict[str, Any]]


def describe_answers(
    folders: Mapping[str, StudyFolders], studies: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the answers that are kept of exported trials.

    Raises:
        StorageError: A file of answers cannot be read.
    """
    images: dict[str, dict[str, Any]] = {}
    trials = []
    for key in _keys(studies):
        answers = load_predictions(folders[key.study_name].find(partial(_file, key)))
        if answers is None:
            continue
        order = np.argsort(answers.rows)
        described = {
            "classes": list(answers.classes),
            "number": len(order),
            # Rows that are in order are close together, and packed better by their distances.
            "rows": _pack(np.diff(answers.rows[order], prepend=0)),
            "labels": _pack(answers.labels[order]),
        }
        digest = digest_of(described)
        images[digest] = described
        trials.append({**key._asdict(), "images": digest, "said": _pack(answers.said[order])})
    return {"images": dict(sorted(images.items())), "trials": trials}


def read_answers(
    exported: ExportedAnswers, accuracies: Mapping[AnswersKey, float | None]
) -> dict[AnswersKey, Answers]:
    """Return the answers that an export has, by what they belong to.

    Raises:
        InputError: They cannot be read, or do not have the accuracy that is recorded.
    """
    answers = {}
    for entry in exported.trials:
        key = AnswersKey(entry["study_name"], entry["trial"], entry["split"])
        name = f"answers of trial {key.trial} of {key.study_name} on {key.split} images"
        try:
            answers[key] = _unpack_answers(exported.images[entry["images"]], entry["said"])
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise InputError(f"{name}: cannot be read: {error}") from error
        accuracy, recorded = answers[key].accuracy, accuracies.get(key)
        if recorded is None or abs(accuracy - recorded) > 1e-9:
            raise InputError(f"{name}: have the accuracy {accuracy:.4f}, expected {recorded}")
    return answers


def _unpack_answers(images: Mapping[str, Any], said: str) -> Answers:
    number = images["number"]
    return Answers(
        classes=tuple(images["classes"]),
        rows=np.cumsum(_unpack(images["rows"], number)),
        labels=_unpack(images["labels"], number),
        said=_unpack(said, number),
    )


def keep_answers(
    folder: StudyFolder, study_name: str, answers: Mapping[AnswersKey, Answers]
) -> None:
    """Write the answers of a study's trials, where nothing is kept of them yet.

    Raises:
        StorageError: They cannot be written.
    """
    for key, of_trial in answers.items():
        path = _file(key, folder)
        if key.study_name == study_name and not path.exists():
            save_predictions(of_trial, path)


def _file(key: AnswersKey, folder: StudyFolder) -> Path:
    return predictions_file(folder, key.trial, key.split)


def _keys(studies: Iterable[Mapping[str, Any]]) -> Iterator[AnswersKey]:
    for study in studies:
        for trial in study["trials"]:
            if trial["state"] == "complete":
                for split in SPLITS:
                    yield AnswersKey(study["study_name"], trial["number"], split)


def _pack(numbers: npt.NDArray[np.int64]) -> str:
    """Return numbers below 2³² as text."""
    return base64.b64encode(zlib.compress(numbers.astype("<u4").tobytes(), 9)).decode()


def _unpack(text: str, number: int) -> npt.NDArray[np.int64]:
    """Return so many numbers of a text; no text makes more of them than it says."""
    if number < 1:
        raise ValueError(f"number is {number}, expected 1 or more")
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(base64.b64decode(text, validate=True), 4 * number)
    if len(data) != 4 * number or unpacking.decompress(unpacking.unconsumed_tail, 1):
        raise ValueError(f"expected {number} numbers")
    return np.frombuffer(data, dtype="<u4").astype(np.int64)
