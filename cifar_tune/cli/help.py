"""Commands and groups of commands whose help is in sections; all of the command line are such."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from cifar_tune.cli.defaults import name_the_file, read_default_map
from cifar_tune.errors import CifarTuneError

OPTION_SECTIONS: Mapping[str, Sequence[str]] = {
    "What to run": (
        *("--profile", "--trials", "--seeds", "--only", "--seed", "--top", "--trial", "--name"),
        *("--against", "--train-on", "--param", "--cancel", "--timeout"),
    ),
    "Protocol": ("--epochs", "--set"),
    "Machine": ("--device", "--workers", "--per-gpu", "--slots", "--precision"),
    "Files": ("--storage", "--data-dir"),
    "Server": ("--host", "--port", "--token", "--read-only", "--open"),
    "Output": (
        *("--state", "--sort", "--limit"),
        *("--from", "--out", "--overwrite", "--onnx", "--figures", "--figure-format", "--check"),
        *("--log", "--json", "--csv", "--quiet", "--yes", "--help"),
    ),
}
"""Sections of options in the order of a help, by the first name of each option."""
FEW_OPTIONS = 6
"""So many options stand in one list."""
_OTHER = "Options"
_COLUMN = 30
"""Widest first column of a list, as Click has it."""

Row = tuple[str, str]


class Command(click.Command):
    """A command whose help lists many options in sections.

    Attributes:
        sections: Sections by option, where they are others than those of ``OPTION_SECTIONS``.
        waits_for: What a terminal shows at once, until the command has something to print.
    """

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, str] | None = None,
        waits_for: str = "Reading the study",
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self.sections = dict(sections or {})
        self.waits_for = waits_for

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse arguments; what is not given is as the current folder has it."""
        is_run = not ({"-h", "--help"} & set(args) or extra.get("resilient_parsing"))
        if parent is not None and is_run:
            extra.setdefault("default_map", read_default_map(parent))
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, which loads and reads for a while before it prints anything.

        What is wrong with a default is said of its file.
        """
        from cifar_tune.cli.console import waiting_for_command

        try:
            with waiting_for_command(self.waits_for, ctx.params):
                return super().invoke(ctx)
        except CifarTuneError as error:
            renamed = name_the_file(error, ctx)
            if renamed is error:
                raise
            raise renamed from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, in sections where there are many."""
        own = (title for title in self.sections.values() if title not in OPTION_SECTIONS)
        titles = (_OTHER, *own, *OPTION_SECTIONS)
        rows: dict[str, list[Row]] = {title: [] for title in titles}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                rows[self._section_of(param)].append(record)
        if sum(map(len, rows.values())) <= FEW_OPTIONS:
            rows = {_OTHER: [row for section in rows.values() for row in section]}
        write_sections(formatter, rows)

    def _section_of(self, option: click.Parameter) -> str:
        name = next((name for name in option.opts if name.startswith("--")), "")
        listed = (section for section, names in OPTION_SECTIONS.items() if name in names)
        return self.sections.get(name) or next(listed, _OTHER)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Return a decorator that makes a function a command, as ``click.command`` does."""
    return click.command(name, cls=Command, **settings)


def group(name: str, **settings: Any) -> Callable[[Callable[..., Any]], Group]:
    """Return a decorator that makes a function a group, as ``click.group`` does."""
    return click.group(name, cls=Group, **settings)


def write_sections(formatter: click.HelpFormatter, sections: Mapping[str, Sequence[Row]]) -> None:
    """Write lists of definitions under titles, with their columns aligned; none that is empty."""
    width = min(max(map(len, _terms(sections.values())), default=0), _COLUMN)
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl([(term.ljust(width), text) for term, text in rows])


def _terms(lists: Iterable[Sequence[Row]]) -> Iterable[str]:
    terms = (term for rows in lists for term, _ in rows)
    return (term for term in terms if len(term) <= _COLUMN)
