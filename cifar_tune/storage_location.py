"""Where studies are stored, and whether that place will do, found out without writing to it."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cifar_tune import paths
from cifar_tune.errors import StorageError

SPACE_NEEDED = 1 << 20
"""Bytes that must be free to begin: a quick study takes about a quarter of it."""
LOCK_SECONDS = 30
"""How long a statement waits for another process to finish writing."""
_FULL = "the disk is full; free some space and run the same command again"
_OPTUNA_TABLES = {"studies", "trials", "version_info"}


@dataclass(frozen=True)
class StorageLocation:
    """A database.

    Attributes:
        url: SQLAlchemy's URL, with the password where there is one. Never print it.
        path: the file of a SQLite database; None for another kind.
    """

    url: str
    path: Path | None

    def __str__(self) -> str:
        """The place as it may be shown: a path, or a URL whose password is hidden."""
        if self.path is not None:
            return str(self.path)
        from sqlalchemy.engine import make_url

        return make_url(self.url).render_as_string(hide_password=True)

    def exists(self) -> bool:
        """Whether there may be studies: a SQLite file is there and is not empty."""
        return self.path is None or (self.path.is_file() and self.path.stat().st_size > 0)


def locate_storage(text: str | None = None) -> StorageLocation:
    """Find the database from ``--storage``, else ``$CIFAR_TUNE_STORAGE``, else the default path.

    Args:
        text: a path of a SQLite file or a URL such as ``postgresql+psycopg://user@host/name``.

    Raises:
        StorageError: it is not a URL that SQLAlchemy can read, or has no file.
    """
    text = text or os.environ.get("CIFAR_TUNE_STORAGE") or str(paths.STORAGE_FILE)
    if "://" not in text:
        return StorageLocation(f"sqlite:///{text}", Path(text))

    # Imported here: most commands name a file, and some need nothing else of SQLAlchemy.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except ArgumentError as error:
        raise StorageError("--storage: is neither a path nor a database URL") from error
    if url.get_backend_name() != "sqlite":
        return StorageLocation(text, None)
    if not url.database or url.database == ":memory:":
        raise StorageError(f"--storage {text}: expected a file: sqlite:///storage/cifar-tune.db")
    return StorageLocation(f"sqlite:///{url.database}", Path(url.database))


def check_readable(location: StorageLocation) -> None:
    """Check that what is there, if anything, is a database of Optuna's.

    Raises:
        StorageError: it is something else, or cannot be read.
    """
    path = location.path
    if path is None:
        return
    if path.is_dir():
        raise StorageError(f"{path}: is a directory; expected the path of a SQLite file")
    if not path.exists():
        return
    if not path.is_file():
        raise StorageError(f"{path}: is not a regular file; expected a SQLite file")
    with explain_errors(location):
        if not location.exists():
            return
        if _first_bytes(path) != b"SQLite format 3\0":
            raise StorageError(f"{path}: is not a SQLite file")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
    if tables and not tables >= _OPTUNA_TABLES:
        raise StorageError(
            f"{path}: is a SQLite file of another program: it has no table "
            f"{', '.join(sorted(_OPTUNA_TABLES - tables))}"
        )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error


def check_writable(location: StorageLocation) -> None:
    """Check that a study can be written there; leaves nothing behind.

    Raises:
        StorageError: the folder or file cannot be written, or the disk is full.
    """
    check_readable(location)
    path = location.path
    if path is None:
        return
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise StorageError(f"{path}: {folder} is not a directory")
    try:
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(bytes(SPACE_NEEDED))
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        raise StorageError(f"{path}: {_say(error)}") from error
    if location.exists():
        with explain_errors(location), closing(sqlite3.connect(path, LOCK_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()


@contextmanager
def explain_errors(location: StorageLocation) -> Iterator[None]:
    """Turn an error of the database into one ``StorageError`` that says what happened.

    Optuna wraps a full disk in ``AssertionError`` and a read-only file in
    ``StorageInternalError``; the cause is what the user can act on.
    """
    try:
        yield
    except Exception as error:
        cause = database_error(error)
        if cause is None:
            raise
        raise StorageError(f"{location}: {_say(cause)}") from error


def database_error(error: BaseException | None) -> BaseException | None:
    """The innermost error of a database driver or of the disk in a chain of causes, if any."""
    from sqlalchemy.exc import SQLAlchemyError

    found = None
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        original = getattr(error, "orig", None)  # SQLAlchemy's, of the driver's error
        is_disk = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS)
        if isinstance(original, BaseException):
            found = original
        elif is_disk or isinstance(error, sqlite3.Error | SQLAlchemyError):
            found = error
        error = error.__cause__ or error.__context__
    return found


def _say(error: BaseException) -> str:
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _FULL if full else f"cannot be written: {error.strerror}"
    text = str(error).strip() or type(error).__name__
    plain = {
        "disk is full": _FULL,
        "database is locked": f"another program has kept it locked for {LOCK_SECONDS} seconds",
        "readonly database": "cannot be written: the file is read-only",
        "malformed": "the SQLite file is damaged",
        "not a database": "the SQLite file is damaged",
    }
    return next((said for sign, said in plain.items() if sign in text), text.splitlines()[0])
