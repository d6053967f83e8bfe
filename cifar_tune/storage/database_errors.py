"""What errors of databases and disks mean, in words that a user can act on."""

from __future__ import annotations

import errno
import json
import sqlite3

from cifar_tune.storage import waiting

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


DAMAGE = "what is stored of a trial or a study cannot be read"


def is_damage(error: Exception) -> bool:
    """Return whether Optuna raised an error since an attribute is no JSON, or a value is none."""
    has_digits = isinstance(error, ValueError) and "integer string conversion" in str(error)
    return has_digits or isinstance(error, RecursionError | json.JSONDecodeError | AssertionError)


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


def describe(error: BaseException) -> str:
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
