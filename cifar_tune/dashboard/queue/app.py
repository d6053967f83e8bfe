"""The page as a WSGI application, to be mounted under ``/queue``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bottle import Bottle, HTTPResponse, redirect, request, response
from jinja2 import Environment, PackageLoader, StrictUndefined
from optuna.storages import RDBStorage

from cifar_tune.config.params import read_params
from cifar_tune.config.study_file import StudySpec
from cifar_tune.config.wording import format_params
from cifar_tune.dashboard.queue import view
from cifar_tune.errors import CifarTuneError, InputError
from cifar_tune.search.service import Service
from cifar_tune.storage import studies as stored
from cifar_tune.storage.definition import check_definition
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.wording import format_accuracy, format_duration

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FILES = {"queue.css": "text/css", "queue.js": "text/javascript"}
_TEMPLATES = Path(__file__).with_name("templates")
BROWSER = "browser"


def make_queue_app(storage: RDBStorage, service: Service | None, *, is_read_only: bool) -> Bottle:
    """The page over the requests in a database.

    Args:
        storage: of a connection that no runner has.
        service: that carries the requests out in this process; None if none does.
        is_read_only: show what is going on, without anything to change it by.
    """
    page = _Page(storage, service, is_read_only=is_read_only)
    app = Bottle()
    app.get("/", callback=page.show_studies)
    app.get("/now", callback=page.show_now)
    app.get("/files/<name>", callback=_send_file)
    app.post("/trials", callback=page.ask_for_trial)
    app.post("/studies", callback=page.ask_for_study)
    app.post("/cancel", callback=page.cancel)
    app.post("/stop", callback=page.stop)
    app.post("/continue", callback=page.continue_)
    app.get("/<study_name:path>", callback=page.show_form)
    app.default_error_handler = lambda error: f"{error.status_line}\n"
    return app


class _Page:
    def __init__(self, storage: RDBStorage, service: Service | None, *, is_read_only: bool) -> None:
        self._storage = storage
        self._service = service
        self._is_read_only = is_read_only
        self._queue = TrialQueue(storage.engine)
        self._environment = Environment(
            loader=PackageLoader("cifar_tune.dashboard.queue"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = {"percent": format_accuracy, "duration": format_duration}
        self._environment.filters |= {**filters, "params": format_params}

    # --- pages ---

    def show_studies(self) -> str:
        """What is going on, and the studies."""
        counts = stored.count_trials(self._storage)
        return self._page(counts, studies=view.list_studies(counts))

    def show_form(self, study_name: str) -> str | HTTPResponse:
        """What is going on, and the form of a study."""
        return self._form(study_name, {}, {})

    def show_now(self) -> str:
        """The part that renews itself."""
        response.content_type = "text/html; charset=utf-8"
        return self._render("now.html", now=self._now(stored.count_trials(self._storage)))

    # --- what changes something ---

    def ask_for_trial(self) -> str | HTTPResponse:
        """Queue a trial, or say what is wrong with it."""
        typed = {key: str(value).strip() for key, value in request.forms.decode().items()}
        study_name = typed.pop("study_name", "")
        given = {key: value for key, value in typed.items() if value and key != "seed"}
        try:
            spec = view.find_spec(study_name, stored.count_trials(self._storage))
            params, faults = read_params(spec, given)
            seed = typed.get("seed", "")
            if seed and not seed.isdecimal():
                faults["seed"] = "expected a whole number from 0 on"
            if faults:
                return self._form(study_name, typed, faults)
            self._ask(spec, params, int(seed) if seed else None)
        except CifarTuneError as error:
            return self._refuse(str(error))
        return redirect(f"{view.study_url(study_name)}?queued", 303)

    def ask_for_study(self) -> str | HTTPResponse:
        """Queue all that is left of a study."""
        study_name = request.forms.decode().get("study_name", "")
        try:
            spec = view.find_spec(study_name, stored.count_trials(self._storage))
            self._ask(spec, None, None)
        except CifarTuneError as error:
            return self._refuse(str(error))
        return redirect("/queue/", 303)

    def cancel(self) -> str | HTTPResponse:
        """Cancel a request that waits."""
        identity = request.forms.get("id", "")
        if not identity.isdecimal() or not self._queue.cancel(int(identity)):
            return self._refuse(f"request {identity} does not wait any more")
        return redirect(_back(), 303)

    def stop(self) -> HTTPResponse:
        """Stop the service."""
        self._queue.set_stopped(is_stopped=True)
        if self._service is not None:
            self._service.stop()
        return redirect(_back(), 303)

    def continue_(self) -> HTTPResponse:
        """Let the service continue."""
        self._queue.set_stopped(is_stopped=False)
        if self._service is not None:
            self._service.continue_()
        return redirect(_back(), 303)

    def _ask(self, spec: StudySpec, params: Mapping[str, float] | None, seed: int | None) -> None:
        study = stored.find_study(self._storage, spec.study_name)
        check_definition(study, spec, None, digests=None)
        if params is not None and not spec.space.ranges():
            raise InputError(f"{spec.file_name} searches nothing; run what is left of it instead")
        self._queue.add(
            spec.study_name,
            spec.file_name,
            spec.profile_name,
            spec.overrides,
            params,
            seed,
            BROWSER,
        )

    # --- drawing ---

    def _form(
        self, study_name: str, typed: Mapping[str, str], faults: Mapping[str, str]
    ) -> str | HTTPResponse:
        counts = stored.count_trials(self._storage)
        try:
            spec = view.find_spec(study_name, counts)
        except CifarTuneError as error:
            return self._refuse(str(error), 404)
        if faults:
            response.status = 400
        form = view.make_form(spec, counts, typed, faults)
        return self._page(counts, form=form, was_queued="queued" in request.query)

    def _refuse(self, reason: str, status: int = 400) -> str:
        response.status = status
        return self._page(stored.count_trials(self._storage), reason=reason)

    def _page(self, counts: list[stored.StudyCounts], **shown: Any) -> str:
        response.set_header("Content-Security-Policy", _POLICY)
        nothing = {"studies": (), "form": None, "reason": "", "was_queued": False}
        return self._render("queue.html", now=self._now(counts), **(nothing | shown))

    def _now(self, counts: list[stored.StudyCounts]) -> view.Now:
        service = self._service
        is_stopped = self._queue.is_stopped() if service is None else service.is_stopped
        return view.describe_now(
            self._queue,
            counts,
            service.live.state() if service is not None else None,
            is_stopped=is_stopped,
            is_read_only=self._is_read_only,
        )

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)


def _back() -> str:
    """The page that a button was on."""
    study_name = request.forms.decode().get("from", "")
    return f"/queue/{quote(study_name)}"


def _send_file(name: str) -> HTTPResponse:
    if name not in _FILES:
        return HTTPResponse("not found\n", 404)
    content = (_TEMPLATES / name).read_bytes()
    return HTTPResponse(content, headers={"Content-Type": f"{_FILES[name]}; charset=utf-8"})
