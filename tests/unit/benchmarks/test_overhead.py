"""What the runner costs is measured on the real one, and what it saves changes no decision."""

from __future__ import annotations

import random
from dataclasses import fields

import optuna
import pytest
from command_line import Cli
from optuna.trial import TrialState, create_trial

from cifar_tune.benchmarks.overhead import Overhead
from cifar_tune.config.schema import MedianPruner, NoPruner, PercentilePruner, Pruner
from cifar_tune.search.pruners import CompleteTrials, make_pruner


def test_overhead_prints_what_the_runner_costs(cli: Cli) -> None:
    answer = cli("overhead", "--finished", "12", "--trials", "4")
    assert answer.code == 0, answer.err
    assert "With 12 finished trials in SQLite, over 4 trials:" in answer.out
    record = cli("overhead", "--finished", "12", "--trials", "4", "--json").record
    assert set(record) == {field.name for field in fields(Overhead)}
    assert (record["finished"], record["trials"]) == (12, 4)
    assert 0 < record["epoch_median"] <= record["epoch_high"]
    assert 0 < record["trial_median"] <= record["trial_high"]
    assert record["mean_per_epoch"] > record["epoch_median"] / 2
    assert record["share"] < 0.2


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
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=make_pruner(pruner))
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
