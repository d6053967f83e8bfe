"""Writes new study files: the template beside this module, or a copy, with each key explained."""

from __future__ import annotations

import os
import re
import shlex
import textwrap
import tomllib
from pathlib import Path

from cifar_tune.config.study_file import (
    LoadedStudyFile,
    find_study_files,
    load_study_file,
    name_in_commands,
)
from cifar_tune.config.trial import HYPERPARAMETERS
from cifar_tune.errors import StudyFileError
from cifar_tune.files import read_text, replacing
from cifar_tune.wording import printable

TEMPLATE = Path(__file__).with_suffix(".toml")
FOLDER = Path("studies")
_NAME = "@NAME@"
_HEADER = re.compile(r"(?:# )?\[+(?P<table>[A-Za-z0-9_.\"-]+)\]+$")
_KEY = re.compile(r"(\w+) = ")
_COMMENT = re.compile(r"# (?!\w+ = |\[)")
_WIDTH = 100

Place = tuple[str, str]
"""The kind of a table, such as ``sampler`` or ``profiles``, and a key in it."""
_NOWHERE = ("", "")


def write_study_file(name: str, source: str | None, out: Path | None) -> LoadedStudyFile:
    """Write a study file that is commented and valid, over no other file, and return it.

    Args:
        name: Name of the new study.
        source: Name or path of the study file that is copied; None takes the template.
        out: The new file, called ``name``.toml, or its folder; None puts it into ``./studies``.

    Raises:
        StudyFileError: The name or the path cannot be used, ``source`` is wrong, or the file
            cannot be written.
    """
    path = FOLDER if out is None else out
    path = path / f"{name}.toml" if out is None or out.is_dir() else path
    _check_place(name, path)
    text = read_text(TEMPLATE).replace(_NAME, name) if source is None else _copy(name, source)
    content = text.encode()
    with replacing(path, len(content), StudyFileError, over_existing=False) as temporary:
        temporary.write_bytes(content)
        load_study_file(str(temporary.absolute()))
    return load_study_file(str(path))


def _check_place(name: str, path: Path) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        expected = "expected a name of lower-case letters, digits and hyphens, such as my-study"
        raise StudyFileError(f"study new {printable(name)}: {expected}")
    if path.name != f"{name}.toml":
        raise StudyFileError(f"--out {printable(path)}: expected a folder, or a file {name}.toml")
    if os.path.lexists(path):
        raise StudyFileError(f"{printable(path)}: is there already; expected another name")
    known = find_study_files()
    if name in known:
        raise StudyFileError(
            f"study new {name}: is a study already, {printable(known[name])}; expected another name"
        )


def _copy(name: str, source: str) -> str:
    """Return the text of a study file with its keys explained, and where it comes from."""
    loaded = load_study_file(source)
    copied = shlex.quote(name_in_commands(loaded))
    header = f"# Made by `cifar-tune study new {name} --from {copied}`."
    return f"{header}\n\n{explain_keys(read_text(loaded.path))}"


def explain_keys(text: str) -> str:
    """Return a study file with a comment on each key that has none, where the key first occurs."""
    content, explanations = tomllib.loads(text), _read_explanations()
    lines, table = text.split("\n"), ""
    written: list[str] = []
    for index, line in enumerate(lines):
        if header := _HEADER.match(line):
            table = header["table"]
        comment = []
        if not (written and written[-1].startswith("#")) and " # " not in line:
            comment = explanations.pop(_place_of(line, table), [])
        commented = [*written, *comment, *lines[index:]]
        # What looks like a key may be a part of a text.
        if comment and tomllib.loads("\n".join(commented)) == content:
            written += comment
        written.append(line)
    return "\n".join(written)


def _read_explanations() -> dict[Place, list[str]]:
    """Return the comment lines that explain each key: the template's, else the declaration's."""
    explanations = {
        place: _wrap(declared.help)
        for key, declared in HYPERPARAMETERS.items()
        for place in (("space", key), ("protocol", key))
    }
    table, comment = "", list[str]()
    for line in read_text(TEMPLATE).split("\n"):
        if header := _HEADER.match(line):
            table = header["table"]
        place = _place_of(line.removeprefix("# "), table)
        if place != _NOWHERE and comment:
            explanations.setdefault(place, comment)
        is_comment = _COMMENT.match(line)
        comment = [*comment, re.sub(r"^(# )+", "# ", line)] if is_comment else []
    return explanations


def _place_of(line: str, table: str) -> Place:
    """Return the place of the key that a line begins with, which may be a table's last one."""
    kinds = table.split(".")
    kind = kinds[2] if kinds[0] == "profiles" and len(kinds) > 2 else kinds[0]
    if match := _KEY.match(line):
        return kind, match[1]
    if _HEADER.match(line) and kind in ("space", "published") and len(kinds) > 1:
        return kind, kinds[1]
    return _NOWHERE


def _wrap(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(f"{text[0].upper()}{text[1:]}.", _WIDTH - 2)]
