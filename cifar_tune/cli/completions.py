"""What a shell completes: studies, profiles, trials and hyperparameters.

Neither PyTorch nor Optuna nor pydantic is imported: study files are read as plain TOML and SQLite
databases by SQL. What cannot be read has no completions, and nothing is said of it.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import click
from click.shell_completion import CompletionItem

from cifar_tune import paths
from cifar_tune.cli.defaults import FILES
from cifar_tune.files import read_text
from cifar_tune.storage.location import (
    check_readable,
    connect_to_file,
    locate_storage,
    read_tables,
)
from cifar_tune.wording import escape_controls

if TYPE_CHECKING:
    Items = list[CompletionItem[str]]

_TRIALS = """
SELECT trials.number, trials.state, name.value_json
FROM trials
JOIN studies USING (study_id)
LEFT JOIN trial_user_attributes AS name ON name.trial_id = trials.trial_id AND name.key = 'name'
WHERE studies.study_name = ? OR studies.study_name LIKE ?
ORDER BY trials.trial_id
"""


def complete(kind: str) -> Callable[[click.Context, click.Parameter, str], Items]:
    """Return a function that completes a parameter with words of a kind, a key of ``_KINDS``."""

    def find(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
        if kind == "files":  # the shell completes their names
            return [CompletionItem(incomplete, type="file")]
        # Files and databases may hold anything, and a traceback would stand in the user's command.
        with suppress(Exception):
            return _select(_KINDS[kind](ctx, incomplete), incomplete)
        return []

    return find


def _select(words: Iterable[tuple[str, str]], incomplete: str) -> Items:
    """Return the words that begin with what was typed, with their explanations.

    The name of a trial may be typed without the group before its slash. What cannot be typed, or
    would break the shell's lines, is left out.
    """
    items: dict[str, CompletionItem[str]] = {}
    for word, text in words:
        for form in (word, word.partition("/")[2]):
            is_meant = form.startswith(incomplete) and (form == word or incomplete)
            if form and form.isprintable() and is_meant:
                line = escape_controls(" ".join(text.split()))
                items.setdefault(form, CompletionItem(form, help=line or None))
                break
    return list(items.values())


# --- study files --------------------------------------------------------------------------------


def _study_files() -> dict[str, Path]:
    """Return study files by name, those of ``./studies`` before shipped ones."""
    found = (path for folder in paths.study_folders() for path in sorted(folder.glob("*.toml")))
    files: dict[str, Path] = {}
    for path in found:
        files.setdefault(path.stem, path)
    return files


def _read_study(ctx: click.Context) -> dict[str, Any]:
    """Return the content of the study file that the command line names."""
    name = _study_name(ctx).partition(":")[0]
    path = _study_files().get(name, Path(name))
    return tomllib.loads(read_text(path))


def _study_name(ctx: click.Context) -> str:
    """Return the argument NAME; Click leaves it among the rest where an option has no value yet."""
    return str(ctx.params.get("name") or next(iter(ctx.args), ""))


def _studies(_ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    for name, path in _study_files().items():
        if name.startswith(incomplete):
            # The name of a file that nests too deep or is no TOML is none of a study.
            with suppress(OSError, ValueError, RecursionError):
                yield name, str(tomllib.loads(read_text(path)).get("title", ""))


def _profiles(ctx: click.Context, _incomplete: str) -> Iterator[tuple[str, str]]:
    for name, profile in _read_study(ctx)["profiles"].items():
        yield name, str(profile.get("description", ""))


def _named_trials(ctx: click.Context, _incomplete: str) -> Iterator[tuple[str, str]]:
    for named in _read_study(ctx)["named"]:
        yield named["name"], ""


def _searched(ctx: click.Context, _incomplete: str) -> Iterator[tuple[str, str]]:
    for key in _read_study(ctx)["space"]:
        yield key, _describe(key)


def _requested(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    for key, text in _searched(ctx, incomplete):
        yield f"{key}=", text


def _settings(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield keys of the protocol with an equals sign, then values where there are a few."""
    from cifar_tune.config.trial import TrialConfig

    searched = _read_study(ctx).get("space", {})
    fixed = {*searched, "seed", "train_on", "precision"}
    for key, kind in get_type_hints(TrialConfig).items():
        if key not in fixed:
            chosen = get_args(kind) if get_origin(kind) is Literal else ()
            chosen = ("true", "false") if kind is bool else chosen
            is_value = incomplete.startswith(f"{key}=")
            values = [f"{key}={value}" for value in chosen] if is_value else [f"{key}="]
            yield from ((value, _describe(key)) for value in values)


def _describe(key: str) -> str:
    from cifar_tune.config.trial import HYPERPARAMETERS

    return HYPERPARAMETERS[key].help if key in HYPERPARAMETERS else ""


# --- stored trials ------------------------------------------------------------------------------


def _trials(ctx: click.Context, _incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the names of stored trials, and the numbers of those that have none."""
    location = locate_storage(ctx.params.get("storage") or _default_storage())
    check_readable(location)  # opening a pipe would wait for ever
    path = location.path
    file, _, profile = _study_name(ctx).partition(":")
    name = ":".join(filter(None, (Path(file).stem, profile or ctx.params.get("profile"))))
    if path is None or "trials" not in (read_tables(path) or ()):
        return
    with closing(connect_to_file(path, "ro")) as database:
        for number, state, stored in database.execute(_TRIALS, (name, f"{name}:%")):
            yield (json.loads(stored) if stored else str(number)), state.lower()


def _default_storage() -> str | None:
    """Return the storage that the folder's defaults name, unless the environment names another."""
    file = next(filter(Path.exists, map(Path, FILES)), None)
    if os.environ.get("CIFAR_TUNE_STORAGE") or file is None:
        return None
    defaults = tomllib.loads(read_text(file))
    if file.name == FILES[1]:
        defaults = defaults.get("tool", {}).get("cifar-tune", {})
    return defaults.get("storage")


# --- the machine --------------------------------------------------------------------------------


def _words(*words: str) -> Callable[[click.Context, str], Iterable[tuple[str, str]]]:
    return lambda _ctx, _incomplete: [(word, "") for word in words]


_KINDS: dict[str, Callable[[click.Context, str], Iterable[tuple[str, str]]]] = {
    "studies": _studies,
    "profiles": _profiles,
    "named trials": _named_trials,
    "searched hyperparameters": _searched,
    "requested values": _requested,
    "settings": _settings,
    "trials": _trials,
    "devices": _words("auto", "cpu", "mps", "cuda"),
    "workers": _words("auto", "inline", "ray"),
    "precisions": _words("auto", "fp32", "bf16"),
}
