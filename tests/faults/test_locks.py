"""A database that another program has locked, or that cannot be written at all."""

from __future__ import annotations

import gc
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import invariants
import pytest
from command_line import Cli
from one_trial import Quiet, command, expect_equal, process_that_ends, said_in_one_line
from optuna.trial import TrialState
from processes import Runner

from cifar_tune.search.progress import PlainLines
from cifar_tune.storage import waiting

LOCKED = "another program has kept it locked for"


class Lock:
    """Another program that writes to the database, and takes its time."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(
            database, timeout=60, isolation_level=None, check_same_thread=False
        )

    def take(self, seconds: float | None = None) -> None:
        """Lock the database, for so long or until ``release``."""
        self._connection.execute("BEGIN IMMEDIATE")
        if seconds is not None:
            threading.Timer(seconds, self.release).start()

    def release(self) -> None:
        """Unlock it."""
        self._connection.close()


def lock_at_first_epoch(
    patch: pytest.MonkeyPatch, database: Path, seconds: float | None
) -> list[Lock]:
    """Lock the database as soon as an epoch has ended; the lock, once it is taken."""
    locks: list[Lock] = []
    real = PlainLines.epoch_ended

    def epoch_ended(self: PlainLines, *arguments: Any) -> None:
        real(self, *arguments)
        if not locks:
            locks.append(Lock(database))
            locks[0].take(seconds)

    patch.setattr(PlainLines, "epoch_ended", epoch_ended)
    return locks


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.long)])
def test_database_that_is_locked_for_a_while(
    cli: Cli,
    study_file: Path,
    tmp_path: Path,
    quiet: Quiet,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    database = tmp_path / "studies.db"
    locks = lock_at_first_epoch(monkeypatch, database, seconds)
    begun = time.monotonic()
    answer = cli(*command(study_file, database, epochs=2))
    assert answer.code == 0, answer.err
    assert locks
    assert time.monotonic() - begun > seconds
    assert "restarts" not in expect_equal(database, quiet.study(2)).user_attrs


@pytest.mark.long
def test_database_that_stays_locked(
    cli: Cli,
    study_file: Path,
    tmp_path: Path,
    quiet: Quiet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = tmp_path / "studies.db"
    run = command(study_file, database, epochs=2)
    with monkeypatch.context() as patch, process_that_ends():
        patch.setattr(waiting, "LOCK_SECONDS", 2)
        (lock,) = [lock_at_first_epoch(patch, database, None)]
        line = said_in_one_line(cli(*run))
        assert f"{database}: {LOCKED} 2 seconds" in line
        # It is still locked when the next run begins.
        assert f"{LOCKED} 2 seconds" in said_in_one_line(cli(*run))
        lock[0].release()
    answer = cli(*run)
    assert answer.code == 0, answer.err
    expect_equal(database, quiet.study(2))


@pytest.mark.long
@pytest.mark.parametrize("when", ["at the start", "during the run"])
def test_ctrl_c_while_the_database_is_locked(
    cli: Cli, study_file: Path, quiet: Quiet, when: str
) -> None:
    database = study_file.parent / "studies.db"
    run = command(study_file, database, epochs=3)
    if when == "at the start":
        assert cli(*run, "--timeout", "0.01").code == 0  # makes the database
        lock = Lock(database)
        lock.take()
        runner = Runner(study_file.parent, *run, "--workers", "inline")
        assert runner.wait_for_line(str(database)), runner.text
    else:
        runner = Runner(study_file.parent, *run, "--workers", "inline")
        assert runner.wait_for_line("epoch 1/3"), runner.text
        lock = Lock(database)
        lock.take()
    time.sleep(2.0)
    assert runner.is_running()
    begun = time.monotonic()
    runner.send(signal.SIGINT)
    code = runner.end()
    seconds = time.monotonic() - begun
    lock.release()
    assert (code, "Traceback" in runner.text) == (130, False), runner.text
    assert seconds < 5.0
    answer = cli(*run)
    assert answer.code == 0, answer.err
    expect_equal(database, quiet.study(3))


# --- read-only ----------------------------------------------------------------------------------


def dump(database: Path) -> list[str]:
    """All that a database holds, as SQL."""
    with closing(sqlite3.connect(f"file:{database}?immutable=1", uri=True)) as opened:
        return list(opened.iterdump())


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Let nobody write a file, not even root."""
    chattr = shutil.which("chattr")
    if chattr is None or subprocess.run([chattr, "+i", str(path)], check=False).returncode != 0:
        pytest.skip("chattr +i does not work here")
    try:
        yield
    finally:
        subprocess.run([chattr, "-i", str(path)], check=True)


@contextmanager
def read_only_mount(folder: Path) -> Iterator[None]:
    """Let a folder be one of a file system that is mounted read-only."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("mount is not installed")
    if subprocess.run([mount, "--bind", str(folder), str(folder)], check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run([mount, "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["file", "disk"])
def test_read_only_database(cli: Cli, study_file: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "shelf"
    database = folder / "studies.db"
    assert cli(*command(study_file, database)).code == 0
    gc.collect()  # closes the file, as the end of the first command's process would
    before = dump(database)
    more = command(study_file, database, seeds=2)
    with immutable(database) if kind == "file" else read_only_mount(folder):
        line = said_in_one_line(cli(*more))
        assert str(database) in line
        assert "read-only" in line.lower()
        assert dump(database) == before
    assert cli(*more).code == 0
    study = invariants.read_study(str(database))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
