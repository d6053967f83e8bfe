"""A private PostgreSQL server for tests: passwords asked for, loopback only, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed", exc_type=ImportError)

HOST = "127.0.0.1"
ADMIN = "admin"
ADMIN_PASSWORD = "for this test only"
TRIES = 3
"""Another program may take the free port between the moment it is found and the server's start."""
SETTINGS = f"""
listen_addresses = '{HOST}'
unix_socket_directories = ''
fsync = off  # the test's data need not outlive the machine
"""


@dataclass
class Server:
    """A server that runs.

    Attributes:
        folder: its data, its log, and nothing else.
        account: that it runs as: PostgreSQL refuses to be root; None for this process's own.
    """

    binaries: Path
    folder: Path
    account: str | None
    port: int = 0

    def start(self) -> None:
        """Start, or start again on the same port."""
        log = self.folder / "server.log"
        done = self._control("start", "-l", str(log), "-o", f"-p {self.port}")
        if done.returncode != 0:
            raise OSError(f"{done.stdout}{log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop at once; connections are cut."""
        self._control("stop", "-m", "fast")

    def _control(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        data = str(self.folder / "data")
        return self.run("pg_ctl", action, "-w", "-D", data, *arguments)

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's own programs."""
        as_account: dict[str, Any] = {}
        if self.account is not None:
            as_account = {"user": self.account, "group": pwd.getpwnam(self.account).pw_gid}
            as_account["extra_groups"] = []
        # The server inherits what is open: a pipe would stay open as long as the server runs.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [self.binaries / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                check=False,
                **as_account,
            )
            said.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, said.read(), "")

    def execute(self, statement: str, *names: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the administrator; ``{}`` in it stands for a quoted name."""
        query = psycopg.sql.SQL(statement).format(*map(psycopg.sql.Identifier, names))
        with psycopg.connect(
            host=HOST,
            port=self.port,
            user=ADMIN,
            password=ADMIN_PASSWORD,
            dbname=database,
            autocommit=True,
        ) as connection:
            found = connection.execute(query)
            return found.fetchall() if found.description else []

    def url(self, user: str, password: str, database: str) -> str:
        """For ``--storage``; the password as it is to be in a URL, percent-encoded."""
        return f"postgresql+psycopg://{user}:{password}@{HOST}:{self.port}/{database}"


@contextmanager
def running_server() -> Iterator[Server]:
    """A server with no database but its own, stopped and removed in the end.

    Skips the test where PostgreSQL is not installed or may not be run.
    """
    binaries, account = _find_binaries(), _find_account()
    folder = Path(tempfile.mkdtemp(prefix="cifar-tune-postgres-"))
    server = Server(binaries, folder, account)
    try:
        if account is not None:
            shutil.chown(folder, account)
        _initialize(server)
        _start_on_free_port(server)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _find_binaries() -> Path:
    """The folder of ``initdb``: Debian keeps it out of the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    for folder in [*os.get_exec_path(), *reversed(debian)]:
        if all(shutil.which(name, path=str(folder)) for name in ("initdb", "pg_ctl", "postgres")):
            return Path(folder)
    pytest.skip("PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql/*/bin")


def _find_account() -> str | None:
    if os.geteuid() != 0:
        return None
    accounts = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in accounts:
            return name
    pytest.skip("PostgreSQL refuses to run as root, and there is no account postgres or nobody")


def _initialize(server: Server) -> None:
    secret = server.folder / "password"
    secret.write_text(ADMIN_PASSWORD)
    if server.account is not None:
        shutil.chown(secret, server.account)
    arguments = ["-D", str(server.folder / "data"), "--no-sync", "--locale=C", "--encoding=UTF8"]
    arguments += ["--auth=scram-sha-256", f"--username={ADMIN}", f"--pwfile={secret}"]
    done = server.run("initdb", *arguments)
    secret.unlink()
    if done.returncode != 0:
        raise OSError(done.stdout)
    with (server.folder / "data" / "postgresql.conf").open("a") as file:
        file.write(SETTINGS)


def _start_on_free_port(server: Server) -> None:
    for attempt in range(TRIES):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            server.port = probe.getsockname()[1]
        try:
            server.start()
        except OSError:
            if attempt == TRIES - 1:
                raise
        else:
            return
