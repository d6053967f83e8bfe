"""Writes a file so that a reader sees all of it or nothing, and hashes one."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from cifar_tune.errors import CifarTuneError


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path, size: int, error_type: type[CifarTuneError]) -> Iterator[Path]:
    """Yield a path to write to, beside ``path``, and rename it to that once it is on the disk.

    Of two processes that do this at once, each writes a file of its own and the later one's stays.

    Raises:
        error_type: The file, of ``size`` bytes, cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with explain_disk(path, error_type):
            path.parent.mkdir(parents=True, exist_ok=True)
            check_disk_space(path.parent, size, error_type)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            flush_folder(path.parent)
    finally:
        with suppress(OSError):  # e.g. a file where a folder should be; said above
            temporary.unlink(missing_ok=True)


@contextmanager
def explain_disk(path: Path, error_type: type[CifarTuneError]) -> Iterator[None]:
    """Turn an error of the disk into one that says that ``path`` cannot be written, and why."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors' own has no error number
        full = getattr(error, "errno", None) == errno.ENOSPC
        reason = "the disk is full" if full else getattr(error, "strerror", "") or str(error)
        raise error_type(f"{path}: cannot be written: {reason}") from error


def flush_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk: a rename is not there before that."""
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def check_disk_space(folder: Path, size: int, error_type: type[CifarTuneError]) -> None:
    """Check that ``size`` bytes fit on the disk where ``folder`` is or would be made.

    Raises:
        error_type: They do not; the message has both figures.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < size:
        raise error_type(
            f"{folder}: {free / 1e6:,.0f} MB are free on this disk, {size / 1e6:,.0f} MB are needed"
        )
