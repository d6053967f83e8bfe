"""Ctrl-C, SIGTERM and SIGHUP, a closed terminal, while a study runs or a server serves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any


@contextmanager
def hear_stop_signals(
    hear: Callable[[int, FrameType | None], None],
) -> Iterator[dict[signal.Signals, Any]]:
    """Call ``hear`` for each signal that is to stop this process; yield the handlers before.

    SIGHUP is left alone where it is ignored: that is how ``nohup`` outlives its terminal.
    """
    before: dict[signal.Signals, Any] = {}
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        before[number] = signal.signal(number, hear)
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopSignals:
    """Hears the signals: the first asks the run to stop, the second ends it at once.

    Until there are workers that have something to save, the first ends it at once too. Signals can
    be set in the main thread only; elsewhere nothing is heard. ``also_stop`` is asked besides.
    """

    def __init__(self, also_stop: Callable[[], bool]) -> None:
        self._also_stop = also_stop
        self._was_heard = threading.Event()
        self._has_workers = False
        self._before: dict[signal.Signals, Any] = {}
        self._hearing = ExitStack()

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
            self._before = self._hearing.enter_context(hear_stop_signals(self._hear))
        return self

    def __exit__(self, *_: object) -> None:
        self._hearing.close()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        is_first = not self._was_heard.is_set()
        self._was_heard.set()
        before = self._before[signal.Signals(number)]
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)  # whoever called this run is to hear it too
        if not is_first or not self._has_workers:
            raise KeyboardInterrupt
