"""What people asked for, from a browser or another terminal: a table beside Optuna's own.

Anyone may add a request or cancel one that waits. Only who holds the lease of a study makes trials
of its requests, so that one runner stays the only writer of a study.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    update,
)

from cifar_tune.storage.server import make_table

State = Literal["waiting", "begun", "ended", "cancelled", "refused"]
OPEN: tuple[State, ...] = ("waiting", "begun")

_REQUESTS = Table(
    "cifar_tune_queue",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("study_name", String(512), nullable=False),
    Column("request", Text, nullable=False),  # JSON
    Column("asked", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("trial", Integer),
    Column("reason", Text),
    sqlite_autoincrement=True,  # seeds follow from the id, so none is given twice
)
_SERVICE = Table(
    "cifar_tune_service",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("is_stopped", Boolean, nullable=False),
)


@dataclass(frozen=True)
class Request:
    """A trial that someone asked for, or a whole study.

    Attributes:
        study_name: of the stored study, e.g. ``dropout:quick``.
        study: name or path of its study file.
        params: values of searched hyperparameters, the sampler draws the others; None asks for all
            that is left of the study.
        seed: of the trial; None derives one.
        by: where it came from, in words.
        asked: when, in UTC as ISO 8601.
        state: ``begun`` once there is a trial of it.
        trial: its number.
        reason: why it was refused, or how it ended.
    """

    id: int
    study_name: str
    study: str
    profile: str
    overrides: Mapping[str, Any]
    params: Mapping[str, float] | None
    seed: int | None
    by: str
    asked: str
    state: State
    trial: int | None
    reason: str | None


class TrialQueue:
    """The requests in a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: set[str] = set()  # tables that are there

    def add(
        self,
        study_name: str,
        study: str,
        profile: str,
        overrides: Mapping[str, Any],
        params: Mapping[str, float] | None,
        seed: int | None,
        by: str,
    ) -> Request:
        """Ask for a trial, or with ``params`` None for all that is left of a study."""
        make_table(self._engine, _REQUESTS)
        request = {
            "study": study,
            "profile": profile,
            "overrides": dict(overrides),
            "params": None if params is None else dict(params),
            "seed": seed,
            "by": by,
        }
        row = {
            "study_name": study_name,
            "request": json.dumps(request),
            "asked": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": "waiting",
        }
        with self._engine.begin() as connection:
            added = connection.execute(insert(_REQUESTS).values(row)).inserted_primary_key
            assert added is not None
            return _get(connection, added[0])

    def list_requests(
        self, states: Iterable[State] = OPEN, study_name: str | None = None
    ) -> list[Request]:
        """Requests in these states, in the order in which they were made."""
        wanted = select(_REQUESTS).where(_REQUESTS.c.state.in_(list(states)))
        if study_name is not None:
            wanted = wanted.where(_REQUESTS.c.study_name == study_name)
        if not self._has(_REQUESTS):
            return []
        with self._engine.connect() as connection:
            rows = connection.execute(wanted.order_by(_REQUESTS.c.id)).mappings()
            return [_read(row) for row in rows]

    def list_trials(self, study_name: str) -> list[Request]:
        """Requests for trials of a study that wait."""
        waiting = self.list_requests(("waiting",), study_name)
        return [one for one in waiting if one.params is not None]

    def begin(self, identity: int) -> bool:
        """Take a request that waits; False if it was cancelled meanwhile."""
        return self._move(identity, "waiting", {"state": "begun"})

    def cancel(self, identity: int) -> bool:
        """Cancel a request that waits; False if it does not wait any more."""
        return self._move(identity, "waiting", {"state": "cancelled"})

    def name_trial(self, identity: int, number: int) -> None:
        """A trial was made of a request that was begun."""
        self._move(identity, "begun", {"trial": number})

    def end(self, identity: int, reason: str | None = None) -> None:
        """What a request that was begun asked for is done."""
        self._move(identity, "begun", {"state": "ended", "reason": reason})

    def refuse(self, identity: int, reason: str) -> None:
        """A request that was begun cannot be carried out."""
        self._move(identity, "begun", {"state": "refused", "reason": reason})

    def put_back(self, identity: int) -> None:
        """Let a request that was begun wait again."""
        self._move(identity, "begun", {"state": "waiting", "trial": None})

    def restore(self, study_name: str, trials: Mapping[int, tuple[int, bool]]) -> None:
        """Make the requests for trials agree with the trials, after a run that may have died
        between the two; called by the holder of the study's lease.

        Args:
            trials: by the id of its request, a trial's number and whether it is over.
        """
        for request in self.list_requests(OPEN, study_name):
            if request.params is None:
                continue
            if request.id in trials:
                number, is_over = trials[request.id]
                state = "ended" if is_over else "begun"
                self._move(request.id, request.state, {"state": state, "trial": number})
            elif request.state == "begun":
                self.put_back(request.id)

    def is_stopped(self) -> bool:
        """Whether someone stopped the service."""
        if not self._has(_SERVICE):
            return False
        with self._engine.connect() as connection:
            return bool(connection.execute(select(_SERVICE.c.is_stopped)).scalar())

    def set_stopped(self, *, is_stopped: bool) -> None:
        """Stop the service, also for later processes, or let it continue."""
        make_table(self._engine, _SERVICE)
        with self._engine.begin() as connection:
            known = connection.execute(update(_SERVICE).values(is_stopped=is_stopped)).rowcount
            if not known:
                connection.execute(insert(_SERVICE).values(id=1, is_stopped=is_stopped))

    def _move(self, identity: int, state: str, changes: Mapping[str, Any]) -> bool:
        mine = (_REQUESTS.c.id == identity) & (_REQUESTS.c.state == state)
        with self._engine.begin() as connection:
            moved = connection.execute(update(_REQUESTS).where(mine).values(**changes))
            return bool(moved.rowcount)

    def _has(self, table: Table) -> bool:
        if table.name not in self._known and inspect(self._engine).has_table(table.name):
            self._known.add(table.name)
        return table.name in self._known


def _get(connection: Connection, identity: int) -> Request:
    found = connection.execute(select(_REQUESTS).where(_REQUESTS.c.id == identity))
    return _read(found.mappings().one())


def _read(row: RowMapping) -> Request:
    rest = {key: row[key] for key in ("id", "study_name", "asked", "state", "trial", "reason")}
    return Request(**rest, **json.loads(row["request"]))
