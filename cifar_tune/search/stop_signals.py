"""Ctrl-C and SIGTERM while a study runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


class StopSignals:
    """Hears Ctrl-C and SIGTERM: the first asks the run to stop, the second ends it at once.

    Until there are workers that have something to save, the first ends it at once too. Signals can
    be set in the main thread only; elsewhere nothing is heard. ``also_stop`` is asked besides.
    """

    def __init__(self, also_stop: Callable[[], bool]) -> None:
        self._also_stop = also_stop
        self._was_heard = threading.Event()
        self._has_workers = False
        self._before: dict[signal.Signals, Any] = {}

    def should_stop(self) -> bool:
        """Return whether the run was asked to stop."""
        return self._was_heard.is_set() or self._also_stop()

    def begin_work(self) -> None:
        """Take note that there are workers from here on."""
        self._has_workers = True

    @contextmanager
    def end_work(self) -> Iterator[None]:
        """Take note that there are none any more: the first signal ends what is done within."""
        self._has_workers = False
        with suppress(KeyboardInterrupt):
            yield

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        is_first = not self._was_heard.is_set()
        self._was_heard.set()
        before = self._before[signal.Signals(number)]
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)  # whoever called this run is to hear it too
        if not is_first or not self._has_workers:
            raise KeyboardInterrupt
