"""No trial is begun that cannot end within the time and the budget."""

from __future__ import annotations

import time
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_tune.config.schema import Budget
from cifar_tune.config.study_file import StudySpec, load_study_file, resolve
from cifar_tune.config.trial import TrialConfig
from cifar_tune.errors import InputError
from cifar_tune.search.budget import Spending, parse_duration
from cifar_tune.search.plan import Costs, StepTimes, example_config
from cifar_tune.training.records import EpochMetrics

STEP = StepTimes(0.1, 0.1, 0.1, 0.1)
COSTS = Costs(0, STEP, 0, STEP)


@pytest.fixture
def spec() -> StudySpec:
    """The dropout study's quick profile: four named trials, eight sampled, three epochs."""
    return resolve(load_study_file("dropout"), "quick")


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
    return Spending(budget, deadline, COSTS, share)


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


# --- what holds for every course of a run ---------------------------------------------------------


SPEC = resolve(load_study_file("dropout"), "quick")
EXAMPLE = example_config(SPEC)

courses = st.lists(st.tuples(st.sampled_from(("begin", "epoch", "prune")), st.integers(1, 5)))
"""A trial of so many epochs is to begin, or of those that run one goes on or is pruned."""


def committed(spending: Spending, running: list[TrialConfig]) -> int:
    return spending.epochs + sum(config.epochs for config in running)


@settings(max_examples=60, deadline=None)
@given(budget=st.integers(1, 20), course=courses)
def test_never_more_epochs_are_begun_than_the_budget_has(
    budget: int, course: list[tuple[str, int]]
) -> None:
    spending, running = spend(Budget(epochs=budget)), list[TrialConfig]()
    for what, number in course:
        config = replace(EXAMPLE, epochs=number)
        if what == "begin":
            is_allowed = spending.reason_against(config, running) is None
            assert is_allowed == (committed(spending, running) + number <= budget)
            running += [config] if is_allowed else []
        elif running:
            trial = running.pop(number % len(running))
            before = committed(spending, running)
            if what == "epoch":
                spending.add(trial, an_epoch(1.0))
                running += [replace(trial, epochs=trial.epochs - 1)] if trial.epochs > 1 else []
                # It went from what is left to what is spent.
                assert committed(spending, running) == before + trial.epochs
        assert committed(spending, running) <= budget


@settings(max_examples=50, deadline=None)
@given(
    epochs=st.lists(st.integers(1, 5), max_size=6),
    trained=st.lists(st.floats(0.1, 10.0), max_size=6),
    budget=st.builds(Budget, epochs=st.integers(1, 30), device_seconds=st.floats(1.0, 200.0)),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_asking_does_not_matter(
    epochs: list[int], trained: list[float], budget: Budget, random: Random
) -> None:
    running = [replace(EXAMPLE, epochs=number) for number in epochs]

    def ask() -> str | None:
        spending = spend(budget)
        for seconds in trained:
            spending.add(EXAMPLE, an_epoch(seconds))
        first = spending.reason_against(EXAMPLE, running)
        assert spending.reason_against(EXAMPLE, running) == first  # to ask spends nothing
        return first

    reason = ask()
    random.shuffle(running)
    assert ask() == reason


@settings(max_examples=50, deadline=None)
@given(
    budget=st.floats(10.0, 500.0), share=st.sampled_from((0.25, 0.5, 1.0)), count=st.integers(0, 9)
)
def test_device_seconds_are_kept_to_if_epochs_take_what_was_measured(
    budget: float, share: float, count: int
) -> None:
    spending, running = spend(Budget(device_seconds=budget), share=share), list[TrialConfig]()
    epoch_seconds = COSTS.at(0).epoch_seconds(EXAMPLE)[1]
    while len(running) < count and spending.reason_against(EXAMPLE, running) is None:
        running.append(EXAMPLE)
    for config in running:
        for _ in range(config.epochs):
            spending.add(config, an_epoch(epoch_seconds))
    assert spending.device_seconds <= budget + 1e-6
    assert spending.epochs == EXAMPLE.epochs * len(running)
