"""One runner at a time writes a study: it holds the study's lease, a row in the database.

A lease is free again when its holder's process has ended (seen at once on the same host) or has
not renewed it for ``STALE_SECONDS`` (the only sign from another host).
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from sqlalchemy import (
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from cifar_tune.errors import InputError, LeaseLostError

RENEW_SECONDS = 15
STALE_SECONDS = 180
CLOCK_SECONDS = 10

_TABLE = Table(
    "cifar_tune_lease",
    MetaData(),
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("token", String(32), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),  # tells a process from a later one, same id
    Column("renewed", Float, nullable=False),  # Unix time
)


class Lease:
    """A lease that is held; ``renew`` it often while working."""

    def __init__(self, engine: Engine, study_id: int, token: str) -> None:
        self._engine = engine
        self._study_id = study_id
        self._token = token
        self._next_renewal = time.monotonic() + RENEW_SECONDS

    def renew(self) -> None:
        """Say that the holder is alive; does nothing if it was said a short while ago.

        Raises:
            LeaseLostError: another process has taken the study over.
        """
        if time.monotonic() < self._next_renewal:
            return
        self._next_renewal = time.monotonic() + RENEW_SECONDS
        mine = (_TABLE.c.study_id == self._study_id) & (_TABLE.c.token == self._token)
        with self._engine.begin() as connection:
            renewed = connection.execute(update(_TABLE).where(mine).values(renewed=time.time()))
        if renewed.rowcount == 0:
            raise LeaseLostError("another process has taken this study over; this one stops")

    def release(self) -> None:
        """Give the lease back, if it is still held."""
        mine = (_TABLE.c.study_id == self._study_id) & (_TABLE.c.token == self._token)
        with self._engine.begin() as connection:
            connection.execute(delete(_TABLE).where(mine))


@contextmanager
def hold_lease(engine: Engine, study_id: int, study_name: str) -> Iterator[Lease]:
    """Hold the lease of a study.

    Raises:
        InputError: another process that is alive holds it; names its host and process id.
    """
    _TABLE.create(engine, checkfirst=True)
    token = uuid.uuid4().hex
    row: dict[str, str | int | float] = {
        "study_id": study_id,
        "token": token,
        "host": platform.node(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "renewed": time.time(),
    }
    while not _acquire(engine, row):
        holder = _holder(engine, study_id)
        if holder is not None and _is_alive(holder):
            raise InputError(
                f"study {study_name} is being run by process {holder['pid']} on host "
                f"{holder['host']}; wait for it or stop it"
            )
        if holder is not None:
            _remove(engine, holder)
    lease = Lease(engine, study_id, token)
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


def _is_alive(holder: RowMapping) -> bool:
    if holder["host"] != platform.node():
        return time.time() - float(holder["renewed"]) < STALE_SECONDS
    try:
        started = psutil.Process(holder["pid"]).create_time()
    except psutil.NoSuchProcess:
        return False
    # The start is worked out from the clock, which may have been set a little since.
    return bool(abs(started - float(holder["process_started"])) < CLOCK_SECONDS)
