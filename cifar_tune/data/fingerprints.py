"""A short digest of each image of CIFAR-10, in the original's order, with its label.

A folder of images by class has lost the order of the original; the table gives it back. It also
says which images of a copy that fails its digests are not CIFAR-10's. It finds; it does not prove:
what it put in order is still compared with ``FULL_SET_DIGESTS``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cifar_tune.data.cifar10 import LabelledImages, UInt8Array
from cifar_tune.errors import DataError

TABLE_FILE = "fingerprints.bin"
FILE = Path(__file__).parent / "bundled" / TABLE_FILE
"""For each image, training set first: 5 bytes of its SHA-256 and its label, 360 KB in all. No two
images of CIFAR-10 share their 5 bytes."""

_KEY_BYTES = 5

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fingerprints:
    """What is known of one split.

    Attributes:
        keys: int64 [N], the first 5 bytes of each image's SHA-256 as a number.
        labels: uint8 [N].
    """

    keys: Keys
    labels: UInt8Array

    def positions(self, keys: Keys) -> Keys:
        """Return the places of ``keys`` (int64 [M]) in the original's order; -1 for none."""
        order = np.argsort(self.keys)
        place = np.searchsorted(self.keys, keys, sorter=order).clip(max=len(order) - 1)
        rows = order[place]
        return np.where(self.keys[rows] == keys, rows, -1)


def image_keys(images: UInt8Array) -> Keys:
    """Return the keys int64 [N] of images uint8 [N, 3, H, H]."""
    digests = (hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images)
    numbers = (int.from_bytes(digest[:_KEY_BYTES], "big") for digest in digests)
    return np.fromiter(numbers, np.int64, count=len(images))


def make_table(full: Mapping[str, LabelledImages]) -> bytes:
    """Return the table's bytes for the full set, ``{"train": …, "test": …}``."""
    rows = bytearray()
    for split in ("train", "test"):
        for key, label in zip(image_keys(full[split].images), full[split].labels, strict=True):
            rows += int(key).to_bytes(_KEY_BYTES, "big") + bytes([label])
    return bytes(rows)


def read_table(counts: Mapping[str, int]) -> dict[str, Fingerprints]:
    """Read the table that travels with the package, for the images of each split, in its order.

    Raises:
        DataError: it is missing or has another size.
    """
    try:
        rows = np.frombuffer(FILE.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(
            f"{FILE}: cannot be read: {error.strerror}; install the package again"
        ) from error
    if rows.size != sum(counts.values()) * (_KEY_BYTES + 1):
        raise DataError(
            f"{FILE}: is damaged: it has {rows.size:,} bytes; install the package again"
        )
    table = rows.reshape(-1, _KEY_BYTES + 1)
    weights = 256 ** np.arange(_KEY_BYTES - 1, -1, -1, dtype=np.int64)
    keys, labels = table[:, :_KEY_BYTES].astype(np.int64) @ weights, table[:, _KEY_BYTES]
    ends = np.cumsum(list(counts.values()))[:-1]
    parts = zip(counts, np.split(keys, ends), np.split(labels, ends), strict=True)
    return {split: Fingerprints(*of_split) for split, *of_split in parts}
