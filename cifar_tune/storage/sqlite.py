"""SQLite connections that wait for a database that another program has locked.

SQLite's own waiting happens inside one call, during which Python hears no signal. Here it waits a
second at a time, so that Ctrl-C is heard in between.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_tune.errors import StorageError
from cifar_tune.storage import waiting
from cifar_tune.wording import printable

if TYPE_CHECKING:
    from sqlalchemy import Engine


class _PatientCursor(sqlite3.Cursor):
    def execute(self, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
        deadline = time.monotonic() + waiting.LOCK_SECONDS
        while True:
            try:
                return super().execute(*arguments)
            except sqlite3.OperationalError as error:
                # A statement that met a lock has done nothing, and may be tried again.
                is_locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_locked or time.monotonic() >= deadline:
                    raise
            waiting.check_stop()


class PatientConnection(sqlite3.Connection):
    """A connection whose statements wait up to ``LOCK_SECONDS`` for a lock."""

    def cursor(self, *_: object) -> sqlite3.Cursor:  # type: ignore[override]  # its own kind only
        """Return a cursor that waits."""
        return super().cursor(_PatientCursor)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Execute a statement with a new cursor."""
        return self.cursor().execute(*arguments)


CONNECT_ARGUMENTS: dict[str, Any] = {"timeout": 1.0, "factory": PatientConnection}
"""Arguments of ``sqlite3.connect``; SQLite itself waits for a second."""


def use_write_ahead_log(connection: sqlite3.Connection, _record: object) -> None:
    """Let others read while this connection writes; a listener of SQLAlchemy's ``connect``."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def expect_same_file(engine: Engine, path: Path) -> None:
    """Let an engine fail once its path is no longer the file that was opened.

    SQLite itself goes on writing to a file that is removed, or another one has taken the place of.
    """
    from sqlalchemy import event

    opened = _identify(path)

    def check(*_: object) -> None:
        if _identify(path) != opened:
            raise StorageError(
                f"{printable(path)}: was removed or replaced by another program while it was "
                "written to; what is written from then on would be lost. Checkpoints of trials are "
                "kept"
            )

    event.listen(engine, "do_connect", check)  # it would make a new file
    event.listen(engine, "commit", check)


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
