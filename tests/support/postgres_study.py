"""A study on a PostgreSQL server: an empty database of its own, and commands that use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from command_line import TINY, Answer

if TYPE_CHECKING:
    from postgres import Server

OWNER, READER = "owner", "reader"
PASSWORD, ENCODED = "s3cr3t/p4ss", "s3cr3t%2Fp4ss"
STUDY = "learning-rate"
NAMES = ("learning-rate/lr=0.01", "learning-rate/lr=0.001")
ONE, BOTH = ("--only", NAMES[0]), ("--only", NAMES[0], "--only", NAMES[1])


@dataclass
class Database:
    """An empty database, and all that commands printed."""

    server: Server
    name: str
    printed: list[str] = field(default_factory=list)

    def url(self, user: str = OWNER, password: str = ENCODED) -> str:
        return self.server.url(user, password, self.name)

    def execute(self, statement: str, *names: str) -> list[Any]:
        return self.server.execute(statement, *names, database=self.name)

    def dump(self) -> dict[str, list[Any]]:
        """All rows of all tables, as text."""
        found = self.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in found]
        return {
            table: sorted(self.execute("SELECT it::text FROM {} AS it", table)) for table in tables
        }


Ask = Callable[..., Answer]
"""Runs a command on the database, its URL being in the environment."""


def study(action: str, *arguments: str, epochs: int = 1) -> tuple[str, ...]:
    return ("study", action, STUDY, *TINY, "--epochs", str(epochs), *arguments)


def assert_complete(database: Database, epochs: int) -> None:
    assert database.execute("SELECT number, state FROM trials") == [(0, "COMPLETE")]
    steps = database.execute("SELECT step FROM trial_intermediate_values ORDER BY step")
    assert steps == [(step,) for step in range(1, epochs + 1)]
