"""The ledger of test reads: one row for each time that a trial met the test images.

Rows are only ever added: the database itself refuses to change or delete one. They are not tied to
Optuna's tables, so they outlive a deleted study.
"""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from cifar_tune.storage.passwords import mask_passwords
from cifar_tune.storage.server import make_table

_TABLE = sa.Table(
    "cifar_tune_test_read",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("study_name", sa.Text, nullable=False),
    sa.Column("trial", sa.Integer, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("weights_sha256", sa.String(64), nullable=False),
    sa.Column("test_sha256", sa.String(64), nullable=False),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Column("accuracy", sa.Float, nullable=False),
    sa.Column("loss", sa.Float, nullable=False),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("flip_accuracy", sa.Float),  # which tables of before do not have
)

_REFUSAL = "the ledger of test reads is only ever added to"
for _action in ("UPDATE", "DELETE"):
    _trigger = (
        f"CREATE TRIGGER {_TABLE.name}_no_{_action.lower()} BEFORE {_action} ON {_TABLE.name}"
    )
    _sqlite = f"{_trigger} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    _postgresql = (
        f"CREATE OR REPLACE FUNCTION {_TABLE.name}_refuse() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$; "
        f"{_trigger} FOR EACH STATEMENT EXECUTE FUNCTION {_TABLE.name}_refuse()"
    )
    for _dialect, _statement in (("sqlite", _sqlite), ("postgresql", _postgresql)):
        _refuse: sa.ExecutableDDLElement = sa.DDL(_statement)  # type: ignore[no-untyped-call]
        sa.event.listen(_TABLE, "after_create", _refuse.execute_if(dialect=_dialect))


def record_test_read(engine: sa.Engine, result: TestResult, command: str) -> None:
    """Add a row, before anyone sees the figure; the command line is stored without passwords."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    _add(engine, [TestRead(now, mask_passwords(command), result)])


def add_test_reads(engine: sa.Engine, reads: list[TestRead]) -> int:
    """Add rows of another database, and return how many of them were not known yet."""
    known = read_ledger(engine)
    missing = [read for read in reads if read not in known]
    if missing:
        _add(engine, missing)
    return len(missing)


def _add(engine: sa.Engine, reads: list[TestRead]) -> None:
    make_table(engine, _TABLE)
    # An earlier version made the table without this column.
    lacks_column = "flip_accuracy" not in _column_names(engine)
    rows = [{"time": read.time, "command": read.command, **asdict(read.result)} for read in reads]
    with engine.begin() as connection:
        if lacks_column:
            connection.execute(sa.text(f"ALTER TABLE {_TABLE.name} ADD COLUMN flip_accuracy FLOAT"))
        connection.execute(sa.insert(_TABLE), rows)


def read_ledger(engine: sa.Engine) -> list[TestRead]:
    """Return all rows, the oldest first."""
    if not sa.inspect(engine).has_table(_TABLE.name):
        return []
    names = _column_names(engine)
    columns = [column for column in _TABLE.c if column.name in names]
    fields = [name for name in TestResult.__dataclass_fields__ if name in names]
    with engine.connect() as connection:
        rows = connection.execute(sa.select(*columns).order_by(_TABLE.c.id)).mappings()
        return [
            TestRead(
                row["time"], row["command"], TestResult(**{name: row[name] for name in fields})
            )
            for row in rows
        ]


def _column_names(engine: sa.Engine) -> set[str]:
    return {column["name"] for column in sa.inspect(engine).get_columns(_TABLE.name)}


@dataclass(frozen=True)
class TestResult:
    """What one trial's final weights gave on the test images.

    Attributes:
        name: The named trial with its replicate; None for a sampled trial.
        weights_sha256: The digest of the file of its kept weights.
        test_sha256: The digest of the test images' bytes.
        accuracy: The fraction of the images that is classified rightly.
        loss: The mean cross-entropy in nats.
        flip_accuracy: The same fraction where the logits of each image and of its mirror image are
            averaged (test-time flip); None for reads before there was such a figure. No comparison
            uses it.
    """

    study_name: str
    trial: int
    name: str | None
    seed: int
    weights_sha256: str
    test_sha256: str
    images: int
    accuracy: float
    loss: float
    flip_accuracy: float | None = None


@dataclass(frozen=True)
class TestRead:
    """A row of the ledger: when (UTC, ISO 8601) and by which command the test images were read."""

    time: str
    command: str
    result: TestResult
