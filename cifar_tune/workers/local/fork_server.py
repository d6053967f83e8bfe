"""The process that local workers are forked from: it loads PyTorch once for all of them.

It exists on Linux only. Elsewhere the system's own libraries may not survive a fork, or there is
none, and each worker is a new process that loads PyTorch itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

_HAS_FORK_SERVER = sys.platform == "linux"


def begin_fork_server() -> None:
    """Begin the fork server, unless it runs.

    It loads what workers need while the caller does other things, and ends with this process.
    """
    if not _HAS_FORK_SERVER:
        return
    forkserver.set_forkserver_preload(["cifar_tune.workers.local.process_entry"])
    # It is to outlive a signal to all processes of a terminal, for the workers to save their state.
    with threads_of_libraries(1), deaf_to("SIGINT", "SIGTERM", "SIGHUP"):
        forkserver.ensure_running()


def worker_context() -> ForkServerContext | SpawnContext:
    """Return how worker processes are begun here."""
    begin_fork_server()
    if _HAS_FORK_SERVER:
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


@contextmanager
def hidden_main_module() -> Iterator[None]:
    """Let a process that is started here not run the script that this one runs.

    ``multiprocessing`` has each new process import the script, which a worker has no use for, and
    which would begin the study once more where the script has no ``if __name__ == "__main__":``.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def threads_of_libraries(threads: int) -> Iterator[None]:
    """Set what libraries read when they are loaded, for a process that is started here."""
    wanted = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
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
def deaf_to(*signals: str) -> Iterator[None]:
    """Let a process that is started here not hear these signals, from its first moment on.

    A terminal sends Ctrl-C to all of its processes; only the runner decides what to do.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    masked = {getattr(signal, name) for name in signals}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, masked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
