"""Pools of every kind of worker, for tests of what they do alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from worker_trials import CPU

from cifar_tune.config.schema import Resources
from cifar_tune.workers.inline import InlinePool
from cifar_tune.workers.kind import Work
from cifar_tune.workers.local.pool import LocalPool
from cifar_tune.workers.local.process import Seat
from cifar_tune.workers.protocol import Materials, Pool

MakePool = Callable[[Work], Pool]
"""Make a pool whose workers do some work; it is closed at the end of the test."""


def open_pool(kind: str, materials: Materials, folder: Path, work: Work) -> Pool:
    """Return a pool of a kind of worker, with room for two trials but for the inline one."""
    if kind == "inline":
        return InlinePool(materials, CPU, work)
    if kind == "local":
        return LocalPool(materials, [Seat("cpu", 1), Seat("cpu", 1)], 0.5, folder / "logs", work)
    from cifar_tune.workers.ray.pool import RayPool

    return RayPool(materials, None, Resources(cpus=1.0), work)
