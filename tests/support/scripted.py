"""Workers that say what a test wants, and a study that is run with them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from cifar_tune.data.search_data import SearchData
from cifar_tune.search.outcome import StudyOutcome
from cifar_tune.search.plan import Costs, StepTimes
from cifar_tune.search.runner import Workers
from cifar_tune.training.records import EpochMetrics, TrialResult
from cifar_tune.workers.protocol import (
    Died,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Materials,
    Started,
    Stopped,
    Task,
)

EPOCHS = 2
PROVENANCE = {"device": "made up", "host": "here", "software": {}}
Script = Callable[[Task, int], Iterator[Event]]
"""What a worker says of a task, by how often it was begun before; it ends with a last word."""


def epoch(number: int, accuracy: float = 0.5) -> EpochMetrics:
    return EpochMetrics(number, 1.0, 0.5, 1.0, accuracy, 1.0)


def train(task: Task, start: int = 0, *, shares_files: bool = True) -> Iterator[Event]:
    """A trial that goes well, from an epoch on."""
    yield Started(task.number, PROVENANCE, start, 0, shares_files=shares_files)
    for one in range(1, EPOCHS + 1):
        yield EpochEnded(task.number, epoch(one))
    done = tuple(epoch(one) for one in range(1, EPOCHS + 1))
    yield Finished(task.number, TrialResult(done, False, None))


class ScriptedPool:
    """Workers that follow a script, one event of each in turn."""

    share = 1.0

    def __init__(self, slots: int, script: Script) -> None:
        self.slots = slots
        self._script = script
        self._running: dict[int, Iterator[Event]] = {}
        self._turns: deque[int] = deque()
        self._begun: Counter[int] = Counter()
        self.decisions: dict[int, list[bool]] = {}
        self.beside: list[tuple[int, set[int]]] = []  # each start, with those that ran
        self.was_stopped = False

    def start(self, task: Task) -> None:
        assert len(self._running) < self.slots
        self.beside.append((task.number, set(self._running)))
        self._running[task.number] = self._script(task, self._begun[task.number])
        self._begun[task.number] += 1
        self._turns.append(task.number)

    def next_event(self, timeout: float) -> Event | None:  # noqa: ARG002
        if not self._turns:
            return None
        number = self._turns.popleft()
        event = Stopped(number) if self.was_stopped else next(self._running[number])
        if isinstance(event, Finished | Stopped | Failed | Died):
            del self._running[number]
        else:
            self._turns.append(number)
        return event

    def decide(self, number: int, *, go_on: bool) -> None:
        self.decisions.setdefault(number, []).append(go_on)

    def stop(self) -> None:
        self.was_stopped = True

    def close(self) -> None:
        self._running.clear()
        self._turns.clear()


def scripted_workers(pool: ScriptedPool, data: SearchData, folder: Path) -> Workers:
    """Return what a runner takes for its workers: the pool, with steps that take no time."""
    step = StepTimes(0.01, 0.01, 0.01, 0.01)
    return Workers(Materials(data, {}, folder), lambda: pool, lambda: Costs(0, step, 5, step))


class Notes:
    """An observer that keeps what it is told in words."""

    def __init__(self) -> None:
        self.noted_texts: list[str] = []

    def noted(self, text: str) -> None:
        self.noted_texts.append(text)

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


Run = Callable[..., StudyOutcome]
