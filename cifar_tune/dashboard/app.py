"""optuna-dashboard on our storage, and what is served beside it, as one Bottle application."""

from __future__ import annotations

import functools
import gzip
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bottle import Bottle, HTTPResponse, request, response
from optuna.storages import BaseStorage, RDBStorage
from optuna_dashboard import wsgi

from cifar_tune.dashboard.artifacts import (
    ArtifactFolders,
    check_owner,
    check_upload,
    serve_artifact,
)
from cifar_tune.dashboard.fast_reads import cache_reads
from cifar_tune.storage.optuna_private import DASHBOARD_REQUEST_LOGGER

COMPRESSED_FROM = 50_000
"""Characters of JSON from which on it is compressed: to a twentieth, at 200 MB/s."""
QUEUE = "/queue"
_STYLE = Path(__file__).parent / "templates" / "dashboard.css"
"""What is added to the styles of optuna-dashboard's page."""
_OF_A_PART = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE")

View = Callable[..., Any]


def make_app(storage: RDBStorage, artifacts: Sequence[Path], queue: Bottle | None = None) -> Bottle:
    """Make the application: optuna-dashboard, with artifacts served as ``artifacts`` says.

    It guards nothing and catches no errors: see ``guard``. ``storage`` is a connection that no
    runner has; of the folders ``artifacts``, which need not be there, the first is written to;
    ``queue`` is the page of the queue.
    """
    cached, store = cache_reads(storage), ArtifactFolders(artifacts)
    _shorten_log()
    app = Bottle()
    app.catchall = False  # an error is the guard's to answer
    app.add_hook("before_request", _mend_request)
    # The first route that fits a request answers it: these are before optuna-dashboard's own.
    app.get(
        "/artifacts/<address:path>",
        callback=lambda address: serve_artifact(cached, store, address),
    )
    for route in queue.routes if queue is not None else ():
        route.rule = QUEUE + route.rule.rstrip("/")
        app.add_route(route)  # with the plugins of its own application
    dashboard: Bottle = wsgi(cached, artifact_store=store)
    dashboard.install(functools.partial(_adapt, cached))
    app.merge(dashboard)
    return app


def _mend_request() -> None:
    """Give optuna-dashboard's routes what some of them fail without."""
    request.environ.setdefault("HTTP_ACCEPT_ENCODING", "")
    request.environ["PATH_INFO"] = request.environ["PATH_INFO"].rstrip("/")


def _adapt(storage: BaseStorage, view: View) -> View:
    """Change what one of optuna-dashboard's routes takes and answers; a plugin of Bottle."""

    @functools.wraps(view)
    def adapted(**arguments: Any) -> Any:
        if request.path.startswith("/api/artifacts/"):
            check_owner(storage, **arguments)
            if request.method == "POST":
                check_upload()
        if request.path.startswith("/dashboard"):
            return _style_page(view, **arguments)
        if request.path.endswith("/param_importances") and not _has_params(storage, **arguments):
            return {"param_importances": [[]]}
        return _compress(view(**arguments))

    return adapted


def _has_params(storage: BaseStorage, study_id: int) -> bool:
    """Return whether a study searches anything.

    Of one that does not, optuna-dashboard divides by its number of hyperparameters.
    """
    try:
        return any(trial.params for trial in storage.get_all_trials(study_id, deepcopy=False))
    except KeyError:  # there is no such study, and optuna-dashboard's own answer is the right one
        return True


def _style_page(view: View, **arguments: Any) -> HTTPResponse:
    """Return optuna-dashboard's page with a style of ours."""
    for header in _OF_A_PART:
        request.environ.pop(header, None)
    page = view(**arguments)
    if request.method != "HEAD":
        with page.body as file:
            style = b"<style>" + _STYLE.read_bytes() + b"</style></head>"
            page.body = file.read().replace(b"</head>", style)
        page.set_header("Content-Length", str(len(page.body)))
    return page


def _compress(answer: Any) -> Any:
    """Return an answer of a route, compressed if it is long JSON."""
    text = json.dumps(answer) if isinstance(answer, dict) else answer
    if (
        isinstance(text, str)
        and response.content_type == "application/json"
        and len(text) >= COMPRESSED_FROM
    ):
        response.set_header("Vary", "Accept-Encoding")
        if "gzip" in request.get_header("Accept-Encoding"):
            response.set_header("Content-Encoding", "gzip")
            return gzip.compress(text.encode(), compresslevel=1)
    return text


def _shorten_log() -> None:
    """Let optuna-dashboard log the first line of an error, not its traceback."""
    logging.getLogger(DASHBOARD_REQUEST_LOGGER).addFilter(_keep_first_line)


def _keep_first_line(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().partition("\n")[0], None
    return True
