"""When a trial is stopped before its last epoch, and which trials never are."""

from __future__ import annotations

import random
from collections.abc import Iterator

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from scripted import Run, ScriptedPool, epoch, train

from cifar_tune.config.schema import MedianPruner, NoPruner, PercentilePruner, Pruner
from cifar_tune.search.pruners import CompleteTrials, expect_pruning, make_pruner, may_prune
from cifar_tune.training.records import TrialResult
from cifar_tune.workers.protocol import EpochEnded, Event, Finished, Task

EPOCHS = 4
WARM_UP = 2


def median(startup_trials: int = 2, warmup_epochs: int = WARM_UP) -> MedianPruner:
    return MedianPruner(name="median", startup_trials=startup_trials, warmup_epochs=warmup_epochs)


def percentile(share: float) -> PercentilePruner:
    return PercentilePruner(name="percentile", percentile=share, startup_trials=2, warmup_epochs=0)


def study_of(pruner: Pruner, *accuracies: float) -> optuna.Study:
    """Complete trials that had the same accuracy after each epoch."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=make_pruner(pruner))
    for accuracy in accuracies:
        values = dict.fromkeys(range(1, EPOCHS + 1), accuracy)
        study.add_trial(create_trial(value=accuracy, intermediate_values=values))
    return study


def decide(study: optuna.Study, *accuracies: float) -> list[bool]:
    """What is decided after each epoch of another trial."""
    complete, trial = CompleteTrials(study), study.ask()
    decisions = []
    for number, accuracy in enumerate(accuracies, 1):
        trial.report(accuracy, number)
        decisions.append(complete.should_prune(trial))
    return decisions


# --- right decisions ------------------------------------------------------------------------------


def test_a_trial_below_the_median_is_stopped_after_the_warm_up() -> None:
    study = study_of(median(), 0.4, 0.5, 0.6)
    assert decide(study, 0.3, 0.3, 0.3, 0.3) == [False] * WARM_UP + [True, True]
    assert decide(study, 0.7, 0.7, 0.7, 0.7) == [False] * 4


def test_the_best_epoch_so_far_counts() -> None:
    study = study_of(median(), 0.4, 0.5, 0.6)
    assert decide(study, 0.1, 0.55, 0.2, 0.2) == [False] * 4


def test_nothing_is_stopped_before_enough_trials_are_complete() -> None:
    assert not any(decide(study_of(median(startup_trials=3), 0.4, 0.5), *[0.0] * EPOCHS))
    assert any(decide(study_of(median(startup_trials=2), 0.4, 0.5), *[0.0] * EPOCHS))


@pytest.mark.parametrize(("share", "is_stopped"), [(20.0, True), (80.0, False)])
def test_a_percentile_keeps_its_share(share: float, is_stopped: bool) -> None:
    study = study_of(percentile(share), 0.1, 0.2, 0.3, 0.4, 0.5)
    assert decide(study, 0.25) == [is_stopped]


@pytest.mark.parametrize(
    "pruner",
    [
        MedianPruner(name="median", startup_trials=2, warmup_epochs=1),
        PercentilePruner(name="percentile", percentile=75, startup_trials=3, warmup_epochs=0),
        NoPruner(name="none"),
    ],
    ids=lambda pruner: pruner.name,
)
def test_the_pruner_decides_as_it_does_on_optunas_own_study(pruner: Pruner) -> None:
    study = study_of(pruner)
    complete = CompleteTrials(study)
    draw = random.Random(3)
    decisions = []
    for _ in range(40):
        trial = study.ask()
        for step in range(1, 5):
            trial.report(draw.random(), step)
            decision = complete.should_prune(trial)
            assert decision == trial.should_prune()
            decisions.append(decision)
            if decision:
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            complete.add(study.tell(trial, draw.random()))
    assert set(decisions) == ({False} if isinstance(pruner, NoPruner) else {False, True})
    study.add_trial(create_trial(value=1.0, intermediate_values={1: 0.5}))
    assert len(CompleteTrials(study).get_trials()) == 1 + len(complete.get_trials())


def test_only_complete_trials_are_seen() -> None:
    study = study_of(median(), 0.4)
    study.ask()
    complete = CompleteTrials(study)
    assert [trial.state for trial in complete.get_trials()] == [TrialState.COMPLETE]
    assert complete.get_trials(states=(TrialState.RUNNING,)) == []
    assert (complete.direction, complete.pruner) == (study.direction, study.pruner)


def test_the_first_of_equals_is_the_best() -> None:
    complete = CompleteTrials(study_of(median(), 0.4, 0.5))
    assert complete.best_accuracy == 0.5
    assert complete.is_best(9, 0.6)
    assert not complete.is_best(9, 0.5)
    assert CompleteTrials(study_of(median())).best_accuracy < 0


# --- who is exempt --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_owed", "epoch", "reported", "is_asked"),
    [
        (False, 1, 1, True),
        (False, EPOCHS - 1, EPOCHS - 1, True),
        (False, EPOCHS, EPOCHS, False),  # it is complete
        (False, 2, 3, False),  # of a continued trial: it was decided before
        (False, 3, 3, True),  # of one whose run may have died before it was
        (True, 1, 1, False),
        (True, EPOCHS, EPOCHS, False),
    ],
)
def test_the_pruner_is_asked_of(is_owed: bool, epoch: int, reported: int, is_asked: bool) -> None:
    assert may_prune(is_owed=is_owed, epoch=epoch, reported=reported, epochs=EPOCHS) == is_asked


def test_a_run_never_stops_named_trials(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CompleteTrials, "should_prune", lambda *_: True)

    def script(task: Task, _before: int) -> Iterator[Event]:
        started, first, *_ = train(task)
        yield from (started, first)
        if not pool.decisions[task.number][-1]:
            yield Finished(task.number, TrialResult((epoch(1),), True, None))
            return
        yield EpochEnded(task.number, epoch(2))
        yield Finished(task.number, TrialResult((epoch(1), epoch(2)), False, None))

    pool = ScriptedPool(1, script)
    outcome = run(pool, more_trials=2)
    assert [trial.state for trial in outcome.trials] == ["complete"] * 4 + ["pruned"] * 2
    assert list(pool.decisions.values()) == [[True, True]] * 4 + [[False]] * 2


# --- what it is expected to save ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pruner", "epochs", "expected"),
    [
        (NoPruner(name="none"), 20, (20, 0.0)),
        (median(warmup_epochs=3), 20, (4, 0.5)),
        (median(warmup_epochs=30), 20, (20, 0.5)),
        (percentile(80), 20, (1, pytest.approx(0.2))),
    ],
)
def test_expected_share(pruner: Pruner, epochs: int, expected: tuple[int, float]) -> None:
    assert expect_pruning(pruner, epochs) == expected
