"""A process of its own for each thing that is timed, so that none profits from another's memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from cifar_tune.errors import DeviceError

_SPAWN = multiprocessing.get_context("spawn")


class BenchProcess:
    """A process that begins at once and answers through a pipe, its target's first argument.

    Args:
        name: What it does, for error messages.
        target: The function that it runs.
        *arguments: What else the function is given.
    """

    def __init__(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        self._name = name
        self._line, theirs = _SPAWN.Pipe()
        # No daemon: a loader with workers has processes of its own.
        self._process = _SPAWN.Process(
            target=target, args=(theirs, *arguments), name=f"bench {name}"
        )
        self._process.start()
        theirs.close()

    def send(self, message: str) -> None:
        """Tell the process what to do."""
        self._line.send(message)

    def receive(self) -> Any:
        """Wait for an answer and return it.

        Raises:
            DeviceError: The process failed or ended.
        """
        try:
            answer = self._line.recv()
        except EOFError:
            raise DeviceError(f"bench: {self._name} ended (out of memory?)") from None
        if isinstance(answer, DeviceError):
            raise answer
        return answer

    def close(self, patience: float = 10.0) -> None:
        """End the process, at once or after so many seconds."""
        self._line.close()
        self._process.join(patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
