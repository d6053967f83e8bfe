"""Files of trials and studies: which kinds are taken, and how they are served.

optuna-dashboard serves an artifact as whatever its metadata says, also as a page of this server.
So these addresses are served here: by the extension of the file's name, and never as a page.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from bottle import HTTPError, HTTPResponse, request, static_file
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage

from cifar_tune.dashboard.access import refuse
from cifar_tune.storage.optuna_private import ARTIFACT_KEY_PREFIX

CONTENT_TYPES = {
    ".png": "image/png",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".csv": "text/csv; charset=utf-8",
    ".safetensors": "application/octet-stream",
}
"""The kinds of files that are taken and served, by extension."""
MAX_NAME_LENGTH = 200
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ADDRESS = re.compile(rf"(?P<study>\d{{1,9}})(?:/(?P<trial>\d{{1,9}}))?/(?P<id>{_UUID})")
_PNG_BEGINS = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, max-age=86400",  # what has an id does not change
}
_EXPECTED = f"expected a file name that ends in {', '.join(CONTENT_TYPES)}"


class ArtifactFolder(FileSystemArtifactStore):
    """Optuna's folder of artifacts, made by the first that is written.

    An artifact that is missing does not keep its study from being deleted.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an artifact, into a folder that is made where there is none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        super().write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact, if it is there."""
        with suppress(ArtifactNotFound):
            super().remove(artifact_id)


def serve_artifact(storage: BaseStorage, folder: Path, address: str) -> HTTPResponse:
    """Answer a request for an artifact, of which ``address`` follows ``/artifacts/``."""
    parts = _ADDRESS.fullmatch(address)
    record = _find_record(storage, parts) if parts else None
    if parts is None or record is None:
        return refuse(HTTPStatus.NOT_FOUND, "no such artifact")
    content_type = _content_type(str(record.get("filename")))
    if content_type is None:
        reason = f"this kind of file is not served; {_EXPECTED}"
        return refuse(HTTPStatus.FORBIDDEN, reason)
    answer = static_file(parts["id"], folder, mimetype=content_type, headers=_HEADERS)
    if isinstance(answer, HTTPError):
        return refuse(HTTPStatus.NOT_FOUND, "no such artifact")
    return answer


def _find_record(storage: BaseStorage, address: re.Match[str]) -> Mapping[str, Any] | None:
    """Return the metadata of an artifact; None for one that was deleted."""
    try:
        if address["trial"] is None:
            attributes = storage.get_study_system_attrs(int(address["study"]))
        else:
            attributes = storage.get_trial_system_attrs(int(address["trial"]))
    except KeyError:
        return None
    record = json.loads(attributes.get(f"{ARTIFACT_KEY_PREFIX}{address['id']}", "null"))
    return record if isinstance(record, dict) else None


def _content_type(name: str) -> str | None:
    return CONTENT_TYPES.get(PurePosixPath(name).suffix.lower())


def check_upload() -> None:
    """Look at an artifact that is sent, a JSON object with ``filename`` and ``file``, a data URL.

    The body is replaced by one that holds just these two, so that what is stored is what was looked
    at.

    Raises:
        HTTPResponse: It is refused.
    """
    length = int(request.environ.get("CONTENT_LENGTH") or 0)
    try:
        sent = json.loads(request["wsgi.input"].read(length))
        name, uri = sent["filename"], sent["file"]
        head, comma, encoded = uri.partition(",")
        content = base64.b64decode(encoded, validate=True)
        is_data_url = head.startswith("data:") and head.endswith(";base64") and bool(comma)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_data_url = False
    if not is_data_url:
        reason = "expected a JSON object with `filename` and `file`, a data URL in base64"
        raise refuse(HTTPStatus.BAD_REQUEST, reason)
    fault = _find_fault(name, content)
    if fault is not None:
        raise refuse(HTTPStatus.BAD_REQUEST, fault)
    checked = f"data:{_content_type(name)};base64,{base64.b64encode(content).decode()}"
    body = json.dumps({"filename": name, "file": checked}).encode()
    request["wsgi.input"], request["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))


def _find_fault(name: object, content: bytes) -> str | None:
    """Return what is wrong with a file that is sent, if anything."""
    if not isinstance(name, str) or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        return f"`filename`: expected up to {MAX_NAME_LENGTH} printable characters"
    if re.search(r"[/\\:]", name) or name.startswith("."):
        return f"`filename` {name}: expected a name without a folder"
    if _content_type(name) is None:
        return f"`filename` {name}: {_EXPECTED}"
    if name.lower().endswith(".png") and not content.startswith(_PNG_BEGINS):
        return f"`filename` {name}: the file is not a PNG"
    return None
