"""The bar of a study moves on with the clock, never backwards and never past its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cifar_tune.config.trial import TrialConfig
from cifar_tune.search.observer import LiveTrial
from cifar_tune.search.plan import Plan
from cifar_tune.search.run_progress import RunProgress
from cifar_tune.storage.records import TrialSummary

MakeConfig = Callable[..., TrialConfig]


def plan(named: int = 2, sampled: int = 0, workers: int = 1) -> Plan:
    """A plan of trials of four epochs, of ten seconds each; half of a sampled one is saved."""
    most = 4 * (named + sampled)
    expected = most - 2 * sampled
    return Plan(
        named=named,
        named_total=named,
        seeds=1,
        sampled=sampled,
        queued=0,
        workers=workers,
        epochs=4,
        epochs_least=expected,
        epochs_expected=expected,
        epochs_most=most,
        seconds_least=8.0 * expected / workers,
        seconds_expected=10.0 * expected / workers,
        seconds_most=12.0 * most / workers,
        seconds_saved_most=20.0 * sampled,
    )


@pytest.fixture
def live(make_config: MakeConfig) -> Callable[..., LiveTrial]:
    config = make_config(epochs=4)  # two training steps and two validation batches an epoch

    def make(number: int, epochs: int, done: int = 0) -> LiveTrial:
        trial = TrialSummary(number=number, name=f"a/seed={number}", state="running")
        return LiveTrial(trial, config, epochs, done, None)

    return make


def test_it_moves_within_a_step_but_not_past_it(live: Callable[..., LiveTrial]) -> None:
    run = RunProgress(plan(), 0.0)
    run.update(live(0, 0), 0.0)
    fractions = [run.fraction(second) for second in (0.0, 1.0, 2.0, 3.0, 60.0)]
    # A step is a quarter of an epoch of ten seconds, and an eighth of that of the two trials.
    assert fractions == pytest.approx([0.0, 0.1 / 8, 0.2 / 8, 0.25 / 8, 0.25 / 8])
    run.update(live(0, 0, done=2), 60.0)
    assert run.fraction(60.0) == pytest.approx(0.5 / 8)
    assert run.remaining(61.0) < run.remaining(60.0)


def test_a_trial_that_is_resumed_earlier_does_not_move_it_back(
    live: Callable[..., LiveTrial],
) -> None:
    run = RunProgress(plan(), 0.0)
    run.update(live(0, 2, done=1), 0.0)  # two epochs are of an earlier run
    run.update(live(0, 3), 8.0)
    before = run.fraction(8.0)
    run.end(0, is_over=False, is_sampled=False)
    run.update(live(0, 2), 9.0)
    assert run.fraction(9.0) == before > 0


def test_what_is_pruned_counts_as_done_and_is_at_the_end_all_of_it(
    live: Callable[..., LiveTrial],
) -> None:
    run = RunProgress(plan(named=1, sampled=1), 0.0)
    run.update(live(0, 0), 0.0)
    run.update(live(0, 4), 40.0)
    run.end(0, is_over=True, is_sampled=False)
    assert run.fraction(40.0) == pytest.approx(0.5)
    assert run.remaining(40.0) == pytest.approx(20.0, rel=0.01)  # two epochs of the sampled one
    run.update(live(1, 0), 40.0)
    run.update(live(1, 2), 60.0)
    run.end(1, is_over=True, is_sampled=True)
    assert run.fraction(60.0) == 1.0
    assert run.remaining(60.0) == 0.0


def test_trials_that_were_queued_meanwhile_do_not_make_it_more_than_all(
    live: Callable[..., LiveTrial],
) -> None:
    run = RunProgress(plan(named=1), 0.0)
    run.update(live(0, 0), 0.0)
    run.update(live(1, 0), 0.0)  # beside the planned one
    run.update(live(0, 3), 39.0)
    assert run.fraction(39.0) < 0.5
    run.end(0, is_over=True, is_sampled=False)
    run.update(live(1, 4), 80.0)
    run.end(1, is_over=True, is_sampled=False)
    assert run.fraction(80.0) == 1.0
    run.update(live(2, 0), 80.0)
    assert run.fraction(80.0) == 1.0


def test_time_is_corrected_by_what_epochs_take(live: Callable[..., LiveTrial]) -> None:
    run = RunProgress(plan(), 0.0)
    assert run.remaining(0.0) == pytest.approx(80.0)
    run.update(live(0, 0), 0.0)
    run.update(live(0, 3), 90.0)  # three times as slow as planned
    # Five epochs are left; with the plan's one, four have taken a hundred seconds.
    assert run.remaining(90.0) == pytest.approx(5 * 25.0)
    assert run.elapsed(90.0) == 90.0
