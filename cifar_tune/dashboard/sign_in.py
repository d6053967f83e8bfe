"""How a request brings the token: in a header, in the address, or by a form and then a cookie."""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import quote, urlencode

from bottle import FormsDict, HTTPResponse, request

from cifar_tune.dashboard.access import Access, refuse
from cifar_tune.environment import make_environment

SIGN_IN = "/login"
MAX_FORM_BYTES = 4096
_LOCAL_PATH = re.compile(r"/(?!/)[!-\[\]-~]*")
"""ASCII without white space and backslashes."""
_TEMPLATE = make_environment("cifar_tune.dashboard", escapes=True).get_template("sign_in.html")
_BEARER = {"WWW-Authenticate": "Bearer"}
_PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    **_BEARER,
}


def check_token(access: Access) -> HTTPResponse | None:
    """Return None for a request that brings the token; else how it is answered."""
    place = quote(request.path)
    if request.path == SIGN_IN and request.method == "POST":
        return _answer_form(access)
    if request.method == "GET" and access.is_token(request.query.getunicode("token", "")):
        others = [(key, value) for key, value in request.query.allitems() if key != "token"]
        query = urlencode(others, encoding="latin-1")  # as Bottle has decoded it
        return _redirect(f"{place}?{query}" if query else place, access)
    scheme, _, bearer = request.get_header("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and access.is_token(bearer.strip()):
        return None
    # Bottle reads no cookie at all if another program on this host has set one that is malformed.
    cookies = re.findall(rf"(?:^|;)\s*{_cookie_name()}=([^;]*)", request.get_header("Cookie", ""))
    if any(map(access.is_cookie, cookies)):
        return _redirect("/") if request.path == SIGN_IN else None
    is_page = not request.path.startswith(("/api/", "/artifacts/", "/static/"))
    if is_page and "text/html" in request.get_header("Accept", ""):
        return _show_form(place, is_wrong="token" in request.query)
    reason = "this dashboard needs its token: Authorization: Bearer TOKEN, or open it in a browser"
    refused = refuse(HTTPStatus.UNAUTHORIZED, reason)
    refused.headers.update(_BEARER)
    return refused


def _answer_form(access: Access) -> HTTPResponse:
    form = request.forms if request.content_length <= MAX_FORM_BYTES else FormsDict()
    place = form.getunicode("next", "")
    if not _LOCAL_PATH.fullmatch(place):
        place = "/"
    if not access.is_token(form.getunicode("token", "").strip()):
        return _show_form(place, is_wrong=True)
    return _redirect(place, access)


def _show_form(place: str, *, is_wrong: bool) -> HTTPResponse:
    page = _TEMPLATE.render(place=place, is_wrong=is_wrong)
    return HTTPResponse(page, HTTPStatus.UNAUTHORIZED, _PAGE_HEADERS)


def _redirect(place: str, access: Access | None = None) -> HTTPResponse:
    """Send the browser to a path of this server, with the cookie if ``access`` is given.

    Bottle's own ``redirect`` would make it an address with the name that the request gives.
    """
    answer = HTTPResponse("", HTTPStatus.SEE_OTHER, Location=place)
    if access is not None:
        cookie = f"{_cookie_name()}={access.cookie()}; Path=/; HttpOnly; SameSite=Strict"
        answer.set_header("Set-Cookie", cookie)
    return answer


def _cookie_name() -> str:
    """Return a name with the port: browsers keep one jar for all ports of a host."""
    return f"cifar-tune-{request.environ['SERVER_PORT']}"
