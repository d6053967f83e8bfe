"""Brings image sets in: CIFAR-10 in any format or fetched, and users' own; and verifies them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cifar_tune import paths
from cifar_tune.data.cifar10 import (
    CLASSES,
    FULL_SET,
    FULL_SET_DIGESTS,
    LabelledImages,
    digest_splits,
)
from cifar_tune.data.download import download
from cifar_tune.data.image_set import SPLITS, ImageSet, open_image_set, write_image_set
from cifar_tune.data.importing.formats import read_full_set
from cifar_tune.data.importing.image_folder import MAX_CLASSES, find_splits, read_own_folder
from cifar_tune.data.importing.npz import is_npz, read_npz
from cifar_tune.errors import DataError
from cifar_tune.wording import printable

RESERVED_NAMES = (FULL_SET, "bundled")

FETCH_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
FETCH_BYTES = 170_052_171
FETCH_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"

SIZES = (8, 512)
"""The least and the largest height and width in pixels that own images are brought to."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        path: the file that was written.
        image_set: what it holds.
        notes: what was changed or passed over, a sentence each.
    """

    path: Path
    image_set: ImageSet
    notes: tuple[str, ...]


def import_cifar10(path: Path, root: Path) -> ImportReport:
    """Import a copy of the whole of CIFAR-10, as ``formats.read_full_set`` takes it.

    Raises:
        DataError: it is not CIFAR-10, or cannot be read or written; nothing was written.
    """
    try:
        splits, source = read_full_set(path)
    except DataError as error:
        name = _suggest_name(path)
        if name is None:
            raise
        command = paths.data_command(root, f"data import {shlex.quote(str(path))} --name {name}")
        raise DataError(f"{error}; images of your own come in with {command}") from error
    return _keep_full_set(splits, source, root)


def import_images(path: Path, name: str, root: Path, size: int = 32) -> ImportReport:
    """Import a user's own images under a name of lower-case letters, digits and hyphens.

    They are a folder ``train/CLASS/*``, with ``validation`` and ``test`` if wanted, or an ``.npz``
    file with ``train_images``, ``train_labels`` and so on. Images of a folder are brought to a
    height and width of ``size`` pixels; those of an ``.npz`` file have it already.

    Raises:
        DataError: the name cannot be used, or the images cannot be read or written; nothing was
            written.
    """
    check_name(name)
    low, high = SIZES
    if not low <= size <= high:
        raise DataError(f"--size {size}: expected {low} to {high} pixels")
    try:
        if path.is_dir():
            classes, splits, notes = read_own_folder(path, size)
            source = "image folder"
        elif path.is_file() and is_npz(path):
            classes, splits = _read_own_npz(path, size)
            source, notes = "npz file", ()
        else:
            fault = "is neither" if path.exists() else "is not there; expected"
            raise DataError(f"{path}: {fault} a folder of images by split and class or an npz file")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: the images do not fit into memory at --size {size}") from error
    _check_classes(path, classes, splits)
    return _keep(ImageSet(name, classes, splits, digest_splits(splits), source), root, notes)


def fetch_cifar10(root: Path) -> ImportReport:
    """Download the official binary archive and import it; the archive is not kept.

    Raises:
        DataError: it cannot be had, is another, or does not fit on the disk; the message names
            the way without network.
    """
    command = paths.data_command(root, "data import PATH")
    way_round = f"without network, {command} takes a copy from the disk"
    with download(FETCH_URL, FETCH_SHA256, FETCH_BYTES, root, DataError, way_round) as archive:
        splits, _ = read_full_set(archive)
        return _keep_full_set(splits, "official binary files (fetched)", root)


def verify_image_set(name: str, root: Path) -> dict[str, bool]:
    """Hash an imported image set and compare with what it was when it was imported.

    Returns:
        For ``train images``, ``train labels`` and so on, whether the digest is the recorded one;
        CIFAR-10's are compared with ``FULL_SET_DIGESTS``.

    Raises:
        DataError: it is not there, or its file is damaged.
    """
    path = paths.image_set_file(root, name)
    try:
        image_set = open_image_set(path, SPLITS)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: is not there; the image set {printable(name)} is not imported"
        ) from error
    recorded = FULL_SET_DIGESTS if name == FULL_SET else image_set.digests
    digests = digest_splits(image_set.splits)
    return {part: digest == recorded[part] for part, digest in digests.items()}


def list_image_sets(root: Path) -> list[dict[str, Any]]:
    """Describe what is imported, sorted by name, without hashing it.

    Returns:
        For each image set ``name``, ``images`` (number by split), ``classes`` (their number),
        ``size`` (height and width in pixels), ``source`` and ``file``.

    Raises:
        DataError: a file among them is damaged.
    """
    described = []
    for path in sorted(paths.image_set_file(root, FULL_SET).parent.glob("*.safetensors")):
        if not _NAME.fullmatch(path.stem):
            continue
        image_set = open_image_set(path, SPLITS)
        described.append(
            {
                "name": image_set.name,
                "images": {split: len(part) for split, part in image_set.splits.items()},
                "classes": len(image_set.classes),
                "size": image_set.splits["train"].images.shape[-1],
                "source": image_set.source,
                "file": str(path),
            }
        )
    return described


def check_name(name: str) -> None:
    """Check a name for a user's own image set.

    Raises:
        DataError: it is reserved, or is not of lower-case letters, digits and hyphens.
    """
    if name in RESERVED_NAMES:
        raise DataError(f"{name}: is the name of an image set of the program; choose another")
    if not _NAME.fullmatch(name):
        raise DataError(
            f"{printable(name)}: cannot be a name: expected lower-case letters, digits and "
            "hyphens, the first not a hyphen"
        )


def _suggest_name(path: Path) -> str | None:
    """Return a name for images that may be a user's own; None where they cannot be."""
    may_be_own = path.suffix.lower() == ".npz"
    if path.is_dir():
        with suppress(DataError):
            may_be_own = "train" in find_splits(path)
    name = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-")
    return (name if name and name not in RESERVED_NAMES else "own") if may_be_own else None


def _read_own_npz(path: Path, size: int) -> tuple[tuple[str, ...], dict[str, LabelledImages]]:
    splits, classes = read_npz(path)
    for split, part in splits.items():
        side = part.images.shape[-1]
        if side != size:
            raise DataError(
                f"{path}: its {split} images are {side} x {side} pixels, not {size} x {size}; "
                f"pass --size {splits['train'].images.shape[-1]}"
            )
    highest = max(int(part.labels.max()) for part in splits.values())
    if classes is None:
        classes = tuple(map(str, range(highest + 1)))
    if highest >= len(classes):
        raise DataError(f"{path}: has the label {highest} and {len(classes)} classes")
    return classes, splits


def _check_classes(
    path: Path, classes: tuple[str, ...], splits: Mapping[str, LabelledImages]
) -> None:
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise DataError(
            f"{path}: the number of classes is {len(classes)}, expected 2 to {MAX_CLASSES}"
        )
    for name in classes:
        if not name or not name.isprintable() or classes.count(name) > 1:
            raise DataError(f"{path}: the class {name!a} is there twice, or is no printable name")
    counts = np.bincount(splits["train"].labels, minlength=len(classes))
    if not counts.all():
        raise DataError(f"{path}: the class {classes[int(counts.argmin())]} has no training image")


def _keep_full_set(splits: Mapping[str, LabelledImages], source: str, root: Path) -> ImportReport:
    image_set = ImageSet(FULL_SET, CLASSES, splits, dict(FULL_SET_DIGESTS), source)
    return _keep(image_set, root, ())


def _keep(image_set: ImageSet, root: Path, notes: tuple[str, ...]) -> ImportReport:
    path = paths.image_set_file(root, image_set.name)
    write_image_set(image_set, path)
    return ImportReport(path, image_set, notes)
