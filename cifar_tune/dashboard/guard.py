"""Stands before the application: who is let in, what is refused, what every answer says.

A request is looked at in this order: its path, the name it calls this server by, where it comes
from if it would change something, its token, whether anything may be changed, and whether what it
sends is a JSON object where optuna-dashboard expects one.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from bottle import BaseResponse, Bottle, request, response

from cifar_tune.dashboard.access import LOOPBACK_NAMES, Access, refuse
from cifar_tune.dashboard.sign_in import check_token
from cifar_tune.files import parse_json
from cifar_tune.storage.passwords import mask_passwords

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::\d+)?")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: under it a browser sends its own page's forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICIES = {"frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'self'"}
"""Added to an answer's Content-Security-Policy where it does not have them."""
_log = logging.getLogger(__name__)


def guard(app: Bottle, access: Access) -> WSGIApplication:
    """Put an application, which does not catch errors itself, behind a guard."""
    app.add_hook("before_request", lambda: _check(access))
    app.add_hook("after_request", lambda: _harden(response))

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer: Iterable[bytes] = app(environ, start_response)
        except UnicodeDecodeError:  # Bottle reads headers as it is asked for them
            failed = refuse(HTTPStatus.BAD_REQUEST, "the request is not UTF-8 text")
        except Exception as error:
            line = f"{type(error).__name__}: {error}".partition("\n")[0]
            path = request.path
            _log.error("%s %s: %s", request.method, path, mask_passwords(line))
            failed = refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "internal server error")
        else:
            return answer
        _harden(failed)
        body = failed.body.encode()
        headers = [*failed.headerlist, ("Content-Length", str(len(body)))]
        start_response(failed.status_line, headers, sys.exc_info())
        return [body]

    return guarded


def _check(access: Access) -> None:
    """Let a request pass, or raise how it is answered without the application."""
    changes = request.method not in _SAFE_METHODS
    if _climbs(request.path):
        raise refuse(HTTPStatus.NOT_FOUND, "no such address")
    if access.token is None and _host_name() not in {*LOOPBACK_NAMES, access.host.lower()}:
        reason = f"expected a request for {access.host}, by that name"
        raise refuse(HTTPStatus.MISDIRECTED_REQUEST, reason)
    if changes and _is_from_elsewhere():
        raise refuse(HTTPStatus.FORBIDDEN, "a page of another server may not change anything here")
    if access.token is not None:
        answer = check_token(access)
        if answer is not None:
            raise answer
    if changes and access.is_read_only:
        reason = "this dashboard is read-only; it is started with --read-write to allow changes"
        raise refuse(HTTPStatus.FORBIDDEN, reason)
    if changes and request.path.startswith("/api/") and not _sends_object():
        raise refuse(HTTPStatus.BAD_REQUEST, "expected a JSON object")


def _sends_object() -> bool:
    """Return whether what is sent is a JSON object, or an artifact, which is looked at later."""
    if request.content_length <= 0 or request.path.startswith("/api/artifacts/"):
        return True
    try:
        return isinstance(parse_json(request.body.read()), dict)
    except ValueError:
        return False
    finally:
        request.body.seek(0)


def _climbs(path: str) -> bool:
    """Return whether a path, decoded, leads out of a folder or has what no path here has."""
    # Numbers of studies and trials have 64 bits.
    is_odd = re.search(r"[\x00-\x1f\x7f\\]|/[0-9]{19,}(/|$)", path) is not None
    return is_odd or bool({".", ".."} & set(path.split("/")))


def _host_name() -> str | None:
    """Return the name of this server that the request gives, without the port.

    A page whose name is made to lead to this machine gives its own. The port is not looked at: it
    is another one for who comes through a tunnel.
    """
    host = _HOST.fullmatch(request.get_header("Host", ""))
    return (host["v6"] or host["name"]).lower() if host else None


def _is_from_elsewhere() -> bool:
    """Return whether a browser says that a page of another origin sends this.

    Other programs say nothing.
    """
    site, origin = request.get_header("Sec-Fetch-Site"), request.get_header("Origin")
    if site is not None and site not in ("same-origin", "none"):
        return True
    if origin is None:
        return False
    scheme, _, place = origin.partition("://")
    is_web = scheme in ("http", "https")
    return not is_web or place.lower() != request.get_header("Host", "").lower()


def _harden(answer: BaseResponse) -> None:
    """Add to an answer's headers what every answer says."""
    headers = answer.headers
    headers.pop("Access-Control-Allow-Origin", None)
    is_asset = request.path.startswith("/static/") or request.path == "/favicon.ico"
    headers.setdefault("Cache-Control", "no-cache" if is_asset else "no-store")
    policy = headers.get("Content-Security-Policy")
    if policy is not None:
        added = (f"{key} {value}" for key, value in _POLICIES.items() if key not in policy)
        headers["Content-Security-Policy"] = "; ".join([policy.rstrip("; "), *added])
    headers.update(_HEADERS)
