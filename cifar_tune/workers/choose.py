"""The kinds of workers, and which of them a run has: what is asked for, or what suits the machine.

A new kind is a class as ``kind.PoolKind`` has it, and its entry in ``POOLS``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cifar_tune.errors import DeviceError, InputError
from cifar_tune.workers.inline import InlinePool
from cifar_tune.workers.kind import PoolKind, WorkerChoice
from cifar_tune.workers.local.pool import LocalPool
from cifar_tune.workers.ray.pool import RayPool

if TYPE_CHECKING:
    import torch

POOLS: dict[str, type[PoolKind]] = {"local": LocalPool, "inline": InlinePool, "ray": RayPool}
"""The kinds of workers by name; what names none is a number of local ones."""


def has_local_workers(asked: str | None) -> bool:
    """Return whether ``choose_workers`` would choose worker processes of this machine."""
    return _kind_of(_text_of(asked)).has_processes_here


def _text_of(asked: str | None) -> str:
    return asked or os.environ.get("CIFAR_TUNE_WORKERS") or "auto"


def _kind_of(text: str) -> type[PoolKind]:
    return POOLS.get(text.partition(":")[0], LocalPool)


def choose_workers(
    asked: str | None, per_gpu: int | None, device: torch.device, slots: int | None = None
) -> WorkerChoice:
    """Read ``--workers``, else ``$CIFAR_TUNE_WORKERS``, else choose.

    Args:
        asked: What names a kind of worker, a number of them, or ``auto``.
        per_gpu: How many workers are to share a GPU.
        device: What the run uses.
        slots: How many trials each worker is to train at once; None finds it by measuring on a GPU
            that one worker has for itself, and is 1 else.

    Raises:
        InputError: It is none of these, or has no slots.
        DeviceError: Trials are to share a GPU where there is none.
    """
    text = _text_of(asked)
    pool = _kind_of(text)
    for option, value in (("--per-gpu", per_gpu), ("--slots", slots)):
        if value is not None and device.type != "cuda":
            raise DeviceError(f"{option} {value}: expected a CUDA device, this run uses {device}")
    if slots is not None and not pool.has_processes_here:
        raise InputError(f"--slots {slots}: expected worker processes, not --workers {text}")
    choice = pool.choose(text, device, per_gpu, slots)
    if choice is None:
        forms = ", ".join(kind.forms for kind in POOLS.values())
        raise InputError(f"--workers {text}: expected {forms}")
    return choice
