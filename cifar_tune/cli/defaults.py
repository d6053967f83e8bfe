"""Defaults of options that the current folder has, as Click takes them.

The command line wins over an environment variable, and that wins over a file. Nothing is imported
where no file has any, so that commands begin at once.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cifar_tune.errors import CifarTuneError
from cifar_tune.storage.passwords import mask_passwords

if TYPE_CHECKING:
    from cifar_tune.config.defaults import FolderDefaults

FILES = ("cifar-tune.toml", "pyproject.toml")
_PARAMETERS = {"data_dir": "root", "quiet": "is_quiet"}
"""Names of parameters that are others than the key."""
_VARIABLES = {
    "storage": "CIFAR_TUNE_STORAGE",
    "data_dir": "CIFAR_TUNE_DATA",
    "workers": "CIFAR_TUNE_WORKERS",
    "precision": "CIFAR_TUNE_PRECISION",
}
_READ = "cifar_tune.defaults"
"""Key of a context's ``meta`` with the defaults of the folder."""


def read_default_map(ctx: click.Context) -> dict[str, Any]:
    """Return the defaults of the current folder by parameter, and keep them with a context.

    Raises:
        InputError: A file is wrong.
    """
    if not any(map(os.path.exists, FILES)):
        return {}

    from cifar_tune.config.defaults import read_defaults

    defaults = read_defaults()
    if defaults is None:
        return {}
    ctx.meta[_READ] = defaults
    return {
        _PARAMETERS.get(key, key): value
        for key, value in defaults.values.items()
        if not os.environ.get(_VARIABLES.get(key, ""))
    }


def is_given(parameter: str) -> bool:
    """Return whether a parameter was given on the command line."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source == ParameterSource.COMMANDLINE


def describe_used(ctx: click.Context) -> str:
    """Return in words which options have their values from a file; empty for none."""
    defaults: FolderDefaults | None = ctx.meta.get(_READ)
    if defaults is None:
        return ""
    used = [
        f"{key} = {mask_passwords(str(value))}"
        for key, value in defaults.values.items()
        if ctx.get_parameter_source(_PARAMETERS.get(key, key)) == ParameterSource.DEFAULT_MAP
    ]
    return f"{defaults.where}: {', '.join(used)}" if used else ""


def name_the_file(error: CifarTuneError, ctx: click.Context) -> CifarTuneError:
    """Return an error about an option as one about the file that has its value, if one has."""
    defaults: FolderDefaults | None = ctx.meta.get(_READ)
    message = str(error)
    for key, value in {} if defaults is None else defaults.values.items():
        parameter = _PARAMETERS.get(key, key)
        is_used = ctx.get_parameter_source(parameter) == ParameterSource.DEFAULT_MAP
        option = re.match(
            rf"--{key.replace('_', '-')}( {re.escape(str(value))}| [^:]*)?: ", message
        )
        if defaults is not None and is_used and option is not None:
            rest = message[option.end() :]
            return type(error)(f"{defaults.where}: {key} = {value}: {rest}")
    return error
