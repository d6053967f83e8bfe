"""The dashboard: what it shows, also while a study runs, how quickly, and the command."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna_dashboard
import requests
from command_line import Cli
from dashboard_client import STUDY, TOKEN, Live, ask_app
from many_trials import make_study

from cifar_tune.dashboard.app import make_app
from cifar_tune.storage.definition import SHOWN
from cifar_tune.storage.location import StorageLocation

# --- what is shown ------------------------------------------------------------------------------


def test_pages_and_data_are_there(live: Live, trained: tuple[StorageLocation, str]) -> None:
    assert live.ask("").headers["Location"].endswith("/dashboard")
    assert "bundle.js" in live.ask("dashboard/studies/1/trials").text
    for headers in ({}, {"Accept-Encoding": None}):
        assert len(live.ask("static/bundle.js", headers=headers).content) > 1_000_000
        assert live.ask("favicon.ico", headers=headers).status_code == 200
    (listed,) = live.ask("api/studies").json()["study_summaries"]
    assert listed["study_name"] == trained[1]
    shown = live.ask(STUDY).json()
    # The rest of a study's definition is JSON that nobody reads.
    assert {one["key"] for one in shown["user_attrs"]} == set(SHOWN)
    values = {one["value"] for trial in shown["trials"] for one in trial["user_attrs"]}
    assert {"transfer/finetune/seed=1", "transfer/model-b/seed=1"} <= values
    assert shown["best_trials"][0]["state"] == "Complete"
    # It has no search space: there are no importances, and that is no error.
    assert live.ask(f"{STUDY}/param_importances").json() == {"param_importances": [[]]}
    assert live.ask("api/studies/999").status_code == 404
    assert live.ask("api/studies/999/param_importances").status_code == 404
    assert live.ask("nowhere").status_code == 404


def test_no_asset_comes_from_another_host(live: Live) -> None:
    page = live.ask("dashboard")
    assert re.findall(r"""(?:src|href)=["']([^"']+)""", page.text) == ["/static/bundle.js"]
    assert "url(" not in page.text
    parts = page.headers["Content-Security-Policy"].split(";")
    policy = dict(part.split(maxsplit=1) for part in parts)
    assert policy["default-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert not any("http" in sources or "*" in sources for sources in policy.values())
    bundle = Path(optuna_dashboard.__file__).parent / "public" / "bundle.js"
    asked = r"fonts\.googleapis|<script[^>]+src=.https?:|@import *(url)?.?https?:"
    assert not re.search(asked, bundle.read_text("utf-8"))


def test_a_note_is_shown_as_soon_as_it_is_saved(live: Live) -> None:
    for body in ("first", "second"):
        before = live.ask(STUDY).json()
        notes = [one["note"] for one in (before, *before["trials"])]
        typed = [{"version": one["version"] + 1, "body": body} for one in notes]
        assert live.ask(f"{STUDY}/note", "PUT", json=typed[0]).status_code == 204
        assert live.ask(f"{STUDY}/2/note", "PUT", json=typed[2]).status_code == 204
        shown = live.ask(STUDY).json()
        assert (shown["note"], shown["trials"][1]["note"]) == (typed[0], typed[2])
        assert shown["trials"][0]["note"] == notes[1]


def test_a_study_is_watched_while_it_is_written(live: Live) -> None:
    study = live.study()
    trial = study.ask()
    statuses = set()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            statuses.add(live.ask(f"{STUDY}?after=2").status_code)

    watchers = [threading.Thread(target=watch) for _ in range(3)]
    for one in watchers:
        one.start()
    longest = 0.0
    for step in range(60):
        began = time.monotonic()
        trial.report(step / 60, step)
        trial.set_user_attr("history", list(range(step)))
        longest = max(longest, time.monotonic() - began)
    study.tell(trial, 0.5)
    is_over.set()
    for one in watchers:
        one.join()
    assert statuses == {200}
    assert longest < 10  # of the 60 s that a statement would wait for a lock
    assert len(live.study().trials[-1].intermediate_values) == 60


def test_work_grows_no_faster_than_the_study(tmp_path: Path) -> None:
    """In function calls, which no other program on the machine changes."""
    loads, refreshes = [], []
    for trials in (150, 600):
        app = make_app(make_study(tmp_path / f"{trials}.db", trials), [tmp_path])
        loads.append(count_calls(lambda app=app: ask_app(app, STUDY, "after=0")))
        refreshes.append(
            count_calls(lambda app=app, after=f"after={trials}": ask_app(app, STUDY, after))
        )
    assert loads[1] < 5 * loads[0]  # four times the trials; left to optuna-dashboard, 8 times
    assert refreshes[1] < loads[1] / 15  # and a seventh, if all trials were gone through anew


def count_calls(work: Callable[[], object]) -> int:
    count = 0

    def see(_frame: Any, kind: str, _what: Any) -> None:
        nonlocal count
        count += kind in ("call", "c_call")

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


# --- the command --------------------------------------------------------------------------------


def test_what_cannot_be_served_is_one_line(cli: Cli, live: Live) -> None:
    missing = cli("dashboard")
    assert missing.code == 2
    assert "storage/cifar-tune.db" in missing.err
    assert "`cifar-tune study run dropout`" in missing.err
    stored = ("dashboard", "--storage", str(live.database))
    _, port = live.place
    for options, said in (
        (("--port", str(port)), f"--port {port}: another program listens there"),
        (("--host", "no.such.host.invalid"), "--host no.such.host.invalid: is not an address"),
        (("--host", "192.0.2.1"), "--host 192.0.2.1: is not an address"),
        (("--token", "s3cret"), "--token: has 6 characters, expected at least 16"),
    ):
        answer = cli(*stored, *options)
        assert answer.code == 2
        assert said in answer.err
        assert len(answer.err.splitlines()) == 1
        assert "s3cret" not in answer.err


@contextmanager
def started(database: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command in a process of its own, and the lines that it has printed."""
    command = [sys.executable, "-m", "cifar_tune", "dashboard", "--storage", str(database)]
    command += ["--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        lines = []
        while not lines or lines[-1] != "Ctrl-C stops it":
            lines.append(process.stdout.readline().rstrip("\n"))
            assert lines[-1]
        try:
            yield process, lines
        finally:
            process.kill()


def test_ctrl_c_stops_it_and_a_token_that_was_given_is_not_shown(trained_copy: Path) -> None:
    """Clients are connected, and one of them has not sent all of its request."""
    with started(trained_copy, "--token", TOKEN) as (process, lines):
        server = Live(lines[0], trained_copy)
        assert server.ask(STUDY).status_code == 401
        with requests.Session() as client, server.connect() as slow:
            assert client.get(f"{server.url}{STUDY}?token={TOKEN}", timeout=30).status_code == 200
            slow.sendall(b"GET / HTT")
            process.send_signal(signal.SIGINT)
            assert process.wait(4) == 0
        assert process.stdout is not None
        assert (len(lines), process.stdout.read()) == (2, "")
        assert TOKEN not in lines[0]


def test_other_machines_need_the_token_that_is_shown_once(trained_copy: Path) -> None:
    with started(trained_copy, "--host", "0.0.0.0") as (process, lines):
        found = re.fullmatch(r"http://[^:]+:(\d+)/\?token=([\w-]{32})", lines[0])
        assert found is not None
        server = Live(f"http://127.0.0.1:{found[1]}/", trained_copy)
        assert lines[1].startswith("read-only: ")
        assert server.ask(STUDY).status_code == 401
        bearer = {"Authorization": f"Bearer {found[2]}"}
        assert server.ask(STUDY, headers=bearer).status_code == 200
        assert server.ask(STUDY, "DELETE", headers=bearer).status_code == 403
        process.send_signal(signal.SIGTERM)
        assert process.wait(4) == 0
        assert process.stdout is not None
        assert found[2] not in "".join(lines[1:]) + process.stdout.read()
