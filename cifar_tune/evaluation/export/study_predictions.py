"""What trials say of each image, as an export of their study has it: text in JSON.

Intervals and comparisons are made of these answers. Logits, and the images that a trial is most
wrong about, are not part of it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_tune import paths
from cifar_tune.config.trial import digest_of
from cifar_tune.errors import InputError
from cifar_tune.storage.location import StorageLocation
from cifar_tune.training.predictions import Answers, load_predictions, save_predictions

SPLITS = ("validation", "test")


def describe_answers(location: StorageLocation, studies: Iterable[Mapping[str, Any]]) -> Any:
    """The answers that are kept of exported trials.

    Args:
        studies: as the export has them.

    Returns:
        ``images``: by digest, the images of a split; ``trials``: what each trial said of which.

    Raises:
        StorageError: a file of answers cannot be read.
    """
    images: dict[str, dict[str, Any]] = {}
    trials = []
    for study_name, number in _trials(studies):
        for split in SPLITS:
            path = paths.predictions_file(location.beside, study_name, number, split)
            found = load_predictions(path)
            if found is None:
                continue
            order = np.argsort(found.rows)
            described = {
                "classes": list(found.classes),
                "number": len(order),
                # Rows that are in order are close together, and packed better by their distances.
                "rows": _pack(np.diff(found.rows[order], prepend=0)),
                "labels": _pack(found.labels[order]),
            }
            digest = digest_of(described)
            images[digest] = described
            about = {"study_name": study_name, "trial": number, "split": split, "images": digest}
            trials.append({**about, "said": _pack(found.said[order])})
    return {"images": dict(sorted(images.items())), "trials": trials}


def read_answers(
    content: Mapping[str, Any], accuracies: Mapping[tuple[str, int, str], float]
) -> dict[tuple[str, int, str], Answers]:
    """The answers of an export by study, number of the trial and split.

    Args:
        content: as ``describe_answers`` gives it.
        accuracies: what is recorded of each, by the same key.

    Raises:
        InputError: they cannot be read, or do not have the accuracy that is recorded.
    """
    found = {}
    for one in content["trials"]:
        key = (one["study_name"], one["trial"], one["split"])
        name = f"answers of trial {key[1]} of {key[0]} on {key[2]} images"
        try:
            part = content["images"][one["images"]]
            number = part["number"]
            rows = np.cumsum(_unpack(part["rows"], number))
            labels, said = _unpack(part["labels"], number), _unpack(one["said"], number)
            answers = Answers(tuple(part["classes"]), rows, labels, said)
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise InputError(f"{name}: cannot be read: {error}") from error
        recorded = accuracies.get(key)
        if recorded is None or abs(answers.accuracy - recorded) > 1e-9:
            raise InputError(
                f"{name}: have the accuracy {answers.accuracy:.4f}, expected {recorded}"
            )
        found[key] = answers
    return found


def keep_answers(
    location: StorageLocation, answers: Mapping[tuple[str, int, str], Answers]
) -> None:
    """Write answers beside the database, where nothing is kept of their trials yet.

    Raises:
        StorageError: they cannot be written.
    """
    for (study_name, number, split), one in answers.items():
        path = paths.predictions_file(location.beside, study_name, number, split)
        if not path.exists():
            save_predictions(one, path)


def _trials(studies: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int]]:
    for study in studies:
        for trial in study["trials"]:
            if trial["state"] == "complete":
                yield study["study_name"], trial["number"]


def _pack(numbers: npt.NDArray[np.int64]) -> str:
    """Numbers below 2³² as text."""
    return base64.b64encode(zlib.compress(numbers.astype("<u4").tobytes(), 9)).decode()


def _unpack(text: str, number: int) -> npt.NDArray[np.int64]:
    """So many numbers of a text; no text makes more of them than it says."""
    if number < 1:
        raise ValueError(f"number is {number}, expected 1 or more")
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(base64.b64decode(text, validate=True), 4 * number)
    if len(data) != 4 * number or unpacking.decompress(unpacking.unconsumed_tail, 1):
        raise ValueError(f"expected {number} numbers")
    return np.frombuffer(data, dtype="<u4").astype(np.int64)
