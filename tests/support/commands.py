"""The commands of the command line, found by going through its groups."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cifar_tune.cli.app import app

Path = tuple[str, ...]


def walk_commands(
    group: click.Group = app, path: Path = ()
) -> Iterator[tuple[Path, click.Command]]:
    """Yield every group and command with the words that call it, the groups first."""
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from walk_commands(command, (*path, name))
        else:
            yield (*path, name), command
