"""Workers in processes of this machine, which may die without taking the runner along."""

from __future__ import annotations

import os
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cifar_tune.workers.kind import PoolSetup, Work, WorkerChoice, count_cores, format_workers
from cifar_tune.workers.local.fork_server import (
    deaf_to,
    hidden_main_module,
    threads_of_libraries,
    worker_context,
)
from cifar_tune.workers.local.process import Seat, Sources, WorkerSetup, serve
from cifar_tune.workers.protocol import Died, Ended, Event, Materials, Task

if TYPE_CHECKING:
    import torch

WORKER_BYTES = 2_000_000_000
"""Memory that a worker on the processor may take: a quick study takes 1.2 GB."""
TAIL_LINES = 40  # a traceback of a worker that crashed has some twenty


@dataclass
class _Worker:
    process: BaseProcess
    line: Connection
    numbers: set[int] = field(default_factory=set)  # of the trials that it trains


class LocalPool:
    """A process for each seat, begun when it is first needed and again after it died.

    Each process loads again what trials learn from, and prints into a file of the folder ``logs``.
    """

    forms = "auto, a number from 1 on"
    has_processes_here = True

    def __init__(
        self, materials: Materials, seats: list[Seat], share: float, logs: Path, work: Work
    ) -> None:
        self.slots = sum(seat.slots for seat in seats)
        self.share = share
        self._seats = seats
        self._logs = logs
        self._work = work
        data = materials.data
        self._sources = Sources(
            data.name, dict(data.digests), tuple(materials.weights), materials.root
        )
        self._workers: dict[int, _Worker] = {}  # by seat
        self._events: deque[Event] = deque()
        logs.mkdir(parents=True, exist_ok=True)

    @classmethod
    def choose(
        cls, text: str, device: torch.device, per_gpu: int | None, slots: int | None
    ) -> WorkerChoice | None:
        """Return as many workers as were asked for, or as suit the machine; see ``PoolKind``."""
        if text == "auto":
            count = _suitable_count(device, per_gpu)
        elif text.isdigit() and int(text) > 0:
            count = int(text)
        else:
            return None
        has_gpu_alone = device.type == "cuda" and text == "auto" and per_gpu is None
        threads = max(count_cores() // (count * (slots or 1)), 1)
        return WorkerChoice(cls, count, threads, slots=slots or (None if has_gpu_alone else 1))

    @staticmethod
    def describe(choice: WorkerChoice) -> str:
        """Return the choice in words; see ``PoolKind``."""
        return format_workers(choice)

    @classmethod
    def begin(cls, choice: WorkerChoice, setup: PoolSetup) -> LocalPool:
        """Make room for the workers; see ``PoolKind``."""
        seats, share = make_seats(choice, setup.device)
        return cls(setup.materials, seats, share, setup.logs, setup.work)

    def start(self, task: Task) -> None:
        """Train a trial in a free slot; see ``Pool``."""
        trials = [
            len(self._workers[number].numbers) if number in self._workers else 0
            for number in range(len(self._seats))
        ]
        free = [number for number, seat in enumerate(self._seats) if trials[number] < seat.slots]
        seat = min(free, key=trials.__getitem__)
        if seat in self._workers and not self._workers[seat].process.is_alive():
            while seat in self._workers and self._workers[seat].line.poll():
                self._hear(seat)  # it may have said something before it died
            if seat in self._workers:  # it lives, but the process that it was forked from does not
                self._bury(seat)
        worker = self._workers.get(seat)
        if worker is None:
            worker = self._workers[seat] = self._spawn(seat)
        worker.numbers.add(task.number)
        with suppress(OSError):  # it died just now, which next_event says
            worker.line.send(task)

    def next_event(self, timeout: float) -> Event | None:
        """Return the next event; see ``Pool``."""
        if not self._events:
            self._listen(timeout)
        return self._events.popleft() if self._events else None

    def decide(self, number: int, *, go_on: bool) -> None:
        """Answer a trial; see ``Pool``."""
        for worker in self._workers.values():
            if number in worker.numbers:
                with suppress(OSError):
                    worker.line.send((number, go_on))

    def stop(self) -> None:
        """Ask all trials to save and stop; see ``Pool``."""
        for worker in self._workers.values():
            with suppress(OSError):
                worker.line.send(None)

    def close(self) -> None:
        """End all workers at once; see ``Pool``."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.join()
            worker.line.close()
        self._workers.clear()

    def _spawn(self, seat: int) -> _Worker:
        context = worker_context()
        ours, theirs = context.Pipe()
        with threads_of_libraries(self._seats[seat].threads), deaf_to("SIGINT", "SIGHUP"):
            setup = WorkerSetup(
                self._sources,
                self._seats[seat],
                self._log(seat),
                (self._work.__module__, self._work.__qualname__),
                dict(os.environ),
            )
            process = context.Process(
                target=serve, args=(theirs, setup), name=f"cifar-tune worker {seat}", daemon=True
            )
            with hidden_main_module():
                process.start()
        theirs.close()
        return _Worker(process, ours)

    def _listen(self, timeout: float) -> None:
        lines = {worker.line: seat for seat, worker in self._workers.items()}
        for line in wait(list(lines), timeout):
            self._hear(lines[line])  # type: ignore[index]  # only connections were given

    def _hear(self, seat: int) -> None:
        """Take the next event of a worker, or its end."""
        worker = self._workers[seat]
        try:
            event: Event = worker.line.recv()
        except (EOFError, OSError):
            self._bury(seat)
            return
        if isinstance(event, Ended):
            worker.numbers.discard(event.number)
        self._events.append(event)

    def _bury(self, seat: int) -> None:
        """Forget a worker whose line is dead, and say so for each trial that it had."""
        worker = self._workers.pop(seat)
        worker.process.kill()  # a line that is closed by a process that lives is of no use either
        worker.process.join()
        worker.line.close()
        reason, tail = _format_exit(worker.process.exitcode), _read_tail(self._log(seat))
        self._events.extend(Died(number, reason, tail) for number in sorted(worker.numbers))

    def _log(self, seat: int) -> Path:
        return self._logs / f"worker-{seat}.log"


def _suitable_count(device: torch.device, per_gpu: int | None) -> int:
    """Return one worker for each core, or for each place on a GPU."""
    if device.type == "cuda":
        from cifar_tune.training.device import cuda_devices

        return (per_gpu or 1) * len(cuda_devices(device))
    if device.type == "mps":
        return 1
    return max(1, min(count_cores(), psutil.virtual_memory().available // WORKER_BYTES))


def make_seats(choice: WorkerChoice, device: torch.device) -> tuple[list[Seat], float]:
    """Return what each worker has of the machine, and the share of a device that a trial has."""
    from cifar_tune.training.device import cuda_devices

    count, slots = choice.count or 1, choice.slots or 1
    names = cuda_devices(device) if device.type == "cuda" else [str(device)]
    seats = [Seat(names[number % len(names)], choice.threads, slots) for number in range(count)]
    return seats, min(1.0, len(names) / (count * slots))


def _format_exit(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its worker ended with exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its worker was ended by {name}{hint}"
    return f"its worker was ended by signal {-code}"


def _read_tail(log: Path) -> str:
    """Return the last lines that a worker printed."""
    with suppress(OSError), log.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, TAIL_LINES)).rstrip()
    return ""
