"""The help of the whole says of each command what its own help begins with."""

from __future__ import annotations

import click
import pytest

from cifar_tune.cli.app import COMMANDS, app


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_paragraph_of_its_help(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.name == name
    assert command.help is not None
    _, first_paragraph = COMMANDS[name]
    assert " ".join(command.help.split("\n\n")[0].split()) == first_paragraph


def test_an_unknown_command_is_none() -> None:
    assert app.get_command(click.Context(app), "nothing") is None
