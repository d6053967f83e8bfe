"""Trials for the tests of workers: what is done with them, and what they give without a worker."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import load_search_data
from cifar_tune.errors import WeightsError
from cifar_tune.models.weights import load_weights
from cifar_tune.training.objective import run_trial
from cifar_tune.training.pictures.draw import draw_pictures
from cifar_tune.training.records import EpochMetrics, TrialFiles, TrialResult
from cifar_tune.workers.protocol import (
    Channel,
    Died,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Materials,
    Pool,
    Stepped,
    Stopped,
    Task,
)
from cifar_tune.workers.train_task import work

CPU = torch.device("cpu")
PATIENCE = 180.0
"""Seconds that a worker may take to begin and train a tiny trial on a busy machine."""
STEP_SECONDS = 0.15
"""How long a step takes that is slowed down, so that there is time to stop within an epoch."""
ENDS = (Finished, Stopped, Failed, Died)

Configs = Callable[..., TrialConfig]


# --- what the workers are given to do: a worker process finds it by name ------------------------


ERRORS = {
    8: ValueError("shapes differ\nby far"),
    9: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    10: WeightsError("weights: the disk is full"),
}
"""By the number of the trial that meets it."""


def fail_by_number(task: Task, *rest: Any) -> None:
    """Fail as the trial of that number does, if it does."""
    if task.number not in ERRORS:
        work(task, *rest)
        return
    with mock.patch("cifar_tune.workers.train_task.run_trial", side_effect=ERRORS[task.number]):
        work(task, *rest)


def exit_thread(*arguments: Any) -> None:
    """Die in the second epoch, once; the next time all goes well. So do the following."""
    _train_and_die(_raise_exit, *arguments)


def die_of_sigkill(*arguments: Any) -> None:
    _train_and_die(lambda: os.kill(os.getpid(), signal.SIGKILL), *arguments)


def leave_with_code(*arguments: Any) -> None:
    _train_and_die(lambda: os._exit(3), *arguments)


def crash(*arguments: Any) -> None:
    _train_and_die(lambda: ctypes.string_at(0), *arguments)


def _raise_exit() -> None:
    raise SystemExit


def _train_and_die(
    die: Callable[[], object], task: Task, materials: Materials, device: Any, channel: Channel
) -> None:
    marker = _folder(task) / "died"

    def die_once() -> None:
        if not marker.exists():
            marker.touch()
            die()

    with _wrapped(channel, after_epoch=die_once) as wrapped:
        work(task, materials, device, wrapped)


def train_slowly(task: Task, materials: Materials, device: Any, channel: Channel) -> None:
    """Take a while for each step; says in a file which process this is."""
    (_folder(task) / "pid").write_text(str(os.getpid()), encoding="utf-8")
    with _wrapped(channel, before_step=lambda: time.sleep(STEP_SECONDS)) as wrapped:
        work(task, materials, device, wrapped)


def _folder(task: Task) -> Path:
    assert task.files.checkpoints is not None
    return task.files.checkpoints.parent


@contextmanager
def _wrapped(
    channel: Any,
    before_step: Callable[[], None] = lambda: None,
    after_epoch: Callable[[], None] = lambda: None,
) -> Iterator[Channel]:
    """A channel that does something besides."""

    def decide() -> bool:
        go_on: bool = channel_decide()
        after_epoch()
        return go_on

    def should_stop() -> bool:
        before_step()
        return bool(channel_should_stop())

    channel_decide, channel_should_stop = channel.decide, channel.should_stop
    with ExitStack() as stack:
        for name, replacement in (("decide", decide), ("should_stop", should_stop)):
            stack.enter_context(mock.patch.object(channel, name, replacement))
        yield channel


# --- the runner's part ---------------------------------------------------------------------------


@contextmanager
def single_thread() -> Iterator[None]:
    """Sums in another order are other sums: all kinds of workers use one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load_materials() -> Materials:
    """The bundled images and weights."""
    weights = load_weights(["tiny-imagenet-32"], Path("no-data"))
    return Materials(load_search_data("bundled", Path("no-data")), weights, Path("no-data"))


def make_task(config: TrialConfig, folder: Path, number: int = 7) -> Task:
    files = TrialFiles(
        folder / "weights",
        folder / "predictions",
        folder / f"trial-{number}",
        folder / "learning_curves",
        folder / "confusion_matrix",
        folder / "activation_maps",
    )
    return Task(number, config, files)


def follow(
    pool: Pool,
    number: int,
    go_on: Callable[[EpochMetrics], bool] = lambda _: True,
    until: Callable[[Event], bool] = lambda _: False,
) -> list[Event]:
    """Do the runner's part for one trial; its events up to the last, or until one of them.

    Of steps, only those after which it is not gone on are among them.
    """
    events: list[Event] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        event = pool.next_event(1.0)
        if event is None or event.number != number:
            continue
        if not isinstance(event, Stepped) or until(event):
            events.append(event)
        if isinstance(event, ENDS) or until(event):
            return events
        if isinstance(event, EpochEnded):
            pool.decide(number, go_on=go_on(event.metrics))
    raise AssertionError(f"no end within {PATIENCE:g} s: {events}")


def apart_from_seconds(result: TrialResult) -> TrialResult:
    return replace(result, epochs=tuple(replace(one, seconds=0.0) for one in result.epochs))


Reference = Callable[[TrialConfig], tuple[TrialResult, Path]]


def make_reference(materials: Materials, make_folder: Callable[[], Path]) -> Reference:
    """What a trial gives without any worker, and the folder with what it wrote."""
    known: dict[str, tuple[TrialResult, Path]] = {}

    def train(config: TrialConfig) -> tuple[TrialResult, Path]:
        if config.digest not in known:
            folder = make_folder()
            files = make_task(config, folder).files
            weights = materials.weights.get(config.weights)
            trained = run_trial(config, materials.data, weights, CPU, files=files)
            assert draw_pictures(trained, "trial 7", files) is None
            known[config.digest] = apart_from_seconds(trained.result), folder
        return known[config.digest]

    return train
