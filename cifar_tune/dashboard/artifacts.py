"""Files of trials and studies: which kinds are taken, and how they are served.

optuna-dashboard serves an artifact as whatever its metadata says, also as a page of this server.
So these addresses are served here: by the extension of the file's name, and never as a page.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from bottle import HTTPResponse, request
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage

from cifar_tune.dashboard.access import refuse
from cifar_tune.errors import StorageError
from cifar_tune.files import check_real_folder, is_real_folder, open_regular, replacing
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
_NO_ARTIFACT = "no such artifact"
_LARGEST_ID = 2**31 - 1
_EXPECTED = f"expected a file name that ends in {', '.join(CONTENT_TYPES)}"


class ArtifactFolders:
    """Optuna's store of artifacts, in folders of which the first is written to.

    That is made with the first artifact that is written. Links are not followed. An artifact that
    is missing does not keep its study from being deleted.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    def open_reader(self, artifact_id: str) -> io.BufferedReader:
        """Open an artifact.

        Raises:
            ArtifactNotFound: It is not there, or is no regular file in a real folder.
        """
        if re.fullmatch(_UUID, artifact_id):
            for folder in filter(is_real_folder, self._folders):
                with suppress(OSError):
                    return open_regular(folder / artifact_id, follows_links=False)
        raise ArtifactNotFound(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an artifact.

        Raises:
            StorageError: It cannot be written.
        """
        content = content_body.read()
        check_real_folder(self._folders[0], StorageError)
        with replacing(self._folders[0] / artifact_id, len(content), StorageError) as temporary:
            temporary.write_bytes(content)

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact, if it is there; what a copy of the database may show too stays."""
        # A record of another program may have anything as its id.
        if re.fullmatch(_UUID, artifact_id) and is_real_folder(self._folders[0]):
            (self._folders[0] / artifact_id).unlink(missing_ok=True)


def serve_artifact(storage: BaseStorage, store: ArtifactFolders, address: str) -> HTTPResponse:
    """Answer a request for an artifact, of which ``address`` follows ``/artifacts/``."""
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        return refuse(HTTPStatus.NOT_FOUND, _NO_ARTIFACT)
    trial_id = None if parts["trial"] is None else int(parts["trial"])
    record = _find_record(storage, int(parts["study"]), trial_id, parts["id"])
    if record is None:
        return refuse(HTTPStatus.NOT_FOUND, _NO_ARTIFACT)
    content_type = _content_type(str(record.get("filename")))
    if content_type is None:
        reason = f"this kind of file is not served; {_EXPECTED}"
        return refuse(HTTPStatus.FORBIDDEN, reason)
    try:
        file = store.open_reader(parts["id"])
    except ArtifactNotFound:
        return refuse(HTTPStatus.NOT_FOUND, _NO_ARTIFACT)
    size = str(os.fstat(file.fileno()).st_size)
    about = {**_HEADERS, "Content-Type": content_type, "Content-Length": size}
    return HTTPResponse(file, headers=about)


def check_owner(
    storage: BaseStorage, study_id: int, trial_id: int | None = None, artifact_id: str | None = None
) -> None:
    """Look at an address to which an artifact is sent, or of one that is to be removed.

    Raises:
        HTTPResponse: It is refused: the trial is not the study's, or has ended, or the artifact
            is not theirs. Optuna changes no record of a trial that has ended.
    """
    if not _is_there(storage, study_id, trial_id):
        raise refuse(HTTPStatus.NOT_FOUND, "no such study or trial")
    if artifact_id is None:
        return
    if _find_record(storage, study_id, trial_id, artifact_id) is None:
        raise refuse(HTTPStatus.NOT_FOUND, _NO_ARTIFACT)
    if trial_id is not None and storage.get_trial(trial_id).state.is_finished():
        reason = "the trial has ended, and its files are part of its record; nothing was removed"
        raise refuse(HTTPStatus.BAD_REQUEST, reason)


def _is_there(storage: BaseStorage, study_id: int, trial_id: int | None) -> bool:
    """Return whether there is such a study, and in it such a trial."""
    if max(study_id, trial_id or 0) > _LARGEST_ID:
        return False
    try:
        storage.get_study_name_from_id(study_id)
        if trial_id is None:
            return True
        number = storage.get_trial(trial_id).number
        return storage.get_trial_id_from_study_id_trial_number(study_id, number) == trial_id
    except KeyError:
        return False


def _find_record(
    storage: BaseStorage, study_id: int, trial_id: int | None, artifact_id: str
) -> Mapping[str, Any] | None:
    """Return the metadata of an artifact; None for one that was deleted or is another one's."""
    if not _is_there(storage, study_id, trial_id):
        return None
    if trial_id is None:
        attributes = storage.get_study_system_attrs(study_id)
    else:
        attributes = storage.get_trial_system_attrs(trial_id)
    stored = attributes.get(f"{ARTIFACT_KEY_PREFIX}{artifact_id}", "null")
    try:
        record = json.loads(stored)
    except (TypeError, ValueError, RecursionError):  # another program's
        return None
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
