"""The command ``cifar-tune serve``: dashboard, queue and runner in one process that stays."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from cifar_tune import paths
from cifar_tune.cli.commands.dashboard import (
    ServerOptions,
    announce,
    collect_garbage_less_often,
    open_browser,
)
from cifar_tune.cli.console import make_console
from cifar_tune.cli.execution import (
    Prepared,
    StudyOptions,
    load_materials,
    prepare,
    run_prepared,
    settle_precision,
)
from cifar_tune.cli.queue import TERMINAL, nameable
from cifar_tune.config.study_file import load_study_file
from cifar_tune.errors import InputError
from cifar_tune.search.progress import PlainLines
from cifar_tune.storage.location import explain_errors, locate_storage

if TYPE_CHECKING:
    from cifar_tune.search.live import LiveRun
    from cifar_tune.search.runner import StudyOutcome
    from cifar_tune.storage.queue import Request, TrialQueue

LEAVE_SECONDS = 5


def serve(names: tuple[str, ...], server_options: ServerOptions, options: StudyOptions) -> None:
    """Serve dashboard and queue, and carry out what is queued, until a signal ends it.

    Args:
        names: study files that are run, in this order, before what is queued later.
        options: of every run.
    """
    from cifar_tune.dashboard.access import choose_access

    location = locate_storage(options.storage)
    access = choose_access(server_options.host, server_options.token, server_options.is_read_only)
    asked = [(name, prepare(name, options)) for name in names]

    from cifar_tune.dashboard.app import make_app
    from cifar_tune.dashboard.guard import guard
    from cifar_tune.dashboard.queue.app import make_queue_app
    from cifar_tune.dashboard.server import open_server
    from cifar_tune.search.live import LiveRun
    from cifar_tune.search.service import Service
    from cifar_tune.storage import studies as stored
    from cifar_tune.storage.queue import TrialQueue

    console = make_console()
    with explain_errors(location):
        # The server's threads have a connection of their own, which no lease of a run fences.
        shown = stored.open_to_write(location)
        queue = TrialQueue(stored.open_to_write(location).engine)
        service = Service(queue, _make_runner(options, console), LiveRun(PlainLines(console)))
        page = make_queue_app(shown, service, is_read_only=access.is_read_only)
        app = make_app(shown, paths.artifacts_folder(location.beside), {"/queue": page})
        server = open_server(guard(app, access), server_options.host, server_options.port)
        _ask(queue, asked)
        collect_garbage_less_often()
        thread = threading.Thread(target=server.run, name="server", daemon=True)
        thread.start()
        announce(console, server, access)
        console.print("trials are queued at /queue, or with `cifar-tune study queue`")
        if server_options.opens:
            open_browser(server, access)
        try:
            service.run()
        finally:
            server.close()
            thread.join(LEAVE_SECONDS)


def _ask(queue: TrialQueue, asked: list[tuple[str, Prepared]]) -> None:
    """Queue the studies of the command line, unless they are queued from the last time."""
    known = {one.study_name for one in queue.list_requests() if one.params is None}
    for name, ready in asked:
        spec = ready.spec
        if spec.study_name not in known:
            study = nameable(load_study_file(name), name)
            made = (spec.study_name, study, spec.profile_name, spec.overrides)
            queue.add(*made, params=None, seed=None, by=TERMINAL)


def _make_runner(
    options: StudyOptions, console: Console
) -> Callable[[Request, LiveRun, Callable[[], bool]], StudyOutcome]:
    def run(request: Request, live: LiveRun, should_stop: Callable[[], bool]) -> StudyOutcome:
        from cifar_tune.search.runner import RunOptions

        settings = tuple(f"{key}={json.dumps(value)}" for key, value in request.overrides.items())
        ready = prepare(request.study, replace(options, profile=request.profile, settings=settings))
        if ready.spec.study_name != request.study_name:
            raise InputError(
                f"{request.study}: makes {ready.spec.study_name} now, expected {request.study_name}"
            )
        run_options = RunOptions(only_queued=request.params is not None)
        materials = load_materials(ready, run_options)
        ready = settle_precision(ready, console)
        return run_prepared(ready, materials, live, run_options, should_stop)

    return run
