"""Running studies through the command line, on real images, from first run to continued one."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import TINY, Cli, StopAfter, run_dropout
from optuna.trial import TrialState
from places import STUDY_FILES

from cifar_tune.training.records import EpochMetrics

TRIAL_KEYS = {
    "number",
    "name",
    "seed",
    "state",
    "params",
    "settings",
    "epochs",
    "val_accuracy",
    "seconds",
    "failure",
    "queued",
}
DATABASE = Path("storage") / "cifar-tune.db"
NAMES = [f"dropout/p=0.{i}/seed=1" for i in range(1, 5)]


def stored_study(path: Path = DATABASE) -> optuna.Study:
    url = f"sqlite:///{path}"
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url)


def test_first_run_then_nothing_then_more(cli: Cli) -> None:
    first = run_dropout(cli, "--trials", "2", "--json")
    assert first.code == 0, first.err
    record = first.record
    assert set(record) == {
        "study",
        "study_name",
        "profile",
        "storage",
        "trials",
        "best",
        "seconds",
        "left",
    }
    assert record["left"] == {"named": 0, "sampled": 0, "queued": 0, "why": None}
    assert (record["study"], record["profile"]) == ("dropout", "quick")
    assert all(set(trial) == TRIAL_KEYS for trial in record["trials"])
    assert [trial["name"] for trial in record["trials"]] == [*NAMES, None, None]
    assert [trial["number"] for trial in record["trials"]] == list(range(6))
    assert all(trial["epochs"] == 1 for trial in record["trials"])
    best = max(t["val_accuracy"] for t in record["trials"] if t["state"] == "complete")
    assert record["best"]["val_accuracy"] == best

    again = run_dropout(cli, "--trials", "0")
    assert again.code == 0
    assert "Every trial had ended before this run" in again.out
    assert len(stored_study().trials) == 6

    more = run_dropout(cli, "--trials", "1", "--json").record
    assert more["trials"][:6] == record["trials"]
    assert len(more["trials"]) == 7


def test_plain_output_has_plan_epochs_table_and_best(cli: Cli) -> None:
    answer = run_dropout(cli, "--trials", "0")
    assert "profile    quick: this run uses CPU" in answer.out
    assert "plan       4 of 4 named trials (1 seed each)\n" in answer.out
    assert "trial 2 dropout/p=0.3/seed=1  epoch 1/1  train loss" in answer.out
    assert "Best by validation: trial" in answer.out
    assert str(DATABASE) in answer.out


def test_a_stored_trial_says_what_made_it(cli: Cli) -> None:
    run_dropout(cli, "--trials", "1", "--seed", "5", epochs=2)
    study = stored_study()
    assert study.user_attrs["seed"] == 5
    assert study.metric_names == ["val_accuracy"]
    for trial in study.trials:
        attributes = trial.user_attrs
        assert attributes["config"]["seed"] == attributes["seed"]
        assert attributes["config"]["epochs"] == 2
        facts = attributes["facts"]
        assert len(facts["config_sha256"]) == 64
        assert set(facts["software"]) >= {"cifar-tune", "torch", "torchvision", "python"}
        assert facts["device"].startswith("CPU (")
        assert set(facts) >= {"git_commit", "sampler_seed"}
        assert set(facts["data_digests"]) == {
            "train images",
            "train labels",
            "validation images",
            "validation labels",
        }
        history = [EpochMetrics(**epoch) for epoch in attributes["history"]]
        reported = {metrics.epoch: metrics.val_accuracy for metrics in history}
        assert trial.intermediate_values == reported
        assert trial.value == history[-1].val_accuracy


def test_replicates_and_seeds(cli: Cli) -> None:
    record = run_dropout(cli, "--trials", "0", "--seeds", "2", "--json").record
    names = [name for k in (1, 2) for name in (n.replace("seed=1", f"seed={k}") for n in NAMES)]
    assert [trial["name"] for trial in record["trials"]] == names
    seeds = [trial["seed"] for trial in record["trials"]]
    assert len(set(seeds[:4])) == len(set(seeds[4:])) == 1
    assert seeds[0] != seeds[4]
    # Fewer replicates than there are: nothing to do, nothing lost.
    assert len(run_dropout(cli, "--trials", "0", "--json").record["trials"]) == 8


def test_override_is_a_study_of_its_own(cli: Cli) -> None:
    run_dropout(cli, "--trials", "0")
    run_dropout(cli, "--trials", "0", "--set", "cosine_t_max=10")
    names = optuna.get_all_study_names(f"sqlite:///{DATABASE}")
    assert len(names) == 2
    shown = cli("study", "show", "dropout", "--json").record
    assert [len(study["trials"]) for study in shown["stored"]] == [4, 4]
    own = cli("study", "show", "dropout", *TINY, "--epochs", "1", "--json").record
    assert [study["study_name"] for study in own["stored"]] == [names[0]]
    assert own["profiles"]["quick"]["protocol"]["epochs"] == 1


def test_another_seed_for_a_stored_study_is_refused(cli: Cli) -> None:
    run_dropout(cli, "--trials", "0")
    for command in ("plan", "run"):
        answer = cli("study", command, "dropout", *TINY, "--epochs", "1", "--seed", "3")
        assert answer.code == 2
        assert "seed is 3, stored 0" in answer.err
    assert len(stored_study().trials) == 4


def test_changed_study_file_is_refused_and_the_difference_named(cli: Cli, tmp_path: Path) -> None:
    text = (STUDY_FILES / "dropout.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    command = ("study", "run", str(mine), *TINY, "--epochs", "1", "--trials", "0")
    mine.write_text(text, encoding="utf-8")
    assert cli(*command).code == 0
    for old, new, difference in (
        ("high = 0.6", "high = 0.5", "space.dropout_rate.high is 0.5, stored 0.6"),
        (
            "dropout_rate = 0.2",
            "dropout_rate = 0.25",
            "named.dropout/p=0.2.params.dropout_rate is 0.25",
        ),
        ("cosine_t_max = 200", "cosine_t_max = 20", "protocol.cosine_t_max is 20, stored 200"),
    ):
        mine.write_text(text.replace(old, new), encoding="utf-8")
        answer = cli(*command)
        assert answer.code == 2
        assert difference in answer.err
    assert len(stored_study().trials) == 4


@pytest.mark.long
def test_interrupted_and_continued_equals_uninterrupted(cli: Cli, stop_after: StopAfter) -> None:
    whole = run_dropout(cli, "--trials", "3", "--json", "--storage", "whole.db", epochs=2).record
    left = []
    for steps in (14, 22):  # in a named trial, then in a sampled one
        with stop_after(steps):
            answer = run_dropout(cli, "--trials", "3", "--json", epochs=2)
        assert answer.code == 130, answer.err
        left.append(answer.record["left"])
    assert [one["named"] > 0 for one in left] == [True, False]
    assert [one["sampled"] for one in left] == [3, 3]
    trials = stored_study().trials
    assert [trial.state for trial in trials].count(TrialState.WAITING) == 1
    assert TrialState.RUNNING not in [trial.state for trial in trials]
    done = sum("name" not in t.user_attrs and t.state.is_finished() for t in trials)
    rest = run_dropout(cli, "--trials", str(3 - done), "--json", epochs=2).record
    assert outcomes(rest) == outcomes(whole)
    assert [trial["number"] for trial in rest["trials"]] == list(range(7))
    restarts = [trial.user_attrs.get("restarts", []) for trial in stored_study().trials]
    assert [len(one) for one in restarts].count(1) == 2
    assert all(one["steps"] + one["epochs"] > 0 for many in restarts for one in many)
    assert not list(Path("storage").rglob("epoch-*"))


def outcomes(record: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What came of the trials that ran to their end, apart from when and how fast."""
    return [
        (trial["name"], trial["seed"], trial["state"], trial["params"], trial["val_accuracy"])
        for trial in record["trials"]
        if trial["state"] in ("complete", "pruned")
    ]


@pytest.mark.long
def test_a_process_stopped_by_a_signal_leaves_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cifar_tune", "study", "run", "dropout", *TINY, "--json"]
    command += ["--workers", "1"]
    for stop in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [*command, "--epochs", "50"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(r"epoch \d+/50", line):
                break
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        record = json.loads(out)
        assert all(trial["state"] == "waiting" for trial in record["trials"])
        assert record["trials"][0]["epochs"] >= 1
        assert record["left"]["named"] == 4


def test_a_killed_runners_trial_goes_on_under_its_number(cli: Cli) -> None:
    run_dropout(cli, "--trials", "0")
    abandoned = stored_study().ask()
    abandoned.set_user_attr("seed", 7)  # as a run begins one; another program's has none
    waiting = run_dropout(cli, "--trials", "0", "--json").record
    assert waiting["trials"][abandoned.number]["state"] == "waiting"
    record = run_dropout(cli, "--trials", "1", "--json").record
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 5


def test_loss_that_is_not_finite_fails_the_trial_and_the_study_goes_on(
    cli: Cli,
) -> None:
    command = ["study", "run", "dropout", *TINY, "--set", "normalize_std=[1e-38, 1e-38, 1e-38]"]
    answer = cli(*command, "--trials", "0", "--epochs", "1", "--json")
    assert answer.code == 1
    trials = answer.record["trials"]
    assert [trial["state"] for trial in trials] == ["fail"] * 4
    assert trials[0]["failure"]["kind"] == "not_finite"
    assert (trials[0]["failure"]["epoch"], trials[0]["failure"]["step"]) == (1, 1)
    # It is a result of the configuration: run again, it would come out the same.
    assert len(cli(*command, "--trials", "0", "--epochs", "1", "--json").record["trials"]) == 4


@pytest.mark.long
def test_named_trials_are_never_pruned_and_sampled_ones_are(cli: Cli) -> None:
    record = run_dropout(cli, "--trials", "5", "--json", epochs=3).record
    named = [trial for trial in record["trials"] if trial["name"]]
    sampled = [trial for trial in record["trials"] if not trial["name"]]
    assert {(trial["state"], trial["epochs"]) for trial in named} == {("complete", 3)}
    pruned = [trial for trial in sampled if trial["state"] == "pruned"]
    assert pruned
    assert all(trial["epochs"] == 2 for trial in pruned)


def test_errors_in_trials_are_stored_and_run_again(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the sky fell")

    with monkeypatch.context() as patch:
        patch.setattr("cifar_tune.training.trainer.train_epoch", fail)
        answer = run_dropout(cli, "--trials", "0")
    assert answer.code == 1
    assert "trial 0 dropout/p=0.1/seed=1  failed: RuntimeError: the sky fell" in answer.out
    # The fourth would fare no better.
    assert "3 trials failed in a row" in answer.err
    assert "Traceback" not in answer.err
    record = run_dropout(cli, "--trials", "0", "--json").record
    assert [trial["state"] for trial in record["trials"]] == ["fail"] * 3 + ["complete"] * 4
    assert record["trials"][0]["failure"]["kind"] == "error"
    assert {trial["name"] for trial in record["trials"][3:]} == set(NAMES)


def test_one_error_does_not_stop_the_others(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from cifar_tune.training import trainer

    train, calls = trainer.train_epoch, []

    def fail_once(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("the sky fell")
        return train(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_epoch", fail_once)
        answer = run_dropout(cli, "--trials", "1", "--json")
    assert answer.code == 1
    states = ["complete", "fail", "complete", "complete", "complete"]
    assert [trial["state"] for trial in answer.record["trials"]] == states


@pytest.mark.long
def test_second_runner_is_refused_with_the_first_ones_host_and_pid(
    tmp_path: Path, in_process: Any
) -> None:
    arguments = ("study", "run", "dropout", *TINY, "--trials", "0", "--workers", "1")
    first = subprocess.Popen(
        [sys.executable, "-m", "cifar_tune", *arguments, "--epochs", "500"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout is not None
        for line in first.stdout:
            if "epoch 1/500" in line:
                break
        second = in_process(*arguments, "--epochs", "500", cwd=tmp_path)
        assert second.returncode == 2
        assert f"process {first.pid} on host {platform.node()}" in second.stderr
        assert "Traceback" not in second.stderr
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=60)
        # A dead holder is seen at once: the third run takes over, and can be stopped in turn.
        third = subprocess.Popen(
            [sys.executable, "-m", "cifar_tune", *arguments, "--epochs", "500"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert third.stdout is not None
        assert any("resumed at epoch" in line for line in third.stdout)
        third.send_signal(signal.SIGINT)
        assert third.wait(timeout=60) == 130
    finally:
        first.kill()
    states = [trial.state for trial in stored_study(tmp_path / DATABASE).trials]
    assert set(states) == {TrialState.WAITING}


def test_summary_keys_are_the_documented_ones() -> None:
    from cifar_tune.storage.records import TrialSummary

    assert {field.name for field in dataclasses.fields(TrialSummary)} == TRIAL_KEYS
