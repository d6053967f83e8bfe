"""Workers of every kind that fail, die or do not fit: what is said, and what it costs."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from worker_pools import MakePool, open_pool
from worker_trials import (
    Configs,
    Reference,
    apart_from_seconds,
    crash,
    die_of_sigkill,
    exit_thread,
    fail_by_number,
    follow,
    leave_with_code,
    make_task,
)

import cifar_tune
from cifar_tune.config.trial import TrialConfig
from cifar_tune.workers.kind import Work
from cifar_tune.workers.protocol import (
    Died,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Materials,
    Pool,
    Started,
    Task,
)
from cifar_tune.workers.train_task import work

pytestmark = pytest.mark.usefixtures("one_thread")


def test_failures_are_told_apart_and_leave_the_slot_usable(
    make_pool: MakePool, make_config: Configs, tmp_path: Path
) -> None:
    pool, config = make_pool(fail_by_number), make_config(epochs=1)

    def train(number: int, config: TrialConfig = config) -> Event:
        pool.start(make_task(config, tmp_path, number))
        return follow(pool, number)[-1]

    diverged = train(7, replace(config, learning_rate=1e38))
    assert isinstance(diverged, Failed)
    assert diverged.kind == "not_finite"
    assert diverged.detail == {"epoch": 1, "step": 2}
    assert "not finite in epoch 1, step 2" in diverged.message

    wrong = train(8)
    assert isinstance(wrong, Failed)
    assert (wrong.kind, wrong.message) == ("error", "ValueError: shapes differ")
    assert "Traceback" in wrong.detail["traceback"]
    assert "by far" in wrong.detail["traceback"]

    too_large = train(9)
    assert isinstance(too_large, Failed)
    assert too_large.kind == "cuda_out_of_memory"
    assert "Tried to allocate 2 GiB" in too_large.message

    refused = Failed(10, "refused", "weights: the disk is full", {"error": "WeightsError"})
    assert train(10) == refused
    assert isinstance(train(11), Finished)


def assert_goes_on_after_first_epoch(pool: Pool, task: Task, reference: Reference) -> None:
    """The trial takes up its checkpoint, and ends as one that nothing happened to."""
    pool.start(task)
    started, *_, finished = follow(pool, 7)
    assert isinstance(started, Started)
    assert started.epochs == 1
    assert isinstance(finished, Finished)
    assert apart_from_seconds(finished.result) == reference(task.config)[0]


CRASHED = "its worker died: it crashed, was killed, or its node is gone"


def death(
    kind: str,
    die: Callable[..., None],
    reason: str,
    tail: str = "EpochEnded(number=7",
    *,
    is_long: bool = False,
) -> Any:
    """A way to die, and what is said of it."""
    marks = [pytest.mark.long] * is_long
    return pytest.param(kind, die, reason, tail, marks=marks, id=f"{kind}-{die.__name__}")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("kind", "die", "reason", "tail"),
    [
        death("inline", exit_thread, "its thread ended unexpectedly", tail=""),
        death("local", die_of_sigkill, "ended by SIGKILL"),
        death("local", leave_with_code, "ended with exit code 3", is_long=True),
        # The tail is Python's own account.
        death("local", crash, "ended by SIGSEGV", tail="in string_at", is_long=True),
        death("ray", die_of_sigkill, CRASHED),
        death("ray", leave_with_code, CRASHED),
        death("ray", crash, CRASHED, is_long=True),
    ],
    indirect=["kind"],
)
def test_a_worker_that_dies_costs_an_epoch_at_most(
    make_pool: MakePool,
    config: TrialConfig,
    reference: Reference,
    die: Work,
    reason: str,
    tail: str,
    tmp_path: Path,
) -> None:
    pool, task = make_pool(die), make_task(config, tmp_path)
    pool.start(task)
    *before, died = follow(pool, 7)
    assert [type(event) for event in before] == [Started, EpochEnded]
    assert isinstance(died, Died)
    assert reason in died.reason
    assert tail in died.tail

    assert_goes_on_after_first_epoch(pool, task, reference)


@pytest.mark.long
def test_trials_on_ray_go_on_when_the_process_that_carries_their_words_dies(
    ray_cluster: None,  # noqa: ARG001
    materials: Materials,
    config: TrialConfig,
    reference: Reference,
    tmp_path: Path,
) -> None:
    pool, task = open_pool("ray", materials, tmp_path, work), make_task(config, tmp_path)
    with closing(pool):
        pool.start(task)
        *_, last = follow(pool, 7, until=lambda event: isinstance(event, EpochEnded))
        assert isinstance(last, EpochEnded)
        for process in psutil.Process().children(recursive=True):
            if process.name().startswith("ray::Desk"):
                process.kill()
        (died,) = follow(pool, 7)
        assert isinstance(died, Died)
        assert "Ray's process for it died" in died.reason

        assert_goes_on_after_first_epoch(pool, task, reference)


@pytest.mark.long
def test_a_node_with_another_version_is_refused(
    ray_cluster: None,  # noqa: ARG001
    materials: Materials,
    config: TrialConfig,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    here = cifar_tune.__version__
    monkeypatch.setattr("cifar_tune.__version__", "99.0")  # of the runner alone
    with closing(open_pool("ray", materials, tmp_path, work)) as pool:
        pool.start(make_task(config, tmp_path))
        (failed,) = follow(pool, 7)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.detail) == ("refused", {"error": "InputError"})
    assert f"node {platform.node()}: cifar-tune {here}, torch" in failed.message
    assert "expected the runner's versions: cifar-tune 99.0, torch" in failed.message
