"""Names of files, as they may stand in a message of one line."""

from __future__ import annotations


def printable(name: object) -> str:
    """A name as text, escaped where it holds line breaks, control characters or broken Unicode."""
    text = str(name)
    return text if text.isprintable() else ascii(text)
