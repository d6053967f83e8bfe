"""Reads the arrays of an ``.npz`` file: declared sizes and headers are checked before the content.

Source: ``numpy.lib.format`` describes the ``.npy`` members; an ``.npz`` file is a zip file of them.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from cifar_tune.data.cifar10 import LabelledImages, UInt8Array
from cifar_tune.data.importing.archives import MAX_MEMBERS, check_growth, growth_limit
from cifar_tune.errors import DataError
from cifar_tune.wording import printable

KEYS = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "validation": (("validation_images", "validation_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
"""The names that images and labels of a split may have."""

CLASSES_KEY = "classes"

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    RuntimeError,  # an encrypted member; also NotImplementedError, an unknown compression
    MemoryError,
    OverflowError,
)

Array = npt.NDArray[Any]


def is_npz(path: Path) -> bool:
    """Return whether a file is named or built as an ``.npz`` file."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".npz" or file.read(4) == b"PK\x03\x04"


def read_npz(path: Path) -> tuple[dict[str, LabelledImages], tuple[str, ...] | None]:
    """Read the images and labels of each split, and the classes' names.

    Returns:
        The splits that are there, images as uint8 [N, 3, H, H] whether they were stored so or as
        [N, H, H, 3], labels uint8 [N]; and ``classes``, or None where the file has none.

    Raises:
        DataError: it is damaged, holds more than ten times its size, or its arrays are others.
    """
    try:
        arrays = _read_arrays(path)
    except _DAMAGE as error:
        reason = printable(error) or type(error).__name__
        raise DataError(f"{path}: is damaged or not an npz file: {reason}") from error
    splits = {}
    for split, pairs in KEYS.items():
        for images_key, labels_key in pairs:
            if images_key in arrays:
                if labels_key not in arrays:
                    raise DataError(f"{path}: has {images_key} and no {labels_key}")
                images = _as_images(f"{path}: {images_key}", arrays[images_key])
                labels = _as_labels(f"{path}: {labels_key}", arrays[labels_key], len(images))
                splits[split] = LabelledImages(images, labels)
                break
    if "train" not in splits:
        if not arrays and path.suffix.lower() != ".npz":
            raise DataError(
                f"{path}: is a zip archive without arrays; unpack it, and import the folder"
            )
        held = ", ".join(map(printable, arrays)) or "no array of these names"
        raise DataError(
            f"{path}: holds {held}; expected train_images, train_labels, test_images, test_labels "
            "or x_train, y_train, x_test, y_test"
        )
    classes = arrays.get(CLASSES_KEY)
    if classes is None:
        return splits, None
    if classes.dtype.kind != "U" or classes.ndim != 1:
        raise DataError(f"{path}: classes is {_words(classes)}, expected a list of strings")
    return splits, tuple(map(str, classes))


def _read_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of expected names, one by one."""
    expected = {key for pairs in KEYS.values() for pair in pairs for key in pair} | {CLASSES_KEY}
    limit = growth_limit(path)
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise DataError(f"{path}: refused: it has more than {MAX_MEMBERS:,} members")
        check_growth(path, sum(member.file_size for member in members), limit)
        for member in members:
            key = member.filename.removesuffix(".npy")
            if key not in expected or key == member.filename:
                continue
            if key in arrays:
                raise DataError(f"{path}: refused: {key} is in it twice")
            with archive.open(member) as file:
                arrays[key] = _read_array(f"{path}: {key}", file, member.file_size)
    return arrays


def _read_array(where: str, file: IO[bytes], size: int) -> Array:
    """Read one ``.npy`` member whose header says what it may: numbers or strings, and all there."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise DataError(f"{where}: is of the npy version {version}; 1.0 and 2.0 are read")
    if dtype.kind not in "iuU":
        raise DataError(f"{where}: is of {dtype}; only whole numbers and strings are read")
    held = size - file.tell()
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != held:
        raise DataError(f"{where}: has {held:,} bytes, which a {dtype} array {shape} has not")
    content = file.read(held + 1)  # one more, so that the end is reached and the checksum compared
    order: Any = "F" if fortran else "C"
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _as_images(where: str, array: Array) -> UInt8Array:
    if array.dtype == np.uint8 and array.ndim == 4 and 0 not in array.shape:
        _, first, second, third = array.shape
        if third == 3 and first == second:
            return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        if first == 3 and second == third:
            return np.ascontiguousarray(array)
    raise DataError(f"{where}: is {_words(array)}, expected uint8 [N, H, H, 3] or [N, 3, H, H]")


def _as_labels(where: str, array: Array, count: int) -> UInt8Array:
    if array.dtype.kind not in "iu" or array.shape not in ((count,), (count, 1)):
        raise DataError(f"{where}: is {_words(array)}, expected whole numbers [{count}]")
    if array.min() < 0 or array.max() > 255:
        raise DataError(
            f"{where}: has labels from {array.min()} to {array.max()}, expected 0 to 255"
        )
    return array.reshape(-1).astype(np.uint8)


def _words(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"
