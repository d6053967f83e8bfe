"""Answers of this server's own."""

from __future__ import annotations

import json
from http import HTTPStatus

from bottle import HTTPResponse


def refuse(status: HTTPStatus, reason: str) -> HTTPResponse:
    """Return an answer that says why not, in the form that optuna-dashboard's pages show."""
    return HTTPResponse(json.dumps({"reason": reason}), status, Content_Type="application/json")
