"""Who may write a study: a runner that was suspended, and clocks that are set."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import invariants
import psutil
import pytest
from command_line import Cli
from one_trial import Quiet, command, expect_equal
from optuna.trial import TrialState
from processes import Runner, are_gone

from cifar_tune.storage import lease

HOUR = 3600.0


def dump(database: Path) -> list[str]:
    """All that a database holds, as SQL."""
    with closing(sqlite3.connect(database)) as opened:
        return list(opened.iterdump())


def set_clock_back(patch: pytest.MonkeyPatch) -> None:
    """Let the time of day be an hour ago, and with it the time at which processes were started."""
    now, booted, born = time.time, psutil.boot_time, psutil.Process.create_time
    patch.setattr(time, "time", lambda: now() - HOUR)
    patch.setattr(psutil, "boot_time", lambda: booted() - HOUR)
    patch.setattr(psutil.Process, "create_time", lambda self: born(self) - HOUR)


@pytest.mark.long
def test_clock_set_back_during_a_run_and_between_runs(
    cli: Cli, study_file: Path, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "studies.db"
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0)  # renewed at every turn
    real, readings = time.time, []

    def falling() -> float:
        readings.append(len(readings))
        return real() - HOUR * len(readings)

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", falling)
        record = cli(*command(study_file, database), "--json").record
    assert len(readings) > 5
    (trial,) = record["trials"]
    assert (trial["state"], record["seconds"] > 0, trial["seconds"] > 0) == ("complete", True, True)
    with monkeypatch.context() as patch:
        set_clock_back(patch)
        record = cli(*command(study_file, database, seeds=2), "--json").record
    assert [one["state"] for one in record["trials"]] == ["complete"] * 2
    assert all(one["seconds"] > 0 for one in record["trials"])
    study = invariants.read_study(str(database))
    assert invariants.outcome(study.trials[0]) == invariants.outcome(quiet.study(1).trials[0])


def test_a_suspended_runner_is_taken_over_and_then_writes_nothing(
    cli: Cli, study_file: Path, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "storage" / "studies.db"
    run = command(study_file, database)
    first = Runner(tmp_path, *run, "--workers", "1")
    # Its worker goes on meanwhile: it writes the weights and says that the trial is finished.
    assert first.wait_for_line("epoch 1/1"), first.text
    first.send(signal.SIGSTOP)
    workers = first.workers()
    (trial,) = invariants.read_study(str(database)).trials
    assert trial.state == TrialState.RUNNING

    waiting = Runner(tmp_path, *run, "--workers", "1")
    assert waiting.wait_for_line(f"process {first.process.pid}, which is suspended"), waiting.text
    begun = time.monotonic()
    waiting.send(signal.SIGINT)
    assert waiting.end() == 130, waiting.text
    assert time.monotonic() - begun < 5.0

    monkeypatch.setattr(lease, "WATCH_SECONDS", 2)
    answer = cli(*run)
    assert answer.code == 0, answer.err
    assert "takes it over unless it is renewed within 2 seconds" in answer.out
    before, files = dump(database), invariants.weights_files(tmp_path)
    digests = {number: invariants.digest(path) for number, path in files.items()}
    expect_equal(database, quiet.study(1))

    first.send(signal.SIGCONT)
    assert first.end() == 1, first.text
    assert are_gone(workers, 2.0)
    assert "error: another process has taken this study over; this one stops" in first.lines
    assert "Traceback" not in first.text
    assert dump(database) == before
    assert {
        n: invariants.digest(p) for n, p in invariants.weights_files(tmp_path).items()
    } == digests
    assert cli(*run).code == 0
    expect_equal(database, quiet.study(1))


@pytest.mark.long
def test_a_runner_that_lives_keeps_its_study_when_the_clock_is_set(
    cli: Cli, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command(study_file, tmp_path / "studies.db", epochs=500)
    first = Runner(tmp_path, *run, "--workers", "inline")
    assert first.wait_for_line("  started"), first.text
    set_clock_back(monkeypatch)
    answer = cli(*run)
    assert answer.code == 2
    assert f"is being run by process {first.process.pid} on host" in answer.err
    first.send(signal.SIGTERM)
    assert first.end() == 130, first.text
    assert "taken this study over" not in first.text
