"""A Ray cluster of several nodes on this machine, which can be lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE = 180.0
"""Seconds that a step of a run may take on a busy machine."""


class Node:
    """A node of a cluster on this machine, begun by ``ray start``; it is there when this returns.

    Args:
        log: what ``ray start`` prints.
        hide: a folder that the node does not see, as if it were on another machine without a
            shared disk; its temporary folder, too, is its own then.
    """

    def __init__(self, log: Path, *options: str, hide: Path | None = None) -> None:
        ray = Path(sys.executable).with_name("ray")
        command = [str(ray), "start", "--block", "--disable-usage-stats"]
        command += ["--min-worker-port=0", "--max-worker-port=0"]  # nodes of one machine share them
        command += ["--object-store-memory=200000000", *options]
        environment = {**os.environ, "RAY_AUTH_MODE": "token"}  # runners find that out
        self.temporary = log.with_suffix(".tmp")
        if hide is not None:
            self.temporary.mkdir()
            environment["TMPDIR"] = str(self.temporary)
            script = 'mount -t tmpfs none "$0" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, str(hide), *command]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE
        while "Ray runtime started" not in log.read_text(encoding="utf-8"):
            is_well = self._process.poll() is None and time.monotonic() < deadline
            assert is_well, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        (self._raylet,) = [one for one in self.processes() if one.name() == "raylet"]

    def processes(self) -> list[psutil.Process]:
        """All that it is made of; what it starts stays in its session."""
        found = []
        for one in psutil.process_iter():
            with suppress(ProcessLookupError):
                if os.getsid(one.pid) == self._process.pid:
                    found.append(one)
        return found

    def trials(self) -> dict[int, psutil.Process]:
        """The processes that train on it, by the number of the trial."""
        found = {}
        for one in self.processes():
            with suppress(psutil.Error):
                words = " ".join(one.cmdline()).split()
                if words[:1] == ["ray::trial"]:
                    found[int(words[1])] = one
        return found

    def die(self) -> None:
        """Lose the one process without which a node is none; its workers do not outlive it."""
        self._raylet.kill()

    def leave(self) -> None:
        """Sign off, so that the cluster does not wait for it."""
        self._raylet.terminate()
        psutil.wait_procs([self._raylet], timeout=10)
        self.end()

    def end(self) -> None:
        """End all that is left of it."""
        for one in self.processes():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()


class Cluster:
    """A head without room for trials, where runners connect, and nodes with room for one each.

    Args:
        folder: for logs.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._folder = folder
        self._nodes: list[Node] = []
        self._add("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")

    def join(self, hide: Path | None = None) -> Node:
        """A node with room for one trial."""
        return self._add(f"--address={self.address}", "--num-cpus=1", hide=hide)

    def _add(self, *options: str, hide: Path | None = None) -> Node:
        node = Node(self._folder / f"node-{len(self._nodes)}.log", *options, hide=hide)
        self._nodes.append(node)
        return node

    def end(self) -> None:
        """End all of its processes."""
        for node in self._nodes:
            node.end()
