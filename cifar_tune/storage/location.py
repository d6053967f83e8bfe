"""Where studies are stored, whether that place will do, and what its errors mean."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cifar_tune import paths
from cifar_tune.errors import StorageError
from cifar_tune.storage import waiting
from cifar_tune.storage.passwords import hide_words, is_secret, mask_passwords
from cifar_tune.storage.sqlite import CONNECT_ARGUMENTS

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SPACE_NEEDED = 1 << 20
"""Bytes that must be free to begin: a quick study takes about a quarter of it."""
_FULL = "the disk is full; free some space and run the same command again"
_SERVER_LOST = "the server closed the connection; run the same command again when it is back"
_PLAIN = {
    "server closed the connection": _SERVER_LOST,
    "terminating connection": _SERVER_LOST,
    "connection is lost": _SERVER_LOST,
    "connection is closed": _SERVER_LOST,
    "SSL connection has been closed": _SERVER_LOST,
    "disk is full": _FULL,
    "readonly database": "cannot be written: the file is read-only",
    "malformed": "the SQLite file is damaged",
    "not a database": "the SQLite file is damaged",
}
"""What messages of databases mean, by a part of each."""
_NEEDED_TABLES = {"studies", "trials", "version_info"}
_OPTUNA_TABLES = _NEEDED_TABLES | {
    "alembic_version",
    "study_directions",
    "study_system_attributes",
    "study_user_attributes",
    "trial_heartbeats",
    "trial_intermediate_values",
    "trial_params",
    "trial_system_attributes",
    "trial_user_attributes",
    "trial_values",
}
_EXPECTED = "expected a path or a URL such as postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"


@dataclass(frozen=True)
class StorageLocation:
    """A database.

    Attributes:
        url: SQLAlchemy's URL, with the password where there is one. Never print it.
        path: The file of a SQLite database; None for another kind.
    """

    url: str = field(repr=False)
    path: Path | None

    def __str__(self) -> str:
        """Return the place as it may be shown: a path, or a URL whose password is hidden."""
        if self.path is not None:
            return str(self.path)
        return mask_passwords(self.parsed.render_as_string(hide_password=True))

    @property
    def parsed(self) -> URL:
        """The parts of the URL."""
        from sqlalchemy.engine import make_url

        return make_url(self.url)

    @property
    def beside(self) -> Path:
        """The SQLite file, or what stands for another kind of database.

        The files of its trials are named after it and are beside it; those of a link after what it
        points to.
        """
        if self.path is not None:
            return self.path.resolve() if self.path.is_symlink() else self.path
        return paths.server_file(self.parsed.get_backend_name(), self.parsed.database or "")

    @property
    def is_named_in_full(self) -> bool:
        """Whether ``beside`` tells this database from all others of its server."""
        if self.path is not None:
            return True
        return self.beside.stem == f"{self.parsed.get_backend_name()}-{self.parsed.database}"

    def exists(self) -> bool:
        """Return whether there may be studies: a SQLite file is there and is not empty."""
        return self.path is None or (self.path.is_file() and self.path.stat().st_size > 0)

    def hide_passwords(self, text: str) -> str:
        """Return a text, such as a driver's message, without this database's passwords."""
        if self.path is not None:
            return text
        url = self.parsed
        secrets = [str(value) for key, value in url.query.items() if is_secret(key)]
        return mask_passwords(hide_words(text, [*secrets, str(url.password or "")]))


def locate_storage(text: str | None = None) -> StorageLocation:
    """Find the database from ``--storage``, else ``$CIFAR_TUNE_STORAGE``, else the default path.

    Args:
        text: A path of a SQLite file, or a URL such as ``postgresql+psycopg://user@host/name``.

    Raises:
        StorageError: It is not a URL that SQLAlchemy can read, or has no file.
    """
    text = text or os.environ.get("CIFAR_TUNE_STORAGE") or str(paths.STORAGE_FILE)
    if "://" not in text:
        if re.search(r":[^/\\]*@|\bpassword=", text):
            raise StorageError(f"--storage: is an address but not a URL; {_EXPECTED}")
        return StorageLocation(f"sqlite:///{text}", Path(text))

    # Imported here: most commands name a file, and some need nothing else of SQLAlchemy.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        # Neither error is shown: what could not be read may be a password.
        raise StorageError(f"--storage: neither a path nor a database URL; {_EXPECTED}") from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        if "@" in f"{url.host}{url.database}":  # a part of the password, which errors would name
            raise StorageError("--storage: has a second @; in a password it is written %40")
        return StorageLocation(url.render_as_string(hide_password=False), None)
    if not url.database or url.database == ":memory:":
        shown = mask_passwords(text)
        raise StorageError(f"--storage {shown}: expected a file: sqlite:///storage/cifar-tune.db")
    return StorageLocation(f"sqlite:///{url.database}", Path(url.database))


def connect_to_file(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Return a connection to a SQLite file, to read it or to write it too."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection: sqlite3.Connection = sqlite3.connect(uri, uri=True, **CONNECT_ARGUMENTS)
    return connection


def check_readable(location: StorageLocation) -> None:
    """Check that what is there, if anything, is a database of Optuna's.

    Raises:
        StorageError: It is something else, or cannot be read.
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
        tables = read_tables(path)
    if tables is None:
        raise StorageError(f"{path}: is not a SQLite file, or a damaged one")
    # Optuna makes them one by one: with some of them a run was ended meanwhile, and the next makes
    # the others.
    if not tables >= _NEEDED_TABLES and not tables <= _OPTUNA_TABLES:
        raise StorageError(
            f"{path}: is a SQLite file of another program: it has no table "
            f"{', '.join(sorted(_NEEDED_TABLES - tables))}"
        )


def read_tables(path: Path) -> set[str] | None:
    """Return the names of the tables, or None for a file that is no database.

    Only SQLite itself opens the file: a file that this process closes takes along the locks of all
    its connections, and another program that then closes the database would remove the log that
    they still write to.
    """
    if not os.access(path, os.R_OK):
        raise StorageError(f"{path}: cannot be read: permission denied")
    try:
        with closing(connect_to_file(path, "ro")) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {name for (name,) in rows}
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        return None


def check_writable(location: StorageLocation) -> None:
    """Check that a study can be written there; leave nothing behind.

    Raises:
        StorageError: The folder or file cannot be written, or the disk is full.
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
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(SPACE_NEEDED))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise StorageError(f"{path}: {_describe(error)}") from error
    if location.exists():
        with explain_errors(location), closing(connect_to_file(path, "rw")) as database:
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
        # On a read-only disk SQLite cannot make its log, and says no more than this.
        if "unable to open database file" in str(cause) and _is_on_read_only_disk(location.path):
            raise StorageError(f"{location}: cannot be opened: the disk is read-only") from error
        raise StorageError(f"{location}: {location.hide_passwords(_describe(cause))}") from error


def _is_on_read_only_disk(path: Path | None) -> bool:
    if path is None or not path.exists() or not hasattr(os, "statvfs"):
        return False
    return bool(os.statvfs(path.absolute().parent).f_flag & os.ST_RDONLY)


def database_error(error: BaseException | None) -> BaseException | None:
    """Return the innermost error of a driver or of the disk in a chain of causes, if any."""
    from sqlalchemy.exc import SQLAlchemyError

    innermost: BaseException | None = None
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        original = getattr(error, "orig", None)  # SQLAlchemy's, of the driver's error
        is_disk = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS)
        if isinstance(original, BaseException):
            innermost = original
        elif is_disk or isinstance(error, sqlite3.Error):
            innermost = error
        elif isinstance(error, SQLAlchemyError):  # its own, which says less than a driver's
            innermost = innermost or error
        error = error.__cause__ or error.__context__
    return innermost


def _describe(error: BaseException) -> str:
    """Return what happened, and what to do about it, in one line."""
    if isinstance(error, OSError):
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _FULL if is_full else f"cannot be written: {error.strerror}"
    message = str(error).strip() or type(error).__name__
    first_line = message.splitlines()[0]
    if "permission denied" in message:
        return f"{first_line}; the role must be allowed to make, read and write tables"
    if "database is locked" in message:
        return f"another program has kept it locked for {waiting.LOCK_SECONDS} seconds"
    return next((text for sign, text in _PLAIN.items() if sign in message), first_line)
