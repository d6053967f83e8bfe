"""Help fits a terminal of 80 columns: in sections where it is long, with no line cut off."""

from __future__ import annotations

import click
import pytest
from command_line import Cli
from commands import Path, walk_commands

from cifar_tune.cli.app import COMMANDS
from cifar_tune.cli.help import FEW_OPTIONS, OPTION_SECTIONS, Command

ALL = dict(walk_commands())


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_line_of_a_help_is_cut_off_or_too_long(cli: Cli, path: Path) -> None:
    lines = cli(*path, "--help").out.splitlines()
    assert [line for line in lines if line.endswith("...") and "Usage" not in line] == []
    assert [line for line in lines if len(line) > 80] == []


def test_a_summary_that_is_too_long_would_be_cut_off() -> None:
    """What the test above looks for is what Click prints."""
    long = click.Command("long", help="Many words " * 20)
    formatter = click.HelpFormatter(width=78)
    group = click.Group(commands={"long": long})
    group.format_commands(click.Context(group), formatter)
    assert formatter.getvalue().rstrip().endswith("...")


def test_commands_are_listed_in_sections(cli: Cli) -> None:
    lines = cli("--help").out.splitlines()
    for title, section in COMMANDS.items():
        start = lines.index(f"{title}:") + 1
        names = [line.split()[0] for line in lines[start : start + len(section)]]
        assert names == list(section)


def test_many_options_are_listed_in_sections(cli: Cli) -> None:
    lines = cli("study", "run", "--help").out.splitlines()
    titles = [line.removesuffix(":") for line in lines if line.endswith(":") and line[0] != " "]
    assert titles == [title for title in OPTION_SECTIONS if title != "Server"]
    protocol, machine = lines.index("Protocol:"), lines.index("Machine:")
    assert any(line.startswith("  --epochs N") for line in lines[protocol:machine])


def test_few_options_are_listed_together(cli: Cli) -> None:
    titles = [line for line in cli("study", "list", "--help").out.splitlines() if line[-1:] == ":"]
    assert titles == ["Options:"]


def test_sections_name_options_that_there_are() -> None:
    """A section of an option that was renamed would stand there for nothing."""
    named = {name for names in OPTION_SECTIONS.values() for name in names} - {"--help"}
    there = {name for command in ALL.values() for one in command.params for name in one.opts}
    assert named <= there


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_options_of_long_lists_stand_in_a_section(path: Path) -> None:
    command = ALL[path]
    if not isinstance(command, Command):
        return
    options = [one for one in command.params if isinstance(one, click.Option)]
    known = {name for names in OPTION_SECTIONS.values() for name in names} | {*command.sections}
    if len(options) + 1 > FEW_OPTIONS:
        assert [one.opts for one in options if not known & {*one.opts}] == []
