"""One worker in a thread of this process: the twin of the others, for tests and debuggers."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from cifar_tune.workers.kind import PoolSetup, Work, WorkerChoice, count_cores, format_workers
from cifar_tune.workers.protocol import Died, Ended, Event, Materials, Task

if TYPE_CHECKING:
    import torch

CLOSE_SECONDS = 60.0
"""How long the end of a step is waited for: a thread cannot be killed."""


class InlinePool:
    """One slot, in a thread, so that the runner can listen meanwhile."""

    forms = "inline"
    has_processes_here = False
    slots = 1
    share = 1.0

    def __init__(self, materials: Materials, device: torch.device, work: Work) -> None:
        self._materials = materials
        self._device = device
        self._work = work
        self.events: queue.Queue[Event] = queue.Queue()
        self.decisions: queue.Queue[bool] = queue.Queue()
        self.stopping = threading.Event()
        self._tasks: queue.Queue[Task | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    @classmethod
    def choose(cls, text: str, *_: object) -> WorkerChoice | None:
        """Return the one worker that there can be; see ``PoolKind``."""
        return WorkerChoice(cls, 1, count_cores()) if text == "inline" else None

    @staticmethod
    def describe(choice: WorkerChoice) -> str:
        """Return the choice in words; see ``PoolKind``."""
        return f"{format_workers(choice)} in this process"

    @classmethod
    def begin(cls, _choice: WorkerChoice, setup: PoolSetup) -> InlinePool:
        """Begin the worker; see ``PoolKind``."""
        return cls(setup.materials, setup.device, setup.work)

    def start(self, task: Task) -> None:
        """Train a trial; see ``Pool``."""
        if self._thread is None or not self._thread.is_alive():
            # One thread for all trials: PyTorch keeps threads and memory for each that calls it.
            self._thread = threading.Thread(target=self._run_all, daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def _run_all(self) -> None:
        while self._thread is threading.current_thread():
            task = self._tasks.get()
            if task is None:
                return
            self._run(task)

    def _run(self, task: Task) -> None:
        channel = _ThreadChannel(self)
        try:
            self._work(task, self._materials, self._device, channel)
        finally:
            if not channel.has_ended:
                self._thread = None  # it is about to end: the next trial gets another one
                self.events.put(Died(task.number, "its thread ended unexpectedly"))

    def next_event(self, timeout: float) -> Event | None:
        """Return the next event; see ``Pool``."""
        try:
            return self.events.get(timeout=timeout)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Ask the trial to save and stop; see ``Pool``."""
        self.stopping.set()

    def close(self) -> None:
        """End the trial after its step; see ``Pool``."""
        self.stopping.set()
        self.decisions.put(False)
        self._tasks.put(None)
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def decide(self, number: int, *, go_on: bool) -> None:  # noqa: ARG002  (there is but one)
        """Answer the trial; see ``Pool``."""
        self.decisions.put(go_on)


class _ThreadChannel:
    """The thread's line to the runner; see ``Channel``."""

    def __init__(self, pool: InlinePool) -> None:
        self._events = pool.events
        self.decide = pool.decisions.get
        self.should_stop = pool.stopping.is_set
        self.has_ended = False

    def send(self, event: Event) -> None:
        """See ``Channel``."""
        self.has_ended = isinstance(event, Ended)
        self._events.put(event)
