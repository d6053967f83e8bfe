"""A process of its own for each thing that is timed, so that none profits from another's memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from cifar_tune.errors import DeviceError

_in_this_process: Any = None
"""What ``BenchProcess`` made here, where this is its process."""


class BenchProcess:
    """A process that begins at once and makes an object, whose methods are called there.

    ``name`` is what it does, for error messages.
    """

    def __init__(self, name: str, make: Callable[..., object], *arguments: object) -> None:
        self._name = name
        # Its process is no daemon: a loader with workers has processes of its own.
        self._executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self._last: Future[Any] = self._executor.submit(_make, name, make, arguments)

    def begin(self, method: str) -> None:
        """Begin a call; ``end`` waits for it."""
        self.end()
        with self._explain_end():
            self._last = self._executor.submit(_call, self._name, method)

    def end(self) -> Any:
        """Return what the last call gave.

        Raises:
            DeviceError: The process failed or ended.
        """
        with self._explain_end():
            return self._last.result()

    @contextmanager
    def _explain_end(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool:
            raise DeviceError(f"bench: {self._name} ended (out of memory?)") from None

    def call(self, method: str) -> Any:
        """Call a method and return what it gave; errors are those of ``end``."""
        self.begin(method)
        return self.end()

    def close(self) -> None:
        """End the process."""
        self._executor.shutdown()


# --- in the process -------------------------------------------------------------------------------


def _make(name: str, make: Callable[..., object], arguments: tuple[object, ...]) -> None:
    global _in_this_process  # noqa: PLW0603  an executor keeps nothing between two calls
    _in_this_process = _explain(name, make, *arguments)


def _call(name: str, method: str) -> Any:
    return _explain(name, getattr(_in_this_process, method))


def _explain(name: str, function: Callable[..., object], *arguments: object) -> object:
    try:
        return function(*arguments)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise DeviceError(f"bench: {name}: {type(error).__name__}: {reason}") from None
