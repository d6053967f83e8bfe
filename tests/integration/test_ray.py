"""Studies on Ray: on a cluster of this machine, and on one whose nodes die."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import TINY, Cli
from invariants import read_study
from optuna.trial import FrozenTrial, TrialState
from places import STUDY_FILES
from processes import CLI, Runner
from ray_nodes import PATIENCE, Cluster

from cifar_tune.config.schema import Resources
from cifar_tune.errors import InputError
from cifar_tune.workers.ray.cluster import check_resources, count_places

EPOCHS = 5
LONGER = tuple(word.replace("images=64", "images=128") for word in TINY)
"""Trials long enough to be disturbed on a fast machine, too."""
STUDY = ("study", "run", "dropout", *LONGER, "--epochs", str(EPOCHS), "--trials", "0")
TWO_TRIALS = (*STUDY, "--only", "dropout/p=0.1", "--only", "dropout/p=0.2")
ONE_TRIAL = (*STUDY, "--only", "dropout/p=0.1")


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


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``cifar-tune`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", CLI, *arguments],
        cwd=folder,
        env={**os.environ, "CIFAR_TUNE_DATA": str(folder / "no-data")},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )


def run(folder: Path, *arguments: str) -> Any:
    """The same, for a command that succeeds: its JSON, which is all of its output."""
    done = call(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def outcomes(record: Any) -> list[tuple[Any, ...]]:
    """What came of each trial, apart from how fast."""
    return [
        (trial["number"], trial["name"], trial["state"], trial["epochs"], trial["val_accuracy"])
        for trial in record["trials"]
    ]


def stored(folder: Path) -> list[FrozenTrial]:
    """The trials that a run in that folder has stored."""
    return read_study(str(folder / "storage" / "cifar-tune.db")).trials


def epochs_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """All metrics of a trial, apart from the seconds."""
    history = trial.user_attrs["history"]
    return [{key: epoch[key] for key in epoch if key != "seconds"} for epoch in history]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[FrozenTrial]]:
    """Two trials, run without Ray: what the command said, and what it stored."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return run(folder, *TWO_TRIALS, "--workers", "inline"), stored(folder)


Undisturbed = tuple[Any, list[FrozenTrial]]


# --- a cluster on this machine ------------------------------------------------------------------


@pytest.mark.long
def test_ray_gives_what_other_workers_give(undisturbed: Undisturbed, tmp_path: Path) -> None:
    record = run(tmp_path, *TWO_TRIALS, "--workers", "ray")
    assert outcomes(record) == outcomes(undisturbed[0])
    for trial, other in zip(stored(tmp_path), undisturbed[1], strict=True):
        assert epochs_of(trial) == epochs_of(other)
        # One and the same file: Ray's tasks computed bit for bit what this machine does.
        assert trial.user_attrs["kept_weights_sha256"] == other.user_attrs["kept_weights_sha256"]


def test_without_ray_the_error_says_how_to_get_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = cli(*ONE_TRIAL, "--workers", "ray")
    assert answer.code == 2
    assert answer.err.strip().splitlines()[-1].endswith("pip install 'cifar-tune[ray]'`")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there"),
        ("no-such-host.invalid:6379", "no Ray cluster answers there"),
        ("somewhere", "expected ray:HOST:PORT"),
        ("ray://127.0.0.1:10001", "expected ray:HOST:PORT"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
    ],
)
def test_an_address_without_a_cluster(cli: Cli, address: str, reason: str) -> None:
    begun = time.monotonic()
    answer = cli(*ONE_TRIAL, "--workers", f"ray:{address}")
    assert time.monotonic() - begun < 60
    assert answer.code == 2
    (line,) = (line for line in answer.err.splitlines() if line.startswith("error"))
    assert f"--workers ray:{address}: {reason}" in line
    assert "Traceback" not in answer.err


NODE = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, "memory": 1e10}}
SMALL = {"Alive": True, "Resources": {"CPU": 3.0}}
GONE = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}


@pytest.mark.parametrize(
    ("cpus", "gpus", "places"),
    [(1, 0, 11), (2, 0, 5), (0.1, 0, 110), (1, 1, 2), (1, 2, 1), (1, 0.5, 4), (1, 0.4, 4)],
)
def test_places_are_counted_node_by_node_and_gpu_by_gpu(
    cpus: float, gpus: float, places: int
) -> None:
    resources = Resources(cpus=cpus, gpus=gpus)
    assert count_places([NODE, SMALL, GONE], resources) == places
    check_resources([NODE, SMALL, GONE], resources)


def test_resources_that_ray_does_not_know() -> None:
    with pytest.raises(InputError, match=r"gpus = 1\.5: expected a whole number"):
        check_resources([NODE], Resources(gpus=1.5))


# --- a cluster of several nodes -----------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    one = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield one
    finally:
        one.end()


def wait_for_epoch(runner: Runner, number: int, epoch: int) -> None:
    """Wait until a trial has ended an epoch, counted from 1."""
    name = f"trial {number} dropout/p=0.{number + 1}/seed=1"
    assert runner.wait_for_line(f"{name}  epoch {epoch}/{EPOCHS}", PATIENCE), runner.text


def epochs_told(runner: Runner, number: int) -> int:
    """How many epochs of a trial a run has printed."""
    return sum(f"trial {number} " in line and "  epoch " in line for line in runner.lines)


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """The folder that holds the storage, which can be hidden from nodes."""
    folder = tmp_path / "storage"
    folder.mkdir()
    script = 'mount -t tmpfs none "$0"'
    command = ["unshare", "--mount", "sh", "-c", script, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"a folder cannot be hidden from a process here: {error}")
    if done.returncode:
        pytest.skip(f"a folder cannot be hidden from a process here: {done.stderr.strip()}")
    return folder


@pytest.mark.long
def test_nodes_without_a_shared_disk(
    cluster: Cluster, undisturbed: Undisturbed, hidden: Path
) -> None:
    first = cluster.join(hide=hidden)
    runner = Runner(hidden.parent, *ONE_TRIAL, "--workers", f"ray:{cluster.address}")
    wait_for_epoch(runner, 0, 1)
    first.trials()[0].kill()
    wait_for_epoch(runner, 0, 3)
    first.die()
    assert runner.wait_for_line("its node died", PATIENCE), runner.text
    second = cluster.join(hide=hidden)
    assert runner.end(PATIENCE) == 0, runner.text
    second.leave()

    (trial,) = stored(hidden.parent)
    assert trial.state == TrialState.COMPLETE
    of_worker, of_node = trial.user_attrs["restarts"]
    assert "its worker died" in of_worker["why"]
    assert of_worker["epochs"] >= 1  # the node had checkpoints of its own
    assert "from" not in of_worker
    assert "its node died" in of_node["why"]
    assert of_node["epochs"] == 0
    assert of_node["from"].startswith("the beginning: this worker cannot read the folder")
    assert epochs_of(trial) == epochs_of(undisturbed[1][0])
    # The files came by way of Ray, and nothing is left on the node.
    digest = undisturbed[1][0].user_attrs["kept_weights_sha256"]
    (weights,) = hidden.glob("cifar-tune-weights/*/*")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == digest
    assert trial.user_attrs["kept_weights_sha256"] == digest
    assert list(second.temporary.rglob("*.safetensors")) == []


@pytest.mark.long
def test_a_node_that_dies_costs_an_epoch_at_most(
    cluster: Cluster, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    lost, other = cluster.join(), cluster.join()
    runner = Runner(tmp_path, *TWO_TRIALS, "--workers", f"ray:{cluster.address}")
    assert runner.wait_for(lambda: bool(lost.trials()), PATIENCE), runner.text
    (number,) = lost.trials()
    wait_for_epoch(runner, number, 1)
    lost.die()
    told = epochs_told(runner, number)
    assert runner.end(PATIENCE) == 0, runner.text
    other.leave()

    trials = stored(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    (restart,) = trials[number].user_attrs["restarts"]
    assert restart["died"]
    assert "its node died" in restart["why"]
    assert restart["epochs"] >= told
    assert "from" not in restart
    assert "restarts" not in trials[1 - number].user_attrs
    assert list(map(epochs_of, trials)) == list(map(epochs_of, undisturbed[1]))
    assert "(raylet)" not in runner.text  # what Ray would print of it on standard output


@pytest.mark.long
def test_a_runner_that_is_killed_takes_its_tasks_along_and_the_next_one_goes_on(
    cluster: Cluster, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    node = cluster.join()
    command = (*ONE_TRIAL, "--workers", f"ray:{cluster.address}")
    runner = Runner(tmp_path, *command)
    wait_for_epoch(runner, 0, 2)
    (task,) = node.trials().values()
    runner.send(signal.SIGKILL)
    assert psutil.wait_procs([task], timeout=30)[1] == []

    run(tmp_path, *command)
    (trial,) = stored(tmp_path)
    assert trial.state == TrialState.COMPLETE
    (restart,) = trial.user_attrs["restarts"]
    assert restart["why"] == "the run had ended"
    assert restart["epochs"] >= 2
    assert epochs_of(trial) == epochs_of(undisturbed[1][0])


@pytest.mark.long
def test_resources_that_no_node_has(cluster: Cluster, tmp_path: Path) -> None:
    shipped = STUDY_FILES / "dropout.toml"
    text = shipped.read_text(encoding="utf-8")
    wanted = "[profiles.quick.resources]\ngpus = 1\n"
    (tmp_path / "mine.toml").write_text(f"{text}\n{wanted}", encoding="utf-8")
    command = ("study", "run", "mine.toml", "--profile", "quick", "--epochs", "1")
    done = call(tmp_path, *command, "--workers", f"ray:{cluster.address}")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "cpus = 1, gpus = 1: no node of the Ray cluster has as much" in last
    assert "0 GPUs" in last
    assert "Traceback" not in done.stderr
