"""Several trials at once in one worker process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from worker_trials import (
    ENDS,
    PATIENCE,
    Configs,
    Reference,
    apart_from_seconds,
    make_task,
    train_slowly,
)

from cifar_tune.config.trial import TrialConfig
from cifar_tune.workers.kind import Work
from cifar_tune.workers.local.pool import LocalPool
from cifar_tune.workers.local.process import Seat
from cifar_tune.workers.protocol import (
    Died,
    EpochEnded,
    Event,
    Finished,
    Materials,
    Pool,
    Started,
    Stopped,
    Task,
)
from cifar_tune.workers.train_task import work

pytestmark = pytest.mark.usefixtures("one_thread")


def follow_all(
    pool: Pool,
    tasks: list[Task],
    go_on: Callable[[int], bool] = lambda _: True,
    meanwhile: Callable[[Event], None] = lambda _: None,
) -> tuple[dict[int, Event], int]:
    """Do the runner's part for trials, filling each slot that is free.

    Returns:
        How each ended, and how many ran at once at the most.
    """
    waiting, running, ended, most = list(tasks), set[int](), dict[int, Event](), 0
    deadline = time.monotonic() + PATIENCE
    while len(ended) < len(tasks):
        assert time.monotonic() < deadline, f"no end within {PATIENCE:g} s: {ended}"
        while waiting and len(running) < pool.slots:
            running.add(waiting[0].number)
            pool.start(waiting.pop(0))
        most = max(most, len(running))
        event = pool.next_event(1.0)
        if event is None:
            continue
        meanwhile(event)
        if isinstance(event, ENDS):
            running.remove(event.number)
            ended[event.number] = event
        elif isinstance(event, EpochEnded):
            pool.decide(event.number, go_on=go_on(event.number))
    return ended, most


def make_tasks(configs: list[TrialConfig], folder: Path) -> list[Task]:
    """Each in a folder of its own."""
    for number in range(len(configs)):
        (folder / str(number)).mkdir(parents=True)
    return [make_task(one, folder / str(number), number) for number, one in enumerate(configs)]


@contextmanager
def one_process(slots: int, materials: Materials, folder: Path, work: Work) -> Iterator[LocalPool]:
    """A pool of one process with so many slots."""
    seat = Seat("cpu", 1, slots)
    with closing(LocalPool(materials, [seat], 1 / slots, folder / "logs", work)) as pool:
        yield pool


@pytest.mark.parametrize("slots", [pytest.param(2, marks=pytest.mark.long), 3])
def test_slots_of_a_process_are_refilled_and_give_what_each_trial_gives_alone(
    slots: int, materials: Materials, make_config: Configs, reference: Reference, tmp_path: Path
) -> None:
    settings: list[dict[str, Any]] = [
        {"epochs": 1},
        {"seed": 8},
        {"dropout_rate": 0.6},
        {"epochs": 1, "seed": 9},
    ]
    configs = [make_config(train_images=32, **one) for one in settings]
    with one_process(slots, materials, tmp_path, work) as pool:
        assert pool.slots == slots
        ended, most = follow_all(pool, make_tasks(configs, tmp_path), lambda number: number != 1)
        assert most == slots
        for number, config in enumerate(configs):
            event, (expected, folder) = ended[number], reference(config)
            assert isinstance(event, Finished)
            if number == 1:
                assert event.result.pruned
                expected = replace(expected, epochs=expected.epochs[:1])
                assert apart_from_seconds(event.result).epochs == expected.epochs
            else:
                assert apart_from_seconds(event.result) == expected
                for name in ("weights", "predictions"):
                    ours = (tmp_path / str(number) / name).read_bytes()
                    assert ours == (folder / name).read_bytes()
                assert (tmp_path / str(number) / "activation_maps").exists()

        # Word to stop comes to all that train.
        began: set[int] = set()

        def stop(event: Event) -> None:
            began.update({event.number} if isinstance(event, Started) else ())
            if len(began) == slots:
                pool.stop()

        endless = [make_config(epochs=1000, seed=seed) for seed in range(slots)]
        ended, _ = follow_all(pool, make_tasks(endless, tmp_path / "endless"), meanwhile=stop)
        assert ended == {number: Stopped(number) for number in range(slots)}


def test_a_process_that_is_killed_costs_each_of_its_trials_an_epoch_at_most(
    materials: Materials, make_config: Configs, reference: Reference, tmp_path: Path
) -> None:
    configs = [make_config(seed=seed) for seed in range(2)]
    tasks = make_tasks(configs, tmp_path)
    with one_process(2, materials, tmp_path, train_slowly) as pool:
        epochs: set[int] = set()

        def kill(event: Event) -> None:
            epochs.update({event.number} if isinstance(event, EpochEnded) else ())
            if len(epochs) == 2:
                epochs.clear()
                pids = {(tmp_path / str(number) / "pid").read_text() for number in range(2)}
                os.kill(int(pids.pop()), signal.SIGKILL)
                assert not pids  # it was one process

        ended, _ = follow_all(pool, tasks, meanwhile=kill)
        for event in ended.values():
            assert isinstance(event, Died)
            assert "ended by SIGKILL" in event.reason
        starts: dict[int, int] = {}

        def note(event: Event) -> None:
            if isinstance(event, Started):
                starts[event.number] = event.epochs

        ended, _ = follow_all(pool, tasks, meanwhile=note)
    assert starts == {0: 1, 1: 1}
    for number, config in enumerate(configs):
        event = ended[number]
        assert isinstance(event, Finished)
        assert apart_from_seconds(event.result) == reference(config)[0]
