"""Studies on a real PostgreSQL server: everything works, and its password is never shown."""

from __future__ import annotations

import itertools
import json
import platform
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from dashboard_client import STUDY as SHOWN
from dashboard_client import ask_app
from optuna.trial import create_trial
from optuna_dashboard import save_note
from postgres import HOST, psycopg
from postgres_study import (
    BOTH,
    ENCODED,
    NAMES,
    ONE,
    OWNER,
    PASSWORD,
    READER,
    STUDY,
    Ask,
    Database,
    assert_complete,
    study,
)
from sqlalchemy import Engine, event

from cifar_tune.dashboard.app import make_app
from cifar_tune.search.progress import PlainLines
from cifar_tune.storage import server as database_server
from cifar_tune.storage import studies
from cifar_tune.storage.lease import hold_lease
from cifar_tune.storage.location import locate_storage


def assert_no_password(database: Database, folder: Path) -> None:
    """Neither in what was printed, nor in any file or row."""
    rows = [row for rows in database.dump().values() for (row,) in rows]
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert rows
    assert files
    for form in (PASSWORD, ENCODED):
        assert not [text for text in (*database.printed, *rows) if form in text]
        assert not [path for path, content in files.items() if form.encode() in content]


@pytest.mark.long
def test_every_command_works_and_shows_no_password(
    ask: Ask, database: Database, tmp_path: Path
) -> None:
    url = ("--storage", database.url())
    in_query = ("--storage", database.url().replace(f":{ENCODED}", "") + f"?password={ENCODED}")
    listed = ask("study", "list", "--json", *url).record["studies"]
    assert {one["name"]: one["stored"] for one in listed}[STUDY] == {}
    assert ask(*study("plan"), "--json", *in_query).record["named"] == 2
    assert ask("test-reads").out.startswith("The test images were read 0 times")
    assert database.dump() == {}  # reading has made no table

    record = ask(*study("run", "--trials", "1"), "--json", *url).record
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 3
    assert record["storage"] == database.url(password="***")
    note = "SELECT value_json FROM study_system_attributes WHERE key = 'dashboard:note_ver'"
    assert database.execute(note) == [("1",)]
    assert "Every trial had ended before this run" in ask(*study("run", *BOTH), *in_query).out
    assert ask("study", "show", STUDY, "--json", *url).record["stored"][0]["best"]
    assert ": 3 trials" in ask("study", "list").out
    assert ask(*study("plan"), "--trials", "2", "--json").record["sampled"] == 2

    test = ("trial", "test", "--yes", STUDY, f"{NAMES[0]}/seed=1", "--storage")
    said = ask(*test, database.url()).out
    assert "written to the ledger in postgresql+psycopg://owner:***@127.0.0.1" in said
    assert len(ask("trial", "test", "--yes", STUDY, "--json").record["test_results"]) == 1
    reads = ask("test-reads", "--json", *in_query).record["test_reads"]
    typed = ["cifar-tune", *test, database.url(password="***")]
    assert [shlex.split(read["command"]) for read in reads] == [
        typed,
        ["cifar-tune", "trial", "test", "--yes", STUDY, "--json"],
    ]
    assert shlex.join(typed) in ask("test-reads").out

    ask("report", STUDY, *url)
    assert ask("report", STUDY, "--json", *in_query).record["study_name"].startswith(STUDY)
    assert "learning-rate/lr=0.01" in ask("report", STUDY, "--csv").out
    ask("report", "activations", "--study", STUDY, "--image", "0", *url)
    assert len(list((tmp_path / "storage" / "reports").iterdir())) == 2

    rerun = ask("best", "rerun", STUDY, "--seeds", "1", "--json", *url).record["rerun"]
    assert rerun["test_accuracy"]["seeds"] == 1
    assert "have been read 3 times" in " ".join(ask("best", "show", STUDY).out.split())
    assert ask("trial", "show", STUDY, "0", "--json", *in_query).record["facts"]["device"]
    with pytest.raises(psycopg.errors.RaiseException, match="only ever added to"):
        database.execute("DELETE FROM cifar_tune_test_read")

    deleted = ask("study", "delete", STUDY, "--yes", "--json", *url).record["deleted"]
    assert [study["trials"] for study in deleted] == [3, 1]
    assert database.execute("SELECT COUNT(*) FROM trials") == [(0,)]
    assert ask("study", "list", "--json", *url).record["studies"][0]["stored"] == {}
    assert len(ask("test-reads", "--json", *in_query).record["test_reads"]) == 3
    kinds = ("weights", "checkpoints", "predictions", "logs")
    kept = [path for path in (tmp_path / "storage").rglob("*") if path.is_file()]
    assert not [path for path in kept if path.parts[-3].endswith(kinds)]

    # Where a URL is not what is expected, it is quoted, but not its password.
    for arguments in (("study", "run", url[1]), ("study", "run", STUDY, url[1])):
        assert "***@127.0.0.1" in ask(*arguments, code=2).err
    assert_no_password(database, tmp_path)


@pytest.mark.long
def test_runner_refuses_a_second_one_and_is_taken_over_when_it_is_killed(
    ask: Ask, database: Database, tmp_path: Path
) -> None:
    arguments = study("run", *BOTH, epochs=5)
    command = [sys.executable, "-m", "cifar_tune", *arguments, "--workers", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as first:
        try:
            assert first.stdout is not None
            lines = iter(first.stdout.readline, "")
            printed = list(itertools.takewhile(lambda line: "epoch 1/" not in line, lines))
            database.printed += printed
            assert first.poll() is None, "".join(printed)
            refused = ask(*arguments, code=2).err
            assert f"process {first.pid} on host {platform.node()}" in refused
        finally:
            first.send_signal(signal.SIGKILL)
    states = database.execute("SELECT state FROM trials")
    assert ("RUNNING",) in states
    record = ask(*arguments, "--json").record
    assert [(one["state"], one["epochs"]) for one in record["trials"]] == [("complete", 5)] * 2
    restarts = database.execute(
        "SELECT value_json FROM trial_user_attributes WHERE key = 'restarts'"
    )
    assert restarts
    steps = database.execute("SELECT trial_id, count(*) FROM trial_intermediate_values GROUP BY 1")
    assert [count for _, count in steps] == [5, 5]
    assert_no_password(database, tmp_path)


@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET token = 'another'"])
def test_runner_that_was_overtaken_writes_nothing_more(
    ask: Ask, database: Database, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    dumps = []

    def overtake(*_: object) -> None:
        database.execute(change, "cifar_tune_lease")
        dumps.append(database.dump())

    monkeypatch.setattr(PlainLines, "epoch_ended", overtake)
    refused = ask(*study("run", *ONE, epochs=2), code=1)
    assert "another process has taken this study over" in refused.err
    assert dumps == [database.dump()]


def test_who_writes_the_first_note_at_the_same_moment_keeps_it(
    ask: Ask, database: Database
) -> None:
    """No row is there yet that could be locked."""
    theirs = []

    def write_first(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("INSERT INTO study_system_attributes") or theirs:
            return
        theirs.extend(database.execute("SELECT number FROM trials"))
        for key, value in (("note_ver", "1"), ("note_str:0", '"theirs"')):
            database.execute(
                "INSERT INTO study_system_attributes (study_id, key, value_json) SELECT "
                f"study_id, 'dashboard:' || trial_id || ':{key}', '{value}' FROM trials"
            )

    event.listen(Engine, "before_cursor_execute", write_first)
    try:
        ask(*study("run", *ONE))
    finally:
        event.remove(Engine, "before_cursor_execute", write_first)
    found = "SELECT value_json FROM study_system_attributes WHERE key LIKE 'dashboard:%:note_str:0'"
    assert database.execute(found) == [('"theirs"',)]
    assert_complete(database, epochs=1)


def test_lease_cannot_be_taken_between_the_look_at_it_and_the_commit(database: Database) -> None:
    opened = studies.open_to_write(locate_storage(database.url()))
    tries: list[str] = []

    def try_to_take(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FOR SHARE" in statement:
            try:
                database.execute("SET lock_timeout = '0.5s'; DELETE FROM cifar_tune_lease")
            except psycopg.errors.LockNotAvailable as error:
                tries.append(str(error))

    with hold_lease(opened.engine, 1, "any", lambda _: None):
        event.listen(opened.engine, "after_cursor_execute", try_to_take)
        studies.create_study(opened, "any")
        event.remove(opened.engine, "after_cursor_execute", try_to_take)
        assert tries
        assert all("lock timeout" in one for one in tries)
        assert len(database.dump()["cifar_tune_lease"]) == 1
    assert database.dump()["cifar_tune_lease"] == []
    assert len(database.dump()["studies"]) == 1
    opened.engine.dispose()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port at which nobody ever answers."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


REFUSED = {
    "password": (("s3cr3t", "n0t-th1s"), 'password authentication failed for user "owner"'),
    "user": (("owner", "nobody"), 'password authentication failed for user "nobody"'),
    "database": (("/studies-", "/n0t-th1s-"), "does not exist"),
    "rights": (("owner", "reader"), "permission denied for schema public; the role must be"),
    "port": ((f"{HOST}:", f"{HOST}:1/"), "Connection refused"),
    "option": (("/studies-", "/x?nosuch=studies-"), 'invalid connection option "nosuch"'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_server_that_refuses_is_told_of_in_one_line(
    ask: Ask, database: Database, case: str
) -> None:
    (old, new), message = REFUSED[case]
    url = database.url().replace(old, new)
    assert url != database.url()
    (error,) = ask(*study("run", *ONE), "--storage", url, code=2).err.splitlines()
    assert error.startswith("error: postgresql+psycopg://")
    assert message in error
    assert "p4ss" not in error
    assert not Path("storage").exists()


def test_server_that_does_not_answer_is_not_waited_for_long(
    ask: Ask, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://{OWNER}:{ENCODED}@{HOST}:{silent_port}/x"
    monkeypatch.setattr(database_server, "CONNECT_SECONDS", 2)
    for seconds, storage_url in ((2, url), (4, f"{url}?connect_timeout=4")):
        start = time.monotonic()
        (error,) = ask("study", "list", "--storage", storage_url, code=2).err.splitlines()
        assert seconds - 0.5 < time.monotonic() - start < seconds + 20
        assert "connection timeout expired" in error


def test_missing_driver_names_the_extra(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    (error,) = ask("study", "list", code=2).err.splitlines()
    assert error.endswith("is not installed: pip install 'cifar-tune[postgresql]'")


def test_reader_reads_and_does_not_run(ask: Ask, database: Database) -> None:
    ask(*study("run", *ONE))
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}", READER)
    before = database.dump()
    reader = ("--storage", database.url(READER))
    assert f"{NAMES[0]}/seed=1" in ask("study", "show", STUDY, *reader).out
    ask("report", STUDY, "--csv", *reader)
    assert "permission denied for" in ask(*study("run", *BOTH), *reader, code=2).err
    assert database.dump() == before


def test_two_programs_make_the_tables_at_the_same_moment(database: Database) -> None:
    barrier = threading.Barrier(4)
    errors: list[BaseException] = []

    def begin(number: int) -> None:
        barrier.wait(60)
        try:
            opened = studies.open_to_write(locate_storage(database.url()))
            barrier.wait(60)
            with hold_lease(opened.engine, number, "any", lambda _: None):
                pass
            opened.engine.dispose()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(database.dump()) >= {"studies", "trials", "alembic_version", "cifar_tune_lease"}


def test_the_dashboard_shows_a_study(cli: Cli, database: Database, tmp_path: Path) -> None:
    empty = cli("dashboard", "--storage", database.url())
    assert (empty.code, PASSWORD in empty.err, ENCODED in empty.err) == (2, False, False)
    assert "`cifar-tune study run dropout` makes one" in empty.err
    location = locate_storage(database.url())
    study = studies.create_study(studies.open_to_write(location), "shown")
    study.add_trial(create_trial(value=0.5))
    save_note(study, "typed")
    opened = studies.open_to_read(location)
    assert opened is not None
    shown = json.loads(ask_app(make_app(opened, [tmp_path]), SHOWN))
    assert (shown["name"], shown["note"]["body"]) == ("shown", "typed")
    assert shown["best_trials"][0]["values"] == [0.5]
