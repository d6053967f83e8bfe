"""The commands ``cifar-tune dashboard`` and ``cifar-tune serve``."""

from __future__ import annotations

import functools
import gc
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from rich.console import Console

from cifar_tune.cli.console import (
    LOADING,
    make_console,
    print_study,
    run_on_console,
)
from cifar_tune.cli.help import command
from cifar_tune.cli.options import WORKERS, completes, gather, options, select_study
from cifar_tune.cli.queue import TERMINAL, nameable
from cifar_tune.errors import InputError, StorageError
from cifar_tune.search.preparation import MachineOptions, Prepared, WorkOptions, prepare
from cifar_tune.search.stop_signals import hear_stop_signals
from cifar_tune.storage.location import StorageLocation, explain_errors, locate_storage

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.storages import RDBStorage

    from cifar_tune.dashboard.access import Access
    from cifar_tune.dashboard.server import Server
    from cifar_tune.search.observer import LiveRun
    from cifar_tune.search.outcome import StudyOutcome
    from cifar_tune.search.service import Service
    from cifar_tune.storage.queue import TrialQueue
    from cifar_tune.storage.study_requests import Request

LEAVE_SECONDS = 5
_SERVED = ("host", "port", "token", "read-only", "open")
_GC_THRESHOLDS = (100_000, 50, 100)
"""Objects made before Python looks for garbage. Thousands of trials are loaded in two thirds of the
time: nearly all of the objects made meanwhile stay."""


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens and who is let in, as given on the command line."""

    host: str
    port: int
    token: str | None
    is_read_only: bool | None
    opens: bool

    def choose_access(self) -> Access:
        """Return who is let in, and what they may do.

        Raises:
            InputError: What was asked for is not safe.
        """
        from cifar_tune.dashboard.access import choose_access

        return choose_access(self.host, self.token, self.is_read_only)


@command(
    "dashboard", waits_for="Opening the storage", epilog="Example: cifar-tune dashboard --open"
)
@options("storage", *_SERVED)
@gather("server", ServerOptions)
def dashboard(storage: str | None, server: ServerOptions) -> None:
    """Show studies in the browser with optuna-dashboard.

    Other machines reach it with --host 0.0.0.0; then it needs a token, and is read-only unless
    --read-write is given. Ctrl-C stops it.
    """
    location = locate_storage(storage)
    access = server.choose_access()

    from cifar_tune.storage.invocations import storage_options
    from cifar_tune.storage.studies import open_to_read

    with explain_errors(location):
        opened = open_to_read(location)
    if opened is None:
        command = f"cifar-tune study run dropout {storage_options(location)}".rstrip()
        raise StorageError(f"{location}: does not exist, or has no study; `{command}` makes one")
    listening = _listen(opened, location, None, access, server)
    with hear_stop_signals(lambda *_: listening.stop()):
        _announce(make_console(), listening, access, opens=server.opens)
        listening.run()


def _listen(
    storage: RDBStorage,
    location: StorageLocation,
    service: Service | None,
    access: Access,
    server: ServerOptions,
    root: Path | None = None,
) -> Server:
    """Open the server of the dashboard and the page of the queue; ``root`` is the data folder."""
    from cifar_tune.dashboard.app import make_app
    from cifar_tune.dashboard.guard import guard
    from cifar_tune.dashboard.queue.app import make_queue_app
    from cifar_tune.dashboard.server import open_server
    from cifar_tune.storage.study_folders import list_artifact_folders

    gc.set_threshold(*_GC_THRESHOLDS)
    page = make_queue_app(storage, service, is_read_only=access.is_read_only, root=root)
    app = make_app(storage, list_artifact_folders(storage, location), page)
    return open_server(guard(app, access), server.host, server.port)


def _announce(
    console: Console, server: Server, access: Access, note: str = "", *, opens: bool
) -> None:
    """Print the address, with the token if it was made here, and what is allowed.

    One line more is ``note``; ``opens`` lets the browser open the address.
    """
    address = f"{server.url}?token={access.token}" if access.is_made else server.url
    console.print(address, soft_wrap=True)
    if access.is_read_only:
        console.print("read-only: nothing can be changed or deleted; --read-write allows it")
    console.print("Ctrl-C stops it")
    if note:
        console.print(note)
    if opens:
        # A browser that runs in the terminal must not keep the server waiting.
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


# --- serve --------------------------------------------------------------------------------------


@command("serve", waits_for=LOADING, epilog="Example: cifar-tune serve transfer dropout --open")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completes("studies"))
@options("profile", "seeds", *WORKERS, "precision", "storage", "data-dir", *_SERVED)
@gather("work", WorkOptions)
@gather("machine", MachineOptions)
@gather("server", ServerOptions)
def serve(
    names: tuple[str, ...],
    profile: str | None,
    storage: str | None,
    work: WorkOptions,
    machine: MachineOptions,
    server: ServerOptions,
) -> None:
    """Show studies in the browser and run queued trials.

    NAME is the name of a study file or its path: these studies are run first, one after another.
    Trials and studies are queued at /queue in the browser or by `cifar-tune study queue`. What was
    queued outlives the process: the same command goes on. Ctrl-C stops it.
    """
    location = locate_storage(storage)
    access = server.choose_access()
    asked_for = [select_study(name, profile, (), storage) for name in names]
    asked = [(study.name, prepare(study, work, machine)) for study in asked_for]

    from cifar_tune.search.observer import LiveRun
    from cifar_tune.search.progress import PlainLines
    from cifar_tune.search.service import Service
    from cifar_tune.storage import studies
    from cifar_tune.storage.queue import TrialQueue

    console = make_console()
    with explain_errors(location):
        # The server's threads have a connection of their own, which no lease of a run fences.
        shown = studies.open_to_write(location)
        queue = TrialQueue(studies.open_to_write(location))
        run = functools.partial(_run_request, storage, work, machine, console)
        service = Service(queue, run, LiveRun(PlainLines(console)))
        listening = _listen(shown, location, service, access, server, machine.root)
        _queue_studies(queue, asked)
        with _running(listening):
            note = "queue trials at /queue, or with the command study queue"
            _announce(console, listening, access, note, opens=server.opens)
            service.run()


@contextmanager
def _running(server: Server) -> Iterator[None]:
    """Let a server run in a thread of its own."""
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(LEAVE_SECONDS)


def _queue_studies(queue: TrialQueue, asked: list[tuple[str, Prepared]]) -> None:
    """Queue the studies of the command line, unless they are queued from the last time."""
    known = {request.study_name for request in queue.list_requests() if request.params is None}
    for name, prepared in asked:
        spec = prepared.spec
        if spec.study_name not in known:
            queue.ask_for_study(spec, nameable(spec.source, name), TERMINAL)


def _run_request(
    storage: str | None,
    work: WorkOptions,
    machine: MachineOptions,
    console: Console,
    request: Request,
    live: LiveRun,
    should_stop: Callable[[], bool],
) -> StudyOutcome:
    """Run what a request asks for, with the options of the command line."""
    from cifar_tune.search.runner import RunOptions
    from cifar_tune.storage.selector import StudySelector

    study = StudySelector(request.study, request.profile, request.overrides, storage)
    prepared = prepare(study, work, machine)
    if prepared.spec.study_name != request.study_name:
        raise InputError(
            f"{request.study}: makes {prepared.spec.study_name} now, expected {request.study_name}"
        )
    print_study(console, prepared.spec.study_name, prepared.spec.title)
    only_queued = RunOptions(only_queued=request.params is not None)
    return run_on_console(prepared, console, only_queued, live, should_stop)
