"""Notes and figures in the database, under the keys and in the pieces that optuna-dashboard reads.

A note that a person has written, changed or emptied is theirs and is never written again. Ours is
told from theirs by its last line, which a reader does not see: it has a digest of what is above.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from cifar_tune.storage.optuna_private import StudyModel, StudySystemAttributeModel

PIECE_LENGTH = 2045
"""Characters of a stored piece, as ``optuna_dashboard`` cuts them."""
MOST_PIECES = 16
"""Of a note of ours; one that has more is a person's."""
NOTES_AT_ONCE = 50
"""In one transaction, during which nobody else writes."""

_ATTRIBUTES = StudySystemAttributeModel.__table__
_STUDIES = StudyModel.__table__
_LAST_LINE = '\n\n[cifar-tune]: # "Kept up to date by cifar-tune until you change it. {}"'
_SEALED = re.compile(r"(.*)" + re.escape(_LAST_LINE).replace(r"\{\}", "([0-9a-f]{16})"), re.DOTALL)


def seal(text: str) -> str:
    """A note whose last line says, to us alone, that nobody has changed it."""
    return text + _LAST_LINE.format(_digest(text))


def is_ours(body: str) -> bool:
    """Whether a note is as we wrote it."""
    found = _SEALED.fullmatch(body)
    return found is not None and found[2] == _digest(found[1])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Row:
    """A stored attribute."""

    id: int
    value: str | int


Stored = Mapping[str, _Row]


def read_notes(connection: Connection, study_id: int) -> dict[int | None, str]:
    """The notes of a study's trials, by their id in the database, and its own under None."""
    which = _ATTRIBUTES.c.key.like("dashboard:%note\\_%", escape="\\")
    stored = _read(connection, _select(study_id, which))
    versions = filter(None, (re.fullmatch(r"dashboard:(?:(\d+):)?note_ver", key) for key in stored))
    identities = (int(one[1]) if one[1] else None for one in versions)
    return {identity: _body(stored, identity) for identity in identities}


def write_notes(connection: Connection, study_id: int, notes: Mapping[int | None, str]) -> None:
    """Write the notes of trials and, under None, of their study, where none is there or it is ours.

    What is written already stays as it is, and so does its version.

    Args:
        connection: in a transaction that has begun to write.
        notes: sealed texts by trial id.
    """
    keys = [key for identity in notes for key in _note_keys(identity)]
    stored = _lock(connection, study_id, _ATTRIBUTES.c.key.in_(keys))
    if stored is None:
        return
    changed: dict[str, str | int] = {}
    for identity, body in notes.items():
        changed |= _changed_note(stored, identity, body)
    _write(connection, study_id, stored, changed)


def write_figures(connection: Connection, study_id: int, figures: Mapping[str, str]) -> None:
    """Write Plotly figures, as JSON under their ids; one of that id is replaced.

    Args:
        connection: as for ``write_notes``.
    """
    for name, text in figures.items():
        prefix = f"dashboard:plot_data:{name}:"
        stored = _lock(connection, study_id, _ATTRIBUTES.c.key.startswith(prefix, autoescape=True))
        if stored is None:
            return
        _write(connection, study_id, stored, _changed_pieces(stored, prefix, text))


# --- what changes -------------------------------------------------------------------------------


def _version_key(identity: int | None) -> str:
    return "dashboard:note_ver" if identity is None else f"dashboard:{identity}:note_ver"


def _piece_prefix(identity: int | None) -> str:
    return "dashboard:note_str:" if identity is None else f"dashboard:{identity}:note_str:"


def _note_keys(identity: int | None) -> Iterator[str]:
    yield _version_key(identity)
    for place in range(MOST_PIECES + 1):
        yield f"{_piece_prefix(identity)}{place}"


def _body(stored: Stored, identity: int | None) -> str:
    prefix, pieces = _piece_prefix(identity), list[str]()
    while f"{prefix}{len(pieces)}" in stored:
        pieces.append(str(stored[f"{prefix}{len(pieces)}"].value))
    return "".join(pieces)


def _changed_note(stored: Stored, identity: int | None, body: str) -> dict[str, str | int]:
    if len(body) > MOST_PIECES * PIECE_LENGTH:
        raise ValueError(f"a note of {len(body):,} characters would not be known as ours again")
    key = _version_key(identity)
    version = 0
    if key in stored:
        there = _body(stored, identity)
        if there == body or not is_ours(there):
            return {}
        version = int(stored[key].value)
    # A person who is editing it meanwhile is told by the version that it has changed.
    return {key: version + 1} | _changed_pieces(stored, _piece_prefix(identity), body)


def _changed_pieces(stored: Stored, prefix: str, text: str) -> dict[str, str | int]:
    starts = range(0, len(text), PIECE_LENGTH)
    pieces = {
        f"{prefix}{place}": text[start : start + PIECE_LENGTH] for place, start in enumerate(starts)
    }
    # What is left of a longer text is emptied, not removed: the pieces that are there are counted.
    emptied = {key: "" for key in stored if key.startswith(prefix) and key not in pieces}
    return {
        key: piece
        for key, piece in {**pieces, **emptied}.items()
        if key not in stored or stored[key].value != piece
    }


# --- the table ----------------------------------------------------------------------------------


def _select(study_id: int, which: ColumnElement[bool]) -> Select[Any]:
    columns = _ATTRIBUTES.c.study_system_attribute_id, _ATTRIBUTES.c.key, _ATTRIBUTES.c.value_json
    return select(*columns).where(_ATTRIBUTES.c.study_id == study_id, which)


def _read(connection: Connection, query: Select[Any]) -> dict[str, _Row]:
    return {
        row["key"]: _Row(row["study_system_attribute_id"], json.loads(row["value_json"]))
        for row in connection.execute(query).mappings()
    }


def _lock(
    connection: Connection, study_id: int, which: ColumnElement[bool]
) -> dict[str, _Row] | None:
    """Attributes that nobody else changes before the transaction has ended; None of a study that is
    gone, whose id may be another's one day."""
    found = connection.execute(select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study_id))
    if found.first() is None:
        return None
    return _read(connection, _select(study_id, which).with_for_update())


def _write(
    connection: Connection, study_id: int, stored: Stored, changed: Mapping[str, str | int]
) -> None:
    new = [
        {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
        for key, value in changed.items()
        if key not in stored
    ]
    old = [
        {"row": stored[key].id, "value": json.dumps(value)}
        for key, value in changed.items()
        if key in stored
    ]
    is_row = _ATTRIBUTES.c.study_system_attribute_id == bindparam("row")
    try:
        with connection.begin_nested():
            if new:
                connection.execute(insert(_ATTRIBUTES), new)
            if old:
                one = update(_ATTRIBUTES).where(is_row).values(value_json=bindparam("value"))
                connection.execute(one, old)
    except IntegrityError:
        # On a server somebody has just written the first text of one of these; it is theirs.
        return


def batches(notes: Mapping[int | None, str]) -> Iterator[dict[int | None, str]]:
    """Notes in numbers that are written at once."""
    everything = list(notes.items())
    for start in range(0, len(everything), NOTES_AT_ONCE):
        yield dict(everything[start : start + NOTES_AT_ONCE])
