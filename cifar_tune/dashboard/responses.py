"""What this server answers by itself, and how it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """An answer to a request, whole.

    Attributes:
        headers: without Content-Length.
    """

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def send(self, start_response: StartResponse, exc_info: Any = None) -> Iterable[bytes]:
        """Begin it; what a WSGI application returns.

        Args:
            exc_info: of the error, if there was one, that it is sent for.
        """
        length = ("Content-Length", str(len(self.body)))
        start_response(status_line(self.status), [*self.headers, length], exc_info)
        return [self.body]


def status_line(status: HTTPStatus) -> str:
    """As WSGI has it, e.g. ``404 Not Found``."""
    return f"{status.value} {status.phrase}"


def answer_json(status: HTTPStatus, record: object) -> Answer:
    """An answer that programs read."""
    return Answer(status, (("Content-Type", "application/json"),), json.dumps(record).encode())


def refuse(status: HTTPStatus, reason: str) -> Answer:
    """An answer that says why not, in the form that optuna-dashboard's pages show."""
    return answer_json(status, {"reason": reason})


def redirect(place: str, *headers: tuple[str, str]) -> Answer:
    """Send the browser to another address of this server.

    Args:
        place: path and query, encoded.
    """
    return Answer(HTTPStatus.SEE_OTHER, (("Location", place), *headers))
