"""What every kind of worker does alike: one suite for the three of them, at the seam they share."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
import torch
from safetensors.torch import load_file

import cifar_tune
from cifar_tune.data.source import load_search_data
from cifar_tune.errors import WeightsError
from cifar_tune.objective import run_trial
from cifar_tune.records import EpochMetrics, TrialConfig, TrialFiles, TrialResult
from cifar_tune.study_schema import Resources
from cifar_tune.weights.registry import load_weights
from cifar_tune.workers.inline import InlinePool
from cifar_tune.workers.local import LocalPool, Seat
from cifar_tune.workers.messages import (
    Channel,
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
    Task,
)
from cifar_tune.workers.work import Work, work

CPU = torch.device("cpu")
PATIENCE = 180.0
"""Seconds that a worker may take to begin and train a tiny trial on a busy machine."""
STEP_SECONDS = 0.15
"""How long a step takes that is slowed down, so that there is time to stop within an epoch."""
ENDS = (Finished, Stopped, Failed, Died)

Configs = Callable[..., TrialConfig]
MakePool = Callable[[Work], Pool]


# --- what the workers are given to do -----------------------------------------------------------


# Functions of this module: a worker process finds its work by name.


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
    with mock.patch("cifar_tune.workers.work.run_trial", side_effect=ERRORS[task.number]):
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

    def is_stopping() -> bool:
        before_step()
        return bool(channel_is_stopping())

    channel_decide, channel_is_stopping = channel.decide, channel.is_stopping
    with ExitStack() as stack:
        for name, replacement in (("decide", decide), ("is_stopping", is_stopping)):
            stack.enter_context(mock.patch.object(channel, name, replacement))
        yield channel


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
    # Its workers cannot import this module, so what is defined in it is sent along.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()


@pytest.fixture(
    params=[
        "inline",
        pytest.param("local", marks=pytest.mark.e2e),
        pytest.param("ray", marks=pytest.mark.e2e),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "ray":
        request.getfixturevalue("ray_cluster")
    return name


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in another order are other sums: all kinds use one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def materials() -> Materials:
    weights = load_weights(["tiny-imagenet-32"], Path("no-data"))
    return Materials(load_search_data("bundled", Path("no-data")), weights, Path("no-data"))


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
    from cifar_tune.workers.ray_pool import RayPool

    return RayPool(materials, None, Resources(cpus=1.0), work)


@pytest.fixture
def config(make_config: Configs) -> TrialConfig:
    """Two epochs from pretrained weights."""
    return make_config(weights="tiny-imagenet-32")


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


@pytest.fixture(scope="module")
def reference(
    materials: Materials, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[TrialConfig], tuple[TrialResult, Path]]:
    """What a trial gives without any worker, and the folder with what it wrote."""
    known: dict[str, tuple[TrialResult, Path]] = {}

    def train(config: TrialConfig) -> tuple[TrialResult, Path]:
        if config.digest not in known:
            folder = tmp_path_factory.mktemp("reference")
            files = make_task(config, folder).files
            weights = materials.weights.get(config.weights)
            result = run_trial(
                config, materials.data, weights, CPU, lambda _: True, lambda _: None, files,
                label="trial 7",
            )  # fmt: skip
            known[config.digest] = apart_from_seconds(result), folder
        return known[config.digest]

    return train


Reference = Callable[[TrialConfig], tuple[TrialResult, Path]]


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
    assert set(started.facts) == {"device", "host", "software", "threads"}
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


@pytest.mark.e2e
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


# --- several slots in one process ---------------------------------------------------------------


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


@pytest.mark.e2e
@pytest.mark.parametrize("slots", [2, 3])
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


@pytest.mark.e2e
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


CRASHED = "its worker died: it crashed, was killed, or its node is gone"


def death(
    kind: str, die: Callable[..., None], reason: str, tail: str = "EpochEnded(number=7"
) -> Any:
    """A way to die, and what is said of it."""
    marks = () if kind == "inline" else pytest.mark.e2e
    return pytest.param(kind, die, reason, tail, marks=marks, id=f"{kind}-{die.__name__}")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("kind", "die", "reason", "tail"),
    [
        death("inline", exit_thread, "its thread ended without a word", tail=""),
        death("local", die_of_sigkill, "ended by SIGKILL"),
        death("local", leave_with_code, "ended with exit code 3"),
        death("local", crash, "ended by SIGSEGV", tail="in string_at"),  # Python's own account
        death("ray", die_of_sigkill, CRASHED),
        death("ray", leave_with_code, CRASHED),
        death("ray", crash, CRASHED),
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


@pytest.mark.e2e
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


@pytest.mark.e2e
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
