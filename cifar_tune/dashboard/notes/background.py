"""Computes summaries in a process of low priority, so that the runner and its workers go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from cifar_tune.config.study_file import StudySpec
from cifar_tune.search.plan import Plan, Work
from cifar_tune.storage.location import StorageLocation
from cifar_tune.workers.local.fork_server import deaf_to, hidden_main_module

NICENESS = 10
"""Beside workers that use all cores, it has a tenth of one: a summary takes half a minute."""
PAUSE_FACTOR = 20
"""A summary is begun when this many times the processor's time of the last one has gone by since
its end: all of them take a twentieth of one core."""
_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang


@dataclass(frozen=True)
class SummaryRequest:
    """A summary of a study that is asked for, and what the run that goes on has to do.

    Attributes:
        left: What it has not begun.
        plan: What it had to do when it began; None where nothing was left then.
        why_left: What kept the run from doing it, in words; None while it goes on.
    """

    location: StorageLocation
    spec: StudySpec
    left: Work
    plan: Plan | None
    why_left: str | None = None


@dataclass(frozen=True)
class Summary:
    """The note of a study, sealed, and its figures as Plotly's JSON by their ids."""

    note: str
    figures: Mapping[str, str]


def try_summary(request: SummaryRequest) -> Summary | str:
    """Read a study and sum it up, or return in words why that fails: a run goes on without it."""
    try:
        with warnings.catch_warnings(action="ignore"):  # e.g. Optuna's, of too few trials
            from cifar_tune.dashboard.notes.summary import compute_summary  # SciPy and Plotly

            note, figures = compute_summary(
                request.location, request.spec, request.left, request.plan, request.why_left
            )
            return Summary(note, figures)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


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
        with deaf_to("SIGINT", "SIGHUP"), hidden_main_module():
            self._process.start()
        child_pipe.close()

    def take(self, timeout: float) -> Summary | str | None:
        """Return the summary that was begun, or in words why there is none.

        It is None if it is not done after ``timeout`` seconds.
        """
        if self._pipe is None or not self._pipe.poll(timeout):
            return None
        answer: Summary | str
        try:
            answer, processor_seconds = self._pipe.recv()
        except (EOFError, OSError):
            answer = "its process ended unexpectedly"
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
