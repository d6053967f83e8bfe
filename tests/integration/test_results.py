"""RESULTS.md says what the exported studies say, and nothing else."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from command_line import Cli
from places import REPOSITORY, TEST_DATA

from cifar_tune.cli.app import app

ROOT = REPOSITORY
EVIDENCE = TEST_DATA / "results"
TEMPLATE = EVIDENCE / "RESULTS.md.j2"
FIGURES = ROOT / "docs" / "pictures" / "results"
NOT_MEASURED = (
    r"ResNet-\d+|CIFAR-10|\d+ px|95 %|[Pp]arts? \d(?: and \d)?|H100|layer\d|bf16|T_max = \d+|"
    r"model-[ab]|seed=\d+"
)
"""Numbers in the text of the template that no run has measured."""


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "RESULTS.md").read_text(encoding="utf-8")


def test_it_is_what_the_evidence_makes_of_its_template(cli: Cli, text: str) -> None:
    exported = sorted(map(str, EVIDENCE.glob("*.json")))
    answer = cli("study", "import", *exported, "--storage", "results.db")
    assert answer.code == 0, answer.err
    # Figures are compared by the data that they show: for that no browser is needed.
    where = (
        "--out",
        str(ROOT / "RESULTS.md"),
        "--figures",
        str(FIGURES),
        "--storage",
        "results.db",
    )
    answer = cli("report", str(TEMPLATE), *where, "--check")
    assert answer.code == 0, answer.err
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert {path.name for path in FIGURES.iterdir()} == {Path(link).name for link in shown}


def test_no_number_of_its_text_is_typed_by_hand() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    words = re.sub(
        r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|```.*?```|`[^`]*`|\]\([^)]*\)", "", template, flags=re.S
    )
    left = re.findall(r".{0,20}\d.{0,20}", re.sub(NOT_MEASURED, "", words))
    assert left == []


def test_its_commands_are_commands(text: str) -> None:
    commands = re.findall(r"^cifar-tune .+$", text, flags=re.M)
    assert len(commands) >= 3
    for line in commands:
        arguments = shlex.split(line, comments=True)[1:]
        command: click.Command | None = app
        while arguments and isinstance(command, click.Group):
            command = command.get_command(click.Context(command), arguments.pop(0))
        assert command is not None
        command.make_context("cifar-tune", arguments)  # raises where an option is not known
