"""What the page of the queue answers to forms that nobody fills in by hand, without a server."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from command_line import Cli
from dashboard_client import ask_app

from cifar_tune import paths
from cifar_tune.config.study_file import load_study_file, resolve
from cifar_tune.dashboard.queue.app import make_queue_app
from cifar_tune.errors import InputError
from cifar_tune.storage import queue as storage_queue
from cifar_tune.storage import studies
from cifar_tune.storage.location import locate_storage
from cifar_tune.storage.queue import TrialQueue

NAME = "dropout:quick"
Post = Callable[[str, dict[str, str] | bytes], tuple[str, str]]


@pytest.fixture
def app(tmp_path: Path) -> Any:
    """The page over an empty database."""
    storage = studies.open_to_write(locate_storage(str(tmp_path / "s.db")))
    return make_queue_app(storage, None, is_read_only=False, root=tmp_path)


@pytest.fixture
def queue(app: Any, tmp_path: Path) -> TrialQueue:  # noqa: ARG001  (it makes the database)
    return TrialQueue(studies.open_to_write(locate_storage(str(tmp_path / "s.db"))))


@pytest.fixture
def post(app: Any) -> Post:
    """Send a form; the status and the page."""

    def send(path: str, form: dict[str, str] | bytes) -> tuple[str, str]:
        body = form if isinstance(form, bytes) else urlencode(form).encode()
        environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": "POST"}
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
        setup_testing_defaults(environ)
        statuses: list[str] = []
        answer = app(environ, lambda status, *_: statuses.append(status))
        return statuses[0], b"".join(answer).decode()

    return send


@pytest.mark.parametrize(
    ("path", "form", "message"),
    [
        ("/trials", {"study_name": NAME, "seed": "9" * 5000}, "expected a whole number from 0 on"),
        ("/trials", {"study_name": NAME, "dropout_rate": "9" * 5000}, "expected a number from 0"),
        ("/trials", b"study_name=\xff\xfe%ff", "the form is not UTF-8 text"),
        ("/trials", {"study_name": "transfer:quick"}, "transfer has no search space"),
        ("/studies", {"study_name": "no:quick"}, "there is no study file of that name here"),
        ("/cancel", {"study_name": NAME, "id": "9" * 30}, "does not wait any more"),
        ("/cancel", {"study_name": NAME}, "does not wait any more"),
    ],
)
def test_a_form_that_cannot_be_used_is_answered_with_400_and_one_line(
    post: Post, path: str, form: dict[str, str] | bytes, message: str
) -> None:
    status, page = post(path, form)
    assert status == "400 Bad Request"
    assert message in page


def test_what_waits_is_shown_and_cancelled(app: Any, post: Post, queue: TrialQueue) -> None:
    post("/trials", {"study_name": NAME, "dropout_rate": "0.25", "seed": "7"})
    post("/studies", {"study_name": NAME})
    post("/studies", {"study_name": NAME})  # once is enough
    study = optuna.load_study(study_name=NAME, storage=queue._storage)
    study.enqueue_trial({"dropout_rate": float("nan"), "<b>": "x"})
    page = ask_app(app, "now").decode()
    assert page.count('value="Cancel"') + page.count(">Cancel<") == 3
    assert "dropout 0.25, seed 7" in page
    assert "&lt;b&gt;" in page
    for identity in ("0", "1", "study"):
        assert post("/cancel", {"study_name": NAME, "id": identity})[0].startswith("303")
    assert [request.state for request in queue.list_ended(8)] == ["cancelled"] * 3
    assert ask_app(app, "now").decode().count(">Cancel<") == 0


def test_a_trial_that_is_over_is_shown_with_its_result(
    app: Any, post: Post, queue: TrialQueue
) -> None:
    post("/trials", {"study_name": NAME, "dropout_rate": "0.25", "seed": "7"})
    study = optuna.load_study(study_name=NAME, storage=queue._storage)
    trial = study.ask()
    trial.set_user_attr("config", {"epochs": 3})
    for epoch, accuracy in enumerate((0.3, 0.4, 0.5), 1):
        trial.report(accuracy, epoch)
    assert "running, 3 epochs, validation 50.0 %" in ask_app(app, "now").decode()
    study.tell(trial, 0.5)
    page = ask_app(app, "now").decode()
    assert "complete, 3 epochs, validation 50.0 %" in page.partition("Recent")[2]


def test_studies_whose_images_or_weights_are_missing_are_marked(app: Any, tmp_path: Path) -> None:
    page = ask_app(app, "").decode()
    rows = {row.split("<")[0]: row for row in page.split('<td class="name">')[1:]}
    assert "Not on this machine" not in rows["dropout:quick"]
    assert "Not on this machine: images cifar10" in rows["dropout:assignment"]
    assert "Not on this machine: images cifar10, weights imagenet" in rows["transfer:assignment"]
    for path in (
        paths.image_set_file(tmp_path, "cifar10"),
        paths.weights_file(tmp_path, "imagenet"),
    ):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert "Not on this machine" not in ask_app(app, "").decode()


def test_the_queue_has_a_bound(
    post: Post, queue: TrialQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_queue, "MOST_WAITING", 2)
    spec = resolve(load_study_file("dropout"), "quick")
    for _ in range(2):
        queue.ask_for_trial(spec, "dropout", {}, None, "a test")
    with pytest.raises(InputError, match="2 trials are queued already"):
        queue.ask_for_trial(spec, "dropout", {}, None, "a test")
    status, page = post("/trials", {"study_name": NAME, "dropout_rate": "0.1"})
    assert (status, "2 trials are queued already" in page) == ("400 Bad Request", True)
    assert queue.cancel(NAME, "0")
    queue.ask_for_trial(spec, "dropout", {}, None, "a test")


def test_a_whole_study_is_cancelled_from_the_command_line(cli: Cli) -> None:
    queue = TrialQueue(studies.open_to_write(locate_storage(None)))
    queue.ask_for_study(resolve(load_study_file("dropout"), "quick"), "dropout", "a test")
    named = ("study", "queue", "dropout", "--profile", "quick")
    assert "study  waiting  all that is left of the study  (a test, " in cli(*named).out
    assert cli(*named, "--cancel", "study", "--json").record == {"cancelled": "study"}
    assert cli(*named, "--json").record["requests"] == []
