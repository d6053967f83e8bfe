"""The command ``cifar-tune dashboard``, and how a server is announced and stopped."""

from __future__ import annotations

import gc
import signal
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cifar_tune import paths
from cifar_tune.cli.console import make_console
from cifar_tune.errors import StorageError
from cifar_tune.storage.location import explain_errors, locate_storage

if TYPE_CHECKING:
    from cifar_tune.dashboard.access import Access
    from cifar_tune.dashboard.server import Server


_GC_THRESHOLDS = (100_000, 50, 100)
"""Objects made before Python looks for garbage. Thousands of trials are loaded in two thirds of the
time: nearly all of the objects made meanwhile stay."""


@dataclass(frozen=True)
class ServerOptions:
    """The options that say where a server listens and who is let in."""

    host: str
    port: int
    token: str | None
    is_read_only: bool | None
    opens: bool


def show_dashboard(storage: str | None, options: ServerOptions) -> None:
    """Serve the dashboard until a signal ends it."""
    from cifar_tune.dashboard.access import choose_access

    location = locate_storage(storage)
    access = choose_access(options.host, options.token, options.is_read_only)

    from cifar_tune.dashboard.app import make_app
    from cifar_tune.dashboard.guard import guard
    from cifar_tune.dashboard.queue.app import make_queue_app
    from cifar_tune.dashboard.server import open_server
    from cifar_tune.storage.studies import open_to_read

    with explain_errors(location):
        opened = open_to_read(location)
    if opened is None:
        raise StorageError(
            f"{location}: is not there, or holds no study; `cifar-tune study run dropout` makes one"
        )
    page = make_queue_app(opened, None, is_read_only=access.is_read_only)
    app = make_app(opened, paths.artifacts_folder(location.beside), {"/queue": page})
    server = open_server(guard(app, access), options.host, options.port)
    collect_garbage_less_often()
    with stopped_by_signals(server):
        announce(make_console(), server, access)
        if options.opens:
            open_browser(server, access)
        server.run()


def collect_garbage_less_often() -> None:
    """Keep Python from looking for garbage again and again while thousands of trials are read."""
    gc.set_threshold(*_GC_THRESHOLDS)


def announce(console: Console, server: Server, access: Access) -> None:
    """Print the address, with the token if it was made here, and what is allowed."""
    console.print(address(server, access), soft_wrap=True)
    if access.is_read_only:
        console.print("read-only: nothing can be changed or deleted; --read-write allows it")
    console.print("Ctrl-C stops it")


def address(server: Server, access: Access) -> str:
    """Where a browser finds it; with the token if it was made here."""
    return f"{server.url}?token={access.token}" if access.is_made else server.url


def open_browser(server: Server, access: Access) -> None:
    """Open the address; a browser that runs in the terminal must not keep the server waiting."""
    place = address(server, access)
    threading.Thread(target=webbrowser.open, args=(place,), daemon=True).start()


@contextmanager
def stopped_by_signals(server: Server) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM close the server."""

    def stop(*_: Any) -> None:
        server.close()

    previous = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)
