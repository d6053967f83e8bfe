"""Studies on Ray: a cluster of this machine's own, and one of several nodes that lose each other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import TINY, Cli
from invariants import read_study
from processes import CLI, Runner

from cifar_tune.errors import InputError
from cifar_tune.study_schema import Resources
from cifar_tune.workers.ray_cluster import check_resources, count_places

PATIENCE = 180.0
"""Seconds that a step of a run may take on a busy machine."""
EPOCHS = 6
STUDY = ("study", "run", "dropout", *TINY, "--epochs", str(EPOCHS), "--trials", "0")
TWO_TRIALS = (*STUDY, "--only", "dropout/p=0.1", "--only", "dropout/p=0.2")
ONE_TRIAL = (*STUDY, "--only", "dropout/p=0.1")

SetEnvironment = Callable[[], None]


@pytest.fixture(autouse=True)
def needs_ray() -> None:
    """Skip all of this where Ray is not installed."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'cifar-tune[ray]'")


@pytest.fixture(autouse=True, scope="module")
def environment() -> Iterator[None]:
    """One thread for every process, so that sums are the same; no reports to Ray's makers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)  # else Ray writes one into the home
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.delenv("RAY_AUTH_MODE", raising=False)
        yield


def run(folder: Path, *arguments: str) -> Any:
    """Run ``cifar-tune`` in a process of its own; its JSON."""
    done = subprocess.run(
        [sys.executable, "-c", CLI, *arguments, "--json"],
        cwd=folder,
        env={**os.environ, "CIFAR_TUNE_DATA": str(folder / "no-data")},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def outcomes(record: Any) -> list[tuple[Any, ...]]:
    """What came of each trial, apart from how fast."""
    return [
        (trial["number"], trial["name"], trial["state"], trial["epochs"], trial["val_accuracy"])
        for trial in record["trials"]
    ]


def epochs_of(folder: Path) -> list[list[dict[str, Any]]]:
    """All metrics of all trials, apart from the seconds, as they are stored."""
    study = read_study(str(folder / "storage" / "cifar-tune.db"))
    return [
        [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in history]
        for history in (trial.user_attrs["history"] for trial in study.trials)
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Two trials, run without Ray: what the command said, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return run(folder, *TWO_TRIALS, "--workers", "inline"), folder


# --- a cluster on this machine ------------------------------------------------------------------


@pytest.mark.e2e
def test_ray_gives_what_other_workers_give(
    undisturbed: tuple[Any, Path], tmp_path: Path
) -> None:
    record = run(tmp_path, *TWO_TRIALS, "--workers", "ray")
    assert outcomes(record) == outcomes(undisturbed[0])
    assert epochs_of(tmp_path) == epochs_of(undisturbed[1])


# --- a cluster of several nodes -----------------------------------------------------------------


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
        if hide is not None:
            own = log.with_suffix(".tmp")
            own.mkdir()
            environment["TMPDIR"] = str(own)
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

    def processes(self) -> list[psutil.Process]:
        """All that it is made of; what it starts stays in its session."""
        found = []
        for one in psutil.process_iter():
            with suppress(ProcessLookupError):
                if os.getsid(one.pid) == self._process.pid:
                    found.append(one)
        return found

    def trains(self) -> bool:
        """Whether it has a trial."""
        for one in self.processes():
            with suppress(psutil.NoSuchProcess):
                if one.cmdline() and one.cmdline()[0].startswith("ray::trial"):
                    return True
        return False

    def die(self) -> None:
        """Lose the one process without which a node is none; its workers do not outlive it."""
        (raylet,) = [one for one in self.processes() if one.name() == "raylet"]
        raylet.kill()

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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    one = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield one
    finally:
        one.end()
