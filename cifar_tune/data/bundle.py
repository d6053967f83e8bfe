"""The mini CIFAR-10 that travels inside the package: the rule that made it, and its reader.

Each split is one lossless WebP mosaic; ``manifest.json`` holds labels, digests, source and terms.
``python -m cifar_tune.data.bundle PATH`` applies the rule to a full copy of CIFAR-10 in any format
and proves by digest that the bundle is what it gives, and that the table of fingerprints is the
copy's; with ``--write`` it writes what is not.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cifar_tune.data.cifar10 import CLASSES, IMAGE_SIZE, LabelledImages, UInt8Array
from cifar_tune.data.fingerprints import TABLE_FILE, make_table
from cifar_tune.data.importing.formats import read_full_set
from cifar_tune.errors import CifarTuneError, DataError

FOLDER = Path(__file__).parent / "bundled"
COLUMNS = 100
"""Images in a row of a mosaic."""

RULE = {
    "train": ("train", 0, 500),
    "validation": ("train", 500, 600),
    "test": ("test", 0, 100),
}
"""Split of the bundle: (split of CIFAR-10, first, stop) counted within each class in the order of
the original, so that every class has equally many; rows keep the original's order."""


def apply_rule(full: dict[str, LabelledImages], split: str) -> LabelledImages:
    """Pick the rows of one bundled split from the full set, as ``RULE`` says."""
    source, first, stop = RULE[split]
    labels = full[source].labels
    rows = [np.flatnonzero(labels == label)[first:stop] for label in range(len(CLASSES))]
    return full[source].take(np.sort(np.concatenate(rows)))


def read_bundled(split: str, folder: Path = FOLDER) -> LabelledImages:
    """Read one split of the bundle and check it against the manifest's digests.

    It is ``"train"`` (5,000 images), ``"validation"`` (1,000) or ``"test"`` (1,000).

    Raises:
        DataError: a file is missing, cannot be decoded, or is not what its digest names.
    """
    path = folder / f"{split}.webp"
    entry = read_manifest(folder)["splits"][split]
    try:
        with Image.open(path) as mosaic:
            images = cut_mosaic(np.asarray(mosaic.convert("RGB")))
        labels = np.array([int(digit) for digit in entry["labels"]], dtype=np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: the bundled images cannot be read: {error}") from error
    part = LabelledImages(images, labels)
    if part.digests() != entry["sha256"]:
        raise DataError(
            f"{path}: the bundled images are damaged: their SHA-256 is not the one in "
            f"{folder / 'manifest.json'}; install the package again"
        )
    return part


@cache
def read_manifest(folder: Path = FOLDER) -> dict[str, Any]:
    """Read the bundle's manifest: digests, labels, source and terms.

    Raises:
        DataError: the manifest is missing or is not JSON.
    """
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for split in RULE:
            str(manifest["splits"][split]["labels"]), manifest["splits"][split]["sha256"]["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: the bundle's manifest cannot be read: {error!r}") from error
    return manifest


def make_mosaic(images: UInt8Array) -> UInt8Array:
    """Lay images [N, 3, 32, 32] out as one picture [N / 100 · 32, 3,200, 3], row by row."""
    grid = images.reshape(-1, COLUMNS, 3, IMAGE_SIZE, IMAGE_SIZE)
    return grid.transpose(0, 3, 1, 4, 2).reshape(-1, COLUMNS * IMAGE_SIZE, 3)


def cut_mosaic(mosaic: UInt8Array) -> UInt8Array:
    """Undo ``make_mosaic``."""
    grid = mosaic.reshape(-1, IMAGE_SIZE, COLUMNS, IMAGE_SIZE, 3)
    images = grid.transpose(0, 2, 4, 1, 3).reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return np.ascontiguousarray(images)


def write_bundle(full: dict[str, LabelledImages], folder: Path, effort: int = 100) -> None:
    """Write the three mosaics, lossless, and the manifest.

    ``effort`` is the time spent on making the files smaller, 0 to 100.
    """
    splits = {}
    for split in RULE:
        picked = apply_rule(full, split)
        picture = Image.fromarray(make_mosaic(picked.images))
        picture.save(
            folder / f"{split}.webp",
            lossless=True,
            quality=effort,
            method=effort * 6 // 100,
            exact=True,
        )
        labels = "".join(map(str, picked.labels))
        splits[split] = {"sha256": picked.digests(), "labels": labels}
    manifest = {
        "name": "mini CIFAR-10",
        "source": 'A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", '
        "technical report, University of Toronto, 2009",
        "terms": "TERMS.md",
        "classes": CLASSES,
        "rule": RULE,
        "splits": splits,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Rebuild the bundle from the full set and compare, or write it; 0 where they agree."""
    parser = argparse.ArgumentParser(prog="python -m cifar_tune.data.bundle", description=__doc__)
    parser.add_argument("copy", type=Path, help="a full copy of CIFAR-10 in any format")
    parser.add_argument("--write", action="store_true", help="write what is not what it should be")
    options = parser.parse_args(arguments)
    try:
        full, _ = read_full_set(options.copy)
        if options.write:
            _write_what_differs(full)
        # Read again, so that what is compared is what is on the disk.
        different = [split for split in RULE if not _is_as_ruled(full, split)]
        digests = {
            split: read_manifest(FOLDER)["splits"][split]["sha256"]["images"] for split in RULE
        }
    except CifarTuneError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    for split in RULE:
        verdict = "DIFFERS" if split in different else "is what the rule gives"
        print(f"{split}: {verdict}; images sha256 {digests[split]}")  # noqa: T201
    table_agrees = _has_table(full)
    print(f"fingerprints: {'are those of the copy' if table_agrees else 'DIFFER'}")  # noqa: T201
    return 1 if different or not table_agrees else 0


def _write_what_differs(full: dict[str, LabelledImages]) -> None:
    """Write the bundle only where it is another: encoders give other bytes for the same pixels."""
    if not all(_is_as_ruled(full, split) for split in RULE):
        write_bundle(full, FOLDER)
        read_manifest.cache_clear()
    if not _has_table(full):
        (FOLDER / TABLE_FILE).write_bytes(make_table(full))


def _is_as_ruled(full: dict[str, LabelledImages], split: str) -> bool:
    try:
        return apply_rule(full, split).digests() == read_bundled(split, FOLDER).digests()
    except DataError:
        return False


def _has_table(full: dict[str, LabelledImages]) -> bool:
    file = FOLDER / TABLE_FILE
    return file.is_file() and file.read_bytes() == make_table(full)


if __name__ == "__main__":
    sys.exit(main())
