"""Who may reach the dashboard, whether they may change anything, and how they are refused."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus

from bottle import HTTPResponse

from cifar_tune.errors import InputError

MIN_TOKEN_LENGTH = 16
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """What the guard of a server goes by.

    Attributes:
        host: The name or address that the server listens on.
        token: What a request must bring; without one, whoever reaches ``host`` is let in.
        is_made: Whether the token was made here, and is to be shown once.
        is_read_only: Whether every request that would change something is refused.
    """

    host: str
    token: str | None = field(repr=False)
    is_made: bool
    is_read_only: bool

    def is_token(self, text: str) -> bool:
        """Return whether a text is the token, in a time that does not depend on what it is."""
        return self.token is not None and hmac.compare_digest(_encode(text), _encode(self.token))

    def cookie(self) -> str:
        """Return what a browser that has shown the token is given in its stead."""
        key = _encode(self.token or "")
        return hmac.new(key, b"cifar-tune dashboard", hashlib.sha256).hexdigest()

    def is_cookie(self, text: str) -> bool:
        """Return whether a text is that cookie."""
        return self.token is not None and hmac.compare_digest(_encode(text), _encode(self.cookie()))


def choose_access(host: str, token: str | None, is_read_only: bool | None) -> Access:
    """Decide on access from what was asked for.

    Without a token one is made, unless ``host`` is reached from this machine alone; other machines
    may change nothing, unless ``is_read_only`` says otherwise.

    Raises:
        InputError: The token is too short.
    """
    if token is not None and len(token) < MIN_TOKEN_LENGTH:
        raise InputError(
            f"--token: has {len(token)} characters, expected at least {MIN_TOKEN_LENGTH}; "
            "without --token one is made"
        )
    is_open = not _is_loopback(host)
    is_made = token is None and is_open
    if is_made:
        token = secrets.token_urlsafe(24)
    return Access(host, token, is_made, is_open if is_read_only is None else is_read_only)


def refuse(status: HTTPStatus, reason: str) -> HTTPResponse:
    """Return an answer that says why not, in the form that optuna-dashboard's pages show."""
    return HTTPResponse(json.dumps({"reason": reason}), status, Content_Type="application/json")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
