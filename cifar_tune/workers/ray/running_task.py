"""A trial that was handed to Ray, and how it ended."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cifar_tune.errors import StorageError, WeightsError
from cifar_tune.files import replacing
from cifar_tune.workers import protocol
from cifar_tune.workers.ray.task import Blobs, Placed

TAIL_LINES = 20


@dataclass
class RunningTask:
    """A trial that was handed to Ray.

    Attributes:
        result: Ray's reference of how it ended.
        order: What keeps the task's arguments alive.
        place: Where it runs; None while it waits for its resources.
        is_cancelled: Whether it was ended before it had begun.
        lines: What it told last.
    """

    task: protocol.Task
    attempt: str
    result: Any
    order: Any
    place: Placed | None = None
    has_started: bool = False
    is_cancelled: bool = False
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    @property
    def number(self) -> int:
        """The number of the trial in its study."""
        return self.task.number

    def note(self, event: protocol.Event) -> None:
        """Remember what the task told."""
        if not isinstance(event, protocol.Stepped):
            self.lines.append(f"{time.strftime('%H:%M:%S')} {event}")
        if isinstance(event, Placed):
            self.place = event
        self.has_started |= isinstance(event, protocol.Started)

    def died(self, reason: str) -> protocol.Died:
        """Return the event of its death."""
        return protocol.Died(self.number, reason, "\n".join(self.lines))

    def read(self, result: str | tuple[protocol.Event | None, Blobs]) -> protocol.Event:
        """Return how a task ended that came to its end, and write its files where the runner is.

        Raises:
            WeightsError: The weights cannot be written.
            StorageError: Another file cannot be written.
        """
        if isinstance(result, str):
            return protocol.Failed(self.number, protocol.REFUSED, result, {"error": "InputError"})
        event, blobs = result
        if event is None:
            return self.died("its task ended unexpectedly")
        if isinstance(event, protocol.Finished):
            places = self.task.files.made
            for kind, blob in blobs.items():
                error_type = WeightsError if kind == "weights" else StorageError
                with replacing(places[kind], blob.nbytes, error_type) as temporary:
                    np.asarray(blob).tofile(temporary)
        return event
