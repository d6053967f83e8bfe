"""Which artifacts the dashboard serves, takes and removes."""

from __future__ import annotations

import base64
import json
import os
import uuid

from dashboard_client import STUDY, Live, make_picture
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

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
