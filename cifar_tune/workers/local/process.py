"""The life of a worker process of this machine: slots that train trials, one after another each."""

from __future__ import annotations

import faulthandler
import importlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_tune.errors import CifarTuneError, DataError
from cifar_tune.workers import protocol

if TYPE_CHECKING:
    import torch

    from cifar_tune.workers.kind import Work


@dataclass(frozen=True)
class Seat:
    """What one worker has of the machine.

    Attributes:
        device: ``cpu``, ``mps`` or ``cuda:N``.
        threads: How many threads of PyTorch each trial has on the processor.
        slots: How many trials it trains at once.
    """

    device: str
    threads: int
    slots: int = 1


@dataclass(frozen=True)
class Sources:
    """Where a worker loads its materials from, and what they must be.

    Attributes:
        data: The name of the set of images.
        digests: What its files must be.
        weights: The names of the pretrained weights.
        root: The folder of imported images and weights.
    """

    data: str
    digests: Mapping[str, str]
    weights: tuple[str, ...]
    root: Path

    def load(self) -> protocol.Materials:
        """Load them.

        Raises:
            DataError: The images are others.
        """
        from cifar_tune.data.search_data import load_search_data
        from cifar_tune.models.weights import load_weights

        data = load_search_data(self.data, self.root)
        if dict(data.digests) != self.digests:
            raise DataError(f"images {self.data}: have changed since the run started")
        return protocol.Materials(data, load_weights(self.weights, self.root), self.root)


class _Line:
    """The worker's end of its line: one thread listens, so that word to stop comes at any time."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._sending = threading.Lock()
        self._channels: dict[int, _Channel] = {}
        self.stopping = threading.Event()
        self.tasks: queue.Queue[protocol.Task] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def open(self, number: int) -> _Channel:
        """Return the channel of a trial that begins."""
        self._channels[number] = _Channel(self)
        return self._channels[number]

    def _listen(self) -> None:
        while True:
            try:
                message: Any = self._line.recv()
            except (EOFError, OSError):
                # The runner is gone; its next one goes on from the last checkpoint.
                os._exit(1)
            match message:
                case protocol.Task():
                    self.tasks.put(message)
                case None:  # all trials are to save and stop
                    self.stopping.set()
                case number, go_on:  # after an epoch of the trial of that number
                    self._channels[number].decisions.put(go_on)

    def send(self, event: protocol.Event) -> None:
        """Tell the runner."""
        if isinstance(event, protocol.Ended):
            # Before the runner hears of it, which may then begin the same trial in another slot.
            self._channels.pop(event.number, None)
        if not isinstance(event, protocol.Stepped):
            with suppress(OSError):  # a full disk is said by what fails for it
                print(time.strftime("%H:%M:%S"), event, flush=True)  # noqa: T201  (into the log)
        try:
            with self._sending:
                self._line.send(event)
        except OSError:
            os._exit(1)


class _Channel:
    """A trial's part of the line; see ``Channel``."""

    def __init__(self, line: _Line) -> None:
        self.decisions: queue.Queue[bool] = queue.Queue()
        self.send = line.send
        self.decide = self.decisions.get
        self.should_stop = line.stopping.is_set


class _Process:
    """What the slots of a process share."""

    def __init__(self, line: _Line, setup: WorkerSetup) -> None:
        module, function = setup.work_name
        self._work: Work = getattr(importlib.import_module(module), function)
        self._line = line
        self._seat = setup.seat
        self._load = cache(setup.sources.load)
        self._loading = threading.Lock()

    def serve_slot(self) -> None:
        """Train one trial after another.

        What kills a slot kills the process: the runner is told.
        """
        import torch

        try:
            torch.set_num_threads(self._seat.threads)
            device = torch.device(self._seat.device)
            with _own_stream(device):
                while True:
                    self._train(self._line.tasks.get(), device)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _train(self, task: protocol.Task, device: torch.device) -> None:
        channel = self._line.open(task.number)
        try:
            with self._loading:
                materials = self._load()
        except CifarTuneError as error:
            detail = {"error": type(error).__name__}
            channel.send(protocol.Failed(task.number, protocol.REFUSED, str(error), detail))
        else:
            self._work(task, materials, device, channel)


@contextmanager
def _own_stream(device: torch.device) -> Iterator[None]:
    """Let what is done within on a CUDA device wait for no other slot's work."""
    if device.type != "cuda":
        yield
        return
    import torch

    with torch.cuda.stream(torch.cuda.Stream(device)):
        yield


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is told at its start.

    Attributes:
        log: The file that takes what is printed.
        work_name: Module and name of what is done with a task: a worker hears its runner before it
            imports PyTorch for it.
        environment: The runner's; the process that a worker is forked from may have another.
    """

    sources: Sources
    seat: Seat
    log: Path
    work_name: tuple[str, str]
    environment: Mapping[str, str]


def serve(connection: Connection, setup: WorkerSetup) -> None:
    """Train what the runner sends, in as many slots as the seat has, until it hangs up."""
    os.environ.clear()
    os.environ.update(setup.environment)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has not all of them
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    setup.log.unlink(missing_ok=True)  # a link leads elsewhere, and a pipe would keep it waiting
    with setup.log.open("xb", buffering=0) as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    faulthandler.enable()

    process = _Process(_Line(connection), setup)
    for _ in range(setup.seat.slots - 1):
        threading.Thread(target=process.serve_slot, daemon=True).start()
    process.serve_slot()
