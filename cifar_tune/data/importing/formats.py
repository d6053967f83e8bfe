"""Finds out in which format a copy of CIFAR-10 is, reads it and proves it by digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifar_tune.data.cifar10 import (
    CLASSES,
    EXPECTED_COPIES,
    FULL_SET_DIGESTS,
    IMAGE_SIZE,
    LabelledImages,
    digest_splits,
)
from cifar_tune.data.fingerprints import Fingerprints, image_keys, read_table
from cifar_tune.data.importing import image_folder
from cifar_tune.data.importing.archives import check_size, read_tar
from cifar_tune.data.importing.batches import FORMATS, BatchFormat, read_batches
from cifar_tune.data.importing.npz import is_npz, read_npz
from cifar_tune.errors import DataError
from cifar_tune.wording import format_count, printable

BATCH_IMAGES = 10_000
"""Images in a batch; five batches are the training set, one is the test set."""

_NOTHING_KNOWN = (
    f"holds nothing that is known; {EXPECTED_COPIES}; images of your own are imported with --name"
)

Split = str


@dataclass(frozen=True)
class _Copy:
    """A copy as read.

    Attributes:
        splits: ``train`` and ``test``.
        source: the format in words.
        locate: where an image was, by split and row.
    """

    splits: dict[Split, LabelledImages]
    source: str
    locate: Callable[[Split, int], str] = lambda split, row: f"{split} image {row + 1:,}"


def read_full_set(path: Path) -> tuple[dict[str, LabelledImages], str]:
    """Read a copy of the whole of CIFAR-10 in any of its formats.

    Args:
        path: an archive, an ``.npz`` file, or a folder: that of the batches, its parent, or one of
            images by split and class.

    Returns:
        ``{"train": 50,000 images, "test": 10,000}``, proven by ``FULL_SET_DIGESTS``, in the
        original's order, and the source in words.

    Raises:
        DataError: it is in none of the formats, is damaged, or is not CIFAR-10; the message says
            which part differs and which image is the first.
    """
    try:
        if path.is_dir():
            copy = _read_folder(path)
        elif path.is_file():
            copy = _read_npz_file(path) if is_npz(path) else _read_archive(path)
        else:
            raise DataError(f"{path}: is not there or neither a file nor a folder")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    _prove(path, copy)
    return copy.splits, copy.source


def split_counts() -> dict[str, int]:
    """Return the number of images in each split of CIFAR-10."""
    return {"train": 5 * BATCH_IMAGES, "test": BATCH_IMAGES}


def _read_archive(path: Path) -> _Copy:
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty; {EXPECTED_COPIES}")
    sizes = {name: bounds for form in FORMATS for name, bounds in form.sizes(BATCH_IMAGES).items()}
    files = read_tar(path, sizes)

    def load(name: str) -> tuple[str, bytes]:
        where = f"{path}: {name}"
        if name not in files:
            raise DataError(f"{where} is not in it: the archive is incomplete or damaged")
        return where, files.pop(name)  # popped, so that it is not held any longer than needed

    for form in FORMATS:
        if not files.keys().isdisjoint(form.sizes(BATCH_IMAGES)):
            return _from_batches(form, load, "archive")
    raise DataError(f"{path}: {_NOTHING_KNOWN}")


def _read_folder(path: Path) -> _Copy:
    for form in FORMATS:
        sizes = form.sizes(BATCH_IMAGES)
        for folder in (path, path / form.folder):
            if any((folder / name).is_file() for name in sizes):
                return _from_batches(form, _loader(folder, form), "folder")
    if "train" in image_folder.find_splits(path):
        return _read_image_folder(path)
    raise DataError(f"{path}: {_NOTHING_KNOWN}")


def _loader(folder: Path, form: BatchFormat) -> Callable[[str], tuple[str, bytes]]:
    sizes = form.sizes(BATCH_IMAGES)

    def load(name: str) -> tuple[str, bytes]:
        file = folder / name
        if not file.is_file():
            raise DataError(f"{file}: is missing; the copy is incomplete")
        check_size(str(file), file.stat().st_size, sizes[name])
        return str(file), file.read_bytes()

    return load


def _from_batches(form: BatchFormat, load: Callable[[str], tuple[str, bytes]], kind: str) -> _Copy:
    splits = read_batches(form, load, BATCH_IMAGES)

    def locate(split: Split, row: int) -> str:
        batch, position = divmod(row, BATCH_IMAGES)
        return f"{form.batches(split)[batch]} image {position + 1:,}"

    return _Copy(splits, f"{form.source} ({kind})", locate)


def _read_npz_file(path: Path) -> _Copy:
    splits, _ = read_npz(path)
    for split, count in split_counts().items():
        expected = (count, 3, IMAGE_SIZE, IMAGE_SIZE)
        if split not in splits:
            raise DataError(f"{path}: has no {split} images; expected {count:,}")
        if splits[split].images.shape != expected:
            shape = list(splits[split].images.shape)
            raise DataError(f"{path}: its {split} images are {shape}, expected {list(expected)}")
    parts = {split: splits[split] for split in split_counts()}
    return _Copy(parts, "npz file")


def _read_image_folder(path: Path) -> _Copy:
    """Read images by class, and put them in the original's order by their fingerprints."""
    folders = image_folder.find_splits(path)
    table = read_table(split_counts())
    oddities = image_folder.Oddities()
    files: dict[Split, image_folder.ImageFiles] = {}
    for split, count in split_counts().items():
        if split not in folders:
            raise DataError(f"{path}: has no folder {split}; {EXPECTED_COPIES}")
        part = image_folder.list_images(folders[split], oddities)
        if part.classes != CLASSES:
            odd = sorted(set(part.classes) ^ set(CLASSES))[0]
            raise DataError(
                f"{folders[split]}: its folders are not the classes of CIFAR-10: {printable(odd)} "
                f"is {'missing' if odd in CLASSES else 'not one of them'}"
            )
        if len(part.names) != count:
            raise DataError(f"{folders[split]}: has {len(part.names):,} images, expected {count:,}")
        files[split] = part
    splits = {}
    for split, part in files.items():
        images = image_folder.decode_images(path, part.names, IMAGE_SIZE, oddities)
        _refuse_oddities(path, oddities)
        splits[split] = _in_order(path, split, LabelledImages(images, part.labels), part, table)
    return _Copy(splits, "image folder")


def _refuse_oddities(path: Path, oddities: image_folder.Oddities) -> None:
    image_folder.refuse_unreadable(path, oddities)
    for names, fault in ((oddities.other_size, "of another size"), (oddities.grey, "in grey")):
        if names:
            images = f"{format_count(len(names), 'image')} {fault}, first {names[0]}"
            raise DataError(f"{path}: not CIFAR-10: {images}; expected 32 x 32 RGB")


def _in_order(
    path: Path,
    split: Split,
    part: LabelledImages,
    files: image_folder.ImageFiles,
    table: dict[str, Fingerprints],
) -> LabelledImages:
    """Return the images in the original's order; each must be there once, and in its class."""

    def shown(row: int) -> str:
        return printable(files.names[row].as_posix())

    known = table[split]
    positions = known.positions(image_keys(part.images))
    foreign = np.flatnonzero(positions < 0)
    if len(foreign):
        raise DataError(
            f"{path}: not CIFAR-10: {len(foreign):,} of its {len(part):,} {split} images are not "
            f"CIFAR-10's to the last bit, first {shown(foreign[0])}"
        )
    _, firsts = np.unique(positions, return_index=True)
    if len(firsts) < len(part):
        again = np.setdiff1d(np.arange(len(part)), firsts)
        raise DataError(
            f"{path}: not CIFAR-10: {len(again):,} of its {split} images are there twice, first "
            f"{shown(again[0])}"
        )
    wrong = np.flatnonzero(known.labels[positions] != part.labels)
    if len(wrong):
        right = CLASSES[known.labels[positions[wrong[0]]]]
        raise DataError(
            f"{path}: not CIFAR-10: {len(wrong):,} of its {split} images are in the folder of "
            f"another class, first {shown(wrong[0])}, which is of the class {right}"
        )
    return part.take(np.argsort(positions))


def _prove(path: Path, copy: _Copy) -> None:
    """Compare with the digests; where they differ, say what does.

    Raises:
        DataError: a part differs.
    """
    digests = digest_splits(copy.splits)
    differing = [part for part, digest in digests.items() if digest != FULL_SET_DIGESTS[part]]
    if differing:
        table = read_table(split_counts())
        faults = [_difference(copy, part, table) for part in differing]
        raise DataError(f"{path}: not CIFAR-10: {'; '.join(faults)}")


def _difference(copy: _Copy, name: str, table: Mapping[Split, Fingerprints]) -> str:
    split, kind = name.split(" ")
    part, known = copy.splits[split], table[split]
    fault, reason = f"its {name} differ", "are not CIFAR-10's"
    if kind == "labels":
        wrong = np.flatnonzero(part.labels != known.labels)
    else:
        positions = known.positions(image_keys(part.images))
        wrong = np.flatnonzero(positions < 0)
        if not len(wrong):
            wrong = np.flatnonzero(positions != np.arange(len(part)))
            reason = "are in another place than in CIFAR-10"
    if not len(wrong):
        return fault
    first = copy.locate(split, int(wrong[0]))
    return f"{fault}: {len(wrong):,} of {len(part):,} {reason}, first {first}"
