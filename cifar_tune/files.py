"""Reads files that may be anything, and writes one so that a reader sees all of it or nothing."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from cifar_tune.errors import CifarTuneError

MOST_BYTES = 4 << 30
"""No file that is read whole is larger."""
MOST_BYTES_OF_TEXT = 8 << 20
"""No text that a person writes is longer."""
MOST_NESTING = 100
"""Lists and tables that may stand in one another."""


# --- reading --------------------------------------------------------------------------------------


def open_regular(
    path: Path, most_bytes: int = MOST_BYTES, *, follows_links: bool = True
) -> io.BufferedReader:
    """Open a regular file to read it, and nothing else: a pipe or a device may have no end.

    Raises:
        OSError: It cannot be opened, is no regular file, has more bytes, or is a symbolic link
            that is not to be followed; ``strerror`` says which.
    """
    # A pipe that nobody writes to would keep an opening for reading waiting.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not follows_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except ValueError as error:  # its name has a NUL
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from error
    except IsADirectoryError as error:
        raise OSError(errno.EISDIR, "is a folder, expected a file", str(path)) from error
    status = os.fstat(file.fileno())
    fault = None
    if not stat.S_ISREG(status.st_mode):
        fault = OSError(errno.EINVAL, "is a pipe or a device, expected a regular file", str(path))
    elif status.st_size > most_bytes:
        sizes = f"has {status.st_size:,} bytes, expected at most {most_bytes:,}"
        fault = OSError(errno.EFBIG, sizes, str(path))
    if fault is not None:
        file.close()
        raise fault
    return file


def is_real_folder(path: Path) -> bool:
    """Return whether a path is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def check_real_folder(path: Path, error_type: type[CifarTuneError]) -> None:
    """Check that a path is a folder, or that nothing is there.

    Raises:
        error_type: It is a link, which may lead anywhere, or a file.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        kind = "symbolic link" if path.is_symlink() else "file"
        raise error_type(f"{path}: is a {kind}, expected a folder or nothing")


def check_regular(path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Check a file that a library is going to open by its name, as ``open_regular`` does."""
    open_regular(path, most_bytes).close()


def read_text(path: Path, most_bytes: int = MOST_BYTES_OF_TEXT) -> str:
    """Return the text of a regular file in UTF-8, without the mark that some editors put first.

    Raises:
        OSError: As of ``open_regular``.
        UnicodeDecodeError: It is not UTF-8.
    """
    with open_regular(path, most_bytes) as file:
        return file.read(most_bytes).decode("utf-8-sig").replace("\r\n", "\n")


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: It is no JSON, or as of ``check_plain``.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"has more than {MOST_NESTING} lists or tables in one another") from error
    check_plain(value)
    return value


def check_plain(value: object) -> None:
    """Check that what a text in JSON or TOML says can be worked with, stored and printed.

    Raises:
        ValueError: Lists or tables stand too deep in one another, a whole number has more than 64
            bits, or a text has half of a character.
    """
    parts = [(value, 0)]
    while parts:
        part, depth = parts.pop()
        if isinstance(part, dict | list):
            if depth == MOST_NESTING:
                raise ValueError(f"has more than {MOST_NESTING} lists or tables in one another")
            inner = [*part, *part.values()] if isinstance(part, dict) else part
            parts += ((one, depth + 1) for one in inner)
        elif isinstance(part, int) and not -(2**63) <= part < 2**63:
            raise ValueError(f"has a whole number of {part.bit_length()} bits, expected up to 64")
        elif isinstance(part, str):
            part.encode()  # UnicodeEncodeError is a ValueError


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a regular file, as hexadecimal.

    Raises:
        OSError: As of ``open_regular``.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def replacing(
    path: Path, size: int, error_type: type[CifarTuneError], *, over_existing: bool = True
) -> Iterator[Path]:
    """Yield a path to write to, beside ``path``, and rename it to that once it is on the disk.

    Of two processes that do this at once, each writes a file of its own and the later one's stays.

    Raises:
        error_type: The file, of ``size`` bytes, cannot be written, or another one is there
            although it is not to be replaced.
    """
    if not path.name or "\0" in str(path):
        raise error_type(f"{str(path)!r}: expected the path of a file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with explain_disk(path, error_type):
            path.parent.mkdir(parents=True, exist_ok=True)
            check_disk_space(path.parent, size, error_type)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            if over_existing:
                temporary.replace(path)
            else:
                _name_new(temporary, path)
            flush_folder(path.parent)
    finally:
        with suppress(OSError):  # e.g. a file where a folder should be; said above
            temporary.unlink(missing_ok=True)


def _name_new(temporary: Path, path: Path) -> None:
    """Give a file another name, unlike ``Path.replace`` only where there is none of that name."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links
        if os.path.lexists(path):
            raise
        temporary.replace(path)


def write_text(text: str, path: Path, error_type: type[CifarTuneError]) -> int:
    """Write a file, which appears whole or not at all, and return how many bytes it has.

    Raises:
        CifarTuneError: It cannot be written; of the type ``error_type``.
    """
    content = text.encode()
    with replacing(path, len(content), error_type) as temporary:
        temporary.write_bytes(content)
    return len(content)


@contextmanager
def explain_disk(
    path: Path, error_type: type[CifarTuneError], what: str = "written"
) -> Iterator[None]:
    """Turn an error of the disk into one that says that ``path`` cannot be written, and why."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors' own has no error number
        full = getattr(error, "errno", None) == errno.ENOSPC
        reason = "the disk is full" if full else getattr(error, "strerror", "") or str(error)
        raise error_type(f"{path}: cannot be {what}: {reason}") from error


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
