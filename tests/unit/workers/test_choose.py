"""Which workers a run has."""

from __future__ import annotations

import json
import os

import pytest
import torch
from command_line import TINY, Cli

from cifar_tune.errors import DeviceError, InputError
from cifar_tune.workers.choose import choose_workers
from cifar_tune.workers.local.pool import make_seats

CPU = torch.device("cpu")


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
