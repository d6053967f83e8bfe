"""Reads the expected members of a tar archive into memory; nothing is ever unpacked to disk.

What an archive says of itself is not believed: names, kinds and sizes are checked before a member
is read, and no more is decompressed than a copy of CIFAR-10 can need.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, cast

from cifar_tune.errors import DataError
from cifar_tune.wording import printable

Sizes = Mapping[str, tuple[int, int]]
"""Name of an expected file, without folders: the fewest and the most bytes it may have."""

MAX_GROWTH = 10
"""How many times its own size an archive may hold; images hardly compress, so copies hold 1.1."""
MAX_MEMBERS = 1_000
MAX_BYTES = 1_000_000_000
"""The most that a tar archive may hold; every copy of CIFAR-10 has less than 200 MB."""

_SMALL = 65_536  # padding alone makes a tiny tar archive grow more than tenfold
_CHUNK = 1 << 18
_COMPRESSIONS: dict[bytes, Callable[[Path, Literal["rb"]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x5d\x00\x00\x80": lzma.open,
}
_DAMAGE = (
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    MemoryError,
)


def read_tar(path: Path, sizes: Sizes) -> dict[str, bytes]:
    """Read the members of a tar archive whose file names are expected, in whatever folder.

    It is plain or compressed with gzip, bzip2 or xz.

    Returns:
        Content by file name, of those that are there; empty if none is.

    Raises:
        DataError: the archive is damaged or cut short, or a member is not one that a copy of
            CIFAR-10 has: an unsafe name, a link or device, too large, too many, or twice there.
    """
    try:
        limit = min(growth_limit(path), MAX_BYTES)
        with _decompressed(path) as raw:
            stream = _Bounded(path, raw, limit)
            with tarfile.open(
                fileobj=cast("IO[bytes]", stream), mode="r|", bufsize=_CHUNK
            ) as archive:
                files = _read_members(path, archive, sizes, limit)
            while stream.read(_CHUNK):  # to the end, where gzip and xz have their checksums
                pass
    except _DAMAGE as error:
        raise DataError(f"{path}: is damaged, cut short or not a tar archive: {error}") from error
    return files


def growth_limit(path: Path) -> int:
    """Return the most bytes that an archive of this size may hold."""
    return max(MAX_GROWTH * path.stat().st_size, _SMALL)


def check_growth(path: Path, held: int, limit: int) -> None:
    """Check the bytes that an archive holds against the limit.

    Raises:
        DataError: they are more.
    """
    if held > limit:
        raise DataError(
            f"{path}: refused: it holds {held:,} bytes or more; at most {limit:,} are expected of "
            f"an archive of {path.stat().st_size:,} bytes"
        )


def check_size(where: str, size: int, bounds: tuple[int, int]) -> None:
    """Check the size of an expected file.

    Raises:
        DataError: it is outside the bounds.
    """
    low, high = bounds
    if not low <= size <= high:
        expected = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        raise DataError(f"{where}: has {size:,} bytes, expected {expected}")


def _read_members(
    path: Path, archive: tarfile.TarFile, sizes: Sizes, limit: int
) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    held = 0
    for count, member in enumerate(archive, 1):
        if count > MAX_MEMBERS:
            raise DataError(
                f"{path}: refused: it has more than {MAX_MEMBERS:,} members; a folder of images "
                "is imported unpacked"
            )
        _check_member(path, member)
        held += member.size
        check_growth(path, held, limit)
        name = PurePosixPath(member.name).name
        if member.isdir() or name not in sizes:
            continue
        if name in files:
            raise DataError(f"{path}: refused: {name} is in it twice")
        check_size(f"{path}: {printable(member.name)}", member.size, sizes[name])
        content = archive.extractfile(member)
        files[name] = content.read() if content is not None else b""
    return files


def _check_member(path: Path, member: tarfile.TarInfo) -> None:
    name = member.name.replace("\\", "/")
    shown = printable(member.name)
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        raise DataError(f"{path}: refused: the name {shown} leads out of the archive")
    if member.issym() or member.islnk():
        raise DataError(f"{path}: refused: {shown} is a link; only files and folders are expected")
    regular = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    if not (regular or member.isdir()) or member.size < 0:
        raise DataError(
            f"{path}: refused: {shown} is a device, a pipe or of another special kind; only files "
            "and folders are expected"
        )


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(6)
    for magic, opener in _COMPRESSIONS.items():
        if head.startswith(magic):
            stream: IO[bytes] = opener(path, "rb")
            return stream
    return path.open("rb")


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than a number of bytes, whatever headers declare."""

    def __init__(self, path: Path, stream: IO[bytes], limit: int) -> None:
        super().__init__()
        self._path, self._stream, self._limit = path, stream, limit
        self._given = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._given += len(data)
        # Headers and padding come on top of what the members hold.
        check_growth(self._path, self._given, self._limit + MAX_MEMBERS * 2_048)
        return data
