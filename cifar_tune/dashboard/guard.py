"""Stands before the application: who is let in, what is refused, what every answer says.

A request is looked at in this order: its path, the name it calls this server by, where it comes
from if it would change something, its token, and whether anything may be changed.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from cifar_tune.dashboard.access import LOOPBACK_NAMES, Access
from cifar_tune.dashboard.responses import Answer, Headers, redirect, refuse
from cifar_tune.dashboard.sign_in import sign_in_page
from cifar_tune.storage.passwords import mask_passwords

SIGN_IN = "/login"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_FORM_BYTES_MOST = 4096
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::\d+)?")
_LOCAL_PATH = re.compile(r"/(?!/)[!-\[\]-~]*")
"""ASCII without white space and backslashes."""
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


def guard(app: WSGIApplication, access: Access) -> WSGIApplication:
    """The application, behind a guard."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]

        def begin(status: str, headers: Headers, exc_info: Any = None, /) -> Any:
            return start_response(status, _harden(headers, path), exc_info)

        refused = _check(environ, access)
        if refused is not None:
            return refused.send(begin)
        try:
            return app(environ, begin)
        except Exception as error:
            said = f"{type(error).__name__}: {error}".partition("\n")[0]
            _log.error("%s %s: %s", environ["REQUEST_METHOD"], path, mask_passwords(said))
            failed = refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "internal server error")
            return failed.send(begin, sys.exc_info())

    return guarded


def _check(environ: WSGIEnvironment, access: Access) -> Answer | None:
    """Why a request is not the application's, or how it is answered without it; None lets it in."""
    changes = environ["REQUEST_METHOD"] not in _SAFE_METHODS
    if _climbs(environ["PATH_INFO"]):
        return refuse(HTTPStatus.NOT_FOUND, "no such address")
    if access.token is None and _host_name(environ) not in {*LOOPBACK_NAMES, access.host.lower()}:
        reason = f"expected a request for {access.host}, by that name"
        return refuse(HTTPStatus.MISDIRECTED_REQUEST, reason)
    if changes and _is_from_elsewhere(environ):
        return refuse(HTTPStatus.FORBIDDEN, "a page of another server may not change anything here")
    if access.token is not None:
        answer = _check_token(environ, access)
        if answer is not None:
            return answer
    if changes and access.is_read_only:
        reason = "this dashboard is read-only; it is started with --read-write to allow changes"
        return refuse(HTTPStatus.FORBIDDEN, reason)
    return None


def _climbs(path: str) -> bool:
    """Whether a path, decoded, leads out of a folder or has what no path here has."""
    is_odd = re.search(r"[\x00-\x1f\x7f\\]", path) is not None
    return is_odd or not path.startswith("/") or bool({".", ".."} & set(path.split("/")))


def _host_name(environ: WSGIEnvironment) -> str | None:
    """The name of this server that the request gives, without the port.

    A page whose name is made to lead to this machine gives its own. The port is not looked at: it
    is another one for who comes through a tunnel.
    """
    found = _HOST.fullmatch(environ.get("HTTP_HOST", ""))
    return (found["v6"] or found["name"]).lower() if found else None


def _is_from_elsewhere(environ: WSGIEnvironment) -> bool:
    """Whether a browser says that a page of another origin sends this; others say nothing."""
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is not None and site not in ("same-origin", "none"):
        return True
    if origin is None:
        return False
    scheme, _, place = origin.partition("://")
    is_web = scheme in ("http", "https")
    return not is_web or place.lower() != environ.get("HTTP_HOST", "").lower()


# --- the token ----------------------------------------------------------------------------------


def _check_token(environ: WSGIEnvironment, access: Access) -> Answer | None:
    """None for a request that brings the token; else how it is answered."""
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    place = quote("/" + path.lstrip("/"), encoding="latin-1")
    if path == SIGN_IN and method == "POST":
        return _sign_in(environ, access)
    query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    tokens = [value for key, value in query if key == "token"]
    if method == "GET" and tokens and access.is_token(tokens[-1]):
        others = urlencode([(key, value) for key, value in query if key != "token"])
        return redirect(f"{place}?{others}" if others else place, _cookie(environ, access))
    scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and access.is_token(bearer.strip()):
        return None
    if any(access.is_cookie(value) for value in _cookies(environ)):
        return redirect("/") if path == SIGN_IN else None
    if _wants_page(environ):
        return sign_in_page(HTTPStatus.UNAUTHORIZED, place, is_wrong=bool(tokens))
    reason = "this dashboard needs its token: Authorization: Bearer TOKEN, or open it in a browser"
    refused = refuse(HTTPStatus.UNAUTHORIZED, reason)
    return Answer(refused.status, (*refused.headers, ("WWW-Authenticate", "Bearer")), refused.body)


def _sign_in(environ: WSGIEnvironment, access: Access) -> Answer:
    """Answer the form that asks for the token."""
    length = min(int(environ.get("CONTENT_LENGTH") or 0), _FORM_BYTES_MOST)
    form = parse_qs(environ["wsgi.input"].read(length).decode("utf-8", "replace"))
    place = form.get("next", ["/"])[-1]
    if not _LOCAL_PATH.fullmatch(place):
        place = "/"
    if not access.is_token(form.get("token", [""])[-1].strip()):
        return sign_in_page(HTTPStatus.UNAUTHORIZED, place, is_wrong=True)
    return redirect(place, _cookie(environ, access))


def _wants_page(environ: WSGIEnvironment) -> bool:
    is_page = not environ["PATH_INFO"].startswith(("/api/", "/artifacts/", "/static/"))
    return is_page and "text/html" in environ.get("HTTP_ACCEPT", "")


def _cookie_name(environ: WSGIEnvironment) -> str:
    """Browsers keep one jar for all ports of a host."""
    return f"cifar-tune-{environ['SERVER_PORT']}"


def _cookie(environ: WSGIEnvironment, access: Access) -> tuple[str, str]:
    value = f"{_cookie_name(environ)}={access.cookie()}; Path=/; HttpOnly; SameSite=Strict"
    return "Set-Cookie", value


def _cookies(environ: WSGIEnvironment) -> Iterable[str]:
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == _cookie_name(environ):
            yield value


# --- headers ------------------------------------------------------------------------------------


def _harden(headers: Headers, path: str) -> Headers:
    """An answer's headers, with what every answer says."""
    kept = {key.title(): value for key, value in headers if key.lower() != "set-cookie"}
    cookies = [(key, value) for key, value in headers if key.lower() == "set-cookie"]
    kept.pop("Access-Control-Allow-Origin", None)
    is_asset = path.startswith("/static/") or path == "/favicon.ico"
    kept.setdefault("Cache-Control", "no-cache" if is_asset else "no-store")
    policy = kept.get("Content-Security-Policy")
    if policy is not None:
        added = (f"{key} {value}" for key, value in _POLICIES.items() if key not in policy)
        kept["Content-Security-Policy"] = "; ".join([policy.rstrip("; "), *added])
    return [*{**kept, **_HEADERS}.items(), *cookies]
