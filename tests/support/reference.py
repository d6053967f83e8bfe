"""Write what the documentation derives from the code: all commands, and all hyperparameters.

python tests/support/reference.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from commands import walk_commands
from places import REPOSITORY

from cifar_tune.cli.app import app
from cifar_tune.config.hyperparameter import Hyperparameter
from cifar_tune.config.trial import HYPERPARAMETERS

COMMANDS = list(walk_commands())
COMMANDS_PAGE = REPOSITORY / "docs" / "commands.md"
TABLE_PAGE = REPOSITORY / "docs" / "study-files.md"
TABLE = re.compile(r"(?<=<!-- hyperparameters -->\n).*?(?=<!-- end of hyperparameters -->)", re.S)
INTRODUCTION = """\
# Commands

Every command of `cifar-tune` with its options, as `--help` shows them. Common tasks, with examples,
are in [Getting started](getting-started.md). This page is generated from the code by
`python tests/support/reference.py`.
"""


def main() -> None:
    """Write both pages."""
    for path, text in expected_pages().items():
        path.write_text(text, encoding="utf-8")


def expected_pages() -> dict[Path, str]:
    """Return the text of each page that is generated, or has a part that is."""
    page = TABLE_PAGE.read_text(encoding="utf-8")
    table = TABLE.sub(lambda _: f"\n{hyperparameter_table()}\n\n", page)
    return {COMMANDS_PAGE: commands_page(), TABLE_PAGE: table}


# --- commands -----------------------------------------------------------------------------------


class Lists(click.HelpFormatter):
    """A formatter that keeps the lists of a help with their titles, and writes nothing.

    Attributes:
        found: The rows of each list, a term and its text, by title.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[tuple[str, str]]] = {}
        self._title = ""

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Take what is written next as the list of this title."""
        self._title = name
        yield

    def write_dl(
        self, rows: Iterable[tuple[str, str]], _col_max: int = 30, _col_spacing: int = 2
    ) -> None:
        """Keep a list."""
        words = [(term.strip(), " ".join(text.split())) for term, text in rows]
        self.found[self._title] = [row for row in words if "--help" not in row[0]]


def commands_page() -> str:
    """Return the page of all commands, in the order of the help."""
    contents, sections = [], []
    for title, rows in _lists(app, "cifar-tune").items():
        names = [name for name, _ in rows if not name.startswith("-")]
        found = [(path, command) for path, command in COMMANDS if path and path[0] in names]
        found.sort(key=lambda entry: names.index(entry[0][0]))  # stable: a group comes first
        if found:
            links = [_link(path, command) for path, command in found]
            contents.append(f"**{title}**\n\n" + "\n".join(links))
            sections += [_describe(path, command) for path, command in found]
    return "\n\n".join([INTRODUCTION.rstrip(), *contents, *sections]) + "\n"


def _link(path: tuple[str, ...], command: click.Command) -> str:
    name = " ".join(path)
    indent = "  " * (len(path) - 1)
    return f"{indent}- [`{name}`](#cifar-tune-{'-'.join(path)}): {_paragraphs(command)[0]}"


def _describe(path: tuple[str, ...], command: click.Command) -> str:
    name = f"cifar-tune {' '.join(path)}"
    context = click.Context(command, info_name=name)
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    parts = [f"## {name}", f"```text\n{usage}\n```", *_paragraphs(command)]
    lists = {} if isinstance(command, click.Group) else _lists(command, name)
    for title, rows in lists.items():
        options = "\n".join(f"- `{term}`: {text}" for term, text in rows)
        parts += [f"{title}:", options] if rows else []
    if command.epilog:
        parts.append(re.sub(r"(cifar-tune .*)", r"`\1`", " ".join(command.epilog.split())))
    return "\n\n".join(parts)


def _lists(command: click.Command, name: str) -> Mapping[str, list[tuple[str, str]]]:
    lists = Lists()
    command.format_options(click.Context(command, info_name=name), lists)
    return lists.found


def _paragraphs(command: click.Command) -> list[str]:
    text = inspect.cleandoc(command.help or "").replace("\b", "")
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


# --- hyperparameters ----------------------------------------------------------------------------


def hyperparameter_table() -> str:
    """Return the Markdown table of all hyperparameters."""
    lines = ["| key | short name | meaning | values | default |", "|---|---|---|---|---|"]
    for key, declared in HYPERPARAMETERS.items():
        cells = (
            f"`{key}`",
            f"`{declared.short}`" if declared.short else "",
            declared.help,
            _describe_values(declared),
            _describe_default(declared),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _describe_values(declared: Hyperparameter) -> str:
    if declared.choices:
        return " or ".join(f'`"{choice}"`' for choice in declared.choices) + ", not searchable"
    low = f"above {declared.gt:g}" if declared.gt is not None else f"from {declared.ge:g}"
    high = ""
    if declared.lt is not None:
        high = f" to below {declared.lt:g}"
    elif declared.le is not None:
        high = f" to {declared.le:g}"
    return f"{low}{high}" + (", integer" if declared.is_whole else "")


def _describe_default(declared: Hyperparameter) -> str:
    if declared.is_required:
        return "required"
    if declared.default is None:
        return "not set"
    return f'`"{declared.default}"`' if declared.choices else f"{declared.default:g}"


if __name__ == "__main__":
    main()
