"""One runner at a time writes a study: it holds the study's lease, a row in the database.

A lease is free again when its holder's process has ended, which is seen at once on the same host.
A holder on another host, or one that is suspended, is watched for ``WATCH_SECONDS``; if it does
not renew its lease meanwhile, that is taken over. No clock is compared with another: a clock that
is set back changes nothing.

A holder that was suspended so long that another one took over must not write on when it comes back.
So every transaction on the holder's engine is fenced: before it is committed, it checks in itself
that the lease is still its own. A lock file could not do that: between a look at the file and the
commit the holder may be suspended again.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import psutil
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.exc import IntegrityError

from cifar_tune.config.checked import Count, Finite, Label, Record
from cifar_tune.config.faults import read_record
from cifar_tune.errors import LeaseLostError, StorageError, StudyBusyError, StudyGoneError
from cifar_tune.storage import waiting
from cifar_tune.storage.server import make_table

RENEW_SECONDS = 15
WATCH_SECONDS = 90
POLL_SECONDS = 1.0
SAME_SECONDS = 2

_TABLE = sa.Table(
    "cifar_tune_lease",
    sa.MetaData(),
    sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    # It tells a process from a later one of the same id.
    sa.Column("process_started", sa.Float, nullable=False),
    sa.Column("renewed", sa.Float, nullable=False),  # Unix time, to be seen to change
)
_STUDIES = sa.table("studies", sa.column("study_id"), sa.column("study_name"))  # Optuna's


class Lease:
    """The lease of a study, held by this process; ``renew`` it often while working.

    While it is held, each transaction on ``engine`` is committed only if it is held still.
    """

    def __init__(self, engine: sa.Engine, study_id: int, study_name: str, token: str) -> None:
        self._engine = engine
        self._study_name = study_name
        # A database may give the number of a study that was deleted to another one.
        self._study = sa.select(_STUDIES.c.study_id).where(
            (_STUDIES.c.study_id == study_id) & (_STUDIES.c.study_name == study_name)
        )
        self._mine = (_TABLE.c.study_id == study_id) & (_TABLE.c.token == token)
        self._look = sa.select(_TABLE.c.token).where(self._mine).with_for_update(read=True)
        self._next_renewal = time.monotonic() + RENEW_SECONDS
        sa.event.listen(engine, "commit", self._check)

    def renew(self) -> None:
        """Show that the holder is alive, unless it did so a short while ago.

        Raises:
            LeaseLostError: Another process has taken the study over.
            StudyGoneError: The study is not there any more.
        """
        if time.monotonic() < self._next_renewal:
            return
        with self.fence():
            self._next_renewal = time.monotonic() + RENEW_SECONDS

    @contextmanager
    def fence(self) -> Iterator[sa.Connection]:
        """Keep the study from being taken over while this context lasts.

        What is done in it may be outside of the database, such as giving a file its name, or one
        transaction of the connection that is yielded. That has begun to write: on SQLite no other
        process writes before it has ended.

        Raises:
            LeaseLostError: Another process has taken the study over; nothing was done.
            StudyGoneError: The study is not there any more; nothing was done.
        """
        with self._engine.begin() as connection:
            connection.execute(sa.update(_TABLE).where(self._mine).values(renewed=time.time()))
            self._check(connection)
            yield connection

    def check_study(self) -> None:
        """Check that the study is still there; other errors may follow from its absence.

        Raises:
            StudyGoneError: It is not there.
        """
        with self._engine.connect() as connection:
            self._check_study(connection)

    def _check_study(self, connection: sa.Connection) -> None:
        if connection.execute(self._study).first() is None:
            raise StudyGoneError(
                f"study {self._study_name} was deleted or renamed by another program; this run of "
                "it stops, and its trials that were being trained are lost"
            )

    def _check(self, connection: sa.Connection) -> None:
        """Refuse a commit where the lease is another's, or the study is gone.

        A transaction that has written holds SQLite's one write lock; on a server the lease's row is
        locked by the query. Either way nobody can take the lease between this and the commit.
        """
        if connection.execute(self._look).first() is None:
            raise LeaseLostError("another process has taken this study over; this one stops")
        self._check_study(connection)

    def release(self) -> None:
        """Give the lease back, if it is held still."""
        sa.event.remove(self._engine, "commit", self._check)
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_TABLE).where(self._mine))


@contextmanager
def hold_lease(
    engine: sa.Engine,
    study_id: int,
    study_name: str,
    on_wait: Callable[[str], None],
) -> Iterator[Lease]:
    """Hold the lease of a study.

    ``on_wait`` is told, once, why it takes a while.

    Raises:
        StudyBusyError: Another process that is alive holds it; the message has its host and id.
    """
    make_table(engine, _TABLE)
    token = uuid.uuid4().hex
    row: dict[str, str | int | float] = {
        "study_id": study_id,
        "token": token,
        "host": platform.node(),
        "pid": os.getpid(),
        "process_started": _started(os.getpid()),
        "renewed": time.time(),
    }
    while not _acquire(engine, row):
        holder = _holder(engine, study_id)
        if holder is None:
            continue
        if _is_alive(engine, holder, on_wait):
            raise StudyBusyError(
                f"study {study_name} is being run by process {holder.pid} on host "
                f"{holder.host}; wait for it or stop it"
            )
        with engine.begin() as connection:  # only that row: a new holder has another token
            connection.execute(sa.delete(_TABLE).where(_TABLE.c.token == holder.token))
    lease = Lease(engine, study_id, study_name, token)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(engine: sa.Engine, row: dict[str, str | int | float]) -> bool:
    """Insert the row; the primary key lets exactly one process succeed."""
    try:
        with engine.begin() as connection:
            connection.execute(sa.insert(_TABLE).values(row))
    except IntegrityError:
        return False
    return True


class _Holder(Record):
    """A row of the table, of the process that has the lease."""

    study_id: Count
    token: Label
    host: Label
    pid: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    process_started: Finite
    renewed: Finite


def _holder(engine: sa.Engine, study_id: int) -> _Holder | None:
    """Return who holds the lease of a study, if anyone does.

    Raises:
        StorageError: The row is none that a run wrote.
    """
    with engine.connect() as connection:
        rows = connection.execute(sa.select(_TABLE).where(_TABLE.c.study_id == study_id))
        row = rows.mappings().first()
    if row is None:
        return None
    where = f"{engine.url.database}: table {_TABLE.name}, study_id {study_id}"
    return read_record(_Holder, dict(row), where, StorageError)


def _started(process_id: int) -> float:
    """Return when a process was started, in seconds since the machine was.

    The clock, which may be set, has no part in that.
    """
    booted = psutil.boot_time()
    return psutil.Process(process_id).create_time() - booted


def _is_alive(engine: sa.Engine, holder: _Holder, on_wait: Callable[[str], None]) -> bool:
    """Return whether a holder works; one that cannot be looked at is watched for a while."""
    why = f"is on another host, {holder.host}"
    if holder.host == platform.node():
        try:
            if abs(_started(holder.pid) - holder.process_started) >= SAME_SECONDS:
                return False
            status = psutil.Process(holder.pid).status()
            if status != psutil.STATUS_STOPPED:
                return bool(status != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        why = "is suspended"
    on_wait(
        f"The lease of the study is held by process {holder.pid}, which {why}; this run takes it "
        f"over unless it is renewed within {WATCH_SECONDS} seconds."
    )
    deadline = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        waiting.check_stop()
        now = _holder(engine, holder.study_id)
        if now is None or now.token != holder.token:
            return False  # it is free now, or another's, who is looked at next
        if now.renewed != holder.renewed:
            return True
    return False
