"""Groups of commands whose modules are imported only when one of their commands is called.

This is the recipe of Click's documentation, "Lazily Loading Subcommands", with one addition: the
line that the group's help shows of each command stands beside its import path, so that the help
imports none of them either.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A Click group that imports its commands when they are called."""

    def __init__(
        self, *arguments: Any, lazy_commands: Mapping[str, tuple[str, str]], **settings: Any
    ) -> None:
        """Make the group.

        Args:
            arguments: As for ``click.Group``.
            lazy_commands: Where each command is, as ``module:attribute``, and the first paragraph
                of its help.
            settings: As for ``click.Group``.
        """
        super().__init__(*arguments, **settings)
        self.lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in alphabetical order."""
        return sorted([*super().list_commands(ctx), *self.lazy_commands])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module; None if there is none of that name."""
        if cmd_name not in self.lazy_commands:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy_commands[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line for each command, importing none."""
        shown = click.Group(
            commands={
                **self.commands,
                **{
                    name: click.Command(name, help=first_paragraph)
                    for name, (_, first_paragraph) in self.lazy_commands.items()
                },
            }
        )
        shown.format_commands(ctx, formatter)
