"""Computes summaries in a process of low priority, so that the runner and its workers go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from cifar_tune.dashboard.notes.summary import Summary, SummaryRequest, try_summary
from cifar_tune.workers.local.fork_server import deaf_to

NICENESS = 10
"""Beside workers that use all cores, it has a tenth of one: a summary takes half a minute."""
PAUSE_FACTOR = 20
"""A summary is begun when this many times the processor's time of the last one has gone by since
its end: all of them take a twentieth of one core."""
_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang


class Background:
    """At most one process at a time, which lives for one summary."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._started = 0.0
        self._next_start = 0.0

    def is_free(self) -> bool:
        """Return whether the next summary may be begun."""
        return self._process is None and time.monotonic() >= self._next_start

    def start(self, request: SummaryRequest) -> None:
        """Begin a summary; one that was begun before is given up."""
        self.close()
        self._started = time.monotonic()
        self._pipe, child_pipe = _SPAWN.Pipe()
        # The request goes through a pipe, so that no password is on a command line.
        self._process = _SPAWN.Process(
            target=_main, args=(child_pipe, request), name="cifar-tune summary", daemon=True
        )
        with deaf_to("SIGINT"):
            self._process.start()
        child_pipe.close()

    def take(self, timeout: float) -> Summary | str | None:
        """Return the summary that was begun, or in words why there is none; None if not done.

        Args:
            timeout: Wait for it for this many seconds.
        """
        if self._pipe is None or not self._pipe.poll(timeout):
            return None
        answer: Summary | str
        try:
            answer, processor_seconds = self._pipe.recv()
        except (EOFError, OSError):
            answer = "its process ended without a word"
            processor_seconds = time.monotonic() - self._started
        self.close()
        self._next_start = time.monotonic() + PAUSE_FACTOR * processor_seconds
        return answer

    def close(self) -> None:
        """Give up what was begun."""
        if self._process is not None and self._pipe is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = self._pipe = None


def _main(pipe: Connection, request: SummaryRequest) -> None:
    """Compute one summary: the life of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):  # Windows has none
        os.nice(NICENESS)
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(silence, stream.fileno())
    pipe.send((try_summary(request), time.process_time()))
