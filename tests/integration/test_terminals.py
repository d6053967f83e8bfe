"""A run whose terminal is closed, and one of a user without a home folder."""

from __future__ import annotations

import os
import pwd
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import TINY, Cli, StopAfter, run_dropout

LONG = ("--trials", "0", "--only", "dropout/p=0.1")


@pytest.fixture(autouse=True)
def _hangs_up() -> Iterator[None]:
    """A closed terminal is heard of, also where the tests themselves run under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_lets_trials_save_within_their_epoch(
    cli: Cli, stop_after: StopAfter
) -> None:
    with stop_after(3, signal.SIGHUP):
        stopped = run_dropout(cli, *LONG, epochs=3)
    assert stopped.code == 130
    again = run_dropout(cli, *LONG, "--json", epochs=3).record
    shown = cli("trial", "show", "dropout", "0", "--epochs", "3", *TINY, "--json").record
    assert [place["steps"] for place in shown["restarts"]] == [2]
    assert again["trials"][0]["state"] == "complete"


def test_nohup_outlives_the_terminal(cli: Cli, stop_after: StopAfter) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_after(3, signal.SIGHUP):
        assert run_dropout(cli, *LONG, epochs=3).code == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_what_is_printed_into_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "cifar_tune", "study", "run", "dropout", *TINY, *LONG]
    process = subprocess.Popen(
        [*command, "--epochs", "200", "--workers", "1", "--storage", "s.db"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen, deadline = "", time.monotonic() + 120
    while "val " not in seen.partition("elapsed")[2] and time.monotonic() < deadline:
        if select.select([ours], [], [], 1.0)[0]:
            seen += os.read(ours, 65_536).decode(errors="replace")
    os.close(ours)  # a process that is told of it late writes into nothing until then
    time.sleep(0.5)
    process.send_signal(signal.SIGHUP)
    try:
        assert process.wait(30) == 130, seen
    finally:
        process.kill()
    command = [sys.executable, "-m", "cifar_tune", "trial", "show", "dropout", "0"]
    shown = subprocess.run(
        [*command, *TINY, "--epochs", "200", "--storage", "s.db"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "state: paused" in shown.stdout


def test_a_user_without_a_home_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(_user: int) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "CIFAR_TUNE_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    assert run_dropout(cli, *LONG).code == 0
    assert cli("data", "status", "--json").record["folder"] == "storage/data"
