"""Every command that names a study understands it in the same way."""

from __future__ import annotations

import click
import pytest
from command_line import Cli
from commands import Path, walk_commands

from cifar_tune.cli.options import gather, study_options
from cifar_tune.errors import InputError
from cifar_tune.search.preparation import MachineOptions
from cifar_tune.storage.selector import StudySelector

STUDY_COMMANDS = {
    path: command
    for path, command in walk_commands()
    if {"name", "profile", "epochs", "settings", "storage"} <= {one.name for one in command.params}
}
each_study_command = pytest.mark.parametrize("path", list(STUDY_COMMANDS), ids=" ".join)


def call(cli: Cli, path: Path, name: str, *options: str) -> tuple[int, str]:
    """Call a command with what it requires besides a study; the exit code and the message."""
    required: list[str] = []
    for parameter in STUDY_COMMANDS[path].params:
        if parameter.required and parameter.name != "name":
            is_option = isinstance(parameter, click.Option)
            required += [parameter.opts[0], "made"] if is_option else ["0"]
    answer = cli(*path, name, *required, *options)
    return answer.code, answer.err


def test_the_commands_are_found() -> None:
    assert ("study", "run") in STUDY_COMMANDS
    assert len(STUDY_COMMANDS) > 12


@each_study_command
def test_an_unknown_study_is_refused(cli: Cli, path: Path) -> None:
    assert call(cli, path, "dropuot") == call(cli, ("study", "show"), "dropuot")
    code, message = call(cli, path, "dropuot")
    assert code == 2
    assert "dropuot" in message


@each_study_command
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--profile", "slow"), "slow"),
        (("--profile", "quick", "--set", "epoch=3"), "did you mean epochs?"),
    ],
    ids=["profile", "key"],
)
def test_what_is_unknown_is_refused(
    cli: Cli, path: Path, options: tuple[str, ...], reason: str
) -> None:
    assert call(cli, path, "dropout", *options) == call(cli, ("study", "show"), "dropout", *options)
    code, message = call(cli, path, "dropout", *options)
    assert code == 2
    assert reason in message


@each_study_command
def test_an_override_without_a_value_is_refused(cli: Cli, path: Path) -> None:
    code, message = call(cli, path, "dropout", "--set", "epochs")
    assert code == 2
    assert message == call(cli, ("study", "show"), "dropout", "--set", "epochs")[1]


def run(command: click.Command, *arguments: str) -> object:
    """Return what a command returns."""
    return command.main(list(arguments), standalone_mode=False)


def test_a_command_receives_its_study_as_one_object() -> None:
    @click.command()
    @study_options("profile", "epochs", "set", "storage", "json")
    def command(study: StudySelector, as_json: bool) -> tuple[StudySelector, bool]:
        return study, as_json

    assert run(command, "joint") == (StudySelector("joint"), False)
    options = ("--profile", "quick", "--set", "batch_size=64", "--epochs", "2", "--json")
    overrides = {"batch_size": 64, "epochs": 2}
    wanted = StudySelector("joint", "quick", overrides, "a.db")
    assert run(command, "joint", *options, "--storage", "a.db") == (wanted, True)
    with pytest.raises(InputError, match="--set batch_size"):
        run(command, "joint", "--set", "batch_size")


def test_options_are_gathered_into_a_record_and_others_are_left() -> None:
    @click.command()
    @click.option("--device")
    @click.option("--timeout")
    @click.option("--other")
    @gather("machine", MachineOptions)
    def command(machine: MachineOptions, other: str) -> tuple[MachineOptions, str]:
        return machine, other

    arguments = ("--device", "cpu", "--other", "x")
    assert run(command, *arguments) == (MachineOptions(device="cpu"), "x")
