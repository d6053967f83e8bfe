"""Hides passwords in what is printed or stored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "***"

_KEY = r"[\w-]*(?:pass(?!file)|pwd|secret|token)[\w-]*"  # of a URL's query


def _rules(any_one: str) -> tuple[re.Pattern[str], ...]:
    """Return patterns of what comes before a password, and of the password.

    ``any_one`` is a regular expression of one character of a password.
    """
    return (
        # scheme://user:PASSWORD@: up to the last @, for one that is in the password unencoded.
        # With one slash only, it has been taken for a path.
        re.compile(rf"(:/{{1,2}}[^:/?\s]*:){any_one}*(?=@)"),
        # scheme://user:PASSWORD, with the host forgotten; digits alone are a port.
        re.compile(rf"(://[^:/?\[\s@]*:)(?!\*\*\*@|\d*(?:[\s/?,;:.)'\"]|$)){any_one}+"),
        # ?password=PASSWORD
        re.compile(rf"(\b{_KEY}=)(?:(?!&){any_one})*", re.IGNORECASE),
    )


_IN_TEXT = _rules(r"(?![:;,.)\"']*(?:\s|$))\S")  # a stop behind a URL is not part of it
_IN_ARGUMENT = _rules(r"[\s\S]")


def mask_passwords(text: str, *, is_argument: bool = False) -> str:
    """Replace the passwords of all URLs in a text by ``***``.

    Where it cannot be told where a password ends, more is replaced rather than less. In one
    argument of a command line (``is_argument``) white space does not end a URL.
    """
    for rule in _IN_ARGUMENT if is_argument else _IN_TEXT:
        text = rule.sub(rf"\g<1>{HIDDEN}", text)
    return text


def is_secret(key: str) -> bool:
    """Return whether a key of a URL's query has a password as its value."""
    return re.fullmatch(_KEY, key, re.IGNORECASE) is not None


def hide_words(text: str, words: Iterable[str]) -> str:
    """Replace words, as they are and as a URL has them, where they stand alone, by ``***``."""
    for word in filter(None, words):
        for form in {word, quote(word, safe=""), quote_plus(word)}:
            text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", HIDDEN, text)
    return text
