"""What every kind of worker does alike: one suite for the three of them, at the seam they share."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import worker_trials
from safetensors.torch import load_file
from worker_trials import (
    CPU,
    PATIENCE,
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
    train_slowly,
)

import cifar_tune
from cifar_tune.config.schema import Resources
from cifar_tune.config.trial import TrialConfig
from cifar_tune.training.records import EpochMetrics
from cifar_tune.workers.inline import InlinePool
from cifar_tune.workers.kind import Work
from cifar_tune.workers.local.pool import LocalPool
from cifar_tune.workers.local.process import Seat
from cifar_tune.workers.protocol import (
    Died,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Materials,
    Pool,
    Started,
    Stepped,
    Stopped,
)
from cifar_tune.workers.train_task import work

MakePool = Callable[[Work], Pool]

pytestmark = pytest.mark.usefixtures("one_thread")


# --- the three kinds ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster with room for two trials, which the pools of these tests find."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'cifar-tune[ray]'")
    import ray

    before = signal.getsignal(signal.SIGTERM)
    options = {"num_cpus": 2, "object_store_memory": 400_000_000, "log_to_driver": False}
    ray.init(address="local", include_dashboard=False, logging_level="ERROR", **options)
    signal.signal(signal.SIGTERM, before)
    # Its workers cannot import that module, so what is defined in it is sent along.
    ray.cloudpickle.register_pickle_by_value(worker_trials)
    yield
    ray.cloudpickle.unregister_pickle_by_value(worker_trials)
    ray.shutdown()


@pytest.fixture(
    params=[
        "inline",
        "local",
        "ray",
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "ray":
        request.getfixturevalue("ray_cluster")
    return name


@pytest.fixture
def make_pool(kind: str, materials: Materials, tmp_path: Path) -> Iterator[MakePool]:
    """A pool of the kind, which is closed at the end."""
    with ExitStack() as stack:

        def make(work: Work = work) -> Pool:
            pool = _make_pool(kind, materials, tmp_path, work)
            stack.callback(pool.close)
            return pool

        yield make


def _make_pool(kind: str, materials: Materials, folder: Path, work: Work) -> Pool:
    if kind == "inline":
        return InlinePool(materials, CPU, work)
    if kind == "local":
        return LocalPool(materials, [Seat("cpu", 1), Seat("cpu", 1)], 0.5, folder / "logs", work)
    from cifar_tune.workers.ray.pool import RayPool

    return RayPool(materials, None, Resources(cpus=1.0), work)


@pytest.fixture
def config(make_config: Configs) -> TrialConfig:
    """Two epochs from pretrained weights."""
    return make_config(weights="tiny-imagenet-32")


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


# --- failures -----------------------------------------------------------------------------------


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
        death("inline", exit_thread, "its thread ended without a word", tail=""),
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

    pool.start(task)
    started, *_, finished = follow(pool, 7)
    assert isinstance(started, Started)
    assert started.epochs == 1
    assert isinstance(finished, Finished)
    assert apart_from_seconds(finished.result) == reference(config)[0]


@pytest.mark.long
def test_trials_on_ray_go_on_when_the_process_that_carries_their_words_dies(
    ray_cluster: None,  # noqa: ARG001
    materials: Materials,
    config: TrialConfig,
    reference: Reference,
    tmp_path: Path,
) -> None:
    pool, task = _make_pool("ray", materials, tmp_path, work), make_task(config, tmp_path)
    with closing(pool):
        pool.start(task)
        *_, last = follow(pool, 7, until=lambda event: isinstance(event, EpochEnded))
        assert isinstance(last, EpochEnded)
        for process in psutil.Process().children(recursive=True):
            if process.name().startswith("ray::Desk"):
                process.kill()
        (died,) = follow(pool, 7)
        assert isinstance(died, Died)
        assert "the process of Ray's that it talked to died" in died.reason

        pool.start(task)
        started, *_, finished = follow(pool, 7)
        assert isinstance(started, Started)
        assert started.epochs == 1
        assert isinstance(finished, Finished)
        assert apart_from_seconds(finished.result) == reference(config)[0]


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
    with closing(_make_pool("ray", materials, tmp_path, work)) as pool:
        pool.start(make_task(config, tmp_path))
        (failed,) = follow(pool, 7)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.detail) == ("refused", {"error": "InputError"})
    assert f"node {platform.node()}: cifar-tune {here}, torch" in failed.message
    assert "expected the runner's versions: cifar-tune 99.0, torch" in failed.message
