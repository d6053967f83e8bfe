"""Markdown as optuna-dashboard shows it: that of GitHub, without HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """A text on one line that is shown as it is, whatever is in it."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """A text on one line, in a fixed-width face."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def code_block(lines: Iterable[str]) -> str:
    """Commands, one a line."""
    return "\n".join(["```sh", *lines, "```"])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], centred: int = 0) -> str:
    """A table of Markdown cells.

    Args:
        centred: how many of its last columns are. None is aligned to the right: the page leaves no
            space between columns.
    """

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    marks = ["---"] * (len(columns) - centred) + [":---:"] * centred
    return "\n".join([line(columns), line(marks), *map(line, rows)])
