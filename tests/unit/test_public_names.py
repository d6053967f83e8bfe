"""The public names: imported late, typed and documented."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import typing
from typing import Any

import pytest

import cifar_tune as ct

NAMES = [name for name in ct.__all__ if name != "__version__"]
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(ct, name))]
RAISE_NOTHING = {"list_study_files"}
HEAVY = ("torch", "optuna", "pydantic", "pandas", "numpy")


def test_the_import_loads_nothing_heavy() -> None:
    code = f"import sys, cifar_tune; dir(cifar_tune); print(set({HEAVY}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_study_files_are_read_without_torch_and_optuna() -> None:
    code = (
        "import sys, cifar_tune as ct; ct.load_study_file('dropout', profile='quick');"
        "ct.CifarTuneError; print({'torch', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_name_is_there_and_listed() -> None:
    assert set(ct.__all__) <= set(dir(ct))
    assert ct.__all__ == sorted(ct.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'run_studies'"):
        getattr(ct, "run_studies")  # noqa: B009


def test_type_checkers_see_every_name() -> None:
    source = inspect.getsource(ct)
    (block,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    modules = {name: f"cifar_tune.{module}" for name, module in ct._MODULES.items()}
    assert imported == modules
    assert modules.keys() == set(NAMES)


def sections(item: Any) -> set[str]:
    doc = inspect.getdoc(item) or ""
    return set(re.findall(r"^(\w+):$", doc, re.M))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_typed_and_documented(name: str) -> None:
    function = getattr(ct, name)
    parameters = inspect.signature(function).parameters
    wanted = {"Returns", "Example"}
    wanted |= {"Args"} if parameters else set()
    wanted |= set() if name in RAISE_NOTHING else {"Raises"}
    assert sections(function) >= wanted
    assert function.__annotations__.keys() == {*parameters, "return"}
    doc = inspect.getdoc(function) or ""
    documented = re.findall(
        r"^    \**(\w+): ", doc.partition("Args:")[2].partition("\n\n")[0], re.M
    )
    assert documented == list(parameters)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FUNCTIONS])
def test_classes_are_documented(name: str) -> None:
    found = getattr(ct, name)
    assert "Example" in sections(found)
    if name in ("Objective",):
        assert "Args" in sections(found)
    for key, method in vars(found).items():
        if inspect.isfunction(method) and not key.startswith("_"):
            assert inspect.getdoc(method)
            assert "return" in method.__annotations__


@pytest.mark.parametrize("name", NAMES)
def test_examples_name_what_is_there(name: str) -> None:
    doc = inspect.getdoc(getattr(ct, name)) or ""
    example = doc.partition("Example:\n")[2]
    lines = re.findall(r"^    (?:>>>|\.\.\.) ?(.*)$", example, re.M)
    assert lines
    tree = ast.parse("\n".join(lines))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "ct"
    }
    assert used <= set(ct.__all__)


def test_settings_of_a_machine_are_those_of_the_command_line() -> None:
    from cifar_tune.api.runs import RunSettings, StudySettings
    from cifar_tune.search.preparation import MachineOptions

    settings = {*typing.get_type_hints(StudySettings), "timeout", "workers"}
    options = {*MachineOptions.__dataclass_fields__, "data_dir"} - {"root"}
    assert settings == options
    retraining = RunSettings.__annotations__.keys() - {"callbacks"}
    assert retraining == settings - {"precision"}  # which is that of the study


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'gpu'"):
        ct.run_study("dropout", gpu=1)  # type: ignore[call-arg]
