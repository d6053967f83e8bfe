"""What the runner and its workers tell one another; the same for every kind of worker.

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
        files: Where the worker writes; the runner gives the files their final names.
        name: The name of a named trial with its replicate; None if sampled.
        best_so_far: The highest validation accuracy of the study's complete trials, as the task
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
        weights: The pretrained weights that its trials start from, by name.
        root: The folder of imported images and weights that both can be loaded from again.
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
        provenance: Where and with what: ``device``, ``host``, ``software``.
        epochs: How many epochs a trial that is continued has finished before.
        steps: How many training steps of the next one are done.
        refusals: Why checkpoints could not be used.
        shares_files: Whether the worker sees the checkpoints that others wrote.
    """

    provenance: Mapping[str, Any]
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
        message: The error in one line.
        detail: More of it, to be stored.
    """

    kind: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)


Ended = Finished | Stopped | Failed
"""What a worker says last of a trial."""


@dataclass(frozen=True)
class Died(Event):
    """The worker is gone.

    Attributes:
        reason: Why, in words, with the signal or exit code.
        tail: The last lines that it printed.
    """

    reason: str
    tail: str = ""


class Channel(Protocol):
    """A worker's line to the runner."""

    def send(self, event: Event) -> None:
        """Tell the runner."""

    def decide(self) -> bool:
        """Wait for the runner's word after an epoch; return whether to go on."""

    def should_stop(self) -> bool:
        """Return whether the runner asked to save and stop."""


class Pool(Protocol):
    """Workers of one kind."""

    slots: int
    """How many trials run at once."""

    share: float
    """The share of a device (a GPU, or the machine's processor) that a trial has."""

    def start(self, task: Task) -> None:
        """Train a trial in a free slot."""

    def next_event(self, timeout: float) -> Event | None:
        """Return the next event; None if there is none within that many seconds."""

    def decide(self, number: int, *, go_on: bool) -> None:
        """Answer the ``EpochEnded`` of a trial."""

    def stop(self) -> None:
        """Ask all trials to save their state at the next step and stop."""

    def close(self) -> None:
        """End all workers at once; what was not saved is lost."""
