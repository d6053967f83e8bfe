"""The command line answers at once, and modules import only what they may."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from command_line import Cli
from commands import walk_commands

import cifar_tune

PACKAGE = Path(cifar_tune.__file__).parent


COMMANDS = [path for path, _ in walk_commands()]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(cli: Cli, command: tuple[str, ...]) -> None:
    answer = cli(*command, "--help")
    assert answer.code == 0
    assert "Example: cifar-tune" in answer.out


RUN = """\
import sys
from cifar_tune.cli.app import main
def run(*arguments):
    try: main(list(arguments))
    except SystemExit as end: assert not end.code, end.code
"""


def run_script(script: str, *arguments: str) -> None:
    """Run a script that can call ``run(*arguments)``, and let it fail with what it says."""
    command = [sys.executable, "-c", RUN + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_imports_neither_torch_nor_optuna() -> None:
    heavy = {"torch", "optuna", "numpy", "pydantic", "sqlalchemy"}
    run_script(
        f"for command in {COMMANDS}:\n"
        "    run(*command, '--help')\n"
        f"    imported = {heavy} & set(sys.modules)\n"
        "    assert not imported, (command, imported)"
    )


def test_help_of_the_whole_imports_no_command() -> None:
    run_script(
        "run('--help')\n"
        "rooms = {name for name in sys.modules if name.startswith('cifar_tune.')}\n"
        "assert rooms <= {'cifar_tune.errors', 'cifar_tune.cli', 'cifar_tune.cli.app',\n"
        "    'cifar_tune.cli.help', 'cifar_tune.cli.defaults', 'cifar_tune.storage',\n"
        "    'cifar_tune.storage.passwords', 'cifar_tune.wording'}, rooms\n"
        "assert 'rich' not in sys.modules"
    )


@pytest.mark.parametrize("is_stored", [False, True])
def test_study_list_imports_neither_optuna_nor_sqlalchemy(tmp_path: Path, is_stored: bool) -> None:
    storage = tmp_path / "studies.db"
    if is_stored:
        study = optuna.create_study(study_name="dropout:quick", storage=f"sqlite:///{storage}")
        study.ask()
    run_script(
        "run('study', 'list', '--storage', sys.argv[1])\n"
        "heavy = {'torch', 'optuna', 'numpy', 'sqlalchemy', 'psutil'} & set(sys.modules)\n"
        "assert not heavy, heavy",
        str(storage),
    )


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_one_module_alone_imports_a_pickle() -> None:
    pickles = {"pickle", "cPickle", "_pickle", "dill"}
    importers = [path for path in PACKAGE.rglob("*.py") if pickles & imported(path)]
    assert importers == [PACKAGE / "data" / "importing" / "array_pickle.py"]


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
