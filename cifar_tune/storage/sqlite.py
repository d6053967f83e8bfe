"""SQLite connections that wait for a database that another program has locked.

SQLite's own waiting happens inside one call, during which Python hears no signal. Here it waits a
second at a time, so that Ctrl-C is heard in between.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

ONE_WAIT_SECONDS = 1.0
"""Give it to ``sqlite3.connect`` as ``timeout``."""


def patient_connection(
    seconds: float, is_interrupted: Callable[[], bool]
) -> type[sqlite3.Connection]:
    """A kind of connection whose statements wait so long for a lock, for ``factory``.

    Args:
        is_interrupted: asked between waits; True raises KeyboardInterrupt.
    """

    class Cursor(sqlite3.Cursor):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
            deadline = time.monotonic() + seconds
            while True:
                try:
                    return super().execute(*arguments)
                except sqlite3.OperationalError as error:
                    # A statement that met a lock has done nothing, and may be tried again.
                    is_locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                    if not is_locked or time.monotonic() >= deadline:
                        raise
                    if is_interrupted():
                        raise KeyboardInterrupt from error

    class Connection(sqlite3.Connection):
        def cursor(self, *_: object) -> Cursor:  # type: ignore[override]  # its own kind only
            return super().cursor(Cursor)

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            return self.cursor().execute(*arguments)

    return Connection
