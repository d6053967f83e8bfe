"""Workers in processes of this machine, which may die without taking the runner along."""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_tune.errors import CifarTuneError, DataError
from cifar_tune.workers.messages import (
    REFUSED,
    Died,
    Event,
    Failed,
    Finished,
    Materials,
    Stepped,
    Stopped,
    Task,
)

if TYPE_CHECKING:
    from cifar_tune.workers.work import Work

TAIL_LINES = 20
TAIL_BYTES = 8192
_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang


@dataclass(frozen=True)
class Seat:
    """What one worker has of the machine.

    Attributes:
        device: ``cpu``, ``mps`` or ``cuda:N``.
        threads: of PyTorch on the processor.
    """

    device: str
    threads: int


@dataclass(frozen=True)
class _Stop:
    """Save and stop."""


@dataclass
class _Worker:
    process: BaseProcess
    line: Connection
    number: int | None = None  # of the trial that it trains


class LocalPool:
    """A process for each seat, begun when it is first needed and again after it died.

    Args:
        seats: one for each slot.
        share: of a device that a trial has.
        logs: a folder for what workers print.
        work: what is done with a task.
    """

    def __init__(
        self, materials: Materials, seats: list[Seat], share: float, logs: Path, work: Work
    ) -> None:
        self.slots = len(seats)
        self.share = share
        self._seats = seats
        self._logs = logs
        self._work = work
        data = materials.data
        self._sources = _Sources(
            data.name, dict(data.digests), tuple(materials.weights), materials.root
        )
        self._workers: dict[int, _Worker] = {}  # by seat
        self._ready: deque[Event] = deque()
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, task: Task) -> None:
        """Train a trial in a free slot; see ``Pool``."""
        seat = next(
            seat
            for seat in range(self.slots)
            if seat not in self._workers or self._workers[seat].number is None
        )
        worker = self._workers.get(seat)
        if worker is None or not worker.process.is_alive():
            worker = self._workers[seat] = self._spawn(seat)
        worker.number = task.number
        with suppress(OSError):  # it died just now, which next_event says
            worker.line.send(task)

    def next_event(self, timeout: float) -> Event | None:
        """The next event; see ``Pool``."""
        if not self._ready:
            self._listen(timeout)
        return self._ready.popleft() if self._ready else None

    def decide(self, number: int, *, go_on: bool) -> None:
        """Answer a trial; see ``Pool``."""
        for worker in self._workers.values():
            if worker.number == number:
                with suppress(OSError):
                    worker.line.send(go_on)

    def stop(self) -> None:
        """Ask all trials to save and stop; see ``Pool``."""
        for worker in self._workers.values():
            with suppress(OSError):
                worker.line.send(_Stop())

    def close(self) -> None:
        """End all workers at once; see ``Pool``."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.join()
            worker.line.close()
        self._workers.clear()

    def _spawn(self, seat: int) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_main,
            # The work by its name: a worker hears its runner before it imports PyTorch for it.
            args=(theirs, self._sources, self._seats[seat], self._log(seat), _name(self._work)),
            name=f"cifar-tune worker {seat}",
            daemon=True,
        )
        with _environment(self._seats[seat]), deaf_to_ctrl_c():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _listen(self, timeout: float) -> None:
        lines = {worker.line: seat for seat, worker in self._workers.items()}
        for line in wait(list(lines), timeout):
            seat = lines[line]  # type: ignore[index]  # only connections were given
            worker = self._workers[seat]
            try:
                event: Event = worker.line.recv()
            except (EOFError, OSError):
                self._bury(seat)
                continue
            if isinstance(event, Finished | Stopped | Failed):
                worker.number = None
            self._ready.append(event)

    def _bury(self, seat: int) -> None:
        """Forget a worker whose line is dead, and say so if it had a trial."""
        worker = self._workers.pop(seat)
        worker.process.kill()  # a line that is closed by a process that lives is of no use either
        worker.process.join()
        worker.line.close()
        if worker.number is not None:
            self._ready.append(
                Died(worker.number, _say_exit(worker.process.exitcode), _tail(self._log(seat)))
            )

    def _log(self, seat: int) -> Path:
        return self._logs / f"worker-{seat}.log"


@contextmanager
def _environment(seat: Seat) -> Iterator[None]:
    """Set what libraries read when they are loaded, for a process that is started here."""
    wanted = {"OMP_NUM_THREADS": str(seat.threads), "MKL_NUM_THREADS": str(seat.threads)}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Let a process that is started here not hear Ctrl-C from its first moment on.

    A terminal sends it to all of its processes; only the runner decides what to do.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _name(work: Work) -> tuple[str, str]:
    return work.__module__, work.__qualname__


def _say_exit(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its worker ended with exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its worker was ended by {name}{hint}"
    return f"its worker was ended by signal {-code}"


def _tail(log: Path) -> str:
    """The last lines that a worker printed."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-TAIL_LINES:])


# --- in the worker ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sources:
    """Where a worker loads its materials from, and what they must be."""

    data: str
    digests: Mapping[str, str]
    weights: tuple[str, ...]
    root: Path

    def load(self) -> Materials:
        from cifar_tune.data.source import load_search_data
        from cifar_tune.weights.registry import load_weights

        data = load_search_data(self.data, self.root)
        if dict(data.digests) != self.digests:
            raise DataError(f"images {self.data}: are not those that the run began with")
        return Materials(data, load_weights(self.weights, self.root), self.root)


class _Line:
    """The worker's end of its line: one thread listens, so that word to stop comes at any time."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._stopping = threading.Event()
        self._decisions: queue.Queue[bool] = queue.Queue()
        self.tasks: queue.Queue[Task] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                said: Any = self._line.recv()
            except (EOFError, OSError):
                # The runner is gone; its next one goes on from the last checkpoint.
                os._exit(1)
            if isinstance(said, Task):
                self.tasks.put(said)
            elif isinstance(said, _Stop):
                self._stopping.set()
            else:
                self._decisions.put(said)

    def send(self, event: Event) -> None:
        """See ``Channel``."""
        if not isinstance(event, Stepped):
            with suppress(OSError):  # a full disk is said by what fails for it
                print(time.strftime("%H:%M:%S"), event, flush=True)  # noqa: T201  (into the log)
        try:
            self._line.send(event)
        except OSError:
            os._exit(1)

    def decide(self) -> bool:
        """See ``Channel``."""
        return self._decisions.get()

    def is_stopping(self) -> bool:
        """See ``Channel``."""
        return self._stopping.is_set()


def _main(
    line: Connection, sources: _Sources, seat: Seat, log: Path, work_name: tuple[str, str]
) -> None:
    """The life of a worker: tasks, one after another, until the runner hangs up."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has not all of them
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with log.open("wb", buffering=0) as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    faulthandler.enable()

    channel, materials = _Line(line), None
    import torch

    torch.set_num_threads(seat.threads)
    module, function = work_name
    work: Work = getattr(importlib.import_module(module), function)
    while True:
        task = channel.tasks.get()
        try:
            materials = materials or sources.load()
        except CifarTuneError as error:
            detail = {"error": type(error).__name__}
            channel.send(Failed(task.number, REFUSED, str(error), detail))
        else:
            work(task, materials, torch.device(seat.device), channel)
