"""What a run begins, and in which order: nothing twice, nothing that cannot end."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import TINY, Cli
from places import STUDY_FILES

from cifar_tune.config.schema import Budget
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.errors import DeviceError, InputError
from cifar_tune.search.budget import Spending, parse_duration
from cifar_tune.search.plan import Costs, StepTimes
from cifar_tune.search.work_list import Item, WorkList
from cifar_tune.storage.kept_weights import WEIGHTS_BYTES, Candidate, choose_kept, room_needed
from cifar_tune.storage.trials import Known
from cifar_tune.training.records import EpochMetrics
from cifar_tune.workers.choose import choose_workers
from cifar_tune.workers.local.pool import make_seats

NAMES = [f"dropout/p=0.{i}/seed=1" for i in range(1, 5)]
CPU = torch.device("cpu")


@pytest.fixture
def spec() -> StudySpec:
    """The dropout study's quick profile: four named trials, eight sampled, three epochs."""
    return resolve(load_study_file("dropout"), "quick")


def anything(_item: Item) -> bool:
    return True


def known(number: int, name: str | None, state: str, **more: Any) -> Known:
    fields = {"seed": 5, "params": {}, "epochs": 0, "is_again": False} | more
    return Known(number, name, state, **fields)


def take_all(work_list: WorkList) -> list[Item]:
    items: list[Item] = []
    while (item := work_list.next(anything)) is not None:
        items.append(item)
        if item.number is None and item.name is None and "retry_of" not in item.attributes:
            work_list.sampled(100 + len(items))
    return items


# --- what is next -------------------------------------------------------------------------------


def test_a_new_study_has_its_named_trials_then_its_sampled_ones(spec: StudySpec) -> None:
    items = take_all(WorkList.make(spec, 0, [], None))
    assert [item.name for item in items] == [*NAMES, *[None] * 8]
    assert [item.index for item in items[4:]] == list(range(8))
    assert all(item.params is not None for item in items[:4])
    assert all(item.params is None for item in items[4:])


def test_what_waits_goes_first_and_counts_among_the_sampled(spec: StudySpec) -> None:
    trials = [
        known(0, NAMES[0], "settled"),
        known(1, NAMES[1], "waiting", epochs=2),
        known(2, None, "settled"),
        known(3, None, "waiting", epochs=1),
        known(4, None, "settled"),
    ]
    work_list = WorkList.make(spec, 0, trials, None)
    assert (work_list.left().sampled, work_list.left().sampled_epochs_done) == (6, 1)
    items = take_all(work_list)
    assert [(item.number, item.name) for item in items[:2]] == [(1, NAMES[1]), (3, None)]
    assert [item.config.epochs for item in items[:2]] == [1, 2]
    assert [item.name for item in items[2:4]] == NAMES[2:]
    # Two were settled, one waited: five new ones, after three that were sampled before.
    assert [item.index for item in items[4:]] == [3, 4, 5, 6, 7]


def test_trials_of_other_replicates_are_left_to_wait(spec: StudySpec) -> None:
    waiting = known(0, "dropout/p=0.1/seed=2", "waiting")
    trials = [waiting, known(1, None, "waiting")]
    work_list = WorkList.make(replace(spec, trials=0), 0, trials, None)
    assert [item.name for item in take_all(work_list)] == NAMES


def test_failed_trials_are_run_again_with_what_they_had(spec: StudySpec) -> None:
    trials = [
        known(0, NAMES[0], "retry"),
        known(1, None, "retry", seed=7, params={"dropout_rate": 0.5}),
        known(2, None, "retried"),
        known(3, None, "settled", is_again=True),
    ]
    items = take_all(WorkList.make(spec, 0, trials, 2))
    assert [item.name for item in items[:4]] == NAMES
    assert items[4].attributes == {"retry_of": 1, "seed": 7}
    assert items[4].params == {"dropout_rate": 0.5}
    assert (items[5].params, items[5].index) == (None, 2)
    assert len(items) == 6


def test_a_trial_that_is_put_back_is_next_and_is_not_counted_twice(spec: StudySpec) -> None:
    work_list = WorkList.make(replace(spec, named=()), 0, [], 2)
    first = work_list.next(anything)
    assert first is not None
    work_list.sampled(0)
    work_list.put_back(first, 0, 2, alone=True)
    assert work_list.left().sampled == 2
    again = work_list.next(anything)
    assert again is not None
    assert (again.number, again.alone, again.config.epochs) == (0, True, 2)
    assert work_list.next(anything) is not None
    assert work_list.next(anything) is None


def test_a_trial_that_does_not_fit_lets_a_shorter_one_pass(spec: StudySpec) -> None:
    begun = known(0, NAMES[2], "waiting", epochs=2)
    work_list = WorkList.make(spec, 0, [begun], None)
    item = work_list.next(lambda item: item.config.epochs == 1)
    assert item is not None
    assert item.name == NAMES[2]
    assert work_list.next(lambda item: item.config.epochs == 1) is None
    assert work_list.left().trials == 3 + 8


# --- time and budget ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90min", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400), ("60", 60)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "-5s", "2h!", "h", "1:30", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError, match="expected a duration such as 2h"):
        parse_duration(text)


def spend(budget: Budget, deadline: float | None = None, share: float = 1.0) -> Spending:
    """Steps of 128 images take a tenth of a second: an epoch of the quick profile 4.7 s."""
    step = StepTimes(0.1, 0.1, 0.1, 0.1)
    return Spending(budget, deadline, Costs(0, step, 0, step), share)


def an_epoch(seconds: float) -> EpochMetrics:
    return EpochMetrics(1, 0.0, 0.0, 0.0, 0.0, seconds)


def test_budget_of_epochs_counts_those_that_run(spec: StudySpec) -> None:
    config = spec.config({"dropout_rate": 0, "learning_rate": 1, "augmentation_strength": 0}, 0)
    spending = spend(Budget(epochs=10))
    assert spending.reason_against(config, [config, config]) is None
    reason = spending.reason_against(config, [config, config, config])
    assert reason is not None
    assert "budget of 10 epochs" in reason
    for _ in range(8):
        spending.add(config, an_epoch(1.0))
    assert spending.reason_against(config, []) is not None
    assert spending.reason_against(replace(config, epochs=2), []) is None


def test_budget_of_device_seconds_and_deadline_follow_what_epochs_take(spec: StudySpec) -> None:
    config = spec.config({"dropout_rate": 0, "learning_rate": 1, "augmentation_strength": 0}, 0)
    planned = 3 * (0.1 * 5000 / 128 + 0.8)
    shared = spend(Budget(device_seconds=planned * 0.6), share=0.5)
    assert shared.reason_against(config, []) is None
    reason = shared.reason_against(config, [config])
    assert reason is not None
    assert "device-seconds" in reason
    spending = spend(Budget(), deadline=time.monotonic() + 1.5 * planned)
    assert spending.reason_against(config, []) is None
    spending.add(config, an_epoch(planned))  # three times as long as planned
    reason = spending.reason_against(config, [])
    assert reason is not None
    assert "--timeout" in reason
    assert not spending.is_time_up()
    assert spend(Budget(), deadline=time.monotonic() - 1).is_time_up()


def write_study(tmp_path: Path, lines: str) -> str:
    text = (STUDY_FILES / "dropout.toml").read_text(encoding="utf-8")
    marker = "[profiles.quick.sampler]"
    (tmp_path / "mine.toml").write_text(text.replace(marker, f"{lines}\n\n{marker}", 1))
    return "mine.toml"


@pytest.mark.e2e
def test_a_study_stops_at_its_budget_and_says_what_it_left(cli: Cli, tmp_path: Path) -> None:
    name = write_study(tmp_path, "[profiles.quick.budget]\nepochs = 3")
    command = ("study", "run", name, *TINY, "--epochs", "1")
    answer = cli(*command)
    assert answer.code == 0
    assert "Left undone: 1 named and 8 sampled trials, since the study's budget of 3" in answer.out
    again = cli(*command, "--json")  # the budget is the study's, not the run's
    assert again.code == 0
    assert len(again.record["trials"]) == 3
    assert again.record["left"]["named"] == 1
    assert "budget of 3 epochs" in again.record["left"]["why"]


def test_a_run_ends_in_time(cli: Cli) -> None:
    command = ("study", "run", "dropout", *TINY, "--epochs", "200", "--trials", "0")
    plan = cli("study", "plan", *command[2:], "--json").record
    start = time.monotonic()
    answer = cli(*command, "--timeout", "3s", "--json")
    assert time.monotonic() - start < 60
    assert plan["seconds_expected"] > 60
    assert answer.code == 0
    assert answer.record["trials"] == []
    assert "--timeout" in answer.record["left"]["why"]
    assert "--timeout" in cli(*command, "--timeout", "soon").err


# --- kept weights -------------------------------------------------------------------------------


def candidates(*accuracies: float, named: int = 0) -> list[Candidate]:
    return [
        Candidate(number, number < named, accuracy, WEIGHTS_BYTES)
        for number, accuracy in enumerate(accuracies)
    ]


def test_named_ones_and_the_best_of_the_others_are_kept(spec: StudySpec) -> None:
    some = candidates(0.1, 0.2, 0.5, 0.3, 0.5, 0.4, named=2)
    assert choose_kept(replace(spec, keep_weights="named", keep_best=2), some) == {0, 1, 2, 4}
    assert choose_kept(replace(spec, keep_weights="named", keep_best=0), some) == {0, 1}
    assert choose_kept(replace(spec, keep_weights="none", keep_best=1), some) == {2}
    assert choose_kept(replace(spec, keep_weights="none", keep_best=0), some) == set()


def test_the_cap_lets_named_ones_in_first(spec: StudySpec) -> None:
    capped = replace(spec, keep_weights="named", keep_best=3, keep_gigabytes=0.14)
    assert choose_kept(capped, candidates(0.1, 0.2, 0.9, 0.8, named=2)) == {0, 1, 2}
    assert choose_kept(capped, candidates(0.1, 0.2, 0.3, 0.4, 0.9, named=4)) == {0, 1, 2}
    assert room_needed(capped, named=4) == 140_000_000
    assert room_needed(replace(capped, keep_gigabytes=10), named=4) == 7 * WEIGHTS_BYTES


@pytest.mark.e2e
def test_the_best_trials_weights_are_kept_and_no_others(cli: Cli, tmp_path: Path) -> None:
    name = write_study(tmp_path, "keep_best = 1")
    text = (tmp_path / name).read_text().replace('keep_weights = "named"\n', "", 1)
    (tmp_path / name).write_text(text)
    record = cli("study", "run", name, *TINY, "--epochs", "1", "--trials", "2", "--json").record
    files = list((tmp_path / "storage" / "cifar-tune-weights").rglob("*"))
    kept = [path.name for path in files if path.is_file()]
    assert kept == [f"trial-{record['best']['number']}.safetensors"]


# --- workers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5", "rays"])
def test_workers_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="expected auto, a number from 1 on"):
        choose_workers(text, None, CPU)


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIFAR_TUNE_WORKERS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert (choose_workers("2", None, CPU).count, choose_workers("2", None, CPU).threads) == (2, 3)
    assert choose_workers("4", None, CPU).threads == 1
    assert choose_workers("9", None, CPU).threads == 1
    assert choose_workers("inline", None, CPU).threads == 6
    seats, share = make_seats(choose_workers("3", None, CPU), CPU)
    assert [(seat.device, seat.threads) for seat in seats] == [("cpu", 2)] * 3
    assert share == pytest.approx(1 / 3)
    assert choose_workers("ray:10.0.0.1:6379", None, CPU).address == "10.0.0.1:6379"
    monkeypatch.setenv("CIFAR_TUNE_WORKERS", "5")
    assert choose_workers(None, None, CPU).count == 5


def test_gpus_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIFAR_TUNE_WORKERS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    choice = choose_workers(None, 2, torch.device("cuda"))
    seats, share = make_seats(choice, torch.device("cuda"))
    assert [seat.device for seat in seats] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert share == 0.5
    one = choose_workers(None, None, torch.device("cuda:1"))
    assert [seat.device for seat in make_seats(one, torch.device("cuda:1"))[0]] == ["cuda:1"]
    with pytest.raises(DeviceError, match="expected a CUDA device"):
        choose_workers(None, 2, CPU)


def test_options_of_workers_through_the_command(cli: Cli) -> None:
    for option, value in (("--workers", "none"), ("--per-gpu", "2")):
        answer = cli("study", "run", "dropout", option, value)
        assert answer.code == 2
        assert f"{option} {value}" in answer.err
    assert json.loads(cli("study", "plan", "dropout", *TINY, "--json").out)["workers"] == 1
