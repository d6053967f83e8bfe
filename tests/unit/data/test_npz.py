"""Users' own images as npz files: what is taken, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_images import NAMES, pack, refused, stored, twelve_images

from cifar_tune.data.cifar10 import LabelledImages
from cifar_tune.data.importing.imports import import_images


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    return twelve_images()


@pytest.fixture
def arrays(images: LabelledImages) -> dict[str, Any]:
    """The arrays of an npz file, as a user would save them."""
    return {
        "train_images": images.images[:9],
        "train_labels": np.arange(9) % 3,
        "validation_images": images.images[9:].transpose(0, 2, 3, 1),
        "validation_labels": np.array([[2], [1], [0]]),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_imported(
    tmp_path: Path, arrays: dict[str, Any], images: LabelledImages, save: Callable[..., None]
) -> None:
    save(tmp_path / "own.npz", **arrays, something_else=np.zeros(3))
    report = import_images(tmp_path / "own.npz", "own", tmp_path / "root")
    assert report.image_set.classes == ("0", "1", "2")
    found = stored(report)
    assert np.array_equal(found["train"].images, images.images[:9])
    assert np.array_equal(found["validation"].images, images.images[9:])
    assert found["validation"].labels.tolist() == [2, 1, 0]
    assert found["train"].labels.dtype == np.uint8


def test_npz_names_its_classes(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "own.npz", **arrays, classes=np.array(NAMES))
    report = import_images(tmp_path / "own.npz", "own", tmp_path / "root")
    assert report.image_set.classes == NAMES


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "floats": ({"train_images": np.zeros((9, 32, 32, 3))}, "is of float64; only whole numbers"),
    "wide numbers": ({"train_images": np.zeros((9, 32, 32, 3), int)}, r"is int64 \[9, 32, 32, 3\]"),
    "grey": ({"train_images": np.zeros((9, 32, 32), np.uint8)}, r"uint8 \[9, 32, 32\], expected"),
    "not square": ({"train_images": np.zeros((9, 30, 32, 3), np.uint8)}, r"\[9, 30, 32, 3\], exp"),
    "none": ({"train_images": np.zeros((0, 32, 32, 3), np.uint8)}, r"uint8 \[0, 32, 32, 3\], exp"),
    "other size": ({"train_images": np.zeros((9, 28, 28, 3), np.uint8)}, "28 x 28 .* --size 28"),
    "too few labels": (
        {"train_labels": np.arange(8)},
        r"int64 \[8\], expected whole numbers \[9\]",
    ),
    "labels of text": ({"train_labels": np.array(["a"] * 9)}, "expected whole numbers"),
    "negative label": ({"train_labels": np.arange(9) - 1}, "labels from -1 to 7"),
    "large label": ({"train_labels": np.arange(9) + 250}, "labels from 250 to 258"),
    "gap in the labels": ({"train_labels": np.arange(9) % 2 * 3}, "class 1 has no training image"),
    "one class": (
        {"train_labels": np.zeros(9, int), "validation_labels": np.zeros(3, int)},
        "number of classes is 1, expected",
    ),
    "too few classes": ({"classes": np.array(["a", "b"])}, "has the label 2 and 2 classes"),
    "classes twice": ({"classes": np.array(["a", "a", "b"])}, "the class 'a' is there twice"),
    "classes of bytes": ({"classes": np.array([b"a", b"b", b"c"])}, r"classes: is of \|S1"),
    "classes of numbers": ({"classes": np.arange(3)}, "expected a list of strings"),
    "objects": ({"train_labels": np.array([None] * 9)}, "train_labels: is of object"),
    "no labels": ({"train_labels": None}, "has train_images and no train_labels"),
    "no training images": ({"train_images": None}, "holds train_labels, .* expected train_images"),
}


@pytest.mark.parametrize(("change", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_arrays_are_refused(
    tmp_path: Path, arrays: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    changed = {key: value for key, value in (arrays | change).items() if value is not None}
    np.savez(tmp_path / "own.npz", **changed)
    refused(tmp_path / "own.npz", tmp_path / "root", message)


def npy(array: Any, **header: Any) -> bytes:
    """One member of an npz file, with another header than its content has where given."""
    buffer = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(array) | header
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue() + array.tobytes()


LABELS = np.zeros(9, np.uint8)
BAD_FILES: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "bomb": ([("train_images.npy", bytes(5_000_000))], "refused: it holds 5,000,000 bytes or more"),
    "bomb elsewhere": ([("x", bytes(5_000_000))], "refused: it holds 5,000,000 bytes or more"),
    "header of more": (
        [("train_labels.npy", npy(LABELS, shape=(10**12,)))],
        r"train_labels: has 9 bytes, which a uint8 array \(1000000000000,\) has not",
    ),
    "header of less": ([("train_labels.npy", npy(LABELS, shape=(3,)))], "has 9 bytes, which"),
    "code in a header": (
        [("train_labels.npy", npy(LABELS).replace(b"(9,)", b"f(9)"))],
        "is damaged or not an npz file",
    ),
    "version": ([("train_labels.npy", b"\x93NUMPY\x03\x00\x00\x00\x00\x00")], "npy version"),
    "no array": ([("train_images.npy", b"text")], "is damaged or not an npz file"),
    "plain zip file": ([("train/cat/1.png", b"text")], "holds no array of these names; expected"),
    "too many": ([(str(i), b"") for i in range(1_001)], "more than 1,000 members"),
}


@pytest.mark.parametrize(("members", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_npz_is_refused(tmp_path: Path, members: list[tuple[str, bytes]], message: str) -> None:
    pack(tmp_path / "own.npz", members)
    refused(tmp_path / "own.npz", tmp_path / "root", message)


def test_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        pack(tmp_path / "own.npz", [("train_labels.npy", npy(LABELS))] * 2)
    refused(tmp_path / "own.npz", tmp_path / "root", "train_labels is in it twice")


@pytest.mark.parametrize("damage", ["cut short", "checksum", "text"])
def test_damaged_npz_is_refused(tmp_path: Path, arrays: dict[str, Any], damage: str) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    if damage == "cut short":
        del content[len(content) // 2 :]
    elif damage == "checksum":
        content[5_000] ^= 1
    else:
        content = bytearray(b"text")
    path.write_bytes(content)
    refused(path, tmp_path / "root", "is damaged or not an npz file")
