"""Who may reach the dashboard, and whether they may change anything."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field

from cifar_tune.errors import InputError

TOKEN_CHARACTERS_LEAST = 16
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """What the guard of a server goes by.

    Attributes:
        host: that is listened on, a name or an address.
        token: that a request must bring; without one, whoever reaches ``host`` is let in.
        is_made: whether the token was made here, and is to be shown once.
        is_read_only: whether every request that would change something is refused.
    """

    host: str
    token: str | None = field(repr=False)
    is_made: bool
    is_read_only: bool

    def is_token(self, given: str) -> bool:
        """Whether a text is the token, in a time that does not depend on what it is."""
        return self.token is not None and hmac.compare_digest(_bytes(given), _bytes(self.token))

    def cookie(self) -> str:
        """What a browser that has shown the token is given in its stead."""
        key = _bytes(self.token or "")
        return hmac.new(key, b"cifar-tune dashboard", hashlib.sha256).hexdigest()

    def is_cookie(self, given: str) -> bool:
        """Whether a text is that cookie."""
        return self.token is not None and hmac.compare_digest(_bytes(given), _bytes(self.cookie()))


def choose_access(host: str, token: str | None, is_read_only: bool | None) -> Access:
    """Decide on access from what was asked for.

    Args:
        token: None has one made, unless ``host`` is this machine's own.
        is_read_only: None says no for this machine's own, else yes.

    Raises:
        InputError: the token is too short.
    """
    if token is not None and len(token) < TOKEN_CHARACTERS_LEAST:
        raise InputError(
            f"--token: has {len(token)} characters, expected at least {TOKEN_CHARACTERS_LEAST}; "
            "without --token one is made"
        )
    is_open = not is_loopback(host)
    is_made = token is None and is_open
    if is_made:
        token = secrets.token_urlsafe(24)
    return Access(host, token, is_made, is_open if is_read_only is None else is_read_only)


def is_loopback(host: str) -> bool:
    """Whether a name or address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
