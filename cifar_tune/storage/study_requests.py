"""What people asked for that Optuna has no place for: whole studies, and that the service stops.

Two small tables beside Optuna's own. The first once had requests for trials too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import TypeAdapter

from cifar_tune.config.wording import format_params
from cifar_tune.storage.server import make_table

State = Literal["waiting", "begun", "ended", "cancelled", "refused"]
WHOLE_STUDY = "study"
"""The id of a request for all that is left of a study."""

_REQUESTS = sa.Table(
    "cifar_tune_queue",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_name", sa.String(512), nullable=False),
    sa.Column("request", sa.Text, nullable=False),  # JSON
    sa.Column("asked", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("trial", sa.Integer),
    sa.Column("reason", sa.Text),
    sqlite_autoincrement=True,
)
_SERVICE = sa.Table(
    "cifar_tune_service",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("is_stopped", sa.Boolean, nullable=False),
)


@dataclass(frozen=True)
class Request:
    """A trial that someone asked for, or all that is left of a study.

    Attributes:
        id: What ``TrialQueue.cancel`` takes: the number of the trial, or ``WHOLE_STUDY``.
        study_name: Name of the Optuna study, e.g. ``dropout:quick``.
        study: Name or path of its study file.
        params: Values of searched hyperparameters, the sampler draws the others; None asks for all
            that is left of the study.
        by: Where it came from, in words.
        asked: When, in UTC as ISO 8601; None of a trial that another program enqueued.
        state: ``begun`` as soon as a run has it.
        reason: Why it was refused, or how it ended.
        outcome: What came of its trial, in words; None while it waits.
    """

    id: int | str
    study_name: str
    study: str
    profile: str
    overrides: Mapping[str, Any]
    params: Mapping[str, Any] | None
    seed: int | None
    by: str
    asked: str | None
    state: State
    trial: int | None
    reason: str | None
    outcome: str | None = None

    def describe(self) -> str:
        """Return in words what was asked for."""
        if self.params is None:
            return "all that is left of the study"
        values = format_params(self.params) or "all values drawn by the sampler"
        return values if self.seed is None else f"{values}, seed {self.seed}"


_REQUEST = TypeAdapter(Request)


class StudyRequests:
    """The two tables of a database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._known: set[str] = set()  # tables that are there

    def add(
        self, study_name: str, study: str, profile: str, overrides: dict[str, Any], by: str
    ) -> Request:
        """Ask for all that is left of a study; once is enough while that waits."""
        content = {"study": study, "profile": profile, "overrides": overrides, "by": by}
        row = {
            "study_name": study_name,
            "request": json.dumps({**content, "params": None, "seed": None}),
            "asked": now(),
            "state": "waiting",
        }
        if not self._find(study_name, "waiting"):
            make_table(self._engine, _REQUESTS)
            with self._engine.begin() as connection:
                connection.execute(sa.insert(_REQUESTS).values(row))
        return next(iter(self._find(study_name, "waiting").values()))

    def list_rows(
        self, states: Iterable[State], study_name: str | None = None
    ) -> dict[int, Request]:
        """Return requests by the ids of their rows, the oldest first; None lists all studies'.

        What no version of this program wrote is left out.
        """
        if not self._has(_REQUESTS):
            return {}
        wanted = sa.select(_REQUESTS).where(_REQUESTS.c.state.in_(list(states)))
        if study_name is not None:
            wanted = wanted.where(_REQUESTS.c.study_name == study_name)
        with self._engine.connect() as connection:
            rows = connection.execute(wanted.order_by(_REQUESTS.c.id)).mappings().all()
        requests = {}
        for row in rows:
            with suppress(ValueError, TypeError):  # it is no JSON, no object, or another one
                request = {**json.loads(row["request"]), **row}
                if request.get("params") is None:
                    request["id"] = WHOLE_STUDY
                requests[row["id"]] = _REQUEST.validate_python(request)
        return requests

    def change_row(self, row: int, state: State, changes: Mapping[str, Any]) -> bool:
        """Change a row that is in a state; return False where it is in another one by now."""
        mine = (_REQUESTS.c.id == row) & (_REQUESTS.c.state == state)
        with self._engine.begin() as connection:
            changed = connection.execute(sa.update(_REQUESTS).where(mine).values(**changes))
            return bool(changed.rowcount)

    def move(self, study_name: str, state: State, to: State, reason: str | None = None) -> bool:
        """Change the state of the request for a study; return False where it has another one."""
        changes = {"state": to, "reason": reason}
        moved = [self.change_row(row, state, changes) for row in self._find(study_name, state)]
        return any(moved)

    def _find(self, study_name: str, state: State) -> dict[int, Request]:
        rows = self.list_rows((state,), study_name).items()
        return {row: request for row, request in rows if request.id == WHOLE_STUDY}

    def is_stopped(self) -> bool:
        """Return whether someone stopped the service."""
        if not self._has(_SERVICE):
            return False
        with self._engine.connect() as connection:
            return bool(connection.execute(sa.select(_SERVICE.c.is_stopped)).scalar())

    def set_stopped(self, *, is_stopped: bool) -> None:
        """Stop the service, also for later processes, or let it continue."""
        make_table(self._engine, _SERVICE)
        with self._engine.begin() as connection:
            if not connection.execute(sa.update(_SERVICE).values(is_stopped=is_stopped)).rowcount:
                connection.execute(sa.insert(_SERVICE).values(id=1, is_stopped=is_stopped))

    def _has(self, table: sa.Table) -> bool:
        if table.name not in self._known and sa.inspect(self._engine).has_table(table.name):
            self._known.add(table.name)
        return table.name in self._known


def now() -> str:
    """Return the time as requests have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
