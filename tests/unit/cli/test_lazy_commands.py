"""The help of the whole says of each command what its own help begins with."""

from __future__ import annotations

import click
import pytest

from cifar_tune.cli.app import COMMANDS, app

LINES = {name: text for section in COMMANDS.values() for name, (_, text) in section.items()}


@pytest.mark.parametrize("name", LINES)
def test_the_line_of_a_command_is_the_first_paragraph_of_its_help(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.name == name
    assert command.help is not None
    assert " ".join(command.help.split("\n\n")[0].split()) == LINES[name]


def test_an_unknown_command_is_none() -> None:
    assert app.get_command(click.Context(app), "nothing") is None
