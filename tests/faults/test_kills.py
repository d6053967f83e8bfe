"""Signals, kills and power loss: whatever ends a run, the next one finishes what it left."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import invariants
import optuna
import pytest
from command_line import Cli
from kill_study import kill_study
from one_trial import SMALL, command, write_study_file
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from processes import Runner, are_gone, kill_process, write_study

from cifar_tune.search import costs

LEAVE_SECONDS = 5.0
ONE_TRIAL = ("--only", "kill/p=0.1", "--seeds", "1")
LONG_EPOCHS = ("--set", "train_images=320", "--set", "batch_size=8", "--epochs", "2")
LONG_STEP = ("--set", "train_images=3000", "--set", "batch_size=3000")
DATABASE = Path("storage") / "cifar-tune.db"


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """A study of three named trials, two seeds each, and no sampled ones."""
    path = tmp_path / "kills.toml"
    write_study(path, trials=0)
    return path


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One trial of long epochs, undisturbed."""
    folder = tmp_path_factory.mktemp("quiet")
    write_study(folder / "kills.toml", trials=0)
    runner = start(folder / "kills.toml", *ONE_TRIAL, *LONG_EPOCHS)
    assert runner.end(300.0) == 0, runner.text
    return stored(folder / "kills.toml")


def start(study_file: Path, *arguments: str) -> Runner:
    """Run the study with one worker, in the folder of its file."""
    return Runner(study_file.parent, "study", "run", str(study_file), "--workers", "1", *arguments)


def stored(study_file: Path) -> Any:
    return invariants.read_study(str(study_file.parent / DATABASE))


def wait_until_it_trains(runner: Runner, study_file: Path) -> None:
    """Wait until a worker of this run says that it has begun with a trial."""
    assert runner.wait_for(lambda: bool(runner.workers()), 120.0), runner.text
    (worker,) = runner.workers()
    born = worker.create_time()

    def has_started() -> bool:
        logs = (study_file.parent / "storage").glob("cifar-tune-logs/*/worker-0.log")
        fresh = [path for path in logs if path.stat().st_mtime >= born]
        return any("Started(" in path.read_text(errors="replace") for path in fresh)

    assert runner.wait_for(has_started, 120.0), runner.text


def leave(runner: Runner, one: signal.Signals) -> float:
    """Send a signal; the seconds until the process is gone."""
    begun = time.monotonic()
    runner.send(one)
    code = runner.end()
    seconds = time.monotonic() - begun
    assert code == 130, runner.text
    assert "Traceback" not in runner.text
    return seconds


@pytest.mark.long
@pytest.mark.parametrize("stored_keys", [1, 11])
def test_killed_while_the_study_is_defined(cli: Cli, tmp_path: Path, stored_keys: int) -> None:
    study_file, database = write_study_file(tmp_path), tmp_path / "studies.db"
    real, keys = optuna.Study.set_user_attr, []

    def set_or_die(self: optuna.Study, key: str, value: Any) -> None:
        if len(keys) == stored_keys:
            raise KeyboardInterrupt
        keys.append(key)
        real(self, key, value)

    # A budget of no time: what is asked is whether the next run takes the study for its own.
    run = [*command(study_file, database), "--timeout", "0.001"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.Study, "set_user_attr", set_or_die)
        assert cli(*run).code == 130
    attributes = invariants.read_study(str(database)).user_attrs
    assert len(attributes) == stored_keys
    answer = cli(*run)
    assert answer.code == 0, answer.err
    assert {"protocol", "claims", *keys} <= set(invariants.read_study(str(database)).user_attrs)


@pytest.mark.long
def test_killed_between_two_draws(cli: Cli, tmp_path: Path) -> None:
    study_file = tmp_path / "kills.toml"
    write_study(study_file, trials=1, names=())
    run = ("study", "run", str(study_file), *SMALL, "--storage")
    assert cli(*run, "whole.db").code == 0
    real, drawn = RandomSampler.sample_independent, []

    def draw_or_die(*arguments: Any) -> Any:
        if drawn:
            raise KeyboardInterrupt
        drawn.append(arguments[3])
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RandomSampler, "sample_independent", draw_or_die)
        assert cli(*run, "killed.db").code == 130
    (trial,) = invariants.read_study("killed.db").trials
    assert list(trial.params) == drawn
    assert cli(*run, "killed.db").code == 0
    study = invariants.read_study("killed.db")
    assert invariants.differences(study, invariants.read_study("whole.db")) == []


@pytest.mark.long
def test_ctrl_c_while_the_machine_is_measured(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_file, database = write_study_file(tmp_path), tmp_path / "studies.db"
    monkeypatch.setattr(costs, "MEASURE_SECONDS", 60.0)
    monkeypatch.setattr(costs, "MEASURE_STEPS", 10**9)
    real, pressed = costs.train_epoch, []

    def train_and_press(*arguments: Any) -> Any:
        if not pressed:
            pressed.append(time.monotonic())
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        return real(*arguments)

    monkeypatch.setattr(costs, "train_epoch", train_and_press)
    answer = cli(*command(study_file, database))
    assert time.monotonic() - pressed[0] - 0.5 < LEAVE_SECONDS
    assert (answer.code, answer.err.strip()) == (130, "interrupted")
    assert invariants.read_study(str(database)).trials == []


@pytest.mark.long
def test_signals_save_within_an_epoch_and_the_next_run_goes_on(
    study_file: Path, quiet: Any
) -> None:
    arguments = (*ONE_TRIAL, *LONG_EPOCHS)
    runner = start(study_file, *arguments)
    wait_until_it_trains(runner, study_file)
    time.sleep(1.0)
    assert leave(runner, signal.SIGINT) < LEAVE_SECONDS
    (trial,) = stored(study_file).trials
    assert trial.state == TrialState.WAITING

    runner = start(study_file, *arguments)
    assert runner.wait_for_line("epoch 1/2"), runner.text
    time.sleep(1.0)
    assert leave(runner, signal.SIGTERM) < LEAVE_SECONDS
    (trial,) = stored(study_file).trials
    assert (trial.state, list(trial.intermediate_values)) == (TrialState.WAITING, [1])

    runner = start(study_file, *arguments)
    assert runner.end(120.0) == 0, runner.text
    (trial,) = stored(study_file).trials
    assert trial.number == 0
    places = [(one["epochs"], one["steps"]) for one in trial.user_attrs["restarts"]]
    assert [epochs for epochs, _ in places] == [0, 1]
    assert all(0 < steps <= 40 for _, steps in places)
    assert {one["why"] for one in trial.user_attrs["restarts"]} == {"the run had ended"}
    assert invariants.differences(stored(study_file), quiet) == []
    assert invariants.weights_differences(stored(study_file), quiet) == []
    assert invariants.leftovers(study_file.parent) == []


@pytest.mark.long
def test_a_step_that_takes_long_is_not_waited_for(study_file: Path) -> None:
    runner = start(study_file, *ONE_TRIAL, *LONG_STEP)
    wait_until_it_trains(runner, study_file)
    workers = runner.workers()
    time.sleep(1.0)
    assert leave(runner, signal.SIGINT) < LEAVE_SECONDS
    assert are_gone(workers, 2.0)
    assert [trial.state for trial in stored(study_file).trials] == [TrialState.WAITING]


@pytest.mark.long
def test_second_ctrl_c_leaves_at_once(study_file: Path) -> None:
    runner = start(study_file, *ONE_TRIAL, *LONG_STEP)
    wait_until_it_trains(runner, study_file)
    workers = runner.workers()
    runner.send(signal.SIGINT)
    time.sleep(0.7)
    assert runner.is_running()
    assert leave(runner, signal.SIGINT) < 2.0
    assert are_gone(workers, 2.0)
    (trial,) = stored(study_file).trials
    assert not trial.state.is_finished()


@pytest.mark.long
def test_ctrl_c_in_a_terminal_while_workers_start(study_file: Path) -> None:
    """A terminal sends it to the workers too, which have not got as far as to ignore it."""
    runner = start(study_file, *ONE_TRIAL, *LONG_EPOCHS)
    assert runner.wait_for(lambda: bool(runner.workers()), 120.0), runner.text
    workers = runner.workers()
    time.sleep(0.5)
    begun = time.monotonic()
    os.killpg(runner.process.pid, signal.SIGINT)
    assert runner.end() == 130, runner.text
    assert time.monotonic() - begun < LEAVE_SECONDS
    assert "Traceback" not in runner.text
    assert are_gone(workers, 2.0)
    assert [trial.state for trial in stored(study_file).trials] == [TrialState.WAITING]


@pytest.mark.long
def test_a_worker_that_dies_is_replaced_and_four_deaths_fail_the_trial(
    cli: Cli, study_file: Path
) -> None:
    arguments = ("--only", "kill/p=0.1", "--only", "kill/p=0.3", "--seeds", "1")
    runner = start(study_file, *arguments)
    for death in range(4):
        assert runner.wait_for(lambda: bool(runner.workers()), 120.0), runner.text
        if death == 3:
            wait_until_it_trains(runner, study_file)
        (worker,) = runner.workers()
        kill_process(worker)
        assert runner.wait_for(lambda: worker not in runner.workers(), 60.0)  # noqa: B023
    # The other trial meets one death, after its start, and completes.
    assert runner.wait_for_line("trial 1 "), runner.text
    wait_until_it_trains(runner, study_file)
    kill_process(runner.workers()[0])
    assert runner.end(120.0) == 1, runner.text
    assert "Traceback" not in runner.text
    failed, complete = stored(study_file).trials
    assert [failed.state, complete.state] == [TrialState.FAIL, TrialState.COMPLETE]
    failure = failed.user_attrs["failure"]
    assert failure["kind"] == "died"
    assert "SIGKILL" in failure["message"]
    assert "Started(" in failure["log"]
    assert [one["died"] for one in failed.user_attrs["restarts"]] == [True] * 3
    (restart,) = complete.user_attrs["restarts"]
    assert (restart["died"], restart["epochs"]) == (True, 0)
    assert "SIGKILL" in restart["why"]

    answer = cli("study", "run", str(study_file), *arguments)
    assert answer.code == 0, answer.err
    again = stored(study_file).trials[2]
    assert again.state == TrialState.COMPLETE
    assert invariants.identity(again) == invariants.identity(failed)
    assert invariants.weights_faults(stored(study_file), study_file.parent / "storage") == []
    assert invariants.leftovers(study_file.parent) == []


@pytest.mark.long
def test_workers_end_with_their_runner_and_the_next_one_goes_on(
    cli: Cli, study_file: Path, quiet: Any
) -> None:
    arguments = (*ONE_TRIAL, *LONG_EPOCHS)
    for moment in ("a worker starts", "a worker trains"):
        runner = start(study_file, *arguments)
        assert runner.wait_for(lambda: bool(runner.workers()), 120.0), runner.text  # noqa: B023
        if moment == "a worker trains":
            assert runner.wait_for_line("epoch 1/2"), runner.text
        workers = runner.workers()
        runner.send(signal.SIGKILL)
        assert are_gone(workers, 2.0)
        assert runner.end() == -signal.SIGKILL
        assert [trial.state for trial in stored(study_file).trials] == [TrialState.RUNNING]
    answer = cli("study", "run", str(study_file), *arguments)
    assert answer.code == 0, answer.err
    (trial,) = stored(study_file).trials
    places = [(one["epochs"], one["steps"]) for one in trial.user_attrs["restarts"]]
    assert (trial.number, places) == (0, [(0, 0), (1, 0)])
    assert invariants.differences(stored(study_file), quiet) == []
    assert invariants.weights_differences(stored(study_file), quiet) == []


def test_a_study_that_is_killed_at_random_moments(tmp_path: Path) -> None:
    """``python tests/support/kill_study.py --kills 50`` is the same for longer."""
    said: list[str] = []
    is_good = kill_study(tmp_path, kills=2, workers="2", seed=3, storage=None, say=said.append)
    assert is_good, "\n".join(said)
    assert "lost 0, duplicated 0, differing 0, other faults 0" in "\n".join(said)
