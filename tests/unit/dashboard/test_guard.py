"""Whom the dashboard lets in, what it refuses, and that what is refused changes nothing."""

from __future__ import annotations

import base64
import json
import os
import resource
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import optuna
import psutil
import pytest
from dashboard_client import STUDY, TOKEN, Live, make_picture, serving
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

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


# --- artifacts ------------------------------------------------------------------------------------


def attach(live: Live, name: str, content: bytes) -> str:
    """Store an artifact of the study as a program does; its path."""
    file = live.database.with_name(name)
    file.write_bytes(content)
    live.artifacts.mkdir(exist_ok=True)
    store = FileSystemArtifactStore(live.artifacts)
    study = live.study()
    artifact_id = upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=study)
    return f"artifacts/1/{artifact_id}"


def test_artifacts_are_served_as_what_their_names_say(live: Live) -> None:
    kinds = {"a.png": "image/png", "b.csv": "text/csv; charset=utf-8", "c.JSON": "application/json"}
    kinds |= {"d.jsonl": "application/jsonl", "e.safetensors": "application/octet-stream"}
    for name, kind in kinds.items():
        content = f"<script>alert('{name}')</script>".encode()
        path = attach(live, name, content)
        answer = live.ask(path)
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert live.ask(path, "HEAD").headers["Content-Length"] == str(len(content))


def test_other_kinds_are_not_served(live: Live) -> None:
    for name in ("a.html", "a.svg", "a.png.html", "a.pdf", "png"):
        answer = live.ask(attach(live, name, b"<svg onload=alert(1)>"))
        assert answer.status_code == 403
        assert b"svg" not in answer.content


def test_artifacts_that_are_not_there(live: Live) -> None:
    unknown = str(uuid.uuid4())
    for path in (f"1/{unknown}", f"1/1/{unknown}", f"999/{unknown}", f"1/999/{unknown}", "1/abc"):
        assert live.ask(f"artifacts/{path}").status_code == 404
    path = attach(live, "a.png", make_picture())
    (live.artifacts / path.rpartition("/")[2]).unlink()
    assert live.ask(path).status_code == 404
    assert live.ask(STUDY, "DELETE", json={}).status_code == 204


def test_links_and_special_files_are_not_served(live: Live) -> None:
    secret = live.database.with_name("secret.png")
    secret.write_bytes(make_picture())
    path = attach(live, "a.png", make_picture())
    file = live.artifacts / path.rpartition("/")[2]
    file.unlink()
    file.symlink_to(secret)
    assert live.ask(path).status_code == 404
    file.unlink()
    os.mkfifo(file)
    for _ in range(6):  # more than the server has threads
        assert live.ask(path).status_code == 404
    file.unlink()
    file.write_bytes(make_picture())
    assert live.ask(path).status_code == 200
    elsewhere = live.artifacts.rename(live.database.with_name("elsewhere"))
    live.artifacts.symlink_to(elsewhere)
    assert live.ask(path).status_code == 404
    assert upload(live, "a.png", make_picture())[0] == 500
    assert len(list(elsewhere.iterdir())) == 1


def test_an_artifact_of_an_ended_trial_is_not_removed(live: Live) -> None:
    study = live.ask(STUDY).json()
    live.artifacts.mkdir(exist_ok=True)
    ended, other = (trial["trial_id"] for trial in study["trials"])
    running = live.study().ask()
    status, text = upload(live, "a.png", make_picture(), f"1/{running._trial_id}")
    assert status == 201
    artifact_id = json.loads(text)["artifact_id"]
    place = live.artifacts / artifact_id
    for number in (ended, other, 999, 10**30):
        for study_id in (1, 2):
            path = f"{study_id}/{number}/{artifact_id}"
            assert live.ask(f"api/artifacts/{path}", "DELETE", json={}).status_code == 404
            assert live.ask(f"artifacts/{path}").status_code == 404
    live.study().tell(running.number, 0.5)
    path = f"1/{running._trial_id}/{artifact_id}"
    refused = live.ask(f"api/artifacts/{path}", "DELETE", json={})
    assert (refused.status_code, "has ended" in refused.json()["reason"]) == (400, True)
    assert place.read_bytes() == make_picture()
    assert live.ask(f"artifacts/{path}").status_code == 200


def test_an_artifact_that_may_be_removed_is(live: Live) -> None:
    running = live.study().ask()
    for owner in (f"1/{running._trial_id}", "1"):
        _, text = upload(live, "a.png", make_picture(), owner)
        path = f"{owner}/{json.loads(text)['artifact_id']}"
        assert live.ask(f"api/artifacts/{path}", "DELETE", json={}).status_code == 204
        assert live.ask(f"artifacts/{path}").status_code == 404
        assert live.ask(f"api/artifacts/{path}", "DELETE", json={}).status_code == 404
    assert list(live.artifacts.iterdir()) == []


def test_a_study_s_end_removes_no_file_elsewhere(live: Live) -> None:
    attach(live, "a.png", make_picture())
    kept = live.database.with_name("kept.png")
    kept.write_bytes(make_picture())
    record = {"artifact_id": "../kept.png", "filename": "kept.png", "mimetype": "image/png"}
    study = live.study()
    storage = study._storage
    storage.set_study_system_attr(study._study_id, "artifacts:../kept.png", json.dumps(record))
    assert live.ask(STUDY, "DELETE", json={}).status_code == 204
    assert list(live.artifacts.iterdir()) == []
    assert kept.exists()


def test_an_upload_for_what_is_not_there_leaves_no_file(live: Live) -> None:
    for owner in ("999", "1/999", f"999/{live.study().ask()._trial_id}", f"1/{10**30}"):
        assert upload(live, "a.png", make_picture(), owner)[0] == 404
    assert not live.artifacts.exists()


def test_no_path_climbs_out(live: Live) -> None:
    for path in (
        "/static/../index.html",
        "/static/%2e%2e/index.html",
        "/static/..%2findex.html",
        "/static/..%5cindex.html",
        "/static/%252e%252e/index.html",
        "/static/bundle.js%00.png",
        "/artifacts/1/../../studies.db",
        "/artifacts/1/..%2F..%2Fstudies.db",
        "/artifacts/1/%2e%2e%2f%2e%2e%2fstudies.db",
        "/artifacts/1//etc/passwd",
    ):
        answer = live.exchange(f"GET {path} HTTP/1.1")
        assert answer.startswith(b"HTTP/1.1 404 "), path
        assert b"SQLite" not in answer


def upload(live: Live, name: object, content: bytes, path: str = "1") -> tuple[int, str]:
    """Send an artifact as the dashboard's page does; the status and the answer's text."""
    file = f"data:text/html;base64,{base64.b64encode(content).decode()}"
    record = {"file": file, "filename": name}
    answer = live.ask(f"api/artifacts/{path}", "POST", json=record)
    return answer.status_code, answer.text


def test_an_upload_is_stored_and_served(live: Live) -> None:
    trial = live.study().ask()
    status, text = upload(live, "kurve ä.png", make_picture(), f"1/{trial._trial_id}")
    assert status == 201
    (record,) = json.loads(text)["artifacts"]
    served = live.ask(f"artifacts/1/{trial._trial_id}/{record['artifact_id']}")
    assert served.content == make_picture()
    assert record["mimetype"] == served.headers["Content-Type"] == "image/png"


def test_an_upload_of_another_kind_is_refused(live: Live) -> None:
    for name in (
        "page.html",
        "drawing.svg",
        "x.png.svg",
        "../x.csv",
        "a/b.csv",
        "..\\x.csv",
        "C:x.csv",
        "x.csv\0.png",
        "x\n.csv",
        ".csv",
        "x" * 300 + ".csv",
        "",
        7,
        "not-a-picture.png",
    ):
        status, text = upload(live, name, b"<svg onload=alert(1)>")
        assert status == 400
        assert "filename" in json.loads(text)["reason"]
    assert not live.artifacts.exists()
    assert live.ask(STUDY).json()["artifacts"] == []


def test_an_upload_that_is_none_is_refused(live: Live) -> None:
    for body in (
        b"",
        b"[]",
        b"{",
        b'{"filename": "a.csv"}',
        b'{"filename": "a.csv", "file": "x"}',
        b'{"filename": "a.csv", "file": "data:text/csv;base64,%%%"}',
        b"[" * 100_000,
    ):
        headers = {"Content-Type": "application/json"}
        answer = live.ask("api/artifacts/1", "POST", data=body, headers=headers)
        assert (answer.status_code, "data URL" in answer.json()["reason"]) == (400, True)


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
