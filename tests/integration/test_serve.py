"""The service: studies one after another, queued trials; stopped, killed and continued."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import pytest
import requests
from command_line import Cli
from dashboard_client import ask_app
from processes import Runner, kill_all, write_study
from scripted import Notes
from served import SECONDS, Served

from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.dashboard.queue.app import make_queue_app
from cifar_tune.errors import StudyBusyError, StudyGoneError
from cifar_tune.search.observer import LiveRun, LiveState
from cifar_tune.search.outcome import StudyOutcome
from cifar_tune.search.plan import Work
from cifar_tune.search.service import Service
from cifar_tune.storage import studies as stored
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.study_requests import Request

# --- the order of things, with runs that do nothing ---------------------------------------------


def outcome(*, interrupted: bool = False, why_left: str | None = None) -> StudyOutcome:
    return StudyOutcome((), None, 0, 0, 0.0, interrupted, Work((), 0, 0), why_left)


@pytest.fixture
def queue(tmp_path: Path) -> TrialQueue:
    return TrialQueue(stored.open_to_write(locate_storage(str(tmp_path / "s.db"))))


def add(queue: TrialQueue, name: str, params: dict[str, float] | None = None) -> Request:
    spec = replace(resolve(load_study_file("dropout"), "quick"), study_name=f"{name}:quick")
    if params is None:
        return queue.ask_for_study(spec, name, "a test")
    return queue.ask_for_trial(spec, name, params, None, "a test")


def name(request: Request) -> tuple[str, int | str]:
    return request.study_name, request.id


def list_ended(queue: TrialQueue, state: str) -> dict[tuple[str, int | str], str | None]:
    """The reasons of the requests that ended so."""
    return {name(one): one.reason for one in queue.list_ended(8) if one.state == state}


def run_service(
    queue: TrialQueue, run: Callable[[Request, Callable[[], bool]], StudyOutcome]
) -> list[str]:
    """Let a service carry out all that is queued; what it noted."""
    notes = Notes()

    def run_one(request: Request, _: LiveRun, should_stop: Callable[[], bool]) -> StudyOutcome:
        made = run(request, should_stop)
        if all(name(one) == name(request) for one in queue.list_requests()):  # it is the last one
            signal.raise_signal(signal.SIGTERM)
        return made

    Service(queue, run_one, LiveRun(notes)).run()  # type: ignore[arg-type]
    return notes.noted_texts


def test_requests_are_carried_out_in_their_order(queue: TrialQueue, tmp_path: Path) -> None:
    first, second, third = add(queue, "b"), add(queue, "a", {}), add(queue, "a")
    seen = []

    def run(request: Request, _: object) -> StudyOutcome:
        seen.append(name(request))
        if request.params is not None:  # a run of its study takes it up
            study = optuna.load_study(
                study_name=request.study_name, storage=f"sqlite:///{tmp_path}/s.db"
            )
            study.tell(study.ask(), 0.5)
        return outcome(why_left="the time is up" if request == first else None)

    run_service(queue, run)
    assert seen == [name(first), name(second), name(third)]
    ended = {name(first): "the time is up", name(second): None, name(third): None}
    assert list_ended(queue, "ended") == ended


def test_a_study_that_cannot_be_run_leaves_the_rest(queue: TrialQueue) -> None:
    gone, queued, fine = add(queue, "a"), add(queue, "a", {}), add(queue, "b")

    def run(request: Request, _: object) -> StudyOutcome:
        if request.study_name == "a:quick":
            raise StudyGoneError("study a:quick was deleted")
        return outcome()

    notes = run_service(queue, run)
    refused = dict.fromkeys((name(gone), name(queued)), "study a:quick was deleted")
    assert list_ended(queue, "refused") == refused
    assert list_ended(queue, "ended") == {name(fine): None}
    assert any("was deleted" in note for note in notes)


def test_a_request_that_cannot_be_begun_is_not_tried_for_ever(queue: TrialQueue) -> None:
    request = add(queue, "a", {"dropout_rate": 0.1})
    run_service(queue, lambda *_: outcome(why_left="the budget is spent"))
    assert list_ended(queue, "refused") == {name(request): "the budget is spent"}


def test_a_study_that_another_process_runs_is_tried_again(
    queue: TrialQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifar_tune.search.service.BUSY_SECONDS", 0.3)
    busy, other = add(queue, "a"), add(queue, "b")
    tries = iter(range(3))

    def run(request: Request, *_: object) -> StudyOutcome:
        if request == replace(busy, state=request.state) and next(tries) < 2:
            raise StudyBusyError("study a:quick is being run by process 7")
        return outcome()

    notes, done = Notes(), []

    def run_one(*given: Any) -> StudyOutcome:
        made = run(*given)
        done.append(name(given[0]))
        if len(done) == 2:
            signal.raise_signal(signal.SIGTERM)
        return made

    Service(queue, run_one, LiveRun(notes)).run()  # type: ignore[arg-type]
    assert done == [name(other), name(busy)]  # nobody waits for it
    assert sum("process 7" in note for note in notes.noted_texts) == 1
    assert list_ended(queue, "ended").keys() == {name(busy), name(other)}


def test_a_signal_within_a_run_ends_the_service_and_loses_nothing(queue: TrialQueue) -> None:
    request = add(queue, "a")

    def run(_: Request, should_stop: Callable[[], bool]) -> StudyOutcome:
        assert not should_stop()
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        return outcome(interrupted=True)

    run_service(queue, run)
    assert queue.list_requests() == [request]


def test_the_live_state_is_what_an_observer_was_shown() -> None:
    live = LiveRun(Notes())  # type: ignore[arg-type]
    assert live.state() == LiveState()
    live.begin("a:quick")
    live.noted("something")
    assert (live.state().study_name, live.state().notes) == ("a:quick", ("something",))
    live.end()
    assert live.state().study_name is None


# --- the real thing ------------------------------------------------------------------------------


def trials(folder: Path, study: str) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(folder / "s.db")) as database:
        return database.execute(
            "SELECT number, state FROM trials JOIN studies USING (study_id) "
            "WHERE study_name = ? ORDER BY number",
            (f"{study}:quick",),
        ).fetchall()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_all()


def test_stop_kill_continue_queue_delete(folder: Path) -> None:
    (folder / "studies").mkdir()
    for name in ("first", "second", "third"):
        path = folder / "studies" / f"{name}.toml"
        write_study(path, 0, epochs=8 if name == "first" else 1, names=(f"{name}/p=0.1",))
    served = Served(folder, "first", "second")
    served.wait_for("trial 0 first/p=0.1/seed=1  epoch 1/8")
    assert served.post("/queue/stop").ok
    served.wait_until("Stopped.")
    assert served.runner.wait_for(lambda: trials(folder, "first") == [(0, "WAITING")], SECONDS)
    # Values are checked; one that is right is queued for later.
    wrong = served.post("/queue/trials", study_name="second:quick", dropout_rate="0.9", seed="-1")
    assert wrong.status_code == 400
    assert "expected a number from 0 to 0.6" in wrong.text
    assert 'value="0.9"' in wrong.text
    assert "expected a whole number from 0 on" in wrong.text
    assert served.post("/queue/trials", study_name="nothing:quick").status_code == 400
    right = served.post("/queue/trials", study_name="second:quick", dropout_rate="0.2", seed="5")
    assert "The trial is queued." in right.text
    served.post("/queue/studies", study_name="third:quick")
    served.runner.send(signal.SIGKILL)
    served.runner.process.wait()

    # What was queued is there again, and so is the stop.
    again = Served(folder)
    again.wait_for("runs were paused in the browser; continue them at /queue")
    assert "Stopped." in again.get("/queue/now")
    assert again.get("/queue/now").count("waiting") == 4
    assert again.post("/queue/continue").ok
    again.wait_for("second:quick")
    # The study that runs now is deleted in the browser: it stops with a word, the others go on.
    again.wait_for("trial 0 (queued)  started")
    listed = json.loads(again.get("/api/studies"))["study_summaries"]
    (number,) = [one["study_id"] for one in listed if one["study_name"] == "second:quick"]
    deleted = requests.delete(f"{again.url}/api/studies/{number}", json={}, timeout=SECONDS)
    assert deleted.ok
    again.wait_for("second:quick was deleted or renamed by another program")
    again.wait_for("third/p=0.1/seed=2  complete")
    again.wait_until("Idle.")
    assert trials(folder, "first") == [(0, "COMPLETE"), (1, "COMPLETE")]
    assert trials(folder, "third") == [(0, "COMPLETE"), (1, "COMPLETE")]

    # A trial that is queued from another terminal is taken up, alone.
    queued = Runner(
        folder, "study", "queue", "third", "--storage", "s.db", "--param", "dropout_rate=0.3"
    )
    assert queued.end() == 0
    again.wait_for("trial 2 (queued)  complete")
    again.runner.send(signal.SIGTERM)
    before = time.monotonic()
    assert again.runner.end() == 0
    assert time.monotonic() - before < 5


def test_bad_input_of_serve_is_said_before_anything_is_served(cli: Cli) -> None:
    unknown = cli("serve", "droput")
    assert (unknown.code, "did you mean dropout?" in unknown.err) == (2, True)
    assert not Path("storage").exists()


def test_a_browser_cannot_name_a_file_of_the_server(queue: TrialQueue, tmp_path: Path) -> None:
    add(queue, "dropout")
    write_study(tmp_path / "secret.toml", 0)
    opened = stored.open_to_write(locate_storage(str(tmp_path / "s.db")))
    app = make_queue_app(opened, None, is_read_only=False)
    for name in (f"{tmp_path}/secret.toml:quick", "../secret.toml:quick", "secret:quick"):
        page = ask_app(app, quote(name), status="404 Not Found").decode()
        assert "there is no study file of that name here" in page


def test_a_page_that_only_shows_has_nothing_to_press(queue: TrialQueue, tmp_path: Path) -> None:
    add(queue, "dropout")
    opened = stored.open_to_write(locate_storage(str(tmp_path / "s.db")))
    for is_read_only in (True, False):
        app = make_queue_app(opened, None, is_read_only=is_read_only)
        page = ask_app(app, "dropout:quick").decode()
        inputs = len(re.findall(r"<button|<input id", page))
        assert page.count(" disabled") == (inputs if is_read_only else 0)
        assert "No service runs here" in page
