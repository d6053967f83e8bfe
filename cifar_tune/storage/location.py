"""Where studies are stored, and whether that place will do, found out without writing to it."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_tune import paths
from cifar_tune.errors import StorageError
from cifar_tune.storage.passwords import hide_words, is_secret, mask_passwords
from cifar_tune.storage.sqlite import ONE_WAIT_SECONDS, patient_connection

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SPACE_NEEDED = 1 << 20
"""Bytes that must be free to begin: a quick study takes about a quarter of it."""
LOCK_SECONDS = 60
"""How long a statement waits for another process to finish writing."""
_FULL = "the disk is full; free some space and run the same command again"
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
_SERVER_LOST = (
    "server closed the connection",
    "terminating connection",
    "connection is lost",
    "connection is closed",
    "SSL connection has been closed",
)


@dataclass(frozen=True)
class StorageLocation:
    """A database.

    Attributes:
        url: SQLAlchemy's URL, with the password where there is one. Never print it.
        path: the file of a SQLite database; None for another kind.
    """

    url: str = field(repr=False)
    path: Path | None

    def __str__(self) -> str:
        """The place as it may be shown: a path, or a URL whose password is hidden."""
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
        """The SQLite file, or what stands for another kind of database: the files of its trials
        are named after it and are beside it."""
        if self.path is not None:
            return self.path
        return paths.server_file(self.parsed.get_backend_name(), self.parsed.database or "")

    def exists(self) -> bool:
        """Whether there may be studies: a SQLite file is there and is not empty."""
        return self.path is None or (self.path.is_file() and self.path.stat().st_size > 0)

    def hide_passwords(self, text: str) -> str:
        """A text of others, such as a driver's message, without this database's passwords."""
        if self.path is not None:
            return text
        url = self.parsed
        secrets = [str(value) for key, value in url.query.items() if is_secret(key)]
        return mask_passwords(hide_words(text, [*secrets, str(url.password or "")]))


def locate_storage(text: str | None = None) -> StorageLocation:
    """Find the database from ``--storage``, else ``$CIFAR_TUNE_STORAGE``, else the default path.

    Args:
        text: a path of a SQLite file or a URL such as ``postgresql+psycopg://user@host/name``.

    Raises:
        StorageError: it is not a URL that SQLAlchemy can read, or has no file.
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


def _connect(path: Path, mode: str, is_interrupted: Callable[[], bool]) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        ONE_WAIT_SECONDS,
        factory=patient_connection(LOCK_SECONDS, is_interrupted),
        uri=True,
    )


def check_readable(
    location: StorageLocation, is_interrupted: Callable[[], bool] = lambda: False
) -> None:
    """Check that what is there, if anything, is a database of Optuna's.

    Args:
        is_interrupted: whether to wait no longer for a database that is locked.

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
        tables = _read_tables(path, is_interrupted)
    if tables is None:
        raise StorageError(f"{path}: is not a SQLite file, or a damaged one")
    # Optuna makes them one by one: with some of them a run was ended meanwhile, and the next makes
    # the others.
    if not tables >= _NEEDED_TABLES and not tables <= _OPTUNA_TABLES:
        raise StorageError(
            f"{path}: is a SQLite file of another program: it has no table "
            f"{', '.join(sorted(_NEEDED_TABLES - tables))}"
        )


def _read_tables(path: Path, is_interrupted: Callable[[], bool]) -> set[str] | None:
    """Names of the tables; None of a file that is no database.

    Only SQLite itself opens the file: a file that this process closes takes along the locks of all
    its connections, and another program that then closes the database would remove the log that
    they still write to.
    """
    if not os.access(path, os.R_OK):
        raise StorageError(f"{path}: cannot be read: permission denied")
    try:
        with closing(_connect(path, "ro", is_interrupted)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {name for (name,) in rows}
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        return None


def check_writable(
    location: StorageLocation, is_interrupted: Callable[[], bool] = lambda: False
) -> None:
    """Check that a study can be written there; leaves nothing behind.

    Args:
        is_interrupted: as for ``check_readable``.

    Raises:
        StorageError: the folder or file cannot be written, or the disk is full.
    """
    check_readable(location, is_interrupted)
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
        with explain_errors(location), closing(_connect(path, "rw", is_interrupted)) as database:
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
        said = location.hide_passwords(_say(cause))
        raise StorageError(f"{location}: {said}") from error


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
        elif is_disk or isinstance(error, sqlite3.Error):
            found = error
        elif isinstance(error, SQLAlchemyError):  # its own, which says less than a driver's
            found = found or error
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
    if any(sign in text for sign in _SERVER_LOST):
        return "the server closed the connection; run the same command again when it is back"
    if "permission denied" in text:
        return f"{text.splitlines()[0]}; the role must be allowed to make, read and write tables"
    return next((said for sign, said in plain.items() if sign in text), text.splitlines()[0])
