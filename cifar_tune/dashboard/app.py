"""optuna-dashboard on our storage, and what is served beside it, as one WSGI application."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from optuna.storages import BaseStorage, RDBStorage
from optuna_dashboard import wsgi

from cifar_tune.dashboard.artifacts import ArtifactFolder, check_upload, serve_artifact
from cifar_tune.dashboard.fast_reads import cache_reads
from cifar_tune.dashboard.responses import Headers, answer_json
from cifar_tune.storage.optuna_private import DASHBOARD_REQUEST_LOGGER

COMPRESSED_FROM = 50_000
"""Bytes of an answer from which on it is compressed: to a twentieth, at 200 MB/s."""
_STYLE = b"""<style>
main p.MuiTypography-body1 { white-space: normal; overflow-wrap: anywhere; }
main table:not([class]) :is(th, td) { padding-right: 1rem; text-align: left; }
</style></head>"""
"""Attributes of a trial are wrapped, else a configuration makes a page of 7,000 pixels; the columns
of tables in notes are told apart."""
_IMPORTANCES = re.compile(r"/api/studies/(\d+)/param_importances")
_NO_IMPORTANCES = answer_json(HTTPStatus.OK, {"param_importances": [[]]})
_OF_A_PART = ("HTTP_IF_MODIFIED_SINCE", "HTTP_RANGE")


def make_app(
    storage: RDBStorage, artifacts: Path, mounted: Mapping[str, WSGIApplication] | None = None
) -> WSGIApplication:
    """The application: optuna-dashboard, with artifacts served as ``artifacts`` says.

    It guards nothing: see ``guard``.

    Args:
        artifacts: their folder, which need not be there.
        mounted: other applications by the path that all their addresses begin with, such as
            ``/queue``.
    """
    cached = cache_reads(storage)
    _shorten_log()
    dashboard = wsgi(cached, artifact_store=ArtifactFolder(artifacts))
    dashboard.catchall = False  # an error is the guard's to answer
    others = dict(mounted or {})

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        for begin, other in others.items():
            if path == begin or path.startswith(f"{begin}/"):
                return other(_shift(environ, begin), start_response)
        if path.startswith("/artifacts/"):
            return serve_artifact(cached, artifacts, environ, start_response)
        if path.startswith("/api/artifacts/") and environ["REQUEST_METHOD"] == "POST":
            refused = check_upload(environ)
            if refused is not None:
                return refused.send(start_response)
        importances = _IMPORTANCES.fullmatch(path)
        if importances and not _has_parameters(cached, int(importances[1])):
            return _NO_IMPORTANCES.send(start_response)
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # some of its routes fail without
        send = _send_page if path.startswith("/dashboard") else _compress
        return send(dashboard, environ, start_response)

    return app


def _has_parameters(storage: BaseStorage, study_id: int) -> bool:
    """Whether a study searches anything: of one that does not, or is not there, optuna-dashboard
    divides by its number of hyperparameters."""
    try:
        return any(trial.params for trial in storage.get_all_trials(study_id, deepcopy=False))
    except KeyError:
        return True  # its own answer is the right one


def _shift(environ: WSGIEnvironment, begin: str) -> WSGIEnvironment:
    """A request as an application sees it that is mounted at ``begin``."""
    parts = {"SCRIPT_NAME": begin, "PATH_INFO": environ["PATH_INFO"].removeprefix(begin)}
    return {**environ, **parts}


def _compress(
    app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Send an application's answer, compressed if it is long JSON."""
    status, headers, exc_info, body = _ask(app, environ)
    given = {key.lower(): value for key, value in headers}
    if (
        isinstance(body, list)
        and given.get("content-type", "").startswith("application/json")
        and "content-encoding" not in given
        and "gzip" in environ["HTTP_ACCEPT_ENCODING"]
        and sum(map(len, body)) >= COMPRESSED_FROM
    ):
        body = [gzip.compress(b"".join(body), compresslevel=1)]
        headers = [(key, value) for key, value in headers if key.lower() != "content-length"]
        headers += [("Content-Encoding", "gzip"), ("Content-Length", str(len(body[0])))]
        headers += [("Vary", "Accept-Encoding")]
    start_response(status, headers, exc_info)
    return body


def _send_page(
    app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Send optuna-dashboard's page with a style of ours."""
    whole = {key: value for key, value in environ.items() if key not in _OF_A_PART}
    status, headers, exc_info, body = _ask(app, whole)
    page = b"".join(body).replace(b"</head>", _STYLE)
    headers = [(key, value) for key, value in headers if key.lower() != "content-length"]
    start_response(status, [*headers, ("Content-Length", str(len(page)))], exc_info)
    return [page]


def _ask(
    app: WSGIApplication, environ: WSGIEnvironment
) -> tuple[str, Headers, Any, Iterable[bytes]]:
    """An application's answer: status, headers, error and body."""
    begun: list[tuple[str, Headers, Any]] = []

    def begin(status: str, headers: Headers, exc_info: Any = None, /) -> Any:
        begun[:] = [(status, headers, exc_info)]
        return None

    body = app(environ, begin)
    return (*begun[0], body)


def _shorten_log() -> None:
    """optuna-dashboard logs its errors with a traceback; the first line says what it is."""
    logging.getLogger(DASHBOARD_REQUEST_LOGGER).addFilter(_keep_first_line)


def _keep_first_line(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().partition("\n")[0], None
    return True
