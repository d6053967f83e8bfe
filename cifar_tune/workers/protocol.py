"""What the runner and its workers say to one another; the same for every kind of worker.

A pool has slots. The runner starts a task in a free one, and then takes events: ``Started`` first,
``Stepped`` and ``EpochEnded`` as it goes, and last one of ``Finished``, ``Stopped``, ``Failed`` and
``Died``, after which the slot is free again. After ``EpochEnded`` the worker waits for ``decide``.
Only the runner opens the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cifar_tune.config.trial import TrialConfig
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult

if TYPE_CHECKING:
    from cifar_tune.data.search_data import SearchData
    from cifar_tune.models.weights import Weights

OUT_OF_MEMORY = "cuda_out_of_memory"
REFUSED = "refused"
"""Kind of a failure that is one of ``cifar_tune.errors``: it ends the run, not the trial."""


@dataclass(frozen=True)
class Task:
    """A trial to train, or to go on with from its newest checkpoint.

    Attributes:
        number: of the trial in its study.
        files: where the worker writes; the runner gives them their final names.
        name: of a named trial with its replicate; None if sampled.
        best_so_far: the highest validation accuracy of the study's complete trials, as the task
            begins.
    """

    number: int
    config: TrialConfig
    files: TrialFiles
    name: str | None = None
    best_so_far: float = 0.0

    @property
    def label(self) -> str:
        """What the trial is called where it is shown."""
        return self.name or f"trial {self.number}"


@dataclass(frozen=True)
class Materials:
    """What the trials of a study learn from.

    Attributes:
        data: training and validation images.
        weights: the pretrained ones that its trials start from, by name.
        root: the folder of imported images and weights that both can be loaded from again.
    """

    data: SearchData
    weights: Mapping[str, Weights]
    root: Path


@dataclass(frozen=True)
class Event:
    """Something happened to the trial of that number."""

    number: int


@dataclass(frozen=True)
class Started(Event):
    """The training begins.

    Attributes:
        facts: where and with what: ``device``, ``host``, ``software``.
        epochs: finished before, of a trial that is continued.
        steps: training steps done before of the next one.
        refusals: why checkpoints could not be used.
        shares_files: whether the worker sees the checkpoints that others wrote.
    """

    facts: Mapping[str, Any]
    epochs: int
    steps: int
    refusals: tuple[str, ...] = ()
    shares_files: bool = True


@dataclass(frozen=True)
class Stepped(Event):
    """So many of the epoch's training steps and validation batches are done."""

    done: int


@dataclass(frozen=True)
class EpochEnded(Event):
    """An epoch ended and its checkpoint is written; the worker waits for ``decide``."""

    metrics: EpochMetrics


@dataclass(frozen=True)
class Finished(Event):
    """The trial ran to its end, or was told not to go on; its files are written."""

    result: TrialResult


@dataclass(frozen=True)
class Stopped(Event):
    """The trial stopped because it was asked to, with its state saved."""


@dataclass(frozen=True)
class Failed(Event):
    """The training ended with an error.

    Attributes:
        kind: ``not_finite``, ``cuda_out_of_memory``, ``refused`` or ``error``.
        message: the error in one line.
        detail: more, to be stored with it.
    """

    kind: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Died(Event):
    """The worker is gone.

    Attributes:
        reason: in words, with the signal or exit code.
        tail: the last lines it wrote.
    """

    reason: str
    tail: str = ""


class Channel(Protocol):
    """A worker's line to the runner."""

    def send(self, event: Event) -> None:
        """Tell the runner."""

    def decide(self) -> bool:
        """Wait for the runner's word after an epoch: whether to go on."""

    def is_stopping(self) -> bool:
        """Whether the runner asked to save and stop."""


class Pool(Protocol):
    """Workers of one kind."""

    slots: int
    """Trials that run at once."""

    share: float
    """Of a device (a GPU, or the machine's processor) that a trial has."""

    def start(self, task: Task) -> None:
        """Train a trial in a free slot."""

    def next_event(self, timeout: float) -> Event | None:
        """The next event; None if there was none for so many seconds."""

    def decide(self, number: int, *, go_on: bool) -> None:
        """Answer the ``EpochEnded`` of a trial."""

    def stop(self) -> None:
        """Ask all trials to save their state at the next step and stop."""

    def close(self) -> None:
        """End all workers at once; what was not saved is lost."""
