"""Which workers a run has: what is asked for, or what suits the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cifar_tune.errors import DeviceError, InputError
from cifar_tune.workers.protocol import Materials, Pool

if TYPE_CHECKING:
    import torch

    from cifar_tune.config.schema import Resources
    from cifar_tune.workers.local.process import Seat

WORKER_BYTES = 2_000_000_000
"""Of memory that a worker on the processor may take: a quick study takes 1.2 GB."""


@dataclass(frozen=True)
class WorkerChoice:
    """Workers that a run is to have.

    Attributes:
        kind: ``inline``, ``local`` or ``ray``.
        count: of them; None of Ray, where the cluster decides.
        per_gpu: of them on one GPU.
        threads: of PyTorch on the processor, for each.
        address: of the Ray cluster; None begins one on this machine.
        slots: trials at once in each; None is to be found by measuring.
    """

    kind: str
    count: int | None
    per_gpu: int = 1
    threads: int = 1
    address: str | None = None
    slots: int | None = 1

    @property
    def at_once(self) -> int:
        """Trials at once, as far as it is known."""
        return (self.count or 1) * (self.slots or 1)

    def __str__(self) -> str:
        """For the first lines of a run."""
        if self.kind == "ray":
            return f"Ray workers ({self.address or 'a cluster on this machine'})"
        count = f"{self.count} worker" + ("" if self.count == 1 else "s")
        threads = f"{self.threads} thread" + ("" if self.threads == 1 else "s")
        slots = "" if self.slots == 1 else f", {self.slots or 'measured'} slots each"
        where = " in this process" * (self.kind == "inline")
        return f"{count} with {threads} each{slots}{where}"


def has_local_workers(asked: str | None) -> bool:
    """Whether a run asks for worker processes of this machine.

    Args:
        asked: as for ``choose_workers``.
    """
    return _wanted(asked).partition(":")[0] not in ("inline", "ray")


def _wanted(asked: str | None) -> str:
    return asked or os.environ.get("CIFAR_TUNE_WORKERS") or "auto"


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_workers(
    asked: str | None, per_gpu: int | None, device: torch.device, slots: int | None = None
) -> WorkerChoice:
    """Read ``--workers``, else ``$CIFAR_TUNE_WORKERS``, else choose.

    Args:
        asked: ``auto``, a number, ``inline``, ``ray`` or ``ray:ADDRESS``.
        per_gpu: workers on each GPU.
        slots: trials at once in each worker; None finds it by measuring on a GPU that one worker
            has for itself, and is 1 else.

    Raises:
        InputError: it is none of these, or has no slots.
        DeviceError: trials are to share a GPU where there is none.
    """
    text = _wanted(asked)
    if per_gpu is not None and device.type != "cuda":
        raise DeviceError(f"--per-gpu {per_gpu}: expected a CUDA device, this run uses {device}")
    if slots is not None and device.type != "cuda":
        raise DeviceError(f"--slots {slots}: expected a CUDA device, this run uses {device}")
    if slots is not None and not has_local_workers(asked):
        raise InputError(f"--slots {slots}: expected worker processes, not --workers {text}")
    cores = count_cores()
    if text == "inline":
        return WorkerChoice("inline", 1, threads=cores)
    kind, _, address = text.partition(":")
    if kind == "ray":
        return WorkerChoice("ray", None, per_gpu or 1, address=address or None)
    if text == "auto":
        count = _suitable(device, per_gpu or 1, cores)
    elif text.isdigit() and int(text) > 0:
        count = int(text)
    else:
        raise InputError(
            f"--workers {text}: expected auto, a number from 1 on, inline, ray or ray:ADDRESS"
        )
    is_free = device.type == "cuda" and text == "auto" and per_gpu is None
    known = None if is_free else 1
    threads = max(cores // (count * (slots or 1)), 1)
    return WorkerChoice("local", count, per_gpu or 1, threads, slots=slots or known)


def _suitable(device: torch.device, per_gpu: int, cores: int) -> int:
    """One worker for each core, or for each place on a GPU."""
    if device.type == "cuda":
        from cifar_tune.training.device import cuda_devices

        return per_gpu * len(cuda_devices(device))
    if device.type == "mps":
        return 1
    return max(1, min(cores, psutil.virtual_memory().available // WORKER_BYTES))


def make_pool(
    choice: WorkerChoice,
    materials: Materials,
    device: torch.device,
    resources: Resources,
    logs: Path,
) -> Pool:
    """Begin the workers.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
    """
    from cifar_tune.workers.train_task import work

    if choice.kind == "inline":
        from cifar_tune.workers.inline import InlinePool

        return InlinePool(materials, device, work)
    if choice.kind == "ray":
        from cifar_tune.workers.ray.pool import RayPool

        return RayPool(materials, choice.address, resources, work)
    from cifar_tune.workers.local.pool import LocalPool

    seats, share = make_seats(choice, device)
    return LocalPool(materials, seats, share, logs, work)


def make_seats(choice: WorkerChoice, device: torch.device) -> tuple[list[Seat], float]:
    """What each local worker has of the machine, and the share of a device that a trial has."""
    from cifar_tune.training.device import cuda_devices
    from cifar_tune.workers.local.process import Seat

    count = choice.count or 1
    names = cuda_devices(device) if device.type == "cuda" else [str(device)]
    slots = choice.slots or 1
    seats = [Seat(names[number % len(names)], choice.threads, slots) for number in range(count)]
    return seats, min(1.0, len(names) / (count * slots))
