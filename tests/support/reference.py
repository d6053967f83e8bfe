"""Write what the documentation derives from the code: all commands, and all hyperparameters.

python tests/support/reference.py
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
from commands import walk_commands
from places import REPOSITORY

from cifar_tune.config.hyperparameter import Hyperparameter
from cifar_tune.config.trial import HYPERPARAMETERS

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


def commands_page() -> str:
    """Return the page of all commands."""
    found = [(path, command) for path, command in walk_commands() if path]
    contents = [
        f"- [`{' '.join(path)}`](#cifar-tune-{'-'.join(path)}): {_summary(command)}"
        for path, command in found
    ]
    sections = [_describe(path, command) for path, command in found]
    return "\n".join([INTRODUCTION, *contents, "", "\n\n".join(sections), ""])


def _describe(path: tuple[str, ...], command: click.Command) -> str:
    name = f"cifar-tune {' '.join(path)}"
    context = click.Context(command, info_name=name)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"## {name}", f"```text\n{' '.join(usage.split())}\n```", *_paragraphs(command)]
    options = [_describe_option(option, context) for option in _options(command)]
    if options:
        parts.append("\n".join(options))
    if command.epilog:
        parts.append(re.sub(r"(cifar-tune .*)", r"`\1`", " ".join(command.epilog.split())))
    return "\n\n".join(parts)


def _summary(command: click.Command) -> str:
    return next(iter(_paragraphs(command)), "")


def _paragraphs(command: click.Command) -> list[str]:
    text = inspect.cleandoc(command.help or "").replace("\b", "")
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def _options(command: click.Command) -> list[click.Option]:
    return [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]


def _describe_option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None
    return f"- `{record[0]}`: {' '.join(record[1].split())}"


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
