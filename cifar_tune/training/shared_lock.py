"""A lock that many threads hold together, or one of them alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """Who waits to hold it alone comes first: nobody else takes hold of it before."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders = 0
        self._waiting = 0  # to hold it alone, the one that does included

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it together with others."""
        self._take()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Of one that shares it: let go of it for a while."""
        self._leave()
        try:
            yield
        finally:
            self._take()

    def give_way(self) -> None:
        """Of one that shares it: let those go first who wait to hold it alone."""
        if self._waiting:
            with self.released():
                pass

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it with nobody else; one that shares it must have let go."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._holders)
                yield
            finally:
                self._waiting -= 1
                self._changed.notify_all()

    def _take(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            self._holders += 1

    def _leave(self) -> None:
        with self._changed:
            self._holders -= 1
            self._changed.notify_all()
