"""How long a run waits for its database, and what ends such a wait early.

A database may be locked by another program, its server may be away, its lease may be another
process's. A run that waits for one of these must still hear that it is to stop. It says once, with
``waits_end_when``, how that is found out; whatever waits in this thread asks with ``check_stop``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOCK_SECONDS = 60
"""How long a statement waits for another process to finish writing, or for a server to be back."""

_should_stop: ContextVar[Callable[[], bool]] = ContextVar("should_stop", default=lambda: False)


@contextmanager
def waits_end_when(should_stop: Callable[[], bool]) -> Iterator[None]:
    """Let waits of this thread for a database end as soon as ``should_stop`` returns True."""
    before = _should_stop.set(should_stop)
    try:
        yield
    finally:
        _should_stop.reset(before)


def check_stop() -> None:
    """Raise KeyboardInterrupt if the run that waits is to stop."""
    if _should_stop.get()():
        raise KeyboardInterrupt
