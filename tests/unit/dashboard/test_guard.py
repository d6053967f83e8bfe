"""Whom the dashboard lets in, what it refuses, and that what is refused changes nothing."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import optuna
import psutil
import pytest
from dashboard_client import STUDY, TOKEN, Live, serving

from cifar_tune.dashboard import server as server_module

PAGE = {"Accept": "text/html,application/xhtml+xml"}
"""As a browser asks for a page."""
PATHS = ("", "dashboard", STUDY, "static/bundle.js", "nowhere")
HELD = 1000
"""Connections that one client holds open."""
NOTE = {"version": 1, "body": "typed"}
CHANGES = (
    ("DELETE", STUDY),
    ("POST", f"{STUDY}/rename"),
    ("PUT", f"{STUDY}/note"),
    ("PUT", f"{STUDY}/1/note"),
    ("POST", "api/studies"),
    ("POST", "api/artifacts/1"),
)


@pytest.fixture
def locked(trained_copy: Path) -> Iterator[Live]:
    """A server that wants the token."""
    with serving(trained_copy, token=TOKEN) as live:
        yield live


def test_every_answer_is_hardened(live: Live) -> None:
    for path in PATHS:
        headers = live.ask(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")
        assert "Server" not in headers


@pytest.mark.parametrize(
    "body", [b"null", b"5", b"[]", b'"text"', b"{", b"\xff", b"[" * 5000, b"9" * 5000]
)
def test_what_is_no_json_object_is_answered_with_400_and_one_line(live: Live, body: bytes) -> None:
    for path in ("api/studies", f"{STUDY}/rename", f"{STUDY}/1/note"):
        method = "PUT" if path.endswith("note") else "POST"
        answer = live.ask(path, method, data=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()) == (400, {"reason": "expected a JSON object"})


def test_numbers_of_too_many_digits_are_no_address(live: Live) -> None:
    for path in (f"api/studies/{'9' * 30}", f"csv/{'9' * 30}", f"{STUDY}/{'9' * 5000}/note"):
        assert live.ask(path).status_code == 404


@pytest.mark.parametrize("name", ["Cookie", "Origin", "Accept", "Authorization"])
def test_headers_that_are_no_utf_8(locked: Live, name: str) -> None:
    answer = locked.ask("dashboard", headers={name: b"Bearer \xff\xfe"})
    assert answer.status_code in (400, 401)


# --- the token ----------------------------------------------------------------------------------


def test_without_the_token_nothing_is_shown(locked: Live) -> None:
    wrong = {"Authorization": "Bearer another token, as long"}
    cookie = {"Cookie": f"cifar-tune-{locked.place[1]}={TOKEN}"}
    for path in (*PATHS, "login"):
        for headers in ({}, wrong, cookie, {"Authorization": f"Basic {TOKEN}"}):
            assert locked.ask(path, headers=headers).status_code == 401
        assert "transfer" not in locked.ask(path).text
        assert locked.ask(f"{path}?token=wrong").status_code == 401
        assert locked.ask(path, "POST").status_code == 401


def test_who_has_no_token_is_asked_for_it(locked: Live) -> None:
    assert "Bearer" in locked.ask(STUDY, headers=PAGE).json()["reason"]
    page = locked.ask("dashboard/studies/1", headers=PAGE)
    assert page.headers["WWW-Authenticate"] == "Bearer"
    assert '<form method="post" action="/login">' in page.text
    assert 'value="/dashboard/studies/1"' in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "not the token" not in page.text
    assert "not the token" in locked.ask("?token=wrong", headers=PAGE).text
    odd = locked.ask("dashboard/%22%3E%3Cscript%3E", headers=PAGE)
    assert "<script" not in odd.text


def test_the_token_is_taken_in_three_ways(locked: Live) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert locked.ask(STUDY, headers=bearer).status_code == 200
    asked = locked.ask(f"{STUDY}?after=1&token={TOKEN}")
    assert (asked.status_code, asked.headers["Location"]) == (303, f"/{STUDY}?after=1")
    form = {"token": TOKEN, "next": "/dashboard/studies/1"}
    signed_in = locked.ask("login", "POST", data=form)
    assert (signed_in.status_code, signed_in.headers["Location"]) == (303, form["next"])
    for answer in (asked, signed_in):
        cookie, *flags = answer.headers["Set-Cookie"].split("; ")
        assert set(flags) == {"HttpOnly", "SameSite=Strict", "Path=/"}
        assert TOKEN not in cookie
        assert locked.ask(STUDY, headers={"Cookie": f"other=1; {cookie}"}).status_code == 200
    assert locked.ask("login", "POST", data={"token": "wrong"}).status_code == 401
    assert locked.ask(f"{STUDY}/note?token={TOKEN}", "PUT", json=NOTE).status_code == 401


def test_signing_in_leads_to_this_server(locked: Live) -> None:
    for place in ("//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", ""):
        answer = locked.ask("login", "POST", data={"token": TOKEN, "next": place})
        assert answer.headers["Location"] == "/"
    led = locked.exchange(f"GET //evil.example/?token={TOKEN.replace(' ', '+')} HTTP/1.1")
    assert b"\r\nLocation: //" not in led


# --- requests of other pages ----------------------------------------------------------------------


def test_a_name_that_is_made_to_lead_here_is_refused(live: Live, locked: Live) -> None:
    port = live.place[1]
    for host in (
        f"evil.example:{port}",
        "evil.example",
        "",
        "127.0.0.1.evil.example",
        "a@127.0.0.1",
    ):
        assert live.ask(STUDY, headers={"Host": host}).status_code == 421
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "localhost:9000"):
        assert live.ask(STUDY, headers={"Host": host}).status_code == 200
    headers = {"Host": "any.example", "Authorization": f"Bearer {TOKEN}"}
    assert locked.ask(STUDY, headers=headers).status_code == 200


def test_another_page_changes_nothing(live: Live) -> None:
    before = live.ask(STUDY).json()
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": live.url.rstrip("/"), "Sec-Fetch-Site": "cross-site"},
    ):
        for method, path in (*CHANGES, ("POST", "login")):
            body = {**NOTE, "study_name": "renamed"}
            assert live.ask(path, method, headers=headers, json=body).status_code == 403
    assert live.ask(STUDY).json() == before


def test_its_own_page_changes_what_it_likes(live: Live) -> None:
    own = {"Origin": live.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert live.ask(f"{STUDY}/note", "PUT", headers=own, json=live.typed()).status_code == 204
    renamed = live.ask(f"{STUDY}/rename", "POST", headers=own, json={"study_name": "renamed"})
    assert renamed.json()["study_name"] == live.study().study_name == "renamed"
    assert live.ask("api/studies/2", "DELETE", headers=own, json={}).status_code == 204
    assert live.ask("api/studies").json()["study_summaries"] == []


def test_read_only_changes_nothing(trained_copy: Path) -> None:
    with serving(trained_copy, is_read_only=True) as live:
        before = live.ask(STUDY).json()
        for method, path in (*CHANGES, ("POST", "queue/add"), ("ODD", "queue")):
            answer = live.ask(path, method, json={**NOTE, "study_name": "renamed"})
            assert answer.status_code == 403
            assert "--read-write" in answer.json()["reason"]
        assert live.ask(STUDY).json() == before


def test_read_only_lets_who_has_the_token_in(trained_copy: Path) -> None:
    with serving(trained_copy, token=TOKEN, is_read_only=True) as live:
        assert live.ask("login", "POST", data={"token": TOKEN}).status_code == 303


# --- bounds ---------------------------------------------------------------------------------------


def test_a_body_of_100_mb_is_refused_unread(live: Live) -> None:
    size = 100 * 2**20
    memory = psutil.Process().memory_info().rss
    said = live.exchange(f"POST /{STUDY}/note HTTP/1.1\nContent-Length: {size}")
    assert said.startswith(b"HTTP/1.1 413 ")
    with live.connect() as client:  # of a length that is not said before
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent, part = 0, b"%x\r\n%s\r\n" % (2**20, bytes(2**20))
        try:
            while sent < size:
                client.sendall(part)
                sent += 2**20
        except OSError:  # the server has closed
            pass
    assert sent < size / 2
    assert psutil.Process().memory_info().rss - memory < 64 * 2**20
    assert live.ask(STUDY).status_code == 200
    long = live.exchange(f"GET / HTTP/1.1\nX-Long: {'x' * 100_000}")
    assert long == b"" or long.startswith(b"HTTP/1.0 431 ")


def test_a_thousand_connections_keep_no_one_out(live: Live) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * HELD + 1000:
        pytest.skip(
            f"this process may open {hard} files; both ends of {HELD} connections need more"
        )
    before = live.ask(STUDY).json()
    with ExitStack() as held:
        for number in range(HELD):
            connection = held.enter_context(live.connect())
            if number % 2:
                connection.sendall(b"GET /api/studies HTTP/1.1\r\nHos")
        began = time.monotonic()
        assert live.ask(STUDY).json() == before
        assert time.monotonic() - began < 5
        assert live.ask(f"{STUDY}/note", "PUT", json=live.typed()).status_code == 204
    assert [trial.state for trial in live.study().trials] == [optuna.trial.TrialState.COMPLETE] * 2


def test_connections_that_send_nothing_or_slowly_are_ended(
    trained_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("IDLE_SECONDS", "LOOK_SECONDS", "MAX_REQUEST_SECONDS"):
        monkeypatch.setattr(server_module, bound, 1)
    with serving(trained_copy) as live, live.connect() as idle, live.connect() as slow:
        slow.settimeout(0.1)
        deadline = time.monotonic() + 20
        is_ended = False
        while not is_ended and time.monotonic() < deadline:
            try:
                slow.sendall(b"G")
                is_ended = slow.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                is_ended = True
        assert is_ended
        idle.settimeout(10)
        assert idle.recv(1) == b""
