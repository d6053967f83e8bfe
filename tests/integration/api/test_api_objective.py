"""Trials of ``study.optimize`` beside those of a run."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from command_line import Cli
from optuna.trial import TrialState
from told import Told

import cifar_tune as ct
from cifar_tune.errors import NonFiniteLossError
from cifar_tune.search.trial_recorder import TrialRecorder
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.optuna_private import get_engine, get_study_id


def attributes(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """What is stored with a trial, without what differs from run to run."""
    stored = {**trial.user_attrs, "facts": dict(trial.user_attrs["facts"])}
    stored["history"] = [{**epoch, "seconds": 0} for epoch in stored["history"]]
    return stored


def test_optimize_gives_the_trials_of_a_run(pruned_spec: ct.StudySpec) -> None:
    spec = pruned_spec.with_profile(seeds=0)
    study = ct.create_study(spec, storage="plain.db", seed=1)
    study.optimize(ct.Objective(spec, device="cpu"), n_trials=4)
    ct.run_study(spec, storage="run.db", n_trials=4, seed=1, device="cpu")
    run = ct.load_study(spec.study_name, storage="run.db")
    assert [trial.state for trial in study.trials] == [trial.state for trial in run.trials]
    assert TrialState.PRUNED in [trial.state for trial in run.trials]
    for ours, other in zip(study.trials, run.trials, strict=True):
        assert ours.params == other.params
        assert ours.value == other.value
        assert ours.intermediate_values == other.intermediate_values
        assert attributes(ours) == attributes(other)
    assert study.user_attrs["protocol"] == run.user_attrs["protocol"]


def test_a_run_goes_on_after_optimize(spec: ct.StudySpec, cli: Cli) -> None:
    study = ct.create_study(spec)
    study.optimize(ct.Objective(spec), n_trials=1)
    outcome = ct.run_study(spec)
    assert [trial.origin for trial in outcome.trials] == ["sampled", "named", "sampled"]
    assert len({trial.seed for trial in outcome.trials}) == 3
    assert outcome.is_done
    assert ct.run_study(spec).trials_run == 0
    shown = cli("study", "show", "tiny", "--profile", "quick", "--set", "train_images=64",
                "--set", "validation_images=50", "--json").record["stored"]  # fmt: skip
    assert [trial["state"] for trial in shown[0]["trials"]] == ["complete"] * 3


def test_an_enqueued_trial_is_the_studys_own_or_is_refused(
    spec: ct.StudySpec, caplog: pytest.LogCaptureFixture
) -> None:
    study = ct.create_study(spec)
    study.enqueue_trial({"dropout_rate": 0.25})
    study.enqueue_trial({"dropout_rate": 5.0})
    study.optimize(ct.Objective(spec), n_trials=3)
    first, second, third = study.trials
    assert first.params["dropout_rate"] == 0.25
    assert first.user_attrs["queued"]["trial"] == 0
    assert second.state == TrialState.FAIL
    assert second.user_attrs["failure"]["kind"] == "refused"
    assert "trial 1 (queued) is refused: dropout_rate = 5.0" in caplog.text
    assert len({trial.user_attrs["seed"] for trial in (first, third)}) == 2
    assert [*ct.trials_dataframe(study).origin] == ["queued", "queued", "sampled"]


def test_an_interrupted_trial_is_trained_again_by_a_run(spec: ct.StudySpec) -> None:
    class Interrupts(ct.TrialCallback):
        def trial_begun(self, info: ct.TrialInfo) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    study = ct.create_study(spec)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(ct.Objective(spec, callbacks=[Interrupts()]), n_trials=1)
    (trial,) = study.trials
    assert trial.user_attrs["failure"]["kind"] == "interrupted"
    outcome = ct.run_study(spec)
    trials = ct.load_study(spec.study_name).trials
    (again,) = [other for other in trials if other.user_attrs.get("retry_of") == 0]
    assert again.params == trial.params
    assert outcome.is_done


def test_a_trial_that_a_run_paused_is_resumed_by_optimize(
    pruned_spec: ct.StudySpec, stop_after: Any
) -> None:
    with stop_after(4):
        outcome = ct.run_study(pruned_spec, n_trials=0)
    assert outcome.interrupted
    assert outcome.trials[0].state == "waiting"
    told = Told()
    study = ct.create_study(pruned_spec)
    study.optimize(ct.Objective(pruned_spec, callbacks=[told]), n_trials=1)
    (trial,) = study.trials
    assert trial.state == TrialState.COMPLETE
    assert [epoch["epoch"] for epoch in trial.user_attrs["history"]] == [1, 2]
    assert trial.user_attrs["restarts"][0]["steps"] > 0 or trial.user_attrs["restarts"][0]["epochs"]
    assert told.events[0][:3] == ("begun", 0, "running")


def test_a_trial_whose_process_was_killed_is_resumed_by_a_run(
    pruned_spec: ct.StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dies(ct.TrialCallback):
        def epoch_ended(self, *_: Any) -> None:
            raise KeyboardInterrupt

    study = ct.create_study(pruned_spec)
    objective = ct.Objective(pruned_spec, callbacks=[Dies()])
    with monkeypatch.context() as patch:
        patch.setattr(TrialRecorder, "explain", lambda *_: None)  # as of a process that is gone
        with pytest.raises(KeyboardInterrupt):
            objective(study.ask())
    assert study.trials[0].state == TrialState.RUNNING
    outcome = ct.run_study(pruned_spec.with_profile(seeds=0), n_trials=1)
    (trial,) = outcome.trials
    assert (trial.number, trial.state, trial.epochs) == (0, "complete", 2)
    (restart,) = ct.load_study(pruned_spec.study_name).trials[0].user_attrs["restarts"]
    assert restart["epochs"] == 1  # from its checkpoint


def test_a_loss_that_is_not_finite_is_recorded_and_the_search_goes_on(spec: ct.StudySpec) -> None:
    def explode(*_: Any) -> None:
        raise NonFiniteLossError(1, 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cifar_tune.search.own_trial.train", explode)
        study = ct.create_study(spec)
        study.optimize(ct.Objective(spec), n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2
    assert study.trials[0].user_attrs["failure"]["kind"] == "not_finite"


def test_a_study_that_another_process_runs_is_refused(spec: ct.StudySpec) -> None:
    study = ct.create_study(spec)
    with (
        hold_lease(get_engine(study), get_study_id(study), study.study_name, lambda _: None),
        pytest.raises(ct.CifarTuneError, match="is being run by process"),
    ):
        study.optimize(ct.Objective(spec), n_trials=1)
    other = ct.load_study_file("tiny", profile="quick")
    with pytest.raises(ct.CifarTuneError, match="expected tiny:quick, the study of this"):
        study.optimize(ct.Objective(other), n_trials=1)


def test_any_other_study_of_optunas(spec: ct.StudySpec) -> None:
    told = Told()
    study = optuna.create_study(direction="maximize")
    objective = ct.Objective(spec, callbacks=[told])
    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert trial.intermediate_values == {1: trial.value}
    assert trial.user_attrs["config"]["train_images"] == 64
    fixed = optuna.trial.FixedTrial({**trial.params}, number=trial.number)
    config = objective.suggest(fixed)
    assert config.digest == spec.config(trial.params, config.seed).digest
    assert objective.train(config).val_accuracy == trial.value
    assert [event[0] for event in told.events] == ["begun", "epoch", "ended"]
    assert [*ct.trials_dataframe(study).state] == ["complete"]


def test_optimize_in_threads_trains_one_trial_at_a_time(spec: ct.StudySpec) -> None:
    study = ct.create_study(spec)
    study.optimize(ct.Objective(spec), n_trials=3, n_jobs=3)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert len({trial.user_attrs["seed"] for trial in study.trials}) == 3
    assert len({trial.params["dropout_rate"] for trial in study.trials}) == 3
