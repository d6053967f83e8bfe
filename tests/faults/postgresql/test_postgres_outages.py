"""A PostgreSQL server that goes away: a run waits for it, or ends and is continued."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from postgres_study import ONE, Ask, Database, assert_complete, study
from sqlalchemy import Engine, event

from cifar_tune.search.progress import PlainLines
from cifar_tune.storage import waiting


@pytest.fixture
def at_epoch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something when an epoch was stored, between two transactions."""
    ended = PlainLines.epoch_ended

    def arrange(wanted: int, act: Callable[[], None]) -> None:
        def act_and_go_on(lines: PlainLines, number: int, metrics: Any) -> None:
            ended(lines, number, metrics)
            if metrics.epoch == wanted:
                act()

        monkeypatch.setattr(PlainLines, "epoch_ended", act_and_go_on)

    return arrange


def test_run_goes_on_after_a_restart_of_the_server(
    ask: Ask, database: Database, at_epoch: Callable[..., None]
) -> None:
    def restart() -> None:
        database.server.stop()
        threading.Timer(2, database.server.start).start()

    at_epoch(2, restart)
    ask(*study("run", *ONE, epochs=3))
    assert_complete(database, epochs=3)


def test_run_that_is_cut_off_within_a_transaction_is_finished_by_the_next(
    ask: Ask, database: Database
) -> None:
    cut = []

    def cut_off(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO trial_intermediate_values") and not cut:
            who = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'owner'"
            cut.extend(database.execute(who))

    event.listen(Engine, "after_cursor_execute", cut_off)
    try:
        error = ask(*study("run", *ONE, epochs=2), code=2).err
    finally:
        event.remove(Engine, "after_cursor_execute", cut_off)
    assert "the server closed the connection; run the same command again" in error
    assert database.execute("SELECT state FROM trials") == [("RUNNING",)]
    ask(*study("run", *ONE, epochs=2))
    assert_complete(database, epochs=2)


def test_server_that_stays_away_ends_the_run(
    ask: Ask, database: Database, at_epoch: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOCK_SECONDS", 2)
    at_epoch(1, database.server.stop)
    try:
        error = ask(*study("run", *ONE, epochs=2), code=2).err
    finally:
        database.server.start()
    assert "Connection refused" in error
    # The lease is still there. Its holder has ended, which this process, having been it, has not.
    database.execute("UPDATE cifar_tune_lease SET process_started = 0")
    at_epoch(1, lambda: None)
    ask(*study("run", *ONE, epochs=2))
    assert_complete(database, epochs=2)


def test_ctrl_c_is_heard_while_a_run_waits_for_its_server(
    ask: Ask, database: Database, at_epoch: Callable[..., None]
) -> None:
    def stop() -> None:
        database.server.stop()
        os.kill(os.getpid(), signal.SIGINT)

    at_epoch(1, stop)
    start = time.monotonic()
    try:
        ask(*study("run", *ONE, epochs=2), code=130)
    finally:
        database.server.start()
    assert time.monotonic() - start < 50  # a server is waited for longer
