"""The page as a WSGI application, to be mounted under ``/queue``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bottle import Bottle, HTTPResponse, redirect, request, response, static_file
from optuna.storages import RDBStorage

from cifar_tune import paths
from cifar_tune.config.params import describe_range, read_params, read_seed
from cifar_tune.config.study_file import (
    LoadedStudyFile,
    StudySpec,
    find_study_files,
    load_study_file,
    resolve,
)
from cifar_tune.config.wording import format_params
from cifar_tune.data.search_data import has_images
from cifar_tune.environment import make_environment
from cifar_tune.errors import CifarTuneError, InputError, StudyFileError
from cifar_tune.models.stored_weights import missing_weights
from cifar_tune.search.service import Service
from cifar_tune.storage.database_errors import DAMAGE, is_damage
from cifar_tune.storage.queue import TrialQueue
from cifar_tune.storage.studies import StudyCounts, count_trials
from cifar_tune.storage.study_requests import Request
from cifar_tune.wording import format_accuracy, format_duration

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_TEMPLATES = Path(__file__).with_name("templates")
_ENVIRONMENT = make_environment("cifar_tune.dashboard.queue", escapes=True)
BROWSER = "browser"
RECENT = 8
"""How many requests are shown that are over."""


def study_url(study_name: str) -> str:
    """Return where trials of a study are queued."""
    return f"/queue/{quote(study_name)}"


def dashboard_url(stored: StudyCounts, request: Request | None = None) -> str:
    """Return where optuna-dashboard shows a study, or the trial of a request."""
    url = f"/dashboard/studies/{stored.study_id}"
    return url if request is None else f"{url}/trials?numbers={request.trial}"


_ENVIRONMENT.filters |= {
    "percent": format_accuracy,
    "duration": format_duration,
    "params": format_params,
    "range": describe_range,
    "queue_url": study_url,
    "dashboard_url": dashboard_url,
}


def make_queue_app(
    storage: RDBStorage,
    service: Service | None,
    *,
    is_read_only: bool,
    root: Path | None = None,
) -> Bottle:
    """Return the page over the requests in a database, on a connection that no runner has.

    ``service`` carries the requests out in this process, if anything does; imported images and
    weights are in ``root``, by default in the user's data folder.
    """
    page = _Page(storage, service, root or paths.data_root(), is_read_only=is_read_only)
    app = Bottle()
    app.install(page.explain_faults)
    app.get("/", callback=page.show_studies)
    app.get("/now", callback=page.show_now)
    app.get(
        "/files/<name:re:queue[.](css|js)>", callback=lambda name: static_file(name, _TEMPLATES)
    )
    app.post("/trials", callback=page.ask_for_trial)
    app.post("/studies", callback=page.ask_for_study)
    app.post("/cancel", callback=page.cancel)
    app.post("/stop", callback=lambda: page.set_stopped(is_stopped=True))
    app.post("/continue", callback=lambda: page.set_stopped(is_stopped=False))
    app.get("/<study_name:path>", callback=page.show_form)
    app.default_error_handler = lambda error: f"{error.status_line}\n"
    return app


class _Page:
    def __init__(
        self, storage: RDBStorage, service: Service | None, root: Path, *, is_read_only: bool
    ) -> None:
        self._storage = storage
        self._service = service
        self._root = root
        self._is_read_only = is_read_only
        self._queue = TrialQueue(storage)

    def explain_faults(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """Let a page say what is wrong with what it was asked; a plugin of Bottle."""

        def call(**arguments: str) -> Any:
            try:
                return callback(**arguments)
            except CifarTuneError as error:
                response.status = 404 if request.method == "GET" else 400
                return self._draw_page(self._stored(), reason=str(error))
            except (RecursionError, ValueError, AssertionError) as error:
                if not is_damage(error):
                    raise
                reason = f"The database is damaged: {DAMAGE}.\n"
                return HTTPResponse(reason, HTTPStatus.SERVICE_UNAVAILABLE)

        return call

    # --- pages ---

    def show_studies(self) -> str:
        """Show what is going on, and the studies."""
        stored = self._stored()
        studies = _list_studies(stored)
        missing = {
            name: _list_missing(loaded, name, stored, self._root)
            for name, loaded in studies.items()
        }
        return self._draw_page(stored, studies=studies, missing=missing)

    def show_form(self, study_name: str) -> str:
        """Show what is going on, and the form of a study."""
        return self._draw_form(study_name, {}, {})

    def show_now(self) -> str:
        """Show the part that renews itself."""
        response.content_type = "text/html; charset=utf-8"
        return _ENVIRONMENT.get_template("now.html").render(self._describe_now(self._stored()))

    # --- what changes something ---

    def ask_for_trial(self) -> str | HTTPResponse:
        """Queue a trial, or say what is wrong with it."""
        typed = _read_form()
        study_name = typed.pop("study_name", "")
        spec = _find_spec(study_name, self._stored())
        texts = {key: text for key, text in typed.items() if text and key != "seed"}
        params, faults = read_params(spec, texts)
        seed, seed_fault = read_seed(typed.get("seed", ""))
        if faults or seed_fault:
            response.status = 400
            return self._draw_form(study_name, typed, {**faults, "seed": seed_fault})
        self._queue.ask_for_trial(spec, spec.file_name, params, seed, BROWSER)
        return redirect(f"{study_url(study_name)}?queued", 303)

    def ask_for_study(self) -> HTTPResponse:
        """Queue all that is left of a study."""
        spec = _find_spec(_read_form().get("study_name", ""), self._stored())
        self._queue.ask_for_study(spec, spec.file_name, BROWSER)
        return redirect("/queue/", 303)

    def cancel(self) -> HTTPResponse:
        """Cancel a request that waits."""
        form = _read_form()
        identity, study_name = form.get("id", ""), form.get("study_name", "")
        if not self._queue.cancel(study_name, identity):
            raise InputError(f"request {identity:.40} does not wait any more")
        return redirect(study_url(form.get("from", "")), 303)

    def set_stopped(self, *, is_stopped: bool) -> HTTPResponse:
        """Stop the service, or let it continue."""
        page = study_url(_read_form().get("from", ""))
        self._queue.studies.set_stopped(is_stopped=is_stopped)
        if self._service is not None:
            self._service.set_stopped(is_stopped=is_stopped)
        return redirect(page, 303)

    # --- drawing ---

    def _stored(self) -> dict[str, StudyCounts]:
        return {counts.study_name: counts for counts in count_trials(self._storage)}

    def _draw_form(
        self, study_name: str, typed: Mapping[str, str], faults: Mapping[str, str]
    ) -> str:
        stored = self._stored()
        spec, was_queued = _find_spec(study_name, stored), "queued" in request.query
        return self._draw_page(stored, spec=spec, typed=typed, faults=faults, was_queued=was_queued)

    def _draw_page(self, stored: Mapping[str, StudyCounts], **parts: Any) -> str:
        response.set_header("Content-Security-Policy", _POLICY)
        values = {"studies": {}, "spec": None, "reason": "", "was_queued": False, **parts}
        return _ENVIRONMENT.get_template("queue.html").render(self._describe_now(stored), **values)

    def _describe_now(self, stored: Mapping[str, StudyCounts]) -> dict[str, Any]:
        service = self._service
        return {
            "live": None if service is None else service.live.state(),
            "is_stopped": self._queue.studies.is_stopped(),
            "is_read_only": self._is_read_only,
            "waiting": self._queue.list_requests(),
            "recent": self._queue.list_ended(RECENT),
            "stored": stored,
        }


def _find_spec(study_name: str, stored: Mapping[str, StudyCounts]) -> StudySpec:
    """Return the study of that name, stored or not.

    Raises:
        StudyFileError: No study file makes such a study.
    """
    name = study_name.partition(":")[0]
    if name not in find_study_files():  # a browser names no file of this machine
        raise StudyFileError(f"{study_name}: there is no study file of that name here")
    spec = _resolve(load_study_file(name), study_name, stored)
    if spec.study_name != study_name:
        raise StudyFileError(f"{study_name}: its study file makes {spec.study_name} now")
    return spec


def _list_studies(stored: Mapping[str, StudyCounts]) -> dict[str, LoadedStudyFile]:
    """Return all study files by the names of their studies; those that are stored come first."""
    files: dict[str, LoadedStudyFile] = {}
    for name in sorted(find_study_files()):
        try:
            loaded = load_study_file(name)
        except StudyFileError:
            continue  # `cifar-tune study list` says what is wrong with it
        of_profiles = [f"{name}:{profile}" for profile in loaded.content.profiles]
        with_overrides = [key for key in stored if key.startswith(f"{name}:")]
        files |= dict.fromkeys([*of_profiles, *with_overrides], loaded)
    return dict(sorted(files.items(), key=lambda entry: entry[0] not in stored))


def _resolve(
    loaded: LoadedStudyFile, study_name: str, stored: Mapping[str, StudyCounts]
) -> StudySpec:
    known = stored.get(study_name)
    if known is not None:
        return resolve(loaded, known.profile, known.overrides)
    return resolve(loaded, study_name.partition(":")[2])


def _list_missing(
    loaded: LoadedStudyFile, study_name: str, stored: Mapping[str, StudyCounts], root: Path
) -> list[str]:
    """Return the images and weights that a study needs and this machine does not have."""
    try:
        spec = _resolve(loaded, study_name, stored)
    except StudyFileError:
        return []  # it was stored under another profile; asking for it says so
    images = [] if has_images(spec.protocol.data, root) else [f"images {spec.protocol.data}"]
    return images + [f"weights {name}" for name in missing_weights(spec.weights(), root)]


def _read_form() -> dict[str, str]:
    """Return what was typed into a form.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        return {key: str(text).strip() for key, text in request.forms.decode().items()}
    except UnicodeError as error:
        raise InputError("the form is not UTF-8 text") from error
