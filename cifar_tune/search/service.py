"""A runner that stays: it carries out what people ask for, one study after another.

The requests are in the database, so a service that is started again goes on where it was ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from cifar_tune.errors import CifarTuneError, StudyBusyError
from cifar_tune.search.observer import LiveRun
from cifar_tune.search.stop_signals import hear_stop_signals
from cifar_tune.storage.passwords import mask_passwords
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.study_requests import Request

if TYPE_CHECKING:
    from cifar_tune.search.outcome import StudyOutcome

LOOK_SECONDS = 0.5
"""Between two looks for requests while there is nothing to do."""
BUSY_SECONDS = 10.0
"""After which a study that another process runs is tried again."""

RunRequest = Callable[[Request, LiveRun, Callable[[], bool]], "StudyOutcome"]
"""Runs the study of a request, the whole of it or only what people asked for; the last argument
says whether to stop."""


class Service:
    """Carries out requests until it is ended.

    Attributes:
        live: What it does, for others to ask.
    """

    def __init__(self, queue: TrialQueue, run: RunRequest, live: LiveRun) -> None:
        """Prepare a service, whose queue has a connection that no runner has."""
        self._queue = queue
        self._run = run
        self.live = live
        self._ending = threading.Event()
        self._stopped = threading.Event()
        self._busy: dict[str, float] = {}  # studies that other processes run: when to try again
        self._given_up: set[tuple[str, int | str]] = set()  # trials that were begun

    def set_stopped(self, *, is_stopped: bool) -> None:
        """Stop what runs and begin nothing, until it may go on; trials save their state."""
        if is_stopped:
            self._stopped.set()
        else:
            self._stopped.clear()

    def run(self) -> None:
        """Carry out requests until a signal is to stop this process."""
        with hear_stop_signals(self._hear):
            self._restore()
            while not self._ending.is_set():
                request = None if self._stopped.is_set() else self._next()
                if request is None:
                    self._ending.wait(LOOK_SECONDS)
                else:
                    self._carry_out(request)

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending.set()

    def _restore(self) -> None:
        """Let requests for whole studies wait again that a service which died had begun."""
        self.set_stopped(is_stopped=self._queue.studies.is_stopped())
        if self._stopped.is_set():
            self.live.noted("runs were paused in the browser; continue them at /queue")
        for request in self._queue.list_requests():
            if request.params is None:
                self._queue.studies.move(request.study_name, "begun", "waiting")

    def _next(self) -> Request | None:
        """Return the oldest request whose study no other process was seen to run a while ago."""
        now = time.monotonic()
        for request in self._queue.list_requests():
            is_given_up = (request.study_name, request.id) in self._given_up
            if not is_given_up and self._busy.get(request.study_name, 0.0) <= now:
                return request
        return None

    def _should_stop(self) -> bool:
        return self._ending.is_set() or self._stopped.is_set()

    def _carry_out(self, request: Request) -> None:
        name, is_whole = request.study_name, request.params is None
        if is_whole and not self._queue.studies.move(name, "waiting", "begun"):
            return  # it was cancelled
        self.live.begin(name)
        try:
            outcome = self._run(request, self.live, self._should_stop)
        except KeyboardInterrupt:  # it came before there was anything to save, or twice
            self._ending.set()
            self._queue.studies.move(name, "begun", "waiting")
        except StudyBusyError as error:
            if name not in self._busy:
                self.live.noted(f"{error}; tried again every {BUSY_SECONDS:.0f} s")
            self._busy[name] = time.monotonic() + BUSY_SECONDS
            self._queue.studies.move(name, "begun", "waiting")
        except CifarTuneError as error:
            self._give_up(name, mask_passwords(str(error)))
        else:
            self._busy.pop(name, None)
            self._settle(request, outcome)
        finally:
            self.live.end()

    def _settle(self, request: Request, outcome: StudyOutcome) -> None:
        name = request.study_name
        if outcome.interrupted:
            self._queue.studies.move(name, "begun", "waiting")
        elif request.params is None:
            failed = f"{outcome.errors} trials ended with errors" if outcome.errors else None
            self._queue.studies.move(name, "begun", "ended", outcome.why_left or failed)
        elif request in self._queue.list_requests(name):
            # It would be tried for ever.
            self._give_up(name, outcome.why_left or "it cannot be started")

    def _give_up(self, study_name: str, reason: str) -> None:
        """Refuse what was asked for of a study that cannot be run, and go on with the others."""
        self.live.noted(f"{study_name}: {reason}")
        self._queue.studies.move(study_name, "begun", "refused", reason)
        for request in self._queue.list_requests(study_name):
            if request.params is not None and not self._queue.refuse(request, reason):
                self._given_up.add((study_name, request.id))
