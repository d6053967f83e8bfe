"""A plan counts what is left with what each trial costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.plan import (
    DRIFT,
    RUN_SECONDS,
    TRIAL_SECONDS,
    Costs,
    StepTimes,
    Work,
    find_ends,
    make_plan,
)

# A step of 128 images takes 1 s with nothing frozen and 0.2 s with everything frozen; checking 128
# takes 0.1 s. In the quick profile that is 39.06 steps and 8 checks an epoch.
COSTS = Costs(0, StepTimes(0.9, 1.0, 1.2, 0.1), 5, StepTimes(0.1, 0.2, 0.4, 0.1))


def quick(name: str, *only: str) -> StudySpec:
    return resolve(load_study_file(name), "quick", only=only)


def everything(spec: StudySpec) -> Work:
    named = [spec.named_config(*one) for one in spec.replicates(0).values()]
    return Work(tuple(named), len(named), spec.profile.trials)


def test_step_times_in_between_are_in_proportion() -> None:
    assert COSTS.at(0) == COSTS.shallow
    assert COSTS.at(5) == COSTS.deep
    assert COSTS.at(2).train_median == pytest.approx(1.0 - 0.8 * 2 / 5)
    assert Costs(3, COSTS.deep, 3, COSTS.deep).at(3) == COSTS.deep


def test_step_times_between_batch_sizes_are_in_proportion() -> None:
    small = replace(COSTS, batch_size=32, shallow=StepTimes(0.3, 0.4, 0.5, 0.05))
    costs = replace(COSTS, batch_size=128, small=small)
    assert costs.at(0, 128) == COSTS.shallow
    assert costs.at(0, 32) == small.shallow
    assert costs.at(0, 64).train_median == pytest.approx(0.6)
    assert costs.at(5, 64) == COSTS.deep
    config = quick("transfer").config({}, 0)
    wanted = replace(config, freeze_depth=0, batch_size=64)
    batches = -(-config.validation_images // 64)
    expected = 0.6 * config.train_images / 64 + batches * (0.05 * 2 / 3 + 0.1 / 3)
    assert costs.epoch_seconds(wanted)[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("only", "step"),
    [("transfer/scratch", 1.0), ("transfer/model-a", 0.68), ("transfer/model-b", 0.2)],
)
def test_named_trials_cost_what_their_freeze_depth_does(only: str, step: float) -> None:
    spec = quick("transfer", only)
    plan = make_plan(spec, everything(spec), COSTS)
    assert (plan.named, plan.sampled, plan.epochs_most) == (1, 0, 5)
    besides = RUN_SECONDS[1] + TRIAL_SECONDS[1]
    assert plan.seconds_expected == pytest.approx(besides + 5 * (step * 5000 / 128 + 8 * 0.1))


def test_sampled_trials_cost_the_middle_of_the_depths_that_are_searched() -> None:
    spec = quick("freeze-depth")
    alone = Work((), 0, 8)
    plan = make_plan(spec, alone, COSTS)
    epoch = 0.6 * 5000 / 128 + 8 * 0.1
    # Of 24 epochs the median pruner may save 8, after two each, and aims at half of them.
    assert (plan.epochs_least, plan.epochs_expected, plan.epochs_most) == (16, 20, 24)
    besides = [run + 8 * trial for run, trial in zip(RUN_SECONDS, TRIAL_SECONDS, strict=True)]
    assert plan.seconds_expected == pytest.approx(besides[1] + 20 * epoch)
    assert plan.seconds_saved_most == pytest.approx(8 * epoch)
    assert plan.seconds_least < plan.seconds_expected < plan.seconds_most
    slowest = 1.2 * 5000 / 128 + 8 * 0.1 * 1.2
    assert plan.seconds_most == pytest.approx(besides[2] + DRIFT[2] * 24 * slowest)


def test_the_expected_time_is_that_of_the_worker_that_ends_last() -> None:
    spec = quick("transfer", "transfer/scratch", "transfer/model-b")
    deep, shallow = sorted(everything(spec).named, key=lambda config: -config.freeze_depth)

    def trials_seconds(*configs: TrialConfig, workers: int = 1) -> float:
        plan = make_plan(spec, Work(configs, len(configs), 0), COSTS, workers)
        return plan.seconds_expected - RUN_SECONDS[1]

    slow, quickly = trials_seconds(shallow), trials_seconds(deep)
    assert quickly < slow / 2
    three = (shallow, deep, shallow)
    assert trials_seconds(*three) == pytest.approx(2 * slow + quickly)
    assert trials_seconds(*three, workers=2) == pytest.approx(quickly + slow)
    assert trials_seconds(*three, workers=8) == pytest.approx(slow)


def test_nothing_left_takes_no_time() -> None:
    plan = make_plan(quick("dropout"), Work((), 4, 0), COSTS, workers=2)
    assert (plan.seconds_least, plan.seconds_expected, plan.seconds_most) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "only", "depths"),
    [
        ("dropout", (), (0, 0)),
        ("transfer", (), (0, 5)),
        ("transfer", ("transfer/model-a",), (2, 2)),
        ("joint", (), (0, 5)),
        ("joint", ("joint/model-b",), (5, 5)),
    ],
)
def test_only_depths_that_occur_are_measured(
    name: str, only: tuple[str, ...], depths: tuple[int, int]
) -> None:
    assert find_ends(quick(name, *only), "freeze_depth") == depths
