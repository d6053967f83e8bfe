"""Notes and figures in the database, under the keys and in the pieces that optuna-dashboard reads.

A note that a person has written, changed or emptied is theirs and is never written again. Ours is
told from theirs by its last line, which a reader does not see: it has a digest of what is above.

optuna-dashboard's ``save_note`` reads all attributes of a study for each note, and cannot be called
in the transaction that looks whether the note is a person's: for 1,000 trials it takes four minutes
instead of half a second, and may overwrite what a person saves meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

from sqlalchemy import ColumnElement, Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from cifar_tune.storage.optuna_private import StudySystemAttributeModel

PIECE_LENGTH = 2045
"""Characters of a stored piece, as optuna-dashboard cuts them."""
MAX_PIECES = 16
"""Pieces of a note of ours; one that has more is a person's."""

_TABLE = StudySystemAttributeModel.__table__
_COLUMNS = _TABLE.c
_LAST_LINE = '\n\n[cifar-tune]: # "Kept up to date by cifar-tune until you change it. {}"'
_SEALED = re.compile(r"(.*)" + re.escape(_LAST_LINE).replace(r"\{\}", "([0-9a-f]{16})"), re.DOTALL)

Attributes = Mapping[str, str | int]


def seal(text: str) -> str:
    """Return a note whose last line says, to us alone, that nobody has changed it."""
    return text + _LAST_LINE.format(_digest(text))


def is_ours(body: str) -> bool:
    """Return whether a note is as we wrote it."""
    sealed = _SEALED.fullmatch(body)
    return sealed is not None and sealed[2] == _digest(sealed[1])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_notes(connection: Connection, study_id: int, notes: Mapping[int | None, str]) -> None:
    """Write the notes of trials and, under None, of their study, where none is there or it is ours.

    What is written already stays as it is, and so does its version. The connection's transaction
    has begun to write, and the study is known to be there. Texts are sealed; trials are given by
    their ids in the database.
    """
    keys = [key for trial_id in notes for key in _note_keys(trial_id)]
    stored = _read(connection, study_id, _COLUMNS.key.in_(keys))
    changes: dict[str, str | int] = {}
    for trial_id, body in notes.items():
        changes |= _change_note(stored, trial_id, body)
    _write(connection, study_id, stored, changes)


def write_figures(connection: Connection, study_id: int, figures: Mapping[str, str]) -> None:
    """Write Plotly figures, as JSON under their ids, in a transaction as for ``write_notes``.

    One of that id is replaced.
    """
    for name, text in figures.items():
        prefix = f"dashboard:plot_data:{name}:"
        stored = _read(connection, study_id, _COLUMNS.key.startswith(prefix, autoescape=True))
        _write(connection, study_id, stored, _change_pieces(stored, prefix, text))


# --- the table ------------------------------------------------------------------------------------


def _read(connection: Connection, study_id: int, which: ColumnElement[bool]) -> Attributes:
    """Return attributes of a study; nobody else changes them before the transaction has ended."""
    query = select(_COLUMNS.key, _COLUMNS.value_json).where(_COLUMNS.study_id == study_id, which)
    return {key: json.loads(value) for key, value in connection.execute(query.with_for_update())}


def _write(connection: Connection, study_id: int, stored: Attributes, changes: Attributes) -> None:
    row = {"study_id": study_id, "key": bindparam("name"), "value_json": bindparam("text")}
    is_row = (_COLUMNS.study_id == study_id) & (_COLUMNS.key == bindparam("name"))
    changed = [
        {"name": key, "text": json.dumps(value)}
        for key, value in changes.items()
        if key not in stored or stored[key] != value
    ]
    old = [values for values in changed if values["name"] in stored]
    new = [values for values in changed if values["name"] not in stored]
    # On a server somebody may just have written the first text of one of these; it is theirs.
    with suppress(IntegrityError), connection.begin_nested():
        if new:
            connection.execute(insert(_TABLE).values(row), new)
        if old:
            statement = update(_TABLE).where(is_row).values(value_json=bindparam("text"))
            connection.execute(statement, old)


# --- keys and pieces ------------------------------------------------------------------------------


def _key(trial_id: int | None, end: str) -> str:
    return f"dashboard:{end}" if trial_id is None else f"dashboard:{trial_id}:{end}"


def _note_keys(trial_id: int | None) -> Iterator[str]:
    yield _key(trial_id, "note_ver")
    for place in range(MAX_PIECES + 1):
        yield _key(trial_id, f"note_str:{place}")


def _change_note(stored: Attributes, trial_id: int | None, body: str) -> Attributes:
    if len(body) > MAX_PIECES * PIECE_LENGTH:
        raise ValueError(f"a note of {len(body):,} characters would not be known as ours again")
    version_key, *piece_keys = _note_keys(trial_id)
    version = 0
    if version_key in stored:
        there = "".join(str(stored[key]) for key in piece_keys if key in stored)
        if there == body or not is_ours(there):
            return {}
        version = int(stored[version_key])
    # A person who is editing it meanwhile is told by the version that it has changed.
    pieces = _change_pieces(stored, _key(trial_id, "note_str:"), body)
    return {version_key: version + 1, **pieces}


def _change_pieces(stored: Attributes, prefix: str, text: str) -> Attributes:
    starts = range(0, len(text), PIECE_LENGTH)
    pieces = {
        f"{prefix}{place}": text[start : start + PIECE_LENGTH] for place, start in enumerate(starts)
    }
    # What is left of a longer text is emptied, not removed: the pieces that are there are counted.
    emptied = {key: "" for key in stored if key.startswith(prefix) and key not in pieces}
    return {**pieces, **emptied}
