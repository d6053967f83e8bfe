"""How many trials at once: what is asked for and what is measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from command_line import Cli
from function_graph import FunctionGraph

from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.trial import TrialConfig
from cifar_tune.errors import DeviceError, InputError
from cifar_tune.search import slots as slot_search
from cifar_tune.search.slots import (
    fewest_near_best,
    measure_slots,
    measure_steps_per_second,
    settle_slots,
)
from cifar_tune.workers.choose import choose_workers
from cifar_tune.workers.local.pool import make_seats

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIFAR_TUNE_WORKERS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_slots_that_are_asked_for() -> None:
    choice = choose_workers(None, None, CUDA, slots=4)
    assert (choice.count, choice.slots, choice.at_once) == (2, 4, 8)
    assert "4 slots each" in str(choice)
    seats, share = make_seats(choice, CUDA)
    assert [(seat.device, seat.slots) for seat in seats] == [("cuda:0", 4), ("cuda:1", 4)]
    assert share == 0.25


@pytest.mark.parametrize(
    ("workers", "per_gpu", "device", "slots"),
    [
        (None, None, CUDA, None),
        ("auto", None, CUDA, None),
        ("2", None, CUDA, 1),
        (None, 2, CUDA, 1),
        ("ray", None, CUDA, 1),
        ("inline", None, CUDA, 1),
        (None, None, CPU, 1),
        (None, None, torch.device("mps"), 1),
    ],
)
def test_slots_are_measured_only_on_a_gpu_that_one_worker_has_for_itself(
    workers: str | None, per_gpu: int | None, device: torch.device, slots: int | None
) -> None:
    assert choose_workers(workers, per_gpu, device).slots == slots


def test_slots_where_there_can_be_none(cli: Cli) -> None:
    answer = cli("study", "run", "dropout", "--device", "cpu", "--slots", "2")
    assert answer.code == 2
    assert "--slots 2: expected a CUDA device, this run uses cpu" in answer.err
    with pytest.raises(DeviceError):
        choose_workers("inline", None, CPU, slots=1)
    for workers in ("inline", "ray", "ray:10.0.0.1:6379"):
        with pytest.raises(InputError, match=f"expected worker processes, not --workers {workers}"):
            choose_workers(workers, None, CUDA, slots=2)


@pytest.mark.parametrize(
    ("measured", "slots"),
    [
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 104.0, 4: 90.0}, 1),
        ({1: 100.0, 2: 180.0, 4: 186.0, 8: 189.0}, 2),
        ({1: 100.0, 2: 180.0, 4: 250.0, 8: 262.0}, 4),
        ({1: 100.0, 2: 200.0, 4: 300.0, 8: 400.0}, 8),
        ({1: 95.0, 2: 100.0}, 1),
        ({1: 0.0}, 1),
    ],
)
def test_the_fewest_slots_within_a_twentieth_of_the_best(
    measured: dict[int, float], slots: int
) -> None:
    assert fewest_near_best(measured) == slots


def test_measuring_ends_where_memory_does() -> None:
    def measure(slots: int) -> float:
        if slots > 2:
            raise torch.OutOfMemoryError
        return slots * 100.0

    assert measure_slots(measure) == {1: 100.0, 2: 200.0}
    assert measure_slots(lambda slots: measure(slots + 2)) == {1: 0.0}


def test_steps_are_counted_over_all_slots(
    make_config: Callable[..., TrialConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_search, "STEPS", 1)
    monkeypatch.setattr(slot_search, "MEASURE_SECONDS", 0.0)
    seconds = iter((10.0,))
    monkeypatch.setattr(slot_search.time, "perf_counter", lambda: next(seconds, 14.0))
    config = make_config(batch_size=4)
    assert measure_steps_per_second(config, CPU, 2, FunctionGraph) == 0.5  # 2 steps in 4 s


def test_slots_are_settled_once(spec: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    asked = choose_workers(None, None, CUDA, slots=2)
    assert settle_slots(asked, spec, CUDA, said.append) is asked
    assert said == []
    rates = {1: 100.0, 2: 190.0, 4: 191.0, 8: 150.0}
    monkeypatch.setattr(
        slot_search, "measure_steps_per_second", lambda _config, _device, slots, _make: rates[slots]
    )
    open_ = choose_workers(None, None, CUDA)
    settled = settle_slots(open_, spec, CUDA, said.append)
    assert (settled.slots, settled.at_once) == (2, 4)
    assert said == [
        "slots: 2 (training steps per second: 100 with 1, 190 with 2, 191 with 4, 150 with 8)"
    ]
