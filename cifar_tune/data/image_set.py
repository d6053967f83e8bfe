"""One imported image set in one file that is mapped into memory, never read as a whole.

The file is a safetensors file: 8 bytes with the header's length, a JSON header, then the bytes of
the arrays without a gap. Its tensors are ``train images``, ``train labels`` and so on; the
header's ``__metadata__`` has the name, the classes, the digests and the source.

Source: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from cifar_tune.data.cifar10 import FULL_SET, FULL_SET_DIGESTS, LabelledImages, UInt8Array
from cifar_tune.errors import DataError
from cifar_tune.files import open_regular, replacing
from cifar_tune.wording import printable

FORMAT = "cifar-tune image set 1"
SPLITS = ("train", "validation", "test")

Place = tuple[int, tuple[int, ...]]
"""Of an array in the file: its first byte and its shape."""


@dataclass(frozen=True)
class ImageSet:
    """Images in splits, with what they are and where they are from.

    Attributes:
        name: ``cifar10`` or the user's own name.
        classes: in the order of the labels.
        splits: ``train``, ``validation``, ``test``: those that exist, or that were asked for.
        digests: SHA-256 of ``train images``, ``train labels`` and so on, of all splits stored.
        source: what it was imported from, in words.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, LabelledImages]
    digests: Mapping[str, str]
    source: str


def write_image_set(image_set: ImageSet, path: Path) -> None:
    """Write an image set to one file, so that a reader sees all of it or nothing.

    Its images are uint8 [N, 3, H, H] with N and H at least 1. A file that is there is replaced; of
    two processes at once, the later one's file stays.

    Raises:
        DataError: it does not fit on the disk or cannot be written; nothing is left behind.
    """
    arrays = {
        f"{split} {kind}": array
        for split, part in image_set.splits.items()
        for kind, array in vars(part).items()
    }
    header = _make_header(image_set, arrays)
    size = len(header) + sum(array.nbytes for array in arrays.values())
    with replacing(path, size, DataError) as temporary, temporary.open("wb") as file:
        file.write(header)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).reshape(-1).data)


def open_image_set(path: Path, splits: Collection[str]) -> ImageSet:
    """Map some splits of an image set into memory; the arrays may be written to, the file stays.

    The header is checked against the file's size, and the labels against the classes. The images
    are not hashed; ``imports.verify_image_set`` does that.

    Of ``splits``, one that the set does not have is left out.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: it is damaged, cut short or no image set of this version.
    """
    try:
        with open_regular(path, sys.maxsize) as file:  # mapped, not read
            image_set, places = _read_header(path, file)
            arrays = {
                key: np.memmap(file, np.uint8, "c", start, shape)
                for key, (start, shape) in places.items()
                if key.split(" ")[0] in splits
            }
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror or error}") from error
    parts = {
        split: LabelledImages(arrays[f"{split} images"], arrays[f"{split} labels"])
        for split in SPLITS
        if f"{split} images" in arrays
    }
    for split, part in parts.items():
        if part.labels.max() >= len(image_set.classes):
            raise _fault(path, f"is damaged: its {split} labels are not those of its classes")
    return replace(image_set, splits=parts)


def _make_header(image_set: ImageSet, arrays: Mapping[str, UInt8Array]) -> bytes:
    """Return the length and the JSON header, padded so that arrays start at a multiple of 8."""
    entries: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "name": image_set.name,
            "classes": json.dumps(image_set.classes),
            "digests": json.dumps(dict(image_set.digests)),
            "source": image_set.source,
        }
    }
    start = 0
    for key, array in arrays.items():
        stop = start + array.nbytes
        entries[key] = {"dtype": "U8", "shape": array.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _read_header(path: Path, file: IO[bytes]) -> tuple[ImageSet, dict[str, Place]]:
    """Return the image set without its splits, and the places of the arrays in the file."""
    try:
        with safe_open(path, framework="numpy"):
            pass  # its header is one of safetensors, whose arrays fill the file to the last byte
        length = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(length))
        metadata = entries.pop("__metadata__")
        image_set = ImageSet(
            name=metadata["name"],
            classes=tuple(map(str, json.loads(metadata["classes"]))),
            splits={},
            digests=dict(json.loads(metadata["digests"])),
            source=metadata["source"],
        )
        _check_arrays(entries)
        places = {
            key: (8 + length + entry["data_offsets"][0], tuple(entry["shape"]))
            for key, entry in entries.items()
        }
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _fault(path, "is damaged, cut short or not an image set of this program") from error
    if metadata.get("format") != FORMAT:
        raise _fault(path, f"is not of the format {FORMAT!r}")
    if image_set.name != path.stem or set(image_set.digests) != set(places):
        raise _fault(path, f"is the image set {printable(image_set.name)} under another name")
    if image_set.name == FULL_SET and image_set.digests != FULL_SET_DIGESTS:
        raise _fault(path, "is not CIFAR-10: its digests are others")
    return image_set, places


def _check_arrays(entries: Mapping[str, Any]) -> None:
    """Check that the arrays of a header are images with their labels, by split.

    Raises:
        ValueError: They are not.
    """
    present = [split for split in SPLITS if f"{split} images" in entries]
    expected = {f"{split} {kind}" for split in present for kind in ("images", "labels")}
    if "train" not in present or set(entries) != expected:
        raise ValueError("other arrays than images and labels by split")
    for split in present:
        images, labels = entries[f"{split} images"], entries[f"{split} labels"]
        count, *sides = images["shape"]
        if sides != [3, sides[-1], sides[-1]] or labels["shape"] != [count]:
            raise ValueError(f"{split}: not images with their labels")
        if not count * sides[-1] or {images["dtype"], labels["dtype"]} != {"U8"}:
            raise ValueError(f"{split}: not non-empty arrays of uint8")


def _fault(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}; import it again")
