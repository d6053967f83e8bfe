"""A runner that stays: it carries out what people ask for, one study after another.

The requests are rows of a table, so a service that is started again goes on where it was ended.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from cifar_tune.errors import CifarTuneError, StudyBusyError
from cifar_tune.search.live import LiveRun
from cifar_tune.storage.passwords import mask_passwords
from cifar_tune.storage.queue import Request, TrialQueue

if TYPE_CHECKING:
    from cifar_tune.search.runner import StudyOutcome

LOOK_SECONDS = 0.5
"""Between two looks for requests while there is nothing to do."""
BUSY_SECONDS = 10.0
"""After which a study that another process runs is tried again."""

RunRequest = Callable[[Request, LiveRun, Callable[[], bool]], "StudyOutcome"]
"""Runs the study of a request, the whole of it or only what people asked for; the last argument
says whether to stop."""


class Service:
    """Carries out requests until it is ended.

    Args:
        queue: of a connection that no runner has.
        live: what it does, for others to ask.
    """

    def __init__(self, queue: TrialQueue, run: RunRequest, live: LiveRun) -> None:
        self._queue = queue
        self._run = run
        self.live = live
        self._ending = threading.Event()
        self._stopped = threading.Event()
        self._busy: dict[str, float] = {}  # studies that other processes run: when to try again

    def stop(self) -> None:
        """Stop what runs and begin nothing, until ``continue_``; its trials save their state."""
        self._stopped.set()

    def continue_(self) -> None:
        """Go on."""
        self._stopped.clear()

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stopped.is_set()

    def run(self) -> None:
        """Carry out requests until SIGINT or SIGTERM."""
        before = {one: signal.signal(one, self._hear) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._restore()
            while not self._ending.is_set():
                request = None if self.is_stopped else self._next()
                if request is None:
                    self._ending.wait(LOOK_SECONDS)
                else:
                    self._carry_out(request)
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending.set()

    def _restore(self) -> None:
        """Let requests for whole studies wait again that a service which died had begun."""
        if self._queue.is_stopped():
            self.stop()
        for request in self._queue.list_requests(("begun",)):
            if request.params is None:
                self._queue.put_back(request.id)

    def _next(self) -> Request | None:
        """The request to carry out now: the oldest one that waits, or whose trial does, unless
        another process was seen to run its study a short while ago."""
        now = time.monotonic()
        found = self._queue.list_requests()
        return next((one for one in found if self._busy.get(one.study_name, 0.0) <= now), None)

    def _should_stop(self) -> bool:
        return self._ending.is_set() or self.is_stopped

    def _carry_out(self, request: Request) -> None:
        if request.params is None and not self._queue.begin(request.id):
            return  # it was cancelled
        self.live.begin(request.study_name)
        try:
            outcome = self._run(request, self.live, self._should_stop)
        except KeyboardInterrupt:  # it came before there was anything to save, or twice
            self._ending.set()
            self._put_back(request)
        except StudyBusyError as error:
            if request.study_name not in self._busy:
                self.live.noted(f"{error}; until then it is tried again now and then")
            self._busy[request.study_name] = time.monotonic() + BUSY_SECONDS
            self._put_back(request)
        except CifarTuneError as error:
            self._give_up(request, mask_passwords(str(error)))
        else:
            self._busy.pop(request.study_name, None)
            self._settle(request, outcome)
        finally:
            self.live.end()

    def _settle(self, request: Request, outcome: StudyOutcome) -> None:
        if outcome.interrupted:
            self._put_back(request)
        elif request.params is None:
            failed = f"{outcome.errors} trials ended with errors" if outcome.errors else None
            self._queue.end(request.id, outcome.why_left or failed)
        elif any(one.id == request.id for one in self._queue.list_requests()):
            # It would be tried for ever.
            self._give_up(request, outcome.why_left or "it cannot be begun")

    def _put_back(self, request: Request) -> None:
        if request.params is None:  # a trial's own state says where it is
            self._queue.put_back(request.id)

    def _give_up(self, request: Request, reason: str) -> None:
        """A study cannot be run; the requests for others are carried out all the same."""
        self.live.noted(f"{request.study_name}: {reason}")
        for one in self._queue.list_requests(study_name=request.study_name):
            if one.id == request.id or one.params is not None:
                self._queue.begin(one.id)
                self._queue.refuse(one.id, reason)
