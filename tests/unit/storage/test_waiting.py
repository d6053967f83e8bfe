"""Waits for a database that another program has locked, and what ends them."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cifar_tune.storage import waiting
from cifar_tune.storage.location import connect_to_file
from cifar_tune.storage.waiting import check_stop, waits_end_when


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "trials.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE trials (number)")
    return path


@pytest.fixture
def lock(database: Path) -> Iterator[sqlite3.Connection]:
    """Another program that writes."""
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    with closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_a_statement_waits_for_a_lock(database: Path, lock: sqlite3.Connection) -> None:
    begun = time.monotonic()
    threading.Timer(1.5, lock.close).start()
    with closing(connect_to_file(database, "rw")) as connection:
        connection.execute("INSERT INTO trials VALUES (1)")
        connection.commit()
        assert connection.execute("SELECT * FROM trials").fetchall() == [(1,)]
    assert time.monotonic() - begun > 1.4  # longer than SQLite itself waits


def test_a_lock_that_stays_is_an_error(
    database: Path, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOCK_SECONDS", 0)
    with (
        closing(connect_to_file(database, "rw")) as connection,
        pytest.raises(sqlite3.OperationalError, match="database is locked"),
    ):
        connection.execute("BEGIN IMMEDIATE")
    assert lock.in_transaction


def test_a_run_that_is_to_stop_does_not_wait(database: Path, lock: sqlite3.Connection) -> None:
    should_stop = threading.Event()
    threading.Timer(1.5, should_stop.set).start()
    begun = time.monotonic()
    with (
        closing(connect_to_file(database, "rw")) as connection,
        waits_end_when(should_stop.is_set),
        pytest.raises(KeyboardInterrupt),
    ):
        connection.execute("BEGIN IMMEDIATE")
    assert time.monotonic() - begun < 10
    assert lock.in_transaction


def test_only_waits_within_and_of_this_thread_end() -> None:
    check_stop()
    ended = []
    with waits_end_when(lambda: True):
        thread = threading.Thread(target=lambda: ended.append(check_stop()))
        thread.start()
        thread.join()
        with waits_end_when(lambda: False):
            check_stop()
        with pytest.raises(KeyboardInterrupt):
            check_stop()
    check_stop()
    assert ended == [None]
