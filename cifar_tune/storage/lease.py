"""One runner at a time writes a study: it holds the study's lease, a row in the database.

A lease is free again when its holder's process has ended (seen at once on the same host), or has
not renewed it while it was watched for ``WATCH_SECONDS`` (a holder on another host, or one that is
suspended). No clock is compared with another: a clock that is set back changes nothing.

A holder that was suspended so long that another one took over must not write on when it comes back.
So every transaction on the holder's engine is fenced: in itself, before it is committed, it looks
whether the lease is still its own.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    column,
    delete,
    event,
    insert,
    select,
    table,
    update,
)
from sqlalchemy.exc import IntegrityError

from cifar_tune.errors import LeaseLostError, StudyBusyError, StudyGoneError
from cifar_tune.storage import waiting
from cifar_tune.storage.server import make_table

RENEW_SECONDS = 15
WATCH_SECONDS = 90
POLL_SECONDS = 1.0
SAME_SECONDS = 2

_TABLE = Table(
    "cifar_tune_lease",
    MetaData(),
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("token", String(32), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),  # tells a process from a later one, same id
    Column("renewed", Float, nullable=False),  # Unix time, to be seen to change
)
_STUDIES = table("studies", column("study_id"), column("study_name"))  # Optuna's


class Lease:
    """A lease that is held; ``renew`` it often while working."""

    def __init__(self, engine: Engine, study_id: int, study_name: str, token: str) -> None:
        self._engine = engine
        self._study_name = study_name
        # A database may give the number of a study that was deleted to another one.
        self._study = select(_STUDIES.c.study_id).where(
            (_STUDIES.c.study_id == study_id) & (_STUDIES.c.study_name == study_name)
        )
        self._mine = (_TABLE.c.study_id == study_id) & (_TABLE.c.token == token)
        self._look = select(_TABLE.c.token).where(self._mine).with_for_update(read=True)
        self._next_renewal = time.monotonic() + RENEW_SECONDS
        event.listen(engine, "commit", self._check)

    def renew(self) -> None:
        """Say that the holder is alive; does nothing if it was said a short while ago.

        Raises:
            LeaseLostError: another process has taken the study over.
            StudyGoneError: the study is not there any more.
        """
        if time.monotonic() < self._next_renewal:
            return
        self._next_renewal = time.monotonic() + RENEW_SECONDS
        with self._engine.begin() as connection:
            connection.execute(update(_TABLE).where(self._mine).values(renewed=time.time()))

    @contextmanager
    def fence(self) -> Iterator[Connection]:
        """Keep the study from being taken over while something is done outside of the database, or
        in it, as one transaction of the connection that is given.

        It has begun to write: on SQLite no other process writes before it has ended.

        Raises:
            LeaseLostError: another process has taken it over; nothing was done.
            StudyGoneError: it is not there any more; nothing was done.
        """
        with self._engine.begin() as connection:
            connection.execute(update(_TABLE).where(self._mine).values(renewed=time.time()))
            self._check(connection)
            yield connection

    def check_study(self) -> None:
        """Look whether the study is still there; what else fails may be for want of it.

        Raises:
            StudyGoneError: it is not.
        """
        with self._engine.connect() as connection:
            self._check_study(connection)

    def _check_study(self, connection: Connection) -> None:
        if connection.execute(self._study).first() is None:
            raise StudyGoneError(
                f"study {self._study_name} was deleted or renamed by another program; this run of "
                "it stops, and its trials that were being trained are lost"
            )

    def _check(self, connection: Connection) -> None:
        """Before a commit: refuse it where the lease is another's, or the study is gone.

        A transaction that has written holds SQLite's one write lock; elsewhere the row is locked.
        Either way nobody can take the lease between this look and the commit.
        """
        if connection.execute(self._look).first() is None:
            raise LeaseLostError("another process has taken this study over; this one stops")
        self._check_study(connection)

    def release(self) -> None:
        """Give the lease back, if it is still held."""
        event.remove(self._engine, "commit", self._check)
        with self._engine.begin() as connection:
            connection.execute(delete(_TABLE).where(self._mine))


@contextmanager
def hold_lease(
    engine: Engine,
    study_id: int,
    study_name: str,
    on_wait: Callable[[str], None],
) -> Iterator[Lease]:
    """Hold the lease of a study.

    Args:
        on_wait: told, once, why it takes a while.

    Raises:
        StudyBusyError: another process that is alive holds it; names its host and process id.
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
        if holder is not None and _is_alive(engine, holder, on_wait):
            raise StudyBusyError(
                f"study {study_name} is being run by process {holder['pid']} on host "
                f"{holder['host']}; wait for it or stop it"
            )
        if holder is not None:
            _remove(engine, holder)
    lease = Lease(engine, study_id, study_name, token)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(engine: Engine, row: dict[str, str | int | float]) -> bool:
    """Insert the row; the primary key lets exactly one process succeed."""
    try:
        with engine.begin() as connection:
            connection.execute(insert(_TABLE).values(row))
    except IntegrityError:
        return False
    return True


def _holder(engine: Engine, study_id: int) -> RowMapping | None:
    with engine.connect() as connection:
        found = connection.execute(select(_TABLE).where(_TABLE.c.study_id == study_id))
        return found.mappings().first()


def _remove(engine: Engine, holder: RowMapping) -> None:
    """Remove a dead holder's row, and only that one: a new holder has another token."""
    with engine.begin() as connection:
        connection.execute(delete(_TABLE).where(_TABLE.c.token == holder["token"]))


def _started(process_id: int) -> float:
    """When a process was started, in seconds since the machine was: not by the clock, which may be
    set."""
    booted = psutil.boot_time()
    return psutil.Process(process_id).create_time() - booted


def _is_alive(engine: Engine, holder: RowMapping, on_wait: Callable[[str], None]) -> bool:
    """Whether a holder works; one that cannot be looked at is watched until it renews its lease."""
    why = f"is on another host, {holder['host']}"
    if holder["host"] == platform.node():
        try:
            if abs(_started(holder["pid"]) - float(holder["process_started"])) >= SAME_SECONDS:
                return False
            status = psutil.Process(holder["pid"]).status()
            if status != psutil.STATUS_STOPPED:
                return bool(status != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        why = "is suspended"
    on_wait(
        f"The study belongs to process {holder['pid']}, which {why}; it is taken over if that "
        f"does not show itself within {WATCH_SECONDS} seconds."
    )
    deadline = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        waiting.check_stop()
        now = _holder(engine, holder["study_id"])
        if now is None or now["token"] != holder["token"]:
            return False  # it is free now, or another's, who is looked at next
        if now["renewed"] != holder["renewed"]:
            return True
    return False
