"""A storage that an earlier version made, as small committed data, and how it was packed.

Kept weights and checkpoints are tens of megabytes, nearly all of it tensors of the bundled weights
that a trial with a frozen network leaves as they are. The archive has the rest of each such file,
and says where the bundled tensors belong; what is put together has the SHA-256 of the original.

``python tests/support/old_storage.py FOLDER`` packs the folder ``storage`` that the commands of
``tests/data/old_storage/README.md`` made in FOLDER.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import struct
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import torch
from places import TEST_DATA
from safetensors.torch import load_file
from torch import Tensor

import cifar_tune

DATA = TEST_DATA / "old_storage"
ARCHIVE = DATA / "storage.tar.xz"
DIGESTS = "sha256.json"
DATABASE = "cifar-tune.db"
LEFT_OUT = ("cifar-tune-logs", "cifar-tune-features")
"""What workers printed, and a cache that follows from the rest."""

Recipe = list[int | list[str]]
"""How a file is put together: bytes of its own, by how many, and bundled tensors, by name and
layout."""

LIVE_TAPS = {
    "layer4.0.conv1.weight": slice(1, 3),
    "layer4.0.conv2.weight": slice(1, 2),
    "layer4.1.conv1.weight": slice(1, 2),
    "layer4.1.conv2.weight": slice(1, 2),
}
"""Rows and columns of 3x3 kernels that the bundled file has; the others are zero."""


def unpack(folder: Path) -> Path:
    """Put the storage into a folder: the database and all files beside it.

    Returns:
        The database.
    """
    with tarfile.open(ARCHIVE, "r:xz") as archive:
        content = {one.name: _read(archive, one) for one in archive.getmembers()}
    for name, digest in json.loads(content.pop(DIGESTS)).items():
        packed = content[name]
        whole = _put_together(packed) if name.endswith(".safetensors") else packed
        if hashlib.sha256(whole).hexdigest() != digest:
            raise ValueError(f"{name}: is not the file that was packed")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole)
    return folder / DATABASE


def pack(folder: Path) -> None:
    """Write the archive from a folder with the database and the files beside it."""
    content = {DATABASE: _read_database(folder / DATABASE)}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and len(place.parts) > 1 and place.parts[0] not in LEFT_OUT:
            content[place.as_posix()] = path.read_bytes()
    digests = {name: hashlib.sha256(whole).hexdigest() for name, whole in content.items()}
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        _add(archive, DIGESTS, json.dumps(digests, indent=1).encode())
        for name, whole in content.items():
            packed = _take_apart(whole) if name.endswith(".safetensors") else whole
            _add(archive, name, packed)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Without times, owners and modes, so that the same storage gives the same archive."""
    about = tarfile.TarInfo(name)
    about.size = len(content)
    archive.addfile(about, io.BytesIO(content))


def _read_database(path: Path) -> bytes:
    """A database with what is still in its write-ahead log, and without what was deleted."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with closing(sqlite3.connect(path)) as database:
            database.execute("VACUUM INTO ?", (str(copy),))
        with closing(sqlite3.connect(copy)) as database:
            database.execute("PRAGMA journal_mode=WAL")  # as it was
        return copy.read_bytes()


# --- safetensors files: 8 bytes of length, a header in JSON, the tensors one after another ----


def _take_apart(whole: bytes) -> bytes:
    """A recipe in one line, and the bytes that are not of bundled tensors."""
    recipe: Recipe = []
    own = []
    begin = 0
    for name, start, end in _tensors(whole):
        base = name.removeprefix("model.")
        layouts = _layouts(base) if base in _bundled() else {}
        for layout, content in layouts.items():
            if content == whole[start:end]:
                recipe += [start - begin, [base, layout]]
                own.append(whole[begin:start])
                begin = end
                break
    own.append(whole[begin:])
    recipe.append(len(own[-1]))
    return json.dumps(recipe).encode() + b"\n" + b"".join(own)


def _put_together(packed: bytes) -> bytes:
    first, _, own = packed.partition(b"\n")
    parts = []
    begin = 0
    for one in json.loads(first):
        if isinstance(one, int):
            parts.append(own[begin : begin + one])
            begin += one
        else:
            name, layout = one
            parts.append(_layouts(name)[layout])
    return b"".join(parts)


def _tensors(whole: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end of each tensor, in the order of the file."""
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    header.pop("__metadata__", None)
    places = sorted((*about["data_offsets"], name) for name, about in header.items())
    return ((name, 8 + length + start, 8 + length + end) for start, end, name in places)


@cache
def _bundled() -> dict[str, Tensor]:
    """The bundled weights in torchvision's shapes."""
    package = Path(cifar_tune.__file__).parent
    (path,) = package.rglob("tiny-imagenet-32.safetensors")
    tensors = {name: one.float() for name, one in load_file(path).items()}
    for name, taps in LIVE_TAPS.items():
        live = tensors[name]
        tensors[name] = torch.zeros(*live.shape[:2], 3, 3)
        tensors[name][:, :, taps, taps] = live
    return tensors


@cache
def _layouts(name: str) -> dict[str, bytes]:
    """A bundled tensor in each order of its numbers that a file may have it in.

    A convolution of which every pixel sees the whole map is trained with its live taps alone,
    [out, rows, columns, in].
    """
    tensor = _bundled()[name]
    layouts = {"plain": tensor}
    if tensor.dim() == 4 and tensor.shape[2] == 3:
        for taps in (slice(0, 3), slice(1, 3), slice(1, 2)):
            layouts[f"taps {taps.start}:{taps.stop}"] = tensor[:, :, taps, taps].permute(0, 2, 3, 1)
    elif tensor.dim() == 4:
        layouts["taps"] = tensor.permute(0, 2, 3, 1)
    return {layout: one.contiguous().numpy().tobytes() for layout, one in layouts.items()}


if __name__ == "__main__":
    pack(Path(sys.argv[1]) / "storage")
