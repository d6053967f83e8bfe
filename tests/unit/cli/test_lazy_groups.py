"""Groups show the commands that they import only when called."""

from __future__ import annotations

import click
import pytest
from commands import Path, walk_commands

from cifar_tune.cli.lazy_group import LazyGroup

GROUPS = {path: group for path, group in walk_commands() if isinstance(group, LazyGroup)}


@pytest.mark.parametrize("path", list(GROUPS), ids=lambda path: " ".join(path) or "cifar-tune")
def test_the_line_of_a_command_is_the_first_paragraph_of_its_help(path: Path) -> None:
    group = GROUPS[path]
    for name, (_, first_paragraph) in group.lazy_commands.items():
        command = group.get_command(click.Context(group), name)
        assert command is not None
        assert command.name == name
        assert command.help is not None
        assert " ".join(command.help.split("\n\n")[0].split()) == first_paragraph


def test_an_unknown_command_is_none() -> None:
    group = GROUPS[()]
    assert group.get_command(click.Context(group), "nothing") is None
