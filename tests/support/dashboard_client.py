"""A live dashboard over a tiny study for tests, and ways to ask it."""

from __future__ import annotations

import io
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults

import optuna
import requests
from PIL import Image

from cifar_tune import paths
from cifar_tune.dashboard.access import choose_access
from cifar_tune.dashboard.app import make_app
from cifar_tune.dashboard.guard import guard
from cifar_tune.dashboard.server import open_server
from cifar_tune.storage import studies
from cifar_tune.storage.location import StorageLocation, locate_storage
from cifar_tune.storage.study_folders import list_artifact_folders

TOKEN = "a token for this test"
STUDY = "api/studies/1"
ANSWER_SECONDS = 30.0
LEAVE_SECONDS = 5.0


@dataclass(frozen=True)
class Live:
    """A server that serves a database.

    Attributes:
        url: with a slash at its end.
    """

    url: str
    database: Path

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def artifacts(self) -> Path:
        """The folder of artifacts, which may not be there."""
        return paths.artifacts_folder(self.database)

    def ask(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        """Send a request; redirects are not followed."""
        options = {"timeout": ANSWER_SECONDS, "allow_redirects": False, **options}
        return requests.request(method, f"{self.url}{path}", **options)

    def typed(self, body: str = "typed") -> dict[str, Any]:
        """The study's note as a person saves it who has the page open."""
        return {"version": self.ask(STUDY).json()["note"]["version"] + 1, "body": body}

    def connect(self) -> socket.socket:
        """A connection on which nothing is sent."""
        return socket.create_connection(self.place, ANSWER_SECONDS)

    def exchange(self, request: str) -> bytes:
        """Send a request that a client library would mend, and read all that comes back.

        Args:
            request: its line and headers, without ``Host`` and ``Connection``.
        """
        host, port = self.place
        lines = [*request.splitlines(), f"Host: {host}:{port}", "Connection: close", "", ""]
        with self.connect() as connection:
            connection.sendall("\r\n".join(lines).encode("latin-1"))
            answer = b""
            with suppress(ConnectionResetError):  # it was ended before all was read
                while part := connection.recv(65536):
                    answer += part
        return answer

    def study(self) -> optuna.Study:
        """Its study, to be written."""
        opened = studies.open_to_write(locate_storage(str(self.database)))
        (name,) = optuna.get_all_study_names(storage=opened)
        return optuna.load_study(study_name=name, storage=opened)


@contextmanager
def serving(
    database: Path, *, token: str | None = None, is_read_only: bool | None = None
) -> Iterator[Live]:
    """Serve a database from a thread of this process, as the command does from its own."""
    opened = studies.open_to_read(locate_storage(str(database)))
    assert opened is not None
    host = "127.0.0.1"
    app = make_app(opened, list_artifact_folders(opened, locate_storage(str(database))))
    server = open_server(guard(app, choose_access(host, token, is_read_only)), host, 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Live(server.url, database)
    finally:
        server.stop()
        thread.join(LEAVE_SECONDS)
        assert not thread.is_alive()


def ask_app(app: WSGIApplication, path: str, query: str = "", status: str = "200 OK") -> bytes:
    """What an application answers that no server runs."""
    environ: dict[str, Any] = {"PATH_INFO": f"/{path}", "QUERY_STRING": query}
    setup_testing_defaults(environ)
    statuses = []

    def begin(status: str, *_: Any) -> Any:
        statuses.append(status)

    body = b"".join(app(environ, begin))
    assert statuses == [status]
    return body


def make_picture() -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    Image.new("RGB", (4, 3), "teal").save(file, "PNG")
    return file.getvalue()


def copy_database(stored: StorageLocation, path: Path) -> Path:
    """Copy a SQLite database, with what is still in its log."""
    with closing(sqlite3.connect(str(stored))) as old, closing(sqlite3.connect(path)) as new:
        old.backup(new)
    return path
