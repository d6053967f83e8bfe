"""What every kind of worker does alike: one suite for the three of them, at the seam they share."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from worker_pools import MakePool
from worker_trials import (
    PATIENCE,
    Configs,
    Reference,
    apart_from_seconds,
    follow,
    make_task,
    train_slowly,
)

from cifar_tune.config.trial import TrialConfig
from cifar_tune.training.records import EpochMetrics
from cifar_tune.workers.protocol import EpochEnded, Event, Finished, Started, Stepped, Stopped
from cifar_tune.workers.train_task import work

pytestmark = pytest.mark.usefixtures("one_thread")


# --- a trial that runs to its end ---------------------------------------------------------------


def test_every_kind_gives_the_same_result_and_files(
    make_pool: MakePool, config: TrialConfig, reference: Reference, tmp_path: Path
) -> None:
    pool = make_pool(work)
    pool.start(make_task(config, tmp_path))
    started, *epochs, finished = follow(pool, 7)

    assert isinstance(started, Started)
    assert (started.epochs, started.steps, started.refusals) == (0, 0, ())
    assert started.shares_files
    assert set(started.provenance) == {"device", "host", "software", "threads"}
    assert isinstance(finished, Finished)
    assert epochs == [EpochEnded(7, metrics) for metrics in finished.result.epochs]

    expected, folder = reference(config)
    assert apart_from_seconds(finished.result) == expected
    for name in (
        "weights",
        "predictions",
        "learning_curves",
        "confusion_matrix",
        "activation_maps",
    ):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    digest = hashlib.sha256((tmp_path / "weights").read_bytes()).hexdigest()
    assert finished.result.kept_sha256 == digest
    names = {path.name for path in (folder / "trial-7").glob("*.safetensors")}
    assert names == {path.name for path in (tmp_path / "trial-7").glob("*.safetensors")}
    assert len(names) == 1  # of two epochs
    for name in names:  # as files they differ in the seconds that are in them
        ours, theirs = (load_file(one / "trial-7" / name) for one in (tmp_path, folder))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_after_an_epoch_the_worker_waits_and_may_be_told_to_end(
    make_pool: MakePool, config: TrialConfig, tmp_path: Path
) -> None:
    pool = make_pool(work)
    pool.start(make_task(config, tmp_path))
    *_, last = follow(pool, 7, until=lambda event: isinstance(event, EpochEnded))
    assert isinstance(last, EpochEnded)
    assert pool.next_event(1.0) is None
    pool.decide(7, go_on=False)
    (finished,) = follow(pool, 7)
    assert isinstance(finished, Finished)
    assert finished.result.pruned
    assert len(finished.result.epochs) == 1
    assert not (tmp_path / "weights").exists()


def test_as_many_trials_run_at_once_as_there_are_slots(
    make_pool: MakePool, make_config: Configs, kind: str, tmp_path: Path
) -> None:
    pool = make_pool(work)
    assert pool.slots == {"inline": 1, "local": 2, "ray": 2}[kind]
    configs = [make_config(epochs=1, seed=seed) for seed in range(pool.slots)]
    for number, config in enumerate(configs):
        pool.start(make_task(config, tmp_path / str(number), number))
    waiting: dict[int, EpochMetrics] = {}
    deadline = time.monotonic() + PATIENCE
    while len(waiting) < pool.slots and time.monotonic() < deadline:
        event = pool.next_event(1.0)
        if isinstance(event, EpochEnded):
            waiting[event.number] = event.metrics
    # None was answered before all were there: they ran beside one another.
    for number in sorted(waiting, reverse=True):
        pool.decide(number, go_on=True)
        (finished,) = follow(pool, number)
        assert isinstance(finished, Finished)
        assert finished.result.epochs == (waiting[number],)
    assert len(waiting) == pool.slots


# --- stopping -----------------------------------------------------------------------------------


def test_a_trial_that_is_stopped_goes_on_from_within_its_epoch(
    make_pool: MakePool, make_config: Configs, reference: Reference, tmp_path: Path
) -> None:
    config = make_config(train_images=256)
    task = make_task(config, tmp_path)
    pool = make_pool(train_slowly)
    pool.start(task)
    seen: list[Event] = []

    def is_in_second_epoch(event: Event) -> bool:
        seen.append(event)
        epochs = sum(isinstance(one, EpochEnded) for one in seen)
        return epochs == 1 and isinstance(event, Stepped) and event.done < 5

    *_, last = follow(pool, 7, until=is_in_second_epoch)
    assert isinstance(last, Stepped)
    pool.stop()
    stopped = follow(pool, 7)
    assert stopped == [Stopped(7)]
    pool.close()

    pool = make_pool(work)
    pool.start(task)
    started, *epochs, finished = follow(pool, 7)
    assert isinstance(started, Started)
    assert started.epochs == 1
    assert 0 < started.steps < config.steps
    assert started.refusals == ()
    assert len(epochs) == 2  # the one before is told of again
    assert isinstance(finished, Finished)
    assert apart_from_seconds(finished.result) == reference(config)[0]


def test_a_trial_that_is_stopped_before_it_has_begun(
    make_pool: MakePool, make_config: Configs, tmp_path: Path
) -> None:
    pool = make_pool(train_slowly)
    pool.start(make_task(make_config(train_images=640), tmp_path))
    pool.stop()
    assert follow(pool, 7)[-1] == Stopped(7)


def test_close_ends_what_runs_at_once(
    make_pool: MakePool, make_config: Configs, kind: str, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    pool = make_pool(train_slowly)
    pool.start(make_task(make_config(train_images=640, epochs=100), tmp_path))
    *_, last = follow(pool, 7, until=lambda event: isinstance(event, Stepped))
    assert isinstance(last, Stepped)
    begun = time.monotonic()
    pool.close()
    assert time.monotonic() - begun < 10.0
    pool.close()  # once more does no harm
    pid = int(pid_file.read_text(encoding="utf-8"))
    assert (pid == os.getpid()) == (kind == "inline")
    while kind != "inline" and _is_alive(pid):
        assert time.monotonic() - begun < 20.0, "the worker lives on"
        time.sleep(0.1)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
