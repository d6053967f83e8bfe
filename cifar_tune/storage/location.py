"""Where studies are stored, whether that place will do, and what its errors mean."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cifar_tune import paths
from cifar_tune.errors import StorageError
from cifar_tune.storage.database_errors import DAMAGE, database_error, describe, is_damage
from cifar_tune.storage.passwords import hide_words, is_secret, mask_passwords
from cifar_tune.storage.sqlite import CONNECT_ARGUMENTS
from cifar_tune.wording import printable

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SPACE_NEEDED = 1 << 20
"""Bytes that must be free to begin: a quick study takes about a quarter of it."""
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
        address: SQLAlchemy's URL of a database on a server, with the password where there is one;
            None for a file. Never print it.
        path: The file of a SQLite database; None for another kind.
    """

    address: str | None = field(repr=False)
    path: Path | None

    @property
    def url(self) -> str:
        """SQLAlchemy's URL, in which each character of a file's name stands for itself."""
        if self.path is None:
            return str(self.address)

        from sqlalchemy.engine import URL

        # In full, so that no name is one of SQLite's own, such as :memory:.
        database = self.path.absolute()
        return URL.create("sqlite", database=str(database)).render_as_string(hide_password=False)

    @property
    def argument(self) -> str:
        """What ``--storage`` takes for a file; its name alone may be taken for something else."""
        text = str(self.path)
        return f"./{text}" if _is_address(text) or text.startswith("~") else text

    def __str__(self) -> str:
        """Return the place as it may be shown: a path, or a URL whose password is hidden."""
        if self.path is not None:
            return printable(self.path)
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
    if not _is_address(text):
        return _locate_file(text)
    if "://" not in text:
        raise StorageError(f"--storage: is an address but not a URL; {_EXPECTED}")

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
    if not url.database or url.database == ":memory:" or url.host or "?" in text:
        raise StorageError(
            f"--storage {mask_passwords(text)}: expected a file and no more, as in "
            "sqlite:///storage/cifar-tune.db; a ? in its name is written %3F"
        )
    return _locate_file(url.database)


def _is_address(text: str) -> bool:
    """Return whether a text is no path, but a URL or what else has the address of a server.

    What begins as paths do is one, and so is what ends as files of databases do.
    """
    if re.match(r"[./~]", text):
        return False
    if "://" in text:
        return True
    is_file = Path(text).suffix in (".db", ".db3", ".sqlite", ".sqlite3")
    return not is_file and re.search(r":[^/\\]*@|\bpassword=", text) is not None


def _locate_file(text: str) -> StorageLocation:
    """Return the file of a path, of which ``~`` at the beginning is the home folder.

    Raises:
        StorageError: No file can be called so.
    """
    path = Path(text)
    fault = None
    try:
        path = path.expanduser() if text.startswith("~") else path
    except RuntimeError:  # where no user is called so, it is a file's name
        fault = "this user has no home folder" if path.parts[0] == "~" else None
    if len(os.fsencode(path.name)) > paths.LONGEST_DATABASE:
        fault = f"expected a file name of up to {paths.LONGEST_DATABASE} bytes"
    if re.search(r"[\0\ud800-\udfff]", text):  # Python's stand-ins for bytes that are no text
        fault = "expected a path in UTF-8 without NUL"
    if fault is not None:
        raise StorageError(f"--storage {printable(text)}: {fault}")
    return StorageLocation(None, path)


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
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:  # such as a name that is too long, or links in a circle
        raise StorageError(f"{location}: cannot be opened: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise StorageError(f"{location}: is a directory; expected the path of a SQLite file")
    if not stat.S_ISREG(mode):
        raise StorageError(f"{location}: is not a regular file; expected a SQLite file")
    with explain_errors(location):
        if not location.exists():
            return
        tables = read_tables(path)
    if tables is None:
        raise StorageError(f"{location}: is not a SQLite file, or a damaged one")
    # Optuna makes them one by one: with some of them a run was ended meanwhile, and the next makes
    # the others.
    if not tables >= _NEEDED_TABLES and not tables <= _OPTUNA_TABLES:
        raise StorageError(
            f"{location}: is a SQLite file of another program: it has no table "
            f"{', '.join(sorted(_NEEDED_TABLES - tables))}"
        )


def read_tables(path: Path) -> set[str] | None:
    """Return the names of the tables, or None for a file that is no database.

    Only SQLite itself opens the file: a file that this process closes takes along the locks of all
    its connections, and another program that then closes the database would remove the log that
    they still write to.
    """
    if not os.access(path, os.R_OK):
        raise StorageError(f"{printable(path)}: cannot be read: permission denied")
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
    folder = location.beside.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise StorageError(f"{location}: {folder} is not a directory")
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(SPACE_NEEDED))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise StorageError(f"{location}: {describe(error)}") from error
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
        if cause is None and is_damage(error):
            raise StorageError(f"{location}: is damaged: {DAMAGE}") from error
        if cause is None:
            raise
        # On a read-only disk SQLite cannot make its log, and says no more than this.
        if "unable to open database file" in str(cause) and _is_on_read_only_disk(location.path):
            raise StorageError(f"{location}: cannot be opened: the disk is read-only") from error
        raise StorageError(f"{location}: {location.hide_passwords(describe(cause))}") from error


def _is_on_read_only_disk(path: Path | None) -> bool:
    if path is None or not path.exists() or not hasattr(os, "statvfs"):
        return False
    return bool(os.statvfs(path.absolute().parent).f_flag & os.ST_RDONLY)
