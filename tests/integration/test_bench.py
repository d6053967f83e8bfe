"""What ``cifar-tune bench`` prints, and that its ways of training learn the same."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import Cli
from places import STUDY_FILES

from cifar_tune.benchmarks import cases as bench_cases
from cifar_tune.benchmarks.cases import list_cases
from cifar_tune.benchmarks.plain_loop import PlainLoop
from cifar_tune.benchmarks.study import compare_study
from cifar_tune.config.trial import TrialConfig
from cifar_tune.data.search_data import SearchData
from cifar_tune.training.objective import run_trial

MakeConfig = Callable[..., TrialConfig]
CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch an epoch, and nothing compiled, which takes a minute."""
    monkeypatch.setattr(bench_cases, "IMAGES", 128)
    monkeypatch.setattr(bench_cases, "can_compile", lambda: False)


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_the_record_has_ratios_of_what_was_timed(cli: Cli) -> None:
    answer = cli("bench", "--only", "all-frozen", "--rounds", "2", "--json")
    assert answer.code == 0, answer.err
    record = answer.record
    assert set(record) == {"device", "cases", "study"}
    assert record["study"] is None
    (case,) = record["cases"]
    assert case["name"] == "all-frozen"
    assert case["tuned_plain_images_per_second"] is case["ratio_tuned"] is None
    for way in ("plain", "ours"):
        rate = 128 / statistics.median(case[f"{way}_seconds"])
        assert case[f"{way}_images_per_second"] == pytest.approx(rate)
        assert case[f"{way}_peak_bytes"] > 100e6
        assert case[f"{way}_startup_seconds"] > 0
        assert case[f"{way}_share_of_peak"] > 0
    pairs = zip(case["plain_seconds"], case["ours_seconds"], strict=True)
    assert case["ratios"] == pytest.approx([plain / ours for plain, ours in pairs])
    assert case["ratio"] == pytest.approx(statistics.median(case["ratios"]))
    assert answer.err.count("all-frozen") == 4, "a line for each epoch"


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_a_table_for_a_reader(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    answer = cli("bench", "--only", "scratch", "--rounds", "1")
    assert answer.code == 0, answer.err
    assert "ours / plain" in answer.out
    assert re.search(r"32 px, from scratch +[\d,]+/s +- +[\d,]+/s +[\d.]+ \(", answer.out)


def test_the_plain_loop_learns_what_a_trial_learns(
    make_config: MakeConfig, bundled: SearchData
) -> None:
    """Orders differ, so they are compared by how well they fit a few images after some epochs."""
    config = make_config(
        train_images=64, batch_size=32, epochs=6, dropout_rate=0.0, augmentation_strength=0.0
    )
    split = bundled.split(config)
    loop = PlainLoop(split.train.copy(), config, None, CPU)
    losses = [loop.train_epoch() for _ in range(config.epochs)]
    ours = run_trial(config, bundled, None, CPU).result
    assert losses[0] == pytest.approx(ours.epochs[0].train_loss, abs=0.3)
    assert losses[-1] == pytest.approx(ours.epochs[-1].train_loss, abs=0.3)
    assert losses[-1] < losses[0] / 3
    assert 0 <= loop.accuracy(split.validation.copy()) < 0.5
    assert loop.accuracy(split.train.copy()) > loop.accuracy(split.validation.copy())


def test_a_whole_study_against_plain_optuna(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = STUDY_FILES / "dropout.toml"
    text = shipped.read_text(encoding="utf-8")
    for key, value in (
        ("train_images", 64),
        ("validation_images", 50),
        ("trials", 1),
        ("epochs", 2),
    ):
        text = re.sub(rf"^{key} = [\d_]+$", f"{key} = {value}", text, count=1, flags=re.M)
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    told = []
    found = compare_study(str(tmp_path / "tiny.toml"), CPU, 0, lambda *one: told.append(one))
    assert len(found.ours) == 5, "four named trials and a sampled one"
    assert 1 <= len(found.plain) <= 15
    assert told == [
        *(("ours", *one) for one in found.ours),
        *(("plain", *one) for one in found.plain),
    ]
    assert found.target == max(accuracy for _, accuracy in found.ours)
    assert [accuracy >= found.target for _, accuracy in found.plain[:-1]] == [False] * (
        len(found.plain) - 1
    )
    assert found.is_reached == (found.plain[-1][1] >= found.target)
    assert found.is_reached or len(found.plain) == 15
    assert found.plain_seconds == found.plain[-1][0]
    assert found.ratio == found.plain_seconds / found.ours_seconds
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.toml"}, "nothing is left behind"


def test_lanes_that_fail_say_why(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cases, "can_compile", lambda: False)
    broken = [
        replace(case, config=replace(case.config, data="nowhere")) for case in list_cases(CPU)
    ]
    monkeypatch.setattr(bench_cases, "list_cases", lambda _device: broken)
    answer = cli("bench", "--only", "scratch", "--rounds", "1")
    assert answer.code != 0
    assert "bench: the plain loop: " in answer.err
    assert "nowhere" in answer.err
    assert "Traceback" not in answer.err
