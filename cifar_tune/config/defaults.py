"""Defaults of options that a folder has: ``cifar-tune.toml``, or a table of ``pyproject.toml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from cifar_tune.config.faults import schema_faults
from cifar_tune.config.space import Strict
from cifar_tune.config.study_file import parse_toml
from cifar_tune.errors import InputError
from cifar_tune.files import read_text
from cifar_tune.wording import printable

DEFAULTS_FILE = Path("cifar-tune.toml")
PROJECT_FILE = Path("pyproject.toml")
TABLE = "cifar-tune"
"""The table of ``PROJECT_FILE`` under ``tool``."""


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise PydanticCustomError("form", "{expected}", {"expected": expected})
        return text

    return AfterValidator(check)


_Text = Annotated[str, _matching(r"[^\x00-\x1f]+", "text on one line")]
_Device = Annotated[str, _matching(r"auto|cpu|mps|cuda(:[0-9]+)?", "auto, cpu, mps or cuda:N")]
_Workers = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    _matching(r"auto|inline|ray(:.+)?|[1-9][0-9]*", "a number, auto, inline or ray[:ADDRESS]"),
]
_Precision = Annotated[str, _matching("auto|fp32|bf16", "auto, fp32 or bf16")]


class Defaults(Strict):
    """What a folder may say; the keys are the names of options with underscores."""

    storage: _Text | None = None
    data_dir: _Text | None = None
    profile: _Text | None = None
    device: _Device | None = None
    workers: _Workers | None = None
    per_gpu: Annotated[int, Field(ge=1)] | None = None
    slots: Annotated[int, Field(ge=1, le=16)] | None = None
    precision: _Precision | None = None
    quiet: bool | None = None
    host: _Text | None = None
    port: Annotated[int, Field(ge=0, le=65535)] | None = None


@dataclass(frozen=True)
class FolderDefaults:
    """The defaults that a file has, and where they stand in words."""

    where: str
    values: Mapping[str, Any]


def read_defaults() -> FolderDefaults | None:
    """Return the defaults of the current folder; None where no file has any.

    ``cifar-tune.toml`` counts, or where there is none the table of ``pyproject.toml``.

    Raises:
        InputError: A file cannot be read, or a key or a value in it is wrong.
    """
    if DEFAULTS_FILE.exists():
        return _check(str(DEFAULTS_FILE), _read(DEFAULTS_FILE))
    if PROJECT_FILE.exists() and TABLE in _read_text(PROJECT_FILE):
        tools = _read(PROJECT_FILE).get("tool")
        table = tools.get(TABLE) if isinstance(tools, dict) else None
        if table is not None:
            return _check(f"{PROJECT_FILE}: tool.{TABLE}", table)
    return None


def _check(where: str, table: Any) -> FolderDefaults:
    faults = schema_faults(Defaults, table)
    if faults:
        raise InputError("\n".join(f"{where}: {fault}" for fault in faults))
    values = Defaults.model_validate(table).given()
    if "data_dir" in values:
        try:
            values["data_dir"] = str(Path(values["data_dir"]).expanduser())
        except RuntimeError as error:
            shown = printable(values["data_dir"])
            expected = "expected a folder; there is no such home folder"
            raise InputError(f"{where}: data_dir = {shown}: {expected}") from error
    return FolderDefaults(where, values)


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(_read_text(path))
    except ValueError as error:
        raise InputError(f"{path}: is not TOML: {error}") from error


def _read_text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error.reason}") from error
