"""What a kind of worker is: how it is asked for, and how its workers are begun."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cifar_tune.wording import format_count
from cifar_tune.workers.protocol import Channel, Materials, Pool, Task

if TYPE_CHECKING:
    import torch

    from cifar_tune.config.schema import Resources

Work = Callable[[Task, Materials, "torch.device", Channel], None]
"""What a worker does with a task: ``train_task.work``, unless a test puts another in its place."""


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class WorkerChoice:
    """The workers that a run is to have.

    Attributes:
        count: How many of them; None leaves it to the kind.
        threads: How many threads of PyTorch each has on the processor.
        address: Where they are; None is on this machine.
        slots: How many trials each trains at once; None is to be found by measuring.
    """

    pool: type[PoolKind]
    count: int | None
    threads: int = 1
    address: str | None = None
    slots: int | None = 1

    @property
    def at_once(self) -> int:
        """How many trials run at once, as far as it is known."""
        return (self.count or 1) * (self.slots or 1)

    def __str__(self) -> str:
        return self.pool.describe(self)


@dataclass(frozen=True)
class PoolSetup:
    """What the workers of a run are begun with.

    Attributes:
        resources: What each trial needs of a cluster.
        logs: A folder for what worker processes print.
    """

    materials: Materials
    device: torch.device
    resources: Resources
    logs: Path
    work: Work


class PoolKind(Pool, Protocol):
    """A kind of worker: a pool that can be chosen by its name."""

    forms: str
    """How it is asked for, for people."""

    has_processes_here: bool
    """Whether its workers are processes of this machine."""

    @classmethod
    def choose(
        cls, text: str, device: torch.device, per_gpu: int | None, slots: int | None, /
    ) -> WorkerChoice | None:
        """Return the workers that were asked for, or that suit the machine.

        The arguments are those of ``choose_workers``; a text that cannot be read gives None.
        """

    @staticmethod
    def describe(choice: WorkerChoice) -> str:
        """Return the choice in words, for the first lines of a run."""

    @classmethod
    def begin(cls, choice: WorkerChoice, setup: PoolSetup, /) -> Pool:
        """Begin the workers.

        Raises:
            InputError: There can be no such workers here.
        """


def format_workers(choice: WorkerChoice) -> str:
    """Return how many workers of this machine there are, with their threads and slots."""
    count = format_count(choice.count or 1, "worker")
    threads = format_count(choice.threads, "thread")
    slots = "" if choice.slots == 1 else f", {choice.slots or 'measured'} slots each"
    return f"{count} with {threads} each{slots}"
