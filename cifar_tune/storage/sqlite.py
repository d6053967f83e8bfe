"""SQLite connections that wait for a database that another program has locked.

SQLite's own waiting happens inside one call, during which Python hears no signal. Here it waits a
second at a time, so that Ctrl-C is heard in between.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from cifar_tune.storage import waiting


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
