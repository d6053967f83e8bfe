"""The command line answers at once, and modules import only what they may."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from command_line import Cli

import cifar_tune
from cifar_tune.cli.app import app

PACKAGE = Path(cifar_tune.__file__).parent


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", list(commands(app)), ids=" ".join)
def test_every_command_has_help_with_an_example(cli: Cli, command: tuple[str, ...]) -> None:
    answer = cli(*command, "--help")
    assert answer.code == 0
    assert "Example: cifar-tune" in answer.out


def test_help_imports_neither_torch_nor_optuna() -> None:
    script = (
        "import sys\n"
        "from cifar_tune.cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'optuna', 'numpy', 'pydantic', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    for command in ([], ["study"], ["study", "run"], ["data", "import"], ["weights"], ["trial"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *command, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_no_module_imports_a_pickle() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not {"pickle", "cPickle", "dill"} & imported(path)


@pytest.mark.parametrize(
    "module",
    [
        "search.runner",
        "cli.study",
        "cli.trial",
        "cli.best",
        "cli.export",
        "workers.choose",
        "workers.local.pool",
    ],
)
def test_torch_is_a_type_only_where_it_is_named_for_types(module: str) -> None:
    script = f"import sys, cifar_tune.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_version(cli: Cli) -> None:
    assert cifar_tune.__version__ in cli("--version").out
