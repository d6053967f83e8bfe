"""How numbers, durations and names are written for a reader."""

from __future__ import annotations

import textwrap
import unicodedata

LINE_COLUMNS = 76
"""Most columns of a line of text: it fits into a terminal of 80."""
FIELD_COLUMNS = 11
"""Columns of the name of a field, before its text."""


def format_percent(fraction: float, digits: int = 1) -> str:
    """Return a fraction as a percentage: ``62.5 %``."""
    return f"{100 * fraction:.{digits}f} %"


def format_accuracy(fraction: float | None) -> str:
    """Return a fraction as a percentage, or a dash for None."""
    return "-" if fraction is None else format_percent(fraction)


def format_points(fraction: float, digits: int = 1) -> str:
    """Return a difference of two fractions with its sign: ``+1.3 points``."""
    return f"{100 * fraction:+.{digits}f} points".replace("-", "−")  # noqa: RUF001  a minus sign


def format_count(number: int, noun: str) -> str:
    """Return a number of things: ``1 trial``, ``2 trials``, ``1,200 trials``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def format_times(number: int) -> str:
    """Return how often something happens: ``once``, ``2 times``."""
    return "once" if number == 1 else f"{number:,} times"


def format_duration(seconds: float) -> str:
    """Return a time in two units: ``42 s``, ``6 min 5 s``, ``3 h 20 min``, ``2 days 4 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} days {whole % 86_400 // 3600} h"


def format_clock(seconds: float) -> str:
    """Return a time that is still running: ``0:07``, ``12:05``, ``1:02:03``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def wrap_text(text: str) -> str:
    """Return a text in lines that break between words only."""
    return textwrap.fill(text, LINE_COLUMNS, break_long_words=False, break_on_hyphens=False)


def format_field(name: str, text: str) -> str:
    """Return ``name  text``, in lines that break between words only and are aligned."""
    return textwrap.fill(
        text,
        LINE_COLUMNS,
        initial_indent=name.ljust(FIELD_COLUMNS),
        subsequent_indent=" " * FIELD_COLUMNS,
        break_long_words=False,
        break_on_hyphens=False,
    )


def printable(name: object) -> str:
    """Return a name, escaped if it has line breaks, control characters or broken Unicode."""
    text = str(name)
    return text if text.isprintable() else ascii(text)


def escape_controls(text: str) -> str:
    """Return a text as a terminal may be given it, lines and all, whoever wrote it.

    Escape sequences, other control characters, marks that turn the direction of writing and broken
    Unicode are written as their codes.
    """
    if text.isprintable():
        return text
    return "".join(map(_escape, text))


def _escape(character: str) -> str:
    is_plain = character.isprintable() or character in "\n\t"
    if is_plain or unicodedata.category(character) == "Zs":  # spaces of every width
        return character
    return ascii(character)[1:-1]
