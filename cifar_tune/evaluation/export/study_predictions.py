"""What trials say of each image, as an export of their study has it: text in JSON.

Intervals and comparisons are made of these answers. Logits, and the images that a trial is most
wrong about, are not part of it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, model_validator

from cifar_tune.config.checked import Count, Label
from cifar_tune.config.space import fault
from cifar_tune.config.trial import digest_of
from cifar_tune.data.importing.image_folder import MAX_CLASSES
from cifar_tune.errors import InputError
from cifar_tune.paths import StudyFolder, predictions_file
from cifar_tune.storage.study_folders import StudyFolders
from cifar_tune.training.predictions import Answers, load_predictions, save_predictions

SPLITS = ("validation", "test")
MOST_IMAGES = 10_000_000
"""No split has more images."""
MOST_ANSWERS = 100_000_000
"""No export has more answers."""


class AnswersKey(NamedTuple):
    """Which trial answered on the images of which split."""

    study_name: str
    trial: int
    split: str


Packed = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class _Images(BaseModel, extra="forbid"):
    classes: Annotated[list[Label], Field(min_length=1, max_length=MAX_CLASSES)]
    number: Annotated[int, Field(strict=True, ge=1, le=MOST_IMAGES)]
    rows: Packed
    labels: Packed


class _Said(BaseModel, extra="forbid"):
    study_name: Label
    trial: Count
    split: Literal["validation", "test"]
    images: Label
    said: Packed


class ExportedAnswers(BaseModel, extra="forbid"):
    """The images of each split by their digest, and what each trial said of which images."""

    images: dict[Label, _Images]
    trials: list[_Said]

    @model_validator(mode="after")
    def _fit_into_memory(self) -> ExportedAnswers:
        known = (self.images[entry.images] for entry in self.trials if entry.images in self.images)
        if sum(images.number for images in known) > MOST_ANSWERS:
            raise fault("more answers", f"at most {MOST_ANSWERS:,} in one file")
        return self


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
        key = AnswersKey(entry.study_name, entry.trial, entry.split)
        name = f"answers of trial {key.trial} of {key.study_name} on {key.split} images"
        try:
            images = exported.images[entry.images]
            answers[key] = _unpack_answers(images, entry.said)
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise InputError(f"{name}: cannot be read: {error}") from error
        accuracy, recorded = answers[key].accuracy, accuracies.get(key)
        if recorded is None or abs(accuracy - recorded) > 1e-9:
            raise InputError(f"{name}: have the accuracy {accuracy:.4f}, expected {recorded}")
    return answers


def _unpack_answers(images: _Images, said: str) -> Answers:
    return Answers(
        classes=tuple(images.classes),
        rows=np.cumsum(_unpack(images.rows, images.number)),
        labels=_unpack(images.labels, images.number),
        said=_unpack(said, images.number),
    )


@contextmanager
def keep_answers(
    folder: StudyFolder, study_name: str, answers: Mapping[AnswersKey, Answers]
) -> Iterator[None]:
    """Write the answers of a study's trials, where nothing is kept of them yet.

    What goes wrong in this context takes them away again.

    Raises:
        StorageError: They cannot be written.
    """
    written = []
    try:
        for key, of_trial in answers.items():
            path = _file(key, folder)
            if key.study_name == study_name and not path.exists():
                written.append(path)
                save_predictions(of_trial, path)
        yield
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # others are in it
                path.parent.rmdir()
                path.parent.parent.rmdir()
        raise


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
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(base64.b64decode(text, validate=True), 4 * number)
    if len(data) != 4 * number or unpacking.decompress(unpacking.unconsumed_tail, 1):
        raise ValueError(f"expected {number} numbers")
    return np.frombuffer(data, dtype="<u4").astype(np.int64)
