"""What a database on a server needs that a file does not: it may be far, slow, or restarted.

Tables may also be made by two programs at the same moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, Table, event, inspect
from sqlalchemy.exc import DBAPIError

from cifar_tune.storage import waiting

if TYPE_CHECKING:
    from cifar_tune.storage.location import StorageLocation

CONNECT_SECONDS = 10
"""How long one try to reach a server may take."""
WAIT_SECONDS = 1.0
TRIES = 3
_LIBPQ = ("psycopg", "psycopg2")  # drivers of PostgreSQL that take its own options
_MADE_MEANWHILE = {"23505", "42P07", "42710"}  # PostgreSQL: unique violation, table, type exists
_NO_TABLE = "42P01"

Result = TypeVar("Result")


def server_settings(location: StorageLocation) -> dict[str, Any]:
    """Return SQLAlchemy's settings of an engine for a server."""
    url = location.parsed
    # A connection that a restarted server has cut is noticed before it is used, and made anew.
    settings: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_driver_name() in _LIBPQ and "connect_timeout" not in url.query:
        settings["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
    return settings


def missing_driver(location: StorageLocation) -> str:
    """Return what to do about a driver that is not installed, in words."""
    if location.parsed.drivername == "postgresql+psycopg":
        return "its database driver is not installed: pip install 'cifar-tune[postgresql]'"
    return "its database driver is not installed"


def wait_for_server(engine: Engine) -> None:
    """Let an engine that has reached its server wait for it when it is gone for a moment.

    Only what begins while the server is gone waits; what it was cut off from fails. A server that
    is not back after ``LOCK_SECONDS`` is not waited for again.
    """
    patience = [float(waiting.LOCK_SECONDS)]

    def connect(dialect: Any, _record: object, arguments: Any, options: Any) -> Any:
        deadline = time.monotonic() + patience[0]
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() >= deadline:
                    patience[0] = 0.0
                    raise
            waiting.check_stop()
            time.sleep(WAIT_SECONDS)

    event.listen(engine, "do_connect", connect)


def make_tables(make: Callable[[], Result]) -> Result:
    """Call what looks for tables and makes those that are not there, again if it lost a race."""
    for _ in range(TRIES - 1):
        try:
            return make()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _MADE_MEANWHILE:
                raise
    return make()


def make_table(engine: Engine, table: Table) -> None:
    """Make a table where it is not there yet; another process may do so at the same moment."""
    try:
        table.create(engine, checkfirst=True)
    except DBAPIError:
        if not inspect(engine).has_table(table.name):
            raise


def is_missing_table(error: BaseException) -> bool:
    """Return whether what Optuna raised means that its tables are not there."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and getattr(cause.orig, "sqlstate", None) == _NO_TABLE
