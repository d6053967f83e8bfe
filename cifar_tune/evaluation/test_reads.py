"""The ledger of test reads: one row for each time that a trial met the test images.

Rows are only ever added: the database itself refuses to change or delete one. They are not tied to
Optuna's tables, so they outlive a deleted study.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from cifar_tune.config.checked import Count, Digest, Fraction, Label, Moment, Number, Positive, Text
from cifar_tune.config.faults import read_record
from cifar_tune.errors import StorageError
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
    make_ledger(engine)
    with engine.begin() as connection:
        _add(connection, [TestRead(now, mask_passwords(command), result)])


def add_test_reads(connection: sa.Connection, reads: list[TestRead]) -> int:
    """Add rows of another database, and return how many of them were not known yet."""
    known = read_ledger(connection)
    missing = [read for read in reads if read not in known]
    if missing:
        _add(connection, missing)
    return len(missing)


def make_ledger(engine: sa.Engine) -> None:
    """Make the table where it is not there yet."""
    make_table(engine, _TABLE)
    # An earlier version made the table without this column.
    if "flip_accuracy" not in _column_names(engine):
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {_TABLE.name} ADD COLUMN flip_accuracy FLOAT"))


def _add(connection: sa.Connection, reads: list[TestRead]) -> None:
    rows = [{"time": read.time, "command": read.command, **asdict(read.result)} for read in reads]
    connection.execute(sa.insert(_TABLE), rows)


def read_ledger(
    engine: sa.Engine | sa.Connection, study_names: Collection[str] | None = None
) -> list[TestRead]:
    """Return the rows of studies of these names, or of all, the oldest first.

    Raises:
        StorageError: One of them is not as this program writes it.
    """
    if isinstance(engine, sa.Engine):
        with engine.connect() as connection:
            return read_ledger(connection, study_names)
    if not sa.inspect(engine).has_table(_TABLE.name):
        return []
    names = _column_names(engine)
    columns = [column for column in _TABLE.c if column.name in names]
    fields = [name for name in TestResult.__dataclass_fields__ if name in names]
    wanted = sa.select(*columns).order_by(_TABLE.c.id)
    if study_names is not None:
        wanted = wanted.where(_TABLE.c.study_name.in_(study_names))
    rows = engine.execute(wanted).mappings().all()
    where = f"{engine.engine.url.database}: table {_TABLE.name}: row"
    return [
        read_record(
            TestRead,
            {
                "time": row["time"],
                "command": row["command"],
                "result": {name: row[name] for name in fields},
            },
            f"{where} {row['id']}",
            StorageError,
        )
        for row in rows
    ]


def _column_names(engine: sa.Engine | sa.Connection) -> set[str]:
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

    Example:
        >>> result = ct.evaluate_on_test("dropout/p=0.3/seed=1", study="dropout")
        >>> result.accuracy, result.images
    """

    study_name: Label
    trial: Count
    name: Label | None
    seed: Count
    weights_sha256: Digest
    test_sha256: Digest
    images: Positive
    accuracy: Fraction
    loss: Number
    flip_accuracy: Fraction | None = None


@dataclass(frozen=True)
class TestRead:
    """A row of the ledger: when (UTC, ISO 8601) and by which command the test images were read."""

    time: Moment
    command: Text
    result: TestResult
